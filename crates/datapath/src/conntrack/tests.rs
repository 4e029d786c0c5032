use super::*;
use core::time::Duration;
use packet::{Addr, Icmp, MacAddr, Sctp, Tcp, TcpFlags};

const SYN: u8 = TcpFlags::SYN;
const ACK: u8 = TcpFlags::ACK;

fn addr(n: u32) -> Addr {
    Addr::v4((0x0a00_0000 | n).to_be_bytes())
}

fn packet(src: Addr, dst: Addr, proto: u8, l4_header: L4) -> Packet {
    Packet {
        eth_src: MacAddr::default(),
        eth_dst: MacAddr::default(),
        src,
        dst,
        l3: 14,
        l4: 34,
        payload: 54,
        end: 114,
        ttl: 64,
        traffic_class: 0,
        proto,
        dont_fragment: true,
        fragment: None,
        l4_header,
    }
}

fn tcp(src: u32, sport: u16, dst: u32, dport: u16, flags: u8, seq: u32, ack: u32) -> Packet {
    let header = Tcp {
        src_port: sport,
        dst_port: dport,
        seq,
        ack,
        flags: TcpFlags(flags),
        window: 1000,
        payload_len: 0,
        window_scale: None,
        mss: None,
        sack_permitted: false,
    };
    packet(addr(src), addr(dst), proto::TCP, L4::Tcp(header))
}

fn udp(src: u32, sport: u16, dst: u32, dport: u16) -> Packet {
    packet(addr(src), addr(dst), proto::UDP, L4::Udp { src_port: sport, dst_port: dport })
}

struct Bed {
    ct: Conntrack,
    closed: Vec<(FlowKey, CloseReason)>,
    now: Instant,
}

impl Bed {
    fn new(max_entries: u32) -> Self {
        let mut config = ConntrackConfig::with_max_entries(max_entries);
        // These tables are tiny: a quarter of them would be no room to play in.
        config.max_entries_per_port = (max_entries - max_entries / 4).max(1);
        assert_eq!(config.validate(), Ok(()));
        Self { ct: Conntrack::new(config, 42), closed: Vec::new(), now: Instant::from_secs(100) }
    }

    /// What the pipeline does with a packet from `port`.
    fn send(&mut self, port: u16, packet: &Packet) -> Result<Progress, DropReason> {
        let key = packet.flow_key().unwrap();
        let hash = self.ct.hash(&key);
        if let Some((id, leg)) = self.ct.lookup(&key, hash) {
            return self.ct.advance(id, leg, packet, self.now);
        }
        let new = NewConn {
            key,
            hash,
            in_port: PortId(port),
            out_port: PortId(99),
            src_identity: Identity(1000),
            dst_identity: Identity(1001),
            src_endpoint: None,
            dst_endpoint: None,
            adopt: false,
        };
        let closed = &mut self.closed;
        self.ct.create(new, packet, self.now, &mut |c, r| closed.push((c.key, r)))?;
        Ok(Progress::Continue)
    }

    fn handshake(&mut self, port: u16, src: u32, sport: u16) {
        self.send(port, &tcp(src, sport, 9, 80, SYN, 0, 0)).unwrap();
        self.send(99, &tcp(9, 80, src, sport, SYN | ACK, 0, 1)).unwrap();
        self.send(port, &tcp(src, sport, 9, 80, ACK, 1, 1)).unwrap();
    }

    fn state(&self, packet: &Packet) -> Option<State> {
        let (id, _) = self.ct.about(&packet.flow_key().unwrap())?;
        Some(self.ct.get(id).state())
    }

    fn pass(&mut self, secs: u64) {
        self.now = self.now + Duration::from_secs(secs);
        let closed = &mut self.closed;
        for _ in 0..1000 {
            self.ct.expire(self.now, 64, &mut |c, r| closed.push((c.key, r)));
        }
    }
}

