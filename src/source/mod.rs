//! Git: pushes, fetches, and the files of a revision.
//!
//! Answers: which files does this revision hold, is it a descendant of that one, which objects does a peer lack, and
//! what did the pusher ask for.
//!
//! Input → output: a bare repository ([`Repo`], `DATA_DIR/repo.git`), packs from peers, a url, and what
//! `git receive-pack` tells its hooks ([`receive`]) → file contents, packs, revisions, or a [`SourceError`].
//!
//! Invariants:
//! - Only the daemon moves `refs/heads/main`, through [`Repo::set_main`]; the ref is a cache of the log.
//! - A revision kept by [`Repo::keep`] or [`Repo::install_pack`] is complete, durable, and survives `git gc`.
//! - A failed installation leaves nothing behind. No text of a manifest, url or pack can make this module panic.
//!
//! Deliberately absent: decisions about a push (the daemon makes them between [`receive::read_request`] and
//! [`receive::write_report`]), reading manifests, and the socket the hooks talk to. Calls block; async callers wrap them.
//!
//! Reading goes through libgit2; receiving, indexing packs, fetching and gc run the installed `git`, which has every
//! transport and every check, and which survives a full disk (libgit2 writes packs through a memory map and would be
//! killed by SIGBUS there).

mod blame;
mod connectivity;
mod error;
mod fetch;
mod hooks;
mod local;
mod pack;
mod process;
mod read;
pub mod receive;
mod repo;
mod signatures;
mod watch;

pub use error::{FileProblem, ProblemKind, SourceError};
pub use local::Place;
pub use pack::MAX_PACK_BYTES;
pub use read::{CommitInfo, ReadLimits};
pub use repo::Repo;
pub use signatures::{Policy, PushedRules, Signature, Signer};
pub use watch::{LocalWatch, watch_local};

#[cfg(test)]
mod tests;
