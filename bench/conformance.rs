//! `make conformance CTS=DIR`: an imported cluster planned twice, directly and by way of its manifests and state.
//!
//! `DIR/cases/xml` holds CIBs, `DIR/cases/tests.json` the time of those that need one. Each is imported; written as manifests
//! and a state document and read again; and planned both ways. Both must say the same wherever the import calls itself
//! complete; where it says that something was lost, the case is listed with its losses. Exits 1 if a complete import
//! differs, in its spec, its state or its outcome, or if what was written cannot be read.

use hafen::manifest::{Purpose, SourceFile, load_for};
use hafen::model::{AgentCatalogue, Severity, Spec};
use hafen::pacemaker::{Import, import, manifests};
use hafen::plan::transition;
use hafen::state::StateDocument;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;

/// When a case names no time: none of those depends on it.
const NOW: i64 = 1_800_000_000;

fn main() -> ExitCode {
    let Some(folder) = std::env::args().nth(1) else {
        eprintln!("usage: conformance DIR");
        return ExitCode::from(64);
    };
    let cases = Path::new(&folder).join("cases");
    let times = times(&cases);
    let mut names: Vec<String> = match std::fs::read_dir(cases.join("xml")) {
        Ok(entries) => entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_string_lossy().strip_suffix(".xml").map(str::to_owned))
            .collect(),
        Err(error) => {
            eprintln!("{}: {error}", cases.join("xml").display());
            return ExitCode::from(2);
        }
    };
    names.sort();
    let mut tally = Tally::default();
    for name in &names {
        let path = cases.join("xml").join(format!("{name}.xml"));
        let now = times.get(name).copied().unwrap_or(NOW);
        let text = std::fs::read_to_string(&path).map_err(|error| error.to_string());
        match text.and_then(|text| import(&text, Some(now)).map_err(|error| error.to_string())) {
            Ok(import) => tally.case(name, &import),
            Err(why) => tally.wrong(name, &format!("cannot be read: {why}")),
        }
    }
    tally.print(names.len())
}

fn times(cases: &Path) -> BTreeMap<String, i64> {
    let text = std::fs::read_to_string(cases.join("tests.json")).unwrap_or_default();
    let tests: BTreeMap<String, serde_json::Value> = serde_json::from_str(&text).unwrap_or_default();
    let time = |test: &serde_json::Value| test["now"].as_str()?.parse::<jiff::Timestamp>().ok();
    tests.iter().filter_map(|(name, test)| Some((name.clone(), time(test)?.as_second()))).collect()
}

#[derive(Default)]
struct Tally {
    equal: usize,
    lossy: Vec<(String, Vec<String>, bool)>,
    wrong: BTreeSet<String>,
}

impl Tally {
    fn wrong(&mut self, name: &str, why: &str) {
        self.wrong.insert(name.to_owned());
        println!("WRONG {name}: {why}");
    }

    fn case(&mut self, name: &str, import: &Import) {
        let difference = difference(import);
        if import.is_lossy() {
            let losses = import.losses.iter().filter(|loss| loss.changes_plan).map(ToString::to_string).collect();
            self.lossy.push((name.to_owned(), losses, difference.is_none()));
        } else if let Some(why) = difference {
            self.wrong(name, &why);
        } else {
            self.equal += 1;
        }
    }

    fn print(&self, all: usize) -> ExitCode {
        println!("\nlossy imports:");
        for (name, losses, same) in &self.lossy {
            println!("  {name}: {}", if *same { "the same plan" } else { "ANOTHER PLAN" });
            losses.iter().for_each(|loss| println!("    {loss}"));
        }
        println!(
            "\n{all} cases: {} equal by way of manifests and state, {} lossy ({} of them equal), {} wrong",
            self.equal,
            self.lossy.len(),
            self.lossy.iter().filter(|(_, _, same)| *same).count(),
            self.wrong.len()
        );
        if self.wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// How a cluster differs when it is read from its manifests and its state; None: not at all.
fn difference(import: &Import) -> Option<String> {
    let files = manifests::write(&import.spec, &import.sets).into_iter();
    let files: Vec<SourceFile> =
        files.map(|(name, text)| SourceFile { path: name.into(), bytes: text.into_bytes() }).collect();
    let loaded = load_for(Purpose::Plan, &files, &AgentCatalogue::default());
    let Some(spec) = loaded.spec else {
        let errors = loaded.diagnostics.iter().filter(|found| found.severity == Severity::Error).take(3);
        let errors: Vec<String> =
            errors.map(|found| format!("{} {}:{} {}", found.code, found.file, found.line, found.message)).collect();
        return Some(format!("its manifests cannot be read: {}", errors.join("; ")));
    };
    let spec = Spec { origins: BTreeMap::new(), ..spec };
    if spec != import.spec {
        return Some(format!("spec: {}", first_difference(&import.spec, &spec)));
    }
    let text = StateDocument::of(&import.state).text();
    let document = match StateDocument::parse(&text) {
        Ok(document) => document,
        Err(error) => return Some(format!("its state cannot be read: {error}")),
    };
    let state = document.state(&spec);
    if state != import.state {
        return Some(format!("state: {}", first_difference(&import.state, &state)));
    }
    (transition(&spec, &state) != transition(&import.spec, &import.state)).then(|| "outcome".to_owned())
}

/// The first line in which two values differ when they are written out.
fn first_difference(one: &impl std::fmt::Debug, other: &impl std::fmt::Debug) -> String {
    let (one, other) = (format!("{one:#?}"), format!("{other:#?}"));
    let lines: Vec<&str> = one.lines().collect();
    let mut pairs = lines.iter().zip(other.lines()).enumerate();
    match pairs.find(|(_, (a, b))| *a != b) {
        Some((place, (a, b))) => {
            // What it is part of: the lines above with less indentation.
            let mut path = Vec::new();
            let mut depth = a.len() - a.trim_start().len();
            for line in lines[..place].iter().rev() {
                let indent = line.len() - line.trim_start().len();
                if indent < depth {
                    path.push(line.trim().trim_end_matches(['{', '[', '(', ' ']));
                    depth = indent;
                }
            }
            path.reverse();
            format!("{}: `{}` became `{}`", path.join(" "), a.trim(), b.trim())
        }
        None => "one is longer".to_owned(),
    }
}
