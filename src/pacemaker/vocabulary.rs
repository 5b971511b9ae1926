//! The words of a CIB: which elements, attributes and settings an import reads, and which it may leave out unsaid.
//!
//! Input: a name and where it stands. Output: what is known of it. Pacemaker Explained is the list of what there is.
//!
//! Invariant: what is called read here is read (a test takes each away and looks for a difference); what is called
//! harmless has its reason beside it. Everything else is named as a loss (`unread`).

/// The form of a value; what cannot be read in it is a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Score,
    Boolean,
    Duration,
    Text,
}

/// What is known of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    Read(Form),
    /// Changes no plan, for the reason that stands beside it in the table.
    Harmless,
    /// Nothing here does what it does there, and a plan can change for it.
    Lost,
}

use Form::{Boolean, Duration, Score, Text};
use Known::{Harmless, Lost, Read};

type Names = &'static [(&'static [&'static str], Known)];

fn find(table: Names, name: &str) -> Option<Known> {
    table.iter().find(|(names, _)| names.contains(&name)).map(|(_, known)| *known)
}

/// Options of the cluster.
pub(super) fn option(name: &str) -> Option<Known> {
    const OPTIONS: Names = &[
        (&["cluster-name", "no-quorum-policy", "placement-strategy", "node-health-strategy"], Read(Text)),
        (&["fencing-action", "stonith-action"], Read(Text)),
        (
            &["fencing-enabled", "stonith-enabled", "startup-fencing", "have-watchdog", "symmetric-cluster"],
            Read(Boolean),
        ),
        (&["maintenance-mode", "stop-all-resources", "shutdown-lock"], Read(Boolean)),
        (&["stop-orphan-resources", "stop-removed-resources"], Read(Boolean)),
        (&["fencing-timeout", "stonith-timeout", "node-pending-timeout", "shutdown-lock-limit"], Read(Duration)),
        // Zero, negative or a duration.
        (&["fencing-watchdog-timeout", "stonith-watchdog-timeout"], Read(Text)),
        (&["node-health-red", "node-health-yellow", "node-health-green", "node-health-base"], Read(Score)),
        // Who wrote the CIB, and with what.
        (
            &["dc-version", "cluster-infrastructure", "last-lrm-refresh", "expected-quorum-votes", "dc-deadtime"],
            Harmless,
        ),
        // How fast, how many at once, how often it is looked again: a plan is the same.
        (&["batch-limit", "migration-limit", "node-action-limit", "load-threshold", "cluster-ipc-limit"], Harmless),
        (
            &[
                "cluster-delay",
                "cluster-recheck-interval",
                "election-timeout",
                "transition-delay",
                "priority-fencing-delay",
            ],
            Harmless,
        ),
        (&["concurrent-fencing", "stonith-max-attempts", "fencing-max-attempts", "fence-reaction"], Harmless),
        (
            &["shutdown-escalation", "join-integration-timeout", "join-finalization-timeout", "crmd-transition-delay"],
            Harmless,
        ),
        (&["crmd-integration-timeout", "crmd-finalization-timeout", "default-action-timeout"], Harmless),
        // What is kept of past plans.
        (&["pe-error-series-max", "pe-warn-series-max", "pe-input-series-max"], Harmless),
        // The controller has written its effect into the fail counts already.
        (&["start-failure-is-fatal"], Harmless),
        // Recurring monitors and records that are no longer configured: no plan here has them.
        (&["stop-orphan-actions", "stop-removed-actions", "remove-after-stop"], Harmless),
        // Every resource is looked for in any case.
        (&["enable-startup-probes"], Harmless),
        // Access rules are losses of their own.
        (&["enable-acl"], Harmless),
        // Not read by Pacemaker itself since 2.0.
        (&["default-resource-stickiness", "default-resource-failure-stickiness", "is-managed-default"], Harmless),
    ];
    find(OPTIONS, name)
}

/// Meta-attributes of resources, groups, clones and bundles.
pub(super) fn meta(name: &str) -> Option<Known> {
    const META: Names = &[
        (&["priority", "resource-stickiness", "migration-threshold"], Read(Score)),
        (&["clone-max", "clone-node-max", "clone-min"], Read(Score)),
        (&["promoted-max", "master-max", "promoted-node-max", "master-node-max"], Read(Score)),
        (&["target-role", "requires", "multiple-active", "provides", "remote-node", "container"], Read(Text)),
        (&["container-attribute-target"], Read(Text)),
        (&["is-managed", "maintenance", "allow-migrate", "allow-unhealthy-nodes", "critical"], Read(Boolean)),
        (&["notify", "interleave", "ordered", "globally-unique", "promotable", "collocated"], Read(Boolean)),
        (&["failure-timeout"], Read(Duration)),
        // What a connection is told; it plans the same.
        (&["remote-port", "remote-addr", "remote-connect-timeout"], Harmless),
        (&["remote-allow-migrate"], Read(Boolean)),
        // For people and their tools.
        (&["description"], Harmless),
        // Not read by Pacemaker itself since 2.0.
        (&["resource-failure-stickiness", "resource_stickiness", "is_managed", "target_role"], Harmless),
        (&["restart-type"], Lost),
    ];
    find(META, name)
}

/// Settings of an operation: its attributes, its meta-attributes, defaults of operations.
pub(super) fn operation(name: &str) -> Option<Known> {
    const OPERATION: Names = &[
        (&["name", "on-fail", "role"], Read(Text)),
        (&["interval", "timeout"], Read(Duration)),
        (&["enabled"], Read(Boolean)),
        // When it is run and what is noted of it: a plan is the same.
        (&["start-delay", "interval-origin", "record-pending", "prereq"], Harmless),
        (&["requires"], Lost),
    ];
    find(OPERATION, name)
}

/// An element: the attributes that are read, and what can be in it.
pub(super) struct Shape {
    pub read: &'static [&'static str],
    pub harmless: &'static [&'static str],
    /// Nothing here does what they do there.
    pub lost: &'static [&'static str],
    pub children: &'static [&'static str],
}

