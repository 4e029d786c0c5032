//! Random clusters and traffic: a suggestion allows everything that it was made from, denies everything else that was
//! tried, passes `sluice policy check`, and has nothing to add to itself.

mod support;

use arbtest::arbitrary::{Result, Unstructured};
use policy::conformance::{DnsFacts, Flow, HttpFacts, KafkaFacts, TlsFacts};
use policy::document::load_inventory;
use policy::engine::SourceFile;
use policy::inventory::Inventory;
use std::collections::BTreeSet;
use support::{Outcome, records, verdicts};

/// Clusters that are tried.
const SEEDS: u64 = 300;

/// Labels that name workload `n`, in the ways that people name them.
fn labels(n: usize, style: usize) -> String {
    match style {
        0 => format!("app: w{n}"),
        1 => format!("k8s-app: w{n}"),
        2 => format!("app.kubernetes.io/name: shared, app.kubernetes.io/component: c{n}"),
        3 => format!("tier: t{}, role: r{n}", n % 2),
        // The selector of the first one would catch the others, too.
        4 if n == 0 => "app: shared".to_owned(),
        4 => format!("app: shared, component: c{n}"),
        _ => format!("name: w{n}, team: red"),
    }
}

/// A cluster: its inventory, and the workload of each pod by name.
struct Cluster {
    inventory: Inventory,
    /// Name of each end, and what a policy can tell it from.
    ends: Vec<(String, String)>,
}

fn cluster(u: &mut Unstructured<'_>) -> Result<Cluster> {
    let mut text = String::from(
        "namespaces: [{name: a}, {name: b}, {name: kube-system}]\nnodes:\n- {name: n1, ips: [192.168.0.1]}\n- {name: n2, ips: [192.168.0.2]}\npods:\n\
         - {name: dns, namespace: kube-system, node: n1, labels: {k8s-app: kube-dns}, ips: [10.0.9.9]}\n",
    );
    let mut ends = vec![("pod/kube-system/dns".to_owned(), "dns".to_owned())];
    let mut address = 0;
    for n in 0..u.int_in_range(2..=7)? {
        let namespace = if u.ratio(2, 3)? { "a" } else { "b" };
        let labels = labels(n, u.int_in_range(0..=5)?);
        for replica in 0..u.int_in_range(1..=2)? {
            address += 1;
            text.push_str(&format!(
                "- {{name: p{n}-{replica}, namespace: {namespace}, node: n1, labels: {{{labels}, version: \"{replica}\", pod-template-hash: h{replica}}}, ips: [10.0.0.{address}]}}\n"
            ));
            // Labels without a name for the workload all count.
            let own = if labels.starts_with("tier") { replica.to_string() } else { String::new() };
            ends.push((format!("pod/{namespace}/p{n}-{replica}"), format!("{namespace} {labels} {own}")));
        }
    }
    text.push_str(
        "external:\n- {name: e1, ip: 1.1.1.1, dnsNames: [one.example.com]}\n- {name: e2, ip: 1.1.1.2, dnsNames: [one.example.com]}\n\
         - {name: e3, ip: 2.2.2.2, dnsNames: [two.example.org]}\n- {name: e4, ip: 3.3.3.3}\n- {name: e5, ip: \"2001:db8::1\"}\n\
         - {name: e6, ip: 9.9.9.9, kubeAPIServer: true}\n",
    );
    for (name, who) in [
        ("ext/e1", "one"),
        ("ext/e2", "one"),
        ("ext/e3", "two"),
        ("ext/e4", "e4"),
        ("ext/e5", "e5"),
        ("ext/e6", "api"),
        ("node/n1", "host"),
        ("node/n2", "remote"),
    ] {
        ends.push((name.to_owned(), who.to_owned()));
    }
    let inventory =
        load_inventory(&text, "inventory.yaml").unwrap_or_else(|errors| panic!("{errors:?}\n{text}"));
    Ok(Cluster { inventory, ends })
}

fn flow(u: &mut Unstructured<'_>, cluster: &Cluster) -> Result<Flow> {
    let (src, dst) = loop {
        let (src, dst) = (u.choose(&cluster.ends)?.0.clone(), u.choose(&cluster.ends)?.0.clone());
        let pods = src.starts_with("pod/") || dst.starts_with("pod/");
        if src != dst && pods {
            break (src, dst);
        }
        if u.is_empty() {
            break (cluster.ends[1].0.clone(), cluster.ends[0].0.clone());
        }
    };
    let (proto, port) = *u.choose(&[
        ("TCP", 8080),
        ("TCP", 8080),
        ("TCP", 9092),
        ("TCP", 443),
        ("UDP", 53),
        ("TCP", 5432),
        ("UDP", 5432),
        ("SCTP", 5432),
        ("ICMP", 8),
        ("ICMPv6", 128),
        ("TCP", 5433),
        ("TCP", 5434),
    ])?;
    let mut flow = Flow { id: "f".to_owned(), src, dst, proto: proto.to_owned(), port, ..Flow::default() };
    match port {
        8080 => {
            flow.http = Some(HttpFacts {
                method: (*u.choose(&["GET", "POST", "DELETE"])?).to_owned(),
                path: (*u.choose(&[
                    "/",
                    "/orders",
                    "/orders/17",
                    "/a.b",
                    "/a+b/(c)",
                    "/pay.v1.Pay/Charge",
                    "/x?y=1",
                ])?)
                .to_owned(),
                ..HttpFacts::default()
            });
        }
        9092 => {
            flow.kafka = Some(KafkaFacts {
                api_key: *u.choose(&[0, 1])?,
                topics: vec![(*u.choose(&["orders", "events", "audit"])?).to_owned()],
                client_id: (*u.choose(&["app", "app", "batch"])?).to_owned(),
                ..KafkaFacts::default()
            });
        }
        443 => {
            flow.tls = Some(TlsFacts {
                server_name: Some((*u.choose(&["one.example.com", "two.example.org"])?).to_owned()),
            });
        }
        53 if flow.src.starts_with("pod/") => {
            flow.dns = Some(DnsFacts {
                name: (*u.choose(&["one.example.com", "two.example.org", "x.y.z"])?).to_owned(),
            });
        }
        _ => {}
    }
    Ok(flow)
}

