//! The map by example: exact counters, bounds, ageing, and what a reader that comes back is told.

use super::*;
use flowlog::record::{
    CloseInfo, DefaultDeny, Endpoint as End, EventType, Extensions, Http, Ip, L7Type, Layer7, Rule, Tcp,
    TrafficDirection, Verdict, message_type,
};

const START: Duration = Duration::from_secs(100);

/// A record in few words.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    pub from: &'static str,
    pub to: &'static str,
    pub port: u16,
    pub verdict: Verdict,
    pub reply: Option<bool>,
    pub uuid: String,
}

impl Default for Flow {
    fn default() -> Self {
        Self {
            from: "frontend",
            to: "api",
            port: 8080,
            verdict: Verdict::Forwarded,
            reply: Some(false),
            uuid: "u".into(),
        }
    }
}

fn pod(name: &str) -> End {
    End {
        identity: 256,
        namespace: "production".into(),
        pod_name: name.into(),
        labels: vec![format!("k8s:app={name}")],
        ..End::default()
    }
}

impl Flow {
    pub(crate) fn record(&self) -> Record {
        let (mut source, mut destination) = (pod(self.from), pod(self.to));
        let (mut from, mut to) = ("10.0.0.1".to_owned(), "10.0.0.2".to_owned());
        let mut ports = (40_000, self.port);
        if self.reply == Some(true) {
            std::mem::swap(&mut source, &mut destination);
            std::mem::swap(&mut from, &mut to);
            ports = (ports.1, ports.0);
        }
        Record {
            uuid: self.uuid.clone(),
            verdict: self.verdict,
            ip: Some(Ip { source: from, destination: to, ..Ip::default() }),
            l4: Some(flowlog::record::L4::Tcp(Tcp {
                source_port: ports.0,
                destination_port: ports.1,
                ..Tcp::default()
            })),
            source: Some(source),
            destination: Some(destination),
            is_reply: self.reply,
            ..Record::default()
        }
    }
}

/// A connection that nobody allows, as the packet path reports it.
pub(crate) fn denied(from: &'static str, to: &'static str, port: u16) -> Record {
    let switched = Rule {
        kind: "CiliumNetworkPolicy".into(),
        namespace: "production".into(),
        name: "default-deny-all".into(),
        file: "policies/default-deny-all.yaml".into(),
        line: 9,
    };
    let default_deny = Some(DefaultDeny {
        direction: TrafficDirection::Egress,
        side: "source".into(),
        switched_on_by: vec![switched],
        ..DefaultDeny::default()
    });
    let hint = Some(format!("no egress rule of production/{from} allows {port}/TCP to production/{to}"));
    Record {
        drop_reason: 133,
        drop_reason_desc: "POLICY_DENIED".into(),
        traffic_direction: TrafficDirection::Egress,
        event_type: Some(EventType { kind: message_type::POLICY_VERDICT, sub_type: 0 }),
        extensions: Some(Extensions { default_deny, hint, ..Extensions::default() }),
        ..Flow { from, to, port, verdict: Verdict::Dropped, reply: None, ..Flow::default() }.record()
    }
}

fn request(verdict: Verdict, path: &str, reply: bool) -> Record {
    let flow = Flow { verdict, reply: Some(reply), ..Flow::default() };
    let http = Http {
        method: "GET".into(),
        url: format!("http://api:8080{path}"),
        protocol: "HTTP/1.1".into(),
        code: if reply { 503 } else { 0 },
        ..Http::default()
    };
    let kind = if reply { L7Type::Response } else { L7Type::Request };
    let l7 = Layer7 { kind, latency_ns: 4_000_000, http: Some(http), ..Layer7::default() };
    Record { l7: Some(l7), ..flow.record() }
}

fn fold(map: &mut Map, records: &[Record]) {
    for record in records {
        map.fold(&Arc::new(record.clone()), START);
    }
}

fn counts(view: &MapView) -> Vec<(String, Counts)> {
    view.edges.iter().map(|edge| (edge.id.clone(), edge.total)).collect()
}

