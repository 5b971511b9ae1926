//! Can all orderings be kept at once?
//!
//! Input → output: a [`Tree`] and its [`Topology`] → a finding per cycle, printed as a path.
//!
//! A vertex is the beginning or the end of an action of a resource, group or clone. A group begins before its first
//! member and ends after its last; a clone around what it copies. An Order leads from the end of one action to the
//! beginning of another, and if symmetric from the opposite of the second to the opposite of the first.
//! petgraph's Kosaraju is iterative: the depth of the graph is the admin's to choose.

use super::document::{Doc, Tree};
use super::explain::Code;
use super::pairs;
use super::report::Report;
use super::topology::Topology;
use crate::model::{Order, OrderAction, OrderStrength};
use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub(super) fn check(tree: &Tree, topology: &Topology, report: &mut Report) {
    if tree.orders().next().is_none() {
        return;
    }
    let found = cycles(tree, topology, &[OrderStrength::Required], Code::OrderCycle, report);
    if !found {
        cycles(tree, topology, &[OrderStrength::Required, OrderStrength::Advisory], Code::AdvisoryCycle, report);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Edge {
    Begin,
    End,
}
type Vertex<'a> = (&'a str, OrderAction, Edge);

/// What an edge comes from.
#[derive(Clone, Copy)]
enum Origin<'a> {
    /// A group, a clone, or the nature of actions.
    Structure,
    /// An Order as it is written.
    Written(&'a Doc),
    /// The opposite of an Order.
    Mirrored(&'a Doc),
}

impl<'a> Origin<'a> {
    fn doc(self) -> Option<&'a Doc> {
        match self {
            Self::Structure => None,
            Self::Written(doc) | Self::Mirrored(doc) => Some(doc),
        }
    }
}

#[derive(Default)]
struct Builder<'a> {
    graph: DiGraph<Vertex<'a>, Origin<'a>>,
    vertices: BTreeMap<Vertex<'a>, NodeIndex>,
}

const ACTIONS: [OrderAction; 4] = [OrderAction::Start, OrderAction::Promote, OrderAction::Demote, OrderAction::Stop];

impl<'a> Builder<'a> {
    fn vertex(&mut self, vertex: Vertex<'a>) -> NodeIndex {
        if let Some(found) = self.vertices.get(&vertex) {
            return *found;
        }
        let index = self.graph.add_node(vertex);
        self.vertices.insert(vertex, index);
        if vertex.2 == Edge::End {
            // An action begins before it ends.
            let begin = self.vertex((vertex.0, vertex.1, Edge::Begin));
            self.graph.add_edge(begin, index, Origin::Structure);
        }
        index
    }

    fn edge(&mut self, from: Vertex<'a>, to: Vertex<'a>, origin: Origin<'a>) {
        let (from, to) = (self.vertex(from), self.vertex(to));
        self.graph.add_edge(from, to, origin);
    }

    fn inside(&mut self, outer: &'a str, inner: &'a str, action: OrderAction) {
        self.edge((outer, action, Edge::Begin), (inner, action, Edge::Begin), Origin::Structure);
        self.edge((inner, action, Edge::End), (outer, action, Edge::End), Origin::Structure);
    }

    fn structure(&mut self, topology: &Topology<'a>) {
        for (group, members) in topology.groups() {
            for action in ACTIONS {
                members.iter().for_each(|member| self.inside(group, member, action));
                for pair in members.windows(2) {
                    let (before, after) = match action {
                        OrderAction::Start | OrderAction::Promote => (pair[0], pair[1]),
                        OrderAction::Stop | OrderAction::Demote => (pair[1], pair[0]),
                    };
                    self.edge((before, action, Edge::End), (after, action, Edge::Begin), Origin::Structure);
                }
            }
        }
        for (name, clone) in topology.clones() {
            ACTIONS.into_iter().for_each(|action| self.inside(name, &clone.resource.0, action));
            for (before, after) in
                [(OrderAction::Start, OrderAction::Promote), (OrderAction::Demote, OrderAction::Stop)]
            {
                self.edge((name, before, Edge::End), (name, after, Edge::Begin), Origin::Structure);
            }
        }
    }
}

