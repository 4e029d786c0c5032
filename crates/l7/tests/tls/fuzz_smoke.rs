//! The body of the fuzz target `tls`, for some seconds and on a stable toolchain.

use std::time::Duration;

use l7::Side;
use l7::tls::testing::assert_holds;

use crate::support::conversations;

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
    let seeds = conversations();
    arbtest::arbtest(|u| {
        let conversation = u.choose(&seeds)?;
        let of = |side| {
            let mine = conversation.said.iter().filter(|(who, _)| *who == side);
            mine.take(2).flat_map(|(_, bytes)| bytes.clone()).collect::<Vec<u8>>()
        };
        let mut client = of(Side::Client);
        // Two thirds of what follows are the server's.
        let mut rest = of(Side::Server);
        rest.truncate(600);
        rest.extend_from_within(..rest.len() / 2);
        for _ in 0..u.int_in_range(0..=4)? {
            let bytes = if u.ratio(3, 4)? || rest.is_empty() { &mut client } else { &mut rest };
            let at = u.choose_index(bytes.len())?;
            match u.int_in_range(0..=3)? {
                0 => bytes[at] = u.arbitrary()?,
                1 => bytes[at] ^= 1 << u.int_in_range(0..=7)?,
                2 => bytes.truncate(at + 1),
                _ => bytes.insert(at, u.arbitrary()?),
            }
        }
        let split = (client.len() as u16).to_le_bytes();
        assert_holds(&[&[u.arbitrary::<u8>()? & 1], &split[..], &client, &rest].concat());
        Ok(())
    })
    .budget(BUDGET)
    .run();
}
