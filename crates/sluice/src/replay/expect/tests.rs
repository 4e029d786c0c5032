use super::*;

fn flow(text: &str) -> Record {
    serde_json::from_str(text).expect("a record")
}

/// A policy verdict between two pods on a port.
fn verdict(from: &str, to: &str, port: u16, verdict: &str, direction: &str) -> Record {
    let pod = |name: &str| format!(r#"{{"namespace":"lab","pod_name":"{name}","identity":20000}}"#);
    flow(&format!(
        r#"{{"verdict":"{verdict}","IP":{{"source":"10.0.0.1","destination":"10.0.0.2"}},
           "l4":{{"TCP":{{"source_port":40000,"destination_port":{port}}}}},
           "source":{},"destination":{},"event_type":{{"type":5}},"traffic_direction":"{direction}"}}"#,
        pod(from),
        pod(to)
    ))
}

fn request(path: &str, verdict: &str) -> Record {
    flow(&format!(
        r#"{{"verdict":"{verdict}","IP":{{"source":"10.0.0.1","destination":"10.0.0.2"}},
           "l4":{{"TCP":{{"source_port":40000,"destination_port":80}}}},
           "source":{{"namespace":"lab","pod_name":"client"}},"destination":{{"namespace":"lab","pod_name":"server"}},
           "event_type":{{"type":129}},"traffic_direction":"INGRESS",
           "l7":{{"type":"REQUEST","http":{{"method":"GET","url":"http://server{path}"}}}}}}"#
    ))
}

fn seen(records: &[Record]) -> Seen {
    let mut seen = Seen::default();
    records.iter().for_each(|record| seen.add(record).expect("few"));
    seen
}

fn list(text: &str, records: &[Record]) -> Vec<String> {
    Expectation::parse(text).expect("valid").compare(&seen(records))
}

#[test]
fn a_log_is_compared_decision_by_decision_and_counts_do_not_matter() {
    let one = verdict("client", "server", 80, "FORWARDED", "INGRESS");
    let other = verdict("client", "server", 81, "DROPPED", "INGRESS");
    let mut later = one.clone();
    later.uuid = "another".into();
    let lines = |records: &[&Record]| {
        let envelope = |r: &&Record| serde_json::json!({"flow": r, "node_name": "n"}).to_string();
        records.iter().map(envelope).collect::<Vec<_>>().join("\n")
    };
    let expected = Expectation::parse(&lines(&[&one, &other])).expect("valid");
    assert_eq!(expected.summary(), "2 decisions");
    assert!(expected.compare(&seen(&[one.clone(), later, other.clone()])).is_empty());
    assert_eq!(
        expected.compare(&seen(&[one.clone(), verdict("client", "server", 81, "FORWARDED", "INGRESS")])),
        [
            "- lab/client -> lab/server 81/TCP ingress: DROPPED",
            "+ lab/client -> lab/server 81/TCP ingress: FORWARDED"
        ]
    );
    let bare = serde_json::to_string(&one).expect("JSON");
    assert!(Expectation::parse(&bare).expect("valid").compare(&seen(&[one])).is_empty());
    let wrong = format!("{}\n{{\"verdict\": 3}}", lines(&[&other]));
    let error = format!("{:#}", Expectation::parse(&wrong).expect_err("no record"));
    assert!(error.starts_with("line 2: "), "{error}");
}

#[test]
fn an_entry_is_about_what_it_names_and_nothing_else() {
    let records = [
        verdict("client", "server", 80, "REDIRECTED", "INGRESS"),
        verdict("stranger", "server", 80, "DROPPED", "INGRESS"),
        request("/public", "FORWARDED"),
        request("/private", "DROPPED"),
    ];
    let right = "
- {from: lab/client, to: lab/server, port: 80, verdict: FORWARDED}
- {from: lab/client, to: lab/server, port: 80/TCP, direction: ingress, verdict: redirected}
- {from: lab/stranger, to: lab/server, verdict: denied}
- {from: lab/client, to: lab/server, http: GET /public, verdict: FORWARDED}
- {from: lab/client, to: lab/server, http: GET /private, verdict: DROPPED}
";
    assert_eq!(list(right, &records), [""; 0]);
    let wrong = "
- {from: lab/client, to: lab/server, port: 80, verdict: DROPPED}
- {from: lab/client, to: lab/server, port: 81, verdict: FORWARDED}
- {from: lab/client, to: lab/server, http: GET /private, verdict: FORWARDED}
- {from: lab/client, to: lab/server, http: PUT /public, verdict: FORWARDED}
- {from: lab/client, to: lab/server, direction: egress, verdict: FORWARDED}
";
    assert_eq!(
        list(wrong, &records),
        [
            "entry 1: lab/client -> lab/server 80: DROPPED expected: but lab/client -> lab/server 80/TCP ingress: REDIRECTED",
            "entry 2: lab/client -> lab/server 81: FORWARDED expected: not seen",
            "entry 3: lab/client -> lab/server GET /private: FORWARDED expected: but lab/client -> lab/server 80/TCP ingress GET http://server/private: DROPPED",
            "entry 4: lab/client -> lab/server PUT /public: FORWARDED expected: not seen",
            "entry 5: lab/client -> lab/server egress: FORWARDED expected: not seen",
        ]
    );
}

#[test]
fn reserved_names_and_addresses_name_ends_that_are_no_pods() {
    let record = flow(
        r#"{"verdict":"DROPPED","IP":{"source":"10.0.0.1","destination":"203.0.113.9"},
           "l4":{"UDP":{"source_port":1,"destination_port":53}},
           "source":{"namespace":"lab","pod_name":"client"},"destination":{"identity":9},
           "event_type":{"type":1,"sub_type":133},"drop_reason_desc":"POLICY_DENIED","traffic_direction":"EGRESS"}"#,
    );
    for to in ["world", "world-ipv4", "203.0.113.9"] {
        let text = format!("- {{from: lab/client, to: {to}, port: 53/udp, verdict: DROPPED}}");
        assert_eq!(list(&text, std::slice::from_ref(&record)), [""; 0], "{to}");
    }
    let text = "- {from: lab/client, to: host, verdict: DROPPED}";
    assert_eq!(list(text, &[record]).len(), 1);
}

#[test]
fn a_list_that_cannot_be_meant_is_an_error() {
    for (text, part) in [
        ("[]", "nothing is expected"),
        ("hello", "neither JSON lines"),
        ("- {from: a, to: b}", "neither JSON lines"),
        ("- {from: a, to: b, verdict: maybe}", "entry 1: `maybe` is no verdict"),
        ("- {from: a, to: b, verdict: DROPPED, direction: up}", "direction is ingress or egress"),
        ("- {from: a, to: b, verdict: DROPPED, http: /x}", "method and path"),
        ("- {from: a, to: b, verdict: DROPPED, prot: 8}", "neither JSON lines"),
    ] {
        let error = format!("{:#}", Expectation::parse(text).expect_err(text));
        assert!(error.contains(part), "{text}: {error}");
    }
}
