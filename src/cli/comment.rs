//! `hafen comment`: the plan as one comment on a merge request, brought up to date with every run of CI.
//!
//! Input → output: a text (what `hafen plan -o md` printed), and where it belongs, by options or by what the CI says of itself →
//! the comment on GitHub, GitLab or Gitea. Exit code: 0 it says so now, 1 it was refused, 2 nobody knows, 64 usage.
//!
//! Invariants: the token comes from a file or the environment, never from an argument (other processes see those); a second run
//! changes the comment of the first.

use super::error::{CliError, Exit, Kind};
use super::{Context, Format, OutputFormat, render};
use crate::api::types::{CommentOutcome, CommentView};
use crate::forge::{Commented, Forge, ForgeError, Token};
use crate::model::Provider;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

/// Longer ones are cut anyway; a text that never ends is none.
const LONGEST_TEXT: u64 = 4 * 1024 * 1024;
const LONGEST_TOKEN: u64 = 4096;
/// A job of CI waits for a forge that is busy, but not for long.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Where the token is looked for first.
const TOKEN_VARIABLE: &str = "HAFEN_FORGE_TOKEN";

/// Write a plan as a comment on a merge request, or bring the one of the last run up to date
///
/// In a job of GitHub Actions, GitLab CI or Gitea Actions everything but the token is known.
/// The token is read from `--token-file`, or from HAFEN_FORGE_TOKEN, or GITHUB_TOKEN, GITLAB_TOKEN, GITEA_TOKEN.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hafen plan --state state.json -o md | hafen comment
  hafen comment --file plan.md --context hafen/prod
  hafen comment --provider gitea --url https://git.example.com --project ops/cluster --merge-request 12 \\
      --token-file /run/secrets/forge --file plan.md")]
pub struct Args {
    /// Whose interface the forge has
    #[arg(long, value_enum, value_name = "NAME")]
    provider: Option<ProviderName>,
    /// Its address, as in a browser
    #[arg(long)]
    url: Option<String>,
    /// OWNER/REPOSITORY; of GitLab a path or a number
    #[arg(long)]
    project: Option<String>,
    /// The number of the merge request (or pull request)
    #[arg(long, visible_alias = "mr", value_name = "NUMBER")]
    merge_request: Option<u64>,
    /// What it shall say, in Markdown; `-` is stdin
    #[arg(long, default_value = "-", value_name = "FILE")]
    file: PathBuf,
    /// Tells the comments of several clusters on one merge request apart
    #[arg(long, default_value = "hafen", value_name = "NAME")]
    context: String,
    /// File with the token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// PEM file with CAs to trust besides those of the machine
    #[arg(long, value_name = "FILE")]
    ca: Option<String>,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ProviderName {
    Github,
    Gitlab,
    /// And Forgejo
    Gitea,
}

impl From<ProviderName> for Provider {
    fn from(name: ProviderName) -> Self {
        match name {
            ProviderName::Github => Self::GitHub,
            ProviderName::Gitlab => Self::GitLab,
            ProviderName::Gitea => Self::Gitea,
        }
    }
}

/// Where the comment belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    provider: Provider,
    url: String,
    project: String,
    merge_request: u64,
}

pub async fn run(args: &Args, _context: &Context) -> Result<Exit, CliError> {
    let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let place = place(args, &env)?;
    let token = token(args, place.provider, &env)?;
    let text = text(&args.file)?;
    let forge = Forge::new(place.provider, &place.url, &place.project, token, args.ca.as_deref());
    let forge = forge.map_err(|error| CliError::usage(error.to_string()))?;
    let commented =
        write(&forge, place.merge_request, &args.context, &text).await.map_err(|error| refused(&place, &error))?;
    let outcome = match commented {
        Commented::Created => CommentOutcome::Created,
        Commented::Updated => CommentOutcome::Updated,
        Commented::Unchanged => CommentOutcome::Unchanged,
    };
    let (api_version, kind) = Default::default();
    let Place { provider, project, merge_request, .. } = place;
    let view = CommentView { api_version, kind, provider, project, merge_request, outcome };
    match args.format.output {
        OutputFormat::Json => render::print_json(&view)?,
        OutputFormat::Text => {
            let word = match outcome {
                CommentOutcome::Created => "written",
                CommentOutcome::Updated => "brought up to date",
                CommentOutcome::Unchanged => "up to date already",
            };
            render::print(&format!(
                "the comment on {} {merge_request} of {} is {word}\n",
                request_word(provider),
                view.project
            ))?;
        }
    }
    Ok(Exit::Ok)
}

