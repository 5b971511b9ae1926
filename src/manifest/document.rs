//! The documents of a tree, by kind and name.
//!
//! Input → output: the YAML documents of all files → a [`Tree`]: what each is, its content as raw types where it is
//! well-formed, and who has which name. Findings: unknown kinds, everything `structure` finds, names given twice.
//!
//! Invariant: a document that is not well-formed still lends its name, so that it does not make others wrong.

use super::explain::Code;
use super::raw::{self, RawMetadata};
use super::report::Report;
use super::schema::{API_VERSION, Schemas};
use super::structure;
use super::tree::{Node, Span, Value, YamlDocument};
use crate::model::{Kind, suggest};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};

/// One manifest.
pub(super) struct Doc {
    pub file: usize,
    pub root: Node,
    pub kind: Kind,
    /// Empty if it could not be read.
    pub name: String,
    pub labels: BTreeMap<String, String>,
    /// None: it has errors of its own.
    pub spec: Option<RawSpec>,
}

pub(super) enum RawSpec {
    Cluster(raw::RawCluster),
    Node(raw::RawNode),
    FencingDevice(raw::RawFencingDevice),
    Resource(raw::RawResource),
    Group(raw::RawGroup),
    Clone(raw::RawClone),
    Bundle(raw::RawBundle),
    Order(raw::RawOrder),
    Colocation(raw::RawColocation),
    Location(raw::RawLocation),
    Ticket(raw::RawTicket),
    Scenario(raw::RawScenario),
}

impl Doc {
    /// Where to point for a field below `spec`; the document's name if the field is not written.
    pub fn span(&self, path: &[&str]) -> Span {
        self.root.get("spec").and_then(|spec| spec.at(path)).map_or_else(|| self.name_span(), Node::head)
    }

    /// The key of a field below `spec`.
    pub fn key_span(&self, path: &[&str]) -> Span {
        let Some((last, parents)) = path.split_last() else { return self.name_span() };
        let parent = self.root.get("spec").and_then(|spec| spec.at(parents));
        parent.and_then(|node| node.entry(last)).map_or_else(|| self.name_span(), |entry| entry.key_span)
    }

    pub fn name_span(&self) -> Span {
        self.root.at(&["metadata", "name"]).map_or_else(|| self.root.head(), Node::head)
    }
}

/// The name spaces: resources, groups and clones share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Space {
    Resources,
    Kind(Kind),
}

fn space(kind: Kind) -> Space {
    match kind {
        Kind::Resource | Kind::Group | Kind::Clone | Kind::Bundle => Space::Resources,
        Kind::Cluster
        | Kind::Node
        | Kind::FencingDevice
        | Kind::Order
        | Kind::Colocation
        | Kind::Location
        | Kind::Ticket
        | Kind::Scenario
        | Kind::Overlay => Space::Kind(kind),
    }
}

/// All documents, in order of file and place.
pub(super) struct Tree {
    pub docs: Vec<Doc>,
    names: BTreeMap<Space, BTreeMap<String, usize>>,
    /// Kinds of which a document is not well-formed: rules about all of that kind cannot be judged.
    pub broken_kinds: BTreeSet<Kind>,
    /// Names of documents whose kind is unknown: they might be what a reference means.
    pub unclear_names: BTreeSet<String>,
    /// Some document's kind is unknown, or a file could not be read to its end.
    pub incomplete: bool,
}

macro_rules! of_kind {
    ($($method:ident: $variant:ident($raw:ident)),* $(,)?) => { $(
        /// The well-formed documents of this kind, in order of file and place.
        pub fn $method(&self) -> impl Iterator<Item = (&Doc, &raw::$raw)> {
            self.docs.iter().filter_map(|doc| match &doc.spec {
                Some(RawSpec::$variant(spec)) => Some((doc, spec)),
                _ => None,
            })
        }
    )* };
}

