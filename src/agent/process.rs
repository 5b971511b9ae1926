//! One child process: how a program is started, bounded, listened to and ended.
//!
//! [`Program`] → [`Finished`]. The child leads a session and process group of its own, reads what it is given or
//! nothing, enters its cgroup and writes itself into its journal entry before it executes anything.
//!
//! Invariants: the answer comes when the program itself ends or its time is up, even when a daemon that it started
//! keeps the pipe open; the pipe is always drained, so nobody blocks on a full one; at most [`CAPTURE_LIMIT`] bytes are
//! kept; after a time-out every process of the group has been sent SIGKILL.
//!
//! Not here: what the exit code means, secrets, environment.

use crate::model::ExecStatus;
use nix::libc;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::unix::pipe;
use tokio::process::Child;
use zeroize::Zeroizing;

/// What is kept of an agent's output: the end of it, where the reason of a failure stands.
pub const CAPTURE_LIMIT: usize = 64 * 1024;
/// Stands before output whose beginning was dropped.
pub const CUT: &str = "… (cut)\n";
/// Metadata is XML and must be whole; the longest of Debian's agents has 40 KiB.
pub const METADATA_LIMIT: usize = 1024 * 1024;
/// Between SIGTERM and SIGKILL of a group whose time is up. Long enough for a shell's trap; every second of it is
/// a second of outage, since a stop that timed out is followed by fencing.
const TERM_GRACE: Duration = Duration::from_secs(1);
/// How long a killed process may take to go away. One in uninterruptible sleep (a dead NFS server) does not.
const KILL_WAIT: Duration = Duration::from_secs(2);
/// How much is read after the program ended: more than a pipe holds, so that a daemon that keeps writing cannot hold
/// the answer up.
const DRAIN_LIMIT: usize = 1024 * 1024;
/// How often and how long a program file that somebody is writing is waited for.
const BUSY_TRIES: u32 = 10;
const BUSY_PAUSE: Duration = Duration::from_millis(10);
const CHUNK: usize = 8 * 1024;

/// What is run, and how.
pub struct Program {
    pub path: PathBuf,
    pub args: Vec<String>,
    /// The whole environment; nothing is inherited.
    pub env: BTreeMap<String, String>,
    /// Written to standard input; None: `/dev/null`.
    pub input: Option<Zeroizing<String>>,
    pub timeout: Duration,
    pub capture: Capture,
    /// `cgroup.procs` of the cgroup to enter, open for writing.
    pub cgroup: Option<File>,
    /// The journal entry, open for appending.
    pub journal: Option<File>,
}

/// Which output is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capture {
    /// Standard output and error, as they come; the last [`CAPTURE_LIMIT`] bytes.
    Both,
    /// Standard output alone; the last [`METADATA_LIMIT`] bytes.
    Metadata,
}

/// What came of a program.
pub struct Finished {
    pub status: ExecStatus,
    pub output: String,
    /// A process that could not be ended: it has been killed, but sleeps in the kernel.
    pub lingering: Option<Child>,
}

/// Runs a program to its end or the end of its time.
pub async fn run(program: Program) -> Finished {
    let timeout = program.timeout;
    let limit = match program.capture {
        Capture::Both => CAPTURE_LIMIT,
        Capture::Metadata => METADATA_LIMIT,
    };
    let input = program.input.clone();
    let path = program.path.clone();
    // On a thread where blocking is allowed: the child creates files before it executes, and spawn waits for that.
    let spawned = match tokio::task::spawn_blocking(move || spawn(program)).await {
        Ok(spawned) => spawned,
        Err(error) => Err(io::Error::other(error)),
    };
    let (mut child, mut pipe, pidfd) = match spawned {
        Ok(spawned) => spawned,
        Err(error) => return not_started(&path, &error),
    };
    if let Some(input) = input {
        feed(&mut child, input);
    }
    let mut tail = Tail::new(limit);
    let (status, lingering) = match wait(&pidfd, &mut pipe, &mut tail, timeout).await {
        Ended::ByItself => (child.wait().await, None),
        Ended::NotInTime => {
            let lingering = end_group(child, &pidfd).await;
            drain(pipe, &mut tail);
            return Finished { status: ExecStatus::TimedOut, output: tail.into_text(), lingering };
        }
    };
    drain(pipe, &mut tail);
    let status = match status.map(|status| (status.code(), status)) {
        Ok((Some(code), _)) => ExecStatus::Exited(code),
        Ok((None, status)) => {
            tail.push(format!("\n(ended by signal {})", status.signal().unwrap_or(0)).as_bytes());
            ExecStatus::Failed
        }
        Err(error) => {
            tail.push(format!("\n(its end was lost: {error})").as_bytes());
            ExecStatus::Failed
        }
    };
    Finished { status, output: tail.into_text(), lingering }
}

