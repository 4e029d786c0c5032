//! DNS: which names a pod may ask for, and connections to what the answers say.

use crate::kit;
use crate::support::{Lab, eventually};
use sluice::testbed::{PodSpec, node, servers, wait_for_port};
use std::time::Duration;

/// Two names outside, each with an address of its own; an alias for the first.
const RECORDS: [&str; 5] = [
    "--host-record=api.stripe.test,198.51.100.2,2001:db8:51::2,60",
    "--host-record=other.example.test,198.51.100.3,60",
    "--cname=pay.stripe.test,api.stripe.test,60",
    "--txt-record=api.stripe.test,text",
    "--local=/test/",
];

/// What the client may: ask kube-dns for names below stripe.test and below its cluster, and talk to one of them.
const POLICY: &str = "apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: client, namespace: lab}
spec:
  endpointSelector: {matchLabels: {app: client}}
  egress:
    - toEndpoints: [{matchLabels: {k8s:io.kubernetes.pod.namespace: kube-system, k8s-app: kube-dns}}]
      toPorts:
        - ports: [{port: \"53\", protocol: ANY}]
          rules:
            dns:
              - {matchPattern: \"*.stripe.test\"}
              - {matchPattern: \"*.*.svc.cluster.local\"}
    - toFQDNs: [{matchName: api.stripe.test}, {matchName: pay.stripe.test}]
      toPorts: [{ports: [{port: \"8080\", protocol: TCP}]}]
";

/// A client, dnsmasq, and a machine outside that serves HTTP on two addresses.
fn lab_with_names(test: &str) -> Option<Lab> {
    let mut lab = crate::support::lab(test)?;
    lab.add_outside().expect("an outside");
    lab.add_pod(PodSpec::new("lab", "client", "app=client")).expect("a pod");
    lab.add_pod(PodSpec::new("kube-system", "kube-dns", "k8s-app=kube-dns")).expect("a pod");
    servers::start_dns_with(&mut lab, "kube-system/kube-dns", &RECORDS).expect("dnsmasq");
    let (python, script) = servers::python_peer(&lab).expect("python");
    let outside = lab.outside().expect("an outside");
    outside.ip("addr add 198.51.100.3/24 dev eth0\n").expect("an address");
    let mut command = outside.command(python);
    command.arg(script).args(["http", "8080", "outside"]);
    lab.start_program("outside", &mut command);
    wait_for_port(lab.outside().expect("an outside"), 8080, kit::LIMIT).expect("it listens");
    lab.write_policy("client", POLICY).expect("written");
    lab.start();
    Some(lab)
}

/// What dig says: the status of the answer, and the first record of its answer.
fn dig(lab: &Lab, args: &str) -> (String, String) {
    let server = lab.pod("kube-system/kube-dns").ipv4();
    let (_, said) = lab.run("lab/client", &format!("dig +time=2 +tries=1 @{server} {args}"));
    let status = said.split("status: ").nth(1).and_then(|rest| rest.split(',').next()).unwrap_or(&said);
    let answer = said.lines().skip_while(|line| !line.contains("ANSWER SECTION")).nth(1).unwrap_or_default();
    (status.to_owned(), answer.split_whitespace().last().unwrap_or_default().to_owned())
}

fn curl(lab: &Lab, url: &str) -> (bool, String) {
    lab.run("lab/client", &format!("curl -sS -g -m 2 -o /dev/null -w %{{http_code}} {url}"))
}

/// Frames that policy has dropped, by the workers' own counters.
fn denied(lab: &Lab) -> u64 {
    let page = lab.agent_ref().cli(&["metrics"]).expect("metrics").stdout;
    let series =
        |line: &&str| line.starts_with("sluice_dropped_frames_total{") && line.contains("\"POLICY_DENIED\"");
    let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<u64>().ok());
    page.lines().filter(series).map(|line| value(line).expect("a number")).sum()
}

/// Where packets of the client were dropped; its refused questions are none of them.
fn dropped(lab: &Lab) -> Vec<String> {
    let records = lab.drops_now("lab/client", "POLICY_DENIED");
    let packets = records.iter().map(|record| &record["flow"]).filter(|flow| flow["l7"].is_null());
    packets.map(|flow| flow["IP"]["destination"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn dig_gets_answers_for_allowed_names_and_refused_for_others() {
    let Some(lab) = lab_with_names("dig_gets_answers_for_allowed_names_and_refused_for_others") else {
        return;
    };
    let said = |status: &str, answer: &str| (status.to_owned(), answer.to_owned());
    for transport in ["+notcp", "+tcp", "+notcp +bufsize=4096", "+notcp +nocookie +noedns", "+tcp +keepopen"]
    {
        let ask = |what: &str| dig(&lab, &format!("{transport} {what}"));
        assert_eq!(ask("api.stripe.test A"), said("NOERROR", "198.51.100.2"), "{transport}");
        assert_eq!(ask("API.Stripe.TEST A"), said("NOERROR", "198.51.100.2"), "{transport}");
        assert_eq!(ask("api.stripe.test AAAA"), said("NOERROR", "2001:db8:51::2"), "{transport}");
        assert_eq!(ask("api.stripe.test TXT"), said("NOERROR", "\"text\""), "{transport}");
        assert_eq!(ask("none.stripe.test A"), said("NXDOMAIN", ""), "{transport}");
        assert_eq!(ask("other.example.test A"), said("REFUSED", ""), "{transport}");
        assert_eq!(ask("stripe.test A"), said("REFUSED", ""), "{transport}");
        assert_eq!(ask("kube-dns.kube-system.svc.cluster.local A").0, "NOERROR", "{transport}");
    }
    // What was refused in a datagram is said to nobody else: the next to speak is another connection, of another protocol.
    for transport in ["+tcp", "+notcp"] {
        let ask = |transport: &str, what: &str| dig(&lab, &format!("{transport} {what}"));
        assert_eq!(ask("+notcp", "other.example.test A"), said("REFUSED", ""));
        assert_eq!(ask(transport, "api.stripe.test A"), said("NOERROR", "198.51.100.2"), "{transport}");
    }
    kit::logged(&lab, "dns-request proxy FORWARDED (DNS Query api.stripe.test. A) by lab/client");
    kit::logged(&lab, "dns-request proxy DROPPED (DNS Query other.example.test. A)");
    kit::logged(&lab, "dns-response proxy FORWARDED (DNS Answer \"198.51.100.2\"");
    // Many questions on one connection and many at a time.
    let server = lab.pod("kube-system/kube-dns").ipv4();
    let names = ["api.stripe.test", "other.example.test", "none.stripe.test"].repeat(10).join(" ");
    let (ok, said) = lab.run(
        "lab/client",
        &format!("dig +time=2 +tries=1 +tcp +keepopen +noall +comments @{server} {names}"),
    );
    let count = |what: &str| said.matches(&format!("status: {what},")).count();
    assert!(ok && (count("NOERROR"), count("REFUSED"), count("NXDOMAIN")) == (10, 10, 10), "{said}");
}

#[test]
fn the_first_packet_to_a_resolved_address_passes_and_no_other_address_does() {
    let Some(lab) = lab_with_names("the_first_packet_to_a_resolved_address_passes_and_no_other_address_does")
    else {
        return;
    };
    // Before anyone asked, its address is as unknown as any other.
    let (ok, said) = curl(&lab, &format!("http://{}:8080/", node::OUTSIDE_V4));
    assert!(!ok && said.contains("000"), "{said}");

    // curl asks and connects in the same moment: not one SYN is dropped.
    let before = denied(&lab);
    assert!(before > 0, "the one above was");
    for url in ["http://api.stripe.test:8080/", "http://pay.stripe.test:8080/"] {
        let (ok, said) = curl(&lab, &format!("--ipv4 {url}"));
        assert!(ok && said.ends_with("200"), "{url}: {said}");
        assert_eq!(denied(&lab), before, "{url}");
    }
    let (ok, said) = curl(&lab, "--ipv6 http://api.stripe.test:8080/");
    assert!(ok && said.ends_with("200"), "{said}");
    // The one from before is all that was dropped.
    assert!(
        dropped(&lab).iter().all(|address| *address == node::OUTSIDE_V4.to_string()),
        "{:?}",
        dropped(&lab)
    );

    let listed = lab.agent_ref().cli(&["fqdn", "list"]).expect("a list").stdout;
    for part in ["api.stripe.test", "198.51.100.2", "2001:db8:51::2", "pay.stripe.test", "lab/client"] {
        assert!(listed.contains(part), "{part}: {listed}");
    }
    // Another port of it, another machine beside it, and the name that may not be asked for.
    for url in ["http://198.51.100.2:8081/", "http://198.51.100.3:8080/"] {
        let (ok, said) = curl(&lab, url);
        assert!(!ok && said.contains("000"), "{url}: {said}");
    }
    let (ok, said) = curl(&lab, "http://other.example.test:8080/");
    assert!(!ok && said.contains("resolve"), "{said}");
    eventually("the drop is logged", Duration::from_secs(3), || {
        dropped(&lab).iter().any(|to| to == "198.51.100.3")
    });
}

#[test]
fn only_answers_to_a_question_of_the_pod_teach_anything_and_what_is_learnt_outlives_the_agent() {
    let Some(mut lab) = lab_with_names(
        "only_answers_to_a_question_of_the_pod_teach_anything_and_what_is_learnt_outlives_the_agent",
    ) else {
        return;
    };
    let forged = lab.pod("kube-system/kube-dns").ipv4().to_string();
    let client = lab.pod("lab/client").ipv4().to_string();
    // From the right server, but nobody asked: id, one answer, api.stripe.test A 198.51.100.3.
    let said = kit::ask(
        &lab,
        "kube-system/kube-dns",
        &["unasked", &forged, &client, "api.stripe.test", "198.51.100.3"],
    );
    assert_eq!(said["ok"], true);
    let (ok, said) = curl(&lab, "http://198.51.100.3:8080/");
    assert!(!ok && said.contains("000"), "{said}");
    let names = |lab: &Lab| lab.agent_ref().cli(&["fqdn", "list"]).expect("a list").stdout;
    assert!(!names(&lab).contains("198.51.100.3"), "{}", names(&lab));

    assert_eq!(dig(&lab, "api.stripe.test A").0, "NOERROR");
    eventually("it is learnt", Duration::from_secs(2), || names(&lab).contains("198.51.100.2"));
    assert_eq!(lab.agent().stop(), Some(0));
    lab.start();
    assert!(names(&lab).contains("198.51.100.2"), "{}", names(&lab));
    let (ok, said) = curl(&lab, "http://198.51.100.2:8080/");
    assert!(ok && said.ends_with("200"), "{said}");
}
