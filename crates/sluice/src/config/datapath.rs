//! The packet path: workers, rings, connection table, and the kernel program.

use super::Span;
use ::datapath::conntrack::{self, ConntrackConfig};
use ::datapath::fleet::MAX_WORKERS;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// The packet path.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Datapath {
    /// How a worker waits for frames.
    pub polling: Polling,
    /// CPUs that the workers are pinned to, one for each, a lone one as a number; none: not pinned. With polling `busy` all
    /// other threads keep off them.
    #[serde(with = "cpu")]
    pub cpu: Vec<usize>,
    /// Workers: threads that divide the flows among them.
    pub workers: usize,
    /// Frame memory of each worker in MiB, shared by all its sockets; 0: chosen by the number of pods.
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
            cpu: Vec::new(),
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
        if !(1..=MAX_WORKERS).contains(&self.workers) {
            return Err(("datapath.workers", format!("must be from 1 to {MAX_WORKERS}")));
        }
        if !self.cpu.is_empty() && self.cpu.len() != self.workers {
            let (count, workers) = (self.cpu.len(), self.workers);
            let message = format!("has {count} CPUs for {workers} workers; write one for each, as in [2, 3]");
            return Err(("datapath.cpu", message));
        }
        if (1..self.cpu.len()).any(|at| self.cpu[..at].contains(&self.cpu[at])) {
            return Err(("datapath.cpu", "has a CPU twice; each worker needs one of its own".into()));
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

/// CPUs as people write them: nothing, a number, or a list.
mod cpu {
    use serde::de::{Error, SeqAccess, Visitor};
    use serde::{Deserializer, Serialize as _, Serializer};
    use std::fmt;

    pub(super) fn serialize<S: Serializer>(cpus: &[usize], to: S) -> Result<S::Ok, S::Error> {
        match cpus {
            [] => to.serialize_none(),
            [one] => one.serialize(to),
            several => several.serialize(to),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<usize>, D::Error> {
        from.deserialize_any(Cpus)
    }

    struct Cpus;

    impl<'de> Visitor<'de> for Cpus {
        type Value = Vec<usize>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the number of a CPU, or a list of them as in [2, 3]")
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }

        fn visit_u64<E: Error>(self, cpu: u64) -> Result<Self::Value, E> {
            usize::try_from(cpu).map(|cpu| vec![cpu]).map_err(E::custom)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut cpus = Vec::new();
            while let Some(cpu) = list.next_element()? {
                cpus.push(cpu);
            }
            Ok(cpus)
        }
    }
}

/// How a worker waits for frames.
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
