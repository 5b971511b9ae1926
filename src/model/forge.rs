//! Where commits come from and are talked about: GitHub, GitLab, Gitea, and what they are told of a commit.

use super::{Revision, SecretFile};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Whose interface a forge has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Provider {
    GitHub,
    GitLab,
    /// Also Forgejo, which kept it.
    Gitea,
}

impl Provider {
    pub const ALL: [Self; 3] = [Self::GitHub, Self::GitLab, Self::Gitea];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::GitHub => "GitHub",
            Self::GitLab => "GitLab",
            Self::Gitea => "Gitea",
        }
    }
    /// The address of the one that everybody knows; Gitea has none.
    pub fn usual_url(self) -> Option<&'static str> {
        match self {
            Self::GitHub => Some("https://github.com"),
            Self::GitLab => Some("https://gitlab.com"),
            Self::Gitea => None,
        }
    }
    /// Whether `project` can name a project there: `OWNER/REPOSITORY`; of GitLab also deeper, or a number.
    pub fn is_project(self, project: &str) -> bool {
        // Anything else would end up in another place of the address.
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let part = |part: &str| !matches!(part, "" | "." | "..") && part.chars().all(allowed);
        let parts: Vec<&str> = project.split('/').collect();
        let number = parts.len() == 1 && project.bytes().all(|b| b.is_ascii_digit());
        parts.iter().all(|text| part(text))
            && match self {
                Self::GitHub | Self::Gitea => parts.len() == 2,
                Self::GitLab => parts.len() >= 2 || number,
            }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A project on a forge, and how it is told of commits (`source.report` of the Cluster).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportTo {
    pub provider: Provider,
    /// As in a browser, without the path of the interface.
    pub url: String,
    pub project: String,
    /// Read on the node that sends, whenever it does.
    pub token: SecretFile,
    /// The name of the status: a second one of this name replaces the first.
    pub context: String,
    pub target_url: Option<String>,
    /// A PEM file with CAs to trust besides those of the machine.
    pub ca: Option<String>,
}

/// What is said of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum CommitState {
    /// The cluster is on its way there.
    Pending,
    /// It was healthy with it.
    Success,
    /// Refused, or not healthy in time.
    Failure,
    /// Another came before it was healthy.
    Superseded,
}

impl fmt::Display for CommitState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending => "pending",
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Superseded => "superseded",
        })
    }
}

/// One word about one commit, on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitStatus {
    pub revision: Revision,
    pub state: CommitState,
    /// One line for people; never secret.
    pub text: String,
}

/// What came of telling it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Delivery {
    /// The forge said that it has it.
    Acknowledged,
    /// It never will be: the forge does not know the commit. Why, in a line.
    GivenUp(String),
    /// Not now: it is tried again. Why, in a line.
    Failing(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projects_stay_within_their_part_of_an_address() {
        for (provider, project, fits) in [
            (Provider::GitHub, "ops/cluster", true),
            (Provider::GitHub, "cluster", false),
            (Provider::GitHub, "a/b/c", false),
            (Provider::GitHub, "../cluster", false),
            (Provider::GitHub, "ops/clu?ster", false),
            (Provider::GitHub, "12", false),
            (Provider::GitLab, "a/b/c", true),
            (Provider::GitLab, "4711", true),
            (Provider::GitLab, "ops", false),
            (Provider::GitLab, "a//b", false),
            (Provider::Gitea, "ops/.cluster", true),
            (Provider::Gitea, "ops/..", false),
        ] {
            assert_eq!(provider.is_project(project), fits, "{provider} {project}");
        }
    }
}
