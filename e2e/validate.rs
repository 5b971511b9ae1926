//! `hafen validate` as its users meet it: typical mistakes with the whole output, and other tools with our schemas.
//!
//! `mistakes/*.txt` are trees with one mistake each, and what the program says of them; `UPDATE_EXPECT=1` writes that anew, for
//! a person to read: each has to be understood from its message alone. `agreement/` asks check-jsonschema and
//! yaml-language-server, installed by `make deps`, about the same documents as the program.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The snapshot of agents is taken, so that every machine says the same.
fn validate(folder: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hafen"));
    command.args(["validate", "--agents", "snapshot"]).args(more).current_dir(folder).env("NO_COLOR", "1");
    command.output().expect("the program was built for this test")
}

/// The folders of the examples; one that holds several clusters has a folder for each, and one for what they share.
fn examples() -> Vec<PathBuf> {
    let below = |folder: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.is_dir()).collect()
    };
    let examples = below(&root().join("manifests"));
    let inner: Vec<PathBuf> = examples.iter().flat_map(|folder| below(folder)).collect();
    [examples, inner].concat()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == ending));
    found.sort();
    found
}

#[test]
fn typical_mistakes_are_told_as_the_golden_files_say() {
    let stories = files("e2e/mistakes", "txt");
    assert!(stories.len() > 20);
    let mut wrong = String::new();
    for path in stories {
        let story = std::fs::read_to_string(&path).unwrap();
        let (input, expected) = story.split_once("==> hafen validate\n").unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(root().join("e2e/mistakes/base.yaml"), folder.path().join("base.yaml")).unwrap();
        for part in input.split("==> ").skip(1) {
            let (name, manifest) = part.split_once('\n').unwrap();
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, manifest).unwrap();
        }
        let output = validate(folder.path(), &[]);
        let exit = output.status.code().unwrap();
        let found = format!("{}{}exit {exit}\n", text(&output.stdout), text(&output.stderr));
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&path, format!("{input}==> hafen validate\n{found}")).unwrap();
        } else if found != expected {
            writeln!(wrong, "{}\n--- expected\n{expected}--- found\n{found}", path.display()).unwrap();
        }
        // Of a mistake something is said, at a place in the file that has it.
        assert!(found.contains("shop.yaml:"), "{}: {found}", path.display());
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Documents that are wrong in their form alone: by the schema, without looking at any other document.
const BROKEN: [(&str, &str); 14] = [
    ("unknown-field", "kind: Resource\nmetadata: { name: a }\nspec: { agent: 'systemd:a', prioritty: 5 }\n"),
    ("missing-field", "kind: Resource\nmetadata: { name: a }\nspec: { priority: 5 }\n"),
    ("missing-metadata", "kind: Resource\nspec: { agent: 'systemd:a' }\n"),
    ("unknown-kind", "kind: Resorce\nmetadata: { name: a }\nspec: { agent: 'systemd:a' }\n"),
    ("list-for-a-map", "kind: Resource\nmetadata: { name: a }\nspec: [agent]\n"),
    ("word-for-a-list", "kind: Group\nmetadata: { name: a }\nspec: { members: b }\n"),
    ("text-for-a-number", "kind: Resource\nmetadata: { name: a }\nspec: { agent: 'systemd:a', priority: high }\n"),
    ("text-for-a-boolean", "kind: Resource\nmetadata: { name: a }\nspec: { agent: 'systemd:a', managed: 'false' }\n"),
    ("number-out-of-range", "kind: Resource\nmetadata: { name: a }\nspec: { agent: 'systemd:a', priority: 2000000 }\n"),
    ("unknown-word", "kind: Resource\nmetadata: { name: a }\nspec: { agent: 'systemd:a', targetRole: started }\n"),
    (
        "bare-duration",
        "kind: Resource\nmetadata: { name: a }\nspec: { agent: 'systemd:a', failure: { timeout: 10 } }\n",
    ),
    (
        "bad-duration",
        "kind: Resource\nmetadata: { name: a }\nspec: { agent: 'systemd:a', failure: { timeout: ten } }\n",
    ),
    ("bad-name", "kind: Resource\nmetadata: { name: 'a b' }\nspec: { agent: 'systemd:a' }\n"),
    ("number-as-parameter", "kind: Resource\nmetadata: { name: a }\nspec: { agent: 'systemd:a', params: { b: 24 } }\n"),
];

