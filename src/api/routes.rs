//! The routes: parse a request, ask the [`Backend`], word the answer.
//!
//! Which route asks what of its caller is in [`access`](super::access), and held here for each of them alike.

use super::access::{Access, Caller, Door, Route, allowed, refusal};
use super::backend::Backend;
use super::error::{ApiError, ErrorCode};
use super::heard::refuse_if_heard;
use super::types::{
    ApiVersion, CheckRequest, CheckView, DiffView, EventView, EventWhyView, EventsKind, EventsView, FenceRequest,
    FenceView, HistoryView, OperateRequest, OperationKind, OperationView, OutputView, PushRequest, PushView, ShimCall,
    ShimView, ShutdownRequest, StatusView, TokenRequest, TokenView, WhyView,
};
use super::webhook::{self, Refused};
use super::{operate, socket, view};
use crate::model::{Detection, InstanceId, LogIndex, NodeId, ResourceId};
use crate::net::Endless;
use crate::state::Command;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Extension, Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Instant;

/// The largest request: a tree of manifests. 10,000 documents are about 4 MiB.
const BODY_LIMIT: usize = 32 * 1024 * 1024;
/// The largest request of who has proved nothing yet: a join request is some 2 KiB. A webhook has a limit of its own.
const STRANGER_BODY_LIMIT: usize = 64 * 1024;
/// The most events of one answer; more are asked for with `after`.
const EVENTS_LIMIT: usize = 10_000;
/// Unless asked otherwise.
const EVENTS_DEFAULT: usize = 100;
/// Commits of a history, unless asked otherwise.
const HISTORY_DEFAULT: usize = 20;

/// All routes, for one door.
pub fn router<B: Backend>(backend: Arc<B>, door: Door) -> Router {
    let mut router = Router::new();
    for (route, _, path, access) in Route::TABLE {
        let guard = Guard { backend: backend.clone(), door, access };
        let limit = if access == Access::Anyone { STRANGER_BODY_LIMIT } else { BODY_LIMIT };
        // Who may not call is told so before the body is read.
        let handler = handler::<B>(route).layer(DefaultBodyLimit::max(limit));
        let handler = handler.layer(middleware::from_fn_with_state(guard, check_access::<B>));
        router = router.route(path, handler);
    }
    router.with_state(backend)
}

fn handler<B: Backend>(route: Route) -> MethodRouter<Arc<B>> {
    match route {
        Route::Status => get(status::<B>),
        Route::Events => get(events::<B>),
        Route::FollowEvents => get(follow_events::<B>),
        Route::Why => get(why::<B>),
        Route::WhyEvent => get(why_event::<B>),
        Route::History => get(history::<B>),
        Route::Plan => post(plan::<B>),
        Route::Diff => post(diff::<B>),
        Route::Check => post(check::<B>),
        Route::Export => get(export::<B>),
        Route::Operate => post(operate_::<B>),
        Route::Fence => post(fence::<B>),
        Route::Token => post(token::<B>),
        Route::Push => post(push::<B>),
        Route::Output => get(output::<B>),
        Route::Shim => post(shim::<B>),
        Route::Shutdown => post(shutdown::<B>),
        Route::Join => post(join::<B>),
        Route::Webhook => post(take_webhook::<B>),
    }
}

struct Guard<B> {
    backend: Arc<B>,
    door: Door,
    access: Access,
}

impl<B> Clone for Guard<B> {
    fn clone(&self) -> Self {
        Self { backend: self.backend.clone(), door: self.door, access: self.access }
    }
}

async fn check_access<B: Backend>(State(guard): State<Guard<B>>, mut request: Request, next: Next) -> Response {
    let caller = match guard.door {
        Door::Local => {
            let peer = request.extensions().get::<ConnectInfo<socket::Peer>>().map(|info| info.0.clone());
            Ok(socket::caller(peer.as_ref(), request.headers()))
        }
        Door::Network => match bearer(request.headers()) {
            Some(token) => guard.backend.bearer(&token).await,
            None => Err("no token was shown".to_owned()),
        },
    };
    if !allowed(guard.door, caller.as_ref().ok(), guard.access) {
        let (reason, hint) = refusal(guard.access, caller.as_ref());
        return ApiError::new(ErrorCode::Forbidden, format!("not allowed: {reason}")).hint(hint).into_response();
    }
    let caller = caller.unwrap_or(Caller { name: "unknown".into(), access: Access::Anyone });
    request.extensions_mut().insert(caller);
    next.run(request).await
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ").map(|token| token.trim().to_owned())
}

