//! Frames on their way to another worker: a ring of bytes with one writer and one reader.
//!
//! A frame goes as a head of [`HEAD`] bytes and its own bytes. What one poll hands over is gathered and put into the ring
//! at once, so that the line with the ring's end moves between the processors once a burst and not once a frame.

use packet::{ChecksumRequest, Frame, PacketIo, PortId};
use rtrb::{Consumer, Producer, RingBuffer};

/// Length, port, and what checksum is to be completed where.
const HEAD: usize = 12;

/// Most bytes gathered before they are put into the ring: more than the longest frame that IP knows.
const GATHERED: usize = 72 << 10;

/// Makes both ends, with room for at least `bytes` of frames and heads.
pub(super) fn mailbox(bytes: usize) -> (Outbox, Inbox) {
    let (producer, consumer) = RingBuffer::new(bytes.max(GATHERED));
    (Outbox { producer, gathered: Vec::with_capacity(GATHERED), count: 0 }, Inbox { consumer, count: 0 })
}

/// The writer's end.
#[derive(Debug)]
pub(super) struct Outbox {
    producer: Producer<u8>,
    gathered: Vec<u8>,
    /// Frames that found room since the start.
    pub(super) count: u64,
}

impl Outbox {
    /// Copies a frame, for `port`; `false` if there is no room. The frame stays the caller's.
    pub(super) fn put<I: PacketIo>(&mut self, io: &I, frame: &Frame, port: PortId) -> bool {
        let need = HEAD + frame.len();
        if need > GATHERED || u32::try_from(frame.len()).is_err() {
            return false;
        }
        if self.gathered.len() + need > GATHERED {
            self.flush();
        }
        let total = self.gathered.len() + need;
        if self.producer.cached_slots() < total && self.producer.slots() < total {
            return false;
        }
        let (start, offset, asked) = match frame.checksum_request() {
            Some(ChecksumRequest { start, offset }) => (start, offset, 1),
            None => (0, 0, 0_u16),
        };
        self.gathered.extend_from_slice(&(frame.len() as u32).to_le_bytes());
        for word in [port.0, start, offset, asked] {
            self.gathered.extend_from_slice(&word.to_le_bytes());
        }
        let gathered = &mut self.gathered;
        io.for_each_buffer(frame, &mut |bytes| gathered.extend_from_slice(bytes));
        self.count += 1;
        true
    }

    /// Lets the reader have what was gathered. Answers whether there was something.
    #[inline]
    pub(super) fn flush(&mut self) -> bool {
        if self.gathered.is_empty() {
            return false;
        }
        // There is room: only this end takes it, and `put` has looked.
        let pushed = self.producer.push_entire_slice(&self.gathered);
        debug_assert!(pushed.is_ok(), "room was there");
        self.gathered.clear();
        true
    }
}

/// What was taken out of a mailbox.
#[derive(Debug)]
pub(super) enum Taken {
    /// A frame in the reader's memory.
    Frame(Frame),
    /// One for which the reader had no buffer.
    Lost,
}

/// The reader's end.
#[derive(Debug)]
pub(super) struct Inbox {
    consumer: Consumer<u8>,
    /// Frames taken out since the start.
    pub(super) count: u64,
}

impl Inbox {
    /// Whether there is nothing to take.
    pub(super) fn is_empty(&self) -> bool {
        self.consumer.is_empty()
    }

    /// Copies the oldest frame into memory of `io`.
    pub(super) fn take<I: PacketIo>(&mut self, io: &mut I) -> Option<Taken> {
        let mut head = [0; HEAD];
        self.consumer.pop_entire_slice(&mut head).ok()?;
        let [a, b, c, d, p0, p1, s0, s1, o0, o1, asked, _] = head;
        let len = u32::from_le_bytes([a, b, c, d]) as usize;
        let port = PortId(u16::from_le_bytes([p0, p1]));
        self.count += 1;
        // The writer puts heads and bytes together, so the bytes are there.
        let chunk = self.consumer.read_chunk(len).ok()?;
        let (first, second) = chunk.as_slices();
        let taken = match io.copy_in(port, [first, second]) {
            Some(mut frame) => {
                if asked != 0 {
                    let word = |a, b| u16::from_le_bytes([a, b]);
                    frame.request_checksum(ChecksumRequest { start: word(s0, s1), offset: word(o0, o1) });
                }
                Taken::Frame(frame)
            }
            None => Taken::Lost,
        };
        chunk.commit_all();
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use packet::io::mem::{MemConfig, MemIo};

    fn frame(io: &mut MemIo, len: usize, fill: u8) -> Frame {
        let mut frame = io.alloc(PortId(1), len).expect("a buffer");
        io.bytes_mut(&mut frame).fill(fill);
        frame
    }

    #[test]
    fn frames_come_out_as_they_went_in_and_what_finds_no_room_stays() {
        let mut io = MemIo::new(MemConfig { buffers: 8, ..MemConfig::default() });
        let (mut outbox, mut inbox) = mailbox(0);
        let mut sent = 0;
        for round in 0..200_u8 {
            let mut one = frame(&mut io, 1_000 + usize::from(round), round);
            one.request_checksum(ChecksumRequest { start: 34, offset: 16 });
            sent += u64::from(outbox.put(&io, &one, PortId(3)));
            io.release(one);
            assert!(round != 0 || inbox.take(&mut io).is_none(), "nothing before the flush");
        }
        let fit = (1_u64..).find(|n| (0..*n).map(|i| 1_012 + i).sum::<u64>() > 72 << 10).expect("some") - 1;
        assert_eq!((sent, outbox.count), (fit, fit));
        // The first that found no room has already sent the others on.
        assert!(!outbox.flush());
        for round in 0..fit as u8 {
            let Some(Taken::Frame(one)) = inbox.take(&mut io) else { panic!("frame {round}") };
            assert_eq!(one.port(), PortId(3));
            assert_eq!(one.checksum_request(), Some(ChecksumRequest { start: 34, offset: 16 }));
            assert_eq!(io.bytes(&one), vec![round; 1_000 + usize::from(round)]);
            io.release(one);
        }
        assert!(inbox.is_empty() && inbox.count == fit);
        assert_eq!(io.outstanding(), 0);
    }

    #[test]
    fn a_reader_without_memory_takes_it_out_and_says_so() {
        let mut io = MemIo::new(MemConfig { buffers: 1, ..MemConfig::default() });
        let (mut outbox, mut inbox) = mailbox(0);
        let only = frame(&mut io, 60, 1);
        assert!(outbox.put(&io, &only, PortId(0)) && outbox.put(&io, &only, PortId(0)) && outbox.flush());
        assert!(matches!(inbox.take(&mut io), Some(Taken::Lost)));
        io.release(only);
        let Some(Taken::Frame(second)) = inbox.take(&mut io) else { panic!("the second") };
        assert_eq!(second.checksum_request(), None);
        io.release(second);
        assert!(inbox.take(&mut io).is_none());
    }
}
