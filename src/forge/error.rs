//! Why a forge did not take what it was told.

use crate::model::{Provider, Revision};
use std::time::Duration;

/// What went wrong. No text holds the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForgeError {
    #[error("the token is empty, or has a character that no token has")]
    BadToken,
    #[error("`{url}` is not a web address")]
    BadUrl { url: String },
    #[error("`{project}` is no project on {provider}")]
    BadProject { provider: Provider, project: String },
    #[error("failed to prepare the connection: {why}")]
    Prepare { why: String },
    /// 401.
    #[error("the token is not taken{}", said(words))]
    Unauthorized { words: String },
    /// 403, and 404: forges say that what a token may not see is not there.
    #[error("there is no such project, or the token may not do this ({status}{})", said(words))]
    Forbidden { status: u16, words: String },
    #[error("the commit {} is not known there", revision.short())]
    UnknownCommit { revision: Revision },
    /// Too many requests, from this token or in all. `after`: when it asks to be asked again.
    #[error("it wants to be asked less often ({status})")]
    Throttled { status: u16, after: Option<Duration> },
    /// Another 4xx.
    #[error("it was refused ({status}{})", said(words))]
    Refused { status: u16, words: String },
    /// A redirect, which is not followed: the token would go along.
    #[error(
        "it sends elsewhere, to {to}, and is not followed; write the address of the forge and the name of the project as they are now"
    )]
    Redirected { to: String },
    /// 5xx.
    #[error("it has trouble of its own ({status})")]
    Trouble { status: u16, after: Option<Duration> },
    #[error("it did not answer in time")]
    TimedOut,
    #[error("it cannot be reached: {why}")]
    Unreachable { why: String },
    #[error("its answer is longer than {limit} bytes")]
    TooLong { limit: usize },
    #[error("its answer is not understood: {why}")]
    NotUnderstood { why: String },
    #[error("the merge request has more than {limit} comments")]
    TooManyComments { limit: usize },
}

/// The other side's own words, if it had any.
fn said(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!(": {words}") }
}

impl ForgeError {
    /// Whether the same request may be taken later, without anybody changing anything. For status of a commit everything
    /// else is tried again too, for somebody may repair it; only an unknown commit is not.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Throttled { .. } | Self::Trouble { .. } | Self::TimedOut | Self::Unreachable { .. } => true,
            Self::BadToken
            | Self::BadUrl { .. }
            | Self::BadProject { .. }
            | Self::Prepare { .. }
            | Self::Unauthorized { .. }
            | Self::Forbidden { .. }
            | Self::UnknownCommit { .. }
            | Self::Refused { .. }
            | Self::Redirected { .. }
            | Self::TooLong { .. }
            | Self::NotUnderstood { .. }
            | Self::TooManyComments { .. } => false,
        }
    }

    /// How long it asks to be left alone, if it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Throttled { after, .. } | Self::Trouble { after, .. } => *after,
            Self::BadToken
            | Self::BadUrl { .. }
            | Self::BadProject { .. }
            | Self::Prepare { .. }
            | Self::Unauthorized { .. }
            | Self::Forbidden { .. }
            | Self::UnknownCommit { .. }
            | Self::Refused { .. }
            | Self::Redirected { .. }
            | Self::TimedOut
            | Self::Unreachable { .. }
            | Self::TooLong { .. }
            | Self::NotUnderstood { .. }
            | Self::TooManyComments { .. } => None,
        }
    }
}
