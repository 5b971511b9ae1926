//! Several clusters from one tree: bases, patches by name, typed variables.
//!
//! Input → output: the documents of all files, among them `kind: Overlay` → the documents of one cluster, as if they had
//! been written so; everything that follows sees only these. Without an Overlay nothing changes, and `${` is a text like
//! any other.
//!
//! The steps: `folders` finds out which files are of which base → `variables` puts values where `${name}` is written →
//! `patches` changes and takes away what the bases say → [`settle`] gives numbers the form that their fields want.
//!
//! Invariants: every value keeps the place where it truly stands, in whichever file, and how it came to where it is
//! ([`Via`]): findings, differences and `hafen render` point there. Nothing is put together if an overlay has an error.
//! Nothing is computed: values are put in, never evaluated, and what they stand for is not looked at again.
//!
//! Deliberately absent: conditions, loops, changes inside of lists (a patch replaces them), variables in keys.

mod folders;
mod patches;
mod raw;
mod variables;

use super::SourceFile;
use super::document;
use super::explain::Code;
use super::report::Report;
use super::schema::Schemas;
use super::structure;
use super::tree::{Node, Span, Value, YamlDocument};
use crate::model::Kind;
use serde_json::Value as Json;

pub use folders::{clusters, with_bases};
pub(super) use raw::RawOverlay;

/// Substitutions and patched fields of one cluster; 10,000 documents have a few of them each.
const MAX_CHANGES: usize = 200_000;

/// How a value came to where it is.
#[derive(Debug, Clone)]
pub(super) struct Via {
    /// Where it is used: the reference to a variable, or the document that a patch changes.
    pub used: (usize, Span),
    pub how: How,
}

#[derive(Debug, Clone)]
pub(super) enum How {
    /// It is the value of a variable, or its default.
    Variable { name: String, default: bool },
    /// It is written there, with references in it to variables, whose values stand elsewhere.
    Text { written: String, variables: Vec<(String, (usize, Span))> },
    /// A patch says it of the document that is named.
    Patch { target: String },
}

impl Via {
    /// For findings about it.
    pub fn note(&self, place: impl Fn(usize, Span) -> String) -> Option<String> {
        let used = place(self.used.0, self.used.1);
        match &self.how {
            How::Variable { name, .. } => Some(format!("it is what `{name}` stands for, used at {used}")),
            How::Text { written, variables } => {
                let set = |(name, at): &(String, (usize, Span))| format!("`{name}` is set at {}", place(at.0, at.1));
                let set: Vec<String> = variables.iter().map(set).collect();
                Some(format!("it comes from `{written}`: {}", set.join(", ")))
            }
            How::Patch { target } => Some(format!("it is a patch of {target} at {used}")),
        }
    }
}

/// One Overlay document.
pub(super) struct Overlay {
    file: usize,
    root: Node,
    spec: RawOverlay,
}

impl Overlay {
    fn name(&self) -> Span {
        self.root.at(&["metadata", "name"]).map_or_else(|| self.root.head(), Node::head)
    }

    fn list(&self, field: &str) -> &[Node] {
        match self.root.at(&["spec", field]).map(|node| &node.value) {
            Some(Value::List(items)) => items,
            Some(Value::Map(_) | Value::Scalar(_)) | None => &[],
        }
    }
}

/// The documents of one cluster, in the order in which they count. None of them is an Overlay.
pub(super) fn render(
    files: &[&SourceFile],
    documents: Vec<(usize, YamlDocument)>,
    report: &mut Report,
) -> Vec<(usize, YamlDocument)> {
    if !documents.iter().any(|(_, document)| folders::is_overlay(&document.root)) {
        return documents;
    }
    let schemas = Schemas::generate();
    put_together(files, documents, &schemas, report).unwrap_or_default()
}

