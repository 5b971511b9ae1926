//! systemd units as resources, over D-Bus.
//!
//! A request and a unit's name → status and words, with the exit codes of OCF (0 running, 7 stopped, 1 failed, 5 not
//! installed). Start and stop wait for the end of systemd's job; a change of state is told as a [`Death`].
//!
//! Before a unit is run it gets a drop-in below `/run/systemd/system` (gone with the boot): `Restart=no`, since two
//! restarters make a mess, and `Before=hafen.service`, so that a shutdown of the host stops hafen first, and through it
//! the unit in its place in the order. A unit that is enabled at boot would run beside the cluster: while it does not
//! run, such a node counts as one where it is not installed.
//!
//! Not here: promotion and migration, which units do not have.

use super::watch::Death;
use crate::model::{ActionKind, ExecStatus, InstanceId};
use futures_util::StreamExt;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::{Mutex, mpsc};

use zbus::{Connection, MatchRule, MessageStream, OwnedObjectPath, OwnedVariant};

const DESTINATION: &str = "org.freedesktop.systemd1";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
/// systemd makes this folder when it is process 1 (sd_booted(3)).
const UNITS_AT_RUN_TIME: &str = "/run/systemd/system";
const DROP_IN: &str = "50-hafen.conf";
/// Before the bus is asked again after it went away.
const RECONNECT: Duration = Duration::from_secs(2);
/// How long a job of an earlier daemon is waited for.
const SETTLE: Duration = Duration::from_secs(30);

/// The connection to this node's systemd, made when it is first needed.
pub struct Systemd {
    bus: Mutex<Option<Connection>>,
    /// One reload at a time: it re-reads every unit of the machine.
    reload: Mutex<()>,
    units: PathBuf,
}

/// Why a unit could not be asked or told something.
enum Trouble {
    /// systemd does not run here.
    Absent(String),
    Failed(String),
}

impl From<zbus::Error> for Trouble {
    fn from(error: zbus::Error) -> Self {
        Self::Failed(format!("systemd did not do it: {error}"))
    }
}

type Answer = (ExecStatus, String);

impl Systemd {
    pub fn new() -> Self {
        Self { bus: Mutex::new(None), reload: Mutex::new(()), units: UNITS_AT_RUN_TIME.into() }
    }

