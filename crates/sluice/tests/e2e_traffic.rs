//! Every kind of packet a pod sends: fragments, ICMP and its errors, large MTUs, checksum offload on and off, the host,
//! and what is outside.

mod support;

use serde_json::Value;
use sluice::testbed::{PodSpec, inventory, node, servers};
use support::{Lab, allow, lab};

fn pods(test: &str, specs: impl IntoIterator<Item = PodSpec>) -> Option<Lab> {
    let mut lab = lab(test)?;
    for spec in specs {
        lab.add_pod(spec).expect("a pod");
    }
    Some(lab)
}

fn pod(name: &str) -> PodSpec {
    PodSpec::new("lab", name, &format!("app={name}"))
}

/// Pushes `bytes` through one connection and asserts that the far end got the same ones. How fast is not its business.
#[track_caller]
fn bulk(lab: &Lab, from: &str, address: impl ToString, bytes: u64) -> Value {
    let args = ["send", &address.to_string(), "9", &bytes.to_string()];
    let said = lab.peer_within(support::BULK_LIMIT, from, &args);
    assert_eq!(said["end"], "ok", "{said}");
    said
}

#[test]
fn ping_both_families_and_fragments_of_icmp_and_udp() {
    let Some(mut lab) =
        pods("ping_both_families_and_fragments_of_icmp_and_udp", [pod("client"), pod("server")])
    else {
        return;
    };
    lab.echo("lab/server", "udp", 7);
    lab.start();
    let (v4, v6) = (lab.pod("lab/server").ipv4().to_string(), lab.pod("lab/server").ipv6().to_string());
    for address in [&v4, &v6] {
        for size in [56, 4000, 20_000] {
            let (ok, said) = lab.run("lab/client", &format!("ping -c 3 -i 0.1 -W 2 -s {size} {address}"));
            assert!(ok, "ping of {size} bytes to {address}: {said}");
        }
        for size in [1, 1472, 1473, 4000, 60_000] {
            assert_eq!(lab.ask("lab/client", "udp", address, 7, size), "ok", "{size} bytes to {address}");
        }
    }
}

#[test]
fn policy_applies_to_every_fragment() {
    let Some(mut lab) =
        pods("policy_applies_to_every_fragment", [pod("client"), pod("stranger"), pod("server")])
    else {
        return;
    };
    lab.echo("lab/server", "udp", 7);
    lab.write_policy("server", &allow("server", "app=client", "app=server", 7)).expect("written");
    lab.start();
    let server = lab.pod("lab/server").ipv4();
    assert_eq!(lab.ask("lab/client", "udp", server, 7, 8000), "ok");
    assert_eq!(lab.ask("lab/stranger", "udp", server, 7, 8000), "timeout");
    let (ok, said) = lab.run("lab/client", &format!("ping -c 1 -W 1 -s 4000 {server}"));
    assert!(!ok, "ICMP is not allowed by a port rule: {said}");
}

#[test]
fn icmp_errors_come_back_to_the_flow_that_caused_them() {
    let Some(mut lab) =
        pods("icmp_errors_come_back_to_the_flow_that_caused_them", [pod("client"), pod("server")])
    else {
        return;
    };
    lab.write_policy("server", &allow("server", "app=client", "app=server", 4000)).expect("written");
    lab.start();
    let (v4, v6) = (lab.pod("lab/server").ipv4().to_string(), lab.pod("lab/server").ipv6().to_string());
    for address in [&v4, &v6] {
        // Nothing listens there: the pod answers port unreachable, which belongs to the allowed flow.
        assert_eq!(lab.ask("lab/client", "udp", address, 4000, 10), "ECONNREFUSED", "{address}");
        assert_eq!(lab.ask("lab/client", "tcp", address, 4000, 10), "ECONNREFUSED", "{address}");
    }
}

#[test]
fn a_hop_limit_that_runs_out_is_answered_by_the_gateway() {
    let Some(mut lab) =
        pods("a_hop_limit_that_runs_out_is_answered_by_the_gateway", [pod("client"), pod("server")])
    else {
        return;
    };
    lab.start();
    let (v4, v6) = (lab.pod("lab/server").ipv4(), lab.pod("lab/server").ipv6());
    let (ok, said) = lab.run("lab/client", &format!("ping -n -c 1 -W 2 -t 1 {v4}"));
    assert!(!ok && said.contains("Time to live exceeded"), "{said}");
    let (ok, said) = lab.run("lab/client", &format!("ping -n -c 1 -W 2 -t 1 {v6}"));
    assert!(!ok && said.to_lowercase().contains("hop limit"), "{said}");
    let (ok, said) = lab.run("lab/client", &format!("ping -n -c 1 -W 2 -t 2 {v4}"));
    assert!(ok, "the appliance is one hop: {said}");
}

#[test]
fn a_packet_too_big_for_the_receiver_is_reported_with_its_mtu() {
    let Some(mut lab) = pods(
        "a_packet_too_big_for_the_receiver_is_reported_with_its_mtu",
        [pod("client").mtu(9000), pod("server")],
    ) else {
        return;
    };
    lab.echo("lab/server", "tcp", 7);
    lab.sink("lab/server", 9);
    lab.start();
    let (v4, v6) = (lab.pod("lab/server").ipv4(), lab.pod("lab/server").ipv6());
    let (ok, said) = lab.run("lab/client", &format!("ping -n -c 1 -W 2 -M do -s 4000 {v4}"));
    assert!(!ok && said.contains("mtu = 1500"), "{said}");
    let (ok, said) = lab.run("lab/client", &format!("ping -n -c 1 -W 2 -M do -s 4000 {v6}"));
    assert!(!ok && said.contains("mtu = 1500") || said.contains("mtu=1500"), "{said}");
    bulk(&lab, "lab/client", v4, 4 << 20);
    bulk(&lab, "lab/client", v6, 4 << 20);
}

