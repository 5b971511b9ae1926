//! `--outages`: how long each service is down at worst.

use crate::api::types::{OutagesView, WorstOutageView, WorstView};
use crate::cli::render;
use crate::model::{Kind, Spec, duration};
use crate::whatif::{self, Worst};
use std::time::Duration;

pub fn view(spec: &Spec) -> OutagesView {
    let worst = |worst: &Worst| WorstView {
        total_ms: match worst {
            Worst::Within(sum) => Some(sum.total().as_millis() as u64),
            Worst::Endless(_) => None,
        },
        sum: worst.to_string(),
    };
    let outages = whatif::outages(spec).into_iter().map(|outage| {
        let most = spec.resources.get(&outage.resource).and_then(|resource| resource.max_outage);
        let (node_lost, fails) = (worst(&outage.node_lost), worst(&outage.fails));
        let within = |most: Duration| {
            [&node_lost, &fails]
                .iter()
                .all(|one| one.total_ms.is_some_and(|total| u128::from(total) <= most.as_millis()))
        };
        WorstOutageView {
            at: spec.origin(Kind::Resource, outage.resource.as_str()).map(ToString::to_string),
            resource: outage.resource.to_string(),
            most_ms: most.map(|most| most.as_millis() as u64),
            allowed: most.is_none_or(within),
            node_lost,
            fails,
        }
    });
    OutagesView { outages: outages.collect(), ..OutagesView::default() }
}

pub fn picture(view: &OutagesView) -> String {
    let mut text = String::new();
    for outage in &view.outages {
        let most = match outage.most_ms.map(|ms| duration::format(Duration::from_millis(ms))) {
            Some(most) if outage.allowed => render::good(&format!("  within its maxOutage of {most}")),
            Some(most) => render::bad(&format!("  its maxOutage is {most}")),
            None => String::new(),
        };
        text += &format!("{}{most}\n", render::strong(&outage.resource));
        text += &format!("  its node is lost: {}\n  it fails: {}\n", outage.node_lost.sum, outage.fails.sum);
    }
    text
}
