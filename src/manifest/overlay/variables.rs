//! Values for `${name}`.
//!
//! Input → output: the overlays of a cluster → what every variable stands for ([`Variables`]); then document after document,
//! with the values put in. Findings: what is declared twice, not declared, without a value, with a value of another type,
//! or used nowhere.
//!
//! Rules: a value takes the place of a whole word (`${n}`, in quotes too), and is then what its type
//! says; or it is put into a text. `$${` is the text `${`. Keys have no variables. An overlay's value counts more than its bases', and these
//! more than the default.

use super::folders::Layer;
use super::raw::{VariableType, is_variable};
use super::{How, MAX_CHANGES, Overlay, Via};
use crate::manifest::explain::Code;
use crate::manifest::report::Report;
use crate::manifest::scalar::{Resolved, surprise};
use crate::manifest::tree::{Entry, Node, Scalar, Span, Value};
use crate::model::{duration, suggest};
use std::collections::{BTreeMap, BTreeSet};

/// The longest text that a variable can stand for; a parameter of an agent is shorter.
const MAX_VALUE_BYTES: usize = 4096;
/// The longest list that a variable can stand for.
const MAX_LIST: usize = 1000;
/// Bytes that values add to one cluster, so that a few lines cannot become gigabytes.
const MAX_ADDED_BYTES: usize = 16 << 20;

pub(super) struct Variables {
    known: BTreeMap<String, Variable>,
    used: BTreeSet<String>,
    via: Vec<Via>,
    added: usize,
    /// A limit was met, and said.
    full: bool,
}

struct Variable {
    of: VariableType,
    /// Of an Enum.
    choices: Vec<String>,
    declared: (usize, Span),
    value: Option<Given>,
}

#[derive(Clone)]
struct Given {
    file: usize,
    node: Node,
    default: bool,
}

/// A piece of a text.
#[derive(Debug, PartialEq)]
enum Piece<'a> {
    Text(&'a str),
    Variable(&'a str),
}

/// Reads what the overlays of all layers declare and set.
pub(super) fn gather(layers: &[Layer], overlays: &[Overlay], report: &mut Report) -> Variables {
    let used: Vec<&Overlay> = layers.iter().filter_map(|layer| layer.overlay).map(|place| &overlays[place]).collect();
    let mut known: BTreeMap<String, Variable> = BTreeMap::new();
    for overlay in &used {
        declare(overlay, &mut known, report);
    }
    // A value that is not right is said once, and takes the place of a right one all the same.
    let mut unsettled = BTreeSet::new();
    for overlay in &used {
        set(overlay, &mut known, &mut unsettled, report);
    }
    if let Some(top) = used.last() {
        for (name, variable) in
            known.iter().filter(|(name, variable)| variable.value.is_none() && !unsettled.contains(*name))
        {
            let at = report.place(variable.declared.0, variable.declared.1);
            let message = format!("`{name}` has no value: it is declared at {at}, without a default");
            let help = format!("write `{name}` below `values` of this Overlay");
            report.add(Code::UndefinedVariable, top.file, top.name(), message, Some(help));
        }
    }
    Variables { known, used: BTreeSet::new(), via: Vec::new(), added: 0, full: false }
}

fn entries<'a>(overlay: &'a Overlay, field: &str) -> &'a [Entry] {
    match overlay.root.at(&["spec", field]).map(|node| &node.value) {
        Some(Value::Map(entries)) => entries,
        Some(Value::List(_) | Value::Scalar(_)) | None => &[],
    }
}

fn declare(overlay: &Overlay, known: &mut BTreeMap<String, Variable>, report: &mut Report) {
    let file = overlay.file;
    for entry in entries(overlay, "variables") {
        let name = &entry.key.text;
        let Some(raw) = overlay.spec.variables.as_ref().and_then(|variables| variables.get(name)) else { continue };
        if !is_variable(name) {
            let help = "it begins with a letter or `_` and goes on with those, digits and `-`, 64 in all at most";
            let message = format!("`{name}` cannot be the name of a variable");
            report.add(Code::BadName, file, entry.key_span, message, Some(help.to_owned()));
            continue;
        }
        if let Some(first) = known.get(name) {
            let at = report.place(first.declared.0, first.declared.1);
            let message = format!("the variable `{name}` is declared already at {at}");
            let help = "to give it another value write it below `values`".to_owned();
            report.add(Code::DuplicateName, file, entry.key_span, message, Some(help));
            continue;
        }
        let choices = raw.choices.as_deref().unwrap_or_default();
        match (raw.of, raw.choices.is_some()) {
            (VariableType::Enum, _) if choices.is_empty() => {
                let help = "write the words that it may be: `choices: [a, b]`".to_owned();
                let message = format!("the Enum `{name}` has no `choices`");
                report.add(Code::MissingField, file, entry.key_span, message, Some(help));
            }
            (VariableType::Enum, _) | (_, false) => {}
            (of, true) => {
                let message = format!("`choices` are of an Enum, and `{name}` is of type {of:?}");
                report.add(Code::WrongVariable, file, entry.key_span, message, Some("write `type: Enum`".to_owned()));
            }
        }
        let mut value = None;
        if let Some(node) = entry.value.get("default") {
            check(name, raw.of, choices, file, node, report);
            value = Some(Given { file, node: node.clone(), default: true });
        }
        let declared = (file, entry.key_span);
        known.insert(name.clone(), Variable { of: raw.of, choices: choices.to_vec(), declared, value });
    }
}

