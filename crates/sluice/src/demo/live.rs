//! The demo on the real thing: namespaces, real servers and clients, `sluice run` over AF_XDP.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use super::conversation::{Conversation, Happened, Outcome, Peer, Probe};
use super::missing_rule::describe_drop;
use super::report::Report;
use super::rpc;
use super::stack;
use crate::testbed::{
    AgentOptions, Leftovers, Netns, Output, Routing, TestBed, cleanup, exec, interrupt, node, servers,
};

/// How long a client waits for its first answer (seconds).
const PATIENCE: &str = "1.5";
/// Beyond any client's own limit.
const LIMIT: Duration = Duration::from_secs(12);

/// Builds the cluster, has every conversation, reports; true when all went as expected.
pub(super) fn run(keep: bool) -> Result<bool> {
    interrupt::watch()?;
    let crashed = cleanup(Leftovers::Crashed);
    let conversations = stack::conversations();
    let mut report = Report::new(&conversations);
    if !crashed.is_empty() {
        report.note(&format!("removed what a crashed run left behind: {}", crashed.join(", ")));
    }

    report.heading("Building a cluster in network namespaces");
    let bed = build(&report)?;
    report.note(&format!(
        "  policies: {}",
        stack::POLICIES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    ));

    report.heading("Conversations");
    report.header();
    let mut outcomes = Vec::new();
    for conversation in conversations {
        let outcome = hold(&bed, conversation)?;
        report.outcome(&outcome);
        outcomes.push(outcome);
    }
    rpc::run(&bed, &mut report)?;

    report.heading("Flow log of frontend's three requests, and of payment-service's name");
    show_messages(&bed, &report)?;
    report.heading("Flow log of the denied ones");
    show_denied(&bed, &outcomes, &report)?;
    report.line("");
    report.line(&traffic(&bed)?);
    let good = report.verdict("real programs, AF_XDP");
    if keep {
        show_commands(&bed, &report);
        bed.keep()?;
    } else {
        drop(bed);
        report.note("Everything the demo made is removed.");
    }
    Ok(good)
}

fn build(report: &Report) -> Result<TestBed> {
    let mut bed = TestBed::new(Routing::Sluice)?;
    bed.add_outside()?;
    for spec in stack::pods() {
        bed.add_pod(spec)?;
    }
    rpc::add_pods(&mut bed)?;
    let http = servers::start_http(&mut bed, "production/api-service", 8080)?;
    servers::start_http(&mut bed, "production/frontend", 8080)?;
    servers::start_http(&mut bed, "payments/payments-api", 8080)?;
    let outside = format!("--host-record={},{},{}", stack::OUTSIDE_NAME, node::OUTSIDE_V4, node::OUTSIDE_V6);
    servers::start_dns_with(&mut bed, "kube-system/kube-dns", &[&outside])?;
    let database = if servers::postgres_installed() {
        servers::start_postgres(&mut bed, "production/postgres-db")?;
        "PostgreSQL"
    } else {
        servers::start_peer(&mut bed, "production/postgres-db", &["echo", "tcp", "5432"], 5432)?;
        "an echo server (PostgreSQL is not installed)"
    };
    for port in [8080, 443] {
        start_outside_server(&mut bed, port)?;
    }
    for pod in bed.pods() {
        report.note(&format!("  {:34} {:13} {}", pod.path(), pod.ipv4(), pod.ipv6()));
    }
    report.note(&format!("  servers: {http}, dnsmasq, {database}"));

    rpc::start(&mut bed, report)?;
    for (name, text) in stack::POLICIES {
        bed.write_policy(name, text)?;
    }
    let binary = std::env::current_exe().context("cannot find my own binary")?;
    let agent = bed.start_agent(AgentOptions::new(binary))?;
    report.note(&format!("  sluice run: process {}, API socket {}", agent.pid(), agent.socket().display()));
    Ok(bed)
}

/// An HTTP server on the machine outside.
fn start_outside_server(bed: &mut TestBed, port: u16) -> Result<()> {
    let (python, script) = servers::python_peer(bed)?;
    let outside = bed.outside().context("the outside was just made")?;
    let mut command = outside.command(python);
    command.arg(script).args(["http", &port.to_string(), "outside"]);
    bed.start(&format!("outside-{port}"), &mut command)?;
    crate::testbed::wait_for_port(bed.outside().context("the outside is there")?, port, LIMIT)
}

/// Has one conversation.
fn hold(bed: &TestBed, conversation: Conversation) -> Result<Outcome> {
    let started = Instant::now();
    let netns = match conversation.from {
        Peer::Pod(path) => bed.pod(path).netns(),
        Peer::Node => bed.node(),
        Peer::Outside => bed.outside().context("no outside")?,
    };
    let argv = client(bed, &conversation)?;
    let output = run_client(netns, &argv)?;
    let happened = judge(conversation.probe, &output);
    Ok(Outcome { conversation, happened, elapsed: started.elapsed() })
}

