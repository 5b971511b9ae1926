//! Is every commit of a push signed as the rules ask?
//!
//! Input → output: the target with its rules, the pushed tip with its own → nothing, or why it is refused, in words for the
//! pusher. `verify` looks at one signature; here is which commits are looked at, and by which rules.
//!
//! What holds:
//! - The rules of the *target* judge a push, never those that it brings: otherwise whoever may push could name new signers.
//! - Every commit between the target and the tip answers to every rule that a path it touches falls under. A merge
//!   touches what differs from the parent that contains the target, or, where none or several do, from any parent.
//! - A push that changes the rules or their signers is judged as if each of its commits touched the files they are
//!   written in: how a file came to say something else does not matter.
//! - Going back (the target is not an ancestor) is refused where what a rule covers would change: the signatures on the way back say
//!   nothing of who wants to go there.
//! - New rules must cover the files that they are written in, and the tip must satisfy them for these files: nobody locks everybody
//!   out by a typing mistake. The first push is judged by its own rules, as if its tip had written everything.
//! - Whether a key counts is judged by the clock of now, not by the date that a commit claims.
//!
//! Deliberately absent: an option of a push that goes around it. Whoever holds a stolen account that may push would use it.

mod verify;

pub use verify::{Signature, Signer};

use super::error::SourceError;
use super::repo::{Repo, oid};
use crate::model::{Origin, Revision, SignatureKind, SignatureRule};
use git2::Oid;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use verify::Verifier;

/// Commits of one push that are looked at. A larger one is pushed in parts.
const MAX_COMMITS: usize = 1000;
/// For all signatures of one push: some 10 ms each. git at the pusher's end waits for a minute.
const JUDGE_TIME: Duration = Duration::from_secs(20);
/// All that a file of signers may hold: thousands of keys.
const MAX_SIGNERS_BYTES: usize = 1024 * 1024;
/// Commits named in one refusal.
const PATHS_TOLD: usize = 3;

const GPG_BEGINS: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const GPG_ENDS: &str = "-----END PGP PUBLIC KEY BLOCK-----";

/// The rules of a revision, with what the files of signers say there.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    rules: Vec<Rule>,
    /// The files that the rules and their signers are written in.
    files: BTreeSet<String>,
}

#[derive(Debug, Clone)]
struct Rule {
    rule: SignatureRule,
    /// An `allowed_signers` file.
    ssh: String,
    /// Armored keys.
    gpg: String,
}

impl Policy {
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What a change of which is a change of the rules: where they are written does not matter.
    fn meaning(&self) -> Vec<(&[String], SignatureKind, &str, &str)> {
        let mut all = Vec::new();
        for rule in &self.rules {
            all.push((rule.rule.paths.as_slice(), rule.rule.require, rule.ssh.as_str(), rule.gpg.as_str()));
        }
        all
    }

    fn uncovered(&self) -> Option<&String> {
        let covered = |file: &&String| self.rules.iter().any(|rule| rule.rule.covers(file.as_bytes()));
        self.files.iter().find(|file| !covered(file))
    }
}

/// Rules as a spec has them, and where its Cluster document is written.
#[derive(Debug, Clone, Copy)]
pub struct PushedRules<'a> {
    pub rules: &'a [SignatureRule],
    pub cluster: Option<&'a Origin>,
}

/// What a commit touches.
type Paths = BTreeSet<Vec<u8>>;

impl Repo {
    /// The rules of a revision, with the files of signers that lie there.
    ///
    /// # Errors
    /// A file of signers is missing, too large or not text.
    pub fn policy(&self, revision: &Revision, rules: PushedRules<'_>) -> Result<Policy, SourceError> {
        let mut policy = Policy::default();
        if rules.rules.is_empty() {
            return Ok(policy);
        }
        policy.files.extend(rules.cluster.map(|origin| origin.file.clone()));
        for rule in rules.rules {
            let mut ssh = rule.signers.ssh.join("\n");
            let mut gpg = rule.signers.gpg.join("\n");
            for file in &rule.signers.files {
                let text = self.signers_file(revision, file)?;
                let keys = armored(&text);
                let to = if keys.is_empty() { &mut ssh } else { &mut gpg };
                to.push('\n');
                to.push_str(if keys.is_empty() { &text } else { &keys });
                policy.files.insert(file.clone());
            }
            // A rule that wants one form knows of no signers with the other.
            match rule.require {
                SignatureKind::Any => {}
                SignatureKind::Ssh => gpg.clear(),
                SignatureKind::Gpg => ssh.clear(),
            }
            policy.rules.push(Rule { rule: rule.clone(), ssh, gpg });
        }
        Ok(policy)
    }

