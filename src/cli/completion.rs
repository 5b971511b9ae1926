//! `hafen completion`.

use super::error::{CliError, Exit};
use super::render;

/// Print a shell's completion script
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hafen completion bash > /etc/bash_completion.d/hafen")]
pub struct Args {
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

pub fn run(args: &Args, mut command: clap::Command) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "hafen", &mut script);
    render::print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Ok)
}