    /// Does what was asked of a unit, within the time given.
    pub async fn act(&self, kind: ActionKind, unit: &str, timeout: Duration) -> Answer {
        let unit = full_name(unit);
        let work = async {
            match kind {
                ActionKind::Probe | ActionKind::Monitor => self.look(&unit, kind).await,
                ActionKind::Start => self.start(&unit).await,
                ActionKind::Stop => self.stop(&unit).await,
                // OCF 1.1, exit status 3: the action is not implemented.
                ActionKind::Promote
                | ActionKind::Demote
                | ActionKind::MigrateTo
                | ActionKind::MigrateFrom
                | ActionKind::Reload => Ok((ExecStatus::Exited(3), format!("a systemd unit has no {kind}"))),
                // Units of a clone with `notify` have nobody who would listen.
                ActionKind::Notify => Ok((ExecStatus::Exited(0), String::new())),
            }
        };
        match tokio::time::timeout(timeout, work).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(Trouble::Absent(why))) => (ExecStatus::NotInstalled, why),
            Ok(Err(Trouble::Failed(why))) => (ExecStatus::Failed, why),
            Err(_) => (ExecStatus::TimedOut, self.give_up(&unit, timeout).await),
        }
    }

    /// Tells when the unit is no longer active; ends after that.
    pub async fn watch(&self, instance: InstanceId, unit: &str, deaths: mpsc::Sender<Death>) {
        let unit = full_name(unit);
        // An adopted unit has been started by somebody else, without the drop-in.
        if let Err(Trouble::Failed(why) | Trouble::Absent(why)) = self.put_drop_in(&unit).await {
            tracing::warn!(%instance, unit, why, "the unit may restart by itself");
        }
        loop {
            match self.until_inactive(&unit).await {
                Ok(state) => {
                    let what = format!("unit {unit} is {state}");
                    tracing::info!(%instance, what, "something of an instance ended");
                    let _ = deaths.send(Death { instance, what }).await;
                    return;
                }
                Err(Trouble::Failed(why) | Trouble::Absent(why)) => {
                    tracing::debug!(%instance, unit, why, "lost sight of a unit");
                    tokio::time::sleep(RECONNECT).await;
                }
            }
        }
    }

    /// Waits until systemd has no job for the unit: after a daemon died while it started or stopped one.
    pub async fn settle(&self, unit: &str) {
        let unit = full_name(unit);
        let work = async {
            let bus = self.bus().await?;
            let path = load(&bus, &unit).await?;
            let mut changes = changes_of(&bus, &path).await?;
            while job_of(&bus, &path).await? != 0 {
                changes.next().await;
            }
            Ok::<(), Trouble>(())
        };
        match tokio::time::timeout(SETTLE, work).await {
            Ok(Ok(())) => {}
            Ok(Err(Trouble::Failed(why) | Trouble::Absent(why))) => tracing::warn!(unit, why, "cannot wait for a job"),
            Err(_) => tracing::warn!(unit, "a job of an earlier daemon has not ended"),
        }
    }

    async fn look(&self, unit: &str, kind: ActionKind) -> Result<Answer, Trouble> {
        let bus = self.bus().await?;
        let path = load(&bus, unit).await?;
        let mut changes = changes_of(&bus, &path).await?;
        loop {
            let state = State::read(&bus, &path).await?;
            if let Some(answer) = state.verdict(unit, kind) {
                return Ok(answer);
            }
            // Starting or stopping: neither running nor stopped. The time-out of the action bounds this.
            changes.next().await;
        }
    }

    async fn start(&self, unit: &str) -> Result<Answer, Trouble> {
        let bus = self.bus().await?;
        let path = load(&bus, unit).await?;
        let state = State::read(&bus, &path).await?;
        // One that runs already, for whatever reason, is taken as started.
        if state.active != "active"
            && let Some(answer) = state.unfit(unit)
        {
            return Ok(answer);
        }
        self.put_drop_in(unit).await?;
        let result = self.job(&bus, "StartUnit", unit, "replace").await?;
        let state = State::read(&bus, &path).await?;
        Ok(match (result.as_str(), state.active.as_str()) {
            ("done", "active" | "reloading") => (ExecStatus::Exited(0), String::new()),
            _ => (ExecStatus::Exited(1), format!("start of {unit}: job {result}, now {state}")),
        })
    }

    async fn stop(&self, unit: &str) -> Result<Answer, Trouble> {
        let bus = self.bus().await?;
        let path = load(&bus, unit).await?;
        let state = State::read(&bus, &path).await?;
        if state.load == "not-found" && state.active == "inactive" {
            // OCF 1.1: stopping what is not installed succeeds. A unit whose file was removed may still run.
            return Ok((ExecStatus::Exited(0), format!("unit {unit} is not on this node")));
        }
        // While the host goes down, systemd has a stop of its own for this unit, and that one waits for hafen, which
        // waits for this stop: without its dependencies it comes first.
        let mode = if is_stopping(&bus).await? { "ignore-dependencies" } else { "replace" };
        let result = self.job(&bus, "StopUnit", unit, mode).await?;
        // A failed unit that is stopped stays failed; its failure has been told, and would be read as a new one.
        let _ = bus.call_method(Some(DESTINATION), MANAGER_PATH, Some(MANAGER), "ResetFailedUnit", &(unit,)).await;
        let state = State::read(&bus, &path).await?;
        Ok(match state.active.as_str() {
            "inactive" | "failed" => (ExecStatus::Exited(0), String::new()),
            _ => (ExecStatus::Exited(1), format!("stop of {unit}: job {result}, now {state}")),
        })
    }

    /// Queues a job and waits for its result: `done`, `failed`, `canceled`, `timeout`, `dependency`, `skipped`.
    async fn job(
        &self,
        bus: &Connection,
        method: &'static str,
        unit: &str,
        mode: &'static str,
    ) -> Result<String, Trouble> {
        let rule = MatchRule::builder().msg_type(zbus::message::Type::Signal).path(MANAGER_PATH).interface(MANAGER);
        let mut removed = MessageStream::for_match_rule(rule.member("JobRemoved").build()?, bus, None).await?;
        let body = (unit, mode);
        let reply = bus.call_method(Some(DESTINATION), MANAGER_PATH, Some(MANAGER), method, &body).await?;
        let job: OwnedObjectPath = reply.body().deserialize()?;
        while let Some(message) = removed.next().await {
            let message = message?;
            let (_, path, _, result): (u32, OwnedObjectPath, String, String) = message.body().deserialize()?;
            if path == job {
                return Ok(result);
            }
        }
        Err(Trouble::Failed("the connection to systemd ended; the job may still run".into()))
    }

    /// After a time-out: the job shall not go on behind the cluster's back.
    async fn give_up(&self, unit: &str, timeout: Duration) -> String {
        let cancel = async {
            let bus = self.bus().await?;
            let job = job_of(&bus, &load(&bus, unit).await?).await?;
            if job != 0 {
                bus.call_method(Some(DESTINATION), MANAGER_PATH, Some(MANAGER), "CancelJob", &(job,)).await?;
            }
            Ok::<(), Trouble>(())
        };
        // Best effort, and bounded: systemd itself may be what hangs.
        let _ = tokio::time::timeout(Duration::from_secs(1), cancel).await;
        format!("{unit} did not get there within {} ms", timeout.as_millis())
    }

    async fn until_inactive(&self, unit: &str) -> Result<String, Trouble> {
        let bus = self.bus().await?;
        let path = load(&bus, unit).await?;
        let mut changes = changes_of(&bus, &path).await?;
        loop {
            let state = State::read(&bus, &path).await?;
            match state.active.as_str() {
                "active" | "reloading" | "activating" => {}
                _ => return Ok(state.to_string()),
            }
            if changes.next().await.is_none() {
                return Err(Trouble::Failed("the connection to systemd ended".into()));
            }
        }
    }

    async fn put_drop_in(&self, unit: &str) -> Result<(), Trouble> {
        let _one = self.reload.lock().await;
        let folder = self.units.join(format!("{unit}.d"));
        match write_drop_in(&folder, unit) {
            Ok(Written::AsItWas) => return Ok(()),
            Ok(Written::New) => {}
            Err(error) => return Err(Trouble::Failed(format!("failed to write `{}`: {error}", folder.display()))),
        }
        let bus = self.bus().await?;
        bus.call_method(Some(DESTINATION), MANAGER_PATH, Some(MANAGER), "Reload", &()).await?;
        Ok(())
    }

    async fn bus(&self) -> Result<Connection, Trouble> {
        let mut kept = self.bus.lock().await;
        if let Some(bus) = kept.as_ref().filter(|bus| !bus.is_closed()) {
            return Ok(bus.clone());
        }
        if !Path::new(UNITS_AT_RUN_TIME).is_dir() {
            return Err(Trouble::Absent("systemd is not running on this node, so it can run no systemd unit".into()));
        }
        let bus = Connection::system()
            .await
            .map_err(|error| Trouble::Failed(format!("failed to connect to the system bus: {error}")))?;
        // Without this systemd sends no signals about its units and jobs.
        bus.call_method(Some(DESTINATION), MANAGER_PATH, Some(MANAGER), "Subscribe", &()).await?;
        *kept = Some(bus.clone());
        Ok(bus)
    }
}

