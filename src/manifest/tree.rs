//! YAML text as a tree that remembers where everything stands.
//!
//! Input → output: one file → its documents, each a [`Node`] whose keys and values carry their [`Span`]s; findings
//! about syntax go to the [`Report`].
//!
//! Invariants: a document with a finding is marked broken and kept as far as it was understood, so that it still
//! lends its name to others. An error in one document does not hide the next: reading goes on at the next `---`.
//! Depth, size, aliases and errors are bounded; no recursion depends on the input beyond [`MAX_DEPTH`].
//!
//! Deliberately absent: what the values mean (`scalar`, `structure`).

use super::explain::Code;
use super::report::Report;
use super::scalar::{self, Resolved};
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Tag};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Manifests nest five deep; more is a mistake or an attack on whoever recurses over the tree.
pub(super) const MAX_DEPTH: usize = 32;
/// 10,000 resources are about 3 MB; a larger single file is not a manifest.
pub(super) const MAX_FILE_BYTES: usize = 16 << 20;
/// Nodes that aliases may add to one file, so that a few lines cannot become gigabytes.
const MAX_ALIAS_NODES: usize = 100_000;
/// Keys of one map are looked up one after the other; agents have a hundred parameters at most.
const MAX_KEYS: usize = 2_000;
/// After so many syntax errors in one file the rest is noise; it also bounds how often reading starts anew.
const MAX_SYNTAX_ERRORS: usize = 20;

/// A stretch of text: lines and columns from 1, columns in characters, the end exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Span {
    pub line: u32,
    pub column: u32,
    pub end_line: u32,
    pub end_column: u32,
    /// Which file, counted from 1; 0: the one that is named beside it. What a document holds may stand in another file
    /// than the document (`overlay`).
    pub file: u32,
    /// How it came to where it is, counted from 1 in what `overlay` kept; 0: it is written there.
    pub via: u32,
}

impl Span {
    /// The file it stands in, where the one beside it is `named`.
    pub fn file_or(self, named: usize) -> usize {
        (self.file as usize).checked_sub(1).unwrap_or(named)
    }
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub span: Span,
    pub value: Value,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A single word. Quoted ones are always strings.
#[derive(Debug, Clone)]
pub(super) struct Scalar {
    pub text: String,
    pub plain: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub key: Scalar,
    pub key_span: Span,
    pub value: Node,
}

/// One YAML document, not yet known to be a manifest.
#[derive(Debug)]
pub(super) struct YamlDocument {
    pub root: Node,
    /// It has a finding: its content is not to be trusted.
    pub broken: bool,
    /// A syntax error cut it short: what it lacks may stand behind that.
    pub cut: bool,
}

impl Scalar {
    pub fn resolve(&self) -> Resolved {
        if self.plain { scalar::resolve(&self.text) } else { Resolved::Str }
    }
}

impl Node {
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key.text == key),
            Value::List(_) | Value::Scalar(_) => None,
        }
    }

    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// Follows keys and list positions.
    pub fn at(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, step| match &node.value {
            Value::List(items) => step.parse::<usize>().ok().and_then(|place| items.get(place)),
            Value::Map(_) | Value::Scalar(_) => node.get(step),
        })
    }

    /// The text, if this is a string.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(scalar) if scalar.resolve() == Resolved::Str => Some(&scalar.text),
            Value::Scalar(_) | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// A short stretch to point at: of lists and maps only their beginning.
    pub fn head(&self) -> Span {
        match &self.value {
            Value::Scalar(_) => self.span,
            Value::List(items) if self.span.line != self.span.end_line => items.first().map_or(self.span, Node::head),
            Value::Map(entries) if self.span.line != self.span.end_line => {
                entries.first().map_or(self.span, |entry| entry.key_span)
            }
            Value::List(_) | Value::Map(_) => self.span,
        }
    }

    fn count(&self) -> usize {
        1 + match &self.value {
            Value::Scalar(_) => 0,
            Value::List(items) => items.iter().map(Node::count).sum(),
            Value::Map(entries) => entries.iter().map(|entry| entry.value.count()).sum(),
        }
    }
}

