use super::*;
use proptest::prelude::*;

/// Links and deadline of an entry.
#[derive(Copy, Clone)]
struct Node(Timer, u32);

impl Node {
    const IDLE: Self = Self(Timer::IDLE, 0);
}

impl Nodes for Vec<Node> {
    fn timer(&mut self, i: u32) -> &mut Timer {
        &mut self[i as usize].0
    }

    fn due(&mut self, i: u32) -> &mut u32 {
        &mut self[i as usize].1
    }
}

#[derive(Clone, Debug)]
enum Op {
    Insert(usize, u32),
    Reschedule(usize, u32),
    Remove(usize),
    Pass(u32),
}

fn op() -> impl Strategy<Value = Op> {
    let delay = prop_oneof![0u32..4, 0u32..300, 0u32..70_000, 0u32..20_000_000];
    prop_oneof![
        4 => (0usize..24, delay.clone()).prop_map(|(i, d)| Op::Insert(i, d)),
        3 => (0usize..24, delay).prop_map(|(i, d)| Op::Reschedule(i, d)),
        1 => (0usize..24).prop_map(Op::Remove),
        3 => prop_oneof![0u32..3, 0u32..600, 0u32..80_000].prop_map(Op::Pass),
    ]
}

fn drain(wheel: &mut Wheel, nodes: &mut Vec<Node>, now: u32, budget: usize) -> Vec<u32> {
    let mut fired = Vec::new();
    // Each call does a fixed amount of work; repeat until the wheel has arrived and found nothing more to do.
    loop {
        let mut work = Work::new(budget);
        while let Some(i) = wheel.next_due(nodes, now, &mut work) {
            fired.push(i);
        }
        if wheel.len == 0 || (wheel.current == now && work.entries > 0) {
            break;
        }
    }
    fired.sort_unstable();
    fired
}

/// Runs the wheel beside a plain list of deadlines and compares after each step.
fn compare_with_a_list(ops: Vec<Op>, budget: usize) {
    let mut wheel = Wheel::new();
    let mut nodes = vec![Node::IDLE; 24];
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
        assert_eq!(fired, expected);
        for i in expected {
            model[i as usize] = None;
        }
    }
}

proptest! {
    // As many cases as PROPTEST_CASES says (256 without it).
    #[test]
    fn fires_what_a_plain_list_fires(ops in prop::collection::vec(op(), 1..120), budget in 1usize..9) {
        compare_with_a_list(ops, budget);
    }
}

/// The wheel once closed the present tick as soon as it had run: what was due in it came a tick late, unless the
/// wheel was empty.
#[test]
fn what_is_due_at_once_fires_at_once() {
    compare_with_a_list(vec![Op::Insert(0, 1), Op::Insert(1, 0)], 1);
    compare_with_a_list(vec![Op::Insert(1, 0)], 1);
    compare_with_a_list(vec![Op::Insert(0, 900), Op::Pass(256), Op::Insert(1, 0), Op::Reschedule(0, 0)], 1);
}

#[test]
fn work_of_one_call_is_bounded() {
    let mut wheel = Wheel::new();
    let mut nodes = vec![Node::IDLE; 1000];
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
