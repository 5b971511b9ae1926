//! Rules: whether a block of settings counts, and where a location does.
//!
//! Input: a `rule` element and what it is asked about ([`Asked`]). Output: true or false. Pacemaker Explained, "Rules".
//!
//! Invariants: total; what a rule asks about and is not there (a node, a time) does not hold.
//!
//! Deliberately absent: scores. Whoever asked knows what follows.

use super::words::{boolean, moment};
use super::xml::El;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// What a rule can be asked about.
#[derive(Clone, Copy, Default)]
pub(super) struct Asked<'a> {
    pub node: Option<&'a NodeFacts<'a>>,
    /// Seconds since 1970.
    pub now: Option<i64>,
    pub rsc: Option<RscFacts<'a>>,
    pub op: Option<OpFacts<'a>>,
    /// Of the resource, for `value-source`.
    pub params: Option<&'a BTreeMap<&'a str, &'a str>>,
    pub meta: Option<&'a BTreeMap<&'a str, &'a str>>,
}

/// What is known of a node, by name.
#[derive(Default)]
pub(super) struct NodeFacts<'a> {
    pub name: &'a str,
    pub id: &'a str,
    /// `cluster`, `remote` or `container`.
    pub kind: &'a str,
    pub cluster: &'a str,
    pub site: Option<&'a str>,
    /// It is the designated controller.
    pub is_dc: bool,
    pub permanent: BTreeMap<&'a str, &'a str>,
    pub transient: BTreeMap<&'a str, &'a str>,
}

impl<'a> NodeFacts<'a> {
    /// The transient value of an attribute before the permanent one.
    pub fn attribute(&self, name: &str) -> Option<&'a str> {
        match name {
            "#uname" => Some(self.name),
            "#id" => Some(self.id),
            "#kind" => Some(self.kind),
            "#cluster-name" => Some(self.cluster).filter(|name| !name.is_empty()),
            "#site-name" => self.site.or(Some(self.cluster).filter(|name| !name.is_empty())),
            "#is_dc" => Some(if self.is_dc { "true" } else { "false" }),
            name => self.transient.get(name).or_else(|| self.permanent.get(name)).copied(),
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct RscFacts<'a> {
    pub class: &'a str,
    pub provider: Option<&'a str>,
    pub name: &'a str,
}

#[derive(Clone, Copy)]
pub(super) struct OpFacts<'a> {
    pub name: &'a str,
    pub interval_ms: u64,
}

/// Whether a rule holds. Without any condition it does.
pub(super) fn holds(rule: El<'_>, asked: &Asked<'_>) -> bool {
    let any = rule.attr("boolean-op").is_some_and(|op| op.eq_ignore_ascii_case("or"));
    let mut results = rule.children().filter_map(|child| condition(child, asked)).peekable();
    if results.peek().is_none() {
        return true;
    }
    if any { results.any(|holds| holds) } else { results.all(|holds| holds) }
}

/// None: not a condition.
fn condition(el: El<'_>, asked: &Asked<'_>) -> Option<bool> {
    Some(match el.tag() {
        "rule" => holds(el, asked),
        "expression" => expression(el, asked),
        "date_expression" => date_expression(el, asked.now),
        "rsc_expression" => asked.rsc.is_some_and(|rsc| {
            let is = |key: &str, value: Option<&str>| el.attr(key).is_none_or(|wanted| Some(wanted) == value);
            is("class", Some(rsc.class)) && is("provider", rsc.provider) && is("type", Some(rsc.name))
        }),
        "op_expression" => asked.op.is_some_and(|op| {
            let interval = el.attr("interval").map(super::words::duration_ms);
            el.attr("name").is_none_or(|name| name == op.name) && interval.is_none_or(|i| i == Some(op.interval_ms))
        }),
        _ => return None,
    })
}

