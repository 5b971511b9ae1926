//! Fetches a branch of another repository by url, with the installed git.

use super::error::SourceError;
use super::process::{self, GitCall};
use super::repo::{Repo, WRITING};
use crate::model::Revision;
use std::fs;
use std::time::Duration;

const UPSTREAM: &str = "refs/hafen/upstream/";
/// Without it ssh would ask a terminal that nobody sits at. An operator's own `GIT_SSH_COMMAND` wins.
const SSH_COMMAND: &str = "ssh -oBatchMode=yes -oConnectTimeout=10";

impl Repo {
    /// Fetches `branch` of `url` and returns its tip, which is then here, complete and checked.
    ///
    /// A branch that went back is followed: whether to go along is the caller's decision. `main` does not move. One fetch
    /// runs at a time; the timeout counts from when it starts. On a timeout git and its helpers are killed.
    pub fn fetch(&self, url: &str, branch: &str, timeout: Duration) -> Result<Revision, SourceError> {
        let ssh = if std::env::var_os("GIT_SSH_COMMAND").is_some() || std::env::var_os("GIT_SSH").is_some() {
            None
        } else {
            Some(SSH_COMMAND)
        };
        self.fetch_with(url, branch, timeout, ssh)
    }

    pub(super) fn fetch_with(
        &self,
        url: &str,
        branch: &str,
        timeout: Duration,
        ssh_command: Option<&str>,
    ) -> Result<Revision, SourceError> {
        let head = format!("refs/heads/{branch}");
        // A leading `-` or `^` would change what git does; libgit2 checks the rest of the name.
        if !git2::Reference::is_valid_name(&head) || branch.starts_with(['-', '^']) {
            return Err(SourceError::BadBranch { branch: branch.to_owned() });
        }
        if has_password(url) {
            return Err(SourceError::PasswordInUrl);
        }
        let upstream = format!("{UPSTREAM}{branch}");
        let refspec = format!("+{head}:{upstream}");
        let args = [
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-recurse-submodules",
            "--no-auto-maintenance",
            "--refmap=",
            "--",
            url,
            &refspec,
        ];
        let env: Vec<_> = ssh_command.iter().map(|command| ("GIT_SSH_COMMAND", *command)).collect();
        let git_dir = self.path();
        let call = GitCall { name: "fetch", doing: "fetching", git_dir, args: &args, env: &env, timeout };
        let _writing = WRITING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // Left by a git that was killed; nobody else writes this ref.
        let _ = fs::remove_file(git_dir.join(format!("{upstream}.lock")));
        if let Err(error) = process::run(&call) {
            self.sweep_packs();
            return Err(error);
        }
        self.tip(&upstream)?.ok_or_else(|| SourceError::Command {
            command: "fetch",
            stderr: format!("`{branch}` was not there after a fetch that reported no error"),
        })
    }
}

/// `https://user:secret@host/…`. The scp-like form `user@host:path` holds none.
fn has_password(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else { return false };
    let authority = rest.split('/').next().unwrap_or_default();
    authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_url_is_seen() {
        for (url, expected) in [
            ("https://user:secret@host/repo.git", true),
            ("https://user@host/repo.git", false),
            ("https://host:8443/a:b@c", false),
            ("ssh://git@host:22/repo.git", false),
            ("git@host:repo.git", false),
            ("/srv/git/repo.git", false),
        ] {
            assert_eq!(has_password(url), expected, "{url}");
        }
    }
}
