//! What a revision holds: its manifests, who wrote it, what changed.
//!
//! A file is a manifest if its name ends in `.yaml` or `.yml` (`.enc.json` and `.sops.json`: a SOPS file beside them) and neither it nor a directory above it (below the
//! configured one) starts with a dot: `.github/` and `.gitlab-ci.yml` belong to others.

use super::error::{FileProblem, ProblemKind, SourceError};
use super::repo::Repo;
use crate::model::Revision;
use crate::model::sealed::is_of_manifests;
use git2::{ObjectType, Repository, Tree};
use std::collections::BTreeSet;

/// Where a Git LFS pointer begins (git-lfs, docs/spec.md).
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";
/// `st_mode` of a symbolic link in a tree.
const SYMLINK_MODE: i32 = 0o120_000;
/// Problems shown of one revision; more would hide the first.
const MAX_PROBLEMS: usize = 20;
/// Commits that [`Repo::log`] returns at most.
const MAX_LOG: usize = 1000;
/// Characters of a subject; longer ones are cut.
const MAX_SUBJECT: usize = 200;
/// The deepest tree that is followed; git itself stops at 2048.
const MAX_DEPTH: usize = 64;

/// How much of a tree is read into memory at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// Manifest files.
    pub files: usize,
    /// Entries of all directories visited, manifests or not. A few crafted trees can name each other a billion times.
    pub entries: usize,
    pub file_bytes: u64,
    pub total_bytes: u64,
}

impl Default for ReadLimits {
    /// Ten thousand documents are some 5 MB; this leaves room for ten times that.
    fn default() -> Self {
        Self { files: 10_000, entries: 200_000, file_bytes: 4 * 1024 * 1024, total_bytes: 64 * 1024 * 1024 }
    }
}

/// A commit as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitInfo {
    pub revision: Revision,
    /// `Name <address>`.
    pub author: String,
    /// First line of the message, cut to 200 characters, without control characters.
    pub subject: String,
    /// When it was committed, seconds since 1970, as the committer's clock said.
    pub time: i64,
}

impl Repo {
    /// The manifests below `subdir` (empty for all), sorted by path; paths are relative to the root of the repository.
    ///
    /// Submodules below `subdir` are refused, and links and LFS pointers where a manifest would be. Every such path is
    /// named, up to 20.
    pub fn read_files(
        &self,
        revision: &Revision,
        subdir: &str,
        limits: ReadLimits,
    ) -> Result<Vec<(String, Vec<u8>)>, SourceError> {
        let failed = |error| self.git_error("reading a revision's files", error);
        let git = self.git()?;
        let root = self.commit(&git, revision)?.tree().map_err(failed)?;
        let mut reader = Reader {
            repo: self,
            git: &git,
            revision,
            root: &root,
            limits,
            files: Vec::new(),
            problems: Vec::new(),
            entries: 0,
            bytes: 0,
        };
        let subdir: Vec<&str> = subdir.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        let mut tree = root.clone();
        for part in &subdir {
            let entry = tree.get_name(part).filter(|entry| entry.kind() == Some(ObjectType::Tree));
            let id = entry.map(|entry| entry.id()).ok_or_else(|| SourceError::NoSuchDirectory {
                revision: revision.clone(),
                directory: subdir.join("/"),
            })?;
            tree = git.find_tree(id).map_err(failed)?;
        }
        let prefix: String = subdir.iter().map(|part| format!("{part}/")).collect();
        reader.directory(&tree, &prefix, 0)?;
        reader.finish()
    }

    /// Who committed what, when.
    pub fn commit_info(&self, revision: &Revision) -> Result<CommitInfo, SourceError> {
        let git = self.git()?;
        Ok(describe(&self.commit(&git, revision)?))
    }

    /// The newest `count` commits (at most 1000) reachable from `from`, newest first, children before parents.
    pub fn log(&self, from: &Revision, count: usize) -> Result<Vec<CommitInfo>, SourceError> {
        let failed = |error| self.git_error("reading the history", error);
        let git = self.git()?;
        let mut walk = git.revwalk().map_err(failed)?;
        walk.set_sorting(git2::Sort::TOPOLOGICAL | git2::Sort::TIME).map_err(failed)?;
        walk.push(self.commit(&git, from)?.id()).map_err(failed)?;
        walk.take(count.min(MAX_LOG))
            .map(|id| id.and_then(|id| git.find_commit(id)).map(|commit| describe(&commit)).map_err(failed))
            .collect()
    }

    /// Paths that differ between two revisions, sorted; `None` is the empty tree. A rename is both of its paths.
    pub fn diff_files(&self, old: Option<&Revision>, new: &Revision) -> Result<Vec<String>, SourceError> {
        let failed = |error| self.git_error("comparing two revisions", error);
        let git = self.git()?;
        let tree = |revision: &Revision| self.commit(&git, revision)?.tree().map_err(failed);
        let old = old.map(tree).transpose()?;
        let diff = git.diff_tree_to_tree(old.as_ref(), Some(&tree(new)?), None).map_err(failed)?;
        let paths: BTreeSet<String> = diff
            .deltas()
            .flat_map(|delta| [delta.old_file().path_bytes(), delta.new_file().path_bytes()])
            .flatten()
            .map(|path| String::from_utf8_lossy(path).into_owned())
            .collect();
        Ok(paths.into_iter().collect())
    }
}

