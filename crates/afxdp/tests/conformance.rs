//! The suite that every backend passes, over two veth pairs.

#[allow(dead_code, reason = "every test binary uses its part of the bed")]
mod bed;

use std::time::Duration;

use afxdp::XskIo;
use bed::{Node, Raw, SMALL, enter};
use packet::PortId;
use packet::io::conformance::{self, Rig};

struct Veths {
    node: Node,
    pods: [Raw; 2],
}

impl Veths {
    fn new() -> Self {
        // Each rig has a namespace of its own.
        assert!(enter());
        let mut node = Node::with_mtu(SMALL, 65_500);
        let pods = [node.pod(0), node.pod(1)];
        Self { node, pods }
    }
}

impl Rig for Veths {
    type Io = XskIo;

    fn io(&mut self) -> &mut XskIo {
        &mut self.node.io
    }

    fn inject(&mut self, port: PortId, bytes: &[u8]) {
        self.pods[usize::from(port.0)].send(bytes);
    }

    fn drain(&mut self, port: PortId) -> Vec<Vec<u8>> {
        self.pods[usize::from(port.0)].drain()
    }

    fn ports(&self) -> Vec<PortId> {
        vec![PortId(0), PortId(1)]
    }

    fn settle(&mut self) {
        std::thread::sleep(Duration::from_millis(1));
    }

    fn pool(&self) -> usize {
        SMALL.chunks as usize
    }

    fn max_frame(&self) -> usize {
        65_500
    }
}

#[test]
fn veth_conforms() {
    if enter() {
        conformance::all(Veths::new);
    }
}
