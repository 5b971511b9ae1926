//! The real routes, on a real socket, with the real client, before a daemon that only knows what it is told.

use super::backend::Backend;
use super::client::{Client, ClientError};
use super::error::{ApiError, ErrorCode};
use super::types::*;
use super::{Access, Caller, Door, router, socket};
use crate::model::{
    BootId, Digest, Epoch, Incarnation, InstanceId, LogIndex, NodeId, OverrideId, ResourceId, Revision, Role,
};
use crate::state::port::{Applied, Leadership, ProposeError};
use crate::state::{
    Claim, ClaimKey, Command, Event, EventKind, Membership, NodeState, Override, OverrideKind, Phase, Refusal, Scope,
    State, Target,
};
use axum::http::{Request, StatusCode};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use tower::ServiceExt;

/// Answers from fixed values and remembers what was proposed.
struct StandIn {
    state: State,
    events: Mutex<Vec<Event>>,
    woken: tokio::sync::Notify,
    proposed: Mutex<Vec<Command>>,
    refuse: Option<Refusal>,
}

impl StandIn {
    fn new(state: State) -> Self {
        let (events, proposed) = (Mutex::default(), Mutex::default());
        Self { state, events, woken: tokio::sync::Notify::new(), proposed, refuse: None }
    }
}

fn nothing<T>() -> Result<T, ApiError> {
    Err(ApiError::new(ErrorCode::Internal, "not in this test"))
}

impl Backend for StandIn {
    fn node(&self) -> NodeId {
        "n1".into()
    }
    fn state(&self) -> Arc<State> {
        Arc::new(self.state.clone())
    }
    fn leadership(&self) -> Leadership {
        Leadership { leader: Some("n1".into()), is_self: true, ..Leadership::default() }
    }
    fn links(&self) -> Vec<LinkView> {
        vec![]
    }
    fn wall_ms(&self) -> u64 {
        1000
    }
    fn verdicts(&self) -> BTreeMap<InstanceId, VerdictView> {
        BTreeMap::new()
    }
    fn checked(&self) -> Arc<BTreeMap<crate::model::DeviceId, crate::reconcile::Checked>> {
        Arc::default()
    }
    fn conditions(&self) -> Vec<String> {
        vec![]
    }
    fn events(&self, after: LogIndex, _limit: usize) -> Vec<Event> {
        self.events.lock().unwrap().iter().filter(|event| event.index > after).cloned().collect()
    }
    async fn events_after(&self, _after: LogIndex) {
        self.woken.notified().await;
    }
    fn recent_events(&self, limit: usize) -> Vec<Event> {
        self.events(LogIndex(0), limit)
    }
    async fn propose(&self, commands: Vec<Command>) -> Result<Applied, ProposeError> {
        let answers = commands.iter().map(|_| self.refuse.clone().map_or(Ok(()), Err)).collect();
        self.proposed.lock().unwrap().extend(commands);
        Ok(Applied { index: LogIndex(7), answers })
    }
    async fn predict(&self, _commands: Vec<Command>) -> Result<PlanView, ApiError> {
        Ok(PlanView::default())
    }
    async fn check(&self, request: CheckRequest) -> Result<CheckView, ApiError> {
        let warnings = request.files.into_iter().map(|file| file.path).collect();
        Ok(CheckView { plan: Some(PlanView { warnings, ..PlanView::default() }), ..CheckView::default() })
    }
    async fn check_push(&self, _request: PushRequest) -> Result<CheckView, ApiError> {
        nothing()
    }
    async fn push(&self, _request: PushRequest, _by: Caller) -> Result<PushView, ApiError> {
        nothing()
    }
    async fn why(&self, resource: ResourceId, not: Option<NodeId>) -> Result<WhyView, ApiError> {
        let resource = format!("{resource} not on {}", not.map(|node| node.to_string()).unwrap_or_default());
        Ok(WhyView { api_version: Default::default(), kind: Default::default(), resource, instances: vec![] })
    }
    async fn export(&self) -> Result<Vec<u8>, ApiError> {
        Ok(vec![0, 255])
    }
    async fn fence(&self, _request: FenceRequest, _by: Caller) -> Result<FenceView, ApiError> {
        nothing()
    }
    async fn token(&self, _request: TokenRequest, _by: Caller) -> Result<TokenView, ApiError> {
        nothing()
    }
    async fn bearer(&self, token: &str) -> Option<Caller> {
        let access = match token {
            "viewer" => Access::Viewer,
            "operator" => Access::Operator,
            _ => return None,
        };
        Some(Caller { name: token.to_owned(), access })
    }
    async fn join(&self, request: Vec<u8>) -> Result<Vec<u8>, ApiError> {
        Ok(request)
    }
    fn source_changed(&self) {}
    async fn shim(&self, _call: ShimCall) -> Result<ShimView, ApiError> {
        nothing()
    }
    async fn output(&self, _instance: InstanceId) -> Result<OutputView, ApiError> {
        nothing()
    }
    async fn shutdown(&self, _what: ShutdownKind) -> Result<(), ApiError> {
        Ok(())
    }
}

