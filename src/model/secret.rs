//! What must not be shown: values of fields whose names speak of secrets, and passwords within other texts.
//!
//! Input → output: the name of a field and its text → the text as it may be shown, with [`HIDDEN`] for what may not.
//!
//! Deliberately absent: texts that *are* secret by what they look like. A secret under a harmless name is found by nobody.

/// Stands for what is not shown.
pub const HIDDEN: &str = "(hidden)";

/// Parts of names whose values are secret.
const WORDS: [&str; 9] =
    ["passw", "passphrase", "secret", "token", "credential", "apikey", "api_key", "private_key", "community"];
/// Endings of such names.
const ENDINGS: [&str; 3] = ["pass", "key", "pwd"];
/// Endings of names that say where a secret is, not what it is.
const PLACES: [&str; 5] = ["file", "path", "script", "dir", "url"];
/// What ends a value within a text such as `user=a,password=b`.
const ENDS: [char; 8] = [',', ';', '&', ' ', '\t', '\n', '"', '\''];

/// Whether the values of a field of this name are secret.
pub fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let speaks = WORDS.iter().any(|word| name.contains(word)) || ENDINGS.iter().any(|end| name.ends_with(end));
    speaks && !PLACES.iter().any(|end| name.ends_with(end))
}

/// A secret shorter than this is in every text by chance.
const SHORTEST: usize = 4;

/// Secrets that are known, so that they are covered wherever else they are repeated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    /// Longest first: one that is a part of another would leave the rest of that.
    known: Vec<String>,
}

impl Secrets {
    /// Those among these fields, by their names.
    pub fn among<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let secret = |(name, text): &(&str, &str)| is_secret(name) && text.len() >= SHORTEST && *text != HIDDEN;
        let mut known: Vec<String> = fields.into_iter().filter(secret).map(|(_, text)| text.to_owned()).collect();
        known.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        known.dedup();
        Self { known }
    }

    /// A field as it may be shown.
    pub fn shown(&self, name: &str, text: &str) -> String {
        self.known.iter().fold(shown(name, text), |text, secret| text.replace(secret, HIDDEN))
    }
}

/// A field as it may be shown: [`HIDDEN`] if it is secret, else with what is secret within it covered.
pub fn shown(name: &str, text: &str) -> String {
    if is_secret(name) && !text.is_empty() { HIDDEN.to_owned() } else { covered(text) }
}

/// A text without the passwords in its addresses (`//user:password@`) and settings (`password=…`).
pub fn covered(text: &str) -> String {
    cover_settings(&cover_addresses(text))
}

fn cover_addresses(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("//") {
        let (before, after) = rest.split_at(at + 2);
        shown += before;
        let host = after.find(|c: char| c == '/' || c.is_whitespace()).unwrap_or(after.len());
        // Passwords may hold an `@`; hosts do not.
        rest = match after[..host].rfind('@').and_then(|end| Some((after[..end].find(':')?, end))) {
            Some((colon, end)) => {
                shown += &format!("{}:{HIDDEN}", &after[..colon]);
                &after[end..]
            }
            None => after,
        };
    }
    shown + rest
}

fn cover_settings(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('=') {
        let (before, after) = rest.split_at(at + 1);
        shown += before;
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let name = before[..at].rsplit(|c: char| !is_word(c)).next().unwrap_or_default();
        let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''));
        let begin = quote.map_or(0, char::len_utf8);
        let end = match quote {
            Some(quote) => after[begin..].find(quote).map_or(after.len(), |end| begin + end),
            None => after.find(ENDS).unwrap_or(after.len()),
        };
        rest = if end > begin && is_secret(name) {
            shown += &format!("{}{HIDDEN}", &after[..begin]);
            &after[end..]
        } else {
            after
        };
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_speak_of_secrets_hide_their_values_and_names_of_files_do_not() {
        for name in
            ["password", "login_passwd", "replication_passwd", "pass", "DBPASS", "authkey", "api_key", "snmp_community"]
        {
            assert_eq!(shown(name, "x1"), HIDDEN, "{name}");
        }
        for name in ["passive_ports", "password_file", "passwd_script", "sshkeyfile", "ip", "keys_dir", "monkeys"] {
            assert_eq!(shown(name, "x1"), "x1", "{name}");
        }
        assert_eq!(shown("password", ""), "", "that there is none may be seen");
    }

    #[test]
    fn a_known_secret_is_covered_wherever_it_is_repeated() {
        let secrets =
            Secrets::among([("password", "hunter2"), ("passwd", "hunter2-long"), ("pass", "ab"), ("ip", "one")]);
        assert_eq!(secrets.shown("text", "one hunter2-long, hunter2 ab"), "one (hidden), (hidden) ab");
    }

    #[test]
    fn passwords_within_texts_are_covered_and_nothing_else_is() {
        for (text, expected) in [
            ("https://bob:s3c:r@t@h.example/x?y=1", "https://bob:(hidden)@h.example/x?y=1"),
            ("//nas/share", "//nas/share"),
            ("username=bob,password=s3cret,vers=3.0", "username=bob,password=(hidden),vers=3.0"),
            ("-e MYSQL_ROOT_PASSWORD=\"s3 cret\" -e A=b", "-e MYSQL_ROOT_PASSWORD=\"(hidden)\" -e A=b"),
            ("password=", "password="),
            ("a==b", "a==b"),
            ("", ""),
        ] {
            assert_eq!(covered(text), expected);
            assert_eq!(covered(&covered(text)), expected, "what is covered stays as it is");
        }
    }
}
