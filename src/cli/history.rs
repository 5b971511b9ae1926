//! `hafen history`.

use super::error::{CliError, Exit};
use super::{Context, Format, OutputFormat, render, status};
use crate::api::types::{HistoryCommit, HistoryView, SignatureState, Standing};

/// The commits that the target was built on, and who signed them
///
/// Newest first. Signatures are told where the manifests have rules about them (`signatures` of the Cluster), by the
/// signers that the target lists.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hafen history
  hafen history -n 100 -o json")]
pub struct Args {
    /// How many, the newest; at most 500
    #[arg(short = 'n', long, default_value_t = 20, value_name = "COUNT")]
    count: usize,
    #[command(flatten)]
    format: Format,
}

pub async fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let query = [("limit", args.count.to_string())];
    let found: HistoryView = context.client()?.get("/v1/history", &query).await?;
    match args.format.output {
        OutputFormat::Json => render::print_json(&found)?,
        OutputFormat::Text => render::print(&text(&found))?,
    }
    Ok(Exit::Ok)
}

fn text(history: &HistoryView) -> String {
    if history.commits.is_empty() {
        return "nothing was pushed yet\n".to_owned();
    }
    render::table(&history.commits.iter().map(row).collect::<Vec<_>>())
}

fn row(commit: &HistoryCommit) -> Vec<String> {
    let day = jiff::Timestamp::from_second(commit.time).map(|time| time.strftime("%Y-%m-%d").to_string());
    let standing = match commit.standing {
        Standing::Target => render::good("target"),
        Standing::LastGood => "last good".to_owned(),
        Standing::Past => String::new(),
    };
    let signed = commit.signature.as_ref().map(|signature| match signature.state {
        SignatureState::Good => signature.words(),
        SignatureState::Unsigned => render::warn(&signature.words()),
        SignatureState::NotCounted => render::bad(&signature.words()),
    });
    vec![
        status::short(&commit.revision).to_owned(),
        day.unwrap_or_default(),
        standing,
        commit.author.clone(),
        signed.unwrap_or_default(),
        commit.subject.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::SignatureView;

    #[test]
    fn a_commit_is_a_line_with_its_author_and_its_signer() {
        let commit = |standing, state, signer: Option<&str>| HistoryCommit {
            revision: "3f2a91c0de".repeat(4),
            author: "Ada <ada@example.org>".into(),
            subject: "web: for the shop".into(),
            time: 1_777_636_800,
            standing,
            accepted_ms: None,
            signature: Some(SignatureView { state, signer: signer.map(Into::into), key: None, why: None }),
        };
        let history = HistoryView {
            commits: vec![
                commit(Standing::Target, SignatureState::Good, Some("ada@example.org")),
                commit(Standing::LastGood, SignatureState::Unsigned, None),
                HistoryCommit { signature: None, ..commit(Standing::Past, SignatureState::Good, None) },
            ],
            ..HistoryView::default()
        };
        let plain = anstream::adapter::strip_str(&text(&history)).to_string();
        let lines: Vec<Vec<&str>> =
            plain.lines().map(|line| line.split("  ").map(str::trim).filter(|w| !w.is_empty()).collect()).collect();
        let (day, ada, why) = ("2026-05-01", "Ada <ada@example.org>", "web: for the shop");
        assert_eq!(lines[0], ["3f2a91c0de", day, "target", ada, "signed by ada@example.org", why]);
        assert_eq!(lines[1], ["3f2a91c0de", day, "last good", ada, "not signed", why]);
        assert_eq!(lines[2], ["3f2a91c0de", day, ada, why]);
        assert_eq!(text(&HistoryView::default()), "nothing was pushed yet\n");
    }
}
