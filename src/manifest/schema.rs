//! JSON Schemas of the manifests, generated from the types that read them.
//!
//! Input → output: nothing → one schema per kind and one for all (`manifest.json`), by file name. Editors use them;
//! `structure` checks documents against them; `schemas/` in the repository holds a copy that a test keeps current.
//!
//! Invariant: the schemas never allow `null`, since a field that is written without a value is refused. Those in files
//! allow `${name}` wherever a value of a variable can be: editors see documents before their overlay is applied.

use super::{overlay, raw};
use crate::model::Kind;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The `apiVersion` of every document.
pub const API_VERSION: &str = "hafen/v1alpha1";

/// The schemas and the definitions they refer to.
pub(super) struct Schemas {
    /// Of whole documents, by kind.
    kinds: BTreeMap<Kind, Value>,
    definitions: Map<String, Value>,
}

impl Schemas {
    pub fn generate() -> Self {
        let mut generator = SchemaSettings::draft2020_12().for_deserialize().into_generator();
        let metadata = generator.subschema_for::<raw::RawMetadata>();
        let mut kinds = BTreeMap::new();
        for kind in Kind::ALL {
            let spec = match kind {
                Kind::Cluster => generator.subschema_for::<raw::RawCluster>(),
                Kind::Node => generator.subschema_for::<raw::RawNode>(),
                Kind::FencingDevice => generator.subschema_for::<raw::RawFencingDevice>(),
                Kind::Resource => generator.subschema_for::<raw::RawResource>(),
                Kind::Group => generator.subschema_for::<raw::RawGroup>(),
                Kind::Clone => generator.subschema_for::<raw::RawClone>(),
                Kind::Bundle => generator.subschema_for::<raw::RawBundle>(),
                Kind::Order => generator.subschema_for::<raw::RawOrder>(),
                Kind::Colocation => generator.subschema_for::<raw::RawColocation>(),
                Kind::Location => generator.subschema_for::<raw::RawLocation>(),
                Kind::Ticket => generator.subschema_for::<raw::RawTicket>(),
                Kind::Scenario => generator.subschema_for::<raw::RawScenario>(),
                Kind::Overlay => generator.subschema_for::<overlay::RawOverlay>(),
            };
            let document = json!({
                "type": "object",
                "properties": {
                    "apiVersion": { "const": API_VERSION },
                    "kind": { "const": kind.as_str() },
                    "metadata": metadata,
                    "spec": spec,
                },
                "required": ["apiVersion", "kind", "metadata", "spec"],
                "additionalProperties": false,
            });
            kinds.insert(kind, document);
        }
        let mut definitions = generator.take_definitions(true);
        definitions.values_mut().for_each(forbid_null);
        Self { kinds, definitions }
    }

    pub fn kind(&self, kind: Kind) -> &Value {
        // Every kind is in the map (`generate`); `Null` as a schema allows nothing.
        self.kinds.get(&kind).unwrap_or(&Value::Null)
    }

    /// Follows `$ref`s and single-element `anyOf`s.
    pub fn deref<'a>(&'a self, mut schema: &'a Value) -> &'a Value {
        // References do not nest deeper than the types do.
        for _ in 0..8 {
            let target = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix("#/$defs/"));
            match (target.and_then(|name| self.definitions.get(name)), schema.get("anyOf").and_then(Value::as_array)) {
                (Some(definition), _) => schema = definition,
                (None, Some(only)) if only.len() == 1 => schema = &only[0],
                (None, _) => break,
            }
        }
        schema
    }
}

