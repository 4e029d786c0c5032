//! `sluice replay` on captures made here: what a node with this configuration would have decided.

use assert_cmd::Command;
use packet::emit::{self, Envelope, Segment};
use packet::io::pcap::{CaptureReader, NgFrame, NgWriter};
use packet::{Addr, L4, MacAddr, Parsed, TcpFlags};
use serde_json::Value;
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use tempfile::TempDir;

const SYN: u8 = TcpFlags::SYN;
const ACK: u8 = TcpFlags::ACK;
const PSH: u8 = TcpFlags::PSH;

const CLIENT: [u8; 4] = [10, 0, 0, 1];
const SERVER: [u8; 4] = [10, 0, 0, 2];
const STRANGER: [u8; 4] = [10, 0, 0, 3];
const RESOLVER: [u8; 4] = [10, 0, 0, 53];
const OUTSIDE: [u8; 4] = [198, 51, 100, 9];

const INVENTORY: &str = "
nodes: [{name: n1, ips: [192.168.0.1]}]
pods:
- {name: client, namespace: lab, node: n1, labels: {app: client}, ips: [10.0.0.1], interface: veth1}
- {name: server, namespace: lab, node: n1, labels: {app: server}, ips: [10.0.0.2], interface: veth2}
- {name: stranger, namespace: lab, node: n1, labels: {app: stranger}, ips: [10.0.0.3], interface: veth3}
- {name: resolver, namespace: lab, node: n1, labels: {app: resolver}, ips: [10.0.0.53], interface: veth4}
";

const POLICIES: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: server, namespace: lab}
spec:
  endpointSelector: {matchLabels: {app: server}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: client}}]
    toPorts:
    - ports: [{port: "80", protocol: TCP}]
      rules: {http: [{method: GET, path: "/public.*"}]}
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: stranger, namespace: lab}
spec:
  endpointSelector: {matchLabels: {app: stranger}}
  egress:
  - toEndpoints: [{matchLabels: {app: server}}]
  - toEndpoints: [{matchLabels: {app: resolver}}]
    toPorts:
    - ports: [{port: "53", protocol: UDP}]
      rules: {dns: [{matchPattern: "*.example.com"}]}
  - toFQDNs: [{matchName: api.example.com}]
    toPorts: [{ports: [{port: "443", protocol: TCP}]}]
"#;

/// A configuration folder and captures.
struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        for (folder, text) in [("inventory", INVENTORY), ("policies", POLICIES)] {
            fs::create_dir_all(dir.path().join("config").join(folder)).expect("a folder");
            fs::write(dir.path().join("config").join(folder).join("all.yaml"), text).expect("written");
        }
        Self(dir)
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, content).expect("written");
        path
    }

    /// Replays a capture; exit code, standard output, standard error.
    fn replay(&self, capture: &[u8], args: &[&str]) -> (i32, String, String) {
        let path = self.file("in.pcap", capture);
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
        command.arg("replay").arg("--pcap").arg(path).arg("--config").arg(self.0.path().join("config"));
        let output = command.args(args).env_remove("SLUICE_CONFIG").output().expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }

    /// The same as records.
    fn records(&self, capture: &[u8], args: &[&str]) -> Vec<Value> {
        let (code, out, err) = self.replay(capture, &[args, &["-o", "json"]].concat());
        assert_eq!(code, 0, "{err}");
        let flow = |line: &str| {
            let value: Value = serde_json::from_str(line).expect("JSON");
            value.get("flow").cloned().unwrap_or(value)
        };
        out.lines().map(flow).collect()
    }
}

/// pcap in either byte order and resolution, a frame a millisecond.
fn pcap(frames: &[Vec<u8>], big: bool, nanos: bool) -> Vec<u8> {
    let half = |n: u16| if big { n.to_be_bytes() } else { n.to_le_bytes() };
    let word = |n: u32| if big { n.to_be_bytes() } else { n.to_le_bytes() };
    let magic = if nanos { 0xa1b2_3c4d } else { 0xa1b2_c3d4 };
    let mut file = [&word(magic)[..], &half(2), &half(4), &[0; 8], &word(262_144), &word(1)].concat();
    for (at, frame) in (1_u32..).zip(frames) {
        let len = u32::try_from(frame.len()).expect("short");
        let fraction = at * if nanos { 1_000_000 } else { 1_000 };
        file.extend([&word(1_763_719_200)[..], &word(fraction), &word(len), &word(len), frame].concat());
    }
    file
}

