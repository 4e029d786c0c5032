//! The command line: exit codes, formats, and the policy commands that need no running node.

use assert_cmd::Command;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

const POLICY: &str = "\
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: web}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: client}}]
    toPorts: [{ports: [{port: \"80\", protocol: TCP}]}]
";

const INVENTORY: &str = "\
namespaces: [{name: shop}]
nodes: [{name: n1, labels: {}, ips: [192.168.0.1]}]
pods:
- {name: web, namespace: shop, labels: {app: web}, node: n1, ips: [10.0.0.1]}
- {name: client, namespace: shop, labels: {app: client}, node: n1, ips: [10.0.0.2]}
- {name: other, namespace: shop, labels: {app: other}, node: n1, ips: [10.0.0.3]}
";

const FLOWS: &str = r#"[
  {"id": "good", "src": "pod/shop/client", "dst": "pod/shop/web", "proto": "TCP", "port": 80},
  {"id": "bad", "src": "pod/shop/other", "dst": "pod/shop/web", "proto": "TCP", "port": 80}
]"#;

struct Case {
    dir: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let case = Self { dir };
        fs::create_dir(case.path("policies")).expect("a folder");
        case.write("policies/web.yaml", POLICY);
        case.write("inventory.yaml", INVENTORY);
        case.write("flows.json", FLOWS);
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("write");
    }

    /// Runs `sluice` with these words in the folder.
    fn run(&self, words: &[&str]) -> (i32, String, String) {
        run_in(self.dir.path(), words)
    }
}

fn run_in(dir: &Path, words: &[&str]) -> (i32, String, String) {
    let mut command = Command::cargo_bin("sluice").expect("the binary");
    let command =
        command.current_dir(dir).args(words).env_remove("SLUICE_SOCKET").env_remove("SLUICE_CONFIG");
    let output = command.output().expect("run");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("an exit code"), text(output.stdout), text(output.stderr))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let case = Case::new();
    for words in
        [&[][..], &["dance"], &["status", "--colour"], &["policy", "check"], &["ct", "list", "-o", "xml"]]
    {
        let (code, out, err) = case.run(words);
        assert_eq!((code, out.as_str()), (2, ""), "{words:?}");
        assert!(!err.is_empty(), "{words:?} says what is wrong");
    }
}

#[test]
fn without_a_node_service_the_lists_cannot_run_and_say_why() {
    let case = Case::new();
    let lists: [&[&str]; 10] = [
        &["status"],
        &["endpoint", "list"],
        &["identity", "list"],
        &["ip", "list"],
        &["ct", "list"],
        &["policy", "list"],
        &["policy", "get", "shop/web"],
        &["policy", "map", "shop/web"],
        &["metrics"],
        &["observe"],
    ];
    for words in lists {
        let mut words = words.to_vec();
        words.extend(if words[0] == "observe" {
            ["--server", "none.sock"]
        } else {
            ["--socket", "none.sock"]
        });
        let (code, out, err) = case.run(&words);
        assert_eq!((code, out.as_str()), (2, ""), "{words:?}");
        assert!(err.contains("none.sock"), "{words:?}: {err}");
        assert!(!err.contains('\u{1b}'), "no colours into a pipe: {err:?}");
    }
}

#[test]
fn help_and_completions_are_generated() {
    let case = Case::new();
    let (code, help, _) = case.run(&["--help"]);
    assert_eq!(code, 0);
    for command in [
        "run", "demo", "observe", "status", "endpoint", "identity", "ip", "ct", "policy", "metrics",
        "cleanup",
    ] {
        assert!(help.lines().any(|line| line.trim_start().starts_with(command)), "{command}: {help}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, _) = case.run(&["completions", shell]);
        assert_eq!(code, 0);
        assert!(script.contains("sluice"), "{shell}");
    }
    assert!(case.run(&["man"]).1.contains(".TH sluice"));
}

#[test]
fn check_accepts_what_is_right() {
    let case = Case::new();
    let (code, out, err) = case.run(&["policy", "check", "policies"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.ends_with("valid: 1 documents in 1 files, 0 errors, 0 warnings\n"), "{out}");
}

#[test]
fn check_names_file_line_column_and_suggestion() {
    let case = Case::new();
    case.write("policies/bad.yaml", &POLICY.replace("toPorts", "toPort"));
    let (code, out, _) = case.run(&["policy", "check", "policies", "-o", "json"]);
    assert_eq!(code, 1);
    let value = json(&out);
    assert_eq!((&value["valid"], &value["documents"]), (&Value::Bool(false), &2.into()));
    let found = &value["diagnostics"][0];
    assert_eq!((&found["severity"], &found["file"]), (&"error".into(), &"policies/bad.yaml".into()));
    assert_eq!((found["line"].as_u64(), found["column"].as_u64()), (Some(8), Some(5)));
    assert!(found["suggestion"].as_str().is_some_and(|text| text.contains("toPorts")), "{found}");
    let (code, text, _) = case.run(&["policy", "check", "policies/bad.yaml"]);
    assert_eq!(code, 1);
    assert!(text.starts_with("policies/bad.yaml:8:5: error: "), "{text}");
}

#[test]
fn check_of_what_is_not_there_cannot_run() {
    let case = Case::new();
    fs::create_dir(case.path("empty")).expect("a folder");
    for path in ["nothing.yaml", "empty"] {
        let (code, _, err) = case.run(&["policy", "check", path]);
        assert_eq!(code, 2);
        assert!(err.contains(path), "{err}");
    }
}

const VERDICT: [&str; 8] =
    ["policy", "verdict", "--inventory", "inventory.yaml", "--policies", "policies", "--flows", "flows.json"];

#[test]
fn verdict_answers_in_the_shape_of_verdicts_json() {
    let case = Case::new();
    let mut words = VERDICT.to_vec();
    words.extend(["-o", "json"]);
    let (code, out, err) = case.run(&words);
    assert_eq!((code, err.as_str()), (0, ""));
    let value = json(&out);
    let [good, bad] = [&value["verdicts"][0], &value["verdicts"][1]];
    assert_eq!(
        (&good["egress"], &good["ingress"], &good["verdict"]),
        (&"allowed".into(), &"allowed".into(), &"allowed".into())
    );
    assert_eq!(
        (&bad["ingress"], &bad["l4"], &bad["verdict"]),
        (&"denied".into(), &"denied".into(), &"denied".into())
    );
    assert_eq!(good["rules"]["ingress"][0]["policy"], "shop/web");
    assert_eq!(good["rules"]["ingress"][0]["file"], "policies/web.yaml");
    assert_eq!(value["policies"][0]["accepted"], true);
}

#[test]
fn an_empty_list_means_what_the_flag_says() {
    let case = Case::new();
    let policy =
        POLICY.split("  ingress:").next().expect("a head").to_owned() + "  ingress: []\n  egress: [{}]\n";
    case.write("policies/web.yaml", &policy);
    let ingress = |words: &[&str]| {
        let all: Vec<&str> = VERDICT.iter().chain(["-o", "json"].iter()).chain(words).copied().collect();
        json(&case.run(&all).1)["verdicts"][0]["ingress"].clone()
    };
    assert_eq!(ingress(&[]), "denied");
    assert_eq!(ingress(&["--empty-list-means", "nothing"]), "allowed");
}

#[test]
fn explain_tells_the_rule_and_answers_by_exit_code() {
    let case = Case::new();
    let explain = |from: &str| {
        let to = [
            "--to",
            "shop/web",
            "--port",
            "80/TCP",
            "--inventory",
            "inventory.yaml",
            "--policies",
            "policies",
        ];
        let mut words = vec!["policy", "explain", "--from", from];
        words.extend(to);
        case.run(&words)
    };
    let (code, out, err) = explain("shop/client");
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("shop/web") && out.contains("policies/web.yaml:"), "{out}");
    let (code, out, _) = explain("shop/other");
    assert_eq!(code, 1);
    assert!(out.contains("denied"), "{out}");
    let (code, _, err) = explain("shop/nobody");
    assert_eq!(code, 2);
    assert!(err.contains("nobody"), "{err}");
}

#[test]
fn diff_lists_the_flows_that_change() {
    let case = Case::new();
    case.write("new.yaml", &POLICY.replace("app: client", "app: other"));
    let diff = |old: &str, new: &str| {
        case.run(&[
            "policy",
            "diff",
            old,
            new,
            "--flows",
            "flows.json",
            "--inventory",
            "inventory.yaml",
            "-o",
            "json",
        ])
    };
    let (code, out, _) = diff("policies", "new.yaml");
    assert_eq!(code, 1);
    let value = json(&out);
    let ids: Vec<&str> = value["changed"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|c| c["flow"]["id"].as_str())
        .collect();
    assert_eq!((ids, &value["flows"]), (vec!["good", "bad"], &2.into()));
    let (code, out, _) = diff("policies", "policies");
    assert_eq!((code, json(&out)["changed"].as_array().map(Vec::len)), (0, Some(0)));
}

/// 50 MB of policy, an expression that explodes, and documents that do: all refused, soon, with a place.
#[test]
fn what_would_take_too_much_is_refused_soon() {
    let case = Case::new();
    case.write("big.yaml", &"a: b\n".repeat(10_000_000));
    case.write(
        "regex.yaml",
        &POLICY.replace("TCP}]}]", "TCP}], rules: {http: [{path: \"((a{1000}){1000}){1000}\"}]}}]"),
    );
    case.write("deep.yaml", &format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)));
    let laughs = (1..40).fold("a0: &a0 [x]\n".to_owned(), |text, n| {
        let below = format!("*a{}", n - 1);
        format!("{text}a{n}: &a{n} [{}]\n", [below.as_str(); 9].join(", "))
    });
    case.write("laughs.yaml", &laughs);
    for (file, expected) in [
        ("big.yaml", "big.yaml:1:1: error: more than the 8388608 bytes that are read"),
        ("regex.yaml", "regex.yaml:8:"),
        ("deep.yaml", "deep.yaml:1:"),
        ("laughs.yaml", "aliases expand to more than"),
    ] {
        let begun = std::time::Instant::now();
        let (code, out, err) = case.run(&["policy", "check", file]);
        assert_eq!(code, 1, "{file}: {out}{err}");
        assert!(out.contains(expected), "{file}: {out}");
        assert!(begun.elapsed().as_secs() < 20, "{file} took {:?}", begun.elapsed());
    }
    let (code, _, err) = case.run(&[
        "policy",
        "verdict",
        "--inventory",
        "inventory.yaml",
        "--policies",
        "big.yaml",
        "--flows",
        "flows.json",
    ]);
    assert!(code == 2 && err.contains("big.yaml: more than the 8388608 bytes"), "{err}");
}

