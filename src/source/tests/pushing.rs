//! Pushes with the real git into a repository whose hooks call this test program in place of hafen.
//!
//! What is held here is git's own behaviour as much as ours, with every git that is installed.

use super::super::receive::{self, PushOptions, Report};
use super::super::{ReadLimits, Repo};
use super::{World, git, text};
use crate::model::Revision;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Which hook this process stands in for; set by the script that the hooks call.
const HOOK: &str = "HAFEN_TEST_HOOK";
/// Refuse in proc-receive, with this reason.
const REFUSE: &str = "HAFEN_TEST_REFUSE";

/// The gits of this machine by their directories: receive-pack comes from the same one as push.
fn gits() -> Vec<PathBuf> {
    let all = ["/usr/local/bin", "/usr/bin"].map(PathBuf::from);
    let found: Vec<_> = all.into_iter().filter(|directory| directory.join("git").exists()).collect();
    assert!(!found.is_empty());
    found
}

struct Pushed {
    succeeded: bool,
    /// What the pusher sees.
    terminal: String,
}

struct Pusher<'a> {
    world: &'a World,
    repo: Repo,
    git: &'a Path,
}

impl<'a> Pusher<'a> {
    fn new(world: &'a World, git: &'a Path) -> Self {
        // libtest talks on stdout, which belongs to the protocol: hand the real one over as file 3.
        let script = format!(
            "#!/bin/sh\nexec 3>&1 >/dev/null\n[ \"$1\" = hook ] && [ \"$3\" = --socket ] || exit 9\n\
             {HOOK}=\"$2\" exec '{}' --exact source::tests::pushing::stand_in_for_hafen --ignored --nocapture\n",
            std::env::current_exe().unwrap().display()
        );
        let binary = world.path().join("hafen stand-in");
        std::fs::write(&binary, script).unwrap();
        std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = world.path().join(format!("repo{}.git", git.display().to_string().replace('/', "-")));
        let repo = Repo::open_or_init(&path, &binary, Path::new("/run/hafen.sock")).unwrap();
        Self { world, repo, git }
    }

    fn push(&self, args: &[&str]) -> Pushed {
        self.push_with(args, &[])
    }

    fn push_with(&self, args: &[&str], env: &[(&str, &str)]) -> Pushed {
        let mut command = super::command(self.git.join("git").to_str().unwrap(), &self.world.work());
        let output = command
            .env("PATH", format!("{}:/usr/bin:/bin", self.git.display()))
            .envs(env.iter().copied())
            .args(["push", "--no-progress"])
            .args(&args[..args.len() - 1])
            .arg(self.repo.path())
            .arg(args[args.len() - 1])
            .output()
            .unwrap();
        Pushed { succeeded: output.status.success(), terminal: text(&output) }
    }
}

/// Not a test: what the hooks run.
#[test]
#[ignore = "run by git through the hooks"]
fn stand_in_for_hafen() {
    let result = match std::env::var(HOOK).as_deref() {
        Ok("pre-receive") => pre_receive(),
        Ok("proc-receive") => proc_receive(),
        other => panic!("{other:?}"),
    };
    if let Err(error) = result {
        eprintln!("refused: {error}");
        std::process::exit(1);
    }
    // Nothing of libtest's farewell shall reach git.
    std::process::exit(0);
}

fn pre_receive() -> Result<(), Box<dyn std::error::Error>> {
    let updates = receive::parse_updates(std::io::stdin().lock())?;
    let (_, new) = receive::check_updates(&updates)?;
    let options = PushOptions::from_env()?;
    let repo = Repo::open_in_hook()?;
    let files = repo.read_files(new, "", ReadLimits::default())?;
    let plain = Repo::open(Path::new("."))?;
    let daemon = Repo::open(&std::env::current_dir()?)?.with_quarantine(repo.quarantine().unwrap());
    eprintln!("pre-receive: {} files, visible outside quarantine: {}", files.len(), plain.has(new)?);
    eprintln!("read by a daemon: {}", daemon.read_files(new, "", ReadLimits::default())? == files);
    eprintln!("\n  indented, after an empty line");
    if options.dry_run {
        return Err("dry run".into());
    }
    Ok(())
}

