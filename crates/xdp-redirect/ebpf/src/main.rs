//! The XDP program that steers frames into AF_XDP sockets.
//!
//! It decides nothing about policy: a frame that can be ours goes to the socket of its port and queue, a frame
//! that cannot (LLDP and the like) goes to the kernel, and where there is no living socket the configured fallback
//! applies. Everything it reads is written by the loader in `../src`; the numbers below are the contract between
//! the two and are repeated in `../src/abi.rs`.
#![no_std]
#![no_main]

use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_REDIRECT},
    helpers::bpf_ktime_get_ns,
    macros::{map, xdp},
    maps::{Array, HashMap, PerCpuArray, XskMap},
    programs::XdpContext,
};

/// Ports that can be attached at once.
const MAX_PORTS: u32 = 1024;
/// Sockets of all ports together.
const MAX_SOCKETS: u32 = 4096;

/// Words of one `PORTS` value.
const PORT_FIRST_SOCKET: usize = 0;
const PORT_QUEUES: usize = 1;
const PORT_MODE: usize = 2;
const PORT_FALLBACK: usize = 3;

/// `PORT_MODE`: everything passes to the kernel untouched. Any other value steers.
const MODE_UPLINK_PASS: u32 = 2;
/// `PORT_FALLBACK`: hand frames without a socket to the kernel. Any other value drops them.
const FALLBACK_PASS: u32 = 1;

/// Indices of `COUNTERS`.
const REDIRECTED: u32 = 0;
const PASSED_NOT_OURS: u32 = 1;
const PASSED_UPLINK: u32 = 2;
const FALLBACK_DROPPED: u32 = 3;
const FALLBACK_PASSED: u32 = 4;
const STALE_HEARTBEAT: u32 = 5;
const NO_SOCKET: u32 = 6;
const UNKNOWN_PORT: u32 = 7;
const TOO_SHORT: u32 = 8;
const COUNTER_SLOTS: u32 = 16;

/// Indices of `HEARTBEAT`.
const BEAT_LAST_NS: u32 = 0;
const BEAT_LIMIT_NS: u32 = 1;

/// Sockets, indexed by a port's first socket plus the receive queue.
#[map]
static SOCKETS: XskMap = XskMap::with_max_entries(MAX_SOCKETS, 0);
/// Interface index → first socket, number of queues, mode, fallback.
#[map]
static PORTS: HashMap<u32, [u32; 4]> = HashMap::with_max_entries(MAX_PORTS, 0);
/// When userspace last said it is alive, and how long that is believed (0: for ever).
#[map]
static HEARTBEAT: Array<u64> = Array::with_max_entries(2, 0);
/// Frames by what became of them.
#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTER_SLOTS, 0);

/// Redirect, pass or drop one frame.
#[xdp(frags)]
pub fn sluice_steer(ctx: XdpContext) -> u32 {
    let ifindex = ctx.ingress_ifindex() as u32;
    // SAFETY: the value is only ever replaced whole by the loader, and a torn read of plain words is harmless.
    let Some(port) = (unsafe { PORTS.get(ifindex) }) else {
        // An attached program without a configuration must not be a way around policy.
        count(UNKNOWN_PORT);
        return XDP_DROP;
    };
    if port[PORT_MODE] == MODE_UPLINK_PASS {
        count(PASSED_UPLINK);
        return XDP_PASS;
    }
    let Some(ethertype) = ethertype(&ctx) else {
        count(TOO_SHORT);
        return XDP_DROP;
    };
    if !is_ours(ethertype) {
        count(PASSED_NOT_OURS);
        return XDP_PASS;
    }
    if is_stale() {
        count(STALE_HEARTBEAT);
        return fallback(port);
    }
    let queue = ctx.rx_queue_index();
    if queue < port[PORT_QUEUES] {
        // The low bits of the flags are what the helper answers when there is no socket at that index.
        let action = match SOCKETS.redirect(port[PORT_FIRST_SOCKET] + queue, XDP_DROP as u64) {
            Ok(action) | Err(action) => action,
        };
        if action == XDP_REDIRECT {
            count(REDIRECTED);
            return XDP_REDIRECT;
        }
    }
    count(NO_SOCKET);
    fallback(port)
}

/// What the operator chose for frames that have no living socket.
#[inline(always)]
fn fallback(port: &[u32; 4]) -> u32 {
    if port[PORT_FALLBACK] == FALLBACK_PASS {
        count(FALLBACK_PASSED);
        XDP_PASS
    } else {
        count(FALLBACK_DROPPED);
        XDP_DROP
    }
}

/// IPv4, ARP, IPv6, and VLAN-tagged frames (which the appliance refuses with a reason) are ours.
#[inline(always)]
fn is_ours(ethertype: u16) -> bool {
    matches!(ethertype, 0x0800 | 0x0806 | 0x86dd | 0x8100 | 0x88a8)
}

/// Whether userspace has been silent for longer than it said it would be.
#[inline(always)]
fn is_stale() -> bool {
    let Some(&limit) = HEARTBEAT.get(BEAT_LIMIT_NS) else {
        return true;
    };
    if limit == 0 {
        return false;
    }
    let Some(&last) = HEARTBEAT.get(BEAT_LAST_NS) else {
        return true;
    };
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_ns() };
    now > last && now - last > limit
}

/// The EtherType, in host order.
#[inline(always)]
fn ethertype(ctx: &XdpContext) -> Option<u16> {
    let start = ctx.data();
    if start + 14 > ctx.data_end() {
        return None;
    }
    // SAFETY: bytes 12 and 13 lie before data_end, which the verifier checks again.
    let bytes = unsafe { *((start + 12) as *const [u8; 2]) };
    Some(u16::from_be_bytes(bytes))
}

#[inline(always)]
fn count(reason: u32) {
    if let Some(slot) = COUNTERS.get_ptr_mut(reason) {
        // SAFETY: the slot belongs to this CPU, and XDP programs on one CPU do not interrupt each other.
        unsafe { *slot += 1 };
    }
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
