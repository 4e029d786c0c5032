//! What is written about metrics and asked of them is there: the table in `docs/metrics.md`, every query of the
//! dashboard and of the alerts, against a page with a series of each metric.

use flowlog::metrics::{Metrics, MetricsConfig, Page};
use flowlog::record::Workload;
use flowlog::{
    CloseReason, DropReason, EventKind, FlowEvent, Message, MessageVerdict, Resolver, TraceReason,
    VerdictKind,
};
use packet::{Addr, FlowKey, Instant, PortId, TcpFlags};
use policy::{DenyReason, Direction, EndpointId, Identity, Provenance, RuleId};
use promql_parser::label::Matchers;
use promql_parser::parser::{self, Expr, LabelModifier};
use sluice::api::report::WorkerReport;
use sluice::metrics::page;
use sluice::metrics::sample::{Port, Sample};
use std::collections::{BTreeMap, BTreeSet};

/// Labels that Prometheus adds to every series.
const ADDED: [&str; 2] = ["instance", "job"];

/// Metrics with the labels of their series.
type Known = BTreeMap<String, BTreeSet<String>>;

struct Nameless;

impl Resolver for Nameless {
    fn labels(&self, _: Identity) -> Vec<String> {
        Vec::new()
    }
    fn address(&self, _: Addr) -> Option<Workload> {
        None
    }
    fn endpoint(&self, _: EndpointId) -> Option<Workload> {
        None
    }
    fn rules(&self, _: RuleId) -> Vec<Provenance> {
        Vec::new()
    }
    fn wall_clock_offset_ns(&self) -> i128 {
        0
    }
    fn node_name(&self) -> &str {
        ""
    }
}

fn event(proto: u8, kind: EventKind) -> FlowEvent {
    FlowEvent {
        at: Instant::from_nanos(1),
        kind,
        key: FlowKey {
            src: Addr::v4([10, 0, 0, 1]),
            dst: Addr::v4([192, 0, 2, 1]),
            src_port: 9,
            dst_port: 80,
            proto,
        },
        icmp: (8, 0),
        tcp_flags: TcpFlags(TcpFlags::SYN),
        is_reply: false,
        src_identity: Identity(1001),
        dst_identity: Identity::WORLD,
        src_endpoint: Some(EndpointId(1)),
        dst_endpoint: None,
        in_port: PortId(1),
        len: 60,
        epoch: 1,
    }
}

/// An event for each metric about flows.
fn events() -> Vec<(FlowEvent, Option<Message<'static>>)> {
    let (egress, rule) = (Direction::Egress, RuleId::NONE);
    let denied = DropReason::Denied(DenyReason::NoRule);
    let trace = EventKind::Trace { reason: TraceReason::New };
    let said = EventKind::Message { verdict: MessageVerdict::Forwarded, direction: Some(egress), rule };
    let verdict = VerdictKind::Allowed;
    let kinds = [
        (6, trace),
        (1, trace),
        (132, trace),
        (6, EventKind::Drop { reason: denied, direction: Some(egress), rule }),
        (6, EventKind::Verdict { direction: egress, verdict, rule, reason: TraceReason::New }),
        (
            6,
            EventKind::Close {
                reason: CloseReason::Finished,
                packets: [1; 2],
                bytes: [1; 2],
                duration_ns: 1,
            },
        ),
    ];
    let question = flowlog::detail::Question { name: "a".into(), qtype: 1 };
    let (version, text) = (l7::http::Version::Http11, std::borrow::Cow::Borrowed);
    let messages = [
        Message::HttpRequest {
            version,
            method: text("GET"),
            host: text("h"),
            path: text("/"),
            headers: Vec::new(),
        },
        Message::HttpResponse {
            version,
            status: 200,
            latency_ns: 1,
            method: text("GET"),
            host: text("h"),
            path: text("/"),
            grpc_status: None,
        },
        Message::DnsQuery(question.clone()),
        Message::DnsAnswer {
            question,
            rcode: 0,
            addresses: vec![[192, 0, 2, 1].into()],
            cnames: Vec::new(),
            ttl: 1,
            latency_ns: 1,
        },
        Message::KafkaRequest {
            api_key: 1,
            api_version: 1,
            correlation_id: 1,
            client_id: text("c"),
            topics: vec![text("t")],
        },
        Message::KafkaResponse {
            api_key: 1,
            api_version: 1,
            correlation_id: 1,
            topic: text("t"),
            error_code: 0,
            latency_ns: 1,
        },
    ];
    let kinds = kinds.map(|(proto, kind)| (event(proto, kind), None));
    kinds.into_iter().chain(messages.map(|message| (event(6, said), Some(message)))).collect()
}