/// The status of now, as this node knows it.
pub fn status_of<B: Backend>(backend: &B) -> StatusView {
    let (state, leadership) = (backend.state(), backend.leadership());
    let signature = state.target.as_ref().and_then(|target| backend.signature(&target.revision));
    let status = view::status(&view::Input {
        state: &state,
        leadership: &leadership,
        node: &backend.node(),
        links: &backend.links(),
        verdicts: &backend.verdicts(),
        conditions: &backend.conditions(),
        checked: &backend.checked(),
        wall_ms: backend.wall_ms(),
        signature: signature.as_ref(),
    });
    StatusView { webhook: backend.webhooks().view(), ..status }
}

async fn status<B: Backend>(State(backend): State<Arc<B>>) -> Json<StatusView> {
    Json(status_of(&*backend))
}

#[derive(Deserialize)]
struct EventsQuery {
    after: Option<u64>,
    limit: Option<usize>,
}

async fn events<B: Backend>(State(backend): State<Arc<B>>, Query(query): Query<EventsQuery>) -> Json<EventsView> {
    let limit = query.limit.unwrap_or(EVENTS_DEFAULT).min(EVENTS_LIMIT);
    let events = match query.after {
        Some(after) => backend.events(LogIndex(after), limit),
        None => backend.recent_events(limit),
    };
    let events = events.iter().map(EventView::from).collect();
    Json(EventsView { api_version: ApiVersion::default(), kind: EventsKind::default(), events })
}

