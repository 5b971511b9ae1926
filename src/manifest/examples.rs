//! A wrong and a right example of every code, for `hafen explain CODE`.
//!
//! Input → output: `examples.txt`, whose first lines say its form → examples by code. Only what the example is about is
//! shown: the Cluster and its nodes around it are added where it is tried.

use super::explain::Code;

const TEXT: &str = include_str!("examples.txt");

/// Which of the two examples of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Wrong,
    Right,
}

/// One example, as it is shown, and how it is to be tried.
#[derive(Debug, Clone, Copy)]
pub(super) struct Example<'a> {
    pub text: &'a str,
    options: &'a str,
}

/// The example of a code.
pub(super) fn find(code: Code, which: Which) -> Option<Example<'static>> {
    let word = match which {
        Which::Wrong => "wrong",
        Which::Right => "right",
    };
    let start = format!("{code} {word}");
    TEXT.split("\n== ").find_map(|section| {
        let (head, text) = section.split_once('\n')?;
        let options = head.strip_prefix(&start)?;
        Some(Example { text: text.trim_end_matches('\n'), options })
    })
}

impl Example<'_> {
    /// Its place among what `explain` says: indented, how often it has to stand there in words.
    pub fn shown(&self) -> String {
        let mut text = String::new();
        for line in self.text.lines() {
            text += format!("    {line}").trim_end();
            text.push('\n');
        }
        if let Some(times) = self.option("times") {
            text += &format!("    # … {times} times, with other names\n");
        }
        text
    }

    fn option(&self, name: &str) -> Option<&str> {
        let mut words = self.options.split_whitespace();
        words.by_ref().find(|word| *word == name)?;
        Some(words.next().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{SourceFile, agents_named, bundled, load};
    use crate::model::{AgentCatalogue, Diagnostic};

    /// Three fenced voters that have no findings.
    const AROUND: &str = "\
apiVersion: hafen/v1alpha1
kind: Cluster
metadata: { name: prod }
spec: {}
---
apiVersion: hafen/v1alpha1
kind: Node
metadata: { name: n1, labels: { rack: a } }
spec: { addresses: [192.0.2.1], fencing: [[pdu]] }
---
apiVersion: hafen/v1alpha1
kind: Node
metadata: { name: n2, labels: { rack: b } }
spec: { addresses: [192.0.2.2], fencing: [[pdu]] }
---
apiVersion: hafen/v1alpha1
kind: Node
metadata: { name: n3, labels: { rack: b } }
spec: { addresses: [192.0.2.3], fencing: [[pdu]] }
---
apiVersion: hafen/v1alpha1
kind: FencingDevice
metadata: { name: pdu }
spec:
  agent: fence_apc
  params: { ip: 192.0.2.100, username: admin }
  secrets: { password: { file: /etc/hafen/secrets/pdu } }
";

    /// Beside them; nobody here has its key.
    const SEALED: &str = "\
pdu:
    user_unencrypted: admin
    password: ENC[AES256_GCM,data:bcdflqWiRMkm8jc3TQ==,iv:AA==,tag:AA==,type:str]
sops:
    age:
        - recipient: age1frq62f25t6wargvat2n6q8a99tmlcnt47qmmehu2vt7stmt0peuqtqrm4k
          enc: nobody's
    lastmodified: \"2026-11-23T01:38:22Z\"
    mac: ENC[AES256_GCM,data:AA==,iv:AA==,tag:AA==,type:str]
    version: 3.11.0
";

    fn findings(example: Example) -> Vec<Diagnostic> {
        let times: usize = example.option("times").map_or(1, |times| times.parse().unwrap());
        let text = example.text.replace("\\t", "\t");
        let copy = |number: usize| match number {
            0 => format!("{text}\n"),
            _ => format!("---\n{}\n", text.replace("name: web", &format!("name: web{number}"))),
        };
        let mut bytes: Vec<u8> = (0..times).map(copy).collect::<String>().into_bytes();
        if let Some(place) = bytes.windows(4).position(|four| four == b"\\xe9") {
            bytes.splice(place..place + 4, [0xe9]);
        }
        let named = |line: &[u8]| -> Option<String> {
            let path = std::str::from_utf8(line).ok()?.strip_prefix("# ")?.trim_end().strip_suffix(':')?;
            path.ends_with(".yaml").then(|| path.to_owned())
        };
        let mut files = vec![SourceFile { path: "example.yaml".into(), bytes: Vec::new() }];
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            match named(line) {
                Some(path) => files.push(SourceFile { path, bytes: Vec::new() }),
                None => files.last_mut().unwrap().bytes.extend(line),
            }
        }
        if example.option("alone").is_none() {
            files.push(SourceFile { path: "around.yaml".into(), bytes: AROUND.into() });
            files.push(SourceFile { path: "secrets.enc.yaml".into(), bytes: SEALED.into() });
        }
        let installed = example.option("here").map(str::to_owned).into_iter().collect();
        let here = AgentCatalogue { installed, ..AgentCatalogue::default() };
        let loaded = load(&files, &bundled::complete(here, &agents_named(&files)));
        let mut found = loaded.diagnostics;
        let promised = |spec: &crate::model::Spec| crate::whatif::findings(spec, &crate::whatif::one_by_one);
        found.extend(loaded.spec.iter().flat_map(promised));
        found
    }

    #[test]
    fn every_code_has_a_wrong_example_that_yields_it_and_a_right_one_without_findings() {
        let mut faults = String::new();
        for code in Code::ALL {
            let (Some(wrong), Some(right)) = (find(*code, Which::Wrong), find(*code, Which::Right)) else {
                faults += &format!("{code} has no examples\n");
                continue;
            };
            let (wrong, right) = (findings(wrong), findings(right));
            if !wrong.iter().any(|found| found.code == code.to_string()) {
                faults += &format!("{code}: the wrong example yields {wrong:#?}\n");
            }
            if !right.is_empty() {
                faults += &format!("{code}: the right example yields {right:#?}\n");
            }
        }
        assert!(faults.is_empty(), "{faults}");
    }

    #[test]
    fn no_example_is_left_over() {
        assert_eq!(TEXT.matches("\n== ").count(), Code::ALL.len() * 2);
    }
}