/// What systemd says of a unit.
struct State {
    load: String,
    active: String,
    sub: String,
    file: String,
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.active, self.sub)
    }
}

impl State {
    async fn read(bus: &Connection, path: &OwnedObjectPath) -> Result<Self, Trouble> {
        let reply = bus.call_method(Some(DESTINATION), path, Some(PROPERTIES), "GetAll", &(UNIT,)).await?;
        let mut all: HashMap<String, OwnedVariant> = reply.body().deserialize()?;
        let mut take = |name: &str| all.remove(name).and_then(|value| String::try_from(value).ok()).unwrap_or_default();
        Ok(Self {
            load: take("LoadState"),
            active: take("ActiveState"),
            sub: take("SubState"),
            file: take("UnitFileState"),
        })
    }

    /// Why the unit cannot be run on this node by the cluster, if so.
    fn unfit(&self, unit: &str) -> Option<Answer> {
        let why = match (self.load.as_str(), self.file.as_str()) {
            ("not-found", _) => format!("unit {unit} is not on this node"),
            ("masked", _) => format!("unit {unit} is masked on this node"),
            (_, "enabled" | "enabled-runtime") => format!(
                "unit {unit} is enabled at boot, so systemd would start it beside the cluster: \
                 run `systemctl disable {unit}` on this node"
            ),
            _ => return None,
        };
        Some((ExecStatus::NotInstalled, why))
    }

    /// What a monitor or probe answers; None while the unit is on its way.
    fn verdict(&self, unit: &str, kind: ActionKind) -> Option<Answer> {
        match self.active.as_str() {
            "active" | "reloading" => Some((ExecStatus::Exited(0), String::new())),
            "activating" | "deactivating" | "maintenance" | "refreshing" => None,
            // A failed unit has no processes, so a probe has nothing to find; a monitor tells why it is gone.
            "failed" if kind == ActionKind::Monitor => Some((ExecStatus::Exited(1), format!("unit {unit} is {self}"))),
            _ => self.unfit(unit).or_else(|| Some((ExecStatus::Exited(7), format!("unit {unit} is {self}")))),
        }
    }
}

