//! What belongs together: colocations of the spec, members of groups, and what runs inside of something.
//!
//! Input: the [`World`]. Output: [`Tie`]s between units, in a fixed order. What a tie means for a score is `place`'s.

use super::instances::World;
use crate::model::{Influence, Role, Score};

/// A colocation between two units.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tie<'a> {
    /// None: members of one group.
    pub name: Option<&'a str>,
    pub dependant: usize,
    pub primary: usize,
    /// The very resource of the primary unit: a member of a cloned group may be down while others run.
    pub primary_res: usize,
    pub score: Score,
    pub dependant_role: Option<Role>,
    pub primary_role: Option<Role>,
    /// None: the same node. Else: a node with the same value of this label or attribute.
    pub label: Option<&'a str>,
    /// Whether the dependant has a say in where the primary goes.
    pub influence: bool,
}

impl<'a> World<'a> {
    /// Every colocation between different units: those of the spec, and those within plain groups.
    ///
    /// Of a group the first member goes with what any member goes with. What goes with a group needs its last member,
    /// or, if it only likes to be there, its first.
    pub fn ties(&self) -> Vec<Tie<'a>> {
        let mut ties = Vec::new();
        for (name, colocation) in &self.spec.colocations {
            let score = colocation.strength.score(colocation.weight);
            let primary = match score.is_infinite() {
                true => self.last_of(&colocation.with.resource),
                false => self.first_of(&colocation.with.resource),
            };
            let (Some(dependant), Some(primary)) = (self.first_of(&colocation.resource.resource), primary) else {
                continue;
            };
            // Nothing is ever promoted there: nobody can mean it.
            let idle = colocation.with.role == Some(Role::Promoted) && !self.promotable(primary);
            if self.unit_of[dependant] == self.unit_of[primary] || idle {
                continue;
            }
            let tie = Tie {
                name: Some(name),
                dependant: self.unit_of[dependant],
                primary: self.unit_of[primary],
                primary_res: primary,
                score,
                dependant_role: colocation.resource.role,
                primary_role: colocation.with.role,
                label: colocation.node_label.as_deref(),
                influence: self.has_influence(colocation.influence, primary),
            };
            ties.push(tie);
            let group = self.res[dependant].group.filter(|_| self.res[dependant].clone.is_none());
            let outside = self.res[primary].group != self.res[dependant].group;
            if let Some(first) = group.and_then(|group| self.first_of(group)).filter(|first| *first != dependant)
                && outside
                && (score.is_infinite() || score.is_never())
            {
                ties.push(Tie { dependant: self.unit_of[first], influence: false, ..tie });
            }
            // What a group must go with, or stay away from, binds every member: its first one may be left alone elsewhere.
            if self.spec.groups.contains_key(&colocation.resource.resource) && outside && group.is_some() {
                let rest = self.members(&colocation.resource.resource).into_iter().skip(1);
                let mandatory = score.is_infinite() || score.is_never();
                ties.extend(rest.filter(|_| mandatory).map(|member| Tie {
                    dependant: self.unit_of[member],
                    influence: false,
                    ..tie
                }));
            }
        }
        ties.extend(self.inside().map(|(inside, container)| Tie {
            name: None,
            dependant: self.unit_of[inside],
            primary: self.unit_of[container],
            primary_res: container,
            score: Score::INFINITY,
            dependant_role: None,
            primary_role: None,
            label: None,
            influence: true,
        }));
        for group in self.spec.groups.keys() {
            let members = self.members(group);
            for pair in members.windows(2).filter(|pair| self.res[pair[0]].clone.is_none()) {
                ties.push(Tie {
                    name: None,
                    dependant: self.unit_of[pair[1]],
                    primary: self.unit_of[pair[0]],
                    primary_res: pair[0],
                    score: Score::INFINITY,
                    dependant_role: None,
                    primary_role: None,
                    label: None,
                    influence: self.has_influence(self.res[pair[1]].spec.influence, pair[0]),
                });
            }
        }
        ties
    }

    /// What runs inside of something of another unit, with that.
    pub fn inside(&self) -> impl Iterator<Item = (usize, usize)> {
        let pairs = self.res.iter().enumerate().filter_map(|(place, res)| Some((place, res.inside?)));
        pairs.filter(|(place, container)| self.unit_of[*place] != self.unit_of[*container])
    }

    fn has_influence(&self, influence: Influence, primary: usize) -> bool {
        match influence {
            Influence::Always => true,
            Influence::WhileStopped => self.res[primary].claims.is_empty(),
        }
    }
}
