//! What differs between the three: addresses, words and how they say no.
//!
//! Sources: GitHub REST API 2022-11-28 ("Commit statuses", "Issue comments"), GitLab REST API v4 ("Commits", "Notes"),
//! Gitea API v1 (swagger `repoCreateStatus`, `issueCreateComment`).

use super::ForgeError;
use crate::model::{CommitState, CommitStatus, Provider, Revision};
use reqwest::Url;
use serde_json::{Value, json};

/// GitHub refuses longer ones; the others cut at 255.
const LONGEST_TEXT: usize = 140;

/// The address of the interface, from that of the forge.
pub(super) fn base(provider: Provider, url: &str) -> Result<Url, ForgeError> {
    let bad = || ForgeError::BadUrl { url: crate::model::secret::covered(url) };
    let mut base = Url::parse(url.trim_end_matches('/')).map_err(|_| bad())?;
    if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() || base.query().is_some() {
        return Err(bad());
    }
    if provider == Provider::GitHub && base.host_str() == Some("github.com") {
        base.set_host(Some("api.github.com")).map_err(|_| bad())?;
        return Ok(base);
    }
    let below = match provider {
        // Of GitHub Enterprise Server.
        Provider::GitHub => "api/v3",
        Provider::GitLab => "api/v4",
        Provider::Gitea => "api/v1",
    };
    let path = format!("{}/{below}", base.path().trim_end_matches('/'));
    base.set_path(&path);
    Ok(base)
}

/// The header that carries the token.
pub(super) fn authorization(provider: Provider, token: &str) -> (&'static str, String) {
    match provider {
        Provider::GitHub => ("authorization", format!("Bearer {token}")),
        Provider::GitLab => ("private-token", token.to_owned()),
        Provider::Gitea => ("authorization", format!("token {token}")),
    }
}

/// Further headers of every request.
pub(super) fn headers(provider: Provider) -> &'static [(&'static str, &'static str)] {
    match provider {
        Provider::GitHub => &[("accept", "application/vnd.github+json"), ("x-github-api-version", "2022-11-28")],
        Provider::GitLab | Provider::Gitea => &[("accept", "application/json")],
    }
}

/// GitLab takes a path for one part of the address: its slashes are escaped.
pub(super) fn project_path(provider: Provider, project: &str) -> String {
    match provider {
        Provider::GitHub | Provider::Gitea => format!("repos/{project}"),
        Provider::GitLab => format!("projects/{}", project.replace('/', "%2F")),
    }
}

pub(super) fn status_path(provider: Provider, project: &str, revision: &Revision) -> String {
    format!("{}/statuses/{revision}", project_path(provider, project))
}

pub(super) fn status_body(provider: Provider, status: &CommitStatus, context: &str, target_url: Option<&str>) -> Value {
    let state = state(provider, status.state);
    let mut body = json!({ "state": state, "context": context, "description": cut(&status.text, LONGEST_TEXT) });
    if let Some(url) = target_url {
        body["target_url"] = json!(url);
    }
    body
}

fn state(provider: Provider, state: CommitState) -> &'static str {
    match (provider, state) {
        (_, CommitState::Pending) => "pending",
        (_, CommitState::Success) => "success",
        (Provider::GitHub | Provider::Gitea, CommitState::Failure) => "failure",
        (Provider::GitLab, CommitState::Failure) => "failed",
        // Neither good nor bad: they have no word for it but this.
        (Provider::GitHub | Provider::Gitea, CommitState::Superseded) => "error",
        (Provider::GitLab, CommitState::Superseded) => "canceled",
    }
}

/// GitLab refuses to set a state that is set already ("Cannot transition status via :enqueue from :pending"): then it is
/// there, perhaps from a leader that was lost before it could say so.
pub(super) fn is_there(provider: Provider, wanted: CommitState, words: &str) -> bool {
    let from = words.split_once("Cannot transition status").and_then(|(_, rest)| rest.split_once("from :"));
    let from = from.map(|(_, rest)| rest.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default());
    provider == Provider::GitLab && from == Some(state(provider, wanted))
}

/// That a commit is not there: GitHub says 422, GitLab 404 "Commit Not Found", Gitea 404 with the error of git.
pub(super) fn of_status(error: ForgeError, revision: &Revision) -> ForgeError {
    const GIT_SAYS: [&str; 3] = ["commit not found", "object does not exist", "commit does not exist"];
    let says = |words: &str| GIT_SAYS.iter().any(|said| words.to_ascii_lowercase().contains(said));
    let github = matches!(&error, ForgeError::Refused { status: 422, words } if words.contains("No commit found"));
    let others = matches!(&error, ForgeError::Forbidden { status: 404, words } if says(words));
    if github || others { ForgeError::UnknownCommit { revision: revision.clone() } } else { error }
}

/// The comments of a merge request, and one of them.
pub(super) fn comments_path(provider: Provider, project: &str, number: u64) -> String {
    let project = project_path(provider, project);
    match provider {
        // To them a merge request is an issue with a branch.
        Provider::GitHub | Provider::Gitea => format!("{project}/issues/{number}/comments"),
        Provider::GitLab => format!("{project}/merge_requests/{number}/notes"),
    }
}

pub(super) fn comment_path(provider: Provider, project: &str, number: u64, comment: u64) -> String {
    match provider {
        Provider::GitHub | Provider::Gitea => {
            format!("{}/issues/comments/{comment}", project_path(provider, project))
        }
        Provider::GitLab => format!("{}/{comment}", comments_path(provider, project, number)),
    }
}

/// The query for one page of comments, oldest first. None: there are no pages, the first answer has all.
pub(super) fn page(provider: Provider, page: usize, per_page: usize) -> Option<String> {
    match provider {
        Provider::GitHub => Some(format!("?per_page={per_page}&page={page}")),
        Provider::GitLab => Some(format!("?per_page={per_page}&page={page}&order_by=created_at&sort=asc")),
        Provider::Gitea => None,
    }
}

/// How a comment is changed.
pub(super) fn update(provider: Provider) -> reqwest::Method {
    match provider {
        Provider::GitHub | Provider::Gitea => reqwest::Method::PATCH,
        Provider::GitLab => reqwest::Method::PUT,
    }
}

/// At most so many characters, with an ellipsis in place of the rest.
pub(super) fn cut(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    text.chars().take(longest - 1).chain(['…']).collect()
}
