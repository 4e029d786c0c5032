//! The packet path: worker, rings, connection table, and the kernel program.

use super::Span;
use ::datapath::conntrack::{self, ConntrackConfig};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// The packet path.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Datapath {
    /// How the worker waits for frames.
    pub polling: Polling,
    /// CPU that the worker is pinned to; none: not pinned. With polling `busy` all other threads keep off it.
    pub cpu: Option<usize>,
    /// Workers. This version runs exactly one.
    pub workers: u32,
    /// Frame memory in MiB, shared by all sockets of a worker; 0: chosen by the number of pods.
    #[serde(rename = "umemMiB")]
    pub umem_mib: u32,
    /// Descriptors in each receive and transmit ring, a power of two; 0: chosen by the number of pods.
    pub ring_size: u32,
    /// What happens to frames while no process serves their port.
    pub on_failure: OnFailure,
    /// The connection table.
    pub conntrack: Conntrack,
}

impl Default for Datapath {
    fn default() -> Self {
        Self {
            polling: Polling::Adaptive,
            cpu: None,
            workers: 1,
            umem_mib: 0,
            ring_size: 0,
            on_failure: OnFailure::Drop,
            conntrack: Conntrack::default(),
        }
    }
}

impl Datapath {
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        if self.workers != 1 {
            return Err(("datapath.workers", "this version runs exactly one worker; write 1".into()));
        }
        if self.ring_size != 0
            && (!self.ring_size.is_power_of_two() || !(64..=16_384).contains(&self.ring_size))
        {
            return Err(("datapath.ringSize", "must be 0 or a power of two from 64 to 16384".into()));
        }
        if self.umem_mib != 0 && !(4..=4096).contains(&self.umem_mib) {
            return Err(("datapath.umemMiB", "must be 0 or from 4 to 4096".into()));
        }
        if self.conntrack.max_entries < 1024 {
            return Err(("datapath.conntrack.maxEntries", "must be at least 1024".into()));
        }
        self.conntrack.table().validate().map_err(|error| ("datapath.conntrack", error.to_string()))
    }
}

/// How the worker waits for frames.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Polling {
    /// Spins.
    Busy,
    /// Spins while there is work, then sleeps.
    Adaptive,
}

/// What happens to frames while no process serves their port.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// They are dropped.
    Drop,
    /// The kernel routes them, without policy.
    Pass,
}

/// The connection table: size and time-outs. The defaults are those of the table itself.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Conntrack {
    /// Connections at most.
    pub max_entries: u32,
    /// For how long after a start a TCP segment may adopt a connection that was not saved (policy permitting).
    pub adopt_midstream_for: Span,
    /// Time-outs.
    pub timeouts: Timeouts,
}

impl Default for Conntrack {
    fn default() -> Self {
        let table = ConntrackConfig::default();
        let t = table.timeouts;
        Self {
            max_entries: table.max_entries,
            adopt_midstream_for: Span::default(),
            timeouts: Timeouts {
                tcp_syn: t.tcp_syn.into(),
                tcp_established: t.tcp_established.into(),
                tcp_closing: t.tcp_closing.into(),
                tcp_fin: t.tcp_fin.into(),
                udp: t.udp.into(),
                icmp: t.icmp.into(),
                sctp: t.sctp.into(),
                other: t.other.into(),
            },
        }
    }
}

impl Conntrack {
    /// As the table wants it.
    #[must_use]
    pub fn table(&self) -> ConntrackConfig {
        let t = &self.timeouts;
        ConntrackConfig {
            timeouts: conntrack::Timeouts {
                tcp_syn: t.tcp_syn.get(),
                tcp_established: t.tcp_established.get(),
                tcp_closing: t.tcp_closing.get(),
                tcp_fin: t.tcp_fin.get(),
                udp: t.udp.get(),
                icmp: t.icmp.get(),
                sctp: t.sctp.get(),
                other: t.other.get(),
            },
            ..ConntrackConfig::with_max_entries(self.max_entries)
        }
    }
}

/// Time-outs of the connection table.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Timeouts {
    /// TCP before the handshake is complete.
    pub tcp_syn: Span,
    /// TCP established.
    pub tcp_established: Span,
    /// TCP with a FIN from both sides.
    pub tcp_closing: Span,
    /// TCP finished or reset.
    pub tcp_fin: Span,
    /// UDP.
    pub udp: Span,
    /// ICMP echo.
    pub icmp: Span,
    /// SCTP.
    pub sctp: Span,
    /// Everything else.
    pub other: Span,
}

impl Default for Timeouts {
    fn default() -> Self {
        Conntrack::default().timeouts
    }
}

/// The kernel program.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Xdp {
    /// Where the program runs.
    pub mode: XdpMode,
    /// Folder on a BPF file system for what outlives the process; empty: nothing does.
    pub pin_dir: PathBuf,
    /// Silence after which a hung process counts as gone; 0s: never.
    pub heartbeat: Span,
}

impl Default for Xdp {
    fn default() -> Self {
        Self { mode: XdpMode::Auto, pin_dir: "/sys/fs/bpf/sluice".into(), heartbeat: Span::secs(2) }
    }
}

impl Xdp {
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        let beat = self.heartbeat.get();
        if !beat.is_zero() && beat < Duration::from_secs(1) {
            return Err(("xdp.heartbeat", "must be 0s or at least 1s".into()));
        }
        Ok(())
    }
}

/// Where the program runs.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// In the driver, else refuse the interface.
    Native,
    /// In the network stack.
    Generic,
    /// In the driver, else in the network stack (and say so).
    Auto,
}
