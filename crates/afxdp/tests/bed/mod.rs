//! A private network namespace with veth pairs whose host ends are ports of an [`XskIo`], and raw sockets on the pod
//! ends. Everything vanishes with the test's thread.

use std::io;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::time::{Duration, Instant};

use afxdp::{Opener, Sizes, XskIo};
use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, unshare};
use packet::{Burst, Frame, PacketIo, PortId};
use xdp_redirect::{Fallback, Mode, Options, Redirect};

/// Rings of two bursts: enough for every test, and quickly exceeded.
pub(crate) const SMALL: Sizes = Sizes { ring: 128, reserve: 256, chunks: 2 * 128 * 4 + 256 };

/// Moves the calling thread into a fresh network namespace, or says why the test cannot run.
pub(crate) fn enter() -> bool {
    if !nix::unistd::geteuid().is_root() {
        println!("SKIPPED: needs root");
        return false;
    }
    if let Err(errno) = unshare(CloneFlags::CLONE_NEWNET) {
        println!("SKIPPED: no network namespaces here: {errno}");
        return false;
    }
    ip("link set lo up");
    true
}

/// Runs `ip ARGS`.
pub(crate) fn ip(args: &str) {
    let done = Command::new("ip").args(args.split_whitespace()).status().expect("iproute2 is installed");
    assert!(done.success(), "ip {args}: {done}");
}

/// The appliance's side of a node: program, sockets, packet path.
pub(crate) struct Node {
    pub(crate) redirect: Redirect,
    pub(crate) opener: Opener,
    pub(crate) io: XskIo,
    mtu: u32,
    /// Whether ports opened from now on sum requested checksums in software.
    pub(crate) sums_in_software: bool,
    /// The interface of each port.
    pub(crate) indices: std::collections::BTreeMap<u16, u32>,
    /// The socket of each port's first queue.
    fds: std::collections::BTreeMap<u16, i32>,
}

impl Node {
    pub(crate) fn new(sizes: Sizes) -> Self {
        Self::with_mtu(sizes, 1500)
    }

    pub(crate) fn with_mtu(sizes: Sizes, mtu: u32) -> Self {
        let redirect =
            Redirect::load(&Options { pin: None, ..Options::default() }).expect("the program loads");
        let (opener, io) = afxdp::open(sizes).expect("AF_XDP works here");
        Self {
            redirect,
            opener,
            io,
            mtu,
            sums_in_software: false,
            fds: Default::default(),
            indices: Default::default(),
        }
    }

    /// A pod: veth `hN`/`pN`, attached and in service as port N. Answers the raw socket on its side.
    pub(crate) fn pod(&mut self, number: u16) -> Raw {
        let (host, pod) = (format!("h{number}"), format!("p{number}"));
        ip(&format!("link add {host} mtu {} type veth peer name {pod} mtu {}", self.mtu, self.mtu));
        for end in [&host, &pod] {
            // Keeps the kernel from sending router solicitations that would be received.
            ip(&format!("link set {end} addrgenmode none"));
            ip(&format!("link set {end} up"));
        }
        self.bind(number);
        Raw::open(&pod)
    }

    /// Attaches `hN` and puts it in service as port N.
    pub(crate) fn bind(&mut self, number: u16) {
        let host = format!("h{number}");
        let ifindex = if_nametoindex(host.as_str()).expect("interface exists");
        let attached = self.redirect.attach(ifindex, Mode::Pod, Fallback::Drop).expect("attach");
        self.indices.insert(number, ifindex);
        for queue in 0..attached.queues {
            match self.opener.open(PortId(number), &host, ifindex, queue) {
                Ok(socket) => {
                    let socket = if self.sums_in_software { socket.summing_in_software() } else { socket };
                    let fd = socket.as_raw_fd();
                    self.fds.entry(number).or_insert(fd);
                    self.io.add_port(socket).expect("there is room for a port");
                    self.redirect.set_socket(ifindex, queue, fd).expect("socket map");
                }
                // The program counts the queues a device could have; only the real ones can be bound.
                Err(error) => assert!(error.is_missing_queue(), "{error}"),
            }
        }
    }

    /// The socket that transmits for a port.
    pub(crate) fn fd(&self, number: u16) -> i32 {
        self.fds[&number]
    }

    /// Takes a port away and gives its memory back.
    pub(crate) fn unbind(&mut self, number: u16) {
        self.fds.remove(&number);
        if let Some(ifindex) = self.indices.remove(&number) {
            for queue in 0..2 {
                // A port has one or two queues; the second is no loss.
                let _ = self.redirect.clear_socket(ifindex, queue);
            }
        }
        let retired = self.io.remove_port(PortId(number)).expect("there is such a port");
        let token = retired.close();
        self.io.reclaim(token);
    }

    /// Receives until `count` frames are there, or patience ends.
    pub(crate) fn receive(&mut self, count: usize) -> Vec<Frame> {
        let until = Instant::now() + Duration::from_secs(2);
        let mut frames = Vec::new();
        while frames.len() < count && Instant::now() < until {
            let mut burst = Burst::new();
            self.io.recv(&mut burst).expect("recv");
            frames.extend(burst.drain());
        }
        frames
    }