/// Reports the cycles among orderings of these strengths. Returns whether there are any.
fn cycles(tree: &Tree, topology: &Topology, strengths: &[OrderStrength], code: Code, report: &mut Report) -> bool {
    let pairs = |(doc, raw)| pairs::orders(raw).into_iter().map(move |pair| (doc, pair));
    let orders: Vec<(&Doc, Order)> = tree.orders().flat_map(pairs).collect();
    let mut builder = Builder::default();
    builder.structure(topology);
    for (doc, order) in &orders {
        let (first, then) = (order.first.resource.as_str(), order.then.resource.as_str());
        let of_itself = first == then || topology.contains(first, then) || topology.contains(then, first);
        // Where any one of several is enough, none of them has to be waited for.
        if of_itself || !order.or.is_empty() || !strengths.contains(&order.strength) {
            continue;
        }
        let (before, after) = (order.first.action, order.then.action);
        builder.edge((first, before, Edge::End), (then, after, Edge::Begin), Origin::Written(doc));
        if order.symmetric {
            let (before, after) = (after.opposite(), before.opposite());
            builder.edge((then, before, Edge::End), (first, after, Edge::Begin), Origin::Mirrored(doc));
        }
    }
    let graph = &builder.graph;
    let components = kosaraju_scc(graph);
    let mut component_of = vec![0; graph.node_count()];
    for (number, component) in components.iter().enumerate() {
        component.iter().for_each(|vertex| component_of[vertex.index()] = number);
    }
    // By the documents that take part: what is a cycle when starting is one when stopping too.
    let mut reported = BTreeSet::new();
    let mut starting_edges: BTreeMap<usize, _> = BTreeMap::new();
    for edge in graph.edge_references().filter(|edge| edge.weight().doc().is_some()) {
        let (from, to) = (component_of[edge.source().index()], component_of[edge.target().index()]);
        if from == to {
            starting_edges.entry(from).or_insert(edge);
        }
    }
    // Written ones first: people think of starting.
    let mut starting_edges: Vec<_> = starting_edges.into_values().collect();
    starting_edges.sort_by_key(|edge| matches!(edge.weight(), Origin::Mirrored(_)));
    for edge in starting_edges {
        let Some(doc) = edge.weight().doc() else { continue };
        let (path, mut docs) = path_back(graph, edge.target(), edge.source(), &component_of);
        docs.insert((doc.file, doc.name.as_str()));
        if reported.insert(docs.clone()) {
            describe(doc, tree, &path, &docs, code, report);
        }
    }
    !reported.is_empty()
}

type Docs<'a> = BTreeSet<(usize, &'a str)>;

/// The shortest way from one vertex to another within their component, and the Orders along it.
fn path_back<'a>(
    graph: &DiGraph<Vertex<'a>, Origin<'a>>,
    from: NodeIndex,
    to: NodeIndex,
    component_of: &[usize],
) -> (Vec<Vertex<'a>>, Docs<'a>) {
    let mut came_by: BTreeMap<NodeIndex, (NodeIndex, Origin)> = BTreeMap::new();
    let mut queue = VecDeque::from([from]);
    while let Some(vertex) = queue.pop_front().filter(|vertex| *vertex != to) {
        for edge in graph.edges(vertex) {
            let next = edge.target();
            let inside = component_of[next.index()] == component_of[vertex.index()];
            if inside && next != from && !came_by.contains_key(&next) {
                came_by.insert(next, (vertex, *edge.weight()));
                queue.push_back(next);
            }
        }
    }
    let mut path = vec![graph[to]];
    let mut docs = BTreeSet::new();
    let mut at = to;
    while let Some((before, origin)) = came_by.get(&at).filter(|_| at != from) {
        docs.extend(origin.doc().map(|doc| (doc.file, doc.name.as_str())));
        path.push(graph[*before]);
        at = *before;
    }
    path.reverse();
    (path, docs)
}

fn describe(doc: &Doc, tree: &Tree, path: &[Vertex], docs: &Docs, code: Code, report: &mut Report) {
    /// A longer path is cut in the middle of the message.
    const MAX_STEPS: usize = 12;
    let mut steps: Vec<String> = path.iter().map(|(name, action, _)| format!("{action:?} `{name}`")).collect();
    steps.dedup();
    if let [only] = steps.as_slice() {
        steps = vec![only.clone(), only.clone()];
    } else if steps.first() != steps.last() {
        steps.extend(steps.first().cloned());
    }
    if steps.len() > MAX_STEPS {
        let left_out = steps.len() - MAX_STEPS;
        steps.splice(MAX_STEPS / 2..MAX_STEPS / 2 + left_out, [format!("({left_out} more)")]);
    }
    let mut places: Vec<String> = Vec::new();
    for (file, name) in docs.iter().take(MAX_STEPS) {
        let found = tree.find(crate::model::Kind::Order, name).filter(|other| other.file == *file);
        let at = found.map_or_else(String::new, |other| format!(" ({})", report.place(*file, other.name_span())));
        places.push(format!("`{name}`{at}"));
    }
    let message = format!("these wait for each other: {}", steps.join(" → "));
    let help = match code {
        Code::OrderCycle => format!("remove one of {}, or make it `strength: Advisory`", places.join(", ")),
        _ => format!("remove one of {}", places.join(", ")),
    };
    report.add(code, doc.file, doc.name_span(), message, Some(help));
}
