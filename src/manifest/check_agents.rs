//! Do the agents exist, and do they have the parameters they are given?
//!
//! Input → output: a [`Tree`] and what is installed where it is checked → findings. Of agents whose provider has
//! nothing installed here nothing is said: unknown is not wrong.

use super::document::{Doc, Tree};
use super::explain::Code;
use super::raw::{RawFencingDevice, RawResource};
use super::report::Report;
use super::resolve::{Chain, DEFAULT_TIMEOUT};
use super::structure::FOREIGN_DEVICE;
use super::topology::Topology;
use crate::model::{AgentCatalogue, AgentMetadata, AgentRef, OpName, duration, suggest};
use std::collections::{BTreeMap, BTreeSet};

/// Parameters that the shell library of the agents reads for all of them.
const TRACING: [&str; 3] = ["trace_ra", "trace_file", "trace_dir"];
/// Parameters of fence agents that are given by whoever runs them.
const GIVEN: [&str; 4] = ["action", "plug", "port", "nodename"];
/// Names of fence parameters and the older names that the agents still take.
const OLD_NAMES: [(&str, &str); 7] = [
    ("ip", "ipaddr"),
    ("username", "login"),
    ("password", "passwd"),
    ("password_script", "passwd_script"),
    ("ssh", "secure"),
    ("plug", "port"),
    ("ipport", "udpport"),
];

pub(super) fn check(tree: &Tree, topology: &Topology, catalogue: &AgentCatalogue, report: &mut Report) {
    let mut known = Known { catalogue, families: families(catalogue), suggestions: BTreeMap::new() };
    for (doc, resource) in tree.resources() {
        if resource.agent.parse::<AgentRef>().is_ok_and(|agent| !agent.runs()) {
            foreign(doc, &resource.agent, report);
        }
        known.installed(doc, &resource.agent, report);
        if let Some(metadata) = catalogue.metadata.get(&resource.agent) {
            resource_params(doc, resource, metadata, report);
            timeouts(doc, resource, tree, topology, metadata, report);
        }
    }
    unique_params(tree, catalogue, report);
    for (doc, device) in tree.devices() {
        if device.agent.starts_with(FOREIGN_DEVICE) {
            foreign(doc, &device.agent, report);
        }
        known.installed(doc, &device.agent, report);
        if let Some(metadata) = catalogue.metadata.get(&device.agent) {
            device_params(doc, device, metadata, report);
        }
    }
}

fn foreign(doc: &Doc, agent: &str, report: &mut Report) {
    let message = format!("`{agent}` is planned for, but not run");
    let help = "write an `ocf:` or `systemd:` agent, or a fence agent".to_owned();
    report.add(Code::ForeignAgent, doc.file, doc.span(&["agent"]), message, Some(help));
}

/// What agents of one sort have in common: `ocf:heartbeat:` or `fence_`.
fn family(agent: &str) -> Option<&str> {
    if agent.starts_with("fence_") {
        return Some("fence_");
    }
    let end = agent.strip_prefix("ocf:")?.find(':')?;
    agent.get(.."ocf:".len() + end + 1)
}

/// The names installed of each family, without the part they share.
fn families(catalogue: &AgentCatalogue) -> BTreeMap<&str, Vec<&str>> {
    let mut families: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for agent in &catalogue.installed {
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
        if self.catalogue.installed.contains(agent) || self.catalogue.metadata.contains_key(agent) {
            return;
        }
        let name = &agent[family.len()..];
        let near = self.suggestions.entry(agent.to_owned()).or_insert_with(|| {
            suggest::nearest(name, installed.iter().copied()).map(|near| format!("did you mean `{family}{near}`?"))
        });
        // Fence agents come in many packages: having one says little about another, unless it looks like a slip.
        let code = if family == "fence_" && near.is_none() { Code::UnknownFenceAgent } else { Code::UnknownAgent };
        let message = format!("there is no agent `{agent}` here");
        report.add(code, doc.file, doc.span(&["agent"]), message, near.clone());
    }
}

