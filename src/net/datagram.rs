//! The bytes of a heartbeat.
//!
//! Input → output: a [`Beat`] and the cluster's key → a datagram → a [`Beat`] again, or why it is refused. Pure.
//!
//! Format: version (1 byte), payload (postcard: head, then as many [`Heard`] as fit), HMAC-SHA256 of both (32 bytes).
//!
//! Invariants: never longer than [`MAX_DATAGRAM`], so never fragmented; nothing of a payload is looked at before its
//! HMAC was verified. Replays are the business of [`crate::net::contacts`], which knows what came before.

use crate::model::{BootId, Incarnation, NodeId};
use ring::hmac;
use serde::{Deserialize, Serialize};

/// Fits an Ethernet frame with IPv6 and some tunnel's headers: one lost fragment would lose all of it.
pub const MAX_DATAGRAM: usize = 1400;

/// 2: [`Heard::acknowledged`].
const VERSION: u8 = 2;
const MAC_BYTES: usize = 32;

/// One heartbeat: "I, in this incarnation, am alive, and heard these others".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    pub from: NodeId,
    pub incarnation: Incarnation,
    /// Counts the beats of an incarnation from 1; the same on all links.
    pub seq: u64,
    /// The link it was sent over.
    pub link: u8,
    pub heard: Vec<Heard>,
}

/// What the sender of a heartbeat heard of another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    pub node: NodeId,
    /// `None`: nothing since the sender listens for it.
    pub incarnation: Option<Incarnation>,
    /// The highest [`Beat::seq`] heard of that incarnation. To the node itself this is the answer to a nonce: who
    /// echoes `seq` was alive after it was sent.
    pub seq: u64,
    /// How long ago, by the sender's clock; without an incarnation: how long it listens in vain.
    pub age_ms: u32,
    /// From a leader: the highest [`Beat::seq`] of that incarnation that a majority has confirmed it to have heard.
    pub acknowledged: Option<u64>,
}

/// Why a datagram counts for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Refused {
    #[error("it is too short")]
    Short,
    #[error("its version is unknown")]
    Version,
    #[error("its signature is wrong")]
    Forged,
    #[error("it is garbled")]
    Garbled,
    #[error("it is of another cluster")]
    OtherCluster,
    #[error("it was heard before, or is older than what was")]
    Replayed,
    #[error("its sender is not a known peer")]
    Stranger,
    #[error("it bears this node's own name")]
    OwnName,
}

/// Signs and verifies the heartbeats of one cluster.
pub struct Codec {
    cluster_id: String,
    key: hmac::Key,
}

#[derive(Serialize, Deserialize)]
struct Head {
    cluster_id: String,
    from: NodeId,
    incarnation: WireIncarnation,
    seq: u64,
    link: u8,
}

#[derive(Serialize, Deserialize)]
struct WireHeard {
    node: NodeId,
    incarnation: Option<WireIncarnation>,
    seq: u64,
    age_ms: u32,
    acknowledged: Option<u64>,
}

#[derive(Clone, Serialize, Deserialize)]
struct WireIncarnation {
    boot: WireBoot,
    counter: u64,
}

/// The kernel's boot ids are UUIDs, a third as long in binary; injected ones may be anything.
#[derive(Clone, Serialize, Deserialize)]
enum WireBoot {
    Uuid(u128),
    Text(String),
}

impl Codec {
    pub fn new(cluster_id: &str, key: &[u8; 32]) -> Self {
        Self { cluster_id: cluster_id.to_owned(), key: hmac::Key::new(hmac::HMAC_SHA256, key) }
    }

