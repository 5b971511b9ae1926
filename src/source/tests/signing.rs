//! Rules about signatures, with commits signed by the real git, ssh-keygen and gpg.

use super::super::{PushedRules, Repo, Signature};
use super::{World, command, git, text};
use crate::model::{Origin, Revision, SignatureKind, SignatureRule, Signers};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A world with people who have keys.
struct Signed {
    world: World,
}

const FILE: &str = "cluster.yaml";

impl Signed {
    fn new() -> Self {
        let signed = Self { world: World::new() };
        for who in ["ada", "bob", "eve"] {
            let key = signed.key(who);
            let made = command("ssh-keygen", signed.world.path())
                .args(["-q", "-t", "ed25519", "-N", "", "-C", who, "-f"])
                .arg(&key)
                .output()
                .unwrap();
            assert!(made.status.success(), "{}", text(&made));
        }
        signed
    }

    fn key(&self, who: &str) -> PathBuf {
        self.world.path().join(who)
    }

    /// `who`'s line of an `allowed_signers` file.
    fn line(&self, who: &str, options: &str) -> String {
        let public = std::fs::read_to_string(self.key(who).with_extension("pub")).unwrap();
        format!("{who}@example.org {options} {}", public.trim()).replace("  ", " ")
    }

    fn ssh(&self, who: &[&str]) -> Signers {
        Signers { ssh: who.iter().map(|who| self.line(who, "")).collect(), ..Signers::default() }
    }

    fn commit(&self, who: Option<&str>, path: &str, content: &str) -> Revision {
        self.world.write(path, content);
        self.commit_all(who, &["--allow-empty", "-m", path])
    }

    fn commit_all(&self, who: Option<&str>, args: &[&str]) -> Revision {
        let work = self.world.work();
        git(&work, &["add", "--all"]);
        let mut all: Vec<String> = Vec::new();
        if let Some(who) = who {
            let key = self.key(who).display().to_string();
            all.extend(["-c", "gpg.format=ssh", "-c"].map(str::to_owned));
            all.extend([format!("user.signingKey={key}"), "commit".into(), "-S".into()]);
        } else {
            all.push("commit".into());
        }
        all.push("--quiet".into());
        all.extend(args.iter().map(|arg| (*arg).to_owned()));
        git(&work, &all.iter().map(String::as_str).collect::<Vec<_>>());
        self.world.head()
    }

    fn repo(&self) -> Repo {
        self.world.clone_as_repo()
    }

    fn judge(
        &self,
        now: Option<(&Revision, &[SignatureRule])>,
        tip: &Revision,
        next: &[SignatureRule],
    ) -> Option<String> {
        let origin = Origin { file: FILE.into(), line: 1, column: 1 };
        let of = |rules| PushedRules { rules, cluster: Some(&origin) };
        let (target, now) = now.map_or((None, &[][..]), |(target, now)| (Some(target), now));
        self.repo().judge_signatures(target, of(now), tip, of(next)).unwrap()
    }

    /// As `judge`, where the push leaves the rules as they are.
    fn push(&self, target: &Revision, tip: &Revision, rules: &[SignatureRule]) -> Option<String> {
        self.judge(Some((target, rules)), tip, rules)
    }
}

fn rule(paths: &[&str], signers: Signers) -> SignatureRule {
    SignatureRule {
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        require: SignatureKind::Any,
        signers,
        origin: Origin { file: FILE.into(), line: 6, column: 7 },
    }
}

#[track_caller]
fn refused(found: Option<String>, words: &[&str]) {
    let found = found.expect("it should have been refused");
    for word in words {
        assert!(found.contains(word), "no `{word}` in: {found}");
    }
}

