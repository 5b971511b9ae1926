//! What two trees of manifests say differently, for people: the pieces of `diff` and of `plan`.
//!
//! Pure. Every line names its place; where a side is gone, the old one.

use super::render;
use crate::api::types::{Change, ChangeKind, FieldChange};

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Of what was added or removed only the name.
    Concise,
    /// All its fields, and both places of what changed.
    All,
}

/// `2 added, 1 changed`.
pub fn summary(changes: &[Change]) -> String {
    let count = |kind| changes.iter().filter(|change| change.change == kind).count();
    let kinds = [(ChangeKind::Added, "added"), (ChangeKind::Changed, "changed"), (ChangeKind::Removed, "removed")];
    let words = kinds.map(|(kind, word)| (count(kind), word));
    let told: Vec<String> = words.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
    told.join(", ")
}

/// A line per document, and one per field that differs.
pub fn text(changes: &[Change], detail: Detail) -> String {
    let mut rows = Vec::new();
    for change in changes {
        let place = place(change.change, change.at.as_deref(), change.was_at.as_deref(), detail);
        rows.push(vec![format!("{} {}", sign(change.change), change.object), render::faint(&place)]);
        let told = change.fields.iter().filter(|_| change.change == ChangeKind::Changed || detail == Detail::All);
        rows.extend(told.map(|field| {
            let place = self::place(field.change, field.at.as_deref(), field.was_at.as_deref(), detail);
            vec![format!("    {} {}", sign(field.change), words(field)), render::faint(&place)]
        }));
    }
    render::table(&rows)
}

fn sign(change: ChangeKind) -> String {
    match change {
        ChangeKind::Added => render::good("+"),
        ChangeKind::Changed => render::warn("~"),
        ChangeKind::Removed => render::bad("-"),
    }
}

/// `params.ip: 192.0.2.1 -> 192.0.2.2`.
pub fn words(field: &FieldChange) -> String {
    let path = &field.path;
    match (&field.from, &field.to) {
        (Some(from), Some(to)) if from == to => format!("{path}: {from}, and differs"),
        (Some(from), Some(to)) => format!("{path}: {} -> {}", quoted(from), quoted(to)),
        (None, Some(value)) | (Some(value), None) => format!("{path}: {}", quoted(value)),
        (None, None) => path.clone(),
    }
}

/// Empty and long texts as they can be told in a line.
fn quoted(text: &str) -> String {
    const LONGEST: usize = 200;
    if text.is_empty() || text.contains(['\n', '\t']) || text.trim() != text {
        return format!("{:?}", text.chars().take(LONGEST).collect::<String>());
    }
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn place(change: ChangeKind, at: Option<&str>, was_at: Option<&str>, detail: Detail) -> String {
    match (at, was_at) {
        (Some(at), Some(was)) if detail == Detail::All && at != was => format!("{at} (was {was})"),
        (Some(at), _) => at.to_owned(),
        (None, Some(was)) if change == ChangeKind::Removed => format!("was {was}"),
        (None, _) => was_at.unwrap_or_default().to_owned(),
    }
}

/// A table for a comment on a change.
pub fn markdown(changes: &[Change]) -> String {
    let mut text = String::from("| | object | field | from | to | at |\n|---|---|---|---|---|---|\n");
    for change in changes {
        let at = change.at.as_deref().or(change.was_at.as_deref()).unwrap_or_default();
        let kind = kind_word(change.change);
        if change.change != ChangeKind::Changed {
            text += &format!("| {kind} | {} | | | | {} |\n", code(&change.object), code(at));
            continue;
        }
        for field in &change.fields {
            let at = field.at.as_deref().or(field.was_at.as_deref()).unwrap_or_default();
            let side = |text: &Option<String>| text.as_deref().map(code).unwrap_or_default();
            let (from, to) = (side(&field.from), side(&field.to));
            text += &format!(
                "| {kind} | {} | {} | {from} | {to} | {} |\n",
                code(&change.object),
                code(&field.path),
                code(at)
            );
        }
    }
    text
}

fn kind_word(change: ChangeKind) -> &'static str {
    match change {
        ChangeKind::Added => "added",
        ChangeKind::Changed => "changed",
        ChangeKind::Removed => "removed",
    }
}

/// A text in a cell of a table that nothing in it can leave.
pub fn code(text: &str) -> String {
    let text = quoted(text).replace('|', "\\|").replace(['\n', '\r'], " ");
    // A run of backticks ends at a run of the same length (CommonMark 6.1).
    match text.contains('`') {
        true => format!("`` {text} ``").replace("```", "` ` `"),
        false if text.is_empty() => String::new(),
        false => format!("`{text}`"),
    }
}
