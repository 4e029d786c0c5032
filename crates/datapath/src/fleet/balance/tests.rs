use super::*;
use proptest::prelude::*;

const LEAST: u64 = 1_000;

type Owners = [usize; BUCKETS];
type Frames = [u64; BUCKETS];

fn dealt(workers: usize) -> Owners {
    core::array::from_fn(|bucket| bucket % workers)
}

fn seen(owners: &Owners, frames: &Frames) -> Seen {
    Seen { owners: *owners, frames: *frames, stay: [false; BUCKETS], other: Vec::new() }
}

fn loads(owners: &Owners, frames: &Frames, workers: usize) -> Vec<u64> {
    let of = |worker| owners.iter().zip(frames).filter(|(owner, _)| **owner == worker).map(|(_, n)| n).sum();
    (0..workers).map(of).collect()
}

/// Looks once a second and moves what is chosen, until nothing is for longer than any bucket rests.
fn settle(owners: &mut Owners, frames: &Frames, workers: usize) -> Vec<Choice> {
    let mut balance = Balance::new(workers, LEAST);
    let (mut moves, mut now, mut quiet) = (Vec::new(), Instant::from_secs(1), Duration::ZERO);
    while quiet <= LONGEST_REST {
        assert!(moves.len() <= BUCKETS, "it comes to an end: {:?}", loads(owners, frames, workers));
        quiet += Duration::from_secs(1);
        if let Some(choice) = balance.choose(&seen(owners, frames), now) {
            assert_eq!(owners[choice.bucket], choice.from);
            owners[choice.bucket] = choice.to;
            balance.rest(choice.bucket, now);
            moves.push(choice);
            quiet = Duration::ZERO;
        }
        now = now + Duration::from_secs(1);
    }
    moves
}

#[test]
fn what_one_worker_has_alone_is_divided() {
    for workers in [2, 3, 8, MAX_WORKERS] {
        let mut owners = dealt(workers);
        let frames: Frames = core::array::from_fn(|bucket| if bucket % workers == 0 { 1_000 } else { 0 });
        let all: u64 = frames.iter().sum();
        let active = all / 1_000;
        let moves = settle(&mut owners, &frames, workers);
        assert!(moves.len() as u64 <= active, "no bucket moves twice: {moves:?}");
        let (loads, mean) = (loads(&owners, &frames, workers), all / workers as u64);
        let busiest = loads.iter().max().expect("workers");
        assert!(busiest * 4 <= mean * 5 + 4_000, "to within a bucket of even enough: {loads:?}");
    }
}

#[test]
fn the_fewest_and_heaviest_buckets_that_help_move() {
    // Worker 0 has 9,000 frames in four buckets, worker 1 has 1,000.
    let (mut owners, mut frames) = (dealt(2), [0; BUCKETS]);
    (frames[0], frames[2], frames[4], frames[6], frames[1]) = (4_500, 2_500, 1_500, 500, 1_000);
    let first = Balance::new(2, LEAST).choose(&seen(&owners, &frames), Instant::ZERO);
    let (loads, all) = ([9_000, 1_000], 10_000);
    assert_eq!(first, Some(Choice { bucket: 0, from: 0, to: 1, frames: 4_500, loads, all }));
    assert_eq!(settle(&mut owners, &frames, 2).len(), 1, "5,500 and 4,500 are about even");
}

#[test]
fn an_elephant_stays_and_the_others_are_divided_without_it() {
    // All of worker 0 is one bucket, at first.
    let (mut owners, mut frames) = (dealt(3), [0; BUCKETS]);
    frames[0] = 50_000;
    assert!(settle(&mut owners, &frames, 3).is_empty(), "wherever it is, somebody has all");
    (frames[3], frames[1], frames[4], frames[7]) = (20, 4_000, 4_000, 4_000);
    let moves = settle(&mut owners, &frames, 3);
    assert!(moves.iter().all(|choice| (choice.from, choice.to) == (1, 2)), "{moves:?}");
    assert_eq!(loads(&owners, &frames, 3), [50_020, 8_000, 4_000]);
}

