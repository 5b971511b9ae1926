//! Documents as everything after the overlays sees them, and where each field is from: `hafen render`.
//!
//! Input → output: files → the documents of one cluster, as YAML that reads as the same documents, every field with its
//! [`FieldOrigin`]; and the findings that kept something from being read.
//!
//! Deliberately absent: defaults of fields that nobody wrote (`hafen schema` tells them), comments, and whether the
//! documents make sense (`load`).

use super::listing::{self, entries, is_words, step};
use super::overlay::{self, How};
use super::report::Report;
use super::scalar::{Resolved, surprise};
use super::structure::to_json;
use super::tree::{Node, Scalar, Span, Value, YamlDocument};
use super::{Purpose, SourceFile, in_order, parse_all};
use crate::model::{Diagnostic, Origin, duration};
use serde::Serialize;
use serde_json::Value as Json;

/// The documents of one cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    pub documents: Vec<RenderedDocument>,
    /// What is wrong with the files or their overlays; with an error among them the documents are not all there.
    pub diagnostics: Vec<Diagnostic>,
}

/// One document.
#[derive(Debug, Clone, PartialEq)]
pub struct RenderedDocument {
    /// Where its name is written.
    pub at: Origin,
    pub value: Json,
    pub lines: Vec<RenderedLine>,
}

/// One line of its YAML.
#[derive(Debug, Clone, PartialEq)]
pub struct RenderedLine {
    pub text: String,
    /// None: the line is only the key of what follows.
    pub field: Option<RenderedField>,
}

/// A word, a list of words, or an empty map.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RenderedField {
    /// From `apiVersion`, `kind`, `metadata` or `spec` on, such as `spec.params.ip`.
    pub path: String,
    pub value: Json,
    pub origin: FieldOrigin,
}

/// Where a field is from.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FieldOrigin {
    pub from: From,
    /// Where its value stands.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// The variables whose values it is, or that are put into it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub variables: Vec<String>,
    /// Of a value of a variable: where it is used (`FILE:LINE:COLUMN`); of a text with variables in it: where their values stand.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub see: Vec<String>,
}

/// Who says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub enum From {
    /// A document of the cluster's own folder.
    Own,
    /// A document of a base.
    Base,
    /// A patch.
    Patch,
    /// An overlay's value of a variable.
    Variable,
    /// The default of a variable.
    Default,
    /// A text with variables in it.
    Text,
}

/// Renders the documents of these files.
pub fn rendered(files: &[SourceFile]) -> Rendered {
    let files = in_order(files);
    let mut report = Report::new(Purpose::Plan, &files);
    let documents = parse_all(&files, &mut report);
    let documents = overlay::render(&files, documents, &mut report);
    let documents = documents.iter().map(|(file, document)| render(&files, &report, *file, document)).collect();
    Rendered { documents, diagnostics: report.finish().0 }
}

fn render(files: &[&SourceFile], report: &Report, file: usize, document: &YamlDocument) -> RenderedDocument {
    let root = &document.root;
    let name = root.at(&["metadata", "name"]).unwrap_or(root).head();
    let mut writer = Writer { files, report, file, lines: Vec::new() };
    match &root.value {
        Value::Map(fields) if !fields.is_empty() => writer.map(root, 0, "", ""),
        Value::Map(_) | Value::List(_) | Value::Scalar(_) => writer.line(String::new(), root, ""),
    }
    RenderedDocument { at: listing::origin(files, file, name), value: to_json(root), lines: writer.lines }
}

struct Writer<'a, 'r> {
    files: &'a [&'a SourceFile],
    report: &'a Report<'r>,
    file: usize,
    lines: Vec<RenderedLine>,
}

impl Writer<'_, '_> {
    /// `first` stands before the first key, instead of its indentation. Bounded by the depth of trees.
    fn map(&mut self, node: &Node, depth: usize, first: &str, path: &str) {
        for (place, entry) in entries(Some(node)).iter().enumerate() {
            let indent = "  ".repeat(depth);
            let before = if place == 0 && !first.is_empty() { first } else { &indent };
            let key = format!("{before}{}:", scalar(&Scalar { plain: false, ..entry.key.clone() }));
            let path = step(path, &entry.key.text);
            match &entry.value.value {
                Value::Map(fields) if !fields.is_empty() => {
                    self.lines.push(RenderedLine { text: key, field: None });
                    self.map(&entry.value, depth + 1, "", &path);
                }
                Value::List(items) if !items.is_empty() && !self.is_inline(&entry.value) => {
                    self.lines.push(RenderedLine { text: key, field: None });
                    self.list(items, depth + 1, &path);
                }
                Value::Map(_) | Value::List(_) | Value::Scalar(_) => self.line(key + " ", &entry.value, &path),
            }
        }
    }

