//! One comment on a merge request that is brought up to date, instead of one more with every run.
//!
//! Its first line is a comment of Markdown, which nobody sees ([`marker`]); by it the comment is found again. It names
//! the status' context, so that several clusters in one repository have one each.

use super::{Forge, ForgeError, dialect};
use reqwest::Method;
use serde_json::{Value, json};

/// GitHub takes 65,536 characters; the others more.
pub const LONGEST_COMMENT: usize = 60_000;
/// Comments of one request; GitHub and GitLab give no more.
const PER_PAGE: usize = 100;
/// A merge request with more than 2000 comments is no place for one more.
const MOST_PAGES: usize = 20;

/// What became of a comment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commented {
    Created,
    Updated,
    /// It says so already.
    Unchanged,
}

impl Forge {
    /// Makes the comment with this context on a merge request say `text`, in Markdown. What is longer than
    /// [`LONGEST_COMMENT`] bytes is cut at the end of a line, and says so.
    ///
    /// # Errors
    ///
    /// [`ForgeError`]; after those of which [`ForgeError::may_pass`] is true it may or may not have been written.
    pub async fn comment(&self, number: u64, context: &str, text: &str) -> Result<Commented, ForgeError> {
        let marker = marker(context);
        let body = format!("{marker}\n{}", fitting(text));
        let path = dialect::comments_path(self.provider, &self.project, number);
        let content = json!({ "body": body });
        match self.find(&path, &marker).await? {
            Some((_, old)) if same(&old, &body) => Ok(Commented::Unchanged),
            Some((id, _)) => {
                let path = dialect::comment_path(self.provider, &self.project, number, id);
                self.http.ask(dialect::update(self.provider), &path, Some(&content)).await?;
                Ok(Commented::Updated)
            }
            None => {
                self.http.ask(Method::POST, &path, Some(&content)).await?;
                Ok(Commented::Created)
            }
        }
    }

    /// The first comment that begins with the marker. One that quotes it does not begin with it.
    async fn find(&self, path: &str, marker: &str) -> Result<Option<(u64, String)>, ForgeError> {
        for page in 1..=MOST_PAGES {
            let query = dialect::page(self.provider, page, PER_PAGE);
            let address = format!("{path}{}", query.as_deref().unwrap_or_default());
            let answer = self.http.ask(Method::GET, &address, None).await?;
            let Value::Array(comments) = answer else {
                return Err(ForgeError::NotUnderstood { why: "comments are no list".into() });
            };
            for comment in &comments {
                let text = comment.get("body").and_then(Value::as_str).unwrap_or_default();
                if let Some(id) = comment.get("id").and_then(Value::as_u64)
                    && text.lines().next() == Some(marker)
                {
                    return Ok(Some((id, text.to_owned())));
                }
            }
            if query.is_none() || comments.len() < PER_PAGE {
                return Ok(None);
            }
        }
        Err(ForgeError::TooManyComments { limit: MOST_PAGES * PER_PAGE })
    }
}

/// The line by which a comment is found again. `--` would end a comment of Markdown.
pub(super) fn marker(context: &str) -> String {
    let context: String = context.chars().filter(|c| !c.is_control()).collect();
    format!("<!-- hafen plan: {} -->", context.replace("--", "-\u{200b}-").replace('>', "&gt;"))
}

/// Forges may store other line ends, or none at the end.
fn same(old: &str, new: &str) -> bool {
    old.lines().map(str::trim_end).eq(new.trim_end().lines().map(str::trim_end))
}

/// A text that is not too long; what was open where it is cut is closed.
pub(super) fn fitting(text: &str) -> String {
    if text.len() <= LONGEST_COMMENT {
        return text.to_owned();
    }
    let mut end = LONGEST_COMMENT;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let kept = &text[..end];
    let kept = kept.rfind('\n').map_or(kept, |line| &kept[..line]);
    let mut text = kept.to_owned();
    if kept.lines().filter(|line| line.trim_start().starts_with("```")).count() % 2 == 1 {
        text += "\n```";
    }
    let open = kept.matches("<details").count().saturating_sub(kept.matches("</details>").count());
    text += &"\n</details>".repeat(open);
    text + "\n\n(cut here: the rest is in the log of the job)\n"
}