#[test]
fn what_workers_do_beside_counts_and_what_must_not_move_stays() {
    let (owners, mut frames) = (dealt(2), [0; BUCKETS]);
    frames[..4].copy_from_slice(&[2_000, 200, 1_500, 200]);
    let balance = Balance::new(2, LEAST);
    let choose = |other: [u64; 2], stay: &[usize]| {
        let mut seen = Seen { other: other.to_vec(), ..seen(&owners, &frames) };
        stay.iter().for_each(|bucket| seen.stay[*bucket] = true);
        balance.choose(&seen, Instant::ZERO).map(|choice| (choice.bucket, choice.to, choice.loads))
    };
    assert_eq!(choose([0, 0], &[]), Some((2, 1, [3_500, 400])));
    assert_eq!(choose([0, 0], &[2]), Some((0, 1, [3_500, 400])), "2,400 at most is better than 3,500");
    assert_eq!(choose([0, 0], &[0, 2]), None);
    assert_eq!(choose([9_000, 9_000], &[]), None, "12,500 and 9,400 are about even");
    assert_eq!(choose([0, 10_000], &[]), Some((1, 0, [10_400, 3_500])), "the ports of worker 1 are busy");
    assert_eq!(choose([0, 10_000], &[1]), Some((3, 0, [10_400, 3_500])));
    assert_eq!(choose([0, 10_000], &[1, 3]), None, "and worker 0 has less to do, not more");
}

#[test]
fn an_idle_node_moves_nothing() {
    let mut frames = [0; BUCKETS];
    let balance = Balance::new(2, LEAST);
    assert_eq!(balance.choose(&seen(&dealt(2), &frames), Instant::ZERO), None);
    (frames[0], frames[2]) = (499, 500);
    assert_eq!(balance.choose(&seen(&dealt(2), &frames), Instant::ZERO), None);
    frames[0] += 1;
    assert!(balance.choose(&seen(&dealt(2), &frames), Instant::ZERO).is_some());
    assert_eq!(
        Balance::new(1, 0).choose(&seen(&dealt(1), &frames), Instant::ZERO),
        None,
        "nobody to move to"
    );
    assert_eq!(Balance::new(0, 0).choose(&seen(&dealt(1), &frames), Instant::ZERO), None);
}

#[test]
fn load_that_is_even_but_for_noise_stays() {
    let mut random = 7_u64;
    for workers in [2, 4, 8] {
        let (balance, owners) = (Balance::new(workers, LEAST), dealt(workers));
        for _ in 0..1_000 {
            // Each bucket has between half and one and a half times the mean, anew each second.
            let frames: Frames = core::array::from_fn(|_| {
                random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                500 + (random >> 33) % 1_000
            });
            assert_eq!(balance.choose(&seen(&owners, &frames), Instant::ZERO), None);
        }
    }
}

#[test]
fn bursts_that_alternate_between_workers_come_to_rest() {
    let (mut balance, mut owners) = (Balance::new(2, LEAST), dealt(2));
    let mut moves = Vec::new();
    for second in 0..1_000 {
        // Two buckets of the first worker in one second, two of the second one in the next.
        let mut frames = [0; BUCKETS];
        (frames[second % 2], frames[second % 2 + 2]) = (5_000, 5_000);
        let now = Instant::from_secs(second as u64);
        if let Some(choice) = balance.choose(&seen(&owners, &frames), now) {
            owners[choice.bucket] = choice.to;
            balance.rest(choice.bucket, now);
            moves.push((second, choice.bucket, choice.to));
        }
    }
    assert_eq!(moves, [(0, 0, 1), (1, 1, 0)], "then each burst is divided");
}

