//! The bare repository of a node: opening it, its refs, and what is kept.
//!
//! `refs/heads/main` is what the cluster runs (a cache of the log), `refs/hafen/kept/REVISION` protects a revision from
//! gc, `refs/hafen/upstream/BRANCH` is what was last fetched. The latter two are hidden from pushers.
//!
//! Each call opens the repository anew (well below a millisecond), so a [`Repo`] is a path that any thread may use.

use super::connectivity;
use super::error::SourceError;
use super::hooks::{self, sync_directory};
use super::process::{self, GitCall};
use crate::model::Revision;
use git2::{ErrorCode, Oid, Repository};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

pub(super) const MAIN: &str = "refs/heads/main";
const KEPT: &str = "refs/hafen/kept/";

/// The largest push. Manifests are text; whoever sends more has committed something by mistake.
const MAX_PUSH_BYTES: u64 = 64 * 1024 * 1024;

/// `proc-receive` came with 2.29, `core.fsync` with 2.36.
const OLDEST_GIT: (u32, u32, &str) = (2, 36, "2.36");
/// It answers in milliseconds, unless the machine is in trouble.
const VERSION_TIMEOUT: Duration = Duration::from_secs(10);

/// Locks of refs and settings are held for milliseconds; an older one belongs to nobody.
const STALE_LOCK: Duration = Duration::from_secs(10);

/// Read by libgit2 alone, which knows only the old name of the setting; git itself warns about that name.
const LIBGIT2_CONFIG: &str = "hafen-libgit2.config";

/// Work that leaves `tmp_*` files when it is killed, one at a time, so that sweeping them is safe.
pub(super) static WRITING: Mutex<()> = Mutex::new(());

/// One writer of refs at a time: libgit2 does not wait for a lock but fails, and a push and the follower of the
/// target write the same refs in the same moment.
static REFS: Mutex<()> = Mutex::new(());

/// `git gc` and `git receive-pack` lock refs too, for milliseconds.
const REF_TRIES: u32 = 50;
const REF_PAUSE: Duration = Duration::from_millis(10);

/// A bare repository. Cheap to clone; usable from any thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repo {
    path: PathBuf,
    /// Objects of a push that git has not taken over yet.
    quarantine: Option<PathBuf>,
}

impl Repo {
    /// Opens the daemon's repository; makes it, its settings and its hooks as they should be.
    ///
    /// For the daemon's start only: it also removes what an earlier run left half-done.
    pub fn open_or_init(path: &Path, hafen_binary: &Path, socket: &Path) -> Result<Self, SourceError> {
        let repo = Self::at(path)?;
        let path = repo.path.as_path();
        if Repository::open_bare(path).is_err() {
            let mut options = git2::RepositoryInitOptions::new();
            options.bare(true).external_template(false).initial_head("main").mkpath(true);
            Repository::init_opts(path, &options).map_err(|e| repo.git_error("making the repository", e))?;
        }
        let libgit2_config = path.join(LIBGIT2_CONFIG);
        let wanted = "[core]\n\tfsyncObjectFiles = true\n";
        if !fs::read(&libgit2_config).is_ok_and(|there| there == wanted.as_bytes()) {
            hooks::replace(&libgit2_config, wanted.as_bytes(), 0o644)?;
        }
        repo.check_git()?;
        repo.sweep();
        repo.configure()?;
        hooks::write(path, hafen_binary, socket)?;
        repo.sync_skeleton()?;
        Ok(repo)
    }

