//! A running cluster as a document that may leave it: with what it follows, and without secrets.
//!
//! Input → output: a [`State`] and what the target's manifests say → a [`StateDocument`] in which every value under a
//! name that speaks of secrets, every password within an address or a setting, and every repetition of these is
//! [`HIDDEN`]. And back: what is hidden is taken to be what the manifests say that it is read beside, where the rest fits.
//!
//! Invariant: beside the target's own manifests it is the same state again, as far as a document goes.
//!
//! Deliberately absent: finding secrets under harmless names.

use super::query::definition_of;
use super::target::spec_to_chunks;
use super::{DocumentError, State, StateDocument, Target};
use crate::model::secret::{HIDDEN, Secrets};
use crate::model::{AgentRef, AgentTraits, Definition, Listing, LogIndex, Revision, Spec};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Fields of documents that hold what people or agents said.
const WORDS: [&str; 8] = ["text", "reason", "why", "lastFailure", "last_failure", "Failed", "Unknown", "by"];

/// What a cluster follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetEntry {
    pub revision: Revision,
    pub accepted_at: LogIndex,
    pub accepted_ms: u64,
    pub by: String,
    /// Its manifests, resolved.
    pub spec: Spec,
    /// What the agents they name say of themselves.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub agents: BTreeMap<AgentRef, AgentTraits>,
    /// The manifests as they are written, with their places.
    #[serde(default)]
    pub documents: Listing,
}

impl TargetEntry {
    /// Takes it as what the state follows.
    pub(super) fn enter(&self, state: &mut State) -> Spec {
        let spec = Spec { agents: self.agents.clone(), ..self.spec.clone() };
        for name in spec.resources.keys() {
            if let Some(definition) = definition_of(&spec, name) {
                let digest = state.define(definition);
                state.current.insert(name.clone(), digest);
            }
        }
        let (digest, _) = spec_to_chunks(&spec);
        state.target = Some(Target {
            revision: self.revision.clone(),
            spec: digest,
            accepted_at: self.accepted_at,
            accepted_ms: self.accepted_ms,
            by: self.by.clone(),
        });
        state.specs.insert(digest, Arc::new(spec.clone()));
        spec
    }
}

impl StateDocument {
    /// A state with what it follows, fit to be given away. `documents`: what the target's manifests say.
    ///
    /// # Errors
    /// What was covered cannot be read again: a covered text was none that may be anything.
    pub fn export(state: &State, documents: &Listing) -> Result<Self, DocumentError> {
        let mut document = Self::of(state);
        document.target = state.target.as_ref().zip(state.spec()).map(|(target, spec)| TargetEntry {
            revision: target.revision.clone(),
            accepted_at: target.accepted_at,
            accepted_ms: target.accepted_ms,
            by: target.by.clone(),
            spec: Spec::clone(spec),
            agents: spec.agents.clone(),
            documents: documents.redacted(),
        });
        let params = state.definitions.values().flat_map(|definition| &definition.resource.params);
        let devices = state.spec().into_iter().flat_map(|spec| spec.devices.values());
        let pairs = params.chain(devices.flat_map(|device| &device.params));
        let fields = pairs.map(|(name, text)| (name.as_str(), text.as_str())).chain(documents.fields());
        let secrets = Secrets::among(fields);
        let json = |error: serde_json::Error| DocumentError::Json(error.to_string());
        document.unseal();
        let mut covered = serde_json::to_value(&document).map_err(json)?;
        cover(&mut covered, "", Place::Field, &secrets);
        serde_json::from_value(covered).map_err(json)
    }

    /// Leaves ciphertext out: it needs no key to be kept until one is found. What it is compared by stays.
    fn unseal(&mut self) {
        let definitions = self.claims.iter_mut().flat_map(|claim| claim.definition.iter_mut().chain(&mut claim.reload));
        let claimed = definitions.map(|definition| &mut definition.resource.secrets);
        let specs = self.target.iter_mut().map(|target| &mut target.spec);
        let followed = specs.flat_map(|spec| {
            let resources = spec.resources.values_mut().map(|resource| &mut resource.secrets);
            resources.chain(spec.devices.values_mut().map(|device| &mut device.secrets))
        });
        let documents = self.nodes.values_mut().filter_map(|node| node.document.as_mut());
        let devices = documents.flat_map(|document| document.devices.values_mut().map(|device| &mut device.secrets));
        for secret in claimed.chain(followed).chain(devices).flat_map(|secrets| secrets.values_mut()) {
            *secret = secret.redacted();
        }
    }

    /// What is hidden, as these manifests say it.
    pub(super) fn reveal(&mut self, spec: &Spec) {
        let definitions = self.claims.iter_mut().flat_map(|claim| {
            let name = claim.instance.resource.clone();
            let all = claim.definition.iter_mut().chain(&mut claim.reload);
            all.map(move |definition| (name.clone(), definition)).collect::<Vec<(_, &mut Definition)>>()
        });
        let claimed = definitions.map(|(name, definition)| (name, &mut definition.resource.params));
        let followed = self.target.iter_mut().flat_map(|target| &mut target.spec.resources);
        let followed = followed.map(|(name, resource)| (name.clone(), &mut resource.params));
        for (name, params) in claimed.chain(followed) {
            if let Some(now) = spec.resources.get(&name) {
                reveal(params, &now.params);
            }
        }
        for (name, device) in self.target.iter_mut().flat_map(|target| &mut target.spec.devices) {
            if let Some(now) = spec.devices.get(name) {
                reveal(&mut device.params, &now.params);
            }
        }
    }
}

fn reveal(params: &mut BTreeMap<String, String>, now: &BTreeMap<String, String>) {
    let secrets = Secrets::among(now.iter().map(|(name, text)| (name.as_str(), text.as_str())));
    for (name, text) in params.iter_mut().filter(|(_, text)| text.contains(HIDDEN)) {
        if let Some(known) = now.get(name).filter(|known| secrets.shown(name, known) == *text) {
            *text = known.clone();
        }
    }
}

/// Where in a document a text stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A field of ours.
    Field,
    /// Below what maps names that people and agents gave to texts of theirs.
    Given,
}

/// Bounded by the depth of our types.
fn cover(value: &mut Value, name: &str, place: Place, secrets: &Secrets) {
    match value {
        Value::String(text) if place == Place::Given || WORDS.contains(&name) => *text = secrets.shown(name, text),
        // Names, states and places of ours.
        Value::String(text) => *text = crate::model::secret::covered(text),
        Value::Array(items) => items.iter_mut().for_each(|item| cover(item, name, place, secrets)),
        Value::Object(fields) => {
            for (key, value) in fields {
                let given = matches!(name, "params" | "attributes" | "permanentAttributes" | "permanent_attributes");
                cover(value, key, if given { Place::Given } else { Place::Field }, secrets);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
