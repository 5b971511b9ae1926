//! States and entries as bytes: what log and snapshots hold.
//!
//! Every blob begins with its format version. A version that this build does not know is an error, never a guess: the
//! node that meets one halts. `tests` keeps bytes of every version that was ever written.

use super::{Entry, State};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Raised with every change of the stored types.
pub const FORMAT: u8 = 1;

/// The hard cap of one entry. Larger things travel in chunks; a follower must be able to take any entry in one message.
pub const MAX_ENTRY_BYTES: usize = 256 * 1024;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    #[error("format {found} is newer than this program knows ({FORMAT}); update it")]
    UnknownFormat { found: u8 },
    #[error("the bytes are damaged: {0}")]
    Damaged(String),
}

pub fn encode(state: &State) -> Vec<u8> {
    write(state)
}

pub fn decode(bytes: &[u8]) -> Result<State, SnapshotError> {
    read(bytes)
}

pub fn encode_entry(entry: &Entry) -> Vec<u8> {
    write(entry)
}

pub fn decode_entry(bytes: &[u8]) -> Result<Entry, SnapshotError> {
    read(bytes)
}

fn write(value: &impl Serialize) -> Vec<u8> {
    // Growing a vector cannot fail, and all our types serialise.
    postcard::to_extend(value, vec![FORMAT]).expect("plain data always serialises")
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, SnapshotError> {
    match bytes.split_first() {
        Some((&FORMAT, body)) => {
            let (value, rest) =
                postcard::take_from_bytes(body).map_err(|error| SnapshotError::Damaged(error.to_string()))?;
            if rest.is_empty() { Ok(value) } else { Err(SnapshotError::Damaged("bytes are left over".into())) }
        }
        Some((&found, _)) => Err(SnapshotError::UnknownFormat { found }),
        None => Err(SnapshotError::Damaged("empty".into())),
    }
}
