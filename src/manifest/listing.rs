//! Documents as they are written, field by field, for comparing two trees.
//!
//! Input → output: files → a [`Listing`]: for each document every word, and every list of words, with its place.
//!
//! Deliberately absent: judging. What is no document with a kind and a name is left out; `load` says why.

use super::report::Report;
use super::tree::{Node, Span, Value, YamlDocument};
use super::{Purpose, SourceFile, armor, check_sealed, in_order, overlay, parse_all, sops};
use crate::model::sealed::sealed;
use crate::model::{Digest, Kind, ListedField, ListedObject, Listing, Origin, SopsText, SopsValue};
use std::collections::BTreeMap;

/// Lists all fields of these files. Of two documents with one kind and name the first counts.
pub fn listing(files: &[SourceFile]) -> Listing {
    let files = in_order(files);
    let mut listing = Listing::default();
    let mut report = Report::new(Purpose::Plan, &files);
    let documents = parse_all(&files, &mut report);
    for (file, document) in overlay::render(&files, documents, &mut report) {
        if let Some((kind, name, mut object)) = object(&files, file, &document) {
            seal(&mut object, &files);
            listing.objects.entry(kind).or_default().entry(name).or_insert(object);
        }
    }
    listing
}

fn object(files: &[&SourceFile], file: usize, document: &YamlDocument) -> Option<(Kind, String, ListedObject)> {
    let root = &document.root;
    let kind = root.get("kind").and_then(Node::as_str)?;
    let kind = Kind::ALL.into_iter().find(|known| known.as_str() == kind)?;
    let named = root.at(&["metadata", "name"])?;
    let name = named.as_str()?.to_owned();
    let mut walk = Walk { files, file, fields: BTreeMap::new() };
    for entry in entries(root.get("spec")) {
        walk.field(&step("", &entry.key.text), &entry.key.text, &entry.value);
    }
    for entry in entries(root.get("metadata")).iter().filter(|entry| entry.key.text != "name") {
        walk.field(&step("metadata", &entry.key.text), &entry.key.text, &entry.value);
    }
    let at = origin(files, file, named.span);
    Some((kind, name, ListedObject { at, fields: walk.fields }))
}

/// A place in a file that is no manifest.
fn of_file(file: &SourceFile, span: Span) -> Origin {
    Origin { file: file.path.clone(), line: span.line, column: span.column }
}

/// Shows what is sealed by its digest: short, and different where it differs. A value of a SOPS file, which is in none of the
/// manifests, becomes a field of its own.
fn seal(object: &mut ListedObject, files: &[&SourceFile]) {
    let mut values = BTreeMap::new();
    for (name, field) in object.fields.iter_mut().filter(|(name, _)| name.starts_with("secrets")) {
        if name.ends_with(".age") {
            field.value = sealed(&Digest::of(armor::tidy(&field.value).as_bytes()));
        } else if let Some(secret) = name.strip_suffix(".sops.key") {
            values.insert(secret.to_owned(), field.clone());
        }
    }
    for (secret, key) in values {
        let Some(named) = object.fields.get(&format!("{secret}.sops.file")) else { continue };
        let path = check_sealed::beside(&named.at.file, &named.value);
        let Some(file) = path.and_then(|path| files.iter().find(|file| file.path == path)) else { continue };
        let Ok(read) = sops::read(file) else { continue };
        let mut values = read.document.values.iter().zip(&read.spans);
        if let Some((SopsValue { text: SopsText::Sealed(text), .. }, span)) =
            values.find(|(value, _)| value.key == key.value)
        {
            let (value, at) = (sealed(&Digest::of(text.as_bytes())), of_file(file, *span));
            let field = ListedField { value, name: "value".to_owned(), at };
            object.fields.insert(format!("{secret}.sops.value"), field);
        }
    }
}

pub(super) fn entries(node: Option<&Node>) -> &[super::tree::Entry] {
    match node.map(|node| &node.value) {
        Some(Value::Map(entries)) => entries,
        Some(Value::List(_) | Value::Scalar(_)) | None => &[],
    }
}

pub(super) fn step(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && !key.contains(['.', '[', ']', '"', ' ']);
    match (path, plain) {
        ("", true) => key.to_owned(),
        (path, true) => format!("{path}.{key}"),
        (path, false) => format!("{path}[{key:?}]"),
    }
}

pub(super) fn origin(files: &[&SourceFile], file: usize, span: Span) -> Origin {
    let file = files.get(span.file_or(file)).map_or(String::new(), |file| file.path.clone());
    Origin { file, line: span.line, column: span.column }
}

struct Walk<'a> {
    files: &'a [&'a SourceFile],
    file: usize,
    fields: BTreeMap<String, ListedField>,
}

impl Walk<'_> {
    /// Bounded by the depth of trees.
    fn field(&mut self, path: &str, name: &str, node: &Node) {
        match &node.value {
            Value::Map(entries) if !entries.is_empty() => {
                for entry in entries {
                    self.field(&step(path, &entry.key.text), &entry.key.text, &entry.value);
                }
            }
            Value::List(items) if !items.iter().all(is_words) => {
                for (place, item) in items.iter().enumerate() {
                    self.field(&format!("{path}[{place}]"), name, item);
                }
            }
            Value::Map(_) | Value::List(_) | Value::Scalar(_) => {
                let at = origin(self.files, self.file, node.head());
                let field = ListedField { value: words(node), name: name.to_owned(), at };
                self.fields.insert(path.to_owned(), field);
            }
        }
    }
}