/// Reads all documents of one file. Empty documents are left out.
pub(super) fn parse(file: usize, bytes: &[u8], report: &mut Report) -> Vec<YamlDocument> {
    let Some(text) = readable(file, bytes, report) else {
        return Vec::new();
    };
    let mut documents = Vec::new();
    let (mut rest, mut first_line) = (text, 0);
    for errors in 1.. {
        let mut builder = Builder::new(file, first_line);
        let Err(error) = builder.run(rest, report, &mut documents) else {
            break;
        };
        builder.syntax_error(rest, &error, report);
        if errors == MAX_SYNTAX_ERRORS {
            let span = builder.last;
            report.add(Code::TooMuch, file, span, "too many syntax errors; the rest of the file was not read", None);
            break;
        }
        // A line that begins with `---` is a new document whatever came before it (YAML 1.2.2, section 9.1.2).
        let failed_at = (error.marker().line().max(1) as u32 - 1 + first_line).max(builder.last.line.max(1) - 1);
        let mut line = first_line;
        let mut next = None;
        let mut offset = 0;
        for full in rest.split_inclusive('\n') {
            if line > failed_at && is_document_start(full) {
                next = Some(offset);
                break;
            }
            line += 1;
            offset += full.len();
        }
        match next {
            Some(offset) => (rest, first_line) = (&rest[offset..], line),
            None => break,
        }
    }
    documents
}

fn is_document_start(line: &str) -> bool {
    line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// The file as text, if it is some: UTF-8, printable, of sensible size.
fn readable<'a>(file: usize, bytes: &'a [u8], report: &mut Report) -> Option<&'a str> {
    let whole = Span::default();
    if bytes.len() > MAX_FILE_BYTES {
        let message = format!("the file has {} bytes; the limit is {MAX_FILE_BYTES}", bytes.len());
        report.add(Code::TooMuch, file, whole, message, Some("split it into several files".into()));
        return None;
    }
    let at = |offset: usize| {
        let before = String::from_utf8_lossy(&bytes[..offset]);
        let line = before.matches('\n').count() as u32 + 1;
        let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) as u32 + 1;
        Span { line, column, end_line: line, end_column: column + 1, ..Span::default() }
    };
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let span = at(error.valid_up_to());
            report.add(Code::NotText, file, span, "this byte is not UTF-8 text", None);
            return None;
        }
    };
    // The parser takes NUL for the end of the text; a lone carriage return would make lines differ from editors'.
    let printable = |(offset, c): &(usize, char)| match c {
        '\r' => bytes.get(offset + 1) == Some(&b'\n'),
        '\t' | '\n' => true,
        c => !c.is_control(),
    };
    if let Some((offset, c)) = text.char_indices().find(|found| !printable(found)) {
        let message = format!("the control character U+{:04X} is not allowed", c as u32);
        report.add(
            Code::NotText,
            file,
            at(offset),
            message,
            Some(format!("write it in double quotes as \"\\u{:04x}\"", c as u32)),
        );
        return None;
    }
    Some(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// A list or map that is not complete yet.
struct Frame {
    start: Span,
    anchor: usize,
    /// This list or map stands where a key should.
    is_key: bool,
    content: Content,
}
enum Content {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, seen: BTreeMap<String, u32>, key: Option<Key> },
}

/// A key that waits for its value.
enum Key {
    Good(Scalar, Span),
    /// It was refused, and its value goes with it.
    Refused,
}

struct Builder {
    file: usize,
    /// Lines before the text that is read now.
    first_line: u32,
    stack: Vec<Frame>,
    anchors: BTreeMap<usize, Node>,
    alias_nodes: usize,
    broken: bool,
    root: Option<Node>,
    last: Span,
    /// Deeper than [`MAX_DEPTH`] by so many levels.
    too_deep: usize,
    /// A key of the document itself was there twice.
    glued: bool,
}

impl Builder {
    fn new(file: usize, first_line: u32) -> Self {
        Self {
            file,
            first_line,
            stack: Vec::new(),
            anchors: BTreeMap::new(),
            alias_nodes: 0,
            broken: false,
            root: None,
            last: Span::default(),
            too_deep: 0,
            glued: false,
        }
    }

    fn run(&mut self, text: &str, report: &mut Report, out: &mut Vec<YamlDocument>) -> Result<(), ScanError> {
        let mut parser = Parser::new_from_str(text);
        let result = loop {
            match parser.next_event() {
                None => break Ok(()),
                Some(Err(error)) => break Err(error),
                Some(Ok((event, span))) => {
                    self.last = self.span(span);
                    self.event(event, report);
                }
            }
            if self.stack.is_empty() && self.root.is_some() {
                // Complete, or the rest of it is a syntax error: either way it lends its name.
                self.finish(false, out);
            }
        };
        if result.is_err() {
            self.broken = true;
            while let Some(frame) = self.stack.pop() {
                let end = self.last;
                self.close(frame, end, report);
            }
            self.finish(true, out);
        }
        result
    }

