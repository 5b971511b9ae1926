//! The same cluster as Pacemaker would store it, so that both plan the same input.
//!
//! Input: a [`Cluster`]. Output: a CIB. Knows what [`cluster`](super::cluster) builds and no more: primitives without
//! parameters, groups, clones, orders, colocations, locations, running claims and probes.

use super::cluster::Cluster;
use hafen::model::*;
use hafen::state::{ClaimKey, Membership};
use std::fmt::Write;

/// What Pacemaker writes for an operation without parameters.
const NO_PARAMS: &str = "f2317cad3d54cec5d7d7aa7d0bf35cf8";
const UUID: &str = "2668bbeb-06d5-40f9-936d-24cb7f87006a";

/// Writing to memory cannot fail.
macro_rules! put {
    ($out:expr, $($text:tt)*) => { _ = writeln!($out, $($text)*) };
}

pub fn cib(cluster: &Cluster) -> String {
    let mut out = String::new();
    put!(
        out,
        "<cib crm_feature_set=\"3.16.1\" validate-with=\"pacemaker-3.9\" epoch=\"1\" num_updates=\"1\" admin_epoch=\"0\" \
         have-quorum=\"true\" dc-uuid=\"1\" execution-date=\"{}\">",
        cluster.state.now_ms / 1000
    );
    configuration(&mut out, cluster);
    status(&mut out, cluster);
    put!(out, "</cib>");
    out
}

fn configuration(out: &mut String, cluster: &Cluster) {
    let spec = &cluster.spec;
    put!(out, "<configuration><crm_config><cluster_property_set id=\"cib\">");
    put!(out, "<nvpair id=\"cib-1\" name=\"no-quorum-policy\" value=\"stop\"/>");
    put!(out, "<nvpair id=\"cib-2\" name=\"stonith-enabled\" value=\"true\"/>");
    put!(out, "</cluster_property_set></crm_config><nodes>");
    for (number, (name, node)) in spec.nodes.iter().enumerate() {
        put!(out, "<node id=\"{}\" uname=\"{name}\"><instance_attributes id=\"node-{name}\">", number + 1);
        for (label, value) in &node.labels {
            put!(out, "<nvpair id=\"node-{name}-{label}\" name=\"{label}\" value=\"{value}\"/>");
        }
        put!(out, "</instance_attributes></node>");
    }
    put!(out, "</nodes><resources><primitive id=\"fencer\" class=\"stonith\" type=\"fence_xvm\"/>");
    resources(out, spec);
    put!(out, "</resources><constraints>");
    constraints(out, spec);
    put!(out, "</constraints><rsc_defaults><meta_attributes id=\"defaults\">");
    put!(out, "<nvpair id=\"defaults-1\" name=\"resource-stickiness\" value=\"100\"/>");
    put!(out, "<nvpair id=\"defaults-2\" name=\"migration-threshold\" value=\"3\"/>");
    put!(out, "</meta_attributes></rsc_defaults></configuration>");
}

fn resources(out: &mut String, spec: &Spec) {
    let mut clones: Vec<_> = spec.clones.iter().collect();
    clones.sort_by_key(|(_, clone)| clone.rank);
    for (name, clone) in clones {
        put!(out, "<clone id=\"{name}\"><meta_attributes id=\"{name}-meta\">");
        let mut meta =
            |key: &str, value: String| put!(out, "<nvpair id=\"{name}-{key}\" name=\"{key}\" value=\"{value}\"/>");
        meta("interleave", clone.interleave.to_string());
        if let Some(max) = clone.max {
            meta("clone-max", max.to_string());
        }
        if let Some(promotable) = clone.promotable {
            meta("promotable", "true".into());
            meta("promoted-max", promotable.max.to_string());
        }
        put!(out, "</meta_attributes>");
        primitive(out, spec, &clone.resource);
        put!(out, "</clone>");
    }
    let mut groups: Vec<_> = spec.groups.iter().collect();
    groups.sort_by_key(|(_, group)| group.rank);
    for (name, group) in groups {
        put!(out, "<group id=\"{name}\">");
        group.members.iter().for_each(|member| primitive(out, spec, member));
        put!(out, "</group>");
    }
    let grouped: std::collections::BTreeSet<&ResourceId> = spec
        .groups
        .values()
        .flat_map(|group| &group.members)
        .chain(spec.clones.values().map(|c| &c.resource))
        .collect();
    let mut lone: Vec<_> = spec.resources.iter().filter(|(name, _)| !grouped.contains(name)).collect();
    lone.sort_by_key(|(_, resource)| resource.rank);
    lone.into_iter().for_each(|(name, _)| primitive(out, spec, name));
}

fn primitive(out: &mut String, spec: &Spec, name: &ResourceId) {
    let agent = agent(spec, name);
    put!(out, "<primitive id=\"{name}\" class=\"ocf\" provider=\"pacemaker\" type=\"{agent}\"><operations>");
    put!(out, "<op id=\"{name}-m10\" name=\"monitor\" interval=\"10s\" timeout=\"20s\"/>");
    if agent == "Stateful" {
        put!(out, "<op id=\"{name}-m11\" name=\"monitor\" interval=\"11s\" timeout=\"20s\" role=\"Promoted\"/>");
    }
    put!(out, "</operations></primitive>");
}

fn agent<'a>(spec: &'a Spec, name: &ResourceId) -> &'a str {
    let AgentRef::Ocf { name, .. } = &spec.resources[name].agent else { return "Dummy" };
    name
}

