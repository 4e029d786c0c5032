//! Arbitrary bytes as both sides of a connection: nothing panics, and cutting them elsewhere changes nothing.

use super::Kafka;
use crate::inspector::{Settings, Side};
use crate::testing::{Event, Recorder, Splice, play};

/// A script out of arbitrary bytes: chunks with a byte of side and cut, and two of length, before each.
fn script(mut data: &[u8]) -> (Vec<Event>, usize) {
    let mut events = Vec::new();
    let mut cut = 1;
    while let Some((&[flags, high, low], rest)) = data.split_first_chunk::<3>() {
        let len = usize::from(u16::from_be_bytes([high, low])).min(rest.len());
        let (chunk, behind) = rest.split_at(len);
        let side = if flags & 1 == 0 { Side::Client } else { Side::Server };
        cut = usize::from(flags >> 1).max(1);
        // A frame around most chunks, so that more than its size is reached.
        let framed = if flags & 0x40 == 0 {
            [&u32::try_from(len).unwrap_or(0).to_be_bytes()[..], chunk].concat()
        } else {
            chunk.to_vec()
        };
        events.push(Event::Send(side, framed));
        data = behind;
    }
    (events, cut)
}

/// Plays `data` whole and in pieces, and panics where the outcomes differ.
pub fn assert_kafka_holds(data: &[u8]) {
    let (events, cut) = script(data);
    let make = || {
        let judge = Recorder {
            kafka: Box::new(|request| {
                // What policy would look at is read, and about half is refused.
                let bytes = request.topics.iter().map(|topic| topic.len()).sum::<usize>();
                (bytes + request.client_id.len()) % 2 == 0
            }),
            ..Recorder::default()
        };
        Splice::new(Kafka::new(&Settings::default()), judge)
    };
    let whole = play(make(), &events, |_, _| Vec::new());
    let pieces = play(make(), &events, |_, len| (1..len).step_by(cut).collect());
    assert_eq!(whole, pieces);
}