#[test]
fn records_of_both_ways_count_on_one_edge() {
    let mut map = Map::default();
    let flow = |verdict, reply| Flow { verdict, reply, ..Flow::default() }.record();
    fold(
        &mut map,
        &[
            flow(Verdict::Forwarded, Some(false)),
            flow(Verdict::Forwarded, Some(true)),
            flow(Verdict::Redirected, Some(false)),
            flow(Verdict::Audit, Some(false)),
            flow(Verdict::Traced, Some(false)),
            denied("frontend", "postgres-db", 5432),
            denied("frontend", "postgres-db", 5432),
        ],
    );
    let view = map.view("", None);
    let api = Counts { forwarded: 2, redirected: 1, audit: 1, ..Counts::default() };
    let db = Counts { dropped: 2, ..Counts::default() };
    let expected = [
        ("workload/production/frontend|workload/production/api|TCP/8080".to_owned(), api),
        ("workload/production/frontend|workload/production/postgres-db|TCP/5432".to_owned(), db),
    ];
    assert_eq!(counts(&view), expected);
    assert_eq!(view.edges[0].recent, api);
    assert_eq!((view.edges[0].last.as_str(), view.edges[1].last.as_str()), ("TRACED", "DROPPED"));
    let names: Vec<_> = view.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["api", "frontend", "postgres-db"]);
    assert_eq!(view.nodes[1].members, ["frontend"]);
    assert_eq!(view.nodes[1].labels, ["k8s:app=frontend"]);
    assert_eq!(view.nodes[1].identities, [256]);
    let spaces = map.namespaces();
    assert_eq!((spaces.len(), spaces[0].name.as_str(), spaces[0].nodes), (1, "production", 3));
    assert_eq!(spaces[0].recent, api.plus(&db));
}

#[test]
fn messages_become_endpoints_of_the_server() {
    let mut map = Map::default();
    fold(
        &mut map,
        &[
            request(Verdict::Forwarded, "/v1/pay?id=1", false),
            request(Verdict::Forwarded, "/v1/pay", true),
            request(Verdict::Dropped, "/admin", false),
        ],
    );
    let view = map.view("production", None);
    assert_eq!(view.edges.len(), 1);
    let endpoints = &view.edges[0].endpoints;
    assert_eq!(endpoints.iter().map(|e| e.name.as_str()).collect::<Vec<_>>(), ["GET /admin", "GET /v1/pay"]);
    assert_eq!(endpoints[0].requests, Counts { dropped: 1, ..Counts::default() });
    let pay = &endpoints[1];
    assert_eq!(pay.requests, Counts { forwarded: 1, ..Counts::default() });
    assert_eq!((pay.answers, pay.failed), (1, 1));
    assert!((pay.latency_ms - 4.0).abs() < 1e-9);
    assert_eq!(view.edges[0].total, Counts { forwarded: 2, dropped: 1, ..Counts::default() });
}

#[test]
fn a_close_adds_bytes_and_no_count() {
    let mut map = Map::default();
    let close = CloseInfo { bytes: [100, 900], packets: [3, 4], ..CloseInfo::default() };
    let extensions = Some(Extensions { close: Some(close), ..Extensions::default() });
    let record = Record { extensions, ..Flow { verdict: Verdict::Traced, ..Flow::default() }.record() };
    fold(&mut map, &[record.clone(), record]);
    let edge = &map.view("", None).edges[0];
    assert_eq!((edge.bytes, edge.closed, edge.total.sum()), (2000, 2, 0));
}

#[test]
fn a_namespace_shows_its_edges_and_their_other_ends() {
    let mut map = Map::default();
    let mut outside = Flow::default().record();
    outside.destination = Some(End { identity: 2, labels: vec!["reserved:world".into()], ..End::default() });
    outside.destination_names = vec!["api.stripe.com".into()];
    let mut elsewhere = Flow { from: "a", to: "b", ..Flow::default() }.record();
    for end in [&mut elsewhere.source, &mut elsewhere.destination].into_iter().flatten() {
        end.namespace = "dev".into();
    }
    fold(&mut map, &[outside, elsewhere]);
    let ids = |namespace| -> Vec<String> {
        map.view(namespace, None).nodes.into_iter().map(|node| node.id).collect()
    };
    assert_eq!(ids("production"), ["dns//api.stripe.com", "workload/production/frontend"]);
    assert_eq!(ids("dev"), ["workload/dev/a", "workload/dev/b"]);
    assert_eq!(ids("nowhere"), [""; 0]);
    assert_eq!(ids("").len(), 4);
}

