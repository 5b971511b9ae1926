//! Runs the installed `git` with a deadline.
//!
//! Input → output: arguments, a directory, a timeout → its output (bounded), or why there is none.
//! Invariant: when a call returns, no process of its group runs any more, unless one made itself a session of its own.
//! The variables that point git elsewhere (`GIT_DIR` and others, set when hafen itself runs in a hook) are not inherited.

use super::error::{SourceError, says_disk_full};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Output kept per stream; what git says about one failure is a few lines.
const MAX_OUTPUT_BYTES: usize = 64 * 1024;
/// Between SIGTERM, on which git removes its lock files, and SIGKILL.
const TERM_GRACE: Duration = Duration::from_millis(500);
/// For a stream held open by a process that left the group.
const STREAM_GRACE: Duration = Duration::from_millis(500);

/// Of a process that was given none.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// `git rev-parse --local-env-vars`, and the two of the quarantine.
const NOT_INHERITED: [&str; 18] = [
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_CONFIG",
    "GIT_CONFIG_PARAMETERS",
    "GIT_CONFIG_COUNT",
    "GIT_OBJECT_DIRECTORY",
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_GRAFT_FILE",
    "GIT_INDEX_FILE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_REPLACE_REF_BASE",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_QUARANTINE_PATH",
    "GIT_INTERNAL_SUPER_PREFIX",
];

/// What a finished `git` wrote to stdout.
pub(super) type Stdout = Vec<u8>;

/// One call of git.
pub(super) struct GitCall<'a> {
    /// The subcommand, for messages.
    pub(super) name: &'static str,
    pub(super) doing: &'static str,
    pub(super) git_dir: &'a Path,
    /// Everything after `git --git-dir DIR`, the subcommand included.
    pub(super) args: &'a [&'a str],
    pub(super) env: &'a [(&'a str, &'a str)],
    pub(super) timeout: Duration,
}

/// Runs git to its end and returns its stdout if it succeeded.
pub(super) fn run(call: &GitCall<'_>) -> Result<Stdout, SourceError> {
    let mut command = Command::new("git");
    command.arg("--git-dir").arg(call.git_dir).args(call.args).current_dir(call.git_dir);
    for name in NOT_INHERITED {
        command.env_remove(name);
    }
    command
        .env("LC_ALL", "C")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("SSH_ASKPASS_REQUIRE", "never")
        .envs(call.env.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let missing = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound if call.git_dir.is_dir() => SourceError::GitMissing,
        _ => SourceError::io("starting git", call.git_dir, error),
    };
    let child = command.spawn().map_err(missing)?;
    let Some(Ended { status, stdout, stderr }) = end(child, call.git_dir, call.timeout)? else {
        return Err(SourceError::TimedOut { command: call.name, after: call.timeout });
    };
    if status.success() {
        return Ok(stdout);
    }
    // Some of it was written by the other side.
    let stderr = String::from_utf8_lossy(&stderr).trim().replace(|c: char| c.is_control() && c != '\n', " ");
    if says_disk_full(&stderr) {
        return Err(SourceError::DiskFull { doing: call.doing, path: call.git_dir.to_owned() });
    }
    let stderr = if stderr.is_empty() { status.to_string() } else { stderr };
    Err(SourceError::Command { command: call.name, stderr })
}

/// A program that ended by itself.
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    pub(super) stdout: Stdout,
    pub(super) stderr: Vec<u8>,
}

/// Runs another program, with nothing of this process's environment but what is set here, in a group of its own, and waits
/// for its end. None: it took longer than `timeout`, and was killed. `directory` is where it works, and is its home.
pub(super) fn run_alone(
    program: &'static str,
    args: &[&str],
    directory: &Path,
    stdin: Stdio,
    timeout: Duration,
) -> Result<Option<Ended>, SourceError> {
    let mut command = Command::new(program);
    command
        .args(args)
        .current_dir(directory)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into()))
        .env("LC_ALL", "C")
        .env("HOME", directory)
        .env("GNUPGHOME", directory)
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let child = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound if directory.is_dir() => SourceError::ProgramMissing { program },
        _ => SourceError::io("starting a program", directory, error),
    })?;
    end(child, directory, timeout)
}

/// Waits for a child with both of its streams piped. None after a timeout.
fn end(mut child: Child, directory: &Path, timeout: Duration) -> Result<Option<Ended>, SourceError> {
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let Some(status) = wait(&mut child, directory, timeout)? else { return Ok(None) };
    let text = |stream: mpsc::Receiver<Vec<u8>>| stream.recv_timeout(STREAM_GRACE).unwrap_or_default();
    Ok(Some(Ended { status, stdout: text(stdout), stderr: text(stderr) }))
}

/// Waits for the leader of the group, then ends whatever is left of the group. `None` after a timeout.
fn wait(child: &mut Child, directory: &Path, timeout: Duration) -> Result<Option<ExitStatus>, SourceError> {
    let failed = |error| SourceError::io("waiting for a program", directory, error);
    let pid = i32::try_from(child.id()).map_err(|_| failed(io::Error::other("the process id is out of range")))?;
    let pid = Pid::from_raw(pid);
    let (ended, end) = mpsc::channel();
    // WNOWAIT leaves the zombie, so that the id of the group cannot be given to others before the kill below.
    let waiter = thread::Builder::new().name("git-wait".into()).spawn(move || {
        while let Err(nix::errno::Errno::EINTR) = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {}
        let _ = ended.send(());
    });
    let in_time = waiter.is_ok() && end.recv_timeout(timeout).is_ok();
    if !in_time {
        let _ = killpg(pid, Signal::SIGTERM);
        let _ = end.recv_timeout(TERM_GRACE);
    }
    // Fails with ESRCH when nobody is left, which is what we want.
    let _ = killpg(pid, Signal::SIGKILL);
    let status = child.wait().map_err(failed)?;
    waiter.map_err(failed)?;
    Ok(in_time.then_some(status))
}

/// Reads a stream to its end on a thread of its own and hands over its first [`MAX_OUTPUT_BYTES`].
fn collect(stream: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    let read = move || {
        let mut kept = Vec::new();
        if let Some(mut stream) = stream {
            let _ = stream.by_ref().take(MAX_OUTPUT_BYTES as u64).read_to_end(&mut kept);
            let _ = io::copy(&mut stream, &mut io::sink());
        }
        let _ = sender.send(kept);
    };
    // Without a thread the stream is closed and the receiver reports the loss: the output is for messages only.
    let _ = thread::Builder::new().name("git-output".into()).spawn(read);
    receiver
}
