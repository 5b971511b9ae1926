//! The documents as they are written: every field optional that has a default, nothing resolved.
//!
//! Input → output: these types derive both the reading (serde) and the JSON Schemas that `structure` checks
//! documents against, that editors use, and that `schemas/` holds. Their doc comments are the schemas' descriptions.
//!
//! Deliberately absent: defaults (`resolve`) and rules that span fields or documents (`check_*`).

use crate::model::{
    ConfirmedBy, Discovery, DriftPolicy, FenceWhen, FencingAction, Influence, MultipleActive, NodeRole, OnFail, OnLoss,
    OrderAction, OrderStrength, Placement, QuorumLoss, Requires, Role, Runtime, ScoresOf, SignatureKind, Strength,
    TargetRole, Weekday,
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

pub(super) use super::raw_rule::{RawCalendar, RawRule};
pub(super) use super::raw_scenario::{FailingOperation, RawExpectation, RawScenario, RawScenarioStep};
pub(super) use super::raw_source::RawSource;
pub(super) use super::values::{
    Address, NAME_PATTERN, Name, Param, Quantity, Range, Time, Time1970, TimeOfDay, TimeZoneName, Weight,
};

macro_rules! documents {
    ($($(#[$meta:meta])* struct $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* })*) => { $(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub(super) struct $name { $($(#[$field_meta])* pub $field: $type,)* }
    )* };
}
pub(super) use documents;

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
        /// What the agent is told and nobody else may read.
        secrets: Option<BTreeMap<String, RawSecret>>,
        /// What it takes of a node's capacity.
        utilization: Option<BTreeMap<String, Quantity>>,
        /// The resource that it runs inside of, a virtual machine or a container: on its node, after it, and what fails is
        /// mended by restarting that. Planned, but not run.
        inside: Option<Name>,
        /// So long it may be down at worst, when it fails or its node is lost; more is a finding.
        max_outage: Option<Time>,
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
        #[schemars(range(max = 10_000))]
        max: Option<u32>,
        /// Copies on one node at most; default 1.
        #[schemars(range(max = 10_000))]
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
        source: Option<Box<RawSource>>,
        /// Times of the leases of nodes that their watchdog fences.
        watchdog: Option<RawWatchdog>,
        /// So many nodes, racks, links or fencing devices may be lost at once without anything losing its home, or the quorum;
        /// manifests that cannot hold that are refused. Default 0.
        #[schemars(range(max = 2))]
        survive: Option<u8>,
        /// Who must have signed a change of what, before a push of it is taken; default nobody.
        signatures: Option<Vec<RawSignatureRule>>,
        /// A new commit is on trial; if it does not turn out well in time, the cluster returns to the last good one. Without
        /// this every commit counts as good.
        confirmation: Option<RawConfirmation>,
        /// What follows if something is found running where nobody asked for it; default Correct.
        drift_policy: Option<DriftPolicy>,
        /// When a commit may restart, move or stop services; recovery never asks. Default: at any time.
        #[schemars(length(max = 50))]
        change_windows: Option<Vec<RawChangeWindow>>,
        /// Defaults of all resources.
        defaults: Option<RawDefaults>,
    }

    /// A span of each of some days.
    struct RawChangeWindow {
        /// Days on which it opens; default: every day.
        days: Option<Vec<Weekday>>,
        /// When it opens, such as "22:00".
        from: TimeOfDay,
        /// When it closes, such as "04:00"; if that is not later, on the day after.
        to: TimeOfDay,
        /// Whose clocks show that, such as Europe/Berlin; default UTC.
        time_zone: Option<TimeZoneName>,
    }

    /// When a new commit counts as good.
    struct RawConfirmation {
        /// So long after it was accepted at the latest; default 10m.
        deadline: Option<Time>,
        /// So long everything must be healthy without a break; default 10s.
        stable: Option<Time>,
        /// Health (the default): as soon as everything is as it should be. Operator: only by `hafen confirm`.
        by: Option<ConfirmedBy>,
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

    /// How long each step may take until a silent node has surely ended.
    struct RawWatchdog {
        /// A node is over so long after its last acknowledged heartbeat; default 12s.
        lease_ttl: Option<Time>,
        /// A node that was not acknowledged for so long stops what it runs; default 1500ms.
        self_stop_after: Option<Time>,
        /// How long that may take before it lets the watchdog reset it; default 2s.
        stop_budget: Option<Time>,
        /// What the driver is asked for, in whole seconds; default 3s.
        timeout: Option<Time>,
        /// How long a reset takes to end everything; default 1s.
        reset_latency: Option<Time>,
        /// Default 1s.
        margin: Option<Time>,
        /// How far clocks drift, in parts per million; default 1000.
        #[schemars(range(max = 100000))]
        drift_ppm: Option<u32>,
    }

    /// Every commit that touches one of these paths is signed by one of these signers, or it is refused.
    struct RawSignatureRule {
        /// From the root of the repository: `*` and `?` within a name, `**` across folders, `prod/` is all below it.
        paths: Vec<String>,
        /// The form of signature that counts; default Any.
        require: Option<SignatureKind>,
        signers: RawSigners,
    }

    /// Whose signatures count, by their public keys.
    struct RawSigners {
        /// Lines of an `allowed_signers` file, see ssh-keygen(1): `ada@example.org ssh-ed25519 AAAA…`.
        ssh: Option<Vec<String>>,
        /// OpenPGP public keys, as `gpg --armor --export` prints them.
        gpg: Option<Vec<String>>,
        /// Files of the repository that hold either, from its root.
        files: Option<Vec<String>>,
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

    /// A secret, in one of three forms.
    struct RawSecret {
        /// In a file on the node that runs the agent: its absolute path.
        #[schemars(extend("format" = "hafen-path"))]
        file: Option<String>,
        /// Encrypted with age for the nodes that run the agent (`age --armor -r RECIPIENT`).
        age: Option<String>,
        /// A value of a SOPS file beside the manifests.
        sops: Option<RawSops>,
    }

    /// A value of a SOPS file.
    struct RawSops {
        /// The file, as seen from this one: `secrets.enc.yaml`, `../db.enc.json`.
        file: String,
        /// The keys on the way to the value, joined by dots: `db.password`.
        key: String,
    }

    /// The containers of a bundle.
    struct RawContainer {
        runtime: Runtime,
        /// The image, as the runtime calls it.
        image: String,
        /// Default 1, or as many as can be promoted.
        #[schemars(range(min = 1, max = 1_000))]
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
