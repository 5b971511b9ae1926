//! Scores: how much a node suits an instance.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::IntErrorKind;
use std::ops::{Add, AddAssign, Neg};

/// A preference, from −1,000,000 (never) to +1,000,000 (always), as in Pacemaker Explained, "Scores".
///
/// Addition saturates, and minus infinity beats everything, plus infinity included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Score(i32);

impl Score {
    pub const INFINITY: Self = Self(1_000_000);
    pub const NEVER: Self = Self(-1_000_000);
    pub const ZERO: Self = Self(0);

    /// Clamps to the range.
    pub fn new(value: i64) -> Self {
        Self(value.clamp(-1_000_000, 1_000_000) as i32)
    }
    /// A whole number, or `INFINITY` with a sign.
    pub fn parse(text: &str) -> Option<Self> {
        match text.trim() {
            "INFINITY" | "+INFINITY" => Some(Self::INFINITY),
            "-INFINITY" => Some(Self::NEVER),
            number => match number.parse::<i64>() {
                Ok(value) => Some(Self::new(value)),
                // More than can be counted is without end.
                Err(error) if *error.kind() == IntErrorKind::PosOverflow => Some(Self::INFINITY),
                Err(error) if *error.kind() == IntErrorKind::NegOverflow => Some(Self::NEVER),
                Err(_) => None,
            },
        }
    }
    pub fn value(self) -> i32 {
        self.0
    }
    pub fn is_never(self) -> bool {
        self == Self::NEVER
    }
    pub fn is_infinite(self) -> bool {
        self == Self::INFINITY
    }
}

impl Add for Score {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        if self.is_never() || other.is_never() {
            Self::NEVER
        } else if self.is_infinite() || other.is_infinite() {
            Self::INFINITY
        } else {
            Self::new(i64::from(self.0) + i64::from(other.0))
        }
    }
}
impl AddAssign for Score {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}
impl Neg for Score {
    type Output = Self;
    fn neg(self) -> Self {
        Self(-self.0)
    }
}
impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::INFINITY => f.pad("+INFINITY"),
            Self::NEVER => f.pad("-INFINITY"),
            Self(value) => f.pad(&value.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_beats_infinity() {
        assert_eq!(Score::INFINITY + Score::NEVER, Score::NEVER);
        assert_eq!(Score::INFINITY + Score::new(-5), Score::INFINITY);
        assert_eq!(Score::new(999_999) + Score::new(999_999), Score::INFINITY);
    }
}