    /// Why a push of `tip` onto `target` is refused for want of signatures; None: it is not.
    ///
    /// `now` are the rules of the target (none before the first push), `next` those that `tip` brings.
    ///
    /// # Errors
    /// Git or a program that looks at signatures failed: then nothing is known, and nothing may be accepted.
    pub fn judge_signatures(
        &self,
        target: Option<&Revision>,
        now: PushedRules<'_>,
        tip: &Revision,
        next: PushedRules<'_>,
    ) -> Result<Option<String>, SourceError> {
        let unreadable = |of: &str, error: SourceError| match error {
            SourceError::BadSigners { .. } => {
                Ok(Some(format!("the rules about signatures of {of} cannot be read: {error}")))
            }
            error => Err(error),
        };
        let now = match target {
            Some(target) if !now.rules.is_empty() && !self.has(target)? => {
                return Ok(Some(
                    "this node has not got the objects of the target yet, so it cannot tell what is changed; \
                                push again in a moment, or to another node"
                        .into(),
                ));
            }
            Some(target) => match self.policy(target, now) {
                Ok(policy) => policy,
                Err(error) => return unreadable("the target", error),
            },
            None => Policy::default(),
        };
        let next = match self.policy(tip, next) {
            Ok(policy) => policy,
            Err(error) => return unreadable("this push", error),
        };
        if now.is_empty() && next.is_empty() {
            return Ok(None);
        }
        if let Some(file) = next.uncovered() {
            let at = &next.rules[0].rule.origin;
            return Ok(Some(format!(
                "no rule about signatures covers `{file}`, so whoever may push could change who must sign; add it to the \
                 `paths` of a rule ({at})"
            )));
        }
        let mut judge = Judge { repo: self, until: Instant::now() + JUDGE_TIME, verifiers: BTreeMap::new() };
        let changes = now.meaning() != next.meaning();
        if let Some(target) = target.filter(|_| !now.is_empty())
            && let Some(refusal) = judge.by_the_target(target, &now, tip, changes)?
        {
            return Ok(Some(refusal));
        }
        if !changes {
            return Ok(None);
        }
        // By its own rules: whether those who are to sign from now on can.
        let own: Paths = match target {
            Some(_) => next.files.iter().map(|file| file.clone().into_bytes()).collect(),
            None => self.all_paths(tip)?,
        };
        let refusal = judge.commit(tip, &own, &next, Which::Next)?;
        Ok(refusal.map(|why| match target {
            Some(_) => format!(
                "{why}; a change of the rules must satisfy the new ones too, so that nobody is locked out by mistake"
            ),
            None => why,
        }))
    }

    /// Whose signature a commit carries, by the rules' signers. `patience`: for how long to look.
    ///
    /// # Errors
    /// As [`Repo::judge_signatures`].
    pub fn signature(
        &self,
        revision: &Revision,
        policy: &Policy,
        patience: Duration,
    ) -> Result<Signature, SourceError> {
        let until = Instant::now() + patience;
        let mut found = Signature::None;
        for (place, rule) in policy.rules.iter().enumerate() {
            let verifier = Verifier::new(self, place, &rule.ssh, &rule.gpg)?;
            found = verifier.verify(revision, until)?;
            if matches!(found, Signature::Good(_) | Signature::None) {
                break;
            }
        }
        Ok(found)
    }

