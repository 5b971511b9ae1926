//! Do the agents exist, and are the time-outs those that they need?
//!
//! Input → output: a [`Tree`] and what is known of agents where it is checked → findings. Of agents whose provider is
//! neither installed here nor in the snapshot (`bundled`) nothing is said: unknown is not wrong. Parameters are judged in `check_params`.

use super::check_fencing;
use super::check_params::{device_params, resource_params};
use super::document::{Doc, Tree};
use super::explain::Code;
use super::raw::RawResource;
use super::report::Report;
use super::resolve::{Chain, DEFAULT_TIMEOUT};
use super::structure::FOREIGN_DEVICE;
use super::topology::Topology;
use crate::model::{AgentCatalogue, AgentMetadata, AgentRef, OpName, duration, suggest};
use std::collections::BTreeMap;

pub(super) fn check(tree: &Tree, topology: &Topology, catalogue: &AgentCatalogue, report: &mut Report) {
    let mut known = Known { catalogue, families: families(catalogue), suggestions: BTreeMap::new() };
    for (doc, resource) in tree.resources() {
        if resource.agent.parse::<AgentRef>().is_ok_and(|agent| !agent.runs()) {
            foreign(doc, &resource.agent, report);
        }
        known.installed(doc, &resource.agent, report);
        if let Some(metadata) = catalogue.metadata.get(&resource.agent) {
            resource_params(doc, resource, metadata, catalogue, report);
            let chain = Chain::of(tree, topology, &doc.name, resource);
            let migratable = chain.first(|level| level.migratable).unwrap_or(false);
            timeouts(doc, &chain, (resource, topology.is_promotable(&doc.name), migratable), metadata, report);
            if migratable {
                migration(doc, &resource.agent, metadata, report);
            }
        }
    }
    unique_params(tree, catalogue, report);
    for (doc, device) in tree.devices() {
        if device.agent.starts_with(FOREIGN_DEVICE) {
            foreign(doc, &device.agent, report);
        }
        known.installed(doc, &device.agent, report);
        if let Some(metadata) = catalogue.metadata.get(&device.agent) {
            device_params(doc, device, metadata, catalogue, report);
            if !catalogue.bundled.contains_key(&device.agent) {
                check_fencing::readable(doc, device, metadata, report);
            }
        }
    }
}

fn foreign(doc: &Doc, agent: &str, report: &mut Report) {
    let message = format!("`{agent}` is planned for, but not run");
    let help = "write an `ocf:` or `systemd:` agent, or a fence agent".to_owned();
    report.add(Code::ForeignAgent, doc.file, doc.span(&["agent"]), message, Some(help));
}

/// What agents of one sort have in common: `ocf:heartbeat:` or `fence_`.
pub(super) fn family(agent: &str) -> Option<&str> {
    if agent.starts_with("fence_") {
        return Some("fence_");
    }
    let end = agent.strip_prefix("ocf:")?.find(':')?;
    agent.get(.."ocf:".len() + end + 1)
}

/// The names known of each family, without the part they share.
fn families(catalogue: &AgentCatalogue) -> BTreeMap<&str, Vec<&str>> {
    let mut families: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for agent in catalogue.installed.iter().chain(catalogue.bundled.keys()) {
        if let Some(family) = family(agent) {
            families.entry(family).or_default().push(&agent[family.len()..]);
        }
    }
    families
}

struct Known<'a> {
    catalogue: &'a AgentCatalogue,
    families: BTreeMap<&'a str, Vec<&'a str>>,
    /// Computed once per unknown name, since it compares with all of them.
    suggestions: BTreeMap<String, Option<String>>,
}

impl Known<'_> {
    fn installed(&mut self, doc: &Doc, agent: &str, report: &mut Report) {
        let Some(family) = family(agent) else { return };
        let Some(installed) = self.families.get(family) else { return };
        let catalogue = self.catalogue;
        if catalogue.installed.contains(agent)
            || catalogue.metadata.contains_key(agent)
            || catalogue.bundled.contains_key(agent)
        {
            return;
        }
        let here = catalogue.installed.iter().any(|other| other.starts_with(family));
        let name = &agent[family.len()..];
        let near = self.suggestions.entry(agent.to_owned()).or_insert_with(|| {
            suggest::nearest(name, installed.iter().copied()).map(|near| format!("did you mean `{family}{near}`?"))
        });
        let package = catalogue.bundled.iter().find(|(other, _)| other.starts_with(family)).map(|(_, package)| package);
        let (code, message) = match package.filter(|_| !here) {
            // The snapshot is of one version: others may have more agents, unless it looks like a slip.
            Some(package) if near.is_none() => {
                (Code::UnpackagedAgent, format!("`{agent}` is not among the agents of {package}"))
            }
            Some(package) => (Code::UnknownAgent, format!("there is no agent `{agent}` in {package}")),
            // Fence agents come in many packages: having one says little about another, unless it looks like a slip.
            None if family == "fence_" && near.is_none() => {
                (Code::UnknownFenceAgent, format!("there is no agent `{agent}` here"))
            }
            None => (Code::UnknownAgent, format!("there is no agent `{agent}` here")),
        };
        report.add(code, doc.file, doc.span(&["agent"]), message, near.clone());
    }
}

