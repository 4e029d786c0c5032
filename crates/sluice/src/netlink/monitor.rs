//! Tells when an interface comes, goes or changes.

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use std::os::fd::AsRawFd as _;

/// Multicast group of link changes (`RTMGRP_LINK`, `linux/rtnetlink.h`).
const GROUP_LINK: u32 = 1;

/// Starts a thread that calls `changed` after every change of any interface of the calling thread's namespace, and
/// also when changes were lost. What changed is not said: the listener looks for itself. The thread ends when
/// `changed` answers `false`.
///
/// # Errors
/// When the socket or the thread cannot be made.
pub fn watch(changed: impl Fn() -> bool + Send + 'static) -> Result<()> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)
        .context("open a netlink socket for link changes")?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUP_LINK)).context("listen for link changes")?;
    let listen = move || {
        // A message that does not fit is cut: only its arrival matters.
        let mut buffer = [0_u8; 64];
        loop {
            match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(_) | Err(Errno::ENOBUFS) => {
                    if !changed() {
                        return;
                    }
                }
                Err(Errno::EINTR) => {}
                Err(error) => {
                    tracing::error!(%error, "link changes are no longer seen");
                    return;
                }
            }
        }
    };
    std::thread::Builder::new().name("links".into()).spawn(listen).context("start the link monitor")?;
    Ok(())
}
