//! Several workers over the sockets of one node: flows divided among them, the same policy everywhere.
//!
//! The tests of traffic, captures and names, and some of lifecycle, run a second time with `SLUICE_TEST_WORKERS=2`
//! (`scripts/test.sh e2e`); here is what only several can show.

mod support;

use std::time::Duration;

use serde_json::Value;
use sluice::testbed::PodSpec;
use support::{Lab, allow, lab, options};

const WORKERS: usize = 3;

/// Pods that divide among the workers, and an echo server on port 7 that only `client` may use.
fn guarded_server(test: &str) -> Option<Lab> {
    let mut lab = lab(test)?;
    for name in ["client", "stranger", "server", "idle"] {
        lab.add_pod(PodSpec::new("lab", name, &format!("app={name}"))).expect("a pod");
    }
    for kind in ["tcp", "udp"] {
        lab.echo("lab/server", kind, 7);
    }
    lab.write_policy("server", &allow("server", "app=client", "app=server", 7)).expect("written");
    Some(lab)
}

fn status(lab: &Lab) -> Value {
    lab.agent_ref().json(&["status"]).expect("status").remove(0)
}

fn of_each(status: &Value, key: &str) -> Vec<u64> {
    let workers = status["workers"].as_array().expect("workers");
    workers.iter().map(|worker| worker[key].as_u64().expect("a number")).collect()
}

#[test]
fn flows_are_divided_none_is_lost_and_each_worker_enforces_policy() {
    let Some(mut lab) = guarded_server("flows_are_divided_none_is_lost_and_each_worker_enforces_policy")
    else {
        return;
    };
    lab.start_agent(options("drop").workers(WORKERS)).expect("the agent starts");
    let server = lab.pod("lab/server");
    let addresses = [server.ipv4().to_string(), server.ipv6().to_string()];
    // 48 connections of their own: that one of three workers gets none has a chance of 10⁻⁸.
    for round in 0..12 {
        for address in &addresses {
            for kind in ["tcp", "udp"] {
                let size = if kind == "tcp" { 40_000 } else { 1_000 + round };
                assert_eq!(lab.ask("lab/client", kind, address, 7, size), "ok", "{kind} {address} {round}");
            }
        }
    }
    // As many that are not allowed, each from a port of its own.
    let denied = format!("for n in {{1..48}}; do echo x > /dev/udp/{}/7; done", addresses[0]);
    let sent = lab.pod("lab/stranger").run(&["bash", "-c", &denied], support::LIMIT).expect("bash runs");
    assert!(sent.ok(), "{}", sent.text());
    support::eventually("all of them are dropped", Duration::from_secs(5), || {
        status(&lab)["drops"]["POLICY_DENIED"] == 48
    });
    let now = status(&lab);
    let connections = of_each(&now, "connections");
    assert_eq!(connections.len(), WORKERS);
    assert!(connections.iter().all(|count| *count > 0), "{now}");
    assert_eq!(connections.iter().sum::<u64>(), now["connections"]["current"].as_u64().expect("a number"));
    let (handed, taken) = (of_each(&now, "handedOver"), of_each(&now, "takenOver"));
    assert!(handed.iter().all(|frames| *frames > 0), "each has a port: {now}");
    assert_eq!(handed.iter().sum::<u64>(), taken.iter().sum::<u64>(), "{now}");
    assert_eq!(of_each(&now, "handoverLost"), [0; WORKERS]);
    // What a pod's kernel says of its own accord may come before its port is in force.
    let drops = now["drops"].as_object().expect("drops");
    assert!(drops.keys().all(|reason| ["POLICY_DENIED", "PORT_GONE"].contains(&reason.as_str())), "{now}");
    // Ports divide evenly: the host's and four pods'.
    let mut ports = [0; WORKERS];
    for port in now["ports"].as_array().expect("ports") {
        ports[usize::try_from(port["worker"].as_u64().expect("a number")).expect("small")] += 1;
    }
    assert_eq!(ports, [2, 2, 1]);

    // All of them in one list and one log.
    let listed = |limit: &str| {
        let list = lab.agent_ref().json(&["ct", "list", "--limit", limit]).expect("ct list").remove(0);
        list.as_array().expect("a list").len()
    };
    // Those over UDP live for a minute.
    assert!(listed("1000") >= 24, "{} connections", listed("1000"));
    assert_eq!(listed("5"), 5, "the limit is that of all workers together");
    let records = lab.agent_ref().json(&["observe", "--last", "1000"]).expect("observe");
    let to_server = records.iter().filter(|record| record["flow"]["destination"]["pod_name"] == "server");
    assert!(to_server.count() >= 54, "{} records", records.len());
    assert!(!lab.drops_now("lab/stranger", "POLICY_DENIED").is_empty());
    let shown = lab.agent_ref().cli(&["status"]).expect("status").stdout;
    assert!(shown.contains("Worker 2"), "{shown}");
}

#[test]
fn connections_survive_a_restart_with_another_number_of_workers() {
    let Some(mut lab) = guarded_server("connections_survive_a_restart_with_another_number_of_workers") else {
        return;
    };
    lab.start_agent(options("drop").workers(WORKERS)).expect("the agent starts");
    let server = lab.pod("lab/server").ipv4();
    let chats: Vec<_> = (0..8).map(|_| lab.chat("lab/client", server, 7, 6.0)).collect();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(lab.agent().stop(), Some(0), "a clean shutdown");
    // Mid-stream segments of what was not restored would be refused.
    lab.start_agent(options("drop").workers(2)).expect("the agent starts");
    for chat in chats {
        let said = chat.finish();
        assert_eq!(said["end"], "ok", "{said}");
    }
    let now = status(&lab);
    assert!(of_each(&now, "connections").iter().all(|count| *count > 0), "{now}");
}

#[test]
fn workers_that_spin_have_a_cpu_each() {
    let Some(mut lab) = guarded_server("workers_that_spin_have_a_cpu_each") else { return };
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    if cpus < 2 {
        eprintln!("SKIPPED workers_that_spin_have_a_cpu_each: there is only one CPU");
        return;
    }
    lab.start_agent(options("drop").spin_on(&[0, 1])).expect("the agent starts");
    let server = lab.pod("lab/server").ipv4();
    for _ in 0..4 {
        assert_eq!(lab.ask("lab/client", "tcp", server, 7, 5_000), "ok");
    }
    let folder = std::fs::read_dir(format!("/proc/{}/task", lab.agent_ref().pid())).expect("threads");
    let mut pinned: Vec<(String, String)> = folder
        .flatten()
        .filter_map(|thread| {
            let status = std::fs::read_to_string(thread.path().join("status")).ok()?;
            let field =
                |name: &str| Some(status.lines().find_map(|line| line.strip_prefix(name))?.trim().to_owned());
            Some((field("Name:")?, field("Cpus_allowed_list:")?))
        })
        .filter(|(name, _)| name.starts_with("worker-"))
        .collect();
    pinned.sort();
    let expected =
        [("worker-0", "0"), ("worker-1", "1")].map(|(name, cpu)| (name.to_owned(), cpu.to_owned()));
    assert_eq!(pinned, expected);
}
