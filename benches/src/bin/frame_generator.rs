//! Sends one 60-byte UDP frame again and again from a pod's own interface, with the ports of many flows in an order without a
//! pattern: source ports from 10,000, and another destination port from 9 on for each 50,000 flows.
//!
//! `--how kernel` makes frames inside the kernel (see `benches/frame-program`). The other end of the veth pair must have an XDP
//! program, as behind AF_XDP. `--how socket` sends through an AF_XDP socket, to whomever: the kernel makes a packet buffer of
//! each frame and copies it twice, which limits it to some 1.2 to 1.6 million a second.

use afxdp::Sizes;
use anyhow::{Context, Result, anyhow, ensure};
use aya::maps::Array;
use aya::programs::Xdp;
use aya::{TestRun as _, TestRunAttrs, TestRunOptions};
use clap::{Parser, ValueEnum};
use packet::emit::{self, Envelope};
use packet::{MacAddr, PacketIo, PortId};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// 60 bytes with Ethernet header, without frame check sequence.
const PAYLOAD: [u8; 18] = [0; 18];
/// Where ports and checksum stand.
const PORTS: usize = 34;
const CHECKSUM: usize = 40;
/// As in the kernel's program: source ports of a destination port, and the first of both.
const SOURCES: u32 = 50_000;
const FIRST: (u32, u32) = (10_000, 9);
/// Frames of the first call, and of one pass within each; a veth's ring has room for 256.
const FIRST_CALL: u32 = 1 << 17;
const PASS: u32 = 64;

/// Who makes the frames.
#[derive(Copy, Clone, ValueEnum)]
enum How {
    Kernel,
    Socket,
}

#[derive(Parser)]
struct Args {
    /// The CPU to send from.
    #[arg(long)]
    cpu: usize,
    /// How long.
    #[arg(long)]
    seconds: u64,
    /// Who makes the frames.
    #[arg(long, value_enum, default_value = "socket")]
    how: How,
    /// Different pairs of ports.
    #[arg(long, default_value_t = 1024)]
    flows: u32,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    first: u32,
    /// Send answers: from the destination port to the source port.
    #[arg(long)]
    answers: bool,
    /// The interface to send on.
    interface: String,
    /// Ethernet address of the next hop.
    next_hop: String,
    /// Source address.
    src: Ipv4Addr,
    /// Destination address.
    dst: Ipv4Addr,
}

/// A frame without ports, and the sum of its UDP datagram.
#[derive(Copy, Clone)]
struct Template {
    bytes: [u8; 60],
    sum: u32,
    answers: bool,
}

/// As in the kernel's program.
#[repr(C)]
#[derive(Copy, Clone)]
struct Settings {
    interface: u32,
    first: u32,
    flows: u32,
    sum: u32,
    answers: u32,
}

// SAFETY: five words and nothing between them.
unsafe impl aya::Pod for Settings {}

impl Template {
    fn new(args: &Args) -> Result<Self> {
        let own = std::fs::read_to_string(format!("/sys/class/net/{}/address", args.interface))?;
        let envelope = Envelope {
            eth_src: mac(own.trim()).context("own address")?,
            eth_dst: mac(&args.next_hop).context("next hop")?,
            src: std::net::IpAddr::V4(args.src).into(),
            dst: std::net::IpAddr::V4(args.dst).into(),
            ttl: 64,
            traffic_class: 0,
        };
        let mut bytes = [0; 60];
        emit::udp(&mut bytes, &envelope, 0, 0, &PAYLOAD);
        let sum = u32::from(!u16::from_be_bytes([bytes[CHECKSUM], bytes[CHECKSUM + 1]]));
        Ok(Self { bytes, sum, answers: args.answers })
    }

    /// The frame of one flow.
    fn write(&self, flow: u32, to: &mut [u8]) {
        let (client, server) = (FIRST.0 + flow % SOURCES, FIRST.1 + flow / SOURCES);
        let (source, destination) = if self.answers { (server, client) } else { (client, server) };
        let mut sum = self.sum + source + destination;
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        to.copy_from_slice(&self.bytes);
        for (at, word) in [(PORTS, source), (PORTS + 2, destination), (CHECKSUM, !sum)] {
            to[at..at + 2].copy_from_slice(&(word as u16).to_be_bytes());
        }
    }
}

