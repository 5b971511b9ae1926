//! Fence agents that leave the power on.
//!
//! Such an agent proves nothing about what runs on a node, so no level is made of one: `validate` refuses it (HA0512), and
//! whoever runs agents refuses to run it. All names are of Debian's `fence-agents`.

/// What an agent does instead of cutting power, given the names of its parameters and secrets; None: it cuts power, or is
/// not known.
pub fn no_power_cut<'a>(agent: &str, mut params: impl Iterator<Item = &'a String>) -> Option<&'static str> {
    const STORAGE: &str = "takes the storage away";
    const SWITCH: &str = "closes ports of a switch";
    const CLOUD: &str = "moves what the hypervisor ran";
    const AGENTS: [(&str, &str); 13] = [
        ("fence_ack_manual", "asks a person (`hafen fence confirm` does that)"),
        ("fence_brocade", SWITCH),
        ("fence_cisco_mds", SWITCH),
        ("fence_compute", CLOUD),
        // One ping decides: a node that lives behind a cut cable reads off.
        ("fence_crosslink", "pings over a cable"),
        ("fence_evacuate", CLOUD),
        ("fence_heuristics_ping", "pings"),
        ("fence_ifmib", SWITCH),
        ("fence_kdump", "waits for word of a crash"),
        ("fence_mpath", STORAGE),
        ("fence_sanbox2", SWITCH),
        // It reads back its own message, whether or not a daemon of sbd on the node obeys; hafen neither runs nor checks one.
        ("fence_sbd", "writes a message to a shared disk"),
        ("fence_scsi", STORAGE),
    ];
    // With this parameter, whatever its value (its presence is all that the agent looks at), a virtual machine reads off as
    // soon as its network is blocked. Agents take names with either dash.
    if agent == "fence_azure_arm" && params.any(|name| name.replace('_', "-") == "network-fencing") {
        return Some("blocks the network (`network-fencing`)");
    }
    AGENTS.iter().find(|(name, _)| *name == agent).map(|(_, instead)| *instead)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(agent: &str, params: &[&str]) -> Option<&'static str> {
        let params: Vec<String> = params.iter().map(ToString::to_string).collect();
        no_power_cut(agent, params.iter())
    }

    #[test]
    fn switches_and_storage_cut_no_power_and_bmcs_do() {
        for agent in ["fence_scsi", "fence_mpath", "fence_brocade", "fence_cisco_mds", "fence_heuristics_ping"] {
            assert!(with(agent, &[]).is_some(), "{agent}");
        }
        for agent in ["fence_ipmilan", "fence_redfish", "fence_cisco_ucs", "fence_apc", "redfish", "fence_dummy"] {
            assert_eq!(with(agent, &["ip", "network-fencing"]), None, "{agent}");
        }
    }

    #[test]
    fn a_ping_a_message_and_a_blocked_network_are_no_power_cut() {
        assert!(with("fence_crosslink", &["crosscableip"]).is_some());
        assert!(with("fence_sbd", &["devices"]).is_some());
        assert_eq!(with("fence_azure_arm", &["resourceGroup"]), None);
        for name in ["network-fencing", "network_fencing"] {
            assert!(with("fence_azure_arm", &["resourceGroup", name]).is_some(), "{name}");
        }
    }
}
