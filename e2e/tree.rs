//! Holds the shape of the source tree: who may import whom, purity, sizes.
//!
//! Reads `src/**/*.rs` as text and compares with the table below (explained in ARCHITECTURE.md).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Module → what it may import of this crate.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("manifest", &["model"]),
    ("state", &["model"]),
    ("plan", &["model", "state"]),
    ("pacemaker", &["model", "state"]),
    ("whatif", &["model", "manifest", "state", "plan"]),
    ("reconcile", &["model", "manifest", "state", "plan", "net"]),
    ("sim", &["model", "state", "plan", "reconcile", "net"]),
    ("source", &["model"]),
    ("agent", &["model"]),
    ("forge", &["model"]),
    ("net", &["model"]),
    ("log", &["model", "state", "net"]),
    ("api", &["model", "manifest", "state", "plan", "whatif", "reconcile", "net"]),
    (
        "daemon",
        &["model", "manifest", "state", "plan", "whatif", "reconcile", "source", "agent", "forge", "net", "log", "api"],
    ),
    (
        "cli",
        &[
            "model",
            "manifest",
            "state",
            "plan",
            "whatif",
            "reconcile",
            "source",
            "agent",
            "forge",
            "net",
            "log",
            "api",
            "daemon",
            "pacemaker",
            "sim",
        ],
    ),
];

/// Modules without clock, randomness, IO and unordered maps.
const PURE: &[&str] = &["model", "manifest", "state", "plan", "whatif", "reconcile", "pacemaker", "sim"];

/// Files of other modules that are as pure; of their modules a pure one names nothing else.
const PURE_FILES: &[(&str, &str)] = &[("net", "net/contacts.rs"), ("net", "net/datagram.rs")];

/// What a pure module never names. `std::io::Read` of memory is allowed where a decompressor needs it.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::process",
    "std::net::Tcp",
    "std::net::Udp",
    "std::thread",
    "std::env",
    "tokio::",
    "SystemTime",
    "Instant::now",
    "HashMap",
    "HashSet",
    "rand::",
    "println!",
    "eprintln!",
    "tracing::",
];

/// Field names and values of a schema, from every depth.
fn words_of(schema: &serde_json::Value, into: &mut BTreeSet<String>) {
    if let Some(fields) = schema["properties"].as_object() {
        into.extend(fields.keys().cloned());
    }
    if let Some(values) = schema["enum"].as_array() {
        into.extend(values.iter().filter_map(|value| value.as_str().map(str::to_owned)));
    }
    if let Some(value) = schema["const"].as_str() {
        into.insert(value.to_owned());
    }
    match schema {
        serde_json::Value::Object(members) => members.values().for_each(|member| words_of(member, into)),
        serde_json::Value::Array(members) => members.iter().for_each(|member| words_of(member, into)),
        _ => {}
    }
}

#[test]
fn the_manual_of_manifests_has_every_field_and_every_value() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let schema = std::fs::read_to_string(root.join("schemas/manifest.json")).unwrap();
    let manual = std::fs::read_to_string(root.join("docs/manifests.md")).unwrap();
    let mut words = BTreeSet::new();
    words_of(&serde_json::from_str(&schema).unwrap(), &mut words);
    assert!(words.len() > 100, "the schema has {} words", words.len());
    let known: BTreeSet<&str> = manual.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    let missing: Vec<_> =
        words.iter().filter(|word| word.chars().all(char::is_alphanumeric) && !known.contains(word.as_str())).collect();
    assert!(missing.is_empty(), "docs/manifests.md does not mention {missing:?}");
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            into.push(path);
        }
    }
}

/// Files and folders of the modules that a file declares for tests only.
fn test_modules(path: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(path).unwrap();
    let folder = match path.file_stem().is_some_and(|stem| stem == "mod") {
        true => path.parent().unwrap().to_owned(),
        false => path.with_extension(""),
    };
    let declared = text.split("#[cfg(test)]\nmod ").skip(1).filter_map(|rest| rest.split(&[';', ' '][..]).next());
    declared.flat_map(|name| [folder.join(name), folder.join(format!("{name}.rs"))]).collect()
}

