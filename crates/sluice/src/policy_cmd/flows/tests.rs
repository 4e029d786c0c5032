use super::*;

const INVENTORY: &str = "\
nodes: [{name: n1, labels: {}, ips: [192.168.0.1]}]
pods:
- {name: web, namespace: shop, labels: {app: web}, node: n1, ips: [10.0.0.1]}
- {name: client, namespace: shop, labels: {app: client}, node: n1, ips: [10.0.0.2]}
services: [{name: web, namespace: shop, ips: [10.96.0.1], selector: {app: web}, ports: [{port: 80, protocol: TCP}]}]
";

const CLIENT: &str = r#""source":{"namespace":"shop","pod_name":"client"}"#;
const WEB: &str = r#""destination":{"namespace":"shop","pod_name":"web"}"#;

fn inventory() -> Inventory {
    policy::document::load_inventory(INVENTORY, "inventory.yaml").expect("workloads")
}

fn read_text(text: &str) -> Result<(Flows, Inventory)> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("write");
    let mut inventory = inventory();
    Ok((read(file.path(), &mut inventory)?, inventory))
}

fn line(rest: &str) -> String {
    format!("{{\"flow\":{{{CLIENT},{WEB},{rest}}},\"node_name\":\"n1\"}}\n")
}

#[test]
fn records_of_one_connection_are_one_question() {
    let text = [
        line(
            r#""IP":{"source":"10.0.0.2","destination":"10.0.0.1"},"l4":{"TCP":{"destination_port":80}},"is_reply":false"#,
        ),
        line(
            r#""l4":{"TCP":{"source_port":9,"destination_port":80,"flags":{"SYN":true}}},"verdict":"DROPPED""#,
        ),
        line(r#""l4":{"TCP":{"source_port":80,"destination_port":9}},"is_reply":true"#),
        "\n{\"lost_events\":{\"num_events_lost\":3}}\n".to_owned(),
    ];
    let (flows, _) = read_text(&text.concat()).expect("a recording");
    assert_eq!(flows.list.len(), 1);
    assert_eq!(
        (flows.list[0].to_string().as_str(), flows.records[0]),
        ("pod/shop/client -> pod/shop/web 80/TCP", 2)
    );
    assert_eq!(flows.ignored, BTreeMap::from([("not a flow", 1), ("reply", 1)]));
}

#[test]
fn messages_are_read_where_there_are_some() {
    let tcp = r#""l4":{"TCP":{"destination_port":80}},"l7":{"type":"REQUEST","#;
    let http = r#""http":{"method":"GET","url":"http://api:8080/a?b=1","headers":[{"key":"x","value":"1"},{"key":"x","value":"2"}]}}"#;
    let dns =
        r#""l4":{"UDP":{"destination_port":53}},"l7":{"type":"REQUEST","dns":{"query":"a.example.com."}}"#;
    let kafka = r#""kafka":{"api_key":"fetch","api_version":11,"topic":"a"}},"extensions":{"kafka_topics":["a","b"],"kafka_client_id":"c"}"#;
    let hello = r#""l4":{"TCP":{"destination_port":443}},"extensions":{"tls":{"server_name":"x.io"}}"#;
    let response = r#""http":{"code":200}}"#;
    let lines = [
        line(&format!("{tcp}{http}")),
        line(dns),
        line(&format!("{tcp}{kafka}")),
        line(hello),
        line(&format!("{tcp}{response}")).replace("REQUEST", "RESPONSE"),
    ];
    let (flows, _) = read_text(&lines.concat()).expect("a recording");
    assert_eq!((flows.list.len(), flows.ignored["reply"]), (4, 1));
    let find = |test: fn(&&Flow) -> bool| flows.list.iter().find(test).expect("a flow").clone();
    let http = find(|flow| flow.http.is_some()).http.expect("a request");
    assert_eq!((&*http.method, &*http.host, &*http.path), ("GET", "api:8080", "/a?b=1"));
    assert_eq!(http.headers["x"], "1,2");
    assert_eq!(find(|flow| flow.dns.is_some()).dns.expect("a question").name, "a.example.com.");
    let kafka = find(|flow| flow.kafka.is_some()).kafka.expect("a request");
    assert_eq!((kafka.api_key, kafka.api_version, &*kafka.client_id), (1, 11, "c"));
    assert_eq!(kafka.topics, ["a", "b"]);
    assert_eq!(find(|flow| flow.tls.is_some()).tls.expect("a hello").server_name.as_deref(), Some("x.io"));
}

#[test]
fn ends_are_pods_reserved_peers_or_addresses() {
    let outside = format!(
        "{{{CLIENT},\"destination\":{{\"labels\":[\"reserved:world\"]}},\"IP\":{{\"destination\":\"1.1.1.1\"}},\
         \"destination_names\":[\"one.one\"],\"l4\":{{\"ICMPv4\":{{\"type\":8}}}}}}\n"
    );
    let health = format!(
        "{{\"source\":{{\"labels\":[\"reserved:health\"]}},{WEB},\"IP\":{{}},\"l4\":{{\"TCP\":{{\"destination_port\":4240}}}}}}\n"
    );
    let gone = line("\"l4\":{\"TCP\":{\"destination_port\":80}}").replace("\"client\"", "\"gone\"");
    let service = format!(
        "{{{CLIENT},\"destination\":{{}},\"IP\":{{\"destination\":\"10.96.0.1\"}},\"l4\":{{\"TCP\":{{\"destination_port\":80}}}}}}\n"
    );
    let arp = line("\"event_type\":{\"type\":4}");
    let (flows, inventory) = read_text(&[outside, health, gone, service, arp].concat()).expect("a recording");
    let ends: Vec<String> = flows.list.iter().map(ToString::to_string).collect();
    assert_eq!(ends, ["pod/shop/client -> ip/1.1.1.1 8/ICMP", "reserved/health -> pod/shop/web 4240/TCP"]);
    assert_eq!(flows.ignored.values().sum::<u64>(), 3, "{:?}", flows.ignored);
    assert_eq!(inventory.external.len(), 1);
    assert_eq!(&*inventory.external[0].dns_names[0], "one.one");
}

#[test]
fn what_is_no_recording_is_refused_with_its_line() {
    let good = line("\"l4\":{\"TCP\":{\"destination_port\":80}}");
    for (bad, expected) in [
        ("{\"flow\":", ":3: not a line of JSON"),
        ("7", ":3: not a record"),
        ("{\"kind\":\"Policy\"}", ":3: not a record of a flow log"),
        ("{\"error\":\"gone\"}", ":3: the recording ends with an error"),
    ] {
        let error = read_text(&format!("{good}\n{bad}\n{good}")).expect_err(bad);
        assert!(format!("{error:#}").contains(expected), "{error:#}");
    }
    let long = format!("{good}{{\"flow\":\"{}\"}}\n", "x".repeat(MAX_LINE as usize));
    assert!(format!("{:#}", read_text(&long).expect_err("a long line")).contains(":2: a line of more than"));
    assert!(read_text("[{\"id\": 1}]").is_err());
    assert!(read_text("").expect("an empty recording").0.list.is_empty());
}
