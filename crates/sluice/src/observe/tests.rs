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
