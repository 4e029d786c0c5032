//! Pods and the agent come and go: under load, in order, and not.

mod support;

use std::time::Duration;

use sluice::testbed::{Pod, PodSpec};
use support::{Lab, RELOAD, allow, eventually, lab, options};

fn pod(name: &str) -> PodSpec {
    PodSpec::new("lab", name, &format!("app={name}"))
}

/// client, stranger and server with an echo server on TCP 7 that only the client may use.
fn guarded_server(test: &str) -> Option<Lab> {
    let mut lab = lab(test)?;
    for name in ["client", "stranger", "server"] {
        lab.add_pod(pod(name)).expect("a pod");
    }
    lab.echo("lab/server", "tcp", 7);
    lab.write_policy("server", &allow("server", "app=client", "app=server", 7)).expect("written");
    Some(lab)
}

/// What a CNI plugin with a kernel data path would leave behind: the kernel can route between pods, for frames that
/// the XDP program passed to it and for no others.
fn kernel_routes_for_passed_frames(lab: &Lab) {
    let routes: String = lab
        .pods()
        .iter()
        .map(|pod: &Pod| {
            format!(
                "route add {}/32 dev {if_} table 100\nrule add iif {if_} lookup 100 priority 100\n",
                pod.ipv4(),
                if_ = pod.interface()
            )
        })
        .collect();
    lab.node().ip(&routes).expect("routes");
}

/// CPUs of a list as the kernel writes them, `0-2,5`.
fn cpus(list: &str) -> Vec<usize> {
    let ranges = list.split(',').filter_map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    });
    ranges.flatten().collect()
}

/// Each thread of a process: its name and where it may run.
fn threads(pid: &str) -> Vec<(String, Vec<usize>)> {
    let folder = std::fs::read_dir(format!("/proc/{pid}/task")).expect("threads");
    let threads = folder.flatten().filter_map(|thread| {
        // One may end meanwhile.
        let status = std::fs::read_to_string(thread.path().join("status")).ok()?;
        let field =
            |name: &str| Some(status.lines().find_map(|line| line.strip_prefix(name))?.trim().to_owned());
        Some((field("Name:")?, cpus(&field("Cpus_allowed_list:")?)))
    });
    threads.collect()
}

#[test]
fn a_worker_that_spins_has_its_cpu_to_itself() {
    let ours = threads("self").remove(0).1;
    let (Some(cpu), true) = (ours.last().copied(), ours.len() > 1) else {
        eprintln!("SKIPPED a_worker_that_spins_has_its_cpu_to_itself: there is only one CPU");
        return;
    };
    let Some(mut lab) = guarded_server("a_worker_that_spins_has_its_cpu_to_itself") else { return };
    lab.start_agent(options("drop").spin_on(&[cpu])).expect("the agent starts");
    let (server, pid) = (lab.pod("lab/server").ipv4(), lab.agent_ref().pid());
    assert_eq!(lab.ask("lab/client", "tcp", server, 7, 100), "ok");
    let (workers, others): (Vec<_>, Vec<_>) =
        threads(&pid.to_string()).into_iter().partition(|(name, _)| name.starts_with("worker-"));
    assert_eq!(workers, [("worker-0".to_owned(), vec![cpu])]);
    assert!(
        others.len() > 5 && others.iter().all(|(_, on)| !on.is_empty() && !on.contains(&cpu)),
        "{others:?}"
    );
}

#[test]
fn twenty_pods_reach_each_other() {
    let Some(mut lab) = lab("twenty_pods_reach_each_other") else { return };
    for index in 0..20 {
        lab.add_pod(pod(&format!("p{index}"))).expect("a pod");
    }
    lab.start();
    // Every pod pings the next one and the one opposite, on both families: 80 pairs.
    for index in 0..20 {
        for other in [(index + 1) % 20, (index + 10) % 20] {
            let other = lab.pod(&format!("lab/p{other}"));
            let (v4, v6) = (other.ipv4(), other.ipv6());
            for address in [v4.to_string(), v6.to_string()] {
                let (ok, said) = lab.run(&format!("lab/p{index}"), &format!("ping -n -c 1 -W 2 {address}"));
                assert!(ok, "p{index} -> {address}: {said}");
            }
        }
    }
    let endpoints = lab.agent_ref().json(&["endpoint", "list"]).expect("endpoint list");
    let count = endpoints.first().and_then(|list| list.as_array()).map_or(endpoints.len(), Vec::len);
    assert!(count >= 20, "{count} endpoints");
}

