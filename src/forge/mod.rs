//! Tells GitHub, GitLab or Gitea something of a commit or a merge request.
//!
//! Answers: did they take it, and if not, is it worth trying again and when?
//! Input → output: a project with a token, and a [`CommitStatus`] or a comment → acknowledged, or a [`ForgeError`].
//!
//! Invariants: what is sent twice ends as one (a status by its context, a comment by its hidden first line); a redirect
//! is never followed, since the token would go along; every answer is bounded in size and time; the token is in no error.
//! Deliberately absent: when something is sent, and again (`reconcile`), and who may (the leader); reading of commits.
//!
//! Files: `dialect` what differs between the three · `http` requests and answers · `comment` the one comment · `error`.

mod comment;
mod dialect;
mod error;
mod http;
#[cfg(test)]
mod tests;

pub use comment::{Commented, LONGEST_COMMENT};
pub use error::ForgeError;

use crate::model::{CommitStatus, Provider};
use http::Http;
use std::fmt;

/// What a forge is asked with. Never shown.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// # Errors
    ///
    /// [`ForgeError::BadToken`]: it is empty, or has characters that cannot be in a header (a line break in its middle).
    pub fn new(text: &str) -> Result<Self, ForgeError> {
        let text = text.trim();
        let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if plain { Ok(Self(text.to_owned())) } else { Err(ForgeError::BadToken) }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// A project on a forge, and the right to speak about it.
#[derive(Debug)]
pub struct Forge {
    provider: Provider,
    project: String,
    http: Http,
}

impl Forge {
    /// `url` is the forge's address as in a browser; `ca` a PEM file with CAs to trust besides those of the machine.
    ///
    /// # Errors
    ///
    /// [`ForgeError::BadUrl`], [`ForgeError::BadProject`] or [`ForgeError::Prepare`]: nothing was sent.
    pub fn new(
        provider: Provider,
        url: &str,
        project: &str,
        token: Token,
        ca: Option<&str>,
    ) -> Result<Self, ForgeError> {
        if !provider.is_project(project) {
            return Err(ForgeError::BadProject { provider, project: project.to_owned() });
        }
        let base = dialect::base(provider, url)?;
        Ok(Self { provider, project: project.to_owned(), http: Http::new(provider, base, token, ca)? })
    }

    /// Sets the status of a commit. Sent again it replaces the one of the same context.
    ///
    /// # Errors
    ///
    /// [`ForgeError`]; after those of which [`ForgeError::may_pass`] is true it may or may not have been set.
    pub async fn set_status(
        &self,
        status: &CommitStatus,
        context: &str,
        target_url: Option<&str>,
    ) -> Result<(), ForgeError> {
        let path = dialect::status_path(self.provider, &self.project, &status.revision);
        let body = dialect::status_body(self.provider, status, context, target_url);
        match self.http.ask(reqwest::Method::POST, &path, Some(&body)).await {
            Err(ForgeError::Refused { status: 400, words })
                if dialect::is_there(self.provider, status.state, &words) =>
            {
                Ok(())
            }
            Err(error) => Err(dialect::of_status(error, &status.revision)),
            Ok(_) => Ok(()),
        }
    }
}
