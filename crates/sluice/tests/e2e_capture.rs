//! `sluice capture` on a running node, read back with tshark, and replayed with the node's own configuration.

mod support;

use serde_json::Value;
use sluice::testbed::{PodSpec, Proc, exec, servers};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use support::{Lab, eventually, lab};

const LIMIT: Duration = Duration::from_secs(60);

const POLICY: &str = r#"apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: server, namespace: lab}
spec:
  endpointSelector: {matchLabels: {app: server}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: client}}]
    toPorts:
    - ports: [{port: "80", protocol: TCP}]
      rules: {http: [{method: GET, path: "/public.*"}]}
  - fromEndpoints: [{matchLabels: {app: client}}]
    toPorts: [{ports: [{port: "9", protocol: TCP}]}]
"#;

/// client, stranger and server; HTTP in the server, which the client may ask for something.
fn web(test: &str) -> Option<Lab> {
    let mut lab = lab(test)?;
    for name in ["client", "stranger", "server"] {
        lab.add_pod(PodSpec::new("lab", name, &format!("app={name}"))).expect("a pod");
    }
    servers::start_http(&mut lab, "lab/server", 80).expect("a server");
    lab.write_policy("server", POLICY).expect("written");
    lab.start();
    Some(lab)
}

/// A capture under way.
struct Capture {
    proc: Proc,
    file: PathBuf,
}

impl Capture {
    #[track_caller]
    fn start(lab: &Lab, name: &str, args: &[&str]) -> Self {
        let file = lab.file(&format!("{name}.pcapng"));
        let mut command = lab.agent_ref().command(&["capture", "-o"]);
        command.arg(&file).args(args);
        let log = lab.file(&format!("{name}.log"));
        let proc = Proc::spawn(name, &mut command, &log).expect("it starts");
        // The head of the file is there once the tap is open.
        eventually("the capture begins", LIMIT, || {
            std::fs::metadata(&file).is_ok_and(|meta| meta.len() > 100)
        });
        Self { proc, file }
    }

    /// Stops it as a user does, and answers what it said.
    #[track_caller]
    fn stop(self) -> (PathBuf, String) {
        self.proc.signal(nix::sys::signal::Signal::SIGINT);
        self.end()
    }

    /// Waits for its end.
    #[track_caller]
    fn end(mut self) -> (PathBuf, String) {
        assert_eq!(self.proc.wait(LIMIT), Some(0), "{}", self.proc.log());
        (self.file, self.proc.log())
    }
}

/// Fields of every frame, as tshark reads them.
#[track_caller]
fn tshark(file: &Path, fields: &[&str]) -> Vec<Vec<String>> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(file).args(["-T", "fields", "-E", "separator=|"]);
    for field in fields {
        command.args(["-e", field]);
    }
    let output = exec::check(&mut command, LIMIT).expect("tshark reads it");
    output.stdout.lines().map(|line| line.split('|').map(str::to_owned).collect()).collect()
}

fn curl(lab: &Lab, pod: &str, paths: &[&str]) -> String {
    let address = lab.pod("lab/server").ipv4();
    let urls: Vec<String> = paths.iter().map(|path| format!("http://{address}{path}")).collect();
    lab.run(pod, &format!("curl -s -m 2 -w %{{http_code}}\\n -o /dev/null {}", urls.join(" "))).1
}

/// Polls until the file has a frame with this in its comment.
#[track_caller]
fn captured(file: &Path, text: &str) {
    let text = text.as_bytes();
    eventually(&format!("{} in the capture", String::from_utf8_lossy(text)), Duration::from_secs(5), || {
        let bytes = std::fs::read(file).unwrap_or_default();
        bytes.windows(text.len()).any(|part| part == text)
    });
}

