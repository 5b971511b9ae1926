//! Reads a Pacemaker cluster: its CIB as a spec and a state of this program.
//!
//! Answers: what is configured there, how is the cluster, and what of it has no counterpart here. Input: the XML and the
//! time. Output: an [`Import`]: [`Spec`], [`State`] and a list of [`Loss`]es.
//!
//! Invariants: total (no input makes it panic); deterministic. Whatever of the CIB has no part in the result is named as a
//! loss, unless `vocabulary` has the reason why it need not be.
//!
//! Deliberately absent: planning. An imported state stands for what the CIB says; it is no evidence.
//!
//! Files, in reading order: `xml` the text as a tree · `words` single values · `rules` conditions · `options` blocks of
//! settings · `operations`, `resources` what runs · `bundles` · `constraints`, `location`, `pattern`, `tickets` · `nodes` who is
//! there · `remote` what runs inside of something · `history` one resource on one node, `inside` of containers too · `roster` what is configured, by number ·
//! `status` all of them as a state, with `migrations` and `locks` · `loss`, `unread` by the `vocabulary` · `manifests` the
//! spec as documents, in `yaml`.

mod bundles;
mod constraints;
mod history;
mod inside;
mod location;
mod locks;
mod loss;
pub mod manifests;
mod migrations;
mod nodes;
mod operations;
mod options;
mod pattern;
mod remote;
mod resources;
mod roster;
mod rules;
mod status;
#[cfg(test)]
mod tests;
mod tickets;
mod unread;
#[cfg(test)]
mod unread_tests;
mod vocabulary;
mod words;
mod xml;
mod yaml;

pub use constraints::Sets;
pub use loss::Loss;
pub use xml::{MAX_BYTES, XmlError};

use crate::model::{
    BundlePart, Cluster, Detection, DeviceId, FenceWhen, FencingAction, FencingDevice, FencingPolicy, LeaseTiming,
    Node, NodeId, NodeRole, Placement, QuorumLoss, Score, Spec,
};
use crate::state::{Leader, State};
use bundles::Names;
use constraints::Constraints;
use location::Locator;
use loss::Losses;
use nodes::NodeRead;
use options::{Ids, Options};
use resources::{Reader, Services, Setting};
use rules::{Asked, NodeFacts};
use status::StatusReader;
use std::collections::BTreeMap;
use std::time::Duration;
use xml::{El, Tree};

/// A CIB in the words of this program.
#[derive(Debug, Clone)]
pub struct Import {
    pub spec: Spec,
    pub state: State,
    pub losses: Vec<Loss>,
    /// Orders and colocations that were written as sets.
    pub sets: Sets,
}

