//! Secrets within git: is what is sealed well-formed, is it there, and could a node open it?
//!
//! Input → output: a [`Tree`] and the files beside it → [`Secrets`], every secret of every resource and device as the spec has
//! it; findings: more or less than one form, armor that is none, SOPS files and values that are missing or in clear.
//!
//! Deliberately absent: whether a key fits. Nobody here has one; the node that needs it says so (`status`).

use super::document::{Doc, Tree};
use super::explain::Code;
use super::raw::{RawSecret, RawSops};
use super::report::Report;
use super::sops::{self, SopsFault, SopsFile};
use super::tree::Span;
use super::{SourceFile, armor};
use crate::model::{
    AgeSecret, DeviceId, Digest, Origin, ResourceId, SecretRef, SecretRefs, SopsSecret, SopsText, Spec, suggest,
};
use std::collections::BTreeMap;
use std::sync::Arc;

const START: Span = Span { line: 1, column: 1, end_line: 1, end_column: 2, file: 0, via: 0 };

/// What the documents name as secrets, as far as it is well-formed.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    resources: BTreeMap<ResourceId, SecretRefs>,
    devices: BTreeMap<DeviceId, SecretRefs>,
}

impl Secrets {
    /// Gives each resource and device its own.
    pub fn enter(self, spec: &mut Spec) {
        for (name, secrets) in self.resources {
            if let Some(resource) = spec.resources.get_mut(&name) {
                resource.secrets = secrets;
            }
        }
        for (name, secrets) in self.devices {
            if let Some(device) = spec.devices.get_mut(&name) {
                device.secrets = secrets;
            }
        }
    }
}

/// Checks everything that is sealed.
pub(super) fn check(tree: &Tree, files: &[&SourceFile], report: &mut Report) -> Secrets {
    let mut sealed = Sealed { files, read: BTreeMap::new() };
    for (place, _) in files.iter().enumerate().filter(|(_, file)| sops::is_sops(file)) {
        if let Err(SopsFault::InClear) = sealed.open(place) {
            let help =
                format!("encrypt it: `sops encrypt --in-place {}`; what was committed is known now", files[place].path);
            let message = "this file is named like one of SOPS, but nothing in it is encrypted";
            report.add(Code::SopsInClear, place, START, message, Some(help));
        }
    }
    let mut found = Secrets::default();
    for (doc, raw) in tree.resources() {
        let secrets = sealed.all(doc, raw.secrets.as_ref(), report);
        found.resources.insert(ResourceId::new(doc.name.as_str()), secrets);
        for key in raw.params.iter().flat_map(BTreeMap::keys) {
            if raw.secrets.as_ref().is_some_and(|secrets| secrets.contains_key(key)) {
                let (span, message) =
                    (doc.key_span(&["params", key]), format!("`{key}` is in `params` and in `secrets`"));
                report.add(Code::ContradictingFields, doc.file, span, message, Some("keep the secret".into()));
            }
        }
    }
    for (doc, raw) in tree.devices() {
        let secrets = sealed.all(doc, raw.secrets.as_ref(), report);
        found.devices.insert(DeviceId::new(doc.name.as_str()), secrets);
    }
    found
}

struct Sealed<'a> {
    files: &'a [&'a SourceFile],
    /// By place among the files: each is read once, however often it is named.
    read: BTreeMap<usize, Result<Arc<Read>, SopsFault>>,
}

struct Read {
    file: SopsFile,
    document: Arc<crate::model::SopsDocument>,
}

