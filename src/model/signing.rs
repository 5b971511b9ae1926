//! Who must have signed a change of what: rules of the Cluster document.
//!
//! Pure: which rule a path falls under. Whether a signature is good is `source`'s to find out, with the programs of SSH and GnuPG.

use super::Origin;
use serde::{Deserialize, Serialize};

/// The longest pattern that is looked at; paths in git are at most 4 KiB.
pub const MAX_PATTERN_BYTES: usize = 1024;
/// Signers of one rule: keys and files together.
pub const MAX_SIGNERS: usize = 1000;
/// Rules of one cluster.
pub const MAX_RULES: usize = 100;

/// Every commit that touches one of these paths must be signed by one of these signers. A commit answers to every rule
/// that one of its paths falls under.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignatureRule {
    /// Patterns from the root of the repository: `*` and `?` within a name, `**` across folders; a folder (`prod/`) is all below it.
    pub paths: Vec<String>,
    pub require: SignatureKind,
    pub signers: Signers,
    /// Where the rule is written.
    pub origin: Origin,
}

/// The form of signature that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub enum SignatureKind {
    /// Either of them.
    #[default]
    Any,
    /// `git -c gpg.format=ssh commit -S`.
    Ssh,
    /// `git commit -S`, with OpenPGP.
    Gpg,
}

/// Whose signatures count. All of it is public.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signers {
    /// Lines of an `allowed_signers` file (ssh-keygen(1), ALLOWED SIGNERS).
    pub ssh: Vec<String>,
    /// Armored OpenPGP public keys.
    pub gpg: Vec<String>,
    /// Files of the repository, from its root, with either; read at the revision that the rule is of.
    pub files: Vec<String>,
}

impl SignatureRule {
    /// Whether a path (from the root of the repository, bytes as git has them) falls under the rule.
    pub fn covers(&self, path: &[u8]) -> bool {
        self.paths.iter().any(|pattern| matches(pattern, path))
    }
}

/// Whether a path falls under a pattern. Both are from the root; takes at most the product of their lengths.
pub fn matches(pattern: &str, path: &[u8]) -> bool {
    let pattern = pattern.strip_prefix('/').unwrap_or(pattern);
    let all_below = pattern.strip_suffix('/').map(|folder| format!("{folder}/**"));
    let tokens = tokens(all_below.as_deref().unwrap_or(pattern).as_bytes());
    // How far into the tokens each beginning of the path may lead.
    let mut at = vec![false; tokens.len() + 1];
    at[0] = true;
    pass_empty(&tokens, &mut at);
    for byte in path {
        let mut next = vec![false; tokens.len() + 1];
        for (place, token) in tokens.iter().enumerate().filter(|(place, _)| at[*place]) {
            match token {
                Token::Byte(wanted) => next[place + 1] |= wanted == byte,
                Token::One => next[place + 1] |= *byte != b'/',
                Token::Name => next[place] |= *byte != b'/',
                Token::Rest => next[place] = true,
                Token::Folders => next[place + 1] = true,
                Token::InFolders => {
                    next[place] = true;
                    next[place + 1] |= *byte == b'/';
                }
            }
        }
        pass_empty(&tokens, &mut next);
        at = next;
    }
    at[tokens.len()]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Byte(u8),
    /// `?`
    One,
    /// `*`: any, also no, part of a name.
    Name,
    /// `**/`: any folders, also none. Always with `InFolders` behind it.
    Folders,
    /// In the middle of them; they end with a `/`.
    InFolders,
    /// `**` at the end: all that follows.
    Rest,
}

fn tokens(mut pattern: &[u8]) -> Vec<Token> {
    let mut tokens = Vec::new();
    loop {
        let (token, length) = match pattern {
            [] => return tokens,
            [b'*', b'*', b'/', ..] => (Token::Folders, 3),
            [b'*', b'*'] => (Token::Rest, 2),
            [b'*', ..] => (Token::Name, 1),
            [b'?', ..] => (Token::One, 1),
            [byte, ..] => (Token::Byte(*byte), 1),
        };
        tokens.push(token);
        if token == Token::Folders {
            tokens.push(Token::InFolders);
        }
        pattern = &pattern[length..];
    }
}

/// What may stand for nothing is passed over.
fn pass_empty(tokens: &[Token], at: &mut [bool]) {
    for (place, token) in tokens.iter().enumerate() {
        // In order: one may be passed over after the other.
        if !at[place] {
            continue;
        }
        match token {
            Token::Name | Token::Rest => at[place + 1] = true,
            Token::Folders => at[place + 2] = true,
            Token::Byte(_) | Token::One | Token::InFolders => {}
        }
    }
}

/// What is wrong with a pattern, and what would help; None: nothing.
pub fn pattern_fault(pattern: &str) -> Option<(String, &'static str)> {
    let parts: Vec<&str> = pattern.strip_suffix('/').unwrap_or(pattern).split('/').collect();
    if pattern.is_empty() || pattern.len() > MAX_PATTERN_BYTES {
        return Some((format!("a pattern has 1 to {MAX_PATTERN_BYTES} characters"), "`**` is every file"));
    }
    if pattern.starts_with('/') || parts.iter().any(|part| matches!(*part, "" | "." | "..")) {
        return Some((format!("`{pattern}` is no path in a repository"), "write it from the root, like `prod/**`"));
    }
    if parts.iter().any(|part| part.contains("**") && *part != "**") {
        return Some((
            format!("`**` in `{pattern}` stands beside other characters"),
            "`**` is a whole part: `prod/**/*.yaml`",
        ));
    }
    if pattern.contains(['[', ']', '{', '}', '!', '\\']) {
        return Some((format!("`{pattern}` uses more than `*`, `**` and `?`"), "write a pattern for each"));
    }
    None
}

