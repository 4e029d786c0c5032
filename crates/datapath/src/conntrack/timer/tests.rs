use super::*;
use proptest::prelude::*;

impl Nodes for Vec<Timer> {
    fn timer(&mut self, i: u32) -> &mut Timer {
        &mut self[i as usize]
    }
}

#[derive(Clone, Debug)]
enum Op {
    Insert(usize, u32),
    Reschedule(usize, u32),
    Remove(usize),
    Pass(u32),
}

/// Deadlines lie ahead, as time-outs of at least a second do.
fn op() -> impl Strategy<Value = Op> {
    let delay = prop_oneof![1u32..4, 1u32..300, 1u32..70_000, 1u32..20_000_000];
    prop_oneof![
        4 => (0usize..24, delay.clone()).prop_map(|(i, d)| Op::Insert(i, d)),
        3 => (0usize..24, delay).prop_map(|(i, d)| Op::Reschedule(i, d)),
        1 => (0usize..24).prop_map(Op::Remove),
        3 => prop_oneof![0u32..3, 0u32..600, 0u32..80_000].prop_map(Op::Pass),
    ]
}

fn drain(wheel: &mut Wheel, nodes: &mut Vec<Timer>, now: u32, budget: usize) -> Vec<u32> {
    let mut fired = Vec::new();
    // Each call does a fixed amount of work; repeat until the wheel has arrived.
    while wheel.len > 0 && wheel.current <= now {
        let mut work = Work::new(budget);
        while let Some(i) = wheel.next_due(nodes, now, &mut work) {
            fired.push(i);
        }
    }
    fired.sort_unstable();
    fired
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn fires_what_a_plain_list_fires(ops in prop::collection::vec(op(), 1..120), budget in 1usize..9) {
        let mut wheel = Wheel::new();
        let mut nodes = vec![Timer::IDLE; 24];
        let mut model: Vec<Option<u32>> = vec![None; 24];
        let mut now = 0u32;
        for op in ops {
            match op {
                Op::Insert(i, d) if model[i].is_none() => {
                    wheel.insert(&mut nodes, i as u32, now + d);
                    model[i] = Some(now + d);
                }
                Op::Reschedule(i, d) if model[i].is_some() => {
                    wheel.reschedule(&mut nodes, i as u32, now + d);
                    model[i] = Some(now + d);
                }
                Op::Remove(i) if model[i].take().is_some() => wheel.remove(&mut nodes, i as u32),
                Op::Pass(d) => now += d,
                _ => {}
            }
            let fired = drain(&mut wheel, &mut nodes, now, budget);
            let expected: Vec<u32> =
                (0..24).filter(|&i| model[i as usize].is_some_and(|due| due <= now)).collect();
            prop_assert_eq!(&fired, &expected);
            for i in expected {
                model[i as usize] = None;
            }
        }
    }
}

#[test]
fn work_of_one_call_is_bounded() {
    let mut wheel = Wheel::new();
    let mut nodes = vec![Timer::IDLE; 1000];
    for i in 0..1000 {
        wheel.insert(&mut nodes, i, 3);
    }
    let mut work = Work::new(10);
    let mut fired = 0;
    while wheel.next_due(&mut nodes, 5, &mut work).is_some() {
        fired += 1;
    }
    assert_eq!(fired, 10);
}

#[test]
fn nothing_is_due_early() {
    let at = Instant::from_nanos((1 << TICK_SHIFT) + 1);
    assert_eq!((tick_of(at), tick_after(at)), (1, 2));
}