    /// Signs a beat. The list `heard` is cut where the datagram is full; returns how many of it are in.
    pub fn encode(&self, beat: &Beat) -> (Vec<u8>, usize) {
        let head = Head {
            cluster_id: self.cluster_id.clone(),
            from: beat.from.clone(),
            incarnation: to_wire(&beat.incarnation),
            seq: beat.seq,
            link: beat.link,
        };
        let mut bytes = vec![VERSION];
        append(&mut bytes, &head);
        let mut written = 0;
        for heard in &beat.heard {
            let end = bytes.len();
            let incarnation = heard.incarnation.as_ref().map(to_wire);
            let (node, acknowledged) = (heard.node.clone(), heard.acknowledged);
            let wire = WireHeard { node, incarnation, seq: heard.seq, age_ms: heard.age_ms, acknowledged };
            append(&mut bytes, &wire);
            if bytes.len() + MAC_BYTES > MAX_DATAGRAM {
                bytes.truncate(end);
                break;
            }
            written += 1;
        }
        let mac = hmac::sign(&self.key, &bytes);
        bytes.extend_from_slice(mac.as_ref());
        (bytes, written)
    }

    /// Signs a payload of any content and reads it: for `fuzzing`, which cannot guess a signature.
    #[doc(hidden)]
    pub fn decode_signed(&self, payload: &[u8]) -> Result<Beat, Refused> {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(payload);
        let mac = hmac::sign(&self.key, &bytes);
        bytes.extend_from_slice(mac.as_ref());
        self.decode(&bytes)
    }

    /// Verifies and reads a datagram of any content.
    pub fn decode(&self, datagram: &[u8]) -> Result<Beat, Refused> {
        let Some((signed, mac)) = datagram.len().checked_sub(MAC_BYTES).and_then(|at| datagram.split_at_checked(at))
        else {
            return Err(Refused::Short);
        };
        let (version, payload) = signed.split_first().ok_or(Refused::Short)?;
        if *version != VERSION {
            return Err(Refused::Version);
        }
        hmac::verify(&self.key, signed, mac).map_err(|_| Refused::Forged)?;
        let (head, mut rest) = postcard::take_from_bytes::<Head>(payload).map_err(|_| Refused::Garbled)?;
        if head.cluster_id != self.cluster_id {
            return Err(Refused::OtherCluster);
        }
        let mut heard = Vec::new();
        while !rest.is_empty() {
            let (entry, after) = postcard::take_from_bytes::<WireHeard>(rest).map_err(|_| Refused::Garbled)?;
            let incarnation = entry.incarnation.clone().map(from_wire);
            let WireHeard { node, seq, age_ms, acknowledged, .. } = entry;
            heard.push(Heard { node, incarnation, seq, age_ms, acknowledged });
            rest = after;
        }
        Ok(Beat { from: head.from, incarnation: from_wire(head.incarnation), seq: head.seq, link: head.link, heard })
    }
}

fn append(bytes: &mut Vec<u8>, value: &impl Serialize) {
    let end = bytes.len();
    match postcard::to_extend(value, std::mem::take(bytes)) {
        Ok(longer) => *bytes = longer,
        // Strings and numbers into a growing vector cannot fail; were it so, the receiver would refuse the rest.
        Err(_) => bytes.truncate(end),
    }
}

fn to_wire(incarnation: &Incarnation) -> WireIncarnation {
    let text = incarnation.boot.as_str();
    let uuid = u128::from_str_radix(&text.replace('-', ""), 16).ok().filter(|uuid| uuid_text(*uuid) == text);
    let boot = uuid.map_or_else(|| WireBoot::Text(text.to_owned()), WireBoot::Uuid);
    WireIncarnation { boot, counter: incarnation.counter }
}

fn from_wire(incarnation: WireIncarnation) -> Incarnation {
    let boot = match incarnation.boot {
        WireBoot::Uuid(uuid) => BootId::new(uuid_text(uuid)),
        WireBoot::Text(text) => BootId::new(text),
    };
    Incarnation { boot, counter: incarnation.counter }
}

