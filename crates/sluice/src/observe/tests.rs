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
            r#"{"allowlist":[{"event_type":[{"type":129,"match_sub_type":false,"sub_type":0}],"protocol":["http"],"#,
            r#""http_status_code":["5+"],"http_method":["GET"],"http_path":["/v1/.*"]}]}"#,
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
    assert!(counts("--since yesterday-ish").is_err());
    assert!(counts("--last 1 --first 1").is_err());
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
    from_lines(input.as_bytes(), &request("--verdict DROPPED --last 1").expect("valid"), &mut printer)
        .expect("reads");
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
        from_lines(input.as_bytes(), &request(flags).expect("valid"), &mut printer).expect("reads");
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