/// Everything that the node says with these metrics about flows.
fn text(config: &MetricsConfig) -> String {
    let mut metrics = Metrics::new(config, 1000);
    for (event, message) in events() {
        metrics.count(&event, message.as_ref(), &Nameless);
    }
    let port = Port { interface: "lxc1".into(), owner: "shop/web".into(), ..Port::default() };
    let sample = Sample {
        node: "n1".into(),
        ports: vec![port],
        xdp: Some(xdp_redirect::Counters::default()),
        workers: vec![WorkerReport::default()],
        ..Sample::default()
    };
    let mut out = Page::default();
    page::write(&sample, &mut out);
    metrics.write(&mut out);
    out.finish()
}

/// Metrics and labels of a page; a histogram stands there with its parts.
fn known(text: &str) -> Known {
    let mut known = Known::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').expect("a value");
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let labels = labels.trim_end_matches('}').split("\",").filter(|label| !label.is_empty());
        let labels = labels.map(|label| label.split('=').next().unwrap_or_default().to_owned());
        known.entry(name.to_owned()).or_default().extend(labels);
    }
    known
}

fn file(name: &str) -> String {
    let path = format!("{}/../../{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn every_metric_is_documented_and_every_documented_one_exists() {
    let documented: Known = file("docs/metrics.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|row| row.split_once("` |"))
        .filter(|(name, _)| ["hubble_", "sluice_", "process_"].iter().any(|prefix| name.starts_with(prefix)))
        .map(|(name, rest)| {
            let labels = rest.split('|').next().unwrap_or_default();
            let labels = labels.split('`').skip(1).step_by(2).map(str::to_owned).collect();
            (name.to_owned(), labels)
        })
        .collect();
    let whole = |text: &str| -> Known {
        let families: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        let mut found = Known::new();
        for (name, mut labels) in known(text) {
            labels.remove("le");
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
            let base = base.filter(|base| families.contains(base)).unwrap_or(&name);
            found.entry(base.to_owned()).or_default().extend(labels);
        }
        let named: BTreeSet<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(named, families.into_iter().collect(), "every metric has a series in this test");
        found
    };
    let mut existing = whole(&text(&MetricsConfig::default()));
    let old = whole(&text(&MetricsConfig::parse(&["http"]).expect("valid")));
    let name = "hubble_http_responses_total";
    existing.insert(name.to_owned(), old[name].clone());
    let lines = |known: &Known| known.iter().map(|entry| format!("{entry:?}")).collect::<Vec<_>>().join("\n");
    assert!(documented == existing, "documented:\n{}\n\nexisting:\n{}", lines(&documented), lines(&existing));
}

/// What a query refers to that is not there.
fn missing(expr: &Expr, known: &Known, wrong: &mut Vec<String>) -> BTreeSet<String> {
    let mut selector = |name: &Option<String>, matchers: &Matchers| {
        let name = name.clone().unwrap_or_default();
        let Some(labels) = known.get(&name) else {
            wrong.push(format!("no metric {name}"));
            return BTreeSet::new();
        };
        let mut labels = labels.clone();
        labels.extend(ADDED.map(str::to_owned));
        for matcher in &matchers.matchers {
            if !labels.contains(&matcher.name) {
                wrong.push(format!("{name} has no label {}", matcher.name));
            }
        }
        labels
    };
    match expr {
        Expr::VectorSelector(vector) => selector(&vector.name, &vector.matchers),
        Expr::MatrixSelector(matrix) => selector(&matrix.vs.name, &matrix.vs.matchers),
        Expr::Paren(paren) => missing(&paren.expr, known, wrong),
        Expr::Unary(unary) => missing(&unary.expr, known, wrong),
        Expr::Subquery(subquery) => missing(&subquery.expr, known, wrong),
        Expr::Aggregate(aggregate) => {
            let labels = missing(&aggregate.expr, known, wrong);
            match &aggregate.modifier {
                None => BTreeSet::new(),
                Some(LabelModifier::Include(kept)) => {
                    let kept: BTreeSet<String> = kept.labels.iter().cloned().collect();
                    wrong.extend(
                        kept.difference(&labels).map(|label| format!("no label {label} to group by")),
                    );
                    kept
                }
                Some(LabelModifier::Exclude(gone)) => {
                    let gone: BTreeSet<String> = gone.labels.iter().cloned().collect();
                    wrong.extend(
                        gone.difference(&labels).map(|label| format!("no label {label} to leave out")),
                    );
                    labels.difference(&gone).cloned().collect()
                }
            }
        }
        Expr::Binary(binary) => {
            let left = missing(&binary.lhs, known, wrong);
            let right = missing(&binary.rhs, known, wrong);
            let matching = binary.modifier.as_ref().and_then(|modifier| modifier.matching.as_ref());
            if let Some(LabelModifier::Include(on)) = matching {
                for label in
                    on.labels.iter().filter(|label| !left.contains(*label) || !right.contains(*label))
                {
                    wrong.push(format!("label {label} is not on both sides"));
                }
            }
            if left.is_empty() { right } else { left }
        }
        Expr::Call(call) => {
            let mut labels = BTreeSet::new();
            for argument in &call.args.args {
                labels.extend(missing(argument, known, wrong));
            }
            if call.func.name == "histogram_quantile" {
                let text = expr.to_string();
                if !text.contains("_bucket") {
                    wrong.push("quantile of what has no buckets".to_owned());
                }
                if !labels.remove("le") {
                    wrong.push("quantile without le".to_owned());
                }
            }
            labels
        }
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => BTreeSet::new(),
    }
}

