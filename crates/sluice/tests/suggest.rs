//! `sluice policy suggest` on a recording: what is read, whom it is for, what is printed.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

fn record(from: &str, to: &str, port: u16) -> String {
    let end = |name: &str| {
        let (namespace, app) = name.split_once('/').expect("a namespace and an app");
        format!(
            r#"{{"ID":7,"identity":300,"namespace":"{namespace}","pod_name":"{app}-1","labels":["k8s:app={app}","k8s:io.kubernetes.pod.namespace={namespace}"]}}"#
        )
    };
    format!(
        r#"{{"flow":{{"time":"2025-11-21T10:00:00Z","verdict":"FORWARDED","IP":{{"source":"10.0.0.1","destination":"10.0.0.2"}},"l4":{{"TCP":{{"source_port":40000,"destination_port":{port}}}}},"source":{},"destination":{},"event_type":{{"type":4}},"is_reply":false}}}}"#,
        end(from),
        end(to),
    )
}

/// Two flows of namespace `shop`, one of `jobs`, and lines that are no flows.
fn recording() -> String {
    let flows = [
        record("shop/web", "shop/api", 80),
        record("jobs/report", "shop/db", 5432),
        record("jobs/report", "jobs/queue", 90),
    ];
    format!("{}\n\n{{\"lost_events\":{{\"num_events_lost\":1}}}}\n", flows.join("\n"))
}

fn suggest(args: &[&str], stdin: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
    command.args(["policy", "suggest"]).args(args);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    // A wrong command line ends it before it reads.
    let _closed = child.stdin.take().expect("piped").write_all(stdin.as_bytes());
    child.wait_with_output().expect("it ends")
}

/// `namespace/name` of the documents.
fn names(output: &Output) -> Vec<String> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let loaded = policy::document::load(&text, "suggested.yaml", &policy::document::Options::default());
    assert!(loaded.is_valid(), "{text}");
    loaded.policies.iter().map(|policy| format!("{}/{}", policy.namespace, policy.name)).collect()
}

#[test]
fn a_file_or_standard_input_and_whom_it_is_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("flows.json");
    std::fs::write(&file, recording()).expect("written");
    let file = file.to_str().expect("a plain path");
    let all = [
        "jobs/queue-suggested",
        "jobs/report-suggested",
        "shop/api-suggested",
        "shop/db-suggested",
        "shop/web-suggested",
    ];
    assert_eq!(names(&suggest(&["--flows", file], "")), all);
    assert_eq!(names(&suggest(&["--flows", "-"], &recording())), all);
    assert_eq!(names(&suggest(&["--flows", file, "-n", "shop"], "")), all[2..]);
    assert_eq!(names(&suggest(&["--flows", file, "--for", "shop/app=db"], "")), all[3..4]);
    assert_eq!(names(&suggest(&["--flows", file, "-o", "json"], "")), all);
    assert_eq!(
        names(&suggest(&["--flows", file, "--first", "1"], "")),
        ["shop/api-suggested", "shop/web-suggested"]
    );
    assert_eq!(names(&suggest(&["--flows", file, "--last", "1"], "")), all[..2]);
    let part = suggest(&["--flows", file, "--to-port", "80"], "");
    assert_eq!(names(&part), ["shop/api-suggested", "shop/web-suggested"]);
    assert!(String::from_utf8_lossy(&part.stderr).contains("made from a selection"), "{part:?}");
    assert!(
        !String::from_utf8_lossy(&part.stdout).contains("- {}"),
        "nothing is closed on a part of the traffic"
    );
}

#[test]
fn a_suggestion_has_nothing_to_add_to_itself() {
    let first = suggest(&["--flows", "-"], &recording());
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("first.yaml"), &first.stdout).expect("written");
    let path = folder.path().to_str().expect("a plain path");
    let second = suggest(&["--flows", "-", "--existing", path], &recording());
    assert!(second.status.success() && second.stdout.is_empty(), "{second:?}");
    assert!(String::from_utf8_lossy(&second.stderr).contains("nothing to suggest"), "{second:?}");
}

#[test]
fn what_cannot_be_read_is_said_with_its_place() {
    let cases: [(&[&str], &str, &str); 5] = [
        (&["--flows", "-"], "{\"flow\":{}}\nno json\n", "standard input:2"),
        (&["--flows", "-"], "{\"what\":1}\n", "not a record of a flow log"),
        (&["--flows", "-"], "{\"error\":\"gone\"}\n", "ends with an error"),
        (&["--flows", "/nowhere"], "", "/nowhere"),
        (&["--for", "app=web"], "", "NAMESPACE/KEY=VALUE"),
    ];
    for (args, stdin, said) in cases {
        let output = suggest(args, stdin);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(said), "{said}: {output:?}");
    }
}
