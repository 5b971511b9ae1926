//! People at work meanwhile: pushes and commands on nodes that come and go, and what of it was acknowledged.
//!
//! Every answer is one of three: done, refused, not known. What was done must be there at the end; what is not known may be.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::manifests;
use super::schedule::Chance;
use crate::cluster::Manifests;
use crate::lab::{Lab, Node, Output};

/// A command that has no answer by then is given up; what became of it is not known.
const PATIENCE: Duration = Duration::from_secs(12);

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    Done,
    Refused,
    Unknown,
}

/// What the operators did.
pub struct Operator {
    chance: Chance,
    nodes: usize,
    pushed: u64,
    /// Revisions that were accepted, oldest first.
    accepted: Vec<String>,
    /// By override (`drain n1`, `maintenance one`): what is known of it.
    overrides: BTreeMap<String, Known>,
    pub answers: BTreeMap<(&'static str, Answer), usize>,
}

/// The reasons an override may be there with; an empty one: it is not there.
#[derive(Default)]
struct Known {
    acknowledged: String,
    /// Asked for without an answer. A node that stood still may propose it later, so it is possible for a while whatever
    /// was acknowledged after it.
    unknown: Vec<(Instant, String)>,
}

/// Nothing is proposed any more so long after its client gave up: far beyond the longest pause and the time-out of proposals.
const FORGOTTEN: Duration = Duration::from_secs(60);

impl Operator {
    pub fn new(seed: u64, nodes: usize) -> Self {
        Self {
            chance: Chance::new(seed ^ 0x6f70_6572_6174_6f72),
            nodes,
            pushed: 0,
            accepted: Vec::new(),
            overrides: BTreeMap::new(),
            answers: BTreeMap::new(),
        }
    }

    /// How many writes were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.answers.iter().filter(|((_, answer), _)| *answer == Answer::Done).map(|(_, count)| count).sum()
    }

    /// Does one thing, on some node that has power.
    pub fn act(&mut self, lab: &Lab) {
        let up: Vec<Node<'_>> = lab.nodes().into_iter().filter(|node| node.is_up()).collect();
        if up.is_empty() {
            return;
        }
        let node = self.chance.pick(&up);
        let about = format!("n{}", 1 + self.chance.below(self.nodes));
        let service = self.chance.pick(manifests::SERVICES).name;
        match self.chance.below(20) {
            0..=6 => self.push(lab, node),
            7..=9 => self.set(lab, node, "drain", &about),
            10..=13 => self.clear(lab, node, "drain", &about),
            14 => self.set(lab, node, "maintenance", service),
            15..=16 => self.clear(lab, node, "maintenance", service),
            17..=18 => {
                let moved = self.run(lab, node, &format!("hafen move {service} --to {about} --reason moved --no-wait"));
                self.count("move", judge(&moved));
            }
            _ => {
                let done = self.run(lab, node, "hafen cleanup --all");
                self.count("cleanup", judge(&done));
            }
        }
    }

    /// A first push has to be accepted: without it there is nothing to watch.
    pub fn push(&mut self, lab: &Lab, node: Node<'_>) {
        self.pushed += 1;
        let manifests = manifests::tree(self.nodes, self.pushed, self.chance.next());
        let script = commit(&manifests, self.pushed);
        let pushed = self.run(
            lab,
            node,
            &format!("{script}\ngit rev-parse HEAD\ngit push -o allow-removals /var/lib/hafen/repo.git main 2>&1"),
        );
        let answer = match (pushed.status, pushed.stdout.as_str()) {
            (Some(0), _) => Answer::Done,
            (Some(_), text) if text.contains("[remote rejected]") && !text.contains("UNKNOWN") => Answer::Refused,
            (Some(_) | None, _) => Answer::Unknown,
        };
        if answer == Answer::Done
            && let Some(revision) = pushed.stdout.lines().find(|line| line.len() == 40)
        {
            lab.note(&format!("accepted {revision}"));
            self.accepted.push(revision.to_owned());
        }
        self.count("push", answer);
    }

    fn set(&mut self, lab: &Lab, node: Node<'_>, what: &'static str, about: &str) {
        let reason = format!("r{}", self.chance.next() % 1_000_000_000);
        let command = match what {
            "drain" => format!("hafen drain {about} --no-wait --reason {reason}"),
            _ => format!("hafen maintenance on --resource {about} --reason {reason}"),
        };
        let answer = judge(&self.run(lab, node, &command));
        self.remember(what, about, answer, reason);
    }

