//! The contract with the kernel program: map names, the words of their values, counter indices.
//!
//! `ebpf/src/main.rs` repeats these numbers. [`VERSION`] is part of the path that maps are pinned under, so a loader
//! never adopts maps whose words mean something else.

/// Raised whenever the meaning of a map changes.
pub(crate) const VERSION: u32 = 1;

/// The program's name, as the kernel shows it.
pub(crate) const PROGRAM: &str = "sluice_steer";

pub(crate) const SOCKETS: &str = "SOCKETS";
pub(crate) const PORTS: &str = "PORTS";
pub(crate) const HEARTBEAT: &str = "HEARTBEAT";
pub(crate) const COUNTERS: &str = "COUNTERS";
pub(crate) const MAPS: [&str; 4] = [SOCKETS, PORTS, HEARTBEAT, COUNTERS];

/// Entries of the socket map; ports get consecutive ranges of it.
pub(crate) const MAX_SOCKETS: u32 = 4096;

/// Receive queues of one port that can have sockets.
pub(crate) const MAX_QUEUES: u32 = 256;

/// `HEARTBEAT[0]`: CLOCK_MONOTONIC nanoseconds of the last sign of life.
pub(crate) const BEAT_LAST_NS: u32 = 0;
/// `HEARTBEAT[1]`: nanoseconds that a sign of life is believed; 0 for ever.
pub(crate) const BEAT_LIMIT_NS: u32 = 1;

/// A `PORTS` value: first socket, queues, mode, fallback.
pub(crate) type PortWords = [u32; 4];
pub(crate) const FIRST_SOCKET: usize = 0;
pub(crate) const QUEUES: usize = 1;
pub(crate) const FALLBACK: usize = 3;

/// What a port is for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Mode {
    /// The host-side veth of a pod: IPv4, IPv6, ARP and tagged frames are steered, the rest passes.
    Pod = 0,
    /// The pair towards the node's own stack; steered like a pod.
    Host = 1,
    /// An uplink that is only watched: every frame passes to the kernel.
    UplinkPass = 2,
}

/// What happens to a frame for which there is no living socket.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
#[repr(u32)]
pub enum Fallback {
    /// Drop it: fail closed.
    #[default]
    Drop = 0,
    /// Hand it to the kernel: fail open, without policy.
    Pass = 1,
}

/// Frames by what became of them, summed over CPUs and ports.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Given to a socket.
    pub redirected: u64,
    /// Passed to the kernel: not IPv4, IPv6, ARP or tagged (LLDP and the like).
    pub passed_not_ours: u64,
    /// Passed to the kernel: the port is an uplink that is only watched.
    pub passed_uplink: u64,
    /// Dropped by the fallback.
    pub fallback_dropped: u64,
    /// Passed by the fallback.
    pub fallback_passed: u64,
    /// Of the fallback's: the heartbeat was too old.
    pub stale_heartbeat: u64,
    /// Of the fallback's: the queue has no socket.
    pub no_socket: u64,
    /// Dropped: the port has no configuration.
    pub unknown_port: u64,
    /// Dropped: shorter than an Ethernet header.
    pub too_short: u64,
}

impl Counters {
    /// Number of counter slots in use.
    pub(crate) const LEN: usize = 9;

    /// From the sums of the slots, in the order of the kernel program's indices.
    pub(crate) fn from_slots(slots: [u64; Self::LEN]) -> Self {
        let [
            redirected,
            passed_not_ours,
            passed_uplink,
            fallback_dropped,
            fallback_passed,
            stale_heartbeat,
            no_socket,
            unknown_port,
            too_short,
        ] = slots;
        Self {
            redirected,
            passed_not_ours,
            passed_uplink,
            fallback_dropped,
            fallback_passed,
            stale_heartbeat,
            no_socket,
            unknown_port,
            too_short,
        }
    }
}
