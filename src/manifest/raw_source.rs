//! `source` of a Cluster document as it is written: what is followed, who may hint, and who is told.
//!
//! As in `raw`: strict fields, their descriptions are those of the schema, and nothing has its default yet.

use super::raw::{Time, documents};
use crate::model::Provider;
use schemars::JsonSchema;
use serde::Deserialize;

documents! {
    /// A git repository to follow.
    struct RawSource {
        url: Option<String>,
        /// Default main.
        branch: Option<String>,
        /// Folder of the manifests; default the root.
        path: Option<String>,
        /// Default 1m.
        interval: Option<Time>,
        /// What a webhook must prove to know before it makes the cluster look; default: anybody may hint.
        webhook: Option<RawWebhook>,
        /// Where the status of each commit is shown.
        report: Option<RawReport>,
    }

    /// Who may hint that there is something new.
    struct RawWebhook {
        /// The secret (or signing token) that the webhook was made with.
        secret: RawSecretFile,
    }

    /// A secret in a file on each node; its first line counts.
    struct RawSecretFile {
        /// Absolute path.
        #[schemars(extend("format" = "hafen-path"))]
        file: String,
    }

    /// The forge that is told what became of a commit.
    struct RawReport {
        /// Whose interface it has; Forgejo has that of Gitea.
        provider: Provider,
        /// Its address, as in a browser; default `https://github.com` or `https://gitlab.com`.
        url: Option<String>,
        /// `OWNER/REPOSITORY`; of GitLab also `GROUP/SUBGROUP/PROJECT`, or the project's number as a string.
        project: String,
        /// What it is asked with; it may set commit statuses, and need not do more.
        token: RawSecretFile,
        /// The name of the status; default `hafen/` and the name of the Cluster.
        context: Option<String>,
        /// Where a click on the status leads.
        target_url: Option<String>,
        /// Absolute path of a PEM file with CAs to trust besides those of the machine.
        #[schemars(extend("format" = "hafen-path"))]
        ca: Option<String>,
    }
}
