//! `hafen shim`: what agents call as `crm_attribute`, `crm_master` and the like.
//!
//! Passes the call on to the daemon and becomes its answer. Secrets that are parameters of the agent stay here.

use super::Context;
use super::error::{CliError, Exit};
use crate::api::client::Client;
use crate::api::types::{ShimCall, ShimView};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

/// Answer an agent's helper (called by agents, not by people)
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The daemon's socket
    #[arg(long, env = "HAFEN_SOCKET", value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Which helper
    name: String,
    /// Its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// What the daemon may know: whose call it is, but no parameter of an agent.
fn is_shared(name: &str) -> bool {
    name.starts_with("HAFEN_")
        || name.starts_with("OCF_RESKEY_CRM_meta_")
        || (name.starts_with("OCF_") && !name.starts_with("OCF_RESKEY_"))
}

pub async fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let client = match &args.socket {
        Some(socket) => Client::at(socket.clone())?,
        None => context.client()?,
    };
    let environment: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| is_shared(name))
        .collect();
    let call = ShimCall { name: args.name.clone(), arguments: args.arguments.clone(), environment };
    let answer: ShimView = client.post("/v1/shim", &call).await?;
    std::io::stdout().write_all(answer.stdout.as_bytes())?;
    std::io::stderr().write_all(answer.stderr.as_bytes())?;
    // The helper's own code, whatever it is: agents compare it.
    std::process::exit(i32::from(answer.exit))
}

#[cfg(test)]
mod tests {
    use super::is_shared;

    #[test]
    fn parameters_of_agents_are_not_passed_on() {
        assert!(
            is_shared("OCF_RESOURCE_INSTANCE") && is_shared("HAFEN_EPOCH") && is_shared("OCF_RESKEY_CRM_meta_clone")
        );
        assert!(!is_shared("OCF_RESKEY_password") && !is_shared("PATH"));
    }
}
