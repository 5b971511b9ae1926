//! What do these files say, and what is wrong with them.
//!
//! Input → output: files as bytes and what is known of agents → a [`Spec`] or findings, all at once, each with its
//! place and what would help.
//!
//! The steps: `tree` reads YAML and remembers where everything stands → `document` finds out what each document is,
//! with `structure` checking its fields against the schema of its kind → `references` and the `check_*` modules judge
//! names, constraints, nodes, fencing and agents → `resolve` fills in the defaults.
//!
//! Invariants: there is a spec if and only if no finding is an error; the same files in another order give the same
//! answer; no input panics, and every size is bounded.
//!
//! Deliberately absent: reading folders (the caller does), running agents for their metadata (the caller does, for
//! the names that [`agents_named`] returns).

mod check_agents;
mod check_constraints;
mod check_cycles;
mod check_fencing;
mod check_nodes;
mod check_resources;
mod document;
mod eligibility;
pub mod explain;
mod pairs;
mod raw;
mod references;
mod report;
mod resolve;
mod rules;
mod scalar;
mod schema;
mod structure;
mod topology;
mod tree;
mod values;

#[cfg(test)]
mod tests;

pub use schema::{API_VERSION, schema};

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
    /// Ordered by file and place.
    pub diagnostics: Vec<Diagnostic>,
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
    let tree = document::read(documents, &mut report);
    references::check(&tree, &mut report);
    let topology = Topology::of(&tree);
    check_nodes::check(&tree, &mut report);
    check_resources::check(&tree, &topology, &mut report);
    check_fencing::check(&tree, &topology, &mut report);
    check_constraints::check(&tree, &topology, &mut report);
    check_cycles::check(&tree, &topology, &mut report);
    check_agents::check(&tree, &topology, catalogue, &mut report);
    let spec = if report.has_errors() { None } else { resolve::resolve(&tree, &topology, &files, catalogue) };
    Loaded { spec, diagnostics: report.finish() }
}

/// The agents that the files name (`ocf:PROVIDER:TYPE`, `fence_…`), for the caller to fetch their metadata.
pub fn agents_named(files: &[SourceFile]) -> BTreeSet<String> {
    let files = in_order(files);
    let documents = parse_all(&files, &mut Report::new(Purpose::Run, &files));
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
    for (place, file) in files.iter().enumerate() {
        documents.extend(tree::parse(place, &file.bytes, report).into_iter().map(|document| (place, document)));
    }
    documents
}