fn mac(text: &str) -> Option<MacAddr> {
    let bytes: Vec<u8> = text.split(':').map(|b| u8::from_str_radix(b, 16)).collect::<Result<_, _>>().ok()?;
    Some(MacAddr(bytes.try_into().ok()?))
}

fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(args.flows > 0, "at least one flow");
    let mut set = nix::sched::CpuSet::new();
    set.set(args.cpu)?;
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set)?;
    let template = Template::new(&args)?;
    let index = nix::net::if_::if_nametoindex(args.interface.as_str())?;
    let sent = match args.how {
        How::Kernel => by_kernel(&args, &template, index)?,
        How::Socket => by_socket(&args, &template, index)?,
    };
    println!("{sent}");
    Ok(())
}

fn by_kernel(args: &Args, template: &Template, index: u32) -> Result<u64> {
    let mut ebpf = aya::EbpfLoader::new()
        .load(aya::include_bytes_aligned!("../../frame-program/generate.bpf.o"))
        .context("loading the program")?;
    {
        let mut map: Array<_, Settings> = ebpf.map_mut("SETTINGS").context("no map SETTINGS")?.try_into()?;
        let Args { first, flows, answers, .. } = *args;
        let settings =
            Settings { interface: index, first, flows, sum: template.sum, answers: u32::from(answers) };
        map.set(0, settings, 0)?;
    }
    let program: &mut Xdp = ebpf.program_mut("generate").context("no program")?.try_into()?;
    program.load()?;
    let (start, time, mut sent) = (Instant::now(), Duration::from_secs(args.seconds), 0);
    // The kernel waits some milliseconds between two calls, so all but the first make as many frames as the time has room for.
    let mut repeat = FIRST_CALL;
    while let Some(left) = time.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) {
        if sent > 0 {
            let frames = sent as f64 / start.elapsed().as_secs_f64() * left.as_secs_f64();
            repeat = (frames as u32).max(FIRST_CALL);
        }
        let attrs = TestRunAttrs::new().xdp_live_frames(PASS);
        let options =
            TestRunOptions { data_in: Some(&template.bytes), repeat, attrs, ..TestRunOptions::new() };
        program.test_run(options).context("making frames")?;
        sent += u64::from(repeat);
    }
    Ok(sent)
}

fn by_socket(args: &Args, template: &Template, index: u32) -> Result<u64> {
    let (opener, mut io) = afxdp::open(Sizes::for_ports(2))?;
    io.add_port(opener.open(PortId(0), &args.interface, index, 0)?).map_err(|_| anyhow!("no slot"))?;
    let (start, mut sent, mut random) = (Instant::now(), 0_u64, 0_u32);
    while start.elapsed() < Duration::from_secs(args.seconds) {
        for _ in 0..64 {
            let Some(mut frame) = io.alloc(PortId(0), 60) else { break };
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let flow = (u64::from(random) * u64::from(args.flows)) >> 32;
            template.write(args.first + flow as u32, io.bytes_mut(&mut frame));
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
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use packet::testing;

    #[test]
    fn the_checksum_fits_the_ports_of_every_flow() {
        let (src, dst) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let of = |source, destination| testing::udp(src, dst, source, destination, &PAYLOAD);
        let empty = of(0, 0);
        let sum = u32::from(!u16::from_be_bytes([empty[CHECKSUM], empty[CHECKSUM + 1]]));
        let bytes = empty.try_into().expect("60 bytes");
        let template = Template { bytes, sum, answers: false };
        let mut answer = [0; 60];
        Template { answers: true, ..template }.write(50_001, &mut answer);
        assert_eq!(answer[..], of(10, 10_001)[..]);
        for (flow, source, destination) in
            [(0, 10_000, 9), (49_999, 59_999, 9), (50_000, 10_000, 10), (99_999, 59_999, 10)]
        {
            let mut frame = [0; 60];
            template.write(flow, &mut frame);
            assert_eq!(frame[..], of(source, destination)[..], "flow {flow}");
        }
    }
}