fn member(membership: Membership) -> NodeState {
    NodeState {
        membership,
        incarnation: Incarnation { boot: BootId::new("b"), counter: 1 },
        joined_at: LogIndex(1),
        since_ms: 0,
        addresses: vec![],
        port: 7443,
        version: "0.1.0".into(),
        feature_level: 1,
        attributes: BTreeMap::new(),
        permanent_attributes: BTreeMap::new(),
        burnt: BTreeSet::new(),
        contradicted: BTreeSet::new(),
        restarting: false,
        suspicion: None,
        last_suspicion: 0,
        document: None,
        listed: true,
        fenced_ms: vec![],
        bad_devices: Default::default(),
    }
}

/// n1 runs db; n2 is as given.
fn state(other: Membership) -> State {
    let claim = Claim {
        incarnation: Incarnation::default(),
        epoch: Epoch(1),
        definition: Digest::default(),
        phase: Phase::Running,
        role: Role::Started,
        granted_at: LogIndex(1),
        changed_at: LogIndex(1),
        since_ms: 0,
        after: Vec::new(),
        found: false,
        failure: None,
    };
    let target = Target {
        revision: Revision::new("a".repeat(40)),
        spec: Digest::default(),
        accepted_at: LogIndex(1),
        accepted_ms: 0,
        by: "anna".into(),
    };
    State {
        index: LogIndex(7),
        target: Some(target),
        nodes: BTreeMap::from([("n1".into(), member(Membership::Online)), ("n2".into(), member(other))]),
        claims: BTreeMap::from([(ClaimKey { instance: InstanceId::plain("db"), node: "n1".into() }, claim)]),
        ..State::default()
    }
}

/// A served socket, the client to it, and the daemon behind it.
async fn served(stand_in: StandIn) -> (tempfile::TempDir, Client, Arc<StandIn>) {
    let folder = tempfile::tempdir().unwrap();
    let backend = Arc::new(stand_in);
    let listener = socket::bind(folder.path()).unwrap();
    tokio::spawn(socket::serve(listener, backend.clone(), std::future::pending()));
    let client = Client::new(folder.path()).unwrap();
    (folder, client, backend)
}

fn drain(node: &str) -> OperateRequest {
    OperateRequest {
        operation: Operation::Drain { node: node.into() },
        reason: "disk".into(),
        expires_ms: None,
        dry_run: false,
        force: false,
    }
}

#[tokio::test]
async fn a_status_travels_over_the_socket() {
    let (_folder, client, _) = served(StandIn::new(state(Membership::Online))).await;
    let status: StatusView = client.get("/v1/status", &[]).await.unwrap();
    assert_eq!(status.summary, "healthy: 2 nodes online, 1 resource running");
    assert_eq!((status.resources[0].instance.as_str(), status.resources[0].node.as_deref()), ("db", Some("n1")));
    assert_eq!(client.bytes("/v1/export").await.unwrap(), [0, 255]);
    let why: WhyView = client.get("/v1/why/db", &[("not", "n 2&x".into())]).await.unwrap();
    assert_eq!(why.resource, "db not on n 2&x");
}