/// A descriptor that becomes readable when that process ends. Fails with ESRCH if there is none.
pub fn pidfd_open(pid: i32) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: pidfd_open takes two integers and returns a new descriptor, which is owned from here on.
    let fd = unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(fd as i32)
    };
    // SAFETY: the descriptor belongs to the AsyncFd, and is open for as long as that.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}

enum Ended {
    ByItself,
    NotInTime,
}

type Spawned = (Child, Option<pipe::Receiver>, AsyncFd<OwnedFd>);

fn spawn(program: Program) -> io::Result<Spawned> {
    let (reader, writer) = io::pipe()?;
    let mut command = tokio::process::Command::new(&program.path);
    command.args(&program.args).env_clear().envs(&program.env).current_dir("/");
    command.stdin(if program.input.is_some() { Stdio::piped() } else { Stdio::null() });
    match program.capture {
        Capture::Both => command.stderr(writer.try_clone()?),
        Capture::Metadata => command.stderr(Stdio::null()),
    };
    command.stdout(writer);
    let cgroup = program.cgroup.as_ref().map(AsRawFd::as_raw_fd);
    let journal = program.journal.as_ref().map(AsRawFd::as_raw_fd);
    let parent = std::process::id() as i32;
    // SAFETY: between fork and exec only system calls that are async-signal-safe, on memory of the stack.
    unsafe { command.pre_exec(move || before_exec(parent, cgroup, journal)) };
    let child = spawn_settled(&mut command)?;
    let pid = child.id().ok_or_else(|| io::Error::other("the child has ended before it was looked at"))?;
    let pidfd = pidfd_open(pid as i32)?;
    let pipe = pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?;
    Ok((child, Some(pipe), pidfd))
}

/// An agent that is being installed right now is open for writing for a moment, and cannot be executed.
fn spawn_settled(command: &mut tokio::process::Command) -> io::Result<Child> {
    for _ in 0..BUSY_TRIES {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => std::thread::sleep(BUSY_PAUSE),
            other => return other,
        }
    }
    command.spawn()
}

/// Runs in the child. Until its journal entry is complete it dies with the daemon, so that no program ever runs of
/// which the journal does not know.
fn before_exec(parent: i32, cgroup: Option<i32>, journal: Option<i32>) -> io::Result<()> {
    // SAFETY: plain system calls; buffers outlive them.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if libc::getppid() != parent {
            return Err(io::Error::from_raw_os_error(libc::EOWNERDEAD));
        }
        if libc::setsid() < 0 {
            return Err(io::Error::last_os_error());
        }
        // What the daemon keeps to itself is not what services expect.
        libc::umask(0o022);
        if let Some(cgroup) = cgroup {
            // Best effort: without a cgroup a death is seen at the next monitor.
            libc::write(cgroup, c"0".as_ptr().cast(), 1);
        }
        if let Some(journal) = journal {
            // The child's own line holds its process id and start time, in this order of fields for ever.
            let stat = libc::open(c"/proc/self/stat".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
            let mut line = [0_u8; 1024];
            let length = libc::read(stat, line.as_mut_ptr().cast(), line.len());
            if length <= 0 || libc::write(journal, line.as_ptr().cast(), length as usize) != length {
                // A number of its own, not to be taken for a missing program.
                return Err(io::Error::from_raw_os_error(libc::EPROTO));
            }
            libc::close(stat);
        }
        libc::prctl(libc::PR_SET_PDEATHSIG, 0);
    }
    Ok(())
}

