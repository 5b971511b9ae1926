//! Is the signature of one commit good, and whose is it?
//!
//! Input → output: a commit, and signers as an `allowed_signers` file and as armored keys → whose signature it is, or why it
//! is none that counts. By `ssh-keygen` and `gpg`, each with a home of its own that holds nothing but these signers: no key, setting or
//! agent of the daemon's user has a say. Not by `git verify-commit`, which asks whether a key was good at the time that
//! the commit claims: who holds an expired key would write an earlier date.
//!
//! Invariant: [`Signature::Good`] is said only if exactly one signature is there, over exactly the commit, by a key
//! that is listed, neither expired nor revoked, now.

use super::super::error::SourceError;
use super::super::process::{Ended, run_alone};
use super::super::repo::{Repo, oid};
use crate::model::Revision;
use std::fmt;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// One run of a program: it computes for a millisecond, and waits for nobody.
const RUN_TIME: Duration = Duration::from_secs(5);
/// Names that one key is listed under.
const MAX_PRINCIPALS: usize = 8;
/// A signature of a long RSA key is 1 KiB.
const MAX_SIGNATURE_BYTES: usize = 64 * 1024;
/// Characters of what a program says that are told.
const MAX_TOLD: usize = 200;

/// What a commit carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signature {
    None,
    Good(Signer),
    /// One that does not count, and why.
    Other(String),
}

/// Who signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// As the list of signers names them; of OpenPGP the name in the key.
    pub name: String,
    /// `SHA256:…` of an SSH key, the fingerprint of an OpenPGP key.
    pub key: String,
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.key)
    }
}

/// The signers of one rule, laid out for the programs. Removed when it is dropped.
pub(super) struct Verifier {
    repo: Repo,
    home: PathBuf,
    has_ssh: bool,
    has_gpg: bool,
    /// The keys were taken into the ring.
    imported: std::cell::Cell<bool>,
}

impl Drop for Verifier {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.home);
    }
}

