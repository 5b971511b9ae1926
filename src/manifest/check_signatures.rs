//! Can the rules about signatures be satisfied, and by nobody else than they say?
//!
//! Input → output: a [`Tree`] → findings about patterns, signers, and rules that do not cover the file they are written in.
//!
//! Deliberately absent: whether a signature is good, and whether the files of signers exist. The cluster finds out when it takes a push.

use super::SourceFile;
use super::document::{Doc, Tree};
use super::explain::Code;
use super::raw::{RawCluster, RawSignatureRule};
use super::report::Report;
use super::tree::{Node, Span, Value};
use crate::model::SignatureKind;
use crate::model::signing::{MAX_RULES, MAX_SIGNERS, matches, pattern_fault, ssh_signer_fault};

const GPG_BEGINS: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";

pub(super) fn check(tree: &Tree, files: &[&SourceFile], report: &mut Report) {
    for (doc, cluster) in tree.clusters() {
        let rules = cluster.signatures.as_deref().unwrap_or_default();
        if rules.len() > MAX_RULES {
            let message = format!("{} rules about signatures, {MAX_RULES} are the most", rules.len());
            let help = "give one rule several `paths`".to_owned();
            report.add(Code::BadSignatureRule, doc.file, doc.key_span(&["signatures"]), message, Some(help));
            continue;
        }
        for (place, rule) in rules.iter().enumerate() {
            patterns(doc, place, rule, report);
            signers(doc, place, rule, report);
        }
        covers_itself(doc, cluster, files, report);
    }
}

/// Where a rule is written.
pub(super) fn rule_span(doc: &Doc, place: usize) -> Span {
    rule_node(doc, place).map_or_else(|| doc.name_span(), Node::head)
}

fn rule_node(doc: &Doc, place: usize) -> Option<&Node> {
    item(doc.root.at(&["spec", "signatures"])?, place)
}

fn item(node: &Node, place: usize) -> Option<&Node> {
    match &node.value {
        Value::List(items) => items.get(place),
        Value::Map(_) | Value::Scalar(_) => None,
    }
}

/// A word of a list within a rule; the rule itself if the list is not there.
fn word_span(doc: &Doc, rule: usize, path: &[&str], place: usize) -> Span {
    let node = rule_node(doc, rule).and_then(|node| node.at(path)).and_then(|list| item(list, place));
    node.map_or_else(|| rule_span(doc, rule), |node| node.span)
}

fn patterns(doc: &Doc, place: usize, rule: &RawSignatureRule, report: &mut Report) {
    if rule.paths.is_empty() {
        let help = "write `paths: [\"**\"]` for all files".to_owned();
        report.add(Code::BadSignatureRule, doc.file, rule_span(doc, place), "the rule is about no path", Some(help));
    }
    for (number, pattern) in rule.paths.iter().enumerate() {
        if let Some((fault, help)) = pattern_fault(pattern) {
            let span = word_span(doc, place, &["paths"], number);
            report.add(Code::BadSignatureRule, doc.file, span, fault, Some(help.to_owned()));
        }
    }
}

fn signers(doc: &Doc, place: usize, rule: &RawSignatureRule, report: &mut Report) {
    let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let (ssh, gpg, files) = (list(&rule.signers.ssh), list(&rule.signers.gpg), list(&rule.signers.files));
    let mut wrong = |span: Span, message: String, help: &str| {
        report.add(Code::BadSignatureRule, doc.file, span, message, Some(help.to_owned()));
    };
    let counted = match rule.require.unwrap_or_default() {
        SignatureKind::Any => ssh.len() + gpg.len(),
        SignatureKind::Ssh => ssh.len(),
        SignatureKind::Gpg => gpg.len(),
    };
    if counted + files.len() == 0 {
        let help = "name them in `signers: { ssh: […], gpg: […], files: […] }`";
        wrong(rule_span(doc, place), "the rule has no signer whose signature would count".into(), help);
    }
    if ssh.len() + gpg.len() + files.len() > MAX_SIGNERS {
        let help = "list them in a file, and name it in `signers.files`";
        wrong(rule_span(doc, place), format!("more than {MAX_SIGNERS} signers in one rule"), help);
    }
    for (number, line) in ssh.iter().enumerate() {
        if let Some(fault) = ssh_signer_fault(line) {
            let help =
                "a signer is like `ada@example.org ssh-ed25519 AAAA…`; `cat ~/.ssh/id_ed25519.pub` prints the key";
            wrong(word_span(doc, place, &["signers", "ssh"], number), format!("this is no SSH signer: {fault}"), help);
        }
    }
    for (number, key) in gpg.iter().enumerate() {
        let span = word_span(doc, place, &["signers", "gpg"], number);
        if key.contains("PRIVATE KEY BLOCK") {
            wrong(
                span,
                "this is a private key: whoever reads the repository can sign with it now".into(),
                "revoke it, and write the public one",
            );
        } else if !key.trim_start().starts_with(GPG_BEGINS) {
            wrong(span, "this is no armored public key".into(), "`gpg --armor --export ada@example.org` prints one");
        }
    }
    for (number, file) in files.iter().enumerate() {
        if let Some((fault, _)) =
            pattern_fault(file).or_else(|| file.contains(['*', '?']).then(|| (format!("`{file}` is no file"), "")))
        {
            let span = word_span(doc, place, &["signers", "files"], number);
            wrong(span, fault, "write the file's path from the root of the repository, like `keys/allowed_signers`");
        }
    }
}

/// Otherwise whoever may push could change who must sign.
fn covers_itself(doc: &Doc, cluster: &RawCluster, files: &[&SourceFile], report: &mut Report) {
    let rules = cluster.signatures.as_deref().unwrap_or_default();
    let own = files.get(doc.file).map(|file| file.path.as_str());
    let listed = rules.iter().flat_map(|rule| rule.signers.files.iter().flatten().map(String::as_str));
    let open =
        |file: &&str| !rules.iter().flat_map(|rule| &rule.paths).any(|pattern| matches(pattern, file.as_bytes()));
    if let Some(file) = own.into_iter().chain(listed).filter(|_| !rules.is_empty()).find(open) {
        let message = format!("no rule covers `{file}`: whoever may push could change who must sign");
        let help = format!("add `{file}` to the `paths` of one of them");
        report.add(Code::UnprotectedRules, doc.file, doc.key_span(&["signatures"]), message, Some(help));
    }
}
