use super::*;
use clap::Parser;

#[derive(Parser, Debug)]
struct Cli {
    #[command(flatten)]
    observe: ObserveArgs,
}

fn request(line: &str) -> Result<ObserveRequest> {
    let cli = Cli::try_parse_from(std::iter::once("observe").chain(line.split_whitespace()))?;
    cli.observe.request(Timestamp::from_second(1_000_000)?)
}

const SILENT: Told = Told { silent: true };

fn filters(line: &str) -> String {
    serde_json::to_string(&request(line).expect("valid").filters).expect("JSON")
}

#[test]
fn what_people_type() {
    assert_eq!(
        filters("--namespace production --from app=recommendation-service --verdict DROPPED -o json"),
        concat!(
            r#"{"allowlist":[{"source_pod":["production/"],"source_label":["app=recommendation-service"],"#,
            r#""verdict":["DROPPED"]},{"source_label":["app=recommendation-service"],"#,
            r#""destination_pod":["production/"],"verdict":["DROPPED"]}]}"#,
        )
    );
    assert_eq!(
        filters("flows --to-pod ns/name --type l7"),
        r#"{"allowlist":[{"destination_pod":["ns/name"],"event_type":[{"type":129,"match_sub_type":false,"sub_type":0}]}]}"#
    );
    assert_eq!(
        filters("--from ns/a --to ns/b"),
        r#"{"allowlist":[{"source_pod":["ns/a"],"destination_pod":["ns/b"]}]}"#
    );
}

#[test]
fn filters_on_messages() {
    assert_eq!(
        filters("--type l7 --protocol http --http-method GET --http-path /v1/.* --http-status 5+ -o compact"),
        concat!(
            r#"{"allowlist":[{"event_type":[{"type":129,"match_sub_type":false,"sub_type":0}],"http_status_code":["5+"],"#,
            r#""protocol":["http"],"http_method":["GET"],"http_path":["/v1/.*"]}]}"#,
        )
    );
    assert_eq!(
        filters("--to-fqdn *.example.com --not --dns-query internal"),
        r#"{"allowlist":[{"destination_fqdn":["*.example.com"]}],"denylist":[{"dns_query":["internal"]}]}"#
    );
    assert_eq!(
        filters("--http-header x-request-id:42 --http-url pay"),
        r#"{"allowlist":[{"http_url":["pay"],"http_header":[{"key":"x-request-id","value":"42"}]}]}"#
    );
    assert!(request("--http-status 20").is_err());
}

#[test]
fn not_negates_the_next_flag_only() {
    assert_eq!(
        filters("--not --verdict FORWARDED --protocol tcp --not --to-port 53"),
        concat!(
            r#"{"allowlist":[{"protocol":["tcp"]}],"#,
            r#""denylist":[{"destination_port":["53"]},{"verdict":["FORWARDED"]}]}"#,
        )
    );
    assert!(request("--verdict DROPPED --not").is_err());
    assert!(request("--not --not --verdict DROPPED").is_err());
}

