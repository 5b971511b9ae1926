//! Secrets that real `age` and real `sops` have sealed (`sealed/README.md`), and what was done to them since.

use super::*;
use crate::manifest::{SourceFile, load};
use crate::model::{AgentCatalogue, SopsDocument, SopsSecret, SopsText};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

const FOR_NODE: &str = include_str!("sealed/for-node.age");
const FOR_OTHER: &str = include_str!("sealed/for-other.age");
const NODE_KEY: &str = include_str!("sealed/node.key");
const NODE: &str = "age1frq62f25t6wargvat2n6q8a99tmlcnt47qmmehu2vt7stmt0peuqtqrm4k";

fn key_file(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("age.key");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    (folder, path)
}

/// The secrets of a device, read from manifests as a node gets them.
fn secrets(secret: &str, files: &[(&str, &str)]) -> SecretRefs {
    let text = format!(
        "apiVersion: hafen/v1alpha1\nkind: Cluster\nmetadata: {{ name: c }}\nspec: {{}}\n---\napiVersion: hafen/v1alpha1\n\
         kind: FencingDevice\nmetadata: {{ name: pdu }}\nspec:\n  agent: fence_apc\n  secrets:\n    password:\n{secret}"
    );
    let mut files: Vec<SourceFile> =
        files.iter().map(|(path, text)| SourceFile { path: (*path).into(), bytes: text.as_bytes().to_vec() }).collect();
    files.push(SourceFile { path: "pdu.yaml".into(), bytes: text.into_bytes() });
    let loaded = load(&files, &AgentCatalogue::default());
    let spec = loaded.spec.unwrap_or_else(|| panic!("{:#?}", loaded.diagnostics));
    spec.devices["pdu"].secrets.clone()
}

fn age(armor: &str) -> SecretRefs {
    secrets(
        &format!("      age: |\n{}", armor.lines().map(|line| format!("        {line}\n")).collect::<String>()),
        &[],
    )
}

fn sops(file: &str, text: &str, key: &str) -> SecretRefs {
    secrets(&format!("      sops: {{ file: {file}, key: {key} }}\n"), &[(file, text)])
}

fn says(secrets: &SecretRefs) -> Result<String, String> {
    let (_folder, path) = key_file(NODE_KEY, 0o600);
    open_all(secrets, &path).map(|opened| opened["password"].to_string())
}

#[test]
fn what_age_sealed_is_opened_by_the_node_it_is_for_and_by_no_other() {
    assert_eq!(says(&age(FOR_NODE)).unwrap(), "Pl4nted");
    let why = says(&age(FOR_OTHER)).unwrap_err();
    for part in ["secret `password` (pdu.yaml:13:7)", "for 1 other recipient(s) (X25519)", NODE, "age.key"] {
        assert!(why.contains(part), "{part}: {why}");
    }
    // One letter of the payload.
    let last = FOR_NODE.lines().rev().nth(1).unwrap();
    let why = says(&age(&FOR_NODE.replace(last, &last.replace("alvU", "alvV")))).unwrap_err();
    assert!(why.contains("cannot be opened") && !why.contains("other recipient"), "{why}");
}

#[test]
fn what_sops_sealed_is_opened_whatever_its_type_and_format() {
    let yaml = include_str!("sealed/both.enc.yaml");
    let json = include_str!("sealed/both.enc.json");
    let part = include_str!("sealed/mac-only.enc.yaml");
    for (file, text, key, expected) in [
        ("s/db.enc.yaml", yaml, "db.password", "correct horse"),
        ("db.yaml", yaml, "db.port", "3306"),
        ("db.yaml", yaml, "db.tls", "True"),
        ("db.yaml", yaml, "db.hosts.1.name", "two"),
        ("db.yaml", yaml, "key", "-----BEGIN KEY-----\nseveral lines of a key\n-----END KEY-----"),
        ("db.enc.json", json, "db.password", "correct horse"),
        ("db.sops.json", json, "db.ratio", "1.5"),
        ("db.enc.yaml", part, "db.password", "correct horse"),
    ] {
        assert_eq!(says(&sops(file, text, key)).as_deref(), Ok(expected), "{file} {key}");
    }
}

/// The same secret with something done to its file.
fn changed(text: &str, key: &str, change: impl FnOnce(&mut SopsDocument)) -> Result<String, String> {
    let mut secrets = sops("db.enc.yaml", text, key);
    let Some(SecretRef::Sops(SopsSecret { document, .. })) = secrets.get_mut("password") else { panic!() };
    change(Arc::make_mut(document.as_mut().unwrap()));
    says(&secrets)
}

