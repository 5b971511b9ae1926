//! What an overlay says differently of the documents of its bases.
//!
//! Input → output: the documents of the bases, and an overlay whose variables have their values → the documents, changed.
//! Findings: a patch of something that is not there or that is of another kind, two words on one field, a field without a value.
//!
//! Rules: maps are merged, single values and lists replaced. What is to go is named under `remove`, never written as an empty
//! value. An overlay says one thing of a field; another overlay that builds on it may say another.
//!
//! Deliberately absent: whether the outcome makes sense. It is judged like every document.

use super::variables::mark;
use super::{How, MAX_CHANGES, Overlay, Via};
use crate::manifest::explain::Code;
use crate::manifest::listing::{entries, step};
use crate::manifest::report::Report;
use crate::manifest::scalar::Resolved;
use crate::manifest::tree::{Entry, Node, Scalar, Span, Value, YamlDocument};
use crate::model::suggest;
use std::collections::BTreeMap;

type Documents = [(usize, YamlDocument)];
type Target<'a> = (&'a str, &'a str);

/// What was said of a document's fields so far, and where.
#[derive(Default)]
struct Said {
    set: BTreeMap<(usize, String), Span>,
    removed: BTreeMap<(usize, String), Span>,
}

struct Patcher<'a, 'r> {
    file: usize,
    said: Said,
    via: &'a mut Vec<Via>,
    report: &'a mut Report<'r>,
}

/// Changes the documents of the bases; `own` are those of the overlay's own folder.
pub(super) fn apply(
    documents: &mut Vec<(usize, YamlDocument)>,
    overlay: &Overlay,
    own: &Documents,
    via: &mut Vec<Via>,
    report: &mut Report,
) {
    let places: BTreeMap<(String, String), usize> = named(documents).collect();
    let mut patcher = Patcher { file: overlay.file, said: Said::default(), via, report };
    for patch in overlay.list("patches") {
        let Some((target, span)) = target(patch) else { continue };
        match places.get(&(target.0.to_owned(), target.1.to_owned())) {
            Some(place) => patcher.patch(*place, &mut documents[*place], target, patch),
            None => unknown(target, (overlay.file, span), documents, own, patcher.report),
        }
    }
    let mut gone = Vec::new();
    for item in overlay.list("remove") {
        let Some((target, span)) = target(item) else { continue };
        let Some(place) = places.get(&(target.0.to_owned(), target.1.to_owned())) else {
            unknown(target, (overlay.file, span), documents, own, patcher.report);
            continue;
        };
        let patched = patcher.said.set.iter().chain(&patcher.said.removed).find(|((of, _), _)| of == place);
        if let Some((_, at)) = patched {
            let at = patcher.report.place(overlay.file, *at);
            let message = format!("{} `{}` is left out, and patched at {at}", target.0, target.1);
            patcher.report.add(Code::DoublePatch, overlay.file, span, message, Some("keep one of the two".to_owned()));
        } else if gone.contains(place) {
            let message = format!("{} `{}` is left out twice", target.0, target.1);
            patcher.report.add(Code::DoublePatch, overlay.file, span, message, Some("keep one of the two".to_owned()));
        }
        gone.push(*place);
    }
    let mut place = 0;
    documents.retain(|_| {
        place += 1;
        !gone.contains(&(place - 1))
    });
}

/// Kind and name of each document, with its place. Of two with the same the first counts; the second has a finding.
fn named(documents: &Documents) -> impl Iterator<Item = ((String, String), usize)> {
    let of = |(place, (_, document)): (usize, &(usize, YamlDocument))| {
        let (kind, name) = identity(&document.root)?;
        Some(((kind.to_owned(), name.to_owned()), place))
    };
    documents.iter().enumerate().rev().filter_map(of)
}

fn identity(root: &Node) -> Option<Target<'_>> {
    Some((root.get("kind").and_then(Node::as_str)?, root.at(&["metadata", "name"]).and_then(Node::as_str)?))
}

/// What a patch is of, and where its name is written.
fn target(patch: &Node) -> Option<(Target<'_>, Span)> {
    let name = patch.get("name")?;
    Some(((patch.get("kind")?.as_str()?, name.as_str()?), name.span))
}

