//! BMCs that are programs: sushy-tools (Redfish over HTTPS, with passwords) and OpenIPMI's `ipmi_sim`.
//!
//! `make deps` installs them: `ipmi_sim` from Debian, sushy-tools into `target/bmc-lab`. All of it listens on loopback.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub const USER: &str = "admin";
pub const PASSWORD: &str = "hunter2-bmc";

/// A program that plays a BMC, ended when it is dropped.
pub struct Emulator {
    child: Child,
    pub port: u16,
    pub dir: tempfile::TempDir,
}

impl Emulator {
    /// Two systems that are on, `n1` and `n2`. Its certificate, signed by itself, is `bmc.pem` in its folder.
    pub fn redfish() -> Self {
        let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bmc-lab/bin");
        let program = venv.join("sushy-emulator");
        assert!(program.exists(), "{} is missing: make deps", program.display());
        let (dir, port) = (tempfile::tempdir().unwrap(), free_tcp_port());
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["bmc.invalid".to_owned()]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let file = |name: &str, text: &str| {
            std::fs::write(dir.path().join(name), text).unwrap();
            dir.path().join(name).display().to_string()
        };
        let certificate = file("bmc.pem", &params.self_signed(&key).unwrap().pem());
        let key = file("key.pem", &key.serialize_pem());
        let hash = format!("import bcrypt;print(bcrypt.hashpw(b'{PASSWORD}',bcrypt.gensalt(4)).decode())");
        let hash = Command::new(venv.join("python")).args(["-c", &hash]).output().unwrap().stdout;
        let users = file("users", &format!("{USER}:{}", String::from_utf8(hash).unwrap()));
        let systems: Vec<String> = (1..=2)
            .map(|n| {
                format!(
                    "{{'uuid': '{}', 'name': 'n{n}', 'power_state': 'On', 'external_notifier': False, 'nics': []}}",
                    system(n)
                )
            })
            .collect();
        let config = format!(
            "SUSHY_EMULATOR_LISTEN_IP = '127.0.0.1'\nSUSHY_EMULATOR_LISTEN_PORT = {port}\n\
             SUSHY_EMULATOR_SSL_CERT = '{certificate}'\nSUSHY_EMULATOR_SSL_KEY = '{key}'\n\
             SUSHY_EMULATOR_STATE_DIR = '{}'\nSUSHY_EMULATOR_AUTH_FILE = '{users}'\n\
             SUSHY_EMULATOR_FAKE_DRIVER = True\nSUSHY_EMULATOR_FAKE_SYSTEMS = [{}]\n",
            dir.path().display(),
            systems.join(", ")
        );
        let config = file("emulator.conf", &config);
        let child = spawn(Command::new(program).args(["--config", &config]), dir.path());
        let emulator = Self { child, port, dir };
        emulator.wait("the Redfish emulator", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        emulator
    }

    /// One chassis, whose machine is a process.
    pub fn ipmi() -> Self {
        let program = Path::new("/usr/bin/ipmi_sim");
        assert!(program.exists(), "{} is missing: make deps", program.display());
        let (dir, port) = (tempfile::tempdir().unwrap(), free_udp_port());
        let path = dir.path().display().to_string();
        let config = include_str!("ipmi.conf").replace("@PORT@", &port.to_string()).replace("@DIR@", &path);
        std::fs::write(dir.path().join("lan.conf"), config).unwrap();
        std::fs::write(dir.path().join("ipmi.emu"), include_str!("ipmi.emu")).unwrap();
        let chassis = dir.path().join("chassis.sh");
        std::fs::write(&chassis, include_str!("chassis.sh")).unwrap();
        Command::new("chmod").arg("755").arg(&chassis).status().unwrap();
        let on = Command::new(&chassis).args([&path, "set", "power", "1"]).status().unwrap();
        assert!(on.success());
        std::fs::create_dir(dir.path().join("state")).unwrap();
        let mut command = Command::new(program);
        command.args(["-c", "lan.conf", "-f", "ipmi.emu", "-s", "state", "-n"]);
        let child = spawn(&mut command, dir.path());
        let emulator = Self { child, port, dir };
        emulator.wait("the IPMI emulator", || {
            let answer = Command::new("ipmitool")
                .args(["-I", "lanplus", "-C", "3", "-N", "1", "-R", "1", "-H", "127.0.0.1", "-p", &port.to_string()])
                .args(["-U", USER, "-P", PASSWORD, "power", "status"])
                .output();
            answer.is_ok_and(|answer| answer.status.success())
        });
        emulator
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The machine's process, while it lives.
    pub fn machine(&self) -> Option<Pid> {
        let pid = std::fs::read_to_string(self.path("machine.pid")).ok()?.trim().parse().ok()?;
        let pid = Pid::from_raw(pid);
        kill(pid, None).is_ok().then_some(pid)
    }

    /// The BMC hangs: it keeps its port and answers nothing.
    pub fn freeze(&self) {
        kill(self.pid(), Signal::SIGSTOP).unwrap();
    }

    pub fn thaw(&self) {
        kill(self.pid(), Signal::SIGCONT).unwrap();
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    fn wait(&self, what: &str, mut ready: impl FnMut() -> bool) {
        let begin = Instant::now();
        while !ready() {
            let said = std::fs::read_to_string(self.path("emulator.log")).unwrap_or_default();
            assert!(begin.elapsed() < Duration::from_secs(20), "{what} does not answer: {said}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(machine) = self.machine() {
            let _ = kill(machine, Signal::SIGKILL);
        }
    }
}

/// The id of a system of the Redfish emulator.
pub fn system(n: u32) -> String {
    format!("00000000-0000-0000-0000-00000000000{n}")
}

fn spawn(command: &mut Command, dir: &Path) -> Child {
    let log = std::fs::File::create(dir.join("emulator.log")).unwrap();
    let (out, err) = (log.try_clone().unwrap(), log);
    command.current_dir(dir).stdin(Stdio::null()).stdout(out).stderr(err).spawn().expect("starts")
}

/// Free a moment ago.
fn free_tcp_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn free_udp_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
