//! The canonical form of a file of manifests: `hafen fmt`.
//!
//! Input → output: a file → the same file with two spaces for each level, lists below their key indented like maps, one
//! space behind `:` and `-`, no space at the ends of lines, no two empty lines, none beside `---`, `---` only between documents, and one line feed
//! at the end of every line.
//!
//! Only space is changed, and `---` where it separates nothing: the order of keys, quotes, the insides of `{}` and `[]`,
//! long lines and all comments stay. A comment on a line of its own goes with what is below it, or with what it is
//! indented like.
//!
//! Invariants: what is returned reads as the same documents, has the same lines but for space, and is returned
//! unchanged if it is put in again. Each of these is tried before anything is returned; where one does not hold the file is
//! left alone ([`Unformatted::Unsure`]).

use super::report::Report;
use super::tree::{self, Entry, Node, Span, Value, YamlDocument};
use super::{Purpose, SourceFile};
use crate::model::{Diagnostic, Severity};

/// Spaces of a level.
const STEP: usize = 2;

/// Why a file is left as it is.
#[derive(Debug, Clone, PartialEq)]
pub enum Unformatted {
    /// It cannot be read.
    Errors(Vec<Diagnostic>),
    /// It can be read, but not be written anew without a change that nobody asked for.
    Unsure,
}

/// The canonical form of a file.
pub fn canonical(file: &SourceFile) -> Result<String, Unformatted> {
    let text = std::str::from_utf8(&file.bytes);
    if super::sops::is_sops(file) {
        // `sops` writes these, and its form is its own.
        return text.map(str::to_owned).map_err(|_| Unformatted::Unsure);
    }
    let documents = read(file).map_err(Unformatted::Errors)?;
    let text = text.map_err(|_| Unformatted::Unsure)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let formatted = layout(text, &documents);
    let again = SourceFile { path: file.path.clone(), bytes: formatted.clone().into_bytes() };
    let proof = read(&again).map_err(|_| Unformatted::Unsure)?;
    let same = documents.len() == proof.len() && documents.iter().zip(&proof).all(|(a, b)| same(&a.root, &b.root));
    let kept = lines_without_space(text).eq(lines_without_space(&formatted));
    let settled = layout(&formatted, &proof) == formatted;
    if same && kept && settled { Ok(formatted) } else { Err(Unformatted::Unsure) }
}

fn read(file: &SourceFile) -> Result<Vec<YamlDocument>, Vec<Diagnostic>> {
    let files = [file];
    let mut report = Report::new(Purpose::Run, &files);
    let documents = tree::parse(0, &file.bytes, &mut report);
    let found = report.finish().0;
    if found.iter().any(|found| found.severity == Severity::Error) { Err(found) } else { Ok(documents) }
}

/// Whether two trees say the same, wherever it stands.
fn same(a: &Node, b: &Node) -> bool {
    match (&a.value, &b.value) {
        (Value::Scalar(a), Value::Scalar(b)) => a.text == b.text && a.plain == b.plain,
        (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Map(a), Value::Map(b)) => {
            let field = |(a, b): (&Entry, &Entry)| a.key.text == b.key.text && same(&a.value, &b.value);
            a.len() == b.len() && a.iter().zip(b).all(field)
        }
        (Value::Scalar(_) | Value::List(_) | Value::Map(_), _) => false,
    }
}

/// All that is written, comments too; marks between documents are held by their number.
fn lines_without_space(text: &str) -> impl Iterator<Item = String> {
    let bare = |line: &str| line.chars().filter(|c| !c.is_whitespace()).collect::<String>();
    text.lines().map(bare).filter(|line| !line.is_empty() && line != "---")
}

/// What becomes of a line.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Plan {
    /// Nothing of the tree begins or goes on here: empty, a comment, a mark.
    Free,
    /// Something begins here: its indentation, the dashes before it, and the column where it stands now.
    Start { indent: usize, dashes: usize, content: usize },
    /// Something in brackets goes on.
    Brackets { by: isize },
    /// A text goes on.
    Text { by: isize },
    /// A line of a text below `|` or `>`, whose indentation is `old`; what it belongs to will be at `held`.
    Block { by: isize, old: usize, held: usize },
}

struct Layout {
    lines: Vec<Vec<char>>,
    plans: Vec<Plan>,
    /// What of a line is replaced by `: `.
    colons: Vec<Vec<(usize, usize)>>,
}

