//! The contenders: who carries the packets between two pods.

/// The CPU of whoever spins.
pub const SPIN_CPU: usize = 1;
/// Entries of the contenders whose cost does not depend on their number.
pub const MANY: u32 = 10_000;

/// Who carries the packets.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Contender {
    /// `sluice run` with that many policies on the server.
    Sluice(u32),
    /// The same with one policy and no flow log.
    SluiceSilent,
    /// The same with one policy and an MTU of 9,000.
    SluiceJumbo,
    /// AF_XDP that swaps ports and looks at nothing.
    Bare,
    /// The kernel's routing between veths, no policy, all offloads.
    Kernel,
    /// The same without segmentation offload: like for like per packet.
    KernelNoOffload,
    /// The same as `Kernel`, with client and server on one CPU.
    KernelOneCpu,
    /// The kernel's routing behind that many iptables rules (the nftables back end, which `iptables` is today).
    Iptables(u32),
    /// The same with the back end of before.
    IptablesLegacy(u32),
    /// iptables rules behind one that accepts packets of tracked connections: only first packets meet the others.
    IptablesTracked(u32),
    /// The kernel's routing behind an nftables verdict map.
    Nftables,
    /// A tc-eBPF program with a hash of allowed conversations, which redirects into the other pod.
    TcEbpf,
}

impl Contender {
    /// All, in the order of a round. The first is what the others are compared with.
    pub const ALL: [Self; 16] = [
        Self::Sluice(1),
        Self::SluiceSilent,
        Self::Sluice(0),
        Self::Sluice(1_000),
        Self::Sluice(MANY),
        Self::Bare,
        Self::Kernel,
        Self::KernelNoOffload,
        Self::KernelOneCpu,
        Self::Iptables(1),
        Self::Iptables(1_000),
        Self::Iptables(MANY),
        Self::IptablesLegacy(MANY),
        Self::IptablesTracked(MANY),
        Self::Nftables,
        Self::TcEbpf,
    ];

    /// Those that a short run takes.
    pub const FEW: [Self; 9] = [
        Self::Sluice(1),
        Self::SluiceSilent,
        Self::Sluice(MANY),
        Self::Bare,
        Self::Kernel,
        Self::KernelNoOffload,
        Self::Iptables(1_000),
        Self::Nftables,
        Self::TcEbpf,
    ];

    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Sluice(0) => "Sluice, no policy".to_owned(),
            Self::Sluice(1) => "Sluice, 1 policy".to_owned(),
            Self::Sluice(count) => format!("Sluice, {} policies", thousands(count)),
            Self::SluiceSilent => "Sluice, 1 policy, no flow log".to_owned(),
            Self::SluiceJumbo => "Sluice, MTU 9,000".to_owned(),
            Self::Bare => "bare AF_XDP forwarder".to_owned(),
            Self::Kernel => "kernel veth routing".to_owned(),
            Self::KernelNoOffload => "kernel veth routing, no TSO/GSO".to_owned(),
            Self::KernelOneCpu => "kernel veth routing, pods on one CPU".to_owned(),
            Self::Iptables(1) => "iptables, 1 rule".to_owned(),
            Self::Iptables(count) => format!("iptables, {} rules", thousands(count)),
            Self::IptablesLegacy(count) => format!("iptables-legacy, {} rules", thousands(count)),
            Self::IptablesTracked(count) => format!("iptables, {} rules behind conntrack", thousands(count)),
            Self::Nftables => format!("nftables verdict map, {} entries", thousands(MANY)),
            Self::TcEbpf => format!("tc-eBPF hash, {} entries", thousands(MANY)),
        }
    }

    /// Its family and the number of its rules, where contenders differ by that alone.
    #[must_use]
    pub fn series(self) -> Option<(String, u32)> {
        match self {
            Self::Sluice(count) => Some(("Sluice, policies".to_owned(), count)),
            Self::Iptables(count) => Some(("iptables, rules".to_owned(), count)),
            _ => None,
        }
    }

    /// Whether the node of `other` becomes its own by other policies.
    #[must_use]
    pub fn shares_node_with(self, other: Self) -> bool {
        self == other || matches!((self, other), (Self::Sluice(_), Self::Sluice(_)))
    }

    /// Whether the node's kernel routes the packets.
    #[must_use]
    pub const fn is_routed(self) -> bool {
        !matches!(self, Self::Sluice(_) | Self::SluiceSilent | Self::SluiceJumbo | Self::Bare | Self::TcEbpf)
    }

    /// Whether pods keep segmentation offload: not where AF_XDP copies frames.
    #[must_use]
    pub const fn keeps_offloads(self) -> bool {
        !self.has_xdp()
    }

    /// Whether it attaches an XDP program to the pods' host interfaces.
    #[must_use]
    pub const fn has_xdp(self) -> bool {
        matches!(self, Self::Sluice(_) | Self::SluiceSilent | Self::SluiceJumbo | Self::Bare)
    }

    /// Whether pods sum their own checksums, which is not how pods are: the bare forwarder sends frames on as they are. Sluice
    /// asks the kernel for checksums that are not complete.
    #[must_use]
    pub const fn pods_sum(self) -> bool {
        matches!(self, Self::Bare)
    }

    /// CPUs of client and server: a forwarder that spins has CPU 1 to itself.
    #[must_use]
    pub const fn cpus(self) -> (&'static str, &'static str) {
        match self {
            Self::Sluice(_) | Self::SluiceSilent | Self::SluiceJumbo | Self::Bare | Self::KernelOneCpu => {
                ("0", "0")
            }
            _ => ("0", "1"),
        }
    }

    /// The pods' MTU.
    #[must_use]
    pub const fn mtu(self) -> u32 {
        if matches!(self, Self::SluiceJumbo) { 9_000 } else { 1_500 }
    }

    /// The largest packet that it carries: with segmentation offload one of TCP's may hold 64 KiB, and two of these may be
    /// merged on the way.
    #[must_use]
    pub const fn largest_packet(self) -> u32 {
        match self {
            Self::KernelNoOffload => 1_500,
            _ if self.keeps_offloads() => 2 * 65_536,
            _ => self.mtu(),
        }
    }
}

/// With commas.
pub(crate) fn thousands(number: u32) -> String {
    if number < 1_000 {
        return number.to_string();
    }
    format!("{},{:03}", thousands(number / 1_000), number % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_different_and_readable() {
        let names: BTreeSet<String> = Contender::ALL.iter().map(|contender| contender.name()).collect();
        assert_eq!(names.len(), Contender::ALL.len());
        assert!(names.contains("iptables, 10,000 rules") && names.contains("Sluice, 1 policy"));
        assert!(Contender::FEW.iter().all(|few| Contender::ALL.contains(few)));
    }

    #[test]
    fn policies_are_swapped_in_one_node_and_nothing_else_is() {
        for one in Contender::ALL {
            for other in Contender::ALL {
                let policies = [one, other].iter().all(|each| matches!(each, Contender::Sluice(_)));
                assert_eq!(one.shares_node_with(other), one == other || policies, "{one:?}, {other:?}");
            }
        }
    }

    #[test]
    fn thousands_are_separated() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }
}