fn check(query: &str, known: &Known) -> Vec<String> {
    let plain = query
        .replace("$__rate_interval", "5m")
        .replace("$__interval", "1m")
        .replace("$__range", "1h")
        .replace("$instance", ".*");
    match parser::parse(&plain) {
        Err(error) => vec![format!("{query}: {error}")],
        Ok(expr) => {
            let mut wrong = Vec::new();
            missing(&expr, known, &mut wrong);
            wrong.into_iter().map(|what| format!("{query}: {what}")).collect()
        }
    }
}

fn strings(value: &serde_json::Value, key: &str, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(object) => {
            for (name, value) in object {
                match value {
                    serde_json::Value::String(text) if name == key => found.push(text.clone()),
                    other => strings(other, key, found),
                }
            }
        }
        serde_json::Value::Array(list) => list.iter().for_each(|value| strings(value, key, found)),
        _ => {}
    }
}

#[test]
fn every_query_of_the_dashboard_finds_its_metrics_and_labels() {
    let known = known(&text(&MetricsConfig::default()));
    let dashboard: serde_json::Value =
        serde_json::from_str(&file("configs/grafana/sluice.json")).expect("JSON");
    let mut queries = Vec::new();
    strings(&dashboard, "expr", &mut queries);
    assert!(queries.len() > 50, "{}", queries.len());
    let wrong: Vec<String> = queries.iter().flat_map(|query| check(query, &known)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Legends name labels, too, and variables are made of metrics.
    let mut legends = Vec::new();
    strings(&dashboard, "legendFormat", &mut legends);
    let all: BTreeSet<&str> = known.values().flatten().map(String::as_str).chain(ADDED).collect();
    for label in legends.iter().flat_map(|legend| legend.split("{{").skip(1)) {
        let label = label.split("}}").next().unwrap_or_default();
        assert!(all.contains(label), "no label {label}");
    }
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    for query in variables.iter().filter_map(|variable| variable["query"].as_str()) {
        if let Some(of) = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')) {
            let (metric, label) = of.split_once(", ").expect("a metric and a label");
            assert!(
                known.contains_key(metric) && (ADDED.contains(&label) || known[metric].contains(label)),
                "{query}"
            );
        }
    }
    let rows: Vec<&str> = dashboard["panels"]
        .as_array()
        .expect("panels")
        .iter()
        .filter(|panel| panel["type"] == "row")
        .filter_map(|panel| panel["title"].as_str())
        .collect();
    assert_eq!(
        rows,
        [
            "Overview",
            "Drops",
            "Policy verdicts",
            "HTTP and gRPC",
            "DNS",
            "Kafka",
            "Datapath pressure",
            "Agent"
        ]
    );
}

#[test]
fn every_alert_finds_its_metrics_and_labels() {
    let known = known(&text(&MetricsConfig::default()));
    let alerts: serde_yaml::Value =
        serde_yaml::from_str(&file("configs/prometheus/alerts.yaml")).expect("YAML");
    let alerts = serde_json::to_value(alerts).expect("JSON");
    let mut queries = Vec::new();
    strings(&alerts, "expr", &mut queries);
    assert!(queries.len() >= 10);
    let wrong: Vec<String> = queries.iter().flat_map(|query| check(query, &known)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let scrape: serde_yaml::Value =
        serde_yaml::from_str(&file("configs/prometheus/scrape.yaml")).expect("YAML");
    assert_eq!(scrape["rule_files"][0], "alerts.yaml");
}

#[test]
fn the_checker_finds_what_is_wrong() {
    let known = known(&text(&MetricsConfig::default()));
    for (query, what) in [
        ("rate(sluice_framez_total[5m])", "no metric sluice_framez_total"),
        ("sluice_frames_total{owner=\"x\"}", "sluice_frames_total has no label owner"),
        ("sum by (pod) (hubble_drop_total)", "no label pod to group by"),
        ("sum without (pod) (hubble_drop_total)", "no label pod to leave out"),
        ("histogram_quantile(0.9, sum by (le) (sluice_burst_frames_sum))", "no label le to group by"),
        ("histogram_quantile(0.9, rate(sluice_burst_frames_count[5m]))", "quantile of what has no buckets"),
        ("histogram_quantile(0.9, sum(rate(sluice_burst_frames_bucket[5m])))", "quantile without le"),
        ("sum(", ""),
        ("sluice_ring_entries / on (ring) sluice_ring_size", "label ring is not on both sides"),
    ] {
        let found = check(query, &known);
        assert!(found.iter().any(|line| line.ends_with(what)), "{query}: {found:?}");
    }
}