/// What policies that say no more than was seen cannot tell apart.
type Likeness = (String, String, String, u16, String);

fn likeness(cluster: &Cluster, flow: &Flow) -> Likeness {
    let who = |name: &str| cluster.ends.iter().find(|(end, _)| end == name).expect("an end").1.clone();
    let message = match (&flow.http, &flow.kafka, &flow.tls, &flow.dns) {
        (Some(http), ..) => format!("{} {}", http.method, http.path),
        (_, Some(kafka), ..) => format!("{} {}", kafka.api_key, kafka.topics[0]),
        (_, _, Some(tls), _) => tls.server_name.clone().unwrap_or_default(),
        (_, _, _, Some(dns)) => dns.name.clone(),
        _ => String::new(),
    };
    (who(&flow.src), who(&flow.dst), flow.proto.clone(), flow.port, message)
}

fn round_trip(u: &mut Unstructured<'_>, tried_so_far: &mut [usize; 3]) -> Result<()> {
    let cluster = cluster(u)?;
    let mut tried = Vec::new();
    for _ in 0..u.int_in_range(2..=30)? {
        tried.push(flow(u, &cluster)?);
    }
    let seen: Vec<Flow> = tried[..tried.len().div_ceil(2)].to_vec();
    let alike: BTreeSet<Likeness> = seen.iter().map(|flow| likeness(&cluster, flow)).collect();
    let speaks: BTreeSet<&str> =
        seen.iter().flat_map(|flow| [flow.src.as_str(), flow.dst.as_str()]).collect();
    // Workloads with rules by name may ask for every name.
    let by_name = |src: &str| {
        let who = |name: &str| cluster.ends.iter().find(|(end, _)| end == name).map(|(_, who)| who.clone());
        seen.iter().any(|flow| {
            who(&flow.src) == who(src) && matches!(flow.dst.as_str(), "ext/e1" | "ext/e2" | "ext/e3")
        })
    };
    let governed = |name: &str| {
        let who = |name: &str| cluster.ends.iter().find(|(end, _)| end == name).map(|(_, who)| who.clone());
        name.starts_with("pod/") && speaks.iter().any(|speaker| who(speaker) == who(name))
    };
    let held_out: Vec<Flow> = tried
        .iter()
        .filter(|flow| !alike.contains(&likeness(&cluster, flow)))
        // A pod's own node always reaches it.
        .filter(|flow| flow.src != "node/n1" && (governed(&flow.src) || governed(&flow.dst)))
        .filter(|flow| !(flow.port == 53 && by_name(&flow.src)))
        .cloned()
        .collect();
    let mut log: Vec<_> = (0..)
        .zip(&seen)
        .flat_map(|(second, flow)| records(&cluster.inventory, flow, Outcome::Passed, second))
        .collect();
    for flow in &held_out {
        let outcome = if u.ratio(1, 2)? { Outcome::DefaultDeny } else { Outcome::DenyRule };
        // A connection whose messages were refused is allowed.
        if !flow.has_message() {
            log.extend(records(&cluster.inventory, flow, outcome, 0));
        }
    }
    let options = suggest::Options::default();
    let suggestion = suggest::suggest(&log, &options);
    let text = suggestion.to_yaml();
    let (every, kept) = ([&seen[..], &held_out[..]].concat(), seen.len());
    for ((flow, allowed), number) in every.iter().zip(verdicts(&cluster.inventory, &[&text], &every)).zip(0..)
    {
        assert_eq!(allowed, number < kept, "{flow}\n{text}");
    }
    if u.ratio(1, 10)? {
        let json = suggestion.to_json().to_string();
        let (yaml, json) =
            (verdicts(&cluster.inventory, &[&text], &tried), verdicts(&cluster.inventory, &[&json], &tried));
        assert_eq!(yaml, json, "YAML and JSON say the same");
    }
    log.reverse();
    assert_eq!(suggest::suggest(&log, &options).to_yaml(), text, "the order of records does not matter");
    let existing = vec![SourceFile { path: "suggested.yaml".to_owned(), text }];
    let more = suggest::suggest(&log, &suggest::Options { existing, ..options });
    assert_eq!(more.to_yaml(), "", "a suggestion has nothing to add to itself: {:?}", more.notes);
    for (count, more) in tried_so_far.iter_mut().zip([1, seen.len(), held_out.len()]) {
        *count += more;
    }
    Ok(())
}

/// Bytes that look random and are the same in every run.
fn bytes(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..1024).flat_map(|_| next().to_le_bytes()).collect()
}

#[test]
fn what_was_seen_is_allowed_and_nothing_else() {
    let mut counts = [0; 3];
    for seed in 0..SEEDS {
        round_trip(&mut Unstructured::new(&bytes(seed)), &mut counts).expect("enough bytes");
    }
    let [clusters, seen, held_out] = counts;
    assert!(clusters as u64 == SEEDS && seen >= 2000 && held_out >= 1000, "too little was tried: {counts:?}");
}