fn unknown(target: Target, at: (usize, Span), documents: &Documents, own: &Documents, report: &mut Report) {
    // What could not be read may be what is meant.
    if documents.iter().any(|(_, document)| document.cut) {
        return;
    }
    let (kind, name) = target;
    let all = || documents.iter().filter_map(|(_, document)| identity(&document.root));
    let written_here = own.iter().find(|(_, document)| identity(&document.root) == Some(target));
    let near = suggest::nearest(name, all().filter(|(of, _)| *of == kind).map(|(_, name)| name));
    let (message, help) = if let Some((file, document)) = written_here {
        let place = report.place(*file, document.root.head());
        (format!("{kind} `{name}` is of this overlay itself"), format!("change it where it is written, {place}"))
    } else if let Some((other, _)) = all().find(|(_, other)| *other == name) {
        (
            format!("`{name}` is a {other}, not a {kind}"),
            format!("write `kind: {other}`; a patch does not change the kind"),
        )
    } else {
        let help = near.map_or_else(
            || "a patch changes documents of the bases; write new ones as files beside the Overlay".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        (format!("there is no {kind} `{name}` in the bases"), help)
    };
    report.add(Code::UnknownPatch, at.0, at.1, message, Some(help));
}

impl Patcher<'_, '_> {
    fn patch(&mut self, place: usize, of: &mut (usize, YamlDocument), target: Target, patch: &Node) {
        let (file, document) = of;
        let name = document.root.at(&["metadata", "name"]).map_or(document.root.span, Node::head);
        let how = How::Patch { target: format!("{} `{}`", target.0, target.1) };
        self.via.push(Via { used: (name.file_or(*file), Span { via: 0, ..name }), how });
        let via = self.via.len() as u32;
        let mut changes = 0;
        if let Some(labels) = patch.get("labels") {
            changes += 1;
            let metadata = super::child(&mut document.root, "metadata");
            if let Some(holder) = metadata.and_then(|metadata| labels_of(metadata, labels.span)) {
                self.merge(place, holder, labels, "metadata.labels", via);
            }
        }
        if let Some(fields) = patch.get("spec") {
            changes += 1;
            if let Some(spec) = super::child(&mut document.root, "spec") {
                self.merge(place, spec, fields, "", via);
            }
        }
        for path in items(patch.get("remove")) {
            changes += 1;
            self.remove(place, &mut document.root, target, path);
        }
        if changes == 0 {
            let message = format!("a patch of {} `{}` that changes nothing", target.0, target.1);
            let help = "write `spec`, `labels` or `remove`".to_owned();
            self.report.add(Code::NoEffect, self.file, patch.head(), message, Some(help));
        }
    }

    /// Bounded by the depth of trees.
    fn merge(&mut self, place: usize, target: &mut Node, patch: &Node, path: &str, via: u32) {
        for entry in entries(Some(patch)) {
            let path = step(path, &entry.key.text);
            if let Value::Scalar(scalar) = &entry.value.value
                && scalar.resolve() == Resolved::Null
            {
                let help = "give it a value; to take the field away name it under `remove` of this patch".to_owned();
                let message = format!("`{}` has no value", entry.key.text);
                self.report.add(Code::NoValue, self.file, entry.key_span, message, Some(help));
                continue;
            }
            let is_map = |node: &Node| matches!(node.value, Value::Map(_));
            let Value::Map(fields) = &mut target.value else { return };
            match fields.iter_mut().find(|field| field.key.text == entry.key.text) {
                Some(field) if is_map(&field.value) && is_map(&entry.value) => {
                    self.merge(place, &mut field.value, &entry.value, &path, via);
                }
                Some(field) => {
                    self.say(place, &entry.value, &path);
                    field.value = entry.value.clone();
                    mark(&mut field.value, via);
                    (field.key_span, field.key_span.via) = (entry.key_span, via);
                }
                None => {
                    self.say(place, &entry.value, &path);
                    let mut new = entry.clone();
                    mark(&mut new.value, via);
                    new.key_span.via = via;
                    fields.push(new);
                }
            }
        }
    }

    /// Notes that a patch sets a field, with all below it.
    fn say(&mut self, place: usize, node: &Node, path: &str) {
        if let Value::Map(fields) = &node.value
            && !fields.is_empty()
        {
            for field in fields {
                self.say(place, &field.value, &step(path, &field.key.text));
            }
            return;
        }
        if self.said.set.len() >= MAX_CHANGES {
            self.report.add(Code::TooMuch, self.file, node.head(), "too many patched fields", None);
            return;
        }
        let above = self.said.removed.iter().find(|((of, removed), _)| *of == place && is_below(path, removed));
        let before = self.said.set.get(&(place, path.to_owned())).or(above.map(|(_, at)| at)).copied();
        self.twice(before, node.head(), path);
        self.said.set.insert((place, path.to_owned()), node.head());
    }

    fn twice(&mut self, before: Option<Span>, at: Span, path: &str) {
        let Some(before) = before else { return };
        let first = self.report.place(self.file, before);
        let message = format!("`{path}` is patched already at {first}");
        self.report.add(Code::DoublePatch, self.file, at, message, Some("keep one of the two".to_owned()));
    }

    fn remove(&mut self, place: usize, root: &mut Node, target: Target, path: &Node) {
        let Some(text) = path.as_str() else {
            let message = "a path of a field is a word".to_owned();
            return self.report.add(Code::WrongType, self.file, path.head(), message, None);
        };
        let Some(steps) = steps(text) else {
            let help = "write the keys below `spec` with dots between, such as `operations.monitor.timeout`; \
                        a key with a dot in it as `params[\"a.b\"]`";
            let message = format!("`{text}` is not the path of a field");
            return self.report.add(Code::UnknownPatch, self.file, path.span, message, Some(help.to_owned()));
        };
        let below_spec = steps.first().is_none_or(|first| first != "metadata");
        let full: Vec<&str> =
            below_spec.then_some("spec").into_iter().chain(steps.iter().map(String::as_str)).collect();
        let label = below_spec || matches!(full.as_slice(), ["metadata", "labels", ..]);
        let set = self.said.set.iter().find(|((of, said), _)| *of == place && is_below(said, text));
        let before = set.or_else(|| self.said.removed.get_key_value(&(place, text.to_owned()))).map(|(_, at)| *at);
        self.twice(before, path.span, text);
        if before.is_some() {
            return;
        }
        if let Err(help) = take_away(root, if label { &full } else { &[] }) {
            let message = format!("{} `{}` has no field `{text}`", target.0, target.1);
            return self.report.add(Code::UnknownPatch, self.file, path.span, message, help);
        }
        self.said.removed.insert((place, text.to_owned()), path.span);
    }
}

/// Takes a field away. Error: what may be meant.
fn take_away(node: &mut Node, path: &[&str]) -> Result<(), Option<String>> {
    let Some((first, rest)) = path.split_first() else {
        return Err(Some("labels and what is below `spec` can be taken away, nothing else".to_owned()));
    };
    let Value::Map(fields) = &mut node.value else {
        return Err(Some("lists are replaced as a whole, by a patch of the list".to_owned()));
    };
    match fields.iter().position(|field| field.key.text == *first) {
        None => {
            let near = suggest::nearest(first, fields.iter().map(|field| field.key.text.as_str()));
            Err(near.map(|near| format!("did you mean `{near}`?")))
        }
        Some(place) if rest.is_empty() => {
            fields.remove(place);
            Ok(())
        }
        Some(place) => take_away(&mut fields[place].value, rest),
    }
}

fn items(node: Option<&Node>) -> &[Node] {
    match node.map(|node| &node.value) {
        Some(Value::List(items)) => items,
        Some(Value::Map(_) | Value::Scalar(_)) | None => &[],
    }
}

/// The labels of a document, which may have none yet.
fn labels_of(metadata: &mut Node, span: Span) -> Option<&mut Node> {
    if metadata.get("labels").is_none()
        && let Value::Map(fields) = &mut metadata.value
    {
        let key = Scalar { text: "labels".to_owned(), plain: true };
        fields.push(Entry { key, key_span: span, value: Node { span, value: Value::Map(Vec::new()) } });
    }
    super::child(metadata, "labels")
}

/// Whether a path is another, or leads below it.
fn is_below(path: &str, other: &str) -> bool {
    path.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// The keys of a path as `hafen diff` writes it; the reverse of [`step`].
fn steps(path: &str) -> Option<Vec<String>> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix('[') {
            let mut parts = serde_json::Deserializer::from_str(quoted).into_iter::<String>();
            steps.push(parts.next()?.ok()?);
            rest = quoted[parts.byte_offset()..].strip_prefix(']')?;
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            steps.push(rest[..end].to_owned());
            rest = &rest[end..];
        }
        if let Some(after) = rest.strip_prefix('.') {
            rest = if after.is_empty() { return None } else { after };
        }
    }
    let whole = !steps.is_empty() && steps.iter().all(|step| !step.is_empty());
    whole.then_some(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_as_diff_writes_it() {
        let written =
            ["operations", "monitor", "a.b/c", "x y", "d"].iter().fold(String::new(), |path, key| step(&path, key));
        assert_eq!(written, "operations.monitor[\"a.b/c\"][\"x y\"].d");
        assert_eq!(steps(&written).unwrap(), ["operations", "monitor", "a.b/c", "x y", "d"]);
        for wrong in ["", ".", "a.", "a..b", "a[b]", "a[\"b\"", ".a"] {
            assert_eq!(steps(wrong), None, "{wrong}");
        }
    }
}
