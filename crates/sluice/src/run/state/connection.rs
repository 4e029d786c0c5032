//! One connection as the state file has it: the five-tuple and its counters. Ports, endpoints and identities are
//! looked up anew, since their numbers belong to the process.

use datapath::Snapshot;
use datapath::conntrack::{Conn, ConnState, State};
use datapath::judge::parties;
use packet::{Addr, FlowKey, Instant};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;

/// An answered connection that was not over.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedConnection {
    src: IpAddr,
    dst: IpAddr,
    proto: u8,
    sport: u16,
    dport: u16,
    packets: [u64; 2],
    bytes: [u64; 2],
    /// Milliseconds since its first packet.
    age: u64,
}

impl SavedConnection {
    /// From an entry of the table; `None` for one that is half-open, over, or taken back.
    pub(super) fn new(conn: &Conn, now: Instant) -> Option<Self> {
        let live = matches!(conn.state(), State::Established | State::HalfClosed | State::Replied);
        let key = conn.key;
        let age = now.saturating_since(conn.created()).as_millis();
        (live && !conn.revoked()).then(|| Self {
            src: key.src.to_ip(),
            dst: key.dst.to_ip(),
            proto: key.proto,
            sport: key.src_port,
            dport: key.dst_port,
            packets: conn.packets(),
            bytes: conn.bytes(),
            age: u64::try_from(age).unwrap_or(u64::MAX),
        })
    }

    /// For the table of this process; `None` when an end of it is no longer here.
    pub(super) fn restore(&self, snapshot: &Snapshot) -> Option<ConnState> {
        let (src, dst) = (Addr::from(self.src), Addr::from(self.dst));
        let parties = parties(src, dst, snapshot).ok()?;
        Some(ConnState {
            key: FlowKey { src, dst, proto: self.proto, src_port: self.sport, dst_port: self.dport },
            in_port: parties.src.port,
            out_port: parties.dst.port,
            src_identity: parties.src.identity,
            dst_identity: parties.dst.identity,
            src_endpoint: parties.src.endpoint,
            dst_endpoint: parties.dst.endpoint,
            packets: self.packets,
            bytes: self.bytes,
            age: Duration::from_millis(self.age),
        })
    }
}