#[test]
fn frames_carry_the_decision_and_replay_decides_the_same() {
    let Some(lab) = web("frames_carry_the_decision_and_replay_decides_the_same") else { return };
    let capture = Capture::start(&lab, "all", &[]);
    let said = curl(&lab, "lab/client", &["/public/a", "/private", "/public/b"]);
    assert_eq!(said.replace('\r', "").lines().collect::<Vec<_>>()[0], "200", "{said}");
    assert!(said.contains("403"), "{said}");
    curl(&lab, "lab/stranger", &["/public/a"]);
    captured(&capture.file, "DROPPED POLICY_DENIED");
    let (file, log) = capture.stop();
    assert!(log.contains(" frames captured of ") && log.contains("none lost; stopped"), "{log}");

    let info = exec::check(Command::new("capinfos").arg(&file), LIMIT).expect("capinfos").text();
    assert!(
        info.contains("Wireshark/... - pcapng") && info.contains("Number of interfaces in file: 4"),
        "{info}"
    );
    assert!(info.contains("File timestamp precision:  nanoseconds (9)"), "{info}");

    let (client, server) = (lab.pod("lab/client"), lab.pod("lab/server"));
    let frames = tshark(
        &file,
        &[
            "frame.interface_name",
            "frame.interface_description",
            "ip.src",
            "tcp.flags.syn",
            "http.request.uri",
            "frame.comment",
        ],
    );
    let find = |what: &str, is: &dyn Fn(&[String]) -> bool| {
        let found = frames.iter().find(|frame| is(frame));
        found.unwrap_or_else(|| panic!("no {what} in {frames:#?}")).clone()
    };
    let comment = |frame: &[String]| frame.last().cloned().unwrap_or_default();

    let syn = find("SYN of the client", &|f| f[1] == "lab/client" && (f[3] == "1" || f[3] == "True"));
    assert_eq!((&*syn[0], &*syn[2]), (client.interface(), &*client.ipv4().to_string()));
    let text = comment(&syn);
    assert!(text.starts_with("FORWARDED; ingress allowed by lab/server (policies/server.yaml:"), "{text}");
    assert!(text.contains("lab/client:") && text.contains("k8s:app=client"), "{text}");
    assert!(text.contains(" -> lab/server:80 (ID ") && text.contains("k8s:app=server"), "{text}");
    assert!(text.ends_with("connection SYN sent, inspected"), "{text}");

    let reply = find("answer of the server", &|f| f[1] == "lab/server" && (f[3] == "1" || f[3] == "True"));
    assert_eq!(reply[0], server.interface());
    assert!(comment(&reply).contains("connection SYN received, reply, inspected"), "{}", comment(&reply));

    let text = comment(&find("public request", &|f| f[4] == "/public/a" && f[1] == "lab/client"));
    assert!(text.contains("; L7 FORWARDED HTTP/1.1 GET http://"), "{text}");
    assert!(text.contains("/public/a, ingress by lab/server (policies/server.yaml:"), "{text}");
    let text = comment(&find("private request", &|f| f[4] == "/private"));
    assert!(text.starts_with("TAKEN over"), "{text}");
    assert!(text.contains("; L7 DROPPED HTTP/1.1 403 GET http://"), "{text}");
    assert!(text.contains("/private, ingress default deny of lab/server (policies/server.yaml:"), "{text}");
    let denied = find("SYN of the stranger", &|f| f[1] == "lab/stranger" && f[5].contains("POLICY"));
    let text = comment(&denied);
    assert!(
        text.starts_with(
            "DROPPED POLICY_DENIED (Policy denied); ingress default deny of lab/server (policies/server.yaml:"
        ),
        "{text}"
    );
    assert!(text.contains("no ingress rule of lab/server allows 80/TCP from lab/stranger"), "{text}");

    // The same decisions again, from the file and the configuration alone.
    let live = exec::check(
        &mut lab.agent_ref().command(&["observe", "--port", "80", "--last", "4000", "-o", "json"]),
        LIMIT,
    )
    .expect("observe");
    let log = lab.file("live.jsonl");
    std::fs::write(&log, &live.stdout).expect("written");
    let replay = |expected: &Path| {
        let mut command =
            lab.agent_ref().command(&["replay", "--port", "80", "--print-policy-names", "--pcap"]);
        command.arg(&file).arg("--config").arg(lab.agent_ref().config_dir()).arg("--expect").arg(expected);
        exec::run(&mut command, LIMIT).expect("it runs")
    };
    let again = replay(&log);
    assert!(again.ok(), "{}", again.text());
    assert!(again.text().contains("as expected: "), "{}", again.text());
    let wrong = lab.file("wrong.jsonl");
    let changed = live.stdout.replace("\"verdict\":\"REDIRECTED\"", "\"verdict\":\"FORWARDED\"");
    assert_ne!(changed, live.stdout);
    std::fs::write(&wrong, changed).expect("written");
    let differs = replay(&wrong);
    assert!(
        !differs.ok() && differs.text().contains("+ lab/client -> lab/server 80/TCP ingress: REDIRECTED"),
        "{}",
        differs.text()
    );
}