fn proc_receive() -> Result<(), Box<dyn std::error::Error>> {
    let mut output = std::fs::OpenOptions::new().write(true).open("/proc/self/fd/3")?;
    let request = receive::read_request(&mut std::io::stdin().lock(), &mut output)?;
    let options = PushOptions::parse(request.options.iter().map(String::as_str))?;
    let (update, new) = receive::check_updates(&request.updates)?;
    let repo = Repo::open_in_hook()?;
    let quarantined = repo.quarantine().is_some() || std::env::var_os("GIT_QUARANTINE_PATH").is_some();
    eprintln!("proc-receive: here: {}, quarantine: {quarantined}", repo.has(new)?);
    let is_rewind = match &update.old {
        Some(old) => !repo.is_ancestor(old, new)?,
        None => false,
    };
    let name = update.name.clone();
    let report = if let Ok(reason) = std::env::var(REFUSE) {
        Report::Refused { name, reason }
    } else if is_rewind && !options.allow_rewind {
        Report::Refused { name, reason: "not built on the current revision; add -o allow-rewind".into() }
    } else if std::env::var_os("HAFEN_TEST_LIE").is_some() {
        Report::Accepted { name }
    } else {
        repo.keep(new)?;
        repo.set_main(new)?;
        Report::Accepted { name }
    };
    receive::write_report(&mut output, &[report])?;
    output.flush()?;
    Ok(())
}

#[test]
fn a_push_is_read_in_quarantine_accepted_after_it_and_moved_by_us() {
    let world = World::new();
    for git in &gits() {
        let pusher = Pusher::new(&world, git);
        world.write("a.yaml", "1");
        let first = world.commit("first");
        let pushed = pusher.push(&["main"]);
        assert!(pushed.succeeded, "{}", pushed.terminal);
        for line in [
            "remote: pre-receive: 1 files, visible outside quarantine: false",
            "remote: read by a daemon: true",
            "remote: proc-receive: here: true, quarantine: false",
            "* [new branch]      main -> main",
        ] {
            assert!(pushed.terminal.contains(line), "no `{line}` in:\n{}", pushed.terminal);
        }
        // Several lines stay several lines, empty and indented ones included.
        let lines: Vec<_> = pushed.terminal.lines().map(str::trim_end).collect();
        let empty = lines.iter().position(|line| *line == "remote:").unwrap();
        assert_eq!(lines[empty + 1], "remote:   indented, after an empty line");
        assert_eq!(pusher.repo.main().unwrap(), Some(first.clone()));
        assert_eq!(pusher.repo.kept().unwrap(), [first]);
    }
}

#[test]
fn git_takes_the_word_of_the_hook_and_does_not_move_the_ref_itself() {
    let world = World::new();
    for git in &gits() {
        let pusher = Pusher::new(&world, git);
        world.commit("first");
        let pushed = pusher.push_with(&["main"], &[("HAFEN_TEST_LIE", "1")]);
        assert!(pushed.succeeded && pushed.terminal.contains("[new branch]"), "{}", pushed.terminal);
        assert_eq!(pusher.repo.main().unwrap(), None);
    }
}

#[test]
fn a_refusal_is_shown_with_its_reason_and_changes_nothing() {
    let world = World::new();
    for git in &gits() {
        let pusher = Pusher::new(&world, git);
        let first = world.commit("first");
        assert!(pusher.push(&["main"]).succeeded);
        world.commit("second");
        let pushed = pusher.push_with(&["main"], &[(REFUSE, "UNKNOWN, run\nhafen status")]);
        assert!(!pushed.succeeded);
        let line = "! [remote rejected] main -> main (UNKNOWN, run hafen status)";
        assert!(pushed.terminal.contains(line), "{}", pushed.terminal);
        assert_eq!(pusher.repo.main().unwrap(), Some(first));
    }
}

