//! The nouns of hafen: what everybody else talks about.
//!
//! Answers: what is a node, a resource, a role, a constraint, an action, an outcome, a diagnostic.
//! Input → output: none; these are values. The only code here is parsing and formatting of single words.
//!
//! Invariants: a [`Spec`] built by `manifest::load` without errors is valid: every reference in it resolves,
//! durations are positive, names match the grammar. Code behind that point does not check again.
//!
//! Deliberately absent: decisions, clocks, files, processes. `model` imports nothing else of this crate.

pub mod action;
pub mod bundle;
pub mod causes;
pub mod constraint;
pub mod diagnostic;
pub mod duration;
mod fabric;
mod forge;
pub mod id;
mod listing;
pub mod metadata;
pub mod node;
mod notice;
mod plan_id;
pub mod planted;
pub mod reason;
pub mod resource;
pub mod rule;
pub mod scenario;
pub mod score;
pub mod sealed;
pub mod secret;
pub mod sets;
pub mod signing;
pub mod spec;
pub mod suggest;
mod ticket;
pub mod watchdog;
pub mod window;

pub use action::{ActionKind, AgentRequest, CloneMeta, Definition, ExecStatus, Outcome, Reading};
pub use bundle::{Bundle, BundleNetwork, BundlePart, Expanded, MOST_REPLICAS, Mount, Runtime, ScoresOf};
pub use constraint::{
    Colocation, ColocationEnd, Discovery, Location, NodeSelector, Order, OrderAction, OrderEnd, OrderStrength, Strength,
};
pub use diagnostic::{Diagnostic, Severity};
pub use fabric::no_power_cut;
pub use forge::{CommitState, CommitStatus, Delivery, Provider, ReportTo};
pub use id::{
    AttemptId, BootId, DeviceId, Digest, Epoch, Incarnation, InstanceId, LogIndex, NodeId, OverrideId, ResourceId,
    Revision,
};
pub use listing::{ListedField, ListedObject, Listing};
pub use metadata::{ActionMeta, AgentCatalogue, AgentMetadata, AgentTraits, ParameterKind, ParameterMeta, Reload};
pub use node::{
    Cluster, Confirmation, ConfirmedBy, Detection, DriftPolicy, FenceWhen, FencingAction, FencingDevice, FencingPolicy,
    Node, NodeRole, Placement, Source,
};
pub use notice::{Copies, CopyAt, Moment, NoticeView};
pub use plan_id::{Moved, PlanId};
pub use reason::Reason;
pub use resource::{
    AgentRef, Clone, FailurePolicy, Group, Influence, MOST_COPIES, MultipleActive, OnFail, OpName, Operation,
    Promotable, QuorumLoss, Requires, Resource, Role, TargetRole,
};
pub use rule::{CompareAs, Comparison, Field, Instant, Operator, Rule, Span};
pub use score::Score;
pub use sealed::{
    AgeSecret, SecretFile, SecretRef, SecretRefs, SopsDocument, SopsRecipient, SopsSecret, SopsText, SopsValue,
};
pub use sets::{ColocationSet, ColocationSets, OrderSet, OrderSets};
pub use signing::{SignatureKind, SignatureRule, Signers};
pub use spec::{Kind, ObjectRef, Origin, Spec};
pub use ticket::{OnLoss, Ticket};
pub use watchdog::{LeaseSum, LeaseTiming, WatchdogFacts, WatchdogKind};
pub use window::{ChangeWindow, Closed, Weekday};