#[test]
fn pods_come_and_go_under_load_without_disturbing_others() {
    let Some(mut lab) = guarded_server("pods_come_and_go_under_load_without_disturbing_others") else {
        return;
    };
    lab.start();
    let server = lab.pod("lab/server").ipv4();
    let chat = lab.chat("lab/client", server, 7, 10.0);
    for round in 0..5 {
        let name = format!("guest{round}");
        // The label makes it one of those whom the policy allows.
        lab.add_pod(PodSpec::new("lab", &name, "app=client")).expect("a pod");
        lab.write_inventory().expect("written");
        let path = format!("lab/{name}");
        eventually("the new pod is served", RELOAD, || lab.ask(&path, "tcp", server, 7, 100) == "ok");
        lab.remove_pod(&path).expect("removed");
        lab.write_inventory().expect("written");
    }
    let said = chat.finish();
    assert_eq!(said["end"], "ok", "{said}");
    assert!(said["longest"].as_f64().expect("a number") < 1.0, "the others were disturbed: {said}");
}

#[test]
fn an_interface_deleted_under_load_costs_only_its_own_pod() {
    let Some(mut lab) = guarded_server("an_interface_deleted_under_load_costs_only_its_own_pod") else {
        return;
    };
    lab.add_pod(PodSpec::new("lab", "doomed", "app=client")).expect("a pod");
    lab.start();
    let server = lab.pod("lab/server").ipv4();
    let chat = lab.chat("lab/client", server, 7, 6.0);
    let doomed = lab.chat("lab/doomed", server, 7, 6.0);
    std::thread::sleep(Duration::from_millis(500));
    // The veth goes first, as when a container runtime tears a sandbox down; the inventory still lists the pod.
    let interface = lab.pod("lab/doomed").interface().to_owned();
    lab.node().ip(&format!("link del {interface}\n")).expect("deleted");
    std::thread::sleep(Duration::from_millis(500));
    assert!(lab.agent().is_running(), "the agent must survive");
    lab.remove_pod("lab/doomed").expect("removed");
    drop(doomed);
    lab.write_inventory().expect("written");

    // A port made after a deletion must work: sockets of one UMEM may not hang on the deleted one.
    lab.add_pod(PodSpec::new("lab", "next", "app=client")).expect("a pod");
    lab.write_inventory().expect("written");
    eventually("a pod made afterwards is served", RELOAD, || {
        lab.ask("lab/next", "tcp", server, 7, 100) == "ok"
    });
    let said = chat.finish();
    assert_eq!(said["end"], "ok", "{said}");
}

#[test]
fn a_link_that_goes_down_and_up_is_served_again() {
    let Some(mut lab) = guarded_server("a_link_that_goes_down_and_up_is_served_again") else { return };
    lab.start();
    let server = lab.pod("lab/server").ipv4();
    lab.answers("lab/client", "tcp", server, 7);
    let interface = lab.pod("lab/client").interface().to_owned();
    lab.node().ip(&format!("link set {interface} down\n")).expect("down");
    std::thread::sleep(Duration::from_millis(300));
    lab.node().ip(&format!("link set {interface} up\n")).expect("up");
    eventually("the pod is served again", RELOAD, || lab.ask("lab/client", "tcp", server, 7, 100) == "ok");
    lab.silence("lab/stranger", "tcp", server, 7);
}

