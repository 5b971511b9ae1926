//! `hafen keygen`.

use super::error::{CliError, Exit, Kind};
use super::{Format, OutputFormat, render};
use crate::agent::secrets::{self, Keys};
use crate::api::types::KeyView;
use std::path::PathBuf;

/// Make this node's key for secrets in git, and print for whom to encrypt
///
/// Secrets of manifests can be encrypted with age or SOPS: `secrets: { password: { age: … } }` or `{ sops: { file: …, key: … } }`.
/// Only nodes that have a key they are encrypted for can open them. This makes such a key, unless there is one, in a file
/// that only root can read, and prints its recipient (`age1…`), which is no secret. The recipients of all nodes are in
/// `hafen status -o json`. A daemon that runs uses a new key at once, and tells of it when it is started the next time.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hafen keygen
  printf %s \"$PASSWORD\" | age --armor -r \"$(hafen keygen)\" -r \"$(ssh n2 hafen keygen)\"
  hafen keygen --another      # from now on; what older keys open stays open until you remove them
  sops encrypt --age \"$(hafen keygen)\" --in-place secrets.enc.yaml")]
pub struct Args {
    /// Make one more, which comes first from now on; the older ones are kept
    #[arg(long)]
    another: bool,
    /// Print the recipient of a key that is there; make none
    #[arg(long, conflicts_with = "another")]
    show: bool,
    /// Where the keys are
    #[arg(long, value_name = "FILE", env = secrets::KEY_FILE_VARIABLE, default_value = secrets::KEY_FILE)]
    file: PathBuf,
    #[command(flatten)]
    format: Format,
}

pub fn run(args: &Args) -> Result<Exit, CliError> {
    let keys = if args.show { Keys::read(&args.file) } else { secrets::make_key(&args.file, args.another) };
    let recipients = keys.map_err(|error| CliError::new(Kind::CouldNotTell, error.to_string()))?.recipients();
    match args.format.output {
        OutputFormat::Json => {
            let file = args.file.display().to_string();
            render::print_json(&KeyView { file, recipients, ..KeyView::default() })?;
        }
        OutputFormat::Text => {
            // The first alone, so that it can be given to age as it is.
            render::print(&format!("{}\n", recipients.first().map_or("", String::as_str)))?;
            match recipients.len() {
                0 | 1 => render::say(&format!("the key is in {}", args.file.display())),
                more => render::say(&format!("the first of {more} keys in {}", args.file.display())),
            }
        }
    }
    Ok(Exit::Ok)
}
