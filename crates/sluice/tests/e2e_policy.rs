//! Who may talk to whom, on real traffic: allow, deny, reply, both address families, and changes under load.

mod support;

use std::time::Duration;

use sluice::testbed::PodSpec;
use support::{RELOAD, allow, eventually, lab};

/// client, stranger and server in namespace `lab`, an echo server for TCP and UDP on port 7 and TCP on 8.
fn three_pods(test: &str) -> Option<support::Lab> {
    let mut lab = lab(test)?;
    for name in ["client", "stranger", "server"] {
        lab.add_pod(PodSpec::new("lab", name, &format!("app={name}"))).expect("a pod");
    }
    lab.echo("lab/server", "tcp", 7);
    lab.echo("lab/server", "udp", 7);
    lab.echo("lab/server", "tcp", 8);
    Some(lab)
}

#[test]
fn without_policy_everything_passes_both_ways() {
    let Some(mut lab) = three_pods("without_policy_everything_passes_both_ways") else { return };
    lab.start();
    let (v4, v6) = (lab.pod("lab/server").ipv4(), lab.pod("lab/server").ipv6());
    for kind in ["tcp", "udp"] {
        lab.answers("lab/client", kind, v4, 7);
        lab.answers("lab/client", kind, v6, 7);
    }
}

#[test]
fn only_the_allowed_peer_and_port_pass_and_replies_come_back() {
    let Some(mut lab) = three_pods("only_the_allowed_peer_and_port_pass_and_replies_come_back") else {
        return;
    };
    lab.write_policy("server", &allow("server", "app=client", "app=server", 7)).expect("written");
    lab.start();
    let (v4, v6) = (lab.pod("lab/server").ipv4(), lab.pod("lab/server").ipv6());
    for address in [v4.to_string(), v6.to_string()] {
        for kind in ["tcp", "udp"] {
            lab.answers("lab/client", kind, &address, 7);
        }
        lab.silence("lab/stranger", "tcp", &address, 7);
        lab.silence("lab/client", "tcp", &address, 8);
    }
    let records = lab.drops("lab/stranger", "POLICY_DENIED");
    let flow = &records[0]["flow"];
    assert_eq!(flow["traffic_direction"], "INGRESS");
    assert_eq!(flow["source"]["pod_name"], "stranger");
    assert_eq!(flow["destination"]["pod_name"], "server");
    assert_eq!(flow["l4"]["TCP"]["destination_port"], 7);
    assert!(
        flow["source"]["labels"].as_array().expect("labels").iter().any(|label| label == "k8s:app=stranger"),
        "{flow}"
    );
}

#[test]
fn egress_default_deny_stops_at_the_source() {
    let Some(mut lab) = three_pods("egress_default_deny_stops_at_the_source") else { return };
    lab.write_policy(
        "client",
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: client, namespace: lab}\nspec:\n  \
         endpointSelector: {matchLabels: {app: client}}\n  egress: []\n",
    )
    .expect("written");
    lab.start();
    let server = lab.pod("lab/server").ipv4();
    lab.silence("lab/client", "tcp", server, 7);
    lab.answers("lab/stranger", "tcp", server, 7);
    assert_eq!(lab.drops("lab/client", "POLICY_DENIED")[0]["flow"]["traffic_direction"], "EGRESS");
}

#[test]
fn a_deny_rule_beats_an_allow_rule() {
    let Some(mut lab) = three_pods("a_deny_rule_beats_an_allow_rule") else { return };
    lab.write_policy(
        "server",
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: server, namespace: lab}\nspec:\n  \
         endpointSelector: {matchLabels: {app: server}}\n  ingress:\n    - fromEndpoints: [{}]\n  ingressDeny:\n    \
         - fromEndpoints: [{matchLabels: {app: stranger}}]\n",
    )
    .expect("written");
    lab.start();
    let server = lab.pod("lab/server").ipv4();
    lab.answers("lab/client", "tcp", server, 7);
    lab.silence("lab/stranger", "tcp", server, 7);
    lab.drops("lab/stranger", "POLICY_DENY");
}

