//! Real TCP stacks on both sides of an inspected connection: see `splice/mod.rs`.

mod splice;

use splice::length::Length;
use splice::many::{play, play_all};
use splice::node::Rules;

/// Allowed requests arrive, byte for byte and nothing else; every request gets its own answer, in order.
#[test]
fn allowed_requests_arrive_and_denied_ones_are_refused() {
    play_all(Rules::Http, Length::Long, 300);
}

/// Seeds on which the splicer fell silent or lost its place once.
#[test]
fn seeds_that_went_wrong_once() {
    const LONG: [u64; 11] =
        [1006579, 1009134, 1020682, 1028118, 1031934, 1036286, 1041789, 1050591, 1061505, 1065074, 5026200];
    const SHORT: [u64; 14] = [
        1022554, 1063803, 1071158, 1103444, 1110987, 1152604, 1198689, 1235550, 1393299, 1405650, 1472842,
        1659081, 1711922, 1714554,
    ];
    for (seeds, length) in [(&LONG[..], Length::Long), (&SHORT[..], Length::Short)] {
        for seed in seeds {
            if let Err(what) = play(*seed, Rules::Http, length) {
                panic!("seed {seed}, {length:?}: {what}");
            }
        }
    }
}

/// The same with little to say: ten times as many.
#[test]
fn short_conversations_come_out_right() {
    play_all(Rules::Http, Length::Short, 3_000);
}