/// What `sluice observe -o json` wrote, judged by the policies before and after.
#[test]
fn diff_takes_a_recording() {
    let case = Case::new();
    let http = "TCP}], rules: {http: [{method: GET}]}}]";
    case.write("new.yaml", &POLICY.replace("TCP}]}]", http));
    let record = |method: &str, reply: bool| {
        format!(
            "{{\"flow\":{{\"source\":{{\"namespace\":\"shop\",\"pod_name\":\"client\"}},\"destination\":{{\"namespace\":\"shop\",\"pod_name\":\"web\"}},\
             \"l4\":{{\"TCP\":{{\"destination_port\":80}}}},\"l7\":{{\"type\":\"REQUEST\",\"http\":{{\"method\":\"{method}\",\"url\":\"http://web/x\"}}}},\
             \"is_reply\":{reply}}},\"node_name\":\"n1\"}}\n"
        )
    };
    let lines = [record("GET", false), record("PUT", false), record("PUT", false), record("GET", true)];
    case.write("flows.jsonl", &lines.concat());
    let words =
        ["policy", "diff", "policies", "new.yaml", "--flows", "flows.jsonl", "--inventory", "inventory.yaml"];
    let (code, out, err) = case.run(&[&words[..], &["-o", "json"]].concat());
    assert_eq!(code, 1, "{err}");
    let value = json(&out);
    assert_eq!(
        (&value["flows"], &value["records"], &value["ignored"]["reply"]),
        (&2.into(), &3.into(), &1.into())
    );
    let changed = value["changed"].as_array().expect("a list");
    assert_eq!(changed.len(), 1, "{out}");
    assert_eq!((&changed[0]["flow"]["http"]["method"], &changed[0]["records"]), (&"PUT".into(), &2.into()));
    let (_, table, _) = case.run(&words);
    assert!(table.contains("PUT web/x") && table.contains("not judged: 1 records (reply)"), "{table}");
    case.write("flows.jsonl", &format!("{}nonsense\n", lines.concat()));
    let (code, _, err) = case.run(&words);
    assert!(code == 2 && err.contains("flows.jsonl:5: not a line of JSON"), "{err}");
}

