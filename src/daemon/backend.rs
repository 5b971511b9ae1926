//! What people, hooks and agents ask of the daemon: [`Backend`] over the log, the core's insight and the repository.

use super::effects::Outputs;
use super::event_loop::Insight;
use super::history::Signatures;
use super::setup::NodeFacts;
use super::transport::PeerTransport;
use super::why::Blamed;
use super::{DaemonError, push, secrets, shims};
use crate::agent::Runner;
use crate::api::types::{
    CheckRequest, CheckView, DiffView, EventWhyView, FenceRequest, FenceView, HistoryView, LinkView, OutputView,
    PlanView, PushRequest, PushView, ShimCall, ShimView, ShutdownKind, SignatureView, TokenRequest, TokenRoleName,
    TokenView, VerdictView, WhyView,
};
use crate::api::{Access, ApiError, Backend, Caller, Door, ErrorCode, Webhooks, fencing, router, socket, words};
use crate::log::RaftLog;
use crate::manifest::SourceFile;
use crate::model::{DeviceId, ExecStatus, InstanceId, LogIndex, NodeId, ResourceId, Revision, duration};
use crate::net::{self, Heartbeats, Identity, JoinGrant, JoinRequest, JoinToken, PeerAddr, Peers, TokenRole, token};
use crate::reconcile;
use crate::source::Repo;
use crate::source::receive::PushOptions;
use crate::state::port::{Applied, Leadership, Log, ProposeError};
use crate::state::{Command, Event, State, StateDocument, Token, TokenFor};
use axum::Router;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Events kept in memory: days of a quiet cluster, the whole story of a bad night.
const MAX_EVENTS: usize = 10_000;
/// Tokens are for the day of the installation.
const LONGEST_TTL_MS: u64 = 30 * 24 * 3_600_000;

type Answer<T> = Result<T, ApiError>;

pub(super) struct Parts {
    pub facts: NodeFacts,
    pub identity: Identity,
    pub log: RaftLog<PeerTransport>,
    pub peers: Peers,
    pub heartbeats: Arc<Heartbeats>,
    pub runner: Runner,
    pub repo: Repo,
    pub outputs: Outputs,
    pub insight: watch::Receiver<Insight>,
    pub events: mpsc::UnboundedSender<reconcile::Event>,
    pub end: CancellationToken,
}

/// The daemon, as everybody but the core sees it.
pub(super) struct Daemon {
    parts: Parts,
    history: Mutex<VecDeque<Event>>,
    newest: watch::Sender<LogIndex>,
    conditions: Mutex<BTreeMap<&'static str, String>>,
    pushing: tokio::sync::Mutex<()>,
    hint: OnceLock<mpsc::Sender<()>>,
    blamed: tokio::sync::Mutex<Blamed>,
    signatures: Mutex<Signatures>,
    webhooks: Webhooks,
    /// This node was asked to leave for good.
    gone_for_good: AtomicBool,
}

