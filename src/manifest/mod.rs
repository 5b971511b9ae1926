//! What do these files say, and what is wrong with them.
//!
//! Input → output: files as bytes and what is known of agents → a [`Spec`] or findings, all at once, each with its
//! place and what would help.
//!
//! The steps: `tree` reads YAML and remembers where everything stands → `overlay` puts bases, patches and values of
//! variables together, where there are any → `document` finds out what each document is,
//! with `structure` checking its fields against the schema of its kind, and `waivers` which findings the
//! files bear → `references` and the `check_*` modules judge
//! names, constraints, nodes, fencing and agents → `resolve` fills in the defaults.
//!
//! Invariants: there is a spec if and only if no finding is an error; the same files in another order give the same
//! answer; no input panics, and every size is bounded.
//!
//! Deliberately absent: reading folders (the caller does), running agents for their metadata (the caller does, for
//! the names that [`agents_named`] returns).

mod armor;
pub mod bundled;
mod canonical;
mod check_agents;
mod check_constraints;
mod check_cycles;
mod check_fencing;
mod check_nodes;
mod check_params;
mod check_placement;
mod check_redfish;
mod check_resources;
mod check_sealed;
mod check_secrets;
mod check_signatures;
mod check_source;
mod check_timing;
mod document;
mod eligibility;
mod examples;
pub mod explain;
mod json;
mod listing;
mod overlay;
mod pairs;
mod raw;
mod raw_rule;
mod raw_scenario;
mod raw_source;
mod references;
mod rendered;
mod report;
mod resolve;
mod rules;
mod scalar;
mod scenarios;
mod schema;
mod sops;
mod structure;
mod topology;
mod tree;
mod values;
mod waivers;

#[cfg(test)]
mod tests;

pub use canonical::{Unformatted, canonical};
pub use listing::listing;
pub use overlay::{clusters, with_bases};
pub use rendered::{FieldOrigin, From, Rendered, RenderedDocument, RenderedField, RenderedLine, rendered};
pub use schema::{API_VERSION, schema};

use crate::model::scenario::Scenario;
use crate::model::{AgentCatalogue, Diagnostic, Spec};
use report::Report;
use std::collections::BTreeSet;
use topology::Topology;
use tree::{Node, YamlDocument};

/// One file of a tree of manifests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Relative to the root of the manifests.
    pub path: String,
    pub bytes: Vec<u8>,
}

/// What came of reading a tree.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// None if and only if an error is among the findings.
    pub spec: Option<Spec>,
    /// For `hafen simulate`; empty where there is no spec.
    pub scenarios: Vec<Scenario>,
    /// Ordered by file and place.
    pub diagnostics: Vec<Diagnostic>,
    /// What is not among them because a comment in the file bears it, ordered likewise.
    pub waived: Vec<Waived>,
}

/// A finding that a waiver counts for: `# hafen: ignore[HA0605] reason`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Waived {
    #[serde(flatten)]
    pub diagnostic: Diagnostic,
    /// What the comment says.
    pub reason: String,
}

/// What manifests are read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A cluster is to follow them.
    Run,
    /// Only a plan is made of them: what would keep it from being run, or from making sense, is a warning.
    Plan,
}

/// Reads a tree of manifests that a cluster is to follow. The order of the files does not matter.
pub fn load(files: &[SourceFile], catalogue: &AgentCatalogue) -> Loaded {
    load_for(Purpose::Run, files, catalogue)
}

/// Reads a tree of manifests.
pub fn load_for(purpose: Purpose, files: &[SourceFile], catalogue: &AgentCatalogue) -> Loaded {
    let files = in_order(files);
    let mut report = Report::new(purpose, &files);
    let documents = parse_all(&files, &mut report);
    let waivers = waivers::find(&files, &documents, &mut report);
    report.waive(waivers);
    let documents = overlay::render(&files, documents, &mut report);
    let tree = document::read(documents, &mut report);
    if !pairs::are_bounded(&tree, &mut report) {
        let (diagnostics, waived) = report.finish();
        return Loaded { spec: None, scenarios: Vec::new(), diagnostics, waived };
    }
    references::check(&tree, &mut report);
    let topology = Topology::of(&tree);
    check_nodes::check(&tree, &mut report);
    check_resources::check(&tree, &topology, &mut report);
    check_fencing::check(&tree, &topology, &mut report);
    check_constraints::check(&tree, &topology, &mut report);
    check_cycles::check(&tree, &topology, &mut report);
    check_placement::check(&tree, &topology, &mut report);
    check_timing::check(&tree, &topology, &mut report);
    check_source::check(&tree, &mut report);
    check_secrets::check(&tree, &mut report);
    check_signatures::check(&tree, &files, &mut report);
    let secrets = check_sealed::check(&tree, &files, &mut report);
    check_agents::check(&tree, &topology, catalogue, &mut report);
    report.unused_waivers(!(catalogue.installed.is_empty() && catalogue.bundled.is_empty()));
    let mut spec = if report.has_errors() { None } else { resolve::resolve(&tree, &topology, &files, catalogue) };
    if let Some(spec) = &mut spec {
        secrets.enter(spec);
    }
    let scenarios = if spec.is_some() { scenarios::read(&tree, &files) } else { Vec::new() };
    let (diagnostics, waived) = report.finish();
    Loaded { spec, scenarios, diagnostics, waived }
}

/// The agents that the files name (`ocf:PROVIDER:TYPE`, `fence_…`), for the caller to fetch their metadata.
pub fn agents_named(files: &[SourceFile]) -> BTreeSet<String> {
    let files = in_order(files);
    let mut report = Report::new(Purpose::Run, &files);
    let documents = parse_all(&files, &mut report);
    let documents = overlay::render(&files, documents, &mut report);
    let agents = documents.iter().filter_map(|(_, document)| document.root.at(&["spec", "agent"]));
    let wanted = |name: &&str| match name.parse() {
        Ok(crate::model::AgentRef::Ocf { .. }) => true,
        Ok(crate::model::AgentRef::Systemd { .. } | crate::model::AgentRef::Foreign { .. }) => false,
        // Names become programs to run: nothing that leads elsewhere.
        Err(_) => name.starts_with("fence_") && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c)),
    };
    agents.filter_map(Node::as_str).filter(wanted).map(str::to_owned).collect()
}

fn in_order(files: &[SourceFile]) -> Vec<&SourceFile> {
    let mut files: Vec<&SourceFile> = files.iter().collect();
    files.sort_by(|a, b| (&a.path, &a.bytes).cmp(&(&b.path, &b.bytes)));
    files
}

fn parse_all(files: &[&SourceFile], report: &mut Report) -> Vec<(usize, YamlDocument)> {
    let mut documents = Vec::new();
    for (place, file) in files.iter().enumerate().filter(|(_, file)| !sops::is_sops(file)) {
        documents.extend(tree::parse(place, &file.bytes, report).into_iter().map(|document| (place, document)));
    }
    documents
}