    /// Opens an existing repository without changing anything.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let repo = Self::at(path)?;
        repo.git()?;
        Ok(repo)
    }

    /// Opens the repository a hook runs in, with the objects that were just pushed.
    ///
    /// In `pre-receive` those lie in a quarantine (`GIT_QUARANTINE_PATH`) that git removes if the push is refused.
    pub fn open_in_hook() -> Result<Self, SourceError> {
        Self::from_hook_environment(|name| std::env::var_os(name))
    }

    pub(super) fn from_hook_environment(get: impl Fn(&str) -> Option<OsString>) -> Result<Self, SourceError> {
        let mut repo = Self::at(&get("GIT_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from))?;
        repo.quarantine = get("GIT_QUARANTINE_PATH").or_else(|| get("GIT_OBJECT_DIRECTORY")).map(PathBuf::from);
        repo.git()?;
        Ok(repo)
    }

    /// The same repository with the objects below `objects` visible too: how the daemon reads a push in quarantine.
    ///
    /// Reading fails if the directory is not inside the repository, where git puts it: the path comes from a pusher.
    pub fn with_quarantine(&self, objects: &Path) -> Self {
        Self { path: self.path.clone(), quarantine: Some(objects.to_owned()) }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where pushed objects wait, if this was opened inside `pre-receive`.
    pub fn quarantine(&self) -> Option<&Path> {
        self.quarantine.as_deref()
    }

    /// The tip of `main`, or `None` before the first push.
    pub fn main(&self) -> Result<Option<Revision>, SourceError> {
        self.tip(MAIN)
    }

    /// Moves `main`, durably. Only the daemon calls this, after the log said so; the revision must be here.
    pub fn set_main(&self, revision: &Revision) -> Result<(), SourceError> {
        match self.git()?.refname_to_id(MAIN) {
            Ok(current) if current == oid(revision)? => return Ok(()),
            Ok(_) => {}
            Err(error) if error.code() == ErrorCode::NotFound => {}
            // A damaged file holds nothing that the log does not know better, and libgit2 would not replace it.
            Err(error) if error.class() == git2::ErrorClass::Reference => {
                let path = self.path.join(MAIN);
                fs::remove_file(&path).map_err(|e| SourceError::io("replacing a damaged ref", &path, e))?;
            }
            Err(error) => return Err(self.git_error("reading a ref", error)),
        }
        self.set_ref(MAIN, revision)
    }

    /// Whether this commit is here. Its trees and files are too, if it was pushed, fetched or installed.
    pub fn has(&self, revision: &Revision) -> Result<bool, SourceError> {
        let git = self.git()?;
        match git.find_commit(oid(revision)?) {
            Ok(_) => Ok(true),
            Err(error) if error.code() == ErrorCode::NotFound => Ok(false),
            Err(error) => Err(self.git_error("looking up a commit", error)),
        }
    }

    /// Whether `new` is `old` or was built on it. Both must be here.
    pub fn is_ancestor(&self, old: &Revision, new: &Revision) -> Result<bool, SourceError> {
        let git = self.git()?;
        let (old, new) = (self.commit(&git, old)?.id(), self.commit(&git, new)?.id());
        Ok(old == new || git.graph_descendant_of(new, old).map_err(|e| self.git_error("comparing two commits", e))?)
    }

    /// Protects a revision from gc and makes it durable, after checking that it is complete.
    ///
    /// A node calls this before it says that it stores the revision: git itself does not make the names of new packs durable.
    pub fn keep(&self, revision: &Revision) -> Result<(), SourceError> {
        let git = self.git()?;
        let name = format!("{KEPT}{revision}");
        if self.tip(&name)?.is_none() {
            connectivity::check(&git, revision, &self.known_tips(&git)?, &self.path)?;
        }
        // The objects before the ref that vouches for them; then the directories of the ref, which gc removes when empty.
        self.sync(&["objects/pack", "objects"])?;
        self.set_ref(&name, revision)?;
        self.sync(&["refs/hafen", "refs"])
    }

    /// Revisions protected from gc, in order of id.
    pub fn kept(&self) -> Result<Vec<Revision>, SourceError> {
        let git = self.git()?;
        let mut kept = Vec::new();
        for reference in git.references_glob(&format!("{KEPT}*")).map_err(|e| self.git_error("listing refs", e))? {
            let reference = reference.map_err(|e| self.git_error("listing refs", e))?;
            kept.extend(reference.target().map(|id| Revision::new(id.to_string())));
        }
        kept.sort();
        Ok(kept)
    }

    /// Stops protecting a revision. Its objects go with the next [`Repo::tidy`] if nothing else needs them.
    pub fn forget(&self, revision: &Revision) -> Result<(), SourceError> {
        let git = self.git()?;
        oid(revision)?;
        match git.find_reference(&format!("{KEPT}{revision}")) {
            Ok(mut reference) => reference.delete().map_err(|e| self.git_error("removing a ref", e)),
            Err(error) if error.code() == ErrorCode::NotFound => Ok(()),
            Err(error) => Err(self.git_error("removing a ref", error)),
        }
    }

    /// Packs the repository again if many packs came together. For a quiet moment, about once a day.
    ///
    /// git does not do this by itself here (`gc.auto=0`), so that no push has to wait for it.
    pub fn tidy(&self, timeout: Duration) -> Result<(), SourceError> {
        let _writing = WRITING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let args = ["-c", "gc.auto=6700", "-c", "gc.autoDetach=false", "gc", "--auto", "--quiet"];
        let call =
            GitCall { name: "gc", doing: "packing objects", git_dir: &self.path, args: &args, env: &[], timeout };
        let done = process::run(&call).map(|_| ());
        if done.is_err() {
            self.sweep_packs();
        }
        done
    }

    /// Absolute, since git runs in the repository's own directory.
    fn at(path: &Path) -> Result<Self, SourceError> {
        let path = std::path::absolute(path).map_err(|e| SourceError::io("finding the repository", path, e))?;
        Ok(Self { path, quarantine: None })
    }

    pub(super) fn git(&self) -> Result<Repository, SourceError> {
        let failed = |error| self.git_error("opening the repository", error);
        let git = Repository::open_bare(&self.path).map_err(failed)?;
        let libgit2_config = self.path.join(LIBGIT2_CONFIG);
        if libgit2_config.exists() {
            let mut config = git.config().map_err(failed)?;
            config.add_file(&libgit2_config, git2::ConfigLevel::App, true).map_err(failed)?;
        }
        if let Some(objects) = self.quarantine.as_deref().filter(|path| path.is_dir()) {
            let objects = fs::canonicalize(objects)
                .map_err(|e| SourceError::io("opening the quarantine of a push", objects, e))?;
            let is_inside = fs::canonicalize(&self.path).is_ok_and(|path| objects.starts_with(path));
            let text = objects.to_str().filter(|_| is_inside).ok_or_else(|| {
                let error = std::io::Error::other("it is not inside the repository, or its path is not UTF-8");
                SourceError::io("opening the quarantine of a push", &objects, error)
            })?;
            git.odb().and_then(|odb| odb.add_disk_alternate(text)).map_err(failed)?;
        }
        Ok(git)
    }

    pub(super) fn commit<'r>(&self, git: &'r Repository, revision: &Revision) -> Result<git2::Commit<'r>, SourceError> {
        git.find_commit(oid(revision)?).map_err(|error| match error.code() {
            ErrorCode::NotFound => SourceError::NotFound { revision: revision.clone() },
            _ => self.git_error("reading a commit", error),
        })
    }

    pub(super) fn tip(&self, name: &str) -> Result<Option<Revision>, SourceError> {
        match self.git()?.refname_to_id(name) {
            Ok(id) => Ok(Some(Revision::new(id.to_string()))),
            Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
            Err(error) => Err(self.git_error("reading a ref", error)),
        }
    }

    pub(super) fn set_ref(&self, name: &str, revision: &Revision) -> Result<(), SourceError> {
        let _refs = REFS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let git = self.git()?;
        let id = self.commit(&git, revision)?.id();
        let mut tries = 1;
        loop {
            match git.reference(name, id, true, "hafen") {
                Ok(_) => return Ok(()),
                Err(error) if error.code() == ErrorCode::Locked && tries < REF_TRIES => {
                    tries += 1;
                    std::thread::sleep(REF_PAUSE);
                }
                Err(error) => return Err(self.git_error("writing a ref", error)),
            }
        }
    }

    /// The commits every ref points to; what they need is known to be here.
    pub(super) fn known_tips(&self, git: &Repository) -> Result<Vec<Oid>, SourceError> {
        let failed = |e| self.git_error("listing refs", e);
        let references = git.references().map_err(failed)?;
        references.filter_map(|reference| reference.map(|r| r.target()).map_err(failed).transpose()).collect()
    }

    pub(super) fn git_error(&self, doing: &'static str, error: git2::Error) -> SourceError {
        SourceError::git(doing, &self.path, error)
    }

    /// Removes packs that a killed fetch or gc left half-written. The caller holds [`WRITING`] or is alone.
    pub(super) fn sweep_packs(&self) {
        let Ok(entries) = fs::read_dir(self.path.join("objects/pack")) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if [&b"tmp_"[..], b".tmp-"].iter().any(|start| name.as_encoded_bytes().starts_with(start)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    pub(super) fn incoming(&self) -> PathBuf {
        self.path.join("hafen-incoming")
    }

    /// Where signatures are looked at.
    pub(super) fn signing(&self) -> PathBuf {
        self.path.join("hafen-signatures")
    }

    /// Removes what an earlier run of the daemon or a power cut left.
    fn sweep(&self) {
        self.sweep_packs();
        let _ = fs::remove_dir_all(self.incoming());
        let _ = fs::remove_dir_all(self.signing());
        for name in ["config.lock", "HEAD.lock", "packed-refs.lock"] {
            remove_stale_lock(&self.path.join(name));
        }
        let mut directories = vec![self.path.join("refs")];
        while let Some(entries) = directories.pop().map(fs::read_dir) {
            for entry in entries.into_iter().flatten().flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => directories.push(entry.path()),
                    // Only daemons write refs, and this one is alone: a lock is left by one that was killed, just now perhaps.
                    Ok(_) if entry.path().extension().is_some_and(|ending| ending == "lock") => {
                        let _ = fs::remove_file(entry.path());
                    }
                    Ok(_) | Err(_) => {}
                }
            }
        }
    }

    /// An old git would ignore `receive.procReceiveRefs` and accept every push by itself.
    fn check_git(&self) -> Result<(), SourceError> {
        let call = GitCall {
            name: "version",
            doing: "asking git for its version",
            git_dir: &self.path,
            args: &["version"],
            env: &[],
            timeout: VERSION_TIMEOUT,
        };
        let stdout = process::run(&call)?;
        let found = String::from_utf8_lossy(&stdout).trim().replace("git version ", "");
        if is_new_enough(&found) { Ok(()) } else { Err(SourceError::GitTooOld { found, needed: OLDEST_GIT.2 }) }
    }

    fn configure(&self) -> Result<(), SourceError> {
        let failed = |error| self.git_error("writing the settings of the repository", error);
        // libgit2 refuses to replace a HEAD that a power cut left empty.
        let (head, wanted) = (self.path.join("HEAD"), format!("ref: {MAIN}\n"));
        if !fs::read(&head).is_ok_and(|there| there == wanted.as_bytes()) {
            hooks::replace(&head, wanted.as_bytes(), 0o644)?;
        }
        let git = self.git()?;
        let mut config = git.config().and_then(|c| c.open_level(git2::ConfigLevel::Local)).map_err(failed)?;
        for (name, value) in settings() {
            if config.get_string(name).ok().as_deref() != Some(value.as_str()) {
                config.set_multivar(name, ".*", &value).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// A new repository outlives a power cut, also one whose making was interrupted by another.
    fn sync_skeleton(&self) -> Result<(), SourceError> {
        self.sync(&["config", "HEAD", "objects/pack", "objects", "refs/heads", "refs", ".", ".."])
    }

    fn sync(&self, names: &[&str]) -> Result<(), SourceError> {
        for name in names {
            let path = self.path.join(name);
            sync_directory(&path).map_err(|e| SourceError::io("making the repository durable", &path, e))?;
        }
        Ok(())
    }
}

/// What `git receive-pack` and `git fetch` must know. All of it is read by the system's git.
fn settings() -> Vec<(&'static str, String)> {
    [
        ("core.bare", "true"),
        ("core.repositoryformatversion", "0"),
        ("receive.procReceiveRefs", MAIN),
        ("receive.advertisePushOptions", "true"),
        // Rewinding is our rule (`-o allow-rewind`), with a better message.
        ("receive.denyNonFastForwards", "false"),
        ("receive.autogc", "false"),
        ("gc.auto", "0"),
        // Refs below refs/hafen are ours; hundreds of them would be sent to every pusher.
        ("transfer.hideRefs", "refs/hafen"),
        ("transfer.fsckObjects", "true"),
        // A pack is one fsync; a hundred loose objects are a hundred.
        ("transfer.unpackLimit", "1"),
        ("receive.unpackLimit", "1"),
        ("fetch.unpackLimit", "1"),
        ("core.fsync", "loose-object,pack,pack-metadata,reference"),
    ]
    .into_iter()
    .map(|(name, value)| (name, value.to_owned()))
    .chain([("receive.maxInputSize", MAX_PUSH_BYTES.to_string())])
    .collect()
}

fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.split(['.', ' ', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    (major, minor) >= (OLDEST_GIT.0, OLDEST_GIT.1)
}

fn remove_stale_lock(path: &Path) {
    let Ok(modified) = fs::symlink_metadata(path).and_then(|meta| meta.modified()) else { return };
    // An age below zero means that the clock went back, as it may after a power cut.
    if modified.elapsed().map_or(true, |age| age >= STALE_LOCK) {
        let _ = fs::remove_file(path);
    }
}

pub(super) fn oid(revision: &Revision) -> Result<Oid, SourceError> {
    let text = revision.as_str();
    let is_hex = text.len() == 40 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let bad = || SourceError::BadRevision { text: text.chars().take(80).collect() };
    if is_hex { Oid::from_str(text).map_err(|_| bad()) } else { Err(bad()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_git_are_compared_by_number() {
        for (version, expected) in [
            ("2.47.3", true),
            ("2.36", true),
            ("2.39.5 (Apple Git-154)", true),
            ("3.0.0", true),
            ("2.9.1", false),
            ("2.35.9", false),
            ("1.99", false),
            ("", false),
            ("nonsense", false),
        ] {
            assert_eq!(is_new_enough(version), expected, "{version}");
        }
    }
}
