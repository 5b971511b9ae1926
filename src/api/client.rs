//! The client of the local socket, for the command line, the hooks and the agents' helpers.
//!
//! Every call has a time-out. Errors: [`ClientError`]; a call that may have been done is told apart from one that was not.

use super::error::{ApiError, ErrorView};
use super::socket;
use crate::model::causes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// For what the daemon answers from memory.
pub const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// For what needs a commit, or a plan of a large tree: elections take up to some seconds.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("the daemon is not running on this node ({})", socket.display())]
    Unreachable { socket: PathBuf },
    #[error("no permission to use {}", socket.display())]
    Denied { socket: PathBuf },
    /// It was sent; what became of it is not known.
    #[error("the daemon did not answer within {} s", after.as_secs())]
    TimedOut { after: Duration },
    #[error("the connection to the daemon broke")]
    Broken(#[source] reqwest::Error),
    /// A daemon of another version.
    #[error("the daemon's answer cannot be read: {0}")]
    BadAnswer(String),
    #[error(transparent)]
    Refused(#[from] ApiError),
}

/// A connection to the daemon of this machine.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    socket: PathBuf,
}

impl Client {
    /// Does not connect yet.
    pub fn new(data_dir: &Path) -> Result<Self, ClientError> {
        Self::at(socket::path(data_dir))
    }

    /// The same for a socket by its own path, as git's hooks are told it.
    pub fn at(socket: PathBuf) -> Result<Self, ClientError> {
        // reqwest wants a provider of cryptography even for a plain socket; setting it twice is harmless.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .unix_socket(socket.clone())
            .tls_certs_only(std::iter::empty::<reqwest::Certificate>())
            .no_proxy()
            .build()
            .map_err(ClientError::Broken)?;
        Ok(Self { http, socket })
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, String)]) -> Result<T, ClientError> {
        let response = self.send(self.http.get(address(path, query)), READ_TIMEOUT).await?;
        read(response, READ_TIMEOUT).await
    }

    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        let response = self.send(self.http.post(address(path, &[])).json(body), WRITE_TIMEOUT).await?;
        read(response, WRITE_TIMEOUT).await
    }

    /// Bytes as they are.
    pub async fn bytes(&self, path: &str) -> Result<Vec<u8>, ClientError> {
        let response = self.send(self.http.get(address(path, &[])), WRITE_TIMEOUT).await?;
        let bytes = response.bytes().await.map_err(|error| self.failed(error, WRITE_TIMEOUT))?;
        Ok(bytes.to_vec())
    }

    /// An answer without an end, to be read piece by piece.
    pub async fn stream(&self, path: &str, query: &[(&str, String)]) -> Result<reqwest::Response, ClientError> {
        match tokio::time::timeout(READ_TIMEOUT, self.request(self.http.get(address(path, query))).send()).await {
            Ok(sent) => accepted(sent.map_err(|error| self.failed(error, READ_TIMEOUT))?).await,
            Err(_) => Err(ClientError::TimedOut { after: READ_TIMEOUT }),
        }
    }

    fn request(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match std::env::var("SUDO_USER") {
            Ok(user) => request.header(socket::ON_BEHALF, user),
            Err(_) => request,
        }
    }

    async fn send(&self, request: reqwest::RequestBuilder, after: Duration) -> Result<reqwest::Response, ClientError> {
        let sent = self.request(request).timeout(after).send().await;
        accepted(sent.map_err(|error| self.failed(error, after))?).await
    }

    fn failed(&self, error: reqwest::Error, after: Duration) -> ClientError {
        let socket = self.socket.clone();
        if error.is_connect() {
            return match io_kind(&error) {
                Some(std::io::ErrorKind::PermissionDenied) => ClientError::Denied { socket },
                Some(_) | None => ClientError::Unreachable { socket },
            };
        }
        if error.is_timeout() { ClientError::TimedOut { after } } else { ClientError::Broken(error) }
    }
}

fn io_kind(error: &reqwest::Error) -> Option<std::io::ErrorKind> {
    causes::causes(error).find_map(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind)
}

/// The host is never looked up; the socket is the address.
fn address(path: &str, query: &[(&str, String)]) -> String {
    let mut address = format!("http://hafen{path}");
    for (place, (key, value)) in query.iter().enumerate() {
        address.push(if place == 0 { '?' } else { '&' });
        address += &format!("{key}={}", escape(value));
    }
    address
}

/// Percent-encodes what is not plain, for paths and queries.
pub fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

async fn accepted(response: reqwest::Response) -> Result<reqwest::Response, ClientError> {
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status();
    let body = response.text().await.unwrap_or_default();
    match serde_json::from_str::<ErrorView>(&body) {
        Ok(view) => Err(ClientError::Refused(view.into())),
        Err(_) => Err(ClientError::BadAnswer(format!("{status}: {}", body.lines().next().unwrap_or_default()))),
    }
}

async fn read<T: DeserializeOwned>(response: reqwest::Response, after: Duration) -> Result<T, ClientError> {
    let bytes = response.bytes().await.map_err(|error| {
        if error.is_timeout() { ClientError::TimedOut { after } } else { ClientError::Broken(error) }
    })?;
    serde_json::from_slice(&bytes).map_err(|error| ClientError::BadAnswer(error.to_string()))
}
