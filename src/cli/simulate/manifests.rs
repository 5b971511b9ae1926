//! Manifests to simulate with, and the scenarios among them.
//!
//! Input → output: a path, or files → a spec; what is wrong with them is said on stderr. They are read as for a plan: what
//! only keeps a cluster from following them is a warning.

use crate::cli::error::{CliError, Kind};
use crate::cli::{files, plan, render};
use crate::manifest::{self, Purpose, SourceFile};
use crate::model::scenario::Scenario;
use crate::model::{AgentCatalogue, Severity, Spec};
use std::path::Path;

pub fn read(path: &Path) -> Result<Spec, CliError> {
    let files = files::read_tree(path).map_err(|error| CliError::new(Kind::CouldNotTell, error.to_string()))?;
    load(&files, path).map(|(spec, _)| spec)
}

/// `path`: what to name to those who want to know more.
pub fn load(files: &[SourceFile], path: &Path) -> Result<(Spec, Vec<Scenario>), CliError> {
    let loaded = manifest::load_for(Purpose::Plan, files, &AgentCatalogue::default());
    let Some(spec) = loaded.spec else {
        let errors = loaded.diagnostics.iter().filter(|found| found.severity == Severity::Error);
        errors.for_each(|found| render::say(&plan::diagnostic(found)));
        return Err(CliError::new(Kind::CouldNotTell, "the manifests are not valid, so there is nothing to simulate")
            .hint("`hafen explain CODE` says more about a finding"));
    };
    let warnings = loaded.diagnostics.iter().filter(|found| found.severity == Severity::Warning).count();
    if warnings > 0 {
        let warnings = super::text::count(warnings, "warning", "warnings");
        render::say(&format!("{}: `hafen validate {}`", render::faint(&warnings), path.display()));
    }
    Ok((spec, loaded.scenarios))
}
