//! Webhooks: is this message from whoever made the webhook, and how many were not?
//!
//! A webhook says that there may be something new at `source.url`. It is a hint and no more: what is there is fetched
//! and checked as always, so that a message that is repeated, or comes late, costs one look (and there is one a second at most).
//! With `source.webhook` in the Cluster only who knows its secret may hint.
//!
//! Input → output: secret, headers and body → [`Sender`] or [`Refused`]. Known forms:
//! - GitHub: `X-Hub-Signature-256: sha256=HEX`, the HMAC-SHA256 of the body;
//! - Gitea, Forgejo, Gogs: the same as bare hex, in `X-Gitea-Signature`, `X-Forgejo-Signature` or `X-Gogs-Signature`;
//! - GitLab: the secret itself in `X-Gitlab-Token`; or, with a signing token, `webhook-signature: v1,BASE64`, the HMAC-SHA256
//!   of `webhook-id.webhook-timestamp.body` (the Standard Webhooks specification).
//!
//! Invariants: comparisons take as long whatever is sent; neither the secret nor what was sent for it is in any text.
//! Deliberately absent: what the message says (which branch, whose push); the age of a signature (a repeated hint is harmless).

use super::types::{WebhookRefusalView, WebhookView};
use axum::http::{HeaderMap, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// The largest message whose signature is checked. That of a push of a hundred commits is some 200 KiB; of a larger one
/// the source's interval takes care.
pub const BODY_LIMIT: usize = 1024 * 1024;
/// A body that is longer on its way than this is not waited for: forges give up after 10 s themselves.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Bodies in memory at a time: strangers may send them.
const AT_ONCE: usize = 4;
/// So many messages may come at once; then [`PER_SECOND`]. A forge sends one for a push.
const BURST: u32 = 20;
const PER_SECOND: f64 = 5.0;
/// Refusals are logged this often at most; all are counted.
const LOG_EVERY: Duration = Duration::from_secs(60);
/// The longest secret that is read from a file.
pub const LONGEST_SECRET: usize = 4096;
/// How the signing tokens of the Standard Webhooks specification begin; the rest is base64.
const SIGNING_TOKEN: &str = "whsec_";

/// Who signed, by the form of the signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    GitHub,
    GitLab,
    Gitea,
}

/// Why a message was not taken for a hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("it carries no signature of GitHub, GitLab or Gitea; the webhook was made without a secret")]
    Unsigned,
    #[error("its signature was not made with the secret of `source.webhook`")]
    WrongSignature,
    #[error("too many messages in a short time")]
    TooMany,
    #[error("it is larger than 1 MiB")]
    TooLarge,
    #[error("its body did not arrive within 10 s")]
    TooSlow,
    /// Our own fault: the log and `status` of the node say which file.
    #[error("this node cannot read the secret of `source.webhook`")]
    NoSecret,
}

