//! What an import leaves behind.
//!
//! Input: notes of the other files. Output: a list of [`Loss`]es, each element or attribute once, in the order of the text.

use super::xml::El;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Something of a CIB that has no place in what it became.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Loss {
    /// The element: its tag, and its id where it has one.
    pub at: String,
    /// The line on which its start tag ends, from 1.
    pub line: usize,
    /// What is left out, in words.
    pub what: String,
    /// Without it another plan can come out.
    pub changes_plan: bool,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}: {}", self.line, self.at, self.what)
    }
}

#[derive(Default)]
pub(super) struct Losses {
    /// With the offset in the text instead of the line.
    list: Vec<Loss>,
}

impl Losses {
    /// Left out, and another plan can come of it.
    pub fn matters(&mut self, el: El<'_>, what: impl Into<String>) {
        self.add(el, what.into(), true);
    }

    /// Left out, but no plan rests on it.
    pub fn harmless(&mut self, el: El<'_>, what: impl Into<String>) {
        self.add(el, what.into(), false);
    }

    fn add(&mut self, el: El<'_>, what: String, changes_plan: bool) {
        let at = match el.id() {
            "" => el.tag().to_owned(),
            id => format!("{} {id}", el.tag()),
        };
        self.list.push(Loss { at, line: el.offset(), what, changes_plan });
    }

    /// Lines are counted once, from the beginning of the text.
    pub fn finish(mut self, text: &str) -> Vec<Loss> {
        self.list.sort_by(|a, b| (a.line, a).cmp(&(b.line, b)));
        self.list.dedup();
        let (mut line, mut counted) = (1, 0);
        for loss in &mut self.list {
            let offset = loss.line.min(text.len()).max(counted);
            line += text.as_bytes()[counted..offset].iter().filter(|byte| **byte == b'\n').count();
            (loss.line, counted) = (line, offset);
        }
        self.list
    }
}