impl Tree {
    of_kind! {
        clusters: Cluster(RawCluster),
        nodes: Node(RawNode),
        devices: FencingDevice(RawFencingDevice),
        resources: Resource(RawResource),
        groups: Group(RawGroup),
        clones: Clone(RawClone),
        bundles: Bundle(RawBundle),
        orders: Order(RawOrder),
        colocations: Colocation(RawColocation),
        locations: Location(RawLocation),
        tickets: Ticket(RawTicket),
        scenarios: Scenario(RawScenario),
    }

    /// The document of that name; of resources, groups and clones any.
    pub fn find(&self, kind: Kind, name: &str) -> Option<&Doc> {
        self.names.get(&space(kind)).and_then(|names| names.get(name)).map(|place| &self.docs[*place])
    }

    /// The place of each Resource, Group and Clone among all of these, by name: files in order of path, documents as
    /// they are written.
    pub fn ranks(&self) -> BTreeMap<&str, u32> {
        let services = self.docs.iter().filter(|doc| space(doc.kind) == Space::Resources);
        services.zip(0..).map(|(doc, rank)| (doc.name.as_str(), rank)).collect()
    }

    /// All names that a reference to this kind can use.
    pub fn names(&self, kind: Kind) -> impl Iterator<Item = &str> {
        self.names.get(&space(kind)).into_iter().flat_map(|names| names.keys().map(String::as_str))
    }
}

/// Reads the documents of all files.
pub(super) fn read(files: Vec<(usize, YamlDocument)>, report: &mut Report) -> Tree {
    let schemas = Schemas::generate();
    let mut tree = Tree {
        docs: Vec::new(),
        names: BTreeMap::new(),
        broken_kinds: BTreeSet::new(),
        unclear_names: BTreeSet::new(),
        incomplete: report.has_errors(),
    };
    for (file, document) in files {
        let name = document.root.at(&["metadata", "name"]).and_then(Node::as_str).unwrap_or_default().to_owned();
        match read_one(&schemas, file, document, report) {
            Some(doc) => {
                if doc.spec.is_none() {
                    tree.broken_kinds.insert(doc.kind);
                }
                register(&mut tree, doc, report);
            }
            None => {
                tree.incomplete = true;
                tree.unclear_names.insert(name);
            }
        }
    }
    tree
}

fn register(tree: &mut Tree, doc: Doc, report: &mut Report) {
    let names = tree.names.entry(space(doc.kind)).or_default();
    let place = tree.docs.len();
    // Several Clusters have a finding of their own, whatever their names.
    match names.get(&doc.name) {
        _ if doc.name.is_empty() => {}
        None => {
            names.insert(doc.name.clone(), place);
        }
        Some(first) if doc.kind != Kind::Cluster => {
            let first = &tree.docs[*first];
            let span = first.name_span();
            let what = if first.kind == doc.kind { "another" } else { "a" };
            let at = report.place(first.file, span);
            let message = format!("the name `{}` is taken by {what} {} at {at}", doc.name, first.kind);
            report.add(Code::DuplicateName, doc.file, doc.name_span(), message, Some("rename one of them".into()));
        }
        Some(_) => {}
    }
    tree.docs.push(doc);
}

/// None: not even its kind is known.
fn read_one(schemas: &Schemas, file: usize, document: YamlDocument, report: &mut Report) -> Option<Doc> {
    let root = document.root;
    if !matches!(root.value, Value::Map(_)) {
        if !document.broken {
            let help = "write `apiVersion`, `kind`, `metadata` and `spec`".to_owned();
            report.add(Code::NotADocument, file, root.head(), "this document is not a map", Some(help));
        }
        return None;
    }
    let kind = header(file, &root, document.broken, report)?;
    let name = root.at(&["metadata", "name"]).and_then(Node::as_str).unwrap_or_default().to_owned();
    let mut doc = Doc { file, root, kind, name, labels: BTreeMap::new(), spec: None };
    // What a document lacks that was cut short may stand behind the error.
    let clean = !document.cut && structure::check(schemas, schemas.kind(kind), file, &doc.root, report);
    if clean && !document.broken {
        deserialize(&mut doc, report);
    }
    Some(doc)
}