impl Import {
    /// Something that can change a plan was left out.
    pub fn is_lossy(&self) -> bool {
        self.losses.iter().any(|loss| loss.changes_plan)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    #[error(transparent)]
    Xml(#[from] XmlError),
    #[error("the root element is `{found}`, not `cib`")]
    NotACib { found: String },
    #[error("the CIB has no `configuration`")]
    NoConfiguration,
}

/// Reads a CIB. `now`: seconds since 1970, for rules with dates and for what expires.
pub fn import(text: &str, now: Option<i64>) -> Result<Import, ImportError> {
    let tree = Tree::parse(text)?;
    let root = tree.root();
    if root.tag() != "cib" {
        return Err(ImportError::NotACib { found: root.tag().chars().take(40).collect() });
    }
    let configuration = root.child("configuration").ok_or(ImportError::NoConfiguration)?;
    let bundles = bundles::names(configuration);
    Ok(convert(text, root, configuration, &bundles, now))
}

/// What the parts of an import ask about.
struct Ground<'g, 'a> {
    configuration: El<'a>,
    status: Option<El<'a>>,
    ids: &'g Ids<'a>,
    options: &'g Options<'a>,
    services: &'g Services<'a>,
    facts: &'g [NodeFacts<'a>],
    /// How many of them are configured; the others come after.
    listed: usize,
    bundles: &'a [Names],
    fencing: bool,
    now: Option<i64>,
}

fn convert<'a>(text: &str, root: El<'a>, configuration: El<'a>, bundles: &'a [Names], now: Option<i64>) -> Import {
    let mut losses = Losses::default();
    unread::report(root, &mut losses);
    bundles::report(configuration, &mut losses);
    let ids = Ids::new(configuration);
    let asked = Asked { now, ..Asked::default() };
    let crm_config = configuration.child("crm_config");
    let values = crm_config.map(|el| ids.values(el, "cluster_property_set", &asked)).unwrap_or_default();
    let options = Options(values);
    let fencing = nodes::fencing_enabled(&options);
    let policy = options.get(&["no-quorum-policy"]).unwrap_or("stop");
    // Who never had a quorum does not take its own life.
    let lost_quorum = rules::is_true(root.attr("no-quorum-panic"));
    let quorum_loss = match policy {
        "freeze" => QuorumLoss::Freeze,
        "demote" => QuorumLoss::Demote,
        "suicide" | "fence" if fencing && lost_quorum => QuorumLoss::Fence,
        _ => QuorumLoss::Stop,
    };
    let status = root.child("status");
    let unfencing = |el: El<'a>| {
        let meta = ids.values(el, "meta_attributes", &asked);
        el.attr("class") == Some("stonith") && meta.get("provides") == Some(&"unfencing")
    };
    let resources = configuration.child("resources");
    let setting = Setting {
        fencing,
        quorum_loss,
        ignores_quorum: policy == "ignore",
        capacity: nodes::placement_counts(&options),
        unfencing: resources.is_some_and(|el| el.all("primitive").any(unfencing)),
        now,
    };
    let reader = Reader {
        ids: &ids,
        setting,
        bundles,
        templates: BTreeMap::new(),
        rsc_defaults: configuration.child("rsc_defaults"),
        op_defaults: configuration.child("op_defaults"),
        losses: &mut losses,
        services: Services::default(),
        rank: 0,
    };
    let services = match resources {
        Some(resources) => reader.read(resources),
        None => Services::default(),
    };
    let dc = root.attr("dc-uuid");
    let (facts, mut nodes) = nodes::read(&ids, configuration, status, &options, dc, &services, now);
    let listed = nodes.iter().filter(|node| node.listed).count();
    for el in configuration.child("nodes").into_iter().flat_map(|nodes| nodes.all("node")) {
        if !nodes.iter().any(|node| node.el.place() == el.place()) {
            match el.attr("type") {
                // It is nobody's, or of a container of a bundle.
                Some("remote") => losses.harmless(el, "no connection leads there"),
                other => losses.matters(el, format!("a node of type {} has no counterpart yet", other.unwrap_or(""))),
            }
        }
    }
    let mut spec = spec(&services, &facts, &nodes, &options, quorum_loss, configuration, status);
    let ground = Ground {
        configuration,
        status,
        ids: &ids,
        options: &options,
        services: &services,
        facts: &facts,
        listed,
        bundles,
        fencing,
        now,
    };
    let (mut unasked, sets) = constrain(&mut spec, &ground, &mut losses);
    remote::inside(&mut spec, &services);
    let reader = StatusReader::new(&spec, &ground, &mut nodes);
    let mut state = reader.read();
    unasked.extend(bundles.iter().flat_map(|names| {
        let inside = [names.part(BundlePart::Connection), names.part(BundlePart::Inner)].into_iter().flatten();
        inside.flat_map(|part| facts.iter().map(move |node| (part.as_str(), node.name)))
    }));
    locks::unasked(&mut state, &spec, &services, &unasked);
    for el in locks::shutdown_locks(&mut spec, &services, &facts, &nodes, &options, &state, now) {
        losses.matters(el, "it waits for its node: written as a Location `shutdown-lock-NAME`, as of now");
    }
    state.tickets = tickets::states(root);
    state.leader = facts.iter().find(|node| node.is_dc).map(|node| {
        let incarnation = status::incarnation(node.name);
        Leader { node: NodeId::new(node.name), incarnation, term: 0, may_set_clock: false }
    });
    let quorate = root.attr("have-quorum").is_none_or(|value| rules::is_true(Some(value)));
    state.without_quorum = !quorate && policy != "ignore";
    Import { spec, state, losses: losses.finish(text), sets }
}

fn spec<'a>(
    services: &Services<'a>,
    facts: &[NodeFacts<'a>],
    nodes: &[NodeRead<'a>],
    options: &Options<'a>,
    quorum_loss: QuorumLoss,
    configuration: El<'a>,
    status: Option<El<'a>>,
) -> Spec {
    let devices = devices(services, options, status);
    let levels: Vec<Vec<DeviceId>> = devices.keys().map(|device| vec![device.clone()]).collect();
    let document = |node: &NodeRead<'a>| {
        let facts = &facts[node.facts];
        let labels = facts.permanent.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let document = Node {
            role: if node.remote { NodeRole::Remote } else { NodeRole::Voter },
            connection: node.remote.then(|| facts.name.into()),
            addresses: Vec::new(),
            labels: labels.collect(),
            capacity: node.capacity.clone(),
            fencing: topology(configuration, facts, &devices).unwrap_or_else(|| levels.clone()),
        };
        (NodeId::new(facts.name), document)
    };
    Spec {
        cluster: cluster(options, quorum_loss),
        nodes: nodes.iter().filter(|node| node.listed).map(document).collect(),
        resources: services.resources.clone(),
        groups: services.groups.clone(),
        clones: services.clones.clone(),
        bundles: services.bundles.clone(),
        orders: BTreeMap::new(),
        colocations: BTreeMap::new(),
        locations: BTreeMap::new(),
        tickets: BTreeMap::new(),
        origins: BTreeMap::new(),
        agents: BTreeMap::new(),
        devices,
    }
}