fn describe(commit: &git2::Commit<'_>) -> CommitInfo {
    let plain = |bytes: &[u8], most: usize| -> String {
        String::from_utf8_lossy(bytes).chars().filter(|c| !c.is_control()).take(most).collect()
    };
    let author = commit.author();
    let subject = commit.message_bytes().split(|byte| *byte == b'\n').find(|line| !line.is_empty());
    CommitInfo {
        revision: Revision::new(commit.id().to_string()),
        author: format!("{} <{}>", plain(author.name_bytes(), MAX_SUBJECT), plain(author.email_bytes(), MAX_SUBJECT)),
        subject: plain(subject.unwrap_or_default(), MAX_SUBJECT),
        time: commit.time().seconds(),
    }
}

/// The replacement character stands for bytes that are not UTF-8, of this name or of a directory above it.
fn is_unprintable(character: char) -> bool {
    character.is_control() || character == char::REPLACEMENT_CHARACTER
}

struct Reader<'a> {
    repo: &'a Repo,
    git: &'a Repository,
    revision: &'a Revision,
    root: &'a Tree<'a>,
    limits: ReadLimits,
    files: Vec<(String, Vec<u8>)>,
    problems: Vec<FileProblem>,
    entries: usize,
    bytes: u64,
}

impl Reader<'_> {
    fn directory(&mut self, tree: &Tree<'_>, prefix: &str, depth: usize) -> Result<(), SourceError> {
        if depth > MAX_DEPTH {
            return Err(self.too_many("levels of directories", MAX_DEPTH));
        }
        for entry in tree {
            self.entries += 1;
            if self.entries > self.limits.entries {
                return Err(self.too_many("files and directories", self.limits.entries));
            }
            let name = entry.name_bytes();
            if name.starts_with(b".") {
                continue;
            }
            let path = format!("{prefix}{}", String::from_utf8_lossy(name));
            let is_manifest = is_of_manifests(name);
            match entry.kind() {
                Some(ObjectType::Tree) => {
                    let tree = self.git.find_tree(entry.id()).map_err(|e| self.failed(e))?;
                    self.directory(&tree, &format!("{path}/"), depth + 1)?;
                }
                Some(ObjectType::Commit) => self.problem(path, ProblemKind::Submodule),
                Some(ObjectType::Blob) if entry.filemode() == SYMLINK_MODE => {
                    if is_manifest || self.leads_to_directory(entry.id(), prefix)? {
                        self.problem(path, ProblemKind::Symlink);
                    }
                }
                Some(ObjectType::Blob) if is_manifest && path.contains(is_unprintable) => {
                    self.problem(path, ProblemKind::BadName);
                }
                Some(ObjectType::Blob) if is_manifest => self.file(entry.id(), path)?,
                // Other files, and kinds that git does not allow in a tree.
                Some(ObjectType::Blob | ObjectType::Tag | ObjectType::Any) | None => {}
            }
        }
        Ok(())
    }

    fn file(&mut self, id: git2::Oid, path: String) -> Result<(), SourceError> {
        if self.files.len() >= self.limits.files {
            return Err(self.too_many("manifest files", self.limits.files));
        }
        // The header first: a blob can be larger than memory.
        let odb = self.git.odb().map_err(|e| self.failed(e))?;
        let (size, _) = odb.read_header(id).map_err(|e| self.failed(e))?;
        let size = size as u64;
        if size > self.limits.file_bytes {
            self.problem(path, ProblemKind::TooLarge { bytes: size, limit: self.limits.file_bytes });
            return Ok(());
        }
        self.bytes += size;
        if self.bytes > self.limits.total_bytes {
            return Err(SourceError::TooLarge { what: "the sum of all manifests", limit: self.limits.total_bytes });
        }
        let content = self.git.find_blob(id).map_err(|e| self.failed(e))?.content().to_vec();
        if content.starts_with(LFS_POINTER) {
            self.problem(path, ProblemKind::LfsPointer);
        } else {
            self.files.push((path, content));
        }
        Ok(())
    }

    /// Whether a link stands for a directory, whose manifests would silently be missing. Links out of the tree might.
    fn leads_to_directory(&self, id: git2::Oid, prefix: &str) -> Result<bool, SourceError> {
        let blob = self.git.find_blob(id).map_err(|e| self.failed(e))?;
        let Ok(target) = std::str::from_utf8(blob.content()) else { return Ok(true) };
        if target.starts_with('/') {
            return Ok(true);
        }
        let mut parts: Vec<&str> = Vec::new();
        for part in prefix.split('/').chain(target.split('/')) {
            match part {
                "" | "." => {}
                ".." if parts.pop().is_none() => return Ok(true),
                ".." => {}
                name => parts.push(name),
            }
        }
        if parts.is_empty() {
            return Ok(true);
        }
        let there = self.root.get_path(parts.join("/").as_ref());
        Ok(there.is_ok_and(|entry| entry.kind() == Some(ObjectType::Tree)))
    }

    fn finish(mut self) -> Result<Vec<(String, Vec<u8>)>, SourceError> {
        if !self.problems.is_empty() {
            return Err(SourceError::Unusable { revision: self.revision.clone(), problems: self.problems });
        }
        self.files.sort();
        Ok(self.files)
    }

    fn problem(&mut self, path: String, kind: ProblemKind) {
        if self.problems.len() < MAX_PROBLEMS {
            let path = path.replace(char::is_control, "\u{FFFD}");
            self.problems.push(FileProblem { path, kind });
        }
    }

    fn too_many(&self, what: &'static str, limit: usize) -> SourceError {
        SourceError::TooMany { revision: self.revision.clone(), what, limit }
    }

    fn failed(&self, error: git2::Error) -> SourceError {
        self.repo.git_error("reading a revision's files", error)
    }
}
