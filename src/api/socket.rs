//! The local socket: who is at its other end, and how it is opened.
//!
//! Its file mode is the access check: 0660, owned by root and group `hafen` where there is one, 0600 otherwise.

use super::access::{Access, Caller, Door};
use super::backend::Backend;
use super::routes::router;
use axum::extract::connect_info::Connected;
use axum::http::HeaderMap;
use axum::serve::IncomingStream;
use std::future::Future;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::UnixListener;

/// The group whose members are operators.
pub const GROUP: &str = "hafen";
/// Root may say on whose behalf it calls (`sudo` does not change the user of the socket otherwise).
pub const ON_BEHALF: &str = "hafen-user";

/// Where the socket of a data directory is.
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("hafen.sock")
}

/// The process at the other end, as the kernel says.
#[derive(Debug, Clone)]
pub struct Peer {
    pub uid: Option<u32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self { uid: stream.io().peer_cred().ok().map(|cred| cred.uid()) }
    }
}

/// The operator behind a local request.
pub(super) fn caller(peer: Option<&Peer>, headers: &HeaderMap) -> Caller {
    let uid = peer.and_then(|peer| peer.uid);
    let behalf = headers
        .get(ON_BEHALF)
        .and_then(|value| value.to_str().ok())
        .filter(|name| uid == Some(0) && (1..=64).contains(&name.len()));
    let name = match (behalf, uid) {
        (Some(name), _) => name.to_owned(),
        (None, Some(uid)) => user_name(uid),
        (None, None) => "local".to_owned(),
    };
    Caller { name, access: Access::Local }
}

fn user_name(uid: u32) -> String {
    match nix::unistd::User::from_uid(uid.into()) {
        Ok(Some(user)) => user.name,
        Ok(None) | Err(_) => format!("uid {uid}"),
    }
}

/// Opens the socket, replacing what a dead daemon left. The caller holds the lock of the data directory.
pub fn bind(data_dir: &Path) -> io::Result<UnixListener> {
    let path = path(data_dir);
    match std::fs::remove_file(&path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // Bound under another name, so that nobody connects before the mode is set.
    let hidden = data_dir.join("hafen.sock.new");
    match std::fs::remove_file(&hidden) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(&hidden)?;
    let group = nix::unistd::Group::from_name(GROUP).ok().flatten();
    let shared = group.is_some_and(|group| nix::unistd::chown(&hidden, None, Some(group.gid)).is_ok());
    std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(if shared { 0o660 } else { 0o600 }))?;
    std::fs::rename(&hidden, &path)?;
    Ok(listener)
}

/// Serves the routes on the socket until `until` is ready.
pub async fn serve<B: Backend>(
    listener: UnixListener,
    backend: Arc<B>,
    until: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let service = router(backend, Door::Local).into_make_service_with_connect_info::<Peer>();
    axum::serve(listener, service).with_graceful_shutdown(until).await
}
