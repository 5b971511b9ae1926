//! What other nodes ask of this one: Raft, and git objects. Only members get an answer.

use super::backend::Daemon;
use crate::log::{HandleError, RpcKind};
use crate::model::Revision;
use crate::net::{PeerCert, belongs_to};
use crate::source::SourceError;
use crate::state::port::Log;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::handler::Handler;
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use std::sync::Arc;

/// A sentence about `source.url`.
const CONDITION_LIMIT: usize = 64 * 1024;

pub(super) fn node_routes(daemon: Arc<Daemon>) -> Router {
    Router::new()
        .route("/node/raft/{kind}", post(raft))
        .route(
            "/node/git/pack",
            get(give_pack).post(take_pack.layer(DefaultBodyLimit::max(crate::source::MAX_PACK_BYTES as usize))),
        )
        .route("/node/source/hint", post(take_hint))
        .route("/node/source/condition", post(take_condition.layer(DefaultBodyLimit::max(CONDITION_LIMIT))))
        // Before any body is read: strangers must not fill the memory.
        .layer(middleware::from_fn_with_state(daemon.clone(), only_members))
        .with_state(daemon)
}

async fn only_members(State(daemon): State<Arc<Daemon>>, request: Request, next: Next) -> Response {
    let refusal = match request.extensions().get::<PeerCert>() {
        Some(certificate) if is_member(&daemon, certificate) => return next.run(request).await,
        // A certificate of this cluster, by a node that is none of it any more.
        Some(PeerCert(Some(_))) if daemon.log().identity().generation > 0 => {
            return left_behind(daemon.log().identity().generation);
        }
        Some(PeerCert(Some(_))) => {
            "only members of the cluster may ask this, and this certificate is of none (any more)"
        }
        Some(PeerCert(None)) | None => "only members of the cluster may ask this, and no certificate was shown",
    };
    (StatusCode::FORBIDDEN, refusal).into_response()
}

/// A member by its certificate. While this node knows no members yet, every certificate of the cluster counts: how else
/// would it learn who they are.
fn is_member(daemon: &Daemon, certificate: &PeerCert) -> bool {
    let Some(names) = &certificate.0 else { return false };
    let state = daemon.log().state();
    state.admitted.is_empty() || state.admitted.keys().any(|node| belongs_to(names, node))
}

async fn raft(State(daemon): State<Arc<Daemon>>, Path(kind): Path<String>, request: Request) -> Response {
    let generation = daemon.log().identity().generation;
    let Some(kind) = RpcKind::ALL.into_iter().find(|known| known.as_str() == kind) else {
        return (StatusCode::NOT_FOUND, "no such request").into_response();
    };
    // No more is read than that kind may have: a vote is not a snapshot.
    let body = match axum::body::to_bytes(request.into_body(), kind.max_bytes()).await {
        Ok(body) => body,
        Err(error) => return (StatusCode::PAYLOAD_TOO_LARGE, error.to_string()).into_response(),
    };
    match daemon.log().handle(kind, body).await {
        Ok(answer) => answer.into_response(),
        // A member of this cluster speaks of another generation: one of the two was left behind, and it is the older.
        Err(HandleError::Foreign) if generation > 0 => left_behind(generation),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response(),
    }
}

/// A node of a former generation: it holds a certificate of this cluster, and a log that nobody follows any more.
fn left_behind(generation: u64) -> Response {
    let text = format!(
        "the cluster goes on in generation {generation}, without this node: it was stated to be off, or was not there. \
         Stop its daemon, move its data directory away, and `hafen join` it with a new token"
    );
    (StatusCode::GONE, text).into_response()
}

#[derive(Deserialize)]
struct PackQuery {
    revision: Revision,
    /// Comma-separated: what the asker has.
    #[serde(default)]
    have: String,
}

async fn give_pack(State(daemon): State<Arc<Daemon>>, Query(query): Query<PackQuery>) -> Response {
    let repo = daemon.repo().clone();
    let have: Vec<Revision> = query.have.split(',').filter(|text| !text.is_empty()).map(Revision::from).collect();
    let packed = tokio::task::spawn_blocking(move || repo.pack(&query.revision, &have)).await;
    match packed {
        Ok(Ok(bytes)) => bytes.into_response(),
        Ok(Err(error)) => failed(&error),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn take_pack(State(daemon): State<Arc<Daemon>>, Query(query): Query<PackQuery>, body: Bytes) -> Response {
    let repo = daemon.repo().clone();
    let installed = tokio::task::spawn_blocking(move || repo.install_pack(&body, &query.revision)).await;
    match installed {
        Ok(Ok(())) => StatusCode::NO_CONTENT.into_response(),
        Ok(Err(error)) => failed(&error),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Another node heard that `source.url` has something new. Only the leader looks, so that hints do not go in circles.
async fn take_hint(State(daemon): State<Arc<Daemon>>) -> Response {
    if daemon.log().leadership().is_self {
        daemon.hint_to_fetch();
    }
    StatusCode::NO_CONTENT.into_response()
}

/// The leader says what is wrong with `source.url`, or that nothing is.
async fn take_condition(State(daemon): State<Arc<Daemon>>, body: Bytes) -> Response {
    let Ok(condition) = serde_json::from_slice::<Option<String>>(&body) else {
        return (StatusCode::BAD_REQUEST, "not a condition").into_response();
    };
    daemon.set_condition(super::follow::CONDITION, condition);
    StatusCode::NO_CONTENT.into_response()
}

fn failed(error: &SourceError) -> Response {
    let code = match error {
        SourceError::NotFound { .. } => StatusCode::NOT_FOUND,
        SourceError::DiskFull { .. } => StatusCode::INSUFFICIENT_STORAGE,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    (code, error.to_string()).into_response()
}
