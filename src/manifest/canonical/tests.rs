//! The canonical form by examples, over all files of the repository, and of documents in any style.

use super::*;
use crate::manifest::load;
use crate::model::AgentCatalogue;
use proptest::prelude::*;
use std::path::{Path, PathBuf};

fn file(text: &str) -> SourceFile {
    SourceFile { path: "a.yaml".into(), bytes: text.into() }
}

fn check(text: &str, expected: &str) {
    assert_eq!(canonical(&file(text)).as_deref(), Ok(expected), "{text}");
}

#[test]
fn levels_are_two_spaces_and_lists_are_below_their_key() {
    check("a:\n    b:\n       c: 1\n    d: 2\n", "a:\n  b:\n    c: 1\n  d: 2\n");
    check("a:\n- 1\n-   2\n", "a:\n  - 1\n  - 2\n");
    check("a:\n  -   b: 1\n      c:\n          - d\n", "a:\n  - b: 1\n    c:\n      - d\n");
    check("a:\n   - - 1\n     -   2\n   -\n       b: 1\n", "a:\n  - - 1\n    - 2\n  -\n    b: 1\n");
    check("- a:   1\n  b :  2\n", "- a: 1\n  b: 2\n");
    check("a:\n    1\n", "a:\n  1\n");
    check("a:\n- [x, y]\n- [z]\n- {k: v}\n", "a:\n  - [x, y]\n  - [z]\n  - {k: v}\n");
    check("a:\n-\n- b\n", "a:\n  -\n  - b\n");
}

#[test]
fn quotes_brackets_and_the_order_of_keys_stay() {
    check("b: 'x'\na: \"y\"   \n", "b: 'x'\na: \"y\"\n");
    check("a:   {x:1,  y: 2}\n", "a: {x:1,  y: 2}\n");
    check("a:\n    b: [1,\n        2,\n\n\n        3]\n", "a:\n  b: [1,\n      2,\n\n      3]\n");
    check("a: &x {k: v}\nb:    *x\n", "a: &x {k: v}\nb: *x\n");
}

#[test]
fn texts_over_several_lines_keep_every_space_that_counts() {
    check(
        "a:\n    b: |\n        x\n          y  \n\n        z\n    c: 1\n",
        "a:\n  b: |\n    x\n      y  \n\n    z\n  c: 1\n",
    );
    check("a:\n    b: |2\n        x\n       y\n", "a:\n  b: |2\n      x\n     y\n");
    check("a: |+\n    x\n\n\nb: 1\n", "a: |+\n  x\n\n\nb: 1\n");
    check("a: >-\n  x\n\n\n\n\nb: 1\n", "a: >-\n  x\n\nb: 1\n");
    check("a:\n  -   |\n      \"x\n  -   y\n", "a:\n  - |\n    \"x\n  - y\n");
    check(
        "a:\n    b: \"one\n\n      two\"\n    c: one\n      two\n",
        "a:\n  b: \"one\n\n    two\"\n  c: one\n    two\n",
    );
    check("a: |\n  # no comment\n\n\n  x\n", "a: |\n  # no comment\n\n\n  x\n");
}

#[test]
fn comments_go_with_what_they_are_about() {
    let text = "\
# first


#second
a:   # of a
    # of b
    b:   1     # behind b
    # behind all of b
  # of nothing in particular
---
# between
c:
      - 1
      # of 2
      - 2
      # last
";
    let expected = "\
# first

#second
a:   # of a
  # of b
  b: 1     # behind b
  # behind all of b
  # of nothing in particular
---
# between
c:
  - 1
  # of 2
  - 2
  # last
";
    check(text, expected);
    check("a: [ # one\n    # two\n    1 ]\n", "a: [ # one\n    # two\n    1 ]\n");
    check("a:\n  -  # of the map\n    b: 1\n", "a:\n  - # of the map\n    b: 1\n");
    check("# alone\n", "# alone\n");
}

#[test]
fn marks_stand_between_documents_alone() {
    check("---\na: 1\n\n---\n\nb: 2\n---\n", "a: 1\n---\nb: 2\n");
    check("# c\n---\na: 1\n", "# c\n---\na: 1\n");
    check("a: 1\n---\n---\nb: 2\n", "a: 1\n---\nb: 2\n");
    check("--- # c\na: 1\n", "--- # c\na: 1\n");
    check("%YAML 1.2\n---\na: 1\n...\n", "%YAML 1.2\n---\na: 1\n...\n");
    check("\u{feff}a: 1\r\nb: 2", "a: 1\nb: 2\n");
    check("", "");
    check("\n\n", "");
}

#[test]
fn what_cannot_be_read_is_left_alone_and_said() {
    for text in ["a: [", "a:\n\tb: 1\n", "a: 1\na: 2\n", "a: \u{7}\n"] {
        assert!(matches!(canonical(&file(text)), Err(Unformatted::Errors(found)) if found[0].line > 0), "{text}");
    }
}

/// Every file with manifests of the repository: examples, stories, mistakes.
fn texts() -> Vec<(PathBuf, String)> {
    let mut texts = Vec::new();
    let mut folders: Vec<PathBuf> =
        ["manifests", "src/manifest/cases", "src/manifest/examples.txt", "src/plan/cases", "e2e/mistakes"]
            .map(|name| Path::new(env!("CARGO_MANIFEST_DIR")).join(name))
            .into();
    while let Some(path) = folders.pop() {
        if path.is_dir() {
            folders.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            // Stories hold several files.
            for part in text.split("==> ").flat_map(|part| part.split("\n== ")) {
                let part = if text.contains("==> ") || text.contains("\n== ") {
                    part.split_once('\n').map_or("", |(_, rest)| rest)
                } else {
                    part
                };
                texts.push((path.clone(), part.to_owned()));
            }
        }
    }
    texts
}