fn unknown_param(doc: &Doc, section: &str, key: &str, metadata: &AgentMetadata, agent: &str, report: &mut Report) {
    let names = metadata.parameters.keys().map(String::as_str);
    let help = suggest::nearest(key, names).map(|word| format!("did you mean `{word}`?"));
    let message = format!("`{agent}` has no parameter `{key}`");
    report.add(Code::UnknownParameter, doc.file, doc.key_span(&[section, key]), message, help);
}

fn resource_params(doc: &Doc, resource: &RawResource, metadata: &AgentMetadata, report: &mut Report) {
    if metadata.parameters.is_empty() {
        return;
    }
    let given: BTreeSet<&str> = resource.params.iter().flat_map(BTreeMap::keys).map(String::as_str).collect();
    for key in given.iter().filter(|key| !metadata.parameters.contains_key(**key) && !TRACING.contains(key)) {
        unknown_param(doc, "params", key, metadata, &resource.agent, report);
    }
    for (key, meta) in &metadata.parameters {
        if meta.must_be_given() && !given.contains(key.as_str()) {
            missing(doc, key, &meta.shortdesc, &resource.agent, report);
        }
    }
}

fn missing(doc: &Doc, key: &str, shortdesc: &str, agent: &str, report: &mut Report) {
    let help = if shortdesc.is_empty() { String::new() } else { format!(" ({shortdesc})") };
    let message = format!("`{agent}` needs the parameter `{key}`{help}");
    report.add(Code::MissingParameter, doc.file, doc.span(&["agent"]), message, None);
}

fn device_params(doc: &Doc, device: &RawFencingDevice, metadata: &AgentMetadata, report: &mut Report) {
    if metadata.parameters.is_empty() {
        return;
    }
    let params = device.params.iter().flat_map(BTreeMap::keys).map(|key| ("params", key.as_str()));
    let secrets = device.secrets.iter().flat_map(BTreeMap::keys).map(|key| ("secrets", key.as_str()));
    let given: Vec<(&str, &str)> = params.chain(secrets).collect();
    for (section, key) in given.iter().filter(|(_, key)| !metadata.parameters.contains_key(*key)) {
        unknown_param(doc, section, key, metadata, &device.agent, report);
    }
    let has = |name: &str| given.iter().any(|(_, key)| *key == name);
    let is_old = |name: &str| OLD_NAMES.iter().any(|(_, old)| *old == name);
    let has_old = |name: &str| OLD_NAMES.iter().any(|(new, old)| *new == name && has(old));
    for (key, meta) in &metadata.parameters {
        let needed = meta.must_be_given() && !GIVEN.contains(&key.as_str()) && !is_old(key);
        if needed && !has(key) && !has_old(key) {
            missing(doc, key, &meta.shortdesc, &device.agent, report);
        }
    }
}

/// Notes that the agent's authors suggest more time than the default gives.
fn timeouts(
    doc: &Doc,
    resource: &RawResource,
    tree: &Tree,
    topology: &Topology,
    metadata: &AgentMetadata,
    report: &mut Report,
) {
    let chain = Chain::of(tree, topology, &doc.name, resource);
    let mut operations = vec![OpName::Start, OpName::Stop, OpName::Monitor];
    if topology.is_promotable(&doc.name) {
        operations.extend([OpName::Promote, OpName::Demote]);
    }
    let mut longer = Vec::new();
    for name in operations {
        let suggested = metadata.actions.get(&name.to_string()).and_then(|action| action.timeout);
        let written = chain.operation(name).is_some_and(|operation| operation.timeout.is_some());
        if let Some(suggested) = suggested.filter(|suggested| *suggested > DEFAULT_TIMEOUT && !written) {
            longer.push(format!("{name}: {{ timeout: {} }}", duration::format(suggested)));
        }
    }
    if !longer.is_empty() {
        let message = format!("`{}` suggests longer time-outs than the default of 20s", resource.agent);
        let help = format!("write `operations: {{ {} }}`", longer.join(", "));
        report.add(Code::ShortTimeout, doc.file, doc.span(&["agent"]), message, Some(help));
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