#[test]
fn what_pre_receive_refuses_leaves_no_objects() {
    let world = World::new();
    for git in &gits() {
        let pusher = Pusher::new(&world, git);
        let head = world.commit("first");
        for (args, reason) in [
            (&["main:test"][..], "only the branch `main` is accepted, not `test`"),
            (&["main:refs/tags/v1"], "not the tag `v1`"),
            (&["--push-option=dry-run", "main"], "dry run"),
            (&["--push-option=allow-rewnd", "main"], "did you mean `allow-rewind`?"),
        ] {
            let pushed = pusher.push(args);
            assert!(!pushed.succeeded);
            assert!(pushed.terminal.contains("remote: refused: "), "{}", pushed.terminal);
            assert!(pushed.terminal.contains(reason), "{}", pushed.terminal);
            assert!(pushed.terminal.contains("(pre-receive hook declined)"), "{}", pushed.terminal);
            assert!(!pusher.repo.has(&head).unwrap());
        }
        assert!(pusher.push(&["main"]).succeeded);
        let pushed = pusher.push(&[":main"]);
        assert!(!pushed.succeeded && pushed.terminal.contains("`main` cannot be deleted"), "{}", pushed.terminal);
        let pushed = pusher.push(&["main:refs/hafen/kept/x"]);
        assert!(!pushed.succeeded, "{}", pushed.terminal);
        assert_eq!(pusher.repo.main().unwrap(), Some(head));
    }
}

#[test]
fn going_back_needs_force_and_the_option() {
    let world = World::new();
    for directory in &gits() {
        let pusher = Pusher::new(&world, directory);
        let first = world.commit("first");
        let second = world.commit("second");
        assert!(pusher.push(&["main"]).succeeded);
        git(&world.work(), &["reset", "--quiet", "--hard", first.as_str()]);
        let pushed = pusher.push(&["main"]);
        assert!(!pushed.succeeded && pushed.terminal.contains("non-fast-forward"), "{}", pushed.terminal);
        let pushed = pusher.push(&["--force", "main"]);
        assert!(!pushed.succeeded && pushed.terminal.contains("add -o allow-rewind)"), "{}", pushed.terminal);
        assert_eq!(pusher.repo.main().unwrap(), Some(second));
        let pushed = pusher.push(&["--force", "-oallow-rewind", "main"]);
        assert!(pushed.succeeded && pushed.terminal.contains("(forced update)"), "{}", pushed.terminal);
        assert_eq!(pusher.repo.main().unwrap(), Some(first));
    }
}

#[test]
fn a_missing_binary_is_said_to_the_pusher() {
    let world = World::new();
    let pusher = Pusher::new(&world, Path::new("/usr/bin"));
    std::fs::remove_file(world.path().join("hafen stand-in")).unwrap();
    world.commit("first");
    let pushed = pusher.push(&["main"]);
    assert!(
        !pushed.succeeded && pushed.terminal.contains("hafen stand-in is missing: push refused"),
        "{}",
        pushed.terminal
    );
}

/// Generous, for a debug build on a busy machine; the numbers are printed.
#[test]
fn three_hundred_files_take_little_of_our_time() {
    let world = World::new();
    for number in 0..300 {
        let content =
            format!("apiVersion: hafen/v1alpha1\nkind: Resource\nmetadata: {{ name: r{number} }}\n").repeat(5);
        world.write(&format!("d{}/{number}.yaml", number % 10), content);
    }
    let revision: Revision = world.commit("300 files");
    let repo = world.repo();
    let pack = world.clone_as_repo().pack(&revision, &[]).unwrap();
    let mut total = Duration::ZERO;
    let mut step = |what: &str, act: &mut dyn FnMut()| {
        let start = Instant::now();
        act();
        eprintln!("{what}: {:?}", start.elapsed());
        total += start.elapsed();
    };
    step("install on a peer, with git's index-pack", &mut || repo.install_pack(&pack, &revision).unwrap());
    step("read", &mut || assert_eq!(repo.read_files(&revision, "", ReadLimits::default()).unwrap().len(), 300));
    step("pack", &mut || assert!(!repo.pack(&revision, &[]).unwrap().is_empty()));
    step("keep", &mut || repo.keep(&revision).unwrap());
    step("set main", &mut || repo.set_main(&revision).unwrap());
    assert!(total < Duration::from_millis(500), "{total:?}");
}