#[tokio::test]
async fn nobody_listening_is_unreachable_and_a_stale_socket_too() {
    let folder = tempfile::tempdir().unwrap();
    let client = Client::new(folder.path()).unwrap();
    let answer = client.get::<StatusView>("/v1/status", &[]).await.unwrap_err();
    assert!(matches!(answer, ClientError::Unreachable { .. }), "{answer:?}");
    drop(socket::bind(folder.path()).unwrap());
    let answer = client.get::<StatusView>("/v1/status", &[]).await.unwrap_err();
    assert!(matches!(answer, ClientError::Unreachable { .. }), "{answer:?}");
    // A new daemon takes the place of the dead one's socket.
    socket::bind(folder.path()).unwrap();
}

#[tokio::test]
async fn the_socket_is_closed_to_others() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, _, _) = served(StandIn::new(State::default())).await;
    let mode = std::fs::metadata(socket::path(folder.path())).unwrap().permissions().mode();
    assert_eq!(mode & 0o007, 0, "{mode:o}");
}

#[tokio::test]
async fn a_drain_is_proposed_in_the_name_of_the_caller() {
    let (_folder, client, backend) = served(StandIn::new(state(Membership::Online))).await;
    let answer: OperationView = client.post("/v1/operate", &drain("n1")).await.unwrap();
    assert_eq!(answer.index, Some(7));
    assert_eq!(answer.wait_for, WaitFor::NodeEmpty { node: "n1".into() });
    let proposed = backend.proposed.lock().unwrap().clone();
    let [Command::SetOverride { scope, kind, by, .. }] = proposed.as_slice() else { panic!("{proposed:?}") };
    assert_eq!((scope, kind), (&Scope::Node("n1".into()), &OverrideKind::Drain));
    let me = nix::unistd::User::from_uid(nix::unistd::getuid()).unwrap().unwrap().name;
    assert_eq!(*by, std::env::var("SUDO_USER").unwrap_or(me));
}

#[tokio::test]
async fn a_dry_run_proposes_nothing() {
    let (_folder, client, backend) = served(StandIn::new(state(Membership::Online))).await;
    let request = OperateRequest { dry_run: true, ..drain("n1") };
    let answer: OperationView = client.post("/v1/operate", &request).await.unwrap();
    assert!(answer.plan.is_some() && answer.index.is_none());
    assert!(backend.proposed.lock().unwrap().is_empty());
}