#[test]
fn all_that_the_repository_holds_can_be_formatted_and_says_the_same() {
    let texts = texts();
    assert!(texts.len() > 200, "{}", texts.len());
    let mut formatted = 0;
    for (path, text) in texts {
        match canonical(&file(&text)) {
            Ok(new) => {
                formatted += 1;
                // What is said of it: places move, as do words that name them.
                let findings = |text: &str| {
                    let loaded = load(&[file(text)], &AgentCatalogue::default());
                    let mut codes: Vec<String> = loaded.diagnostics.into_iter().map(|found| found.code).collect();
                    codes.sort();
                    let mut waived: Vec<String> = loaded.waived.into_iter().map(|waived| waived.reason).collect();
                    waived.sort();
                    (codes, waived)
                };
                assert_eq!(findings(&text), findings(&new), "{}:\n{text}\nformatted:\n{new}", path.display());
            }
            Err(Unformatted::Errors(_)) => {}
            Err(Unformatted::Unsure) => panic!("{}:\n{text}", path.display()),
        }
    }
    assert!(formatted > 150, "{formatted}");
}

#[test]
fn the_examples_are_in_canonical_form() {
    for (path, text) in texts().into_iter().filter(|(path, _)| path.extension().is_some_and(|it| it == "yaml")) {
        assert_eq!(canonical(&file(&text)).as_ref(), Ok(&text), "{}", path.display());
    }
}

/// Writes documents in any style: what is written is decided by bytes.
struct Scribe<'a> {
    bytes: std::slice::Iter<'a, u8>,
    text: String,
}

impl Scribe<'_> {
    fn pick(&mut self, of: u8) -> u8 {
        self.bytes.next().map_or(0, |byte| byte % of)
    }

    fn noise(&mut self, indent: usize) {
        match self.pick(6) {
            0 => self.text += "\n\n",
            1 => self.text += &format!("{}# a comment: of - some {{ sort\n", " ".repeat(indent)),
            2 => self.text += "  \n",
            3 => {
                let column = usize::from(self.pick(9));
                self.text += &format!("{}#x\n\n", " ".repeat(column));
            }
            _ => {}
        }
    }

    fn end(&mut self) {
        let end = ["\n", "   \n", "  # behind\n", " #x\n"][usize::from(self.pick(4))];
        self.text += end;
    }

    /// What is behind a key or a dash whose column is `held`; it ends its lines.
    fn value(&mut self, held: usize, depth: usize, in_list: bool) {
        let inner = held + 1 + usize::from(self.pick(4));
        let pad = " ".repeat(inner);
        match self.pick(if depth > 3 { 8 } else { 12 }) {
            0 => self.end(),
            1 => self.line("  \"quoted # no comment\""),
            2 => self.line("   plain words"),
            3 => self.line(" [a,  {b: c}]"),
            4 => self.text += &format!(" |\n{pad}text\n{pad}   deeper # no comment\n\n{pad}end  \n"),
            5 => self.text += &format!(" >-\n\n{pad}- folded\n{pad}k: v\n"),
            6 => self.text += &format!(" \"one\n\n{pad}two\"\n"),
            7 => self.text += &format!(" [a, # of a\n{pad}b,\n\n{pad}c]\n"),
            8 | 9 => {
                self.end();
                self.noise(inner);
                self.map(inner, depth + 1);
            }
            10 if in_list => {
                // In the line of the dash.
                let gap = 1 + usize::from(self.pick(3));
                self.text += &" ".repeat(gap);
                self.map_from(held + 1 + gap, depth + 1);
            }
            _ => {
                self.end();
                let column = if in_list { inner } else { held + usize::from(self.pick(4)) };
                self.list(column, depth + 1);
            }
        }
    }

    fn line(&mut self, text: &str) {
        self.text += text;
        self.end();
    }

    fn map(&mut self, indent: usize, depth: usize) {
        self.text += &" ".repeat(indent);
        self.map_from(indent, depth);
    }

    fn map_from(&mut self, indent: usize, depth: usize) {
        for place in 0..=self.pick(3) {
            if place > 0 {
                self.noise(indent);
                self.text += &" ".repeat(indent);
            }
            self.text += &format!("k{place}:");
            self.value(indent, depth, false);
        }
    }

    fn list(&mut self, indent: usize, depth: usize) {
        for _ in 0..=self.pick(3) {
            self.text += &format!("{}-", " ".repeat(indent));
            self.value(indent, depth, true);
            self.noise(indent);
        }
    }
}

fn written(bytes: &[u8]) -> String {
    let mut scribe = Scribe { bytes: bytes.iter(), text: String::new() };
    for place in 0..=scribe.pick(3) {
        if place > 0 {
            scribe.text += "---\n";
        }
        scribe.noise(0);
        scribe.map(0, 0);
    }
    scribe.text
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    /// Three proofs are in `canonical` itself: here none of them may fail.
    #[test]
    fn whatever_style_a_file_has_it_can_be_formatted(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        let text = written(&bytes);
        let documents = read(&file(&text));
        prop_assert!(documents.is_ok(), "{documents:?}\n{text}");
        match canonical(&file(&text)) {
            Ok(new) => prop_assert_eq!(canonical(&file(&new)), Ok(new)),
            Err(why) => prop_assert!(false, "{why:?}\n{text}\nformatted:\n{}", layout(&text, &documents.unwrap())),
        }
    }

    #[test]
    fn no_mixture_of_lines_panics(lines in proptest::collection::vec("[ ]{0,4}(- ){0,2}([a-c]:)?[ ]{0,2}([\\[{|>&*!\"'#a-z-][ \\]}a-z,:#]{0,6})?", 0..14)) {
        let _ = canonical(&file(&lines.join("\n")));
    }
}