async fn load(bus: &Connection, unit: &str) -> Result<OwnedObjectPath, Trouble> {
    let reply = bus.call_method(Some(DESTINATION), MANAGER_PATH, Some(MANAGER), "LoadUnit", &(unit,)).await?;
    Ok(reply.body().deserialize()?)
}

async fn changes_of(bus: &Connection, path: &OwnedObjectPath) -> Result<MessageStream, Trouble> {
    let rule = MatchRule::builder().msg_type(zbus::message::Type::Signal).path(path).interface(PROPERTIES);
    Ok(MessageStream::for_match_rule(rule.member("PropertiesChanged").build()?, bus, None).await?)
}

/// Whether the host goes down.
async fn is_stopping(bus: &Connection) -> Result<bool, Trouble> {
    let body = (MANAGER, "SystemState");
    let reply = bus.call_method(Some(DESTINATION), MANAGER_PATH, Some(PROPERTIES), "Get", &body).await?;
    let state: OwnedVariant = reply.body().deserialize()?;
    Ok(String::try_from(state).is_ok_and(|state| state == "stopping"))
}

/// The number of the unit's job; 0 if it has none.
async fn job_of(bus: &Connection, path: &OwnedObjectPath) -> Result<u32, Trouble> {
    let reply = bus.call_method(Some(DESTINATION), path, Some(PROPERTIES), "Get", &(UNIT, "Job")).await?;
    let value: OwnedVariant = reply.body().deserialize()?;
    let (job, _): (u32, OwnedObjectPath) = value.try_into().map_err(|error| Trouble::Failed(format!("{error}")))?;
    Ok(job)
}

fn full_name(unit: &str) -> String {
    const SUFFIXES: [&str; 10] =
        [".service", ".socket", ".target", ".mount", ".timer", ".path", ".slice", ".scope", ".swap", ".automount"];
    if SUFFIXES.iter().any(|suffix| unit.ends_with(suffix)) { unit.to_owned() } else { format!("{unit}.service") }
}

enum Written {
    New,
    AsItWas,
}

fn write_drop_in(folder: &Path, unit: &str) -> io::Result<Written> {
    let text = drop_in(unit);
    let path = folder.join(DROP_IN);
    if fs::read_to_string(&path).is_ok_and(|there| there == text) {
        return Ok(Written::AsItWas);
    }
    fs::create_dir_all(folder)?;
    fs::write(path, text)?;
    Ok(Written::New)
}

