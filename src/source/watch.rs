//! Notices commits in a local repository at once, as a hint to fetch.
//!
//! A hint only: on NFS and across containers the kernel tells nothing, and the interval of fetching stays the rule.

use super::error::SourceError;
use notify::{EventKind, RecursiveMode, Watcher};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// One commit writes several files; the hint follows when they have been quiet for this long.
const QUIET: Duration = Duration::from_millis(20);
/// A repository that never rests still gives hints this often.
const LONGEST_DELAY: Duration = Duration::from_millis(500);

/// Watching ends when this is dropped.
pub struct LocalWatch {
    _watcher: notify::RecommendedWatcher,
}

/// Sends a hint after refs of the repository at `url` changed, if it is a local path or `file://` url; else `None`.
///
/// A full channel drops the hint, since one is waiting there already.
pub fn watch_local(url: &str, hints: tokio::sync::mpsc::Sender<()>) -> Result<Option<LocalWatch>, SourceError> {
    let Some(path) = local_path(url) else { return Ok(None) };
    let git_dir = git_dir(&path);
    let (changed, changes) = mpsc::channel();
    let watched = git_dir.clone();
    let handler = move |event: notify::Result<notify::Event>| {
        // An overflow of the kernel's queue (an error, or a path-less event) may hide a commit: hint.
        let is_relevant = event.map_or(true, |event| {
            !matches!(event.kind, EventKind::Access(_))
                && (event.paths.is_empty() || event.paths.iter().any(|path| holds_refs(&watched, path)))
        });
        if is_relevant {
            let _ = changed.send(());
        }
    };
    let failed = |source| SourceError::Watch { path: git_dir.clone(), source };
    let mut watcher = notify::recommended_watcher(handler).map_err(failed)?;
    watcher.watch(&git_dir, RecursiveMode::NonRecursive).map_err(failed)?;
    for directory in ["refs", "reftable"].map(|name| git_dir.join(name)) {
        if directory.is_dir() {
            watcher.watch(&directory, RecursiveMode::Recursive).map_err(failed)?;
        }
    }
    thread::Builder::new()
        .name("git-watch".into())
        .spawn(move || pass_on(&changes, &hints))
        .map_err(|e| SourceError::io("starting a thread to watch", &git_dir, e))?;
    Ok(Some(LocalWatch { _watcher: watcher }))
}

/// Turns bursts of changes into single hints, until the watch is dropped or nobody listens.
fn pass_on(changes: &mpsc::Receiver<()>, hints: &tokio::sync::mpsc::Sender<()>) {
    while changes.recv().is_ok() {
        let latest = Instant::now() + LONGEST_DELAY;
        while Instant::now() < latest && changes.recv_timeout(QUIET).is_ok() {}
        if let Err(tokio::sync::mpsc::error::TrySendError::Closed(())) = hints.try_send(()) {
            return;
        }
    }
}

fn holds_refs(git_dir: &Path, path: &Path) -> bool {
    let is_lock = path.extension().is_some_and(|ending| ending == "lock");
    path.strip_prefix(git_dir).is_ok_and(|inside| {
        let in_directory = inside.starts_with("refs") || inside.starts_with("reftable");
        !is_lock && (in_directory || inside == Path::new("packed-refs"))
    })
}

/// git's own rule: a url with a scheme is not a path, and neither is `host:path`, unless a slash comes first.
fn local_path(url: &str) -> Option<PathBuf> {
    if let Some(path) = url.strip_prefix("file://") {
        // `file://localhost/path` exists in theory only.
        return path.starts_with('/').then(|| PathBuf::from(path));
    }
    let colon = url.find(':').unwrap_or(usize::MAX);
    let slash = url.find('/').unwrap_or(usize::MAX);
    (!url.is_empty() && (colon == usize::MAX || slash < colon)).then(|| PathBuf::from(url))
}

/// Where the refs are: the path itself if bare, `.git` in it, or what a `.git` file of a worktree leads to.
fn git_dir(path: &Path) -> PathBuf {
    let inner = path.join(".git");
    if inner.is_dir() {
        return canonical(inner);
    }
    let Some(linked) = fs::read_to_string(&inner).ok().and_then(|t| Some(t.strip_prefix("gitdir:")?.trim().to_owned()))
    else {
        return canonical(path.to_owned());
    };
    let linked = path.join(linked);
    match fs::read_to_string(linked.join("commondir")) {
        Ok(common) => canonical(linked.join(common.trim())),
        Err(_) => canonical(linked),
    }
}

/// Events name paths as they were watched, so links are followed before.
fn canonical(path: PathBuf) -> PathBuf {
    fs::canonicalize(&path).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_local_urls_are_paths() {
        for (url, expected) in [
            ("/srv/a.git", Some("/srv/a.git")),
            ("file:///srv/a.git", Some("/srv/a.git")),
            ("./a:b", Some("./a:b")),
            ("../a", Some("../a")),
            ("https://host/a.git", None),
            ("ssh://host/a.git", None),
            ("git@host:a.git", None),
            ("host:/a.git", None),
            ("file://host/a.git", None),
            ("", None),
        ] {
            assert_eq!(local_path(url), expected.map(PathBuf::from), "{url}");
        }
    }

    #[test]
    fn only_changes_of_refs_count() {
        let git_dir = Path::new("/r/.git");
        for (path, expected) in [
            ("/r/.git/refs/heads/main", true),
            ("/r/.git/packed-refs", true),
            ("/r/.git/reftable/tables.list", true),
            ("/r/.git/refs/heads/main.lock", false),
            ("/r/.git/index", false),
            ("/r/.git/packed-refs.lock", false),
            ("/elsewhere/refs/heads/main", false),
        ] {
            assert_eq!(holds_refs(git_dir, Path::new(path)), expected, "{path}");
        }
    }
}
