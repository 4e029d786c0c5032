//! Records that leave memory, of a real node: files of exporters, and a history that reaches beyond a tiny ring and a
//! restart.

mod support;

use serde_json::Value;
use sluice::testbed::PodSpec;
use std::fs;
use std::path::Path;
use std::time::Duration;
use support::{Lab, RELOAD, allow, eventually, lab, options};

/// Records that memory holds.
const RING: usize = 64;

fn start(lab: &mut Lab) {
    let dir = lab.file("history");
    let sections = format!("flowLog: {{capacity: {RING}}}\nhistory: {{dir: {}}}\n", dir.display());
    lab.start_agent(options("drop").with_settings(&sections)).expect("the agent starts");
}

/// Lines of a file, each a record as `observe -o json` prints it.
fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("a whole line")).collect()
}

fn uuids(records: &[Value]) -> Vec<String> {
    records.iter().map(|r| r["flow"]["uuid"].as_str().expect("a uuid").to_owned()).collect()
}

fn observe(lab: &Lab, args: &[&str]) -> Vec<Value> {
    let argv: Vec<&str> = std::iter::once("observe").chain(args.iter().copied()).collect();
    lab.agent_ref().json(&argv).expect("observe")
}

fn errors(lab: &Lab) -> Vec<String> {
    let status = lab.agent_ref().json(&["status"]).expect("status").remove(0);
    let text = |error: &Value| error.as_str().expect("a text").to_owned();
    status["errors"].as_array().expect("a list").iter().map(text).collect()
}

#[test]
fn records_leave_memory_and_are_found_again() {
    let Some(mut lab) = lab("records_leave_memory_and_are_found_again") else { return };
    for name in ["client", "stranger", "server"] {
        lab.add_pod(PodSpec::new("lab", name, &format!("app={name}"))).expect("a pod");
    }
    lab.echo("lab/server", "tcp", 7);
    lab.write_policy("server", &allow("server", "app=client", "app=server", 7)).expect("written");
    let (everything, drops) = (lab.file("everything.log"), lab.file("drops.log"));
    let file = lab.config_dir().join("exporters.yaml");
    let first = format!(
        "flowLogs:\n- name: everything\n  filePath: {}\n- name: drops\n  filePath: {}\n  \
         includeFilters: [{{verdict: [DROPPED]}}]\n  fieldMask: [uuid, verdict, drop_reason_desc, source.pod_name]\n",
        everything.display(),
        drops.display()
    );
    fs::write(&file, &first).expect("written");
    start(&mut lab);
    let server = lab.pod("lab/server").ipv4();

    // What is denied early is long gone from memory at the end.
    lab.silence("lab/stranger", "tcp", server, 7);
    lab.drops("lab/stranger", "POLICY_DENIED");
    for _ in 0..40 {
        lab.answers("lab/client", "tcp", server, 7);
    }
    let old =
        |lab: &Lab| observe(lab, &["--since", "10m", "--verdict", "DROPPED", "--from-pod", "lab/stranger"]);
    let denied = old(&lab);
    assert!(!denied.is_empty(), "the history reaches beyond {RING} records");
    let all = observe(&lab, &["--all"]);
    assert!(all.len() > 2 * RING, "{}", all.len());
    let mut names = uuids(&all);
    assert_eq!(uuids(&observe(&lab, &["--first", "5"])), names[..5]);
    let (count, stranger) = (names.len(), uuids(&denied));
    assert!(!names[count - RING..].contains(&stranger[0]), "it would still be in memory");
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "no record twice");

    // The files say the same.
    eventually("the file has all", RELOAD, || {
        let written = uuids(&lines(&everything));
        uuids(&all).iter().all(|name| written.contains(name))
    });
    let line = &lines(&everything)[0];
    assert_eq!(line["node_name"], line["flow"]["node_name"], "{line}");
    assert_eq!(line["time"], line["flow"]["time"], "{line}");
    let read = [
        "observe",
        "--input-file",
        everything.to_str().expect("UTF-8"),
        "--verdict",
        "DROPPED",
        "--last",
        "1",
    ];
    let output = lab.agent_ref().cli(&read).expect("observe");
    assert!(output.stdout.contains("lab/stranger") && output.stdout.contains("DROPPED"), "{}", output.text());
    let masked = lines(&drops);
    let record = masked.iter().find(|r| r["flow"]["uuid"] == stranger[0].as_str()).expect("the drop");
    let wanted = serde_json::json!({
        "uuid": stranger[0], "verdict": "DROPPED", "drop_reason_desc": "POLICY_DENIED",
        "source": {"pod_name": "stranger"},
    });
    assert_eq!(record["flow"], wanted);

    // A wrong file is told with its place and changes nothing.
    fs::write(&file, first.replace("filePath:", "filePaht:")).expect("written");
    eventually("the error is shown", RELOAD, || {
        errors(&lab)
            .iter()
            .any(|e| e.starts_with("exporters.yaml:3:3: ") && e.contains("did you mean `filePath`?"))
    });
    let before = lines(&everything).len();
    lab.answers("lab/client", "tcp", server, 7);
    eventually("lines go on", RELOAD, || lines(&everything).len() > before);

    // A right one: an exporter goes, one comes whose disk is full.
    fs::write(&file, first.replace(&*drops.to_string_lossy(), "/dev/full")).expect("written");
    lab.silence("lab/stranger", "tcp", server, 7);
    eventually("the full disk is shown", RELOAD, || {
        errors(&lab) == ["exporter drops: No space left on device (os error 28)"]
    });
    let metrics = lab.agent_ref().cli(&["metrics"]).expect("metrics").stdout;
    for line in [
        "hubble_dynamic_exporter_exporters_total{status=\"active\"} 2",
        "hubble_dynamic_exporter_up{name=\"everything\"} 1",
        "hubble_dynamic_exporter_up{name=\"drops\"} 0",
        "hubble_dynamic_exporter_reconfigurations_total{op=\"update\"} 1",
        "sluice_history_lost_records_total 0",
    ] {
        assert!(metrics.lines().any(|have| have == line), "{line} in {metrics}");
    }
    fs::remove_file(&file).expect("removed");
    eventually("no exporters, no errors", RELOAD, || errors(&lab).is_empty());

    // After a crash and after a clean end the history still answers, and is added to.
    std::thread::sleep(Duration::from_secs(1));
    lab.agent().kill();
    start(&mut lab);
    assert_eq!(uuids(&old(&lab))[..stranger.len()], stranger, "after a crash");
    lab.answers("lab/client", "tcp", server, 7);
    assert_eq!(lab.agent().stop(), Some(0));
    let folder = lab.file("history");
    let offline = observe(&lab, &["--history", folder.to_str().expect("UTF-8"), "--first", "5"]);
    assert_eq!(uuids(&offline), uuids(&all)[..5], "without a service");
    start(&mut lab);
    let after = observe(&lab, &["--all"]);
    assert!(after.len() > all.len(), "{} {}", after.len(), all.len());
    assert_eq!(uuids(&after)[..all.len()], uuids(&all), "after a restart");
}
