use super::collect::Collector;
use super::redact;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Read as _;

#[test]
fn secrets_in_json_are_taken_out_wherever_they_stand() {
    let mut value = json!({
        "ui": {"token": "abc", "tokenFile": "/run/token", "listen": "127.0.0.1:1"},
        "flow": {"l7": {
            "http": {"url": "http://bob:pw@shop/pay?card=1", "headers": [
                {"key": "Authorization", "value": "Bearer x"}, {"key": "Accept", "value": "text/plain"},
            ]},
            "kafka": {"api_key": "Produce"},
        }},
        "password": null,
        "list": ["see https://a/b?c=d, then go"],
    });
    redact::value(&mut value);
    let expected = json!({
        "ui": {"token": "REDACTED", "tokenFile": "/run/token", "listen": "127.0.0.1:1"},
        "flow": {"l7": {
            "http": {"url": "http://REDACTED@shop/pay?REDACTED", "headers": [
                {"key": "Authorization", "value": "REDACTED"}, {"key": "Accept", "value": "text/plain"},
            ]},
            "kafka": {"api_key": "Produce"},
        }},
        "password": null,
        "list": ["see https://a/b?REDACTED then go"],
    });
    assert_eq!(value, expected);
}

#[test]
fn configuration_keeps_its_layout_and_loses_its_secrets() {
    let yaml = "# the token is elsewhere\nui:\n  listen: 127.0.0.1:12000\n  token: s3cr3t\n  tokenFile: /x\nexport:\n\
                - name: a\n  url: https://u:p@host/in?key=1\n  password: |\n    one\n    two\n  next: 1\n  secret: \"\"\n";
    let expected = "# the token is elsewhere\nui:\n  listen: 127.0.0.1:12000\n  token: REDACTED\n  tokenFile: /x\nexport:\n\
                    - name: a\n  url: https://REDACTED@host/in?REDACTED\n  password: REDACTED\n  next: 1\n  secret: \"\"\n";
    assert_eq!(redact::text(yaml), expected);
}

#[test]
fn a_report_without_a_node_says_what_is_missing() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("policies")).expect("made");
    std::fs::write(folder.path().join("sluice.yaml"), "ui: {}\nuitoken: hush\n").expect("written");
    std::fs::write(folder.path().join("policies/a.yaml"), "kind: X\n").expect("written");
    std::fs::write(folder.path().join("key.pem"), "hush").expect("written");
    let mut collector = Collector::new(Vec::new());
    let nobody = folder.path().join("no.sock");
    collector.node(&nobody, folder.path(), Some(10)).expect("collected");
    assert!(collector.missing() >= 6, "{}", collector.missing());
    let archive = collector.finish().expect("written");
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(&archive[..]).entries().expect("an archive") {
        let mut entry = entry.expect("an entry");
        let name = entry.path().expect("a name").display().to_string();
        let mut text = String::new();
        entry.read_to_string(&mut text).expect("text");
        files.insert(name, text);
    }
    assert_eq!(files["sluice-bugreport/config/sluice.yaml"], "ui: {}\nuitoken: REDACTED\n");
    assert_eq!(files["sluice-bugreport/config/policies/a.yaml"], "kind: X\n");
    let report = &files["sluice-bugreport/report.txt"];
    assert!(report.contains("node/status.json: MISSING, no node service listens on"), "{report}");
    assert!(files.values().all(|text| !text.contains("hush")), "{files:?}");
    assert!(!files.keys().any(|name| name.ends_with("key.pem")), "{files:?}");
}
