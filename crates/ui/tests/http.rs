//! The page's server over real connections: who gets in, what is answered, what is bounded.

#[path = "support/client.rs"]
mod client;
#[path = "support/shop.rs"]
mod shop;

use client::{Answer, Stream, TOKEN, ask, raw, request};
use flowlog::{Record, Store};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

struct Served {
    running: ui::Running,
    store: Arc<Store>,
    shop: shop::Shop,
}

impl Served {
    fn new(change: impl FnOnce(&mut ui::Options)) -> Self {
        Self::with(Arc::new(shop::Answers), change)
    }

    fn with(node: Arc<dyn ui::Node>, change: impl FnOnce(&mut ui::Options)) -> Self {
        let store = Arc::new(Store::new(8192));
        let mut shop = shop::Shop::default();
        let story = shop.story();
        let made = story.len() as u64;
        for record in story {
            store.push(record);
        }
        let token = ui::Token::new(TOKEN).expect("a token");
        let mut options = ui::Options::new(([127, 0, 0, 1], 0).into(), token);
        options.node_name = "node-1".into();
        change(&mut options);
        let running = ui::start(options, Arc::clone(&store), node).expect("served");
        let served = Self { running, store, shop };
        served.wait(made);
        served
    }

    fn to(&self) -> SocketAddr {
        self.running.address()
    }