fn layout(text: &str, documents: &[YamlDocument]) -> String {
    let lines: Vec<Vec<char>> = text.lines().map(|line| line.chars().collect()).collect();
    let count = lines.len();
    let mut layout = Layout { lines, plans: vec![Plan::Free; count], colons: vec![Vec::new(); count] };
    for document in documents {
        let root = &document.root;
        match &root.value {
            Value::Map(entries) if !layout.is_flow(root) => layout.map(entries, 0),
            Value::List(items) if !layout.is_flow(root) => layout.list(items, 0),
            Value::Map(_) | Value::List(_) | Value::Scalar(_) => {}
        }
    }
    layout.write()
}

/// Line and column from 0.
fn start(span: Span) -> (usize, usize) {
    ((span.line as usize).saturating_sub(1), (span.column as usize).saturating_sub(1))
}

fn is_blank(line: &[char]) -> bool {
    line.iter().all(|c| c.is_whitespace())
}

fn leading(line: &[char]) -> usize {
    line.iter().take_while(|c| matches!(c, ' ' | '\t')).count()
}

impl Layout {
    fn line(&self, line: usize) -> &[char] {
        self.lines.get(line).map_or(&[], Vec::as_slice)
    }

    /// The first column from `from` on that is no space.
    fn next(&self, line: usize, from: usize) -> usize {
        let rest = self.line(line).iter().skip(from);
        from + rest.take_while(|c| matches!(c, ' ' | '\t')).count()
    }

    /// The column behind anchors and tags.
    fn past_properties(&self, line: usize, from: usize) -> usize {
        let mut column = self.next(line, from);
        while matches!(self.line(line).get(column), Some('&' | '!')) {
            let word = self.line(line).iter().skip(column).take_while(|c| !matches!(c, ' ' | '\t')).count();
            column = self.next(line, column + word);
        }
        column
    }

    fn is_alias(&self, node: &Node) -> bool {
        let (line, column) = start(node.span);
        self.line(line).get(column) == Some(&'*')
    }

    /// Whether a list or a map is in brackets. A list that is not begins, for the parser, where its first item does.
    fn is_flow(&self, node: &Node) -> bool {
        let (line, column) = start(node.span);
        let first = match &node.value {
            Value::Scalar(_) => return true,
            Value::List(items) => items.first().map(|item| start(item.span)),
            Value::Map(entries) => entries.first().map(|entry| start(entry.key_span)),
        };
        let column = self.past_properties(line, column);
        let bracket = matches!(self.line(line).get(column), Some('{' | '['));
        (bracket && first != Some((line, column))) || self.is_alias(node)
    }

    fn begin(&mut self, line: usize, indent: usize) {
        let content = self.next(line, 0);
        if let Some(plan @ Plan::Free) = self.plans.get_mut(line) {
            *plan = Plan::Start { indent, dashes: 0, content };
        }
    }

    fn map(&mut self, entries: &[Entry], indent: usize) {
        for entry in entries {
            let (line, column) = start(entry.key_span);
            self.begin(line, indent);
            let key_end = (entry.key_span.end_column as usize).saturating_sub(1);
            let colon = self.next(line, key_end);
            if self.line(line).get(colon) != Some(&':') {
                // A key that is written with `?`.
                continue;
            }
            let value = self.next(line, colon + 1);
            let has_value = value < self.line(line).len() && self.line(line).get(value) != Some(&'#');
            if has_value && value > colon + 1 {
                self.colons[line].push((key_end, value));
            }
            self.value(&entry.value, line, colon + 1, column, indent);
        }
    }

    fn list(&mut self, items: &[Node], indent: usize) {
        for item in items {
            let Some((line, dash)) = self.dash(item) else { continue };
            let content = self.next(line, dash + 1);
            match self.plans.get_mut(line) {
                Some(Plan::Start { dashes, content: at, .. }) => {
                    *dashes += 1;
                    *at = content;
                }
                Some(plan @ Plan::Free) => *plan = Plan::Start { indent, dashes: 1, content },
                Some(Plan::Brackets { .. } | Plan::Text { .. } | Plan::Block { .. }) | None => continue,
            }
            self.value(item, line, dash + 1, dash, indent);
        }
    }

    /// The dash of an item of a list: before it, or on a line above.
    fn dash(&self, item: &Node) -> Option<(usize, usize)> {
        let (mut line, column) = start(item.span);
        let mut until = column.min(self.line(line).len());
        loop {
            let before = &self.line(line)[..until];
            let comment = |place: &usize| before[*place] == '#' && (*place == 0 || before[*place - 1].is_whitespace());
            let before = &before[..(0..before.len()).find(comment).unwrap_or(before.len())];
            if before.iter().any(|c| !c.is_whitespace()) {
                // Behind it there may be anchors, tags, and where a text begins below it its `|` or `>`.
                let properties = |rest: &[char]| {
                    let rest: String = rest.iter().collect();
                    rest.split_whitespace().all(|word| word.starts_with(['&', '!', '|', '>']))
                };
                let apart = |place: usize| place == 0 || before[place - 1].is_whitespace();
                let dash = |place: &usize| before[*place] == '-' && apart(*place) && properties(&before[*place + 1..]);
                return (0..before.len()).rev().find(dash).map(|place| (line, place));
            }
            line = line.checked_sub(1)?;
            until = self.line(line).len();
        }
    }

