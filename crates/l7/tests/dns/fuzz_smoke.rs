//! The body of the fuzz target `dns`, for some seconds and on a stable toolchain.

use std::time::Duration;

use l7::Side;
use l7::dns::testing::assert_holds;

use crate::support::{conversations, framed};

/// Time for each of the two tests.
const BUDGET: Duration = Duration::from_millis(1_500);

#[test]
fn holds_on_arbitrary_bytes() {
    arbtest::arbtest(|u| {
        assert_holds(u.bytes(u.len())?);
        Ok(())
    })
    .budget(BUDGET)
    .run();
}

#[test]
fn holds_on_damaged_conversations() {
    let seeds: Vec<(Vec<Vec<u8>>, Vec<Vec<u8>>)> = conversations()
        .iter()
        .map(|conversation| {
            let of = |side| {
                let mine = conversation.messages.iter().filter(|message| message.side == side);
                mine.map(|message| message.bytes.clone()).collect::<Vec<_>>()
            };
            (of(Side::Client), of(Side::Server))
        })
        .collect();
    arbtest::arbtest(|u| {
        let (client, server) = u.choose(&seeds)?;
        // As one datagram, or as a stream.
        let say = |messages: &[Vec<u8>], stream: bool| -> Vec<u8> {
            if stream {
                messages.iter().flat_map(|message| framed(message)).collect()
            } else {
                messages.first().cloned().unwrap_or_default()
            }
        };
        let stream = u.arbitrary()?;
        let (mut client, mut server) = (say(client, stream), say(server, stream));
        for _ in 0..u.int_in_range(0..=4)? {
            let bytes = if u.arbitrary()? { &mut client } else { &mut server };
            if bytes.is_empty() {
                continue;
            }
            let at = u.choose_index(bytes.len())?;
            match u.int_in_range(0..=4)? {
                0 => bytes[at] = u.arbitrary()?,
                1 => bytes[at] ^= 1 << u.int_in_range(0..=7)?,
                2 => bytes.truncate(at + 1),
                3 => bytes.insert(at, u.arbitrary()?),
                _ => bytes[at] = 0xc0,
            }
        }
        let split = (client.len() as u16).to_le_bytes();
        assert_holds(&[&[u.arbitrary::<u8>()? & 1], &split[..], &client, &server].concat());
        Ok(())
    })
    .budget(BUDGET)
    .run();
}
