//! Manifests as they are written: every field of every document, with its place.

use super::secret::Secrets;
use super::{Kind, Origin};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The documents of a tree of manifests. Nothing is resolved: what is not written is not here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Listing {
    /// By kind, then by name.
    pub objects: BTreeMap<Kind, BTreeMap<String, ListedObject>>,
}

/// One document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListedObject {
    /// Where its name is.
    pub at: Origin,
    /// By path below `spec` (`params.ip`), or from `metadata` on (`metadata.labels.rack`).
    pub fields: BTreeMap<String, ListedField>,
}

/// A word, or a list of words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListedField {
    pub value: String,
    /// The last name of its path: what says whether it is secret.
    pub name: String,
    pub at: Origin,
}

impl Listing {
    /// Without what must not be shown.
    pub fn redacted(&self) -> Self {
        let secrets = Secrets::among(self.fields());
        let mut shown = self.clone();
        let objects = shown.objects.values_mut().flat_map(|named| named.values_mut());
        for field in objects.flat_map(|object| object.fields.values_mut()) {
            field.value = secrets.shown(&field.name, &field.value);
        }
        shown
    }

    /// The name and the value of every field.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        let fields = self.all().flat_map(|(_, _, object)| object.fields.values());
        fields.map(|field| (field.name.as_str(), field.value.as_str()))
    }

    /// All documents with their kinds and names, in order.
    pub fn all(&self) -> impl Iterator<Item = (Kind, &String, &ListedObject)> {
        self.objects.iter().flat_map(|(kind, named)| named.iter().map(move |(name, object)| (*kind, name, object)))
    }

    pub fn get(&self, kind: Kind, name: &str) -> Option<&ListedObject> {
        self.objects.get(&kind)?.get(name)
    }
}
