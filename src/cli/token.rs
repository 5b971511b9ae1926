//! `hafen token`.

use super::error::{CliError, Exit};
use super::{Context, Format, OutputFormat, render};
use crate::api::types::{TokenRequest, TokenRoleName, TokenView};
use std::time::Duration;

/// Make a token that lets a machine join, or a person use the API
///
/// The token alone goes to stdout. It is secret until it is used or expires.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hafen token
  hafen token --role viewer --ttl 30d > viewer.token")]
pub struct Args {
    /// What it allows
    #[arg(long, value_enum, default_value = "node")]
    role: TokenRoleName,
    /// How long it is valid
    #[arg(long, default_value = "1h", value_parser = render::parse_duration, value_name = "TIME")]
    ttl: Duration,
    #[command(flatten)]
    format: Format,
}

pub async fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let request = TokenRequest { role: args.role, ttl_ms: args.ttl.as_millis() as u64 };
    let answer: TokenView = context.client()?.post("/v1/token", &request).await?;
    match args.format.output {
        OutputFormat::Json => render::print_json(&answer)?,
        OutputFormat::Text => {
            render::print(&format!("{}\n", answer.token))?;
            render::say(&format!("valid until {}", render::time(answer.expires_ms)));
        }
    }
    Ok(Exit::Ok)
}
