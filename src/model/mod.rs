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
pub mod id;
pub mod metadata;
pub mod node;
mod notice;
pub mod reason;
pub mod resource;
pub mod rule;
pub mod score;
pub mod sets;
pub mod spec;
pub mod suggest;
mod ticket;

pub use action::{ActionKind, AgentRequest, CloneMeta, Definition, ExecStatus, Outcome, Reading};
pub use bundle::{Bundle, BundleNetwork, BundlePart, Expanded, Mount, Runtime, ScoresOf};
pub use constraint::{
    Colocation, ColocationEnd, Discovery, Location, NodeSelector, Order, OrderAction, OrderEnd, OrderStrength, Strength,
};
pub use diagnostic::{Diagnostic, Severity};
pub use id::{
    AttemptId, BootId, DeviceId, Digest, Epoch, Incarnation, InstanceId, LogIndex, NodeId, OverrideId, ResourceId,
    Revision,
};
pub use metadata::{ActionMeta, AgentCatalogue, AgentMetadata, AgentTraits, ParameterMeta, Reload};
pub use node::{
    Cluster, Detection, FenceWhen, FencingAction, FencingDevice, FencingPolicy, Node, NodeRole, Placement, SecretRef,
    Source,
};
pub use notice::{Copies, CopyAt, Moment, NoticeView};
pub use reason::Reason;
pub use resource::{
    AgentRef, Clone, FailurePolicy, Group, Influence, MultipleActive, OnFail, OpName, Operation, Promotable,
    QuorumLoss, Requires, Resource, Role, TargetRole,
};
pub use rule::{CompareAs, Comparison, Field, Instant, Operator, Rule, Span};
pub use score::Score;
pub use sets::{ColocationSet, ColocationSets, OrderSet, OrderSets};
pub use spec::{Kind, ObjectRef, Origin, Spec};
pub use ticket::{OnLoss, Ticket};