    fn finish(&mut self, cut: bool, out: &mut Vec<YamlDocument>) {
        if let Some(root) = self.root.take() {
            let empty = matches!(&root.value, Value::Scalar(scalar) if scalar.resolve() == Resolved::Null);
            if !empty {
                out.push(YamlDocument { root, broken: self.broken, cut });
            }
        }
        self.broken = false;
        self.glued = false;
    }

    fn span(&self, span: saphyr_parser::Span) -> Span {
        let line = |marker: saphyr_parser::Marker| marker.line() as u32 + self.first_line;
        let column = |marker: saphyr_parser::Marker| marker.col() as u32 + 1;
        Span {
            line: line(span.start),
            column: column(span.start),
            end_line: line(span.end),
            end_column: column(span.end),
            file: self.file as u32 + 1,
            via: 0,
        }
    }

    fn event(&mut self, event: Event, report: &mut Report) {
        let here = self.last;
        match event {
            Event::DocumentStart(_) => {
                self.anchors.clear();
                self.broken = false;
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && !self.is_string_tag(tag, report);
                let scalar = Scalar { text: text.into_owned(), plain };
                self.add(Node { span: here, value: Value::Scalar(scalar) }, anchor, report);
            }
            Event::Alias(anchor) => self.alias(anchor, report),
            Event::SequenceStart(anchor, tag) => {
                self.is_string_tag(tag, report);
                self.open(anchor, Content::List(Vec::new()), report);
            }
            Event::MappingStart(anchor, tag) => {
                self.is_string_tag(tag, report);
                let map = Content::Map { entries: Vec::new(), seen: BTreeMap::new(), key: None };
                self.open(anchor, map, report);
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if self.too_deep > 0 {
                    self.too_deep -= 1;
                } else if let Some(frame) = self.stack.pop() {
                    self.close(frame, here, report);
                }
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
    }

    fn open(&mut self, anchor: usize, content: Content, report: &mut Report) {
        if self.too_deep > 0 || self.stack.len() >= MAX_DEPTH {
            if self.too_deep == 0 {
                self.broken = true;
                let message = format!("more than {MAX_DEPTH} levels of nesting");
                report.add(Code::TooMuch, self.file, self.last, message, None);
            }
            self.too_deep += 1;
            return;
        }
        let is_key = matches!(self.stack.last(), Some(Frame { content: Content::Map { key: None, .. }, .. }));
        self.stack.push(Frame { start: self.last, anchor, is_key, content });
    }

    fn close(&mut self, frame: Frame, end: Span, report: &mut Report) {
        let span = Span { end_line: end.end_line, end_column: end.end_column, ..frame.start };
        let value = match frame.content {
            Content::List(items) => Value::List(items),
            Content::Map { entries, .. } => Value::Map(entries),
        };
        let node = Node { span, value };
        if frame.is_key {
            self.broken = true;
            let message = "a list or a map cannot be a key";
            report.add(Code::Unsupported, self.file, node.head(), message, None);
            if let Some(Frame { content: Content::Map { key, .. }, .. }) = self.stack.last_mut() {
                *key = Some(Key::Refused);
            }
            return;
        }
        self.add(node, frame.anchor, report);
    }

    fn alias(&mut self, anchor: usize, report: &mut Report) {
        let Some(target) = self.anchors.get(&anchor) else {
            self.broken = true;
            report.add(Code::Unsupported, self.file, self.last, "an alias inside of what it stands for", None);
            self.add(
                Node { span: self.last, value: Value::Scalar(Scalar { text: "~".into(), plain: true }) },
                0,
                report,
            );
            return;
        };
        self.alias_nodes += target.count();
        // Nesting counts for what the alias stands for too.
        let mut node = Node { span: self.last, value: Value::Scalar(Scalar { text: "~".into(), plain: true }) };
        if self.alias_nodes > MAX_ALIAS_NODES || depth(target) + self.stack.len() > MAX_DEPTH {
            self.broken = true;
            let message = "aliases make this document too large or too deep";
            report.add(Code::TooMuch, self.file, self.last, message, None);
        } else {
            node.value = target.value.clone();
        }
        self.add(node, 0, report);
    }

    /// Puts a complete node where it belongs.
    fn add(&mut self, node: Node, anchor: usize, report: &mut Report) {
        if self.too_deep > 0 {
            return;
        }
        if anchor > 0 {
            self.alias_nodes += node.count();
            if self.alias_nodes <= MAX_ALIAS_NODES {
                self.anchors.insert(anchor, node.clone());
            }
        }
        let file = self.file;
        let top = self.stack.len() == 1;
        match self.stack.last_mut().map(|frame| &mut frame.content) {
            None => self.root = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map { entries, seen, key }) => match key.take() {
                None => {
                    let span = node.span;
                    let Value::Scalar(scalar) = node.value else {
                        self.broken = true;
                        report.add(Code::Unsupported, file, span, "a list or a map cannot be a key", None);
                        *key = Some(Key::Refused);
                        return;
                    };
                    let refused = scalar.plain && scalar.text == "<<";
                    if let Some(line) = seen.insert(scalar.text.clone(), span.line) {
                        self.broken = true;
                        let message = format!("the key `{}` is already set on line {line}", scalar.text);
                        let help = match (top, scalar.text.as_str()) {
                            (true, "apiVersion" | "kind") => {
                                "if another document begins here, write a line `---` above it"
                            }
                            _ => "keep one of the two; most readers would silently take the last",
                        };
                        // Two documents in one have every key twice: the first says it all.
                        if !(top && self.glued) {
                            report.add(Code::DuplicateKey, file, span, message, Some(help.into()));
                        }
                        self.glued |= top;
                    } else if refused {
                        self.broken = true;
                        let help = "write the fields out; aliases of single values work";
                        let message = "merge keys (`<<`) are YAML 1.1";
                        report.add(Code::Unsupported, file, span, message, Some(help.into()));
                    }
                    *key = Some(if refused { Key::Refused } else { Key::Good(scalar, span) });
                }
                Some(Key::Good(_, key_span)) if entries.len() == MAX_KEYS => {
                    if !self.broken {
                        let message = format!("more than {MAX_KEYS} keys in one map");
                        report.add(Code::TooMuch, file, key_span, message, None);
                    }
                    self.broken = true;
                }
                Some(Key::Good(key, key_span)) => entries.push(Entry { key, key_span, value: node }),
                Some(Key::Refused) => {}
            },
        }
    }

    /// Whether a tag says "string"; refuses every other.
    fn is_string_tag(&mut self, tag: Option<Cow<Tag>>, report: &mut Report) -> bool {
        let Some(tag) = tag else { return false };
        let non_specific = tag.handle.is_empty() && tag.suffix == "!";
        if non_specific || (tag.is_yaml_core_schema() && tag.suffix == "str") {
            return true;
        }
        if !(tag.is_yaml_core_schema() && matches!(tag.suffix.as_str(), "map" | "seq")) {
            self.broken = true;
            let message = format!("tags such as `{tag}` are not supported");
            let help = "remove the tag; quotes make a string".to_owned();
            report.add(Code::Unsupported, self.file, self.last, message, Some(help));
        }
        false
    }

    fn syntax_error(&self, text: &str, error: &ScanError, report: &mut Report) {
        let line_in_text = error.marker().line().max(1);
        // The parser complains where the sense broke, which may be the line after the tab.
        let from = line_in_text.saturating_sub(2);
        for (place, line) in text.lines().enumerate().skip(from).take(line_in_text - from) {
            let indent: String = line.chars().take_while(|c| matches!(c, ' ' | '\t')).collect();
            if let Some(column) = indent.chars().position(|c| c == '\t')
                && indent.len() < line.len()
            {
                let line = place as u32 + 1 + self.first_line;
                let column = column as u32 + 1;
                let span = Span { line, column, end_line: line, end_column: column + 1, ..Span::default() };
                let help = "indent with spaces".to_owned();
                report.add(Code::Tab, self.file, span, "a tab in the indentation", Some(help));
                return;
            }
        }
        let (line, column) = (line_in_text as u32 + self.first_line, error.marker().col() as u32 + 1);
        let span = Span { line, column, end_line: line, end_column: column + 1, ..Span::default() };
        // The parser's words are of YAML; what is behind them most often is one of two slips.
        let help = match error.info() {
            info if info.contains("mapping values") => {
                Some("indent this line like its neighbours; a text with `: ` in it needs quotes")
            }
            info if info.contains("quoted scalar") => Some("is a quote opened here, or above, and not closed?"),
            _ => None,
        };
        let message = format!("this is not YAML: {}", error.info());
        report.add(Code::Syntax, self.file, span, message, help.map(str::to_owned));
    }
}

fn depth(node: &Node) -> usize {
    1 + match &node.value {
        Value::Scalar(_) => 0,
        Value::List(items) => items.iter().map(depth).max().unwrap_or(0),
        Value::Map(entries) => entries.iter().map(|entry| depth(&entry.value)).max().unwrap_or(0),
    }
}