#[test]
fn a_killed_agent_fails_closed_and_a_restart_serves_again() {
    let Some(mut lab) = guarded_server("a_killed_agent_fails_closed_and_a_restart_serves_again") else {
        return;
    };
    kernel_routes_for_passed_frames(&lab);
    lab.start();
    let server = lab.pod("lab/server").ipv4();
    lab.answers("lab/client", "tcp", server, 7);
    lab.agent().kill();
    for from in ["lab/client", "lab/stranger"] {
        // The kernel could route it: nothing but the pinned program stands between.
        assert_ne!(lab.ask(from, "tcp", server, 7, 100), "ok", "{from} must not get past a dead agent");
    }
    lab.start();
    lab.answers("lab/client", "tcp", server, 7);
    // The stranger's kernel has just given up on the gateway and may say so once more before it asks again.
    eventually("the stranger meets the policy again", RELOAD, || {
        let end = lab.ask("lab/stranger", "tcp", server, 7, 100);
        assert_ne!(end, "ok", "the stranger got past the restarted agent");
        end == "timeout"
    });
}

#[test]
fn a_killed_agent_fails_open_when_told_to() {
    let Some(mut lab) = guarded_server("a_killed_agent_fails_open_when_told_to") else { return };
    kernel_routes_for_passed_frames(&lab);
    lab.start_agent(options("pass")).expect("the agent starts");
    let server = lab.pod("lab/server").ipv4();
    lab.answers("lab/client", "tcp", server, 7);
    lab.silence("lab/stranger", "tcp", server, 7);
    lab.agent().kill();
    eventually("the kernel takes over", RELOAD, || lab.ask("lab/client", "tcp", server, 7, 100) == "ok");
    lab.answers("lab/stranger", "tcp", server, 7);
    lab.start_agent(options("pass")).expect("the agent starts");
    lab.answers("lab/client", "tcp", server, 7);
    lab.silence("lab/stranger", "tcp", server, 7);
}

#[test]
fn a_frozen_agent_counts_as_gone() {
    let Some(mut lab) = guarded_server("a_frozen_agent_counts_as_gone") else { return };
    kernel_routes_for_passed_frames(&lab);
    lab.start_agent(options("pass")).expect("the agent starts");
    let server = lab.pod("lab/server").ipv4();
    lab.answers("lab/client", "tcp", server, 7);
    lab.agent().freeze(true);
    eventually("the heartbeat is missed", Duration::from_secs(10), || {
        lab.ask("lab/client", "tcp", server, 7, 100) == "ok"
    });
    lab.agent().freeze(false);
    eventually("the agent is back", RELOAD, || lab.ask("lab/stranger", "tcp", server, 7, 100) == "timeout");
    lab.answers("lab/client", "tcp", server, 7);
}

#[test]
fn connections_survive_an_orderly_restart() {
    let Some(mut lab) = guarded_server("connections_survive_an_orderly_restart") else { return };
    lab.start();
    let server = lab.pod("lab/server").ipv4();
    let chat = lab.chat("lab/client", server, 7, 8.0);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(lab.agent().stop(), Some(0), "a clean shutdown");
    lab.start();
    let said = chat.finish();
    assert_eq!(said["end"], "ok", "{said}");
    eprintln!("longest pause over the restart: {:.2} s", said["longest"].as_f64().unwrap_or_default());
    lab.silence("lab/stranger", "tcp", server, 7);
}

#[test]
fn an_orderly_end_leaves_nothing_attached() {
    let Some(mut lab) = guarded_server("an_orderly_end_leaves_nothing_attached") else { return };
    lab.start();
    let interface = lab.pod("lab/client").interface().to_owned();
    let attached = |lab: &Lab| {
        let mut show = lab.node().command("ip");
        let output = sluice::testbed::exec::run(show.args(["-d", "link", "show", &interface]), RELOAD)
            .expect("ip runs");
        output.stdout.contains("xdp")
    };
    assert!(attached(&lab), "the program must be on {interface} while the agent runs");
    assert_eq!(lab.agent().stop(), Some(0));
    assert!(!attached(&lab), "the program must be gone from {interface} after a clean exit");
}