impl Refused {
    pub fn status(self) -> StatusCode {
        match self {
            Self::Unsigned | Self::WrongSignature => StatusCode::UNAUTHORIZED,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::NoSecret => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// Whether a message was signed with the secret, in any of the known forms.
///
/// # Errors
///
/// [`Refused::Unsigned`] if it has none of the known headers, [`Refused::WrongSignature`] if none of those it has is right.
pub fn verify(secret: &[u8], headers: &HeaderMap, body: &[u8]) -> Result<Sender, Refused> {
    let header = |name: &str| headers.get(name).map(|value| value.as_bytes());
    let mut signed = false;
    let mut right = |sender: Sender, given: Option<&[u8]>, holds: &dyn Fn(&[u8]) -> bool| {
        signed |= given.is_some();
        given.is_some_and(holds).then_some(sender)
    };
    let github = right(Sender::GitHub, header("x-hub-signature-256"), &|given| {
        given.strip_prefix(b"sha256=").is_some_and(|hex| is_hex_hmac(secret, body, hex))
    });
    let gitea = ["x-gitea-signature", "x-forgejo-signature", "x-gogs-signature"]
        .map(|name| right(Sender::Gitea, header(name), &|given| is_hex_hmac(secret, body, given)));
    let token = right(Sender::GitLab, header("x-gitlab-token"), &|given| is_equal(secret, given));
    let standard =
        right(Sender::GitLab, header("webhook-signature"), &|given| is_standard(secret, headers, body, given));
    let found = github.or(gitea.into_iter().flatten().next()).or(token).or(standard);
    found.ok_or(if signed { Refused::WrongSignature } else { Refused::Unsigned })
}

fn is_hex_hmac(secret: &[u8], body: &[u8], hex: &[u8]) -> bool {
    let digit = |digit: &u8| char::from(*digit).to_digit(16).map(|value| value as u8);
    let byte = |pair: &[u8]| Some(digit(pair.first()?)? << 4 | digit(pair.get(1)?)?);
    let bytes: Option<Vec<u8>> = hex.chunks(2).map(byte).collect();
    bytes.is_some_and(|tag| hmac::verify(&key(secret), body, &tag).is_ok())
}

/// Digests of both are compared: how much of them is equal tells nothing of the secret.
fn is_equal(secret: &[u8], given: &[u8]) -> bool {
    let key = key(b"hafen compares webhook tokens");
    hmac::verify(&key, given, hmac::sign(&key, secret).as_ref()).is_ok()
}

/// `v1,BASE64`, or several of them between spaces while a secret is replaced.
fn is_standard(secret: &[u8], headers: &HeaderMap, body: &[u8], given: &[u8]) -> bool {
    let part = |name: &str| headers.get(name).map(|value| value.as_bytes()).unwrap_or_default();
    let signed = [part("webhook-id"), b".", part("webhook-timestamp"), b".", body].concat();
    let decoded = std::str::from_utf8(secret).ok().and_then(|text| text.strip_prefix(SIGNING_TOKEN));
    let decoded = decoded.and_then(|text| STANDARD.decode(text).ok());
    // GitLab shows the token with the prefix of the specification; what is signed with is what the prefix stands before.
    let keys: Vec<hmac::Key> = decoded.iter().map(|bytes| key(bytes)).chain([key(secret)]).collect();
    let tags = given.split(|byte| *byte == b' ').filter_map(|one| STANDARD.decode(one.strip_prefix(b"v1,")?).ok());
    tags.take(4).any(|tag| keys.iter().any(|key| hmac::verify(key, &signed, &tag).is_ok()))
}

fn key(secret: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret)
}

/// The door for webhooks of one daemon: how many may come in, and how many were sent away.
#[derive(Debug)]
pub struct Webhooks {
    /// Who may have a body in memory.
    pub room: Semaphore,
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    accepted: u64,
    refused: u64,
    /// When, in ms since 1970, and why.
    last_refusal: Option<(u64, Refused)>,
    logged: Option<Instant>,
    /// What may still come at once, as of then.
    left: f64,
    counted: Option<Instant>,
}

impl Default for Webhooks {
    fn default() -> Self {
        let counts =
            Counts { accepted: 0, refused: 0, last_refusal: None, logged: None, left: f64::from(BURST), counted: None };
        Self { room: Semaphore::new(AT_ONCE), counts: Mutex::new(counts) }
    }
}

impl Webhooks {
    /// Whether one more may come now.
    pub fn admit(&self, now: Instant) -> Result<(), Refused> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = counts.counted.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        counts.counted = Some(now);
        counts.left = (counts.left + passed.as_secs_f64() * PER_SECOND).min(f64::from(BURST));
        if counts.left < 1.0 {
            return Err(Refused::TooMany);
        }
        counts.left -= 1.0;
        Ok(())
    }

    /// Counts what became of one. `wall_ms`: ms since 1970.
    pub fn count(&self, outcome: Result<(), Refused>, now: Instant, wall_ms: u64) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let Err(why) = outcome else {
            counts.accepted += 1;
            return;
        };
        counts.refused += 1;
        counts.last_refusal = Some((wall_ms, why));
        if counts.logged.is_none_or(|at| now.saturating_duration_since(at) >= LOG_EVERY) {
            counts.logged = Some(now);
            tracing::warn!(refused = counts.refused, "a webhook was refused: {why}");
        }
    }

