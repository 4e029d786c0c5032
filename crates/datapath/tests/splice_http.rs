//! Real TCP stacks on both sides of an inspected connection: see `splice/mod.rs`.

mod splice;

use splice::length::Length;
use splice::many::play_all;
use splice::node::Rules;

/// Allowed requests arrive, byte for byte and nothing else; every request gets its own answer, in order.
#[test]
fn allowed_requests_arrive_and_denied_ones_are_refused() {
    play_all(Rules::Http, Length::Long, 300);
}

/// The same with little to say: ten times as many.
#[test]
fn short_conversations_come_out_right() {
    play_all(Rules::Http, Length::Short, 3_000);
}