    fn clear(&mut self, lab: &Lab, node: Node<'_>, what: &'static str, about: &str) {
        let command = match what {
            "drain" => format!("hafen undrain {about}"),
            _ => format!("hafen maintenance off --resource {about}"),
        };
        let answer = judge(&self.run(lab, node, &command));
        self.remember(what, about, answer, String::new());
    }

    fn remember(&mut self, what: &'static str, about: &str, answer: Answer, reason: String) {
        let known = self.overrides.entry(format!("{what} {about}")).or_default();
        match answer {
            Answer::Done => {
                known.acknowledged = reason;
                known.unknown.retain(|(asked, _)| asked.elapsed() < FORGOTTEN);
            }
            Answer::Unknown => known.unknown.push((Instant::now(), reason)),
            Answer::Refused => {}
        }
        self.count(what, answer);
    }

    fn count(&mut self, what: &'static str, answer: Answer) {
        *self.answers.entry((what, answer)).or_default() += 1;
    }

    fn run(&self, lab: &Lab, node: Node<'_>, command: &str) -> Output {
        let output = node.sh_for(command, PATIENCE);
        let last = command.lines().last().unwrap_or_default();
        let words = format!("{}{}", output.stdout, output.stderr).replace('\n', " | ");
        lab.note(&format!("operator at {}: {last}: {:?}: {words}", node.name(), output.status));
        output
    }

    /// What of the acknowledged writes is not there; empty: all are. Asked of a node that has applied everything.
    pub fn lost(&self, lab: &Lab, node: Node<'_>, status: &Value) -> Vec<String> {
        let mut lost = Vec::new();
        let target = status["target"]["revision"].as_str().unwrap_or("none");
        for revision in &self.accepted {
            let kept = node.sh(&format!(
                "git -c safe.directory='*' -C /var/lib/hafen/repo.git merge-base --is-ancestor {revision} {target}"
            ));
            if !kept.success() {
                lost.push(format!("the push of {revision} was accepted and is not part of {target}: {}", kept.stderr));
            }
        }
        let found = status["overrides"].as_array().cloned().unwrap_or_default();
        for (key, known) in &self.overrides {
            let (what, about) = key.split_once(' ').expect("made of two words");
            let about_it =
                |scope: &Value| scope.as_str().is_some_and(|scope| scope.split([' ', '/']).any(|word| word == about));
            let is = found.iter().find(|one| one["what"] == what && about_it(&one["scope"]));
            let reason = is.and_then(|one| one["reason"].as_str()).unwrap_or_default();
            if known.acknowledged != reason && known.unknown.iter().all(|(_, unknown)| unknown != reason) {
                let (wanted, unknown) = (&known.acknowledged, &known.unknown);
                lost.push(format!(
                    "override `{key}` has the reason {reason:?}, acknowledged {wanted:?}, unknown {unknown:?}"
                ));
            }
        }
        lab.note(&format!(
            "{} acknowledged pushes and {} overrides looked for",
            self.accepted.len(),
            self.overrides.len()
        ));
        lost
    }
}

fn judge(output: &Output) -> Answer {
    match output.status {
        Some(0) => Answer::Done,
        // 107, 105: refused. 69: there was nobody to ask, or nobody to answer any more.
        Some(105 | 107 | 64) => Answer::Refused,
        Some(_) | None => Answer::Unknown,
    }
}

/// Writes and commits a tree on top of what the node's repository has.
fn commit(manifests: &Manifests, number: u64) -> String {
    let mut script = "set -e\nexport HOME=/root\ngit config --global user.email admin@example.net\n\
         git config --global user.name admin\ngit config --global init.defaultBranch main\n\
         git config --global safe.directory '*'\n\
         mkdir -p /root/manifests\ncd /root/manifests\n[ -d .git ] || git init -q\nrm -f .git/*.lock\n\
         if git fetch -q /var/lib/hafen/repo.git main 2>/dev/null; then git reset -q --soft FETCH_HEAD; fi\n\
         git rm -rq --cached . 2>/dev/null || :\n"
        .to_owned();
    for (name, text) in manifests {
        script += &format!("cat >{name} <<'MANIFEST'\n{text}\nMANIFEST\n");
    }
    script + &format!("git add -A\ngit commit -q --allow-empty -m 'change {number}'\n")
}
