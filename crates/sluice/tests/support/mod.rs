//! What the end-to-end tests share: one lab at a time on the machine, an agent in it, clients that report in JSON.
#![allow(dead_code, unreachable_pub, reason = "each test binary includes it and uses a part of it")]

use std::fs::File;
use std::io::Write;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use serde_json::Value;
use sluice::testbed::{AgentOptions, Proc, Routing, TestBed, exec, prereq, servers};

/// Beyond every client's own limit.
pub const LIMIT: Duration = Duration::from_secs(60);
/// The same for clients that move much: they end by themselves when nothing moves for 20 s, and may be slow.
pub const BULK_LIMIT: Duration = Duration::from_secs(300);
/// Within this a changed file must be in force.
pub const RELOAD: Duration = Duration::from_secs(5);

/// A testbed that has the machine for itself while it exists, and shows the agent's log when a test fails.
pub struct Lab {
    bed: TestBed,
    _turn: File,
    chats: u32,
}

impl Deref for Lab {
    type Target = TestBed;
    fn deref(&self) -> &TestBed {
        &self.bed
    }
}

impl DerefMut for Lab {
    fn deref_mut(&mut self) -> &mut TestBed {
        &mut self.bed
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.bed.file("agent.log")).unwrap_or_default();
            let from = log.len().saturating_sub(8000);
            eprintln!("--- agent log ---\n{}", log.get(from..).unwrap_or(&log));
        }
    }
}

/// The machine for oneself, or `None` (with the reason on standard error) where it cannot run privileged tests.
///
/// With `SLUICE_REQUIRE_PRIVILEGED` set, being unable is a failure: CI must not go green by skipping.
pub fn turn(test: &str) -> Option<File> {
    let missing = prereq::missing();
    if !missing.is_empty() {
        let text: Vec<String> =
            missing.iter().map(|thing| format!("{} ({})", thing.what, thing.remedy)).collect();
        assert!(
            std::env::var_os("SLUICE_REQUIRE_PRIVILEGED").is_none(),
            "{test} must run here, but this is missing: {}",
            text.join("; ")
        );
        // Not eprintln: the test harness would swallow it.
        let _closed = writeln!(std::io::stderr(), "SKIPPED {test}: missing {}", text.join("; "));
        return None;
    }
    let turn = File::create("/run/sluice-e2e.lock").expect("the lock file");
    turn.lock().expect("the lock");
    Some(turn)
}

/// A new lab, or `None` where [`turn`] says so.
pub fn lab(test: &str) -> Option<Lab> {
    let turn = turn(test)?;
    Some(Lab { bed: TestBed::new(Routing::Sluice).expect("a node"), _turn: turn, chats: 0 })
}

/// The binary under test with the given failure mode, and as many workers as `SLUICE_TEST_WORKERS` says.
pub fn options(on_failure: &'static str) -> AgentOptions {
    let workers = std::env::var("SLUICE_TEST_WORKERS").map_or(1, |count| count.parse().expect("a number"));
    AgentOptions::new(env!("CARGO_BIN_EXE_sluice")).on_failure(on_failure).workers(workers)
}

