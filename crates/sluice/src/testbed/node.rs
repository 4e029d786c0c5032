//! The node: the namespace the agent runs in, and a machine outside that its kernel routes and masquerades to.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use super::exec::{self, find_program};
use super::netns::Netns;
use super::pod::{GATEWAY_V4, GATEWAY_V6, Pod};

/// Pods of this node get addresses from here.
pub const POD_CIDR_V4: &str = "10.244.1.0/24";
/// Pods of this node get addresses from here.
pub const POD_CIDR_V6: &str = "fd00:10:244:1::/64";
/// The node's own addresses, on its link to the outside (RFC 5737 and RFC 3849 documentation ranges).
pub const NODE_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// See [`NODE_V4`].
pub const NODE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 1);
/// The machine outside.
pub const OUTSIDE_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
/// See [`OUTSIDE_V4`].
pub const OUTSIDE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 2);

/// Who carries packets between pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Routing {
    /// The node's kernel, without policy: the yardstick, and the check that the testbed itself is sound.
    Kernel,
    /// `sluice run`, over AF_XDP.
    Sluice,
}

/// Makes the namespace of the node with forwarding on.
pub(super) fn create_node(name: &str) -> Result<Netns> {
    let node = Netns::create(name)?;
    node.sysctl(&[
        ("net.ipv4.ip_forward", "1"),
        ("net.ipv6.conf.all.forwarding", "1"),
        // A redirect would tell a pod to go past the gateway.
        ("net.ipv4.conf.all.send_redirects", "0"),
        ("net.ipv4.conf.default.send_redirects", "0"),
    ])?;
    Ok(node)
}

/// Makes the machine outside, its link to the node, and the node's masquerading towards it.
pub(super) fn create_outside(name: &str, node: &Netns) -> Result<Netns> {
    let outside = Netns::create(name)?;
    node.ip(&format!(
        "link add uplink0 type veth peer name eth0 netns {name}\n\
         addr add {NODE_V4}/24 dev uplink0\n\
         addr add {NODE_V6}/64 dev uplink0 nodad\n\
         link set uplink0 up\n"
    ))?;
    outside.ip(&format!(
        "addr add {OUTSIDE_V4}/24 dev eth0\n\
         addr add {OUTSIDE_V6}/64 dev eth0 nodad\n\
         link set eth0 up\n"
    ))?;
    masquerade(node)?;
    Ok(outside)
}

/// Lets the node's kernel reach one pod directly, as if there were no appliance.
pub(super) fn route_by_kernel(node: &Netns, pod: &Pod) -> Result<()> {
    let dev = pod.interface();
    node.ip(&format!(
        "addr add {GATEWAY_V4}/32 dev {dev}\n\
         addr add {GATEWAY_V6}/64 dev {dev} nodad\n\
         route add {}/32 dev {dev}\n\
         route add {}/128 dev {dev}\n",
        pod.ipv4(),
        pod.ipv6()
    ))
}

fn masquerade(node: &Netns) -> Result<()> {
    let run = |command: &mut Command| exec::check(command, Duration::from_secs(20)).map(drop);
    if find_program("nft").is_some() {
        let rules = format!(
            "add table inet outbound\n\
             add chain inet outbound postrouting {{ type nat hook postrouting priority 100 ; }}\n\
             add rule inet outbound postrouting oifname uplink0 ip saddr {POD_CIDR_V4} masquerade\n\
             add rule inet outbound postrouting oifname uplink0 ip6 saddr {POD_CIDR_V6} masquerade\n"
        );
        return run(node.command("nft").arg(rules));
    }
    if find_program("iptables").is_none() || find_program("ip6tables").is_none() {
        bail!("masquerading needs nft or iptables: install the package nftables");
    }
    for (program, cidr) in [("iptables", POD_CIDR_V4), ("ip6tables", POD_CIDR_V6)] {
        run(node.command(program).args([
            "-t",
            "nat",
            "-A",
            "POSTROUTING",
            "-s",
            cidr,
            "-o",
            "uplink0",
            "-j",
            "MASQUERADE",
        ]))?;
    }
    Ok(())
}
