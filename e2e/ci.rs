//! The recipes of docs/ci, as those who copy them would run them.
//!
//! The lines of the workflow and of the template are taken out of their YAML and run as they stand, by the shell that the host
//! uses, in a repository of manifests: a good one, one with findings, one whose folder is not there, one whose push would be an
//! outage. The state to plan against is on a branch, as a node puts it there. `make deps` installs what reads YAML, checks the
//! files against the hosts' own schemas (check-jsonschema), and pre-commit.

use hafen::manifest::{SourceFile, bundled, listing, load};
use hafen::model::{AgentCatalogue, Revision};
use hafen::state::{State, StateDocument, Target, target::spec_to_chunks};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const SERVICE: &str = "apiVersion: hafen/v1alpha1\nkind: Resource\nmetadata: { name: shop-ip }\nspec:\n  agent: ocf:heartbeat:IPaddr2\n  \
                       params: { ip: 192.0.2.50, cidr_netmask: \"24\" }\n";
const SCENARIO: &str = "apiVersion: hafen/v1alpha1\nkind: Scenario\nmetadata: { name: a-node-is-lost }\nspec:\n  steps: [{ nodeDown: [n1] }]\n  expect: { homeless: [] }\n";
/// What a host of repositories would have set.
const MAIL: [(&str, &str); 4] = [
    ("GIT_AUTHOR_NAME", "a"),
    ("GIT_AUTHOR_EMAIL", "a@x"),
    ("GIT_COMMITTER_NAME", "a"),
    ("GIT_COMMITTER_EMAIL", "a@x"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
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

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A recipe as JSON.
fn recipe(name: &str) -> Option<Value> {
    let python = tool("schema-lab/bin/python")?;
    let read = "import json, sys, ruamel.yaml; print(json.dumps(ruamel.yaml.YAML(typ='safe', pure=True).load(open(sys.argv[1]))))";
    let output = Command::new(python).args(["-c", read]).arg(root().join("docs/ci").join(name)).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// A repository of manifests with its origin, and a folder for what the host provides.
struct Repository {
    folder: tempfile::TempDir,
}

impl Repository {
    fn new(service: &str) -> Self {
        let repository = Self { folder: tempfile::tempdir().unwrap() };
        let base = std::fs::read_to_string(root().join("e2e/mistakes/base.yaml")).unwrap();
        std::fs::create_dir_all(repository.path("work/scenarios")).unwrap();
        std::fs::create_dir(repository.path("bin")).unwrap();
        std::fs::create_dir(repository.path("temp")).unwrap();
        for (name, text) in [("base.yaml", base.as_str()), ("shop.yaml", service), ("scenarios/lost.yaml", SCENARIO)] {
            std::fs::write(repository.path("work").join(name), text).unwrap();
        }
        // What the host installs, and what it alone can do.
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_hafen"), repository.path("bin/hafen")).unwrap();
        let gh = "#!/bin/sh\nwhile [ \"$1\" != --body-file ]; do shift; done\ncp \"$2\" \"$RUNNER_TEMP/comment.md\"\n";
        repository.program("gh", gh);
        repository.program("cargo", "#!/bin/sh\necho 'hafen is installed' >&2; exit 99\n");
        repository.ok("git init -q --bare -b main ../origin && git init -q -b main && git remote add origin ../origin");
        repository.ok("git add . && git commit -qm manifests && git push -q origin main");
        repository
    }

    fn program(&self, name: &str, script: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path("bin").join(name);
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Puts a healthy cluster that follows the manifests on the branch, as a node does.
    fn with_state(self) -> Self {
        let read =
            |name: &str| SourceFile { path: name.into(), bytes: std::fs::read(self.path("work").join(name)).unwrap() };
        let files = [read("base.yaml"), read("shop.yaml")];
        let named = hafen::manifest::agents_named(&files);
        let spec = load(&files, &bundled::complete(AgentCatalogue::default(), &named)).spec.expect("it is valid");
        let (digest, _) = spec_to_chunks(&spec);
        let mut state: State = hafen::whatif::healthy(&spec);
        state.target = Some(Target {
            revision: Revision::new("a".repeat(40)),
            spec: digest,
            accepted_at: Default::default(),
            accepted_ms: 1,
            by: "ann".into(),
        });
        state.specs.insert(digest, std::sync::Arc::new(spec));
        let document = StateDocument::export(&state, &listing(&files)).unwrap().text();
        self.ok("git init -q -b state ../node");
        std::fs::write(self.path("node/state.json"), document).unwrap();
        self.ok("cd ../node && git add . && git commit -qm state && git push -q ../origin HEAD:hafen-state");
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn commit(&self, service: &str) {
        std::fs::write(self.path("work/shop.yaml"), service).unwrap();
    }

    /// As GitHub and GitLab run what is several lines: one shell, the first failure ends it.
    fn sh(&self, script: &str, variables: &[(String, String)]) -> Output {
        let path = format!("{}:/usr/bin:/bin", self.path("bin").display());
        Command::new("bash")
            .args(["--noprofile", "--norc", "-eo", "pipefail", "-c", script])
            .current_dir(self.path("work"))
            .env_clear()
            .envs(MAIL)
            .env("PATH", path)
            .env("HOME", self.path("temp"))
            .env("RUNNER_TEMP", self.path("temp"))
            .env("GITHUB_OUTPUT", self.path("temp/output"))
            .env("GITHUB_STEP_SUMMARY", self.path("temp/summary.md"))
            .envs(variables.iter().map(|(name, value)| (name.as_str(), value.as_str())))
            .output()
            .unwrap()
    }

    fn ok(&self, script: &str) {
        let output = self.sh(script, &[]);
        assert!(output.status.success(), "{script}: {}", text(&output.stderr));
    }
}

/// The settings of a recipe, some of them changed.
fn variables(of: &Value, changed: &[(&str, &str)]) -> Vec<(String, String)> {
    let settings =
        of.as_object().unwrap().iter().map(|(name, value)| (name.clone(), value.as_str().unwrap_or("").to_owned()));
    settings.chain(changed.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))).collect()
}

/// Runs the job as its conditions say, on a pull request. Returns the exit codes of the steps with a name that were run.
fn github(repository: &Repository, workflow: &Value, changed: &[(&str, &str)]) -> Vec<(String, i32)> {
    let variables = variables(&workflow["env"], &[changed, &[("PULL_REQUEST", "7")]].concat());
    let mut ran: Vec<(String, i32)> = Vec::new();
    for step in workflow["jobs"]["hafen"]["steps"].as_array().unwrap() {
        let Some(script) = step["run"].as_str() else { continue };
        let condition = step["if"].as_str().unwrap_or("success()");
        let failed = ran.iter().any(|(_, code)| *code != 0);
        let known = std::fs::read_to_string(repository.path("temp/output")).unwrap_or_default().contains("known=yes");
        let wanted = match condition {
            "always()" => true,
            "success()" => !failed,
            condition if condition.contains("steps.state.outputs.known == 'yes'") => known && !failed,
            other => panic!("a condition that this test does not know: {other}"),
        };
        if wanted {
            let output = repository.sh(script, &variables);
            let name = step["name"].as_str().unwrap().to_owned();
            eprintln!("{name}: {:?}\n{}{}", output.status.code(), text(&output.stdout), text(&output.stderr));
            ran.push((name, output.status.code().unwrap()));
        }
    }
    ran
}

fn failed(ran: &[(String, i32)]) -> Vec<(&str, i32)> {
    ran.iter().filter(|(_, code)| *code != 0).map(|(name, code)| (name.as_str(), *code)).collect()
}

/// One that takes the service down: the address is another one.
fn moved() -> String {
    SERVICE.replace("192.0.2.50", "192.0.2.60")
}

#[test]
fn the_workflow_passes_what_is_good_and_says_what_a_push_would_do() {
    let Some(workflow) = recipe("github.yml") else { return };
    let repository = Repository::new(SERVICE).with_state();
    let ran = github(&repository, &workflow, &[]);
    assert_eq!(failed(&ran), []);
    assert_eq!(ran.len(), 8, "{ran:?}");
    let sarif: Value = serde_json::from_str(&repository.read("work/hafen.sarif")).unwrap();
    assert_eq!((&sarif["version"], &sarif["runs"][0]["results"]), (&"2.1.0".into(), &serde_json::json!([])));
    assert_eq!(repository.read("temp/comment.md"), repository.read("work/plan.md"));
    assert_eq!(repository.read("temp/summary.md"), repository.read("work/plan.md"));

    // The same cluster, another address.
    repository.commit(&moved());
    let ran = github(&repository, &workflow, &[]);
    assert_eq!(failed(&ran), [("Nothing may go down", 1)]);
    let comment = repository.read("temp/comment.md");
    assert!(comment.contains("shop-ip") && comment.contains("192.0.2.60"), "{comment}");
}

#[test]
fn the_workflow_plans_nothing_where_nobody_says_how_the_cluster_is() {
    let Some(workflow) = recipe("github.yml") else { return };
    let repository = Repository::new(SERVICE);
    let ran = github(&repository, &workflow, &[]);
    assert_eq!(failed(&ran), []);
    assert!(!ran.iter().any(|(name, _)| name == "Plan"), "{ran:?}");
}

#[test]
fn the_workflow_stops_what_is_wrong_and_tells_it_from_what_it_cannot_read() {
    let Some(workflow) = recipe("github.yml") else { return };
    let repository = Repository::new(&SERVICE.replace("cidr_netmask", "cidr_netmsk"));
    let ran = github(&repository, &workflow, &[]);
    assert_eq!(failed(&ran), [("Check", 1)]);
    let sarif: Value = serde_json::from_str(&repository.read("work/hafen.sarif")).unwrap();
    let place = &sarif["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "shop.yaml", "{sarif:#}");
    assert_eq!(place["region"]["startLine"], 6);
    let ran = github(&repository, &workflow, &[("MANIFESTS", "nowhere")]);
    assert_eq!(failed(&ran), [("Check", 2), ("Write the findings down", 1)]);
}

/// Runs the jobs of the template that have a script. Returns their exit codes.
fn gitlab(repository: &Repository, template: &Value, changed: &[(&str, &str)]) -> Vec<(String, i32)> {
    let variables = variables(&template["variables"], changed);
    let lines = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().map(|line| line.as_str().unwrap().to_owned()).collect()
    };
    let before = lines(&template[".hafen"]["before_script"]);
    let mut ran = Vec::new();
    for (name, job) in template.as_object().unwrap().iter().filter(|(name, _)| name.starts_with("hafen:")) {
        let script = [before.clone(), lines(&job["script"])].concat().join("\n");
        let output = repository.sh(&script, &variables);
        eprintln!("{name}: {:?}\n{}{}", output.status.code(), text(&output.stdout), text(&output.stderr));
        ran.push((name.clone(), output.status.code().unwrap()));
    }
    ran
}

/// The fields that GitLab's documentation of code quality reports asks for.
fn code_quality(report: &str) -> Vec<Value> {
    let findings: Vec<Value> = serde_json::from_str(report).unwrap();
    for found in &findings {
        for field in ["description", "check_name", "fingerprint"] {
            assert!(found[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {found}");
        }
        let severity = found["severity"].as_str().unwrap();
        assert!(["info", "minor", "major", "critical", "blocker"].contains(&severity), "{found}");
        assert!(found["location"]["lines"]["begin"].as_u64().is_some_and(|line| line > 0), "{found}");
        assert!(!found["location"]["path"].as_str().unwrap().starts_with(['/', '.']), "{found}");
    }
    findings
}

/// The numbers of cases and failures of a JUnit report, counted and as it says.
fn junit(report: &str) -> (usize, usize) {
    let document = roxmltree::Document::parse(report).unwrap();
    assert!(["testsuites", "testsuite"].contains(&document.root_element().tag_name().name()));
    let count = |name: &str| document.descendants().filter(|node| node.has_tag_name(name)).count();
    for suite in document.descendants().filter(|node| node.has_tag_name("testsuite")) {
        let inside = |name: &str| suite.descendants().filter(|node| node.has_tag_name(name)).count().to_string();
        assert_eq!(suite.attribute("tests"), Some(inside("testcase").as_str()), "{report}");
        assert_eq!(suite.attribute("failures"), Some(inside("failure").as_str()), "{report}");
    }
    for case in document.descendants().filter(|node| node.has_tag_name("testcase")) {
        assert!(case.attribute("name").is_some() && case.attribute("classname").is_some(), "{report}");
    }
    (count("testcase"), count("failure"))
}

#[test]
fn the_template_writes_reports_that_say_what_is_wrong_and_plans_without_credentials() {
    let Some(template) = recipe("gitlab.yml") else { return };
    let repository = Repository::new(SERVICE).with_state();
    let ran = gitlab(&repository, &template, &[]);
    assert_eq!((ran.len(), failed(&ran)), (3, vec![]));
    assert_eq!(code_quality(&repository.read("work/gl-code-quality-report.json")).len(), 0);
    assert_eq!(junit(&repository.read("work/hafen-findings.xml")).1, 0);
    assert_eq!(junit(&repository.read("work/hafen-scenarios.xml")), (1, 0));
    assert!(!repository.read("work/plan.md").is_empty());

    repository.commit(&moved());
    let ran = gitlab(&repository, &template, &[]);
    assert_eq!(failed(&ran), [("hafen:plan", 1)]);
    assert!(repository.read("work/plan.md").contains("shop-ip"));
    let ran = gitlab(&repository, &template, &[("ALLOW_OUTAGE", "yes")]);
    assert_eq!(failed(&ran), []);

    repository.commit(&SERVICE.replace("cidr_netmask", "cidr_netmsk"));
    let ran = gitlab(&repository, &template, &[]);
    assert!(failed(&ran).contains(&("hafen:validate", 1)), "{ran:?}");
    let findings = code_quality(&repository.read("work/gl-code-quality-report.json"));
    assert!(findings.iter().any(|found| found["check_name"] == "HA0603" && found["location"]["path"] == "shop.yaml"));
    assert_eq!(junit(&repository.read("work/hafen-findings.xml")), (3, 1), "one case for each file");
    let ran = gitlab(&repository, &template, &[("MANIFESTS", "nowhere")]);
    assert!(ran.iter().all(|(_, code)| *code != 0), "{ran:?}");
}

#[test]
fn the_hosts_own_schemas_know_the_recipes() {
    let Some(program) = tool("schema-lab/bin/check-jsonschema") else { return };
    for (schema, file) in [("github-workflows", "docs/ci/github.yml"), ("gitlab-ci", "docs/ci/gitlab.yml")] {
        let check = |path: &Path| {
            Command::new(&program).args(["--builtin-schema", &format!("vendor.{schema}")]).arg(path).output().unwrap()
        };
        let output = check(&root().join(file));
        assert!(output.status.success(), "{}", text(&output.stdout));
        // It would have said so.
        let wrong = tempfile::NamedTempFile::with_suffix(".yml").unwrap();
        let broken =
            std::fs::read_to_string(root().join(file)).unwrap().replace("steps:", "stps:").replace("script:", "scrpt:");
        std::fs::write(wrong.path(), broken).unwrap();
        assert!(!check(wrong.path()).status.success(), "{schema}");
    }
}

#[test]
fn the_hook_of_git_looks_at_what_is_staged() {
    let repository = Repository::new(SERVICE);
    let hook = root().join("docs/ci/pre-commit");
    repository.ok(&format!("cp {} .git/hooks/pre-commit", hook.display()));
    let commit =
        |variables: &[(String, String)]| repository.sh("git commit -qm change", variables).status.code().unwrap();
    // Wrong, but not to be committed.
    repository.commit(&SERVICE.replace("cidr_netmask", "cidr_netmsk"));
    std::fs::write(repository.path("work/note.md"), "good").unwrap();
    repository.ok("git add note.md");
    assert_eq!(commit(&[]), 0);
    repository.ok("git add shop.yaml");
    // Right, but not what is to be committed.
    repository.commit(SERVICE);
    assert_eq!(commit(&[]), 1);
    let output = repository.sh(".git/hooks/pre-commit", &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("shop.yaml:6:"), "{}", text(&output.stdout));
    let elsewhere = [("HAFEN_MANIFESTS".to_owned(), "nowhere".to_owned())];
    assert_eq!(repository.sh(".git/hooks/pre-commit", &elsewhere).status.code(), Some(2));
    assert_eq!(
        std::fs::read_dir("/tmp").unwrap().flatten().filter(|entry| entry.path().join("shop.yaml").exists()).count(),
        0
    );
}

#[test]
fn pre_commit_itself_runs_the_hook() {
    let Some(program) = tool("ci-lab/bin/pre-commit") else { return };
    let repository = Repository::new(SERVICE);
    std::os::unix::fs::symlink(&program, repository.path("bin/pre-commit")).unwrap();
    // This repository, as it would be cloned: of it only the list of hooks counts.
    let hooks = repository.path("hafen");
    std::fs::create_dir(&hooks).unwrap();
    std::fs::copy(root().join(".pre-commit-hooks.yaml"), hooks.join(".pre-commit-hooks.yaml")).unwrap();
    repository.ok("cd ../hafen && git init -q -b main && git add . && git commit -qm hafen && git tag v1");
    repository.ok("pre-commit validate-manifest ../hafen/.pre-commit-hooks.yaml");
    let readme = std::fs::read_to_string(root().join("docs/ci/README.md")).unwrap();
    let config = readme.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let config = config.replace("https://example.com/hafen.git", hooks.to_str().unwrap()).replace("main", "v1");
    std::fs::write(repository.path("work/.pre-commit-config.yaml"), config.replace("[manifests]", "[.]")).unwrap();
    repository.ok("pre-commit validate-config && git add . && pre-commit install");
    let good = repository.sh("git commit -qm 'with hooks'", &[]);
    assert!(good.status.success(), "{}{}", text(&good.stdout), text(&good.stderr));
    repository.commit(&SERVICE.replace("cidr_netmask", "cidr_netmsk"));
    let bad = repository.sh("git commit -qam wrong", &[]);
    let said = text(&bad.stdout) + &text(&bad.stderr);
    assert_eq!(bad.status.code(), Some(1), "{said}");
    assert!(said.contains("HA0603") && said.contains("shop.yaml:6:") && said.contains("exit code: 1"), "{said}");
}
