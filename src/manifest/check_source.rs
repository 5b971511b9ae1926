//! Can the source be followed as it says, its webhooks be told from others', and its forge be told of commits?
//!
//! Input → output: a [`Tree`] → findings about `source` of the Cluster: addresses, projects, tokens that would travel in
//! the open, settings without effect.
//!
//! Deliberately absent: whether the forge is there and takes the token; nothing here has a network.

use super::document::{Doc, Tree};
use super::explain::Code;
use super::raw_source::{RawReport, RawSource};
use super::report::Report;
use crate::model::Provider;

/// GitHub and Gitea store so much of the name of a status; longer ones are refused by GitLab.
const LONGEST_CONTEXT: usize = 200;

pub(super) fn check(tree: &Tree, report: &mut Report) {
    for (doc, cluster) in tree.clusters() {
        if let Some(source) = &cluster.source {
            followed(doc, source, report);
            if let Some(raw) = &source.report {
                reported(doc, raw, report);
            }
        }
    }
}

fn followed(doc: &Doc, source: &RawSource, report: &mut Report) {
    if source.webhook.is_some() && source.url.is_none() {
        let message = "a webhook is a hint to look at `url`, and there is none";
        let help = "write the `url` to follow, or remove `webhook`".to_owned();
        report.add(Code::NoEffect, doc.file, doc.key_span(&["source", "webhook"]), message, Some(help));
    }
}

fn reported(doc: &Doc, raw: &RawReport, report: &mut Report) {
    match &raw.url {
        Some(url) => {
            address(doc, "url", url, report);
            if url.starts_with("http://") {
                let message = "the token would travel unencrypted";
                let help = "write `https://`; with a CA of your own, name its file in `ca`".to_owned();
                report.add(Code::PlainHttp, doc.file, doc.span(&["source", "report", "url"]), message, Some(help));
            }
        }
        None if raw.provider.usual_url().is_none() => {
            let message = format!("`url` is missing in `report`: everybody has a {} of their own", raw.provider);
            let help = "write its address, as in a browser: `url: https://git.example.com`".to_owned();
            report.add(Code::MissingField, doc.file, doc.key_span(&["source", "report"]), message, Some(help));
        }
        None => {}
    }
    if let Some(url) = &raw.target_url {
        address(doc, "targetUrl", url, report);
    }
    if !raw.provider.is_project(&raw.project) {
        let message = format!("`{}` is no project on {}", raw.project, raw.provider);
        let form = match raw.provider {
            Provider::GitHub | Provider::Gitea => "`OWNER/REPOSITORY`",
            Provider::GitLab => "`GROUP/PROJECT`, or the project's number in quotes",
        };
        let help = Some(format!("write {form}"));
        report.add(Code::BadProject, doc.file, doc.span(&["source", "report", "project"]), message, help);
    }
    let plain = |text: &str| !text.is_empty() && !text.contains(char::is_control) && text.len() <= LONGEST_CONTEXT;
    if raw.context.as_deref().is_some_and(|context| !plain(context)) {
        let message = format!("the name of a status is one line of 1 to {LONGEST_CONTEXT} characters");
        report.add(Code::OutOfRange, doc.file, doc.span(&["source", "report", "context"]), message, None);
    }
}

fn address(doc: &Doc, field: &str, url: &str, report: &mut Report) {
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let host = host.and_then(|rest| rest.split('/').next()).unwrap_or_default();
    // A name and a password belong nowhere in here (`check_secrets` says so of them).
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':' | '[' | ']' | '@' | '_');
    if host.is_empty() || !host.chars().all(allowed) || url.contains(|c: char| c.is_whitespace() || c.is_control()) {
        let message = format!("`{field}` is no web address");
        let help = "begin it with `https://` and the name of the host".to_owned();
        report.add(Code::BadUrl, doc.file, doc.span(&["source", "report", field]), message, Some(help));
    }
}