/// Notes that the agent's authors suggest more time than is written, or than the default gives.
fn timeouts(
    doc: &Doc,
    chain: &Chain<'_>,
    (resource, promotable, migratable): (&RawResource, bool, bool),
    metadata: &AgentMetadata,
    report: &mut Report,
) {
    // As manifests and as agents call them.
    let mut operations = vec![(OpName::Start, "start"), (OpName::Stop, "stop"), (OpName::Monitor, "monitor")];
    if promotable {
        operations.extend([(OpName::Promote, "promote"), (OpName::Demote, "demote")]);
    }
    if migratable {
        operations.extend([(OpName::MigrateTo, "migrate_to"), (OpName::MigrateFrom, "migrate_from")]);
    }
    let mut longer = Vec::new();
    for (name, action) in operations {
        let name_text = name.to_string();
        let Some(suggested) = metadata.actions.get(action).and_then(|action| action.timeout) else { continue };
        let written = chain.operation(name).and_then(|operation| operation.timeout).map(|time| time.0);
        match written {
            None if suggested > DEFAULT_TIMEOUT => {
                longer.push(format!("{name}: {{ timeout: {} }}", duration::format(suggested)));
            }
            Some(written) if written < suggested => {
                let suggested = duration::format(suggested);
                let message = format!(
                    "`{}` suggests {suggested} for `{name}`, not {}",
                    resource.agent,
                    duration::format(written)
                );
                let help = match name {
                    OpName::Stop => format!("write `timeout: {suggested}`; a stop that takes too long fences its node"),
                    _ => format!("write `timeout: {suggested}`, or waive this if you have measured it"),
                };
                let span = doc.span(&["operations", &name_text, "timeout"]);
                report.add(Code::TightTimeout, doc.file, span, message, Some(help));
            }
            None | Some(_) => {}
        }
    }
    if !longer.is_empty() {
        let message = format!("`{}` suggests longer time-outs than the default of 20s", resource.agent);
        let help = format!("write `operations: {{ {} }}`", longer.join(", "));
        report.add(Code::ShortTimeout, doc.file, doc.span(&["agent"]), message, Some(help));
    }
}

/// Warns where the agent cannot do what `migratable` asks for.
fn migration(doc: &Doc, agent: &str, metadata: &AgentMetadata, report: &mut Report) {
    let lacks: Vec<&str> =
        ["migrate_to", "migrate_from"].into_iter().filter(|action| !metadata.actions.contains_key(*action)).collect();
    if !lacks.is_empty() {
        let message = format!("`{agent}` has no `{}`, so each migration would fail", lacks.join("` and no `"));
        let help = "leave `migratable` out: it is stopped and started then".to_owned();
        report.add(Code::NotMigratable, doc.file, doc.span(&["migratable"]), message, Some(help));
    }
}

/// Warns of two resources with the same value for a parameter that the agent calls unique.
fn unique_params(tree: &Tree, catalogue: &AgentCatalogue, report: &mut Report) {
    let mut first: BTreeMap<(&str, &str, &str), &Doc> = BTreeMap::new();
    for (doc, resource) in tree.resources() {
        let Some(metadata) = catalogue.metadata.get(&resource.agent) else { continue };
        for (key, value) in resource.params.iter().flatten() {
            if !metadata.parameters.get(key).is_some_and(|meta| meta.unique) {
                continue;
            }
            match first.get(&(resource.agent.as_str(), key.as_str(), value.0.as_str())) {
                Some(other) => {
                    let message = format!("`{}` already has `{key}: {}`, which must be unique", other.name, value.0);
                    report.add(Code::SharedUnique, doc.file, doc.span(&["params", key]), message, None);
                }
                None => {
                    first.insert((&resource.agent, key, &value.0), doc);
                }
            }
        }
    }
}
