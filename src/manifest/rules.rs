//! Rules of Locations: from their documents to the model, and what is wrong with them.
//!
//! Input → output: a [`RawRule`] → a [`Rule`], or findings: a condition is of one form, a comparison has an operator and
//! what that needs.
//!
//! Deliberately absent: evaluation (`model::rule`).

use super::document::Doc;
use super::explain::Code;
use super::raw::{RawCalendar, RawRule};
use super::report::Report;
use crate::model::{Comparison, Field, Instant, Operator, Rule, Span};

/// None only for what [`check`] refuses.
pub(super) fn rule(raw: &RawRule) -> Option<Rule> {
    let several = |rules: &Vec<RawRule>| rules.iter().map(rule).collect::<Option<Vec<Rule>>>();
    Some(if let Some(rules) = &raw.all {
        Rule::All(several(rules)?)
    } else if let Some(rules) = &raw.any {
        Rule::Any(several(rules)?)
    } else if let Some(between) = &raw.between {
        Rule::Between(between.from.as_ref().map(|from| from.0), between.until.as_ref().map(|until| until.0))
    } else if let Some(moment) = &raw.after {
        Rule::After(moment.0)
    } else if let Some(moment) = &raw.before {
        Rule::Before(moment.0)
    } else if let Some(calendar) = &raw.calendar {
        Rule::Calendar(spans(calendar).collect())
    } else {
        Rule::Label(Comparison {
            key: raw.key.clone()?,
            operator: raw.operator?,
            value: raw.value.as_ref().map(|value| value.0.clone()),
            compare_as: raw.compare_as,
        })
    })
}

fn spans(raw: &RawCalendar) -> impl Iterator<Item = (Field, Span)> {
    let fields = [
        (Field::Seconds, &raw.seconds),
        (Field::Minutes, &raw.minutes),
        (Field::Hours, &raw.hours),
        (Field::Monthdays, &raw.monthdays),
        (Field::Weekdays, &raw.weekdays),
        (Field::Yeardays, &raw.yeardays),
        (Field::Months, &raw.months),
        (Field::Weeks, &raw.weeks),
        (Field::Years, &raw.years),
        (Field::Weekyears, &raw.weekyears),
    ];
    fields.into_iter().filter_map(|(field, span)| Some((field, span.as_ref()?.0)))
}

/// Checks a rule that stands at this path below `spec`.
pub(super) fn check(doc: &Doc, path: &[&str], raw: &RawRule, report: &mut Report) {
    let forms = [
        ("all", raw.all.is_some()),
        ("any", raw.any.is_some()),
        ("key", raw.key.is_some()),
        ("between", raw.between.is_some()),
        ("after", raw.after.is_some()),
        ("before", raw.before.is_some()),
        ("calendar", raw.calendar.is_some()),
    ];
    let written: Vec<&str> = forms.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect();
    let at = |field: &str| doc.span(&[path, &[field]].concat());
    match written.as_slice() {
        [] => {
            let help = "write `key` and `operator`, or one of `all`, `any`, `between`, `after`, `before`, `calendar`";
            report.add(Code::MissingField, doc.file, doc.span(path), "a rule that says nothing", Some(help.into()));
        }
        [_] => {}
        [first, second, ..] => {
            let message = format!("`{first}` and `{second}` in one rule");
            let help = "write two rules, in `all` or `any`".to_owned();
            report.add(Code::ContradictingFields, doc.file, at(second), message, Some(help));
        }
    }
    if raw.key.is_some() {
        let needs_value = match raw.operator {
            Some(Operator::Exists | Operator::DoesNotExist) => Some(false),
            Some(_) => Some(true),
            None => None,
        };
        match (needs_value, raw.value.is_some()) {
            (None, _) => {
                let message = "`operator` is missing in a rule";
                report.add(Code::MissingField, doc.file, at("key"), message, Some("such as `operator: Equal`".into()));
            }
            (Some(true), false) => {
                report.add(Code::MissingField, doc.file, at("operator"), "`value` is missing in a rule", None);
            }
            (Some(false), true) => {
                let message = "`value` has no effect on an operator that only asks whether there is one";
                report.add(Code::NoEffect, doc.file, at("value"), message, Some("remove the line".into()));
            }
            (Some(true), true) | (Some(false), false) => {}
        }
    }
    let empty = raw.between.as_ref().is_some_and(|between| between.from.is_none() && between.until.is_none());
    if empty {
        let help = "write `from`, `until` or both".to_owned();
        report.add(Code::MissingField, doc.file, at("between"), "`between` without an end", Some(help));
    }
    for (field, rules) in [("all", &raw.all), ("any", &raw.any)] {
        for (place, inner) in rules.iter().flatten().enumerate() {
            check(doc, &[path, &[field, &place.to_string()]].concat(), inner, report);
        }
    }
}

/// Reads a moment for the raw types.
pub(super) fn moment(text: &str) -> Result<Instant, String> {
    text.parse()
}
