//! The command line: a file per command.
//!
//! Input → output: arguments → results on stdout, words on stderr, and one documented exit code ([`error::Exit`]).
//! A command is an `Args` whose doc comment is its help, and a function; here they are only put together.
//!
//! Invariants: clap's own errors exit 64, never 1 or 2; a panic exits 70; a reader that goes away is no error.
//! Deliberately absent: decisions. What can be decided is decided by `api` and behind it.

mod agent;
mod changes;
mod cib;
mod cleanup;
mod comment;
mod completion;
mod diagnostics;
mod diff;
mod drain;
mod error;
mod events;
mod explain;
mod fence;
mod files;
mod fmt;
mod history;
mod hook;
mod import;
mod init;
mod join;
mod keygen;
mod leave;
mod maintenance;
mod man;
mod move_;
mod offline;
mod operate;
mod output;
mod plan;
mod recover;
mod render;
mod render_manifests;
mod rollout;
mod schema;
mod shim;
mod sim;
mod simulate;
mod status;
mod suspend;
mod token;
mod validate;
mod wait;
mod why;

use crate::api::Client;
use clap::{CommandFactory, Parser, Subcommand};
use error::{CliError, Exit};
use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;

/// Keeps services running on a few machines, as manifests in git say
#[derive(Debug, Parser)]
#[command(name = "hafen", version, after_help = error::EXIT_CODES, propagate_version = true, disable_help_subcommand = true)]
struct Cli {
    /// Where the daemon of this node keeps its data
    #[arg(long, global = true, env = "HAFEN_DATA_DIR", default_value = "/var/lib/hafen", value_name = "DIR")]
    data_dir: PathBuf,
    /// Whether to use colour; `NO_COLOR` is respected too
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "WHEN")]
    color: Color,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
enum Command {
    Validate(validate::Args),
    Render(render_manifests::Args),
    Fmt(fmt::Args),
    Schema(schema::Args),
    Explain(explain::Args),
    Diff(diff::Args),
    Plan(plan::Args),
    Comment(comment::Args),
    Status(status::Args),
    Events(events::Args),
    History(history::Args),
    Why(why::Args),
    Output(output::Args),
    Wait(wait::Args),
    Drain(drain::DrainArgs),
    Undrain(drain::UndrainArgs),
    Move(move_::Args),
    Maintenance(maintenance::Args),
    Cleanup(cleanup::Args),
    Confirm(rollout::ConfirmArgs),
    Rollback(rollout::RollbackArgs),
    Suspend(suspend::SuspendArgs),
    Resume(suspend::ResumeArgs),
    Fence(fence::Args),
    Import(import::Args),
    Init(init::Args),
    Token(token::Args),
    Keygen(keygen::Args),
    Join(join::Args),
    Leave(leave::Args),
    Recover(recover::Args),
    Agent(agent::Args),
    Simulate(simulate::Args),
    Sim(sim::Args),
    Completion(completion::Args),
    Man(man::Args),
    #[command(hide = true)]
    Hook(hook::Args),
    #[command(hide = true)]
    Shim(shim::Args),
}

