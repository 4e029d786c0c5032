//! The kernel program in a real kernel: what passes, what is steered, what survives the process.

mod bed;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use bed::{Raw, enter, frame, ip, veth};
use xdp_redirect::{
    AttachMode, Counters, Fallback, Mode, Options, Redirect, RedirectError, cleanup, monotonic_ns,
};

const SOON: Duration = Duration::from_millis(500);
/// Long enough for a frame to cross a veth, short enough to wait for its absence.
const NEVER: Duration = Duration::from_millis(60);

const IPV4: u16 = 0x0800;
const LLDP: u16 = 0x88cc;

/// Asserts what the counters become: a busy machine leaves the last frames to a kernel thread.
fn counts(redirect: &Redirect, expected: Counters) {
    let until = Instant::now() + SOON;
    while redirect.counters().expect("counters") != expected && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(redirect.counters().expect("counters"), expected);
}

fn unpinned() -> Options {
    Options { pin: None, ..Options::default() }
}

/// A pin folder of one test, removed at the end.
struct Pins(PathBuf);

impl Pins {
    fn new(test: &str) -> Self {
        Self(PathBuf::from(format!("/sys/fs/bpf/sxa-{test}-{}", std::process::id())))
    }

    fn options(&self) -> Options {
        Options { pin: Some(self.0.clone()), ..Options::default() }
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        let _ = cleanup(&self.0);
    }
}

#[test]
fn verifier_accepts_and_a_veth_attaches_natively() {
    if !enter() {
        return;
    }
    let host = veth("h0", "p0");
    let mut redirect = Redirect::load(&unpinned()).unwrap();
    let attached = redirect.attach_name("h0", Mode::Pod, Fallback::Drop).unwrap();
    assert_eq!(attached.ifindex, host);
    assert_eq!(attached.mode, AttachMode::Native);
    assert_eq!(attached.native_refused, None);
    assert!(!attached.adopted && attached.queues >= 1);
}

#[test]
fn lldp_passes_and_ip_meets_the_fallback_which_switches_at_run_time() {
    if !enter() {
        return;
    }
    let host = veth("h0", "p0");
    let (pod, node) = (Raw::open("p0"), Raw::open("h0"));
    let mut redirect = Redirect::load(&unpinned()).unwrap();
    redirect.attach(host, Mode::Pod, Fallback::Drop).unwrap();

    pod.send(&frame(LLDP, 1));
    assert!(node.sees(&frame(LLDP, 1), SOON), "LLDP is not ours and passes");
    for (mark, ethertype) in (2..).zip([IPV4, 0x86dd, 0x0806, 0x8100, 0x88a8]) {
        pod.send(&frame(ethertype, mark));
        assert!(!node.sees(&frame(ethertype, mark), NEVER), "{ethertype:#06x} is dropped without a socket");
    }
    let expected = Counters { passed_not_ours: 1, fallback_dropped: 5, no_socket: 5, ..Counters::default() };
    counts(&redirect, expected);

    redirect.set_fallback(host, Fallback::Pass).unwrap();
    pod.send(&frame(IPV4, 9));
    assert!(node.sees(&frame(IPV4, 9), SOON), "the fallback passes now");
    let expected = Counters { fallback_passed: 1, no_socket: 6, ..expected };
    counts(&redirect, expected);
}

#[test]
fn an_uplink_that_is_only_watched_passes_everything() {
    if !enter() {
        return;
    }
    let host = veth("h0", "p0");
    let (pod, node) = (Raw::open("p0"), Raw::open("h0"));
    let mut redirect = Redirect::load(&unpinned()).unwrap();
    redirect.attach(host, Mode::UplinkPass, Fallback::Drop).unwrap();
    pod.send(&frame(IPV4, 1));
    assert!(node.sees(&frame(IPV4, 1), SOON));
    counts(&redirect, Counters { passed_uplink: 1, ..Counters::default() });
}