    /// For `status`; None before the first.
    pub fn view(&self) -> Option<WebhookView> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let last = counts.last_refusal.map(|(at_ms, why)| WebhookRefusalView { at_ms, why: why.to_string() });
        (counts.accepted + counts.refused > 0).then_some(WebhookView {
            accepted: counts.accepted,
            refused: counts.refused,
            last_refusal: last,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    const SECRET: &[u8] = b"It's a Secret to Everybody";
    /// The example of GitHub's documentation ("Validating webhook deliveries"): body, and the signature with `SECRET`.
    const BODY: &[u8] = b"Hello, World!";
    const HEX: &str = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    fn check(pairs: &[(&'static str, &str)], expected: Result<Sender, Refused>) {
        assert_eq!(verify(SECRET, &headers(pairs), BODY), expected, "{pairs:?}");
    }

    #[test]
    fn the_signatures_of_three_forges_are_told_from_wrong_ones() {
        let (signed, other) = (format!("sha256={HEX}"), format!("sha256={}", HEX.replace('7', "8")));
        check(&[("x-hub-signature-256", &signed)], Ok(Sender::GitHub));
        check(&[("x-hub-signature-256", &other)], Err(Refused::WrongSignature));
        check(&[("x-hub-signature-256", HEX)], Err(Refused::WrongSignature));
        // Half of it, or nothing, or no hex.
        for bad in ["sha256=", "sha256=7571", "sha256=zz", "sha256=757", ""] {
            check(&[("x-hub-signature-256", bad)], Err(Refused::WrongSignature));
        }
        // SHA-1 is not asked: GitHub sends both.
        check(&[("x-hub-signature", "sha1=01dc10d0c83e72ed246219cdd91669667fe2ca59")], Err(Refused::Unsigned));
        for name in ["x-gitea-signature", "x-forgejo-signature", "x-gogs-signature"] {
            check(&[(name, HEX)], Ok(Sender::Gitea));
            check(&[(name, &HEX.to_uppercase())], Ok(Sender::Gitea));
            check(&[(name, &signed)], Err(Refused::WrongSignature));
        }
        // Gitea sends its own and GitHub's.
        check(&[("x-gitea-signature", HEX), ("x-hub-signature-256", &signed)], Ok(Sender::GitHub));
        check(&[("x-gitlab-token", "It's a Secret to Everybody")], Ok(Sender::GitLab));
        for wrong in ["It's a Secret to Everybod", "It's a Secret to Everybody!", ""] {
            check(&[("x-gitlab-token", wrong)], Err(Refused::WrongSignature));
        }
        check(&[], Err(Refused::Unsigned));
    }

    #[test]
    fn signing_tokens_of_gitlab_count_with_their_message_and_their_time() {
        // The example of the Standard Webhooks specification's libraries.
        let secret = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let body = br#"{"test": 2432232314}"#;
        let signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        let with = |id: &str, time: &str, signature: &str| {
            let all = [("webhook-id", id), ("webhook-timestamp", time), ("webhook-signature", signature)];
            verify(secret, &headers(&all), body)
        };
        let (id, time) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330");
        assert_eq!(with(id, time, signature), Ok(Sender::GitLab));
        let two = format!("v1,AAAA {signature}");
        assert_eq!(with(id, time, &two), Ok(Sender::GitLab), "while a token is replaced there are two");
        for (id, time, signature) in [
            (id, "1614265331", signature),
            ("msg_other", time, signature),
            (id, time, &signature[3..]),
            (id, time, "v1,"),
        ] {
            assert_eq!(with(id, time, signature), Err(Refused::WrongSignature));
        }
    }

    #[test]
    fn a_flood_is_turned_away_and_counted_and_does_not_last() {
        let (webhooks, begin) = (Webhooks::default(), Instant::now());
        let taken = (0..100).filter(|_| webhooks.admit(begin).is_ok()).count();
        assert_eq!(taken, BURST as usize);
        assert_eq!(webhooks.admit(begin + Duration::from_millis(100)), Err(Refused::TooMany));
        assert_eq!(webhooks.admit(begin + Duration::from_secs(1)), Ok(()));
        assert_eq!(webhooks.view(), None, "nothing was counted yet");
        webhooks.count(Ok(()), begin, 1);
        webhooks.count(Err(Refused::WrongSignature), begin, 2);
        webhooks.count(Err(Refused::Unsigned), begin, 3);
        let view = webhooks.view().expect("three came");
        assert_eq!((view.accepted, view.refused), (1, 2));
        assert_eq!(view.last_refusal.map(|last| (last.at_ms, last.why)), Some((3, Refused::Unsigned.to_string())));
    }
}