/// As captured somewhere: with Ethernet addresses that say nothing about our ports.
fn envelope(src: [u8; 4], dst: [u8; 4]) -> Envelope {
    Envelope {
        eth_src: MacAddr([0x02, 0x42, 0, 0, 0, src[3]]),
        eth_dst: MacAddr([0x02, 0x42, 0, 0, 0, 0xfe]),
        src: Addr::v4(src),
        dst: Addr::v4(dst),
        ttl: 64,
        traffic_class: 0,
    }
}

fn built(write: impl FnOnce(&mut [u8]) -> Option<usize>) -> Vec<u8> {
    let mut frame = vec![0; 1500];
    let len = write(&mut frame).expect("room");
    frame.truncate(len);
    frame
}

/// One TCP connection, both ends in step.
struct Tcp {
    ends: [([u8; 4], u16); 2],
    seq: [u32; 2],
}

impl Tcp {
    fn new(src: [u8; 4], sport: u16, dst: [u8; 4], dport: u16) -> Self {
        Self { ends: [(src, sport), (dst, dport)], seq: [1000, 5000] }
    }

    fn say(&mut self, end: usize, flags: u8, text: &[u8]) -> Vec<u8> {
        let ((src, src_port), (dst, dst_port)) = (self.ends[end], self.ends[1 - end]);
        let ack = if flags & ACK == 0 { 0 } else { self.seq[1 - end] };
        let segment =
            Segment { src_port, dst_port, seq: self.seq[end], ack, flags: TcpFlags(flags), window: 65_000 };
        let len = u32::try_from(text.len()).expect("short") + u32::from(flags & SYN != 0);
        self.seq[end] = self.seq[end].wrapping_add(len);
        built(|frame| emit::tcp(frame, &envelope(src, dst), &segment, &[], text))
    }

    fn handshake(&mut self) -> Vec<Vec<u8>> {
        vec![self.say(0, SYN, b""), self.say(1, SYN | ACK, b""), self.say(0, ACK, b"")]
    }
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: server\r\n\r\n").into_bytes()
}

