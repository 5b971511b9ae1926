//! SOPS files: which of the files are such, and what they say that a node needs to open one of their values.
//!
//! Input → output: one file → [`SopsFile`]: its values in order, who can open it, and what protects it from changes; or
//! what is wrong with it. YAML (`.yaml`, `.yml`) and JSON (`.enc.json`, `.sops.json`). Rules: the SOPS file format, getsops/sops.
//!
//! Invariants: a SOPS file is never read as a manifest; sizes and the number of values are bounded.
//!
//! Deliberately absent: decryption; keys of other kinds than age; several documents in one file.

use super::report::Report;
use super::scalar::Resolved;
use super::tree::{self, Node, Span, Value};
use super::{Purpose, SourceFile, json};
use crate::model::{SopsDocument, SopsRecipient, SopsText, SopsValue};

/// All of the file goes along with each of its values that is used, so that a node can check its authentication code.
pub(super) const MAX_SOPS_BYTES: usize = 64 * 1024;
/// Each is decrypted for that check.
const MAX_VALUES: usize = 1_000;
/// Parts of file names that say that what is in them is encrypted.
const MARKS: [&str; 2] = [".enc.", ".sops."];
const SEALED: &str = "ENC[AES256_GCM,";

/// A SOPS file that could be read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SopsFile {
    pub document: SopsDocument,
    /// Where each value is written, in the order of the values.
    pub spans: Vec<Span>,
}

/// What is wrong with a SOPS file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SopsFault {
    /// There is nothing of SOPS in it: whatever it says is in clear.
    InClear,
    Unusable(String),
}

/// Whether a file is to be read as a SOPS file, not as a manifest: by its name, or because it says so at the left margin.
pub(super) fn is_sops(file: &SourceFile) -> bool {
    let lines = || file.bytes.split(|byte| *byte == b'\n');
    let name = file.path.rsplit('/').next().unwrap_or_default();
    MARKS.iter().any(|mark| name.contains(mark))
        || (lines().any(|line| line.starts_with(b"sops:")) && !lines().any(|line| line.starts_with(b"apiVersion:")))
}

/// Reads one.
pub(super) fn read(file: &SourceFile) -> Result<SopsFile, SopsFault> {
    let unusable = |what: &str| SopsFault::Unusable(what.to_owned());
    if file.bytes.len() > MAX_SOPS_BYTES {
        return Err(SopsFault::Unusable(format!("it is larger than {} KiB", MAX_SOPS_BYTES / 1024)));
    }
    let root = root_of(file)?;
    let Value::Map(entries) = &root.value else { return Err(SopsFault::InClear) };
    let sops = root.get("sops").filter(|node| matches!(node.value, Value::Map(_))).ok_or(SopsFault::InClear)?;
    let text = |key: &str| sops.get(key).and_then(text_of);
    let mac = text("mac").filter(|mac| mac.starts_with(SEALED)).ok_or_else(|| unusable("it has no `sops.mac`"))?;
    let last_modified = text("lastmodified").ok_or_else(|| unusable("it has no `sops.lastmodified`"))?;
    if sops.get("shamir_threshold").is_some() || sops.get("key_groups").is_some_and(|groups| !is_empty(groups)) {
        return Err(unusable("its key is split among groups, which is not supported"));
    }
    let recipients = match sops.get("age").map(|node| &node.value) {
        Some(Value::List(items)) => items.iter().map(recipient).collect::<Option<Vec<_>>>(),
        Some(Value::Map(_) | Value::Scalar(_)) | None => Some(Vec::new()),
    };
    let recipients = recipients.ok_or_else(|| unusable("an entry of `sops.age` has no `recipient` or no `enc`"))?;
    if recipients.is_empty() {
        return Err(unusable("it has no age recipient, and nodes have no other keys"));
    }
    let mut walk = Walk { values: Vec::new(), spans: Vec::new() };
    for entry in entries.iter().filter(|entry| entry.key.text != "sops") {
        walk.value(&entry.key.text, &format!("{}:", entry.key.text), &entry.value).map_err(SopsFault::Unusable)?;
    }
    let document = SopsDocument {
        values: walk.values,
        mac: mac.to_owned(),
        last_modified: last_modified.to_owned(),
        mac_only_encrypted: text("mac_only_encrypted") == Some("true"),
        recipients,
    };
    Ok(SopsFile { document, spans: walk.spans })
}

