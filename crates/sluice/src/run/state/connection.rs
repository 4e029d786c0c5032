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
    /// Whether its messages were read.
    #[serde(default)]
    inspected: bool,
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
            inspected: conn.is_inspected(),
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
            inspected: self.inspected,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datapath::ports::{Port, PortKind, PortTable};
    use packet::{MacAddr, PortId};
    use policy::{Identity, PolicyMap, PolicySnapshot, RuleTable};
    use std::sync::Arc;

    fn snapshot() -> Snapshot {
        let map = || PolicyMap::builder().build();
        let endpoints = [
            (Identity(300), "shop/a", &["10.0.0.1"][..], map()),
            (Identity(301), "shop/b", &["10.0.0.2"][..], map()),
        ];
        let policy = PolicySnapshot::for_tests(7, &endpoints, &[], RuleTable::default());
        let port = |id: u16, last: u8| Port {
            id: PortId(id),
            name: format!("p{id}"),
            kind: PortKind::Pod {
                endpoint: Some(policy::EndpointId(u16::from(last))),
                addrs: vec![Addr::v4([10, 0, 0, last])],
            },
            mac: MacAddr::default(),
            peer_mac: MacAddr::default(),
            mtu: 1500,
            partial_checksums: true,
        };
        let ports = PortTable::new(vec![port(4, 1), port(9, 2)], Vec::new(), Vec::new());
        Snapshot { policy: Arc::new(policy), ports: Arc::new(ports), ..Snapshot::default() }
    }

    fn saved(dst: &str) -> SavedConnection {
        SavedConnection {
            src: "10.0.0.1".parse().expect("an address"),
            dst: dst.parse().expect("an address"),
            proto: 6,
            sport: 40_000,
            dport: 80,
            packets: [3, 2],
            bytes: [300, 200],
            age: 1500,
            inspected: false,
        }
    }

    #[test]
    fn numbers_are_those_of_this_process() {
        let state = saved("10.0.0.2").restore(&snapshot()).expect("both ends are here");
        assert_eq!((state.in_port, state.out_port), (PortId(4), PortId(9)));
        assert_eq!((state.src_identity, state.dst_identity), (Identity(300), Identity(301)));
        assert_eq!((state.packets, state.age), ([3, 2], Duration::from_millis(1500)));
    }

    #[test]
    fn a_connection_whose_pod_is_gone_is_not_restored() {
        assert!(saved("10.0.0.3").restore(&snapshot()).is_none());
    }

    #[test]
    fn the_file_keeps_every_field() {
        let text = serde_json::to_string(&saved("fd00::1")).expect("JSON");
        assert_eq!(serde_json::from_str::<SavedConnection>(&text).expect("JSON"), saved("fd00::1"));
        assert!(serde_json::from_str::<SavedConnection>(&text.replace("sport", "port")).is_err());
    }
}