fn not_started(path: &std::path::Path, error: &io::Error) -> Finished {
    let status = match error.kind() {
        // The program, or the interpreter in its first line, is missing.
        io::ErrorKind::NotFound => ExecStatus::NotInstalled,
        _ => ExecStatus::Failed,
    };
    let output = format!("failed to start `{}`: {error}", path.display());
    Finished { status, output, lingering: None }
}

/// Writes in the background, so that a program that reads nothing and one that prints first both go on.
fn feed(child: &mut Child, input: Zeroizing<String>) {
    if let Some(mut stdin) = child.stdin.take() {
        tokio::spawn(async move {
            // A program may end without reading all of it: nothing is lost by that.
            let _ = stdin.write_all(input.as_bytes()).await;
        });
    }
}

async fn wait(
    pidfd: &AsyncFd<OwnedFd>,
    pipe: &mut Option<pipe::Receiver>,
    tail: &mut Tail,
    timeout: Duration,
) -> Ended {
    let deadline = tokio::time::sleep(timeout);
    tokio::pin!(deadline);
    loop {
        tokio::select! {
            _ = pidfd.readable() => return Ended::ByItself,
            () = &mut deadline => return Ended::NotInTime,
            () = readable(pipe) => {
                if let Some(receiver) = pipe && read_some(receiver, tail) == Read::End {
                    *pipe = None;
                }
            }
        }
    }
}

async fn readable(pipe: &Option<pipe::Receiver>) {
    match pipe {
        // An error shows again, and ends the loop, when it is read.
        Some(pipe) => drop(pipe.readable().await),
        None => std::future::pending().await,
    }
}

#[derive(PartialEq, Eq)]
enum Read {
    Some(usize),
    NothingNow,
    End,
}

