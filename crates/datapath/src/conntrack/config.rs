//! Limits and time-outs of the connection table.

use super::timer::tick_after;
use core::time::Duration;
use packet::Instant;

/// Limits and time-outs. [`Default`] is Cilium's where Cilium has a number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConntrackConfig {
    /// Most connections of one worker. Default 524,288 (`bpf-ct-global-tcp-max`).
    pub max_entries: u32,
    /// Most connections that one port may have opened. When reached, a new one takes the place of that port's own
    /// oldest finished or half-open one, or is refused. Default a quarter of `max_entries`.
    pub max_entries_per_port: u32,
    /// Most half-open (not yet answered) connections that one port may have opened; the port's own oldest gives
    /// way. Default an eighth of `max_entries`.
    pub max_half_open_per_port: u32,
    /// Whether a TCP segment other than a SYN may start an entry: on only for a while after a start without a
    /// state file. Default off.
    pub tcp_pickup: bool,
    /// Time-outs.
    pub timeouts: Timeouts,
}

/// How long an entry lives after its last packet that counted.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Timeouts {
    /// TCP before the handshake is complete. Default 60 s.
    pub tcp_syn: Duration,
    /// TCP established or half-closed. Default 8,000 s.
    pub tcp_established: Duration,
    /// TCP with a FIN from both sides of which one is not acknowledged yet. Default 60 s, longer than Cilium's
    /// 10 s because data before the FIN may still be retransmitted (RFC 6298 §2.5 lets that wait for 60 s).
    pub tcp_closing: Duration,
    /// TCP finished or reset. Default 10 s.
    pub tcp_fin: Duration,
    /// UDP. Default 60 s.
    pub udp: Duration,
    /// ICMP and ICMPv6 echo. Default 60 s.
    pub icmp: Duration,
    /// SCTP. Default 60 s, twice the heartbeat interval of RFC 9260 §16.
    pub sctp: Duration,
    /// Every other protocol. Default 60 s.
    pub other: Duration,
}

/// [`Timeouts`] in ticks of the timer wheel, rounded up.
#[derive(Copy, Clone, Debug)]
pub(super) struct Ticks {
    pub(super) tcp_syn: u32,
    pub(super) tcp_established: u32,
    pub(super) tcp_closing: u32,
    pub(super) tcp_fin: u32,
    pub(super) udp: u32,
    pub(super) icmp: u32,
    pub(super) sctp: u32,
    pub(super) other: u32,
}

impl Ticks {
    pub(super) fn of(timeouts: &Timeouts) -> Self {
        let ticks = |timeout: Duration| tick_after(Instant::ZERO + timeout);
        Self {
            tcp_syn: ticks(timeouts.tcp_syn),
            tcp_established: ticks(timeouts.tcp_established),
            tcp_closing: ticks(timeouts.tcp_closing),
            tcp_fin: ticks(timeouts.tcp_fin),
            udp: ticks(timeouts.udp),
            icmp: ticks(timeouts.icmp),
            sctp: ticks(timeouts.sctp),
            other: ticks(timeouts.other),
        }
    }
}

/// A configuration that cannot work.
#[derive(Copy, Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConntrackConfigError {
    /// `max_entries` is zero or above [`ConntrackConfig::MAX_ENTRIES`].
    #[error("max_entries must be between 1 and {max}, not {0}", max = ConntrackConfig::MAX_ENTRIES)]
    MaxEntries(u32),
    /// A limit per port is zero or above `max_entries`.
    #[error("a limit per port must be between 1 and max_entries, not {0}")]
    PerPort(u32),
    /// A time-out is below a second or above thirty days.
    #[error("time-outs must be between 1 s and 30 days, not {0:?}")]
    Timeout(Duration),
}

impl ConntrackConfig {
    /// Upper limit of `max_entries`: 2.9 GiB of connections.
    pub const MAX_ENTRIES: u32 = 1 << 24;

    /// The defaults for a table of `max_entries`.
    #[must_use]
    pub const fn with_max_entries(max_entries: u32) -> Self {
        Self {
            max_entries,
            max_entries_per_port: max_entries.div_ceil(4),
            max_half_open_per_port: max_entries.div_ceil(8),
            tcp_pickup: false,
            timeouts: Timeouts::DEFAULT,
        }
    }

    /// Refuses what cannot work.
    ///
    /// # Errors
    /// See [`ConntrackConfigError`].
    pub fn validate(&self) -> Result<(), ConntrackConfigError> {
        if self.max_entries == 0 || self.max_entries > Self::MAX_ENTRIES {
            return Err(ConntrackConfigError::MaxEntries(self.max_entries));
        }
        for limit in [self.max_entries_per_port, self.max_half_open_per_port] {
            if limit == 0 || limit > self.max_entries {
                return Err(ConntrackConfigError::PerPort(limit));
            }
        }
        let t = &self.timeouts;
        for timeout in
            [t.tcp_syn, t.tcp_established, t.tcp_closing, t.tcp_fin, t.udp, t.icmp, t.sctp, t.other]
        {
            if timeout < Duration::from_secs(1) || timeout > Duration::from_secs(30 * 86_400) {
                return Err(ConntrackConfigError::Timeout(timeout));
            }
        }
        Ok(())
    }
}

impl Default for ConntrackConfig {
    fn default() -> Self {
        Self::with_max_entries(524_288)
    }
}

impl Timeouts {
    const DEFAULT: Self = Self {
        tcp_syn: Duration::from_secs(60),
        tcp_established: Duration::from_secs(8000),
        tcp_closing: Duration::from_secs(60),
        tcp_fin: Duration::from_secs(10),
        udp: Duration::from_secs(60),
        icmp: Duration::from_secs(60),
        sctp: Duration::from_secs(60),
        other: Duration::from_secs(60),
    };
}

impl Default for Timeouts {
    fn default() -> Self {
        Self::DEFAULT
    }
}
