//! Fencing through real BMC protocols: the native Redfish client, `fence_redfish` and `fence_ipmilan` against emulators.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hafen::agent::{Config, FenceReading, FenceReport, FenceRequest, Runner, Verb};
use hafen::model::{FencingDevice, SecretRef};

use crate::bmc::{Emulator, PASSWORD, USER, system};

/// A runner, and a folder for its secrets.
struct Fencer {
    runner: Runner,
    dir: tempfile::TempDir,
    device: FencingDevice,
}

impl Fencer {
    fn new(agent: &str, params: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::new(dir.path().join("data"), dir.path().join("run"), "n9".into());
        let (deaths, _) = tokio::sync::mpsc::channel(1);
        let params = params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let device = FencingDevice {
            agent: agent.into(),
            params,
            secrets: BTreeMap::new(),
            targets: BTreeMap::new(),
            timeout: Duration::from_secs(60),
            delay: Duration::ZERO,
            retries: 2,
            check: Duration::from_secs(600),
        };
        let mut fencer = Self { runner: Runner::new(config, deaths).unwrap(), dir, device };
        fencer.password(PASSWORD);
        fencer
    }

    fn password(&mut self, password: &str) {
        let file = self.dir.path().join("secret");
        std::fs::write(&file, password).unwrap();
        self.device.secrets.insert("password".into(), SecretRef::File { file: file.display().to_string() });
    }

    async fn ask(&self, verb: Verb, seconds: u64) -> FenceReading {
        let begin = Instant::now();
        let FenceReport { reading, output, .. } = self
            .runner
            .fence(FenceRequest {
                name: "bmc".into(),
                device: self.device.clone(),
                target: "n1".into(),
                verb,
                timeout: Duration::from_secs(seconds),
            })
            .await;
        eprintln!("{} {verb:?}: {reading:?} after {} ms", self.device.agent, begin.elapsed().as_millis());
        assert!(!output.contains(PASSWORD), "the password is in the output");
        assert!(begin.elapsed() < Duration::from_secs(seconds + 3), "it did not end in time");
        reading
    }

    /// Off and on again, each read back.
    async fn works(&self) {
        use FenceReading::{Done, PoweredOff, PoweredOn};
        assert_eq!(self.ask(Verb::Monitor, 30).await, Done);
        assert_eq!(self.ask(Verb::Status, 30).await, PoweredOn);
        assert_eq!(self.ask(Verb::Off, 60).await, PoweredOff);
        assert_eq!(self.ask(Verb::Status, 30).await, PoweredOff);
        assert!(matches!(self.ask(Verb::On, 60).await, Done | PoweredOn));
        assert_eq!(self.ask(Verb::Status, 30).await, PoweredOn);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bmc_redfish_is_switched_natively_and_read_back() {
    let bmc = Emulator::redfish();
    let port = bmc.port.to_string();
    let ca = bmc.path("bmc.pem").display().to_string();
    let at = [("ip", "127.0.0.1"), ("ipport", port.as_str()), ("username", USER)];
    let id = system(1);
    let with = |more: &[(&str, &str)]| Fencer::new("redfish", &[at.as_slice(), more].concat());
    with(&[("ca", &ca), ("system", &id)]).works().await;
    let failed = |reading: FenceReading| match reading {
        FenceReading::Failed(why) => why,
        other => panic!("{other:?}"),
    };
    let why = failed(with(&[("ca", &ca)]).ask(Verb::Off, 20).await);
    assert!(why.contains("2 systems") && why.contains(&id), "{why}");
    let why = failed(with(&[("ca", &ca), ("system", "nobody")]).ask(Verb::Off, 20).await);
    assert!(why.contains("no system `nobody`") && why.contains(&id), "{why}");
    let why = failed(with(&[("system", &id)]).ask(Verb::Off, 20).await);
    assert!(why.contains("is not trusted"), "{why}");
    assert_eq!(with(&[("insecure", "true"), ("system", "n2")]).ask(Verb::Status, 20).await, FenceReading::PoweredOn);
    let mut stranger = with(&[("ca", &ca), ("system", &id)]);
    stranger.password("wrong-password");
    let why = failed(stranger.ask(Verb::Off, 20).await);
    assert!(why.contains("401") && why.contains(USER), "{why}");
    let known = with(&[("ca", &ca), ("system", &id)]);
    bmc.freeze();
    assert_eq!(known.ask(Verb::Off, 4).await, FenceReading::TimedOut, "a hung BMC proves nothing");
    bmc.thaw();
}

#[tokio::test(flavor = "multi_thread")]
async fn bmc_redfish_is_switched_by_its_fence_agent() {
    let bmc = Emulator::redfish();
    let port = bmc.port.to_string();
    let uri = format!("/redfish/v1/Systems/{}", system(1));
    let mut fencer = Fencer::new(
        "fence_redfish",
        &[("ip", "127.0.0.1"), ("ipport", &port), ("username", USER), ("systems_uri", &uri), ("ssl_insecure", "1")],
    );
    fencer.works().await;
    fencer.password("wrong-password");
    assert!(matches!(fencer.ask(Verb::Off, 30).await, FenceReading::Failed(_)));
    fencer.password(PASSWORD);
    bmc.freeze();
    assert_eq!(fencer.ask(Verb::Off, 4).await, FenceReading::TimedOut, "a hung BMC proves nothing");
    bmc.thaw();
}

#[tokio::test(flavor = "multi_thread")]
async fn bmc_ipmi_ends_the_machine_behind_it() {
    let bmc = Emulator::ipmi();
    let port = bmc.port.to_string();
    let at = [("ip", "127.0.0.1"), ("ipport", port.as_str()), ("username", USER), ("lanplus", "1"), ("cipher", "3")];
    let mut fencer = Fencer::new("fence_ipmilan", &at);
    let first = bmc.machine().expect("is on");
    assert_eq!(fencer.ask(Verb::Off, 60).await, FenceReading::PoweredOff);
    assert_eq!(bmc.machine(), None, "its process has ended");
    assert_eq!(fencer.ask(Verb::On, 60).await, FenceReading::Done);
    assert!(bmc.machine().is_some_and(|second| second != first), "another boot");
    fencer.works().await;
    fencer.password("wrong-password");
    assert!(matches!(fencer.ask(Verb::Off, 30).await, FenceReading::Failed(_)));
    assert!(bmc.machine().is_some(), "nobody switched it off");
    fencer.password(PASSWORD);
    bmc.freeze();
    let reading = fencer.ask(Verb::Off, 4).await;
    bmc.thaw();
    assert_eq!(reading, FenceReading::TimedOut, "a hung BMC proves nothing");
}
