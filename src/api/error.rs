//! Refusals and failures as the API answers them: a code that the command line turns into its exit code, and words.

use super::types::{ApiVersion, ErrorKind};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What kind of no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ErrorCode {
    /// The request makes no sense.
    Usage,
    /// The caller may not do this.
    Forbidden,
    NoSuchObject,
    NoQuorum,
    /// Refused because it could hurt.
    Unsafe,
    /// The cluster refused it: it has moved on, or does not allow this now.
    Refused,
    /// It may or may not have happened.
    Unknown,
    TimedOut,
    /// A required resource would have no node.
    NotPlaced,
    /// A bug.
    Internal,
}

impl ErrorCode {
    fn status(self) -> StatusCode {
        match self {
            Self::Usage => StatusCode::BAD_REQUEST,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NoSuchObject => StatusCode::NOT_FOUND,
            Self::NoQuorum => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unsafe | Self::Refused | Self::NotPlaced => StatusCode::CONFLICT,
            Self::Unknown | Self::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// A failed request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    pub code: ErrorCode,
    pub message: String,
    /// What to do next, each a sentence without full stop.
    pub hints: Vec<String>,
}

impl ApiError {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hints: Vec::new() }
    }
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl From<crate::state::port::ProposeError> for ApiError {
    fn from(error: crate::state::port::ProposeError) -> Self {
        use crate::state::port::ProposeError;
        match &error {
            ProposeError::NoLeader => Self::new(ErrorCode::NoQuorum, "no quorum: no leader could be reached")
                .hint("`hafen status` on the other nodes shows which of them are up"),
            ProposeError::Unknown(_) => Self::new(ErrorCode::Unknown, error.to_string())
                .hint("it may still happen: look with `hafen status` before trying again"),
            ProposeError::TooLarge { .. } => Self::new(ErrorCode::Usage, error.to_string()),
        }
    }
}

impl From<crate::state::Refusal> for ApiError {
    fn from(refusal: crate::state::Refusal) -> Self {
        use crate::state::Refusal as R;
        let code = match &refusal {
            R::UnknownNode { .. } | R::UnknownResource { .. } | R::NoClaim { .. } | R::NoAttempt { .. } => {
                ErrorCode::NoSuchObject
            }
            R::NotAllowed { .. } | R::BurntBoot { .. } | R::LimitReached { .. } | R::OverLimit { .. } => {
                ErrorCode::Unsafe
            }
            R::StaleIncarnation { .. }
            | R::NotLeader
            | R::NotOnline { .. }
            | R::OldBootCounts { .. }
            | R::WrongEpoch { .. }
            | R::AlreadyClaimed { .. }
            | R::NotAssigned { .. }
            | R::FactMissing { .. }
            | R::NotProbed { .. }
            | R::WrongPhase { .. }
            | R::StaleObservation
            | R::IncompleteSpec { .. }
            | R::BadSpec { .. }
            | R::TargetMoved { .. }
            | R::Held { .. }
            | R::AttemptOpen { .. }
            | R::NothingToDo
            | R::TooLarge { .. } => ErrorCode::Refused,
        };
        Self::new(code, refusal.to_string())
    }
}

/// An [`ApiError`] on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorView {
    #[serde(default)]
    pub api_version: ApiVersion,
    #[serde(default)]
    pub kind: ErrorKind,
    pub code: ErrorCode,
    pub message: String,
    #[serde(default)]
    pub hints: Vec<String>,
}

impl From<ErrorView> for ApiError {
    fn from(view: ErrorView) -> Self {
        Self { code: view.code, message: view.message, hints: view.hints }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.code.status();
        let view = ErrorView {
            api_version: ApiVersion::default(),
            kind: ErrorKind::default(),
            code: self.code,
            message: self.message,
            hints: self.hints,
        };
        (status, axum::Json(view)).into_response()
    }
}