/// Reads apiVersion and kind. The rest of the schema check happens only if these are known.
pub(super) fn header(file: usize, root: &Node, broken: bool, report: &mut Report) -> Option<Kind> {
    let text = |key: &str| root.get(key).and_then(Node::as_str);
    let point = |key: &str| root.get(key).map_or_else(|| root.head(), Node::head);
    let kind = text("kind").and_then(|text| Kind::ALL.into_iter().find(|kind| kind.as_str() == text));
    let version = text("apiVersion");
    let version_known = version == Some(API_VERSION);
    // A broken document may have lost its header; it has a finding already.
    let excused = |key: &str| broken && root.get(key).is_none();
    if !version_known && !excused("apiVersion") {
        let help = Some(format!("write `apiVersion: {API_VERSION}`"));
        match root.get("apiVersion") {
            None => report.add(Code::MissingField, file, root.head(), "`apiVersion` is missing in this document", help),
            Some(_) => {
                let message = format!("unknown apiVersion `{}`", version.unwrap_or("(not a string)"));
                report.add(Code::UnknownApiVersion, file, point("apiVersion"), message, help);
            }
        }
    }
    if kind.is_none() && !excused("kind") {
        let words = Kind::ALL.map(Kind::as_str);
        let choices = words.join(", ");
        match root.get("kind") {
            None => {
                let help = Some(format!("the kinds are {choices}"));
                report.add(Code::MissingField, file, root.head(), "`kind` is missing in this document", help);
            }
            Some(node) => {
                let text = node.as_str().unwrap_or("(not a string)");
                let help = suggest::nearest(text, words)
                    .map_or_else(|| format!("the kinds are {choices}"), |word| format!("did you mean `{word}`?"));
                report.add(Code::UnknownKind, file, point("kind"), format!("unknown kind `{text}`"), Some(help));
            }
        }
    }
    kind.filter(|_| version_known)
}

fn deserialize(doc: &mut Doc, report: &mut Report) {
    let metadata: Option<RawMetadata> = part(doc, "metadata", report);
    doc.labels = metadata.and_then(|metadata| metadata.labels).unwrap_or_default().into_iter().map(unwrap).collect();
    doc.spec = match doc.kind {
        Kind::Cluster => part(doc, "spec", report).map(RawSpec::Cluster),
        Kind::Node => part(doc, "spec", report).map(RawSpec::Node),
        Kind::FencingDevice => part(doc, "spec", report).map(RawSpec::FencingDevice),
        Kind::Resource => part(doc, "spec", report).map(RawSpec::Resource),
        Kind::Group => part(doc, "spec", report).map(RawSpec::Group),
        Kind::Clone => part(doc, "spec", report).map(RawSpec::Clone),
        Kind::Bundle => part(doc, "spec", report).map(RawSpec::Bundle),
        Kind::Order => part(doc, "spec", report).map(RawSpec::Order),
        Kind::Colocation => part(doc, "spec", report).map(RawSpec::Colocation),
        Kind::Location => part(doc, "spec", report).map(RawSpec::Location),
        Kind::Ticket => part(doc, "spec", report).map(RawSpec::Ticket),
        Kind::Scenario => part(doc, "spec", report).map(RawSpec::Scenario),
        // None is left once its documents were put together (`overlay`).
        Kind::Overlay => None,
    };
}

fn unwrap((key, value): (String, raw::Param)) -> (String, String) {
    (key, value.0)
}

/// Reads `metadata` or `spec` into its type. What the schema check let through can still fail here; then it is
/// reported where serde stood.
fn part<T: DeserializeOwned>(doc: &Doc, key: &str, report: &mut Report) -> Option<T> {
    let node = doc.root.get(key)?;
    match serde_path_to_error::deserialize(structure::to_json(node)) {
        Ok(value) => Some(value),
        Err(error) => {
            let path: Vec<String> = error.path().iter().map(ToString::to_string).collect();
            let path: Vec<&str> = path.iter().map(|step| step.trim_matches(['[', ']'])).collect();
            let span = node.at(&path).unwrap_or(node).head();
            report.add(Code::WrongType, doc.file, span, error.into_inner().to_string(), None);
            None
        }
    }
}