fn root_of(file: &SourceFile) -> Result<Node, SopsFault> {
    if file.path.ends_with(".json") {
        return json::parse(&file.bytes).map_err(|error| SopsFault::Unusable(format!("it is no JSON: {error}")));
    }
    // What SOPS leaves in clear may look as it likes: findings are not ours to make.
    let files = [file];
    let mut documents = tree::parse(0, &file.bytes, &mut Report::new(Purpose::Plan, &files));
    match (documents.pop(), documents.is_empty()) {
        (Some(document), true) if !document.cut => Ok(document.root),
        (Some(_), true) | (None, _) => Err(SopsFault::Unusable("it is no YAML".to_owned())),
        (Some(_), false) => Err(SopsFault::Unusable("it has several documents".to_owned())),
    }
}

fn text_of(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Scalar(scalar) => Some(&scalar.text),
        Value::List(_) | Value::Map(_) => None,
    }
}

fn is_empty(node: &Node) -> bool {
    match &node.value {
        Value::Scalar(scalar) => scalar.resolve() == Resolved::Null,
        Value::List(items) => items.is_empty(),
        Value::Map(entries) => entries.is_empty(),
    }
}

fn recipient(node: &Node) -> Option<SopsRecipient> {
    let (recipient, armor) = (text_of(node.get("recipient")?)?, text_of(node.get("enc")?)?);
    Some(SopsRecipient { recipient: recipient.to_owned(), armor: armor.to_owned() })
}

struct Walk {
    values: Vec<SopsValue>,
    spans: Vec<Span>,
}

impl Walk {
    /// Bounded by the depth of trees.
    fn value(&mut self, key: &str, bound_to: &str, node: &Node) -> Result<(), String> {
        match &node.value {
            Value::Map(entries) => entries.iter().try_for_each(|entry| {
                let name = &entry.key.text;
                self.value(&format!("{key}.{name}"), &format!("{bound_to}{name}:"), &entry.value)
            }),
            // SOPS binds items to the key of their list.
            Value::List(items) => {
                let mut places = items.iter().enumerate();
                places.try_for_each(|(place, item)| self.value(&format!("{key}.{place}"), bound_to, item))
            }
            Value::Scalar(scalar) => {
                let Some(text) = as_sops_says(&scalar.text, scalar.resolve()) else { return Ok(()) };
                if self.values.len() == MAX_VALUES {
                    return Err(format!("it has more than {MAX_VALUES} values"));
                }
                self.values.push(SopsValue { key: key.to_owned(), bound_to: bound_to.to_owned(), text });
                self.spans.push(node.span);
                Ok(())
            }
        }
    }
}