/// A word, or a list of such: `[[ipmi-n1], [pdu-a, pdu-b]]` is read as one.
pub(super) fn is_words(node: &Node) -> bool {
    match &node.value {
        Value::Scalar(_) => true,
        Value::List(items) => items.iter().all(is_words),
        Value::Map(_) => false,
    }
}

pub(super) fn words(node: &Node) -> String {
    match &node.value {
        Value::Scalar(scalar) => scalar.text.clone(),
        Value::List(items) => format!("[{}]", items.iter().map(words).collect::<Vec<_>>().join(", ")),
        Value::Map(_) => "{}".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Vec<String> {
        let file = SourceFile { path: "a.yaml".into(), bytes: text.as_bytes().to_vec() };
        let listing = listing(&[file]);
        let all = listing.all().flat_map(|(kind, name, object)| {
            object.fields.iter().map(move |(path, field)| format!("{kind}/{name} {path}={} {}", field.value, field.at))
        });
        all.collect()
    }

    #[test]
    fn every_word_and_list_of_words_is_a_field_with_its_place() {
        let text = "apiVersion: hafen/v1alpha1\nkind: Node\nmetadata: { name: n1, labels: { a.b/c: x } }\nspec:\n  \
                    addresses: [192.0.2.1, 192.0.2.2]\n  fencing:\n    - [ipmi]\n    - [pdu-a, pdu-b]\n  capacity: {}\n";
        assert_eq!(
            fields(text),
            [
                "Node/n1 addresses=[192.0.2.1, 192.0.2.2] a.yaml:5:14",
                "Node/n1 capacity={} a.yaml:9:13",
                "Node/n1 fencing=[[ipmi], [pdu-a, pdu-b]] a.yaml:7:7",
                "Node/n1 metadata.labels[\"a.b/c\"]=x a.yaml:3:40",
            ]
        );
    }

    #[test]
    fn what_is_sealed_is_told_by_its_digest_and_changes_with_it() {
        let sops = |value: &str| {
            format!(
                "db:\n  pw: ENC[AES256_GCM,data:{value}]\n  other: ENC[AES256_GCM,data:z]\nsops:\n  mac: ENC[AES256_GCM,{value}]\n  \
                 lastmodified: t\n  age: [{{ recipient: age1, enc: x }}]\n"
            )
        };
        let listed = |age: &str, value: &str| {
            let text = format!(
                "kind: Resource\nmetadata: {{ name: db }}\nspec:\n  secrets:\n    a: {{ age: {age:?} }}\n    \
                 b: {{ sops: {{ file: ../s.enc.yaml, key: db.pw }} }}\n    c: {{ file: /etc/c }}\n"
            );
            let file = |path: &str, text: String| SourceFile { path: path.into(), bytes: text.into_bytes() };
            let listing = listing(&[file("db/db.yaml", text), file("s.enc.yaml", sops(value))]);
            let db = listing.get(Kind::Resource, "db").unwrap().clone();
            db.fields
                .into_iter()
                .map(|(path, field)| format!("{path}={} {}", field.value, field.at))
                .collect::<Vec<_>>()
        };
        let all = listed("begin\nend", "x");
        let short = |text: &str| format!("(sealed {})", &Digest::of(text.as_bytes()).to_string()[..12]);
        assert_eq!(
            all,
            [
                format!("secrets.a.age={} db/db.yaml:5:15", short("begin\nend\n")),
                "secrets.b.sops.file=../s.enc.yaml db/db.yaml:6:24".to_owned(),
                "secrets.b.sops.key=db.pw db/db.yaml:6:44".to_owned(),
                format!("secrets.b.sops.value={} s.enc.yaml:2:7", short("ENC[AES256_GCM,data:x]")),
                "secrets.c.file=/etc/c db/db.yaml:7:16".to_owned(),
            ]
        );
        assert_eq!(listed("begin \r\nend\n", "x"), all, "how it was pasted is no difference");
        let differ = |other: Vec<String>| all.iter().zip(other).filter(|(a, b)| **a != *b).count();
        assert_eq!(differ(listed("begin\nEnd", "x")), 1);
        assert_eq!(differ(listed("begin\nend", "y")), 1);
    }

    #[test]
    fn lists_of_maps_are_told_item_by_item_and_what_is_no_document_is_left_out() {
        let text = "kind: Order\nmetadata: { name: o }\nspec: { sets: [{ resources: [a, b] }, { resources: [c] }] }\n\
                    ---\nkind: Order\nspec: {}\n---\njust words\n---\nkind: Order\nmetadata: { name: o }\nspec: { a: b }\n";
        assert_eq!(
            fields(text),
            ["Order/o sets[0].resources=[a, b] a.yaml:3:29", "Order/o sets[1].resources=[c] a.yaml:3:52"]
        );
    }
}