/// Tries again what may pass. A comment that was written all the same is found by the next try.
async fn write(forge: &Forge, number: u64, context: &str, text: &str) -> Result<Commented, ForgeError> {
    let mut tries = 1;
    loop {
        let error = match forge.comment(number, context, text).await {
            Ok(commented) => return Ok(commented),
            Err(error) => error,
        };
        let pause = error.retry_after().unwrap_or(PAUSE);
        if !error.may_pass() || tries == TRIES || pause > LONGEST_PAUSE {
            return Err(error);
        }
        render::say(&format!("{error}; trying again in {} s", pause.as_secs()));
        tokio::time::sleep(pause).await;
        tries += 1;
    }
}

fn refused(place: &Place, error: &ForgeError) -> CliError {
    let kind = if error.may_pass() { Kind::CouldNotTell } else { Kind::Failed };
    let hint = match error {
        ForgeError::Unauthorized { .. } | ForgeError::Forbidden { .. } => match place.provider {
            Provider::GitHub => "the token needs the permission `pull-requests: write` (of a job: `permissions:`)",
            Provider::GitLab => {
                "the token needs the scope `api` and the role Reporter; CI_JOB_TOKEN may not write comments"
            }
            Provider::Gitea => "the token needs the scope `write:issue`",
        },
        ForgeError::Trouble { .. }
        | ForgeError::TimedOut
        | ForgeError::Unreachable { .. }
        | ForgeError::Throttled { .. } => "run it again: it changes the comment that is there",
        ForgeError::BadToken
        | ForgeError::BadUrl { .. }
        | ForgeError::BadProject { .. }
        | ForgeError::Prepare { .. }
        | ForgeError::UnknownCommit { .. }
        | ForgeError::Refused { .. }
        | ForgeError::Redirected { .. }
        | ForgeError::TooLong { .. }
        | ForgeError::NotUnderstood { .. }
        | ForgeError::TooManyComments { .. } => return CliError::new(kind, not_written(place, error)),
    };
    CliError::new(kind, not_written(place, error)).hint(hint)
}

fn not_written(place: &Place, error: &ForgeError) -> String {
    let Place { provider, project, merge_request, .. } = place;
    format!(
        "the comment on {} {merge_request} of {project} was not written: {provider}: {error}",
        request_word(*provider)
    )
}

fn request_word(provider: Provider) -> &'static str {
    match provider {
        Provider::GitHub | Provider::Gitea => "pull request",
        Provider::GitLab => "merge request",
    }
}

/// Options win over what the CI says of itself.
fn place(args: &Args, env: &dyn Fn(&str) -> Option<String>) -> Result<Place, CliError> {
    let ci = ci(env);
    let missing = |what: &str, how: &str| {
        CliError::usage(format!(
            "{what} is not known here: this is no job of GitHub Actions, GitLab CI or Gitea Actions"
        ))
        .hint(format!("say `{how}`"))
    };
    let found = |given: Option<Provider>| given.or(ci);
    let provider = found(args.provider.map(Provider::from))
        .ok_or_else(|| missing("the forge", "--provider github|gitlab|gitea"))?;
    // What a CI of another forge says is about another forge.
    let said = |name: &str| if ci == Some(provider) { env(name) } else { None };
    let of_provider = |github: &str, gitlab: &str| match provider {
        Provider::GitHub | Provider::Gitea => said(github),
        Provider::GitLab => said(gitlab),
    };
    let url = args.url.clone().or_else(|| of_provider("GITHUB_SERVER_URL", "CI_SERVER_URL"));
    let url = url.or_else(|| provider.usual_url().map(str::to_owned));
    let project = args.project.clone().or_else(|| of_provider("GITHUB_REPOSITORY", "CI_PROJECT_ID"));
    let number = args.merge_request.or_else(|| match provider {
        Provider::GitHub | Provider::Gitea => {
            said("GITHUB_REF")?.strip_prefix("refs/pull/")?.split('/').next()?.parse().ok()
        }
        Provider::GitLab => said("CI_MERGE_REQUEST_IID")?.parse().ok(),
    });
    Ok(Place {
        provider,
        url: url.ok_or_else(|| missing("the forge's address", "--url https://git.example.com"))?,
        project: project.ok_or_else(|| missing("the project", "--project OWNER/REPOSITORY"))?,
        merge_request: number.ok_or_else(|| match ci == Some(provider) {
            true => CliError::usage("this job does not run for a merge request")
                .hint("let it run for those alone, or say `--merge-request NUMBER`"),
            false => missing("the merge request", "--merge-request NUMBER"),
        })?,
    })
}

/// In whose CI this runs. Gitea's says of itself that it is GitHub's, too.
fn ci(env: &dyn Fn(&str) -> Option<String>) -> Option<Provider> {
    let is = |name: &str| env(name).as_deref() == Some("true");
    match (is("GITEA_ACTIONS") || is("FORGEJO_ACTIONS"), is("GITHUB_ACTIONS"), is("GITLAB_CI")) {
        (true, _, _) => Some(Provider::Gitea),
        (false, true, _) => Some(Provider::GitHub),
        (false, false, true) => Some(Provider::GitLab),
        (false, false, false) => None,
    }
}

