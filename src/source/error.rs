//! What can go wrong with git, and which files of a tree cannot be used.

use crate::model::{Diagnostic, Revision, Severity};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why something about git failed.
///
/// A refusal of what was asked (unusable files, unknown revision) and a failure of this machine (disk, missing program)
/// are told apart by [`SourceError::is_refusal`], so that "cannot read git" is never taken for "git says no".
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("no space left on device while {doing} (`{}`)", path.display())]
    DiskFull { doing: &'static str, path: PathBuf },
    #[error("failed at {doing} (`{}`)", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("git failed at {doing}")]
    Git {
        doing: &'static str,
        #[source]
        source: git2::Error,
    },
    #[error("the program `git` is not installed or not in PATH")]
    GitMissing,
    #[error("the program `{program}` is not installed or not in PATH")]
    ProgramMissing { program: &'static str },
    #[error("git {found} is too old, {needed} is needed")]
    GitTooOld { found: String, needed: &'static str },
    #[error("`git {command}` failed: {stderr}")]
    Command { command: &'static str, stderr: String },
    #[error("`git {command}` did not finish within {} and was killed", crate::model::duration::format(*after))]
    TimedOut { command: &'static str, after: Duration },
    #[error("`{text}` is not a revision (40 lower-case hex digits)")]
    BadRevision { text: String },
    #[error("revision {revision} is not in this repository")]
    NotFound { revision: Revision },
    #[error("revision {revision} is incomplete: object {missing} is missing")]
    Incomplete { revision: Revision, missing: String },
    #[error("the pack is damaged: {reason}")]
    Corrupt { reason: String },
    #[error("{what} is larger than the limit of {limit} bytes")]
    TooLarge { what: &'static str, limit: u64 },
    #[error("revision {revision} has no directory `{directory}`")]
    NoSuchDirectory { revision: Revision, directory: String },
    #[error("revision {revision} holds more than {limit} {what}")]
    TooMany { revision: Revision, what: &'static str, limit: usize },
    #[error("revision {revision} cannot be used: {}", list(problems))]
    Unusable { revision: Revision, problems: Vec<FileProblem> },
    #[error("`{}` is in no git repository", path.display())]
    NoRepository { path: PathBuf },
    #[error("`{name}` names no commit of this repository")]
    NoSuchName { name: String },
    #[error("the file of signers `{file}` cannot be used: {why}")]
    BadSigners { file: String, why: String },
    #[error("`{branch}` is not a valid name of a branch")]
    BadBranch { branch: String },
    #[error(
        "the url holds a password; use an ssh key or a git credential helper, since the url is readable by everyone"
    )]
    PasswordInUrl,
    #[error("failed to watch `{}`", path.display())]
    Watch {
        path: PathBuf,
        #[source]
        source: notify::Error,
    },
}

impl SourceError {
    /// True if the content asked about is to blame, and trying again cannot help.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::BadRevision { .. }
            | Self::TooLarge { .. }
            | Self::NoSuchDirectory { .. }
            | Self::NoRepository { .. }
            | Self::NoSuchName { .. }
            | Self::TooMany { .. }
            | Self::Unusable { .. }
            | Self::BadBranch { .. }
            | Self::BadSigners { .. }
            | Self::PasswordInUrl => true,
            // A missing or damaged object may arrive whole from another peer.
            Self::DiskFull { .. }
            | Self::Io { .. }
            | Self::Git { .. }
            | Self::GitMissing
            | Self::ProgramMissing { .. }
            | Self::GitTooOld { .. }
            | Self::Command { .. }
            | Self::TimedOut { .. }
            | Self::NotFound { .. }
            | Self::Incomplete { .. }
            | Self::Corrupt { .. }
            | Self::Watch { .. } => false,
        }
    }

    pub(super) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { doing, path: path.to_owned() }
            }
            _ => Self::Io { doing, path: path.to_owned(), source },
        }
    }

    pub(super) fn git(doing: &'static str, path: &Path, source: git2::Error) -> Self {
        if says_disk_full(source.message()) {
            return Self::DiskFull { doing, path: path.to_owned() };
        }
        Self::Git { doing, source }
    }
}

/// libgit2 and git mostly end their messages with the words of the system (git is run with `LC_ALL=C`); git's writer of
/// checksummed files says "Out of diskspace" after a short write.
pub(super) fn says_disk_full(text: &str) -> bool {
    ["No space left on device", "Disk quota exceeded", "Out of diskspace"].iter().any(|words| text.contains(words))
}

/// One path of a tree that makes the revision unusable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileProblem {
    /// From the root of the repository, `/` between names; what a terminal could not show is replaced.
    pub path: String,
    pub kind: ProblemKind,
}

/// Why a path cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    Submodule,
    LfsPointer,
    Symlink,
    BadName,
    TooLarge { bytes: u64, limit: u64 },
}

impl FileProblem {
    /// What would help.
    pub fn help(&self) -> &'static str {
        match self.kind {
            ProblemKind::Submodule => "commit the manifests themselves, for example with `git subtree add`",
            ProblemKind::LfsPointer => "remove the pattern from .gitattributes and run `git add --renormalize .`",
            ProblemKind::Symlink => "commit a copy of the file or directory in place of the link",
            ProblemKind::BadName => "rename the file",
            ProblemKind::TooLarge { .. } => "split the file; any number of documents and files is fine",
        }
    }

    /// As a finding about the whole file. `code` is from the caller's catalogue of codes.
    pub fn diagnostic(&self, code: &str) -> Diagnostic {
        Diagnostic {
            code: code.to_owned(),
            severity: Severity::Error,
            file: self.path.clone(),
            line: 0,
            column: 0,
            end_line: 0,
            end_column: 0,
            message: self.kind.to_string(),
            help: Some(self.help().to_owned()),
        }
    }
}

impl fmt::Display for ProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Submodule => f.write_str("submodules are not followed"),
            Self::LfsPointer => f.write_str("a Git LFS pointer holds no manifest"),
            Self::Symlink => f.write_str("symbolic links are not followed"),
            Self::BadName => f.write_str("the name is not UTF-8 or holds control characters"),
            Self::TooLarge { bytes, limit } => write!(f, "the file has {bytes} bytes, the limit is {limit}"),
        }
    }
}

impl fmt::Display for FileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.kind)
    }
}

fn list(problems: &[FileProblem]) -> String {
    problems.iter().map(FileProblem::to_string).collect::<Vec<_>>().join("; ")
}
