//! Several workers over the sockets of one node: flows divided among them, the same policy everywhere.
//!
//! The tests of traffic, captures and names, and some of lifecycle, run a second time with `SLUICE_TEST_WORKERS=2`
//! (`scripts/test.sh e2e`); here is what only several can show.

mod support;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::Value;
use sluice::testbed::PodSpec;
use support::{Lab, allow, lab, options};

const WORKERS: usize = 3;

/// Pods that divide among the workers, and an echo server on port 7 that only `client` may use.
fn guarded_server(test: &str) -> Option<Lab> {
    guarded_server_and(test, &["client", "stranger", "server", "idle"])
}

/// The same with these pods.
fn guarded_server_and(test: &str, pods: &[&str]) -> Option<Lab> {
    let mut lab = lab(test)?;
    for name in pods {
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

/// A flow to the echo server, with its own bytes on their way.
enum Flow {
    Udp(UdpSocket),
    Tcp(TcpStream),
}

/// Datagrams, or pieces of a stream, of one flow that are on their way at a time: of all together far fewer than wait for
/// a bucket at most.
const WINDOW: u32 = 8;

/// Longer than the machine stands still.
const STILL: Duration = Duration::from_secs(30);

impl Flow {
    fn open(lab: &Lab, tcp: bool, server: Ipv4Addr) -> Self {
        let open = move || -> std::io::Result<Self> {
            if tcp {
                let stream = TcpStream::connect_timeout(&(server, 7).into(), STILL)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(STILL))?;
                return Ok(Self::Tcp(stream));
            }
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            socket.connect((server, 7))?;
            socket.set_read_timeout(Some(STILL))?;
            Ok(Self::Udp(socket))
        };
        let opened = lab.pod("lab/client").netns().spawn(open).join().expect("no panic");
        opened.expect("inside").expect("a flow")
    }

    fn port(&self) -> u16 {
        let address = match self {
            Self::Udp(socket) => socket.local_addr(),
            Self::Tcp(stream) => stream.local_addr(),
        };
        address.expect("it is connected").port()
    }

    /// What is sent in a round: nothing else has these bytes.
    fn piece(flow: usize, round: u32, number: u32) -> Vec<u8> {
        let head = format!("flow {flow} round {round} number {number} ");
        head.bytes().cycle().take(100 + number as usize).collect()
    }

    fn send(&mut self, flow: usize, round: u32) {
        let pieces = (0..WINDOW).map(|number| Self::piece(flow, round, number));
        match self {
            Self::Udp(socket) => pieces.for_each(|piece| {
                assert_eq!(socket.send(&piece).expect("sent"), piece.len());
            }),
            // At once: an answer in pieces would wait for acknowledgements.
            Self::Tcp(stream) => stream.write_all(&pieces.collect::<Vec<_>>().concat()).expect("sent"),
        }
    }

    /// All of it comes back, once and unchanged. Datagrams may overtake each other in the pods' kernels.
    fn receive(&mut self, flow: usize, round: u32) {
        let pieces = (0..WINDOW).map(|number| Self::piece(flow, round, number));
        match self {
            Self::Udp(socket) => {
                let mut expected: BTreeSet<Vec<u8>> = pieces.collect();
                while !expected.is_empty() {
                    let mut answer = [0; 2_000];
                    let len = socket.recv(&mut answer).expect("an answer");
                    assert!(expected.remove(&answer[..len]), "flow {flow} round {round}: {len} other bytes");
                }
            }
            Self::Tcp(stream) => {
                let expected = pieces.collect::<Vec<_>>().concat();
                let mut answer = vec![0; expected.len()];
                stream.read_exact(&mut answer).expect("an answer");
                assert!(answer == expected, "flow {flow} round {round}: other bytes");
            }
        }
    }
}

fn converse(flows: &mut [Flow], rounds: std::ops::Range<u32>) {
    for round in rounds {
        for (number, flow) in flows.iter_mut().enumerate() {
            flow.send(number, round);
        }
        for (number, flow) in flows.iter_mut().enumerate() {
            flow.receive(number, round);
        }
    }
}

#[test]
fn busy_flows_of_one_worker_move_to_the_other_and_nothing_is_lost() {
    const UDP: usize = 6;
    const TCP: usize = 3;
    const ROUNDS: u32 = 100;
    // The ports of the two pods are of one worker each.
    let test = "busy_flows_of_one_worker_move_to_the_other_and_nothing_is_lost";
    let Some(mut lab) = guarded_server_and(test, &["client", "server"]) else { return };
    lab.start_agent(options("drop").workers(2)).expect("the agent starts");
    let server = lab.pod("lab/server").ipv4();
    // The two servers have the same number, and one that listens was waited for.
    for kind in ["tcp", "udp"] {
        support::eventually("the server answers", support::LIMIT, || {
            lab.ask("lab/client", kind, server, 7, 100) == "ok"
        });
    }
    // The hash is keyed anew at each start. Whose a flow is shows in whose connections it becomes one of.
    let (mut busy, mut flows, mut others) = (None, Vec::new(), Vec::new());
    let mut before = of_each(&status(&lab), "connections");
    for (tcp, wanted) in [(false, UDP), (true, UDP + TCP)] {
        while flows.len() < wanted {
            assert!(others.len() < 200, "half of all flows are of one worker");
            let mut flow = Flow::open(&lab, tcp, server);
            converse(std::slice::from_mut(&mut flow), 0..1);
            let after = of_each(&status(&lab), "connections");
            let more: Vec<u64> =
                after.iter().zip(&before).map(|(after, before)| after.saturating_sub(*before)).collect();
            before = after;
            let owner = match more[..] {
                [1, 0] => Some(0),
                [0, 1] => Some(1),
                _ => None,
            };
            if owner.is_some() && *busy.get_or_insert(owner) == owner {
                flows.push(flow);
            } else {
                others.push(flow);
            }
        }
    }
    let busy: usize = busy.flatten().expect("a worker");
    let calm = status(&lab);
    assert_eq!(of_each(&calm, "buckets"), [128, 128]);
    assert_eq!(of_each(&calm, "bucketsCame"), [0, 0], "hardly a frame, and nothing moves: {calm}");

    // All that is said now is of one worker.
    let (begun, mut round, mut now) = (Instant::now(), 0, calm.clone());
    while of_each(&now, "bucketsCame")[1 - busy] == 0 {
        assert!(begun.elapsed() < support::LIMIT, "nothing moves: {now}");
        converse(&mut flows, round..round + ROUNDS);
        round += ROUNDS;
        // Whoever asks meanwhile sees all of them.
        let list = lab.agent_ref().json(&["ct", "list"]).expect("ct list").remove(0);
        let listed = list.as_array().expect("a list").iter().map(|conn| &conn["sourcePort"]);
        let listed: BTreeSet<u64> = listed.filter_map(Value::as_u64).collect();
        assert!(flows.iter().all(|flow| listed.contains(&flow.port().into())), "{listed:?}");
        now = status(&lab);
    }
    // It goes on where it is.
    converse(&mut flows, round..round + ROUNDS);
    support::eventually("no bucket is on its way", support::LIMIT, || {
        now = status(&lab);
        of_each(&now, "buckets").iter().sum::<u64>() == 256
    });
    println!("{round} rounds in {:?}: {now}", begun.elapsed());
    assert!(of_each(&now, "buckets")[busy] < 128, "{now}");
    assert_eq!(of_each(&now, "bucketsRefused"), [0, 0], "none is inspected");
    assert_eq!(of_each(&now, "handoverLost"), [0, 0], "{now}");
    assert_eq!(now["connections"]["opened"], calm["connections"]["opened"], "none was forgotten: {now}");
    let page = lab.agent_ref().cli(&["metrics"]).expect("metrics").stdout;
    let came = of_each(&now, "bucketsCame")[1 - busy];
    let series = format!("sluice_bucket_moves_total{{worker=\"{}\",outcome=\"came\"}} ", 1 - busy);
    let shown = page.lines().find_map(|line| line.strip_prefix(&series)).expect("the series");
    assert!(shown.parse::<u64>().expect("a number") >= came, "{shown} of {came}");

    // And over a restart.
    assert_eq!(lab.agent().stop(), Some(0), "a clean shutdown");
    lab.start_agent(options("drop").workers(2)).expect("the agent starts");
    converse(&mut flows, round + ROUNDS..round + ROUNDS + 1);
}
