//! Hostile Kafka: mutated requests and arbitrary bytes neither panic nor depend on how they are cut.

use super::requests;
use l7::kafka::fuzzing::assert_kafka_holds;

/// Numbers that are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % below.max(1)
    }
}

/// Chunks as the fuzzing body reads them, framed as they are.
fn chunk(flags: u8, bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).expect("short");
    [&[flags], &len.to_be_bytes()[..], bytes].concat()
}

#[test]
fn mutated_requests() {
    let mut numbers = Numbers(0x5eed);
    for request in requests::all() {
        for _ in 0..12 {
            let mut frame = request.frame();
            for _ in 0..=numbers.next(3) {
                let at = numbers.next(frame.len());
                frame[at] = [0, 1, 0x7f, 0x80, 0xff, numbers.next(256) as u8][numbers.next(6)];
            }
            frame.truncate(frame.len() - numbers.next(3) * numbers.next(9));
            let behind = requests::fetch(3, 11, "orders");
            let cut = (1 + numbers.next(30) as u8) << 1;
            let script =
                [chunk(0x40 | cut, &frame), chunk(0x40 | cut, &behind), chunk(0x41, &[0; 40])].concat();
            assert_kafka_holds(&script);
        }
    }
}

#[test]
fn arbitrary_bytes() {
    let mut numbers = Numbers(0xbeef);
    for _ in 0..4000 {
        let mut data = Vec::new();
        for _ in 0..=numbers.next(4) {
            let mut bytes: Vec<u8> = (0..numbers.next(80)).map(|_| numbers.next(256) as u8).collect();
            // An API and a version that exist, and small numbers, so that bodies are reached.
            for (at, byte) in [0, numbers.next(93) as u8, 0, numbers.next(12) as u8].into_iter().enumerate() {
                if let Some(slot) = bytes.get_mut(at) {
                    *slot = byte;
                }
            }
            for byte in bytes.iter_mut().skip(8) {
                if *byte > 40 {
                    *byte %= 4;
                }
            }
            data.extend(chunk(numbers.next(256) as u8 & 0x3f, &bytes));
        }
        assert_kafka_holds(&data);
    }
}