    fn list(&mut self, items: &[Node], depth: usize, path: &str) {
        for (place, item) in items.iter().enumerate() {
            let (path, dash) = (format!("{path}[{place}]"), format!("{}- ", "  ".repeat(depth)));
            match &item.value {
                Value::Map(fields) if !fields.is_empty() => self.map(item, depth + 1, &dash, &path),
                // A list within a list that is no line of words: written in brackets all the same.
                Value::Map(_) | Value::List(_) | Value::Scalar(_) => self.line(dash, item, &path),
            }
        }
    }

    /// Words in brackets, unless they come from different places.
    fn is_inline(&self, list: &Node) -> bool {
        fn from(node: &Node) -> Vec<(u32, u32)> {
            match &node.value {
                Value::List(items) => items.iter().flat_map(from).collect(),
                Value::Map(_) | Value::Scalar(_) => vec![(node.span.file, node.span.via)],
            }
        }
        is_words(list) && from(list).windows(2).all(|two| two[0] == two[1])
    }

    fn line(&mut self, before: String, node: &Node, path: &str) {
        // Where words of a list come from elsewhere, they all do (`is_inline`).
        let first = match &node.value {
            Value::List(_) => first_word(node).map(|word| word.span).filter(|span| span.via > 0),
            Value::Map(_) | Value::Scalar(_) => None,
        };
        let origin = self.origin(first.unwrap_or_else(|| node.head()));
        let field = RenderedField { path: path.to_owned(), value: to_json(node), origin };
        self.lines.push(RenderedLine { text: format!("{before}{}", inline(node)), field: Some(field) });
    }

    fn origin(&self, span: Span) -> FieldOrigin {
        let at = listing::origin(self.files, self.file, span);
        let see = |place: &(usize, Span)| listing::origin(self.files, place.0, place.1).to_string();
        let (from, variables, see) = match self.report.via(span) {
            None if self.report.is_shared(span.file_or(self.file)) => (From::Base, Vec::new(), Vec::new()),
            None => (From::Own, Vec::new(), Vec::new()),
            Some(via) => match &via.how {
                How::Variable { name, default } => {
                    let from = if *default { From::Default } else { From::Variable };
                    (from, vec![name.clone()], vec![see(&via.used)])
                }
                How::Text { variables, .. } => (
                    From::Text,
                    variables.iter().map(|(name, _)| name.clone()).collect(),
                    variables.iter().map(|(_, at)| see(at)).collect(),
                ),
                How::Patch { .. } => (From::Patch, Vec::new(), Vec::new()),
            },
        };
        FieldOrigin { from, file: at.file, line: at.line, column: at.column, variables, see }
    }
}

impl std::fmt::Display for FieldOrigin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)?;
        let (variables, see) = (self.variables.join(", "), self.see.join(", "));
        match self.from {
            From::Own | From::Base => Ok(()),
            From::Patch => write!(f, " patch"),
            From::Variable => write!(f, " value of {variables}, used at {see}"),
            From::Default => write!(f, " default of {variables}, used at {see}"),
            From::Text => write!(f, " with {variables} from {see}"),
        }
    }
}

fn first_word(node: &Node) -> Option<&Node> {
    match &node.value {
        Value::Scalar(_) => Some(node),
        Value::List(items) => items.iter().find_map(first_word),
        Value::Map(_) => None,
    }
}

fn inline(node: &Node) -> String {
    match &node.value {
        Value::Scalar(word) => scalar(word),
        Value::List(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::Map(fields) => {
            let field = |field: &super::tree::Entry| {
                format!("{}: {}", scalar(&Scalar { plain: false, ..field.key.clone() }), inline(&field.value))
            };
            let fields: Vec<String> = fields.iter().map(field).collect();
            if fields.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", fields.join(", ")) }
        }
    }
}

/// A word, in quotes where it could be taken for something else.
fn scalar(word: &Scalar) -> String {
    let text = &word.text;
    if word.resolve() != Resolved::Str {
        return if text.is_empty() { "~".to_owned() } else { text.clone() };
    }
    let as_plain = Scalar { plain: true, ..word.clone() };
    let plain = text.starts_with(|c: char| c.is_ascii_alphanumeric() || "_/".contains(c))
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./:+@%".contains(c))
        && !text.ends_with(':')
        && as_plain.resolve() == Resolved::Str
        && (surprise(text).is_none() || duration::parse(text).is_ok());
    // A JSON string is one of YAML, too.
    if plain { text.clone() } else { Json::String(text.clone()).to_string() }
}