/// Datagrams and segments, one table by the short way and one without it: the entries stay equal in all they hold.
#[test]
fn the_short_way_leaves_the_same_entry() {
    let dns = |original: bool| if original { udp(1, 5000, 9, 53) } else { udp(9, 53, 1, 5000) };
    let (mut short, mut long) = (Bed::new(16), Bed::new(16));
    let mut flowed = 0;
    for bed in [&mut short, &mut long] {
        // Those of no two protocols are the same.
        bed.ct.timeouts.udp += 7;
        bed.send(1, &dns(true)).unwrap();
        bed.handshake(1, 1, 4000);
    }
    for n in 0..200_u32 {
        // Either leg, by turns of uneven length; the first datagrams stay without an answer.
        let original = n % 7 < 4 || n < 10;
        let segment = if original {
            tcp(1, 4000, 9, 80, ACK, 1, 1)
        } else {
            tcp(9, 80, 1, 4000, if n == 190 { ACK | TcpFlags::FIN } else { ACK }, 1, 1)
        };
        for packet in [dns(original), segment] {
            let key = packet.flow_key().unwrap();
            let (id, leg) = short.ct.about(&key).unwrap();
            assert_eq!(long.ct.about(&key), Some((id, leg)));
            let expected = long.ct.advance_otherwise(id, leg, &packet, long.now);
            if short.ct.flows(id, leg, &packet, short.now) {
                flowed += 1;
                assert_eq!(expected, Ok(Progress::Continue));
            } else {
                assert_eq!(short.ct.advance_otherwise(id, leg, &packet, short.now), expected);
            }
            let [ours, theirs] = [&short, &long].map(|bed| format!("{:?}", bed.ct.get(id)));
            assert_eq!(ours, theirs, "{n}: {packet:?}");
        }
        short.pass(1);
        long.pass(1);
    }
    assert!(flowed > 300, "{flowed} of 400 went the short way");
    assert_eq!((short.closed.len(), long.closed.len()), (0, 0));
}

#[test]
fn both_legs_find_the_connection_and_are_counted() {
    let mut bed = Bed::new(16);
    bed.handshake(1, 1, 4000);
    let key = tcp(1, 4000, 9, 80, 0, 0, 0).flow_key().unwrap();
    let (id, leg) = bed.ct.about(&key).unwrap();
    assert_eq!((leg, bed.ct.about(&key.reversed())), (Leg::Original, Some((id, Leg::Reply))));
    let conn = bed.ct.get(id);
    assert_eq!((conn.packets(), conn.bytes(), conn.state()), ([2, 1], [200, 100], State::Established));
    assert_eq!((conn.port_towards(Leg::Original), conn.port_towards(Leg::Reply)), (PortId(99), PortId(1)));
    assert_eq!((conn.next_seq(Leg::Original), conn.next_seq(Leg::Reply)), (1, 1));
    assert_eq!(bed.ct.len(), 1);
}

#[test]
fn who_may_begin() {
    let mut bed = Bed::new(16);
    let icmp = |src, dst, kind| {
        packet(addr(src), addr(dst), proto::ICMP, L4::Icmp(Icmp { kind, code: 0, echo_id: 7 }))
    };
    let sctp = |first_chunk, tag| {
        packet(addr(1), addr(2), proto::SCTP, L4::Sctp(Sctp { src_port: 5, dst_port: 6, tag, first_chunk }))
    };
    for flags in [ACK, SYN | ACK, TcpFlags::RST, TcpFlags::FIN | ACK] {
        assert_eq!(bed.send(1, &tcp(1, 2, 3, 4, flags, 0, 0)), Err(DropReason::NotAConnection));
    }
    assert_eq!(bed.send(1, &icmp(1, 2, 0)), Err(DropReason::UnrelatedIcmp));
    assert_eq!(bed.send(1, &sctp(3, 1)), Err(DropReason::NotAConnection));
    assert!(bed.ct.is_empty());
    assert!(bed.send(1, &icmp(1, 2, 8)).is_ok());
    assert!(bed.send(2, &icmp(2, 1, 0)).is_ok());
    assert!(bed.send(2, &icmp(2, 1, 8)).is_ok(), "the same identifier from the other side is another flow");
    assert!(bed.send(1, &sctp(1, 0)).is_ok());
    assert_eq!(bed.ct.len(), 3);
}