#[test]
fn what_was_moved_or_refused_rests_twice_as_long_each_time() {
    let (owners, mut frames) = (dealt(2), [0; BUCKETS]);
    (frames[0], frames[2], frames[1]) = (1_500, 1_400, 200);
    let mut balance = Balance::new(2, LEAST);
    let at =
        |balance: &Balance, now| balance.choose(&seen(&owners, &frames), now).map(|choice| choice.bucket);
    let mut now = Instant::from_secs(100);
    assert_eq!(at(&balance, now), Some(2), "1,500 and 1,600 are better than 1,400 and 1,700");
    let mut rests = Vec::new();
    for _ in 0..8 {
        balance.rest(2, now);
        balance.rest(2, now + Duration::from_secs(1));
        assert_eq!(at(&balance, now), Some(0), "the next best");
        let begun = now;
        while at(&balance, now) == Some(0) {
            now = now + Duration::from_secs(1);
        }
        rests.push(now.saturating_since(begun).as_secs());
    }
    assert_eq!(rests, [8, 16, 32, 64, 128, 256, 256, 256]);
    // Left alone for as long again, it begins anew.
    now = now + LONGEST_REST;
    balance.rest(2, now);
    assert_eq!(at(&balance, now + REST), Some(2));
    balance.rest(BUCKETS, now);
}

proptest! {
    /// Whatever the load: a move is worth it for the two workers, the busier of which it leaves with less than before, and
    /// comes from one that has more than its share.
    #[test]
    fn a_move_leaves_the_larger_of_the_two_with_less(
        workers in 2..=MAX_WORKERS,
        owned in proptest::collection::vec(0..MAX_WORKERS, BUCKETS),
        heavy in proptest::collection::vec((0..BUCKETS, 0..1_u64 << 40), 0..20),
        light in proptest::collection::vec(0..200_u64, BUCKETS),
        resting in proptest::collection::vec(0..BUCKETS, 0..100),
        staying in proptest::collection::vec(0..BUCKETS, 0..100),
        other in proptest::collection::vec(0..100_000_u64, MAX_WORKERS),
    ) {
        let owners: Owners = core::array::from_fn(|bucket| owned[bucket] % workers);
        let mut frames: Frames = core::array::from_fn(|bucket| light[bucket]);
        heavy.into_iter().for_each(|(bucket, more)| frames[bucket] += more);
        let mut balance = Balance::new(workers, LEAST);
        resting.iter().for_each(|bucket| balance.rest(*bucket, Instant::ZERO));
        let mut seen = seen(&owners, &frames);
        staying.iter().for_each(|bucket| seen.stay[*bucket] = true);
        seen.other = other[..workers].to_vec();
        let loads = |owners: &Owners| -> Vec<u64> {
            loads(owners, &frames, workers).into_iter().zip(&other).map(|(load, other)| load + other).collect()
        };
        let before = loads(&owners);
        let Some(choice) = balance.choose(&seen, Instant::ZERO) else { return Ok(()) };
        let Choice { bucket, from, to, .. } = choice;
        let may = |bucket| owners[bucket] == from && !resting.contains(&bucket) && !staying.contains(&bucket);
        prop_assert!(may(bucket) && from != to);
        prop_assert_eq!(choice.loads, [before[from], before[to]]);
        prop_assert_eq!((choice.frames, choice.all), (frames[bucket], before.iter().sum::<u64>()));
        let mut moved = owners;
        moved[bucket] = to;
        let after = loads(&moved);
        prop_assert!(after[from].max(after[to]) < before[from].max(before[to]));
        prop_assert!(before[from] >= LEAST && before.iter().all(|load| *load >= before[to]));
        // No other one that may move would have left the larger with less.
        for other in (0..BUCKETS).filter(|other| may(*other)) {
            let larger = (before[from] - frames[other]).max(before[to] + frames[other]);
            prop_assert!(larger >= after[from].max(after[to]));
        }
    }
}
