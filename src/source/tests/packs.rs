//! Objects between two nodes, and what survives gc.

use super::super::{Repo, SourceError};
use super::{World, git};
use crate::model::Revision;
use std::path::Path;
use std::time::Duration;

/// Packs and temporary files, to see that nothing was added.
fn contents(repo: &Repo) -> Vec<String> {
    let list = |path: &Path| -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(path) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let mut all = list(&repo.path().join("objects/pack"));
    all.extend(list(&repo.path().join("objects")));
    all.extend(list(&repo.path().join("hafen-incoming")));
    all.sort();
    all
}

fn three_commits(world: &World) -> [Revision; 3] {
    [1, 2, 3].map(|number| {
        world.write(&format!("dir/{number}.yaml"), format!("number: {number}\n").repeat(50));
        world.commit(&format!("commit {number}"))
    })
}

#[test]
fn a_pack_brings_a_peer_up_to_date_and_holds_only_what_it_lacks() {
    let world = World::new();
    let [first, second, third] = three_commits(&world);
    let (sender, receiver) = (world.repo_named("a.git"), world.repo_named("b.git"));
    world.bring(&sender, &third);
    world.bring(&receiver, &first);
    let full = sender.pack(&third, &[]).unwrap();
    let unknown = Revision::new("1".repeat(40));
    let part = sender.pack(&third, &[first.clone(), unknown, Revision::from("nonsense")]).unwrap();
    assert!(part.len() < full.len(), "{} {}", part.len(), full.len());
    receiver.install_pack(&part, &third).unwrap();
    receiver.install_pack(&part, &third).unwrap();
    assert!(receiver.has(&second).unwrap());
    assert_eq!(receiver.kept().unwrap().len(), 2);
    let files = receiver.read_files(&third, "dir", Default::default()).unwrap();
    assert_eq!(files, sender.read_files(&third, "dir", Default::default()).unwrap());
    git(receiver.path(), &["fsck", "--strict", "--no-dangling"]);
    // Nothing to send is an empty pack, which is as good as any.
    let nothing = sender.pack(&first, &[third]).unwrap();
    assert!(nothing.is_empty());
    receiver.install_pack(&nothing, &second).unwrap();
    assert_eq!(receiver.kept().unwrap().len(), 3);
}

#[test]
fn an_incomplete_pack_is_refused_and_leaves_nothing() {
    let world = World::new();
    let [first, second, third] = three_commits(&world);
    let (sender, receiver) = (world.repo_named("a.git"), world.repo_named("b.git"));
    world.bring(&sender, &third);
    let before = contents(&receiver);
    let part = sender.pack(&third, std::slice::from_ref(&second)).unwrap();
    match receiver.install_pack(&part, &third).unwrap_err() {
        SourceError::Incomplete { revision, missing } => {
            assert_eq!(revision, third);
            assert_ne!(missing, third.to_string());
        }
        other => panic!("{other}"),
    }
    // A whole pack of something else.
    let other = sender.pack(&first, &[]).unwrap();
    assert!(matches!(receiver.install_pack(&other, &third), Err(SourceError::Incomplete { .. })));
    assert!(matches!(receiver.install_pack(&[], &third), Err(SourceError::Incomplete { .. })));
    let after: Vec<_> = contents(&receiver).into_iter().filter(|name| name != "hafen-incoming").collect();
    assert_eq!(after, before);
    assert!(receiver.kept().unwrap().is_empty());
    assert!(!receiver.has(&third).unwrap());
}

#[test]
fn a_damaged_pack_is_refused_wherever_the_damage_is() {
    let world = World::new();
    let [.., third] = three_commits(&world);
    let receiver = world.repo_named("b.git");
    let before = contents(&receiver);
    let pack = world.clone_as_repo().pack(&third, &[]).unwrap();
    let mut damaged: Vec<Vec<u8>> = [0, 7, 11, 12, pack.len() / 2, pack.len() - 1]
        .into_iter()
        .map(|place| {
            let mut bytes = pack.clone();
            bytes[place] ^= 0x41;
            bytes
        })
        .collect();
    damaged.extend([
        pack[..pack.len() - 30].to_vec(),
        pack[..31].to_vec(),
        vec![0; 100],
        [&pack[..], b"more"].concat(),
    ]);
    for bytes in damaged {
        let error = receiver.install_pack(&bytes, &third).unwrap_err();
        assert!(matches!(error, SourceError::Corrupt { .. }), "{error}");
        assert_eq!(contents(&receiver), before);
    }
    receiver.install_pack(&pack, &third).unwrap();
}

#[test]
fn kept_revisions_survive_gc_and_forgotten_ones_do_not() {
    let world = World::new();
    let first = world.commit("first");
    world.write("a.yaml", "a");
    let second = world.commit("second");
    let repo = world.repo();
    world.bring(&repo, &first);
    world.bring(&repo, &second);
    repo.set_main(&first).unwrap();
    git(repo.path(), &["gc", "--quiet", "--prune=now"]);
    assert_eq!(repo.read_files(&second, "", Default::default()).unwrap().len(), 1);
    assert_eq!(repo.main().unwrap(), Some(first.clone()));
    let mut both = vec![first.clone(), second.clone()];
    both.sort();
    assert_eq!(repo.kept().unwrap(), both);
    repo.forget(&second).unwrap();
    repo.forget(&second).unwrap();
    git(repo.path(), &["gc", "--quiet", "--prune=now"]);
    assert!(!repo.has(&second).unwrap());
    assert!(repo.has(&first).unwrap());
    assert!(matches!(repo.keep(&second), Err(SourceError::NotFound { .. } | SourceError::Incomplete { .. })));
}

#[test]
fn writers_of_the_same_ref_wait_for_each_other() {
    let world = World::new();
    let first = world.commit("first");
    world.write("a.yaml", "a");
    let second = world.commit("second");
    let repo = world.repo();
    world.bring(&repo, &first);
    world.bring(&repo, &second);
    std::thread::scope(|scope| {
        for turn in 0..8 {
            let (repo, revision) = (&repo, if turn % 2 == 0 { &first } else { &second });
            scope.spawn(move || {
                for _ in 0..50 {
                    repo.keep(revision).unwrap();
                    repo.set_main(revision).unwrap();
                }
            });
        }
        // git's own commands hold the lock from outside.
        let lock = repo.path().join("refs/heads/main.lock");
        while std::fs::File::create_new(&lock).is_err() {}
        std::thread::sleep(std::time::Duration::from_millis(50));
        std::fs::remove_file(&lock).unwrap();
    });
    assert!([first, second].contains(&repo.main().unwrap().unwrap()));
}

#[test]
fn tidying_joins_many_packs() {
    let world = World::new();
    let repo = world.repo();
    let mut last = None;
    for number in 0..55 {
        world.write("a.yaml", number.to_string());
        let revision = world.commit("again");
        let have: Vec<_> = last.iter().cloned().collect();
        repo.install_pack(&world.clone_as_repo().pack(&revision, &have).unwrap(), &revision).unwrap();
        last = Some(revision);
    }
    repo.tidy(Duration::from_secs(60)).unwrap();
    let packs = contents(&repo).iter().filter(|name| name.ends_with(".pack")).count();
    assert!(packs <= 2, "{packs}");
    assert_eq!(repo.kept().unwrap().len(), 55);
    assert_eq!(repo.log(&last.unwrap(), 100).unwrap().len(), 55);
}