#[test]
fn sctp_ends_by_an_abort_with_the_right_tag() {
    let mut bed = Bed::new(16);
    let chunk = |src, dst, first_chunk, tag| {
        packet(
            addr(src),
            addr(dst),
            proto::SCTP,
            L4::Sctp(Sctp { src_port: 5, dst_port: 5, tag, first_chunk }),
        )
    };
    bed.send(1, &chunk(1, 2, 1, 0)).unwrap();
    bed.send(2, &chunk(2, 1, 2, 77)).unwrap();
    bed.send(2, &chunk(2, 1, 6, 78)).unwrap();
    assert_eq!(bed.state(&chunk(1, 2, 1, 0)), Some(State::Replied));
    bed.send(2, &chunk(2, 1, 6, 77)).unwrap();
    assert_eq!(bed.state(&chunk(1, 2, 1, 0)), Some(State::Finished));
    assert_eq!(bed.send(1, &chunk(1, 2, 1, 0)), Ok(Progress::Reopen));
}

#[test]
fn time_outs_follow_the_state() {
    let mut bed = Bed::new(16);
    let syn = tcp(1, 1, 9, 80, SYN, 0, 0);
    bed.send(1, &syn).unwrap();
    bed.handshake(2, 2, 2);
    bed.send(3, &udp(3, 3, 9, 53)).unwrap();
    bed.pass(59);
    assert_eq!(bed.ct.len(), 3);
    bed.send(9, &udp(9, 53, 3, 3)).unwrap();
    bed.pass(2);
    assert_eq!(bed.closed, [(syn.flow_key().unwrap(), CloseReason::TimedOut)]);
    bed.pass(60);
    assert_eq!(bed.ct.len(), 1);
    bed.send(99, &tcp(9, 80, 2, 2, TcpFlags::RST | ACK, 1, 1)).unwrap();
    bed.pass(11);
    assert_eq!((bed.ct.len(), bed.closed.len(), bed.closed[2].1), (0, 3, CloseReason::Reset));
}

#[test]
fn a_flood_evicts_no_established_connection_and_locks_nobody_out() {
    let mut bed = Bed::new(1000);
    for n in 0..500 {
        bed.handshake(1, 1, 1000 + n);
    }
    bed.send(3, &udp(3, 1, 9, 53)).unwrap();
    for n in 0..10_000u32 {
        // Even with the server's answer a flood stays half-open.
        let sport = n as u16;
        bed.send(2, &tcp(2, sport, 9, 80 + (n >> 16) as u16, SYN, 0, 0)).unwrap();
        bed.send(99, &tcp(9, 80, 2, sport, SYN | ACK, 0, 1)).unwrap();
    }
    assert!(bed.ct.half_open(PortId(2)) <= 125);
    assert!(bed.closed.iter().all(|(key, reason)| { key.src } == addr(2) && *reason == CloseReason::Evicted));
    assert_eq!(bed.ct.iter().filter(|c| c.in_port == PortId(1)).count(), 500);
    assert_eq!(bed.state(&udp(3, 1, 9, 53)), Some(State::Unreplied));
    bed.handshake(4, 4, 4);
    assert_eq!(bed.state(&tcp(4, 4, 9, 80, 0, 0, 0)), Some(State::Established));
}