/// Polls until `done`; a failure names `what`.
#[track_caller]
pub fn eventually(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Lab {
    /// Starts the agent, fail-closed.
    #[track_caller]
    pub fn start(&mut self) {
        self.bed.start_agent(options("drop")).expect("the agent starts");
    }

    /// An echo server (`tcp` or `udp`) in a pod.
    #[track_caller]
    pub fn echo(&mut self, pod: &str, kind: &str, port: u16) {
        servers::start_peer(&mut self.bed, pod, &["echo", kind, &port.to_string()], port)
            .expect("an echo server");
    }

    /// A server that answers with the digest of what it got.
    #[track_caller]
    pub fn sink(&mut self, pod: &str, port: u16) {
        servers::start_peer(&mut self.bed, pod, &["sink", &port.to_string()], port).expect("a sink");
    }

    /// Runs one of the small clients in a pod; its last line of JSON.
    #[track_caller]
    pub fn peer(&self, pod: &str, args: &[&str]) -> Value {
        self.peer_within(LIMIT, pod, args)
    }

    /// The same with another limit.
    #[track_caller]
    pub fn peer_within(&self, limit: Duration, pod: &str, args: &[&str]) -> Value {
        let mut command = servers::peer(&self.bed, self.pod(pod), args).expect("a peer");
        let output = exec::run(&mut command, limit).expect("the peer runs");
        last_json(&output.stdout).unwrap_or_else(|| panic!("{pod} {args:?}: {}", output.text()))
    }

    /// One message to an echo server and its echo: how it ended (`ok`, `timeout`, an errno name).
    #[track_caller]
    pub fn ask(&self, pod: &str, kind: &str, address: impl ToString, port: u16, size: usize) -> String {
        let answer =
            self.peer(pod, &["ask", kind, &address.to_string(), &port.to_string(), &size.to_string()]);
        answer["end"].as_str().unwrap_or_default().to_owned()
    }

    /// Asserts that an echo server answers.
    #[track_caller]
    pub fn answers(&self, pod: &str, kind: &str, address: impl ToString, port: u16) {
        let address = address.to_string();
        assert_eq!(self.ask(pod, kind, &address, port, 100), "ok", "{pod} -> {address}:{port}/{kind}");
    }

    /// Asserts that nothing at all comes back.
    #[track_caller]
    pub fn silence(&self, pod: &str, kind: &str, address: impl ToString, port: u16) {
        let address = address.to_string();
        assert_eq!(self.ask(pod, kind, &address, port, 100), "timeout", "{pod} -> {address}:{port}/{kind}");
    }

    /// Runs a program in a pod: whether it succeeded, and its words.
    #[track_caller]
    pub fn run(&self, pod: &str, line: &str) -> (bool, String) {
        let argv: Vec<&str> = line.split(' ').collect();
        let output = self.pod(pod).run(&argv, LIMIT).expect("the program runs");
        (output.ok(), output.text())
    }

    /// A connection that talks for `seconds` in the background.
    #[track_caller]
    pub fn chat(&mut self, pod: &str, address: impl ToString, port: u16, seconds: f32) -> Chat {
        let args = ["chat", &address.to_string(), &port.to_string(), &seconds.to_string()];
        let mut command = servers::peer(&self.bed, self.pod(pod), &args).expect("a peer");
        self.chats += 1;
        let log = self.bed.file(&format!("chat-{}.log", self.chats));
        let proc = Proc::spawn("chat", &mut command, &log).expect("the chat starts");
        let chat = Chat { proc };
        eventually("the chat connects", Duration::from_secs(5), || chat.proc.log().contains('\n'));
        chat
    }

    /// The drops of one pod in the flow log with this reason, once there is at least one.
    #[track_caller]
    pub fn drops(&self, from: &str, reason: &str) -> Vec<Value> {
        let mut found = Vec::new();
        eventually(&format!("a {reason} record of {from}"), Duration::from_secs(3), || {
            found = self.drops_now(from, reason);
            !found.is_empty()
        });
        found
    }

    /// The drops of one pod in the flow log with this reason, so far.
    pub fn drops_now(&self, from: &str, reason: &str) -> Vec<Value> {
        let argv = ["observe", "--verdict", "DROPPED", "--from-pod", from, "--last", "1000"];
        let mut found = self.agent_ref().json(&argv).expect("observe");
        found.retain(|record| record["flow"]["drop_reason_desc"] == reason);
        found
    }
}

/// A connection in the background.
pub struct Chat {
    proc: Proc,
}

impl Chat {
    /// True while it is alive.
    pub fn is_running(&mut self) -> bool {
        self.proc.is_running()
    }

    /// Waits for its end; `{ok, sent, received, lasted, longest, end}`.
    #[track_caller]
    pub fn finish(mut self) -> Value {
        assert!(self.proc.wait(LIMIT).is_some(), "the chat does not end: {}", self.proc.log());
        last_json(&self.proc.log()).unwrap_or_else(|| panic!("the chat said nothing: {}", self.proc.log()))
    }
}

fn last_json(text: &str) -> Option<Value> {
    text.lines().rev().find_map(|line| serde_json::from_str(line).ok())
}

/// A CiliumNetworkPolicy in namespace `lab` that lets `from` (a label) reach `to` on TCP and UDP `port`, ingress only.
pub fn allow(name: &str, from: &str, to: &str, port: u16) -> String {
    let (from_key, from_value) = from.split_once('=').expect("a label");
    let (to_key, to_value) = to.split_once('=').expect("a label");
    format!(
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: {name}, namespace: lab}}\nspec:\n  \
         endpointSelector: {{matchLabels: {{{to_key}: {to_value}}}}}\n  ingress:\n    \
         - fromEndpoints: [{{matchLabels: {{{from_key}: {from_value}}}}}]\n      \
         toPorts: [{{ports: [{{port: \"{port}\", protocol: ANY}}]}}]\n"
    )
}

impl Lab {
    /// A program that runs until the lab goes away.
    #[track_caller]
    pub fn start_program(&mut self, name: &str, command: &mut std::process::Command) {
        self.bed.start(name, command).expect("the program starts");
    }
}
