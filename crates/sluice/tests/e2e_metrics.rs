//! The metrics endpoint of a real node: exact increments for real traffic, both formats, nothing else served.

mod support;

use sluice::testbed::{PodSpec, exec, servers};
use std::collections::BTreeMap;
use std::time::Duration;
use support::{Lab, eventually, lab, options};

const LISTEN: &str = "127.0.0.1:9965";

const SETTINGS: &str = "metrics:\n  listen: 127.0.0.1:9965\nvisibility:\n- {port: 53, protocol: dns}\n";

/// The client may ask the server for `/public`; DNS is read without a policy.
const POLICY: &str = "apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: server, namespace: lab}
spec:
  endpointSelector: {matchLabels: {app: server}}
  ingress:
    - fromEndpoints: [{matchLabels: {app: client}}]
      toPorts: [{ports: [{port: \"80\", protocol: TCP}], rules: {http: [{path: \"/public.*\"}]}}]
";

fn node(test: &str) -> Option<Lab> {
    let mut lab = lab(test)?;
    for (namespace, name, labels) in [
        ("lab", "client", "app=client"),
        ("lab", "stranger", "app=stranger"),
        ("lab", "server", "app=server"),
        ("kube-system", "kube-dns", "k8s-app=kube-dns"),
    ] {
        lab.add_pod(PodSpec::new(namespace, name, labels)).expect("a pod");
    }
    servers::start_http(&mut lab, "lab/server", 80).expect("a server");
    servers::start_dns(&mut lab, "kube-system/kube-dns").expect("dnsmasq");
    lab.write_policy("lab", POLICY).expect("written");
    lab.start_agent(options("drop").with_settings(SETTINGS)).expect("the agent starts");
    Some(lab)
}

/// What curl on the node says: status and what it got.
fn curl(lab: &Lab, arguments: &[&str]) -> (String, String) {
    let mut command = lab.node().command("curl");
    command.args(["-sS", "-m", "10", "-w", "\n%{http_code} %{content_type}"]).args(arguments);
    let output = exec::run(&mut command, Duration::from_secs(20)).expect("curl runs");
    let (body, status) = output.stdout.rsplit_once('\n').unwrap_or(("", &output.stdout));
    (status.to_owned(), body.to_owned())
}

fn scrape(lab: &Lab) -> BTreeMap<String, f64> {
    let (status, text) = curl(lab, &[&format!("http://{LISTEN}/metrics")]);
    assert_eq!(status, "200 text/plain; version=0.0.4; charset=utf-8");
    let samples = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (series, value) = line.rsplit_once(' ').expect("a value");
        (series.to_owned(), value.parse().expect("a number"))
    });
    samples.collect()
}

/// The series that begin so and have these labels, summed up.
fn sum(page: &BTreeMap<String, f64>, name: &str, labels: &[&str]) -> f64 {
    let fits = |series: &&String| {
        series.split('{').next() == Some(name) && labels.iter().all(|label| series.contains(label))
    };
    page.keys().filter(fits).filter_map(|series| page.get(series)).sum()
}

/// By how much they grew.
fn grown(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>, name: &str, labels: &[&str]) -> f64 {
    sum(after, name, labels) - sum(before, name, labels)
}

/// A page on which every frame that came in at a socket is counted in the pipeline, once, and at its port. Workers are
/// looked at one after the other, so a page may show a frame on its way between two of them at neither or at both; a
/// router solicitation of a pod is enough. A frame that is never counted, or twice, fails here: the numbers are those
/// since the start.
fn settled(lab: &Lab) -> BTreeMap<String, f64> {
    let mut page = BTreeMap::new();
    eventually("each frame is counted at socket, pipeline and port", Duration::from_secs(5), || {
        page = scrape(lab);
        let received = sum(&page, "sluice_frames_total", &["outcome=\"received\""]);
        let at_ports = sum(&page, "sluice_port_frames_total", &["direction=\"rx\""]);
        let at_sockets = sum(&page, "sluice_afxdp_total", &["event=\"rx\""]);
        (at_ports - received).abs() < 0.1 && (at_sockets - received).abs() < 0.1
    });
    page
}

#[test]
fn traffic_shows_as_exact_increments() {
    let Some(lab) = node("traffic_shows_as_exact_increments") else { return };
    let server = lab.pod("lab/server").ipv4();
    let before = settled(&lab);
    let url = |path: &str| format!("http://{server}{path}");
    // One connection: three requests that are allowed, two that are refused.
    let line = format!(
        "curl -sS -m 10 -o /dev/null {} {} {} {} {}",
        url("/public/a"),
        url("/private"),
        url("/public/b"),
        url("/private"),
        url("/public/c")
    );
    let (ok, said) = lab.run("lab/client", &line);
    assert!(ok, "{said}");
    // A stranger's SYN and whatever the kernel repeats of it within the second.
    let (ok, _) = lab.run("lab/stranger", &format!("curl -sS -m 0.5 {}", url("/public/a")));
    assert!(!ok);
    let dns = lab.pod("kube-system/kube-dns").ipv4();
    let (ok, said) =
        lab.run("lab/client", &format!("dig +short +time=2 +tries=1 @{dns} server.lab.svc.cluster.local A"));
    assert!(ok && said.contains(&server.to_string()), "{said}");
    let name = format!("nothing.{}.svc.cluster.local", "lab");
    let (ok, _) = lab.run("lab/client", &format!("dig +short +time=2 +tries=1 @{dns} {name} A"));
    assert!(ok);

    let mut after = BTreeMap::new();
    eventually("the last answer is counted", Duration::from_secs(5), || {
        after = settled(&lab);
        (grown(&before, &after, "hubble_dns_responses_total", &[]) - 2.0).abs() < 0.1
    });
    let by = |name: &str, labels: &[&str]| grown(&before, &after, name, labels);
    for (name, labels, expected) in [
        ("hubble_http_requests_total", &["status=\"200\"", "method=\"GET\"", "reporter=\"server\""][..], 3.0),
        ("hubble_http_requests_total", &["status=\"403\"", "method=\"GET\"", "reporter=\"server\""], 2.0),
        ("hubble_http_requests_total", &[], 5.0),
        ("hubble_http_request_duration_seconds_count", &["method=\"GET\""], 3.0),
        ("hubble_http_request_duration_seconds_bucket", &["le=\"+Inf\""], 3.0),
        ("hubble_drop_total", &["protocol=\"HTTP\"", "reason=\"POLICY_DENIED\""], 2.0),
        ("hubble_dns_queries_total", &["qtypes=\"A\""], 2.0),
        ("hubble_dns_responses_total", &["rcode=\"No Error\"", "ips_returned=\"1\""], 1.0),
        ("hubble_dns_responses_total", &["rcode=\"Non-Existent Domain\""], 1.0),
        ("hubble_policy_verdicts_total", &["match=\"l7/http\"", "action=\"forwarded\""], 3.0),
        ("hubble_policy_verdicts_total", &["match=\"l7/http\"", "action=\"dropped\""], 2.0),
        ("sluice_connections_opened_total", &[], 3.0),
    ] {
        let found = by(name, labels);
        assert!((found - expected).abs() < 0.1, "{name} {labels:?}: {found} instead of {expected}");
    }
    // What the stranger sent was dropped, all of it and nothing else: its port, the reason and the flow log agree.
    let dropped = by("sluice_dropped_frames_total", &["reason=\"POLICY_DENIED\""]);
    assert!(dropped >= 1.0);
    for (name, labels) in [
        ("sluice_port_dropped_frames_total", &["owner=\"lab/stranger\""][..]),
        ("sluice_frames_total", &["outcome=\"dropped\""]),
    ] {
        assert!(
            (by(name, labels) - dropped).abs() < 0.1,
            "{name}: {} instead of {dropped}",
            by(name, labels)
        );
    }
    let frames = by("sluice_frames_total", &["outcome=\"received\""]);
    assert!(frames > 20.0);
    // No frame came before all workers knew its port.
    assert!(sum(&after, "sluice_dropped_frames_total", &["reason=\"PORT_GONE\""]) < 0.1);
    // What a worker handed to another was found by both.
    let twice = by("sluice_handover_frames_total", &["kind=\"taken\""]);
    assert!((by("sluice_burst_frames_sum", &[]) - twice - frames).abs() < 0.1);
    let timed = by("sluice_burst_duration_seconds_count", &[]);
    assert!(timed >= 1.0 && timed <= by("sluice_burst_frames_count", &[]), "{timed}");
    let at = |name: &str| after.get(name).copied().unwrap_or(f64::NAN);
    assert!(at("process_resident_memory_bytes") > 1e6 && at("process_open_fds") > 5.0);
    assert!(at("sluice_umem_chunks{state=\"free\"}") > 100.0 && at("sluice_connections_max") > 1000.0);
    let fill = "sluice_ring_entries{interface=\"lxc10\",owner=\"lab/client\",ring=\"fill\"}";
    assert!(after.keys().any(|series| series == fill), "{fill}");
}

#[test]
fn both_formats_and_nothing_else_are_served() {
    let Some(lab) = node("both_formats_and_nothing_else_are_served") else { return };
    let url = format!("http://{LISTEN}/metrics");
    let accept = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
    let (status, open) = curl(&lab, &["-H", accept, &url]);
    assert_eq!(status, "200 application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(open.ends_with("# EOF\n") || open.ends_with("# EOF"), "{}", &open[open.len() - 40..]);
    std::fs::write(lab.file("open.txt"), format!("{}\n", open.trim_end())).expect("written");
    let (_, text) = curl(&lab, &[&url]);
    std::fs::write(lab.file("text.txt"), format!("{}\n", text.trim_end())).expect("written");
    // A parser that is not ours reads both.
    let python = std::path::Path::new("/opt/sluice-peers/bin/python3");
    let script = "import sys\n\
        from prometheus_client.openmetrics.parser import text_string_to_metric_families as o\n\
        from prometheus_client.parser import text_string_to_metric_families as t\n\
        a={f.name for f in o(open(sys.argv[1]).read())}; b={f.name for f in t(open(sys.argv[2]).read())}\n\
        assert a==b, a^b\nprint(len(a))\n";
    let known = std::process::Command::new(python).args(["-c", "import prometheus_client"]).output();
    if known.is_ok_and(|output| output.status.success()) {
        let mut command = std::process::Command::new(python);
        command.args(["-c", script]).arg(lab.file("open.txt")).arg(lab.file("text.txt"));
        let output = exec::run(&mut command, Duration::from_secs(30)).expect("python runs");
        let families: usize = output.stdout.trim().parse().unwrap_or_else(|_| panic!("{}", output.text()));
        assert!(families > 60, "{families}");
    } else {
        assert!(
            std::env::var_os("SLUICE_REQUIRE_PRIVILEGED").is_none(),
            "prometheus_client is missing; run scripts/setup.sh test"
        );
    }
    for (arguments, expected) in [
        (&["http://127.0.0.1:9965/"][..], "404"),
        (&["http://127.0.0.1:9965/debug/pprof"], "404"),
        (&["-X", "POST", &url], "405"),
        (&["-H", &format!("X: {}", "y".repeat(20_000)), &url], "431"),
    ] {
        let (status, _) = curl(&lab, arguments);
        assert!(status.starts_with(expected), "{status} instead of {expected}");
    }
    // The API socket says the same, but for what changes by itself.
    let said = lab.agent_ref().cli(&["metrics"]).expect("metrics").stdout;
    let heads = |text: &str| -> Vec<String> {
        text.lines().filter(|line| line.starts_with("# ")).map(str::to_owned).collect()
    };
    assert_eq!(heads(&said), heads(&text));
}

#[test]
fn the_watched_file_changes_what_is_counted() {
    let Some(lab) = node("the_watched_file_changes_what_is_counted") else { return };
    let file = lab.config_dir().join("metrics.yaml");
    let has = |what: &str| {
        let (_, text) = curl(&lab, &[&format!("http://{LISTEN}/metrics")]);
        text.lines().any(|line| line.starts_with(what))
    };
    assert!(has("# TYPE hubble_icmp_total") && has("sluice_metrics_config_errors 0"));
    std::fs::write(
        &file,
        "metrics:\n- name: drop\n  contextOptions:\n  - name: sourceContext\n    values: [pod]\n  - name: destinationContext\n    values: [pod]\n",
    )
    .expect("written");
    eventually("the file is in force", Duration::from_secs(5), || !has("# TYPE hubble_icmp_total"));
    let server = lab.pod("lab/server").ipv4();
    let (ok, _) = lab.run("lab/stranger", &format!("curl -sS -m 0.5 http://{server}/"));
    assert!(!ok);
    let series = "hubble_drop_total{destination=\"lab/server\",protocol=\"TCP\",reason=\"POLICY_DENIED\",source=\"lab/stranger\"}";
    eventually("the drop names both pods", Duration::from_secs(5), || has(series));
    std::fs::write(&file, "metrics:\n- name: drops\n").expect("written");
    eventually("the mistake shows", Duration::from_secs(5), || has("sluice_metrics_config_errors 1"));
    assert!(has(series), "and what it said before stays in force");
    let log = lab.agent_ref().log();
    assert!(log.contains("metrics.yaml:2:9: unknown metric `drops`; did you mean `drop`?"), "{log}");
}