fn constraints(out: &mut String, spec: &Spec) {
    for (name, order) in &spec.orders {
        let (first, then) = (&order.first.resource, &order.then.resource);
        put!(out, "<rsc_order id=\"order-{name}\" first=\"{first}\" then=\"{then}\"/>");
    }
    for (name, colocation) in &spec.colocations {
        let (what, with) = (&colocation.resource.resource, &colocation.with.resource);
        let score = word(colocation.strength.score(colocation.weight));
        put!(out, "<rsc_colocation id=\"coloc-{name}\" rsc=\"{what}\" with-rsc=\"{with}\" score=\"{score}\"/>");
    }
    for (name, location) in &spec.locations {
        let (resource, score) = (&location.resource, word(location.strength.score(location.weight)));
        let (attribute, value) = match &location.nodes {
            NodeSelector::Names(nodes) => {
                for node in nodes {
                    put!(
                        out,
                        "<rsc_location id=\"loc-{name}-{node}\" rsc=\"{resource}\" node=\"{node}\" score=\"{score}\"/>"
                    );
                }
                continue;
            }
            NodeSelector::Labels(labels) => match labels.first_key_value() {
                Some(label) => label,
                None => continue,
            },
            // No such cluster is generated with rules.
            NodeSelector::Rule(_) => continue,
        };
        put!(out, "<rsc_location id=\"loc-{name}\" rsc=\"{resource}\"><rule id=\"rule-{name}\" score=\"{score}\">");
        put!(out, "<expression id=\"expr-{name}\" attribute=\"{attribute}\" operation=\"eq\" value=\"{value}\"/>");
        put!(out, "</rule></rsc_location>");
    }
}

fn word(score: Score) -> String {
    match score {
        Score::INFINITY => "INFINITY".into(),
        Score::NEVER => "-INFINITY".into(),
        score => score.value().to_string(),
    }
}

fn status(out: &mut String, cluster: &Cluster) {
    let Cluster { spec, state } = cluster;
    put!(out, "<status>");
    for (number, (name, node)) in state.nodes.iter().enumerate() {
        let id = number + 1;
        let up = node.membership == Membership::Online;
        let (member, process, join) = if up { ("true", "online", "member") } else { ("false", "offline", "down") };
        put!(
            out,
            "<node_state id=\"{id}\" uname=\"{name}\" in_ccm=\"{member}\" crmd=\"{process}\" join=\"{join}\" \
             expected=\"member\"><lrm id=\"{id}\"><lrm_resources>"
        );
        fencer(out, number);
        for (call, resource) in spec.resources.keys().enumerate() {
            let call = 20 + 3 * call;
            let copies = state.claims_of(resource).find(|(key, _)| &key.node == name);
            history(out, resource, agent(spec, resource), copies.map(|(key, claim)| (key, claim.role)), call);
        }
        put!(out, "</lrm_resources></lrm><transient_attributes id=\"{id}\"><instance_attributes id=\"status-{id}\">");
        put!(out, "<nvpair id=\"status-{id}-features\" name=\"#feature-set\" value=\"3.16.1\"/>");
        for (key, value) in &node.attributes {
            put!(out, "<nvpair id=\"status-{id}-{key}\" name=\"{key}\" value=\"{value}\"/>");
        }
        put!(out, "</instance_attributes></transient_attributes></node_state>");
    }
    put!(out, "</status>");
}

/// The fence device runs on the first node.
fn fencer(out: &mut String, node: usize) {
    put!(out, "<lrm_resource id=\"fencer\" class=\"stonith\" type=\"fence_xvm\">");
    match node {
        0 => operation(out, "fencer", "start", 11, 0, 0),
        _ => operation(out, "fencer", "monitor", 10, 7, 0),
    }
    put!(out, "</lrm_resource>");
}

fn history(out: &mut String, name: &ResourceId, agent: &str, claim: Option<(&ClaimKey, Role)>, call: usize) {
    let name = name.as_str();
    put!(out, "<lrm_resource id=\"{name}\" class=\"ocf\" provider=\"pacemaker\" type=\"{agent}\">");
    match claim {
        None => operation(out, name, "monitor", call, 7, 0),
        Some((_, Role::Promoted)) => {
            operation(out, name, "promote", call + 1, 0, 0);
            operation(out, name, "monitor", call + 2, 8, 11_000);
        }
        Some((_, Role::Started | Role::Unpromoted)) => {
            operation(out, name, "start", call + 1, 0, 0);
            operation(out, name, "monitor", call + 2, 0, 10_000);
        }
    }
    put!(out, "</lrm_resource>");
}

fn operation(out: &mut String, name: &str, what: &str, call: usize, rc: u8, interval: u32) {
    let key = format!("{call}:1:{rc}:{UUID}");
    let digest = if interval == 0 { format!(" op-digest=\"{NO_PARAMS}\"") } else { String::new() };
    put!(
        out,
        "<lrm_rsc_op id=\"{name}_{what}_{interval}\" operation_key=\"{name}_{what}_{interval}\" operation=\"{what}\" \
         crm_feature_set=\"3.16.1\" transition-key=\"{key}\" transition-magic=\"0:{rc};{key}\" call-id=\"{call}\" \
         rc-code=\"{rc}\" op-status=\"0\" interval=\"{interval}\" last-rc-change=\"1790000000\" exec-time=\"10\" \
         queue-time=\"0\"{digest}/>"
    );
}
