//! The client before a server that knows what must come and what it answers: `recorded/*.txt`.
//!
//! In a file, lines with `>` are a request: method and path, headers that must be there, the body as JSON. Lines with `<` are
//! the answer. The server is a socket on loopback that speaks HTTP by hand, so that it can also be slow, endless and cut off.
//! The files are written after the documentation of the three.

use super::*;
use crate::model::{CommitState, Revision};
use serde_json::Value;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const TOKEN: &str = "s3cret-t0ken";
const REVISION: &str = "4fd2c1b9a7e04c6e8d3f5a6b7c8d9e0f1a2b3c4d";

#[derive(Debug, Default)]
struct Exchange {
    request: String,
    headers: Vec<(String, String)>,
    body: Option<Value>,
    status: u16,
    answer_headers: Vec<String>,
    answer: String,
}

fn exchanges(file: &str) -> Vec<Exchange> {
    let mut all: Vec<Exchange> = Vec::new();
    let mut answering = true;
    for line in file.lines().filter(|line| !line.starts_with('#')) {
        let (mark, text) = line.split_at_checked(2).expect("`> ` or `< `");
        if mark == "> " && answering {
            all.push(Exchange { request: text.to_owned(), ..Exchange::default() });
            answering = false;
            continue;
        }
        let now = all.last_mut().expect("a file begins with a request");
        match (mark, text.split_once(": ")) {
            ("> ", _) if text.starts_with('{') => now.body = Some(serde_json::from_str(text).expect("JSON")),
            ("> ", Some((name, value))) => now.headers.push((name.to_owned(), value.to_owned())),
            ("< ", _) if !answering => {
                now.status = text.parse().expect("a status");
                answering = true;
            }
            ("< ", Some(_)) if !text.starts_with(['{', '[', '<']) => now.answer_headers.push(text.to_owned()),
            ("< ", _) => now.answer = text.to_owned(),
            _ => panic!("not understood: {line}"),
        }
    }
    all
}

/// Answers as recorded; what came otherwise than recorded is what the task returns.
async fn serve(file: &'static str) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let mut wrong = Vec::new();
        for expected in exchanges(file) {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (head, body) = read_request(&mut stream).await;
            let mut lines = head.lines();
            let request = lines.next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_owned();
            if request != expected.request {
                wrong.push(format!("asked {request}, expected {}", expected.request));
            }
            let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(": ")).collect();
            for (name, value) in &expected.headers {
                let given = headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| *value);
                // The version is another one tomorrow.
                let right = if name == "user-agent" {
                    given.is_some_and(|given| given.starts_with(value))
                } else {
                    given == Some(value)
                };
                if !right {
                    wrong.push(format!("{request}: header {name} is {given:?}, expected {value}"));
                }
            }
            if let Some(expected) = expected.body {
                let given: Value = serde_json::from_slice(&body).unwrap_or_default();
                if given != expected {
                    wrong.push(format!("{request}: body {given}, expected {expected}"));
                }
            }
            let mut answer = format!("HTTP/1.1 {} Recorded\r\nconnection: close\r\n", expected.status);
            for header in &expected.answer_headers {
                answer += &format!("{header}\r\n");
            }
            answer += &format!("content-length: {}\r\n\r\n{}", expected.answer.len(), expected.answer);
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        wrong
    });
    (address, task)
}

async fn read_request(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "the client hung up");
    };
    let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let length = text.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = bytes.split_off(head + 4);
    while body.len() < length.unwrap_or(0) {
        assert_ne!(stream.read_buf(&mut body).await.unwrap(), 0, "the client hung up");
    }
    (text, body)
}

fn forge(provider: Provider, url: &str, project: &str) -> Forge {
    Forge::new(provider, url, project, Token::new(TOKEN).unwrap(), None).unwrap()
}

fn status(state: CommitState, text: &str) -> CommitStatus {
    CommitStatus { revision: Revision::from(REVISION), state, text: text.to_owned() }
}

