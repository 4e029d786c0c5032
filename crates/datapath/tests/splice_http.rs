//! Real TCP stacks on both sides of an inspected connection: see `splice/mod.rs`.

mod splice;

use splice::many::play_all;
use splice::node::Rules;

/// Allowed requests arrive, byte for byte and nothing else; every request gets its own answer, in order.
#[test]
fn allowed_requests_arrive_and_denied_ones_are_refused() {
    play_all(Rules::Http, 300);
}