#[test]
fn a_reader_gets_what_changed() {
    let mut map = Map::default();
    fold(&mut map, &[Flow::default().record(), denied("frontend", "postgres-db", 5432)]);
    let first = map.view("", None);
    assert!(first.whole);
    assert!(map.view("", Some(first.version)).is_empty());
    fold(&mut map, &[Flow::default().record()]);
    let second = map.view("", Some(first.version));
    assert!(!second.whole);
    assert_eq!(counts(&second).len(), 1);
    // The ends of a changed edge always come with it.
    assert_eq!(second.nodes.len(), 2);
    // A version that never was means somebody speaks to another process than before.
    assert!(map.view("", Some(second.version + 1)).whole);
}

#[test]
fn what_is_not_seen_any_more_leaves() {
    let mut map = Map::default();
    fold(&mut map, &[Flow::default().record(), denied("frontend", "postgres-db", 5432)]);
    let version = map.view("", None).version;
    let later = START + MAX_AGE;
    map.fold(&Arc::new(Flow::default().record()), later);
    map.tick(later + Duration::from_secs(1));
    let view = map.view("", Some(version));
    assert_eq!(view.gone_edges, ["workload/production/frontend|workload/production/postgres-db|TCP/5432"]);
    assert_eq!(view.gone_nodes, ["workload/production/postgres-db"]);
    assert_eq!(map.sizes(), (2, 1, 0));
    // The minute has passed for the first record, not for the second.
    let api = &map.view("", None).edges[0];
    assert_eq!((api.recent.forwarded, api.total.forwarded), (1, 2));
    map.tick(later + 2 * MAX_AGE);
    assert_eq!(map.sizes(), (0, 0, 0));
}

#[test]
fn a_reader_far_behind_gets_the_whole_map() {
    let mut map = Map::default();
    map.fold(&Arc::new(Flow::default().record()), START);
    let version = map.view("", None).version;
    for _ in 0..=MAX_GONE {
        map.note_gone(Gone::Node("x".into()));
    }
    assert!(map.view("", Some(version)).whole);
    assert_eq!(map.gone.len(), MAX_GONE);
}

#[test]
fn the_map_is_bounded_and_counts_the_rest_as_others() {
    let mut map = Map::default();
    let named = |from: usize, to: usize, port: u16| {
        let mut record = Flow { port, ..Flow::default() }.record();
        for (end, n) in [(&mut record.source, from), (&mut record.destination, to)] {
            if let Some(end) = end.as_mut() {
                *end = pod(&format!("w{n}"));
            }
        }
        Arc::new(record)
    };
    let mut folded = 0;
    for n in 0..MAX_NODES * 2 {
        map.fold(&named(n, n + 1, 80), START);
        folded += 1;
    }
    for port in 0..u16::try_from(MAX_EDGES * 2).expect("fits") {
        map.fold(&named(0, 1, port), START);
        folded += 1;
    }
    let (nodes, edges, _) = map.sizes();
    assert_eq!((nodes, edges), (MAX_NODES, MAX_EDGES));
    let view = map.view("", None);
    assert_eq!(view.edges.iter().map(|edge| edge.total.sum()).sum::<u64>(), folded);
    let others = view.edges.iter().find(|edge| edge.id == "others//others|others//others|any/0");
    assert!(others.is_some_and(|edge| edge.total.forwarded as usize > MAX_EDGES));

    let mut map = Map::default();
    for n in 0..MAX_ENDPOINTS * 2 {
        map.fold(&Arc::new(request(Verdict::Forwarded, &format!("/x{n}x"), false)), START);
    }
    assert_eq!(map.sizes().2, MAX_ENDPOINTS);
    let edge = &map.view("", None).edges[0];
    assert_eq!(edge.endpoints.len() + edge.more_endpoints, MAX_ENDPOINTS);
    assert_eq!(edge.endpoints[0].kind, EndpointKind::Others);
    assert_eq!(edge.endpoints[0].requests.sum() as usize, MAX_ENDPOINTS + 1);
}

#[test]
fn an_edge_remembers_what_was_refused() {
    let mut map = Map::default();
    let allowed =
        Record { uuid: "later".into(), ..Flow { port: 5432, to: "postgres-db", ..Flow::default() }.record() };
    let refused = denied("frontend", "postgres-db", 5432);
    let id = edge_id(&refused).expect("an edge");
    assert_eq!(edge_id(&allowed).as_deref(), Some(id.as_str()));
    fold(&mut map, &[refused, allowed]);
    assert_eq!(map.example(&id).map(|record| record.uuid.clone()).as_deref(), Some("u"));
    for wrong in ["", "x", "a|b|TCP/80", "a|b|TCP/x", &id[1..]] {
        assert!(map.example(wrong).is_none(), "{wrong}");
    }
}
