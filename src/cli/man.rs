//! `hafen man`.

use super::error::{CliError, Exit, Kind};
use std::io::Write;
use std::path::PathBuf;

/// Write the manual pages
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hafen man drain | man -l -
  hafen man --out /usr/local/share/man/man1")]
pub struct Args {
    /// The command whose page goes to stdout; none: that of hafen itself
    command: Option<String>,
    /// Write all pages into this folder
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    out: Option<PathBuf>,
}

pub fn run(args: &Args, mut command: clap::Command) -> Result<Exit, CliError> {
    command.build();
    if let Some(folder) = &args.out {
        std::fs::create_dir_all(folder)
            .and_then(|()| clap_mangen::generate_to(command, folder))
            .map_err(|e| CliError::new(Kind::CouldNotTell, format!("failed to write `{}`: {e}", folder.display())))?;
        return Ok(Exit::Ok);
    }
    let page = match &args.command {
        None => command,
        Some(name) => command
            .find_subcommand(name)
            .ok_or_else(|| CliError::usage(format!("no command `{name}`")).hint("`hafen --help` lists them"))?
            .clone(),
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(page).render(&mut text)?;
    // Not through the colour filter: roff is no terminal output.
    std::io::stdout().write_all(&text)?;
    Ok(Exit::Ok)
}
