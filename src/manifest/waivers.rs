//! Comments that say that a finding is known and borne: `# hafen: ignore[HA0605] measured: it starts in a second`.
//!
//! Input → output: the text of the files and what was read of them → [`Waivers`], which the report asks of every finding.
//!
//! Where a waiver counts: behind something, for that line; on a line of its own, for the field or list item that begins on
//! the next line, with all that is below it; above the first line of a document, for the document.
//!
//! Invariants: a waiver without a reason, with an unknown code or for a code that cannot be waived has no effect and is a
//! finding, as is one that nothing needed. What keeps a tree from being read or from being safe cannot be waived
//! ([`Code::can_be_waived`]).
//!
//! Deliberately absent: waivers for whole trees. `--deny-warnings` is a choice of the caller, not of a file.

use super::SourceFile;
use super::explain::{self, Code};
use super::report::Report;
use super::tree::{Node, Span, Value, YamlDocument};
use crate::model::suggest;
use std::collections::BTreeMap;

/// After `#` and spaces.
const MARK: &str = "hafen:";
const WORD: &str = "ignore";
/// Of one file; each finding asks all waivers of its file.
const MAX_WAIVERS: usize = 1_000;

/// The waivers of all files.
#[derive(Default)]
pub(super) struct Waivers {
    by_file: BTreeMap<usize, Vec<Waiver>>,
}

struct Waiver {
    code: Code,
    reason: String,
    /// Where its code stands.
    at: Span,
    /// First and last line that it counts for.
    lines: (u32, u32),
    used: bool,
}

impl Waivers {
    /// The reason why a finding is borne, if there is one.
    pub fn reason(&mut self, code: Code, file: usize, line: u32) -> Option<String> {
        let mut fits = self.by_file.get_mut(&file)?.iter_mut().filter(|waiver| {
            waiver.code == code && (waiver.lines.0..=waiver.lines.1).contains(&line) && code.can_be_waived()
        });
        let first = fits.next()?;
        first.used = true;
        Some(first.reason.clone())
    }

    /// Code and place of those that nothing needed.
    pub fn unused(&self) -> Vec<(usize, Span, Code)> {
        let of_file = |(file, waivers): (&usize, &Vec<Waiver>)| {
            let unused = waivers.iter().filter(|waiver| !waiver.used);
            unused.map(|waiver| (*file, waiver.at, waiver.code)).collect::<Vec<_>>()
        };
        self.by_file.iter().flat_map(of_file).collect()
    }
}

/// Finds the waivers of all files.
pub(super) fn find(files: &[&SourceFile], documents: &[(usize, YamlDocument)], report: &mut Report) -> Waivers {
    let mut waivers = Waivers::default();
    for (place, file) in files.iter().enumerate() {
        let Ok(text) = std::str::from_utf8(&file.bytes) else { continue };
        if !text.contains(MARK) {
            continue;
        }
        let roots: Vec<&Node> = documents.iter().filter(|(of, _)| *of == place).map(|(_, doc)| &doc.root).collect();
        let found = of_file(place, text, &roots, report);
        if !found.is_empty() {
            waivers.by_file.insert(place, found);
        }
    }
    waivers
}

fn of_file(file: usize, text: &str, roots: &[&Node], report: &mut Report) -> Vec<Waiver> {
    let lines: Vec<&str> = text.strip_prefix('\u{feff}').unwrap_or(text).lines().collect();
    let mut waivers = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let Some(comment) = comment_in(line) else { continue };
        let before = &line[..comment];
        let number = number as u32 + 1;
        let column = before.chars().count() as u32 + 1;
        if roots.iter().any(|root| within_scalar(root, number, column)) {
            continue;
        }
        let rest = line[comment + 1..].trim_start();
        let start = column + (line[comment..].chars().count() - rest.chars().count()) as u32;
        let span = |from: usize, to: usize| Span {
            line: number,
            column: start + rest[..from].chars().count() as u32,
            end_line: number,
            end_column: start + rest[..to].chars().count() as u32,
            ..Span::default()
        };
        let lines = match before.trim().is_empty() {
            true => extent(&lines, number, roots),
            false => (number, number),
        };
        for (code, reason, from, to) in directive(file, rest, &span, report) {
            if waivers.len() < MAX_WAIVERS {
                waivers.push(Waiver { code, reason: reason.to_owned(), at: span(from, to), lines, used: false });
            } else {
                let message = format!("more than {MAX_WAIVERS} waivers in one file; this one is not read");
                report.add(Code::BadWaiver, file, span(from, to), message, None);
            }
        }
    }
    waivers
}

/// Where a comment begins that is meant for us.
fn comment_in(line: &str) -> Option<usize> {
    let ours = |(place, _): &(usize, &str)| {
        let apart = *place == 0 || line.as_bytes().get(place - 1).is_some_and(|byte| matches!(byte, b' ' | b'\t'));
        apart && line[place + 1..].trim_start().starts_with(MARK)
    };
    line.match_indices('#').find(ours).map(|(place, _)| place)
}

type Found<'a> = (Code, &'a str, usize, usize);

