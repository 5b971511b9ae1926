//! `make demo`: three nodes, one push, one power cut, told as it happens.
//!
//! The process that was started only watches: it starts itself again to tell the story, and at its end, whichever it is, waits
//! until everything the story made is gone. As root the nodes are machines of the lab; otherwise see `rootless`.

#[allow(dead_code)]
mod cluster;
mod lab;
mod rootless;
#[path = "demo_stage.rs"]
mod stage;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use stage::Stage;

/// Says to the program that it is the one that tells the story.
const STORY: &str = "--story";
/// Three times what the slowest clean-up took.
const CLEANED_UP: Duration = Duration::from_secs(10);
/// Nothing of the story takes longer, also on a busy machine with two cores.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    if std::env::args().any(|word| word == STORY) {
        // Dies with the watcher, and the janitors clean up.
        if let Err(error) = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL) {
            eprintln!("warning: {error}");
        }
        let rootless = std::env::args().any(|word| word == "--rootless");
        let Some(stage) = stage::open(rootless) else { return ExitCode::FAILURE };
        tell(stage.as_ref());
        say("\nThat was all. Removing the three nodes...");
        return ExitCode::SUCCESS;
    }
    match watch() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the story in another process, and waits until nothing of it is left.
fn watch() -> std::io::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let mut hangup = signal(SignalKind::hangup())?;
        let mut story = tokio::process::Command::new(std::env::current_exe()?);
        let mut story = story.arg(STORY).args(std::env::args_os().skip(1)).spawn()?;
        let id = story.id().unwrap_or_default();
        let ended = tokio::select! {
            status = story.wait() => Some(status?),
            _ = int.recv() => None,
            _ = term.recv() => None,
            _ = hangup.recv() => None,
        };
        if ended.is_none() {
            eprintln!("\ninterrupted: removing the three nodes...");
            story.kill().await?;
        }
        let begin = Instant::now();
        while let Some(left) = leftovers(id) {
            if begin.elapsed() > CLEANED_UP {
                eprintln!("error: {} is still there", left.display());
                return Ok(ExitCode::FAILURE);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        match ended {
            None => Ok(ExitCode::from(130)),
            Some(status) if status.success() => {
                say("Nothing is left of them.");
                Ok(ExitCode::SUCCESS)
            }
            Some(_) => Ok(ExitCode::FAILURE),
        }
    })
}

/// A folder that the story's process made and that is still there. Its janitor removes it last.
fn leftovers(story: u32) -> Option<PathBuf> {
    let roots = [lab::labs_root(), std::env::temp_dir()];
    let entries = roots.into_iter().flat_map(|root| std::fs::read_dir(root).into_iter().flatten().flatten());
    entries.map(|entry| entry.path()).find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        ["hafen-lab", "hafen-demo"].iter().any(|kind| name.starts_with(&format!("{kind}.{story}.")))
    })
}

fn tell(stage: &dyn Stage) {
    say(&stage.introduction());
    found(stage);
    push(stage);
    let victim = serve(stage);
    power_cut(stage, &victim);
    heal(stage, &victim);
}

fn found(stage: &dyn Stage) {
    title("1. A cluster");
    say("The first node makes the cluster. The others join it with a token each.\n");
    let listen = stage.listen();
    let first = stage.nodes()[0].clone();
    show(stage, &first, &format!("hafen init --name {first} --addresses {}{listen}", stage.addresses(&first)));
    start(stage, &first);
    wait(stage, "the first node leads", || status(stage, &first).is_some_and(|s| !s["leader"].is_null()));
    for node in &stage.nodes()[1..] {
        prompt(&first, "hafen token");
        let token = stage.sh(&first, "hafen token").ok();
        println!("{}", shortened(&token));
        let addresses = stage.addresses(node);
        prompt(node, &format!("hafen join {} --name {node} --addresses {addresses}{listen}", shortened(&token)));
        print_output(&stage.sh(node, &format!("hafen join {token} --name {node} --addresses {addresses}{listen}")));
        start(stage, node);
    }
    wait(stage, "all nodes are online", || online(stage, &first) == stage.nodes().len());
}

