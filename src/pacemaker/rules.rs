//! Rules: whether a block of settings counts, and where a location does.
//!
//! Input: a `rule` element and what it is asked about ([`Asked`]). Output: true or false. Pacemaker Explained, "Rules".
//!
//! Invariants: total; what a rule asks about and is not there (a node, a time) does not hold.
//!
//! Deliberately absent: scores. Whoever asked knows what follows.

use super::words::{boolean, moment};
use super::xml::El;
use crate::model::{CompareAs, Comparison, Field, Instant, Operator, Rule, Span};
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
    let right = el.attr("value").unwrap_or("");
    let right = match el.attr("value-source") {
        Some("param") => asked.params.and_then(|values| values.get(right).copied()),
        Some("meta") => asked.meta.and_then(|values| values.get(right).copied()),
        Some(_) | None => Some(right),
    };
    let key = el.attr("attribute").unwrap_or("");
    comparison(el, key, right).is_some_and(|comparison| comparison.holds(node.attribute(key)))
}

/// None: the operation is unknown.
fn comparison(el: El<'_>, key: &str, value: Option<&str>) -> Option<Comparison> {
    let operator = match el.attr("operation").unwrap_or("") {
        "defined" => Operator::Exists,
        "not_defined" => Operator::DoesNotExist,
        "eq" => Operator::Equal,
        "ne" => Operator::NotEqual,
        "lt" => Operator::Less,
        "lte" => Operator::LessOrEqual,
        "gt" => Operator::Greater,
        "gte" => Operator::GreaterOrEqual,
        _ => return None,
    };
    let compare_as = match el.attr("type") {
        Some("version") => Some(CompareAs::Version),
        Some("string") => Some(CompareAs::Text),
        Some("integer") => Some(CompareAs::Integer),
        Some("number") => Some(CompareAs::Number),
        Some(_) | None => None,
    };
    let value = value.filter(|_| !matches!(operator, Operator::Exists | Operator::DoesNotExist));
    Some(Comparison { key: key.to_owned(), operator, value: value.map(str::to_owned), compare_as })
}

fn date_expression(el: El<'_>, now: Option<i64>) -> bool {
    now.is_some_and(|now| date(el).is_some_and(|rule| rule.holds(&|_| None, now)))
}

/// None: it never holds, or says nothing that can be read.
fn date(el: El<'_>) -> Option<Rule> {
    // What cannot be read is no end left open.
    let read = |name: &str| match el.attr(name) {
        Some(text) => moment(text).map(Some),
        None => Some(None),
    };
    let start = read("start")?;
    let end = read("end")?.or_else(|| later(start?, el.child("duration")?));
    Some(match el.attr("operation").unwrap_or("in_range") {
        "gt" => Rule::After(Instant(start?)),
        "lt" => Rule::Before(Instant(end?)),
        "date_spec" => Rule::Calendar(calendar(el.child("date_spec")?)?),
        "in_range" if start.is_none() && end.is_none() => Rule::All(Vec::new()),
        "in_range" => Rule::Between(start.map(Instant), end.map(Instant)),
        _ => return None,
    })
}

fn calendar(el: El<'_>) -> Option<BTreeMap<Field, Span>> {
    let mut fields = BTreeMap::new();
    for (name, range) in el.attrs() {
        if let Some(field) = Field::ALL.into_iter().find(|field| field.as_str() == name) {
            fields.insert(field, range.parse().ok()?);
        }
    }
    Some(fields)
}

/// The moment that lies as far behind another as a `duration` element says, by the calendar. None: further than any.
fn later(start: i64, el: El<'_>) -> Option<i64> {
    let count = |name: &str| -> i64 { el.attr(name).and_then(|count| count.trim().parse().ok()).unwrap_or(0) };
    let span = jiff::Span::new().try_years(count("years")).ok()?.try_months(count("months")).ok()?;
    let span = span.try_weeks(count("weeks")).ok()?.try_days(count("days")).ok()?.try_hours(count("hours")).ok()?;
    let span = span.try_minutes(count("minutes")).ok()?.try_seconds(count("seconds")).ok()?;
    let start = jiff::Timestamp::from_second(start).ok()?.to_zoned(jiff::tz::TimeZone::UTC);
    Some(start.checked_add(span).ok()?.timestamp().as_second())
}

/// A rule as one of the model. None: it asks what a plan does not know, about the resource or the controller, or what
/// cannot be read.
pub(super) fn typed(rule: El<'_>, nodes: &[NodeFacts<'_>]) -> Option<Rule> {
    let any = rule.attr("boolean-op").is_some_and(|op| op.eq_ignore_ascii_case("or"));
    let mut rules = Vec::new();
    for child in rule.children() {
        rules.push(match child.tag() {
            "rule" => typed(child, nodes)?,
            "expression" => {
                if child.attr("value-source").is_some() {
                    return None;
                }
                let key = child.attr("attribute")?;
                let value = child.attr("value").unwrap_or("");
                match key {
                    "#cluster-name" | "#site-name" => return None,
                    "#id" => {
                        // Ids are of Pacemaker alone: what they are compared with is a node.
                        let name = nodes.iter().find(|node| node.id == value)?.name;
                        if !matches!(child.attr("operation"), Some("eq" | "ne")) {
                            return None;
                        }
                        Rule::Label(comparison(child, "#uname", Some(name))?)
                    }
                    key => Rule::Label(comparison(child, key, Some(value))?),
                }
            }
            "date_expression" => date(child)?,
            "rsc_expression" | "op_expression" => return None,
            _ => continue,
        });
    }
    Some(if any { Rule::Any(rules) } else { Rule::All(rules) })
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
    }

    #[test]
    fn what_is_no_date_never_holds() {
        let asked = Asked { now: moment("2020-01-15"), ..Asked::default() };
        for ends in [r#"start="soon" end="late""#, r#"start="2019-99-01""#, r#"start="2019-01-01" end="?""#] {
            assert!(!ask(&format!(r#"<rule><date_expression operation="in_range" {ends}/></rule>"#), &asked), "{ends}");
        }
    }

    #[test]
    fn a_duration_is_counted_by_the_calendar_and_may_be_longer_than_time() {
        let at = |text: &str| Asked { now: moment(text), ..Asked::default() };
        let range = |duration: &str| {
            let ends = format!(r#"<date_expression operation="in_range" start="2020-02-01"><duration {duration}/>"#);
            format!("<rule>{ends}</date_expression></rule>")
        };
        assert!(ask(&range(r#"months="1""#), &at("2020-03-01")));
        assert!(!ask(&range(r#"months="1""#), &at("2020-03-02")));
        let endless = format!(r#"years="{0}" hours="{0}""#, i64::MAX);
        assert!(ask(&range(&endless), &at("2999-01-01")));
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