fn set(
    overlay: &Overlay,
    known: &mut BTreeMap<String, Variable>,
    unsettled: &mut BTreeSet<String>,
    report: &mut Report,
) {
    let file = overlay.file;
    let names: Vec<String> = known.keys().cloned().collect();
    for entry in entries(overlay, "values") {
        let name = &entry.key.text;
        let Some(variable) = known.get_mut(name) else {
            let help = suggest::nearest(name, names.iter().map(String::as_str)).map_or_else(
                || format!("declare it: `variables: {{ {name}: {{ type: String }} }}`"),
                |near| format!("did you mean `{near}`?"),
            );
            let message = format!("`{name}` is not a variable of this overlay or its bases");
            report.add(Code::UndefinedVariable, file, entry.key_span, message, Some(help));
            unsettled.extend(suggest::nearest(name, names.iter().map(String::as_str)).map(str::to_owned));
            continue;
        };
        let choices = variable.choices.clone();
        check(name, variable.of, &choices, file, &entry.value, report);
        variable.value = Some(Given { file, node: entry.value.clone(), default: false });
    }
}

/// Judges a value by the type of its variable.
fn check(name: &str, of: VariableType, choices: &[String], file: usize, node: &Node, report: &mut Report) {
    let mut wrong = |node: &Node, what: String, help: Option<String>| {
        report.add(Code::WrongVariable, file, node.head(), what, help);
    };
    let items = match (&node.value, of) {
        (Value::List(items), VariableType::List) => items.iter().collect(),
        (Value::List(_) | Value::Map(_), _) => {
            let message = format!("`{name}` is of type {of:?}: a single word");
            return wrong(node, message, None);
        }
        (Value::Scalar(scalar), VariableType::List) => {
            return wrong(node, format!("`{name}` is a List"), Some(format!("write `[{}]`", scalar.text)));
        }
        (Value::Scalar(_), _) => vec![node],
    };
    if items.len() > MAX_LIST {
        return wrong(node, format!("`{name}` has {} items; the limit is {MAX_LIST}", items.len()), None);
    }
    for item in items {
        let Value::Scalar(scalar) = &item.value else {
            wrong(item, format!("`{name}` is a list of words"), None);
            continue;
        };
        if let Err((message, help)) = check_word(name, of, choices, scalar) {
            wrong(item, message, help);
        }
    }
}

fn check_word(
    name: &str,
    of: VariableType,
    choices: &[String],
    scalar: &Scalar,
) -> Result<(), (String, Option<String>)> {
    let (text, resolved) = (scalar.text.as_str(), scalar.resolve());
    if text.len() > MAX_VALUE_BYTES {
        return Err((format!("the value of `{name}` has {} bytes; the limit is {MAX_VALUE_BYTES}", text.len()), None));
    }
    if text.contains("${") {
        let help = "values are taken as they are; put the variables together where they are used".to_owned();
        return Err((format!("the value of `{name}` refers to a variable"), Some(help)));
    }
    let odd = scalar.plain && surprise(text).is_some();
    match of {
        VariableType::String | VariableType::List if resolved != Resolved::Str || odd => Err((
            format!("`{name}` is a text, and `{text}` is none without quotes"),
            Some(format!("write `\"{text}\"`")),
        )),
        VariableType::String | VariableType::List => Ok(()),
        VariableType::Integer => match text.parse::<i64>() {
            Ok(_) if !odd && scalar.plain => Ok(()),
            Ok(_) if !odd => {
                Err((format!("`{name}` is an Integer, not a text"), Some(format!("write `{text}` without quotes"))))
            }
            Ok(_) | Err(_) => Err((format!("`{name}` is an Integer, and `{text}` is no whole number"), None)),
        },
        VariableType::Duration => match duration::parse(text) {
            _ if resolved != Resolved::Str => Err((
                format!("`{name}` is a Duration, and `{text}` has no unit"),
                Some(format!("write `{text}s` or `{text}ms`")),
            )),
            Ok(_) => Ok(()),
            Err(why) => {
                let (message, help) = why.split_once("; ").unwrap_or((&why, ""));
                Err((format!("`{name}` is a Duration: {message}"), (!help.is_empty()).then(|| help.to_owned())))
            }
        },
        VariableType::Boolean if matches!(resolved, Resolved::Bool(_)) => Ok(()),
        VariableType::Boolean => {
            Err((format!("`{name}` is a Boolean"), Some("write `true` or `false`, without quotes".to_owned())))
        }
        VariableType::Enum if choices.iter().any(|choice| choice == text) && resolved == Resolved::Str => Ok(()),
        VariableType::Enum => {
            let all: Vec<String> = choices.iter().map(|choice| format!("`{choice}`")).collect();
            let help = suggest::nearest(text, choices.iter().map(String::as_str))
                .map_or_else(|| format!("one of {}", all.join(", ")), |near| format!("did you mean `{near}`?"));
            Err((format!("`{text}` is not among the choices of `{name}`"), Some(help)))
        }
    }
}