#[test]
fn a_forged_source_address_does_not_leave_the_pod() {
    let Some(mut lab) = three_pods("a_forged_source_address_does_not_leave_the_pod") else { return };
    lab.write_policy("server", &allow("server", "app=client", "app=server", 7)).expect("written");
    lab.start();
    let (client, server) =
        (lab.pod("lab/client").ipv4().to_string(), lab.pod("lab/server").ipv4().to_string());
    let sent = lab.peer("lab/stranger", &["spoof", &client, &server, "7"]);
    assert_eq!(sent["ok"], true);
    eventually("the drop is counted", RELOAD, || {
        let output = lab.agent_ref().cli(&["observe", "--verdict", "DROPPED", "--last", "100", "-o", "json"]);
        output.is_ok_and(|output| output.stdout.contains("INVALID_SOURCE_IP"))
    });
}

#[test]
fn a_policy_change_under_load_cuts_exactly_the_revoked_connections() {
    let Some(mut lab) = three_pods("a_policy_change_under_load_cuts_exactly_the_revoked_connections") else {
        return;
    };
    lab.write_policy("first", &allow("first", "app=client", "app=server", 7)).expect("written");
    lab.write_policy("second", &allow("second", "app=stranger", "app=server", 8)).expect("written");
    lab.start();
    let server = lab.pod("lab/server").ipv4();
    let kept: Vec<_> = (0..4).map(|_| lab.chat("lab/client", server, 7, 8.0)).collect();
    let mut revoked: Vec<_> = (0..4).map(|_| lab.chat("lab/stranger", server, 8, 30.0)).collect();
    std::thread::sleep(Duration::from_millis(500));

    lab.remove_policy("second").expect("removed");
    // A machine that is busy enough lets a connection time out by itself, so the flow log must say that policy did it.
    eventually("a new connection is refused by policy", 4 * RELOAD, || {
        lab.ask("lab/stranger", "tcp", server, 8, 10) == "timeout"
            && !lab.drops_now("lab/stranger", "POLICY_DENIED").is_empty()
    });
    for chat in &mut revoked {
        // Cut means that no more data passes; where the protocol has a way to say so, the ends are told at once.
        eventually("a revoked connection ends", Duration::from_secs(3), || !chat.is_running());
    }
    for chat in revoked {
        let said = chat.finish();
        assert_ne!(said["end"], "ok", "{said}");
    }
    for chat in kept {
        let said = chat.finish();
        assert_eq!(said["end"], "ok", "{said}");
        assert!(said["longest"].as_f64().expect("a number") < 1.0, "a kept connection stalled: {said}");
    }
}

#[test]
fn a_widened_policy_takes_effect_and_a_broken_file_changes_nothing() {
    let Some(mut lab) = three_pods("a_widened_policy_takes_effect_and_a_broken_file_changes_nothing") else {
        return;
    };
    lab.write_policy("server", &allow("server", "app=client", "app=server", 7)).expect("written");
    lab.start();
    let server = lab.pod("lab/server").ipv4();
    let chat = lab.chat("lab/client", server, 7, 4.0);
    lab.silence("lab/stranger", "tcp", server, 7);

    lab.write_policy("more", &allow("more", "app=stranger", "app=server", 7)).expect("written");
    eventually("the new rule is in force", RELOAD, || lab.ask("lab/stranger", "tcp", server, 7, 10) == "ok");

    lab.write_policy("server", "kind: [this is no policy\n").expect("written");
    eventually("the error is reported", RELOAD, || lab.agent_ref().log().contains("server.yaml"));
    lab.answers("lab/client", "tcp", server, 7);
    lab.silence("lab/client", "tcp", server, 8);
    assert_eq!(chat.finish()["end"], "ok");
}
