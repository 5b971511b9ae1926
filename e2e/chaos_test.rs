//! A minute of chaos: see `chaos`. `make chaos` does it for longer.

use std::time::Duration;

use crate::chaos::{Settings, run};

/// One round of faults and the calm behind it.
const LENGTH: Duration = Duration::from_secs(60);

#[test]
fn a_minute_of_everything_at_once_exceeds_no_limit_and_loses_no_acknowledged_write() {
    let settings = Settings { seed: 4, nodes: 3, length: LENGTH };
    let Some(report) = run(settings) else { return };
    eprint!("{}", report.text());
    assert_eq!(report.violation, None);
    assert!(report.faults.values().sum::<usize>() > 10 && report.seen.starts > 10, "nothing happened");
    assert!(report.acknowledged > 0, "nothing was acknowledged");
}
