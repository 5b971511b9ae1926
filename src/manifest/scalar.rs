//! What a plain word of YAML means.
//!
//! Answers: is this text a string, a number, a boolean or nothing, by the core schema of YAML 1.2.2 (section 10.3.2);
//! and would a reader of YAML 1.1 have read something else.
//!
//! Input → output: the text of one unquoted scalar → [`Resolved`]; or the reading of YAML 1.1 where it differs.
//!
//! Deliberately absent: quoted scalars (always strings) and what type a field wants (`structure`).

/// The meaning of a scalar by the core schema.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Resolved {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str,
}

/// Resolves an unquoted scalar.
pub(super) fn resolve(text: &str) -> Resolved {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Resolved::Null,
        "true" | "True" | "TRUE" => return Resolved::Bool(true),
        "false" | "False" | "FALSE" => return Resolved::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Resolved::Float(f64::NAN),
        _ => {}
    }
    // Most words are neither numbers nor begin like one.
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return Resolved::Str;
    }
    if let Some(number) = integer(text) {
        return number;
    }
    if is_decimal_float(text) {
        return text.parse().map_or(Resolved::Str, Resolved::Float);
    }
    match text.strip_prefix(['+', '-']).unwrap_or(text) {
        ".inf" | ".Inf" | ".INF" if text.starts_with('-') => Resolved::Float(f64::NEG_INFINITY),
        ".inf" | ".Inf" | ".INF" => Resolved::Float(f64::INFINITY),
        _ => Resolved::Str,
    }
}

/// `[-+]?[0-9]+`, `0o[0-7]+`, `0x[0-9a-fA-F]+`. What does not fit becomes a float, so that it is still a number.
fn integer(text: &str) -> Option<Resolved> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'o', ..] => (&text[2..], 8),
        [b'0', b'x', ..] => (&text[2..], 16),
        [b'+' | b'-', ..] => (&text[1..], 10),
        _ => (text, 10),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    Some(match i128::from_str_radix(digits, radix) {
        Ok(number) if text.starts_with('-') => Resolved::Int(-number),
        Ok(number) => Resolved::Int(number),
        Err(_) => Resolved::Float(f64::INFINITY),
    })
}

/// `[-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`
fn is_decimal_float(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let mantissa_fits = match mantissa.split_once('.') {
        None => digits(mantissa),
        Some(("", fraction)) => digits(fraction),
        Some((whole, fraction)) => digits(whole) && (fraction.is_empty() || digits(fraction)),
    };
    mantissa_fits && exponent.is_none_or(|exponent| digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)))
}

/// What YAML 1.1 takes this plain scalar for, where that differs from what 1.2 does.
pub(super) fn surprise(text: &str) -> Option<&'static str> {
    const BOOLEANS: [&str; 6] = ["yes", "no", "on", "off", "y", "n"];
    if text.len() <= 3 && BOOLEANS.iter().any(|word| word.eq_ignore_ascii_case(text)) {
        return Some("a boolean");
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let bytes = digits.as_bytes();
    if bytes.len() > 1 && bytes[0] == b'0' && bytes[1..].iter().all(|b| matches!(b, b'0'..=b'7' | b'_')) {
        return Some("an octal number");
    }
    if digits.starts_with("0b") && bytes.len() > 2 && bytes[2..].iter().all(|b| matches!(b, b'0' | b'1' | b'_')) {
        return Some("a binary number");
    }
    if digits.contains('_') && bytes.iter().all(|b| b.is_ascii_digit() || matches!(b, b'_' | b'.')) {
        return Some("a number");
    }
    let mut parts = digits.split(':');
    let first = parts.next().unwrap_or_default();
    let sixties = |part: &str| matches!(part.len(), 1 | 2) && part.parse::<u8>().is_ok_and(|number| number < 60);
    let number = !first.is_empty() && first.bytes().all(|b| b.is_ascii_digit());
    if number && digits.contains(':') && parts.all(sixties) {
        return Some("a number to the base of 60");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_resolve_as_the_core_schema_says() {
        use Resolved::{Bool, Float, Int, Null, Str};
        let table = [
            ("", Null),
            ("~", Null),
            ("null", Null),
            ("Null", Null),
            ("NULL", Null),
            ("nULL", Str),
            ("true", Bool(true)),
            ("True", Bool(true)),
            ("TRUE", Bool(true)),
            ("tRUE", Str),
            ("false", Bool(false)),
            ("FALSE", Bool(false)),
            ("yes", Str),
            ("off", Str),
            ("0", Int(0)),
            ("-0", Int(0)),
            ("+12", Int(12)),
            ("-19", Int(-19)),
            ("0777", Int(777)),
            ("0o7", Int(7)),
            ("0o8", Str),
            ("0x3A", Int(58)),
            ("-0x3A", Str),
            ("0b1", Str),
            ("1_000", Str),
            ("0.", Float(0.0)),
            ("-0.0", Float(0.0)),
            (".5", Float(0.5)),
            ("+12e03", Float(12000.0)),
            ("-2E+05", Float(-200000.0)),
            ("1e", Str),
            ("e1", Str),
            (".", Str),
            ("-", Str),
            ("+", Str),
            ("1.2.3", Str),
            (".inf", Float(f64::INFINITY)),
            ("-.Inf", Float(f64::NEG_INFINITY)),
            ("+.INF", Float(f64::INFINITY)),
            (".iNF", Str),
            ("inf", Str),
            ("nan", Str),
            ("10s", Str),
            ("10.0.0.1", Str),
            ("99999999999999999999999999999999999999999999", Float(f64::INFINITY)),
        ];
        for (text, wanted) in table {
            assert_eq!(resolve(text), wanted, "`{text}`");
        }
        assert!(matches!(resolve(".NaN"), Float(number) if number.is_nan()));
    }

    #[test]
    fn what_yaml_1_1_reads_differently_is_found() {
        for text in ["yes", "No", "ON", "off", "y", "N", "0777", "-017", "00", "0b101", "1_000", "12:30", "190:20:30"] {
            assert!(surprise(text).is_some(), "{text}");
        }
        for text in
            ["0", "7", "0o777", "08", "true", "note", "10.0.0.1", "fe80::1", "1:2:77", "a:b", "10s", "", "-", "_1"]
        {
            assert!(surprise(text).is_none(), "{text}");
        }
    }
}
