//! The hook side of a push: what git tells the hooks, which refs may be pushed, what the pusher asked for.
//!
//! Order of events inside `git receive-pack`, as tests hold it (git 2.39 and 2.47):
//! 1. The objects arrive in a quarantine directory.
//! 2. `pre-receive` runs with `GIT_QUARANTINE_PATH`; it reads the updates from stdin ([`parse_updates`]). If it fails, git
//!    removes the quarantine and the pusher sees `! [remote rejected] main -> main (pre-receive hook declined)`.
//! 3. The objects move into the repository.
//! 4. `proc-receive` runs, without quarantine ([`read_request`], [`write_report`]). After `ok REF` git takes the word of
//!    the hook: it does *not* move the ref itself, the daemon does, and it tells the pusher `old..new  main -> main`. After
//!    `ng REF REASON` the pusher sees `! [remote rejected] main -> main (REASON)` and an exit status of 1.
//!
//! What a hook writes to stderr (or, in `pre-receive`, stdout) appears at the pusher's terminal line by line, each with
//! `remote: ` before it. In `proc-receive` stdout belongs to the protocol.

mod options;
mod protocol;
mod updates;

pub use options::PushOptions;
pub use protocol::{ProcReceive, Report, read_request, write_report};
pub use updates::{RefUpdate, check_updates, parse_updates};

use std::io;

/// Why a push cannot be handled. All texts are for the pusher.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    #[error("failed to talk to git")]
    Io(#[from] io::Error),
    #[error("`{text}` is not a folder of the repository: write it from the root on, such as `clusters/prod`")]
    NoFolder { text: String },
    #[error("git sent something unexpected: {what}")]
    Malformed { what: String },
    #[error("{reason}")]
    RefusedRef { name: String, reason: String },
    #[error("unknown push option `{option}`{}", hint.as_ref().map(|h| format!(", did you mean `{h}`?")).unwrap_or_default())]
    UnknownOption { option: String, hint: Option<String> },
    #[error("push option `{option}` takes no value")]
    OptionWithValue { option: String },
    #[error("`{text}` is not the id of a plan; `hafen plan --out FILE` prints one")]
    NoPlanId { text: String },
    #[error("more than {limit} {what} in one push")]
    TooMany { what: &'static str, limit: usize },
}

impl ReceiveError {
    pub(super) fn malformed(what: impl Into<String>) -> Self {
        Self::Malformed { what: what.into() }
    }
}

/// Text that came from outside, fit for one line of a terminal.
pub(super) fn printable(text: &str, most: usize) -> String {
    let spaced: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let words = spaced.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(most) {
        None => words,
        Some((end, _)) => format!("{}…", &words[..end]),
    }
}
