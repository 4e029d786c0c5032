//! What is started in a node for each contender, and how each proves what it carried.

use crate::contender::{Contender, MANY, SPIN_CPU};
use crate::entries;
use anyhow::{Context, Result, ensure};
use sluice::testbed::{AgentOptions, TestBed, exec, pod};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Limit for programs that answer at once; ten thousand rules take iptables a second.
const LIMIT: Duration = Duration::from_secs(20);

/// The file of the policies.
const POLICIES: &str = "server";

/// Who plays a contender, beside the kernel.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Player {
    /// Its process.
    pub pid: u32,
    /// Whether it is to stand still while others are measured.
    pub spins: bool,
}

/// Starts what the contender needs beyond its pods.
///
/// # Errors
/// Something that it takes is not installed, or does not start.
pub fn start(bed: &mut TestBed, contender: Contender, sluice: &Path) -> Result<Option<Player>> {
    match contender {
        Contender::Sluice(policies) => start_sluice(bed, sluice, policies, "").map(Some),
        Contender::SluiceSilent => start_sluice(bed, sluice, 1, "flowLog: {enabled: false}\n").map(Some),
        Contender::SluiceJumbo => start_sluice(bed, sluice, 1, "").map(Some),
        Contender::Bare => Ok(Some(Player { pid: start_bare(bed, SPIN_CPU)?, spins: true })),
        Contender::TcEbpf => {
            let (client, server) = addresses(bed);
            let arguments = [
                "--entries",
                &MANY.to_string(),
                "--client",
                &client.to_string(),
                "--server",
                &server.to_string(),
            ];
            let pid = start_forwarder(bed, "tc_policy", &arguments)?;
            Ok(Some(Player { pid, spins: false }))
        }
        Contender::Kernel | Contender::KernelOneCpu => Ok(None),
        Contender::KernelNoOffload => {
            for pod in bed.pods() {
                exec::check(pod.command("ethtool").args(["-K", "eth0", "tso", "off", "gso", "off"]), LIMIT)?;
            }
            Ok(None)
        }
        Contender::Iptables(rules) => load_iptables(bed, "iptables-nft-restore", rules, false),
        Contender::IptablesLegacy(rules) => load_iptables(bed, "iptables-legacy-restore", rules, false),
        Contender::IptablesTracked(rules) => load_iptables(bed, "iptables-nft-restore", rules, true),
        Contender::Nftables => {
            let (client, server) = addresses(bed);
            let file = bed.file("bench.nft");
            std::fs::write(&file, entries::nftables(MANY, client, server))?;
            exec::check(bed.node().command("nft").arg("-f").arg(&file), LIMIT)?;
            Ok(None)
        }
    }
}

fn addresses(bed: &TestBed) -> (std::net::Ipv4Addr, std::net::Ipv4Addr) {
    (bed.pod("bench/client").ipv4(), bed.pod("bench/server").ipv4())
}

fn start_sluice(bed: &mut TestBed, sluice: &Path, policies: u32, settings: &str) -> Result<Player> {
    if policies > 0 {
        bed.write_policy(POLICIES, &entries::policies(policies))?;
    }
    let agent = bed.start_agent(AgentOptions::new(sluice).spin_on(&[SPIN_CPU]).with_settings(settings))?;
    let pid = agent.pid();
    let loaded = in_force(bed)?;
    ensure!(loaded == u64::from(policies), "{policies} policies were written, {loaded} are in force");
    Ok(Player { pid, spins: true })
}

/// Has the running agent enforce so many policies instead of those that it has, which are others.
///
/// # Errors
/// They do not come into force.
pub fn swap_policies(bed: &TestBed, policies: u32) -> Result<()> {
    if policies > 0 {
        bed.write_policy(POLICIES, &entries::policies(policies))?;
    } else {
        bed.remove_policy(POLICIES)?;
    }
    exec::wait_for("the policies in force", LIMIT, || {
        in_force(bed).is_ok_and(|loaded| loaded == u64::from(policies))
    })
}

/// Policies that the agent enforces.
fn in_force(bed: &TestBed) -> Result<u64> {
    let status = bed.agent_ref().json(&["status"])?;
    let loaded = status.first().and_then(|status| status.pointer("/policy/policies")?.as_u64());
    loaded.context("no policy.policies in the status")
}

fn load_iptables(bed: &TestBed, restore: &str, rules: u32, tracked: bool) -> Result<Option<Player>> {
    let (client, server) = addresses(bed);
    let file = bed.file("rules.iptables");
    std::fs::write(&file, entries::iptables(rules, tracked, client, server))?;
    exec::check(bed.node().command(restore).arg(&file), LIMIT)?;
    Ok(None)
}

/// Starts the bare forwarder between the pods, spinning on that CPU; its process.
///
/// # Errors
/// It is not built or does not start.
pub fn start_bare(bed: &mut TestBed, cpu: usize) -> Result<u32> {
    start_forwarder(bed, "bare_forwarder", &["--cpu", &cpu.to_string()])
}

/// Frames that the bare forwarder says it has forwarded.
///
/// # Errors
/// It said nothing yet.
pub fn bare_carried(bed: &TestBed) -> Result<u64> {
    last_number(&bed.file("bare_forwarder.log"))
}