    /// Until so many records were taken in.
    fn wait(&self, records: u64) {
        let until = Instant::now() + Duration::from_secs(20);
        while self.running.feed().status().records < records {
            assert!(Instant::now() < until, "{:?}", self.running.feed().status());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn served() -> Served {
    Served::new(|_| {})
}

const QUESTIONS: [&str; 8] = [
    "/api/status",
    "/api/map",
    "/api/flows",
    "/api/flow?uuid=x",
    "/api/explain?uuid=x",
    "/api/suggest?uuid=x",
    "/api/node",
    "/api/stream",
];

#[test]
fn nothing_is_told_without_the_token() {
    let served = served();
    for path in QUESTIONS {
        assert_eq!(request(served.to(), path, &[], None).status, 401, "{path}");
        for wrong in [
            "Bearer",
            "Bearer ",
            "Bearer wrong-wrong-wrong",
            &format!("Basic {TOKEN}"),
            &format!("Bearer {TOKEN}x"),
        ] {
            assert_eq!(
                request(served.to(), path, &[("authorization", wrong)], None).status,
                401,
                "{path} {wrong}"
            );
        }
        let cookie = format!("sluice_ui_{}={TOKEN}", served.to().port());
        assert_eq!(
            request(served.to(), path, &[("cookie", &cookie)], None).status,
            401,
            "the token is no session"
        );
    }
    assert_eq!(ask(served.to(), "/api/status").status, 200);
}

#[test]
fn the_token_becomes_a_session() {
    let served = served();
    let origin = format!("http://{}", served.to());
    let kind = ("content-type", "application/json");
    let log_in = |body: &str| request(served.to(), "/api/session", &[kind, ("origin", &origin)], Some(body));
    assert_eq!(log_in(r#"{"token":"wrong"}"#).status, 401);
    assert_eq!(log_in(r#"{"token":1}"#).status, 422);
    assert_eq!(log_in("nonsense").status, 400);
    let answer = log_in(&format!(r#"{{"token":"{TOKEN}"}}"#));
    assert_eq!(answer.status, 200);
    let cookie = answer.header("set-cookie");
    for part in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age="] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains(TOKEN));
    let pair = cookie.split(';').next().expect("a pair").to_owned();
    assert_eq!(request(served.to(), "/api/status", &[("cookie", &pair)], None).status, 200);
    // What changes something has to say where it comes from.
    let end = |headers: &str| {
        let text = format!(
            "DELETE /api/session HTTP/1.1\r\nhost: {}\r\ncookie: {pair}\r\n{headers}\r\n",
            served.to()
        );
        raw(served.to(), text.as_bytes()).status
    };
    assert_eq!(end(""), 403);
    assert_eq!(end("origin: http://127.0.0.1:1\r\n"), 403);
    assert_eq!(request(served.to(), "/api/status", &[("cookie", &pair)], None).status, 200);
    assert_eq!(end(&format!("origin: {origin}\r\n")), 200);
    assert_eq!(request(served.to(), "/api/status", &[("cookie", &pair)], None).status, 401);
}

#[test]
fn other_sites_and_other_names_are_kept_out() {
    let served = Served::new(|options| options.hosts = vec!["node1.example.com".into()]);
    let bearer = format!("Bearer {TOKEN}");
    let with = |path: &str, name: &str, value: &str| {
        request(served.to(), path, &[("authorization", &bearer), (name, value)], None).status
    };
    for path in ["/", "/main.js", "/api/status"] {
        assert_eq!(with(path, "host", "evil.example"), 403, "{path}");
        assert_eq!(with(path, "host", "node1.example.com"), 200, "{path}");
    }
    assert_eq!(raw(served.to(), b"GET / HTTP/1.0\r\n\r\n").status, 403);
    assert_eq!(with("/api/status", "origin", "http://evil.example"), 403);
    assert_eq!(with("/api/status", "origin", "null"), 403);
    assert_eq!(with("/api/status", "sec-fetch-site", "cross-site"), 403);
    assert_eq!(with("/api/status", "sec-fetch-site", "same-site"), 403);
    assert_eq!(with("/api/status", "sec-fetch-site", "same-origin"), 200);
}

#[test]
fn every_answer_tells_the_browser_what_to_refuse() {
    let served = served();
    let check = |answer: &Answer, what: &str| {
        let policy = answer.header("content-security-policy");
        for part in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"] {
            assert!(policy.contains(part), "{what}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{what}: {policy}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{what}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{what}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{what}");
        assert_eq!(answer.header("cross-origin-resource-policy"), "same-origin", "{what}");
        assert_eq!(answer.header("access-control-allow-origin"), "", "{what}");
    };
    for (path, status) in [
        ("/", 200),
        ("/main.js", 200),
        ("/x", 404),
        ("/../Cargo.toml", 404),
        ("/api/x", 404),
        ("/api/status", 401),
    ] {
        let answer = request(served.to(), path, &[], None);
        assert_eq!(answer.status, status, "{path}");
        check(&answer, path);
    }
    let status = ask(served.to(), "/api/status");
    check(&status, "status");
    assert_eq!(status.header("cache-control"), "no-store");
    check(&request(served.to(), "/", &[("host", "evil.example")], None), "a wrong host");
    // The files of the page are asked for again only when they changed.
    let page = request(served.to(), "/style.css", &[], None);
    assert_eq!(page.header("content-type"), "text/css; charset=utf-8");
    let again = request(served.to(), "/style.css", &[("if-none-match", page.header("etag"))], None);
    assert_eq!((again.status, again.body.as_str()), (304, ""));
}

fn summaries(answer: &Answer) -> Vec<String> {
    let rows = answer.json()["rows"].as_array().expect("rows").clone();
    rows.iter()
        .map(|row| {
            format!(
                "{} {} {}",
                row["verdict"].as_str().expect("text"),
                row["source"]["workload"].as_str().expect("text"),
                row["destination"]["port"]
            )
        })
        .collect()
}

#[test]
fn filters_are_those_of_observe() {
    let served = served();
    let rows = |query: &str| summaries(&ask(served.to(), &format!("/api/flows?{query}")));
    assert_eq!(rows("last=2"), ["FORWARDED monitoring-service 0", "FORWARDED world 443"]);
    assert_eq!(rows("verdict=DROPPED&to-port=5432"), ["DROPPED frontend 5432"; 3]);
    assert_eq!(rows("verdict=DROPPED&namespace=kafka"), ["DROPPED checkout 9092"]);
    assert_eq!(rows("from=app%3Dcart"), ["AUDIT cart 7070"]);
    assert_eq!(rows("to-pod=production/cart&not-label=app%3Dcheckout"), [""; 0]);
    assert_eq!(rows("http-path=/api/v1/admin.*&verdict=DROPPED"), ["DROPPED frontend 8080"]);
    assert_eq!(rows("fqdn=*.stripe.com"), ["FORWARDED payment-service 443"]);
    assert_eq!(rows("q=AUDIT-LOG"), ["DROPPED checkout 9092"]);
    assert_eq!(rows("protocol=dns&hide=kube-dns"), [""; 0]);
    assert_eq!(rows("protocol=dns").len(), 2);
    assert_eq!(rows("identity=host"), ["FORWARDED host 8080"]);
    for (query, words) in [
        ("port=x", "invalid value"),
        ("nonsense=1", "unknown filter"),
        ("verdict=", "invalid value"),
        ("http-path=(", "invalid value"),
        ("hide=everything", "no group"),
        ("last=many", "no number"),
        (&format!("q={}", "x".repeat(300)), "at most"),
        (&"port=1&".repeat(100), "at most"),
    ] {
        let answer = ask(served.to(), &format!("/api/flows?{query}"));
        assert_eq!(answer.status, 400, "{query}");
        let error = answer.json()["error"].as_str().expect("words").to_owned();
        assert!(error.contains(words), "{query}: {error}");
    }
}

#[test]
fn a_span_of_time_reaches_beyond_memory() {
    // Two stories are kept, of which memory has the second.
    let mut shop = shop::Shop::default();
    let kept: Vec<Arc<Record>> = [shop.story(), shop.story()].concat().into_iter().map(Arc::new).collect();
    let count = kept.len();
    let time = |at: usize| kept[at].time.expect("a time").0.to_string();
    let served = Served::with(Arc::new(shop::Keeper(kept.clone())), |_| {});
    let get = |query: &str| ask(served.to(), &format!("/api/flows?{query}")).json();
    let names = |answer: &Value| -> Vec<String> {
        let rows = answer["rows"].as_array().expect("rows").iter();
        rows.map(|row| row["uuid"].as_str().expect("a name").to_owned()).collect()
    };
    let wanted = |range: std::ops::Range<usize>| -> Vec<String> {
        range.rev().map(|at| kept[at].uuid.clone()).collect()
    };
    let all = get(&format!("since={}&last=1000", time(0)));
    assert_eq!(
        (names(&all), all["kept"].clone(), all["cut"].clone()),
        (wanted(0..count), true.into(), false.into())
    );
    let span = get(&format!("since={}&until={}", time(3), time(7)));
    assert_eq!(names(&span), wanted(3..8));
    let numbers: Vec<u64> =
        span["rows"].as_array().expect("rows").iter().map(|r| r["seq"].as_u64().expect("a number")).collect();
    assert_eq!(numbers, [5, 4, 3, 2, 1]);
    assert_eq!(names(&get(&format!("until={}&last=2", time(7)))), wanted(6..8));
    let dropped = |record: &Record| record.verdict == flowlog::record::Verdict::Dropped;
    let some = get(&format!("verdict=DROPPED&q=postgres&until={}", time(count - 1)));
    let expected: Vec<_> = kept
        .iter()
        .rev()
        .filter(|r| dropped(r) && r.destination.as_ref().is_some_and(|d| d.pod_name.starts_with("postgres")))
        .map(|r| r.uuid.clone())
        .collect();
    assert_eq!((names(&some), expected.len()), (expected, 6));

    // What memory has not is told by its name and time.
    let lone = Arc::new(Record { uuid: "only-kept".into(), ..kept[0].as_ref().clone() });
    let served = Served::with(Arc::new(shop::Keeper(vec![lone])), |_| {});
    let status = |query: &str| ask(served.to(), &format!("/api/flow?{query}")).status;
    assert_eq!(status("uuid=only-kept"), 404);
    assert_eq!(status(&format!("uuid=only-kept&at={}", time(0))), 200);
    assert_eq!(status(&format!("uuid=only-kept&at={}", time(9))), 404);
    assert_eq!(status("uuid=only-kept&at=noon"), 400);
    assert_eq!(ask(served.to(), &format!("/api/explain?uuid=only-kept&at={}", time(0))).status, 200);
    let wrong = ask(served.to(), "/api/flows?since=yesterday");
    assert_eq!(
        (wrong.status, wrong.json()["error"].as_str()),
        (400, Some("`yesterday` is no moment; write it as in 2026-12-31T23:59:59Z"))
    );
}

#[test]
fn without_a_history_a_span_of_time_is_one_of_memory() {
    let served = served();
    let all = ask(served.to(), "/api/flows?since=2000-01-01T00:00:00Z").json();
    assert_eq!(
        (all["rows"].as_array().map(Vec::is_empty), all["kept"].as_bool()),
        (Some(false), Some(false))
    );
    let none = ask(served.to(), "/api/flows?until=2000-01-01T00:00:00Z").json();
    assert_eq!(none["rows"].as_array().map(Vec::len), Some(0));
}

#[test]
fn the_map_of_a_namespace_and_what_changed_since() {
    let mut served = served();
    let whole = ask(served.to(), "/api/map?namespace=kafka").json();
    assert_eq!(whole["whole"], true);
    assert_eq!(whole["edges"].as_array().map(Vec::len), Some(1));
    let edge = &whole["edges"][0];
    assert_eq!(edge["id"], "workload/production/checkout|workload/kafka/kafka|TCP/9092");
    assert_eq!((edge["total"]["forwarded"].as_u64(), edge["total"]["dropped"].as_u64()), (Some(1), Some(1)));
    let names: Vec<_> =
        edge["endpoints"].as_array().expect("endpoints").iter().map(|e| e["name"].clone()).collect();
    assert_eq!(names, ["fetch audit-log", "produce orders"]);
    let version = whole["version"].as_u64().expect("a number");
    let path = format!("/api/map?namespace=kafka&since={version}");
    assert_eq!(ask(served.to(), &path).json()["edges"].as_array().map(Vec::len), Some(0));
    let before = served.running.feed().status().records;
    let story = served.shop.story();
    let made = story.len() as u64;
    story.into_iter().for_each(|record| served.store.push(record));
    served.wait(before + made);
    let change = ask(served.to(), &path).json();
    assert_eq!(
        (change["whole"].as_bool(), change["edges"][0]["total"]["dropped"].as_u64()),
        (Some(false), Some(2))
    );

    let status = ask(served.to(), "/api/status").json();
    assert_eq!(status["node_name"], "node-1");
    let spaces: Vec<_> =
        status["namespaces"].as_array().expect("a list").iter().map(|n| n["name"].clone()).collect();
    assert_eq!(spaces, ["kafka", "kube-system", "monitoring", "production"]);
    assert_eq!(ask(served.to(), "/api/node").json()["ready"], true);
}

#[test]
fn a_flow_is_told_explained_and_allowed() {
    let served = served();
    let row = ask(served.to(), "/api/flows?verdict=DROPPED&to-port=5432&last=1").json()["rows"][0].clone();
    let uuid = row["uuid"].as_str().expect("a name");
    let record = ask(served.to(), &format!("/api/flow?uuid={uuid}")).json();
    assert_eq!(record["extensions"]["default_deny"]["switched_on_by"][0]["line"], 9);
    let edge = "workload%2Fproduction%2Ffrontend%7Cworkload%2Fproduction%2Fpostgres-db%7CTCP%2F5432";
    for which in [format!("uuid={uuid}"), format!("edge={edge}")] {
        let told = ask(served.to(), &format!("/api/explain?{which}")).json();
        assert_eq!(told["side"], "source");
        assert_eq!(told["default_deny"]["switched_on_by"][0]["file"], "policies/default-deny-all.yaml");
        assert_eq!(told["sides"][0]["considered"].as_array().map(Vec::len), Some(2));
    }
    let suggested = ask(served.to(), &format!("/api/suggest?edge={edge}")).json();
    assert_eq!(suggested["flows"], 3);
    assert!(suggested["yaml"].as_str().expect("text").contains("app: postgres-db"));
    assert_eq!(ask(served.to(), &format!("/api/suggest?uuid={uuid}")).json()["flows"], 1);
    assert_eq!(ask(served.to(), "/api/suggest?verdict=DROPPED").json()["flows"], 7);
    for (path, status) in [
        ("/api/explain?uuid=gone", 404),
        ("/api/explain?edge=a%7Cb%7CTCP/1", 404),
        ("/api/explain", 400),
        ("/api/suggest?verdict=ERROR", 404),
    ] {
        assert_eq!(ask(served.to(), path).status, status, "{path}");
    }
}

#[test]
fn the_stream_is_paced_and_counts_what_it_leaves_out() {
    let mut served = served();
    let mut stream = Stream::open(served.to(), "map=production&verdict=DROPPED");
    assert_eq!(stream.status, 200);
    let first = stream.events(Duration::from_millis(700));
    assert_eq!(first[0].kind, "status");
    let map = first.iter().find(|event| event.kind == "map").expect("the map comes at once");
    assert_eq!(map.data["whole"], true);
    let denied = 2000;
    for _ in 0..denied {
        let record = served.shop.denied(shop::FRONTEND, shop::newcomer(), "TCP", 1, true, false);
        served.store.push(record);
        let other = served.shop.allowed(shop::FRONTEND, shop::newcomer(), "TCP", 2, "x");
        served.store.push(other);
    }
    let events = stream.events(Duration::from_secs(3));
    let (mut rows, mut skipped) = (0, 0);
    for event in events.iter().filter(|event| event.kind == "flows") {
        let list = event.data["rows"].as_array().expect("rows");
        assert!(list.len() <= 30);
        assert!(list.iter().all(|row| row["verdict"] == "DROPPED"));
        rows += list.len();
        skipped += event.data["skipped"].as_u64().expect("a number") as usize;
    }
    assert_eq!(rows + skipped, denied);
    assert!(rows > 0 && skipped > 0, "{rows} {skipped}");
    for kind in ["map", "flows", "status"] {
        let times: Vec<Instant> =
            events.iter().filter(|event| event.kind == kind).map(|event| event.at).collect();
        assert!(times.len() <= 13, "{kind}: {} events in three seconds", times.len());
    }
    let change = events.iter().rev().find(|event| event.kind == "map").expect("the map changed");
    assert_eq!(change.data["whole"], false);
}

#[test]
fn what_a_client_may_take_is_bounded() {
    let served = Served::new(|options| {
        options.max_streams = 2;
        options.max_connections = 4;
    });
    let streams: Vec<Stream> = (0..2).map(|_| Stream::open(served.to(), "")).collect();
    assert!(streams.iter().all(|stream| stream.status == 200));
    assert_eq!(Stream::open(served.to(), "").status, 503);
    drop(streams);

    let long = format!("GET / HTTP/1.1\r\nhost: {}\r\nx: {}\r\n\r\n", served.to(), "x".repeat(20_000));
    assert_eq!(raw(served.to(), long.as_bytes()).status, 431);
    let many = format!("GET / HTTP/1.1\r\nhost: {}\r\n{}\r\n", served.to(), "x: y\r\n".repeat(100));
    assert_eq!(raw(served.to(), many.as_bytes()).status, 431);
    let body = format!(r#"{{"token":"{}"}}"#, "x".repeat(10_000));
    let answer = request(served.to(), "/api/session", &[("content-type", "application/json")], Some(&body));
    assert_eq!(answer.status, 413);

    // Four that say nothing hold all places, until their time is over.
    let start = Instant::now();
    let idle: Vec<TcpStream> = (0..4).map(|_| TcpStream::connect(served.to()).expect("connected")).collect();
    (&idle[0]).write_all(b"GET / HT").expect("sent");
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(request(served.to(), "/", &[], None).status, 200);
    assert!(start.elapsed() > Duration::from_secs(5), "{:?}", start.elapsed());
    for mut stream in idle {
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
        // Perhaps with words (408), but it ends.
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    }
    assert!(start.elapsed() < Duration::from_secs(29), "{:?}", start.elapsed());
}

#[test]
fn dropping_it_ends_it() {
    let served = served();
    let to = served.to();
    let mut stream = Stream::open(to, "map=");
    drop(served);
    assert!(TcpStream::connect(to).is_err());
    stream.events(Duration::from_millis(300));
}