    fn signers_file(&self, revision: &Revision, file: &str) -> Result<String, SourceError> {
        let bad = |why: &str| SourceError::BadSigners { file: file.to_owned(), why: why.to_owned() };
        let failed = |error| self.git_error("reading a file of signers", error);
        let git = self.git()?;
        let tree = self.commit(&git, revision)?.tree().map_err(failed)?;
        let entry = tree.get_path(file.as_ref()).map_err(|_| bad("it is not in the repository"))?;
        let is_file = entry.kind() == Some(git2::ObjectType::Blob) && entry.filemode() != 0o120_000;
        if !is_file {
            return Err(bad("it is no file"));
        }
        let (size, _) = git.odb().and_then(|odb| odb.read_header(entry.id())).map_err(failed)?;
        if size > MAX_SIGNERS_BYTES {
            return Err(bad("it is larger than 1 MiB"));
        }
        let blob = git.find_blob(entry.id()).map_err(failed)?;
        String::from_utf8(blob.content().to_vec()).map_err(|_| bad("it is not text"))
    }

    fn all_paths(&self, tip: &Revision) -> Result<Paths, SourceError> {
        let git = self.git()?;
        let commit = self.commit(&git, tip)?;
        self.differing(&git, None, &commit)
    }

    fn differing(
        &self,
        git: &git2::Repository,
        old: Option<&git2::Commit<'_>>,
        new: &git2::Commit<'_>,
    ) -> Result<Paths, SourceError> {
        let failed = |error| self.git_error("comparing two revisions", error);
        let old = old.map(git2::Commit::tree).transpose().map_err(failed)?;
        let new = new.tree().map_err(failed)?;
        let diff = git.diff_tree_to_tree(old.as_ref(), Some(&new), None).map_err(failed)?;
        let both = |delta: git2::DiffDelta<'_>| {
            [delta.old_file().path_bytes().map(<[u8]>::to_vec), delta.new_file().path_bytes().map(<[u8]>::to_vec)]
        };
        Ok(diff.deltas().flat_map(both).flatten().collect())
    }
}

/// Armored keys within a text; empty if there are none.
fn armored(text: &str) -> String {
    let blocks = text.split(GPG_BEGINS).skip(1).filter_map(|rest| rest.split_once(GPG_ENDS));
    blocks.map(|(body, _)| format!("{GPG_BEGINS}{body}{GPG_ENDS}\n")).collect()
}

/// Whose rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Which {
    Target,
    Next,
}

struct Judge<'a> {
    repo: &'a Repo,
    until: Instant,
    verifiers: BTreeMap<(Which, usize), Verifier>,
}

