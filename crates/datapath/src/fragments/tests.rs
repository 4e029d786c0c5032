use super::*;
use packet::{L4, MacAddr};

fn fragment(id: u32, offset: u16, len: u32, more: bool) -> Packet {
    Packet {
        eth_src: MacAddr::default(),
        eth_dst: MacAddr::default(),
        src: Addr::v4([10, 0, 0, 1]),
        dst: Addr::v4([10, 0, 0, 2]),
        l3: 14,
        l4: 34,
        payload: 34,
        end: 34 + len,
        ttl: 64,
        traffic_class: 0,
        proto: 17,
        dont_fragment: false,
        fragment: Some(Fragment { id, offset, more }),
        l4_header: if offset == 0 { L4::Udp { src_port: 1, dst_port: 2 } } else { L4::Fragment },
    }
}

fn table_with_first(id: u32) -> (FragmentTable, FlowKey) {
    let mut table = FragmentTable::new(7);
    let first = fragment(id, 0, 800, true);
    let key = first.flow_key().unwrap();
    assert_eq!(table.first(&first, key, Instant::ZERO), Ok(()));
    (table, key)
}

#[test]
fn later_fragments_follow_the_first_in_any_order() {
    let (mut table, key) = table_with_first(1);
    for (offset, more) in [(1600, true), (2400, false), (800, true)] {
        assert_eq!(table.later(&fragment(1, offset, 800, more), Instant::ZERO), Ok(key));
    }
    assert_eq!(table.later(&fragment(2, 800, 800, true), Instant::ZERO), Err(DropReason::FragmentUnknown));
}

#[test]
fn overlaps_and_contradictions_condemn_the_datagram() {
    let cases: [&[(u16, u32, bool)]; 5] = [
        &[(792, 80, true)],
        &[(800, 800, true), (1592, 8, true)],
        &[(800, 800, false), (1600, 8, true)],
        &[(1600, 80, true), (800, 80, false)],
        &[(800, 80, false), (880, 80, false)],
    ];
    for case in cases {
        let (mut table, key) = table_with_first(1);
        for (n, &(offset, len, more)) in case.iter().enumerate() {
            let expected = if n + 1 == case.len() { Err(DropReason::FragmentInconsistent) } else { Ok(key) };
            assert_eq!(table.later(&fragment(1, offset, len, more), Instant::ZERO), expected, "{case:?}");
        }
        let good = fragment(1, 4000, 80, true);
        assert_eq!(table.later(&good, Instant::ZERO), Err(DropReason::FragmentInconsistent));
    }
}

#[test]
fn a_second_first_fragment_is_refused() {
    let (mut table, key) = table_with_first(1);
    let again = table.first(&fragment(1, 0, 800, true), key, Instant::ZERO);
    assert_eq!(again, Err(DropReason::FragmentInconsistent));
    assert!(table.later(&fragment(1, 800, 8, true), Instant::ZERO).is_err());
}

#[test]
fn notes_live_thirty_seconds_and_are_bounded_per_source() {
    let (mut table, key) = table_with_first(0);
    for id in 1..u32::from(MAX_PER_SOURCE) {
        assert_eq!(table.first(&fragment(id, 0, 800, true), key, Instant::ZERO), Ok(()));
    }
    let over = fragment(9999, 0, 800, true);
    assert_eq!(table.first(&over, key, Instant::ZERO), Err(DropReason::FragmentTableFull));
    let late = Instant::from_secs(LIFETIME_SECS);
    assert_eq!(table.later(&fragment(0, 800, 8, true), late), Err(DropReason::FragmentUnknown));
    for _ in 0..usize::from(MAX_PER_SOURCE) / EXPIRE_PER_CALL {
        table.expire(late);
    }
    assert!(table.is_empty() && table.sources.is_empty());
    assert_eq!(table.first(&over, key, late), Ok(()));
}
