//! Where findings are gathered.
//!
//! Input → output: findings in any order → a bounded list, ordered by file and place.
//!
//! Invariant: if an error was added, an error is in the list, however many findings were left out.

use super::explain::Code;
use super::overlay::Via;
use super::tree::Span;
use super::waivers::Waivers;
use super::{Purpose, SourceFile, Waived};
use crate::model::{Diagnostic, Severity};
use std::collections::BTreeSet;

/// Nobody reads more, and a tree that is wrong as a whole would yield a finding per line.
pub(super) const MAX_DIAGNOSTICS: usize = 1_000;
/// Memory bound while gathering; far above what a reader wants, so that the first thousand by place are kept.
const MAX_GATHERED: usize = 100_000;

pub(super) struct Report<'a> {
    purpose: Purpose,
    files: &'a [&'a SourceFile],
    diagnostics: Vec<Diagnostic>,
    left_out: usize,
    has_errors: bool,
    waivers: Waivers,
    waived: Vec<Waived>,
    /// Of what does not stand where it is read, how it came there ([`Span::via`]).
    via: Vec<Via>,
    /// Which files are bases of an overlay: others may build on them, too.
    shared: BTreeSet<usize>,
}

impl<'a> Report<'a> {
    pub fn new(purpose: Purpose, files: &'a [&'a SourceFile]) -> Self {
        Self {
            purpose,
            files,
            diagnostics: Vec::new(),
            left_out: 0,
            has_errors: false,
            waivers: Waivers::default(),
            waived: Vec::new(),
            via: Vec::new(),
            shared: BTreeSet::new(),
        }
    }

    /// Tells how things came where they are, for findings about them.
    pub fn rendered(&mut self, via: Vec<Via>, shared: BTreeSet<usize>) {
        (self.via, self.shared) = (via, shared);
    }

    /// How something came where it is; None: it is written there.
    pub fn via(&self, span: Span) -> Option<&Via> {
        self.via.get((span.via as usize).checked_sub(1)?)
    }

    /// Findings that are added from now on are put aside where a waiver counts for them.
    pub fn waive(&mut self, waivers: Waivers) {
        self.waivers = waivers;
    }

    /// Whether a file is of a base of an overlay.
    pub fn is_shared(&self, file: usize) -> bool {
        self.shared.contains(&file)
    }

    /// Reports the waivers that nothing needed; only those about agents if agents were judged. In a tree with errors
    /// not everything was looked at, so nothing is said.
    pub fn unused_waivers(&mut self, agents_judged: bool) {
        if self.has_errors {
            return;
        }
        for (file, span, code) in self.waivers.unused() {
            // Another cluster may need what is written in a base.
            if (agents_judged || !code.is_about_agents()) && !self.is_shared(file) {
                let message = format!("nothing here has the finding {code}");
                self.add(Code::UnusedWaiver, file, span, message, Some("remove the waiver".to_owned()));
            }
        }
    }

    pub fn has_errors(&self) -> bool {
        self.has_errors
    }

    /// Adds a finding about a stretch of a file. The severity is the code's; for a plan alone less is an error.
    pub fn add(&mut self, code: Code, file: usize, span: Span, message: impl Into<String>, help: Option<String>) {
        let file = span.file_or(file);
        let mut reason = self.waivers.reason(code, file, span.line);
        let mut help = help;
        if let Some(via) = self.via(span).cloned() {
            let note = via.note(|file, span| self.place(file, span));
            help =
                note.map(|note| help.as_ref().map_or_else(|| note.clone(), |help| format!("{help} ({note})"))).or(help);
            // Where it is used is a place to bear it, too.
            reason = reason.or_else(|| self.waivers.reason(code, via.used.0, via.used.1.line));
        }
        let file = self.files.get(file).map_or(String::new(), |file| file.path.clone());
        let diagnostic = Diagnostic {
            code: code.to_string(),
            severity: match (self.purpose, code.severity()) {
                (Purpose::Plan, Severity::Error) if !code.hinders_planning() => Severity::Warning,
                (_, severity) => severity,
            },
            file,
            line: span.line,
            column: span.column,
            end_line: span.end_line,
            end_column: span.end_column,
            message: message.into(),
            help,
        };
        match reason {
            None => self.push(diagnostic),
            Some(reason) if self.waived.len() < MAX_DIAGNOSTICS => self.waived.push(Waived { diagnostic, reason }),
            // Only those to look at are bounded; what was waived stays so.
            Some(_) => {}
        }
    }

    /// A place in words, for messages that refer to a second one.
    pub fn place(&self, file: usize, span: Span) -> String {
        let path = self.files.get(span.file_or(file)).map_or("?", |file| file.path.as_str());
        format!("{path}:{}:{}", span.line, span.column)
    }

    /// Adds a finding about the tree as a whole.
    pub fn add_global(&mut self, code: Code, message: impl Into<String>, help: Option<String>) {
        self.add(code, usize::MAX, Span::default(), message, help);
    }

    fn push(&mut self, diagnostic: Diagnostic) {
        self.has_errors |= diagnostic.severity == Severity::Error;
        if self.diagnostics.len() < MAX_GATHERED {
            self.diagnostics.push(diagnostic);
        } else {
            self.left_out += 1;
        }
    }

    /// What was found, and what of it was waived.
    pub fn finish(mut self) -> (Vec<Diagnostic>, Vec<Waived>) {
        let place = |d: &Diagnostic| (d.file.clone(), d.line, d.column, d.severity, d.code.clone(), d.message.clone());
        self.diagnostics.sort_by_cached_key(place);
        self.diagnostics.dedup();
        self.waived.sort_by_cached_key(|waived| place(&waived.diagnostic));
        self.waived.dedup();
        if self.diagnostics.len() > MAX_DIAGNOSTICS {
            // Errors first, then by place again.
            self.diagnostics.sort_by_key(|d| d.severity);
            self.left_out += self.diagnostics.len() - MAX_DIAGNOSTICS;
            self.diagnostics.truncate(MAX_DIAGNOSTICS);
            self.diagnostics.sort_by_cached_key(place);
        }
        if self.left_out > 0 {
            let message = format!("{} more findings are not shown", self.left_out);
            let code = if self.has_errors { Code::MoreErrors } else { Code::MoreFindings };
            self.left_out = 0;
            let file = String::new();
            let (severity, code) = (code.severity(), code.to_string());
            let help = Some("correct these first".to_owned());
            let (line, column, end_line, end_column) = (0, 0, 0, 0);
            self.diagnostics.push(Diagnostic {
                code,
                severity,
                file,
                line,
                column,
                end_line,
                end_column,
                message,
                help,
            });
        }
        (self.diagnostics, self.waived)
    }
}
