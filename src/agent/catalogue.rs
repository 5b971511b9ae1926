//! Which agents are installed on this machine, and what the named ones say of themselves.
//!
//! Names (`ocf:PROVIDER:TYPE`, `fence_…`) → [`AgentCatalogue`]. Installed is what lies in the agents' folders and may
//! be executed; metadata is asked of the named agents alone, a few at a time, each bounded in time, and remembered until
//! the agent's file changes. An agent that does not answer has no metadata: then nothing is checked against it.

use super::metadata;
use super::ocf;
use super::process::{self, Capture, Program};
use crate::model::{AgentCatalogue, AgentMetadata, AgentRef, ExecStatus};
use futures_util::StreamExt;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// How long an agent may take to print its metadata. Python ones need half a second on a busy machine.
const METADATA_TIMEOUT: Duration = Duration::from_secs(10);
/// Agents asked at once: enough to fill a small machine, without stalling what else runs on it.
const AT_ONCE: usize = 8;

/// The folders of agents, and what has been read of them. Clones share what they remember.
#[derive(Clone)]
pub struct Catalogue {
    ocf_root: PathBuf,
    fence_dirs: Vec<PathBuf>,
    remembered: Arc<Mutex<Remembered>>,
}

/// A file's time of change and size: another one is another agent.
type Stamp = (SystemTime, u64);

type Remembered = BTreeMap<PathBuf, (Stamp, Arc<AgentMetadata>)>;

/// Reads once, without remembering: see [`Catalogue::read`].
pub async fn catalogue(names: &BTreeSet<String>, ocf_root: &Path, fence_dirs: &[PathBuf]) -> AgentCatalogue {
    Catalogue::new(ocf_root.to_owned(), fence_dirs.to_vec()).read(names).await
}

impl Catalogue {
    pub fn new(ocf_root: PathBuf, fence_dirs: Vec<PathBuf>) -> Self {
        Self { ocf_root, fence_dirs, remembered: Arc::default() }
    }

    /// What is installed, and the metadata of the named agents. Names that are not of agents here are passed over.
    pub async fn read(&self, names: &BTreeSet<String>) -> AgentCatalogue {
        let names: Vec<String> = names.iter().cloned().collect();
        let asked = names.into_iter().map(|name| async move {
            let metadata = self.metadata(&name).await?;
            Some((name, (*metadata).clone()))
        });
        let answers: Vec<_> = futures_util::stream::iter(asked).buffered(AT_ONCE).collect().await;
        AgentCatalogue {
            metadata: answers.into_iter().flatten().collect(),
            installed: self.installed(),
            ..AgentCatalogue::default()
        }
    }

    /// The metadata of one agent; None if it is not here or does not answer.
    pub async fn metadata(&self, name: &str) -> Option<Arc<AgentMetadata>> {
        let path = self.path_of(name)?;
        let stamp = stamp_of(&path)?;
        if let Some((known, metadata)) = self.remembered().get(&path)
            && *known == stamp
        {
            return Some(metadata.clone());
        }
        let metadata = Arc::new(self.ask(name, &path).await?);
        self.remembered().insert(path, (stamp, metadata.clone()));
        Some(metadata)
    }

    /// The file of an agent, if it is installed.
    pub fn path_of(&self, name: &str) -> Option<PathBuf> {
        match name.parse::<AgentRef>() {
            Ok(AgentRef::Ocf { provider, name }) => {
                Some(self.ocf_root.join("resource.d").join(provider).join(name)).filter(|path| is_program(path))
            }
            Ok(AgentRef::Systemd { .. } | AgentRef::Foreign { .. }) => None,
            Err(_) if is_fence_name(name) => {
                self.fence_dirs.iter().map(|folder| folder.join(name)).find(|path| is_program(path))
            }
            Err(_) => None,
        }
    }

    fn installed(&self) -> BTreeSet<String> {
        let providers = names_in(&self.ocf_root.join("resource.d"));
        let ocf = providers.iter().flat_map(|provider| {
            let folder = self.ocf_root.join("resource.d").join(provider);
            names_in(&folder).into_iter().filter_map(move |name| {
                (!name.starts_with('.') && is_program(&folder.join(&name))).then(|| format!("ocf:{provider}:{name}"))
            })
        });
        let fence = self.fence_dirs.iter().flat_map(|folder| {
            names_in(folder).into_iter().filter(|name| is_fence_name(name) && is_program(&folder.join(name)))
        });
        ocf.chain(fence).collect()
    }

    async fn ask(&self, name: &str, path: &Path) -> Option<AgentMetadata> {
        let args: &[&str] = if is_fence_name(name) { &["-o", "metadata"] } else { &["meta-data"] };
        let mut env = ocf::base(&self.ocf_root, Path::new("/usr/sbin"));
        if let Ok(AgentRef::Ocf { provider, name }) = name.parse::<AgentRef>() {
            env.insert("OCF_RESOURCE_TYPE".into(), name);
            env.insert("OCF_RESOURCE_PROVIDER".into(), provider);
        }
        let finished = process::run(Program {
            path: path.to_owned(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            env,
            input: None,
            timeout: METADATA_TIMEOUT,
            capture: Capture::Metadata,
            cgroup: None,
            journal: None,
        })
        .await;
        let read = match finished.status {
            ExecStatus::Exited(0) => metadata::parse(&finished.output),
            status => Err(format!("it ended with {status:?}")),
        };
        read.inspect_err(|why| tracing::debug!(agent = name, why, "an agent says nothing of itself")).ok()
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, Remembered> {
        // Whole entries are put in at once, so a panic elsewhere leaves nothing half done.
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_fence_name(name: &str) -> bool {
    name.starts_with("fence_") && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn stamp_of(path: &Path) -> Option<Stamp> {
    let meta = fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn real_agents_are_listed_and_say_what_they_are() {
        let names = ["ocf:heartbeat:IPaddr2", "ocf:heartbeat:Nonsense", "fence_apc", "systemd:nginx", "x"];
        let names = names.map(str::to_owned).into();
        let read = catalogue(&names, Path::new("/usr/lib/ocf"), &["/usr/sbin".into()]).await;
        assert!(read.installed.contains("ocf:heartbeat:Dummy") && read.installed.contains("fence_ipmilan"));
        assert!(read.metadata["ocf:heartbeat:IPaddr2"].parameters["ip"].required);
        assert!(read.metadata["fence_apc"].actions.contains_key("status"));
        assert_eq!(read.metadata.len(), 2);
    }

    #[tokio::test]
    async fn an_agent_is_asked_again_only_when_its_file_changed() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("resource.d/test");
        fs::create_dir_all(&folder).unwrap();
        let agent = folder.join("a");
        let write = |shortdesc: &str| {
            let script = format!(
                "#!/bin/sh\necho x >>{}/asked\necho '<resource-agent name=\"a\"><shortdesc>{shortdesc}</shortdesc></resource-agent>'\n",
                root.path().display()
            );
            fs::write(&agent, script).unwrap();
            fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).unwrap();
        };
        let catalogue = Catalogue::new(root.path().into(), vec![]);
        write("one");
        for _ in 0..2 {
            assert_eq!(catalogue.metadata("ocf:test:a").await.unwrap().shortdesc, "one");
        }
        write("another");
        assert_eq!(catalogue.metadata("ocf:test:a").await.unwrap().shortdesc, "another");
        assert_eq!(fs::read_to_string(root.path().join("asked")).unwrap().lines().count(), 2);
    }
}