impl Daemon {
    pub fn new(parts: Parts) -> Self {
        Self {
            parts,
            history: Mutex::default(),
            newest: watch::Sender::new(LogIndex(0)),
            conditions: Mutex::default(),
            pushing: tokio::sync::Mutex::default(),
            hint: OnceLock::new(),
            blamed: tokio::sync::Mutex::default(),
            signatures: Mutex::default(),
            webhooks: Webhooks::default(),
            gone_for_good: AtomicBool::new(false),
        }
    }
    pub fn log(&self) -> &RaftLog<PeerTransport> {
        &self.parts.log
    }
    pub fn repo(&self) -> &Repo {
        &self.parts.repo
    }
    pub fn peers(&self) -> &Peers {
        &self.parts.peers
    }
    pub fn runner(&self) -> &Runner {
        &self.parts.runner
    }
    pub fn facts(&self) -> &NodeFacts {
        &self.parts.facts
    }
    pub fn end(&self) -> &CancellationToken {
        &self.parts.end
    }
    /// Pushes at this node one after the other; those at two nodes at once are decided by the log.
    pub fn pushing(&self) -> &tokio::sync::Mutex<()> {
        &self.pushing
    }
    /// What `why` found out last; whoever holds it is the one that is answered.
    pub fn blamed(&self) -> &tokio::sync::Mutex<Blamed> {
        &self.blamed
    }
    /// What this node knows of who signed what. Held for moments.
    pub fn signatures(&self) -> MutexGuard<'_, Signatures> {
        lock(&self.signatures)
    }
    /// The newest graph of this node.
    pub fn graph(&self) -> Arc<crate::plan::Graph> {
        self.parts.insight.borrow().graph.clone()
    }
    pub fn leaves_for_good(&self) -> bool {
        self.gone_for_good.load(Ordering::SeqCst)
    }
    pub fn is_isolated(&self) -> bool {
        self.parts.insight.borrow().isolated
    }
    pub fn set_fetch_hint(&self, hint: mpsc::Sender<()>) {
        let _ = self.hint.set(hint);
    }
    /// Makes this node look at `source.url`, or tell the leader to. Hints that come faster than they are heeded are one.
    pub fn hint_to_fetch(&self) {
        if let Some(hint) = self.hint.get() {
            let _ = hint.try_send(());
        }
    }
    /// Says, or no longer says, what keeps the cluster from being healthy.
    pub fn set_condition(&self, key: &'static str, text: Option<String>) {
        let mut conditions = lock(&self.conditions);
        match text {
            Some(text) => {
                if conditions.get(key) != Some(&text) {
                    tracing::warn!("{text}");
                }
                conditions.insert(key, text);
            }
            None => {
                conditions.remove(key);
            }
        }
    }
    /// Asks fence agents what they are before they are needed: a Python program takes half a second for that.
    pub async fn prefetch_metadata(&self) {
        let state = self.log().state();
        let Some(spec) = state.spec() else { return };
        let names: BTreeSet<String> = spec.devices.values().map(|device| device.agent.clone()).collect();
        self.runner().catalogue().read(&names).await;
    }

    async fn commit(&self, commands: Vec<Command>) -> Answer<Applied> {
        let applied = self.log().propose(commands).await?;
        match applied.answers.iter().find_map(|answer| answer.as_ref().err()) {
            Some(refusal) => Err(refusal.clone().into()),
            None => Ok(applied),
        }
    }

    fn voices(&self) -> Leadership {
        self.log().leadership()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The routes that are open to holders of a token, on the cluster's port.
pub(super) fn remote_routes(daemon: Arc<Daemon>) -> Router {
    router(daemon, Door::Network)
}

/// Opens the local socket and serves it in the background.
pub(super) async fn serve_socket(daemon: Arc<Daemon>, path: &Path, end: CancellationToken) -> Result<(), DaemonError> {
    let data_dir = path.parent().unwrap_or(Path::new("."));
    let listener = socket::bind(data_dir).map_err(DaemonError::file(path))?;
    tokio::spawn(async move {
        if let Err(error) = socket::serve(listener, daemon, async move { end.cancelled().await }).await {
            tracing::error!(%error, "the local socket failed");
        }
    });
    Ok(())
}

/// Collects what happens, for `hafen events`.
pub(super) async fn keep_events(daemon: Arc<Daemon>) {
    let mut committed = daemon.log().committed();
    loop {
        let batch = tokio::select! {
            () = daemon.end().cancelled() => return,
            batch = committed.recv() => batch,
        };
        match batch {
            Ok(batch) => {
                for event in batch.events.iter() {
                    tracing::info!(index = event.index.0, kind = ?event.kind, "{}", event.text);
                }
                let mut history = lock(&daemon.history);
                history.extend(batch.events.iter().cloned());
                let surplus = history.len().saturating_sub(MAX_EVENTS);
                history.drain(..surplus);
                drop(history);
                daemon.newest.send_replace(batch.state.index);
            }
            Err(tokio::sync::broadcast::error::RecvError::Lagged(lost)) => {
                tracing::warn!(lost, "events were lost: this node was too slow to take them");
            }
            Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
        }
    }
}

impl Backend for Daemon {
    fn node(&self) -> NodeId {
        self.facts().name.clone()
    }

    fn state(&self) -> Arc<State> {
        self.log().state()
    }

    fn leadership(&self) -> Leadership {
        let mut known = self.voices();
        // Raft alone remembers a leader it can no longer hear.
        if self.is_isolated() {
            known.leader = None;
        }
        known
    }

    fn links(&self) -> Vec<LinkView> {
        let contacts = self.parts.heartbeats.contacts();
        let mut links = Vec::new();
        for (node, address) in self.peers().known() {
            let Some(contact) = contacts.peers.get(&node) else { continue };
            for (number, (link, address)) in contact.links.iter().zip(&address.addresses).enumerate() {
                let age = link.last_heard.map(|at| contacts.as_of.saturating_sub(at).as_millis() as u64);
                links.push(LinkView {
                    node: node.to_string(),
                    link: number as u32,
                    address: address.to_string(),
                    up: link.state == net::LinkState::Up,
                    last_heard_ms: age,
                });
            }
        }
        links
    }

    fn contacts(&self) -> net::Contacts {
        self.parts.heartbeats.contacts()
    }

    fn wall_ms(&self) -> u64 {
        net::clock::wall_ms()
    }

    fn verdicts(&self) -> BTreeMap<InstanceId, VerdictView> {
        let state = self.log().state();
        let Some(spec) = state.spec() else { return BTreeMap::new() };
        words::verdicts(spec, &state, &self.parts.insight.borrow().graph)
    }

    fn conditions(&self) -> Vec<String> {
        let mut conditions: Vec<String> = lock(&self.conditions).values().cloned().collect();
        conditions.extend(self.parts.insight.borrow().troubles.iter().cloned());
        conditions.extend(words::conditions(&self.log().state()));
        conditions
    }

    fn checked(&self) -> Arc<BTreeMap<DeviceId, reconcile::Checked>> {
        self.parts.insight.borrow().checked.clone()
    }

    fn events(&self, after: LogIndex, limit: usize) -> Vec<Event> {
        let history = lock(&self.history);
        let from = history.partition_point(|event| event.index <= after);
        let mut taken: Vec<Event> = Vec::new();
        for event in history.iter().skip(from) {
            let same = taken.last().is_some_and(|last: &Event| last.index == event.index);
            if taken.len() >= limit && !same {
                break;
            }
            taken.push(event.clone());
        }
        taken
    }

    async fn events_after(&self, after: LogIndex) {
        let mut newest = self.newest.subscribe();
        let _ = newest.wait_for(|index| *index > after).await;
    }

    fn recent_events(&self, limit: usize) -> Vec<Event> {
        let history = lock(&self.history);
        history.iter().skip(history.len().saturating_sub(limit)).cloned().collect()
    }

    async fn propose(&self, commands: Vec<Command>) -> Result<Applied, ProposeError> {
        self.log().propose(commands).await
    }

    async fn predict(&self, commands: Vec<Command>) -> Answer<PlanView> {
        let mut state = State::clone(&self.log().state());
        let index = LogIndex(state.index.0 + 1);
        let (answers, _) = state.apply(index, &crate::state::Entry { at_ms: self.wall_ms(), commands });
        if let Some(refusal) = answers.into_iter().find_map(Result::err) {
            return Err(refusal.into());
        }
        Ok(match state.spec() {
            Some(spec) => plan_view(spec, &state),
            None => PlanView::default(),
        })
    }

    async fn check(&self, request: CheckRequest) -> Answer<CheckView> {
        let files = request.files.into_iter().map(|file| SourceFile { path: file.path, bytes: file.text.into_bytes() });
        Ok(push::judge(self, files.collect(), &PushOptions::default()).await.check)
    }

    async fn diff(&self, request: CheckRequest) -> Answer<DiffView> {
        let files = request.files.into_iter().map(|file| SourceFile { path: file.path, bytes: file.text.into_bytes() });
        let compared = super::compare::with_target(self, &files.collect::<Vec<_>>()).await;
        compared.map_err(|why| ApiError::new(ErrorCode::Internal, format!("the target cannot be read: {why}")))
    }

    async fn check_push(&self, request: PushRequest) -> Answer<CheckView> {
        push::judge_revision(self, &request).await.map(|(judged, _, _)| judged.check)
    }

    async fn push(&self, request: PushRequest, by: Caller) -> Answer<PushView> {
        let revision = crate::model::Revision::from(request.revision.as_str());
        let view = push::push(self, request, by).await?;
        if view.answer == crate::api::types::PushAnswer::Accepted {
            // Git at the pusher's end shows the new tip at once; the log's own way here takes the same path.
            let repo = self.repo().clone();
            let moved = tokio::task::spawn_blocking(move || repo.set_main(&revision)).await;
            if let Ok(Err(error)) = moved {
                tracing::warn!(%error, "main could not be moved yet");
            }
        }
        Ok(view)
    }

    async fn why(&self, resource: ResourceId, not: Option<NodeId>) -> Answer<WhyView> {
        super::why::why(self, resource, not).await
    }

    fn signature(&self, revision: &Revision) -> Option<SignatureView> {
        lock(&self.signatures).of(revision)
    }

    async fn history(&self, limit: usize) -> Answer<HistoryView> {
        super::history::history(self, limit).await
    }

    async fn why_event(&self, index: LogIndex) -> Answer<EventWhyView> {
        super::why::why_event(self, index).await
    }

    async fn export(&self) -> Answer<Vec<u8>> {
        let internal = |why: String| ApiError::new(ErrorCode::Internal, why);
        let state = self.log().state();
        let target = super::compare::target(self, &state).await;
        let target = target.map_err(|why| internal(format!("the target cannot be read: {why}")))?;
        let documents = target.map(|(_, documents)| documents).unwrap_or_default();
        let document = StateDocument::export(&state, &documents).map_err(|error| internal(error.to_string()))?;
        Ok(document.text().into_bytes())
    }

    async fn fence(&self, request: FenceRequest, by: Caller) -> Answer<FenceView> {
        let ready = fencing::prepare(&self.log().state(), &request, &by.name)?;
        self.commit(ready.commands).await?;
        let (api_version, kind) = Default::default();
        Ok(FenceView { api_version, kind, attempt: ready.attempt, summary: ready.summary })
    }

    async fn token(&self, request: TokenRequest, by: Caller) -> Answer<TokenView> {
        let internal = |error: net::NetError| ApiError::new(ErrorCode::Internal, error.to_string());
        let (role, kept) = match request.role {
            TokenRoleName::Node => (TokenRole::Node, TokenFor::Node),
            TokenRoleName::Viewer => (TokenRole::Viewer, TokenFor::Viewer),
            TokenRoleName::Operator => (TokenRole::Operator, TokenFor::Operator),
        };
        let expires_ms = self.wall_ms() + request.ttl_ms.min(LONGEST_TTL_MS);
        let state = self.log().state();
        let me = &self.facts().name;
        let mut addresses: Vec<SocketAddr> =
            self.facts().addresses.iter().map(|address| SocketAddr::new(*address, self.facts().port)).collect();
        for peer in super::members::peers_of(&state, me).values() {
            addresses.extend(peer.addresses.iter().map(|address| SocketAddr::new(*address, peer.port)));
        }
        let fingerprint = self.parts.identity.ca_fingerprint().map_err(internal)?;
        let (token, record) = token::create(addresses, fingerprint, role, expires_ms).map_err(internal)?;
        let text = token.to_text().map_err(internal)?;
        let token =
            Token { secret_hash: record.secret_hash, role: kept, expires_ms, by: by.name.clone(), used_by: None };
        self.commit(vec![Command::PutToken { id: record.id.0, token }]).await?;
        Ok(TokenView {
            api_version: Default::default(),
            kind: Default::default(),
            token: text,
            role: request.role,
            expires_ms,
        })
    }

    async fn bearer(&self, text: &str) -> Result<Caller, String> {
        let token: JoinToken = text.parse().map_err(|_| "the token is not one of hafen".to_owned())?;
        let unknown = || token::TokenError::Unknown.to_string();
        let state = self.log().state();
        let record = state.tokens.get(&token.id.0).ok_or_else(unknown)?;
        let (role, access) = match record.role {
            TokenFor::Node => (TokenRole::Node, None),
            TokenFor::Viewer => (TokenRole::Viewer, Some(Access::Viewer)),
            TokenFor::Operator => (TokenRole::Operator, Some(Access::Operator)),
        };
        let known = record_of(token.id, record, role);
        token::check(Some(&known), &token.secret, role, self.wall_ms()).map_err(|error| error.to_string())?;
        let access = access.ok_or("this token lets a machine join, and nothing else")?;
        Ok(Caller { name: format!("token of {}", record.by), access })
    }

    async fn join(&self, request: Vec<u8>) -> Answer<Vec<u8>> {
        let request: JoinRequest = serde_json::from_slice(&request)
            .map_err(|error| ApiError::new(ErrorCode::Usage, format!("not a join request: {error}")))?;
        let state = self.log().state();
        let record = state.tokens.get(&request.token.0);
        let known = record.map(|record| {
            let role = match record.role {
                TokenFor::Node => TokenRole::Node,
                TokenFor::Viewer => TokenRole::Viewer,
                TokenFor::Operator => TokenRole::Operator,
            };
            let again = super::members::may_ask_again(&state, record, &request.name);
            token::TokenRecord { used: record.used_by.is_some() && !again, ..record_of(request.token, record, role) }
        });
        token::check(known.as_ref(), &request.secret, TokenRole::Node, self.wall_ms())
            .map_err(|error| ApiError::new(ErrorCode::Forbidden, error.to_string()))?;
        let certificate = self
            .parts
            .identity
            .sign_csr(&request.csr, &request.name, self.wall_ms())
            .map_err(|error| ApiError::new(ErrorCode::Refused, error.to_string()))?;
        let admit = Command::Admit {
            token: request.token.0,
            node: request.name.clone(),
            addresses: request.addresses.clone(),
            port: request.port,
        };
        self.commit(vec![admit]).await?;
        let state = self.log().state();
        let mut peers = super::members::peers_of(&state, &request.name);
        let own = PeerAddr { addresses: self.facts().addresses.clone(), port: self.facts().port };
        peers.insert(self.facts().name.clone(), own);
        let identity = &self.parts.identity;
        let grant = JoinGrant {
            cluster_id: identity.cluster_id.clone(),
            cluster_name: identity.cluster_name.clone(),
            ca_certificate_pem: identity.ca_certificate_pem.clone(),
            ca_key_pem: identity.ca_key_pem().map(str::to_owned),
            certificate_pem: certificate,
            heartbeat_key: identity.heartbeat_key,
            generation: self.log().identity().generation,
            peers,
        };
        serde_json::to_vec(&grant).map_err(|error| ApiError::new(ErrorCode::Internal, error.to_string()))
    }

    fn source_changed(&self) {
        self.hint_to_fetch();
    }

    fn webhooks(&self) -> &Webhooks {
        &self.webhooks
    }

    async fn webhook_secret(&self) -> Result<Option<Vec<u8>>, String> {
        let state = self.log().state();
        let source = state.spec().and_then(|spec| spec.cluster.source.as_ref());
        let Some(secret) = source.and_then(|source| source.webhook.as_ref()) else { return Ok(None) };
        let file = secret.file.clone();
        let read = tokio::task::spawn_blocking(move || secrets::read(&file)).await;
        read.map_err(|error| error.to_string())?.map(|text| Some(text.into_bytes()))
    }

    async fn shim(&self, call: ShimCall) -> Answer<ShimView> {
        Ok(shims::answer(self, call).await)
    }

    async fn output(&self, instance: InstanceId) -> Answer<OutputView> {
        let Some(run) = self.parts.outputs.of(&instance) else {
            let why = format!("no agent of `{instance}` ran on {} since its daemon started", self.facts().name);
            return Err(ApiError::new(ErrorCode::NoSuchObject, why).hint("`hafen status` shows on which node it runs"));
        };
        let status = match run.outcome.status {
            ExecStatus::Exited(code) => format!("exit status {code}"),
            ExecStatus::TimedOut => format!("timed out after {}", duration::format(run.request.timeout)),
            ExecStatus::NotInstalled => "not installed".into(),
            ExecStatus::Failed => "killed, or never ran".into(),
        };
        Ok(OutputView {
            api_version: Default::default(),
            kind: Default::default(),
            instance: instance.to_string(),
            node: self.facts().name.to_string(),
            action: run.request.kind.to_string(),
            at_ms: run.at_ms,
            status,
            output: run.outcome.output,
        })
    }

    async fn shutdown(&self, what: ShutdownKind) -> Answer<()> {
        match what {
            ShutdownKind::Stop => {}
            ShutdownKind::Leave => {
                let state = self.log().state();
                let listed = state.nodes.get(&self.facts().name).is_some_and(|node| node.listed);
                if listed {
                    let why = format!("git still has a Node document for {}", self.facts().name);
                    return Err(ApiError::new(ErrorCode::Unsafe, why).hint("remove the document first, and push"));
                }
                self.gone_for_good.store(true, Ordering::SeqCst);
            }
        }
        let sent = self.parts.events.send(reconcile::Event::Stop);
        sent.map_err(|_| ApiError::new(ErrorCode::Internal, "the daemon is ending already"))
    }
}

fn record_of(id: token::TokenId, record: &Token, role: TokenRole) -> token::TokenRecord {
    token::TokenRecord { id, secret_hash: record.secret_hash, role, expires_ms: record.expires_ms, used: false }
}

pub(super) use crate::api::planned::plan_view;
