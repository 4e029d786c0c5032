//! The index answers like a walk through everything.

use super::*;
use flowlog::record::{TcpFlagSet, TrafficDirection, Verdict, message_type};
use flowlog::{FlowFilter, filter::EventTypeFilter};
use proptest::prelude::*;
use std::sync::OnceLock;

const RECORDS: u64 = 6000;

/// A store of several files, full and small blocks, two runs.
fn store() -> &'static History {
    static STORE: OnceLock<(tempfile::TempDir, History)> = OnceLock::new();
    let (_, history) = STORE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        for half in 0..2 {
            let log = Arc::new(Store::new(1000));
            let history = History::start(settings(folder.path()), Arc::clone(&log)).expect("started");
            fill(&log, &history, half * 5000..(5000 + half * 1000));
        }
        let history = History::open(folder.path()).expect("there");
        (folder, history)
    });
    history
}

#[test]
fn everything_is_there_as_it_was() {
    assert!(all(store()).into_iter().eq((0..RECORDS).map(record)));
}

fn text(choices: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(prop::sample::select(choices).prop_map(str::to_owned), 0..3)
}

prop_compose! {
    fn filter()(
        pods in text(&["ns-1/app-1", "ns-0/", "/app-3", "ns-2/none", "ns-4/app-"]),
        to in text(&["ns-1/", "ns-3/app-3", "/app-7"]),
        labels in text(&["app=app-1", "app in (app-2,app-3)", "!app", "k8s:app=app-4"]),
        ips in text(&["10.0.0.3", "10.0.0.0/28", "fd00::/8"]),
        ports in text(&["8080", "8083", "53"]),
        syn in any::<bool>(),
        identity in prop::collection::vec(prop::sample::select(vec![1001_u32, 1003, 1011, 5]), 0..2),
        verdict in prop::collection::vec(prop::sample::select(vec![Verdict::Dropped, Verdict::Forwarded, Verdict::Traced]), 0..2),
        kinds in prop::collection::vec(prop::sample::select(vec![message_type::L7, message_type::DROP, 1000]), 0..2),
        direction in prop::collection::vec(prop::sample::select(vec![TrafficDirection::Ingress, TrafficDirection::Egress]), 0..2),
        reply in prop::collection::vec(any::<bool>(), 0..2),
        protocol in text(&["tcp", "http", "udp", "icmp"]),
        path in text(&["/v1/items/1.*", "nothing"]),
        policy in text(&["ns-1/policy-3", "policy-1", "other"]),
        // Which of them are asked for: all at once match nothing.
        used in 0_u32..1 << 14,
    ) -> FlowFilter {
        let on = |bit: u32| used >> bit & 1 == 1;
        let mut f = FlowFilter::default();
        if on(0) { f.source_pod = pods; }
        if on(1) { f.destination_pod = to; }
        if on(2) { f.source_label = labels; }
        if on(3) && on(4) { f.source_ip = ips; }
        if on(5) && on(4) { f.destination_port = ports; }
        if on(13) && on(2) { f.destination_ip = vec!["10.0.0.0/30".into()]; }
        if on(13) && on(9) { f.tcp_flags = vec![TcpFlagSet { syn, ..TcpFlagSet::default() }]; }
        if on(6) { f.destination_identity = identity; }
        if on(7) { f.verdict = verdict; }
        if on(8) && on(0) {
            f.event_type = kinds.into_iter().map(|kind| EventTypeFilter { kind, ..EventTypeFilter::default() }).collect();
        }
        if on(9) { f.traffic_direction = direction; }
        if on(10) { f.reply = reply; }
        if on(11) && on(7) { f.protocol = protocol; }
        if on(12) && on(4) { f.http_path = path; }
        if on(12) && on(1) { f.policy = policy; }
        f
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_index_finds_what_a_walk_finds(
        allow in prop::collection::vec(filter(), 0..3),
        deny in prop::collection::vec(filter(), 0..2),
        since in prop::option::of(0..RECORDS),
        until in prop::option::of(0..RECORDS),
        newest_first in any::<bool>(),
    ) {
        let request = ObserveRequest {
            filters: flowlog::Filters { allowlist: allow, denylist: deny },
            since: since.and_then(at),
            until: until.and_then(at),
            ..ObserveRequest::default()
        };
        let order = if newest_first { Order::NewestFirst } else { Order::OldestFirst };
        let mut question = Question::new(&request).expect("valid");
        let found = answers(store(), &question, order);
        question.everything = true;
        let walked = answers(store(), &question, order);
        prop_assert_eq!(found.len(), walked.len());
        prop_assert!(found == walked);
        // And a walk finds what the records themselves say.
        let mut truth: Vec<Record> = (0..RECORDS).map(record).filter(|r| question.selection().matches(r)).collect();
        if newest_first {
            truth.reverse();
        }
        prop_assert!(walked == truth);
    }
}

#[test]
fn addresses_and_ports_alone_find_what_a_walk_finds() {
    let filters = [
        FlowFilter { source_ip: vec!["10.0.0.3".into()], ..FlowFilter::default() },
        FlowFilter { destination_ip: vec!["10.0.0.0/29".into()], ..FlowFilter::default() },
        FlowFilter { destination_port: vec!["53".into(), "8083".into()], ..FlowFilter::default() },
        FlowFilter { source_port: vec!["0".into()], ..FlowFilter::default() },
        FlowFilter { source_ip_xlated: vec!["10.0.0.3".into()], ..FlowFilter::default() },
    ];
    let mut total = 0;
    for filter in filters {
        let filters = flowlog::Filters { allowlist: vec![filter.clone()], denylist: Vec::new() };
        let request = ObserveRequest { filters, ..ObserveRequest::default() };
        let question = Question::new(&request).expect("valid");
        let found = answers(store(), &question, Order::OldestFirst);
        let truth: Vec<Record> =
            (0..RECORDS).map(record).filter(|r| question.selection().matches(r)).collect();
        assert!(found == truth, "{filter:?}: {} of {}", found.len(), truth.len());
        total += found.len();
    }
    assert!(total > 100, "{total}");
}

#[test]
fn a_reader_may_stop_and_does_not_see_more() {
    let question = Question::new(&ObserveRequest::default()).expect("valid");
    let mut seen = Vec::new();
    let outcome = store().query(&question, Order::NewestFirst, &mut |record| {
        seen.push(record);
        if seen.len() == 7 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    outcome.expect("readable");
    assert!(seen.into_iter().eq((RECORDS - 7..RECORDS).rev().map(record)));
}
