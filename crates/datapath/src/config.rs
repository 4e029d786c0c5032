//! What can be set, validated, without serde.

use crate::conntrack::ConntrackConfig;
use core::time::Duration;

/// What a refused packet's sender is told.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum DenyResponse {
    /// Nothing: the packet disappears (Cilium's behaviour).
    #[default]
    Drop,
    /// RST for TCP, "administratively prohibited" for the rest.
    Reject,
}

/// What becomes of a live connection that L7 rules come to cover, and whose bytes were not read from the start.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum MidStream {
    /// It is reset: its next messages cannot be found.
    #[default]
    Reset,
    /// It goes on unread until it ends.
    Pass,
}

/// Settings of inspection.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct L7Config {
    /// Caps of the protocols.
    pub settings: l7::Settings,
    /// Live connections that rules come to cover.
    pub mid_stream: MidStream,
    /// Connections inspected at a time. Beyond it new ones that have to be are refused.
    pub max_connections: usize,
    /// Bytes of messages kept at a time: undecided, unacknowledged, or ours to deliver. A port may keep as much as is
    /// still free for all; beyond it a connection that adds to them is ended.
    pub max_bytes: usize,
    /// How long a DNS answer may wait for its addresses to come into force before it is dropped.
    pub answer_timeout: Duration,
}

impl Default for L7Config {
    fn default() -> Self {
        Self {
            settings: l7::Settings::default(),
            mid_stream: MidStream::Reset,
            max_connections: 65_536,
            max_bytes: 64 << 20,
            answer_timeout: Duration::from_secs(1),
        }
    }
}

/// Settings of one worker.
#[derive(Clone, PartialEq, Debug)]
pub struct DatapathConfig {
    /// Connection table.
    pub conntrack: ConntrackConfig,
    /// Answer to a policy denial.
    pub deny_response: DenyResponse,
    /// After a start, for how long a TCP segment in the middle of a connection may create it (policy permitting),
    /// so that connections outlive a restart without saved state. Zero: never.
    pub adopt_midstream_for: Duration,
    /// Connections judged again per poll after a policy change, so that a change never stalls the packets.
    pub rejudge_per_poll: usize,
    /// Timers expired per poll.
    pub expire_per_poll: usize,
    /// ICMP errors and resets that may be made per second for each port, as Linux limits its own
    /// (`icmp_msgs_per_sec`).
    pub answers_per_second: u32,
    /// Drops that are told one by one per second for each port, so that a pod that floods cannot wash the others' out
    /// of the event ring. What is not told is counted as shed; the counters stay exact.
    pub drop_events_per_second: u32,
    /// Inspection.
    pub l7: L7Config,
}

impl Default for DatapathConfig {
    fn default() -> Self {
        Self {
            conntrack: ConntrackConfig::default(),
            deny_response: DenyResponse::Drop,
            adopt_midstream_for: Duration::ZERO,
            rejudge_per_poll: 256,
            expire_per_poll: 64,
            answers_per_second: 1000,
            drop_events_per_second: 5000,
            l7: L7Config::default(),
        }
    }
}