    /// What is behind a key or a dash. `held` is the column of that key or dash, `indent` what it becomes.
    fn value(&mut self, node: &Node, line: usize, from: usize, held: usize, indent: usize) {
        let at = self.past_properties(line, from);
        if matches!(self.line(line).get(at), Some('|' | '>')) {
            return self.block(line, at, held, indent);
        }
        if matches!(&node.value, Value::Scalar(scalar) if scalar.plain && scalar.text.is_empty()) {
            // Nothing is written.
            return;
        }
        if self.is_flow(node) {
            let (first, _) = start(node.span);
            if first != line {
                self.begin(first, indent + STEP);
            }
            return self.go_on(node, first);
        }
        match &node.value {
            Value::Map(entries) => self.map(entries, indent + STEP),
            Value::List(items) => self.list(items, indent + STEP),
            Value::Scalar(_) => {}
        }
    }

    /// The lines of a text or of brackets behind the first.
    fn go_on(&mut self, node: &Node, first: usize) {
        let span = node.span;
        let last = if span.end_column <= 1 { span.end_line.saturating_sub(1) } else { span.end_line } as usize;
        let Some(Plan::Start { indent, dashes, content }) = self.plans.get(first).copied() else { return };
        let by = (indent + dashes * STEP) as isize - content as isize;
        let plan = match &node.value {
            _ if self.is_alias(node) => return,
            Value::Scalar(_) => Plan::Text { by },
            Value::List(_) | Value::Map(_) => Plan::Brackets { by },
        };
        for line in first + 1..last.min(self.plans.len()) {
            self.plans[line] = plan;
        }
    }

    /// A text below `|` or `>` (YAML 1.2.2, section 8.1).
    fn block(&mut self, header: usize, at: usize, held: usize, indent: usize) {
        let marks: Vec<char> = self.line(header)[at + 1..].iter().take_while(|c| !c.is_whitespace()).copied().collect();
        let digit = marks.iter().find_map(|c| c.to_digit(10)).map(|digit| digit as usize);
        let spaces = |line: &[char]| line.iter().take_while(|c| **c == ' ').count();
        let text = (header + 1..self.lines.len()).find(|line| !is_blank(self.line(*line)));
        let old = match (digit, text) {
            (Some(digit), _) => held + digit,
            (None, Some(text)) => spaces(self.line(text)),
            (None, None) => return,
        };
        let by = match digit {
            Some(_) => indent as isize - held as isize,
            None => (indent + STEP) as isize - old as isize,
        };
        let inside = |line: &usize| is_blank(self.line(*line)) || (spaces(self.line(*line)) >= old);
        if digit.is_none() && old <= held {
            // What follows is not below it: the text is empty.
            return;
        }
        let mut lines: Vec<usize> = (header + 1..self.lines.len()).take_while(inside).collect();
        if !marks.contains(&'+') {
            // Spaces beyond the indentation are text, also at its end.
            while lines.last().is_some_and(|line| is_blank(self.line(*line)) && self.line(*line).len() <= old) {
                lines.pop();
            }
        }
        for line in lines {
            self.plans[line] = Plan::Block { by, old, held: indent };
        }
    }

