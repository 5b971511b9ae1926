//! Writes findings for people and for the tools that show them.
//!
//! Input → output: findings and the files they are about → one string, in the chosen format. Text shows the line and
//! points at it; the others are what code hosts and editors read.
//!
//! Invariants: no format loses a finding; the same findings give the same bytes.
//!
//! Deliberately absent: printing, and deciding whether findings are a failure (`validate`).

use crate::manifest::{API_VERSION, SourceFile, Waived, explain};
use crate::model::{Diagnostic, Digest, Severity};
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet, normalize_untrusted_str};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// The formats of `-o`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people: the line, a caret, and what would help.
    #[default]
    Text,
    /// The findings as hafen's own type.
    Json,
    /// SARIF 2.1.0, for GitHub code scanning and editors.
    Sarif,
    /// Annotations of GitHub Actions.
    Github,
    /// A code quality report of GitLab.
    Gitlab,
    /// A JUnit report, a test case per file.
    Junit,
}

/// Renders findings. `colour` matters for text only. Without findings text is empty; the others are an empty report.
/// What the files waive is told by the formats that have a place for it: `Json` and `Sarif` (as suppressed results).
pub fn render(
    format: Format,
    diagnostics: &[Diagnostic],
    waived: &[Waived],
    files: &[SourceFile],
    colour: bool,
) -> String {
    match format {
        Format::Text => text(diagnostics, files, colour),
        Format::Json => pretty(&json!({
            "apiVersion": API_VERSION,
            "kind": "Diagnostics",
            "diagnostics": diagnostics,
            "waived": waived,
        })),
        Format::Sarif => pretty(&sarif(diagnostics, waived)),
        Format::Github => diagnostics.iter().map(github).collect(),
        Format::Gitlab => pretty(&gitlab(diagnostics)),
        Format::Junit => junit(diagnostics, files),
    }
}

fn pretty(value: &Value) -> String {
    // `{:#}` of a `Value` is pretty-printed JSON and cannot fail.
    format!("{value:#}\n")
}

/// The message and the help in one.
fn words(found: &Diagnostic) -> String {
    match &found.help {
        Some(help) => format!("{}\nhelp: {help}", found.message),
        None => found.message.clone(),
    }
}

fn text(diagnostics: &[Diagnostic], files: &[SourceFile], colour: bool) -> String {
    let named: BTreeSet<&str> = diagnostics.iter().map(|found| found.file.as_str()).collect();
    let sources: BTreeMap<&str, Cow<str>> = files
        .iter()
        .filter(|file| named.contains(file.path.as_str()))
        .map(|file| (file.path.as_str(), String::from_utf8_lossy(&file.bytes)))
        .collect();
    let lines: BTreeMap<&str, Vec<&str>> =
        sources.iter().map(|(path, source)| (*path, source.lines().collect())).collect();
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let mut text = String::new();
    for found in diagnostics {
        let line = found.line.checked_sub(1).and_then(|line| lines.get(found.file.as_str())?.get(line as usize));
        text += &renderer.render(&[group(found, line.copied())]);
        text += "\n\n";
    }
    text
}

fn group<'a>(found: &'a Diagnostic, line: Option<&'a str>) -> Group<'a> {
    let level = match found.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let title = level.primary_title(found.message.as_str()).id(found.code.as_str());
    let mut group = Group::with_title(title);
    if let Some(line) = line {
        let byte = |column: u32| {
            let skip = (column as usize).saturating_sub(1);
            line.char_indices().nth(skip).map_or(line.len(), |(offset, _)| offset)
        };
        let end = if found.end_line == found.line { byte(found.end_column) } else { line.len() };
        let start = byte(found.column).min(end);
        let snippet = Snippet::source(line)
            .line_start(found.line as usize)
            .path(found.file.as_str())
            .annotation(AnnotationKind::Primary.span(start..end));
        group = group.element(snippet);
    } else if !found.file.is_empty() {
        group = group.element(annotate_snippets::Origin::path(found.file.as_str()));
    }
    match &found.help {
        Some(help) => group.element(Level::HELP.message(normalize_untrusted_str(help))),
        None => group,
    }
}

