//! Patterns of names (`rsc-pattern`): POSIX extended regular expressions.
//!
//! Input: a pattern and names. Output: the names it matches; None if it cannot be read. A leading `!` turns it round.
//!
//! Does what patterns of names need: characters, `.`, `[...]`, groups, `|`, `*`, `+`, `?` and anchors. Matching tries all
//! ways with a limit on steps; a pattern that needs more matches nothing.

/// Tries at most so many steps per name. Far more than any name needs.
const MAX_STEPS: usize = 100_000;

enum Piece {
    Any,
    Begin,
    End,
    One(char),
    Set { negated: bool, ranges: Vec<(char, char)> },
    Group(Vec<Vec<Repeated>>),
}

struct Repeated {
    piece: Piece,
    least: usize,
    most: usize,
}

/// A longer name is not compared: the depth of the recursion is some times its length.
const MAX_NAME: usize = 1000;

/// The names that a pattern matches, in order. None: it cannot be read, or what it matches cannot be told.
pub(super) fn matching<'a>(pattern: &str, names: impl Iterator<Item = &'a str>) -> Option<Vec<&'a str>> {
    let (negated, pattern) = pattern.strip_prefix('!').map_or((false, pattern), |rest| (true, rest));
    let chars: Vec<char> = pattern.chars().collect();
    let mut at = 0;
    let alternatives = alternatives(&chars, &mut at, 0)?;
    if at != chars.len() {
        return None;
    }
    let mut unknown = false;
    let matches = |name: &&str| {
        let text: Vec<char> = name.chars().take(MAX_NAME + 1).collect();
        if text.len() > MAX_NAME {
            unknown = true;
            return false;
        }
        let mut steps = 0;
        let found = (0..=text.len()).any(|from| {
            alternatives.iter().any(|sequence| matches_at(sequence, &text, from, &mut steps, &mut |_, _| true))
        });
        found != negated
    };
    let found = names.filter(matches).collect();
    (!unknown).then_some(found)
}

fn alternatives(chars: &[char], at: &mut usize, depth: usize) -> Option<Vec<Vec<Repeated>>> {
    if depth > 16 {
        return None;
    }
    let mut all = vec![Vec::new()];
    while let Some(c) = chars.get(*at) {
        let piece = match c {
            ')' if depth > 0 => break,
            '|' => {
                *at += 1;
                all.push(Vec::new());
                continue;
            }
            '(' => {
                *at += 1;
                let inner = alternatives(chars, at, depth + 1)?;
                chars.get(*at).filter(|c| **c == ')')?;
                Piece::Group(inner)
            }
            '[' => set(chars, at)?,
            '.' => Piece::Any,
            '^' => Piece::Begin,
            '$' => Piece::End,
            '\\' => {
                *at += 1;
                Piece::One(*chars.get(*at)?)
            }
            '*' | '+' | '?' | '{' => return None,
            c => Piece::One(*c),
        };
        *at += 1;
        let (least, most) = match chars.get(*at) {
            Some('*') => (0, usize::MAX),
            Some('+') => (1, usize::MAX),
            Some('?') => (0, 1),
            Some(_) | None => (1, 1),
        };
        if (least, most) != (1, 1) {
            *at += 1;
        }
        all.last_mut()?.push(Repeated { piece, least, most });
    }
    Some(all)
}

/// A `[...]`; leaves `at` on its closing bracket.
fn set(chars: &[char], at: &mut usize) -> Option<Piece> {
    *at += 1;
    let negated = chars.get(*at) == Some(&'^');
    *at += usize::from(negated);
    let (mut ranges, from) = (Vec::new(), *at);
    while *chars.get(*at)? != ']' || *at == from {
        let low = *chars.get(*at)?;
        if low == '[' && matches!(chars.get(*at + 1), Some(':' | '.' | '=')) {
            // Classes of characters by name.
            return None;
        }
        let is_range = chars.get(*at + 1) == Some(&'-') && chars.get(*at + 2).is_some_and(|c| *c != ']');
        let high = if is_range { *chars.get(*at + 2)? } else { low };
        ranges.push((low, high));
        *at += if is_range { 3 } else { 1 };
    }
    Some(Piece::Set { negated, ranges })
}

type Rest<'r> = dyn FnMut(usize, &mut usize) -> bool + 'r;

fn matches_at(sequence: &[Repeated], text: &[char], at: usize, steps: &mut usize, rest: &mut Rest<'_>) -> bool {
    match sequence.split_first() {
        None => rest(at, steps),
        Some((first, others)) => repeat(first, 0, others, text, at, steps, rest),
    }
}

fn repeat(
    first: &Repeated,
    done: usize,
    others: &[Repeated],
    text: &[char],
    at: usize,
    steps: &mut usize,
    rest: &mut Rest<'_>,
) -> bool {
    *steps += 1;
    if *steps > MAX_STEPS || done > text.len() + 1 {
        return false;
    }
    if done < first.most {
        let more = piece(&first.piece, text, at, steps, &mut |next, steps| {
            // A piece that took nothing takes nothing again.
            (next > at || done < first.least) && repeat(first, done + 1, others, text, next, steps, rest)
        });
        if more {
            return true;
        }
    }
    done >= first.least && matches_at(others, text, at, steps, rest)
}

fn piece(piece: &Piece, text: &[char], at: usize, steps: &mut usize, rest: &mut Rest<'_>) -> bool {
    let mut one = |holds: &dyn Fn(char) -> bool, steps: &mut usize| {
        text.get(at).is_some_and(|c| holds(*c)) && rest(at + 1, steps)
    };
    match piece {
        Piece::Any => one(&|_| true, steps),
        Piece::One(wanted) => one(&|c| c == *wanted, steps),
        Piece::Set { negated, ranges } => {
            one(&|c| ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated, steps)
        }
        Piece::Begin => at == 0 && rest(at, steps),
        Piece::End => at == text.len() && rest(at, steps),
        Piece::Group(alternatives) => {
            alternatives.iter().any(|sequence| matches_at(sequence, text, at, steps, &mut *rest))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pattern: &str) -> Option<Vec<&'static str>> {
        matching(pattern, ["db-1", "db-2", "web"].into_iter())
    }

    #[test]
    fn patterns_match_as_they_do_elsewhere() {
        assert_eq!(found("db"), Some(vec!["db-1", "db-2"]));
        assert_eq!(found("^(db-[0-1]|w.b)$"), Some(vec!["db-1", "web"]));
        assert_eq!(found("!^db-.*$"), Some(vec!["web"]));
        assert_eq!(found("^w?e*b+$"), Some(vec!["web"]));
        assert_eq!(found("[^-]$"), Some(vec!["db-1", "db-2", "web"]));
        assert_eq!((found("("), found("[a"), found("*")), (None, None, None));
    }

    #[test]
    fn what_cannot_be_told_is_no_answer() {
        let long = "a".repeat(60_000);
        assert_eq!(matching("^.*b$", [long.as_str()].into_iter()), None);
        assert_eq!(found("^[[:alpha:]]$"), None);
    }

    #[test]
    fn a_pattern_that_would_take_for_ever_ends() {
        assert_eq!(matching("^(a*)*(a*)*(a*)*b$", ["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"].into_iter()), Some(Vec::new()));
    }
}
