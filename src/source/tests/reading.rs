//! What a revision holds.

use super::super::{ProblemKind, ReadLimits, Repo, SourceError};
use super::{World, git};
use crate::model::Revision;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

fn names(files: &[(String, Vec<u8>)]) -> Vec<&str> {
    files.iter().map(|(path, _)| path.as_str()).collect()
}

#[test]
fn manifests_below_a_directory_are_read_and_others_are_not() {
    let world = World::new();
    for path in ["a.yaml", "x/b.yml", "x/y/c.yaml", "x/readme.md", ".github/ci.yaml", "x/.hidden.yaml", "yaml"] {
        world.write(path, path);
    }
    let revision = world.commit("files");
    let repo = world.clone_as_repo();
    let all = repo.read_files(&revision, "", ReadLimits::default()).unwrap();
    assert_eq!(names(&all), ["a.yaml", "x/b.yml", "x/y/c.yaml"]);
    assert_eq!(all[0].1, b"a.yaml");
    for subdir in ["x", "/x/", "./x//"] {
        assert_eq!(
            names(&repo.read_files(&revision, subdir, ReadLimits::default()).unwrap()),
            ["x/b.yml", "x/y/c.yaml"]
        );
    }
    for subdir in ["nowhere", "a.yaml", "../x"] {
        let error = repo.read_files(&revision, subdir, ReadLimits::default()).unwrap_err();
        assert!(matches!(error, SourceError::NoSuchDirectory { .. }), "{error}");
    }
}

#[test]
fn files_that_would_silently_be_missing_are_named() {
    let world = World::new();
    world.write("lfs.yaml", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n");
    world.write("dir/real.yaml", "a: b\n");
    world.write("big.yaml", vec![b'#'; 2000]);
    world.write("e\u{1b}[2J.yaml", "a: b\n");
    let odd = std::ffi::OsStr::from_bytes(b"odd\xff");
    std::fs::create_dir(world.work().join(odd)).unwrap();
    std::fs::write(world.work().join(odd).join("x.yaml"), "a: b\n").unwrap();
    world.write("docs/readme.md", "text\n");
    let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, world.work().join(name)).unwrap();
    link("dir/real.yaml", "link.yaml");
    link("dir", "linked-directory");
    link("../outside", "escapes");
    link("docs/readme.md", "README");
    git(&world.work(), &["update-index", "--add", "--cacheinfo", &format!("160000,{},sub", "1".repeat(40))]);
    let revision = world.commit("a mess");
    // `add --all` drops the submodule without a checkout again, so it is committed on its own.
    git(&world.work(), &["update-index", "--add", "--cacheinfo", &format!("160000,{},sub", "1".repeat(40))]);
    git(&world.work(), &["commit", "--quiet", "--message", "submodule"]);
    assert_ne!(world.head(), revision);
    let limits = ReadLimits { file_bytes: 1000, ..ReadLimits::default() };
    let error = world.clone_as_repo().read_files(&world.head(), "", limits).unwrap_err();
    assert!(error.is_refusal());
    let SourceError::Unusable { problems, .. } = error else { panic!("{error}") };
    let mut found: Vec<_> = problems.iter().map(|problem| (problem.path.as_str(), problem.kind)).collect();
    found.sort_by_key(|(path, _)| *path);
    assert_eq!(
        found,
        [
            ("big.yaml", ProblemKind::TooLarge { bytes: 2000, limit: 1000 }),
            ("escapes", ProblemKind::Symlink),
            ("e\u{FFFD}[2J.yaml", ProblemKind::BadName),
            ("lfs.yaml", ProblemKind::LfsPointer),
            ("link.yaml", ProblemKind::Symlink),
            ("linked-directory", ProblemKind::Symlink),
            ("odd\u{FFFD}/x.yaml", ProblemKind::BadName),
            ("sub", ProblemKind::Submodule),
        ]
    );
    assert_eq!(problems[0].diagnostic("HA0000").line, 0);
}

