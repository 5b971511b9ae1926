//! Fetches by url, and hints about local commits.

use super::super::{SourceError, watch_local};
use super::{World, git};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(30);

#[test]
fn a_branch_is_fetched_from_a_path_and_from_a_file_url() {
    let world = World::new();
    world.write("a.yaml", "1");
    let first = world.commit("first");
    let repo = world.repo();
    let path = world.work().to_str().unwrap().to_owned();
    let url = format!("file://{path}");
    assert_eq!(repo.fetch(&path, "main", TIMEOUT).unwrap(), first);
    world.write("a.yaml", "2");
    let second = world.commit("second");
    assert_eq!(repo.fetch(&url, "main", TIMEOUT).unwrap(), second);
    assert_eq!(repo.read_files(&second, "", Default::default()).unwrap()[0].1, b"2");
    assert_eq!(repo.main().unwrap(), None);
    // A branch that went back is reported as it is.
    git(&world.work(), &["reset", "--quiet", "--hard", "HEAD~1"]);
    assert_eq!(repo.fetch(&url, "main", TIMEOUT).unwrap(), first);
    assert!(!repo.is_ancestor(&second, &first).unwrap());
    repo.keep(&first).unwrap();
    assert!(!repo.path().join("FETCH_HEAD").exists());
}

#[test]
fn what_cannot_be_fetched_says_why() {
    let world = World::new();
    world.commit("first");
    let repo = world.repo();
    let path = world.work().to_str().unwrap().to_owned();
    let error = repo.fetch(&path, "nope", TIMEOUT).unwrap_err();
    assert!(error.to_string().contains("couldn't find remote ref refs/heads/nope"), "{error}");
    let error = repo.fetch("/nonexistent/repo", "main", TIMEOUT).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/repo"), "{error}");
    assert!(!error.is_refusal());
    for branch in ["", "a..b", "a b", "-x", "main:refs/heads/main", "a*"] {
        assert!(matches!(repo.fetch(&path, branch, TIMEOUT), Err(SourceError::BadBranch { .. })), "{branch}");
    }
    assert!(matches!(repo.fetch("https://u:p@localhost/x", "main", TIMEOUT), Err(SourceError::PasswordInUrl)));
    // An option in place of a url, and a transport that runs commands.
    for url in ["--upload-pack=touch pwned", "ext::touch pwned"] {
        assert!(matches!(repo.fetch(url, "main", TIMEOUT), Err(SourceError::Command { .. })));
    }
    assert!(!repo.path().join("pwned").exists());
}

#[test]
fn a_fetch_that_hangs_is_killed_with_its_helpers() {
    let world = World::new();
    let repo = world.repo();
    let ssh = world.path().join("ssh");
    let pids = world.path().join("pids");
    // Ignores SIGTERM, and has a child of its own.
    let script = format!(
        "#!/bin/sh\ntrap '' TERM\nsleep 300 &\necho $$ $! >{0}.new\nmv {0}.new {0}\nwait\nsleep 300\n",
        pids.display()
    );
    std::fs::write(&ssh, script).unwrap();
    std::fs::set_permissions(&ssh, std::fs::Permissions::from_mode(0o755)).unwrap();
    let start = Instant::now();
    let timeout = Duration::from_secs(2);
    let error = repo.fetch_with("ssh://host/repo.git", "main", timeout, ssh.to_str()).unwrap_err();
    assert!(matches!(error, SourceError::TimedOut { command: "fetch", after } if after == timeout), "{error}");
    assert!(start.elapsed() < Duration::from_secs(10));
    let pids = std::fs::read_to_string(pids).unwrap();
    assert_eq!(pids.split_whitespace().count(), 2);
    for pid in pids.split_whitespace() {
        assert!(is_gone(pid), "process {pid} lives on");
    }
}

/// Killed processes may remain as zombies until their new parent looks.
fn is_gone(pid: &str) -> bool {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
            Err(_) => return true,
            Ok(stat) if stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z")) => return true,
            Ok(_) if Instant::now() > deadline => return false,
            Ok(_) => std::thread::yield_now(),
        }
    }
}

#[test]
fn a_commit_in_a_local_repository_is_a_hint() {
    let world = World::new();
    world.commit("first");
    let (sender, mut hints) = tokio::sync::mpsc::channel(1);
    let path = world.work().to_str().unwrap().to_owned();
    let watch = watch_local(&path, sender.clone()).unwrap().unwrap();
    assert!(watch_local("https://localhost/x.git", sender).unwrap().is_none());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut hinted = |within| {
        runtime.block_on(async { tokio::time::timeout(within, hints.recv()).await.is_ok_and(|hint| hint.is_some()) })
    };
    // A change of the working tree is none.
    world.write("a.yaml", "1");
    git(&world.work(), &["add", "--all"]);
    assert!(!hinted(Duration::from_millis(100)));
    world.commit("second");
    assert!(hinted(Duration::from_secs(5)));
    git(&world.work(), &["checkout", "--quiet", "-b", "new/branch"]);
    git(&world.work(), &["pack-refs", "--all"]);
    assert!(hinted(Duration::from_secs(5)));
    drop(watch);
}
