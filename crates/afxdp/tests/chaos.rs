//! Random sequences of everything a worker and its control thread can do; every chunk must be accounted for.

#[allow(dead_code, reason = "every test binary uses its part of the bed")]
mod bed;

use std::collections::BTreeMap;

use bed::{Node, Raw, SMALL, enter, frame, ip};
use packet::{Burst, Frame, PacketIo, PortId};

/// Ports that may exist at a time.
const PORTS: u16 = 4;
/// Steps of one run.
const STEPS: u32 = 3_000;

/// A small generator, so that a failing seed can be run again.
struct Dice(u64);

impl Dice {
    /// A number below `sides`.
    fn roll(&mut self, sides: u64) -> u64 {
        // Constants of Knuth's MMIX generator; the low bits are the poor ones.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn port(&mut self) -> u16 {
        self.roll(u64::from(PORTS)) as u16
    }
}

/// One run: the node, the pods that exist, and the frames in hand.
struct Run {
    node: Node,
    pods: BTreeMap<u16, Raw>,
    held: Vec<Frame>,
    dice: Dice,
}

impl Run {
    fn step(&mut self) {
        match self.dice.roll(100) {
            0..25 => self.inject(),
            25..45 => self.receive(),
            45..80 => self.send_or_release(),
            80..85 => self.alloc(),
            85..98 => self.node.io.flush().expect("flush"),
            98 => self.add_or_remove(),
            _ => self.bounce(),
        }
        assert_eq!(self.node.io.outstanding(), self.held.len());
    }

    fn inject(&mut self) {
        let (port, mark) = (self.dice.port(), self.dice.roll(200) as u8);
        let len = 60 + self.dice.roll(8_900) as usize;
        if let Some(pod) = self.pods.get(&port) {
            for _ in 0..self.dice.roll(40) {
                pod.try_send(&frame(len, mark));
            }
        }
    }

    fn receive(&mut self) {
        let mut burst = Burst::new();
        self.node.io.recv(&mut burst).expect("recv");
        self.held.extend(burst.drain());
    }

    fn send_or_release(&mut self) {
        for _ in 0..self.dice.roll(80) {
            let Some(held) = self.held.pop() else { return };
            assert!(self.node.io.bytes(&held).len() <= held.len());
            if self.dice.roll(4) == 0 {
                self.node.io.release(held);
            } else if let Err(back) = self.node.io.send(PortId(self.dice.port()), held) {
                self.held.push(back);
                return;
            }
        }
    }

    fn alloc(&mut self) {
        for _ in 0..self.dice.roll(100) {
            let len = 1 + self.dice.roll(3_000) as usize;
            self.held.extend(self.node.io.alloc(PortId(0), len));
        }
    }

    fn add_or_remove(&mut self) {
        let port = self.dice.port();
        if self.pods.remove(&port).is_none() {
            let pod = self.node.pod(port);
            self.pods.insert(port, pod);
            return;
        }
        // Sometimes the interface goes first, sometimes the port.
        let interface_first = self.dice.roll(2) == 0;
        if interface_first {
            ip(&format!("link del h{port}"));
        }
        self.node.unbind(port);
        if !interface_first {
            ip(&format!("link del h{port}"));
        }
    }

    fn bounce(&mut self) {
        let port = self.dice.port();
        if self.pods.contains_key(&port) {
            ip(&format!("link set h{port} down"));
            self.node.io.flush().expect("flush");
            ip(&format!("link set h{port} up"));
        }
    }
}

#[test]
fn no_sequence_of_events_loses_a_chunk() {
    if !enter() {
        return;
    }
    for seed in 1..=4 {
        assert!(enter());
        println!("seed {seed}");
        let node = Node::with_mtu(SMALL, 9_000);
        let mut run = Run { node, pods: BTreeMap::new(), held: Vec::new(), dice: Dice(seed) };
        for port in 0..PORTS {
            let pod = run.node.pod(port);
            run.pods.insert(port, pod);
        }
        for _ in 0..STEPS {
            run.step();
        }
        for frame in run.held.drain(..) {
            run.node.io.release(frame);
        }
        run.node.settle();
        let stats = run.node.io.stats();
        assert!(stats.rx_frames > 1_000 && stats.tx_frames > 1_000, "{stats:?}");
        for port in 0..PORTS {
            assert_eq!(run.node.io.port_stats(PortId(port)).map_or(0, |stats| stats.tx_invalid), 0);
        }
    }
}
