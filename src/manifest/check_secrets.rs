//! Is a secret in the open?
//!
//! Input → output: a [`Tree`] → findings: parameters that are called like secrets, and values that look like one whatever
//! they are called. Values are never part of a message.
//!
//! Deliberately absent: what is named in `secrets`; that is a path or sealed (`check_sealed`).

use super::document::{Doc, Tree};
use super::explain::Code;
use super::raw::Param;
use super::report::Report;

/// Words of names that stand for a secret.
const SECRET: [&str; 11] = [
    "password",
    "passwd",
    "passphrase",
    "passwort",
    "pass",
    "secret",
    "token",
    "apikey",
    "credential",
    "credentials",
    "pwd",
];
/// Two words that do so together.
const SECRET_PAIRS: [[&str; 2]; 5] =
    [["api", "key"], ["secret", "key"], ["private", "key"], ["access", "key"], ["auth", "key"]];
/// Words that make a name one of something else: where the secret is, or how it is asked for.
const NOT_ITSELF: [&str; 12] =
    ["file", "path", "script", "dir", "command", "cmd", "method", "type", "timeout", "prompt", "user", "ttl"];

pub(super) fn check(tree: &Tree, report: &mut Report) {
    for (doc, device) in tree.devices() {
        let secrets = device.secrets.as_ref();
        let in_both = |key: &String| secrets.is_some_and(|secrets| secrets.contains_key(key));
        for (key, value) in device.params.iter().flatten().filter(|(key, _)| !in_both(key)) {
            let help = format!("write `secrets: {{ {key}: {{ file: /etc/hafen/secrets/{} }} }}`", doc.name);
            param(doc, key, value, help, report);
        }
    }
    for (doc, resource) in tree.resources() {
        let params = resource.params.iter().flatten();
        let in_both = |key: &String| resource.secrets.as_ref().is_some_and(|secrets| secrets.contains_key(key));
        for (key, value) in params.filter(|(key, _)| !in_both(key)) {
            let help = format!(
                "write `secrets: {{ {key}: {{ file: /etc/hafen/secrets/{} }} }}`, or seal it: `{{ age: … }}`",
                doc.name
            );
            param(doc, key, value, help, report);
        }
    }
    for (doc, cluster) in tree.clusters() {
        let Some(source) = &cluster.source else { continue };
        let report_to = source.report.as_ref();
        let deploy_key = "use a deploy key (`ssh://`), or git's credential store on the nodes";
        for (path, url, help) in [
            (&["source", "url"][..], &source.url, deploy_key),
            (&["source", "report", "url"], &report_to.and_then(|raw| raw.url.clone()), "`token` names its file"),
            (&["source", "report", "targetUrl"], &report_to.and_then(|raw| raw.target_url.clone()), "remove it"),
        ] {
            if url.as_deref().is_some_and(has_password) {
                let field = path.last().copied().unwrap_or_default();
                let message = format!("`{field}` carries a password, and manifests are not a place for one");
                report.add(Code::SecretInParams, doc.file, doc.span(path), message, Some(help.to_owned()));
            }
        }
    }
}

fn param(doc: &Doc, key: &str, Param(value): &Param, help: String, report: &mut Report) {
    let message = if names_secret(key) && may_be_secret(value) {
        format!("`{key}` looks like a secret, and manifests are not a place for one")
    } else if let Some(what) = recognised(value) {
        format!("the value of `{key}` looks like {what}, and manifests are not a place for one")
    } else {
        return;
    };
    report.add(Code::SecretInParams, doc.file, doc.key_span(&["params", key]), message, Some(help));
}

fn names_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let words: Vec<&str> = key.split(['_', '-', '.']).collect();
    let pair = |pair: &[&str]| SECRET_PAIRS.iter().any(|known| known == pair);
    !words.iter().any(|word| NOT_ITSELF.contains(word))
        && (words.iter().any(|word| SECRET.contains(word)) || words.windows(2).any(pair))
}

/// Paths say where a secret is; switches whether there is one.
fn may_be_secret(value: &str) -> bool {
    let switch = ["", "yes", "no", "true", "false", "1", "0", "on", "off"];
    !value.starts_with('/') && !switch.iter().any(|word| word.eq_ignore_ascii_case(value))
}

fn recognised(value: &str) -> Option<&'static str> {
    if value.contains("-----BEGIN") && value.contains("PRIVATE KEY-----") {
        return Some("a private key");
    }
    if has_password(value) {
        return Some("an address with a password");
    }
    let tokens = ["ghp_", "github_pat_", "glpat-", "xoxb-", "AKIA"];
    let token = |word: &str| tokens.iter().any(|start| word.starts_with(start)) && word.len() >= 20;
    value.split_whitespace().any(token).then_some("an access token")
}

/// `SCHEME://USER:PASSWORD@HOST`.
fn has_password(text: &str) -> bool {
    text.match_indices("://").any(|(place, mark)| {
        let host = text[place + mark.len()..].split(['/', '?', '#', ' ', '"', '\'']).next().unwrap_or_default();
        let user = host.rsplit_once('@').map(|(user, _)| user);
        user.and_then(|user| user.split_once(':')).is_some_and(|(_, password)| !password.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_told_from_names_of_files() {
        for key in ["password", "passwd", "snmp_auth_passwd", "secret_key", "API-KEY", "replication_passwd", "token"] {
            assert!(names_secret(key), "{key}");
        }
        for key in ["password_script", "key_file", "monkey", "passive", "key", "secret_file", "login", "bypass_check"] {
            assert!(!names_secret(key), "{key}");
        }
    }

    #[test]
    fn values_that_are_secrets_are_recognised_whatever_their_name() {
        for value in [
            "postgres://a:b@db/x",
            "-----BEGIN RSA PRIVATE KEY-----\nMII",
            "x glpat-12345678901234567890",
            "https://u:p@h",
        ] {
            assert!(recognised(value).is_some(), "{value}");
        }
        for value in ["https://db:8080/x@y", "ssh://git@host/x", "AKIA", "a:b@c", "-----BEGIN CERTIFICATE-----"] {
            assert!(recognised(value).is_none(), "{value}");
        }
    }
}
