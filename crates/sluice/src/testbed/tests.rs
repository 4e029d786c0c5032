//! The testbed on its own, with the kernel in the agent's place: what fails here is the testbed's fault.

use std::io::Write;
use std::time::Duration;

use super::exec::wait_for;
use super::*;

const LIMIT: Duration = Duration::from_secs(10);

/// True (and a printed reason) where this machine cannot make namespaces.
fn skipped(test: &str) -> bool {
    let missing = prereq::missing();
    for thing in &missing {
        // Not eprintln: the test harness would swallow it.
        let _closed =
            writeln!(std::io::stderr(), "SKIPPED {test}: {} is missing; {}", thing.what, thing.remedy);
    }
    !missing.is_empty()
}

#[test]
fn kernel_routing_carries_both_families_to_pods_host_and_outside() {
    if skipped("kernel_routing") {
        return;
    }
    let mut bed = TestBed::new(Routing::Kernel).expect("a node");
    bed.add_outside().expect("an outside");
    for spec in [
        PodSpec::new("shop", "client", "app=client"),
        PodSpec::new("shop", "server", "app=server").mtu(9000).checksum_offload(false),
        PodSpec::new("kube-system", "dns", "k8s-app=kube-dns"),
    ] {
        bed.add_pod(spec).expect("a pod");
    }
    servers::start_http(&mut bed, "shop/server", 8080).expect("http");
    servers::start_dns(&mut bed, "kube-system/dns").expect("dns");

    let get = |url: &str| {
        let client = bed.pod("shop/client");
        let out = client.run(&["curl", "-sS", "-m", "5", "-g", url], LIMIT).expect("curl runs");
        assert!(out.ok(), "{url}: {}", out.text());
        out.stdout
    };
    assert!(get("http://server:8080/by-name").starts_with("server: GET /by-name"));
    let server = bed.pod("shop/server").ipv6();
    assert!(get(&format!("http://[{server}]:8080/v6")).starts_with("server: GET /v6"));

    for address in [node::OUTSIDE_V4.to_string(), node::OUTSIDE_V6.to_string()] {
        let out = bed.pod("shop/client").run(&["ping", "-c1", "-W2", &address], LIMIT).expect("ping runs");
        assert!(out.ok(), "outside {address}: {}", out.text());
    }
}

#[test]
fn a_crashed_run_is_found_and_a_live_one_left_alone() {
    if skipped("cleanup") {
        return;
    }
    let live = TestBed::new(Routing::Kernel).expect("a node");
    let crashed = TestBed::new(Routing::Kernel).expect("a node");
    let (live_tag, crashed_tag) = (live.tag().to_owned(), crashed.tag().to_owned());
    let node = crashed.node().name().to_owned();
    crashed.keep().expect("kept");
    // A kept run is a crashed one but for its mark.
    std::fs::remove_file(format!("/run/sluice-testbed/{crashed_tag}/kept")).expect("the mark was there");

    // A program that another test starts at this moment holds the lock with it until it is executed.
    let mut removed = Vec::new();
    let found = wait_for("the crashed run is found", LIMIT, || {
        removed.extend(cleanup(Leftovers::Crashed));
        removed.contains(&crashed_tag)
    });
    assert!(found.is_ok(), "{removed:?}");
    assert!(!removed.contains(&live_tag), "{removed:?}");
    assert!(netns::list(&node).is_empty());
    assert_eq!(netns::list(live.node().name()).len(), 1);
}

#[test]
fn the_small_peers_tell_what_happened() {
    if skipped("peers") {
        return;
    }
    let mut bed = TestBed::new(Routing::Kernel).expect("a node");
    for name in ["client", "server"] {
        bed.add_pod(PodSpec::new("shop", name, "app=x").mtu(9000)).expect("a pod");
    }
    servers::start_peer(&mut bed, "shop/server", &["echo", "tcp", "7"], 7).expect("echo");
    servers::start_peer(&mut bed, "shop/server", &["echo", "udp", "7"], 7).expect("echo");
    servers::start_peer(&mut bed, "shop/server", &["sink", "9"], 9).expect("sink");
    let mut hear = servers::peer(&bed, bed.pod("shop/server"), &["hear-sctp", "5"]).expect("a peer");
    bed.start("hear", &mut hear).expect("starts");

    let (v4, v6) = (bed.pod("shop/server").ipv4().to_string(), bed.pod("shop/server").ipv6().to_string());
    let say = |args: &[&str]| {
        let mut command = servers::peer(&bed, bed.pod("shop/client"), args).expect("a peer");
        let output = exec::run(&mut command, LIMIT).expect("it runs");
        output.stdout.lines().last().unwrap_or_default().to_owned() + &output.stderr
    };
    let ok = |said: String| assert!(said.contains("\"end\": \"ok\""), "{said}");
    for host in [&v4, &v6] {
        ok(say(&["ask", "tcp", host, "7", "100000"]));
        ok(say(&["ask", "udp", host, "7", "20000"]));
        ok(say(&["send", host, "9", "5000000"]));
        ok(say(&["chat", host, "7", "0.3"]));
    }
    assert!(say(&["ask", "tcp", &v4, "99", "1"]).contains("ECONNREFUSED"));
    assert!(say(&["sctp", &v4, "3868"]).contains("true"));
    assert!(say(&["spoof", "10.244.1.77", &v4, "7"]).contains("true"));
    let heard = || std::fs::read_to_string(bed.file("hear.log")).unwrap_or_default();
    exec::wait_for("the chunk", LIMIT, || heard().contains("3868")).expect("heard");
}

#[test]
fn a_real_database_answers_across_pods() {
    if skipped("postgres") {
        return;
    }
    if !servers::postgres_installed() {
        eprintln!("SKIPPED postgres: not installed");
        return;
    }
    let mut bed = TestBed::new(Routing::Kernel).expect("a node");
    for name in ["api", "db"] {
        bed.add_pod(PodSpec::new("shop", name, "app=x")).expect("a pod");
    }
    servers::start_postgres(&mut bed, "shop/db").expect("postgres");
    for address in [bed.pod("shop/db").ipv4().to_string(), bed.pod("shop/db").ipv6().to_string()] {
        let conninfo = format!("host={address} user=shop dbname=shop");
        let out =
            bed.pod("shop/api").run(&["psql", "-qAtXd", &conninfo, "-c", "SELECT item FROM orders"], LIMIT);
        assert_eq!(out.expect("psql runs").text(), "sluice gate");
    }
}
