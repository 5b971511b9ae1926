//! `hafen render`: the documents of one cluster with bases, patches and variables put together.
//!
//! Input → output: a path → documents as YAML or JSON on stdout, with `--show-origin` where every field is from. Exit
//! codes: 0; 2 if they cannot be read or put together, with the findings on stderr.

use super::error::{CliError, Exit, Kind};
use super::{Format, OutputFormat, files, render};
use crate::api::types::{RenderedDocumentView, RenderedView};
use crate::manifest::{self, RenderedDocument};
use crate::model::Severity;
use std::path::PathBuf;

/// Show the documents of a cluster as its overlay makes them
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Show the documents of a cluster as its overlay makes them: bases, patches and the values of variables put together. \
What is printed reads as the same manifests. Defaults of fields that nobody wrote are not shown, nor are comments.",
    after_help = "Examples:
  hafen render clusters/prod
  hafen render clusters/prod --show-origin
  hafen render clusters/prod --show-origin -o json"
)]
pub struct Args {
    /// A folder of manifests, or one file
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Say of every field where it is from: file, line and column, and by which patch or variable
    #[arg(long)]
    show_origin: bool,
    #[command(flatten)]
    format: Format,
}

pub fn run(args: &Args) -> Result<Exit, CliError> {
    let files =
        files::read_from_here(&args.path).map_err(|error| CliError::new(Kind::CouldNotTell, error.to_string()))?;
    let rendered = manifest::rendered(&files);
    let errors: Vec<_> = rendered.diagnostics.iter().filter(|found| found.severity == Severity::Error).collect();
    if !errors.is_empty() {
        errors.iter().for_each(|found| render::say(&super::plan::diagnostic(found)));
        return Err(CliError::new(Kind::CouldNotTell, "the manifests cannot be put together")
            .hint("`hafen explain CODE` says more about a finding"));
    }
    match args.format.output {
        OutputFormat::Text => render::print(&text(&rendered.documents, args.show_origin))?,
        OutputFormat::Json => render::print_json(&view(rendered.documents, args.show_origin))?,
    }
    Ok(Exit::Ok)
}

fn text(documents: &[RenderedDocument], origins: bool) -> String {
    /// Longer lines do not push the origins of all others to the right.
    const WIDEST: usize = 60;
    let mut text = String::new();
    for (place, document) in documents.iter().enumerate() {
        if place > 0 {
            text += "---\n";
        }
        let width = |line: &str| line.chars().count();
        let widest = document.lines.iter().map(|line| width(&line.text)).filter(|width| *width <= WIDEST).max();
        for line in &document.lines {
            text += &line.text;
            if let Some(field) = line.field.as_ref().filter(|_| origins) {
                text += &" ".repeat(widest.unwrap_or(0).saturating_sub(width(&line.text)) + 2);
                text += &render::faint(&format!("# {}", field.origin));
            }
            text.push('\n');
        }
    }
    text
}

fn view(documents: Vec<RenderedDocument>, origins: bool) -> RenderedView {
    let document = |document: RenderedDocument| RenderedDocumentView {
        at: document.at.to_string(),
        document: document.value,
        fields: document.lines.into_iter().filter_map(|line| line.field).filter(|_| origins).collect(),
    };
    RenderedView {
        api_version: Default::default(),
        kind: Default::default(),
        documents: documents.into_iter().map(document).collect(),
    }
}
