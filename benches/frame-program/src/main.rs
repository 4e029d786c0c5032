//! Makes the small frames of the comparisons: run by the kernel on a frame of 60 bytes again and again (`BPF_PROG_RUN` with
//! live frames), it gives each one the ports of another flow and sends it out of an interface.
//!
//! That saves what a socket costs its sender, two copies and a packet buffer for each frame, so that a generator on one CPU
//! is not what limits the forwarder on the other. Its loader is the program `frame_generator` of the package above.
#![no_std]
#![no_main]

use aya_ebpf::{
    bindings::xdp_action,
    helpers::bpf_redirect,
    macros::{map, xdp},
    maps::{Array, PerCpuArray},
    programs::XdpContext,
};

/// Ethernet, IPv4 without options, UDP.
const HEADERS: usize = 14 + 20 + 8;
/// The first source port, and how many of them a destination port gets.
const FIRST_SOURCE: u32 = 10_000;
const SOURCES: u32 = 50_000;
/// The first destination port.
const FIRST_DESTINATION: u32 = 9;

/// What the loader sets.
#[repr(C)]
#[derive(Copy, Clone)]
pub struct Settings {
    /// The interface.
    interface: u32,
    /// The first flow, and how many there are.
    first: u32,
    flows: u32,
    /// The sum of the frame's UDP pseudo-header and payload.
    sum: u32,
    /// 1: the frames are answers, from the destination port to the source port.
    answers: u32,
}

/// What the loader sets.
#[map]
static SETTINGS: Array<Settings> = Array::with_max_entries(1, 0);
/// The state of the random numbers.
#[map]
static RANDOM: PerCpuArray<u32> = PerCpuArray::with_max_entries(1, 0);

/// Makes one frame.
#[xdp]
pub fn generate(ctx: XdpContext) -> u32 {
    let Some(&settings) = SETTINGS.get(0) else { return xdp_action::XDP_ABORTED };
    let Some(random) = RANDOM.get_ptr_mut(0) else { return xdp_action::XDP_ABORTED };
    // SAFETY: the slot belongs to this CPU, and the program does not interrupt itself.
    let number = unsafe {
        *random = (*random).wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *random
    };
    let flow = settings.first + ((u64::from(number) * u64::from(settings.flows)) >> 32) as u32;
    let (client, server) = (FIRST_SOURCE + flow % SOURCES, FIRST_DESTINATION + flow / SOURCES);
    let (source, destination) = if settings.answers == 1 { (server, client) } else { (client, server) };
    let mut sum = settings.sum + source + destination;
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    // Read once: the verifier knows the bounds of what was compared, and of nothing else.
    let (start, end) = (ctx.data(), ctx.data_end());
    if start + HEADERS > end {
        return xdp_action::XDP_ABORTED;
    }
    // SAFETY: the bytes lie before data_end, which the verifier checks again.
    let headers = unsafe { &mut *(start as *mut [u8; HEADERS]) };
    for (at, word) in [(34, source), (36, destination), (40, !sum)] {
        headers[at] = (word >> 8) as u8;
        headers[at + 1] = word as u8;
    }
    // SAFETY: the helper has no preconditions beyond the hook.
    unsafe { bpf_redirect(settings.interface, 0) as u32 }
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