#[test]
fn a_sops_file_that_anybody_changed_gives_nothing_away() {
    let text = include_str!("sealed/both.enc.yaml");
    let place = |document: &SopsDocument, key: &str| {
        document.values.iter().position(|value| value.key == key).unwrap_or_else(|| panic!("{key}"))
    };
    assert_eq!(changed(text, "db.password", |_| {}).as_deref(), Ok("correct horse"));
    type Change = fn(&mut SopsDocument, &dyn Fn(&SopsDocument, &str) -> usize);
    let changes: [(Change, &str); 7] = [
        (|d, at| drop(d.values.remove(at(d, "db.hosts.0"))), "authentication code does not fit"),
        (
            |d, at| {
                let (a, b) = (at(d, "db.hosts.0"), at(d, "db.port"));
                d.values.swap(a, b);
            },
            "authentication code does not fit",
        ),
        (
            |d, at| {
                let size = at(d, "size_unencrypted");
                d.values[size].text = SopsText::Clear("17".into());
            },
            "authentication code does not fit",
        ),
        // A value of another key, in the place of the one that is asked for.
        (
            |d, at| {
                let (from, to) = (at(d, "db.port"), at(d, "db.password"));
                d.values[to].text = d.values[from].text.clone();
            },
            "`db.password`: it was changed, or moved",
        ),
        (|d, _| d.last_modified = "2026-11-23T01:38:23Z".into(), "`sops.mac`: it was changed"),
        (|d, _| d.mac = "ENC[AES256_GCM,data:,iv:AAAA,tag:AAAA,type:str]".into(), "nonce or tag has a wrong length"),
        (|d, _| d.recipients.retain(|recipient| recipient.recipient != NODE), "for 1 other recipient(s) (age1eeg"),
    ];
    for (change, expected) in changes {
        let why = changed(text, "db.password", |document| change(document, &place)).unwrap_err();
        assert!(why.contains(expected), "{expected}: {why}");
        assert!(!why.contains("horse") && !why.contains("3306"), "{why}");
    }
    // Where the code covers the encrypted values alone, the others are nobody's promise.
    let part = include_str!("sealed/mac-only.enc.yaml");
    let clear = |document: &mut SopsDocument| {
        let size = place(document, "size_unencrypted");
        document.values[size].text = SopsText::Clear("17".into());
    };
    assert_eq!(changed(part, "db.password", clear).as_deref(), Ok("correct horse"));
    let why = changed(part, "db.password", |document| document.mac_only_encrypted = false).unwrap_err();
    assert!(why.contains("does not fit"), "{why}");
}

#[test]
fn keys_that_others_could_have_read_are_not_used() {
    let (_folder, path) = key_file(NODE_KEY, 0o600);
    assert_eq!(Keys::read(&path).unwrap().recipients(), [NODE]);
    for (text, mode, expected) in [
        (NODE_KEY, 0o640, "may be read by others (mode 0640)"),
        (NODE_KEY, 0o604, "may be read by others (mode 0604)"),
        ("# nothing\n", 0o600, "has no key"),
        ("\nAGE-PLUGIN-YUBIKEY-1\n", 0o600, "no age key of kind X25519 in line 2"),
        (&NODE_KEY.repeat(17), 0o600, "more than 16 keys"),
        (&"#".repeat(70_000), 0o600, "too large"),
    ] {
        let (_folder, path) = key_file(text, mode);
        let error = Keys::read(&path).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert!(matches!(Keys::read(Path::new("/nowhere/age.key")), Err(KeyError::Missing { .. })));
    assert!(matches!(Keys::read(Path::new("/")), Err(KeyError::Unfit { .. })));
    let why = open_all(&age(FOR_NODE), Path::new("/nowhere/age.key")).unwrap_err();
    assert!(why.contains("this node has no key") && why.contains("hafen keygen"), "{why}");
}

#[test]
fn a_new_key_comes_first_and_the_old_ones_still_open_what_was_sealed_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("etc/hafen/age.key");
    let made = make_key(&path, false).unwrap().recipients();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(make_key(&path, false).unwrap().recipients(), made, "one that is there is kept");
    let (_folder, path) = key_file(NODE_KEY, 0o600);
    let both = make_key(&path, true).unwrap().recipients();
    assert_eq!((both.len(), both[1].as_str()), (2, NODE));
    assert_eq!(*open_all(&age(FOR_NODE), &path).unwrap()["password"], "Pl4nted");
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    assert!(make_key(&path, true).is_err(), "what is there is not overwritten");
    assert_eq!(Keys::read(&path).err().map(|error| error.to_string().contains("others")), Some(true));
}

#[test]
fn files_are_bounded_and_every_line_of_a_key_is_hidden() {
    let (_folder, path) = key_file(&"x".repeat(MAX_SECRET_BYTES + 1), 0o600);
    let file = SecretRef::File { file: path.display().to_string() };
    let (opened, faults) = open_what_can_be(&SecretRefs::from([("a".into(), file)]), &path);
    assert!(opened.is_empty() && faults[0].contains("longer than 64 KiB"), "{faults:?}");
    let key = "-----BEGIN KEY-----\nabc\nseveral words of it\n";
    let opened = Opened::from([("key".to_owned(), Zeroizing::new(key.to_owned()))]);
    let all = hidden(&opened);
    let lines: Vec<&str> = all.iter().map(|line| line.as_str()).collect();
    assert_eq!(lines, [key, "-----BEGIN KEY-----", "several words of it"]);
}