#[test]
fn a_commit_is_taken_if_a_signer_of_every_rule_that_it_falls_under_signed_it() {
    let s = Signed::new();
    let all = rule(&["**"], s.ssh(&["ada", "bob"]));
    let db = rule(&["db/"], s.ssh(&["ada"]));
    let rules = [all, db];
    let start = s.commit(Some("ada"), FILE, "start");
    let web = s.commit(Some("bob"), "web/a.yaml", "1");
    assert_eq!(s.push(&start, &web, &rules), None);
    let db = s.commit(Some("ada"), "db/a.yaml", "1");
    assert_eq!(s.push(&start, &db, &rules), None);
    let wrong = s.commit(Some("bob"), "db/a.yaml", "2");
    refused(
        s.push(&db, &wrong, &rules),
        &[wrong.short(), "db/a.yaml", "cluster.yaml:6:7", "SHA256:", "not that of a signer"],
    );
    // What stands behind it, signed well, does not make up for it; nor does undoing it.
    let undone = s.commit(Some("ada"), "db/a.yaml", "1");
    refused(s.push(&db, &undone, &rules), &[wrong.short()]);
    git(&s.world.work(), &["reset", "--quiet", "--hard", db.as_str()]);
    let unsigned = s.commit(None, "web/a.yaml", "3");
    refused(s.push(&db, &unsigned, &rules), &[unsigned.short(), "is not signed", "commit --amend -S", "Ada Admin"]);
    git(&s.world.work(), &["reset", "--quiet", "--hard", db.as_str()]);
    let stranger = s.commit(Some("eve"), "web/a.yaml", "3");
    refused(s.push(&db, &stranger, &rules), &["not that of a signer"]);
    assert!(!s.repo().path().join("hafen-signatures").read_dir().unwrap().any(|_| true), "nothing is left behind");
}

#[test]
fn what_no_rule_covers_needs_no_signature() {
    let s = Signed::new();
    let rules = [rule(&["db/", "*.yaml"], s.ssh(&["ada"]))];
    let start = s.commit(Some("ada"), FILE, "start");
    let free = s.commit(None, "web/a.yaml", "1");
    assert_eq!(s.push(&start, &free, &rules), None);
    git(&s.world.work(), &["mv", "web/a.yaml", "b.yaml"]);
    let moved = s.commit_all(None, &["-m", "moved"]);
    refused(s.push(&free, &moved, &rules), &["b.yaml"]);
    // Taking a file away touches it as well.
    git(&s.world.work(), &["reset", "--quiet", "--hard", free.as_str()]);
    git(&s.world.work(), &["mv", FILE, "web/c.yaml"]);
    let away = s.commit_all(None, &["-m", "away"]);
    refused(s.push(&free, &away, &rules), &[FILE]);
}

#[test]
fn the_rules_of_the_target_judge_a_change_of_the_rules() {
    let s = Signed::new();
    let old = [rule(&["*.yaml"], s.ssh(&["ada"])), rule(&["web/"], s.ssh(&["bob"]))];
    let eves = [rule(&["**"], s.ssh(&["eve"]))];
    let start = s.commit(Some("ada"), FILE, "start");
    let coup = s.commit(Some("eve"), FILE, "eve rules");
    refused(s.judge(Some((&start, &old)), &coup, &eves), &["cluster.yaml", "not that of a signer"]);
    refused(s.judge(Some((&start, &old)), &coup, &[]), &["cluster.yaml"]);
    // However the rules came to be others: each commit answers for the file they are written in.
    git(&s.world.work(), &["reset", "--quiet", "--hard", start.as_str()]);
    let aside = s.commit(Some("bob"), "web/patch.yaml", "the rules, patched from elsewhere");
    assert_eq!(s.push(&start, &aside, &old), None);
    refused(s.judge(Some((&start, &old)), &aside, &eves), &["cluster.yaml", "each of its commits"]);
    let above = s.commit(Some("ada"), "b.yaml", "1");
    refused(s.judge(Some((&start, &old)), &above, &eves), &[aside.short()]);
    // Ada may change them, but not so that nobody could change them back.
    git(&s.world.work(), &["reset", "--quiet", "--hard", start.as_str()]);
    let typo = s.commit(Some("ada"), FILE, "typo");
    refused(s.judge(Some((&start, &old)), &typo, &eves), &["locked out", "not that of a signer"]);
    refused(s.judge(Some((&start, &old)), &typo, &[rule(&["db/"], s.ssh(&["ada"]))]), &["no rule", "cluster.yaml"]);
    assert_eq!(s.judge(Some((&start, &old)), &typo, &[rule(&["**"], s.ssh(&["eve", "ada"]))]), None);
    assert_eq!(s.judge(Some((&start, &old)), &typo, &[]), None, "she may end them too");
}