#[test]
fn bulk_arrives_unchanged_at_mtu_1500_9000_and_65000_with_offload_on_and_off() {
    let name = "bulk_arrives_unchanged_at_mtu_1500_9000_and_65000_with_offload_on_and_off";
    let specs = [1500, 9000, 65_000].into_iter().flat_map(|mtu| {
        [true, false].into_iter().flat_map(move |offload| {
            let suffix = format!("{mtu}{}", if offload { "on" } else { "off" });
            [pod(&format!("c{suffix}")), pod(&format!("s{suffix}"))]
                .map(|spec| spec.mtu(mtu).checksum_offload(offload))
        })
    });
    let Some(mut lab) = pods(name, specs) else { return };
    let servers: Vec<String> =
        lab.pods().iter().map(|pod| pod.path()).filter(|path| path.starts_with("lab/s")).collect();
    for server in &servers {
        lab.sink(server, 9);
    }
    lab.start();
    for server in &servers {
        let client = server.replace("lab/s", "lab/c");
        let (v4, v6) = (lab.pod(server).ipv4(), lab.pod(server).ipv6());
        // Some thirty times around the rings between workers, and several times around all of a worker's memory.
        let said = bulk(&lab, &client, v4, 32 << 20);
        eprintln!("{client}: 32 MiB in {:.2} s", said["seconds"].as_f64().unwrap_or_default());
        bulk(&lab, &client, v6, 8 << 20);
    }
}

#[test]
fn the_host_reaches_pods_and_pods_reach_the_host() {
    let Some(mut lab) = pods("the_host_reaches_pods_and_pods_reach_the_host", [pod("server")]) else {
        return;
    };
    lab.echo("lab/server", "tcp", 7);
    // Default deny at the pod: its own node reaches it all the same, as the kubelet must.
    lab.write_policy("server", &allow("server", "app=nobody", "app=server", 7)).expect("written");
    lab.start();
    let (python, script) = servers::python_peer(&lab).expect("python");
    for address in [lab.pod("lab/server").ipv4().to_string(), lab.pod("lab/server").ipv6().to_string()] {
        let mut command = lab.node().command(&python);
        command.arg(&script).args(["ask", "tcp", &address, "7", "5000"]);
        let output = sluice::testbed::exec::run(&mut command, support::LIMIT).expect("the client runs");
        assert!(output.stdout.contains("\"ok\": true"), "host -> {address}: {}", output.text());
    }

    let mut echo = lab.node().command(&python);
    echo.arg(&script).args(["echo", "tcp", "7000"]);
    lab.start_program("node-echo", &mut echo);
    sluice::testbed::wait_for_port(lab.node(), 7000, support::LIMIT).expect("the host listens");
    lab.answers("lab/server", "tcp", inventory::HOST_V4, 7000);
    lab.answers("lab/server", "tcp", inventory::HOST_V6, 7000);
}

#[test]
fn pods_reach_the_outside_masqueraded() {
    let Some(mut lab) =
        pods("pods_reach_the_outside_masqueraded", [pod("client").mtu(9000), pod("isolated")])
    else {
        return;
    };
    lab.add_outside().expect("an outside");
    let (python, script) = servers::python_peer(&lab).expect("python");
    for args in [["echo", "tcp", "7"], ["echo", "udp", "7"]] {
        let mut echo = lab.outside().expect("made above").command(&python);
        echo.arg(&script).args(args);
        lab.start_program(&args.join("-"), &mut echo);
    }
    let mut sink = lab.outside().expect("made above").command(&python);
    sink.arg(&script).args(["sink", "9"]);
    lab.start_program("outside-sink", &mut sink);
    sluice::testbed::wait_for_port(lab.outside().expect("made above"), 9, support::LIMIT)
        .expect("it listens");
    lab.write_policy(
        "isolated",
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: isolated, namespace: lab}\nspec:\n  \
         endpointSelector: {matchLabels: {app: isolated}}\n  egress:\n    - toEntities: [cluster]\n",
    )
    .expect("written");
    lab.start();
    for address in [node::OUTSIDE_V4.to_string(), node::OUTSIDE_V6.to_string()] {
        lab.answers("lab/client", "tcp", &address, 7);
        lab.answers("lab/client", "udp", &address, 7);
        lab.silence("lab/isolated", "tcp", &address, 7);
        // The pod's MTU is larger than the uplink's: discovery must find the way.
        bulk(&lab, "lab/client", &address, 4 << 20);
    }
}

#[test]
fn sctp_leaves_with_a_right_crc() {
    let Some(mut lab) = pods("sctp_leaves_with_a_right_crc", [pod("client"), pod("server")]) else { return };
    lab.start();
    let server = lab.pod("lab/server").ipv4().to_string();
    let mut hear = servers::peer(&lab, lab.pod("lab/server"), &["hear-sctp", "5"]).expect("a peer");
    lab.start_program("hear-sctp", &mut hear);
    let log = lab.file("hear-sctp.log");
    let heard = || std::fs::read_to_string(&log).unwrap_or_default();
    support::eventually("the listener is there", support::RELOAD, || heard().contains("listening"));
    assert_eq!(lab.peer("lab/client", &["sctp", &server, "3868"])["ok"], true);
    support::eventually("the chunk arrives", support::LIMIT, || heard().lines().count() >= 2);
    assert!(heard().contains("\"ok\": true"), "{}", heard());
}
