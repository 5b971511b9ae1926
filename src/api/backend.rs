//! What the routes need of the daemon: one trait, implemented by the daemon and by a small stand-in in tests.
//!
//! Reading is answered from what this node has applied; writing returns when this node has applied the outcome.
//! Errors: [`ApiError`]; an outcome that is not known is [`ErrorCode::Unknown`](super::ErrorCode::Unknown).

use super::access::Caller;
use super::error::ApiError;
use super::types::{
    CheckRequest, CheckView, DiffView, EventWhyView, FenceRequest, FenceView, HistoryView, LinkView, OutputView,
    PlanView, PushRequest, PushView, ShimCall, ShimView, ShutdownKind, SignatureView, TokenRequest, TokenView,
    VerdictView, WhyView,
};
use super::webhook::Webhooks;
use crate::model::{DeviceId, InstanceId, LogIndex, NodeId, ResourceId, Revision};
use crate::net::Contacts;
use crate::reconcile::Checked;
use crate::state::port::{Applied, Leadership, ProposeError};
use crate::state::{Command, Event, State};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

type Answer<T> = Result<T, ApiError>;

/// The daemon, as the API sees it.
pub trait Backend: Send + Sync + 'static {
    /// The name of this node.
    fn node(&self) -> NodeId;
    /// The newest applied state.
    fn state(&self) -> Arc<State>;
    fn leadership(&self) -> Leadership;
    /// Every link to every other node, as measured here.
    fn links(&self) -> Vec<LinkView>;
    /// Who was heard when, by this node and by the others.
    fn contacts(&self) -> Contacts;
    /// This node's clock, ms since 1970.
    fn wall_ms(&self) -> u64;
    /// What the planner says of each instance of the newest state.
    fn verdicts(&self) -> BTreeMap<InstanceId, VerdictView>;
    /// What keeps the cluster from being healthy and is not in the state: untested fencing levels, an unreadable source.
    fn conditions(&self) -> Vec<String>;
    /// What this node's checks of fencing devices said last.
    fn checked(&self) -> Arc<BTreeMap<DeviceId, Checked>>;
    /// What happened after an index, oldest first; all events of one index or none of them. About `limit` of them.
    fn events(&self, after: LogIndex, limit: usize) -> Vec<Event>;
    /// Returns when there may be events after this index. Need not be exact.
    fn events_after(&self, after: LogIndex) -> impl Future<Output = ()> + Send;
    /// The newest events, oldest first.
    fn recent_events(&self, limit: usize) -> Vec<Event>;

    /// Commits commands as one entry.
    fn propose(&self, commands: Vec<Command>) -> impl Future<Output = Result<Applied, ProposeError>> + Send;
    /// What would follow from these commands.
    fn predict(&self, commands: Vec<Command>) -> impl Future<Output = Answer<PlanView>> + Send;
    /// Validates manifests and plans them against the newest state.
    fn check(&self, request: CheckRequest) -> impl Future<Output = Answer<CheckView>> + Send;
    /// What manifests say differently than the target.
    fn diff(&self, request: CheckRequest) -> impl Future<Output = Answer<DiffView>> + Send;
    /// As `check`, for a revision that is being pushed; `refusal` says what a push of it would be told.
    fn check_push(&self, request: PushRequest) -> impl Future<Output = Answer<CheckView>> + Send;
    /// Makes a revision of the local repository the target.
    fn push(&self, request: PushRequest, by: Caller) -> impl Future<Output = Answer<PushView>> + Send;
    /// Who signed a revision, if this node has looked already. Never waits.
    fn signature(&self, revision: &Revision) -> Option<SignatureView>;
    /// The target and what it was built on, newest first, so many commits at most.
    fn history(&self, limit: usize) -> impl Future<Output = Answer<HistoryView>> + Send;
    /// Every reason for where a resource, group or clone is. `not`: also why it is not there.
    fn why(&self, resource: ResourceId, not: Option<NodeId>) -> impl Future<Output = Answer<WhyView>> + Send;
    /// What led to the events of one entry of the log.
    fn why_event(&self, index: LogIndex) -> impl Future<Output = Answer<EventWhyView>> + Send;
    /// The agreed state as a State document without secrets, for `hafen plan --state` and bug reports.
    fn export(&self) -> impl Future<Output = Answer<Vec<u8>>> + Send;
    /// Starts to fence or to test, and returns the attempt without waiting for its end; or records trust.
    fn fence(&self, request: FenceRequest, by: Caller) -> impl Future<Output = Answer<FenceView>> + Send;
    fn token(&self, request: TokenRequest, by: Caller) -> impl Future<Output = Answer<TokenView>> + Send;
    /// Who holds this bearer token, or why nobody does.
    fn bearer(&self, token: &str) -> impl Future<Output = Result<Caller, String>> + Send;
    /// A join request as `net` encodes it, answered likewise.
    fn join(&self, request: Vec<u8>) -> impl Future<Output = Answer<Vec<u8>>> + Send;
    /// Somebody, perhaps a stranger, says that there is something new at `source.url`.
    fn source_changed(&self);
    /// The door for webhooks.
    fn webhooks(&self) -> &Webhooks;
    /// What they must be signed with; None: with nothing. An error: it cannot be read now.
    fn webhook_secret(&self) -> impl Future<Output = Result<Option<Vec<u8>>, String>> + Send;
    /// Answers an agent's helper. Unknown helpers and arguments are answered with an exit code, as the helper would.
    fn shim(&self, call: ShimCall) -> impl Future<Output = Answer<ShimView>> + Send;
    /// The last output of the instance's agent on this node.
    fn output(&self, instance: InstanceId) -> impl Future<Output = Answer<OutputView>> + Send;
    /// Begins to drain and stop this daemon; returns at once.
    fn shutdown(&self, what: ShutdownKind) -> impl Future<Output = Answer<()>> + Send;
}