/// One event per line, as they happen, until the client goes.
async fn follow_events<B: Backend>(State(backend): State<Arc<B>>, Query(query): Query<EventsQuery>) -> Response {
    let after = LogIndex(query.after.unwrap_or_else(|| backend.state().index.0));
    let stream = futures_util::stream::unfold((backend, after), |(backend, after)| async move {
        loop {
            let events = backend.events(after, EVENTS_DEFAULT);
            let Some(last) = events.last().map(|event| event.index) else {
                backend.events_after(after).await;
                continue;
            };
            let lines: String = events
                .iter()
                .filter_map(|event| serde_json::to_string(&EventView::from(event)).ok())
                .map(|line| line + "\n")
                .collect();
            return Some((Ok::<_, std::convert::Infallible>(Bytes::from(lines)), (backend, last)));
        }
    });
    // Nothing may happen for hours, and whoever follows is still there.
    (Extension(Endless), [(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(stream)).into_response()
}

#[derive(Deserialize)]
struct WhyQuery {
    not: Option<String>,
}

async fn why<B: Backend>(
    State(backend): State<Arc<B>>,
    Path(resource): Path<String>,
    Query(query): Query<WhyQuery>,
) -> Result<Json<WhyView>, ApiError> {
    backend.why(ResourceId::new(resource), query.not.map(NodeId::new)).await.map(Json)
}

async fn why_event<B: Backend>(
    State(backend): State<Arc<B>>,
    Path(index): Path<String>,
) -> Result<Json<EventWhyView>, ApiError> {
    let index = index.parse().map_err(|_| {
        ApiError::new(ErrorCode::Usage, format!("`{index}` is not the index of an event"))
            .hint("`hafen events` shows it")
    })?;
    backend.why_event(LogIndex(index)).await.map(Json)
}

#[derive(Deserialize)]
struct HistoryQuery {
    limit: Option<usize>,
}

async fn history<B: Backend>(
    State(backend): State<Arc<B>>,
    Query(query): Query<HistoryQuery>,
) -> Result<Json<HistoryView>, ApiError> {
    backend.history(query.limit.unwrap_or(HISTORY_DEFAULT)).await.map(Json)
}

async fn plan<B: Backend>(
    State(backend): State<Arc<B>>,
    Json(request): Json<CheckRequest>,
) -> Result<Json<CheckView>, ApiError> {
    backend.check(request).await.map(Json)
}

async fn diff<B: Backend>(
    State(backend): State<Arc<B>>,
    Json(request): Json<CheckRequest>,
) -> Result<Json<DiffView>, ApiError> {
    backend.diff(request).await.map(Json)
}

async fn check<B: Backend>(
    State(backend): State<Arc<B>>,
    Json(request): Json<PushRequest>,
) -> Result<Json<CheckView>, ApiError> {
    backend.check_push(request).await.map(Json)
}

async fn export<B: Backend>(State(backend): State<Arc<B>>) -> Result<Vec<u8>, ApiError> {
    backend.export().await
}

async fn operate_<B: Backend>(
    State(backend): State<Arc<B>>,
    Extension(caller): Extension<Caller>,
    Json(request): Json<OperateRequest>,
) -> Result<Json<OperationView>, ApiError> {
    let state = backend.state();
    let ready = operate::prepare(&state, &request, &caller.name)?;
    for command in &ready.commands {
        if let Command::ConfirmOff { node, boot, .. } = command {
            let detection = state.spec().map_or(Detection::DEFAULT, |spec| spec.cluster.detection);
            let leader = backend.leadership().leader;
            refuse_if_heard(&backend.contacts(), leader.as_ref(), node, boot, detection.suspect_after)?;
        }
    }
    let mut view = OperationView {
        api_version: ApiVersion::default(),
        kind: OperationKind::default(),
        index: None,
        summary: ready.summary,
        wait_for: ready.wait_for,
        stops: ready.stops,
        plan: None,
    };
    if request.dry_run {
        view.plan = Some(backend.predict(ready.commands).await?);
        return Ok(Json(view));
    }
    let applied = backend.propose(ready.commands).await?;
    for answer in applied.answers {
        answer?;
    }
    view.index = Some(applied.index.0);
    Ok(Json(view))
}

async fn fence<B: Backend>(
    State(backend): State<Arc<B>>,
    Extension(caller): Extension<Caller>,
    Json(request): Json<FenceRequest>,
) -> Result<Json<FenceView>, ApiError> {
    backend.fence(request, caller).await.map(Json)
}

async fn token<B: Backend>(
    State(backend): State<Arc<B>>,
    Extension(caller): Extension<Caller>,
    Json(request): Json<TokenRequest>,
) -> Result<Json<TokenView>, ApiError> {
    backend.token(request, caller).await.map(Json)
}

async fn push<B: Backend>(
    State(backend): State<Arc<B>>,
    Extension(caller): Extension<Caller>,
    Json(request): Json<PushRequest>,
) -> Result<Json<PushView>, ApiError> {
    backend.push(request, caller).await.map(Json)
}

async fn output<B: Backend>(
    State(backend): State<Arc<B>>,
    Path(instance): Path<String>,
) -> Result<Json<OutputView>, ApiError> {
    let parsed: InstanceId = instance.parse().map_err(|_| {
        ApiError::new(ErrorCode::Usage, format!("`{instance}` is not a resource or a copy like `web:0`"))
    })?;
    backend.output(parsed).await.map(Json)
}

async fn shim<B: Backend>(
    State(backend): State<Arc<B>>,
    Json(call): Json<ShimCall>,
) -> Result<Json<ShimView>, ApiError> {
    backend.shim(call).await.map(Json)
}

async fn shutdown<B: Backend>(
    State(backend): State<Arc<B>>,
    Json(request): Json<ShutdownRequest>,
) -> Result<Json<()>, ApiError> {
    backend.shutdown(request.what).await.map(Json)
}

/// Whatever a forge sends, it means "look". Without a secret the body is not even read.
async fn take_webhook<B: Backend>(State(backend): State<Arc<B>>, request: Request) -> Response {
    let outcome = signed(&*backend, request).await;
    backend.webhooks().count(outcome, Instant::now(), backend.wall_ms());
    match outcome {
        Ok(()) => {
            backend.source_changed();
            StatusCode::ACCEPTED.into_response()
        }
        Err(why) => {
            let mut answer = (why.status(), format!("refused: {why}\n")).into_response();
            if why == Refused::TooMany {
                answer.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
            }
            answer
        }
    }
}

async fn signed<B: Backend>(backend: &B, request: Request) -> Result<(), Refused> {
    backend.webhooks().admit(Instant::now())?;
    let secret = backend.webhook_secret().await.map_err(|why| {
        tracing::error!("webhooks are refused: {why}");
        Refused::NoSecret
    })?;
    let Some(secret) = secret else { return Ok(()) };
    let _room = backend.webhooks().room.try_acquire().map_err(|_| Refused::TooMany)?;
    let (head, body) = request.into_parts();
    let read = axum::body::to_bytes(body, webhook::BODY_LIMIT);
    let body = tokio::time::timeout(webhook::BODY_TIMEOUT, read).await.map_err(|_| Refused::TooSlow)?;
    webhook::verify(&secret, &head.headers, &body.map_err(|_| Refused::TooLarge)?).map(|_| ())
}

async fn join<B: Backend>(State(backend): State<Arc<B>>, body: Bytes) -> Result<Vec<u8>, ApiError> {
    backend.join(body.to_vec()).await
}