/// The client asks the server for something public and something else; the stranger tries as well.
fn web() -> Vec<Vec<u8>> {
    let mut client = Tcp::new(CLIENT, 40_000, SERVER, 80);
    let mut frames = client.handshake();
    frames.push(client.say(0, ACK | PSH, &get("/public/a")));
    frames.push(client.say(1, ACK | PSH, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"));
    frames.push(client.say(0, ACK | PSH, &get("/private")));
    frames.push(Tcp::new(STRANGER, 41_000, SERVER, 80).say(0, SYN, b""));
    frames
}

/// What records say of connections and messages, in few words.
fn decisions(records: &[Value]) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let kinds = [1, 5, 129];
    let of_kind =
        records.iter().filter(|record| kinds.iter().any(|kind| record["event_type"]["type"] == *kind));
    of_kind
        .map(|record| {
            let ends = ["source", "destination"].map(|end| text(&record[end]["pod_name"]));
            let url = text(&record["l7"]["http"]["url"]);
            let what = if url.is_empty() { text(&record["drop_reason_desc"]) } else { url };
            format!("{}>{} {} {what}", ends[0], ends[1], text(&record["verdict"])).trim_end().to_owned()
        })
        .collect()
}

const WEB: [&str; 5] = [
    "client>server REDIRECTED",
    "client>server FORWARDED http://server/public/a",
    "server>client FORWARDED http://server/public/a",
    "client>server DROPPED http://server/private",
    "stranger>server DROPPED POLICY_DENIED",
];

#[test]
fn every_kind_of_capture_gives_the_same_decisions() {
    let bench = Bench::new();
    for (big, nanos) in [(false, true), (true, false), (true, true), (false, false)] {
        let records = bench.records(&pcap(&web(), big, nanos), &[]);
        let mut seen = decisions(&records);
        // The stranger's own egress side has its say before the server's.
        seen.retain(|line| line != "stranger>server FORWARDED");
        assert_eq!(seen, WEB, "big {big}, nanoseconds {nanos}");
        let refused = records.iter().find(|r| r["drop_reason_desc"] == "POLICY_DENIED" && r["l7"].is_null());
        let refused = refused.expect("the stranger's");
        assert_eq!(refused["time"], "2025-11-21T10:00:00.007000000Z", "time is the capture's");
        let by = &refused["extensions"]["default_deny"]["switched_on_by"][0];
        assert_eq!((&by["name"], &by["file"]), (&"server".into(), &"policies/all.yaml".into()));
    }
}

#[test]
fn filters_and_layouts_are_those_of_observe() {
    let bench = Bench::new();
    let capture = pcap(&web(), false, true);
    let (code, out, err) = bench.replay(&capture, &["--verdict", "DROPPED", "--from-pod", "lab/client"]);
    assert_eq!((code, out.lines().count()), (0, 1), "{out}{err}");
    assert!(out.contains("http-request DROPPED (HTTP/1.1 403 GET http://server/private)"), "{out}");
    assert!(out.contains("lab/server (policies/all.yaml:"), "{out}");
    assert!(
        err.contains("7 frames replayed (0.106 s)") && err.contains("2 connections").eq(&false),
        "one connection, the other was refused: {err}"
    );
    let (_, out, _) = bench.replay(&capture, &["--quiet"]);
    assert_eq!(out, "");
}

#[test]
fn frames_that_leave_are_written() {
    let bench = Bench::new();
    let out = bench.0.path().join("out.pcap");
    let (code, _, err) =
        bench.replay(&pcap(&web(), false, true), &["--out", out.to_str().expect("UTF-8"), "-q"]);
    assert_eq!(code, 0, "{err}");
    let mut reader = CaptureReader::new(fs::File::open(&out).expect("written")).expect("a capture");
    let (mut forwarded, mut refusals) = (0, 0);
    while let Some(record) = reader.next_record().expect("whole") {
        let Ok(Parsed::Ip(packet)) = packet::parse(&record.bytes, record.bytes.len()) else { panic!("IP") };
        assert!(matches!(packet.l4_header, L4::Tcp(_)));
        let text = String::from_utf8_lossy(&record.bytes);
        assert!(!text.contains("/private"), "a refused request does not leave");
        refusals += usize::from(text.contains("HTTP/1.1 403"));
        forwarded += usize::from(packet.ttl == 63);
    }
    assert_eq!((forwarded, refusals), (5, 1));
}

#[test]
fn expectations_are_met_or_the_difference_is_shown() {
    let bench = Bench::new();
    let capture = pcap(&web(), false, true);
    let (_, log, _) = bench.replay(&capture, &["-o", "json"]);
    let log = bench.file("log.jsonl", log);
    let log = log.to_str().expect("UTF-8");
    let (code, _, err) = bench.replay(&capture, &["-q", "--expect", log]);
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("as expected: "), "{err}");

    // A policy that lets the stranger in, and nobody read anything private or public.
    let policies = bench.0.path().join("config/policies/all.yaml");
    let changed = POLICIES.replace("app: client}}]\n    toPorts", "app: stranger}}]\n    toPorts");
    assert_ne!(changed, POLICIES);
    fs::write(&policies, changed).expect("written");
    let (code, _, err) = bench.replay(&capture, &["-q", "--expect", log]);
    assert_eq!(code, 1, "{err}");
    for line in [
        "NOT as expected in ",
        "- lab/client -> lab/server 80/TCP ingress: REDIRECTED",
        "- lab/client -> lab/server 80/TCP ingress GET http://server/private: DROPPED",
        "- lab/stranger -> lab/server 80/TCP ingress: DROPPED",
        "+ lab/client -> lab/server 80/TCP ingress: DROPPED",
        "+ lab/stranger -> lab/server 80/TCP ingress: REDIRECTED",
    ] {
        assert!(err.contains(line), "no `{line}` in:\n{err}");
    }
    fs::write(&policies, POLICIES).expect("written");

    let list = |text: &str| {
        let path = bench.file("list.yaml", text);
        bench.replay(&capture, &["-q", "--expect", path.to_str().expect("UTF-8")])
    };
    let (code, _, err) = list(
        "- {from: lab/client, to: lab/server, port: 80/TCP, verdict: FORWARDED}\n\
         - {from: lab/client, to: lab/server, http: GET /private, verdict: DROPPED}\n\
         - {from: lab/stranger, to: lab/server, port: 80, verdict: DROPPED}\n",
    );
    assert_eq!(code, 0, "{err}");
    let (code, _, err) = list("- {from: lab/stranger, to: lab/server, port: 80, verdict: FORWARDED}\n");
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("entry 1: lab/stranger -> lab/server 80: FORWARDED expected: but "), "{err}");
    let (code, _, err) = list("- {from: lab/stranger, verdict: FORWARDED}\n");
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("missing field `to`"), "{err}");
}

