//! What manifests promise of losses and outages, checked: `survive` of the Cluster, `maxOutage` of resources.
//!
//! Input: a spec that is valid by itself. Output: findings, as `manifest` has them. They need the planner, which reading
//! manifests does not; so whoever judges manifests asks for both.

use super::outage::{Worst, outages};
use super::survey::{Found, Part, Runner, Terms, survey};
use crate::manifest::explain::Code;
use crate::model::{Diagnostic, Kind, Origin, Spec, duration};

/// Losses named one by one; one is enough to be refused, and `hafen simulate` has them all.
const MOST_TOLD: usize = 10;
/// Lines that forbid a home, named in one finding.
const MOST_BARS: usize = 3;

/// What does not hold of what the manifests promise. Without such promises this costs nothing.
pub fn findings(spec: &Spec, run: Runner<'_>) -> Vec<Diagnostic> {
    let mut found = too_long(spec);
    if spec.cluster.survive > 0 {
        found.extend(does_not_survive(spec, run));
    }
    found
}

fn does_not_survive(spec: &Spec, run: Runner<'_>) -> Vec<Diagnostic> {
    let losses = usize::from(spec.cluster.survive);
    let cluster = spec.origin(Kind::Cluster, &spec.cluster.name);
    let help = || Some(format!("`hafen simulate --survive {losses}` shows every loss; or promise less: `survive`"));
    let told = match survey(spec, &super::healthy(spec), &Terms::any(losses), run) {
        Ok(told) => told,
        Err(error) => {
            return vec![finding(Code::DoesNotSurvive, cluster, &spec.cluster.name, error.to_string(), help())];
        }
    };
    let mut found = Vec::new();
    if !told.without_quorum.is_empty() {
        let first: Vec<String> = told.without_quorum.iter().take(MOST_TOLD).map(|lost| words(lost)).collect();
        let more = told.without_quorum.len() - first.len();
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        let message =
            format!("`survive: {losses}` does not hold: there is no quorum without {}{more}", first.join(", or "));
        found.push(finding(Code::DoesNotSurvive, cluster, &spec.cluster.name, message, help()));
    }
    for Found { lost, same, homeless } in told.found.iter().take(MOST_TOLD) {
        let also = match same.len() {
            0 => String::new(),
            1 => " (and one other loss)".to_owned(),
            many => format!(" (and {many} other losses)"),
        };
        for one in homeless {
            let bars: Vec<String> = one
                .bars
                .iter()
                .take(MOST_BARS)
                .map(|bar| match &bar.origin {
                    Some(at) => format!("{} ({at})", bar.why),
                    None => bar.why.clone(),
                })
                .collect();
            let bars = if bars.is_empty() { String::new() } else { format!(": {}", bars.join("; ")) };
            let message = format!(
                "`survive: {losses}` does not hold: {} has no home without {}{also}{bars}",
                one.resource,
                words(lost)
            );
            let name = one.resource.as_str();
            found.push(finding(
                Code::DoesNotSurvive,
                spec.origin(Kind::Resource, name).or(cluster),
                name,
                message,
                help(),
            ));
        }
    }
    found
}

/// `node n1 and device pdu-n2`.
fn words(lost: &[Part]) -> String {
    lost.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}

fn too_long(spec: &Spec) -> Vec<Diagnostic> {
    if !spec.resources.values().any(|resource| resource.max_outage.is_some()) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for outage in outages(spec) {
        let Some(most) = spec.resources.get(&outage.resource).and_then(|resource| resource.max_outage) else {
            continue;
        };
        let longer = match outage.worst() {
            Worst::Within(sum) => sum.total() > most,
            Worst::Endless(_) => true,
        };
        if longer {
            let (name, most) = (outage.resource.as_str(), duration::format(most));
            let message = format!("{name} may be down for longer than its `maxOutage` of {most}: {}", outage.worst());
            let help = "shorten what is longest in the sum, or allow more".to_owned();
            found.push(finding(Code::LongOutage, spec.origin(Kind::Resource, name), name, message, Some(help)));
        }
    }
    found
}

fn finding(code: Code, at: Option<&Origin>, name: &str, message: String, help: Option<String>) -> Diagnostic {
    let (file, line, column) = at.map_or((String::new(), 0, 0), |at| (at.file.clone(), at.line, at.column));
    let end_column = if line == 0 { 0 } else { column + name.chars().count() as u32 };
    Diagnostic {
        code: code.to_string(),
        severity: code.severity(),
        file,
        line,
        column,
        end_line: line,
        end_column,
        message,
        help,
    }
}