fn drop_in(unit: &str) -> String {
    let service = if unit.ends_with(".service") { "\n[Service]\nRestart=no\n" } else { "" };
    format!("# Written by hafen, which runs this unit.\n[Unit]\nBefore=hafen.service\n{service}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(load: &str, active: &str, file: &str) -> State {
        State { load: load.into(), active: active.into(), sub: "x".into(), file: file.into() }
    }

    #[test]
    fn states_are_read_as_an_ocf_agent_would_answer() {
        for (load, active, file, kind, expected) in [
            ("loaded", "active", "disabled", ActionKind::Monitor, Some(ExecStatus::Exited(0))),
            ("loaded", "active", "enabled", ActionKind::Probe, Some(ExecStatus::Exited(0))),
            ("loaded", "inactive", "disabled", ActionKind::Probe, Some(ExecStatus::Exited(7))),
            ("loaded", "inactive", "enabled", ActionKind::Probe, Some(ExecStatus::NotInstalled)),
            ("not-found", "inactive", "", ActionKind::Probe, Some(ExecStatus::NotInstalled)),
            ("loaded", "failed", "disabled", ActionKind::Probe, Some(ExecStatus::Exited(7))),
            ("loaded", "failed", "disabled", ActionKind::Monitor, Some(ExecStatus::Exited(1))),
            ("loaded", "deactivating", "disabled", ActionKind::Monitor, None),
        ] {
            let answer = state(load, active, file).verdict("a.service", kind).map(|(status, _)| status);
            assert_eq!(answer, expected, "{load} {active} {file} {kind}");
        }
    }

    #[test]
    fn a_drop_in_is_written_once() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("nginx.service.d");
        assert!(matches!(write_drop_in(&folder, "nginx.service").unwrap(), Written::New));
        assert!(matches!(write_drop_in(&folder, "nginx.service").unwrap(), Written::AsItWas));
        let text = fs::read_to_string(folder.join(DROP_IN)).unwrap();
        assert!(text.contains("Restart=no") && text.contains("Before=hafen.service"));
        assert!(!drop_in("a.socket").contains("[Service]"));
    }

    /// On a machine with systemd: the real thing, in the two tests below. Elsewhere: the words.
    #[tokio::test]
    async fn without_systemd_the_answer_says_so() {
        if Path::new(UNITS_AT_RUN_TIME).is_dir() {
            return;
        }
        let (status, words) = Systemd::new().act(ActionKind::Start, "nginx", Duration::from_secs(5)).await;
        assert_eq!(status, ExecStatus::NotInstalled);
        assert!(words.starts_with("systemd is not running on this node"), "{words}");
    }

    #[tokio::test]
    async fn a_real_unit_is_run() {
        if !Path::new(UNITS_AT_RUN_TIME).is_dir() || !nix::unistd::geteuid().is_root() {
            return;
        }
        let unit = format!("hafen-test-{}.service", std::process::id());
        let file = Path::new(UNITS_AT_RUN_TIME).join(&unit);
        fs::write(&file, "[Service]\nExecStart=/bin/sleep 1000\nRestart=always\nRestartSec=100ms\n").unwrap();
        let systemd = Systemd::new();
        let limit = Duration::from_secs(20);
        let (missing, _) = systemd.act(ActionKind::Probe, "hafen-no-such-unit", limit).await;
        assert_eq!(missing, ExecStatus::NotInstalled);
        let act = async |kind| systemd.act(kind, &unit, limit).await;
        let monitors = async |code| assert_eq!(act(ActionKind::Monitor).await.0, ExecStatus::Exited(code));
        monitors(7).await;
        let started = act(ActionKind::Start).await;
        assert_eq!(started.0, ExecStatus::Exited(0), "{}", started.1);
        monitors(0).await;
        let (deaths, mut told) = mpsc::channel(4);
        let watching = systemd.watch(InstanceId::plain("u"), &unit, deaths);
        let killing = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let kill = ["kill", "-s", "KILL", &unit];
            assert!(std::process::Command::new("systemctl").args(kill).status().unwrap().success());
        };
        tokio::join!(watching, killing);
        assert!(told.try_recv().unwrap().what.contains("failed"));
        monitors(1).await;
        assert_eq!(act(ActionKind::Stop).await.0, ExecStatus::Exited(0));
        monitors(7).await;
        fs::remove_file(file).unwrap();
        fs::remove_dir_all(Path::new(UNITS_AT_RUN_TIME).join(format!("{unit}.d"))).unwrap();
    }

    #[tokio::test]
    async fn a_real_unit_that_hangs_times_out_and_one_that_is_enabled_bans_the_node() {
        if !Path::new(UNITS_AT_RUN_TIME).is_dir() || !nix::unistd::geteuid().is_root() {
            return;
        }
        let unit = format!("hafen-test-hang-{}.service", std::process::id());
        let file = Path::new(UNITS_AT_RUN_TIME).join(&unit);
        let text = "[Service]\nType=notify\nExecStart=/bin/sleep 1000\n[Install]\nWantedBy=multi-user.target\n";
        fs::write(&file, text).unwrap();
        let systemctl = |args: &[&str]| {
            assert!(std::process::Command::new("systemctl").args(args).arg(&unit).status().unwrap().success());
        };
        let systemd = Systemd::new();
        let limit = Duration::from_secs(20);
        assert_eq!(systemd.act(ActionKind::Start, &unit, Duration::from_secs(1)).await.0, ExecStatus::TimedOut);
        systemd.settle(&unit).await;
        assert_eq!(systemd.act(ActionKind::Stop, &unit, limit).await.0, ExecStatus::Exited(0));
        assert_eq!(systemd.act(ActionKind::Probe, &unit, limit).await.0, ExecStatus::Exited(7));
        systemctl(&["--runtime", "enable"]);
        for kind in [ActionKind::Probe, ActionKind::Start] {
            let (status, words) = systemd.act(kind, &unit, limit).await;
            assert_eq!(status, ExecStatus::NotInstalled);
            assert!(words.contains("is enabled at boot"), "{words}");
        }
        systemctl(&["--runtime", "disable"]);
        let _ = fs::remove_file(file);
        fs::remove_dir_all(Path::new(UNITS_AT_RUN_TIME).join(format!("{unit}.d"))).unwrap();
    }
}