fn dns_name(name: &str) -> Vec<u8> {
    let labels = name
        .split('.')
        .flat_map(|label| std::iter::once(u8::try_from(label.len()).expect("short")).chain(label.bytes()));
    labels.chain([0]).collect()
}

/// A question of the stranger for an address, or its answer.
fn dns(id: u16, name: &str, answer: Option<[u8; 4]>) -> Vec<u8> {
    let flags: u16 = if answer.is_some() { 0x8180 } else { 0x0100 };
    let mut message: Vec<u8> =
        [id, flags, 1, u16::from(answer.is_some()), 0, 0].into_iter().flat_map(u16::to_be_bytes).collect();
    message.extend([&dns_name(name)[..], &[0, 1, 0, 1]].concat());
    let (from, to, ports) = match answer {
        None => (STRANGER, RESOLVER, (42_000 + id, 53)),
        Some(addr) => {
            message.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
            message.extend(addr);
            (RESOLVER, STRANGER, (53, 42_000 + id))
        }
    };
    built(|frame| emit::udp(frame, &envelope(from, to), ports.0, ports.1, &message))
}

#[test]
fn names_are_learnt_from_answers_before_they_are_used() {
    let bench = Bench::new();
    let connect = |port| Tcp::new(STRANGER, port, OUTSIDE, 443).say(0, SYN, b"");
    let frames = [
        connect(43_000),
        dns(1, "api.example.com", None),
        dns(1, "api.example.com", Some(OUTSIDE)),
        connect(43_001),
        dns(2, "www.example.org", None),
    ];
    let records = bench.records(&pcap(&frames, false, true), &[]);
    let to_outside: Vec<(&Value, &Value)> = records
        .iter()
        .filter(|r| r["IP"]["destination"] == Ipv4Addr::from(OUTSIDE).to_string())
        .map(|r| (&r["l4"]["TCP"]["source_port"], &r["verdict"]))
        .collect();
    assert_eq!(
        to_outside,
        [(&43_000.into(), &"DROPPED".into()), (&43_001.into(), &"FORWARDED".into())],
        "{records:#?}"
    );
    let named = records.iter().find(|r| r["l4"]["TCP"]["source_port"] == 43_001).expect("allowed");
    assert_eq!(named["destination_names"][0], "api.example.com");
    let questions: Vec<(&Value, &Value)> = records
        .iter()
        .filter(|r| r["l7"]["type"] == "REQUEST")
        .map(|r| (&r["l7"]["dns"]["query"], &r["verdict"]))
        .collect();
    assert_eq!(
        questions,
        [(&"api.example.com.".into(), &"FORWARDED".into()), (&"www.example.org.".into(), &"DROPPED".into())]
    );
}

