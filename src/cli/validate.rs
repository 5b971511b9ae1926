//! `hafen validate`: all checks of manifests, without a cluster and without a network.
//!
//! Input → output: a path → findings on stdout, a summary on stderr, and an exit code: 0 nothing that fails, 1 findings,
//! 2 could not tell (the path cannot be read). A tree of several clusters is read once for each of them; what is found in
//! the bases that they share is told once.

use super::diagnostics::{self, Format};
use super::files;
use crate::manifest::explain::Code;
use crate::manifest::{self, SourceFile, Waived};
use crate::model::{AgentCatalogue, Diagnostic, Severity};
use crate::whatif;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Check manifests
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  hafen validate
  hafen validate manifests/ --deny-warnings
  hafen validate -o sarif > findings.sarif
  hafen validate --agents snapshot -o gitlab > gl-code-quality-report.json")]
pub struct Args {
    /// A folder of manifests, or one file
    #[arg(default_value = ".")]
    pub path: PathBuf,
    /// How to write the findings
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    /// Fail on warnings, too
    #[arg(long)]
    pub deny_warnings: bool,
    /// Whose word is taken for what agents are
    #[arg(long, value_enum, default_value_t, value_name = "WHOSE")]
    pub agents: Agents,
}

/// Where the metadata of agents is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Agents {
    /// Of those that are installed here, their own; of the others the snapshot's
    #[default]
    Installed,
    /// The snapshot's alone, so that every machine says the same
    Snapshot,
}

/// Runs the command. `catalogue` is asked once, for the agents that the manifests name.
pub fn run_with(args: &Args, catalogue: impl FnOnce(&BTreeSet<String>) -> AgentCatalogue) -> u8 {
    let clusters = match read_clusters(&args.path) {
        Ok(clusters) => clusters,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            return 2;
        }
    };
    let named: BTreeSet<String> = clusters.iter().flat_map(|(_, files)| manifest::agents_named(files)).collect();
    let catalogue = match args.agents {
        Agents::Installed => catalogue(&named),
        Agents::Snapshot => manifest::bundled::complete(AgentCatalogue::default(), &named),
    };
    let several = clusters.len() > 1;
    let checked: Vec<Checked> =
        clusters.into_iter().map(|(path, files)| Checked::of(&path, files, &catalogue)).collect();
    let Checked { files, found, waived } = Checked::together(checked);
    let colour = anstream::AutoStream::choice(&std::io::stdout()) != anstream::ColorChoice::Never;
    let text = diagnostics::render(args.output, &found, &waived, &files, colour);
    // Whoever reads may have gone; the exit code tells all the same.
    let _ = std::io::stdout().write_all(text.as_bytes());
    let of = if several { " of several clusters" } else { "" };
    let _ = writeln!(std::io::stderr(), "{}", summary(files.len(), of, &found, waived.len()));
    exit_code(&found, args.deny_warnings)
}

/// The files of each cluster below a path, with where their paths begin.
fn read_clusters(path: &Path) -> std::io::Result<Vec<(PathBuf, Vec<SourceFile>)>> {
    let files = files::read_tree(path)?;
    let folders = manifest::clusters(&files);
    if folders.is_empty() {
        return Ok(vec![(path.to_owned(), files)]);
    }
    let read = |folder: String| {
        let path = path.join(folder);
        files::read_tree(&path).map(|files| (path, files))
    };
    folders.into_iter().map(read).collect()
}

/// What was found, with paths from where the command was run.
struct Checked {
    files: Vec<SourceFile>,
    found: Vec<Diagnostic>,
    waived: Vec<Waived>,
}

impl Checked {
    fn of(path: &Path, files: Vec<SourceFile>, catalogue: &AgentCatalogue) -> Self {
        let loaded = manifest::load(&files, catalogue);
        let mut waived = loaded.waived;
        let mut found = loaded.diagnostics;
        // What needs the planner comes behind what is wrong by itself.
        found.extend(loaded.spec.iter().flat_map(|spec| whatif::findings(spec, &super::simulate::on_all_cores)));
        let (files, found) = from_here(path, files, found);
        for waived in &mut waived {
            waived.diagnostic.file = files::from_here(path, &waived.diagnostic.file);
        }
        Self { files, found, waived }
    }

    /// Each file and each finding once. A waiver that one of the clusters needs is needed.
    fn together(mut clusters: Vec<Self>) -> Self {
        let unused = Code::UnusedWaiver.to_string();
        let needed = |finding: &Diagnostic, clusters: &[Self]| {
            let reads = |cluster: &&Self| cluster.files.iter().any(|file| file.path == finding.file);
            finding.code == unused && !clusters.iter().filter(reads).all(|cluster| cluster.found.contains(finding))
        };
        let mut all = Self { files: Vec::new(), found: Vec::new(), waived: Vec::new() };
        for cluster in &clusters {
            for finding in cluster.found.iter().filter(|finding| !needed(finding, &clusters)) {
                if !all.found.contains(finding) {
                    all.found.push(finding.clone());
                }
            }
        }
        let mut known = BTreeSet::new();
        for cluster in &mut clusters {
            all.files.extend(cluster.files.drain(..).filter(|file| known.insert(file.path.clone())));
            for waived in cluster.waived.drain(..) {
                if !all.waived.contains(&waived) {
                    all.waived.push(waived);
                }
            }
        }
        all
    }
}