impl Verifier {
    pub(super) fn new(repo: &Repo, place: usize, ssh: &str, gpg: &str) -> Result<Self, SourceError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let home = repo.signing().join(format!("{}-{number}-{place}", std::process::id()));
        let failed = |error| SourceError::io("looking at signatures", &home, error);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&home).map_err(failed)?;
        let verifier = Self {
            repo: repo.clone(),
            home: home.clone(),
            has_ssh: !ssh.trim().is_empty(),
            has_gpg: !gpg.trim().is_empty(),
            imported: false.into(),
        };
        fs::write(home.join("allowed"), format!("{}\n", ssh.trim())).map_err(failed)?;
        fs::write(home.join("keys"), gpg).map_err(failed)?;
        Ok(verifier)
    }

    /// Looks at one commit's signature. Past `until` it is an error.
    pub(super) fn verify(&self, revision: &Revision, until: Instant) -> Result<Signature, SourceError> {
        let git = self.repo.git()?;
        let (signature, content) = match git.extract_signature(&oid(revision)?, None) {
            Ok(found) => found,
            Err(error) if error.code() == git2::ErrorCode::NotFound => return Ok(Signature::None),
            Err(error) => return Err(self.repo.git_error("reading a signature", error)),
        };
        if signature.len() > MAX_SIGNATURE_BYTES {
            return Ok(Signature::Other("the signature is too large to be one".into()));
        }
        self.write("signature", &signature)?;
        self.write("content", &content)?;
        let text = String::from_utf8_lossy(&signature);
        if text.starts_with("-----BEGIN SSH SIGNATURE-----") {
            self.ssh(until)
        } else if text.starts_with("-----BEGIN PGP SIGNATURE-----") {
            self.gpg(until)
        } else {
            Ok(Signature::Other("the signature is neither of SSH nor of OpenPGP".into()))
        }
    }

    /// ssh-keygen(1): `find-principals` names who has the key, `verify` judges for one name, both by the present time.
    fn ssh(&self, until: Instant) -> Result<Signature, SourceError> {
        let made = self.ssh_keygen(&["-Y", "check-novalidate", "-n", "git", "-s", "signature"], until)?;
        if !made.status.success() {
            return Ok(Signature::Other(format!("the signature is not one of this commit ({})", last_words(&made))));
        }
        // `Good "git" signature with ED25519 key SHA256:…`
        let words = String::from_utf8_lossy(&made.stdout).into_owned();
        let key = words.split_whitespace().rfind(|word| word.starts_with("SHA256:")).unwrap_or("unknown").to_owned();
        if !self.has_ssh {
            return Ok(Signature::Other(format!("with SSH (key {key}), and the rule lists no SSH signer")));
        }
        let found = self.ssh_keygen(&["-Y", "find-principals", "-f", "allowed", "-s", "signature"], until)?;
        let names = String::from_utf8_lossy(&found.stdout).into_owned();
        for name in names.lines().filter(|_| found.status.success()).take(MAX_PRINCIPALS) {
            let judged =
                self.ssh_keygen(&["-Y", "verify", "-n", "git", "-f", "allowed", "-I", name, "-s", "signature"], until)?;
            if judged.status.success() {
                return Ok(Signature::Good(Signer { name: printable(name), key }));
            }
        }
        let why = last_words(&found);
        let more =
            if why.is_empty() || why.contains("No principal matched") { String::new() } else { format!(" ({why})") };
        Ok(Signature::Other(format!("the SSH key {key} is not that of a signer, now and for git{more}")))
    }

    fn ssh_keygen(&self, args: &[&str], until: Instant) -> Result<Ended, SourceError> {
        let content = self.home.join("content");
        let stdin =
            fs::File::open(&content).map_err(|error| SourceError::io("looking at signatures", &content, error))?;
        self.run("ssh-keygen", args, stdin.into(), until)
    }

    /// GnuPG's doc/DETAILS: what the status lines mean. The trust of the keys is the rule's, not a matter of the ring.
    fn gpg(&self, until: Instant) -> Result<Signature, SourceError> {
        if !self.has_gpg {
            return Ok(Signature::Other("with OpenPGP, and the rule lists no OpenPGP key".into()));
        }
        if !self.imported.get() {
            // Of several keys some may be unusable; what matters is which signatures are good in the end.
            self.run_gpg(&["--import", "keys"], until)?;
            self.imported.set(true);
        }
        let judged = self.run_gpg(&["--verify", "signature", "content"], until)?;
        let status = String::from_utf8_lossy(&judged.stdout).into_owned();
        Ok(judge_status(&status).unwrap_or_else(Signature::Other))
    }

    fn run_gpg(&self, args: &[&str], until: Instant) -> Result<Ended, SourceError> {
        let mut all = vec![
            "--homedir",
            ".",
            "--no-options",
            "--batch",
            "--no-tty",
            "--no-autostart",
            "--disable-dirmngr",
            "--no-auto-key-retrieve",
            "--no-auto-check-trustdb",
            "--trust-model",
            "always",
            "--status-fd",
            "1",
        ];
        all.extend(args);
        self.run("gpg", &all, Stdio::null(), until)
    }

    fn run(&self, program: &'static str, args: &[&str], stdin: Stdio, until: Instant) -> Result<Ended, SourceError> {
        let left = until.saturating_duration_since(Instant::now()).min(RUN_TIME);
        let late = SourceError::TimedOut { command: "verify-commit", after: left };
        match left.is_zero() {
            true => Err(late),
            false => run_alone(program, args, &self.home, stdin, left)?.ok_or(late),
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), SourceError> {
        let path: &Path = &self.home.join(name);
        fs::write(path, bytes).map_err(|error| SourceError::io("looking at signatures", path, error))
    }
}

/// What `gpg --verify` says of a signature. Err: why it does not count.
fn judge_status(status: &str) -> Result<Signature, String> {
    let lines = || status.lines().filter_map(|line| line.strip_prefix("[GNUPG:] "));
    let of = |word: &str| {
        lines().find_map(|line| {
            line.strip_prefix(word).filter(|rest| rest.is_empty() || rest.starts_with(' ')).map(str::trim)
        })
    };
    if lines().filter(|line| line.starts_with("NEWSIG")).count() > 1 {
        return Err("there is more than one OpenPGP signature".into());
    }
    let key = |rest: &str| printable(rest.split(' ').next().unwrap_or_default());
    for (word, why) in [
        ("BADSIG", "the signature is not one of this commit"),
        ("REVKEYSIG", "its key is revoked"),
        ("EXPKEYSIG", "its key has expired"),
        ("EXPSIG", "the signature has expired"),
    ] {
        if let Some(rest) = of(word) {
            return Err(format!("{why} (OpenPGP key {})", key(rest)));
        }
    }
    if let Some(rest) = of("NO_PUBKEY").or_else(|| of("ERRSIG")) {
        return Err(format!("the OpenPGP key {} is not that of a signer", key(rest)));
    }
    match (of("GOODSIG"), of("VALIDSIG")) {
        (Some(good), Some(valid)) => {
            let name = good.split_once(' ').map_or("", |(_, name)| name);
            // The last word is the fingerprint of the key that the subkey belongs to.
            let key = valid.split(' ').next_back().unwrap_or_default();
            Ok(Signature::Good(Signer { name: printable(name), key: printable(key) }))
        }
        _ => Err("the OpenPGP signature cannot be judged".into()),
    }
}

fn last_words(ended: &Ended) -> String {
    let text = String::from_utf8_lossy(&ended.stderr).into_owned();
    printable(text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default())
}

fn printable(text: &str) -> String {
    text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_TOLD).collect()
}
