//! What a plan is called: a short text by which a push can ask to do just what was shown.
//!
//! Input → output: the target, the manifests and how the cluster stood → twelve bytes for people to copy, `TTTTTTTT-MMMMMMMM-SSSSSSSS`.
//! Its three parts are told apart, so that a refusal can say which of them moved on. Nothing secret, and no signature: it
//! keeps an honest pusher from surprises.

use super::{Digest, Revision, Spec};
use std::fmt;
use std::str::FromStr;

/// Four billion to one against two that are alike by chance.
type Part = [u8; 4];

/// A plan, by what it was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PlanId {
    target: Part,
    manifests: Part,
    standing: Part,
}

/// What is not as it was when a plan was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    Target,
    Manifests,
    Cluster,
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Target => "another commit was pushed since",
            Self::Manifests => "it was made of other manifests than are pushed (is all of it committed?)",
            Self::Cluster => "the cluster moved on: what runs, who is there, or an override is not as it was",
        })
    }
}

impl PlanId {
    /// `standing`: all of the state that a plan may rest on, as bytes.
    pub fn of(target: Option<&Revision>, spec: &Spec, standing: &[u8]) -> Self {
        // The lines things stand on change no plan, nor does what this machine knows of agents.
        let plain = Spec { origins: Default::default(), agents: Default::default(), ..spec.clone() };
        let manifests = postcard::to_stdvec(&plain).expect("plain data always serialises");
        let part = |bytes: &[u8]| {
            let digest = Digest::of(bytes);
            let mut part = Part::default();
            part.copy_from_slice(&digest.0[..4]);
            part
        };
        let target = part(target.map_or("", Revision::as_str).as_bytes());
        Self { target, manifests: part(&manifests), standing: part(standing) }
    }

    /// What moved on from this plan to another; None: nothing.
    pub fn moved(&self, now: &Self) -> Option<Moved> {
        if self.target != now.target {
            return Some(Moved::Target);
        }
        if self.manifests != now.manifests {
            return Some(Moved::Manifests);
        }
        (self.standing != now.standing).then_some(Moved::Cluster)
    }
}

impl fmt::Display for PlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c] = [self.target, self.manifests, self.standing].map(u32::from_be_bytes);
        write!(f, "{a:08x}-{b:08x}-{c:08x}")
    }
}

impl FromStr for PlanId {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let part = |text: &str| {
            let digits = text.len() == 8 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            digits.then(|| u32::from_str_radix(text, 16).ok().map(u32::to_be_bytes)).flatten().ok_or(())
        };
        match text.split('-').collect::<Vec<_>>().as_slice() {
            [target, manifests, standing] => {
                Ok(Self { target: part(target)?, manifests: part(manifests)?, standing: part(standing)? })
            }
            _ => Err(()),
        }
    }
}

impl serde::Serialize for PlanId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for PlanId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|()| serde::de::Error::custom(format!("`{text}` is not the id of a plan")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written_and_says_what_moved() {
        let id = PlanId { target: [0, 1, 2, 3], manifests: [255, 0, 0, 1], standing: [9; 4] };
        assert_eq!(id.to_string(), "00010203-ff000001-09090909");
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "00010203-ff000001", "00010203-ff000001-0909090", "00010203-ff000001-+9090909", "0-0-0-0"] {
            assert_eq!(PlanId::from_str(bad), Err(()), "{bad}");
        }
        assert_eq!(id.moved(&id), None);
        assert_eq!(id.moved(&PlanId { standing: [8; 4], ..id }), Some(Moved::Cluster));
        assert_eq!(id.moved(&PlanId { standing: [8; 4], manifests: [1; 4], ..id }), Some(Moved::Manifests));
        assert_eq!(id.moved(&PlanId { target: [1; 4], manifests: [1; 4], ..id }), Some(Moved::Target));
    }
}
