//! `hafen init`.

use super::error::{CliError, Exit};
use super::{Context, render};
use crate::daemon::{self, InitOptions};
use std::net::IpAddr;

/// Names of nodes: the grammar of manifests.
pub fn parse_name(text: &str) -> Result<String, String> {
    let first = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    let rest = text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    if first && rest && text.len() <= 128 {
        Ok(text.to_owned())
    } else {
        Err("a name has letters, digits, `_`, `.` and `-`, begins with one of the first three, and has 128 at most"
            .into())
    }
}

/// Make this machine the first node of a new cluster
///
/// Makes the cluster's certificate authority and this node's data directory. Start the daemon afterwards.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hafen init --name n1 --addresses 192.0.2.1
  hafen init --name n1 --addresses 192.0.2.1,198.51.100.1 --cluster prod")]
pub struct Args {
    /// This node's name, as its Node document will call it
    #[arg(long, value_parser = parse_name)]
    name: String,
    /// Its addresses, one per network, the most important first
    #[arg(long, value_delimiter = ',', required = true, value_name = "A[,B]")]
    addresses: Vec<IpAddr>,
    /// Name of the cluster
    #[arg(long, default_value = "hafen", value_parser = parse_name)]
    cluster: String,
    /// Port for the other nodes and the API
    #[arg(long, default_value_t = 7443, value_name = "PORT")]
    listen: u16,
}

pub fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    daemon::init(&InitOptions {
        data_dir: context.data_dir.clone(),
        name: args.name.clone(),
        addresses: args.addresses.clone(),
        cluster: args.cluster.clone(),
        port: args.listen,
    })?;
    render::say(&format!("{} is the first node of cluster {}", args.name, args.cluster));
    render::say("next: `systemctl enable --now hafen`, then `hafen token` here for each further node");
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::parse_name;

    #[test]
    fn names_follow_the_grammar_of_manifests() {
        assert!(["n1", "_a", "A.b-c"].iter().all(|name| parse_name(name).is_ok()));
        assert!(["", "-n", ".n", "a/b", "a b", "ä", &"x".repeat(129)].iter().all(|name| parse_name(name).is_err()));
    }
}
