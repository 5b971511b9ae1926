//! `hafen join`.

use super::error::{CliError, Exit};
use super::init::parse_name;
use super::{Context, render};
use crate::daemon::{self, JoinOptions};
use std::net::IpAddr;

/// Make this machine a node of an existing cluster
///
/// The token comes from `hafen token` on any node. `-` reads it from stdin, so that no process list shows it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hafen join TOKEN --name n2 --addresses 192.0.2.2
  ssh n1 hafen token | hafen join - --name n2 --addresses 192.0.2.2,198.51.100.2")]
pub struct Args {
    /// What `hafen token` printed, or `-`
    token: String,
    /// This node's name, as its Node document calls it
    #[arg(long, value_parser = parse_name)]
    name: String,
    /// Its addresses, one per network, the most important first
    #[arg(long, value_delimiter = ',', required = true, value_name = "A[,B]")]
    addresses: Vec<IpAddr>,
    /// Port for the other nodes and the API
    #[arg(long, default_value_t = 7443, value_name = "PORT")]
    listen: u16,
}

pub fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let token = match args.token.as_str() {
        "-" => std::io::read_to_string(std::io::stdin())?.trim().to_owned(),
        token => token.to_owned(),
    };
    daemon::join(&JoinOptions {
        data_dir: context.data_dir.clone(),
        token,
        name: args.name.clone(),
        addresses: args.addresses.clone(),
        port: args.listen,
    })?;
    render::say(&format!("{} may join; next: `systemctl enable --now hafen`", args.name));
    Ok(Exit::Ok)
}
