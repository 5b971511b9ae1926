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
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tower::ServiceExt;

/// Answers from fixed values and remembers what was proposed.
struct StandIn {
    state: State,
    events: Mutex<Vec<Event>>,
    woken: tokio::sync::Notify,
    proposed: Mutex<Vec<Command>>,
    refuse: Option<Refusal>,
    hints: std::sync::atomic::AtomicU64,
    contacts: crate::net::Contacts,
    webhooks: super::Webhooks,
    secret: Result<Option<Vec<u8>>, String>,
}

impl StandIn {
    fn new(state: State) -> Self {
        let (events, proposed) = (Mutex::default(), Mutex::default());
        Self {
            state,
            events,
            woken: tokio::sync::Notify::new(),
            proposed,
            refuse: None,
            hints: Default::default(),
            contacts: super::heard::tests::contacts(&[]),
            webhooks: Default::default(),
            secret: Ok(None),
        }
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
    fn contacts(&self) -> crate::net::Contacts {
        self.contacts.clone()
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
    async fn diff(&self, _request: CheckRequest) -> Result<DiffView, ApiError> {
        nothing()
    }
    async fn check_push(&self, _request: PushRequest) -> Result<CheckView, ApiError> {
        nothing()
    }
    async fn push(&self, _request: PushRequest, _by: Caller) -> Result<PushView, ApiError> {
        nothing()
    }
    async fn why(&self, resource: ResourceId, not: Option<NodeId>) -> Result<WhyView, ApiError> {
        let resource = format!("{resource} not on {}", not.map(|node| node.to_string()).unwrap_or_default());
        Ok(WhyView {
            api_version: Default::default(),
            kind: Default::default(),
            resource,
            instances: vec![],
            otherwise: vec![],
            otherwise_cut_short: false,
            commits: vec![],
        })
    }
    fn signature(&self, _revision: &Revision) -> Option<SignatureView> {
        None
    }
    async fn history(&self, _limit: usize) -> Result<HistoryView, ApiError> {
        nothing()
    }
    async fn why_event(&self, _index: LogIndex) -> Result<EventWhyView, ApiError> {
        nothing()
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
    async fn bearer(&self, token: &str) -> Result<Caller, String> {
        let access = match token {
            "viewer" => Access::Viewer,
            "operator" => Access::Operator,
            _ => return Err("the token is unknown".into()),
        };
        Ok(Caller { name: token.to_owned(), access })
    }
    async fn join(&self, request: Vec<u8>) -> Result<Vec<u8>, ApiError> {
        Ok(request)
    }
    fn source_changed(&self) {
        self.hints.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }
    fn webhooks(&self) -> &super::Webhooks {
        &self.webhooks
    }
    async fn webhook_secret(&self) -> Result<Option<Vec<u8>>, String> {
        self.secret.clone()
    }
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
        joined_at: LogIndex(1),
        port: 7443,
        version: "0.1.0".into(),
        feature_level: 1,
        listed: true,
        ..NodeState::new(&Incarnation { boot: BootId::new("b"), counter: 1 })
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
    // A process that another test is about to start holds a copy of every socket until it runs its own program.
    let mut answer = client.get::<StatusView>("/v1/status", &[]).await.unwrap_err();
    for _ in 0..10 {
        if matches!(answer, ClientError::Unreachable { .. }) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        answer = client.get::<StatusView>("/v1/status", &[]).await.unwrap_err();
    }
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

#[tokio::test]
async fn a_node_that_is_heard_or_has_booted_since_is_not_confirmed_off() {
    let confirm = |boot: Option<&str>| {
        let operation = Operation::ConfirmOff { node: "n2".into(), boot: boot.map(str::to_owned) };
        OperateRequest { operation, ..drain("n1") }
    };
    // Suspect for a stop that failed: it beats all the same.
    let mut heard = StandIn::new(state(Membership::Suspect));
    heard.contacts = super::heard::tests::contacts(&[("n2", "b", 9_950, None)]);
    let error = refusal(heard, &confirm(Some("b"))).await;
    assert_eq!(error.code, ErrorCode::Unsafe);
    assert_eq!(error.message, "n2 is heard: n1 heard it 50ms ago, so it is not off");
    let error = refusal(StandIn::new(state(Membership::Suspect)), &confirm(Some("an older one"))).await;
    assert_eq!((error.code, error.message.contains("has booted since")), (ErrorCode::Refused, true));
    // An older client names none.
    let (_folder, client, backend) = served(StandIn::new(state(Membership::Suspect))).await;
    for request in [serde_json::to_value(confirm(Some("b"))).unwrap(), {
        let mut old = serde_json::to_value(confirm(None)).unwrap();
        old["operation"].as_object_mut().unwrap().remove("boot").unwrap();
        old
    }] {
        let _: OperationView = client.post("/v1/operate", &request).await.unwrap();
    }
    let proposed = backend.proposed.lock().unwrap().clone();
    assert!(matches!(&proposed[..], [Command::ConfirmOff { boot, .. }, _] if boot.as_str() == "b"), "{proposed:?}");
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
            reason: None,
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
async fn on_the_network_the_token_decides_and_the_reason_is_told() {
    let backend = Arc::new(StandIn::new(state(Membership::Online)));
    let app = router(backend.clone(), Door::Network);
    let ask = |method: &'static str, path: &'static str, token: Option<&'static str>| {
        let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = serde_json::to_vec(&drain("n1")).unwrap();
        let call = app.clone().oneshot(request.body(axum::body::Body::from(body)).unwrap());
        async move {
            let answer = call.await.unwrap();
            let status = answer.status();
            let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
            (status, String::from_utf8_lossy(&body).into_owned())
        }
    };
    let refused = async |method, path, token, why: &str| {
        let (status, body) = ask(method, path, token).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{method} {path} {token:?}");
        assert!(body.contains(why), "{method} {path} {token:?}: {body}");
    };
    refused("GET", "/v1/status", None, "no token was shown").await;
    refused("GET", "/v1/status", Some("wrong"), "the token is unknown").await;
    for path in ["/v1/operate", "/v1/fence"] {
        refused("POST", path, Some("viewer"), "a viewer's token reads, and this changes something").await;
    }
    refused("GET", "/v1/export", Some("viewer"), "shows all there is").await;
    for path in ["/v1/shutdown", "/v1/push", "/v1/token", "/v1/shim"] {
        refused("POST", path, Some("operator"), "on the machine itself only").await;
    }
    assert!(backend.proposed.lock().unwrap().is_empty());
    assert_eq!(ask("GET", "/v1/status", Some("viewer")).await.0, StatusCode::OK);
    assert_eq!(ask("POST", "/v1/operate", Some("operator")).await.0, StatusCode::OK);
    assert_eq!(ask("POST", "/v1/join", None).await.0, StatusCode::OK);
}

#[tokio::test]
async fn who_has_proved_nothing_sends_little_and_who_may_not_call_is_told_before_the_body_is_read() {
    let app = router(Arc::new(StandIn::new(state(Membership::Online))), Door::Network);
    let post = |path: &'static str, token: &'static str, bytes: usize| {
        let request = Request::post(path).header("content-type", "application/json").header("authorization", token);
        app.clone().oneshot(request.body(axum::body::Body::from(vec![b' '; bytes])).unwrap())
    };
    assert_eq!(post("/v1/join", "", 60_000).await.unwrap().status(), StatusCode::OK);
    assert_eq!(post("/v1/join", "", 70_000).await.unwrap().status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(post("/v1/plan", "Bearer viewer", 33 << 20).await.unwrap().status(), StatusCode::PAYLOAD_TOO_LARGE);
    // A body that never comes does not matter.
    let endless = axum::body::Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let request = Request::post("/v1/operate").header("content-type", "application/json").body(endless).unwrap();
    assert_eq!(app.oneshot(request).await.unwrap().status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_webhook_with_a_secret_hints_only_if_it_is_signed_and_what_it_may_cost_is_bounded() {
    let secret = Ok(Some(b"It's a Secret to Everybody".to_vec()));
    let backend = Arc::new(StandIn { secret, ..StandIn::new(state(Membership::Online)) });
    let hints = || backend.hints.load(std::sync::atomic::Ordering::SeqCst);
    let app = router(backend.clone(), Door::Network);
    let post = |header: (&'static str, &'static str), body: axum::body::Body| {
        app.clone().oneshot(Request::post("/v1/webhook").header(header.0, header.1).body(body).unwrap())
    };
    // GitHub's own example.
    let signature = ("x-hub-signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17");
    for (header, body, expected) in [
        (signature, b"Hello, World!".to_vec(), StatusCode::ACCEPTED),
        (signature, b"Hello, world!".to_vec(), StatusCode::UNAUTHORIZED),
        (("x-gitlab-token", "It's a Secret to Everybody"), vec![], StatusCode::ACCEPTED),
        (("x-gitlab-token", "guessed"), vec![], StatusCode::UNAUTHORIZED),
        (("x-github-event", "push"), vec![], StatusCode::UNAUTHORIZED),
        // Larger than other strangers may send; larger than is read.
        (("x-gitlab-token", "It's a Secret to Everybody"), vec![b' '; 1 << 20], StatusCode::ACCEPTED),
        (signature, vec![b' '; (1 << 20) + 1], StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let answer = post(header, body.into()).await.unwrap();
        assert_eq!(answer.status(), expected, "{header:?}");
        let words = axum::body::to_bytes(answer.into_body(), 1 << 10).await.unwrap();
        assert!(!String::from_utf8_lossy(&words).contains("Secret to"), "an answer never holds the secret");
    }
    assert_eq!(hints(), 3, "what was refused hinted at nothing");
    let view = super::routes::status_of(&*backend).webhook.expect("some came");
    assert_eq!((view.accepted, view.refused), (3, 4));
    // Bodies that never come keep no more than their room, and a flood is turned away.
    let endless = || axum::body::Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let waiting: Vec<_> = (0..4).map(|_| tokio::spawn(post(signature, endless()))).collect();
    while backend.webhooks.room.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    let answer = post(signature, endless()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.headers()["retry-after"], "1");
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn a_webhook_is_refused_while_its_secret_cannot_be_read_and_open_where_none_is_asked_for() {
    for (secret, expected, hints) in
        [(Err("gone".to_owned()), StatusCode::SERVICE_UNAVAILABLE, 0), (Ok(None), StatusCode::ACCEPTED, 1)]
    {
        let backend = Arc::new(StandIn { secret, ..StandIn::new(state(Membership::Online)) });
        let app = router(backend.clone(), Door::Network);
        // Without a secret the body is not waited for.
        let body = axum::body::Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
        let answer = app.oneshot(Request::post("/v1/webhook").body(body).unwrap()).await.unwrap();
        assert_eq!(answer.status(), expected);
        assert_eq!(backend.hints.load(std::sync::atomic::Ordering::SeqCst), hints);
    }
}
