//! How a command ends: its exit code, and what it says when it fails.
//!
//! One place words every error: `error: …`, an empty line, `hint: …`, all on stderr. Exit codes are one enum.

use crate::api::client::ClientError;
use crate::api::{ApiError, ErrorCode};
use std::io::Write;

/// Every exit code of `hafen`, documented in `hafen --help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Ok = 0,
    /// It worked, and the answer is no: findings, differences, degraded, not as desired. Or it failed for a stated reason.
    No = 1,
    /// The answer could not be found out.
    CouldNotTell = 2,
    /// `EX_USAGE` of sysexits.
    Usage = 64,
    /// `EX_UNAVAILABLE`: the daemon cannot be reached.
    Unreachable = 69,
    /// `EX_SOFTWARE`: a bug.
    Bug = 70,
    NoSuchObject = 105,
    NoQuorum = 106,
    Unsafe = 107,
    NotPlaced = 113,
    /// As of `timeout(1)`.
    TimedOut = 124,
    /// The daemon ended by SIGTERM, as a shell would say it: not an end that an operator asked for.
    Terminated = 143,
}

/// What `hafen --help` says of exit codes.
pub const EXIT_CODES: &str = "Exit codes:
    0  done, as desired          64  wrong usage             107  refused as unsafe
    1  the answer is no          69  daemon not reachable    113  a resource has no node
    2  could not tell            70  a bug in hafen          124  timed out
                                105  no such object
                                106  no quorum";

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CliError {
    pub kind: Kind,
    pub message: String,
    /// What to do next.
    pub hints: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Failed,
    CouldNotTell,
    Usage,
    Unreachable,
    Bug,
    NoSuchObject,
    NoQuorum,
    Unsafe,
    NotPlaced,
    TimedOut,
    /// Nobody reads our output any more. Silent: it is no failure of ours.
    BrokenPipe,
}

impl CliError {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hints: Vec::new() }
    }
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    pub fn exit(&self) -> Exit {
        match self.kind {
            Kind::BrokenPipe => Exit::Ok,
            Kind::Failed => Exit::No,
            Kind::CouldNotTell => Exit::CouldNotTell,
            Kind::Usage => Exit::Usage,
            Kind::Unreachable => Exit::Unreachable,
            Kind::Bug => Exit::Bug,
            Kind::NoSuchObject => Exit::NoSuchObject,
            Kind::NoQuorum => Exit::NoQuorum,
            Kind::Unsafe => Exit::Unsafe,
            Kind::NotPlaced => Exit::NotPlaced,
            Kind::TimedOut => Exit::TimedOut,
        }
    }

    /// The text for stderr, styled; empty for a broken pipe.
    pub fn render(&self) -> String {
        if self.kind == Kind::BrokenPipe {
            return String::new();
        }
        let mut text = format!("{}: {}\n", super::render::bad("error"), self.message);
        if !self.hints.is_empty() {
            text.push('\n');
        }
        for hint in &self.hints {
            text += &format!("{}: {hint}\n", super::render::strong("hint"));
        }
        text
    }

    /// Prints it and returns the exit code.
    pub fn report(&self) -> Exit {
        // If stderr is gone there is nobody left to tell.
        let _ = anstream::stderr().write_all(self.render().as_bytes());
        self.exit()
    }
}

impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::new(Kind::BrokenPipe, ""),
            _ => Self::new(Kind::CouldNotTell, error.to_string()),
        }
    }
}

impl From<ApiError> for CliError {
    fn from(error: ApiError) -> Self {
        let kind = match error.code {
            ErrorCode::Usage => Kind::Usage,
            ErrorCode::Forbidden | ErrorCode::Refused => Kind::Failed,
            ErrorCode::NoSuchObject => Kind::NoSuchObject,
            ErrorCode::NoQuorum => Kind::NoQuorum,
            ErrorCode::Unsafe => Kind::Unsafe,
            ErrorCode::Unknown => Kind::CouldNotTell,
            ErrorCode::TimedOut => Kind::TimedOut,
            ErrorCode::NotPlaced => Kind::NotPlaced,
            ErrorCode::Internal => Kind::Bug,
        };
        Self { kind, message: error.message, hints: error.hints }
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        let text = error.to_string();
        match error {
            ClientError::Refused(error) => error.into(),
            ClientError::Unreachable { .. } => {
                Self::new(Kind::Unreachable, text).hint("start it with `systemctl start hafen` or `hafen agent`")
            }
            ClientError::Denied { .. } => {
                Self::new(Kind::Unreachable, text).hint("use sudo, or become a member of the group `hafen`")
            }
            ClientError::TimedOut { .. } => {
                Self::new(Kind::TimedOut, text).hint("what was asked may still happen: look with `hafen status`")
            }
            ClientError::Broken(_) => Self::new(Kind::Unreachable, text)
                .hint("what was asked may still happen: look with `hafen status`")
                .hint("`journalctl -u hafen` shows why the daemon ended, if it did"),
            ClientError::BadAnswer(_) => Self::new(Kind::Unreachable, text)
                .hint("is the daemon of another version? `systemctl restart hafen` starts the installed one"),
        }
    }
}

/// What a panic says: the place for the report, and that it is ours.
pub fn install_panic_hook() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let text = match (info.payload().downcast_ref::<&str>(), info.payload().downcast_ref::<String>()) {
            (Some(text), _) => (*text).to_owned(),
            (None, Some(text)) => text.clone(),
            (None, None) => "a panic".to_owned(),
        };
        let error = CliError::new(Kind::Bug, format!("{text} ({place})"))
            .hint(format!("this is a bug in hafen {}; please report it with this message", env!("CARGO_PKG_VERSION")));
        error.report();
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_followed_by_an_empty_line_and_its_hints() {
        let error = CliError::usage("no such file").hint("name a folder");
        let plain = anstream::adapter::strip_str(&error.render()).to_string();
        assert_eq!(plain, "error: no such file\n\nhint: name a folder\n");
        assert_eq!(error.exit() as u8, 64);
    }

    #[test]
    fn a_broken_pipe_is_silent_and_no_failure() {
        let error = CliError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert_eq!((error.render().as_str(), error.exit()), ("", Exit::Ok));
    }

    #[test]
    fn a_daemon_that_is_not_there_is_69_and_says_how_to_start_it() {
        let error = CliError::from(ClientError::Unreachable { socket: "/x/hafen.sock".into() });
        assert_eq!(error.exit() as u8, 69);
        assert_eq!(error.message, "the daemon is not running on this node (/x/hafen.sock)");
        assert!(error.hints[0].contains("systemctl start hafen"));
    }
}