fn put_together(
    files: &[&SourceFile],
    documents: Vec<(usize, YamlDocument)>,
    schemas: &Schemas,
    report: &mut Report,
) -> Option<Vec<(usize, YamlDocument)>> {
    let (overlays, documents): (Vec<_>, Vec<_>) =
        documents.into_iter().partition(|(_, document)| folders::is_overlay(&document.root));
    let read: Vec<Option<Overlay>> =
        overlays.into_iter().map(|(file, document)| read(schemas, file, document, report)).collect();
    let mut overlays: Vec<Overlay> = read.into_iter().collect::<Option<_>>()?;
    let mut layers = folders::layers(files, &overlays, documents, report)?;
    let shared = folders::shared(&layers, &overlays);

    let mut variables = variables::gather(&layers, &overlays, report);
    for (file, document) in layers.iter_mut().flat_map(|layer| &mut layer.documents) {
        // What a document lacks whose references lead nowhere is not judged.
        document.cut |= !variables.put_in(*file, &mut document.root, report);
    }
    for overlay in &mut overlays {
        let file = overlay.file;
        let patches = child(&mut overlay.root, "spec").and_then(|spec| child(spec, "patches"));
        if let Some(Node { value: Value::List(patches), .. }) = patches {
            for patch in patches {
                for part in ["labels", "spec"] {
                    if let Some(part) = child(patch, part)
                        && !variables.put_in(file, part, report)
                    {
                        // What could not be put in was said, and changes nothing.
                        part.value = Value::Map(Vec::new());
                    }
                }
            }
        }
    }
    variables.unused(report);
    let mut via = variables.finish();

    let mut built: Vec<Vec<(usize, YamlDocument)>> = Vec::new();
    for layer in layers {
        let mut documents: Vec<(usize, YamlDocument)> = Vec::new();
        for base in layer.bases {
            documents.append(&mut built[base]);
        }
        if let Some(overlay) = layer.overlay {
            patches::apply(&mut documents, &overlays[overlay], &layer.documents, &mut via, report);
        }
        documents.extend(layer.documents);
        built.push(documents);
    }
    let mut documents = built.pop().unwrap_or_default();
    for (_, document) in &mut documents {
        let kind = document.root.get("kind").and_then(Node::as_str);
        if let Some(kind) = Kind::ALL.into_iter().find(|known| Some(known.as_str()) == kind) {
            settle(schemas, schemas.kind(kind), &mut document.root);
        }
    }
    report.rendered(via, shared);
    Some(documents)
}

/// None: a finding says what is wrong with it.
fn read(schemas: &Schemas, file: usize, document: YamlDocument, report: &mut Report) -> Option<Overlay> {
    let root = document.root;
    let kind = document::header(file, &root, document.broken, report)?;
    if document.broken || !structure::check(schemas, schemas.kind(kind), file, &root, report) {
        return None;
    }
    let spec = root.get("spec")?;
    match serde_json::from_value(structure::to_json(spec)) {
        Ok(spec) => Some(Overlay { file, root, spec }),
        Err(error) => {
            report.add(Code::WrongType, file, spec.head(), error.to_string(), None);
            None
        }
    }
}

/// Gives values of variables the form that their fields want: a number where a text is wanted is that text.
fn settle(schemas: &Schemas, schema: &Json, node: &mut Node) {
    let schema = schemas.deref(schema);
    let type_of = |schema: &Json| schemas.deref(schema).get("type").and_then(Json::as_str).map(str::to_owned);
    let wanted = match &node.value {
        Value::Map(_) => "object",
        Value::List(_) => "array",
        Value::Scalar(_) => "string",
    };
    match &mut node.value {
        Value::Scalar(scalar) => {
            let is_text = type_of(schema).as_deref() == Some(wanted) || schema.get("oneOf").is_some();
            scalar.plain &= node.span.via == 0 || !is_text;
        }
        Value::Map(_) | Value::List(_) => {
            let alternatives = schema.get("anyOf").and_then(Json::as_array);
            let fits = |schema: &&Json| type_of(schema).as_deref() == Some(wanted);
            let schema =
                alternatives.and_then(|all| all.iter().find(fits)).map_or(schema, |found| schemas.deref(found));
            match &mut node.value {
                Value::Map(entries) => {
                    for entry in entries {
                        let field = schema.get("properties").and_then(|fields| fields.get(&entry.key.text));
                        let free = schema.get("additionalProperties").filter(|schema| schema.is_object());
                        if let Some(schema) = field.or(free) {
                            settle(schemas, schema, &mut entry.value);
                        }
                    }
                }
                Value::List(items) => {
                    if let Some(schema) = schema.get("items") {
                        items.iter_mut().for_each(|item| settle(schemas, schema, item));
                    }
                }
                Value::Scalar(_) => {}
            }
        }
    }
}

fn child<'a>(node: &'a mut Node, key: &str) -> Option<&'a mut Node> {
    match &mut node.value {
        Value::Map(entries) => entries.iter_mut().find(|entry| entry.key.text == key).map(|entry| &mut entry.value),
        Value::List(_) | Value::Scalar(_) => None,
    }
}

#[cfg(test)]
mod tests;
