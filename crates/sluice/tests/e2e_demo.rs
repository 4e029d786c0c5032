//! `sluice demo` as a user runs it: every outcome as expected, and nothing left behind, also on Ctrl-C.

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sluice::testbed::{exec, netns};

fn demo(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
    command.arg("demo").args(args);
    command
}

/// Asserts that nothing of the cluster with this API socket is left: namespaces, folder, pins.
#[track_caller]
fn nothing_left(output: &str) {
    let tag = output
        .split("/run/sluice-testbed/")
        .nth(1)
        .and_then(|rest| rest.split('/').next())
        .unwrap_or_else(|| panic!("the demo names its API socket: {output}"));
    assert_eq!(netns::list(&format!("sltb-{tag}-")), Vec::<String>::new());
    for path in [format!("/run/sluice-testbed/{tag}"), format!("/sys/fs/bpf/sluice-{tag}")] {
        assert!(!std::path::Path::new(&path).exists(), "{path} is left");
    }
}

#[test]
fn the_demo_ends_as_expected_and_removes_itself() {
    let Some(_turn) = support::turn("the_demo_ends_as_expected_and_removes_itself") else { return };
    let output = exec::run(&mut demo(&[]), Duration::from_secs(120)).expect("the demo runs");
    assert!(output.ok(), "{}", output.text());
    assert!(output.stdout.contains("outcomes are as expected (real programs, AF_XDP)"), "{}", output.stdout);
    assert!(output.stdout.contains("missing: a policy that selects"), "{}", output.stdout);
    assert!(!output.stdout.contains('\u{1b}'), "no colours into a pipe");
    nothing_left(&output.stdout);
}

#[test]
fn an_interrupted_demo_removes_everything() {
    let Some(_turn) = support::turn("an_interrupted_demo_removes_everything") else { return };
    let mut child = demo(&[]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the demo starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    // The cluster is complete and conversations are about to begin.
    let mut seen = String::new();
    for line in lines.by_ref().map_while(Result::ok) {
        seen.push_str(&line);
        if line.contains("API socket") {
            break;
        }
    }
    kill(Pid::from_raw(i32::try_from(child.id()).expect("small")), Signal::SIGINT).expect("sent");
    lines.map_while(Result::ok).for_each(drop);
    let status = child.wait().expect("it ends");
    assert!(!status.success(), "an interrupted demo is no success: {seen}");
    nothing_left(&seen);
}

#[test]
fn the_memory_demo_needs_no_privileges() {
    let output = exec::run(&mut demo(&["--memory"]), Duration::from_secs(60)).expect("the demo runs");
    assert!(output.ok(), "{}", output.text());
    assert!(output.stdout.contains("memory backend"), "{}", output.stdout);
}