    /// Sends frames on, flushes, and waits until everything is completed.
    pub(crate) fn send_all(&mut self, to: u16, frames: Vec<Frame>) {
        for frame in frames {
            let mut next = Some(frame);
            while let Some(frame) = next.take() {
                if let Err(frame) = self.io.send(PortId(to), frame) {
                    self.io.flush().expect("flush");
                    next = Some(frame);
                }
            }
        }
        self.io.flush().expect("flush");
    }

    /// Sends what arrives to wherever `route` says, until `until` holds.
    pub(crate) fn forward(
        &mut self,
        route: impl Fn(PortId) -> PortId,
        mut until: impl FnMut(&XskIo) -> bool,
    ) {
        let mut burst = Burst::new();
        while !until(&self.io) {
            self.io.recv(&mut burst).expect("recv");
            for frame in burst.drain() {
                let to = route(frame.port());
                if let Err(frame) = self.io.send(to, frame) {
                    self.io.release(frame);
                }
            }
            self.io.flush().expect("flush");
        }
    }

    /// Waits until nothing is in transmission, releasing what still arrives, and asserts that every chunk is either
    /// free or given to the kernel for receiving.
    pub(crate) fn settle(&mut self) {
        let until = Instant::now() + Duration::from_secs(2);
        loop {
            self.io.flush().expect("flush");
            let mut burst = Burst::new();
            self.io.recv(&mut burst).expect("recv");
            burst.drain().for_each(|frame| self.io.release(frame));
            let ports: Vec<_> = (0..64).filter_map(|number| self.io.port_stats(PortId(number))).collect();
            let in_flight: u32 = ports.iter().map(|stats| stats.in_flight).sum();
            if in_flight == 0 || Instant::now() > until {
                let receiving: u32 = ports.iter().map(|stats| stats.receiving).sum();
                assert_eq!(in_flight, 0, "frames that never completed");
                assert_eq!(
                    self.io.free_chunks() as u32 + receiving,
                    self.io.sizes().chunks,
                    "a chunk leaked"
                );
                assert_eq!(self.io.outstanding(), 0);
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A packet socket on one interface; sees what arrives there, not what it sends.
pub(crate) struct Raw(i32);

impl Raw {
    pub(crate) fn open(interface: &str) -> Self {
        let index = if_nametoindex(interface).expect("interface exists");
        // SAFETY: plain system calls; the address is a fully initialised sockaddr_ll of the stated size.
        unsafe {
            let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK;
            let fd = libc::socket(libc::AF_PACKET, kind, i32::from((libc::ETH_P_ALL as u16).to_be()));
            assert!(fd >= 0, "packet socket: {}", io::Error::last_os_error());
            let buffer = 64i32 << 20;
            for option in [libc::SO_RCVBUFFORCE, libc::SO_SNDBUFFORCE] {
                libc::setsockopt(fd, libc::SOL_SOCKET, option, (&raw const buffer).cast(), 4);
            }
            let mut address: libc::sockaddr_ll = std::mem::zeroed();
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
            address.sll_ifindex = index as i32;
            let len = std::mem::size_of_val(&address) as u32;
            let bound = libc::bind(fd, (&raw const address).cast(), len);
            assert_eq!(bound, 0, "bind: {}", io::Error::last_os_error());
            Self(fd)
        }
    }

    /// Sends; a device that is gone or down is no matter.
    pub(crate) fn try_send(&self, frame: &[u8]) -> bool {
        // SAFETY: the pointer and length describe `frame`.
        let sent = unsafe { libc::send(self.0, frame.as_ptr().cast(), frame.len(), 0) };
        sent == frame.len() as isize
    }

    pub(crate) fn send(&self, frame: &[u8]) {
        assert!(self.try_send(frame), "send: {}", io::Error::last_os_error());
    }

    /// What has arrived so far.
    pub(crate) fn drain(&self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let mut buffer = vec![0u8; 70_000];
        loop {
            // SAFETY: the pointers and lengths describe `buffer` and `from`; all zeros is a valid sockaddr_ll.
            let (got, kind) = unsafe {
                let mut from: libc::sockaddr_ll = std::mem::zeroed();
                let mut len = std::mem::size_of_val(&from) as u32;
                let got = libc::recvfrom(
                    self.0,
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    0,
                    (&raw mut from).cast(),
                    &raw mut len,
                );
                (got, from.sll_pkttype)
            };
            if got < 0 {
                return frames;
            }
            if kind != libc::PACKET_OUTGOING {
                frames.push(buffer[..got as usize].to_vec());
            }
        }
    }

    /// Collects until `count` frames have arrived, or patience ends.
    pub(crate) fn wait(&self, count: usize) -> Vec<Vec<u8>> {
        let until = Instant::now() + Duration::from_secs(2);
        let mut frames = self.drain();
        while frames.len() < count && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
            frames.extend(self.drain());
        }
        frames
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours and closed once.
        unsafe { libc::close(self.0) };
    }
}

/// A frame that is steered, of `len` bytes, all different for different marks.
pub(crate) fn frame(len: usize, mark: u8) -> Vec<u8> {
    let mut frame: Vec<u8> =
        (0..len).map(|at| (at as u8).wrapping_mul(31) ^ (at >> 8) as u8 ^ mark).collect();
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00]);
    frame
}