fn cluster(options: &Options<'_>, quorum_loss: QuorumLoss) -> Cluster {
    let action = match options.get(&["fencing-action", "stonith-action"]) {
        Some("off" | "poweroff") => FencingAction::Off,
        Some(_) | None => FencingAction::Reboot,
    };
    let timeout = options.get(&["fencing-timeout", "stonith-timeout"]).and_then(words::duration_ms);
    Cluster {
        name: options.get(&["cluster-name"]).map_or("imported".to_owned(), name_of),
        detection: Detection::DEFAULT,
        fencing: FencingPolicy {
            enabled: nodes::fencing_enabled(options),
            timeout: Duration::from_millis(timeout.unwrap_or(60_000)),
            action,
            require_tested: false,
            max_fences: 5,
            assume_off: None,
            when: FenceWhen::Always,
        },
        quorum_loss,
        join_grace: Duration::from_secs(120),
        max_removals: 5,
        symmetric: options.is(&["symmetric-cluster"], true),
        source: None,
        watchdog: LeaseTiming::DEFAULT,
        survive: 0,
        signatures: Vec::new(),
        confirmation: None,
        change_windows: Vec::new(),
        drift_policy: Default::default(),
        placement: match options.get(&["placement-strategy"]) {
            Some("utilization") => Placement::Utilization,
            Some("balanced") => Placement::Balanced,
            Some("minimal") => Placement::Minimal,
            Some(_) | None => Placement::Spread,
        },
    }
}

/// Every fence device that is configured, or was; and the watchdog, where it is one.
fn devices<'a>(
    services: &Services<'a>,
    options: &Options<'a>,
    status: Option<El<'a>>,
) -> BTreeMap<DeviceId, FencingDevice> {
    let device = |agent: &str, params: BTreeMap<String, String>| FencingDevice {
        agent: fence_agent(agent),
        params,
        secrets: BTreeMap::new(),
        targets: BTreeMap::new(),
        timeout: Duration::from_secs(60),
        delay: Duration::ZERO,
        retries: 2,
        check: Duration::from_secs(600),
    };
    let mut devices = BTreeMap::new();
    for (name, prim) in services.prims.iter().filter(|(_, prim)| prim.is_fence_device()) {
        let params = prim.params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        devices.insert(DeviceId::new(*name), device(prim.name, params.collect()));
    }
    let histories = status.into_iter().flat_map(|status| status.all("node_state"));
    let histories = histories.filter_map(|node| node.child("lrm")?.child("lrm_resources"));
    for el in histories.flat_map(|resources| resources.all("lrm_resource")) {
        // A copy of a clone is no device of its own.
        let name = el.id().split(':').next().unwrap_or("");
        if el.attr("class") == Some("stonith") && !devices.contains_key(name) {
            let agent = el.attr("type").unwrap_or("");
            devices.insert(DeviceId::new(name), device(agent, BTreeMap::new()));
        }
    }
    let waits = options.get(&["fencing-watchdog-timeout", "stonith-watchdog-timeout"]).and_then(words::duration_ms);
    if options.is(&["have-watchdog"], false) && waits.is_some_and(|ms| ms > 0) && devices.is_empty() {
        devices.insert(DeviceId::new("watchdog"), device("watchdog", BTreeMap::new()));
    }
    devices
}

/// A text as a name: what names do not have becomes `_`.
fn name_of(text: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '_' };
    let name: String = text.chars().take(128).map(allowed).collect();
    if name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') { name } else { "imported".to_owned() }
}

/// What is no fence agent of today keeps the name of its class: it is planned for, but never used.
fn fence_agent(name: &str) -> String {
    if name.starts_with("fence_") || name == "watchdog" { name.to_owned() } else { format!("stonith:{name}") }
}

