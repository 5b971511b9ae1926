//! One-time join tokens: what `hafen token` prints and what the cluster remembers of it.
//!
//! Input → output: a text ↔ [`JoinToken`]; a record, a secret and a wall time → [`check`].
//!
//! Invariants: the cluster keeps only a hash of the secret, so that the log and its snapshots let nobody join. A token
//! works once; the store marks it used in the same command that accepts it. Guessing is hopeless (256 bits), so tries
//! are not counted.

use super::NetError;
use super::identity::{hex, random};
use crate::model::Digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::str::FromStr;

/// Starts every token; the number is the format.
const PREFIX: &str = "hafen1.";
/// Longer texts are not decoded. A token with 64 addresses stays below.
const MAX_TOKEN_CHARS: usize = 4096;

/// What a joining node is told: where to ask, whom to trust, what to say. `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// Addresses of members, tried in this order.
    pub addresses: Vec<SocketAddr>,
    /// SHA-256 of the CA's certificate (DER).
    pub ca_fingerprint: Digest,
    /// Names the record, in hex; no secret.
    pub id: TokenId,
    pub secret: TokenSecret,
}

/// Names a token record; 64 random bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TokenId(pub u64);

/// 256 random bits that prove the right to join.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenSecret(pub [u8; 32]);

/// What the holder of a token becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TokenRole {
    /// A member; what it may do is said by its Node document.
    Node,
    /// May read the API.
    Viewer,
    /// May read and write the API.
    Operator,
}

/// What the cluster remembers of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    pub id: TokenId,
    pub secret_hash: Digest,
    pub role: TokenRole,
    /// Wall time in milliseconds since 1970; invalid from then on.
    pub expires_ms: u64,
    pub used: bool,
}

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// No such record, or the secret is wrong; which of them is not told.
    #[error("the token is unknown")]
    Unknown,
    #[error("the token was used before (`hafen token` makes another)")]
    Used,
    #[error("the token has expired (`hafen token` makes another)")]
    Expired,
    #[error("the token is for the role {found:?}, not {wanted:?}")]
    WrongRole { found: TokenRole, wanted: TokenRole },
}

/// Makes a token for `role` that is valid until `expires_ms`, and the record to store before it is shown.
pub fn create(
    addresses: Vec<SocketAddr>,
    ca_fingerprint: Digest,
    role: TokenRole,
    expires_ms: u64,
) -> Result<(JoinToken, TokenRecord), NetError> {
    let id = TokenId(u64::from_be_bytes(random()?));
    let secret = TokenSecret(random()?);
    let record = TokenRecord { id, secret_hash: secret.hash(), role, expires_ms, used: false };
    Ok((JoinToken { addresses, ca_fingerprint, id, secret }, record))
}

/// Decides whether the record that was found for a token lets its holder in as `wanted`.
pub fn check(
    record: Option<&TokenRecord>,
    secret: &TokenSecret,
    wanted: TokenRole,
    now_ms: u64,
) -> Result<(), TokenError> {
    // Hashes are compared, so timing tells nothing about the secret. Nothing else is told to who does not know it.
    let record = record.filter(|record| record.secret_hash == secret.hash()).ok_or(TokenError::Unknown)?;
    if record.role != wanted {
        Err(TokenError::WrongRole { found: record.role, wanted })
    } else if record.used {
        Err(TokenError::Used)
    } else if now_ms >= record.expires_ms {
        Err(TokenError::Expired)
    } else {
        Ok(())
    }
}

impl TokenSecret {
    pub fn hash(&self) -> Digest {
        Digest::of(&self.0)
    }
}

impl std::fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenSecret(..)")
    }
}

impl std::fmt::Display for TokenId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex(&self.0.to_be_bytes()))
    }
}

impl std::fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinToken").field("id", &self.id).field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl JoinToken {
    /// The text that people copy. It holds the secret: show it once, log it never.
    pub fn to_text(&self) -> Result<String, NetError> {
        let bytes = postcard::to_stdvec(self)
            .map_err(|_| NetError::Token { text: self.id.to_string(), reason: "it cannot be encoded" })?;
        Ok(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
    }
}

impl FromStr for JoinToken {
    type Err = NetError;
    fn from_str(text: &str) -> Result<Self, NetError> {
        // The error shows only the beginning: the rest may be a secret.
        let bad = |reason| NetError::Token { text: text.chars().take(12).collect::<String>() + "…", reason };
        let text = text.trim();
        let encoded = text.strip_prefix(PREFIX).ok_or_else(|| bad("it does not start with `hafen1.`"))?;
        if encoded.len() > MAX_TOKEN_CHARS {
            return Err(bad("it is too long"));
        }
        let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| bad("it is not complete"))?;
        let (token, rest) = postcard::take_from_bytes::<Self>(&bytes).map_err(|_| bad("it is not complete"))?;
        if !rest.is_empty() || token.addresses.is_empty() {
            return Err(bad("it is not complete"));
        }
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (JoinToken, TokenRecord) {
        let addresses = vec!["192.0.2.1:7443".parse().unwrap(), "[2001:db8::1]:7443".parse().unwrap()];
        create(addresses, Digest::of(b"ca"), TokenRole::Node, 1_000).unwrap()
    }

    #[test]
    fn a_token_reads_as_it_was_written() {
        let (token, _) = sample();
        let text = token.to_text().unwrap();
        assert!(text.len() < 200, "{} characters are too many to copy", text.len());
        assert_eq!(format!("{text}\n").parse::<JoinToken>().unwrap(), token);
    }

    #[test]
    fn damaged_tokens_are_refused_without_showing_the_secret() {
        let text = sample().0.to_text().unwrap();
        let cut = &text[..text.len() - 8];
        for damaged in ["", "hafen1.", "hafen2.abc", "hafen1.???", cut] {
            let error = damaged.parse::<JoinToken>().unwrap_err().to_string();
            assert!(!error.contains(&text[40..60]), "{error}");
        }
    }

    #[test]
    fn a_token_works_once_in_time_and_for_its_role() {
        let (token, record) = sample();
        let verdict = |record: &TokenRecord, role, now| check(Some(record), &token.secret, role, now);
        assert_eq!(verdict(&record, TokenRole::Node, 999), Ok(()));
        assert_eq!(verdict(&record, TokenRole::Node, 1_000), Err(TokenError::Expired));
        let used = TokenRecord { used: true, ..record.clone() };
        assert_eq!(verdict(&used, TokenRole::Node, 0), Err(TokenError::Used));
        let (found, wanted) = (TokenRole::Node, TokenRole::Operator);
        assert_eq!(verdict(&record, TokenRole::Operator, 0), Err(TokenError::WrongRole { found, wanted }));
    }

    #[test]
    fn a_wrong_secret_learns_nothing() {
        let (_, record) = sample();
        let wrong = TokenSecret([7; 32]);
        let used = TokenRecord { used: true, ..record.clone() };
        for record in [None, Some(&record), Some(&used)] {
            assert_eq!(check(record, &wrong, TokenRole::Viewer, 5_000), Err(TokenError::Unknown));
        }
    }
}