impl Variables {
    /// Puts values in wherever they are referred to. False: something could not be put in, and a finding says what.
    pub fn put_in(&mut self, file: usize, node: &mut Node, report: &mut Report) -> bool {
        match &mut node.value {
            Value::Scalar(scalar) if !scalar.text.contains("${") => true,
            Value::Scalar(_) => self.put_in_word(file, node, report),
            Value::List(items) => {
                let mut whole = true;
                for item in items {
                    whole &= self.put_in(file, item, report);
                }
                whole
            }
            Value::Map(entries) => {
                let mut whole = true;
                for entry in entries {
                    if entry.key.text.contains("${") {
                        let help = "keys have no variables; write one out, or leave it to a patch of each overlay";
                        let message = format!("a variable in the key `{}`", entry.key.text);
                        report.add(Code::BadVariable, file, entry.key_span, message, Some(help.to_owned()));
                        whole = false;
                    }
                    whole &= self.put_in(file, &mut entry.value, report);
                }
                whole
            }
        }
    }

    fn put_in_word(&mut self, file: usize, node: &mut Node, report: &mut Report) -> bool {
        let Value::Scalar(scalar) = &node.value else { return true };
        let (text, at) = (scalar.text.clone(), node.span);
        let pieces = match pieces(&text) {
            Ok(pieces) => pieces,
            Err(message) => {
                let help = "write `${name}` for a variable, `$${` for the text `${`".to_owned();
                report.add(Code::BadVariable, file, at, message, Some(help));
                return false;
            }
        };
        let mut given: Vec<(&str, VariableType, Given)> = Vec::new();
        let mut whole = true;
        for piece in &pieces {
            let Piece::Variable(name) = piece else { continue };
            self.used.insert((*name).to_owned());
            match self.known.get(*name) {
                Some(Variable { of, value: Some(value), .. }) => given.push((name, *of, value.clone())),
                // That it has no value was said where it should have one.
                Some(_) => whole = false,
                None => {
                    whole = false;
                    let known = self.known.keys().map(String::as_str);
                    let help = suggest::nearest(name, known).map_or_else(
                        || format!("declare it in an Overlay: `variables: {{ {name}: {{ type: String }} }}`; `$${{` is the text `${{`"),
                        |near| format!("did you mean `${{{near}}}`?"),
                    );
                    report.add(Code::UndefinedVariable, file, at, format!("`${{{name}}}` is not declared"), Some(help));
                }
            }
        }
        if !whole || !self.has_room(file, at, &given, report) {
            return false;
        }
        if let ([Piece::Variable(_)], [(name, of, given)]) = (pieces.as_slice(), given.as_slice()) {
            let how = How::Variable { name: (*name).to_owned(), default: given.default };
            self.via.push(Via { used: (file, at), how });
            let mut value = given.node.clone();
            mark(&mut value, self.via.len() as u32);
            if let (Value::Scalar(scalar), VariableType::String | VariableType::Duration | VariableType::Enum) =
                (&mut value.value, of)
            {
                scalar.plain = false;
            }
            *node = value;
            return true;
        }
        if let Some((name, _, _)) = given.iter().find(|(_, of, _)| *of == VariableType::List) {
            let message = format!("`{name}` is a List, which cannot be put into a text");
            let help = format!("write `${{{name}}}` alone, in the place of a whole list");
            report.add(Code::BadVariable, file, at, message, Some(help));
            return false;
        }
        let mut values = given.iter().map(|(_, _, given)| match &given.node.value {
            Value::Scalar(scalar) => scalar.text.as_str(),
            Value::List(_) | Value::Map(_) => "",
        });
        let put = |piece: &Piece| match piece {
            Piece::Text(text) => (*text).to_owned(),
            Piece::Variable(_) => values.next().unwrap_or_default().to_owned(),
        };
        let rendered: String = pieces.iter().map(put).collect();
        if !given.is_empty() {
            let places = given.iter().map(|(name, _, given)| ((*name).to_owned(), (given.file, given.node.head())));
            let how = How::Text { written: text.clone(), variables: places.collect() };
            self.via.push(Via { used: (file, at), how });
            node.span.via = self.via.len() as u32;
        }
        node.value = Value::Scalar(Scalar { text: rendered, plain: false });
        true
    }