#[test]
fn signers_in_a_file_of_the_repository_are_those_of_the_target() {
    let s = Signed::new();
    let listed = || [rule(&["**"], Signers { files: vec!["keys/signers".into()], ..Signers::default() })];
    s.world.write("keys/signers", format!("# the team\n{}\n", s.line("ada", "")));
    let start = s.commit(Some("ada"), FILE, "start");
    assert_eq!(s.judge(None, &start, &listed()), None);
    s.world.write("keys/signers", s.line("eve", ""));
    let coup = s.commit(Some("eve"), "a.yaml", "1");
    refused(s.push(&start, &coup, &listed()), &[coup.short(), "keys/signers"]);
    git(&s.world.work(), &["reset", "--quiet", "--hard", start.as_str()]);
    s.world.write("keys/signers", s.line("ada", "") + "\n" + &s.line("bob", ""));
    let both = s.commit(Some("ada"), "a.yaml", "1");
    assert_eq!(s.push(&start, &both, &listed()), None);
    let by_bob = s.commit(Some("bob"), "a.yaml", "2");
    assert_eq!(s.push(&both, &by_bob, &listed()), None);
    refused(s.push(&start, &by_bob, &listed()), &[by_bob.short()]);
    let open = [rule(&["*.yaml"], Signers { files: vec!["keys/signers".into()], ..Signers::default() })];
    refused(s.judge(None, &by_bob, &open), &["no rule", "keys/signers"]);
    std::fs::remove_file(s.world.work().join("keys/signers")).unwrap();
    let gone = s.commit(Some("ada"), "a.yaml", "3");
    refused(s.push(&both, &gone, &listed()), &["keys/signers", "not in the repository"]);
}

#[test]
fn the_first_push_is_judged_by_its_own_rules_and_its_last_commit_vouches_for_all() {
    let s = Signed::new();
    let rules = [rule(&["**"], s.ssh(&["ada"]))];
    s.commit(None, "db/a.yaml", "1");
    let unsigned = s.commit(None, FILE, "start");
    refused(s.judge(None, &unsigned, &rules), &[unsigned.short(), "is not signed"]);
    let signed = s.commit(Some("ada"), "b.yaml", "1");
    assert_eq!(s.judge(None, &signed, &rules), None);
    assert_eq!(s.judge(None, &unsigned, &[]), None);
    // Where there were none, new rules are taken from whoever can satisfy them.
    assert_eq!(s.judge(Some((&unsigned, &[])), &signed, &rules), None);
    let other = s.commit(Some("bob"), FILE, "rules");
    refused(s.judge(Some((&unsigned, &[])), &other, &rules), &["locked out"]);
}

#[test]
fn a_merge_answers_for_what_it_brings_and_its_branch_for_each_commit() {
    let s = Signed::new();
    let work = s.world.work();
    let rules = [rule(&["db/", "*.yaml"], s.ssh(&["ada"])), rule(&["web/"], s.ssh(&["bob"]))];
    let start = s.commit(Some("ada"), FILE, "start");
    git(&work, &["checkout", "--quiet", "-b", "side"]);
    s.commit(Some("bob"), "web/a.yaml", "1");
    git(&work, &["checkout", "--quiet", "main"]);
    let target = s.commit(Some("ada"), "db/a.yaml", "1");
    // Bob brings what is his, though the db has moved on since his branch began.
    git(&work, &["merge", "--quiet", "--no-ff", "--no-commit", "side"]);
    let merge = s.commit_all(Some("bob"), &["-m", "merge"]);
    assert_eq!(s.push(&target, &merge, &rules), None);
    refused(s.push(&start, &merge, &[rule(&["**"], s.ssh(&["ada"]))]), &["web/a.yaml"]);
    // An unsigned merge that takes the db back to what it was, on a branch where it never was anything else.
    git(&work, &["reset", "--quiet", "--hard", target.as_str()]);
    git(&work, &["merge", "--quiet", "--no-ff", "--no-commit", "side"]);
    std::fs::remove_file(work.join("db/a.yaml")).unwrap();
    let evil = s.commit_all(None, &["-m", "merge"]);
    refused(s.push(&target, &evil, &rules), &[evil.short(), "db/a.yaml"]);
    // The same with the parents the other way round.
    git(&work, &["checkout", "--quiet", "-B", "other", "side"]);
    git(&work, &["merge", "--quiet", "--no-ff", "-s", "ours", "--no-commit", target.as_str()]);
    let ours = s.commit_all(Some("bob"), &["-m", "ours"]);
    git(&work, &["merge-base", "--is-ancestor", target.as_str(), ours.as_str()]);
    refused(s.push(&target, &ours, &rules), &[ours.short(), "db/a.yaml"]);
}

