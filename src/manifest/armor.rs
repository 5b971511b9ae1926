//! Who can open an age file, without opening it.
//!
//! Input → output: an age file in ASCII armor → the kinds of its recipients, one for each; or what is wrong with it. Rules:
//! the age file encryption format, version 1 (age-encryption.org/v1), and its armor, which is strict PEM.
//!
//! Deliberately absent: decryption. Whether the header was tampered with only its keys can tell.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

const BEGIN: &str = "-----BEGIN AGE ENCRYPTED FILE-----";
const END: &str = "-----END AGE ENCRYPTED FILE-----";
const VERSION: &str = "age-encryption.org/v1";
/// One for each node of a large cluster and its admins; every one costs the node that opens it a multiplication.
pub(super) const MAX_RECIPIENTS: usize = 100;
/// A secret as long as may be, for as many recipients as may be.
pub(super) const MAX_ARMOR_BYTES: usize = 192 * 1024;
/// Characters of a line of armor, but for the last.
const LINE: usize = 64;
/// A nonce, and the tag of an empty text.
const MIN_PAYLOAD: usize = 32;
/// The kind of keys that nodes have.
pub(super) const NODE_KEYS: &str = "X25519";

/// The kinds of keys that open this.
///
/// # Errors
/// What is wrong, and what would help.
pub(super) fn recipients(text: &str) -> Result<Vec<String>, (String, String)> {
    let again = || "encrypt it again: `age --armor -r RECIPIENT`, and paste all of it below `age: |`".to_owned();
    let bytes = dearmor(text).map_err(|what| (what, again()))?;
    let kinds = header(&bytes).ok_or_else(|| ("is no age file: its header cannot be read".to_owned(), again()))?;
    if kinds.iter().any(|kind| kind == "scrypt") {
        let help = "encrypt it for the nodes that need it: `age --armor -r RECIPIENT`".to_owned();
        return Err(("is encrypted with a passphrase, which no node has".to_owned(), help));
    }
    if !kinds.iter().any(|kind| kind == NODE_KEYS) {
        let help = "encrypt it for the nodes, too: `hafen keygen` on a node prints its recipient (`age1…`)".to_owned();
        return Err((format!("is encrypted for no node: its recipients are {}", kinds.join(", ")), help));
    }
    if kinds.len() > MAX_RECIPIENTS {
        let help = "encrypt it for the nodes that need it alone".to_owned();
        return Err((format!("has {} recipients; {MAX_RECIPIENTS} are allowed", kinds.len()), help));
    }
    Ok(kinds)
}

/// The same armor however it was pasted: without what surrounds it and what is at the ends of its lines.
pub(super) fn tidy(text: &str) -> String {
    text.trim().lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

fn dearmor(text: &str) -> Result<Vec<u8>, String> {
    if text.len() > MAX_ARMOR_BYTES {
        return Err(format!("is longer than {} KiB", MAX_ARMOR_BYTES / 1024));
    }
    let lines: Vec<&str> = text.trim().lines().map(str::trim_end).collect();
    let inner = match lines.as_slice() {
        [first, inner @ .., last] if *first == BEGIN && *last == END => inner,
        [first, ..] if *first == BEGIN => return Err(format!("does not end with `{END}`")),
        _ => return Err(format!("does not begin with `{BEGIN}`")),
    };
    let body = inner.split_last().map_or(&[][..], |(_, body)| body);
    if inner.is_empty() || body.iter().any(|line| line.len() != LINE) {
        return Err("has lines of a wrong length: something is missing".to_owned());
    }
    STANDARD.decode(inner.concat()).map_err(|_| "has characters that are no base64".to_owned())
}

/// The first word of every stanza; None if this is no header, or nothing is behind it.
fn header(bytes: &[u8]) -> Option<Vec<String>> {
    let mut rest = bytes;
    let mut line = || {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let (line, after) = rest.split_at(end);
        rest = &after[1..];
        std::str::from_utf8(line).ok()
    };
    if line()? != VERSION {
        return None;
    }
    let mut kinds = Vec::new();
    loop {
        let text = line()?;
        if let Some(mac) = text.strip_prefix("--- ") {
            STANDARD_NO_PAD.decode(mac).ok()?;
            return (!kinds.is_empty() && rest.len() >= MIN_PAYLOAD).then_some(kinds);
        }
        kinds.push(text.strip_prefix("-> ")?.split(' ').next()?.to_owned());
        // Its body ends with the first line that is not full.
        while line()?.len() == LINE {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn armor(header: &str, payload: usize) -> String {
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend(vec![7; payload]);
        let text = STANDARD.encode(bytes);
        let lines: Vec<&str> = text.as_bytes().chunks(LINE).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("{BEGIN}\n{}\n{END}\n", lines.join("\n"))
    }

    const X: &str = "-> X25519 share\nYm9keQ\n";
    const MAC: &str = "--- bWFj\n";

    #[test]
    fn recipients_are_counted_and_named_by_their_kinds() {
        let ssh = "-> ssh-ed25519 abc share\nYm9keQ\n";
        let text = armor(&format!("{VERSION}\n{X}{ssh}{MAC}"), 40);
        assert_eq!(recipients(&text).unwrap(), ["X25519", "ssh-ed25519"]);
        assert_eq!(recipients(&text.replace('\n', "\r\n")).unwrap().len(), 2);
    }

    #[test]
    fn what_no_node_can_open_is_refused_with_the_reason() {
        let whole = |stanzas: &str| armor(&format!("{VERSION}\n{stanzas}{MAC}"), 40);
        let good = whole(X);
        for (text, expected) in [
            (whole("-> scrypt salt 18\nYm9keQ\n"), "is encrypted with a passphrase"),
            (whole("-> ssh-ed25519 a b\nYm9keQ\n"), "for no node: its recipients are ssh-ed25519"),
            (whole(&X.repeat(MAX_RECIPIENTS + 1)), "has 101 recipients"),
            (whole(""), "is no age file"),
            (armor(&format!("{VERSION}\n{X}{MAC}"), 31), "is no age file"),
            (armor(&format!("{VERSION}\n{X}"), 40), "is no age file"),
            (armor(&format!("age-encryption.org/v9\n{X}{MAC}"), 40), "is no age file"),
            (good.replace(END, ""), "does not end with"),
            (good.replace(BEGIN, ""), "does not begin with"),
            (good.replacen("YWdl", "YW l", 1), "no base64"),
            (good.replacen("YWdl", "", 1), "lines of a wrong length"),
            (format!("{BEGIN}\n{END}"), "lines of a wrong length"),
            (format!("{BEGIN}\n{}\n{END}", "A".repeat(MAX_ARMOR_BYTES)), "is longer than 192 KiB"),
            ("hunter2".into(), "does not begin with"),
            (String::new(), "does not begin with"),
        ] {
            let (what, _) = recipients(&text).unwrap_err();
            assert!(what.contains(expected), "{what} / {expected}");
        }
    }
}