/// `-o` of commands that print a document.
#[derive(Debug, clap::Args)]
struct Format {
    /// Form of the result
    #[arg(short = 'o', long = "output", value_enum, default_value = "text", value_name = "FORMAT")]
    output: OutputFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum OutputFormat {
    /// For people
    Text,
    /// The API's own document
    Json,
}

/// What every command gets.
#[derive(Debug)]
struct Context {
    data_dir: PathBuf,
}

impl Context {
    fn client(&self) -> Result<Client, CliError> {
        Ok(Client::new(&self.data_dir)?)
    }
}

/// Runs the command line and returns its exit code.
pub fn main() -> ExitCode {
    error::install_panic_hook();
    let run = || match Cli::try_parse() {
        Ok(cli) => dispatch(cli),
        Err(error) => refuse_usage(&error) as u8,
    };
    // The hook has said what happened.
    ExitCode::from(std::panic::catch_unwind(run).unwrap_or(Exit::Bug as u8))
}

fn refuse_usage(error: &clap::Error) -> Exit {
    // Help and version come this way too; a reader that went away does not matter.
    let _ = error.print();
    if error.use_stderr() { Exit::Usage } else { Exit::Ok }
}

fn dispatch(cli: Cli) -> u8 {
    match cli.color {
        Color::Auto => anstream::ColorChoice::Auto.write_global(),
        Color::Always => anstream::ColorChoice::Always.write_global(),
        Color::Never => anstream::ColorChoice::Never.write_global(),
    }
    let context = Context { data_dir: cli.data_dir };
    let result = match &cli.command {
        Command::Validate(args) => return validate::run_with(args, installed_agents),
        Command::Fmt(args) => fmt::run(args),
        Command::Render(args) => render_manifests::run(args),
        Command::Schema(args) => return schema::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Diff(args) => wait_for(diff::run(args, &context)),
        Command::Plan(args) => wait_for(plan::run(args, &context)),
        Command::Comment(args) => wait_for(comment::run(args, &context)),
        Command::Status(args) => wait_for(status::run(args, &context)),
        Command::Events(args) => wait_for(events::run(args, &context)),
        Command::History(args) => wait_for(history::run(args, &context)),
        Command::Why(args) => wait_for(why::run(args, &context)),
        Command::Output(args) => wait_for(output::run(args, &context)),
        Command::Wait(args) => wait_for(wait::run(args, &context)),
        Command::Drain(args) => wait_for(drain::drain(args, &context)),
        Command::Undrain(args) => wait_for(drain::undrain(args, &context)),
        Command::Move(args) => wait_for(move_::run(args, &context)),
        Command::Maintenance(args) => wait_for(maintenance::run(args, &context)),
        Command::Cleanup(args) => wait_for(cleanup::run(args, &context)),
        Command::Confirm(args) => wait_for(rollout::confirm(args, &context)),
        Command::Rollback(args) => wait_for(rollout::rollback(args, &context)),
        Command::Suspend(args) => wait_for(suspend::suspend(args, &context)),
        Command::Resume(args) => wait_for(suspend::resume(args, &context)),
        Command::Fence(args) => wait_for(fence::run(args, &context)),
        Command::Import(args) => import::run(args),
        Command::Init(args) => init::run(args, &context),
        Command::Token(args) => wait_for(token::run(args, &context)),
        Command::Keygen(args) => keygen::run(args),
        Command::Join(args) => join::run(args, &context),
        Command::Leave(args) => wait_for(leave::run(args, &context)),
        Command::Recover(args) => recover::run(args, &context),
        Command::Agent(args) => agent::run(args, &context),
        Command::Simulate(args) => simulate::run(args),
        Command::Sim(args) => sim::run(args),
        Command::Completion(args) => completion::run(args, Cli::command()),
        Command::Man(args) => man::run(args, Cli::command()),
        Command::Hook(args) => wait_for(hook::run(args, &context)),
        Command::Shim(args) => wait_for(shim::run(args, &context)),
    };
    match result {
        Ok(exit) => exit as u8,
        Err(error) => error.report() as u8,
    }
}

/// What this machine's agents say of themselves, and of the others what the snapshot says.
fn installed_agents(names: &std::collections::BTreeSet<String>) -> crate::model::AgentCatalogue {
    let config = crate::agent::Config::new(PathBuf::new(), PathBuf::new(), crate::model::NodeId::default());
    let read = async { Ok(crate::agent::catalogue(names, &config.ocf_root, &config.fence_dirs).await) };
    crate::manifest::bundled::complete(wait_for(read).unwrap_or_default(), names)
}

/// Runs a command that talks to the daemon, on this thread.
fn wait_for<T>(command: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}

#[cfg(test)]
mod export_tests;
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_of_all_commands_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_for_people_has_examples_in_its_help() {
        for command in Cli::command().get_subcommands_mut().filter(|command| !command.is_hide_set()) {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Examples:"), "{} has none", command.get_name());
        }
    }

    #[test]
    fn wrong_usage_is_64_and_help_is_0() {
        let exit = |words: &[&str]| refuse_usage(&Cli::try_parse_from(words).unwrap_err()) as u8;
        assert_eq!(exit(&["hafen", "nonsense"]), 64);
        assert_eq!(exit(&["hafen", "drain"]), 64);
        assert_eq!(exit(&["hafen", "--version"]), 0);
    }
}