#[test]
fn a_stale_heartbeat_counts_as_no_socket() {
    if !enter() {
        return;
    }
    let host = veth("h0", "p0");
    let pod = Raw::open("p0");
    let options = Options { heartbeat_limit: Some(Duration::from_secs(60)), ..unpinned() };
    let mut redirect = Redirect::load(&options).unwrap();
    redirect.attach(host, Mode::Pod, Fallback::Drop).unwrap();
    pod.send(&frame(IPV4, 1));
    // Alive since it was loaded.
    let expected = Counters { fallback_dropped: 1, no_socket: 1, ..Counters::default() };
    counts(&redirect, expected);
    redirect.heartbeat(monotonic_ns().saturating_sub(61_000_000_000)).unwrap();
    pod.send(&frame(IPV4, 2));
    let expected = Counters { fallback_dropped: 2, stale_heartbeat: 1, ..expected };
    counts(&redirect, expected);
    redirect.set_heartbeat_limit(None).unwrap();
    pod.send(&frame(IPV4, 3));
    // No limit, no check.
    counts(&redirect, Counters { fallback_dropped: 3, no_socket: 2, ..expected });
}

#[test]
fn a_foreign_program_is_named_and_left_alone() {
    if !enter() {
        return;
    }
    let host = veth("h0", "p0");
    let mut other = Redirect::load(&unpinned()).unwrap();
    other.attach(host, Mode::UplinkPass, Fallback::Pass).unwrap();
    let mut redirect = Redirect::load(&unpinned()).unwrap();
    let error = redirect.attach(host, Mode::Pod, Fallback::Drop).unwrap_err();
    let RedirectError::Foreign { interface, program } = &error else { panic!("{error}") };
    assert_eq!((interface.as_str(), program.name.as_str()), ("h0", "sluice_steer"));
    assert!(program.id > 0 && error.to_string().contains(&program.id.to_string()), "{error}");
    // The other one still works.
    let (pod, node) = (Raw::open("p0"), Raw::open("h0"));
    pod.send(&frame(IPV4, 1));
    assert!(node.sees(&frame(IPV4, 1), SOON));
}

#[test]
fn an_unpinned_attachment_ends_with_its_owner() {
    if !enter() {
        return;
    }
    let host = veth("h0", "p0");
    let mut first = Redirect::load(&unpinned()).unwrap();
    first.attach(host, Mode::Pod, Fallback::Drop).unwrap();
    drop(first);
    let mut second = Redirect::load(&unpinned()).unwrap();
    assert!(!second.attach(host, Mode::Pod, Fallback::Drop).unwrap().adopted);
    second.detach(host).unwrap();
    assert!(matches!(second.detach(host), Err(RedirectError::NotAttached(_))));
}

#[test]
fn a_pinned_attachment_survives_its_owner_and_is_adopted() {
    if !enter() {
        return;
    }
    let pins = Pins::new("survive");
    let host = veth("h0", "p0");
    let (pod, node) = (Raw::open("p0"), Raw::open("h0"));
    let mut first = Redirect::load(&pins.options()).unwrap();
    assert!(!first.attach(host, Mode::Pod, Fallback::Drop).unwrap().adopted);
    drop(first);
    pod.send(&frame(IPV4, 1));
    assert!(!node.sees(&frame(IPV4, 1), NEVER), "the fallback outlives the process: fail closed");

    let mut second = Redirect::load(&pins.options()).unwrap();
    assert_eq!(second.counters().unwrap().fallback_dropped, 1, "counters survive");
    let attached = second.attach(host, Mode::Pod, Fallback::Pass).unwrap();
    assert!(attached.adopted && attached.mode == AttachMode::Native);
    pod.send(&frame(IPV4, 2));
    assert!(node.sees(&frame(IPV4, 2), SOON), "now fail open");
    drop(second);
    pod.send(&frame(IPV4, 3));
    assert!(node.sees(&frame(IPV4, 3), SOON), "and that survives too");

    let mut third = Redirect::load(&pins.options()).unwrap();
    third.attach(host, Mode::Pod, Fallback::Drop).unwrap();
    third.detach_all().unwrap();
    assert!(!pins.0.join("links").join(host.to_string()).exists());
    pod.send(&frame(IPV4, 4));
    assert!(node.sees(&frame(IPV4, 4), SOON), "detached");
}

#[test]
fn cleanup_removes_what_a_dead_process_left() {
    if !enter() {
        return;
    }
    let pins = Pins::new("cleanup");
    let host = veth("h0", "p0");
    let (pod, node) = (Raw::open("p0"), Raw::open("h0"));
    let mut left = Redirect::load(&pins.options()).unwrap();
    left.attach(host, Mode::Pod, Fallback::Drop).unwrap();
    drop(left);
    cleanup(&pins.0).unwrap();
    assert!(!pins.0.exists());
    pod.send(&frame(IPV4, 1));
    assert!(node.sees(&frame(IPV4, 1), SOON));
    cleanup(&pins.0).unwrap();
}