/// The examples of the repository, and the broken documents, each in a file of its own; whether it should pass.
fn documents(folder: &Path) -> BTreeMap<PathBuf, bool> {
    let mut documents = BTreeMap::new();
    for example in examples() {
        for path in files(example.strip_prefix(root()).unwrap().to_str().unwrap(), "yaml") {
            let file = std::fs::read_to_string(&path).unwrap();
            for (number, document) in format!("\n{file}").split("\n---\n").enumerate() {
                let stem = path.file_stem().unwrap().to_str().unwrap();
                let name = format!("{}-{stem}-{number}.yaml", example.file_name().unwrap().to_str().unwrap());
                std::fs::write(folder.join(&name), document.trim_start_matches("\n---\n")).unwrap();
                documents.insert(folder.join(name), true);
            }
        }
    }
    assert!(documents.len() > 20);
    for (name, document) in BROKEN {
        let path = folder.join(format!("broken-{name}.yaml"));
        std::fs::write(&path, format!("apiVersion: hafen/v1alpha1\n{document}")).unwrap();
        documents.insert(path, false);
    }
    documents
}

/// Whether the program finds the form of a file right: no code of the groups 02 and 03.
fn form_is_right(path: &Path) -> bool {
    let output = validate(root(), &[path.to_str().unwrap(), "-o", "json"]);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let codes = found["diagnostics"].as_array().unwrap().iter().map(|found| found["code"].as_str().unwrap().to_owned());
    !codes.into_iter().any(|code| code.starts_with("HA02") || code.starts_with("HA03"))
}

/// A tool of `make deps`; says what is missing where there is none.
fn tool(path: &str) -> Option<PathBuf> {
    let path = root().join("target").join(path);
    let there = path.exists();
    if !there {
        eprintln!("skipped: `make deps` installs {}", path.display());
    }
    there.then_some(path)
}

#[test]
fn check_jsonschema_agrees_about_form() {
    let Some(program) = tool("schema-lab/bin/check-jsonschema") else { return };
    let folder = tempfile::tempdir().unwrap();
    let documents = documents(folder.path());
    let schema = root().join("schemas/manifest.json");
    let check = |paths: &[&PathBuf]| {
        let output = Command::new(&program).arg("--schemafile").arg(&schema).args(["-o", "json"]).args(paths).output();
        let output = output.unwrap();
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
    };
    let found = check(&documents.keys().collect::<Vec<_>>());
    assert_eq!(found["parse_errors"].as_array().map_or(0, Vec::len), 0, "{found:#}");
    let refused: Vec<&str> =
        found["errors"].as_array().unwrap().iter().map(|error| error["filename"].as_str().unwrap()).collect();
    for (path, right) in &documents {
        // A document with variables is read with its overlay, and has no form of its own.
        if !std::fs::read_to_string(path).unwrap().contains("${") {
            assert_eq!(form_is_right(path), *right, "hafen about {}", path.display());
        }
        assert_eq!(!refused.contains(&path.to_str().unwrap()), *right, "check-jsonschema about {}", path.display());
    }
}

#[test]
fn yaml_language_server_agrees_about_form() {
    let Some(server) = tool("schema-lab/node_modules/yaml-language-server/bin/yaml-language-server") else { return };
    // It takes no schema for what is in a folder whose name begins with a dot.
    let folder = tempfile::Builder::new().prefix("documents-").tempdir().unwrap();
    let mut documents = documents(folder.path());
    // Editors open whole files: the examples as they are, with several documents each.
    for example in examples() {
        let paths = files(example.strip_prefix(root()).unwrap().to_str().unwrap(), "yaml");
        documents.extend(paths.into_iter().map(|path| (path, true)));
    }
    let output = Command::new("node")
        .arg(root().join("e2e/agreement/ask.mjs"))
        .arg(server)
        .arg(root().join("schemas/manifest.json"))
        .args(documents.keys())
        .output()
        .unwrap();
    let found: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
    for (path, right) in &documents {
        let said = found[path.to_str().unwrap()].as_array().unwrap();
        assert_eq!(said.is_empty(), *right, "yaml-language-server about {}: {said:?}", path.display());
    }
}

/// kubeconform looks for `{{ .ResourceKind }}.json`, the kind in lower case.
#[test]
fn every_kind_has_a_schema_where_kubeconform_looks_for_it() {
    let umbrella = std::fs::read_to_string(root().join("schemas/manifest.json")).unwrap();
    let umbrella: serde_json::Value = serde_json::from_str(&umbrella).unwrap();
    let kinds: Vec<String> = umbrella["oneOf"]
        .as_array()
        .unwrap()
        .iter()
        .map(|choice| choice["$ref"].as_str().unwrap().rsplit('/').next().unwrap().to_owned())
        .collect();
    assert!(kinds.len() > 10);
    for kind in kinds {
        let path = root().join(format!("schemas/{}.json", kind.to_lowercase()));
        let schema: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(schema["properties"]["kind"]["const"], kind.as_str(), "{}", path.display());
    }
}
