//! Which refs a push wants to change, and which of that is allowed.

use super::{ReceiveError, printable};
use crate::model::Revision;
use std::io::{BufRead, Read};

const MAIN: &str = "refs/heads/main";
/// Only one ref is ever accepted; the rest of a `git push --mirror` is not worth reading.
const MAX_UPDATES: usize = 1000;
/// A name of a ref is a path of at most 4 KiB, the two ids are 82 bytes.
const MAX_LINE_BYTES: usize = 8 * 1024;
const LONGEST_SHOWN: usize = 120;

/// A wish to move one ref. `None` means that it does not exist before, or not after.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RefUpdate {
    pub old: Option<Revision>,
    pub new: Option<Revision>,
    /// In full, like `refs/heads/main`.
    pub name: String,
}

impl RefUpdate {
    /// Reads `OLD NEW REF`, the form of both hooks.
    pub fn parse(line: &str) -> Result<Self, ReceiveError> {
        let malformed = || ReceiveError::malformed(format!("`{}`", printable(line, LONGEST_SHOWN)));
        let mut parts = line.splitn(3, ' ');
        let (Some(old), Some(new), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(malformed());
        };
        if name.is_empty() {
            return Err(malformed());
        }
        let id = |text: &str| revision(text).ok_or_else(malformed);
        Ok(Self { old: id(old)?, new: id(new)?, name: name.to_owned() })
    }
}

/// Reads what `pre-receive` gets on stdin.
pub fn parse_updates(input: impl BufRead) -> Result<Vec<RefUpdate>, ReceiveError> {
    let mut updates = Vec::new();
    // One more byte than allowed, to tell a full input from a cut one.
    let mut input = input.take((MAX_UPDATES * MAX_LINE_BYTES) as u64);
    loop {
        let mut line = Vec::new();
        let read = input.by_ref().take(MAX_LINE_BYTES as u64).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(updates);
        }
        if line.pop() != Some(b'\n') {
            return Err(ReceiveError::malformed("a line without an end"));
        }
        if updates.len() >= MAX_UPDATES {
            return Err(ReceiveError::TooMany { what: "refs", limit: MAX_UPDATES });
        }
        // Names of refs may hold any bytes; those that are not UTF-8 are refused by name anyway.
        updates.push(RefUpdate::parse(&String::from_utf8_lossy(&line))?);
    }
}

/// The one update hafen accepts: `main`, to a commit. Everything else is refused, and with it the whole push.
pub fn check_updates(updates: &[RefUpdate]) -> Result<(&RefUpdate, &Revision), ReceiveError> {
    for update in updates {
        if let Some(reason) = refusal(update) {
            return Err(ReceiveError::RefusedRef { name: update.name.clone(), reason });
        }
    }
    match updates {
        [update] => match &update.new {
            Some(new) => Ok((update, new)),
            None => Err(ReceiveError::malformed("a deletion")),
        },
        [] => Err(ReceiveError::malformed("a push without refs")),
        _ => Err(ReceiveError::malformed(format!("`{MAIN}` twice"))),
    }
}

fn refusal(update: &RefUpdate) -> Option<String> {
    let shown = printable(&update.name, LONGEST_SHOWN);
    let only = "only the branch `main` is accepted";
    if update.name == MAIN {
        return update.new.is_none().then(|| {
            "`main` cannot be deleted: it is what the cluster runs; to stop everything push an empty tree with \
             `git push -o allow-removals`"
                .to_owned()
        });
    }
    Some(match update.name.split_once('/').map(|(_, rest)| rest.split_once('/')) {
        Some(Some(("heads", branch))) if update.new.is_some() => {
            let branch = printable(branch, LONGEST_SHOWN);
            format!("{only}, not `{branch}`; to run that branch: `git push REMOTE {branch}:main`")
        }
        Some(Some(("tags", tag))) => {
            format!("{only}, not the tag `{}`; push without `--tags`", printable(tag, LONGEST_SHOWN))
        }
        Some(Some(_) | None) | None => format!("{only}, not `{shown}`"),
    })
}

/// 40 hex digits; zeros mean "none". The outer `None` is a malformed id.
fn revision(text: &str) -> Option<Option<Revision>> {
    let is_id = text.len() == 40 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_id.then(|| text.bytes().any(|byte| byte != b'0').then(|| Revision::new(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "1111111111111111111111111111111111111111";
    const B: &str = "2222222222222222222222222222222222222222";
    const NONE: &str = "0000000000000000000000000000000000000000";

    fn refused(lines: &str) -> String {
        let updates = parse_updates(lines.as_bytes()).unwrap();
        check_updates(&updates).unwrap_err().to_string()
    }

    #[test]
    fn main_is_accepted_also_the_first_time() {
        for old in [A, NONE] {
            let updates = parse_updates(format!("{old} {B} {MAIN}\n").as_bytes()).unwrap();
            let (update, new) = check_updates(&updates).unwrap();
            assert_eq!(new.as_str(), B);
            assert_eq!(update.old.is_none(), old == NONE);
        }
    }

    #[test]
    fn everything_else_is_refused_and_says_what_is_allowed() {
        assert_eq!(
            refused(&format!("{NONE} {B} refs/heads/test\n")),
            "only the branch `main` is accepted, not `test`; to run that branch: `git push REMOTE test:main`"
        );
        assert_eq!(
            refused(&format!("{A} {B} {MAIN}\n{NONE} {B} refs/tags/v1\n")),
            "only the branch `main` is accepted, not the tag `v1`; push without `--tags`"
        );
        assert!(refused(&format!("{A} {NONE} {MAIN}\n")).contains("cannot be deleted"));
        assert!(refused(&format!("{A} {NONE} refs/heads/x\n")).contains("not `refs/heads/x`"));
        assert!(refused(&format!("{NONE} {B} refs/hafen/kept/{B}\n")).contains("not `refs/hafen/kept/"));
        assert!(refused(&format!("{NONE} {B} \u{1b}[2J\n")).contains("not `[2J`"));
        assert!(refused("").contains("without refs"));
    }

    #[test]
    fn malformed_lines_are_errors() {
        for line in [
            "\n".to_owned(),
            format!("{A} {B}\n"),
            format!("{A} {B} \n"),
            format!("{A} {B} {MAIN}"),
            format!("{A} zz {MAIN}\n"),
            format!("{A} {} {MAIN}\n", "ä".repeat(20)),
        ] {
            assert!(parse_updates(line.as_bytes()).is_err(), "{line:?}");
        }
        assert!(parse_updates("x".repeat(MAX_LINE_BYTES + 10).as_bytes()).is_err());
        let many = format!("{A} {B} {MAIN}\n").repeat(MAX_UPDATES + 1);
        assert!(matches!(parse_updates(many.as_bytes()), Err(ReceiveError::TooMany { .. })));
    }
}
