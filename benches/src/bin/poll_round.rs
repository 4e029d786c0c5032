//! Nanoseconds of a poll that finds nothing: `recv` and `flush` over sockets on all of these interfaces.
//!
//! `poll_round --cpu 1 lxc10 lxc11 …` prints one number, the median of some samples.

use afxdp::Sizes;
use anyhow::{Context, Result, anyhow, ensure};
use clap::Parser;
use packet::{Burst, PacketIo, PortId};
use sluice_micro::spread::spread;
use std::os::fd::AsRawFd as _;
use std::time::Instant;
use xdp_redirect::{Fallback, Mode, Options, Redirect};

/// Samples, and polls of each. Frames may arrive now and then; the median does not care.
const SAMPLES: usize = 31;
const POLLS: u32 = 10_000;

#[derive(Parser)]
struct Args {
    /// The CPU to spin on.
    #[arg(long)]
    cpu: usize,
    /// The interfaces.
    #[arg(required = true)]
    interfaces: Vec<String>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let mut set = nix::sched::CpuSet::new();
    set.set(args.cpu)?;
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set)?;
    let mut redirect = Redirect::load(&Options { pin: None, ..Options::default() })?;
    let (opener, mut io) = afxdp::open(Sizes::for_ports(args.interfaces.len()))?;
    for (number, name) in (0..).zip(&args.interfaces) {
        let index = nix::net::if_::if_nametoindex(name.as_str()).with_context(|| name.clone())?;
        redirect.attach(index, Mode::Pod, Fallback::Drop)?;
        let socket = opener.open(PortId(number), name, index, 0)?;
        redirect.set_socket(index, 0, socket.as_raw_fd())?;
        io.add_port(socket).map_err(|_| anyhow!("{name}: no slot"))?;
    }
    let mut burst = Burst::new();
    let mut samples = Vec::new();
    for _ in 0..SAMPLES {
        let start = Instant::now();
        for _ in 0..POLLS {
            io.recv(&mut burst)?;
            for frame in burst.drain() {
                io.release(frame);
            }
            io.flush()?;
        }
        samples.push(start.elapsed().as_nanos() as f64 / f64::from(POLLS));
    }
    ensure!(io.dead_ports().next().is_none(), "an interface went away");
    println!("{:.1}", spread(samples.into_iter()).context("no samples")?.median);
    Ok(())
}