impl Judge<'_> {
    fn by_the_target(
        &mut self,
        target: &Revision,
        policy: &Policy,
        tip: &Revision,
        changes: bool,
    ) -> Result<Option<String>, SourceError> {
        let repo = self.repo;
        let git = repo.git()?;
        let of_rules = || policy.files.iter().map(|file| file.clone().into_bytes());
        if !repo.is_ancestor(target, tip)? {
            let (old, new) = (repo.commit(&git, target)?, repo.commit(&git, tip)?);
            let mut differing = repo.differing(&git, Some(&old), &new)?;
            differing.extend(of_rules().filter(|_| changes));
            let ruled = policy.rules.iter().find_map(|rule| {
                let path = differing.iter().find(|path| rule.rule.covers(path))?;
                Some((String::from_utf8_lossy(path).into_owned(), &rule.rule.origin))
            });
            if let Some((path, at)) = ruled {
                return Ok(Some(format!(
                    "going back changes `{path}`, and who may change it must sign (rule at {at}): a signature on an old commit \
                     does not say who wants to go back there; make a new commit (`git revert`) on top of {}, and sign it",
                    target.short()
                )));
            }
        }
        let commits = self.between(&git, target, tip)?;
        let Some(commits) = commits else {
            return Ok(Some(format!(
                "more than {MAX_COMMITS} commits at once, and each signature is looked at; push them in parts"
            )));
        };
        for commit in commits {
            let mut touched = self.touched(&git, &commit, target)?;
            touched.extend(of_rules().filter(|_| changes));
            let revision = Revision::new(commit.id().to_string());
            if let Some(mut refusal) = self.commit(&revision, &touched, policy, Which::Target)? {
                if changes {
                    refusal += "; the push changes the rules themselves, so each of its commits needs that: push the rest alone";
                }
                return Ok(Some(refusal));
            }
        }
        Ok(None)
    }

    /// From the oldest on. None: too many.
    fn between<'g>(
        &self,
        git: &'g git2::Repository,
        target: &Revision,
        tip: &Revision,
    ) -> Result<Option<Vec<git2::Commit<'g>>>, SourceError> {
        let failed = |error| self.repo.git_error("reading the history", error);
        let mut walk = git.revwalk().map_err(failed)?;
        walk.set_sorting(git2::Sort::TOPOLOGICAL | git2::Sort::REVERSE).map_err(failed)?;
        walk.push(oid(tip)?).map_err(failed)?;
        walk.hide(oid(target)?).map_err(failed)?;
        let ids: Vec<Oid> = walk.take(MAX_COMMITS + 1).collect::<Result<_, _>>().map_err(failed)?;
        if ids.len() > MAX_COMMITS {
            return Ok(None);
        }
        ids.into_iter().map(|id| git.find_commit(id).map_err(failed)).collect::<Result<_, _>>().map(Some)
    }

    fn touched(
        &self,
        git: &git2::Repository,
        commit: &git2::Commit<'_>,
        target: &Revision,
    ) -> Result<Paths, SourceError> {
        let failed = |error| self.repo.git_error("reading the history", error);
        let target = oid(target)?;
        let parents: Vec<_> = commit.parents().collect();
        if parents.is_empty() {
            return self.repo.differing(git, None, commit);
        }
        let mut containing = Vec::new();
        for parent in parents.iter().filter(|_| parents.len() > 1) {
            let contains = parent.id() == target || git.graph_descendant_of(parent.id(), target).map_err(failed)?;
            containing.extend(contains.then_some(parent));
        }
        let against = match containing.as_slice() {
            [only] => vec![*only],
            _ => parents.iter().collect(),
        };
        let mut touched = Paths::new();
        for parent in against {
            touched.extend(self.repo.differing(git, Some(parent), commit)?);
        }
        Ok(touched)
    }

    /// Why a commit that touches these paths is refused.
    fn commit(
        &mut self,
        revision: &Revision,
        touched: &Paths,
        policy: &Policy,
        which: Which,
    ) -> Result<Option<String>, SourceError> {
        for (place, rule) in policy.rules.iter().enumerate() {
            let paths: Vec<String> = touched
                .iter()
                .filter(|path| rule.rule.covers(path))
                .map(|path| String::from_utf8_lossy(path).replace(char::is_control, "\u{FFFD}"))
                .collect();
            if paths.is_empty() {
                continue;
            }
            let verifier = match self.verifiers.entry((which, place)) {
                std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
                std::collections::btree_map::Entry::Vacant(free) => {
                    free.insert(Verifier::new(self.repo, place, &rule.ssh, &rule.gpg)?)
                }
            };
            let (fault, help) = match verifier.verify(revision, self.until)? {
                Signature::Good(_) => continue,
                Signature::None => ("is not signed".to_owned(), HELP_UNSIGNED),
                Signature::Other(why) => (format!("is signed, but {why}"), HELP_OTHER),
            };
            return Ok(Some(self.refusal(revision, &paths, &rule.rule, &fault, help)?));
        }
        Ok(None)
    }

    fn refusal(
        &self,
        revision: &Revision,
        paths: &[String],
        rule: &SignatureRule,
        fault: &str,
        help: &str,
    ) -> Result<String, SourceError> {
        let info = self.repo.commit_info(revision)?;
        let mut named = paths[..paths.len().min(PATHS_TOLD)].join("`, `");
        named = format!("`{named}`");
        if paths.len() > PATHS_TOLD {
            named += &format!(" and {} more", paths.len() - PATHS_TOLD);
        }
        let wanted = match rule.require {
            SignatureKind::Any => "a signature",
            SignatureKind::Ssh => "an SSH signature",
            SignatureKind::Gpg => "an OpenPGP signature",
        };
        Ok(format!(
            "commit {} ({}: {}) {fault}; it touches {named}, for which the rule at {} wants {wanted} of one of its signers; {help}",
            revision.short(),
            info.author,
            info.subject,
            rule.origin
        ))
    }
}

const HELP_UNSIGNED: &str = "sign it (`git commit --amend -S --no-edit`; several: `git rebase --exec 'git commit --amend -S --no-edit' origin/main`) and push again";
const HELP_OTHER: &str = "sign it with a key of one of them, or let one of them add yours, and push again";
