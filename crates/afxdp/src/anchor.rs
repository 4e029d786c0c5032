//! The private interface that the UMEM is bound to first.
//!
//! Later sockets share the memory through the *first* socket's descriptor. If that one sat on a pod's interface,
//! deleting the pod would make every later bind fail with `EBADF`. So the first bind goes to an interface that
//! nobody else knows: a TAP device, which the kernel removes with its last descriptor even after `kill -9`; where
//! there is no /dev/net/tun, one end of a veth pair, removed on drop.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::sys;

/// Distinguishes the veth anchors of one process.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// An interface that lives as long as this value.
#[derive(Debug)]
pub(crate) struct Anchor {
    name: CString,
    /// Only held: closing it removes the interface.
    _tap: Option<OwnedFd>,
}

impl Anchor {
    pub(crate) fn create() -> io::Result<Self> {
        match sys::tap(c"slu_mem%d") {
            Ok((tap, name)) => Ok(Self { name, _tap: Some(tap) }),
            Err(no_tap) => Self::veth()
                .map_err(|no_veth| io::Error::new(no_veth.kind(), format!("tap: {no_tap}; veth: {no_veth}"))),
        }
    }

    fn veth() -> io::Result<Self> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = veth_name(std::process::id(), number);
        let peer = format!("{name}p");
        ip(&["link", "add", &name, "type", "veth", "peer", "name", &peer])?;
        Ok(Self { name: CString::new(name).map_err(io::Error::other)?, _tap: None })
    }

    pub(crate) fn name(&self) -> &CStr {
        &self.name
    }
}

impl Drop for Anchor {
    fn drop(&mut self) {
        if self._tap.is_none()
            && let Ok(name) = self.name.to_str()
        {
            let _ = ip(&["link", "del", name]);
        }
    }
}

/// A name that no other process uses; with the peer's suffix it still fits an interface.
fn veth_name(pid: u32, number: u32) -> String {
    format!("slu{pid:x}m{:x}", number & 0xff)
}

fn ip(args: &[&str]) -> io::Result<()> {
    let output = Command::new("ip").args(args).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "ip {}: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest process number of 64-bit Linux.
    const PID_MAX: u32 = 1 << 22;

    #[test]
    fn names_fit_an_interface() {
        let longest = veth_name(PID_MAX, u32::MAX) + "p";
        assert!(longest.len() < libc::IFNAMSIZ, "{longest}");
    }

    #[test]
    fn without_tap_a_veth_pair_serves_and_goes_away() {
        if let Err(errno) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
            println!("SKIPPED: no network namespace: {errno}");
            return;
        }
        let anchor = Anchor::veth().expect("iproute2 is installed");
        let name = anchor.name().to_owned();
        assert!(sys::interface_index(&name).is_some());
        drop(anchor);
        assert!(sys::interface_index(&name).is_none());
    }
}