/// The command line of the client.
fn client(bed: &TestBed, conversation: &Conversation) -> Result<Vec<String>> {
    let (ipv4, ipv6) = match conversation.to {
        Peer::Pod(path) => (bed.pod(path).ipv4(), bed.pod(path).ipv6()),
        Peer::Node => (node::NODE_V4, node::NODE_V6),
        Peer::Outside => (node::OUTSIDE_V4, node::OUTSIDE_V6),
    };
    let words = |text: String| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    Ok(match conversation.probe {
        Probe::Http { port, requests, ipv6: six } => {
            let host = if six { format!("[{ipv6}]") } else { ipv4.to_string() };
            words(curl(&format!("{host}:{port}"), requests))
        }
        Probe::Named { name, port, requests } => words(curl(&format!("{name}:{port}"), requests)),
        Probe::Dns { tcp } => {
            let transport = if tcp { "+tcp" } else { "+notcp" };
            words(format!(
                "dig +short +time=1 +tries=1 {transport} @{ipv4} api-service.production.svc.cluster.local A"
            ))
        }
        Probe::Sql if servers::postgres_installed() => {
            let mut argv = words("psql -qAtX -d".to_owned());
            argv.push(format!("host={ipv4} user=shop dbname=shop connect_timeout=2"));
            argv.extend(["-c".to_owned(), "SELECT item FROM orders WHERE id = 1".to_owned()]);
            argv
        }
        Probe::Sql => {
            let (python, script) = servers::python_peer(bed)?;
            words(format!("{} {} ask tcp {ipv4} 5432 64", python.display(), script.display()))
        }
        Probe::Ping => words(format!("ping -c 1 -W 1 -n {ipv4}")),
    })
}

/// A command line that makes requests one after the other, and says the code and the new connections of each.
fn curl(host: &str, requests: &[(&str, &str)]) -> String {
    let each: Vec<String> = requests
        .iter()
        .map(|(method, path)| {
            format!(
                "-sS -g --connect-timeout {PATIENCE} -m 5 -w %{{http_code}}/%{{num_connects}}\\n -o /dev/null -X {method} \
                 http://{host}{path}"
            )
        })
        .collect();
    format!("curl {}", each.join(" --next "))
}

fn run_client(netns: &Netns, argv: &[String]) -> Result<Output> {
    let (program, args) = argv.split_first().context("an empty command")?;
    exec::run(netns.command(program).args(args), LIMIT)
}

/// What the client's exit code and words mean.
fn judge(probe: Probe, output: &Output) -> Happened {
    let text = output.text();
    // An error says more than what was printed before it.
    let words = if output.ok() || output.stderr.trim().is_empty() { &output.stdout } else { &output.stderr };
    let first = words.lines().next().unwrap_or_default().trim().to_owned();
    let silent = match probe {
        // curl: 28 is its time limit.
        Probe::Http { .. } | Probe::Named { .. } => output.code == Some(28),
        // dig: 9 is "no reply".
        Probe::Dns { .. } => output.code == Some(9),
        // psql says so in words, the peer in JSON.
        Probe::Sql => text.contains("timeout expired") || text.contains("\"timeout\""),
        // ping: 1 is "no reply"; an ICMP error would be quoted.
        Probe::Ping => output.code == Some(1) && !text.contains("From "),
    };
    if silent || output.timed_out {
        Happened::Silence
    } else if output.ok() && !text.contains("\"ok\": false") {
        match probe {
            Probe::Http { .. } | Probe::Named { .. } => statuses(&output.stdout),
            Probe::Ping => Happened::Answered("echo reply".to_owned()),
            Probe::Dns { .. } | Probe::Sql => Happened::Answered(first),
        }
    } else {
        Happened::Failed(if first.is_empty() { format!("exit code {:?}", output.code) } else { first })
    }
}

/// The codes that curl says, if all came on one connection.
fn statuses(said: &str) -> Happened {
    let found: Option<Vec<(u16, u32)>> = said
        .lines()
        .map(|line| {
            line.split_once('/').and_then(|(code, new)| Some((code.parse().ok()?, new.parse().ok()?)))
        })
        .collect();
    match found {
        Some(found) if found.iter().map(|(_, new)| new).sum::<u32>() == 1 => {
            Happened::Statuses(found.into_iter().map(|(code, _)| code).collect())
        }
        _ => Happened::Failed(format!("not on one connection: {}", said.trim().replace('\n', ", "))),
    }
}