/// A value as it is part of the authentication code (`ToBytes` in sops.go); None: nothing is no part of it.
fn as_sops_says(text: &str, resolved: Resolved) -> Option<SopsText> {
    Some(match resolved {
        Resolved::Null => return None,
        Resolved::Bool(true) => SopsText::Clear("True".to_owned()),
        Resolved::Bool(false) => SopsText::Clear("False".to_owned()),
        Resolved::Int(number) => SopsText::Clear(number.to_string()),
        Resolved::Float(number) => SopsText::Clear(number.to_string()),
        Resolved::Str if text.starts_with(SEALED) => SopsText::Sealed(text.to_owned()),
        Resolved::Str => SopsText::Clear(text.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile { path: path.into(), bytes: text.as_bytes().to_vec() }
    }

    const META: &str = "sops:\n  mac: ENC[AES256_GCM,data:x]\n  lastmodified: \"2026-01-01T00:00:00Z\"\n  age:\n  - \
                        recipient: age1x\n    enc: abc\n";

    #[test]
    fn values_are_listed_in_order_with_what_they_are_bound_to() {
        let text = format!(
            "b:\n  pw: ENC[AES256_GCM,data:y]\n  list: [one, {{ two: \"2\" }}]\na_unencrypted: true\nn: 007\nx: ~\n{META}"
        );
        let read = read(&file("s.yaml", &text)).unwrap();
        let shown =
            read.document.values.iter().map(|value| format!("{} {} {:?}", value.key, value.bound_to, value.text));
        assert_eq!(
            shown.collect::<Vec<_>>(),
            [
                "b.pw b:pw: Sealed(\"ENC[AES256_GCM,data:y]\")",
                "b.list.0 b:list: Clear(\"one\")",
                "b.list.1.two b:list:two: Clear(\"2\")",
                "a_unencrypted a_unencrypted: Clear(\"True\")",
                "n n: Clear(\"7\")",
            ]
        );
        assert_eq!(read.spans[0].line, 2);
        assert_eq!(read.document.recipients[0].recipient, "age1x");
    }

    #[test]
    fn json_says_the_same_as_yaml() {
        let text = "{\n\t\"b\": {\"pw\": \"ENC[AES256_GCM,data:y]\", \"n\": 5, \"no\": null},\n\t\"a\": false,\n\t\"sops\": \
                    {\"mac\": \"ENC[AES256_GCM,data:x]\", \"lastmodified\": \"t\", \"mac_only_encrypted\": true,\n\
                    \"age\": [{\"recipient\": \"age1x\", \"enc\": \"abc\"}]}}";
        let read = read(&file("s.enc.json", text)).unwrap();
        let keys: Vec<&str> = read.document.values.iter().map(|value| value.key.as_str()).collect();
        assert_eq!(keys, ["b.pw", "b.n", "a"]);
        assert!(read.document.mac_only_encrypted);
        assert!(matches!(read_text("s.enc.json", "{"), Err(SopsFault::Unusable(why)) if why.contains("no JSON")));
    }

    fn read_text(path: &str, text: &str) -> Result<SopsFile, SopsFault> {
        read(&file(path, text))
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        assert_eq!(read_text("s.enc.yaml", "db: { password: hunter2 }\n"), Err(SopsFault::InClear));
        assert_eq!(read_text("s.enc.yaml", "sops: yes\n"), Err(SopsFault::InClear));
        assert_eq!(read_text("s.enc.json", "[]"), Err(SopsFault::InClear));
        for (text, expected) in [
            (META.replace("mac:", "mc:"), "no `sops.mac`"),
            (META.replace("lastmodified", "l"), "no `sops.lastmodified`"),
            (META.replace("  age:\n", "  pgp:\n"), "no age recipient"),
            (META.replace("enc:", "e:"), "no `enc`"),
            (format!("{META}  shamir_threshold: 2\n"), "split among groups"),
            (format!("{META}---\na: b\n"), "several documents"),
            (format!("{META}\n: : ["), "no YAML"),
            (format!("a: [{}]\n{META}", "1,".repeat(MAX_VALUES + 1)), "more than 1000 values"),
            (format!("a: {}\n{META}", "x".repeat(MAX_SOPS_BYTES)), "larger than 64 KiB"),
        ] {
            let fault = read_text("s.yaml", &text).unwrap_err();
            assert!(matches!(&fault, SopsFault::Unusable(why) if why.contains(expected)), "{fault:?} / {expected}");
        }
    }

    #[test]
    fn sops_files_are_told_from_manifests() {
        for (path, text) in [("a.enc.yaml", ""), ("b.sops.yml", ""), ("c.enc.json", ""), ("d.yaml", META)] {
            assert!(is_sops(&file(path, text)), "{path}");
        }
        let manifest = format!("apiVersion: hafen/v1alpha1\n{META}");
        for (path, text) in [("a.yaml", ""), ("enc.yaml", ""), ("x.enc.d/a.yaml", ""), ("b.yaml", manifest.as_str())] {
            assert!(!is_sops(&file(path, text)), "{path}");
        }
    }
}
