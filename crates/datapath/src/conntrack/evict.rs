//! Who gives way when there is no room: lists of evictable connections, one pair per port.
//!
//! A connection is counted for the port on which its first packet came: for a pod that is the pod's own port, which
//! it cannot choose. Lists are in order of age; moving in and out is a few writes.

use super::conn::{Conn, Links, QueueKind};
use super::timer::NIL;
use packet::PortId;

#[derive(Copy, Clone, Debug)]
struct Queue {
    head: u32,
    tail: u32,
    len: u32,
}

/// What one port has opened.
#[derive(Copy, Clone, Debug)]
struct Load {
    entries: u32,
    half_open: Queue,
    finished: Queue,
}

/// Loads of all ports, at the index of their number.
#[derive(Debug, Default)]
pub(super) struct Loads {
    ports: Vec<Load>,
}

const EMPTY: Queue = Queue { head: NIL, tail: NIL, len: 0 };

impl Loads {
    /// Counts a new connection of this port.
    pub(super) fn opened(&mut self, port: PortId) {
        let at = usize::from(port.0);
        if at >= self.ports.len() {
            self.ports.resize(at + 1, Load { entries: 0, half_open: EMPTY, finished: EMPTY });
        }
        self.ports[at].entries += 1;
    }

    /// Counts the end of one, which is in no queue any more.
    pub(super) fn closed(&mut self, port: PortId) {
        self.ports[usize::from(port.0)].entries -= 1;
    }

    /// Connections that this port opened.
    pub(super) fn entries(&self, port: PortId) -> u32 {
        self.ports.get(usize::from(port.0)).map_or(0, |load| load.entries)
    }

    /// Half-open connections that this port opened.
    pub(super) fn half_open(&self, port: PortId) -> u32 {
        self.ports.get(usize::from(port.0)).map_or(0, |load| load.half_open.len)
    }

    /// The port's oldest half-open connection.
    pub(super) fn oldest_half_open(&self, port: PortId) -> Option<u32> {
        let head = self.ports.get(usize::from(port.0))?.half_open.head;
        (head != NIL).then_some(head)
    }

    /// The connection of this port that gives way first: the oldest finished one, else the oldest half-open one.
    pub(super) fn victim_of(&self, port: PortId) -> Option<u32> {
        self.ports.get(usize::from(port.0)).and_then(Load::victim)
    }

    /// The connection that gives way first of the port that has most to give. Looks at every port: 28 bytes each.
    pub(super) fn victim(&self) -> Option<u32> {
        self.ports.iter().max_by_key(|load| load.half_open.len + load.finished.len).and_then(Load::victim)
    }

    /// Moves connection `i` to the end of another list of its port.
    pub(super) fn requeue(&mut self, slab: &mut [Conn], i: u32, kind: QueueKind) {
        if slab[i as usize].queue == kind {
            return;
        }
        self.leave(slab, i);
        let conn = &mut slab[i as usize];
        conn.queue = kind;
        let Some(queue) = self.queue(conn.in_port, kind) else { return };
        conn.links = Links { prev: queue.tail, next: NIL };
        let tail = queue.tail;
        queue.tail = i;
        queue.len += 1;
        if tail == NIL {
            queue.head = i;
        } else {
            slab[tail as usize].links.next = i;
        }
    }

    fn leave(&mut self, slab: &mut [Conn], i: u32) {
        let Conn { links, queue: kind, in_port, .. } = slab[i as usize];
        let Some(queue) = self.queue(in_port, kind) else { return };
        queue.len -= 1;
        if links.prev == NIL {
            queue.head = links.next;
        } else {
            slab[links.prev as usize].links.next = links.next;
        }
        if links.next == NIL {
            queue.tail = links.prev;
        } else {
            slab[links.next as usize].links.prev = links.prev;
        }
    }

    fn queue(&mut self, port: PortId, kind: QueueKind) -> Option<&mut Queue> {
        let load = self.ports.get_mut(usize::from(port.0))?;
        match kind {
            QueueKind::Kept => None,
            QueueKind::HalfOpen => Some(&mut load.half_open),
            QueueKind::Finished => Some(&mut load.finished),
        }
    }
}

impl Load {
    fn victim(&self) -> Option<u32> {
        [self.finished.head, self.half_open.head].into_iter().find(|&head| head != NIL)
    }
}