#[test]
fn a_full_table_takes_from_whom_has_most_to_give() {
    let mut config = ConntrackConfig::with_max_entries(8);
    config.max_half_open_per_port = 8;
    config.max_entries_per_port = 8;
    let mut bed = Bed::new(8);
    bed.ct = Conntrack::new(config, 1);
    for n in 0..3 {
        bed.handshake(1, 1, n);
    }
    bed.send(3, &udp(3, 1, 9, 53)).unwrap();
    for n in 0..4 {
        bed.send(2, &udp(2, n, 9, 53)).unwrap();
    }
    bed.send(4, &udp(4, 1, 9, 53)).unwrap();
    assert_eq!(bed.closed, [(udp(2, 0, 9, 53).flow_key().unwrap(), CloseReason::Evicted)]);
    // Answered flows stay; when there are no others, the newcomer is refused.
    for p in [udp(9, 53, 3, 1), udp(9, 53, 4, 1), udp(9, 53, 2, 1), udp(9, 53, 2, 2), udp(9, 53, 2, 3)] {
        bed.send(9, &p).unwrap();
    }
    assert_eq!(bed.send(5, &udp(5, 1, 9, 53)), Err(DropReason::ConntrackFull));
    assert_eq!((bed.ct.len(), bed.closed.len()), (8, 1));
}

#[test]
fn handles_do_not_outlive_their_connection() {
    let mut bed = Bed::new(4);
    bed.send(1, &udp(1, 1, 2, 2)).unwrap();
    let (id, _) = bed.ct.next_from(0).unwrap();
    let handle = bed.ct.handle(id);
    assert_eq!(bed.ct.resolve(handle), Some(id));
    bed.ct.remove(id, CloseReason::Revoked, &mut |_, _| {});
    bed.send(1, &udp(1, 1, 2, 2)).unwrap();
    assert_eq!(bed.ct.resolve(handle), None);
}

#[test]
fn revoked_entries_stay_as_silent_tombstones() {
    let mut bed = Bed::new(4);
    bed.handshake(1, 1, 1);
    let (id, _) = bed.ct.next_from(0).unwrap();
    bed.ct.revoke(id, bed.now);
    assert!(bed.ct.get(id).revoked());
    assert_eq!(bed.ct.export(bed.now).count(), 0);
    bed.pass(11);
    assert!(bed.ct.is_empty() && bed.closed.is_empty());
}

#[test]
fn a_port_takes_its_connections_along() {
    let mut bed = Bed::new(8);
    bed.handshake(1, 1, 1);
    bed.send(2, &udp(2, 2, 9, 53)).unwrap();
    let closed = &mut bed.closed;
    bed.ct.remove_port(PortId(1), &mut |c, r| closed.push((c.key, r)));
    assert_eq!((bed.ct.len(), bed.closed[0].1), (1, CloseReason::PortGone));
}

#[test]
fn established_connections_survive_a_restart() {
    let mut bed = Bed::new(8);
    bed.handshake(1, 1, 1);
    bed.send(2, &udp(2, 2, 9, 53)).unwrap();
    let saved: Vec<_> = bed.ct.export(bed.now).collect();
    assert_eq!(saved.len(), 1);
    let mut next = Bed::new(8);
    next.now = Instant::from_secs(5);
    next.ct.import(&saved[0], next.now).unwrap();
    assert_eq!(next.ct.export(next.now).map(|s| s.packets).collect::<Vec<_>>(), [[2, 1]]);
    assert_eq!(next.send(1, &tcp(1, 1, 9, 80, ACK, 5000, 6000)), Ok(Progress::Continue));
    assert_eq!(next.ct.len(), 1);
}

#[test]
fn a_million_entries_fit_into_200_mib() {
    const N: usize = 1_000_000;
    let ct = Conntrack::new(ConntrackConfig::with_max_entries(N as u32), 1);
    // Five bytes a bucket: one of control, four of index.
    let buckets = ct.index.most_buckets();
    let bytes = ct.slab.capacity() * size_of::<Conn>() + buckets * 5;
    assert!(bytes <= 200 << 20, "{bytes}");
}
