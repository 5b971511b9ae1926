//! Secrets, read and opened on the node that needs them, just before the agent is run.
//!
//! [`SecretRefs`] → what they say, by the parameters' names; or why not, with where the secret is written, whom it is encrypted
//! for and which key this node has. The key is an age identity file that only root can read (age-encryption.org/v1, X25519).
//!
//! Invariants: nothing that was opened is kept, logged or part of an error, and its memory is wiped when it is dropped; sizes
//! are bounded, and with them the time: passphrases, which are slow by intent, are not tried.
//!
//! Not here: SOPS files (`sops`); scrubbing what agents print (`ocf::scrub`).

use super::sops;
use crate::model::sealed::MAX_SECRET_BYTES;
use crate::model::{AgeSecret, SecretRef, SecretRefs};
use age::secrecy::ExposeSecret;
use age::x25519::Identity;
use nix::unistd::Uid;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Names the file of this node's keys, if it is not [`KEY_FILE`].
pub const KEY_FILE_VARIABLE: &str = "HAFEN_AGE_KEY";
pub const KEY_FILE: &str = "/etc/hafen/age.key";
/// A key is 75 bytes; this leaves room for comments.
const MAX_KEY_FILE_BYTES: u64 = 64 * 1024;
/// The newest and those before it: each is tried with each recipient of a secret.
const MAX_KEYS: usize = 16;
/// A line of a secret that is as long is one by itself.
const LONG_LINE: usize = 16;
/// Recipients that an error names.
const SHOWN: usize = 4;

/// What secrets say, by the names of the parameters that they are values of.
pub type Opened = BTreeMap<String, Zeroizing<String>>;

/// Where this node's keys are.
pub fn key_file() -> PathBuf {
    std::env::var_os(KEY_FILE_VARIABLE).map_or_else(|| KEY_FILE.into(), PathBuf::from)
}

/// The keys of this node, the one that is to be used first.
pub struct Keys {
    file: PathBuf,
    identities: Vec<Identity>,
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("this node has no key: there is no `{}`; `hafen keygen` makes one", .path.display())]
    Missing { path: PathBuf },
    #[error("failed to read `{}`", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("failed to write `{}`", .path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("`{}` {why}", .path.display())]
    Unfit { path: PathBuf, why: String },
}

impl Keys {
    /// Reads a file of age identities as `age-keygen` and `hafen keygen` write it.
    ///
    /// # Errors
    /// It is not there; others than root (or who runs this) own it or may read it; it holds something else.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => KeyError::Missing { path: path.to_owned() },
            _ => KeyError::Read { path: path.to_owned(), source },
        };
        let unfit = |why: &str| KeyError::Unfit { path: path.to_owned(), why: why.to_owned() };
        // A pipe would make the open wait; nothing of the sort is a key.
        let file = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path).map_err(failed)?;
        let about = file.metadata().map_err(failed)?;
        if !about.is_file() {
            return Err(unfit("is not a file"));
        }
        if about.mode() & 0o077 != 0 {
            let why = format!("may be read by others (mode {:04o}): `chmod 600` it", about.mode() & 0o7777);
            return Err(unfit(&why));
        }
        if about.uid() != 0 && about.uid() != Uid::effective().as_raw() {
            return Err(unfit("is not root's: `chown root` it"));
        }
        if about.len() > MAX_KEY_FILE_BYTES {
            return Err(unfit("is too large for a file of keys"));
        }
        let mut text = Zeroizing::new(String::new());
        file.take(MAX_KEY_FILE_BYTES).read_to_string(&mut text).map_err(failed)?;
        let mut identities = Vec::new();
        for (line, text) in text.lines().enumerate().map(|(line, text)| (line + 1, text.trim())) {
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let identity = text.parse().map_err(|_| unfit(&format!("has no age key of kind X25519 in line {line}")))?;
            identities.push(identity);
        }
        match identities.len() {
            0 => Err(unfit("has no key; `hafen keygen` makes one")),
            1..=MAX_KEYS => Ok(Self { file: path.to_owned(), identities }),
            _ => Err(unfit(&format!("has more than {MAX_KEYS} keys"))),
        }
    }

    /// Whom to encrypt for so that this node can open it, the newest first.
    pub fn recipients(&self) -> Vec<String> {
        self.identities.iter().map(|identity| identity.to_public().to_string()).collect()
    }

    /// Opens an age file in armor. None: it is for others.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn decrypt(&self, armor: &str) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
        let armored = age::armor::ArmoredReader::new(armor.as_bytes());
        let decryptor = age::Decryptor::new_buffered(armored).map_err(|error| error.to_string())?;
        if decryptor.is_scrypt() {
            return Err("it is encrypted with a passphrase".to_owned());
        }
        let keys = self.identities.iter().map(|identity| identity as &dyn age::Identity);
        let reader = match decryptor.decrypt(keys) {
            Ok(reader) => reader,
            Err(age::DecryptError::NoMatchingKeys) => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        // As large as it can become, so that no copy of it is left behind when it grows.
        let mut plain = Zeroizing::new(Vec::with_capacity(MAX_SECRET_BYTES + 1));
        reader.take(MAX_SECRET_BYTES as u64 + 1).read_to_end(&mut plain).map_err(|error| error.to_string())?;
        if plain.len() > MAX_SECRET_BYTES { Err(too_long()) } else { Ok(Some(plain)) }
    }

    /// For others, in words.
    fn others(&self, recipients: &[&str]) -> String {
        let shown = recipients[..recipients.len().min(SHOWN)].join(", ");
        let more = if recipients.len() > SHOWN { ", …" } else { "" };
        let own = self.recipients().join(", ");
        format!(
            "it is encrypted for {} other recipient(s) ({shown}{more}); this node's is {own} (`{}`)",
            recipients.len(),
            self.file.display()
        )
    }
}

