//! Real TCP stacks on both sides of a worker that does not inspect: proves the harness of `splice/mod.rs`.

mod splice;

use splice::length::Length;
use splice::many::play_all;
use splice::node::Rules;
use splice::run::Run;
use splice::schedule::Schedule;

#[test]
fn uninspected_streams_arrive_whole() {
    play_all(Rules::L4, Length::Long, 100);
}

/// The harness can fail: where nobody inspects, it sees that denied requests arrive.
#[test]
fn a_worker_that_does_not_inspect_is_noticed() {
    let mut noticed = 0;
    for seed in 0..60 {
        let schedule = Schedule::random(seed, Rules::Http, Length::Long);
        let denials = schedule.script.requests.iter().filter(|r| !r.allowed).count();
        if denials == 0 {
            continue;
        }
        let result = Run::new(&schedule, Rules::L4).play();
        assert!(result.is_err(), "seed {seed}: {denials} denied requests arrived unnoticed");
        noticed += 1;
    }
    assert!(noticed > 20, "{noticed}");
}