    fn has_room(&mut self, file: usize, at: Span, given: &[(&str, VariableType, Given)], report: &mut Report) -> bool {
        // A word costs more than its letters.
        const WORD: usize = 64;
        let size = |node: &Node| match &node.value {
            Value::Scalar(scalar) => WORD + scalar.text.len(),
            Value::List(items) => items.len() * (WORD + MAX_VALUE_BYTES / 64),
            Value::Map(_) => WORD,
        };
        self.added += given.iter().map(|(_, _, given)| size(&given.node)).sum::<usize>();
        let fits = self.added <= MAX_ADDED_BYTES && self.via.len() < MAX_CHANGES;
        if !fits && !self.full {
            self.full = true;
            report.add(Code::TooMuch, file, at, "the values of variables make these documents too large", None);
        }
        fits
    }

    /// Reports the variables that nothing refers to. With errors not every reference was understood, so nothing is said.
    pub fn unused(&self, report: &mut Report) {
        if report.has_errors() {
            return;
        }
        for (name, variable) in self.known.iter().filter(|(name, _)| !self.used.contains(*name)) {
            let message = format!("nothing refers to the variable `{name}`");
            let help = format!("write `${{{name}}}` where it is wanted, or remove it");
            report.add(Code::NoEffect, variable.declared.0, variable.declared.1, message, Some(help));
        }
    }

    /// How what was put in came there.
    pub fn finish(self) -> Vec<Via> {
        self.via
    }
}

/// Says of a value, and of all within it, how it came where it is.
pub(super) fn mark(node: &mut Node, via: u32) {
    let set = |span: &mut Span| {
        if span.via == 0 {
            span.via = via;
        }
    };
    set(&mut node.span);
    match &mut node.value {
        Value::Scalar(_) => {}
        Value::List(items) => items.iter_mut().for_each(|item| mark(item, via)),
        Value::Map(entries) => entries.iter_mut().for_each(|entry| {
            set(&mut entry.key_span);
            mark(&mut entry.value, via);
        }),
    }
}

/// Takes a text apart. Error: what is wrong with it.
fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        if let Some(before) = rest[..start].strip_suffix('$') {
            pieces.extend([Piece::Text(before), Piece::Text("${")]);
            rest = &rest[start + 2..];
            continue;
        }
        pieces.push(Piece::Text(&rest[..start]));
        let Some(end) = rest[start..].find('}') else {
            return Err(format!("`{}` is not closed", &rest[start..]));
        };
        let name = &rest[start + 2..start + end];
        if !is_variable(name) {
            return Err(format!("`${{{name}}}` is not a reference to a variable"));
        }
        pieces.push(Piece::Variable(name));
        rest = &rest[start + end + 1..];
    }
    pieces.push(Piece::Text(rest));
    pieces.retain(|piece| *piece != Piece::Text(""));
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_taken_apart_at_its_references_and_two_dollars_are_none() {
        use Piece::{Text, Variable};
        assert_eq!(pieces("${a}").unwrap(), [Variable("a")]);
        assert_eq!(pieces("x${a}${b-1}.y").unwrap(), [Text("x"), Variable("a"), Variable("b-1"), Text(".y")]);
        assert_eq!(pieces("$${a} $x $").unwrap(), [Text("${"), Text("a} $x $")]);
        assert_eq!(pieces("$$${a}").unwrap(), [Text("$"), Text("${"), Text("a}")]);
        for wrong in ["${a", "${}", "${a:-b}", "${ a }", "${a.b}", "${1a}"] {
            assert!(pieces(wrong).is_err(), "{wrong}");
        }
    }
}