/// Makes a key, or with `another` one more, which is to be used from then on. Keys that are there are kept: what was
/// started with a secret of an old one is stopped with that.
///
/// # Errors
/// The file cannot be read or written. One that is there is never lost.
pub fn make_key(path: &Path, another: bool) -> Result<Keys, KeyError> {
    match Keys::read(path) {
        Ok(keys) if !another => return Ok(keys),
        Ok(_) | Err(KeyError::Missing { .. }) => {}
        Err(error) => return Err(error),
    }
    let failed = |source| KeyError::Write { path: path.to_owned(), source };
    let identity = Identity::generate();
    let mut text = Zeroizing::new(format!(
        "# public key: {}\n{}\n",
        identity.to_public(),
        Zeroizing::new(identity.to_string().expose_secret().to_owned()).as_str()
    ));
    match File::open(path) {
        Ok(mut old) => _ = old.read_to_string(&mut text).map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let beside = path.with_extension("new");
    let _ = std::fs::remove_file(&beside);
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    write().map_err(failed)?;
    Keys::read(path)
}

/// What all of these say.
///
/// # Errors
/// Which of them cannot be read, and why.
pub fn open_all(secrets: &SecretRefs, key_file: &Path) -> Result<Opened, String> {
    let mut keys = None;
    secrets.iter().map(|(name, secret)| Ok((name.clone(), open(name, secret, key_file, &mut keys)?))).collect()
}

/// Those that can be opened, and why the others cannot.
pub fn open_what_can_be(secrets: &SecretRefs, key_file: &Path) -> (Opened, Vec<String>) {
    let (mut keys, mut opened, mut faults) = (None, Opened::new(), Vec::new());
    for (name, secret) in secrets {
        match open(name, secret, key_file, &mut keys) {
            Ok(text) => _ = opened.insert(name.clone(), text),
            Err(why) => faults.push(why),
        }
    }
    (opened, faults)
}

/// What of them must not be shown: each, and each line of those that have several.
pub(super) fn hidden(opened: &Opened) -> Vec<Zeroizing<String>> {
    let lines = |secret: &Zeroizing<String>| -> Vec<Zeroizing<String>> {
        let long = secret.lines().filter(|line| line.len() >= LONG_LINE && *line != secret.as_str());
        long.map(|line| Zeroizing::new(line.to_owned())).collect()
    };
    opened.values().flat_map(|secret| [vec![secret.clone()], lines(secret)].concat()).collect()
}

/// `keys` are read when the first one needs them.
fn open(name: &str, secret: &SecretRef, key_file: &Path, keys: &mut Option<Keys>) -> Result<Zeroizing<String>, String> {
    let at = match secret {
        SecretRef::File { file } => {
            return from_file(Path::new(file))
                .map_err(|error| format!("failed to read secret `{name}` from `{file}`: {error}"));
        }
        SecretRef::Age(age) => &age.at,
        SecretRef::Sops(sops) => &sops.at,
    };
    let closed = |why: String| format!("secret `{name}` ({at}) cannot be opened: {why}");
    let keys = match keys {
        Some(keys) => keys,
        None => keys.insert(Keys::read(key_file).map_err(|error| closed(in_full(&error)))?),
    };
    let plain = match secret {
        SecretRef::Age(AgeSecret { armor, recipients, .. }) => {
            let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
            keys.decrypt(armor).and_then(|plain| plain.ok_or_else(|| keys.others(&recipients)))
        }
        SecretRef::Sops(sops) => match &sops.document {
            None => Err("its file was left out of this copy".to_owned()),
            Some(document) => sops::open(document, &sops.key, keys).and_then(|plain| {
                let recipients: Vec<&str> =
                    document.recipients.iter().map(|recipient| recipient.recipient.as_str()).collect();
                plain.ok_or_else(|| keys.others(&recipients))
            }),
        },
        // Read above.
        SecretRef::File { .. } => Err("it is a file".to_owned()),
    };
    text_of(&plain.map_err(closed)?).map_err(closed)
}

fn from_file(path: &Path) -> io::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SECRET_BYTES + 1));
    File::open(path)?.take(MAX_SECRET_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_SECRET_BYTES {
        return Err(io::Error::other(too_long()));
    }
    text_of(&bytes).map_err(io::Error::other)
}

fn too_long() -> String {
    format!("it is longer than {} KiB", MAX_SECRET_BYTES / 1024)
}

/// Editors end files with a line break that is no part of the secret.
fn text_of(bytes: &[u8]) -> Result<Zeroizing<String>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is no text (UTF-8)".to_owned())?;
    if text.contains('\0') {
        return Err("it has a zero byte, which no agent can be given".to_owned());
    }
    Ok(Zeroizing::new(text.trim_end_matches(['\n', '\r']).to_owned()))
}

fn in_full(error: &KeyError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
#[path = "secrets_tests.rs"]
mod tests;
