//! Tests against the installed git: repositories in temporary directories, real pushes, fetches and gc.

mod disk;
mod fetching;
mod packs;
mod pushing;
mod reading;
mod signing;

use super::Repo;
use crate::model::Revision;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// A directory with a node's repository (`repo.git`) and an admin's clone (`work`).
struct World {
    directory: TempDir,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let world = Self { directory };
        git(world.path(), &["init", "--quiet", "--initial-branch=main", "work"]);
        world
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn work(&self) -> PathBuf {
        self.path().join("work")
    }

    fn repo(&self) -> Repo {
        self.repo_named("repo.git")
    }

    /// One whose hooks call a program that accepts nothing.
    fn repo_named(&self, name: &str) -> Repo {
        Repo::open_or_init(&self.path().join(name), Path::new("/bin/false"), Path::new("/nonexistent")).unwrap()
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.work().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Commits everything in the clone.
    fn commit(&self, message: &str) -> Revision {
        git(&self.work(), &["add", "--all"]);
        git(&self.work(), &["commit", "--quiet", "--allow-empty", "--message", message]);
        self.head()
    }

    fn head(&self) -> Revision {
        Revision::new(git(&self.work(), &["rev-parse", "HEAD"]).trim())
    }

    /// Makes a revision of the clone present and kept in a repository.
    fn bring(&self, repo: &Repo, revision: &Revision) {
        let pack = self.clone_as_repo().pack(revision, &[]).unwrap();
        repo.install_pack(&pack, revision).unwrap();
    }

    fn clone_as_repo(&self) -> Repo {
        Repo::open(&self.work().join(".git")).unwrap()
    }
}

fn command(program: &str, directory: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("GIT_")) {
        command.env_remove(name);
    }
    command
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .env("LC_ALL", "C");
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "Ada Admin").env(format!("GIT_{who}_EMAIL"), "ada@example.org");
    }
    command
}

fn git(directory: &Path, args: &[&str]) -> String {
    let output = command("git", directory).args(args).output().unwrap();
    assert!(output.status.success(), "git {args:?}: {}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
