use super::*;
use std::path::Path;

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, Path::new("sluice.yaml")).map_err(|error| error.to_string())
}

#[test]
fn the_annotated_file_is_the_defaults() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/sluice.yaml");
    let text = std::fs::read_to_string(&file).expect("configs/sluice.yaml");
    assert_eq!(Config::parse(&text, &file).expect("valid"), Config::default());
    // And spells every one of them out, in the same order.
    let written: serde_yaml::Value = serde_yaml::from_str(&text).expect("YAML");
    let defaults = serde_yaml::to_value(Config::default()).expect("serialize");
    assert_eq!(
        serde_yaml::to_string(&written).expect("YAML"),
        serde_yaml::to_string(&defaults).expect("YAML")
    );
}

#[test]
fn nothing_means_defaults() {
    for text in ["", "# only a comment\n", "\n  # and\n\n"] {
        assert_eq!(parse(text), Ok(Config::default()));
    }
}

#[test]
fn what_is_printed_can_be_read_back() {
    let text = "hostPort: {addresses: [10.0.0.1/32, 'fd00::1/128'], podCIDRs: [10.1.0.0/24]}\n\
                datapath: {cpu: 1, polling: busy, onFailure: pass, conntrack: {timeouts: {udp: 90s}}}\n";
    let text = &text.replace("cpu: 1,", "cpu: [3, 1], workers: 2,");
    let config = parse(text).expect("valid");
    assert_eq!((config.datapath.cpu.as_slice(), config.datapath.workers), ([3, 1].as_slice(), 2));
    let printed = serde_yaml::to_string(&config).expect("serialize");
    assert_eq!(parse(&printed), Ok(config));
}

#[test]
fn errors_name_line_column_and_what_was_meant() {
    let cases = [
        (
            "node: {}\ndatapth: {}\n",
            "sluice.yaml:2:1: unknown field `datapth`, expected one of `node`, `gateway`, `hostPort`, `policy`, `dns`, `l7`, `visibility`, \
             `datapath`, `xdp`, `api`, `flowLog`, `history`, `hubble`, `metrics`, `ui`, `state`, `process`, `log`; did you mean `datapath`?",
        ),
        (
            "policy:\n  enforcementmode: always\n",
            "sluice.yaml:2:3: policy: unknown field `enforcementmode`, expected one of `enforcementMode`, `auditMode`, \
             `auditNamespaces`, `auditEndpoints`, `emptyListMeans`, `denyResponse`; did you mean `enforcementMode`?",
        ),
        (
            "datapath:\n  polling: bussy\n",
            "sluice.yaml:2:12: datapath.polling: unknown variant `bussy`, expected `busy` or `adaptive`; did you mean `busy`?",
        ),
        (
            "xdp:\n  heartbeat: 2\n",
            "sluice.yaml:2:14: xdp.heartbeat: `2` is not a length of time: write a number and ms, s, m, h or d, as in `90s`",
        ),
        ("datapath:\n  workers: 64\n", "sluice.yaml:2:3: datapath.workers: must be from 1 to 32"),
        (
            "datapath:\n  workers: 3\n  cpu: [1, 2]\n",
            "sluice.yaml:3:3: datapath.cpu: has 2 CPUs for 3 workers; write one for each, as in [2, 3]",
        ),
        (
            "datapath: {workers: 2, cpu: [1, 1]}\n",
            "sluice.yaml: datapath.cpu: has a CPU twice; each worker needs one of its own",
        ),
        (
            "datapath:\n  cpu: one\n",
            "sluice.yaml:2:8: datapath.cpu: invalid type: string \"one\", expected the number of a CPU, or a list of them as in \
             [2, 3]",
        ),
        (
            "datapath:\n  cpu: 1\n  ringSize: 100\n",
            "sluice.yaml:3:3: datapath.ringSize: must be 0 or a power of two from 64 to 16384",
        ),
        (
            "hostPort:\n  name: far-too-long-a-name\n",
            "sluice.yaml:2:3: hostPort.name: `far-too-long-a-name` cannot be an interface name (1 to 15 bytes, no `/`, `:` or \
             space)",
        ),
        (
            "dns:\n  refusal: nxdomain\n  answerTimeout: 1ms\n",
            "sluice.yaml:3:3: dns.answerTimeout: must be from 10ms to 30s",
        ),
        (
            "node: {labels: {\"a=b\": c}}\n",
            "sluice.yaml: node.labels: `a=b: c` is no label; write one as in zone: eu-1",
        ),
        ("dns: {maxNames: 0}\n", "sluice.yaml: dns.maxNames: must be from 1 to 1000000"),
        (
            "dns:\n  refusal: refuse\n",
            "sluice.yaml:2:12: dns.refusal: unknown variant `refuse`, expected `refused` or `nxdomain`; did you mean `refused`?",
        ),
        ("l7:\n  maxHeadKiB: 500\n", "sluice.yaml:2:3: l7.maxHeadKiB: must be from 1 to 127"),
        (
            "visibility:\n- {port: 80, protocol: htpp}\n",
            "sluice.yaml:2:24: visibility[0].protocol: unknown variant `htpp`, expected one of `http`, `kafka`, `dns`, \
             `tls`; did you mean `http`?",
        ),
        (
            "api: {socket: run.sock}\n",
            "sluice.yaml: api.socket: must be an absolute path of at most 107 bytes",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(parse(text), Err(expected.to_owned()), "{text}");
    }
}

#[test]
fn dns_settings_reach_whom_they_are_for() {
    assert_eq!(Config::default().dns.limits(), policy::fqdn::Limits::default());
    let config = parse("dns: {minTTL: 1m, grace: 0s, maxNames: 7, refusal: nxdomain}\n").expect("valid");
    let limits = config.dns.limits();
    assert_eq!((limits.min_ttl, limits.grace, limits.names), (60, 0, 7));
    assert!(config.dns.l7_settings().dns_nxdomain && !Dns::default().l7_settings().dns_nxdomain);
}

#[test]
fn duplicate_keys_and_wrong_types_are_refused() {
    for text in [
        "node: {name: a}\nnode: {name: b}\n",
        "node: []\n",
        "hostPort: {mtu: big}\n",
        "- a\n",
        "node: {name: [1]}",
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn spans_are_exact_and_bounded() {
    let span = |text: &str| {
        parse(&format!("state: {{interval: {text}}}\n")).map(|config| config.state.interval.get())
    };
    assert_eq!(span("250ms"), Ok(Duration::from_millis(250)));
    assert_eq!(span("15m"), Ok(Duration::from_secs(900)));
    for wrong in ["1", "s", "-1s", "1.5s", "99999999999999999999s", "400d", "1 s", "1week"] {
        assert!(span(wrong).is_err(), "{wrong}");
    }
    for (millis, text) in [(0, "0s"), (1500, "1500ms"), (60_000, "1m"), (86_400_000, "1d"), (90_000, "90s")] {
        assert_eq!(Span::from(Duration::from_millis(millis)).to_string(), text);
    }
}