/// Everything about one message on one screen.
#[test]
fn explain_reaches_into_messages() {
    let case = Case::new();
    let rules = "TCP}], rules: {http: [{method: GET}, {method: PUT, headerMatches: [{name: X, value: a, mismatch: ADD}]}]}}]";
    case.write("http.yaml", &POLICY.replace("TCP}]}]", rules));
    let ask = |more: &[&str]| {
        let words = ["policy", "explain", "--inventory", "inventory.yaml", "--policies", "http.yaml"];
        let ends = ["--from", "shop/client", "--to", "shop/web", "--port", "80/TCP"];
        case.run(&[&words[..], &ends, more].concat())
    };
    assert_eq!(ask(&["--http", "GET /x"]).0, 0);
    let (code, out, _) = ask(&["--http", "DELETE /a.b"]);
    assert_eq!(code, 1);
    assert!(out.contains("message does not fit [http method GET"), "{out}");
    assert!(
        out.contains(r#"add to `http` of web (http.yaml:7): {method: "DELETE", path: "/a\\.b"}"#),
        "{out}"
    );
    let (_, out, _) = ask(&["--http", "PUT /", "--header", "X: b", "-o", "json"]);
    let value = json(&out);
    assert_eq!(value["verdict"]["needs_rewriting"], true, "{out}");
    assert_eq!(value["sides"][1]["considered"][0]["message"], "fits-rewritten", "{out}");
    let (code, out, _) = ask(&["--kafka", "produce:orders"]);
    assert!(code == 1 && out.contains("the connection is read as http"), "{out}");
    assert_eq!(ask(&["--http", "GET /", "--header", "nonsense"]).0, 2);
}
