//! What if: what becomes of a cluster when things fail, worked out without one.
//!
//! Answers: [`Play`] what happens, in order, after faults by hand or in a scenario, and where everything ends; [`survey()`]
//! which losses a cluster does not survive; [`outages`] how long each service is down at worst.
//!
//! Input: a [`Spec`](crate::model::Spec), and a state or the healthy one ([`healthy()`]). Output: values; nothing is changed.
//! What runs where is decided by `plan::assign` and `plan::order`, the very code that a leader runs: nothing is judged a
//! second time here.
//!
//! Invariants: same input, same output; whatever is said to have no home comes with the lines that forbid it.
//!
//! Deliberately absent: what a plan cannot know. Agents and devices do what they are asked unless a fault says otherwise,
//! every copy of a promotable clone may be promoted, and networks carry what nodes say to each other and nothing else:
//! neither a device nor a service is lost with a link.
//!
//! Files: `healthy` a cluster where all is well · `reach` who hears whom · `play` one story · `homes` what runs, and what
//! has no home · `scenario` stories with an expected end · `survey` every loss of so many, `equal` which of them are the same · `outage` the worst time down ·
//! `findings` the last two as findings of manifests.

mod equal;
mod findings;
mod healthy;
mod homes;
mod outage;
mod play;
mod reach;
mod scenario;
mod survey;

pub use findings::findings;
pub use healthy::healthy;
pub use homes::{Bar, Homeless, Homes, Lack};
pub use outage::{Outage, Sum, Worst, outages};
pub use play::{Ending, Happened, Play, Told};
pub use reach::{Broken, Reach, reach};
pub use scenario::{Tried, try_scenario};
pub use survey::{Among, Found, MOST_LOSSES, Part, Runner, Survival, Terms, TooMany, one_by_one, survey};