#[test]
fn going_back_needs_a_new_commit_where_a_rule_covers_what_changes() {
    let s = Signed::new();
    let rules = [rule(&["db/", "*.yaml"], s.ssh(&["ada"]))];
    let old = s.commit(Some("ada"), FILE, "start");
    let middle = s.commit(Some("ada"), "db/a.yaml", "1");
    let target = s.commit(None, "web/a.yaml", "1");
    refused(s.push(&target, &old, &rules), &["going back", "db/a.yaml", "git revert", "cluster.yaml:6:7"]);
    assert_eq!(s.push(&target, &middle, &rules), None, "only what needs no signature changes");
    git(&s.world.work(), &["checkout", "--quiet", "-B", "main", old.as_str()]);
    let beside = s.commit(Some("ada"), "db/b.yaml", "1");
    refused(s.push(&target, &beside, &rules), &["going back", "db/a.yaml"]);
}

#[test]
fn keys_that_have_expired_are_not_yet_good_or_are_for_something_else_do_not_count() {
    let s = Signed::new();
    let start = s.commit(Some("ada"), FILE, "start");
    // The date of the commit is its author's to choose.
    s.world.write("a.yaml", "1");
    git(&s.world.work(), &["add", "--all"]);
    let key = s.key("ada").display().to_string();
    let done = command("git", &s.world.work())
        .args(["-c", "gpg.format=ssh", "-c", &format!("user.signingKey={key}"), "commit", "-q", "-S", "-m", "early"])
        .env("GIT_COMMITTER_DATE", "2020-06-01T12:00:00Z")
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", text(&done));
    let early = s.world.head();
    for (options, good) in [
        ("valid-before=\"20210101\"", false),
        ("valid-after=\"20990101\"", false),
        ("valid-after=\"20200101\",valid-before=\"20990101\"", true),
        ("namespaces=\"file\"", false),
        ("namespaces=\"git\"", true),
    ] {
        let signers = Signers { ssh: vec![s.line("ada", options)], ..Signers::default() };
        let found = s.push(&start, &early, &[rule(&["**"], signers)]);
        assert_eq!(found.is_none(), good, "{options}: {found:?}");
    }
}

#[test]
fn a_signature_of_another_commit_and_a_commit_changed_afterwards_do_not_count() {
    let s = Signed::new();
    let rules = [rule(&["**"], s.ssh(&["ada"]))];
    let start = s.commit(Some("ada"), FILE, "start");
    let good = s.commit(Some("ada"), "a.yaml", "1");
    let raw = git(&s.world.work(), &["cat-file", "commit", good.as_str()]);
    let changed = raw.replace("\n\na.yaml", "\n\nb.yaml");
    assert_ne!(raw, changed);
    let file = s.world.path().join("changed");
    std::fs::write(&file, changed).unwrap();
    let forged = git(&s.world.work(), &["hash-object", "-t", "commit", "-w", file.to_str().unwrap()]);
    let forged = Revision::new(forged.trim());
    assert_eq!(s.push(&start, &good, &rules), None);
    refused(s.push(&start, &forged, &rules), &[forged.short(), "not one of this commit"]);
    // Nobody's own configuration has a say: neither that of the repository nor the user's.
    let lax = s.world.path().join("lax");
    std::fs::write(&lax, "#!/bin/sh\nexit 0\n").unwrap();
    git(&s.world.work(), &["config", "gpg.ssh.program", lax.to_str().unwrap()]);
    refused(s.push(&start, &forged, &rules), &["not one of this commit"]);
}

struct Gpg<'a> {
    home: PathBuf,
    world: &'a World,
}