async fn refusal(stand_in: StandIn, request: &OperateRequest) -> ApiError {
    let (_folder, client, _) = served(stand_in).await;
    match client.post::<OperationView>("/v1/operate", request).await {
        Err(ClientError::Refused(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn draining_the_last_node_is_unsafe_unless_forced() {
    let error = refusal(StandIn::new(state(Membership::Fenced)), &drain("n1")).await;
    assert_eq!(error.code, ErrorCode::Unsafe);
    assert!(error.hints[0].contains("--force"));
    // A drained node takes nothing over either.
    let mut both = state(Membership::Online);
    let other = Override {
        scope: Scope::Node("n2".into()),
        kind: OverrideKind::Drain,
        by: "a".into(),
        reason: String::new(),
        since_ms: 0,
        expires_ms: None,
    };
    both.overrides.insert(OverrideId(1), other);
    assert_eq!(refusal(StandIn::new(both), &drain("n1")).await.code, ErrorCode::Unsafe);
    let forced = OperateRequest { force: true, ..drain("n1") };
    assert!(super::operate::prepare(&state(Membership::Fenced), &forced, "a").is_ok());
}

#[test]
fn a_node_is_not_switched_off_when_too_few_voters_would_be_up_to_record_it() {
    let nodes = ["n1", "n2", "n3"].map(|name| {
        format!("---\napiVersion: hafen/v1alpha1\nkind: Node\nmetadata: {{ name: {name} }}\nspec: {{ addresses: [192.0.2.{}] }}\n", &name[1..])
    });
    let text =
        format!("apiVersion: hafen/v1alpha1\nkind: Cluster\nmetadata: {{ name: c }}\nspec: {{}}\n{}", nodes.concat());
    let file = crate::manifest::SourceFile { path: "a.yaml".into(), bytes: text.into_bytes() };
    let spec = crate::manifest::load(&[file], &Default::default()).spec.expect("valid");
    let with = |third| {
        let mut state = state(Membership::Online);
        state.nodes.insert("n3".into(), member(third));
        state.specs.insert(Digest::default(), Arc::new(spec.clone()));
        state
    };
    let refused = |state: &State, node: &str| super::operate::refuse_loss_of_quorum(state, &node.into()).is_err();
    assert!(!refused(&with(Membership::Online), "n1"), "two of three are left");
    assert!(refused(&with(Membership::Fenced), "n1"), "one of three is left");
    assert!(!refused(&with(Membership::Suspect), "n3"), "the hanging node itself is not counted");
}

#[tokio::test]
async fn an_unknown_node_is_no_such_object_with_the_nearest_name() {
    let error = refusal(StandIn::new(state(Membership::Online)), &drain("n1x")).await;
    assert_eq!((error.code, error.hints[0].as_str()), (ErrorCode::NoSuchObject, "did you mean `n1`?"));
}

#[tokio::test]
async fn what_the_state_machine_refuses_is_refused_with_its_words() {
    let mut stand_in = StandIn::new(state(Membership::Online));
    stand_in.refuse = Some(Refusal::NotAllowed { why: "n1 is still heard".into() });
    let error = refusal(stand_in, &drain("n1")).await;
    assert_eq!((error.code, error.message.as_str()), (ErrorCode::Unsafe, "n1 is still heard"));
}

#[tokio::test]
async fn followed_events_come_as_they_happen() {
    let (_folder, client, backend) = served(StandIn::new(state(Membership::Online))).await;
    let mut stream = client.stream("/v1/events/follow", &[("after", "0".into())]).await.unwrap();
    for index in [1, 2] {
        let event = Event {
            index: LogIndex(index),
            at_ms: 5,
            kind: EventKind::Joined,
            node: Some("n1".into()),
            instance: None,
            text: "n1 joined".into(),
        };
        backend.events.lock().unwrap().push(event);
        backend.woken.notify_one();
        let chunk = stream.chunk().await.unwrap().unwrap();
        let view: EventView = serde_json::from_slice(&chunk).unwrap();
        assert_eq!((view.index, view.kind), (index, EventKind::Joined));
    }
}

#[tokio::test]
async fn on_the_network_the_token_decides() {
    let backend = Arc::new(StandIn::new(state(Membership::Online)));
    let app = router(backend, Door::Network);
    let status = |method: &'static str, path: &'static str, token: Option<&'static str>| {
        let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = serde_json::to_vec(&drain("n1")).unwrap();
        let call = app.clone().oneshot(request.body(axum::body::Body::from(body)).unwrap());
        async move { call.await.unwrap().status() }
    };
    assert_eq!(status("GET", "/v1/status", None).await, StatusCode::FORBIDDEN);
    assert_eq!(status("GET", "/v1/status", Some("wrong")).await, StatusCode::FORBIDDEN);
    assert_eq!(status("GET", "/v1/status", Some("viewer")).await, StatusCode::OK);
    assert_eq!(status("POST", "/v1/operate", Some("viewer")).await, StatusCode::FORBIDDEN);
    assert_eq!(status("POST", "/v1/operate", Some("operator")).await, StatusCode::OK);
    assert_eq!(status("POST", "/v1/shutdown", Some("operator")).await, StatusCode::FORBIDDEN);
    assert_eq!(status("POST", "/v1/join", None).await, StatusCode::OK);
}
