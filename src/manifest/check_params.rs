//! Do agents have the parameters they are given, with values that they understand?
//!
//! Input → output: one document and the metadata of its agent → findings. Agents without parameters in their metadata are
//! not judged.
//!
//! Deliberately absent: what values mean to the agent; that it says itself (`validate-all`), where it is installed.

use super::document::Doc;
use super::explain::Code;
use super::raw::{RawFencingDevice, RawResource};
use super::report::Report;
use crate::model::{AgentCatalogue, AgentMetadata, ParameterKind, ParameterMeta, suggest};
use std::collections::BTreeMap;

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

/// The parameters of one resource or device beside what its agent says.
struct Params<'a> {
    doc: &'a Doc,
    agent: &'a str,
    metadata: &'a AgentMetadata,
    /// The package of the snapshot that the metadata is from; none if the agent itself said it.
    package: Option<&'a String>,
}

impl Params<'_> {
    fn of_agent(&self) -> String {
        match self.package {
            Some(package) => format!("`{}` ({package})", self.agent),
            None => format!("`{}`", self.agent),
        }
    }

    fn unknown(&self, section: &str, key: &str, report: &mut Report) {
        let names: Vec<&str> = self.metadata.parameters.keys().map(String::as_str).collect();
        let help = match suggest::nearest(key, names.iter().copied()) {
            Some(word) => format!("did you mean `{word}`?"),
            None if names.len() <= FEW => format!("its parameters are {}", names.join(", ")),
            None => "remove it; agents ignore what they do not know".to_owned(),
        };
        let message = format!("{} has no parameter `{key}`", self.of_agent());
        report.add(Code::UnknownParameter, self.doc.file, self.doc.key_span(&[section, key]), message, Some(help));
    }

    fn missing(&self, key: &str, meta: &ParameterMeta, report: &mut Report) {
        let what = if meta.shortdesc.is_empty() { String::new() } else { format!(": {}", meta.shortdesc) };
        let message = format!("{} needs the parameter `{key}`{what}", self.of_agent());
        let help = format!("add it, as in `params: {{ {key}: … }}`");
        report.add(Code::MissingParameter, self.doc.file, self.doc.span(&["agent"]), message, Some(help));
    }

    /// Whether the agent would understand the value.
    fn value(&self, key: &str, value: &str, meta: &ParameterMeta, report: &mut Report) {
        if meta.kind.takes(value) {
            return;
        }
        let (wanted, help) = match &meta.kind {
            ParameterKind::Text => return,
            ParameterKind::Integer => ("a whole number", "write digits, such as `\"5\"`".to_owned()),
            ParameterKind::Boolean => ("yes or no", "write `\"true\"` or `\"false\"`".to_owned()),
            ParameterKind::Seconds => ("a number of seconds", "write digits, such as `\"20\"`".to_owned()),
            ParameterKind::Choice(words) => {
                let help = match suggest::nearest(value, words.iter().map(String::as_str)) {
                    Some(word) => format!("did you mean `{word}`?"),
                    None => format!("one of {}", words.join(", ")),
                };
                ("one of its words", help)
            }
        };
        let message = format!("`{key}` of {} takes {wanted}, not `{value}`", self.of_agent());
        report.add(Code::WrongParameter, self.doc.file, self.doc.span(&["params", key]), message, Some(help));
    }
}

/// So many parameters are named where nothing similar is found.
const FEW: usize = 12;

pub(super) fn resource_params(
    doc: &Doc,
    resource: &RawResource,
    metadata: &AgentMetadata,
    catalogue: &AgentCatalogue,
    report: &mut Report,
) {
    if metadata.parameters.is_empty() {
        return;
    }
    let agent = resource.agent.as_str();
    let checked = Params { doc, agent, metadata, package: catalogue.bundled.get(agent) };
    for (key, value) in resource.params.iter().flatten() {
        match metadata.parameters.get(key) {
            Some(meta) => checked.value(key, &value.0, meta, report),
            None if TRACING.contains(&key.as_str()) => {}
            None => checked.unknown("params", key, report),
        }
    }
    for key in resource.secrets.iter().flat_map(BTreeMap::keys).filter(|key| !metadata.parameters.contains_key(*key)) {
        checked.unknown("secrets", key, report);
    }
    let given = |name: &str| {
        resource.params.as_ref().is_some_and(|params| params.contains_key(name))
            || resource.secrets.as_ref().is_some_and(|secrets| secrets.contains_key(name))
    };
    for (key, meta) in &metadata.parameters {
        if meta.must_be_given() && !given(key) {
            checked.missing(key, meta, report);
        }
    }
}

pub(super) fn device_params(
    doc: &Doc,
    device: &RawFencingDevice,
    metadata: &AgentMetadata,
    catalogue: &AgentCatalogue,
    report: &mut Report,
) {
    if metadata.parameters.is_empty() {
        return;
    }
    let agent = device.agent.as_str();
    let checked = Params { doc, agent, metadata, package: catalogue.bundled.get(agent) };
    for (key, value) in device.params.iter().flatten() {
        match metadata.parameters.get(key) {
            Some(meta) => checked.value(key, &value.0, meta, report),
            None => checked.unknown("params", key, report),
        }
    }
    for key in device.secrets.iter().flat_map(BTreeMap::keys).filter(|key| !metadata.parameters.contains_key(*key)) {
        checked.unknown("secrets", key, report);
    }
    let given = |name: &str| {
        device.params.as_ref().is_some_and(|params| params.contains_key(name))
            || device.secrets.as_ref().is_some_and(|secrets| secrets.contains_key(name))
    };
    let is_old = |name: &str| OLD_NAMES.iter().any(|(_, old)| *old == name);
    let has_old = |name: &str| OLD_NAMES.iter().any(|(new, old)| *new == name && given(old));
    for (key, meta) in &metadata.parameters {
        let needed = meta.must_be_given() && !GIVEN.contains(&key.as_str()) && !is_old(key);
        if needed && !given(key) && !has_old(key) {
            checked.missing(key, meta, report);
        }
    }
}