    fn write(&self) -> String {
        let mut out: Vec<String> = Vec::new();
        // Lines up to here are of a text: they stay, empty or not.
        let mut solid = 0;
        let drop_blank = |out: &mut Vec<String>, solid: usize| {
            while out.len() > solid && out.last().is_some_and(String::is_empty) {
                out.pop();
            }
        };
        let (above, below) = self.neighbours();
        for (place, line) in self.lines.iter().enumerate() {
            match self.plans[place] {
                Plan::Block { by, old, .. } => {
                    out.push(if is_blank(line) && line.len() <= old { String::new() } else { shifted(line, by) });
                    solid = out.len();
                }
                Plan::Text { by } => {
                    out.push(if is_blank(line) { String::new() } else { shifted(line, by) });
                    solid = out.len();
                }
                _ if is_blank(line) => {
                    let behind_text = solid > 0 && out.len() == solid;
                    if behind_text || out.last().is_some_and(|last| !last.is_empty() && !is_mark(last)) {
                        out.push(String::new());
                    }
                }
                Plan::Brackets { by } => out.push(shifted(line, by).trim_end().to_owned()),
                Plan::Start { indent, dashes, content } => {
                    let rest = self.tidied(place, content);
                    let text = format!("{}{}{rest}", " ".repeat(indent), "- ".repeat(dashes));
                    out.push(text.trim_end().to_owned());
                }
                Plan::Free => {
                    let text: String = line.iter().collect();
                    let text = text.trim_end();
                    if text.trim_start().starts_with('#') {
                        out.push(format!(
                            "{}{}",
                            " ".repeat(self.comment(place, above[place], below[place])),
                            text.trim_start()
                        ));
                    } else if is_mark(text) {
                        drop_blank(&mut out, solid);
                        let repeated = text == "---" && out.last().is_none_or(|last| last == "---");
                        if !repeated {
                            out.push(text.to_owned());
                        }
                    } else {
                        out.push(text.to_owned());
                    }
                }
            }
        }
        drop_blank(&mut out, solid);
        while out.len() > solid && out.last().is_some_and(|last| last == "---") {
            out.pop();
            drop_blank(&mut out, solid);
        }
        out.iter().map(|line| format!("{line}\n")).collect()
    }

    /// A line from a column on, with `: ` behind its keys.
    fn tidied(&self, place: usize, content: usize) -> String {
        let line = &self.lines[place];
        let mut text = String::new();
        let mut from = content;
        for (start, end) in &self.colons[place] {
            text.extend(line.get(from..*start).unwrap_or_default());
            text.push_str(": ");
            from = *end;
        }
        text.extend(line.get(from..).unwrap_or_default());
        text
    }

    /// Of each line the next and the last one around it, in its document, on which something begins or goes on.
    fn neighbours(&self) -> (Vec<Option<usize>>, Vec<Option<usize>>) {
        let counts = |line: usize| match self.plans[line] {
            Plan::Free => {
                let text: String = self.lines[line].iter().collect();
                // A mark is an edge: nothing beyond it is near.
                if is_mark(&text) { Some(None) } else { None }
            }
            Plan::Start { .. } | Plan::Brackets { .. } | Plan::Text { .. } | Plan::Block { .. } => Some(Some(line)),
        };
        let walk = |lines: &mut dyn Iterator<Item = usize>| {
            let mut near = vec![None; self.lines.len()];
            let mut last = None;
            for line in lines {
                near[line] = last;
                last = counts(line).unwrap_or(last);
            }
            near
        };
        (walk(&mut (0..self.lines.len())), walk(&mut (0..self.lines.len()).rev()))
    }

    /// The indentation of a comment on a line of its own, `above` and `below` which lines begin or go on.
    fn comment(&self, place: usize, above: Option<usize>, below: Option<usize>) -> usize {
        /// So far above is looked for what a comment is indented like; it also bounds the time that hostile files take.
        const FARTHEST: usize = 10_000;
        let column = leading(&self.lines[place]);
        let planned = |line: usize| match self.plans[line] {
            Plan::Start { indent, .. } => Some((leading(&self.lines[line]), indent)),
            Plan::Free | Plan::Brackets { .. } | Plan::Text { .. } | Plan::Block { .. } => None,
        };
        let next = below.and_then(planned);
        if let Some((_, indent)) = next.filter(|(old, _)| *old == column) {
            return indent;
        }
        let most = match above.map(|line| self.plans[line]) {
            // Further in it would be a line of the text.
            Some(Plan::Block { held, .. }) => held,
            Some(Plan::Free | Plan::Start { .. } | Plan::Brackets { .. } | Plan::Text { .. }) | None => usize::MAX,
        };
        let is_edge =
            |line: &usize| self.plans[*line] == Plan::Free && is_mark(&self.lines[*line].iter().collect::<String>());
        let lines = above.map_or(0..0, |line| line.saturating_sub(FARTHEST)..line + 1);
        let holder = lines.rev().take_while(|line| !is_edge(line)).filter_map(planned).find(|(old, _)| *old <= column);
        match (holder, next) {
            (Some((old, indent)), _) => most.min(indent + if column > old { STEP } else { 0 }),
            (None, Some((_, indent))) => indent,
            (None, None) => 0,
        }
    }
}

/// A mark between documents, with whatever is behind it.
fn is_mark(line: &str) -> bool {
    line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
}

fn shifted(line: &[char], by: isize) -> String {
    let old = line.iter().take_while(|c| **c == ' ').count();
    let new = old.saturating_add_signed(by);
    " ".repeat(new).chars().chain(line[old..].iter().copied()).collect()
}

#[cfg(test)]
mod tests;
