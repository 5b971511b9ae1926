//! `--suite DIR`: every scenario below a folder, each beside what it expects.
//!
//! Input → output: manifests and scenarios, from one tree or two → what ended otherwise, as text, JSON or a JUnit report.

use super::{manifests, text, view};
use crate::api::types::{ScenarioView, SuiteView};
use crate::cli::error::{CliError, Kind};
use crate::cli::{files, render};
use crate::manifest::SourceFile;
use crate::model::Spec;
use crate::model::scenario::Scenario;
use crate::state::State;
use crate::whatif::{self, Homes};
use std::path::Path;

/// The manifests below one path, and the scenarios below another, which may be within the first.
pub fn read(tree: &Path, suite: &Path) -> Result<(Spec, Vec<Scenario>), CliError> {
    let could_not = |path: &Path, error: std::io::Error| {
        CliError::new(Kind::CouldNotTell, format!("failed to read `{}`: {error}", path.display()))
    };
    let canonical = |path: &Path| std::fs::canonicalize(path).map_err(|error| could_not(path, error));
    let mut files = files::read_tree(tree).map_err(|error| CliError::new(Kind::CouldNotTell, error.to_string()))?;
    let prefix = match canonical(suite)?.strip_prefix(canonical(tree)?) {
        Ok(within) => within.to_string_lossy().into_owned(),
        Err(_) => {
            let more = files::read_tree(suite).map_err(|error| CliError::new(Kind::CouldNotTell, error.to_string()))?;
            let root = if suite.is_dir() { suite } else { suite.parent().unwrap_or(Path::new("")) };
            let here =
                |file: SourceFile| SourceFile { path: root.join(&file.path).to_string_lossy().into_owned(), ..file };
            files.extend(more.into_iter().map(here));
            suite.to_string_lossy().trim_end_matches('/').to_owned()
        }
    };
    let loaded = manifests::load(&files, tree)?;
    let within = |scenario: &Scenario| {
        let rest = scenario.origin.file.strip_prefix(prefix.as_str());
        rest.is_some_and(|rest| prefix.is_empty() || rest.is_empty() || rest.starts_with('/'))
    };
    let scenarios: Vec<Scenario> = loaded.1.into_iter().filter(within).collect();
    if scenarios.is_empty() {
        let why = format!("there is no document of kind Scenario below `{}`", suite.display());
        return Err(CliError::new(Kind::CouldNotTell, why).hint("manifests/mariadb/scenarios.yaml is an example"));
    }
    Ok((loaded.0, scenarios))
}

/// Plays them all.
pub fn play(spec: &Spec, state: &State, scenarios: &[Scenario]) -> SuiteView {
    let before = Homes::now(state);
    let tried = scenarios.iter().map(|scenario| {
        let tried = whatif::try_scenario(spec, state, scenario);
        ScenarioView {
            name: scenario.name.clone(),
            at: scenario.origin.to_string(),
            passed: tried.differences.is_empty(),
            simulation: view::simulation(spec, &tried.told, &before, &tried.end),
            differences: tried.differences,
        }
    });
    let scenarios: Vec<ScenarioView> = tried.collect();
    let passed = scenarios.iter().filter(|scenario| scenario.passed).count();
    SuiteView { passed: passed as u32, failed: (scenarios.len() - passed) as u32, scenarios, ..SuiteView::default() }
}

/// For people: what failed with its story.
pub fn picture(view: &SuiteView) -> String {
    let mut text = String::new();
    for scenario in &view.scenarios {
        let at = render::faint(&scenario.at);
        if scenario.passed {
            text += &format!("{}  {}  {at}\n", render::good("ok"), scenario.name);
            continue;
        }
        text += &format!("{}  {}  {at}\n", render::bad("failed"), render::strong(&scenario.name));
        scenario.differences.iter().for_each(|difference| text += &format!("  - {difference}\n"));
        let story = text::simulation(&scenario.simulation);
        story.lines().for_each(|line| text += &format!("{}\n", format!("    {line}").trim_end()));
    }
    let failed = format!("{} failed", view.failed);
    let failed = if view.failed == 0 { failed } else { render::bad(&failed) };
    text += &format!("{} passed, {failed}\n", view.passed);
    text
}

/// A JUnit report: a test case for each scenario.
pub fn junit(view: &SuiteView) -> String {
    let escape = |text: &str| {
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        text.replace('"', "&quot;").replace('\n', "&#10;")
    };
    let total = view.scenarios.len();
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"hafen simulate\" \
         tests=\"{total}\" failures=\"{}\" errors=\"0\" skipped=\"0\">\n",
        view.failed
    );
    for scenario in &view.scenarios {
        let mut at = scenario.at.rsplitn(3, ':');
        let (_, line, file) = (at.next(), at.next().unwrap_or("0"), at.next().unwrap_or(""));
        text += &format!(
            "    <testcase classname=\"hafen.scenario\" name=\"{}\" file=\"{}\" line=\"{line}\"",
            escape(&scenario.name),
            escape(file)
        );
        if scenario.passed {
            text += "/>\n";
        } else {
            let why = escape(&scenario.differences.join("\n"));
            text += &format!(">\n      <failure message=\"{why}\"/>\n    </testcase>\n");
        }
    }
    text + "  </testsuite>\n</testsuites>\n"
}
