//! Objects between nodes: what one lacks, as a pack, and its installation all or nothing.

use super::connectivity;
use super::error::SourceError;
use super::hooks::sync_directory;
use super::process::{self, GitCall};
use super::repo::{Repo, oid};
use crate::model::Revision;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The largest pack between nodes: a node that joins gets the whole history at once.
pub const MAX_PACK_BYTES: u64 = 256 * 1024 * 1024;
/// Indexing the largest pack takes some ten seconds on a slow machine.
const INDEX_TIMEOUT: Duration = Duration::from_secs(120);
/// `PACK`, version, count and the closing SHA-1.
const SMALLEST_PACK: usize = 12 + 20;

impl Repo {
    /// Everything reachable from `want` and not from those of `have` that are known here.
    ///
    /// Empty if there is nothing to send. Fails if `want` is not here, or above [`MAX_PACK_BYTES`].
    pub fn pack(&self, want: &Revision, have: &[Revision]) -> Result<Vec<u8>, SourceError> {
        let failed = |error| self.git_error("packing objects", error);
        let git = self.git()?;
        let mut walk = git.revwalk().map_err(failed)?;
        walk.push(self.commit(&git, want)?.id()).map_err(failed)?;
        for revision in have {
            if let Ok(id) = oid(revision)
                && git.find_commit(id).is_ok()
            {
                walk.hide(id).map_err(failed)?;
            }
        }
        let mut builder = git.packbuilder().map_err(failed)?;
        builder.set_threads(1);
        builder.insert_walk(&mut walk).map_err(failed)?;
        if builder.object_count() == 0 {
            return Ok(Vec::new());
        }
        let (mut bytes, mut fits) = (Vec::new(), true);
        let written = builder.foreach(|part| {
            fits = (bytes.len() + part.len()) as u64 <= MAX_PACK_BYTES;
            if fits {
                bytes.extend_from_slice(part);
            }
            fits
        });
        if !fits {
            return Err(SourceError::TooLarge { what: "the pack", limit: MAX_PACK_BYTES });
        }
        written.map_err(failed)?;
        Ok(bytes)
    }

    /// Takes a pack over, if with it everything that `expect` needs is here, and keeps `expect` from gc.
    ///
    /// When this returns `Ok` the revision is durable. On any error nothing of the pack stays. Installing twice is fine; an
    /// empty pack means that the objects should be here already.
    pub fn install_pack(&self, bytes: &[u8], expect: &Revision) -> Result<(), SourceError> {
        oid(expect)?;
        if bytes.is_empty() {
            return self.keep(expect);
        }
        if bytes.len() as u64 > MAX_PACK_BYTES {
            return Err(SourceError::TooLarge { what: "the pack", limit: MAX_PACK_BYTES });
        }
        let incoming = Incoming::new(self)?;
        let name = incoming.index(self, bytes)?;
        let seen = self.with_quarantine(&incoming.objects);
        let git = seen.git()?;
        connectivity::check(&git, expect, &seen.known_tips(&git)?, self.path())?;
        drop(git);
        incoming.take_over(self, &name)?;
        self.keep(expect)
    }
}

/// A directory for objects that are not ours yet, on the same file system; removed when dropped.
struct Incoming {
    directory: PathBuf,
    objects: PathBuf,
    packs: PathBuf,
}

impl Incoming {
    fn new(repo: &Repo) -> Result<Self, SourceError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let directory = repo.incoming().join(name);
        let objects = directory.join("objects");
        let incoming = Self { packs: objects.join("pack"), objects, directory };
        fs::create_dir_all(&incoming.packs)
            .map_err(|e| SourceError::io("making room for a pack", &incoming.packs, e))?;
        Ok(incoming)
    }

    /// Writes the pack durably, has git check and index it, and returns its name.
    fn index(&self, repo: &Repo, bytes: &[u8]) -> Result<String, SourceError> {
        let checksum = match bytes.split_last_chunk::<20>() {
            Some((_, checksum)) if bytes.len() >= SMALLEST_PACK => git2::Oid::from_bytes(checksum),
            _ => return Err(SourceError::Corrupt { reason: format!("it has {} bytes", bytes.len()) }),
        };
        let checksum = checksum.map_err(|e| repo.git_error("reading a pack's checksum", e))?;
        let name = format!("pack-{checksum}");
        let (pack, index) = (self.packs.join(format!("{name}.pack")), self.packs.join(format!("{name}.idx")));
        (|| {
            let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&pack)?;
            file.write_all(bytes)?;
            file.sync_all()
        })()
        .map_err(|e| SourceError::io("writing a pack", &pack, e))?;
        let (pack_text, index_text) = (pack.to_string_lossy(), index.to_string_lossy());
        let args = ["index-pack", "--fsck-objects", "--no-rev-index", "-o", &index_text, &pack_text];
        let call = GitCall {
            name: "index-pack",
            doing: "indexing a pack",
            git_dir: repo.path(),
            args: &args,
            env: &[],
            timeout: INDEX_TIMEOUT,
        };
        match process::run(&call) {
            Ok(_) => {}
            Err(SourceError::Command { stderr, .. }) => return Err(SourceError::Corrupt { reason: stderr }),
            Err(other) => return Err(other),
        }
        fs::File::open(&index)
            .and_then(|file| file.sync_all())
            .map_err(|e| SourceError::io("writing a pack's index", &index, e))?;
        Ok(name)
    }

    /// Moves the pack into the repository: a pack exists for git once its index does, so that goes last.
    fn take_over(&self, repo: &Repo, name: &str) -> Result<(), SourceError> {
        let target = repo.path().join("objects/pack");
        let failed = |e| SourceError::io("installing a pack", &target, e);
        if target.join(format!("{name}.idx")).exists() {
            return Ok(());
        }
        for ending in ["pack", "idx"] {
            let file = format!("{name}.{ending}");
            fs::rename(self.packs.join(&file), target.join(&file)).map_err(failed)?;
        }
        sync_directory(&target).map_err(failed)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}