#[test]
fn a_pin_whose_interface_is_gone_is_forgotten() {
    if !enter() {
        return;
    }
    let pins = Pins::new("gone");
    let host = veth("h0", "p0");
    let mut first = Redirect::load(&pins.options()).unwrap();
    first.attach(host, Mode::Pod, Fallback::Drop).unwrap();
    drop(first);
    ip("link del h0");
    let again = veth("h1", "p1");
    let mut second = Redirect::load(&pins.options()).unwrap();
    assert!(!pins.0.join("links").join(host.to_string()).exists());
    assert!(!second.attach(again, Mode::Pod, Fallback::Drop).unwrap().adopted);
}

/// Set for the child of `kill_9_leaves_the_fallback_in_force`.
const CHILD: &str = "SXA_CHILD_PINS";

#[test]
fn kill_9_leaves_the_fallback_in_force() {
    if let Ok(dir) = std::env::var(CHILD) {
        // The child: shares its parent's namespace, attaches, says so and waits to be killed.
        let options = Options { pin: Some(PathBuf::from(dir)), ..Options::default() };
        let mut redirect = Redirect::load(&options).unwrap();
        redirect.attach_name("h0", Mode::Pod, Fallback::Drop).unwrap();
        println!("attached");
        std::thread::sleep(Duration::from_secs(30));
        return;
    }
    if !enter() {
        return;
    }
    let pins = Pins::new("kill");
    veth("h0", "p0");
    let (pod, node) = (Raw::open("p0"), Raw::open("h0"));
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "kill_9_leaves_the_fallback_in_force"])
        .env(CHILD, &pins.0)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    assert!(lines.any(|line| line.unwrap().contains("attached")));
    child.kill().unwrap();
    child.wait().unwrap();
    pod.send(&frame(IPV4, 1));
    assert!(!node.sees(&frame(IPV4, 1), NEVER));
    let mut redirect = Redirect::load(&pins.options()).unwrap();
    assert!(redirect.attach_name("h0", Mode::Pod, Fallback::Drop).unwrap().adopted);
    redirect.detach_all().unwrap();
}

#[test]
fn a_driver_without_native_xdp_is_reported_as_generic_or_refused() {
    if !enter() {
        return;
    }
    // A bridge has no native XDP.
    ip("link add d0 type bridge");
    let mut strict = Redirect::load(&Options { allow_generic: false, ..unpinned() }).unwrap();
    assert!(matches!(strict.attach_name("d0", Mode::Pod, Fallback::Drop), Err(RedirectError::Attach { .. })));
    let mut lenient = Redirect::load(&unpinned()).unwrap();
    let attached = lenient.attach_name("d0", Mode::Pod, Fallback::Drop).unwrap();
    assert_eq!(attached.mode, AttachMode::Generic);
    assert!(attached.native_refused.is_some());
    assert!(matches!(
        lenient.attach_name("nope", Mode::Pod, Fallback::Drop),
        Err(RedirectError::NoInterface(_))
    ));
}

#[test]
fn a_jumbo_veth_attaches_because_the_program_takes_fragments() {
    if !enter() {
        return;
    }
    veth("h0", "p0");
    ip("link set p0 mtu 65000");
    ip("link set h0 mtu 65000");
    let mut redirect = Redirect::load(&unpinned()).unwrap();
    assert_eq!(redirect.attach_name("h0", Mode::Pod, Fallback::Drop).unwrap().mode, AttachMode::Native);
}

#[test]
fn queues_that_do_not_exist_have_no_place_for_sockets() {
    if !enter() {
        return;
    }
    let host = veth("h0", "p0");
    let mut redirect = Redirect::load(&unpinned()).unwrap();
    let queues = redirect.attach(host, Mode::Pod, Fallback::Drop).unwrap().queues;
    assert!(matches!(redirect.clear_socket(host, queues), Err(RedirectError::NoQueue { .. })));
    redirect.clear_socket(host, 0).unwrap();
}
