//! Loads the tc-eBPF policy program between two interfaces, as an eBPF CNI would for two pods of a node.
//!
//! `tc_policy --entries 10000 --client 10.244.1.10 --server 10.244.1.11 lxc10 lxc11` runs until killed; fifty times a second
//! it prints the frames redirected so far, if there are more. The program ends with it. See `benches/tc-policy`.

use anyhow::{Context, Result};
use aya::maps::{HashMap, PerCpuArray};
use aya::programs::{SchedClassifier, TcAttachType, tc};
use clap::Parser;
use sluice_benches::entries;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Index of the counter of redirected frames.
const PASSED: u32 = 0;

#[derive(Parser)]
struct Args {
    /// Entries of the hash; the client has one more for each further port.
    #[arg(long)]
    entries: u32,
    /// Who may talk to the server.
    #[arg(long)]
    client: Ipv4Addr,
    /// The server.
    #[arg(long)]
    server: Ipv4Addr,
    /// First interface.
    left: String,
    /// Second interface.
    right: String,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let mut ebpf = aya::EbpfLoader::new()
        .load(aya::include_bytes_aligned!("../../tc-policy/policy.bpf.o"))
        .context("loading the program")?;
    let index = |name: &str| nix::net::if_::if_nametoindex(name).with_context(|| name.to_owned());
    let (left, right) = (index(&args.left)?, index(&args.right)?);
    {
        let mut other: HashMap<_, u32, u32> = ebpf.map_mut("OTHER").context("no map OTHER")?.try_into()?;
        other.insert(left, right, 0)?;
        other.insert(right, left, 0)?;
    }
    {
        let mut allowed: HashMap<_, [u32; 3], u32> =
            ebpf.map_mut("ALLOWED").context("no map ALLOWED")?.try_into()?;
        for (from, to, protocol, port) in entries::keys(args.entries, args.client, args.server) {
            // Addresses as they stand in the frame.
            let word = |address: Ipv4Addr| u32::from_ne_bytes(address.octets());
            let key = [word(from), word(to), u32::from(port) << 8 | u32::from(protocol)];
            allowed.insert(key, 1, 0)?;
        }
    }
    let program: &mut SchedClassifier = ebpf.program_mut("policy").context("no program")?.try_into()?;
    program.load()?;
    for name in [&args.left, &args.right] {
        // Only kernels before 6.6 need the qdisc; where it is not needed its absence does no harm.
        let _exists = tc::qdisc_add_clsact(name);
        program.attach(name, TcAttachType::Ingress).with_context(|| name.clone())?;
    }
    let counters: PerCpuArray<_, u64> = ebpf.take_map("COUNTERS").context("no map COUNTERS")?.try_into()?;
    println!("ready");
    let mut said = None;
    loop {
        let passed: u64 = counters.get(&PASSED, 0)?.iter().sum();
        if said != Some(passed) {
            println!("{passed}");
            said = Some(passed);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
