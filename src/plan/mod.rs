//! (to be written)
use crate::model::*;
use crate::state::*;
#[derive(Debug, Clone)]
pub enum StepKind {
    Probe,
    Start,
    Stop,
    Promote,
    Demote,
    Fence,
}
#[derive(Debug, Clone)]
pub struct Step {
    pub kind: StepKind,
    pub key: ClaimKey,
    pub reason: Reason,
}
#[derive(Debug, Default)]
pub struct Graph;
impl Graph {
    pub fn ready<'a>(&'a self, _n: &NodeId) -> impl Iterator<Item = &'a Step> {
        std::iter::empty()
    }
}
pub fn order(_s: &Spec, _st: &State) -> Graph {
    Graph
}
pub struct FenceDecision {
    pub node: NodeId,
    pub boot: BootId,
    pub level: u32,
    pub devices: Vec<DeviceId>,
    pub executor: NodeId,
    pub executor_incarnation: Incarnation,
    pub action: FencingAction,
    pub timeout_ms: u64,
    pub reason: String,
}
pub struct Assignment {
    pub fence: Vec<FenceDecision>,
}
impl Assignment {
    pub fn changes(&self, _s: &State) -> Vec<AssignChange> {
        vec![]
    }
}
pub fn assign(_s: &Spec, _st: &State) -> Assignment {
    Assignment { fence: vec![] }
}
