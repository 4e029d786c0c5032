//! A private network namespace with veth pairs, and raw sockets on them. Everything vanishes with the test's thread.

use std::io;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};

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

/// A veth pair, both ends up; answers the index of the first end.
pub(crate) fn veth(host: &str, pod: &str) -> u32 {
    ip(&format!("link add {host} type veth peer name {pod}"));
    for end in [host, pod] {
        // Keeps the kernel from sending router solicitations that would be counted.
        ip(&format!("link set {end} addrgenmode none"));
        ip(&format!("link set {end} up"));
    }
    nix::net::if_::if_nametoindex(host).expect("just made")
}

/// A packet socket on one interface.
pub(crate) struct Raw(i32);

impl Raw {
    pub(crate) fn open(interface: &str) -> Self {
        let index = nix::net::if_::if_nametoindex(interface).expect("interface exists");
        // SAFETY: plain system calls; the address is a fully initialised sockaddr_ll of the stated size.
        unsafe {
            let fd =
                libc::socket(libc::AF_PACKET, libc::SOCK_RAW, i32::from((libc::ETH_P_ALL as u16).to_be()));
            assert!(fd >= 0, "packet socket: {}", io::Error::last_os_error());
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

    pub(crate) fn send(&self, frame: &[u8]) {
        // SAFETY: the pointer and length describe `frame`.
        let sent = unsafe { libc::send(self.0, frame.as_ptr().cast(), frame.len(), 0) };
        assert_eq!(sent, frame.len() as isize, "send: {}", io::Error::last_os_error());
    }

    /// Whether a frame equal to `wanted` arrives in time.
    pub(crate) fn sees(&self, wanted: &[u8], patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut buffer = [0u8; 2048];
        while Instant::now() < until {
            // SAFETY: the pointer and length describe `buffer`.
            let got =
                unsafe { libc::recv(self.0, buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT) };
            if got > 0 && &buffer[..got as usize] == wanted {
                return true;
            }
            if got < 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        false
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours and closed once.
        unsafe { libc::close(self.0) };
    }
}

/// A broadcast frame of 60 bytes with this EtherType and a mark in its payload.
pub(crate) fn frame(ethertype: u16, mark: u8) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend_from_slice(&[2, 0, 0, 0, 0, 1]);
    frame.extend_from_slice(&ethertype.to_be_bytes());
    frame.resize(60, mark);
    frame
}
