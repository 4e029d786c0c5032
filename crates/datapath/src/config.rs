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
        }
    }
}
