use super::model::{Connection, Health, Model};
use super::screen;
use super::source::connection;
use flowlog::Record;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn record(value: Value) -> Record {
    serde_json::from_value(value).expect("a record")
}

fn end(pod: &str) -> Value {
    json!({"namespace": "shop", "pod_name": pod})
}

fn drop_of(from: &str) -> Record {
    record(json!({
        "verdict": "DROPPED", "drop_reason_desc": "POLICY_DENIED", "event_type": {"type": 1, "sub_type": 133},
        "source": end(from), "destination": end("api"),
        "l4": {"TCP": {"source_port": 40000, "destination_port": 8080}},
        "extensions": {"default_deny": {"direction": "INGRESS", "side": "destination", "switched_on_by": []}},
    }))
}

fn request(verdict: &str) -> Record {
    record(json!({
        "verdict": verdict, "Type": "L7", "event_type": {"type": 129}, "source": end("web"), "destination": end("api"),
        "l7": {"type": "REQUEST", "http": {"method": "GET", "url": "http://api/", "protocol": "HTTP/1.1"}},
    }))
}

fn response(code: u32, millis: u64) -> Record {
    record(json!({
        "verdict": "FORWARDED", "Type": "L7", "event_type": {"type": 129}, "source": end("api"), "destination": end("web"),
        "l7": {"type": "RESPONSE", "latency_ns": (millis * 1_000_000).to_string(),
               "http": {"code": code, "method": "GET", "url": "http://api/", "protocol": "HTTP/1.1"}},
    }))
}

fn look(model: &mut Model, received: u64) {
    let health = Health { node: "n1".into(), healthy: true, received, ..Health::default() };
    model.begin(SECOND, health);
}

fn flow(id: &str, from: &str, packets: u64, bytes: u64) -> Connection {
    let flow = [from.to_owned(), "shop/api".to_owned(), "8080/TCP".to_owned()];
    Connection { id: id.to_owned(), flow, packets, bytes }
}

#[test]
fn flows_are_what_was_added_since_the_last_look() {
    let mut model = Model::default();
    look(&mut model, 100);
    model.connections([flow("1", "shop/web", 1_000, 900_000)]);
    assert!(model.picture(10).flows.is_empty(), "what was before the first look has no rate");
    look(&mut model, 350);
    model.connections([
        flow("1", "shop/web", 1_100, 1_000_000),
        flow("2", "shop/web", 50, 25_000),
        flow("3", "shop/job", 400, 40_000),
    ]);
    let picture = model.picture(10);
    let rows: Vec<_> =
        picture.flows.iter().map(|f| (f.from.as_str(), f.packets_per_second, f.bits_per_second)).collect();
    assert_eq!(rows, [("shop/web", 150.0, 1_000_000.0), ("shop/job", 400.0, 320_000.0)]);
    assert_eq!(picture.frames_per_second, 250.0);
    model.sort_by_next();
    assert_eq!(model.picture(1).flows[0].from, "shop/job");
    // The same ports again, after the connection ended and another began.
    look(&mut model, 350);
    model.connections([flow("1", "shop/web", 7, 700)]);
    assert_eq!(model.picture(10).flows[0].packets_per_second, 7.0);
}

#[test]
fn drops_and_requests_are_rates_over_ten_seconds() {
    let mut model = Model::default();
    for second in 0..30 {
        if second < 5 {
            model.record(&drop_of("job"));
            model.record(&drop_of("job"));
        }
        model.record(&request(if second % 2 == 0 { "FORWARDED" } else { "DROPPED" }));
        model.record(&response(if second % 5 == 0 { 503 } else { 200 }, second));
        look(&mut model, 0);
        if second == 4 {
            let drops = model.picture(10).drops;
            // The refused request is one too.
            assert_eq!(drops.len(), 2, "{drops:?}");
            let row = &drops[0];
            assert_eq!((row.per_second, row.from.as_str(), row.port.as_str()), (2.0, "shop/job", "8080/TCP"));
            assert_eq!(
                (row.reason.as_str(), row.rule.as_str()),
                ("POLICY_DENIED", "default deny, destination")
            );
        }
    }
    let picture = model.picture(10);
    assert!(picture.drops.iter().all(|drop| drop.from == "shop/web"), "{:?}", picture.drops);
    let [row] = &picture.requests[..] else { panic!("{:?}", picture.requests) };
    assert_eq!((row.to.as_str(), row.what.as_str()), ("shop/api", "HTTP/1.1 GET"));
    assert_eq!((row.per_second, row.refused_per_second), (1.0, 0.5));
    assert!((row.failed_per_second - 0.2).abs() < 0.01, "{row:?}");
    assert_eq!((row.p50_ms, row.p99_ms), (Some(14.0), Some(28.0)));
}

#[test]
fn a_flood_of_names_does_not_grow_it_without_end() {
    let mut model = Model::default();
    for n in 0..10_000 {
        model.record(&drop_of(&format!("job-{n}")));
    }
    look(&mut model, 0);
    assert_eq!(model.picture(usize::MAX).drops.len(), 2_000);
}

#[test]
fn connections_are_read_as_the_node_tells_them() {
    let value = json!({
        "protocol": "TCP", "source": "10.0.0.1", "sourcePort": 40000, "destination": "10.0.0.2", "destinationPort": 80,
        "packets": [10, 20], "bytes": [100, 200],
    });
    let names = BTreeMap::from([("10.0.0.1".to_owned(), "shop/web".to_owned())]);
    let expected = Connection {
        id: "TCP 10.0.0.1 40000 10.0.0.2 80".into(),
        flow: ["shop/web".into(), "10.0.0.2".into(), "80/TCP".into()],
        packets: 30,
        bytes: 300,
    };
    assert_eq!(connection(&value, &names), expected);
}

#[test]
fn the_screen_shows_all_three_tables() {
    let mut model = Model::default();
    look(&mut model, 0);
    model.connections([]);
    model.record(&drop_of("job"));
    model.record(&request("FORWARDED"));
    model.record(&response(200, 3));
    look(&mut model, 9);
    model.connections([flow("1", "shop/web", 30, 3_000)]);
    let picture = model.picture(5);
    let mut terminal = Terminal::new(TestBackend::new(120, 20)).expect("a terminal in memory");
    terminal.draw(|frame| screen::draw(frame, &picture, true)).expect("drawn");
    let drawn = terminal.backend().to_string();
    for expected in [
        "n1 Ok: 9 frames/s",
        "shop/web  shop/api  8080/TCP  30         24.0k",
        "shop/api  HTTP/1.1 GET",
        "shop/job  shop/api  8080/TCP  POLICY_DENIED  default deny, destination",
        "PAUSED   q quit   p pause   s sort flows (by bytes)",
    ] {
        assert!(drawn.contains(expected), "no {expected:?} in\n{drawn}");
    }
    let text = picture.text();
    assert!(text.contains("PACKETS/S") && text.contains("24.0k"), "{text}");
}
