//! Real folders, a real repository, and what is printed.

use super::super::status::tests::expect;
use super::*;
use clap::Parser;
use std::process::Command;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

const OLD: &str = "apiVersion: hafen/v1alpha1\nkind: Cluster\nmetadata: { name: c }\nspec: { fencing: { enabled: false } }\n---\n\
apiVersion: hafen/v1alpha1\nkind: Node\nmetadata: { name: n1 }\nspec: { addresses: [192.0.2.1] }\n---\n\
apiVersion: hafen/v1alpha1\nkind: Resource\nmetadata: { name: db }\nspec:\n  agent: ocf:heartbeat:Dummy\n  params:\n    state: /run/db\n    password: hunter2\n";

/// Moves `db` down by a line, changes two of its fields, and has another resource instead of nothing.
fn new() -> String {
    let changed = OLD.replace("/run/db", "/run/data base").replace("hunter2", "hunter3");
    let changed = changed.replace("  params:\n", "  priority: 5\n  params:\n").replace("name: c }", "name: c } # ours");
    changed + "---\napiVersion: hafen/v1alpha1\nkind: Resource\nmetadata: { name: web }\nspec: { agent: systemd:web }\n"
}

struct Tree {
    folder: tempfile::TempDir,
}

impl Tree {
    fn new(text: &str) -> Self {
        let tree = Self { folder: tempfile::tempdir().unwrap() };
        tree.git(&["init", "-q", "-b", "main"]);
        tree.write(text);
        tree.git(&["add", "."]);
        tree.git(&["commit", "-q", "-m", "one"]);
        tree
    }

    fn write(&self, text: &str) {
        std::fs::create_dir_all(self.folder.path().join("m")).unwrap();
        std::fs::write(self.folder.path().join("m/a.yaml"), text).unwrap();
    }

    fn git(&self, words: &[&str]) {
        let done = Command::new("git")
            .arg("-C")
            .arg(self.folder.path())
            .args(["-c", "user.name=a", "-c", "user.email=a@b"])
            .args(words)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .status();
        assert!(done.unwrap().success(), "{words:?}");
    }

    fn compare(&self, words: &[&str]) -> Result<DiffView, CliError> {
        let path = self.folder.path().join("m").to_string_lossy().into_owned();
        let all = ["diff", path.as_str()].into_iter().chain(words.iter().copied());
        let args = Cli::try_parse_from(all).unwrap().args;
        let nobody = Context { data_dir: self.folder.path().into() };
        let mut view = super::super::wait_for(compare(&args, &nobody))?;
        // The folder's own name differs in every run.
        let root = format!("{}/", self.folder.path().display());
        for change in &mut view.changes {
            change.at.iter_mut().for_each(|at| *at = at.replace(&root, ""));
            change.fields.iter_mut().filter_map(|f| f.at.as_mut()).for_each(|at| *at = at.replace(&root, ""));
        }
        view.from = view.from.map(|_| "0123456789abcdef".to_owned());
        view.to = view.to.map(|_| "fedcba9876543210".to_owned());
        Ok(view)
    }
}

#[test]
fn a_working_tree_is_compared_with_a_commit_field_by_field() {
    let tree = Tree::new(OLD);
    tree.write(&new());
    let view = tree.compare(&["--from", "main"]).unwrap();
    expect("diff.txt", &text(&view, Detail::Concise));
    expect("diff-verbose.txt", &text(&view, Detail::All));
    expect("diff.md", &markdown(&view));
    let json = serde_json::to_string_pretty(&view).unwrap() + "\n";
    assert!(!json.contains("hunter") && json.contains("(hidden)"), "{json}");
    expect("diff.json", &json);
}

#[test]
fn two_commits_are_compared_whatever_the_files_are_now() {
    let tree = Tree::new(OLD);
    tree.write(&new());
    tree.git(&["commit", "-q", "-a", "-m", "two"]);
    let there = tree.compare(&["--from", "HEAD~1", "--to", "HEAD"]).unwrap();
    tree.write("not: yaml: at all");
    assert_eq!(tree.compare(&["--from", "HEAD~1", "--to", "main"]).unwrap(), there);
    assert_eq!(changes::summary(&there.changes), "1 added, 1 changed");
    let same = tree.compare(&["--from", "HEAD", "--to", "main"]).unwrap();
    assert_eq!(text(&same, Detail::Concise), "no differences between 0123456789 and fedcba9876\n");
}

#[test]
fn what_cannot_be_read_is_no_difference() {
    let tree = Tree::new(OLD);
    let why = |words: &[&str]| {
        let error = tree.compare(words).unwrap_err();
        assert_eq!(error.exit(), Exit::CouldNotTell);
        error.message
    };
    assert_eq!(why(&["--from", "nowhere"]), "`nowhere` names no commit of this repository");
    tree.write("apiVersion: hafen/v1alpha1\nkind: Resorce\n");
    assert_eq!(why(&["--from", "main"]), "the manifests are not valid, so what they would change cannot be told");
    let alone = tempfile::tempdir().unwrap();
    assert!(Place::of(alone.path()).unwrap_err().to_string().ends_with("is in no git repository"));
}