impl Gpg<'_> {
    fn run(&self, args: &[&str]) -> String {
        let mut all = vec!["--batch", "--no-tty", "--pinentry-mode", "loopback", "--passphrase", "", "--no-options"];
        all.extend(args);
        let done = command("gpg", self.world.path()).env("GNUPGHOME", &self.home).args(&all).output().unwrap();
        assert!(done.status.success(), "gpg {args:?}: {}", text(&done));
        String::from_utf8(done.stdout).unwrap()
    }

    fn key(&self, who: &str, expires: &str) -> String {
        let id = format!("{who} <{who}@example.org>");
        self.run(&["--quick-generate-key", &id, "ed25519", "sign", expires]);
        self.run(&["--armor", "--export", who])
    }

    fn commit(&self, who: &str, content: &str) -> Revision {
        self.world.write("a.yaml", content);
        let work = self.world.work();
        git(&work, &["add", "--all"]);
        let done = command("git", &work)
            .env("GNUPGHOME", &self.home)
            .args(["-c", &format!("user.signingKey={who}@example.org"), "commit", "-q", "-S", "-m", who])
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", text(&done));
        self.world.head()
    }
}

impl Drop for Gpg<'_> {
    fn drop(&mut self) {
        // The agent that signed serves this home alone.
        let _ = command("gpgconf", Path::new("/")).env("GNUPGHOME", &self.home).args(["--kill", "all"]).output();
    }
}

#[test]
fn openpgp_signatures_count_unless_their_key_is_unlisted_expired_or_revoked() {
    let s = Signed::new();
    // The path of the agent's socket has to be short.
    let home = tempfile::Builder::new().prefix("g").tempdir_in("/tmp").unwrap();
    let gpg = Gpg { home: home.path().to_owned(), world: &s.world };
    let (ada, bob) = (gpg.key("ada", "never"), gpg.key("bob", "never"));
    let keys =
        |keys: &[&String]| Signers { gpg: keys.iter().map(|key| (*key).clone()).collect(), ..Signers::default() };
    let start = s.commit(None, FILE, "start");
    let by_ada = gpg.commit("ada", "1");
    let policy = |signers: Signers| [rule(&["**"], signers)];
    assert_eq!(s.push(&start, &by_ada, &policy(keys(&[&bob, &ada]))), None);
    refused(s.push(&start, &by_ada, &policy(keys(&[&bob]))), &["OpenPGP key", "not that of a signer"]);
    refused(s.push(&start, &by_ada, &policy(s.ssh(&["ada"]))), &["lists no OpenPGP key"]);
    let want =
        |require| [SignatureRule { require, ..rule(&["**"], Signers { gpg: vec![ada.clone()], ..s.ssh(&["ada"]) }) }];
    assert_eq!(s.push(&start, &by_ada, &want(SignatureKind::Gpg)), None);
    refused(s.push(&start, &by_ada, &want(SignatureKind::Ssh)), &["an SSH signature"]);
    let repo = s.repo();
    let by = |signers: Signers| {
        let rules = policy(signers);
        let policy = repo.policy(&start, PushedRules { rules: &rules, cluster: None }).unwrap();
        repo.signature(&by_ada, &policy, Duration::from_secs(20)).unwrap()
    };
    let Signature::Good(signer) = by(keys(&[&ada])) else { panic!("it is good") };
    assert!(signer.name == "ada <ada@example.org>" && signer.key.len() == 40, "{signer}");
    assert!(matches!(by(keys(&[&bob])), Signature::Other(_)));
    let print = gpg.run(&["--with-colons", "--fingerprint", "ada"]);
    let print =
        print.lines().find_map(|line| line.strip_prefix("fpr:::::::::")).unwrap().trim_end_matches(':').to_owned();
    // Revoked: the key says so itself.
    let reason = home.path().join("openpgp-revocs.d").join(format!("{print}.rev"));
    let text = std::fs::read_to_string(reason).unwrap().replace(":-----BEGIN", "-----BEGIN");
    let file = home.path().join("revoke");
    std::fs::write(&file, text).unwrap();
    gpg.run(&["--import", file.to_str().unwrap()]);
    let revoked = gpg.run(&["--armor", "--export", "ada"]);
    refused(s.push(&start, &by_ada, &policy(keys(&[&revoked]))), &["revoked"]);
    git(&s.world.work(), &["reset", "--quiet", "--hard", start.as_str()]);
    let short = gpg.key("cyd", "seconds=2");
    let by_cyd = gpg.commit("cyd", "2");
    let until = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        match s.push(&start, &by_cyd, &policy(keys(&[&short]))) {
            Some(why) => break assert!(why.contains("expired"), "{why}"),
            None => assert!(std::time::Instant::now() < until, "it does not expire"),
        }
    }
}
