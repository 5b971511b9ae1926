//! (to be written) What the command line needs of the daemon; nothing behind it is built yet.

use crate::api::{ApiError, ErrorCode};
use std::net::IpAddr;
use std::path::PathBuf;

/// For the first node of a cluster.
#[derive(Debug, Clone)]
pub struct InitOptions {
    pub data_dir: PathBuf,
    pub name: String,
    pub addresses: Vec<IpAddr>,
    pub cluster: String,
    pub port: u16,
}

/// For every further node.
#[derive(Debug, Clone)]
pub struct JoinOptions {
    pub data_dir: PathBuf,
    pub token: String,
    pub name: String,
    pub addresses: Vec<IpAddr>,
    pub port: u16,
}

#[derive(Debug, Clone)]
pub struct RunOptions {
    pub data_dir: PathBuf,
}

/// Why a daemon ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It left, because it was asked to.
    Left,
    /// By a signal; its resources run on.
    Terminated,
}

/// Makes the data directory of a first node. Refused if there is one.
pub fn init(options: &InitOptions) -> Result<(), ApiError> {
    Err(not_built(&options.data_dir))
}

/// Makes the data directory of a further node, with what the cluster answers.
pub fn join(options: &JoinOptions) -> Result<(), ApiError> {
    Err(not_built(&options.data_dir))
}

/// Runs the daemon until it is ended.
pub fn run(options: &RunOptions) -> Result<Ended, ApiError> {
    Err(not_built(&options.data_dir))
}

fn not_built(data_dir: &std::path::Path) -> ApiError {
    ApiError::new(ErrorCode::Internal, format!("not built yet ({})", data_dir.display()))
}