#[test]
fn what_cannot_be_replayed_is_left_out_and_counted() {
    let bench = Bench::new();
    let mut capture = pcap(&web()[..1], false, true);
    // The same frame again, cut after its Ethernet header, and one that says nothing.
    let word = u32::to_le_bytes;
    capture.extend([&word(1_763_719_201)[..], &word(0), &word(14), &word(60), &web()[0][..14]].concat());
    capture.extend([&word(1_763_719_202)[..], &word(0), &word(20), &word(20), &[0x55; 20]].concat());
    let (code, _, err) = bench.replay(&capture, &["-q"]);
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("1 frames replayed") && err.contains("1 cut by the capture, 1 of no port"), "{err}");

    let whole = pcap(&web(), false, true);
    let (code, out, err) = bench.replay(&whole[..whole.len() - 3], &["-o", "compact"]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("in.pcap: capture: record 7: the file ends within it"), "{err}");
    assert!(out.contains("/private"), "what came before is told: {out}");
    for (content, part) in [
        (&b"hello, I am no capture"[..], "neither pcap nor pcapng"),
        (b"", "too short"),
        (&[0x1f, 0x8b, 8, 0, 0, 0], "compressed"),
    ] {
        let (code, _, err) = bench.replay(content, &[]);
        assert_eq!(code, 2, "{err}");
        assert!(err.contains(part), "{err}");
    }
    let (code, _, err) = bench.replay(&whole, &["--node", "n9"]);
    assert!(code == 2 && err.contains("no pod of node n9"), "{err}");
}

/// A capture of ours names the ports, so that a forged source is found as the node found it.
#[test]
fn captures_of_ours_keep_their_ports() {
    let bench = Bench::new();
    let mut writer = NgWriter::new(Vec::new(), "sluice", "").expect("memory");
    let gateway = MacAddr([2, 0xee, 0, 0, 0, 1]);
    let mac = |last: u8| MacAddr([2, 7, 7, 7, 7, last]);
    for (owner, last) in [("lab/client", 1), ("lab/stranger", 3)] {
        let facts = format!("sluice port: mac={gateway} peer={} mtu=1500", mac(last));
        writer.interface(&format!("x{last}"), owner, &facts, 0).expect("memory");
    }
    let syn = |peer: MacAddr, src, port| {
        let mut frame = Tcp::new(src, port, SERVER, 80).say(0, SYN, b"");
        frame[..12].copy_from_slice(&[gateway.0, peer.0].concat());
        frame
    };
    let frames = [
        (0, false, syn(mac(1), CLIENT, 40_000)),
        (1, false, syn(mac(3), CLIENT, 40_001)),
        (0, false, syn(mac(9), CLIENT, 40_002)),
        (0, true, syn(mac(1), CLIENT, 40_003)),
    ];
    for (interface, outbound, bytes) in &frames {
        let len = u32::try_from(bytes.len()).expect("short");
        let frame = NgFrame {
            interface: *interface,
            nanos: 1_763_719_200_000_000_000,
            original_len: len,
            bytes,
            outbound: *outbound,
            lost_before: 0,
            comment: "",
        };
        writer.frame(&frame).expect("memory");
    }
    let capture = std::mem::take(writer.get_mut());
    let (_, _, err) = bench.replay(&capture, &["-q"]);
    assert!(err.contains("3 frames replayed") && err.contains("1 made by the node"), "{err}");
    let records = bench.records(&capture, &[]);
    let ports: Vec<(u64, &str)> = records
        .iter()
        .filter(|r| r["event_type"]["type"] != 4)
        .map(|r| {
            (
                r["l4"]["TCP"]["source_port"].as_u64().unwrap_or(0),
                r["drop_reason_desc"].as_str().unwrap_or("-"),
            )
        })
        .collect();
    assert_eq!(ports, [(40_000, "-"), (40_001, "INVALID_SOURCE_IP"), (40_002, "INVALID_SOURCE_IP")]);
}

#[test]
fn damaged_captures_never_break_it() {
    let bench = Bench::new();
    let good = pcap(&web(), false, true);
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for round in 0..48 {
        let mut capture = good.clone();
        for _ in 0..=round % 6 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let at = usize::try_from(random).unwrap_or(0) % capture.len();
            capture[at] = (random >> 32) as u8;
        }
        let (code, _, err) = bench.replay(&capture, &["-q"]);
        assert!(code == 0 || code == 2, "round {round}: {code}: {err}");
        assert!(!err.contains("panicked"), "round {round}: {err}");
    }
}