/// What the flow log says about messages: five of one HTTP connection, and the last of DNS.
fn show_messages(bed: &TestBed, report: &Report) -> Result<()> {
    for (pod, protocol, count) in
        [("production/frontend", "http", "5"), ("production/payment-service", "dns", "4")]
    {
        let argv = ["observe", "--type", "l7", "--pod", pod, "--protocol", protocol, "--last", count];
        let output = bed.agent_ref().cli(&argv)?;
        for line in output.stdout.lines() {
            report.line(&format!("  {line}"));
        }
    }
    Ok(())
}

fn show_denied(bed: &TestBed, outcomes: &[Outcome], report: &Report) -> Result<()> {
    let agent = bed.agent_ref();
    // The flow log is written by another thread than the packets: give the last ones a moment.
    std::thread::sleep(Duration::from_millis(200));
    let records = agent.json(&["observe", "--verdict", "DROPPED", "--last", "10000"])?;
    for outcome in outcomes.iter().filter(|outcome| outcome.happened == Happened::Silence) {
        let one = &outcome.conversation;
        let Some(record) = records.iter().rev().find(|record| is_about(bed, record, one)) else {
            report.line(&format!("  {} -> {}: no record", one.from.short(), one.destination()));
            continue;
        };
        report.drop_record(&describe_drop(one, record).unwrap_or_else(|| "  no drop".to_owned()));
    }
    Ok(())
}

/// Whether a flow record belongs to a conversation: both addresses and the destination port.
fn is_about(bed: &TestBed, record: &Value, one: &Conversation) -> bool {
    let flow = record.get("flow").unwrap_or(record);
    let address = |peer: Peer| match (peer, one.probe.is_ipv6()) {
        (Peer::Pod(path), false) => Some(bed.pod(path).ipv4().to_string()),
        (Peer::Pod(path), true) => Some(bed.pod(path).ipv6().to_string()),
        (Peer::Outside, false) => Some(node::OUTSIDE_V4.to_string()),
        (Peer::Outside, true) => Some(node::OUTSIDE_V6.to_string()),
        (Peer::Node, _) => None,
    };
    let ip = |side: &str| flow.get("IP").and_then(|ip| ip.get(side)).and_then(Value::as_str);
    let same = |side: &str, peer: Peer| address(peer).is_none_or(|want| ip(side) == Some(want.as_str()));
    let l4 = flow.get("l4").unwrap_or(&Value::Null);
    let same_port = match one.probe.port() {
        Some((port, protocol)) => {
            l4.get(protocol).and_then(|fields| fields.get("destination_port")).and_then(Value::as_u64)
                == Some(u64::from(port))
        }
        None => l4.get("ICMPv4").is_some() || l4.get("ICMPv6").is_some(),
    };
    same("source", one.from) && same("destination", one.to) && same_port
}

/// How many packets went through AF_XDP, from the agent's own counters.
fn traffic(bed: &TestBed) -> Result<String> {
    let status = bed.agent_ref().json(&["status"])?;
    let counters =
        status.first().and_then(|status| status.get("afxdp")).context("the status has no AF_XDP counters")?;
    let count = |key: &str| counters.get(key).and_then(Value::as_u64).unwrap_or(0);
    Ok(format!(
        "{} packets came in through AF_XDP sockets, {} went out",
        count("rxFrames"),
        count("txFrames")
    ))
}

fn show_commands(bed: &TestBed, report: &Report) {
    let agent = bed.agent_ref();
    let sluice = agent.binary().display().to_string();
    let pod = |path: &str| bed.pod(path).netns().name().to_owned();
    let (frontend, api) = (pod("production/frontend"), bed.pod("production/api-service").ipv4());
    report.heading("The cluster is still running. Try:");
    report.line(&format!(
        "  export SLUICE_SOCKET={} SLUICE_CONFIG={}",
        agent.socket().display(),
        agent.config_dir().display()
    ));
    report.line(&format!("  {sluice} status"));
    report.line(&format!("  {sluice} observe --follow"));
    report.line(&format!("  {sluice} observe --verdict DROPPED --namespace production -o json"));
    report.line(&format!("  {sluice} policy map production/api-service"));
    report.line(&format!("  {sluice} ct list"));
    report.line(&format!("  ip netns exec {frontend} curl -m 2 http://{api}:8080/api/v1/products"));
    report.line(&format!(
        "  ip netns exec {frontend} curl -m 2 http://api-service:8080/   # by name, through kube-dns"
    ));
    report.line(&format!(
        "  $EDITOR {}/policies/allow-frontend-to-api.yaml   # takes effect when saved",
        bed.config_dir().display()
    ));
    report.line(&format!("  {sluice} demo --cleanup   # removes it"));
}