#[test]
fn every_limit_is_held() {
    let world = World::new();
    for number in 0..5 {
        world.write(&format!("d{number}/{number}.yaml"), "0123456789");
    }
    let revision = world.commit("five");
    let repo = world.clone_as_repo();
    let read = |limits| repo.read_files(&revision, "", limits);
    let fits = ReadLimits { files: 5, entries: 10, file_bytes: 10, total_bytes: 50 };
    assert_eq!(read(fits).unwrap().len(), 5);
    for limits in [
        ReadLimits { files: 4, ..fits },
        ReadLimits { entries: 9, ..fits },
        ReadLimits { file_bytes: 9, ..fits },
        ReadLimits { total_bytes: 49, ..fits },
    ] {
        assert!(read(limits).unwrap_err().is_refusal(), "{limits:?}");
    }
}

#[test]
fn ancestry_history_and_changed_paths_are_told() {
    let world = World::new();
    world.write("a.yaml", "1");
    world.write("b.yaml", "1");
    let first = world.commit("first\n\nbody");
    world.write("a.yaml", "2");
    std::fs::rename(world.work().join("b.yaml"), world.work().join("c.yaml")).unwrap();
    let second = world.commit("second");
    git(&world.work(), &["checkout", "--quiet", "--orphan", "other"]);
    let other = world.commit("unrelated");
    let repo = world.clone_as_repo();
    assert!(repo.is_ancestor(&first, &second).unwrap());
    assert!(repo.is_ancestor(&second, &second).unwrap());
    assert!(!repo.is_ancestor(&second, &first).unwrap());
    assert!(!repo.is_ancestor(&first, &other).unwrap());
    assert_eq!(repo.diff_files(Some(&first), &second).unwrap(), ["a.yaml", "b.yaml", "c.yaml"]);
    assert_eq!(repo.diff_files(None, &first).unwrap(), ["a.yaml", "b.yaml"]);
    let log = repo.log(&second, 10).unwrap();
    assert_eq!(log.iter().map(|commit| commit.subject.as_str()).collect::<Vec<_>>(), ["second", "first"]);
    assert_eq!(repo.log(&second, 1).unwrap().len(), 1);
    let info = repo.commit_info(&first).unwrap();
    assert_eq!((info.author.as_str(), info.subject.as_str()), ("Ada Admin <ada@example.org>", "first"));
    assert!(info.time > 1_700_000_000);
}

#[test]
fn unknown_and_malformed_revisions_are_different_errors() {
    let world = World::new();
    let first = world.commit("first");
    let repo = world.clone_as_repo();
    let absent = Revision::new("1".repeat(40));
    assert!(!repo.has(&absent).unwrap());
    assert!(repo.with_quarantine(&world.work().join(".git/objects/gone")).has(&first).unwrap());
    assert!(repo.with_quarantine(world.path()).has(&first).is_err());
    assert!(repo.has(&first).unwrap());
    assert!(matches!(repo.commit_info(&absent), Err(SourceError::NotFound { .. })));
    for text in ["main", "", "HEAD", &"A".repeat(40), &"1".repeat(39), "../../x", &"ä".repeat(20)] {
        assert!(matches!(repo.has(&Revision::from(text)), Err(SourceError::BadRevision { .. })), "{text}");
        assert!(repo.keep(&Revision::from(text)).is_err());
        assert!(repo.forget(&Revision::from(text)).is_err());
        assert!(repo.set_main(&Revision::from(text)).is_err());
    }
}