/// Files by module, without tests: `(module, path, code lines without comments)`.
fn code() -> Vec<(String, PathBuf, Vec<String>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let test_modules: Vec<PathBuf> = files.iter().flat_map(|path| test_modules(path)).collect();
    files
        .into_iter()
        .filter_map(|path| {
            let inside = path.strip_prefix(&root).unwrap().to_owned();
            let module = inside.components().next().unwrap().as_os_str().to_str().unwrap().to_owned();
            let name = inside.file_name().unwrap().to_str().unwrap();
            let is_test = name.contains("test") || test_modules.iter().any(|folder| path.starts_with(folder));
            if module.ends_with(".rs") || is_test {
                return None;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let before_tests = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let lines = before_tests.lines().map(|line| line.split("//").next().unwrap().to_owned()).collect();
            Some((module, inside, lines))
        })
        .collect()
}

/// Every `crate::X` of a file with its line, also the first names within `use crate::{a, b::{c, d}}` over several lines.
fn imports(lines: &[String]) -> Vec<(usize, String)> {
    let text = lines.join("\n");
    let mut found = Vec::new();
    for (place, _) in text.match_indices("crate::") {
        let line = text[..place].matches('\n').count() + 1;
        let rest = &text[place + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => found.push((line, word(rest))),
            Some(list) => {
                let mut depth = 0;
                let mut fresh = true;
                for (at, character) in list.char_indices() {
                    match character {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => fresh = true,
                        _ if fresh && !character.is_whitespace() => {
                            found.push((line, word(&list[at..])));
                            fresh = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    found.retain(|(_, word)| !word.is_empty());
    found
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

#[test]
fn imports_are_found_in_every_form() {
    let lines =
        ["use crate::model::{A, B};", "use crate::{", "    log::{C, D},", "    state,", "};", "crate::plan::x();"];
    let found = imports(&lines.map(String::from));
    let expected = [(1, "model"), (2, "log"), (2, "state"), (6, "plan")];
    assert_eq!(found, expected.map(|(line, word)| (line, word.to_owned())));
}

#[test]
fn modules_import_only_what_the_table_allows() {
    let table: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (module, path, lines) in code() {
        let allowed = table.get(module.as_str()).unwrap_or_else(|| panic!("{module} is not in the table"));
        for (line, import) in imports(&lines) {
            seen += 1;
            let known = table.contains_key(import.as_str());
            if known && import != module && !allowed.contains(&import.as_str()) {
                wrong.push(format!("src/{}:{line}: {module} imports {import}", path.display()));
            }
        }
    }
    assert!(seen > 50, "the test reads nothing: only {seen} imports found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pure_modules_name_no_effect() {
    let mut wrong = Vec::new();
    for (module, path, lines) in code() {
        let alone = PURE_FILES.iter().any(|(_, file)| path == Path::new(file));
        if !PURE.contains(&module.as_str()) && !alone {
            continue;
        }
        for (number, line) in lines.iter().enumerate() {
            for word in IMPURE.iter().filter(|word| line.contains(**word)) {
                wrong.push(format!("src/{}:{}: `{word}` in a pure module", path.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn of_an_impure_module_pure_ones_name_only_its_pure_files() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (module, path, lines) in code().into_iter().filter(|(module, ..)| PURE.contains(&module.as_str())) {
        for (line, import) in imports(&lines).into_iter().filter(|(_, import)| !PURE.contains(&import.as_str())) {
            let mut files = PURE_FILES.iter().filter(|(of, _)| *of == import).peekable();
            if files.peek().is_none() {
                continue;
            }
            seen += 1;
            let named = lines[line - 1].split(&format!("crate::{import}::")).nth(1).map(word).unwrap_or_default();
            if !files.any(|(_, file)| *file == format!("{import}/{named}.rs")) {
                wrong.push(format!("src/{}:{line}: {module} names {import}::{named}", path.display()));
            }
        }
    }
    assert!(seen > 3, "the test reads nothing: only {seen} found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_says_what_it_is_for() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let silent: Vec<_> = files
        .iter()
        .filter(|path| path.file_name().is_some_and(|name| name != "main.rs"))
        .filter(|path| !std::fs::read_to_string(path).unwrap().starts_with("//!"))
        .map(|path| path.display().to_string())
        .collect();
    assert!(silent.is_empty(), "without a header:\n{}", silent.join("\n"));
}