fn sarif(diagnostics: &[Diagnostic], waived: &[Waived]) -> Value {
    let all = diagnostics.iter().chain(waived.iter().map(|waived| &waived.diagnostic));
    let codes: BTreeSet<&str> = all.map(|found| found.code.as_str()).collect();
    let rule = |code: &&str| {
        let known = explain::find(code);
        json!({
            "id": code,
            "shortDescription": { "text": known.map_or("", explain::Code::title) },
            "fullDescription": { "text": known.map_or("", explain::Code::explanation) },
        })
    };
    let result = |found: &Diagnostic| {
        let mut location = json!({ "physicalLocation": { "artifactLocation": { "uri": uri(&found.file) } } });
        if found.line > 0 {
            location["physicalLocation"]["region"] = json!({
                "startLine": found.line, "startColumn": found.column,
                "endLine": found.end_line, "endColumn": found.end_column,
            });
        }
        json!({
            "ruleId": found.code,
            "level": found.severity.to_string(),
            "message": { "text": words(found) },
            "locations": if found.file.is_empty() { json!([]) } else { json!([location]) },
        })
    };
    let suppressed = |waived: &Waived| {
        let mut result = result(&waived.diagnostic);
        result["suppressions"] = json!([{ "kind": "inSource", "justification": waived.reason }]);
        result
    };
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "hafen",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": codes.iter().map(rule).collect::<Vec<_>>(),
            } },
            "columnKind": "unicodeCodePoints",
            "results": diagnostics.iter().map(result).chain(waived.iter().map(suppressed)).collect::<Vec<_>>(),
        }],
    })
}

/// A path as a relative URI reference (RFC 3986): everything but unreserved characters and `/` is escaped.
fn uri(path: &str) -> String {
    let mut uri = String::new();
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => uri.push(byte as char),
            _ => uri += &format!("%{byte:02X}"),
        }
    }
    uri
}

fn github(found: &Diagnostic) -> String {
    let command = match found.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "notice",
    };
    let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    let mut place = format!("title={}", found.code);
    if !found.file.is_empty() {
        place += &format!(",file={}", property(&found.file));
    }
    if found.line > 0 {
        place += &format!(",line={},endLine={}", found.line, found.end_line);
        // Columns are taken only within one line.
        if found.line == found.end_line {
            place += &format!(",col={},endColumn={}", found.column, found.end_column);
        }
    }
    format!("::{command} {place}::{}\n", data(&words(found)))
}

fn gitlab(diagnostics: &[Diagnostic]) -> Value {
    // Fingerprints leave out the line, so that a finding stays the same when lines are added above it.
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let mut issue = |found: &Diagnostic| {
        let identity = format!("{}\0{}\0{}", found.code, found.file, found.message);
        let count = seen.entry(identity.clone()).or_insert(0);
        *count += 1;
        json!({
            "description": words(found),
            "check_name": found.code,
            "fingerprint": Digest::of(format!("{identity}\0{count}").as_bytes()).to_string(),
            "severity": match found.severity {
                Severity::Error => "critical",
                Severity::Warning => "minor",
                Severity::Note => "info",
            },
            // GitLab drops what has no path.
            "location": { "path": if found.file.is_empty() { "manifests" } else { &found.file }, "lines": { "begin": found.line.max(1) } },
        })
    };
    diagnostics.iter().map(&mut issue).collect()
}

fn junit(diagnostics: &[Diagnostic], files: &[SourceFile]) -> String {
    let mut cases: BTreeMap<&str, Vec<&Diagnostic>> =
        files.iter().map(|file| (file.path.as_str(), Vec::new())).collect();
    for found in diagnostics {
        cases.entry(&found.file).or_default().push(found);
    }
    let is_error = |found: &&&Diagnostic| found.severity == Severity::Error;
    let failures = cases.values().filter(|found| found.iter().any(|found| is_error(&found))).count();
    let line = |found: &Diagnostic| {
        let place = format!("{}:{}", found.line, found.column);
        format!("{place}: {}[{}]: {}\n", found.severity, found.code, words(found))
    };
    let mut body = String::new();
    for (file, found) in &cases {
        let name = if file.is_empty() { "(the whole tree)" } else { file };
        let errors: Vec<&Diagnostic> = found.iter().filter(is_error).copied().collect();
        let others: String = found.iter().filter(|found| !is_error(found)).map(|found| line(found)).collect();
        let _ = writeln!(body, "    <testcase classname=\"hafen.validate\" name=\"{}\">", xml(name));
        if let Some(first) = errors.first() {
            let all: String = errors.iter().map(|found| line(found)).collect();
            let message = format!("{} errors, the first: {}", errors.len(), first.message);
            let _ = writeln!(body, "      <failure message=\"{}\">{}</failure>", xml(&message), xml(&all));
        }
        if !others.is_empty() {
            let _ = writeln!(body, "      <system-out>{}</system-out>", xml(&others));
        }
        body += "    </testcase>\n";
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"hafen validate\" tests=\"{}\" failures=\"{failures}\">\n{body}  </testsuite>\n</testsuites>\n",
        cases.len()
    )
}