fn read_some(pipe: &pipe::Receiver, tail: &mut Tail) -> Read {
    let mut chunk = [0; CHUNK];
    match pipe.try_read(&mut chunk) {
        Ok(0) => Read::End,
        Ok(length) => {
            tail.push(&chunk[..length]);
            Read::Some(length)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Read::NothingNow,
        Err(_) => Read::End,
    }
}

/// Takes what is in the pipe. If somebody still holds it (a daemon started by the agent), it is kept open and emptied
/// for as long as they do: closing it would kill them with SIGPIPE at their next word.
fn drain(pipe: Option<pipe::Receiver>, tail: &mut Tail) {
    let Some(pipe) = pipe else { return };
    let mut taken = 0;
    while taken < DRAIN_LIMIT {
        // The readiness that tokio remembers may be older than the last words, so the descriptor itself is asked.
        let mut chunk = [0; CHUNK];
        // SAFETY: reads into a buffer of that length, from a descriptor that `pipe` keeps open.
        match unsafe { libc::read(pipe.as_raw_fd(), chunk.as_mut_ptr().cast(), chunk.len()) } {
            0 => return,
            length if length > 0 => {
                tail.push(&chunk[..length as usize]);
                taken += length as usize;
            }
            _ => break,
        }
    }
    tokio::spawn(async move {
        let mut unheard = Tail::new(0);
        while pipe.readable().await.is_ok() && read_some(&pipe, &mut unheard) != Read::End {}
    });
}

/// Ends a group. Returns the leader if even SIGKILL did not end it in time.
async fn end_group(mut child: Child, pidfd: &AsyncFd<OwnedFd>) -> Option<Child> {
    let group = Pid::from_raw(child.id().map_or(0, |pid| pid as i32));
    if group.as_raw() <= 1 {
        return None;
    }
    // The leader is not reaped before the last signal is sent, so that the number cannot belong to somebody else.
    let _ = killpg(group, Signal::SIGTERM);
    let _ = tokio::time::timeout(TERM_GRACE, pidfd.readable()).await;
    let _ = killpg(group, Signal::SIGKILL);
    match tokio::time::timeout(KILL_WAIT, child.wait()).await {
        Ok(_) => None,
        Err(_) => Some(child),
    }
}

/// The last bytes of a stream.
struct Tail {
    kept: Vec<u8>,
    limit: usize,
    cut: bool,
}

impl Tail {
    fn new(limit: usize) -> Self {
        Self { kept: Vec::new(), limit, cut: false }
    }

    fn push(&mut self, bytes: &[u8]) {
        if self.limit == 0 {
            return;
        }
        self.kept.extend_from_slice(bytes);
        // Twice the limit before anything is moved, so that each byte is moved once on average.
        if self.kept.len() > self.limit * 2 {
            self.trim();
        }
    }

    fn trim(&mut self) {
        if self.kept.len() > self.limit {
            self.kept.drain(..self.kept.len() - self.limit);
            self.cut = true;
        }
    }

    fn into_text(mut self) -> String {
        self.trim();
        let text = String::from_utf8_lossy(&self.kept);
        let text = text.trim_end();
        if self.cut { format!("{CUT}{text}") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn sh(script: &str, timeout_ms: u64) -> Program {
        Program {
            path: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            env: BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into())]),
            input: None,
            timeout: Duration::from_millis(timeout_ms),
            capture: Capture::Both,
            cgroup: None,
            journal: None,
        }
    }

    #[tokio::test]
    async fn both_outputs_and_the_exit_code_are_kept() {
        let finished = run(sh("echo out; echo err >&2; exit 7", 10_000)).await;
        assert_eq!((finished.status, finished.output.as_str()), (ExecStatus::Exited(7), "out\nerr"));
    }

    #[tokio::test]
    async fn a_hanging_group_is_killed_at_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let pid_file = folder.path().join("pid");
        // The grandchild ignores SIGTERM and its parent waits for it: only SIGKILL to the group ends both.
        let script = format!(
            "sh -c 'trap \"\" TERM; echo $$ >{}; while :; do sleep 1; done' & echo hung; wait",
            pid_file.display()
        );
        let began = Instant::now();
        let finished = run(sh(&script, 300)).await;
        assert_eq!((finished.status, finished.output.as_str()), (ExecStatus::TimedOut, "hung"));
        assert!(finished.lingering.is_none());
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
        let pid: i32 = std::fs::read_to_string(pid_file).unwrap().trim().parse().unwrap();
        if let Ok(grandchild) = pidfd_open(pid) {
            tokio::time::timeout(Duration::from_secs(5), grandchild.readable()).await.unwrap().map(drop).unwrap();
        }
    }

    #[tokio::test]
    async fn a_daemon_that_keeps_the_pipe_open_delays_nothing_and_lives_on() {
        let began = Instant::now();
        let finished = run(sh("(sleep 30; echo late) & echo $!", 10_000)).await;
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        let daemon = Pid::from_raw(finished.output.parse().unwrap());
        nix::sys::signal::kill(daemon, Signal::SIGKILL).expect("it lives on");
    }

    #[tokio::test]
    async fn only_the_end_of_a_large_output_is_kept() {
        let finished = run(sh("head -c 5000000 /dev/zero | tr '\\0' x; echo the end", 30_000)).await;
        assert_eq!(finished.status, ExecStatus::Exited(0));
        assert!(finished.output.ends_with("the end") && finished.output.len() <= CAPTURE_LIMIT + 20);
    }

    #[tokio::test]
    async fn input_is_given_and_nothing_is_inherited() {
        let mut program =
            sh("cat; env | cut -d= -f1 | sort | tr '\\n' ' '; ps -o sid= -p $$ | tr -d ' '; echo $$", 10_000);
        program.input = Some("action=off\n".to_owned().into());
        let output = run(program).await.output;
        let lines: Vec<&str> = output.lines().collect();
        assert_eq!(lines[0], "action=off");
        assert_eq!(
            lines[1].split(' ').filter(|name| !["PATH", "PWD", "_", "OLDPWD", "SHLVL"].contains(name)).count(),
            1
        );
        assert!(lines[1].ends_with(lines[2]), "it leads its session: {output}");
    }

    #[tokio::test]
    async fn an_end_by_a_signal_is_no_exit_code() {
        let finished = run(sh("echo word; kill -9 $$", 10_000)).await;
        assert_eq!((finished.status, finished.output.as_str()), (ExecStatus::Failed, "word\n\n(ended by signal 9)"));
    }

    #[tokio::test]
    async fn a_missing_program_is_not_installed() {
        let mut program = sh("", 1_000);
        program.path = "/nowhere/agent".into();
        assert_eq!(run(program).await.status, ExecStatus::NotInstalled);
    }
}