impl Sealed<'_> {
    fn open(&mut self, place: usize) -> Result<Arc<Read>, SopsFault> {
        let file = self.files[place];
        let read = || sops::read(file).map(|file| Arc::new(Read { document: Arc::new(file.document.clone()), file }));
        self.read.entry(place).or_insert_with(read).clone()
    }

    fn all(&mut self, doc: &Doc, raw: Option<&BTreeMap<String, RawSecret>>, report: &mut Report) -> SecretRefs {
        let mut secrets = SecretRefs::new();
        for (name, raw) in raw.into_iter().flatten() {
            if let Some(secret) = self.one(doc, name, raw, report) {
                secrets.insert(name.clone(), secret);
            }
        }
        secrets
    }

    fn one(&mut self, doc: &Doc, name: &str, raw: &RawSecret, report: &mut Report) -> Option<SecretRef> {
        match (&raw.file, &raw.age, &raw.sops) {
            (Some(file), None, None) => Some(SecretRef::File { file: file.clone() }),
            (None, Some(text), None) => self.age(doc, name, text, report),
            (None, None, Some(raw)) => self.sops(doc, name, raw, report),
            (None, None, None) => {
                let help = "write `{ file: PATH }`, `{ age: … }` or `{ sops: { file: …, key: … } }`".to_owned();
                let message = format!("the secret `{name}` is not said");
                report.add(Code::MissingField, doc.file, doc.key_span(&["secrets", name]), message, Some(help));
                None
            }
            _ => {
                let message = format!("the secret `{name}` is given in more than one form");
                let help = "keep one of `file`, `age` and `sops`".to_owned();
                report.add(Code::ContradictingFields, doc.file, doc.key_span(&["secrets", name]), message, Some(help));
                None
            }
        }
    }

    fn age(&self, doc: &Doc, name: &str, text: &str, report: &mut Report) -> Option<SecretRef> {
        let span = doc.key_span(&["secrets", name, "age"]);
        match armor::recipients(text) {
            Ok(recipients) => {
                let armor = armor::tidy(text);
                let seal = Digest::of(armor.as_bytes());
                Some(SecretRef::Age(AgeSecret { at: self.origin(doc, span), seal, recipients, armor }))
            }
            Err((what, help)) => {
                let message = format!("the secret `{name}` {what}");
                report.add(Code::BadAgeSecret, doc.file, span, message, Some(help));
                None
            }
        }
    }

    fn sops(&mut self, doc: &Doc, name: &str, raw: &RawSops, report: &mut Report) -> Option<SecretRef> {
        let path = ["secrets", name, "sops", "file"];
        let mut fault = |code, step: &str, message: String, help: String| {
            let span = doc.span(&[path[0], path[1], path[2], step]);
            report.add(code, doc.file, span, message, Some(help));
            None
        };
        let written = doc.span(&path).file_or(doc.file);
        let from = self.files.get(written).map_or("", |file| file.path.as_str());
        let Some(place) = beside(from, &raw.file).and_then(|path| self.files.iter().position(|file| file.path == path))
        else {
            let known: Vec<String> =
                self.files.iter().filter(|file| sops::is_sops(file)).map(|file| seen_from(from, &file.path)).collect();
            let help = match (suggest::nearest(&raw.file, known.iter().map(String::as_str)), known.as_slice()) {
                (Some(word), _) => format!("did you mean `{word}`?"),
                (None, []) => {
                    "there is no SOPS file: YAML, or JSON named `NAME.enc.json` or `NAME.sops.json`".to_owned()
                }
                (None, _) => "the path is seen from the file that it is written in".to_owned(),
            };
            return fault(Code::BadSops, "file", format!("there is no file `{}` here", raw.file), help);
        };
        let read = match self.open(place) {
            Ok(read) => read,
            Err(SopsFault::InClear) => {
                let help = format!("encrypt it: `sops encrypt --in-place {}`", raw.file);
                return fault(Code::SopsInClear, "file", format!("nothing in `{}` is encrypted", raw.file), help);
            }
            Err(SopsFault::Unusable(why)) => {
                let help = "encrypt it for the nodes: `sops encrypt --age RECIPIENT,…`".to_owned();
                return fault(Code::BadSops, "file", format!("`{}` cannot be used: {why}", raw.file), help);
            }
        };
        let values = &read.file.document.values;
        let mut matching = values.iter().zip(&read.file.spans).filter(|(value, _)| value.key == raw.key);
        match (matching.next(), matching.next()) {
            (None, _) => {
                let keys: Vec<&str> = values.iter().map(|value| value.key.as_str()).collect();
                let help = match suggest::nearest(&raw.key, keys.iter().copied()) {
                    Some(word) => format!("did you mean `{word}`?"),
                    None => format!("its values are {}", some_of(&keys)),
                };
                fault(Code::BadSops, "key", format!("`{}` has no value `{}`", raw.file, raw.key), help)
            }
            (Some(_), Some(_)) => {
                let help = "give the keys names without dots".to_owned();
                fault(Code::BadSops, "key", format!("`{}` names two values of `{}`", raw.key, raw.file), help)
            }
            (Some((value, span)), None) => match &value.text {
                SopsText::Clear(_) => {
                    let help = "a rule of `.sops.yaml` leaves it in clear, such as `unencrypted_suffix`".to_owned();
                    let at = format!("{}:{}:{}", self.files[place].path, span.line, span.column);
                    fault(Code::SopsInClear, "key", format!("the value `{}` is not encrypted ({at})", raw.key), help)
                }
                SopsText::Sealed(text) => Some(SecretRef::Sops(SopsSecret {
                    at: self.origin(doc, doc.span(&["secrets", name, "sops", "key"])),
                    seal: Digest::of(text.as_bytes()),
                    file: self.files[place].path.clone(),
                    key: raw.key.clone(),
                    document: Some(read.document.clone()),
                })),
            },
        }
    }

    fn origin(&self, doc: &Doc, span: Span) -> Origin {
        let file = self.files.get(span.file_or(doc.file)).map_or(String::new(), |file| file.path.clone());
        Origin { file, line: span.line, column: span.column }
    }
}

/// So many values are named where nothing similar is found.
const FEW: usize = 8;

fn some_of(keys: &[&str]) -> String {
    match keys.len() {
        0 => "none".to_owned(),
        1..=FEW => keys.join(", "),
        more => format!("{}, and {} more", keys[..FEW].join(", "), more - FEW),
    }
}

/// Where a path leads that is seen from a file; None: out of the tree.
pub(super) fn beside(from: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "." => {}
            ".." if parts.last() == Some(&"..") => return None,
            ".." => drop(parts.pop()?),
            // An absolute path is none of the tree.
            "" => return None,
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// The other way round.
fn seen_from(from: &str, path: &str) -> String {
    let folder: Vec<&str> = from.split('/').collect();
    let (folder, parts) = (&folder[..folder.len() - 1], path.split('/').collect::<Vec<_>>());
    let common = folder.iter().zip(&parts).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n("..", folder.len() - common);
    up.chain(parts[common..].iter().copied()).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_seen_from_the_file_that_they_are_written_in() {
        for (from, path, to) in [
            ("a.yaml", "s.enc.yaml", Some("s.enc.yaml")),
            ("db/a.yaml", "secrets/s.enc.yaml", Some("db/secrets/s.enc.yaml")),
            ("db/a.yaml", "./../s.enc.yaml", Some("s.enc.yaml")),
            ("a.yaml", "../s.enc.yaml", None),
            ("a.yaml", "/etc/s.enc.yaml", None),
        ] {
            assert_eq!(beside(from, path).as_deref(), to, "{from} {path}");
            if let Some(to) = to {
                assert_eq!(beside(from, &seen_from(from, to)).as_deref(), Some(to));
            }
        }
    }
}