/// What is wrong with a line of an `allowed_signers` file; None: nothing that can be seen without the key's owner.
pub fn ssh_signer_fault(line: &str) -> Option<String> {
    if line.lines().count() > 1 {
        return Some("it is more than one line".into());
    }
    let words = signer_words(line);
    let key = words.iter().position(|word| is_key_type(word));
    match (key, words.get(key.unwrap_or(0) + 1)) {
        (None, _) => Some("it has no type of key, such as `ssh-ed25519`".into()),
        (Some(0), _) => Some("nothing says whose key it is".into()),
        (Some(place), _) if place > 2 => Some("there is more before the key than a name and options".into()),
        (Some(place), Some(blob)) if is_key(&words[place], blob) => words[1..place].iter().find_map(|options| {
            let namespaces = options.split("namespaces=\"").nth(1)?.split('"').next()?;
            let git = namespaces.split(',').any(|name| matches!(name, "git" | "*"));
            (!git).then(|| format!("it is not for git, but for {namespaces}"))
        }),
        (Some(_), Some(_) | None) => Some("the key is not whole".into()),
    }
}

/// Words by spaces, except for those within quotes.
fn signer_words(line: &str) -> Vec<String> {
    let (mut words, mut quoted) = (vec![String::new()], false);
    for c in line.trim().chars() {
        quoted ^= c == '"';
        match (c.is_whitespace() && !quoted, words.last_mut()) {
            (true, Some(last)) if !last.is_empty() => words.push(String::new()),
            (false, Some(last)) => last.push(c),
            (true, _) | (false, None) => {}
        }
    }
    words
}

fn is_key_type(word: &str) -> bool {
    word.strip_prefix("sk-").unwrap_or(word).starts_with("ssh-")
        || word.trim_start_matches("sk-").starts_with("ecdsa-sha2-")
}

/// RFC 4253, 6.6: the blob begins with the length and name of its type.
fn is_key(kind: &str, blob: &str) -> bool {
    use base64::Engine;
    let Ok(bytes) = base64::engine::general_purpose::STANDARD.decode(blob) else { return false };
    let length = bytes.first_chunk::<4>().map_or(0, |length| u32::from_be_bytes(*length) as usize);
    bytes.get(4..4usize.saturating_add(length)).is_some_and(|name| name == kind.as_bytes()) && bytes.len() > length + 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_from_the_root_within_names_and_across_folders() {
        for (pattern, path, expected) in [
            ("**", "a/b/c.yaml", true),
            ("*", "a.yaml", true),
            ("*", "a/b.yaml", false),
            ("prod/**", "prod/a/b.yaml", true),
            ("prod/**", "prod", false),
            ("prod/**", "product/a.yaml", false),
            ("prod/", "prod/a/b.yaml", true),
            ("prod/", "prod", false),
            ("prod", "prod/a.yaml", false),
            ("**/db.yaml", "db.yaml", true),
            ("**/db.yaml", "a/b/db.yaml", true),
            ("**/db.yaml", "a/mydb.yaml", false),
            ("a/**/z.yaml", "a/z.yaml", true),
            ("a/**/z.yaml", "a/b/c/z.yaml", true),
            ("a/**/z.yaml", "ab/z.yaml", false),
            ("db-?.yaml", "db-1.yaml", true),
            ("db-?.yaml", "db-/.yaml", false),
            ("*.yaml", "a.yaml.bak", false),
            ("*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaac", false),
        ] {
            assert_eq!(matches(pattern, path.as_bytes()), expected, "{pattern} {path}");
        }
        assert!(matches("prod/*.yaml", b"prod/\xff.yaml"));
    }

    #[test]
    fn mistakes_in_patterns_and_signers_are_told() {
        for good in ["**", "prod/**", "prod/", "**/a*.yaml", "a?c"] {
            assert_eq!(pattern_fault(good), None, "{good}");
        }
        for bad in ["", "/prod", "../x", "a//b", "prod**", "a/**b/c", "a[bc]", "!a", "{a,b}"] {
            assert!(pattern_fault(bad).is_some(), "{bad}");
        }
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHJ7Ya5kZ0lZcWpYc0d6R2tVdkV4bWJvM2pPd1J6a3hC";
        let with = |before: &str| format!("{before}{key}");
        for good in [
            with("ada@x "),
            with("ada@x,bob@x namespaces=\"git, file\" "),
            with("* valid-before=\"20300101\" ") + " ada",
        ] {
            assert_eq!(ssh_signer_fault(&good.replace("git, file", "git,file")), None, "{good}");
        }
        for (bad, why) in [
            (with(""), "whose key"),
            (with("ada@x namespaces=\"file\" "), "not for git"),
            (with("ada@x of the team "), "more before the key"),
            ("ada@x ssh-ed25519".to_owned(), "not whole"),
            ("ada@x ssh-ed25519 AAAA".to_owned(), "not whole"),
            (with("ada@x ").replace("ssh-ed25519 ", "ssh-rsa "), "not whole"),
            ("ada@x".to_owned(), "no type of key"),
            (with("ada@x ") + "\n" + &with("bob@x "), "more than one line"),
        ] {
            let found = ssh_signer_fault(&bad).unwrap_or_default();
            assert!(found.contains(why), "{bad}: {found}");
        }
    }
}
