//! What can go wrong with the log, and what a person is to do about it.

use super::types::RaftNode;
use crate::model::NodeId;
use std::path::{Path, PathBuf};

/// `ENOSPC`, `EDQUOT`, `EROFS`, `EACCES`, `EPERM` as Linux numbers them; `io::ErrorKind` does not tell all of them apart.
const DISK_FULL: [i32; 2] = [28, 122];
const READ_ONLY: [i32; 3] = [30, 13, 1];

/// Why the log cannot be opened, or why it stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    #[error(
        "the disk of `{path}` is full: this node acknowledges nothing any more; free some space and start it again"
    )]
    DiskFull { path: PathBuf },
    #[error(
        "`{path}` cannot be written (read-only file system or no permission): this node acknowledges nothing any more"
    )]
    ReadOnly { path: PathBuf },
    #[error(
        "`{path}` is damaged ({what}): this copy of the log must not be used again; move the data directory away and \
         join this node under a new name"
    )]
    Corrupt { path: PathBuf, what: String },
    /// Found by asking the other voters, or told by them.
    #[error(
        "the log in `{path}` has gone back in time ({what}): the disk was restored from an old copy, emptied or lost what was \
         written; this node must not vote with it; move the data directory away and join this node under a new name"
    )]
    Reverted { path: PathBuf, what: String },
    #[error("`{path}` belongs to {found}, not to {wanted}; use another data directory")]
    OtherIdentity { path: PathBuf, found: String, wanted: String },
    #[error("`{path}` is in use by another daemon")]
    Locked { path: PathBuf },
    #[error("entry {index} of the log cannot be read by this version ({why}): install a newer one; nothing is lost")]
    Undecodable { index: u64, why: String },
    #[error("the snapshot of the log cannot be read by this version ({why}): install a newer one; nothing is lost")]
    UndecodableSnapshot { why: String },
    #[error("failed to use `{path}`: {text}")]
    Io { path: PathBuf, text: String },
    #[error("invalid log settings: {0}")]
    Config(String),
    /// In order, by `shutdown`.
    #[error("the log is closed")]
    Closed,
    #[error("raft stopped: {0}")]
    Stopped(String),
}

impl LogError {
    pub(super) fn from_io(path: &Path, error: &std::io::Error) -> Self {
        let path = path.to_path_buf();
        match error.raw_os_error() {
            Some(code) if DISK_FULL.contains(&code) => Self::DiskFull { path },
            Some(code) if READ_ONLY.contains(&code) => Self::ReadOnly { path },
            Some(_) | None => match error.kind() {
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::DiskFull { path },
                std::io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { path },
                _ => Self::Io { path, text: error.to_string() },
            },
        }
    }

    pub(super) fn from_redb(path: &Path, error: redb::Error) -> Self {
        match error {
            redb::Error::Io(io) => Self::from_io(path, &io),
            redb::Error::Corrupted(what) => Self::Corrupt { path: path.to_path_buf(), what },
            redb::Error::DatabaseAlreadyOpen => Self::Locked { path: path.to_path_buf() },
            other => Self::Io { path: path.to_path_buf(), text: other.to_string() },
        }
    }

    pub(super) fn corrupt(path: &Path, what: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_path_buf(), what: what.into() }
    }
}

/// Why a change of members did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    #[error("this node does not lead (leader: {})", leader.as_ref().map_or("none", NodeId::as_str))]
    NotLeader { leader: Option<NodeId> },
    #[error("`{name}` has the same raft id as member `{other}`; choose another node name")]
    Collision { name: NodeId, other: NodeId },
    #[error("`{name}` is not a member; add it as a learner first")]
    UnknownMember { name: NodeId },
    #[error("`{name}` is not this node's name, which is `{own}`")]
    NotSelf { name: NodeId, own: NodeId },
    #[error("`{name}` has not caught up with the log yet")]
    Behind { name: NodeId },
    #[error("at least one voter must remain")]
    NoVoters,
    #[error("the log was initialised before")]
    Initialised,
    #[error("another change of members is going on")]
    InProgress,
    /// It may or may not be committed.
    #[error("the outcome of the change of members is unknown: {0}")]
    Unknown(String),
}

impl MembershipError {
    pub(super) fn collision(node: &RaftNode, other: &RaftNode) -> Self {
        Self::Collision { name: node.name.clone(), other: other.name.clone() }
    }
}

/// Why an RPC of another node was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandleError {
    #[error("the request is of another cluster, generation or format")]
    Foreign,
    #[error("the request cannot be read: {0}")]
    Malformed(String),
    #[error("the request is larger than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("the log of this node has stopped: {0}")]
    Stopped(String),
    #[error("this node has started and still asks the other voters what it acknowledged before")]
    NotAdmitted,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn full_and_read_only_disks_are_told_apart_from_other_errors() {
        let of = |code| LogError::from_io(Path::new("/log"), &io::Error::from_raw_os_error(code));
        let path = PathBuf::from("/log");
        assert_eq!(of(28), LogError::DiskFull { path: path.clone() });
        assert_eq!(of(122), LogError::DiskFull { path: path.clone() });
        assert_eq!(of(30), LogError::ReadOnly { path: path.clone() });
        assert!(matches!(of(5), LogError::Io { .. }));
    }
}
