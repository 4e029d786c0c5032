//! What a million connections cost, as the kernel counts it. A binary of its own: nothing else may allocate meanwhile.
#![cfg(target_os = "linux")]

use datapath::conntrack::{Conntrack, ConntrackConfig, NewConn};
use packet::packet::proto;
use packet::testing;
use packet::{Addr, FlowKey, Instant, PortId};
use policy::Identity;

const CONNECTIONS: u32 = 1_000_000;
const LIMIT: usize = 200 << 20;

/// Resident bytes of this process (proc(5), `/proc/self/statm`: pages, the second field).
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("proc is mounted");
    let pages: usize = statm.split(' ').nth(1).and_then(|field| field.parse().ok()).expect("a number");
    pages * 4096
}

#[test]
fn a_million_connections_take_less_than_200_mib() {
    let before = resident();
    let mut config = ConntrackConfig::with_max_entries(CONNECTIONS);
    config.max_entries_per_port = CONNECTIONS;
    config.max_half_open_per_port = CONNECTIONS;
    let mut ct = Conntrack::new(config, 42);
    let packet = testing::packet_of(&testing::udp("10.0.0.1", "10.0.0.2", 1, 53, b"query"));
    for n in 0..CONNECTIONS {
        let key = FlowKey {
            src: Addr::v4((0x0a00_0000 | n >> 16).to_be_bytes()),
            dst: Addr::v4([10, 128, 0, 1]),
            src_port: n as u16,
            dst_port: 53,
            proto: proto::UDP,
        };
        let new = NewConn {
            key,
            hash: ct.hash(&key),
            in_port: PortId((n % 100) as u16),
            out_port: PortId(200),
            src_identity: Identity(1000),
            dst_identity: Identity(1001),
            src_endpoint: None,
            dst_endpoint: None,
            adopt: false,
        };
        let made = ct.create(new, &packet, Instant::from_secs(1), &mut |_, _| panic!("nothing gives way"));
        assert!(made.is_ok());
    }
    assert_eq!(ct.len(), CONNECTIONS as usize);
    let used = resident() - before;
    println!("{} connections: {} KiB resident, {} bytes each", ct.len(), used >> 10, used / ct.len());
    // The lower bound shows that the measurement measures: the entries alone are 192 bytes each.
    assert!((180 << 20..=LIMIT).contains(&used), "{used} bytes");
}
