//! Sends one 60-byte UDP frame again and again through an AF_XDP socket on a pod's own interface.
//!
//! Source ports vary over 1,024 values, so that the receiver of a forwarder sees that many flows.

use afxdp::Sizes;
use anyhow::{Context, Result, anyhow};
use clap::Parser;
use packet::emit::{self, Envelope};
use packet::{MacAddr, PacketIo, PortId};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// 60 bytes with Ethernet header, without frame check sequence.
const PAYLOAD: [u8; 18] = [0; 18];

#[derive(Parser)]
struct Args {
    /// The CPU to send from.
    #[arg(long)]
    cpu: usize,
    /// How long.
    #[arg(long)]
    seconds: u64,
    /// The interface to send on.
    interface: String,
    /// Ethernet address of the next hop.
    next_hop: String,
    /// Source address.
    src: Ipv4Addr,
    /// Destination address.
    dst: Ipv4Addr,
}

fn mac(text: &str) -> Option<MacAddr> {
    let bytes: Vec<u8> = text.split(':').map(|b| u8::from_str_radix(b, 16)).collect::<Result<_, _>>().ok()?;
    Some(MacAddr(bytes.try_into().ok()?))
}

fn main() -> Result<()> {
    let args = Args::parse();
    let mut set = nix::sched::CpuSet::new();
    set.set(args.cpu)?;
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set)?;
    let own = std::fs::read_to_string(format!("/sys/class/net/{}/address", args.interface))?;
    let envelope = Envelope {
        eth_src: mac(own.trim()).context("own address")?,
        eth_dst: mac(&args.next_hop).context("next hop")?,
        src: std::net::IpAddr::V4(args.src).into(),
        dst: std::net::IpAddr::V4(args.dst).into(),
        ttl: 64,
        traffic_class: 0,
    };
    let (opener, mut io) = afxdp::open(Sizes::for_ports(2))?;
    let index = nix::net::if_::if_nametoindex(args.interface.as_str())?;
    io.add_port(opener.open(PortId(0), &args.interface, index, 0)?).map_err(|_| anyhow!("no slot"))?;
    let start = Instant::now();
    let mut sent = 0_u64;
    while start.elapsed() < Duration::from_secs(args.seconds) {
        for _ in 0..64 {
            let Some(mut frame) = io.alloc(PortId(0), 60) else { break };
            let port = 10_000 + (sent % 1024) as u16;
            emit::udp(io.bytes_mut(&mut frame), &envelope, port, 9, &PAYLOAD);
            match io.send(PortId(0), frame) {
                Ok(()) => sent += 1,
                Err(frame) => {
                    io.release(frame);
                    break;
                }
            }
        }
        io.flush()?;
    }
    println!("{sent}");
    Ok(())
}