fn start(stage: &dyn Stage, node: &str) {
    prompt(node, "systemctl enable --now hafen    # here: `hafen agent` in the background");
    stage.start_daemon(node);
}

fn push(stage: &dyn Stage) {
    title("2. A push");
    say(&stage.about_manifests());
    let first = &stage.nodes()[0];
    for (name, text) in stage.manifests() {
        stage.sh(first, &format!("mkdir -p manifests && cat >manifests/{name} <<'MANIFEST'\n{text}MANIFEST")).ok();
    }
    stage
        .sh(
            first,
            "git config --global user.name admin && git config --global user.email admin@example.net && \
             git config --global init.defaultBranch main && git config --global advice.detachedHead false",
        )
        .ok();
    let repository = stage.repository(first);
    show(stage, first, "cd manifests && git init -q && git add . && git commit -q -m 'A web server'");
    show(stage, first, &format!("cd manifests && git push {repository} main 2>&1"));
    say("\nThe push was checked, planned and agreed on by the nodes before git said so. Now it is being done:\n");
    let begin = Instant::now();
    wait(stage, "the service answers", || stage.ask().is_ok());
    wait(stage, "nothing is left to do", || settled(stage, first));
    say(&format!("(all done {} ms later)", begin.elapsed().as_millis()));
}

/// Shows the service, and says which node runs it.
fn serve(stage: &dyn Stage) -> String {
    title("3. The service");
    let victim = stage.ask().unwrap_or_else(|error| panic!("the service does not answer: {error}"));
    curl(stage);
    say("(the web server answers with the name of its node)\n");
    show(stage, &stage.nodes()[0], "hafen status");
    say(
        "\nDegraded says only this: no fencing device was ever tested, as `hafen fence test NODE` does. It is about to be used.",
    );
    victim
}

fn curl(stage: &dyn Stage) {
    let command = format!("curl -s {}", stage.url());
    prompt("client", &command);
    let output = stage.client(&command);
    // curl may be missing where nothing can be installed.
    let said = if output.success() { output.stdout } else { stage.ask().unwrap_or_else(|error| error) + "\n" };
    print!("{said}");
}

fn power_cut(stage: &dyn Stage, victim: &str) {
    title("4. A power cut");
    let led = status(stage, victim).is_some_and(|s| s["leader"] == victim);
    let also = if led { ", which also leads the cluster" } else { "" };
    say(&format!(
        "{}\nnode, {victim}{also}. Meanwhile a client asks for the page every 5 ms.\n",
        stage.about_power_cut()
    ));
    let survivor = stage.nodes().iter().find(|node| *node != victim).expect("there are three").clone();
    let before = newest_event(stage, &survivor);
    let probe = stage.probe();
    std::thread::sleep(Duration::from_millis(300));
    say(&format!("*** the power of {victim} goes off ***"));
    let (cut, cut_ms) = (Instant::now(), wall_ms());
    stage.off(victim);
    wait(stage, "another node answers", || probe.who_after(cut).is_some_and(|who| who.trim() != victim));
    let heir = probe.who_after(cut).unwrap_or_default();
    wait(stage, "the take-over is recorded", || !events(stage, &survivor, before, "Started").is_empty());
    std::thread::sleep(Duration::from_millis(200));
    let report = probe.finish();
    let answered = report.answered_after(cut, |who| who.trim() != victim).unwrap_or_default();
    let mut lines =
        vec![(0, format!("{victim} loses power")), (answered.as_millis() as u64, format!("{heir} answers"))];
    for kind in ["Suspected", "FenceStarted", "FenceSucceeded", "Started"] {
        for event in events(stage, &survivor, before, kind) {
            let at = event["atMs"].as_u64().unwrap_or_default().saturating_sub(cut_ms);
            let text = event["text"].as_str().unwrap_or_default().to_owned();
            lines.push((at, text));
        }
    }
    lines.sort();
    println!();
    for (at, text) in lines.iter().filter(|(at, _)| *at <= answered.as_millis() as u64) {
        println!("  {at:>6} ms  {text}");
    }
    say(&format!(
        "\nThe client was without an answer for {} ms, most of it until {victim} had been silent for so long that it counts as lost.\n\
         Then hafen made sure that it is off: only then may another node run the service. What tells so, and why:\n",
        report.gap().as_millis()
    ));
    show(stage, &survivor, "hafen events -n 12");
    let resource = stage.resource();
    println!();
    show(stage, &survivor, &format!("hafen why {resource}"));
}