async fn check_status(provider: Provider, project: &str, below: &str, file: &'static str) {
    let (url, server) = serve(file).await;
    let forge = forge(provider, &format!("{url}{below}"), project);
    let page = Some("https://status.example.com/prod");
    let pending = status(CommitState::Pending, "the cluster is on its way there");
    forge.set_status(&pending, "hafen/prod", page).await.unwrap();
    let superseded = status(CommitState::Superseded, "0123456 came before the cluster was healthy");
    forge.set_status(&superseded, "hafen/prod", None).await.unwrap();
    if provider == Provider::GitLab {
        let again = status(CommitState::Pending, "again");
        assert_eq!(forge.set_status(&again, "hafen/prod", None).await, Ok(()));
        let refused = forge.set_status(&again, "hafen/prod", None).await;
        assert!(matches!(refused, Err(ForgeError::Refused { status: 400, .. })), "{refused:?}");
    }
    assert_eq!(server.await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_status_is_set_in_the_words_of_each_forge() {
    check_status(Provider::GitHub, "ops/cluster", "", include_str!("recorded/github-status.txt")).await;
    check_status(Provider::GitLab, "ops/ha/cluster", "/", include_str!("recorded/gitlab-status.txt")).await;
    check_status(Provider::Gitea, "ops/cluster", "/git/", include_str!("recorded/gitea-status.txt")).await;
}

async fn check_comment(provider: Provider, project: &str, below: &str, file: &'static str) {
    let (url, server) = serve(file).await;
    let forge = forge(provider, &format!("{url}{below}"), project);
    let comment = async |text| forge.comment(12, "hafen/prod", text).await;
    assert_eq!(comment("## Plan\n1 to start\n").await, Ok(Commented::Created));
    assert_eq!(comment("## Plan\n2 to start\n").await, Ok(Commented::Updated));
    assert_eq!(comment("## Plan\n2 to start\n").await, Ok(Commented::Unchanged));
    assert_eq!(server.await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_merge_request_has_one_comment_that_is_kept_up_to_date() {
    check_comment(Provider::GitHub, "ops/cluster", "", include_str!("recorded/github-comment.txt")).await;
    check_comment(Provider::GitLab, "4711", "", include_str!("recorded/gitlab-comment.txt")).await;
    check_comment(Provider::Gitea, "ops/cluster", "/git", include_str!("recorded/gitea-comment.txt")).await;
}

#[tokio::test]
async fn every_refusal_says_what_to_make_of_it_and_never_the_token() {
    let (url, server) = serve(include_str!("recorded/refusals.txt")).await;
    let forge = forge(Provider::GitHub, &url, "ops/cluster");
    let hour = Some(Duration::from_secs(3600));
    let words = |text: &str| text.to_owned();
    for expected in [
        ForgeError::Unauthorized { words: words("Bad credentials") },
        ForgeError::Forbidden { status: 404, words: words("Not Found") },
        ForgeError::Forbidden {
            status: 403,
            words: words("Resource not accessible by personal access token (hidden)"),
        },
        ForgeError::Throttled { status: 403, after: None },
        ForgeError::UnknownCommit { revision: Revision::from(REVISION) },
        ForgeError::Refused { status: 422, words: words("Validation Failed") },
        ForgeError::Throttled { status: 429, after: Some(Duration::from_secs(37)) },
        ForgeError::Throttled { status: 429, after: hour },
        ForgeError::Throttled { status: 429, after: None },
        ForgeError::Trouble { status: 503, after: Some(Duration::from_secs(120)) },
        ForgeError::Redirected { to: words("elsewhere.example.com") },
        ForgeError::Redirected { to: words("127.0.0.1") },
    ] {
        let error = forge.set_status(&status(CommitState::Success, "healthy"), "hafen/prod", None).await.unwrap_err();
        assert_eq!(error, expected);
        assert!(!format!("{error} {error:?} {forge:?}").contains(TOKEN));
    }
    let page = forge.set_status(&status(CommitState::Success, "healthy"), "hafen/prod", None).await;
    assert!(matches!(page, Err(ForgeError::NotUnderstood { .. })), "a page to log in is no acknowledgement: {page:?}");
    assert_eq!(server.await.unwrap(), Vec::<String>::new());
}

/// A server that answers one request with what `answer` writes.
async fn answering<F>(answer: impl FnOnce(TcpStream) -> F + Send + 'static) -> (String, JoinHandle<()>)
where
    F: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await;
        answer(stream).await;
    });
    (address, task)
}

async fn said_to(url: &str) -> ForgeError {
    let mut forge = forge(Provider::Gitea, url, "ops/cluster");
    forge.http.set_timeout(Duration::from_millis(300));
    forge.set_status(&status(CommitState::Success, "healthy"), "hafen/prod", None).await.unwrap_err()
}

#[tokio::test]
async fn silence_slowness_and_endless_answers_end() {
    let silent = answering(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    });
    let (url, server) = silent.await;
    assert_eq!(said_to(&url).await, ForgeError::TimedOut);
    server.abort();

    // A byte now and then keeps no request alive.
    let slow = answering(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 1000\r\n\r\n{").await;
        while stream.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let (url, server) = slow.await;
    assert_eq!(said_to(&url).await, ForgeError::TimedOut);
    server.abort();

    let cut_off = answering(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 1000\r\n\r\n{").await;
    });
    let (url, _server) = cut_off.await;
    assert!(matches!(said_to(&url).await, ForgeError::Unreachable { .. }), "what was cut off is no acknowledgement");

    let endless = answering(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 201 Created\r\n\r\n[").await;
        while stream.write_all(&[b' '; 1 << 16]).await.is_ok() {}
    });
    let (url, _server) = endless.await;
    let mut forge = forge(Provider::Gitea, &url, "ops/cluster");
    forge.http.set_timeout(Duration::from_secs(20));
    let error = forge.set_status(&status(CommitState::Success, "healthy"), "hafen/prod", None).await.unwrap_err();
    assert_eq!(error, ForgeError::TooLong { limit: 8 * 1024 * 1024 });

    // Nobody there.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = said_to(&url).await;
    assert!(matches!(error, ForgeError::Unreachable { .. }) && error.may_pass(), "{error}");
}

#[tokio::test]
async fn the_token_is_not_sent_to_where_a_redirect_leads() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = elsewhere.local_addr().unwrap();
    let redirecting = answering(move |mut stream| async move {
        let answer =
            format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: http://{to}/api/v1/x\r\ncontent-length: 0\r\n\r\n");
        let _ = stream.write_all(answer.as_bytes()).await;
    });
    let (url, server) = redirecting.await;
    assert_eq!(said_to(&url).await, ForgeError::Redirected { to: "127.0.0.1".into() });
    server.await.unwrap();
    // A connection that was made would be waiting here.
    let none = tokio::time::timeout(Duration::from_millis(1), elsewhere.accept()).await;
    assert!(none.is_err(), "somebody came");
}

#[tokio::test]
async fn the_comment_is_found_on_a_later_page() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let mut asked = Vec::new();
        for page in 1..=3 {
            let (mut stream, _) = listener.accept().await.unwrap();
            asked.push(read_request(&mut stream).await.0.lines().next().unwrap_or_default().to_owned());
            let mark = comment::marker("c");
            let comments: Vec<Value> = match page {
                1 => (0..100).map(|id| serde_json::json!({ "id": id, "body": "hm" })).collect(),
                _ => vec![serde_json::json!({ "id": 777, "body": format!("{mark}\nold") })],
            };
            let body = serde_json::to_string(&comments).unwrap();
            let answer =
                format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        asked
    });
    let forge = forge(Provider::GitHub, &url, "o/r");
    assert_eq!(forge.comment(1, "c", "new").await, Ok(Commented::Updated));
    let asked = server.await.unwrap();
    assert!(asked[1].contains("page=2") && asked[2].starts_with("PATCH") && asked[2].contains("/777 "), "{asked:?}");
}