/// Escapes for XML 1.0, which cannot hold most control characters at all.
fn xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\n' => escaped += "&#10;",
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest;
    use crate::model::AgentCatalogue;

    /// A misspelt field after a wide character, a warning, and a finding about the whole tree.
    fn findings() -> (Vec<Diagnostic>, Vec<SourceFile>) {
        let text = "apiVersion: hafen/v1alpha1
kind: Resource
metadata: { name: a }
spec: { params: { ä: \"<&>\" }, agnet: x, agent: systemd:a }
";
        let files = vec![SourceFile { path: "a b.yaml".into(), bytes: text.into() }];
        let mut diagnostics = manifest::load(&files, &AgentCatalogue::default()).diagnostics;
        diagnostics.push(Diagnostic {
            severity: Severity::Warning,
            message: "100% \"<x>\"".into(),
            ..diagnostics[0].clone()
        });
        (diagnostics, files)
    }

    #[test]
    fn text_points_at_the_place() {
        let (diagnostics, files) = findings();
        let text = render(Format::Text, &diagnostics[..2], &[], &files, false);
        let expected = "\
error[HA0403]: there is no Cluster document
 |
 = help: add a document of kind Cluster; its spec may be `{}`

error[HA0204]: unknown field `agnet` in `spec`
 --> a b.yaml:4:31
  |
4 | spec: { params: { ä: \"<&>\" }, agnet: x, agent: systemd:a }
  |                               ^^^^^
  |
  = help: did you mean `agent`?

";
        assert_eq!(text, expected);
        assert!(render(Format::Text, &diagnostics, &[], &files, true).contains("\u{1b}["));
        assert_eq!(render(Format::Text, &[], &[], &files, false), "");
    }

    #[test]
    fn text_bears_findings_that_do_not_fit_their_file() {
        let (mut diagnostics, mut files) = findings();
        diagnostics[1].column = 4_000;
        diagnostics[2].line = 99;
        files[0].bytes[5] = 0xff;
        let text = render(Format::Text, &diagnostics, &[], &files, false);
        assert_eq!(text.matches("HA0").count(), 3);
        assert!(render(Format::Text, &diagnostics, &[], &[], false).contains("a b.yaml"));
    }

    #[test]
    fn json_is_the_type_itself() {
        let (diagnostics, files) = findings();
        let value: Value = serde_json::from_str(&render(Format::Json, &diagnostics, &[], &files, false)).unwrap();
        assert_eq!((&value["apiVersion"], &value["kind"]), (&json!(API_VERSION), &json!("Diagnostics")));
        assert_eq!(serde_json::from_value::<Vec<Diagnostic>>(value["diagnostics"].clone()).unwrap(), diagnostics);
    }

    #[test]
    fn sarif_and_gitlab_name_rule_and_place() {
        let (diagnostics, files) = findings();
        let value: Value = serde_json::from_str(&render(Format::Sarif, &diagnostics, &[], &files, false)).unwrap();
        let results = value["runs"][0]["results"].as_array().unwrap();
        assert_eq!((results.len(), &results[0]["locations"]), (3, &json!([])));
        let place = &results[1]["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "a%20b.yaml");
        assert_eq!(place["region"], json!({"startLine": 4, "startColumn": 31, "endLine": 4, "endColumn": 36}));
        assert_eq!(value["runs"][0]["tool"]["driver"]["rules"][0]["id"], "HA0204");

        let twice = [diagnostics.clone(), diagnostics].concat();
        let value: Value = serde_json::from_str(&render(Format::Gitlab, &twice, &[], &files, false)).unwrap();
        let issues = value.as_array().unwrap();
        let fingerprints: BTreeSet<String> = issues.iter().map(|issue| issue["fingerprint"].to_string()).collect();
        assert_eq!((issues.len(), fingerprints.len()), (6, 6));
        assert_eq!(issues[1]["location"], json!({"path": "a b.yaml", "lines": {"begin": 4}}));
    }

    /// The schema of OASIS, without its descriptions.
    const SARIF_SCHEMA: &str = include_str!("sarif/sarif-2.1.0.json");

    #[test]
    fn sarif_keeps_to_its_schema_with_waived_findings_and_without_any() {
        let validator = jsonschema::validator_for(&serde_json::from_str(SARIF_SCHEMA).unwrap()).unwrap();
        let (diagnostics, files) = findings();
        let waived = [Waived { diagnostic: diagnostics[1].clone(), reason: "known".into() }];
        for (found, waived) in [(&diagnostics[..], &waived[..]), (&diagnostics[..1], &[]), (&[], &[])] {
            let value: Value = serde_json::from_str(&render(Format::Sarif, found, waived, &files, false)).unwrap();
            let faults: Vec<String> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
            assert!(faults.is_empty(), "{faults:?}");
            let results = value["runs"][0]["results"].as_array().unwrap();
            assert_eq!(results.len(), found.len() + waived.len());
            let suppressed =
                results.iter().filter(|result| result["suppressions"][0]["justification"] == "known").count();
            assert_eq!(suppressed, waived.len());
        }
        let mut wrong: Value = serde_json::from_str(&render(Format::Sarif, &diagnostics, &[], &files, false)).unwrap();
        wrong["runs"][0]["results"][0]["level"] = "fatal".into();
        assert!(!validator.is_valid(&wrong), "the schema would let anything pass");
    }

    /// What GitLab's documentation asks of a code quality report: all of these fields, and a severity of its five.
    #[test]
    fn gitlab_reports_have_every_field_that_gitlab_reads() {
        let schema = json!({ "type": "array", "items": {
            "type": "object",
            "required": ["description", "check_name", "fingerprint", "severity", "location"],
            "properties": {
                "severity": { "enum": ["info", "minor", "major", "critical", "blocker"] },
                "fingerprint": { "type": "string", "minLength": 32 },
                "location": { "type": "object", "required": ["path", "lines"], "properties": {
                    "path": { "type": "string", "pattern": "^[^./]" },
                    "lines": { "required": ["begin"], "properties": { "begin": { "type": "integer", "minimum": 1 } } },
                } },
            },
        } });
        let (diagnostics, files) = findings();
        let value: Value = serde_json::from_str(&render(Format::Gitlab, &diagnostics, &[], &files, false)).unwrap();
        let faults: Vec<String> =
            jsonschema::validator_for(&schema).unwrap().iter_errors(&value).map(|error| error.to_string()).collect();
        assert!(faults.is_empty(), "{faults:?}");
    }

    #[test]
    fn github_annotations_are_one_escaped_line_each() {
        let (diagnostics, files) = findings();
        let text = render(Format::Github, &diagnostics, &[], &files, false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[1],
            "::error title=HA0204,file=a b.yaml,line=4,endLine=4,col=31,endColumn=36::unknown field `agnet` in `spec`%0Ahelp: did you mean `agent`?"
        );
        assert!(lines[2].starts_with("::warning") && lines[2].contains("100%25"));
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn junit_is_xml_with_a_case_per_file() {
        let (diagnostics, mut files) = findings();
        files.push(SourceFile { path: "good.yaml".into(), bytes: Vec::new() });
        let text = render(Format::Junit, &diagnostics, &[], &files, false);
        let document = roxmltree::Document::parse(&text).unwrap();
        let cases: Vec<_> = document.descendants().filter(|node| node.has_tag_name("testcase")).collect();
        let failed = |case: &roxmltree::Node| case.children().any(|child| child.has_tag_name("failure"));
        let names: Vec<_> = cases.iter().map(|case| (case.attribute("name").unwrap(), failed(case))).collect();
        assert_eq!(names, [("(the whole tree)", true), ("a b.yaml", true), ("good.yaml", false)]);
        assert!(document.descendants().any(|node| node.text().is_some_and(|text| text.contains("100% \"<x>\""))));
    }
}