/// A program of this package that forwards frames as they are between the pods' interfaces. It changes no Ethernet address,
/// so each pod's gateway is simply the other pod.
fn start_forwarder(bed: &mut TestBed, name: &str, arguments: &[&str]) -> Result<u32> {
    let (left, right) = (bed.pod("bench/client"), bed.pod("bench/server"));
    for (pod, other) in [(left, right), (right, left)] {
        let mac = exec::check(other.command("cat").arg("/sys/class/net/eth0/address"), LIMIT)?;
        let gateway = pod::GATEWAY_V4.to_string();
        let argv = ["neigh", "replace", &gateway, "lladdr", mac.stdout.trim(), "dev", "eth0"];
        exec::check(pod.command("ip").args(argv), LIMIT)?;
    }
    let mut command = bed.node().command(sibling(name)?);
    command.args(arguments).args([left.interface(), right.interface()]);
    let program = bed.start(name, &mut command)?;
    exec::wait_for(name, Duration::from_secs(10), || program.log().contains("ready"))
        .with_context(|| program.log())?;
    Ok(program.pid())
}

/// Another program of this package, built beside this one.
fn sibling(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    ensure!(path.is_file(), "{} is not built", path.display());
    Ok(path)
}

/// Packets that the contender itself says it has carried between the pods: rules by their counters, programs by theirs,
/// plain routing by the kernel's.
///
/// # Errors
/// It does not answer.
pub fn carried(bed: &TestBed, contender: Contender) -> Result<u64> {
    match contender {
        Contender::Sluice(_) | Contender::SluiceSilent | Contender::SluiceJumbo => {
            let status = bed.agent_ref().json(&["status"])?;
            let count = status.first().and_then(|status| status.pointer("/frames/forwarded")?.as_u64());
            count.context("no frames.forwarded in the status")
        }
        Contender::Bare => bare_carried(bed),
        Contender::TcEbpf => last_number(&bed.file("tc_policy.log")),
        Contender::Kernel | Contender::KernelNoOffload | Contender::KernelOneCpu => routed(bed),
        Contender::Iptables(_) | Contender::IptablesTracked(_) => accepted(&saved(bed, "iptables-nft-save")?),
        Contender::IptablesLegacy(_) => accepted(&saved(bed, "iptables-legacy-save")?),
        Contender::Nftables => {
            let said = exec::check(bed.node().command("nft").args(["-j", "list", "counters"]), LIMIT)?;
            let json: serde_json::Value = serde_json::from_str(&said.stdout)?;
            let of = |name: &str| {
                let mut counters =
                    json["nftables"].as_array().into_iter().flatten().map(|one| &one["counter"]);
                counters.find(|one| one["name"] == name).and_then(|one| one["packets"].as_u64())
            };
            let (seen, refused) = of("seen").zip(of("refused")).context("no counters in nftables")?;
            Ok(seen.saturating_sub(refused))
        }
    }
}

/// Packets that the node's kernel has routed, for whomever.
///
/// # Errors
/// The kernel does not say.
pub fn routed(bed: &TestBed) -> Result<u64> {
    let said = exec::check(bed.node().command("cat").arg("/proc/net/snmp"), LIMIT)?;
    let mut lines = said.stdout.lines().filter_map(|line| line.strip_prefix("Ip: "));
    let (names, values) = lines.next().zip(lines.next()).context("no line Ip")?;
    let mut pairs = names.split_whitespace().zip(values.split_whitespace());
    let (_, count) = pairs.find(|(name, _)| *name == "ForwDatagrams").context("no ForwDatagrams")?;
    Ok(count.parse()?)
}

fn saved(bed: &TestBed, save: &str) -> Result<String> {
    Ok(exec::check(bed.node().command(save).args(["-c", "-t", "filter"]), LIMIT)?.stdout)
}

/// Packets that the rules of the chain have accepted: lines like `[12:3456] -A FORWARD … -j ACCEPT`.
fn accepted(saved: &str) -> Result<u64> {
    let mut sum = 0;
    for line in saved.lines().filter(|line| line.contains("] -A FORWARD ")) {
        let packets = line.strip_prefix('[').and_then(|rest| rest.split_once(':')).context("no counter")?.0;
        sum += packets.parse::<u64>()?;
    }
    Ok(sum)
}

/// What a program of this package said last. It speaks fifty times a second, so it is waited for.
fn last_number(log: &Path) -> Result<u64> {
    std::thread::sleep(Duration::from_millis(50));
    let log = std::fs::read_to_string(log)?;
    log.lines().rev().find_map(|line| line.parse().ok()).context("no count in the log")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rules_accepted_is_summed() {
        let text = "*filter\n:FORWARD DROP [7:420]\n[0:0] -A FORWARD -s 172.16.0.1/32 -j ACCEPT\n\
                    [12:720] -A FORWARD -s 10.244.1.10/32 -j ACCEPT\n[11:660] -A FORWARD -d 10.244.1.10/32 -j ACCEPT\nCOMMIT\n";
        assert_eq!(accepted(text).expect("counters"), 23);
        assert!(accepted("[x] -A FORWARD -j ACCEPT").is_err());
    }
}
