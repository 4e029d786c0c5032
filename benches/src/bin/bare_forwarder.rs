//! The yardstick: an AF_XDP forwarder between two interfaces that looks at nothing.
//!
//! Same sockets, same memory, same polling as the appliance; what arrives on one port leaves by the other as it is.
//! The difference between this and `sluice run` is what the pipeline costs. Pods must sum their own checksums
//! (`ethtool -K eth0 tx off`), because nobody completes them here.
//!
//! `bare-forwarder --cpu 1 lxc10 lxc11` runs until killed; fifty times a second it prints the frames forwarded so far.

use afxdp::Sizes;
use anyhow::{Context, Result};
use clap::Parser;
use packet::{Burst, PacketIo, PortId};
use std::os::fd::AsRawFd as _;
use std::time::Instant;
use xdp_redirect::{Fallback, Mode, Options, Redirect};

#[derive(Parser)]
struct Args {
    /// The CPU to spin on.
    #[arg(long)]
    cpu: Option<usize>,
    /// First interface.
    left: String,
    /// Second interface.
    right: String,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(cpu) = args.cpu {
        let mut set = nix::sched::CpuSet::new();
        set.set(cpu)?;
        nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set)?;
    }
    let mut redirect = Redirect::load(&Options { pin: None, ..Options::default() })?;
    let (opener, mut io) = afxdp::open(Sizes::for_ports(2))?;
    for (port, name) in [(PortId(0), &args.left), (PortId(1), &args.right)] {
        let index = nix::net::if_::if_nametoindex(name.as_str()).with_context(|| name.clone())?;
        redirect.attach(index, Mode::Pod, Fallback::Drop)?;
        let socket = opener.open(port, name, index, 0)?;
        redirect.set_socket(index, 0, socket.as_raw_fd())?;
        io.add_port(socket).map_err(|_| anyhow::anyhow!("{name}: no slot"))?;
    }
    println!("ready");
    let mut burst = Burst::new();
    let mut forwarded = 0_u64;
    let mut said = Instant::now();
    let mut polls = 0_u32;
    loop {
        io.recv(&mut burst)?;
        for frame in burst.drain() {
            let out = PortId(1 - frame.port().0);
            match io.send(out, frame) {
                Ok(()) => forwarded += 1,
                Err(frame) => io.release(frame),
            }
        }
        io.flush()?;
        polls = polls.wrapping_add(1);
        if polls.is_multiple_of(4096) && said.elapsed().as_millis() >= 20 {
            said = Instant::now();
            println!("{forwarded}");
        }
    }
}
