//! What a DNS answer costs in a large cluster: 10,000 policies, 10,000 identities, 100,000 prefixes, 10,000 names.
//!
//! Debug builds run a tenth of the size. Times are printed, not asserted: how fast the machine is says nothing.

mod cluster;

use cluster::{PODS, POLICIES, SCALE, inventory, policy};
use policy::engine::SourceFile;
use policy::fqdn::Answer;
use policy::rule::CidrGroup;
use policy::{Direction, Engine, Options, Verdict};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

const PREFIXES: u32 = 100_000 / SCALE as u32;
const NAMES: u32 = 10_000 / SCALE as u32;

/// Policies that let every pod of a tier reach names of its own, and everybody the prefixes of a group.
fn files() -> Vec<SourceFile> {
    let mut files: Vec<_> = (0..POLICIES).map(|n| policy(n, 80 + n % 5)).collect();
    files.extend((0..POLICIES / 10).map(|n| {
        let text = format!(
            "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: f{n}, namespace: ns-{}}}\nspec:\n  endpointSelector: {{matchLabels: {{tier: t{}}}}}\n  egress:\n  - toFQDNs: [{{matchPattern: \"*.zone{n}.example\"}}, {{matchName: www{n}.example}}]\n    toPorts: [{{ports: [{{port: \"443\", protocol: TCP}}]}}]\n",
            n % 100,
            n % 7,
        );
        SourceFile { path: format!("f{n}.yaml"), text }
    }));
    files.push(SourceFile {
        path: "g.yaml".into(),
        text: "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata: {name: g}\nspec:\n  endpointSelector: {}\n  egress:\n  - toCIDRSet: [{cidrGroupRef: many}]\n".into(),
    });
    files
}

fn group() -> CidrGroup {
    let prefix = |n: u32| {
        let bits = if n.is_multiple_of(4) { 24 } else { 32 };
        ipnet::IpNet::new(Ipv4Addr::from_bits(0x1400_0000 | n.wrapping_mul(977) & 0x00ff_ffff).into(), bits)
            .expect("a length")
            .trunc()
    };
    let prefixes = (0..PREFIXES).map(prefix).collect();
    CidrGroup { name: "many".into(), labels: Vec::new(), prefixes, file: "g.yaml".into(), line: 1 }
}

fn learn(engine: &mut Engine, name: &str, addr: u32, now: u64) -> Duration {
    let addresses: [IpAddr; 1] = [Ipv4Addr::from_bits(addr).into()];
    let answer = Answer { name, addresses: &addresses, cnames: &[], ttl: 60, endpoint: None };
    // As the agent does it: whoever reads the last version still has it.
    let before = engine.snapshot();
    let start = Instant::now();
    engine.learn_fqdns([answer], now);
    let taken = start.elapsed();
    drop(before);
    taken
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    println!("{what}: median {median:.2?}, worst {worst:.2?} of {}", times.len());
}

fn open(engine: &Engine, pod: &str, addr: u32) -> bool {
    let (namespace, name) = pod.split_once('/').expect("namespace/name");
    let endpoint = engine.endpoint(namespace, name).expect("an endpoint");
    let peer = engine.snapshot().identity(packet::Addr::from(IpAddr::from(Ipv4Addr::from_bits(addr))));
    matches!(endpoint.map.lookup(Direction::Egress, peer, 6, 443), Verdict::Allow(_))
}

#[test]
fn an_answer_moves_what_it_touches() {
    let options = Options { node_name: "n0".into(), ..Options::default() };
    let mut reader = Engine::new(options.clone());
    assert!(reader.set_policies(files()).is_valid());
    let mut engine = Engine::new(options);
    engine.set_inventory(inventory(PODS));
    let start = Instant::now();
    engine.set_documents(reader.policies(), vec![group()], Vec::new());
    drop(reader);
    println!("policies in force: {:.2?}", start.elapsed());
    let base = 0x1e00_0000;
    for n in 0..NAMES {
        learn(&mut engine, &format!("unwanted{n}.example"), base + 0x10_0000 + n, 0);
    }

    let firsts = (0..50).map(|n| learn(&mut engine, &format!("www{n}.example"), base + n, 0)).collect();
    report("first address of a condition", firsts);
    let more = (0..50).map(|n| learn(&mut engine, &format!("www{n}.example"), base + 0x100 + n, 0)).collect();
    report("one more address of it", more);
    let again =
        (0..50).map(|n| learn(&mut engine, &format!("www{n}.example"), base + 0x100 + n, 1)).collect();
    report("an answer told again", again);
    let inside =
        (0..50).map(|n| learn(&mut engine, &format!("www{n}.example"), 0x1400_0001 + n * 4 * 977, 0));
    report("an address inside a prefix of policy", inside.collect());
    let unwanted = (0..50).map(|n| learn(&mut engine, &format!("new{n}.example"), base + 0x200 + n, 0));
    report("a name that no rule is about", unwanted.collect());

    let snapshot = engine.snapshot();
    let asked: [IpAddr; 1] = [Ipv4Addr::from_bits(base + 0x100).into()];
    let start = Instant::now();
    let rounds = 100_000;
    for _ in 0..rounds {
        assert!(std::hint::black_box(&snapshot).fqdn_in_force("www0.example", &asked));
    }
    println!("fqdn_in_force: {:.0} ns", start.elapsed().as_secs_f64() * 1e9 / f64::from(rounds));
    // Policy f0 is about the tier of pod-0, in its namespace.
    assert!(open(&engine, "ns-0/pod-0", base) && open(&engine, "ns-0/pod-0", base + 0x100));
    assert!(!snapshot.fqdn_in_force("www0.example", &[Ipv4Addr::from_bits(base + 1).into()]));

    let start = Instant::now();
    assert!(engine.expire_fqdns(1_000).is_empty());
    let question = engine.expire_fqdns(2_000);
    engine.settle_fqdns(&question, |_| false, 2_000);
    println!("{} addresses forgotten: {:.2?}", question.len(), start.elapsed());
    assert!(engine.snapshot().fqdn.names().is_empty() && engine.snapshot().fqdn.addresses().is_empty());
}
