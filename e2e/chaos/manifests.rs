//! What runs during chaos: services that cannot run unseen (`e2e/lab/Holder`), and a web server behind an address.

use crate::cluster::{Manifests, quickstart};

/// A service of [`tree`].
#[derive(Debug, Clone, Copy)]
pub struct Service {
    /// Of the document that a command can name.
    pub name: &'static str,
    /// Of its locks and records.
    pub lock: &'static str,
    /// The most copies of it.
    pub copies: Copies,
    pub promotable: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copies {
    One,
    Two,
    OnePerNode,
}

pub const SERVICES: &[Service] = &[
    Service { name: "one", lock: "one", copies: Copies::One, promotable: false },
    Service { name: "two", lock: "two", copies: Copies::One, promotable: false },
    Service { name: "three", lock: "three", copies: Copies::One, promotable: false },
    Service { name: "pair", lock: "pair", copies: Copies::Two, promotable: false },
    Service { name: "db", lock: "db", copies: Copies::OnePerNode, promotable: true },
];

impl Service {
    pub fn copies(self, nodes: usize) -> usize {
        match self.copies {
            Copies::One => 1,
            Copies::Two => 2,
            Copies::OnePerNode => nodes,
        }
    }
}

/// All locks.
pub fn locks(nodes: usize) -> Vec<String> {
    let of = |service: &Service| {
        let copies = (0..service.copies(nodes)).map(|copy| format!("{}.{copy}", service.lock));
        let promoted = service.promotable.then(|| format!("{}.promoted", service.lock));
        copies.chain(promoted).collect::<Vec<_>>()
    };
    SERVICES.iter().flat_map(of).collect()
}

/// The tree of push `number`; `chance` decides what is changed by it: a parameter of some service, or nothing that matters.
pub fn tree(nodes: usize, number: u64, chance: u64) -> Manifests {
    let mut tree = quickstart();
    tree.retain(|_, text| text.contains("kind: Group"));
    let defaults = "defaults: { failure: { threshold: 3, timeout: 5s } }";
    let cluster = format!(
        "apiVersion: hafen/v1alpha1\nkind: Cluster\nmetadata: {{ name: chaos, annotations: {{ push: \"{number}\" }} }}\n\
         spec:\n  fencing: {{ timeout: 20s, maxFences: 1000000 }}\n  joinGrace: 20s\n  maxRemovals: 50\n  {defaults}\n"
    );
    let devices = ["pdu-a", "pdu-b"].map(|pdu| {
        format!(
            "---\napiVersion: hafen/v1alpha1\nkind: FencingDevice\nmetadata: {{ name: {pdu} }}\n\
             spec: {{ agent: fence_lab, params: {{ pdu: {pdu} }}, timeout: 4s, retries: 0, check: 30s }}\n"
        )
    });
    let members = (1..=nodes).map(|n| {
        format!(
            "---\napiVersion: hafen/v1alpha1\nkind: Node\nmetadata: {{ name: n{n} }}\n\
             spec: {{ addresses: [10.77.0.1{n}, 10.78.0.1{n}], fencing: [[pdu-a], [pdu-b]] }}\n"
        )
    });
    tree.insert("cluster.yaml".into(), cluster + &devices.concat() + &members.collect::<String>());
    // One push in three restarts something.
    let touched = chance.is_multiple_of(3).then(|| (chance / 3) as usize % SERVICES.len());
    let mut services = String::new();
    for (place, service) in SERVICES.iter().enumerate() {
        let tag = if touched == Some(place) { number } else { 0 };
        services += &document(service, nodes, tag);
    }
    services += "apiVersion: hafen/v1alpha1\nkind: Order\nmetadata: { name: one-two }\n\
                 spec: { first: { resource: one }, then: { resource: two } }\n---\n\
                 apiVersion: hafen/v1alpha1\nkind: Colocation\nmetadata: { name: two-not-three }\n\
                 spec: { resource: two, with: { resource: three }, strength: Avoid }\n---\n\
                 apiVersion: hafen/v1alpha1\nkind: Order\nmetadata: { name: db-web }\n\
                 spec: { first: { resource: db, action: Promote }, then: { resource: web }, strength: Advisory }\n";
    tree.insert("services.yaml".into(), services);
    tree
}

fn document(service: &Service, nodes: usize, tag: u64) -> String {
    let copies = service.copies(nodes);
    let inner = if copies == 1 { service.name.to_owned() } else { format!("{}-copy", service.name) };
    let promotable = if service.promotable { "yes" } else { "no" };
    let operations = "operations: { monitor: { interval: 3s, timeout: 5s }, start: { timeout: 6s }, stop: { timeout: 6s }, \
                      promote: { timeout: 6s }, demote: { timeout: 6s } }";
    let mut text = format!(
        "apiVersion: hafen/v1alpha1\nkind: Resource\nmetadata: {{ name: {inner} }}\nspec:\n  agent: ocf:chaos:Holder\n  \
         params: {{ name: {}, copies: \"{copies}\", promotable: \"{promotable}\", tag: \"{tag}\" }}\n  {operations}\n---\n",
        service.lock
    );
    if copies > 1 {
        let promotable = if service.promotable { ", promotable: { max: 1 }" } else { "" };
        text += &format!(
            "apiVersion: hafen/v1alpha1\nkind: Clone\nmetadata: {{ name: {} }}\n\
             spec: {{ resource: {inner}, max: {copies}{promotable} }}\n---\n",
            service.name
        );
    }
    text
}