fn expression(el: El<'_>, asked: &Asked<'_>) -> bool {
    let Some(node) = asked.node else { return false };
    let name = el.attr("attribute").unwrap_or("");
    let left = node.attribute(name);
    let right = el.attr("value").unwrap_or("");
    let right = match el.attr("value-source") {
        Some("param") => asked.params.and_then(|values| values.get(right).copied()),
        Some("meta") => asked.meta.and_then(|values| values.get(right).copied()),
        Some(_) | None => Some(right),
    };
    let operation = el.attr("operation").unwrap_or("");
    let ordered = || Some(compare(left?, right?, el.attr("type"), operation));
    match operation {
        "defined" => left.is_some(),
        "not_defined" => left.is_none(),
        "eq" => ordered() == Some(Ordering::Equal),
        "ne" => ordered() != Some(Ordering::Equal),
        "lt" => ordered().is_some_and(Ordering::is_lt),
        "lte" => ordered().is_some_and(Ordering::is_le),
        "gt" => ordered().is_some_and(Ordering::is_gt),
        "gte" => ordered().is_some_and(Ordering::is_ge),
        _ => false,
    }
}

fn compare(left: &str, right: &str, kind: Option<&str>, operation: &str) -> Ordering {
    let numeric = kind.is_none() && !matches!(operation, "eq" | "ne");
    let number = |text: &str| text.trim().parse::<f64>().ok();
    match (kind, number(left), number(right)) {
        (Some("version"), _, _) => compare_versions(left, right),
        (Some("string"), _, _) => left.cmp(right),
        (Some("integer"), Some(a), Some(b)) => a.trunc().total_cmp(&b.trunc()),
        (Some("number"), Some(a), Some(b)) => a.total_cmp(&b),
        (_, Some(a), Some(b)) if numeric => a.total_cmp(&b),
        (_, _, _) => left.to_lowercase().cmp(&right.to_lowercase()),
    }
}

/// Part by part, as numbers.
pub(super) fn compare_versions(left: &str, right: &str) -> Ordering {
    let parts = |text: &str| -> Vec<u64> { text.split('.').map(|part| part.trim().parse().unwrap_or(0)).collect() };
    let (mut left, mut right) = (parts(left), parts(right));
    let longest = left.len().max(right.len());
    left.resize(longest, 0);
    right.resize(longest, 0);
    left.cmp(&right)
}

fn date_expression(el: El<'_>, now: Option<i64>) -> bool {
    let Some(now) = now else { return false };
    let start = el.attr("start").and_then(moment);
    let end = el.attr("end").and_then(moment).or_else(|| Some(start? + el.child("duration").map(length)?));
    match el.attr("operation").unwrap_or("in_range") {
        "gt" => start.is_some_and(|start| now > start),
        "lt" => end.is_some_and(|end| now < end),
        "date_spec" => el.child("date_spec").is_some_and(|spec| date_spec(spec, now)),
        "in_range" => start.is_none_or(|start| now >= start) && end.is_none_or(|end| now <= end),
        _ => false,
    }
}

/// Of a `duration` element, in seconds; a month counts thirty days and a year 365.
fn length(el: El<'_>) -> i64 {
    const UNITS: [(&str, i64); 7] = [
        ("seconds", 1),
        ("minutes", 60),
        ("hours", 3600),
        ("days", 86_400),
        ("weeks", 604_800),
        ("months", 2_592_000),
        ("years", 31_536_000),
    ];
    let of = |(name, seconds): (&str, i64)| {
        let count: i64 = el.attr(name).and_then(|count| count.parse().ok()).unwrap_or(0);
        count.saturating_mul(seconds)
    };
    UNITS.into_iter().map(of).fold(0, i64::saturating_add)
}

fn date_spec(el: El<'_>, now: i64) -> bool {
    let Ok(now) = jiff::Timestamp::from_second(now) else { return false };
    let now = now.to_zoned(jiff::tz::TimeZone::UTC);
    let week = now.date().iso_week_date();
    let value = |name: &str| -> Option<i64> {
        Some(match name {
            "seconds" => now.second().into(),
            "minutes" => now.minute().into(),
            "hours" => now.hour().into(),
            "monthdays" => now.day().into(),
            "weekdays" => now.weekday().to_monday_one_offset().into(),
            "yeardays" => now.day_of_year().into(),
            "months" => now.month().into(),
            "weeks" => week.week().into(),
            "years" => now.year().into(),
            "weekyears" => week.year().into(),
            _ => return None,
        })
    };
    el.attrs().all(|(name, range)| value(name).is_none_or(|value| in_range(range, value)))
}