#[test]
fn addresses_of_the_interfaces_follow_from_those_of_the_forges() {
    for (provider, url, expected) in [
        (Provider::GitHub, "https://github.com", "https://api.github.com/"),
        (Provider::GitHub, "https://github.com/", "https://api.github.com/"),
        (Provider::GitHub, "https://ghe.example.com", "https://ghe.example.com/api/v3"),
        (Provider::GitLab, "https://gitlab.com", "https://gitlab.com/api/v4"),
        (Provider::GitLab, "https://example.com:8443/gitlab/", "https://example.com:8443/gitlab/api/v4"),
        (Provider::Gitea, "https://git.example.com", "https://git.example.com/api/v1"),
    ] {
        assert_eq!(dialect::base(provider, url).unwrap().as_str(), expected);
    }
    for url in ["git.example.com", "ssh://git@example.com", "https://", "https://x?y", ""] {
        assert!(matches!(dialect::base(Provider::Gitea, url), Err(ForgeError::BadUrl { .. })), "{url}");
    }
}

#[test]
fn a_token_is_one_word_and_is_never_shown() {
    assert!(Token::new(" abc\n").is_ok_and(|token| !format!("{token:?}").contains("abc")));
    for bad in ["", "\n", "a b", "a\nb", "ä"] {
        assert_eq!(Token::new(bad).map(|_| ()), Err(ForgeError::BadToken), "{bad:?}");
    }
}

#[test]
fn a_long_comment_is_cut_at_a_line_and_what_was_open_is_closed() {
    assert_eq!(comment::fitting("short"), "short");
    let long = format!("<details>\n```diff\n{}```\n</details>\n", "+ ä line\n".repeat(10_000));
    let cut = comment::fitting(&long);
    assert!(
        cut.len() < LONGEST_COMMENT + 100 && cut.contains("+ ä line\n```\n</details>\n\n(cut here"),
        "{}",
        &cut[cut.len() - 99..]
    );
    // A marker cannot be ended by the name of a context.
    assert_eq!(comment::marker("a --> b").matches("-->").count(), 1);
}
