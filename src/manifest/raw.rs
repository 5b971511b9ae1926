//! The documents as they are written: every field optional that has a default, nothing resolved.
//!
//! Input → output: these types derive both the reading (serde) and the JSON Schemas that `structure` checks
//! documents against, that editors use, and that `schemas/` holds. Their doc comments are the schemas' descriptions.
//!
//! Deliberately absent: defaults (`resolve`) and rules that span fields or documents (`check_*`).

use crate::model::{
    CompareAs, Discovery, FenceWhen, FencingAction, Influence, MultipleActive, NodeRole, OnFail, OnLoss, Operator,
    OrderAction, OrderStrength, Placement, QuorumLoss, Requires, Role, Runtime, ScoresOf, Strength, TargetRole,
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

pub(super) use super::values::{Address, NAME_PATTERN, Name, Param, Quantity, Range, Time, Time1970, Weight};

macro_rules! documents {
    ($($(#[$meta:meta])* struct $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* })*) => { $(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub(super) struct $name { $($(#[$field_meta])* pub $field: $type,)* }
    )* };
}

/// The same, with the fields that a Group, a Clone and the Cluster's defaults can set for the resources below them.
macro_rules! inheritable {
    ($($(#[$meta:meta])* struct $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* })*) => { $(
        documents! {
            $(#[$meta])*
            struct $name {
                $($(#[$field_meta])* $field: $type,)*
                /// Intervals, time-outs and what follows from failures, by operation.
                operations: Option<RawOperations>,
                /// When repeated failures ban a node.
                failure: Option<RawFailure>,
                /// How much it wants to stay where it is; default 1.
                #[schemars(range(min = -1_000_000, max = 1_000_000))]
                stickiness: Option<i32>,
                /// Who is placed first, and who wins where not all fit; default 0.
                #[schemars(range(min = -1_000_000, max = 1_000_000))]
                priority: Option<i32>,
                /// The most that is wanted of it; default Started.
                target_role: Option<TargetRole>,
                /// False: it is watched, but neither started nor stopped. Default true.
                managed: Option<bool>,
                /// True: it is not even watched. Default false.
                maintenance: Option<bool>,
                /// What must hold before a start; default Fencing where fencing is enabled, else Quorum.
                requires: Option<Requires>,
                /// What a node without quorum does with it; default from the Cluster.
                quorum_loss: Option<QuorumLoss>,
                /// It can move while it runs; default false.
                migratable: Option<bool>,
                /// What is done when more copies run than may; default StopStart.
                multiple_active: Option<MultipleActive>,
                /// Whether its wishes count while what it depends on runs; default Always.
                influence: Option<Influence>,
            }
        }
        impl $name {
            /// The inheritable fields.
            pub fn inherited(&self) -> Inherited<'_> {
                Inherited {
                    operations: self.operations.as_ref(),
                    failure: self.failure,
                    stickiness: self.stickiness,
                    priority: self.priority,
                    target_role: self.target_role,
                    managed: self.managed,
                    maintenance: self.maintenance,
                    requires: self.requires,
                    quorum_loss: self.quorum_loss,
                    migratable: self.migratable,
                    multiple_active: self.multiple_active,
                    influence: self.influence,
                }
            }
        }
    )* };
}

/// What a Resource, its Group, its Clone or the Cluster's defaults say of a resource.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Inherited<'a> {
    pub operations: Option<&'a RawOperations>,
    pub failure: Option<RawFailure>,
    pub stickiness: Option<i32>,
    pub priority: Option<i32>,
    pub target_role: Option<TargetRole>,
    pub managed: Option<bool>,
    pub maintenance: Option<bool>,
    pub requires: Option<Requires>,
    pub quorum_loss: Option<QuorumLoss>,
    pub migratable: Option<bool>,
    pub multiple_active: Option<MultipleActive>,
    pub influence: Option<Influence>,
}

inheritable! {
    /// Defaults of all resources.
    struct RawDefaults {}

    /// One service.
    struct RawResource {
        /// `ocf:PROVIDER:TYPE` or `systemd:UNIT`; of other classes `CLASS:TYPE`, which are planned but not run.
        #[schemars(extend("format" = "hafen-agent"))]
        agent: String,
        /// What the agent is told; strings.
        params: Option<BTreeMap<String, Param>>,
        /// What it takes of a node's capacity.
        utilization: Option<BTreeMap<String, Quantity>>,
        /// The resource that it runs inside of, a virtual machine or a container: on its node, after it, and what fails is
        /// mended by restarting that. Planned, but not run.
        inside: Option<Name>,
    }

    /// Containers in several replicas, each with its address, its connection and a copy of what runs inside. Planned, but
    /// not run. The settings are those of all that makes up a replica; what runs inside has its own.
    struct RawBundle {
        container: RawContainer,
        /// Addresses of the containers, and how they are reached.
        network: Option<RawBundleNetwork>,
        /// Folders and files of the host inside of each container.
        storage: Option<Vec<RawMount>>,
        /// The name of a resource that runs inside; default nothing but the image's own command.
        resource: Option<Name>,
        /// Dependants wait only for the copy on their own node; default false.
        interleave: Option<bool>,
        /// Whose attributes are the promotion scores of what runs inside; default Inside.
        scores_of: Option<ScoresOf>,
    }

    /// Resources that run on one node, started in order and stopped in reverse.
    struct RawGroup {
        /// Names of resources.
        members: Vec<Name>,
    }

    /// Several copies of one resource or group.
    struct RawClone {
        /// The name of a resource or a group.
        resource: Name,
        /// Copies at most; default one per node.
        max: Option<u32>,
        /// Copies on one node at most; default 1.
        per_node: Option<u32>,
        /// Some copies are promoted.
        promotable: Option<RawPromotable>,
        /// Copies are told of what happens to the others; default false.
        notify: Option<bool>,
        /// Dependants wait only for the copy on their own node; default false.
        interleave: Option<bool>,
        /// Copies start one after the other; default false.
        ordered: Option<bool>,
        /// Each copy is a different thing; default false.
        globally_unique: Option<bool>,
        /// So many running copies are enough for what is ordered after it; default: all that are starting are waited for.
        #[schemars(range(min = 1))]
        enough: Option<u32>,
    }
}

documents! {
    /// Whose document it is.
    struct RawMetadata {
        /// The name by which others refer to it.
        name: Name,
        /// Of nodes: what Location constraints select by.
        labels: Option<BTreeMap<String, Param>>,
        /// For people and other tools; not read.
        annotations: Option<BTreeMap<String, Param>>,
    }

    /// Settings of the whole cluster; may be `{}`.
    struct RawCluster {
        /// When a silent node counts as suspect.
        detection: Option<RawDetection>,
        /// How lost nodes are made harmless.
        fencing: Option<RawFencing>,
        /// What a node without quorum does with its resources; default Stop.
        quorum_loss: Option<QuorumLoss>,
        /// How long a known node may be unheard after the cluster started; default 2m.
        join_grace: Option<Time>,
        /// A push that removes more resources needs `-o allow-removals`; default 5.
        max_removals: Option<u32>,
        /// True (the default): resources may run everywhere unless a constraint says otherwise.
        symmetric: Option<bool>,
        /// How capacity counts in the choice of a node; default Spread.
        placement: Option<Placement>,
        /// A git repository to follow, besides taking pushes.
        source: Option<RawSource>,
        /// Defaults of all resources.
        defaults: Option<RawDefaults>,
    }

    /// A profile, or both times by hand.
    struct RawDetection {
        /// Default: 100ms and 1500ms. Fast: 50ms and 400ms.
        profile: Option<Profile>,
        /// How often nodes say that they live.
        heartbeat: Option<Time>,
        /// After so much silence a node is suspect.
        suspect_after: Option<Time>,
    }

    /// How lost nodes are made harmless.
    struct RawFencing {
        /// Default true.
        enabled: Option<bool>,
        /// How long one attempt may take; default 60s.
        timeout: Option<Time>,
        /// Default Reboot.
        action: Option<FencingAction>,
        /// Evidence of devices that were never proved does not count; default false.
        require_tested: Option<bool>,
        /// A node fenced more often within an hour stays off; default 5.
        #[schemars(range(min = 1))]
        max_fences: Option<u32>,
        /// UNSAFE, only with `enabled: false`: a node silent for so long is taken to be off.
        assume_off: Option<Time>,
        /// Which lost nodes are fenced; default Needed.
        when: Option<FenceWhen>,
    }

    /// A git repository to follow.
    struct RawSource {
        url: Option<String>,
        /// Default main.
        branch: Option<String>,
        /// Folder of the manifests; default the root.
        path: Option<String>,
        /// Default 1m.
        interval: Option<Time>,
    }

    /// A machine and what it is for.
    struct RawNode {
        /// One per network; the first is link 0. A running cluster needs one at least.
        addresses: Option<Vec<Address>>,
        /// Default Voter.
        role: Option<NodeRole>,
        /// Of `role: Remote`: the resource over which it is reached. The node is there as long as that runs.
        connection: Option<Name>,
        /// What it has to give, by names of your choice.
        capacity: Option<BTreeMap<String, Quantity>>,
        /// Levels in order; within a level every device must succeed.
        fencing: Option<Vec<Vec<Name>>>,
    }

    /// What switches nodes off.
    struct RawFencingDevice {
        /// A fence agent (`fence_…`), `redfish` or `watchdog`; `stonith:TYPE` is planned but not used.
        #[schemars(extend("format" = "hafen-fence-agent"))]
        agent: String,
        /// What the agent is told; strings.
        params: Option<BTreeMap<String, Param>>,
        /// What the agent is told and nobody else may read.
        secrets: Option<BTreeMap<String, RawSecret>>,
        /// What the device calls each node; default the node's name.
        targets: Option<BTreeMap<String, Param>>,
        /// Default 60s.
        timeout: Option<Time>,
        /// Before it is used; default 0s.
        delay: Option<Time>,
        /// Tries after the first one failed; default 2.
        #[schemars(range(max = 100))]
        retries: Option<u32>,
        /// How often the device is asked whether it answers; default 10m.
        check: Option<Time>,
    }

    /// A secret in a file on the node that runs the agent.
    struct RawSecret {
        /// Absolute path.
        #[schemars(extend("format" = "hafen-path"))]
        file: String,
    }

    /// The containers of a bundle.
    struct RawContainer {
        runtime: Runtime,
        /// The image, as the runtime calls it.
        image: String,
        /// Default 1, or as many as can be promoted.
        #[schemars(range(min = 1, max = 10_000))]
        replicas: Option<u32>,
        /// Replicas on one node at most; default 1.
        #[schemars(range(min = 1))]
        per_host: Option<u32>,
        /// Promoted copies of what runs inside, at most; default: it has no such role.
        #[schemars(range(min = 1))]
        promoted: Option<u32>,
        /// Further words for the runtime.
        run_options: Option<String>,
        /// Run inside instead of the image's own command.
        command: Option<String>,
    }

    struct RawBundleNetwork {
        /// Of the first replica; the others have the next ones.
        address: Option<Address>,
        /// Prefix length of the addresses.
        #[schemars(range(min = 1, max = 128))]
        prefix: Option<u32>,
        /// Where the addresses are put; default where their network is.
        interface: Option<String>,
        /// Of the connection into each container; default 3121.
        #[schemars(range(min = 1, max = 65_535))]
        port: Option<u32>,
        /// The runtime's own word for how the container is connected, such as `host`.
        mode: Option<String>,
        /// Ports of each address that are the container's: `"80"`, or `"8080:80"` where they differ.
        publish: Option<Vec<Param>>,
    }

    struct RawMount {
        /// On the host.
        from: String,
        /// In the container.
        to: String,
        /// Every replica has its own below `from`, named after it; default false.
        per_replica: Option<bool>,
        /// The runtime's own words.
        options: Option<String>,
    }

    struct RawOperations {
        start: Option<RawOperation>,
        stop: Option<RawOperation>,
        monitor: Option<RawOperation>,
        /// The monitor of promoted instances, where it differs.
        monitor_promoted: Option<RawOperation>,
        promote: Option<RawOperation>,
        demote: Option<RawOperation>,
        notify: Option<RawOperation>,
        migrate_to: Option<RawOperation>,
        migrate_from: Option<RawOperation>,
        reload: Option<RawOperation>,
    }

    struct RawOperation {
        /// Of monitors: how often; default 10s, `0s` never.
        interval: Option<Time>,
        /// Default 20s.
        timeout: Option<Time>,
        /// Default Restart; of stop: Fence where fencing is enabled, else Block.
        on_fail: Option<OnFail>,
    }

    #[derive(Copy)]
    struct RawFailure {
        /// Failures on one node before the resource leaves it; default 3, 0 means never.
        #[schemars(range(max = 1_000_000))]
        threshold: Option<u32>,
        /// Older failures are forgotten; default 10m, `0s` means never.
        timeout: Option<Time>,
    }

    #[derive(Copy)]
    struct RawPromotable {
        /// Promoted copies at most; default 1.
        max: Option<u32>,
        /// Promoted copies on one node at most; default 1.
        per_node: Option<u32>,
    }

    /// `then` happens after `first`; or several `sets`, one after the other.
    struct RawOrder {
        first: Option<RawOrderFirst>,
        then: Option<RawOrderEnd>,
        /// Instead of `first` and `then`: each set happens after the one before it.
        sets: Option<Vec<RawOrderSet>>,
        /// Default Required.
        strength: Option<OrderStrength>,
        /// The opposite actions happen in the opposite order; default true.
        symmetric: Option<bool>,
    }

    struct RawOrderFirst {
        /// A resource, group or clone.
        resource: Option<Name>,
        /// Instead of `resource`: any one of these is enough.
        any_of: Option<Vec<Name>>,
        /// Of the copies of a clone one is enough, and the others are not waited for; default false.
        any_copy: Option<bool>,
        /// Default Start, at both ends.
        action: Option<OrderAction>,
    }

    struct RawOrderEnd {
        /// A resource, group or clone.
        resource: Name,
        /// Default Start, at both ends.
        action: Option<OrderAction>,
    }

    struct RawOrderSet {
        /// Resources, groups or clones.
        members: Vec<Name>,
        /// True (the default): its members one after the other.
        sequential: Option<bool>,
        /// False: any one of its members is enough for what comes after; default true.
        require_all: Option<bool>,
        /// Default Start.
        action: Option<OrderAction>,
    }

    /// `resource` goes where `with` is, or where it is not; or several `sets`, each with the one behind it.
    struct RawColocation {
        /// A resource, group or clone.
        resource: Option<Name>,
        /// Only in this role.
        role: Option<Role>,
        with: Option<RawColocationEnd>,
        /// Instead of `resource` and `with`: each set is with the one behind it.
        sets: Option<Vec<RawColocationSet>>,
        /// Default Required.
        strength: Option<Strength>,
        /// Of Preferred and Avoid; default 100.
        weight: Option<Weight>,
        /// None: the same node. Else a node with the same value of this label.
        node_label: Option<String>,
        /// Whether `resource` has a say in where `with` goes; default as its own.
        influence: Option<Influence>,
    }

    struct RawColocationEnd {
        /// A resource, group or clone.
        resource: Name,
        /// Only in this role.
        role: Option<Role>,
    }

    struct RawColocationSet {
        /// Resources, groups or clones.
        members: Vec<Name>,
        /// True (the default): each member is with the one before it.
        sequential: Option<bool>,
        /// Only in this role.
        role: Option<Role>,
        /// Of its members among themselves; default that of the constraint.
        strength: Option<Strength>,
        /// Of Preferred and Avoid among its members.
        weight: Option<Weight>,
    }

    /// Where a resource runs, or does not.
    struct RawLocation {
        /// A resource, group or clone.
        resource: Name,
        /// Names of nodes, or `matchLabels`, or a `rule`.
        nodes: RawSelector,
        /// Only in this role.
        role: Option<Role>,
        /// Default Required.
        strength: Option<Strength>,
        /// Of Preferred and Avoid; default 100. `0` only allows the node where `symmetric` is false.
        weight: Option<Weight>,
        /// Instead of `weight`: each node's own, from this label or what its agents set; who has none may not run it.
        weight_from: Option<String>,
        /// Whether it is looked for on the nodes that are not named; default Always.
        discovery: Option<Discovery>,
    }

    /// What may run, or be promoted, only while this site holds a ticket.
    struct RawTicket {
        /// Its name, as those who grant it know it.
        ticket: String,
        /// Resources, groups or clones.
        resources: Vec<Name>,
        /// Promoted: only that needs the ticket; default: running at all does.
        role: Option<Role>,
        /// How it goes when the ticket is lost; default Stop, for the role Promoted Demote.
        on_loss: Option<OnLoss>,
    }

    /// Nodes by their labels, or by a rule.
    struct RawNodes {
        /// Every label must be equal.
        match_labels: Option<BTreeMap<String, Param>>,
        /// A condition on labels, on what agents set on the node, and on the time.
        rule: Option<RawRule>,
    }

    /// A condition, of one of these forms: `all`, `any`, `key` with `operator` and `value`, `between`, `after`, `before`, `calendar`.
    struct RawRule {
        /// Each of these.
        all: Option<Vec<RawRule>>,
        /// One of these at least.
        any: Option<Vec<RawRule>>,
        /// A label of the node, or what its agents set on it; `#uname` is its name, `#kind` cluster, remote or container, `#is_dc` whether it leads.
        key: Option<String>,
        operator: Option<Operator>,
        /// Not of Exists and DoesNotExist.
        value: Option<Param>,
        /// What both are taken for; default text for Equal and NotEqual, in any case of letters, else numbers where both are.
        #[serde(rename = "as")]
        compare_as: Option<CompareAs>,
        /// From one second to another, both included.
        between: Option<RawBetween>,
        /// Behind this second, such as 2026-11-22T12:00:00Z.
        after: Option<Time1970>,
        /// Ahead of this second.
        before: Option<Time1970>,
        /// Every field that is given must fit, in UTC.
        calendar: Option<RawCalendar>,
    }

    struct RawBetween {
        from: Option<Time1970>,
        until: Option<Time1970>,
    }

    /// Ranges such as `5`, `5-7`, `5-` or `-7`.
    struct RawCalendar {
        seconds: Option<Range>,
        minutes: Option<Range>,
        hours: Option<Range>,
        /// 1 to 31.
        monthdays: Option<Range>,
        /// 1 (Monday) to 7.
        weekdays: Option<Range>,
        /// 1 to 366.
        yeardays: Option<Range>,
        months: Option<Range>,
        /// Of the year, by ISO 8601.
        weeks: Option<Range>,
        years: Option<Range>,
        /// The year to which the week belongs.
        weekyears: Option<Range>,
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum RawSelector {
    Names(Vec<Name>),
    Nodes(Box<RawNodes>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub(super) enum Profile {
    Default,
    Fast,
}
