//! An error and its causes, as one line for a log or an answer.
//!
//! Our error types name their cause with `#[source]` and do not repeat it in their own text, so that callers decide how
//! much to show. Whoever turns one into text for a human wants all of it.

use std::error::Error;

/// The text of an error followed by those of its causes, each once, joined by `: `.
pub fn in_words(error: &(dyn Error + 'static)) -> String {
    let mut words = error.to_string();
    for cause in causes(error) {
        let text = cause.to_string();
        if !words.contains(&text) {
            words.push_str(": ");
            words.push_str(&text);
        }
    }
    words
}

/// What an error came from, nearest first, without itself.
pub fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(error.source(), |&cause| cause.source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Link {
        text: &'static str,
        #[source]
        source: Option<Box<Link>>,
    }

    #[test]
    fn every_cause_is_named_once() {
        let deep = Link { text: "no space", source: None };
        let repeats = Link { text: "no space", source: Some(Box::new(deep)) };
        let top = Link { text: "writing failed", source: Some(Box::new(repeats)) };
        assert_eq!(in_words(&top), "writing failed: no space");
        assert_eq!(causes(&top).count(), 2);
    }
}