fn heal(stage: &dyn Stage, victim: &str) {
    title("5. Back again");
    say(&format!(
        "Fencing ended with switching {victim} on again. It boots, joins and is ready to take over.\nIts fencing has proved itself and counts as tested now.\n"
    ));
    let survivor = stage.nodes().iter().find(|node| *node != victim).expect("there are three").clone();
    wait(stage, "the node is back", || online(stage, &survivor) == stage.nodes().len());
    wait(stage, "nothing is left to do", || settled(stage, &survivor));
    show(stage, &survivor, "hafen status");
}

fn status(stage: &dyn Stage, node: &str) -> Option<Value> {
    serde_json::from_str(&stage.sh(node, "hafen status -o json").stdout).ok()
}

fn online(stage: &dyn Stage, node: &str) -> usize {
    let nodes = status(stage, node).and_then(|status| status["nodes"].as_array().cloned()).unwrap_or_default();
    nodes.iter().filter(|node| node["membership"] == "Online").count()
}

/// Everything runs as it should, and every node votes.
fn settled(stage: &dyn Stage, node: &str) -> bool {
    let Some(status) = status(stage, node) else { return false };
    let resources = status["resources"].as_array().cloned().unwrap_or_default();
    let voters = status["voters"].as_array().map_or(0, Vec::len);
    resources.iter().all(|resource| resource["verdict"]["verdict"] == "Keep") && voters == stage.nodes().len()
}

fn newest_event(stage: &dyn Stage, node: &str) -> u64 {
    event_list(stage, node, "-n 1").last().and_then(|event| event["index"].as_u64()).unwrap_or_default()
}

fn events(stage: &dyn Stage, node: &str, after: u64, kind: &str) -> Vec<Value> {
    let mut events = event_list(stage, node, &format!("--after {after}"));
    events.retain(|event| event["kind"] == kind);
    events
}

fn event_list(stage: &dyn Stage, node: &str, options: &str) -> Vec<Value> {
    let text = stage.sh(node, &format!("hafen events -o json {options}")).stdout;
    let found: Value = serde_json::from_str(&text).unwrap_or_default();
    found["events"].as_array().cloned().unwrap_or_default()
}

fn wait(stage: &dyn Stage, what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}\n{}", stage.logs());
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)
}

/// Runs a command and shows it as an admin sees it.
fn show(stage: &dyn Stage, node: &str, command: &str) {
    prompt(node, command.strip_suffix(" 2>&1").unwrap_or(command));
    print_output(&stage.sh(node, command));
}

fn print_output(output: &lab::Output) {
    print!("{}{}", output.stdout, output.stderr);
}

fn prompt(host: &str, command: &str) {
    let (bold, plain) = styles();
    println!("{bold}{host}# {command}{plain}");
}

fn title(text: &str) {
    let (bold, plain) = styles();
    println!("\n{bold}=== {text}{plain}\n");
}

fn say(text: &str) {
    println!("{text}");
}

fn styles() -> (&'static str, &'static str) {
    use std::io::IsTerminal;
    let wanted = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    if wanted { ("\x1b[1m", "\x1b[0m") } else { ("", "") }
}

fn shortened(token: &str) -> String {
    let start: String = token.chars().take(16).collect();
    format!("{start}…")
}