fn token(args: &Args, provider: Provider, env: &dyn Fn(&str) -> Option<String>) -> Result<Token, CliError> {
    let own = match provider {
        Provider::GitHub => "GITHUB_TOKEN",
        Provider::GitLab => "GITLAB_TOKEN",
        Provider::Gitea => "GITEA_TOKEN",
    };
    let (text, from) = match &args.token_file {
        Some(path) => {
            let unread = |why: &dyn std::fmt::Display| {
                CliError::usage(format!("the token in `{}` cannot be read: {why}", path.display()))
            };
            let mut text = String::new();
            let file = std::fs::File::open(path).map_err(|error| unread(&error))?;
            file.take(LONGEST_TOKEN).read_to_string(&mut text).map_err(|error| unread(&error.kind()))?;
            (text, format!("`{}`", path.display()))
        }
        None => env(TOKEN_VARIABLE)
            .map(|text| (text, TOKEN_VARIABLE.to_owned()))
            .or_else(|| Some((env(own)?, own.into())))
            .ok_or_else(|| {
                CliError::usage("there is no token")
                    .hint(format!("set {TOKEN_VARIABLE} or {own}, or say `--token-file FILE`"))
            })?,
    };
    Token::new(&text).map_err(|error| CliError::usage(format!("{from}: {error}")))
}

