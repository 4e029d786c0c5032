//! The short way of inspected segments against the long one: whatever both ends say, the same frames leave at the same
//! time, and the flow log is told the same.

mod splice;

use splice::hostile;
use splice::length::Length;
use splice::node::{Node, Rules};
use splice::rng::Rng;
use splice::run::{Report, Run};
use splice::schedule::Schedule;

/// What came of a schedule: frames, drops, messages.
type Came = (Result<Report, String>, String, String);

/// Plays a schedule; also answers how many segments went straight on.
fn play(schedule: &Schedule, rules: Rules, burst: usize, short: bool) -> (Came, u64) {
    let mut run = Run::new(schedule, rules).in_bursts(burst);
    if !short {
        run.node().worker.close_short_way();
    }
    let report = run.play_on();
    let Node { worker, .. } = run.node();
    let (straight, stats) = (worker.gone_straight(), format!("{:?}", worker.stats()));
    ((report, stats, format!("{:?}", run.node().messages())), straight)
}

#[test]
fn real_stacks_notice_no_difference() {
    for (rules, length, runs) in [
        (Rules::Http, Length::Long, 60),
        (Rules::Http, Length::Short, 1_000),
        (Rules::Audit, Length::Short, 200),
        (Rules::Visible, Length::Short, 200),
    ] {
        let mut straight = 0;
        for (seed, burst) in (0..runs).flat_map(|seed| [(seed, 1), (seed, 8)]) {
            let schedule = Schedule::random(seed, rules, length);
            let (long, none) = play(&schedule, rules, burst, false);
            let (short, gone) = play(&schedule, rules, burst, true);
            assert_eq!(short, long, "{rules:?}, {length:?}, seed {seed}, bursts of {burst}");
            assert_eq!(none, 0, "the long way alone");
            straight += gone;
        }
        assert!(straight > 400, "{rules:?}, {length:?}: only {straight} segments went straight on");
    }
}

/// Segment by segment: what is left of a burst may be cut by what follows in it, and what went straight on is not. The
/// hostile ends of `splice_fuzz_smoke` send bursts, too.
#[test]
fn hostile_ends_notice_no_difference() {
    let mut straight = 0;
    for seed in 0..600 {
        let play = |short: bool| {
            let mut rng = Rng::new(seed);
            hostile::drive_with(
                |below| rng.below(below.max(1) as usize) as u32,
                120,
                false,
                |wire| {
                    if !short {
                        wire.node.worker.close_short_way();
                    }
                },
            )
        };
        let ((long, _), (short, wire)) = (play(false), play(true));
        let differ = short.lines().zip(long.lines()).find(|(short, long)| short != long);
        assert_eq!(differ, None, "seed {seed}, the short way and the long one");
        straight += wire.node.worker.gone_straight();
    }
    assert!(straight > 100, "only {straight} segments went straight on");
}