/// Reads `hafen: ignore[CODE, CODE] reason`; what is wrong with it goes to the report.
fn directive<'a>(
    file: usize,
    text: &'a str,
    span: &dyn Fn(usize, usize) -> Span,
    report: &mut Report,
) -> Vec<Found<'a>> {
    let form = "write `# hafen: ignore[CODE] reason`";
    let body_start = MARK.len() + text[MARK.len()..].len() - text[MARK.len()..].trim_start().len();
    let body = &text[body_start..];
    let word_len = body.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(body.len());
    let (word, after) = body.split_at(word_len);
    if word != WORD {
        // Other comments may begin like this: only what looks like a slip is one.
        if after.starts_with('[') || suggest::nearest(word, [WORD]).is_some() {
            let message = format!("`{word}` is not a word that comments for hafen have");
            let at = span(body_start, body_start + word_len);
            report.add(Code::BadWaiver, file, at, message, Some(format!("did you mean `{WORD}`? {form}")));
        }
        return Vec::new();
    }
    let codes_start = body_start + word_len + 1;
    let list = after.strip_prefix('[').and_then(|list| list.split_once(']'));
    let Some((codes, reason)) = list.filter(|(codes, _)| !codes.trim().is_empty()) else {
        let at = span(body_start, body_start + word_len);
        let help = format!("{form}; `hafen validate` prints the codes");
        report.add(Code::BadWaiver, file, at, "the waiver does not name a code in brackets", Some(help));
        return Vec::new();
    };
    let reason = reason.trim();
    if !reason.chars().any(char::is_alphanumeric) {
        let at = span(body_start, codes_start + codes.len() + 1);
        let help = "say behind the bracket why this is as it should be".to_owned();
        report.add(Code::WaiverWithoutReason, file, at, "the waiver has no reason, so it has no effect", Some(help));
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut start = codes_start;
    for item in codes.split(',') {
        let code = item.trim();
        let from = start + (item.len() - item.trim_start().len());
        let to = from + code.len();
        start += item.len() + 1;
        match explain::find(code) {
            Some(code) if code.can_be_waived() => found.push((code, reason, from, to)),
            Some(code) => {
                let message = format!("{code} cannot be waived: {}", code.title());
                let help = format!("correct what it points at; `hafen explain {code}` says how");
                report.add(Code::BadWaiver, file, span(from, to), message, Some(help));
            }
            None => {
                let known: Vec<String> = Code::ALL.iter().map(ToString::to_string).collect();
                let near = suggest::nearest(code, known.iter().map(String::as_str));
                let help = near.map_or_else(|| form.to_owned(), |near| format!("did you mean `{near}`?"));
                report.add(Code::BadWaiver, file, span(from, to), format!("there is no code `{code}`"), Some(help));
            }
        }
    }
    found
}

/// The lines of what begins below a comment that has its line for itself.
fn extent(lines: &[&str], comment: u32, roots: &[&Node]) -> (u32, u32) {
    let passed_over = |line: &&&str| {
        let text = line.trim();
        text.is_empty() || text.starts_with('#') || text == "---"
    };
    let skipped = lines.iter().skip(comment as usize).take_while(passed_over).count() as u32;
    let next = comment + skipped + 1;
    let last = roots.iter().find_map(|root| begins_at(root, next));
    (next, last.unwrap_or(next))
}

/// The last line of the outermost thing that begins on a line.
fn begins_at(node: &Node, line: u32) -> Option<u32> {
    if !(node.span.line..=last_line(node)).contains(&line) {
        return None;
    }
    if node.span.line == line && matches!(node.value, Value::Map(_) | Value::List(_)) {
        return Some(last_line(node));
    }
    match &node.value {
        Value::Scalar(_) => None,
        Value::List(items) => items
            .iter()
            .find_map(|item| if item.span.line == line { Some(last_line(item)) } else { begins_at(item, line) }),
        Value::Map(entries) => entries.iter().find_map(|entry| {
            if entry.key_span.line == line { Some(last_line(&entry.value)) } else { begins_at(&entry.value, line) }
        }),
    }
}

/// The end of what is written: the end that the parser gives to lists and maps is where the next thing begins.
fn last_line(node: &Node) -> u32 {
    let span = node.span;
    let own = if span.end_column <= 1 { span.end_line.saturating_sub(1).max(span.line) } else { span.end_line };
    match &node.value {
        Value::Scalar(_) => own,
        Value::List(items) => items.iter().map(last_line).max().unwrap_or(span.line),
        Value::Map(entries) => {
            entries.iter().map(|entry| last_line(&entry.value).max(entry.key_span.line)).max().unwrap_or(span.line)
        }
    }
}

/// Whether a place is inside of a text, where `#` is a character like any other.
fn within_scalar(node: &Node, line: u32, column: u32) -> bool {
    match &node.value {
        Value::Scalar(_) => {
            let span = node.span;
            (span.line, span.column) <= (line, column) && (line, column) < (span.end_line, span.end_column)
        }
        Value::List(items) => items.iter().any(|item| within_scalar(item, line, column)),
        Value::Map(entries) => entries.iter().any(|entry| {
            let key = entry.key_span;
            ((key.line, key.column) <= (line, column) && (line, column) < (key.end_line, key.end_column))
                || within_scalar(&entry.value, line, column)
        }),
    }
}
