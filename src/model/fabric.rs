//! Fence agents that leave the power on.
//!
//! Such an agent proves nothing about what runs on a node, so no level is made of one: `validate` refuses it (HA0512), and
//! whoever runs agents refuses to run it. All names are of Debian's `fence-agents`.

/// What an agent does instead of cutting power; None: it cuts power, or is not known.
pub fn no_power_cut(agent: &str) -> Option<&'static str> {
    const STORAGE: &str = "takes the storage away";
    const SWITCH: &str = "closes ports of a switch";
    const CLOUD: &str = "moves what the hypervisor ran";
    const AGENTS: [(&str, &str); 11] = [
        ("fence_ack_manual", "asks a person (`hafen fence confirm` does that)"),
        ("fence_brocade", SWITCH),
        ("fence_cisco_mds", SWITCH),
        ("fence_compute", CLOUD),
        ("fence_evacuate", CLOUD),
        ("fence_heuristics_ping", "pings"),
        ("fence_ifmib", SWITCH),
        ("fence_kdump", "waits for word of a crash"),
        ("fence_mpath", STORAGE),
        ("fence_sanbox2", SWITCH),
        ("fence_scsi", STORAGE),
    ];
    AGENTS.iter().find(|(name, _)| *name == agent).map(|(_, instead)| *instead)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_and_storage_cut_no_power_and_bmcs_do() {
        for agent in ["fence_scsi", "fence_mpath", "fence_brocade", "fence_cisco_mds", "fence_heuristics_ping"] {
            assert!(no_power_cut(agent).is_some(), "{agent}");
        }
        for agent in ["fence_ipmilan", "fence_redfish", "fence_cisco_ucs", "fence_apc", "redfish", "fence_dummy"] {
            assert_eq!(no_power_cut(agent), None, "{agent}");
        }
    }
}
