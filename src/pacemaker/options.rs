//! Blocks of settings: which value of an option counts.
//!
//! Input: an element with blocks (`meta_attributes`, `instance_attributes`, `utilization`, `cluster_property_set`) and
//! what their rules ask about. Output: one value per name. Pacemaker Explained, "Option Precedence": the block with the
//! highest score first, blocks whose rule fails are left out, the first value found counts.
//!
//! Deliberately absent: what the options mean.

use super::rules::{Asked, counts};
use super::words::score;
use super::xml::El;
use crate::model::Score;
use std::cell::OnceCell;
use std::collections::BTreeMap;

/// Values by name.
pub(super) type Values<'a> = BTreeMap<&'a str, &'a str>;

/// The set of properties that counts before all others.
const BOOTSTRAP: &str = "cib-bootstrap-options";

/// Elements by their id, for `id-ref`; made when the first one is met.
pub(super) struct Ids<'a> {
    root: El<'a>,
    known: OnceCell<BTreeMap<&'a str, El<'a>>>,
}

impl<'a> Ids<'a> {
    pub fn new(root: El<'a>) -> Self {
        Self { root, known: OnceCell::new() }
    }

    /// The element, or the one that it refers to.
    pub fn resolve(&self, el: El<'a>) -> Option<El<'a>> {
        let Some(id) = el.attr("id-ref") else { return Some(el) };
        let known = self.known.get_or_init(|| {
            let mut known = BTreeMap::new();
            let mut rest = vec![self.root];
            while let Some(el) = rest.pop() {
                if let Some(id) = el.attr("id") {
                    known.entry(id).or_insert(el);
                }
                rest.extend(el.children());
            }
            known
        });
        // A reference to a reference leads nowhere.
        known.get(id).copied().filter(|found| found.attr("id-ref").is_none())
    }

    /// The values of all blocks of one kind within an element.
    pub fn values(&self, of: El<'a>, kind: &'static str, asked: &Asked<'_>) -> Values<'a> {
        let mut values = Values::new();
        let mut blocks = of.all(kind).filter_map(|block| self.resolve(block)).peekable();
        let Some(first) = blocks.next() else { return values };
        if blocks.peek().is_none() {
            // Nearly always there is one.
            self.add(first, asked, &mut values);
            return values;
        }
        let mut blocks: Vec<El<'a>> = std::iter::once(first).chain(blocks).collect();
        let weight = |block: &El<'_>| block.attr("score").and_then(score).unwrap_or(Score::ZERO);
        blocks.sort_by_key(|block| (block.id() != BOOTSTRAP, std::cmp::Reverse(weight(block))));
        blocks.into_iter().for_each(|block| self.add(block, asked, &mut values));
        values
    }

    fn add(&self, block: El<'a>, asked: &Asked<'_>, values: &mut Values<'a>) {
        if !counts(block, asked) {
            return;
        }
        // Very old CIBs have another level.
        let nested = block.all("attributes").flat_map(|attributes| attributes.all("nvpair"));
        for pair in block.all("nvpair").chain(nested).filter_map(|pair| self.resolve(pair)) {
            // As if it were not written: what is usual counts.
            let value = pair.attr("value").filter(|value| !value.eq_ignore_ascii_case("#default"));
            if let (Some(name), Some(value)) = (pair.attr("name"), value) {
                values.entry(name).or_insert(value);
            }
        }
    }
}

/// The options of the cluster, under their new names and their old ones.
pub(super) struct Options<'a>(pub Values<'a>);

impl<'a> Options<'a> {
    /// The first of these names that is set.
    pub fn get(&self, names: &[&str]) -> Option<&'a str> {
        names.iter().find_map(|name| self.0.get(name).copied())
    }

    pub fn is(&self, names: &[&str], default: bool) -> bool {
        self.get(names).and_then(super::words::boolean).unwrap_or(default)
    }
}

#[cfg(test)]
mod tests {
    use super::super::xml::Tree;
    use super::*;

    #[test]
    fn the_block_with_the_highest_score_counts_and_the_bootstrap_set_before_all() {
        let text = r#"<c><cluster_property_set id="x" score="5"><nvpair name="a" value="1"/><nvpair name="b" value="1"/></cluster_property_set>
            <cluster_property_set id="y" score="9"><nvpair name="b" value="2"/></cluster_property_set>
            <cluster_property_set id="cib-bootstrap-options"><nvpair name="a" value="3"/></cluster_property_set></c>"#;
        let tree = Tree::parse(text).unwrap();
        let values = Ids::new(tree.root()).values(tree.root(), "cluster_property_set", &Asked::default());
        assert_eq!(values, BTreeMap::from([("a", "3"), ("b", "2")]));
    }

    #[test]
    fn a_block_can_be_named_instead_of_written() {
        let text = r#"<c><a><meta_attributes id="m"><nvpair name="x" value="1"/></meta_attributes></a>
            <b><meta_attributes id-ref="m"/></b></c>"#;
        let tree = Tree::parse(text).unwrap();
        let b = tree.root().child("b").unwrap();
        assert_eq!(Ids::new(tree.root()).values(b, "meta_attributes", &Asked::default()).get("x"), Some(&"1"));
    }
}