#[test]
fn filters_and_limits_hold() {
    let Some(lab) = web("filters_and_limits_hold") else { return };
    // Three drops and no more; nothing of what passes.
    let drops = Capture::start(
        &lab,
        "drops",
        &["--verdict", "DROPPED", "--from-pod", "lab/stranger", "--count", "3"],
    );
    let paths = Capture::start(&lab, "paths", &["--http-path", "^/private$", "--from-pod", "lab/client"]);
    let server = Capture::start(&lab, "server", &["--on", "lab/server", "--tcp-flags", "SYN,ACK"]);
    let own = Capture::start(&lab, "own", &["--generated", "--filter", r#"{"source_pod":["lab/server"]}"#]);

    // Four are the most.
    let fifth = lab.agent_ref().cli(&["capture", "-o", "/dev/null", "--duration", "1s"]).expect("it runs");
    assert!(!fifth.ok() && fifth.text().contains("4 captures are running already"), "{}", fifth.text());

    for _ in 0..3 {
        curl(&lab, "lab/client", &["/public/a", "/private"]);
        curl(&lab, "lab/stranger", &["/public/a"]);
    }
    let (file, said) = drops.end();
    assert!(said.contains("3 frames captured") && said.contains("the number of frames is reached"), "{said}");
    let frames = tshark(&file, &["frame.interface_description", "frame.comment"]);
    assert_eq!(frames.len(), 3);
    assert!(
        frames.iter().all(|f| f[0] == "lab/stranger" && f[1].starts_with("DROPPED POLICY_DENIED")),
        "{frames:?}"
    );

    let (file, _) = paths.stop();
    let uris = tshark(&file, &["http.request.uri"]);
    assert_eq!(uris, vec![vec!["/private".to_owned()]; 3]);

    let (file, _) = server.stop();
    let flags = tshark(&file, &["frame.interface_description", "tcp.flags"]);
    assert!(flags.len() >= 3 && flags.iter().all(|f| f[0] == "lab/server" && f[1] == "0x0012"), "{flags:?}");

    let (file, _) = own.stop();
    let made = tshark(&file, &["frame.packet_flags_direction", "http.response.code", "frame.comment"]);
    let refusals: Vec<_> = made.iter().filter(|f| f[1] == "403").collect();
    assert!(refusals.len() >= 3, "{made:#?}");
    assert!(
        refusals.iter().all(|f| f[0].ends_with('2') && f[2].starts_with("GENERATED by sluice")),
        "{refusals:?}"
    );

    // Size and time.
    let small = Capture::start(&lab, "small", &["--max-size", "3K"]);
    curl(&lab, "lab/client", &["/public/a", "/public/b", "/public/c", "/public/d"]);
    let (file, said) = small.end();
    assert!(said.contains("the largest size is reached"), "{said}");
    let frames = tshark(&file, &["frame.len"]).len();
    assert!((1..12).contains(&frames), "{frames}");
    let timed = Capture::start(&lab, "timed", &["--duration", "300ms", "--snaplen", "60"]);
    curl(&lab, "lab/client", &["/public/a"]);
    let (file, said) = timed.end();
    assert!(said.contains("the time is over"), "{said}");
    assert!(tshark(&file, &["frame.cap_len"]).iter().all(|f| f[0].parse::<u32>().is_ok_and(|len| len <= 60)));

    for (args, part) in [
        (&["--on", "lab/nobody"][..], "no port lab/nobody; there are"),
        (&["--filter", "{\"pod\":1}"], "--filter"),
        (&["--http-path", "("], "http-path"),
        (&["--max-size", "lots"], "64M"),
    ] {
        let argv = [&["capture", "-o", "/dev/null", "--duration", "1s"], args].concat();
        let output = lab.agent_ref().cli(&argv).expect("it runs");
        assert!(!output.ok() && output.text().contains(part), "{args:?}: {}", output.text());
    }
}

/// A client that does not read: the node goes on, memory is bounded, and what was lost is told.
#[test]
fn a_slow_reader_loses_frames_and_is_told() {
    let Some(mut lab) = web("a_slow_reader_loses_frames_and_is_told") else { return };
    lab.sink("lab/server", 9);
    let mut stream = UnixStream::connect(lab.agent_ref().socket()).expect("it listens");
    stream.write_all(b"{\"capture\":{\"frames\":1000000,\"bytes\":1000000000}}\n").expect("asked");
    std::thread::sleep(Duration::from_millis(300));
    let server = lab.pod("lab/server").ipv4().to_string();
    let sent = lab.peer("lab/client", &["send", &server, "9", "40000000"]);
    assert_eq!(sent["end"], "ok", "traffic does not care: {sent}");
    stream.shutdown(std::net::Shutdown::Write).expect("enough");
    let mut reader = BufReader::new(stream);
    let mut file = Vec::new();
    let done = loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("an answer");
        let part: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no part: {line:?}"));
        match part["bytes"].as_u64() {
            Some(len) => drop(reader.by_ref().take(len).read_to_end(&mut file).expect("as many bytes")),
            None => break part["done"].clone(),
        }
    };
    let number = |key: &str| done[key].as_u64().unwrap_or_else(|| panic!("{done}"));
    assert!(number("lost") > 100, "{done}");
    assert_eq!(number("seen"), number("frames") + number("lost"), "{done}");
    let path = lab.file("slow.pcapng");
    std::fs::write(&path, &file).expect("written");
    let info = exec::check(Command::new("capinfos").args(["-M", "-c"]).arg(&path), LIMIT).expect("capinfos");
    assert!(info.stdout.contains(&format!("Number of packets:   {}\n", number("frames"))), "{}", info.text());
}
