//! The test lab from a shell: `cargo run --example lab -- COMMAND`.
//!
//! `up` and `run` hold a lab for as long as they live, and remove it when they end, however they end. The other commands find
//! that lab by `HAFEN_LAB` (its folder), or by being the only one on this host.

mod lab;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use lab::{Init, Lab};

const USAGE: &str = "\
usage: lab up [NODES] [--systemd] [--stack COMMAND]     hold a lab until interrupted (3 nodes by default)
       lab run [NODES] [--systemd] [--stack COMMAND] -- PROGRAM ARGS...
                                                        hold a lab while PROGRAM runs, with HAFEN_LAB set
       lab sh NODE [COMMAND]                            a shell, or one command, on a node
       lab client COMMAND                               a command on the client host (10.77.0.200)
       lab on|off NODE                                  power
       lab link NODE eth0|eth1|both up|down             cables
       lab cut A B | isolate NODE | heal                the switch drops packets between nodes (or `client`)
       lab pdu pdu-a|pdu-b works|fails|hangs|lies|sticks|late
       lab events                                       what the lab did so far
       lab wipe                                         remove what dead labs left";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match act(&args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(64)
        }
    }
}

fn act(args: &[String]) -> Result<ExitCode, String> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["up" | "run", ..] => hold(&words),
        ["sh", node] => enter(node, "exec bash"),
        ["sh", node, command @ ..] => enter(node, &command.join(" ")),
        ["client", command @ ..] if !command.is_empty() => {
            let lab = find_lab()?;
            let name = lab.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let shell = command.join(" ");
            Err(lab::client_command(&name, &shell).exec().to_string())
        }
        ["wipe"] => {
            lab::wipe();
            Ok(ExitCode::SUCCESS)
        }
        [] | ["help" | "-h" | "--help"] => Err(USAGE.into()),
        _ => {
            let answer = ask(&find_lab()?, &words.join(" "))?;
            println!("{answer}");
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn hold(words: &[&str]) -> Result<ExitCode, String> {
    let (mut nodes, mut init, mut stack) = (3, Init::Plain, None);
    let mut rest = words[1..].iter();
    let mut program: Vec<&str> = Vec::new();
    while let Some(word) = rest.next() {
        match *word {
            "--systemd" => init = Init::Systemd,
            "--stack" => stack = Some(*rest.next().ok_or("--stack needs a command")?),
            "--" => program = rest.by_ref().copied().collect(),
            count => nodes = count.parse().map_err(|_| format!("`{count}` is no number of nodes\n{USAGE}"))?,
        }
    }
    if (words[0] == "run") == program.is_empty() {
        return Err(USAGE.into());
    }
    let made = match init {
        Init::Plain => Lab::new(nodes),
        Init::Systemd => Lab::with_systemd(nodes),
    };
    let lab = made.ok_or("no lab can be made here")?;
    if let Some(command) = stack {
        lab.set_stack(command);
        lab.nodes().iter().for_each(|node| node.start_daemon());
    }
    let [name, arguments @ ..] = program.as_slice() else {
        println!("HAFEN_LAB={}", lab.dir().display());
        eprintln!("{nodes} nodes are up; interrupt to end");
        loop {
            std::thread::park();
        }
    };
    let status = Command::new(name).args(arguments).env("HAFEN_LAB", lab.dir()).status();
    let status = status.map_err(|error| format!("failed to run `{name}`: {error}"))?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

fn enter(node: &str, command: &str) -> Result<ExitCode, String> {
    let answer = ask(&find_lab()?, &format!("pid {node}"))?;
    let pid = answer.parse().map_err(|_| format!("unexpected answer `{answer}`"))?;
    let mut shell = lab::enter_node(pid, command);
    if let Some(terminal) = std::env::var_os("TERM") {
        shell.env("TERM", terminal);
    }
    Err(shell.exec().to_string())
}

fn ask(lab: &Path, line: &str) -> Result<String, String> {
    let answer =
        lab::ask(lab, line).map_err(|error| format!("failed to reach the lab in {}: {error}", lab.display()))?;
    match answer.strip_prefix("error: ") {
        Some(error) => Err(error.to_owned()),
        None => Ok(answer),
    }
}

fn find_lab() -> Result<PathBuf, String> {
    if let Some(dir) = std::env::var_os("HAFEN_LAB") {
        return Ok(dir.into());
    }
    let mut labs = lab::living();
    match (labs.pop(), labs.is_empty()) {
        (Some(lab), true) => Ok(lab),
        (Some(_), false) => Err("several labs are up: set HAFEN_LAB to the folder of one".into()),
        (None, _) => Err("no lab is up".into()),
    }
}
