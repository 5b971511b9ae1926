//! Where findings are gathered.
//!
//! Input → output: findings in any order → a bounded list, ordered by file and place.
//!
//! Invariant: if an error was added, an error is in the list, however many findings were left out.

use super::explain::Code;
use super::tree::Span;
use super::{Purpose, SourceFile};
use crate::model::{Diagnostic, Severity};

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
}

impl<'a> Report<'a> {
    pub fn new(purpose: Purpose, files: &'a [&'a SourceFile]) -> Self {
        Self { purpose, files, diagnostics: Vec::new(), left_out: 0, has_errors: false }
    }

    pub fn has_errors(&self) -> bool {
        self.has_errors
    }

    /// Adds a finding about a stretch of a file. The severity is the code's; for a plan alone less is an error.
    pub fn add(&mut self, code: Code, file: usize, span: Span, message: impl Into<String>, help: Option<String>) {
        let file = self.files.get(file).map_or(String::new(), |file| file.path.clone());
        self.push(Diagnostic {
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
        });
    }

    /// A place in words, for messages that refer to a second one.
    pub fn place(&self, file: usize, span: Span) -> String {
        let path = self.files.get(file).map_or("?", |file| file.path.as_str());
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

    pub fn finish(mut self) -> Vec<Diagnostic> {
        let place = |d: &Diagnostic| (d.file.clone(), d.line, d.column, d.severity, d.code.clone(), d.message.clone());
        self.diagnostics.sort_by_cached_key(place);
        self.diagnostics.dedup();
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
        self.diagnostics
    }
}
