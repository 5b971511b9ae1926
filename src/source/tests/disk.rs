//! A full disk, on a tiny file system in a mount namespace of its own.

use super::super::{Repo, SourceError};
use super::World;
use crate::model::Revision;
use std::path::{Path, PathBuf};
use std::process::Command;

const DIRECTORY: &str = "HAFEN_TEST_TINY_DISK";

/// Runs the test below where the mount is seen by nobody else.
#[test]
fn a_full_disk_is_named_and_leaves_nothing_behind() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: mounting needs root");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=2m hafen-test \"$HAFEN_TEST_TINY_DISK\" && exec \"$@\"";
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-ec", script, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "source::tests::disk::on_a_tiny_disk", "--ignored", "--nocapture"])
        .env(DIRECTORY, directory.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", super::text(&output));
    assert!(super::text(&output).contains("1 passed"), "{}", super::text(&output));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

/// Bytes that do not compress.
fn noise(count: usize) -> Vec<u8> {
    let mut state: u32 = 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(&mut next).take(count).collect()
}

fn used_by_files(path: &Path) -> u64 {
    std::fs::read_dir(path)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let meta = entry.metadata().unwrap();
            if meta.is_dir() { used_by_files(&entry.path()) } else { meta.len() }
        })
        .sum()
}

#[test]
#[ignore = "run by the test above in a namespace of its own"]
fn on_a_tiny_disk() {
    let tiny = PathBuf::from(std::env::var_os(DIRECTORY).unwrap());
    let world = World::new();
    let repo = Repo::open_or_init(&tiny.join("repo.git"), Path::new("/bin/false"), Path::new("/s")).unwrap();
    world.write("small.yaml", "a: b\n");
    let small = world.commit("small");
    world.bring(&repo, &small);
    repo.set_main(&small).unwrap();
    let before = used_by_files(&tiny);
    let is_full = |result: Result<(), SourceError>, what: &str| {
        let error = result.unwrap_err();
        assert!(matches!(error, SourceError::DiskFull { .. }), "{what}: {error:?}");
        assert!(error.to_string().starts_with("no space left on device while "), "{error}");
        assert_eq!(used_by_files(&tiny), before, "{what}");
    };

    world.write("large.yaml", noise(4 * 1024 * 1024));
    let large = world.commit("large");
    let pack = world.clone_as_repo().pack(&large, &[]).unwrap();
    is_full(repo.install_pack(&pack, &large), "writing a pack");
    is_full(
        repo.fetch(world.work().to_str().unwrap(), "main", std::time::Duration::from_secs(30)).map(|_| ()),
        "fetch",
    );

    // A push: git itself removes what it received, and names the reason at the pusher's terminal.
    let mut push = super::command("git", &world.work());
    let output = push.args(["push", "--no-progress"]).arg(repo.path()).arg("main").output().unwrap();
    let terminal = super::text(&output);
    assert!(!output.status.success() && terminal.contains("No space left on device"), "{terminal}");
    assert_eq!(used_by_files(&tiny), before, "push");

    // Room for the pack, but not for its index.
    git_reset(&world, &small);
    world.write("mid.yaml", noise(200_000));
    let mid = world.commit("mid");
    let pack = world.clone_as_repo().pack(&mid, std::slice::from_ref(&small)).unwrap();
    let ballast = fill(&tiny, pack.len().next_multiple_of(4096));
    is_full_ignoring(&ballast, || repo.install_pack(&pack, &mid), "writing an index");
    // Not even room for a ref.
    std::fs::remove_file(&ballast).unwrap();
    let ballast = fill(&tiny, 0);
    is_full_ignoring(&ballast, || repo.install_pack(&pack, &mid), "making a directory or file");
    std::fs::remove_file(&ballast).unwrap();
    assert_eq!(repo.main().unwrap(), Some(small.clone()));
    assert_eq!(repo.kept().unwrap(), [small]);

    // And with room again it works.
    repo.install_pack(&pack, &mid).unwrap();
    repo.set_main(&mid).unwrap();
}

fn git_reset(world: &World, to: &Revision) {
    super::git(&world.work(), &["reset", "--quiet", "--hard", to.as_str()]);
}

fn is_full_ignoring(ballast: &Path, act: impl FnOnce() -> Result<(), SourceError>, what: &str) {
    let tiny = ballast.parent().unwrap();
    let before = used_by_files(tiny);
    let error = act().unwrap_err();
    assert!(matches!(error, SourceError::DiskFull { .. }), "{what}: {error:?}");
    assert_eq!(used_by_files(tiny), before, "{what}");
}

/// Fills the file system up to `room` bytes.
fn fill(tiny: &Path, room: usize) -> PathBuf {
    use std::io::Write;
    let path = tiny.join("ballast");
    let mut file = std::fs::File::create(&path).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    let length = file.metadata().unwrap().len();
    file.set_len(length - room as u64).unwrap();
    path
}
