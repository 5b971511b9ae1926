//! What the pusher asked for with `git push -o`.

use super::{ReceiveError, printable};
use crate::model::{PlanId, suggest};

/// More options than exist are a mistake.
const MAX_OPTIONS: usize = 32;
const LONGEST_SHOWN: usize = 60;
/// As long as paths are for Linux (`PATH_MAX`).
const LONGEST_PATH: usize = 4096;

/// The options of one push; all off unless they are given.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PushOptions {
    /// `main` may go to a commit that was not built on the current one (needs `git push --force` too).
    pub allow_rewind: bool,
    /// More than `maxRemovals` resources may be stopped, all of them too.
    pub allow_removals: bool,
    /// Unmanaged resources that are gone from git are let go without being stopped.
    pub abandon: bool,
    /// Manifests that the cluster returned from are meant all the same.
    pub allow_held: bool,
    /// What disturbs services is done although no change window is open.
    pub outside_window: bool,
    /// Show the plan and refuse.
    pub dry_run: bool,
    /// Only if this is the plan still.
    pub plan: Option<PlanId>,
    /// The folder of the manifests, before the cluster follows any that say it.
    pub path: Option<String>,
}

impl PushOptions {
    /// The names, as written after `git push -o`.
    pub const NAMES: [&str; 8] =
        ["allow-rewind", "allow-removals", "abandon", "allow-held", "outside-window", "dry-run", "plan", "path"];

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
                "allow-held" => parsed.allow_held = true,
                "outside-window" => parsed.outside_window = true,
                "dry-run" => parsed.dry_run = true,
                other => match other.split_once('=') {
                    Some(("plan", id)) => parsed.plan = Some(plan_id(id)?),
                    Some(("path", folder)) => parsed.path = Some(path(folder)?),
                    Some(_) | None => return Err(unknown(other)),
                },
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

fn plan_id(text: &str) -> Result<PlanId, ReceiveError> {
    text.parse().map_err(|()| ReceiveError::NoPlanId { text: printable(text, LONGEST_SHOWN) })
}

/// A folder of the repository.
fn path(text: &str) -> Result<String, ReceiveError> {
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let odd =
        text.len() > LONGEST_PATH || text.starts_with('/') || text.contains(char::is_control) || parts.contains(&"..");
    match odd {
        true => Err(ReceiveError::NoFolder { text: printable(text, LONGEST_SHOWN) }),
        false => Ok(parts.join("/")),
    }
}

fn unknown(option: &str) -> ReceiveError {
    let name = option.split('=').next().unwrap_or(option);
    if option == "plan" {
        return ReceiveError::NoPlanId { text: String::new() };
    }
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
    fn a_folder_is_one_of_the_repository() {
        let path = |option| PushOptions::parse([option]).map(|options| options.path);
        assert_eq!(path("path=./clusters//prod/").unwrap(), Some("clusters/prod".into()));
        for wrong in ["path=/etc", "path=../x", "path=a/../..", "path=a\nb"] {
            assert!(path(wrong).unwrap_err().to_string().contains("clusters/prod"), "{wrong}");
        }
    }

    #[test]
    fn known_options_are_read() {
        let options = PushOptions::parse(["allow-rewind", "dry-run", "dry-run"]).unwrap();
        assert_eq!(options, PushOptions { allow_rewind: true, dry_run: true, ..PushOptions::default() });
    }

    #[test]
    fn the_id_of_a_plan_is_a_value() {
        let id = "00010203-ff000001-09090909";
        let options = PushOptions::parse([format!("plan={id}").as_str()]).unwrap();
        assert_eq!(options.plan.map(|id| id.to_string()), Some(id.to_owned()));
    }

    #[test]
    fn unknown_options_are_refused_with_the_nearest_name() {
        for (option, text) in [
            ("allow-rewnd", "unknown push option `allow-rewnd`, did you mean `allow-rewind`?"),
            ("allow_removals", "unknown push option `allow_removals`, did you mean `allow-removals`?"),
            ("ci.skip", "unknown push option `ci.skip`"),
            ("plan=1234", "`1234` is not the id of a plan; `hafen plan --out FILE` prints one"),
            ("plan", "`` is not the id of a plan; `hafen plan --out FILE` prints one"),
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
