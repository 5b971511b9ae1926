//! Who last changed which line.
//!
//! By the installed git and not libgit2, whose blame cannot be ended once it has begun: a long history must not hold a
//! daemon's thread for minutes.

use super::error::SourceError;
use super::process::{self, GitCall};
use super::read::CommitInfo;
use super::repo::{Repo, oid};
use crate::model::Revision;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Lines of one file that are asked for at once: an answer about one resource names a dozen.
const MAX_LINES: usize = 100;
/// The shortest beginning of a revision that is looked up; git's own default.
const SHORTEST: usize = 7;

/// Nobody's settings but ours: a `blame.ignoreRevsFile` of the machine would name other commits.
pub(super) const NO_SETTINGS: [(&str, &str); 3] =
    [("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_LITERAL_PATHSPECS", "1")];

impl Repo {
    /// The commits that last changed these lines (from 1) of a file, as of `revision`. Lines that the file has not are
    /// missing, and so are those past the first hundred.
    ///
    /// # Errors
    /// The file or revision is not here, or git took longer than `timeout` (it is killed then).
    pub fn blame(
        &self,
        revision: &Revision,
        path: &str,
        lines: &BTreeSet<u32>,
        timeout: Duration,
    ) -> Result<BTreeMap<u32, CommitInfo>, SourceError> {
        oid(revision)?;
        let held = self.count_lines(revision, path)?;
        let ranges: Vec<String> = lines
            .iter()
            // One line that does not exist would make git refuse them all.
            .filter(|line| (1..=held).contains(*line))
            .take(MAX_LINES)
            .map(|line| format!("-L{line},{line}"))
            .collect();
        if ranges.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut args = vec!["blame", "--incremental"];
        args.extend(ranges.iter().map(String::as_str));
        args.extend([revision.as_str(), "--", path]);
        let git_dir = self.path();
        let call = GitCall {
            name: "blame",
            doing: "finding who wrote a line",
            git_dir,
            args: &args,
            env: &NO_SETTINGS,
            timeout,
        };
        let told = process::run(&call)?;
        let mut found = BTreeMap::new();
        let mut commits: BTreeMap<Revision, CommitInfo> = BTreeMap::new();
        for (commit, first, count) in String::from_utf8_lossy(&told).lines().filter_map(entry) {
            let info = match commits.get(&commit) {
                Some(info) => info.clone(),
                None => self.commit_info(&commit)?,
            };
            commits.insert(commit, info.clone());
            let last = first.saturating_add(count).saturating_sub(1);
            found.extend(lines.range(first..=last.max(first)).map(|line| (*line, info.clone())));
        }
        Ok(found)
    }

    /// The commit that a revision's first digits (seven at least) name; None: none, or several.
    pub fn find_by_prefix(&self, digits: &str) -> Result<Option<CommitInfo>, SourceError> {
        if digits.len() < SHORTEST || digits.len() > 40 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(None);
        }
        let git = self.git()?;
        match git.find_commit_by_prefix(digits) {
            Ok(commit) => self.commit_info(&Revision::new(commit.id().to_string())).map(Some),
            Err(error) if matches!(error.code(), git2::ErrorCode::NotFound | git2::ErrorCode::Ambiguous) => Ok(None),
            Err(error) => Err(self.git_error("looking up a commit", error)),
        }
    }

    fn count_lines(&self, revision: &Revision, path: &str) -> Result<u32, SourceError> {
        let failed = |error| self.git_error("reading a file of a revision", error);
        let git = self.git()?;
        let tree = self.commit(&git, revision)?.tree().map_err(failed)?;
        let entry = tree.get_path(path.as_ref()).map_err(failed)?;
        let blob = git.find_blob(entry.id()).map_err(failed)?;
        let text = blob.content();
        let ends = text.iter().filter(|byte| **byte == b'\n').count();
        let open = usize::from(!text.is_empty() && !text.ends_with(b"\n"));
        Ok(u32::try_from(ends + open).unwrap_or(u32::MAX))
    }
}

/// `COMMIT LINE-THEN LINE-NOW COUNT`; the other lines say more of the commit.
fn entry(line: &str) -> Option<(Revision, u32, u32)> {
    let mut words = line.split(' ');
    let commit = words.next().filter(|word| word.len() == 40 && word.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    let first = words.nth(1)?.parse().ok()?;
    Some((Revision::new(commit), first, words.next()?.parse().ok()?))
}