fn uuid_text(uuid: u128) -> String {
    let hex = format!("{uuid:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incarnation(boot: &str) -> Incarnation {
        Incarnation { boot: BootId::new(boot), counter: 3 }
    }

    fn beat() -> Beat {
        let uuid = incarnation("0f9d6f4e-7f3a-4a3e-9d7e-0123456789ab");
        let heard = vec![
            Heard { node: "n2".into(), incarnation: Some(uuid.clone()), seq: 7, age_ms: 12, acknowledged: Some(6) },
            Heard { node: "n3".into(), incarnation: None, seq: 0, age_ms: 5_000, acknowledged: None },
        ];
        Beat { from: "n1".into(), incarnation: incarnation("a boot"), seq: 9, link: 1, heard }
    }

    #[test]
    fn a_beat_reads_as_it_was_written() {
        let codec = Codec::new("c", &[1; 32]);
        let (bytes, written) = codec.encode(&beat());
        assert_eq!(written, 2);
        assert_eq!(codec.decode(&bytes), Ok(beat()));
    }

    #[test]
    fn forged_foreign_and_damaged_datagrams_are_refused() {
        let codec = Codec::new("c", &[1; 32]);
        let (bytes, _) = codec.encode(&beat());
        assert_eq!(Codec::new("c", &[2; 32]).decode(&bytes), Err(Refused::Forged));
        assert_eq!(Codec::new("d", &[1; 32]).decode(&bytes), Err(Refused::OtherCluster));
        for at in 1..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(codec.decode(&damaged), Err(Refused::Forged), "byte {at}");
        }
        for length in 0..bytes.len() {
            assert!(codec.decode(&bytes[..length]).is_err(), "{length} bytes");
        }
        let mut newer = bytes;
        newer[0] = 3;
        assert_eq!(codec.decode(&newer), Err(Refused::Version));
    }

    #[test]
    fn recorded_bytes_are_still_read() {
        let recorded = concat!(
            "020163026e3101066120626f6f74030901026e320100ab939eabb4a480bf9dfda8d2f3cfd3b79d1",
            "f03070c0106026e33000088270014bc5bbe441a1d42af61042a586f0f0b6c13ca98820447c33ab1",
            "76d99c8e41a2"
        );
        let byte = |at| u8::from_str_radix(&recorded[at..at + 2], 16).unwrap();
        let bytes: Vec<u8> = (0..recorded.len()).step_by(2).map(byte).collect();
        let fresh = Codec::new("c", &[1; 32]).encode(&beat()).0;
        assert_eq!(Codec::new("c", &[1; 32]).decode(&bytes), Ok(beat()));
        assert_eq!(fresh, bytes, "a new format needs a new version");
    }

    #[test]
    fn a_long_list_is_cut_to_one_datagram() {
        let mut beat = beat();
        let one = beat.heard[0].clone();
        beat.heard = (0..64).map(|number| Heard { node: format!("node-{number}").into(), ..one.clone() }).collect();
        let codec = Codec::new(&"0".repeat(32), &[1; 32]);
        let (bytes, written) = codec.encode(&beat);
        assert!(bytes.len() <= MAX_DATAGRAM && (30..64).contains(&written), "{} bytes, {written}", bytes.len());
        assert_eq!(codec.decode(&bytes).unwrap().heard.len(), written);
    }

    proptest::proptest! {
        #[test]
        fn no_payload_panics_even_with_a_right_signature(payload: Vec<u8>) {
            let codec = Codec::new("c", &[1; 32]);
            let mut bytes = vec![VERSION];
            // Half of them begin like a real one.
            if payload.len() % 2 == 0 {
                bytes = codec.encode(&beat()).0;
                bytes.truncate(bytes.len() - MAC_BYTES);
            }
            bytes.extend(payload);
            let mac = hmac::sign(&codec.key, &bytes);
            bytes.extend_from_slice(mac.as_ref());
            match codec.decode(&bytes) {
                Ok(_) | Err(Refused::Garbled | Refused::OtherCluster) => {}
                Err(other) => proptest::prop_assert!(false, "{other}"),
            }
        }

        #[test]
        fn any_boot_id_arrives_as_it_was_sent(boot: String) {
            let incarnation = Incarnation { boot: BootId::new(boot), counter: 1 };
            proptest::prop_assert_eq!(from_wire(to_wire(&incarnation)), incarnation);
        }
    }
}
