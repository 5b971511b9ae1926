//! Who may call which route: the one table of it.
//!
//! Input → output: a door and a caller → may this route be called. The local socket is an operator (its file mode lets
//! in root and group `hafen` alone). On the network a bearer token makes a viewer or an operator; without one only what
//! carries its own secret (`join`) or says nothing (`webhook`) is open. Calls between nodes are not here: the daemon adds them behind their certificates.

use axum::http::Method;

/// What a route asks of its caller, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// The request proves itself.
    Anyone,
    /// Reads.
    Viewer,
    /// Writes.
    Operator,
    /// Only on the machine itself: it is about this machine's processes, repository or secrets.
    Local,
}

/// Where a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// `DATA_DIR/hafen.sock`.
    Local,
    /// The cluster's TLS port.
    Network,
}

/// Who calls, as proved by socket or token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// For `by` of overrides, pushes and statements.
    pub name: String,
    pub access: Access,
}

/// Every route of this module. The order of the variants is that of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    Status,
    Events,
    FollowEvents,
    Why,
    WhyEvent,
    History,
    Plan,
    Diff,
    Export,
    Operate,
    Fence,
    Token,
    Check,
    Push,
    Output,
    Shim,
    Shutdown,
    Join,
    Webhook,
}

impl Route {
    /// Method, path and who may.
    pub const TABLE: [(Self, Method, &'static str, Access); 19] = [
        (Self::Status, Method::GET, "/v1/status", Access::Viewer),
        (Self::Events, Method::GET, "/v1/events", Access::Viewer),
        (Self::FollowEvents, Method::GET, "/v1/events/follow", Access::Viewer),
        (Self::Why, Method::GET, "/v1/why/{resource}", Access::Viewer),
        (Self::WhyEvent, Method::GET, "/v1/events/{index}/why", Access::Viewer),
        (Self::History, Method::GET, "/v1/history", Access::Viewer),
        (Self::Plan, Method::POST, "/v1/plan", Access::Viewer),
        // Whether a guess of a secret is right can be seen.
        (Self::Diff, Method::POST, "/v1/diff", Access::Operator),
        // The state names every parameter of every agent.
        (Self::Export, Method::GET, "/v1/export", Access::Operator),
        (Self::Operate, Method::POST, "/v1/operate", Access::Operator),
        (Self::Fence, Method::POST, "/v1/fence", Access::Operator),
        (Self::Token, Method::POST, "/v1/token", Access::Local),
        (Self::Check, Method::POST, "/v1/check", Access::Local),
        (Self::Push, Method::POST, "/v1/push", Access::Local),
        (Self::Output, Method::GET, "/v1/output/{instance}", Access::Local),
        (Self::Shim, Method::POST, "/v1/shim", Access::Local),
        (Self::Shutdown, Method::POST, "/v1/shutdown", Access::Local),
        (Self::Join, Method::POST, "/v1/join", Access::Anyone),
        // Only a hint to look at `source.url`, which says by itself what is there; the daemon heeds one a second. Whether it
        // must be signed says the Cluster (`webhook`).
        (Self::Webhook, Method::POST, "/v1/webhook", Access::Anyone),
    ];
}

/// Whether a caller (none: nobody proved who) may call a route that needs `needed`.
pub fn allowed(door: Door, caller: Option<&Caller>, needed: Access) -> bool {
    match (needed, door) {
        (Access::Anyone, _) | (Access::Viewer | Access::Operator | Access::Local, Door::Local) => true,
        (Access::Local, Door::Network) => false,
        (Access::Viewer | Access::Operator, Door::Network) => caller.is_some_and(|caller| caller.access >= needed),
    }
}

/// Why somebody on the network was not allowed, and what helps. `caller`: who it is, or why nobody knows.
pub fn refusal(needed: Access, caller: Result<&Caller, &String>) -> (String, &'static str) {
    const TOKEN: &str = "`hafen token --role viewer` or `--role operator` on a node makes a token for this";
    match (needed, caller) {
        (Access::Local, _) => {
            ("this is answered on the machine itself only".into(), "call it on a node, over its local socket")
        }
        (Access::Anyone | Access::Viewer | Access::Operator, Err(why)) => (why.clone(), TOKEN),
        (Access::Anyone | Access::Viewer | Access::Operator, Ok(_)) => (
            "a viewer's token reads, and this changes something or shows all there is".into(),
            "`hafen token --role operator` on a node makes a token for this",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds_every_route_once_and_only_reading_is_open_to_viewers() {
        for (place, (route, method, _, access)) in Route::TABLE.iter().enumerate() {
            assert_eq!(*route as usize, place);
            // A plan is computed from what the caller sends and changes nothing.
            if *access == Access::Viewer && *route != Route::Plan {
                assert_eq!(*method, Method::GET, "{route:?}");
            }
        }
    }

    #[test]
    fn a_viewer_never_writes_and_the_network_never_does_what_is_local() {
        let viewer = Caller { name: "v".into(), access: Access::Viewer };
        let operator = Caller { name: "o".into(), access: Access::Operator };
        assert!(allowed(Door::Network, Some(&viewer), Access::Viewer));
        assert!(!allowed(Door::Network, Some(&viewer), Access::Operator));
        assert!(allowed(Door::Network, Some(&operator), Access::Operator));
        assert!(!allowed(Door::Network, Some(&operator), Access::Local));
        assert!(!allowed(Door::Network, None, Access::Viewer));
        assert!(allowed(Door::Network, None, Access::Anyone));
        assert!(allowed(Door::Local, None, Access::Local));
    }
}