/// `5`, `5-7`, `5-` or `-7`.
fn in_range(range: &str, value: i64) -> bool {
    match range.split_once('-') {
        None => range.parse() == Ok(value),
        Some((from, to)) => {
            let within = |bound: &str, holds: fn(i64, i64) -> bool| {
                bound.is_empty() || bound.parse().is_ok_and(|bound| holds(value, bound))
            };
            within(from, |value, from| value >= from) && within(to, |value, to| value <= to)
        }
    }
}

/// Whether a block of settings counts: its rule, if it has one, holds.
pub(super) fn counts(block: El<'_>, asked: &Asked<'_>) -> bool {
    block.child("rule").is_none_or(|rule| holds(rule, asked))
}

/// Whether a setting is a true boolean.
pub(super) fn is_true(text: Option<&str>) -> bool {
    text.and_then(boolean).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::super::xml::Tree;
    use super::*;

    fn ask(rule: &str, asked: &Asked<'_>) -> bool {
        holds(Tree::parse(rule).unwrap().root(), asked)
    }

    fn facts() -> NodeFacts<'static> {
        NodeFacts {
            name: "n1",
            permanent: BTreeMap::from([("cpus", "8"), ("site", "a")]),
            transient: BTreeMap::from([("site", "b")]),
            ..NodeFacts::default()
        }
    }

    #[test]
    fn conditions_are_joined_by_and_or_by_or() {
        let node = facts();
        let asked = Asked { node: Some(&node), ..Asked::default() };
        let name = r##"<expression attribute="#uname" operation="eq" value="n1"/>"##;
        let other = r#"<expression attribute="cpus" operation="gt" value="16"/>"#;
        assert!(!ask(&format!("<rule>{name}{other}</rule>"), &asked));
        assert!(ask(&format!("<rule boolean-op=\"or\">{name}{other}</rule>"), &asked));
        assert!(ask(&format!("<rule>{name}<rule boolean-op=\"or\">{name}{other}</rule></rule>"), &asked));
    }

    #[test]
    fn a_transient_value_hides_the_permanent_one_and_numbers_are_compared_as_numbers() {
        let node = facts();
        let asked = Asked { node: Some(&node), ..Asked::default() };
        assert!(ask(r#"<rule><expression attribute="site" operation="eq" value="b"/></rule>"#, &asked));
        assert!(ask(r#"<rule><expression attribute="cpus" operation="lt" value="16"/></rule>"#, &asked));
        assert!(ask(r#"<rule><expression attribute="gone" operation="not_defined"/></rule>"#, &asked));
        assert!(!ask(r#"<rule><expression attribute="gone" operation="lt" value="16"/></rule>"#, &asked));
        assert_eq!(compare_versions("3.10.0", "3.9"), Ordering::Greater);
    }

    #[test]
    fn dates_hold_within_their_range() {
        let at = |text: &str| Asked { now: moment(text), ..Asked::default() };
        let range = r#"<rule><date_expression operation="in_range" start="2020-01-01" end="2020-02-01"/></rule>"#;
        assert!(ask(range, &at("2020-01-15")));
        assert!(!ask(range, &at("2020-03-01")));
        let hours = r#"<rule><date_expression operation="date_spec"><date_spec id="s" hours="9-16" weekdays="1-5"/></date_expression></rule>"#;
        assert!(ask(hours, &at("2020-01-15 12:00:00")));
        assert!(!ask(hours, &at("2020-01-15 17:00:00")));
        assert!(!ask(hours, &at("2020-01-18 12:00:00")));
    }
}