#[test]
fn opening_again_repairs_settings_and_hooks_and_changes_nothing_else() {
    let world = World::new();
    let revision = world.commit("first");
    let repo = world.repo();
    world.bring(&repo, &revision);
    assert_eq!(repo.main().unwrap(), None);
    repo.set_main(&revision).unwrap();
    git(repo.path(), &["config", "receive.procReceiveRefs", "refs/for"]);
    git(repo.path(), &["symbolic-ref", "HEAD", "refs/heads/master"]);
    std::fs::write(repo.path().join("objects/pack/tmp_pack_x"), "half").unwrap();
    std::fs::create_dir_all(repo.path().join("hafen-incoming/1-1")).unwrap();
    let again = Repo::open_or_init(repo.path(), Path::new("/opt/hafen"), Path::new("/s")).unwrap();
    assert_eq!(again.main().unwrap(), Some(revision.clone()));
    assert_eq!(again.kept().unwrap(), [revision]);
    assert_eq!(git(repo.path(), &["config", "--get-all", "receive.procReceiveRefs"]).trim(), "refs/heads/main");
    assert_eq!(git(repo.path(), &["symbolic-ref", "HEAD"]).trim(), "refs/heads/main");
    assert!(std::fs::read_to_string(repo.path().join("hooks/pre-receive")).unwrap().contains("'/opt/hafen'"));
    assert!(!repo.path().join("objects/pack/tmp_pack_x").exists());
    assert!(!repo.path().join("hafen-incoming").exists());
    // git accepts every setting without a word.
    let output = super::command("git", repo.path()).args(["for-each-ref"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn a_repository_that_a_power_cut_emptied_is_made_whole_again() {
    let world = World::new();
    let revision = world.commit("first");
    let repo = world.repo();
    world.bring(&repo, &revision);
    for name in ["HEAD", "config", "hafen-libgit2.config", "hooks/pre-receive"] {
        std::fs::write(repo.path().join(name), "").unwrap();
    }
    let again = world.repo();
    assert_eq!(again, repo);
    assert_eq!(again.kept().unwrap(), std::slice::from_ref(&revision));
    again.set_main(&revision).unwrap();
    assert_eq!(git(again.path(), &["rev-parse", "HEAD"]).trim(), revision.as_str());
    assert_eq!(git(again.path(), &["config", "core.bare"]).trim(), "true");
    for name in ["HEAD", "objects", "refs"] {
        let path = repo.path().join(name);
        if path.is_dir() { std::fs::remove_dir_all(path).unwrap() } else { std::fs::remove_file(path).unwrap() }
    }
    assert_eq!(world.repo().main().unwrap(), None);
}

#[test]
fn locks_and_a_damaged_main_left_by_a_power_cut_stop_nothing() {
    let world = World::new();
    let revision = world.commit("first");
    let repo = world.repo();
    world.bring(&repo, &revision);
    std::fs::write(repo.path().join("refs/heads/main"), "").unwrap();
    let locks = ["config.lock", "packed-refs.lock", "refs/heads/main.lock", "refs/hafen/kept/x.lock"];
    for name in locks {
        let lock = std::fs::File::create(repo.path().join(name)).unwrap();
        lock.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(60)).unwrap();
    }
    // A daemon that was killed a moment ago leaves fresh ones where only daemons write.
    std::fs::write(repo.path().join("refs/heads/main.lock"), "").unwrap();
    let fresh = repo.path().join("HEAD.lock");
    std::fs::write(&fresh, "").unwrap();
    let repo = world.repo();
    for name in locks {
        assert!(!repo.path().join(name).exists(), "{name}");
    }
    assert!(fresh.exists());
    repo.set_main(&revision).unwrap();
    assert_eq!(repo.main().unwrap(), Some(revision));
}

#[test]
fn each_line_is_blamed_on_the_commit_that_changed_it_last() {
    let world = World::new();
    let long = Duration::from_secs(60);
    world.write("-a/web.yaml", "one\ntwo\nthree\n");
    let first = world.commit("first");
    world.write("-a/web.yaml", "one\n2\nthree\nfour");
    let second = world.commit("second: of two lines\n\nbody");
    world.write("-a/web.yaml", "other\n2\nthree\nfour");
    world.commit("third");
    let repo = world.clone_as_repo();
    let blame = |lines: &[u32]| repo.blame(&second, "-a/web.yaml", &lines.iter().copied().collect(), long);
    let found = blame(&[1, 2, 4, 5, 0, u32::MAX]).unwrap();
    let told: Vec<_> = found.iter().map(|(line, by)| (*line, by.revision.clone(), by.subject.as_str())).collect();
    let expected = [(1, first.clone(), "first"), (2, second.clone(), "second: of two lines")];
    assert_eq!(told[..2], expected);
    assert_eq!(told[2..], [(4, second.clone(), "second: of two lines")]);
    assert_eq!(found[&1].author, "Ada Admin <ada@example.org>");
    assert!(blame(&[7]).unwrap().is_empty());
    assert!(repo.blame(&second, "nothing.yaml", &[1].into(), long).is_err());
    let late = repo.blame(&second, "-a/web.yaml", &[1].into(), Duration::ZERO).unwrap_err();
    assert!(matches!(late, SourceError::TimedOut { .. }), "{late}");
    assert_eq!(repo.find_by_prefix(first.short()).unwrap().unwrap().revision, first);
    assert!(repo.find_by_prefix("0123456789").unwrap().is_none() && repo.find_by_prefix("main").unwrap().is_none());
}
