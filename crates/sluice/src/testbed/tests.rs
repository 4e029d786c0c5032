//! The testbed on its own, with the kernel in the agent's place: what fails here is the testbed's fault.

use std::time::Duration;

use super::*;

const LIMIT: Duration = Duration::from_secs(10);

/// True (and a printed reason) where this machine cannot make namespaces.
fn skipped(test: &str) -> bool {
    let missing = prereq::missing();
    for thing in &missing {
        eprintln!("SKIPPED {test}: {} is missing; {}", thing.what, thing.remedy);
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

    let removed = cleanup(Leftovers::Crashed);
    assert!(removed.contains(&crashed_tag), "{removed:?}");
    assert!(!removed.contains(&live_tag), "{removed:?}");
    assert!(netns::list(&node).is_empty());
    assert_eq!(netns::list(live.node().name()).len(), 1);
}
