//! Makes the snapshot of agents that comes with the program, and holds it against the packages installed here.
//!
//! `make agents` writes `src/manifest/agents.txt` from what `resource-agents` and `fence-agents` install. Where the same
//! versions are installed, the agents have to say what the snapshot says; where others are, there is nothing to compare.

use super::catalogue::catalogue;
use crate::manifest::bundled;
use crate::model::AgentMetadata;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// The package that a file belongs to, with its version; None where dpkg does not know.
fn package_of(files: &[String]) -> BTreeMap<String, String> {
    let found = Command::new("dpkg-query").arg("-S").args(files).output().map(|output| output.stdout);
    let found = String::from_utf8(found.unwrap_or_default()).unwrap();
    let mut versions = BTreeMap::new();
    let owner = |line: &str| {
        let (package, file) = line.split_once(": ")?;
        let package = package.split(':').next()?;
        let version = versions.entry(package.to_owned()).or_insert_with(|| {
            let output = Command::new("dpkg-query").args(["-W", "-f=${Version}", package]).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        });
        Some((file.to_owned(), format!("{package} {version}")))
    };
    found.lines().filter_map(owner).collect()
}

fn file_of(agent: &str) -> String {
    match agent.strip_prefix("ocf:").and_then(|agent| agent.split_once(':')) {
        Some((provider, name)) => format!("/usr/lib/ocf/resource.d/{provider}/{name}"),
        None => format!("/usr/sbin/{agent}"),
    }
}

#[tokio::test]
async fn the_snapshot_of_agents_is_what_the_packages_of_its_version_say() {
    let root = Path::new("/usr/lib/ocf");
    let fence = ["/usr/sbin".into()];
    let installed = catalogue(&BTreeSet::new(), root, &fence).await.installed;
    let packages = package_of(&installed.iter().map(|agent| file_of(agent)).collect::<Vec<_>>());
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let wanted = |agent: &&String| {
        let package = packages.get(&file_of(agent));
        package.is_some_and(|package| update || bundled::packages().contains(package.as_str()))
    };
    let names: BTreeSet<String> = installed.iter().filter(wanted).cloned().collect();
    let said = catalogue(&names, root, &fence).await.metadata;
    let said: BTreeMap<String, (String, AgentMetadata)> = said
        .into_iter()
        .map(|(name, metadata)| (name.clone(), (packages[&file_of(&name)].clone(), metadata)))
        .collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manifest/agents.txt");
    if update {
        assert!(
            said.len() > 200,
            "only {} agents answered: are resource-agents and fence-agents installed?",
            said.len()
        );
        std::fs::write(&path, bundled::write(&said)).unwrap();
        return;
    }
    // On a machine under load some may not answer in time; what is said must be the same.
    assert!(said.len() * 2 >= names.len(), "{} of {} agents answered", said.len(), names.len());
    let stored = std::fs::read_to_string(&path).unwrap();
    let blocks = |text: &str| -> BTreeSet<String> { text.replace("\n ", "\t").lines().map(str::to_owned).collect() };
    let missing: Vec<String> = blocks(&bundled::write(&said)).difference(&blocks(&stored)).cloned().collect();
    assert!(missing.is_empty(), "the snapshot is out of date, run `make agents`:\n{}", missing.join("\n"));
}