impl Shape {
    const fn new(read: &'static [&'static str], children: &'static [&'static str]) -> Self {
        Self { read, harmless: &[], lost: &[], children }
    }
}

/// What names and ids are for people, and what refers to another element.
pub(super) const ANYWHERE: [&str; 4] = ["id", "description", "id-ref", "name"];

/// What is known of an element; None: nothing.
pub(super) fn shape(tag: &str) -> Option<Shape> {
    const SETTINGS: &[&str] = &["meta_attributes", "instance_attributes", "utilization"];
    const RULE: &[&str] = &["rule", "expression", "date_expression", "rsc_expression", "op_expression"];
    Some(match tag {
        "cib" => Shape {
            // Versions, and who changed it last.
            harmless: &[
                "crm_feature_set",
                "validate-with",
                "epoch",
                "num_updates",
                "admin_epoch",
                "cib-last-written",
                "update-origin",
                "update-client",
                "update-user",
                "remote-tls-port",
                "remote-clear-port",
                "execution-date",
                "cib_feature_revision",
                "cib_feature_revision_max",
                "generated",
                "ignore_dtd",
                "ccm_transition",
                "num_peers",
                "have_quorum",
                "request-rate",
                "debug_source",
                "transition-key",
                "verbose",
                "crm-debug-origin",
                "remote_access_port",
                "no-quorum-panic",
            ],
            ..Shape::new(&["have-quorum", "dc-uuid"], &["configuration", "status"])
        },
        "configuration" => Shape::new(
            &[],
            &[
                "crm_config",
                "nodes",
                "resources",
                "constraints",
                "rsc_defaults",
                "op_defaults",
                "fencing-topology",
                "tags",
                "acls",
                "alerts",
            ],
        ),
        "crm_config" => Shape::new(&[], &["cluster_property_set"]),
        "rsc_defaults" | "op_defaults" => Shape::new(&[], &["meta_attributes"]),
        "nodes" => Shape::new(&[], &["node"]),
        "node" => Shape::new(&["uname", "type"], &["instance_attributes", "utilization"]),
        "cluster_property_set" | "meta_attributes" | "instance_attributes" | "utilization" => {
            Shape::new(&["score"], &["nvpair", "rule", "attributes"])
        }
        "attributes" => Shape::new(&[], &["nvpair"]),
        "nvpair" => Shape::new(&["value"], &[]),
        // What is in these is looked at by who reads them.
        "resources" => Shape::new(&[], &["primitive", "group", "clone", "master", "bundle", "template"]),
        "primitive" | "template" => Shape::new(
            &["class", "provider", "type", "template"],
            &["meta_attributes", "instance_attributes", "utilization", "operations"],
        ),
        "group" => Shape::new(&[], &["meta_attributes", "instance_attributes", "primitive"]),
        "clone" | "master" => Shape::new(&[], &["meta_attributes", "instance_attributes", "primitive", "group"]),
        "bundle" => Shape::new(&[], &["meta_attributes", "docker", "podman", "rkt", "network", "storage", "primitive"]),
        "docker" | "podman" | "rkt" => Shape {
            harmless: &["image", "network", "run-command", "options"],
            ..Shape::new(&["replicas", "replicas-per-host", "promoted-max", "masters"], &[])
        },
        "network" => Shape {
            harmless: &["host-interface", "host-netmask", "add-host"],
            ..Shape::new(&["ip-range-start", "control-port"], &["port-mapping"])
        },
        "port-mapping" => Shape { harmless: &["port", "internal-port", "range"], ..Shape::new(&[], &[]) },
        "storage" => Shape::new(&[], &["storage-mapping"]),
        "storage-mapping" => {
            Shape { harmless: &["source-dir", "source-dir-root", "target-dir", "options"], ..Shape::new(&[], &[]) }
        }
        "operations" => Shape::new(&[], &["op"]),
        "op" => Shape::new(&[], &["meta_attributes", "instance_attributes"]),
        "constraints" => Shape::new(&[], &["rsc_location", "rsc_order", "rsc_colocation", "rsc_ticket"]),
        "rsc_location" => Shape::new(
            &["rsc", "rsc-pattern", "node", "score", "role", "resource-discovery"],
            &["rule", "resource_set", "lifetime"],
        ),
        "lifetime" => Shape::new(&[], &["rule"]),
        "rsc_order" => Shape {
            lost: &["first-instance", "then-instance"],
            ..Shape::new(
                &["first", "then", "first-action", "then-action", "kind", "score", "symmetrical", "require-all"],
                &["resource_set"],
            )
        },
        "rsc_colocation" => Shape {
            lost: &["score-attribute", "score-attribute-mangle", "rsc-instance", "with-rsc-instance"],
            ..Shape::new(
                &["rsc", "with-rsc", "rsc-role", "with-rsc-role", "score", "node-attribute", "influence"],
                &["resource_set"],
            )
        },
        "rsc_ticket" => Shape::new(&["rsc", "rsc-role", "ticket", "loss-policy"], &["resource_set"]),
        "resource_set" => Shape {
            lost: &["ordering", "score-attribute", "score-attribute-mangle"],
            ..Shape::new(&["sequential", "require-all", "action", "role", "score"], &["resource_ref"])
        },
        "resource_ref" | "obj_ref" => Shape::new(&[], &[]),
        "tags" => Shape::new(&[], &["tag"]),
        "tag" => Shape::new(&[], &["obj_ref"]),
        "fencing-topology" => Shape::new(&[], &["fencing-level"]),
        "fencing-level" => {
            Shape::new(&["target", "target-pattern", "target-attribute", "target-value", "index", "devices"], &[])
        }
        "rule" => Shape::new(&["score", "score-attribute", "role", "boolean-op"], RULE),
        "expression" => Shape::new(&["attribute", "operation", "value", "type", "value-source"], &[]),
        "date_expression" => Shape::new(&["operation", "start", "end"], &["duration", "date_spec"]),
        "duration" => Shape::new(&["seconds", "minutes", "hours", "days", "weeks", "months", "years"], &[]),
        "date_spec" => Shape {
            // Not read by Pacemaker itself.
            harmless: &["moon"],
            ..Shape::new(
                &[
                    "seconds",
                    "minutes",
                    "hours",
                    "monthdays",
                    "weekdays",
                    "yeardays",
                    "months",
                    "weeks",
                    "years",
                    "weekyears",
                ],
                &[],
            )
        },
        "rsc_expression" => Shape::new(&["class", "provider", "type"], &[]),
        "op_expression" => Shape::new(&["interval"], &[]),
        "status" => Shape::new(&[], &["node_state", "tickets"]),
        "tickets" => Shape::new(&[], &["ticket_state"]),
        "ticket_state" => Shape {
            // What the ticket's manager notes for itself.
            harmless: &["last-granted", "owner", "expires", "term", "booth-cfg-name"],
            ..Shape::new(&["granted", "standby"], &[])
        },
        "node_state" => Shape {
            // Which part of Pacemaker wrote it; older signs of what the attributes that are read say.
            harmless: &[
                "ha",
                "crm-debug-origin",
                "shutdown",
                "standby",
                "replace",
                "remote_node",
                "node_fenced",
                "resource-agents",
                "reap",
                "unhealthy",
                "clear_shutdown",
            ],
            ..Shape::new(&["uname", "in_ccm", "crmd", "join", "expected"], &["lrm", "transient_attributes"])
        },
        "transient_attributes" => Shape::new(&[], SETTINGS),
        "lrm" => Shape::new(&[], &["lrm_resources", "lrm_agents"]),
        // Histories, by far the largest part: of their entries the results, parameters' digests and partners of migrations
        // are read; when and how long, who planned it and what was printed is harmless.
        "lrm_resources" => Shape::new(&[], &["lrm_resource"]),
        "lrm_resource" => Shape {
            harmless: &["container", "version"],
            ..Shape::new(&["class", "provider", "type", "shutdown-lock"], &["lrm_rsc_op"])
        },
        _ => return None,
    })
}