fn text(path: &std::path::Path) -> Result<String, CliError> {
    let shown = if path == "-" { "stdin".to_owned() } else { format!("`{}`", path.display()) };
    let unread =
        |why: &dyn std::fmt::Display| CliError::new(Kind::CouldNotTell, format!("{shown} cannot be read: {why}"));
    let mut text = String::new();
    let read = match path == "-" {
        true => std::io::stdin().take(LONGEST_TEXT).read_to_string(&mut text),
        false => std::fs::File::open(path).and_then(|file| file.take(LONGEST_TEXT).read_to_string(&mut text)),
    };
    read.map_err(|error| unread(&error))?;
    if text.trim().is_empty() {
        return Err(CliError::usage(format!("{shown} is empty: there is nothing to say"))
            .hint("did the command before it fail? `set -o pipefail` stops a job there"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn found(words: &[&str], variables: &[(&str, &str)]) -> Result<Place, CliError> {
        let line = Line::try_parse_from(["comment"].iter().chain(words)).expect("these are options");
        let env = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        place(&line.args, &env)
    }

    fn at(provider: Provider, url: &str, project: &str, merge_request: u64) -> Place {
        Place { provider, url: url.into(), project: project.into(), merge_request }
    }

    #[test]
    fn a_job_of_ci_knows_where_its_comment_belongs() {
        let github = [
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_SERVER_URL", "https://github.com"),
            ("GITHUB_REPOSITORY", "ops/cluster"),
            ("GITHUB_REF", "refs/pull/12/merge"),
        ];
        assert_eq!(found(&[], &github), Ok(at(Provider::GitHub, "https://github.com", "ops/cluster", 12)));
        assert_eq!(found(&["--mr", "7"], &github).map(|place| place.merge_request), Ok(7));
        let mut gitea = github.to_vec();
        gitea.extend([("GITEA_ACTIONS", "true")]);
        gitea[1].1 = "https://git.example.com";
        gitea[3].1 = "refs/pull/3/head";
        assert_eq!(found(&[], &gitea), Ok(at(Provider::Gitea, "https://git.example.com", "ops/cluster", 3)));
        let gitlab = [
            ("GITLAB_CI", "true"),
            ("CI_SERVER_URL", "https://gitlab.example.com"),
            ("CI_PROJECT_ID", "4711"),
            ("CI_MERGE_REQUEST_IID", "5"),
        ];
        assert_eq!(found(&[], &gitlab), Ok(at(Provider::GitLab, "https://gitlab.example.com", "4711", 5)));
        // Elsewhere everything is said; and what this CI is about is not that.
        let said = ["--provider", "gitea", "--url", "https://g", "--project", "a/b", "--merge-request", "1"];
        assert_eq!(found(&said, &gitlab), Ok(at(Provider::Gitea, "https://g", "a/b", 1)));
    }

    #[test]
    fn what_is_not_known_is_asked_for_by_its_option() {
        let hint = |words: &[&str], variables: &[(&str, &str)]| {
            let error = found(words, variables).unwrap_err();
            assert_eq!(error.exit(), Exit::Usage);
            error.hints.join(" ")
        };
        assert!(hint(&[], &[]).contains("--provider"));
        assert!(hint(&["--provider", "gitea"], &[]).contains("--url"));
        assert!(hint(&["--provider", "github"], &[]).contains("--project"));
        let branch = [("GITHUB_ACTIONS", "true"), ("GITHUB_REPOSITORY", "a/b"), ("GITHUB_REF", "refs/heads/main")];
        assert!(hint(&[], &branch).contains("--merge-request"));
        assert!(hint(&["--provider", "gitlab"], &branch).contains("--project"), "another forge's CI says nothing");
    }

    #[test]
    fn the_token_comes_from_a_file_or_the_environment_and_is_in_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "hunter22 hunter23\n").unwrap();
        let file = file.display().to_string();
        let read = |words: &[&str], variables: &[(&str, &str)]| {
            let line = Line::try_parse_from(["comment"].iter().chain(words)).unwrap();
            let env = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
            token(&line.args, Provider::GitLab, &env).map(|_| ()).map_err(|error| error.render())
        };
        assert_eq!(read(&[], &[("GITLAB_TOKEN", "abc")]), Ok(()));
        assert_eq!(read(&[], &[("HAFEN_FORGE_TOKEN", "abc")]), Ok(()));
        assert!(read(&[], &[("GITHUB_TOKEN", "abc")]).unwrap_err().contains("GITLAB_TOKEN"));
        let why = read(&["--token-file", &file], &[]).unwrap_err();
        assert!(why.contains(&file) && !why.contains("hunter"), "{why}");
    }

    /// A forge that gives these answers in turn, and what it was asked: first line and body.
    fn server(answers: &'static [&'static str]) -> (String, std::thread::JoinHandle<Vec<(String, String)>>) {
        use std::io::Write;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = std::thread::spawn(move || {
            let take = |answer: &&str| {
                let (mut stream, _) = listener.accept().unwrap();
                let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
                loop {
                    let read = stream.read(&mut chunk).unwrap();
                    assert_ne!(read, 0, "the client hung up");
                    bytes.extend_from_slice(&chunk[..read]);
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                    let length = head
                        .to_lowercase()
                        .split("content-length: ")
                        .nth(1)
                        .map_or(0, |rest| rest.lines().next().unwrap_or_default().parse::<usize>().unwrap());
                    if body.len() >= length {
                        stream.write_all(answer.as_bytes()).unwrap();
                        return (head.lines().next().unwrap_or_default().to_owned(), body.to_owned());
                    }
                }
            };
            answers.iter().map(take).collect()
        });
        (address, asked)
    }

    fn commented(url: &str, folder: &std::path::Path) -> Result<Exit, CliError> {
        let write = |name: &str, text: &str| {
            std::fs::write(folder.join(name), text).unwrap();
            folder.join(name).display().to_string()
        };
        let (token, plan) = (write("token", "t0ken\n"), write("plan.md", "1 to start\n"));
        let words = ["comment", "--provider", "gitea", "--url", url, "--project", "ops/cluster", "--mr", "12"];
        let words = words.iter().copied().chain(["--token-file", &token, "--file", &plan, "--context", "prod"]);
        let line = Line::try_parse_from(words).unwrap();
        crate::cli::wait_for(run(&line.args, &Context { data_dir: PathBuf::new() }))
    }

    #[test]
    fn what_the_forge_answers_is_what_the_command_exits_with() {
        let folder = tempfile::tempdir().unwrap();
        let (url, asked) = server(&[
            "HTTP/1.1 503 Busy\r\nretry-after: 0\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n[]",
            "HTTP/1.1 201 Created\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}",
        ]);
        assert_eq!(commented(&url, folder.path()), Ok(Exit::Ok), "what passes is tried again");
        let asked = asked.join().unwrap();
        assert!(asked[2].0.starts_with("POST /api/v1/repos/ops/cluster/issues/12/comments"), "{asked:?}");
        assert!(asked[2].1.contains("<!-- hafen plan: prod -->\\n1 to start"), "{asked:?}");

        let (url, asked) = server(&["HTTP/1.1 401 No\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"]);
        let refused = commented(&url, folder.path()).unwrap_err();
        assert_eq!(refused.exit(), Exit::No);
        assert!(refused.render().contains("pull request 12 of ops/cluster was not written"), "{}", refused.render());
        assert!(refused.render().contains("write:issue"), "{}", refused.render());
        asked.join().unwrap();

        const BUSY: &str = "HTTP/1.1 429 Busy\r\nretry-after: 0\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let (url, asked) = server(&[BUSY, BUSY, BUSY]);
        assert_eq!(commented(&url, folder.path()).unwrap_err().exit(), Exit::CouldNotTell);
        asked.join().unwrap();
        assert_eq!(commented("nowhere", folder.path()).unwrap_err().exit(), Exit::Usage);
    }
}