#[test]
fn how_many_and_when() {
    let counts = |line: &str| request(line).map(|r| (r.last, r.first, r.since.map(|t| t.0.as_second())));
    assert_eq!(counts("").expect("valid"), (Some(20), None, None));
    assert_eq!(counts("-f").expect("valid"), (Some(0), None, None));
    assert_eq!(counts("-f --last 5").expect("valid"), (Some(5), None, None));
    assert_eq!(counts("--since 5m").expect("valid"), (None, None, Some(999_700)));
    assert_eq!(
        counts("--since 1970-01-02T00:00:00Z --first 3").expect("valid"),
        (None, Some(3), Some(86_400))
    );
    assert_eq!(counts("--input-file -").expect("valid"), (None, None, None));
    assert_eq!(counts("--input-file - --last 3 -f").expect("valid"), (Some(3), None, None));
    assert_eq!(counts("--last 0").expect("valid"), (Some(20), None, None));
    assert_eq!(counts("--all").expect("valid"), (None, None, None));
    assert_eq!(counts("--all --since 1h").expect("valid"), (None, None, Some(996_400)));
    assert_eq!(counts("--last 3 --since 1h").expect("valid"), (Some(3), None, Some(996_400)));
    assert_eq!(counts("--first 3 --until 1h").expect("valid"), (None, Some(3), None));
    assert_eq!(counts("-f --since 1m").expect("valid"), (None, None, Some(999_940)));
    let until = |line: &str| request(line).expect("valid").until.map(|t| t.0.as_second());
    assert_eq!((until("--until 1h"), until("--until 1h -f")), (Some(996_400), None));
    assert!(request("-f").expect("valid").follow && !request("-f --input-file x").expect("valid").follow);
    for wrong in [
        "--since yesterday-ish",
        "--since 2025-13-01",
        "--since 12",
        "--until x",
        "--last 1 --first 1",
        "--first 1 --all",
        "--first 1 --follow",
        "--last 1 --all",
        "--last -1",
        "-o table --follow",
        "-o yaml",
        "--time-format RFC822",
        "--time-format %!",
        "--allowlist {",
        "--denylist {\"surprise\":[]}",
        "--cel-expression true",
        "--color sometimes",
        "flow",
    ] {
        assert!(request(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn reads_files_of_both_shapes() {
    let input = concat!(
        r#"{"flow":{"verdict":"DROPPED","Summary":"one"},"node_name":"n"}"#,
        "\n\n",
        r#"{"verdict":"DROPPED","Summary":"two"}"#,
        "\n",
        r#"{"lost_events":{"num_events_lost":"3"}}"#,
        "\n",
        r#"{"verdict":"FORWARDED","Summary":"three"}"#,
        "\n",
    );
    let mut out = Vec::new();
    let mut printer = Printer::new(&mut out, Options { layout: Layout::Dict, ..Options::default() });
    let asked = request("--verdict DROPPED --last 1").expect("valid");
    source::lines(input.as_bytes(), &asked, &mut printer, SILENT).expect("reads");
    drop(printer);
    let text = String::from_utf8(out).expect("text");
    assert!(text.contains("two") && !text.contains("one") && !text.contains("three"), "{text}");
}

#[test]
fn a_refused_request_read_from_a_file_shows_its_rule() {
    let input = concat!(
        r#"{"flow":{"time":"2025-11-21T10:00:00.123Z","verdict":"DROPPED","#,
        r#""IP":{"source":"10.0.0.1","destination":"10.0.0.2","ipVersion":"IPv4"},"#,
        r#""l4":{"TCP":{"source_port":41234,"destination_port":8080}},"#,
        r#""source":{"identity":1001,"namespace":"production","pod_name":"frontend"},"#,
        r#""destination":{"identity":1002,"namespace":"production","pod_name":"api"},"Type":"L7","#,
        r#""l7":{"type":"REQUEST","http":{"code":403,"method":"GET","url":"http://api:8080/admin","protocol":"HTTP/1.1"}},"#,
        r#""event_type":{"type":129},"drop_reason_desc":"POLICY_DENIED","is_reply":false,"#,
        r#""Summary":"HTTP/1.1 403 GET http://api:8080/admin","extensions":{"default_deny":{"direction":"INGRESS","#,
        r#""switched_on_by":[{"namespace":"production","name":"api","file":"api.yaml","line":12}]}}}}"#,
        "\n",
        r#"{"flow":{"verdict":"FORWARDED","Type":"L7","event_type":{"type":129},"l7":{"type":"RESPONSE","#,
        r#""latency_ns":"4000000","http":{"code":200,"method":"GET","url":"http://api:8080/","protocol":"HTTP/1.1"}}}}"#,
        "\n",
    );
    let shown = |flags: &str| {
        let mut out = Vec::new();
        let mut printer = Printer::new(&mut out, Options::default());
        source::lines(input.as_bytes(), &request(flags).expect("valid"), &mut printer, SILENT)
            .expect("reads");
        printer.flush().expect("memory");
        drop(printer);
        String::from_utf8(out).expect("text")
    };
    let line = "Nov 21 10:00:00.123: production/frontend:41234 (ID:1001) -> production/api:8080 (ID:1002) \
                http-request DROPPED (HTTP/1.1 403 GET http://api:8080/admin) \
                by default deny (ingress) of production/api (api.yaml:12)\n";
    assert_eq!(shown("--protocol http --http-path ^/admin"), line);
    assert_eq!(shown("--type l7 --drop-reason-desc POLICY_DENIED"), line);
    assert_eq!(shown("--http-status 403"), line);
    assert!(shown("--http-status 2+").contains("http-response FORWARDED"));
    assert_eq!(shown("--protocol dns"), "");
}

/// Flags as Cilium's documentation and tutorials have them, with the filters that they mean.
#[test]
fn what_tutorials_type() {
    let all = r#"{"allowlist":["#;
    let l7 = r#""event_type":[{"type":129,"match_sub_type":false,"sub_type":0}]"#;
    for (line, allow, deny) in [
        ("", "", ""),
        ("--follow", "", ""),
        ("--last 50 -o jsonpb", "", ""),
        (
            "flows --pod deathstar --verdict DROPPED",
            r#"{"source_pod":["deathstar"],"verdict":["DROPPED"]},{"destination_pod":["deathstar"],"verdict":["DROPPED"]}"#,
            "",
        ),
        (
            "--from-pod default/xwing --to-label class=deathstar --http-method POST",
            r#"{"source_pod":["default/xwing"],"destination_label":["class=deathstar"],"http_method":["POST"]}"#,
            "",
        ),
        (
            "--port 53 --protocol udp -f",
            r#"{"source_port":["53"],"protocol":["udp"]},{"destination_port":["53"],"protocol":["udp"]}"#,
            "",
        ),
        (
            "--pod mediabot --to-fqdn api.twitter.com",
            r#"{"source_pod":["mediabot"],"destination_fqdn":["api.twitter.com"]},{"destination_pod":["mediabot"],"destination_fqdn":["api.twitter.com"]}"#,
            "",
        ),
        (
            "--protocol http --label app=api",
            r#"{"source_label":["app=api"],"protocol":["http"]},{"destination_label":["app=api"],"protocol":["http"]}"#,
            "",
        ),
        (
            "--type policy-verdict --type drop",
            r#"{"event_type":[{"type":5,"match_sub_type":false,"sub_type":0},{"type":1,"match_sub_type":false,"sub_type":0}]}"#,
            "",
        ),
        (
            "-t drop -t policy-verdict -n kube-system",
            r#"{"source_pod":["kube-system/"],"event_type":[{"type":1,"match_sub_type":false,"sub_type":0},{"type":5,"match_sub_type":false,"sub_type":0}]},{"destination_pod":["kube-system/"],"event_type":[{"type":1,"match_sub_type":false,"sub_type":0},{"type":5,"match_sub_type":false,"sub_type":0}]}"#,
            "",
        ),
        ("-t trace:to-endpoint", r#"{"event_type":[{"type":4,"match_sub_type":true,"sub_type":0}]}"#, ""),
        (
            "-t trace:from-network -4",
            r#"{"event_type":[{"type":4,"match_sub_type":true,"sub_type":10}],"ip_version":["IPv4"]}"#,
            "",
        ),
        (
            "--to-identity world --from-identity 1001",
            r#"{"source_identity":[1001],"destination_identity":[2]}"#,
            "",
        ),
        (
            "--identity reserved:host --to-port 8080",
            r#"{"destination_port":["8080"],"source_identity":[1]},{"destination_port":["8080"],"destination_identity":[1]}"#,
            "",
        ),
        (
            "--label reserved:world -6",
            r#"{"source_label":["reserved:world"],"ip_version":["IPv6"]},{"destination_label":["reserved:world"],"ip_version":["IPv6"]}"#,
            "",
        ),
        (
            r"--http-status 5+ --http-path /page/\d+",
            r#"{"http_status_code":["5+"],"http_path":["/page/\\d+"]}"#,
            "",
        ),
        (
            "--to-ip 10.0.0.0/8 --not --to-ip 10.1.0.0/16",
            r#"{"destination_ip":["10.0.0.0/8"]}"#,
            r#"{"destination_ip":["10.1.0.0/16"]}"#,
        ),
        (
            "--not --namespace kube-system",
            "",
            r#"{"source_pod":["kube-system/"]},{"destination_pod":["kube-system/"]}"#,
        ),
        (
            "--to-service default/kube-dns --from-workload Deployment/web",
            r#"{"source_workload":[{"name":"web","kind":"Deployment"}],"destination_service":["default/kube-dns"]}"#,
            "",
        ),
        (
            "--service web -n shop",
            r#"{"source_service":["shop/web"]},{"destination_service":["shop/web"]}"#,
            "",
        ),
        (
            "-A --drop-reason-desc POLICY_DENIED",
            r#"{"source_pod":["/"],"drop_reason_desc":["POLICY_DENIED"]},{"destination_pod":["/"],"drop_reason_desc":["POLICY_DENIED"]}"#,
            "",
        ),
        (
            "--from-all-namespaces --to-namespace shop",
            r#"{"source_pod":["/"],"destination_pod":["shop/"]}"#,
            "",
        ),
        ("--node-name k8s* --node-label zone=a", r#"{"node_name":["k8s*"],"node_labels":["zone=a"]}"#, ""),
        (
            "--cluster prod-* --interface eth0",
            r#"{"source_cluster_name":["prod-*"],"interface":[{"name":"eth0"}]},{"destination_cluster_name":["prod-*"],"interface":[{"name":"eth0"}]}"#,
            "",
        ),
        (
            "--trace-id 4bf92f3577b34da6a3ce929d0e0e4736 --traffic-direction egress",
            r#"{"traffic_direction":["EGRESS"],"trace_id":["4bf92f3577b34da6a3ce929d0e0e4736"]}"#,
            "",
        ),
        (
            "--tcp-flags SYN --not --tcp-flags syn,ack",
            r#"{"tcp_flags":[{"SYN":true}]}"#,
            r#"{"tcp_flags":[{"SYN":true,"ACK":true}]}"#,
        ),
        (
            "--ip-trace-id 7 --unencrypted --snat-ip 192.0.2.1 --ip-version none",
            r#"{"source_ip_xlated":["192.0.2.1"],"ip_version":["IP_NOT_USED"],"ip_trace_id":[7],"encrypted":[false]}"#,
            "",
        ),
        (
            "--protocol vrrp --protocol igmp --encrypted",
            r#"{"protocol":["vrrp","igmp"],"encrypted":[true]}"#,
            "",
        ),
        (
            "--policy shop/api --kafka-topic orders* --kafka-api-key 0 --reply true",
            r#"{"reply":[true],"policy":["shop/api"],"kafka_topic":["orders*"],"kafka_api_key":["produce"]}"#,
            "",
        ),
        (
            r#"--allowlist {"source_pod":["default/"]} --denylist {"verdict":["FORWARDED"]}{"reply":[true]}"#,
            r#"{"source_pod":["default/"]}"#,
            r#"{"verdict":["FORWARDED"]},{"reply":[true]}"#,
        ),
        (
            "--namespace production --verdict DROPPED --last 20",
            r#"{"source_pod":["production/"],"verdict":["DROPPED"]},{"destination_pod":["production/"],"verdict":["DROPPED"]}"#,
            "",
        ),
        ("--to-pod production/api --type l7", r#"{"destination_pod":["production/api"],L7}"#, ""),
    ] {
        let mut expected = String::from("{");
        if !allow.is_empty() {
            expected = format!("{all}{}]", allow.replace("L7", l7));
        }
        if !deny.is_empty() {
            let comma = if allow.is_empty() { "" } else { "," };
            expected.push_str(&format!("{comma}\"denylist\":[{deny}]"));
        }
        expected.push('}');
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
        assert_eq!(value(&filters(line)), value(&expected), "{line}");
    }
}

#[test]
fn times_in_every_form_of_hubbles() {
    let now: Timestamp = "2025-11-21T10:00:00Z".parse().expect("a time");
    for (text, expected) in [
        ("5m", "2025-11-21T09:55:00Z"),
        ("1h30m", "2025-11-21T08:30:00Z"),
        ("1.5h", "2025-11-21T08:30:00Z"),
        ("300ms", "2025-11-21T09:59:59.7Z"),
        ("2d", "2025-11-19T10:00:00Z"),
        ("1w", "2025-11-14T10:00:00Z"),
        ("2025-01-31", "2025-01-31T00:00:00Z"),
        ("2025-01-31T10Z", "2025-01-31T10:00:00Z"),
        ("2025-01-31T10+02:00", "2025-01-31T08:00:00Z"),
        ("2025-01-31T10:30Z", "2025-01-31T10:30:00Z"),
        ("2025-01-31T10:30-01:00", "2025-01-31T11:30:00Z"),
        ("2025-01-31T10:00:00Z", "2025-01-31T10:00:00Z"),
        ("2025-01-31T10:00:00.5+01:00", "2025-01-31T09:00:00.5Z"),
        ("2025-01-31T10:00:00.123456789Z", "2025-01-31T10:00:00.123456789Z"),
        ("Fri, 31 Jan 2025 10:00:00 +0100", "2025-01-31T09:00:00Z"),
        ("2025-01-31 10:00:00", "2025-01-31T10:00:00Z"),
        ("2025-01-31T10:00", "2025-01-31T10:00:00Z"),
        ("Nov 21 09:59:58.123", "2025-11-21T09:59:58.123Z"),
        ("Dec 31 23:59:59", "2024-12-31T23:59:59Z"),
    ] {
        let parsed = when::parse(text, now).map(|time| time.0.to_string());
        assert_eq!(parsed.ok().as_deref(), Some(expected), "{text}");
    }
    for text in ["", "now", "12", "5", "25:00", "99999999999w", "Nov 31 00:00:00", "2025-02-30"] {
        assert!(when::parse(text, now).is_err(), "{text}");
    }
    let formats = [
        "YearMonthDay",
        "YearMonthDayHour",
        "YearMonthDayHourMinute",
        "StampMilli",
        "RFC3339",
        "RFC3339Milli",
        "rfc3339micro",
        "RFC3339Nano",
        "RFC1123Z",
        "%s",
    ];
    let shown = formats.map(|name| {
        let format = when::parse_format(name).expect("a format");
        jiff::fmt::strtime::format(format, &now.to_zoned(jiff::tz::TimeZone::UTC)).expect("formats")
    });
    assert_eq!(
        shown.join("|"),
        "2025-11-21|2025-11-21T10Z|2025-11-21T10:00Z|Nov 21 10:00:00.000|2025-11-21T10:00:00Z|2025-11-21T10:00:00.000Z|\
         2025-11-21T10:00:00.000000Z|2025-11-21T10:00:00.000000000Z|Fri, 21 Nov 2025 10:00:00 +0000|1763719200"
    );
}

#[test]
fn raw_filters_are_printed_as_yaml() {
    let request = request("--pod a --not --http-url it's --port 53").expect("valid");
    let text = raw_filters(&request.filters).expect("JSON");
    assert_eq!(
        text,
        concat!(
            "allowlist:\n",
            "    - '{\"source_pod\":[\"a\"],\"source_port\":[\"53\"]}'\n",
            "    - '{\"source_pod\":[\"a\"],\"destination_port\":[\"53\"]}'\n",
            "    - '{\"destination_pod\":[\"a\"],\"source_port\":[\"53\"]}'\n",
            "    - '{\"destination_pod\":[\"a\"],\"destination_port\":[\"53\"]}'\n",
            "denylist:\n",
            "    - '{\"http_url\":[\"it''s\"]}'\n",
        )
    );
    let read: std::collections::BTreeMap<String, Vec<String>> = serde_yaml::from_str(&text).expect("YAML");
    let back = |name: &str| -> Vec<FlowFilter> {
        read[name].iter().flat_map(|text| FlowFilter::from_json(text).expect("reads back")).collect()
    };
    assert_eq!((back("allowlist"), back("denylist")), (request.filters.allowlist, request.filters.denylist));
}

fn notes(line: &str) -> Vec<String> {
    let cli = Cli::try_parse_from(std::iter::once("observe").chain(line.split_whitespace())).expect("parses");
    cli.observe.notes()
}

#[test]
fn what_cannot_match_is_said() {
    assert_eq!(notes("--pod a --type drop --unencrypted"), [""; 0]);
    assert_eq!(notes("--encrypted --input-file x"), [""; 0]);
    let said = notes("--ip-trace-id 7 --not --encrypted --snat-ip 1.2.3.4 -t trace-sock -f --until 1h -P");
    let starts: Vec<_> = said.iter().map(|note| note.split(':').next().unwrap_or_default()).collect();
    assert_eq!(
        starts,
        [
            "--ip-trace-id 7 matches nothing",
            "--encrypted hides nothing",
            "--snat-ip 1.2.3.4 matches nothing",
            "--type trace-sock matches nothing",
            "--until has no meaning with --follow",
            "--port-forward is not needed",
        ]
    );
    assert!(notes("--follow --input-file x")[0].starts_with("--follow has no meaning"));
}

#[test]
fn masks_are_for_json() {
    let options = |line: &str| {
        Cli::try_parse_from(std::iter::once("observe").chain(line.split_whitespace()))
            .expect("parses")
            .observe
            .options()
    };
    let masked = options("-o json --field-mask verdict,source.pod_name").expect("valid");
    assert!(!masked.mask.is_empty());
    assert!(options("--field-mask verdict").is_err());
    assert!(options("-o json --field-mask verdic").is_err());
    assert!(options("--use-default-field-masks=false").expect("valid").mask.is_empty());
    assert!(!options("--ip-translation=false").expect("valid").ip_translation);
    assert!(options("--ip-translation").expect("valid").ip_translation);
}

/// What `flags` make of an answer or of a file with these lines.
fn shown(flags: &str, input: &str, from_server: bool) -> Result<String> {
    let cli = Cli::try_parse_from(std::iter::once("observe").chain(flags.split_whitespace()))?;
    let mut out = Vec::new();
    let mut printer = Printer::new(&mut out, cli.observe.options()?);
    if from_server {
        source::answer(&mut BufReader::new(input.as_bytes()), &mut printer, SILENT)?;
    } else {
        source::lines(input.as_bytes(), &request(flags)?, &mut printer, SILENT)?;
    }
    printer.flush()?;
    drop(printer);
    Ok(String::from_utf8(out)?)
}

#[test]
fn envelopes_of_hubbles_files() {
    let input = concat!(
        r#"{"node_status":{"state_change":"NODE_CONNECTED","node_names":["a"]},"node_name":"a","time":"2025-01-01T00:00:00Z"}"#,
        "\r\n",
        r#"{"flow":{"time":"2025-01-01T00:00:01Z","verdict":"FORWARDED","l4":{"IGMP":{"type":"x"}},"Type":"L3_L4","Summary":"one","aggregate":{"n":1}}}"#,
        "\n",
        r#"{"lost_events":{"source":"PERF_EVENT_RING_BUFFER","num_events_lost":"5","cpu":1}}"#,
        "\n",
        r#"{"agent_event":{"type":"POLICY_UPDATED"},"time":"2025-01-01T00:00:02Z"}"#,
        "\n",
        r#"{"time":"2025-01-01T00:00:03Z","verdict":"DROPPED","Summary":"two"}"#,
        "\n",
        r#"{"flow":{"time":"2025-01"#,
    );
    let compact = shown("--input-file x", input, false).expect("reads");
    assert_eq!(compact.lines().count(), 2, "{compact}");
    let json = shown("--input-file x -o json", input, false).expect("reads");
    let kinds: Vec<String> = json
        .lines()
        .map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
            value.as_object().expect("an object").keys().next().cloned().unwrap_or_default()
        })
        .collect();
    assert_eq!(kinds, ["node_name", "flow", "lost_events", "flow"]);
    assert_eq!(
        shown("--input-file x --first 1 --since 2025-01-01T00:00:02Z", input, false)
            .expect("reads")
            .lines()
            .count(),
        1
    );
    let nothing = shown("--input-file x", "hello\nworld\n", false).expect_err("no flow");
    assert!(nothing.to_string().contains("no line of it is a flow"), "{nothing}");
    assert_eq!(shown("--input-file x", "", false).expect("nothing"), "");
    let long = "x".repeat(5 << 20);
    assert!(shown("--input-file x", &long, false).expect_err("long").to_string().contains("longer than"));
}

#[test]
fn answers_in_json_pass_as_they_are() {
    let flow = r#"{"flow":{"verdict":"FORWARDED","Summary":"x","extensions":{"epoch":"1","length":2,"in_port":3}},"node_name":"n"}"#;
    let input = format!(
        "{flow}\n\n{{\"lost_events\":{{\"source\":\"HUBBLE_RING_BUFFER\",\"num_events_lost\":\"5\"}}}}\n{flow}\n"
    );
    let json = shown("-o json", &input, true).expect("shows");
    assert_eq!(json, input.replace("\n\n", "\n"));
    assert_eq!(
        shown("-o json --field-mask verdict", &input, true).expect("shows").lines().next(),
        Some(r#"{"flow":{"verdict":"FORWARDED"}}"#)
    );
    assert_eq!(shown("", &input, true).expect("shows").lines().count(), 2);
    assert_eq!(shown("", "{\"error\":\"no\"}\n", true).expect_err("refused").to_string(), "no");
}

#[test]
fn agent_events_are_asked_for_as_hubble_does() {
    let ask = |line: &str| {
        let line = std::iter::once("observe").chain(line.split_whitespace());
        let cli = Cli::try_parse_from(line).expect("parses");
        events::request(&cli.observe, Timestamp::from_second(1_000_000).expect("a time"))
    };
    let asked = |line: &str| {
        let ObserveRequest { filters, last, first, since, until, follow } = ask(line).expect("valid");
        assert!(filters.is_empty() && until.is_none(), "{line}");
        (last, first, since.map(|since| since.0.as_second()), follow)
    };
    assert_eq!(asked("agent-events"), (Some(20), None, None, false));
    assert_eq!(asked("agent-events -f -o json"), (Some(20), None, None, true));
    assert_eq!(asked("agent-events --all"), (None, None, None, false));
    assert_eq!(asked("agent-events --all -f"), (None, None, None, true));
    assert_eq!(asked("agent-events --last 5 -f"), (Some(5), None, None, true));
    assert_eq!(asked("agent-events --first 5"), (None, Some(5), None, false));
    assert_eq!(asked("agent-events --since 5m -f"), (None, None, Some(999_700), true));
    for flag in [
        "--pod a",
        "-A",
        "--allowlist {}",
        "--denylist {}",
        "--input-file x",
        "--history x",
        "--field-mask time",
    ] {
        let error = ask(&format!("agent-events {flag}")).expect_err(flag).to_string();
        assert!(
            error.ends_with(
                "is about flows; agent-events takes --last, --first, --all, --since, --until, --follow and -o"
            ),
            "{error}"
        );
    }
    assert!(ask("agent-events -f -o table").is_err(), "a table ends");
    assert!(Cli::try_parse_from(["observe", "events"]).is_err());
}
