//! A policy program for the ingress of pods' host interfaces, for the comparisons only: one hash lookup for a frame that
//! goes to a server, two for one that comes back, and then straight into the other pod.
//!
//! It is the least that an eBPF CNI does for a packet between two pods of a node: no connection tracking, no identities,
//! no events, no checks of anything but the key. What it is compared with does all of these. Its loader is the program
//! `tc_policy` of the package above.
#![no_std]
#![no_main]

use aya_ebpf::{
    bindings::{TC_ACT_OK, TC_ACT_SHOT},
    helpers::bpf_redirect_peer,
    macros::{classifier, map},
    maps::{HashMap, PerCpuArray},
    programs::TcContext,
};

/// Ethernet header, IPv4 header without options, both ports.
const HEADERS: usize = 14 + 20 + 4;
/// EtherType of IPv4, as it stands in the frame.
const IPV4: [u8; 2] = [0x08, 0x00];
/// Version 4, header of five words.
const PLAIN: u8 = 0x45;

/// Indices of `COUNTERS`.
const PASSED: u32 = 0;
const DROPPED: u32 = 1;

/// Client, server (as they stand in the frame), and the server's port above the protocol → allowed.
#[map]
static ALLOWED: HashMap<[u32; 3], u32> = HashMap::with_max_entries(65_536, 0);
/// Interface that a frame came from → the one that leads to the other pod.
#[map]
static OTHER: HashMap<u32, u32> = HashMap::with_max_entries(16, 0);
/// Frames by what became of them.
#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(2, 0);

/// Redirect or drop one frame; what is not IPv4 is the kernel's.
#[classifier]
pub fn policy(ctx: TcContext) -> i32 {
    let Some(headers) = headers(&ctx) else { return TC_ACT_OK as i32 };
    if headers[12..14] != IPV4 {
        return TC_ACT_OK as i32;
    }
    // Fragments have no ports to speak of, and options would move them.
    if headers[14] != PLAIN || headers[20] & 0x3f != 0 || headers[21] != 0 {
        return drop_frame();
    }
    let word =
        |at: usize| u32::from_ne_bytes([headers[at], headers[at + 1], headers[at + 2], headers[at + 3]]);
    let end = |at: usize| {
        (u32::from(u16::from_be_bytes([headers[at], headers[at + 1]])) << 8) | u32::from(headers[23])
    };
    let (from, to) = (word(26), word(30));
    // SAFETY: values are written once, before the program is attached.
    let allowed =
        unsafe { ALLOWED.get([from, to, end(36)]).is_some() || ALLOWED.get([to, from, end(34)]).is_some() };
    if !allowed {
        return drop_frame();
    }
    // SAFETY: as above; the metadata of the frame is the kernel's.
    let Some(&other) = (unsafe { OTHER.get((*ctx.skb.skb).ifindex) }) else { return drop_frame() };
    count(PASSED);
    // SAFETY: the helper has no preconditions beyond the hook, which is ingress.
    unsafe { bpf_redirect_peer(other, 0) as i32 }
}

/// The first bytes of the frame, if it has as many.
#[inline(always)]
fn headers(ctx: &TcContext) -> Option<&[u8; HEADERS]> {
    if ctx.data() + HEADERS > ctx.data_end() {
        ctx.pull_data(HEADERS as u32).ok()?;
        if ctx.data() + HEADERS > ctx.data_end() {
            return None;
        }
    }
    // SAFETY: the bytes lie before data_end, which the verifier checks again; nothing moves them while they are read.
    Some(unsafe { &*(ctx.data() as *const [u8; HEADERS]) })
}

#[inline(always)]
fn drop_frame() -> i32 {
    count(DROPPED);
    TC_ACT_SHOT as i32
}

#[inline(always)]
fn count(what: u32) {
    if let Some(slot) = COUNTERS.get_ptr_mut(what) {
        // SAFETY: the slot belongs to this CPU, and the program does not interrupt itself there.
        unsafe { *slot += 1 };
    }
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
