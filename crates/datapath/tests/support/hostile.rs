//! Hostile frames through the whole pipeline: random bytes, mutations of real packets, time jumps and policy changes.
//! Nothing panics, no frame is outstanding, every frame has a fate, and what leaves is well formed.

use super::*;
use packet::PacketIo;

/// How the body reads its choices: from a fuzzer's bytes or from a generator.
pub fn drive(mut choose: impl FnMut(u32) -> u32, steps: u32) {
    let seeds: Vec<Vec<u8>> = testing::seeds();
    let mut net = Net::new();
    let mut epoch = 1;
    for _ in 0..steps {
        let mut injected = 0;
        for _ in 0..choose(8) {
            let port = [HOST, A, B, C][choose(4) as usize];
            let mut frame = if choose(4) == 0 {
                (0..choose(120)).map(|_| choose(256) as u8).collect()
            } else {
                from(port, seeds[choose(seeds.len() as u32) as usize].clone())
            };
            for _ in 0..choose(4) {
                if !frame.is_empty() {
                    let at = choose(frame.len().min(80) as u32) as usize;
                    frame[at] = choose(256) as u8;
                }
            }
            injected += u64::from(net.worker.io_mut().inject(port, &frame));
        }
        match choose(32) {
            0 => net.wait(Duration::from_secs(u64::from(choose(9000)))),
            1 => {
                epoch += 1;
                net.swap(epoch, policy_of_b(choose(2) == 0), ports());
            }
            2 => {
                epoch += 1;
                let gone = PortId(choose(4) as u16);
                let left = ports().into_iter().filter(|p| p.id != gone).collect();
                net.swap(epoch, policy_of_b(true), left);
            }
            _ => net.wait(Duration::from_micros(u64::from(choose(5000)))),
        }
        let before = net.worker.stats().clone();
        net.worker.poll_once(net.now).expect("memory does not fail");
        let after = net.worker.stats();
        assert_eq!(net.worker.io().outstanding(), 0, "a frame leaked");
        assert_eq!(after.received - before.received, injected);
        // Drops of our own answers (no room, no buffer) come on top of those of received frames.
        let fates = (after.forwarded + after.answered + after.dropped_total())
            - (before.forwarded + before.answered + before.dropped_total());
        assert!(fates >= injected, "{fates} fates for {injected} frames");
        for port in [HOST, A, B, C] {
            for frame in net.sent(port) {
                assert!(
                    packet::parse(&frame, frame.len()).is_ok(),
                    "what leaves is well formed: {frame:02x?}"
                );
            }
        }
        net.events.drain(usize::MAX, |_| {});
    }
}
