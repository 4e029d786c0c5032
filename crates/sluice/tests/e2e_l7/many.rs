//! Ten thousand inspected connections at a time.

use crate::kit::{self, INSPECTED, Live};
use crate::support::{eventually, options};
use std::time::Duration;

/// How many.
const COUNT: u64 = 10_000;

/// Most memory that they may take of the agent while they are idle, with their entries in the connection table, but
/// without the copy of that table which is made to save it (KiB).
const MOST_KIB: u64 = 40 << 10;

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the agent lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn ten_thousand_connections_get_their_own_answers_in_bounded_memory() {
    let Some(mut lab) = kit::three_pods("ten_thousand_connections_get_their_own_answers_in_bounded_memory")
    else {
        return;
    };
    kit::nginx(&mut lab);
    lab.write_policy("server", &kit::http_policy(kit::PUBLIC)).expect("written");
    lab.start_agent(options("drop").without_state()).expect("the agent starts");
    // What the agent touches at first anyway, the flow log's ring above all, is none of the connections'.
    let host = lab.pod("lab/server").ipv4();
    let warm = format!("wrk -t 1 -c 16 -d 2 http://{host}:{INSPECTED}/public/a");
    assert!(lab.run("lab/client", &warm).0);
    let before = resident_kib(lab.agent_ref().pid());

    let flag = lab.file("again").display().to_string();
    let (address, count) = (host.to_string(), COUNT.to_string());
    let args = ["many", address.as_str(), "80", count.as_str(), flag.as_str()];
    let mut many = Live::start(&lab, "many", "lab/client", &args);
    assert_eq!(many.next()["connected"], COUNT);
    for round in 0..2 {
        let said = many.next();
        assert_eq!(
            (said["allowed"].as_u64(), said["refused"].as_u64()),
            (Some(COUNT), Some(COUNT)),
            "{said}"
        );
        let grown = resident_kib(lab.agent_ref().pid()).saturating_sub(before);
        println!(
            "round {round}: {} after {} s: {grown} KiB for {COUNT} connections",
            said["others"], said["seconds"]
        );
        assert!(grown <= MOST_KIB, "{grown} KiB for {COUNT} connections");
        std::fs::write(&flag, "").expect("written");
    }
    // All of them were inspected at the same time, and the table lets go of them when they are over.
    let conns = || {
        let status = lab.agent_ref().json(&["status"]).expect("a status");
        status[0]["connections"]["current"].as_u64().unwrap_or(u64::MAX)
    };
    eventually("the connections are forgotten", Duration::from_secs(30), || conns() < 100);
}
