//! One request to a forge and its answer, within bounds.

use super::dialect::{self, cut};
use super::{ForgeError, Token};
use crate::model::Provider;
use reqwest::header::{HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Certificate, Client, Method, StatusCode, Url};
use serde_json::Value;
use std::time::Duration;

/// One request, from the connection to the last byte. Forges answer within a second or two.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer: a page of a hundred comments of 64 KiB.
const LONGEST_ANSWER: usize = 8 * 1024 * 1024;
/// Of the other side's own words in an error.
const LONGEST_WORDS: usize = 200;
/// Longer pauses are not kept: somebody may have repaired it.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(super) struct Http {
    client: Client,
    provider: Provider,
    base: Url,
    token: Token,
    timeout: Duration,
}

impl Http {
    pub fn new(provider: Provider, base: Url, token: Token, ca: Option<&str>) -> Result<Self, ForgeError> {
        // reqwest's own verifier takes the provider of the process; setting it twice is harmless.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let failed = |why: &dyn std::fmt::Display| ForgeError::Prepare { why: why.to_string() };
        let mut builder = Client::builder()
            .user_agent(concat!("hafen/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            // Seldom used, and a connection that was left open is one more thing that can be stale.
            .pool_max_idle_per_host(0);
        if let Some(path) = ca {
            let unread = |why: &dyn std::fmt::Display| failed(&format!("the certificates in `{path}` (`ca`): {why}"));
            let bytes = std::fs::read(path).map_err(|error| unread(&error))?;
            let certificates = Certificate::from_pem_bundle(&bytes).map_err(|error| unread(&error))?;
            if certificates.is_empty() {
                return Err(unread(&"there are none in PEM"));
            }
            builder = builder.tls_certs_merge(certificates);
        }
        let client = builder.build().map_err(|error| failed(&in_words(&error)))?;
        Ok(Self { client, provider, base, token, timeout: REQUEST_TIMEOUT })
    }

    #[cfg(test)]
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// `path` is below the interface's address and may end in a query.
    pub async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, ForgeError> {
        let (status, headers, bytes) = tokio::time::timeout(self.timeout, self.exchange(method, path, body))
            .await
            .map_err(|_| ForgeError::TimedOut)??;
        if !status.is_success() {
            return Err(self.refusal(status, &headers, &bytes));
        }
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).map_err(|error| ForgeError::NotUnderstood { why: error.to_string() })
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, HeaderMap, Vec<u8>), ForgeError> {
        let url = format!("{}/{path}", self.base.as_str().trim_end_matches('/'));
        let (name, secret) = dialect::authorization(self.provider, &self.token.0);
        let mut secret = HeaderValue::try_from(secret).map_err(|_| ForgeError::BadToken)?;
        secret.set_sensitive(true);
        let mut request = self.client.request(method, url).header(name, secret);
        for (name, value) in dialect::headers(self.provider) {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let mut answer = request.send().await.map_err(|error| self.unreachable(&error))?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.unreachable(&error))? {
            if bytes.len() + chunk.len() > LONGEST_ANSWER {
                return Err(ForgeError::TooLong { limit: LONGEST_ANSWER });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok((status, headers, bytes))
    }

    fn refusal(&self, status: StatusCode, headers: &HeaderMap, bytes: &[u8]) -> ForgeError {
        let (code, after) = (status.as_u16(), retry_after(headers));
        // GitHub says 403 for both of its limits; what tells them is in the headers.
        let spent = headers.get("x-ratelimit-remaining").is_some_and(|left| left.as_bytes() == b"0");
        match code {
            429 => ForgeError::Throttled { status: code, after },
            403 if spent || after.is_some() => ForgeError::Throttled { status: code, after },
            401 => ForgeError::Unauthorized { words: self.words(bytes) },
            403 | 404 => ForgeError::Forbidden { status: code, words: self.words(bytes) },
            300..=399 => ForgeError::Redirected { to: self.destination(headers) },
            500.. => ForgeError::Trouble { status: code, after },
            _ => ForgeError::Refused { status: code, words: self.words(bytes) },
        }
    }

    /// Only the host: what else is in the address is not ours to repeat.
    fn destination(&self, headers: &HeaderMap) -> String {
        let to = headers.get(LOCATION).and_then(|to| to.to_str().ok()).and_then(|to| self.base.join(to).ok());
        let host = to.as_ref().and_then(|to| to.host_str());
        host.map_or_else(|| "nowhere".to_owned(), |host| self.hide(host))
    }

    /// What it says for itself: `message` of its JSON, which may be a list or a map, in one short line.
    fn words(&self, bytes: &[u8]) -> String {
        let Ok(value) = serde_json::from_slice::<Value>(bytes) else { return String::new() };
        let said = match value.get("message").or_else(|| value.get("error")) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        };
        let line: String = said.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        cut(&self.hide(line.trim()), LONGEST_WORDS)
    }

    fn hide(&self, text: &str) -> String {
        text.replace(&self.token.0, crate::model::secret::HIDDEN)
    }

    fn unreachable(&self, error: &reqwest::Error) -> ForgeError {
        if error.is_timeout() {
            return ForgeError::TimedOut;
        }
        ForgeError::Unreachable { why: cut(&self.hide(&in_words(error)), LONGEST_WORDS) }
    }
}

/// `Retry-After` in seconds; a date is not read (no forge sends one), then the usual pause is kept.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    Some(Duration::from_secs(text.trim().parse().ok()?).min(LONGEST_PAUSE))
}

/// The innermost cause: the outer ones only say that there was an error.
fn in_words(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