/// Makes paths relative to where the command was run, so that editors and code hosts find the files.
fn from_here(
    path: &Path,
    mut files: Vec<SourceFile>,
    mut found: Vec<Diagnostic>,
) -> (Vec<SourceFile>, Vec<Diagnostic>) {
    let join = |file: &str| files::from_here(path, file);
    files.iter_mut().for_each(|file| file.path = join(&file.path));
    found.iter_mut().filter(|found| !found.file.is_empty()).for_each(|found| found.file = join(&found.file));
    (files, found)
}

fn count(found: &[Diagnostic], severity: Severity) -> usize {
    found.iter().filter(|found| found.severity == severity).count()
}

fn summary(files: usize, of: &str, found: &[Diagnostic], waived: usize) -> String {
    let number = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let parts: Vec<String> = [(Severity::Error, "error"), (Severity::Warning, "warning"), (Severity::Note, "note")]
        .iter()
        .map(|(severity, word)| (count(found, *severity), word))
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| number(count, word))
        .collect();
    let files = number(files, "file");
    let waived = if waived == 0 { String::new() } else { format!(", {waived} waived") };
    let parts = if parts.is_empty() { "no findings".to_owned() } else { parts.join(", ") };
    format!("{files}{of}: {parts}{waived}")
}

fn exit_code(found: &[Diagnostic], deny_warnings: bool) -> u8 {
    let warnings = deny_warnings && count(found, Severity::Warning) > 0;
    u8::from(warnings || count(found, Severity::Error) > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(path: PathBuf, deny_warnings: bool) -> Args {
        Args { path, output: Format::Text, deny_warnings, agents: Agents::Installed }
    }

    fn run(args: &Args) -> u8 {
        run_with(args, |_| AgentCatalogue::default())
    }

    #[test]
    fn the_exit_code_tells_findings_from_not_knowing() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert_eq!(run(&args(root.join("manifests/quickstart"), true)), 0);
        assert_eq!(run(&args(root.join("manifests/nowhere"), false)), 2);
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(run(&args(folder.path().into(), false)), 1, "an empty tree");
        let cluster = "apiVersion: hafen/v1alpha1\nkind: Cluster\nmetadata: { name: a }\nspec: {}\n";
        std::fs::write(folder.path().join("a.yaml"), cluster).unwrap();
        assert_eq!(run(&args(folder.path().into(), false)), 0, "no voters is a warning");
        assert_eq!(run(&args(folder.path().into(), true)), 1);
    }

    #[test]
    fn the_catalogue_is_asked_for_the_agents_that_are_named() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut asked = BTreeSet::new();
        run_with(&args(root.join("manifests/quickstart"), false), |names| {
            asked = names.clone();
            AgentCatalogue::default()
        });
        let expected = ["fence_lab", "ocf:heartbeat:IPaddr2", "ocf:heartbeat:nginx"];
        assert_eq!(asked, expected.into_iter().map(String::from).collect());
    }

    #[test]
    fn a_tree_of_several_clusters_is_checked_for_each_and_what_they_share_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let head = |kind: &str, name: &str| {
            format!("apiVersion: hafen/v1alpha1\nkind: {kind}\nmetadata: {{ name: {name} }}\n")
        };
        write("base/cluster.yaml", &format!("{}spec: {{}}\n", head("Cluster", "a")));
        for cluster in ["prod", "test"] {
            write(
                &format!("clusters/{cluster}/o.yaml"),
                &format!("{}spec: {{ bases: [../../base] }}\n", head("Overlay", cluster)),
            );
        }
        let checked = |path: &Path| {
            let all = read_clusters(path).unwrap().into_iter();
            Checked::together(all.map(|(path, files)| Checked::of(&path, files, &AgentCatalogue::default())).collect())
        };
        let all = checked(folder.path());
        assert_eq!((all.files.len(), all.found.len()), (3, 1), "no voters, once: {:#?}", all.found);
        assert_eq!(run(&args(folder.path().into(), false)), 0);
        write("clusters/test/o.yaml", &format!("{}spec: {{ bases: [../../gone] }}\n", head("Overlay", "test")));
        assert_eq!(run(&args(folder.path().into(), false)), 1, "one of them is broken");
    }

    #[test]
    fn paths_are_relative_to_where_the_command_was_run() {
        let file = SourceFile { path: "x.yaml".into(), bytes: Vec::new() };
        let path = |root: &str| from_here(Path::new(root), vec![file.clone()], Vec::new()).0[0].path.clone();
        assert_eq!(
            (path("."), path("src"), path("./src/")),
            ("x.yaml".into(), "src/x.yaml".into(), "src/x.yaml".into())
        );
        assert_eq!(path("src/x.yaml"), "src/x.yaml");
    }
}
