use super::*;

fn parse(text: &str) -> Result<ExportConfig, String> {
    ExportConfig::parse(text).map_err(|error| error.to_string())
}

#[test]
fn a_file_for_cilium_is_read_as_it_is() {
    let text = "flowLogs:\n\
                - name: \"test001\"\n  filePath: \"/var/run/cilium/hubble/test001.log\"\n  fieldMask: []\n  includeFilters: []\n  \
                excludeFilters: []\n  end: \"2023-10-09T23:59:59-07:00\"\n\
                - name: test002\n  filePath: /var/log/test002.log\n  fieldMask: [source.namespace, source.pod_name, verdict]\n  \
                includeFilters:\n  - source_pod: [default/]\n    event_type:\n    - type: 1\n  - destination_pod: [\"frontend/webserver-975996d4c-7hhgt\"]\n  \
                excludeFilters: [{verdict: [FORWARDED]}]\n  fileMaxSizeMb: 20\n  fileMaxBackups: 3\n  fileCompress: true\n";
    let config = parse(text).expect("valid");
    let [one, two] = config.flow_logs.as_slice() else { panic!("two exporters: {config:?}") };
    assert_eq!(
        (one.name.as_str(), one.file_max_size_mb, one.file_max_backups, one.file_compress),
        ("test001", 10, 5, false)
    );
    assert_eq!(one.end.map(|end| end.0.to_string()).as_deref(), Some("2023-10-10T06:59:59Z"));
    assert_eq!((two.file_max_size_mb, two.file_max_backups, two.file_compress), (20, 3, true));
    assert_eq!(
        (two.include_filters.0.len(), two.exclude_filters.0.len(), two.field_mask.paths().count()),
        (2, 1, 3)
    );
    assert!(!config.redact.enabled);
    let printed = serde_yaml::to_string(&config).expect("YAML");
    assert_eq!(parse(&printed), Ok(config), "{printed}");
}

#[test]
fn nothing_means_no_exporters() {
    for text in ["", "# only a comment\n", "flowLogs: []\n"] {
        assert_eq!(parse(text), Ok(ExportConfig::default()), "{text:?}");
    }
}

#[test]
fn targets_and_redaction_of_our_own() {
    let text = "redact: {enabled: true, http: {urlQuery: true}}\nflowLogs:\n\
                - {name: a, filePath: stdout}\n\
                - {name: b, syslog: {address: 'tcp://[::1]:601', facility: local3}, redact: {}}\n\
                - {name: c, syslog: {address: 'unix:///dev/log'}}\n";
    let config = parse(text).expect("valid");
    assert_eq!(config.flow_logs[0].file_path, Some(Target::Stdout));
    let receiver = |at: usize| config.flow_logs[at].syslog.clone().expect("syslog");
    assert_eq!(receiver(1), Syslog { address: Address::Tcp("[::1]:601".into()), facility: Facility::Local3 });
    assert_eq!(receiver(2), Syslog { address: Address::Unix("/dev/log".into()), facility: Facility::Local0 });
    assert!(
        config.redact.http.user_info && config.redact.http.url_query,
        "user info is hidden unless it says otherwise"
    );
    assert_eq!(config.flow_logs[1].redact, Some(Redact::default()));
}

#[test]
fn errors_name_the_place_and_what_to_write() {
    let cases = [
        (
            "flowLog: []\n",
            "1:1: unknown field `flowLog`, expected `redact` or `flowLogs`; did you mean `flowLogs`?",
        ),
        (
            "flowLogs:\n- name: a b\n",
            "2:9: flowLogs[0].name: `a b` is no name: write 1 to 63 letters, digits, `-`, `_` or `.`",
        ),
        (
            "flowLogs:\n- name: a\n  filePath: a.log\n",
            "3:13: flowLogs[0].filePath: `a.log` is no file: write an absolute path, or `stdout`",
        ),
        (
            "flowLogs:\n- name: a\n",
            "2:3: no target: write `filePath: /path`, `filePath: stdout` or `syslog: {address: …}`",
        ),
        (
            "flowLogs:\n- name: a\n  filePath: /a\n- filePath: /b\n  name: a\n",
            "5:3: a second exporter named `a`; give it another name",
        ),
        (
            "flowLogs:\n- {name: a, filePath: /a}\n- {name: b, filePath: /a}\n",
            "3:13: `/a` is written by another exporter; take another file",
        ),
        (
            "flowLogs:\n- name: a\n  filePath: /a\n  end: soon\n",
            "4:8: flowLogs[0].end: `soon` is no moment: write it as in `2026-12-31T23:59:59Z`",
        ),
        (
            "flowLogs:\n- name: a\n  filePath: /a\n  fieldMask: [time, source.pod_name, sorce.pod_name]\n",
            "4:38: flowLogs[0].fieldMask[2]: a flow has no field `sorce.pod_name`; did you mean `source`?",
        ),
        (
            "flowLogs:\n- name: a\n  filePath: /a\n  fieldMask: [source.podname]\n",
            "4:15: flowLogs[0].fieldMask[0]: a flow has no field `source.podname`; did you mean `source.pod_name`?",
        ),
        (
            "flowLogs:\n- name: a\n  filePath: /a\n  fieldMask: [source.workloads.name]\n",
            "4:15: flowLogs[0].fieldMask[0]: a flow has no field `source.workloads.name`; `source.workloads` is one, to be taken whole",
        ),
        (
            "flowLogs:\n- name: a\n  syslog: {address: 'http://h'}\n",
            "3:21: flowLogs[0].syslog.address: `http://h` is no syslog address: write unix:///dev/log, udp://HOST:514 or tcp://HOST:601",
        ),
        ("flowLogs:\n- name: a\n  filePath: /a\n  fileMaxSizeMb: 0\n", "4:3: must be from 1 to 100000"),
        (
            "flowLogs:\n- name: a\n  filePath: stdout\n  syslog: {address: 'udp://h:1'}\n",
            "4:3: `filePath` and `syslog` in one exporter; make two of it",
        ),
        (
            "redact:\n  http:\n    headers: {allow: [a], deny: [b]}\n",
            "3:5: `allow` and `deny` together contradict each other; write one of them",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(parse(text).map(|_| ()), Err(expected.to_owned()), "{text}");
    }
}

#[test]
fn filters_are_read_as_other_tools_write_them() {
    let text = "flowLogs:\n- name: a\n  filePath: /a\n  includeFilters:\n  - sourcePod: [a/b]\n    verdict: [2]\n    \
                eventType: [{type: 1, matchSubType: true, subType: 133}]\n";
    let same = "flowLogs:\n- name: a\n  filePath: /a\n  includeFilters:\n  - source_pod: [a/b]\n    verdict: [DROPPED]\n    \
                event_type: [{type: 1, match_sub_type: true, sub_type: 133}]\n";
    assert_eq!(parse(text).expect("valid"), parse(same).expect("valid"));
}

#[test]
fn filters_are_checked_where_they_stand() {
    let text = "flowLogs:\n- name: a\n  filePath: /a\n  includeFilters:\n  - source_pdo: [a/b]\n";
    let error = parse(text).expect_err("no such filter");
    assert!(error.starts_with("5:5: flowLogs[0].includeFilters") && error.contains("source_pdo"), "{error}");
    let text = "flowLogs:\n- name: a\n  filePath: /a\n  includeFilters:\n  - source_ip: [a/b]\n";
    let error = parse(text).expect_err("no address");
    assert!(error.contains("a/b"), "{error}");
    let (line, _) = error.split_once(':').expect("a place");
    assert!(["4", "5"].contains(&line), "{error}");
}