/// The fencing levels of a node, where the topology has some for it.
fn topology(
    configuration: El<'_>,
    facts: &NodeFacts<'_>,
    devices: &BTreeMap<DeviceId, FencingDevice>,
) -> Option<Vec<Vec<DeviceId>>> {
    let matches = |level: &El<'_>| {
        let by_name = level.attr("target").is_some_and(|target| target == facts.name);
        let by_pattern = level.attr("target-pattern").is_some_and(|pattern| {
            pattern::matching(pattern, std::iter::once(facts.name)).is_some_and(|names| !names.is_empty())
        });
        let by_attribute = level
            .attr("target-attribute")
            .is_some_and(|name| facts.attribute(name).is_some() && facts.attribute(name) == level.attr("target-value"));
        by_name || by_pattern || by_attribute
    };
    let topology = configuration.child("fencing-topology")?;
    let mut levels: Vec<(u32, Vec<DeviceId>)> = topology
        .all("fencing-level")
        .filter(matches)
        .map(|level| {
            let index = level.attr("index").and_then(|index| index.parse().ok()).unwrap_or(1);
            let names = level.attr("devices").unwrap_or("").split(',').map(str::trim).map(DeviceId::new);
            (index, names.filter(|name| devices.contains_key(name)).collect())
        })
        .collect();
    levels.sort_by_key(|(index, _)| *index);
    let levels: Vec<Vec<DeviceId>> = levels.into_iter().map(|(_, level)| level).filter(|l| !l.is_empty()).collect();
    (!levels.is_empty()).then_some(levels)
}

/// Names that mean several: tags, and templates, which mean what is made after them.
fn tags<'a>(configuration: El<'a>, services: &Services<'a>) -> BTreeMap<&'a str, Vec<&'a str>> {
    let tags = configuration.child("tags").into_iter().flat_map(|tags| tags.all("tag"));
    let mut meant: BTreeMap<&str, Vec<&str>> =
        tags.map(|tag| (tag.id(), tag.all("obj_ref").map(El::id).collect())).collect();
    let mut made: Vec<(&str, &str, u32)> = Vec::new();
    for (name, prim) in &services.prims {
        made.extend(prim.el.attr("template").map(|template| (template, *name, prim.el.place())));
    }
    made.sort_by_key(|(_, _, place)| *place);
    for (template, name, _) in made {
        meant.entry(template).or_default().push(name);
    }
    meant
}

/// Resources and the nodes on which they are not looked for.
type Unasked<'a> = Vec<(&'a str, &'a str)>;

fn constrain<'a>(spec: &mut Spec, ground: &Ground<'_, 'a>, losses: &mut Losses) -> (Unasked<'a>, Sets) {
    let Ground { configuration, ids, options, services, now, .. } = *ground;
    let facts = &ground.facts[..ground.listed];
    let tags = tags(configuration, services);
    let (orders, colocations) = (BTreeMap::new(), BTreeMap::new());
    let sets = Sets::default();
    let mut constraints = Constraints { services, tags: &tags, losses, orders, colocations, sets, pairs: 0 };
    let inside = services.inside.clone();
    let mut locator = Locator { ids, nodes: facts, inside, now, locations: BTreeMap::new(), unasked: Vec::new() };
    for el in configuration.child("constraints").into_iter().flat_map(El::children) {
        match el.tag() {
            "rsc_order" => constraints.order(el),
            "rsc_colocation" => constraints.colocation(el),
            "rsc_location" => locator.location(el, &mut constraints),
            "rsc_ticket" => constraints.ticket(el, &mut spec.tickets),
            tag => constraints.losses.matters(el, format!("constraints of kind {tag} are not known")),
        }
    }
    let health: BTreeMap<&str, Score> = facts
        .iter()
        .map(|facts| (facts.name, nodes::health(facts, options)))
        .filter(|(_, score)| *score != Score::ZERO)
        .collect();
    if !health.is_empty() {
        let what = "`node-health-strategy` is written as what it comes to now, in the Locations `health-NAME`";
        configuration.child("crm_config").into_iter().for_each(|el| constraints.losses.matters(el, what));
        for name in &services.top {
            let exempt = services.members(name).iter().all(|member| {
                let meta = services.prims.get(member).map(|prim| &prim.meta);
                rules::is_true(meta.and_then(|meta| meta.get("allow-unhealthy-nodes").copied()))
            });
            if !exempt {
                locator.add(&format!("health-{name}"), name, None, &health);
            }
        }
    }
    (spec.orders, spec.colocations) = (constraints.orders, constraints.colocations);
    spec.locations = locator.locations;
    (locator.unasked, constraints.sets)
}
