//! What the pusher asked for with `git push -o`.

use super::{ReceiveError, printable};
use crate::model::suggest;

/// More options than exist are a mistake.
const MAX_OPTIONS: usize = 32;
const LONGEST_SHOWN: usize = 60;

/// The options of one push; all off unless given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PushOptions {
    /// `main` may go to a commit that was not built on the current one (needs `git push --force` too).
    pub allow_rewind: bool,
    /// More than `maxRemovals` resources may be stopped, all of them too.
    pub allow_removals: bool,
    /// Unmanaged resources that are gone from git are let go without being stopped.
    pub abandon: bool,
    /// Show the plan and refuse.
    pub dry_run: bool,
}

impl PushOptions {
    /// The names, as written after `git push -o`.
    pub const NAMES: [&str; 4] = ["allow-rewind", "allow-removals", "abandon", "dry-run"];

    /// Reads options as git hands them over. Unknown ones are refused: a typing mistake must not change what a push does.
    pub fn parse<'a>(options: impl IntoIterator<Item = &'a str>) -> Result<Self, ReceiveError> {
        let mut parsed = Self::default();
        for (count, option) in options.into_iter().enumerate() {
            if count >= MAX_OPTIONS {
                return Err(ReceiveError::TooMany { what: "options", limit: MAX_OPTIONS });
            }
            match option {
                "allow-rewind" => parsed.allow_rewind = true,
                "allow-removals" => parsed.allow_removals = true,
                "abandon" => parsed.abandon = true,
                "dry-run" => parsed.dry_run = true,
                other => return Err(unknown(other)),
            }
        }
        Ok(parsed)
    }

    /// Reads the options of the push this hook runs for (`GIT_PUSH_OPTION_COUNT`, `GIT_PUSH_OPTION_0`, …).
    pub fn from_env() -> Result<Self, ReceiveError> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    fn from_variables(get: impl Fn(&str) -> Option<String>) -> Result<Self, ReceiveError> {
        let Some(count) = get("GIT_PUSH_OPTION_COUNT") else { return Ok(Self::default()) };
        let count: usize = count.parse().map_err(|_| ReceiveError::malformed("GIT_PUSH_OPTION_COUNT is no number"))?;
        if count > MAX_OPTIONS {
            return Err(ReceiveError::TooMany { what: "options", limit: MAX_OPTIONS });
        }
        let options: Option<Vec<String>> = (0..count).map(|n| get(&format!("GIT_PUSH_OPTION_{n}"))).collect();
        let options = options.ok_or_else(|| ReceiveError::malformed("a GIT_PUSH_OPTION_ variable is missing"))?;
        Self::parse(options.iter().map(String::as_str))
    }
}

fn unknown(option: &str) -> ReceiveError {
    let name = option.split('=').next().unwrap_or(option);
    if name != option && PushOptions::NAMES.contains(&name) {
        return ReceiveError::OptionWithValue { option: name.to_owned() };
    }
    let name = printable(name, LONGEST_SHOWN);
    let hint = suggest::nearest(&name, PushOptions::NAMES).map(str::to_owned);
    ReceiveError::UnknownOption { option: name, hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_options_are_read() {
        let options = PushOptions::parse(["allow-rewind", "dry-run", "dry-run"]).unwrap();
        assert_eq!(options, PushOptions { allow_rewind: true, dry_run: true, ..PushOptions::default() });
    }

    #[test]
    fn unknown_options_are_refused_with_the_nearest_name() {
        for (option, text) in [
            ("allow-rewnd", "unknown push option `allow-rewnd`, did you mean `allow-rewind`?"),
            ("allow_removals", "unknown push option `allow_removals`, did you mean `allow-removals`?"),
            ("ci.skip", "unknown push option `ci.skip`"),
            ("abandon=false", "push option `abandon` takes no value"),
            ("a\u{1b}[31m\nb", "unknown push option `a [31m b`"),
            ("", "unknown push option ``"),
        ] {
            assert_eq!(PushOptions::parse([option]).unwrap_err().to_string(), text);
        }
    }

    #[test]
    fn the_environment_of_a_hook_is_read() {
        let get = |name: &str| match name {
            "GIT_PUSH_OPTION_COUNT" => Some("2".to_owned()),
            "GIT_PUSH_OPTION_0" => Some("abandon".to_owned()),
            "GIT_PUSH_OPTION_1" => Some("allow-removals".to_owned()),
            _ => None,
        };
        let expected = PushOptions { abandon: true, allow_removals: true, ..PushOptions::default() };
        assert_eq!(PushOptions::from_variables(get).unwrap(), expected);
        assert_eq!(PushOptions::from_variables(|_| None).unwrap(), PushOptions::default());
        let lying = |name: &str| (name == "GIT_PUSH_OPTION_COUNT").then(|| "3".to_owned());
        assert!(PushOptions::from_variables(lying).is_err());
        let huge = |name: &str| (name == "GIT_PUSH_OPTION_COUNT").then(|| usize::MAX.to_string());
        assert!(PushOptions::from_variables(huge).is_err());
    }
}