/// JSON Schemas by file name: one per kind, and `manifest.json` for all of them.
pub fn schema() -> BTreeMap<String, Value> {
    let mut schemas = Schemas::generate();
    for (name, definition) in &mut schemas.definitions {
        if !OF_OVERLAYS.contains(&name.as_str()) {
            admit_references(definition);
        }
    }
    schemas.definitions.insert(
        REFERENCE.into(),
        json!({ "description": "A variable of an Overlay.", "type": "string", "pattern": "\\$\\{" }),
    );
    let dialect = "https://json-schema.org/draft/2020-12/schema";
    let mut files = BTreeMap::new();
    let mut all_definitions = schemas.definitions.clone();
    let mut choices = Vec::new();
    for (kind, document) in &schemas.kinds {
        let mut file = document.clone();
        if let Value::Object(fields) = &mut file {
            fields.insert("$schema".into(), dialect.into());
            fields.insert("title".into(), format!("hafen {kind}").into());
            fields.insert("$defs".into(), Value::Object(reachable(document, &schemas.definitions)));
        }
        files.insert(format!("{}.json", kind.as_str().to_lowercase()), file);
        all_definitions.insert(kind.as_str().into(), document.clone());
        choices.push(json!({ "$ref": format!("#/$defs/{kind}") }));
    }
    let manifest = json!({ "$schema": dialect, "title": "hafen manifest", "oneOf": choices, "$defs": all_definitions });
    files.insert("manifest.json".into(), manifest);
    files
}

/// The definitions that a schema refers to, directly or not.
fn reachable(schema: &Value, definitions: &Map<String, Value>) -> Map<String, Value> {
    let mut found = Map::new();
    let mut queue = vec![schema];
    while let Some(value) = queue.pop() {
        match value {
            Value::Object(fields) => {
                let name = fields.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix("#/$defs/"));
                if let Some((name, definition)) = name.and_then(|name| definitions.get_key_value(name))
                    && found.insert(name.clone(), definition.clone()).is_none()
                {
                    queue.push(definition);
                }
                queue.extend(fields.values());
            }
            Value::Array(items) => queue.extend(items),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    found
}

/// The definition of what stands for a value of a variable.
const REFERENCE: &str = "Reference";
/// Definitions of Overlay documents, whose own fields have no variables.
const OF_OVERLAYS: [&str; 5] = ["RawOverlay", "RawVariable", "VariableType", "RawPatch", "RawTarget"];

/// Lets `${name}` stand where a single value or a list of them does, unless any text may stand there anyway.
fn admit_references(schema: &mut Value) {
    let Value::Object(fields) = schema else { return };
    let of_type = |name: &str| fields.get("type").and_then(Value::as_str) == Some(name);
    let narrow = ["pattern", "enum", "format"].iter().any(|key| fields.contains_key(*key));
    let words = fields.contains_key("oneOf") || (fields.contains_key("enum") && !of_type("object"));
    let single = words || of_type("integer") || of_type("boolean") || of_type("array") || (of_type("string") && narrow);
    let any_text = fields.get("pattern").and_then(Value::as_str) == Some("^");
    // The insides first: what is wrapped is not looked into again.
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = fields.get_mut(key) {
            admit_references(inner);
        }
    }
    if let Some(Value::Array(choices)) = fields.get_mut("anyOf") {
        choices.iter_mut().for_each(admit_references);
    }
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        properties.values_mut().for_each(admit_references);
    }
    if single && !any_text {
        let description = fields.remove("description");
        let reference = json!({ "$ref": format!("#/$defs/{REFERENCE}") });
        let mut wrapped = json!({ "anyOf": [schema.take(), reference] });
        if let (Some(description), Value::Object(fields)) = (description, &mut wrapped) {
            fields.insert("description".into(), description);
        }
        *schema = wrapped;
    }
}

/// Takes `null` out of what is allowed: schemars adds it for every `Option`.
fn forbid_null(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::Array(types)) = fields.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    fields.insert("type".into(), only);
                }
            }
            if let Some(Value::Array(choices)) = fields.get_mut("anyOf") {
                choices.retain(|choice| choice.get("type") != Some(&Value::from("null")));
            }
            fields.values_mut().for_each(forbid_null);
        }
        Value::Array(items) => items.iter_mut().for_each(forbid_null),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_in_the_repository_are_current() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
        for (name, schema) in schema() {
            let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
            let path = folder.join(&name);
            if std::env::var_os("UPDATE_EXPECT").is_some() {
                std::fs::write(&path, &text).unwrap();
            }
            let stored = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(stored == text, "schemas/{name} is out of date: run this test with UPDATE_EXPECT=1");
        }
    }
}
