use super::*;
use Leg::{Original, Reply};
use proptest::prelude::*;

const S: u8 = TcpFlags::SYN;
const A: u8 = TcpFlags::ACK;
const F: u8 = TcpFlags::FIN;
const R: u8 = TcpFlags::RST;

fn seg(flags: u8, seq: u32, ack: u32, payload_len: u32) -> Tcp {
    Tcp {
        src_port: 1,
        dst_port: 2,
        seq,
        ack,
        flags: TcpFlags(flags),
        window: 1000,
        payload_len,
        window_scale: None,
        mss: None,
        sack_permitted: false,
    }
}

/// Client and server numbers after the handshake are `c` and `s`.
fn established(c: u32, s: u32) -> Tracking {
    let mut t = Tracking::open(&seg(S, c.wrapping_sub(1), 0, 0));
    assert_eq!(t.step(Reply, &seg(S | A, s.wrapping_sub(1), c, 0)), Ok(Step::Advanced));
    assert_eq!(t.state, State::SynReceived);
    assert_eq!(t.step(Original, &seg(A, c, s, 0)), Ok(Step::Advanced));
    assert_eq!(t.state, State::Established);
    t
}

#[track_caller]
fn run(t: &mut Tracking, script: &[(Leg, Tcp, Result<Step, DropReason>, State)]) {
    for (n, (leg, tcp, step, state)) in script.iter().enumerate() {
        assert_eq!((t.step(*leg, tcp), t.state), (*step, *state), "step {n}: {leg:?} {tcp:?}");
    }
}

const ADV: Result<Step, DropReason> = Ok(Step::Advanced);
const IGN: Result<Step, DropReason> = Ok(Step::Ignored);
const BAD: Result<Step, DropReason> = Err(DropReason::InvalidTcpState);

#[test]
fn normal_close_across_the_wrap() {
    let (c, s) = (u32::MAX - 50, u32::MAX - 1);
    let mut t = established(c, s);
    let (c1, s1) = (c.wrapping_add(100), s.wrapping_add(200));
    let script = [
        (Original, seg(A, c, s, 100), ADV, State::Established),
        (Reply, seg(A, s, c1, 200), ADV, State::Established),
        (Original, seg(F | A, c1, s1, 0), ADV, State::HalfClosed),
        (Reply, seg(A, s1, c1.wrapping_add(1), 0), ADV, State::HalfClosed),
        // Half-closed: the other leg still sends.
        (Reply, seg(A, s1, c1.wrapping_add(1), 300), ADV, State::HalfClosed),
        (Reply, seg(F | A, s1.wrapping_add(300), c1.wrapping_add(1), 0), ADV, State::Closing),
        (Original, seg(A, c1.wrapping_add(1), s1.wrapping_add(301), 0), ADV, State::TimeWait),
        // A FIN sent again changes nothing; a SYN begins anew.
        (Reply, seg(F | A, s1.wrapping_add(300), c1.wrapping_add(1), 0), ADV, State::TimeWait),
        (Original, seg(S, 5, 0, 0), Ok(Step::Reopen), State::TimeWait),
    ];
    run(&mut t, &script);
}

#[test]
fn simultaneous_close() {
    let mut t = established(100, 500);
    let script = [
        (Original, seg(F | A, 100, 500, 0), ADV, State::HalfClosed),
        (Reply, seg(F | A, 500, 100, 0), ADV, State::Closing),
        (Original, seg(A, 101, 501, 0), ADV, State::Closing),
        (Reply, seg(A, 501, 101, 0), ADV, State::TimeWait),
    ];
    run(&mut t, &script);
}

#[test]
fn simultaneous_open() {
    let mut t = Tracking::open(&seg(S, 99, 0, 0));
    let script = [
        (Reply, seg(S, 499, 0, 0), ADV, State::SynReceived),
        (Original, seg(S | A, 99, 500, 0), ADV, State::SynReceived),
        (Reply, seg(S | A, 499, 100, 0), ADV, State::Established),
        (Original, seg(A, 100, 500, 10), ADV, State::Established),
    ];
    run(&mut t, &script);
}

#[test]
fn handshake_oddities() {
    let mut t = Tracking::open(&seg(S, 99, 0, 0));
    let script = [
        // Sent again; an answer to somebody else; data too early; then the real one, twice.
        (Original, seg(S, 99, 0, 0), ADV, State::SynSent),
        (Reply, seg(S | A, 499, 77, 0), IGN, State::SynSent),
        (Reply, seg(A, 499, 77, 0), IGN, State::SynSent),
        (Original, seg(A, 100, 500, 5), IGN, State::SynSent),
        (Reply, seg(S | A, 499, 100, 0), ADV, State::SynReceived),
        (Reply, seg(S | A, 499, 100, 0), ADV, State::SynReceived),
        (Original, seg(A, 100, 9999, 0), IGN, State::SynReceived),
        (Original, seg(A, 100, 500, 0), ADV, State::Established),
    ];
    run(&mut t, &script);
}

#[test]
fn a_new_attempt_replaces_the_old_one() {
    let mut t = Tracking::open(&seg(S, 99, 0, 0));
    let script = [
        (Original, seg(S, 7000, 0, 0), ADV, State::SynSent),
        (Reply, seg(S | A, 499, 100, 0), IGN, State::SynSent),
        (Reply, seg(S | A, 499, 7001, 0), ADV, State::SynReceived),
    ];
    run(&mut t, &script);
}

#[test]
fn refused_connection() {
    let mut t = Tracking::open(&seg(S, 99, 0, 0));
    run(
        &mut t,
        &[
            (Reply, seg(R, 0, 0, 0), BAD, State::SynSent),
            (Reply, seg(R | A, 0, 55, 0), BAD, State::SynSent),
            (Reply, seg(R | A, 0, 100, 0), ADV, State::Reset),
            (Original, seg(S, 99, 0, 0), Ok(Step::Reopen), State::Reset),
        ],
    );
}

#[test]
fn only_the_exact_reset_ends_a_connection() {
    for leg in [Original, Reply] {
        let mut t = established(100_000, 500_000);
        let (seq, ack) = if leg == Original { (100_000, 500_000) } else { (500_000, 100_000) };
        run(
            &mut t,
            &[
                (leg, seg(R, seq + 10, 0, 0), IGN, State::Established),
                (leg, seg(R, seq + 70_000, 0, 0), BAD, State::Established),
                (leg, seg(R, seq.wrapping_sub(70_000), 0, 0), BAD, State::Established),
                (leg, seg(R | A, seq, ack, 0), ADV, State::Reset),
                (leg.opposite(), seg(A, ack, seq, 10), IGN, State::Reset),
            ],
        );
    }
}

#[test]
fn a_reset_that_answers_an_older_acknowledgement_counts() {
    let mut t = established(100, 500);
    assert_eq!(t.step(Original, &seg(A, 100, 500, 50)), ADV);
    // The server never saw the data; the client's stack resets with the number the server asked for.
    run(&mut t, &[(Original, seg(R, 100, 0, 0), ADV, State::Reset)]);
}

#[test]
fn what_lies_outside_the_windows_moves_nothing() {
    let mut t = established(100_000, 500_000);
    run(
        &mut t,
        &[
            (Original, seg(F | A, 300_000, 500_000, 0), IGN, State::Established),
            (Original, seg(F | A, 20_000, 500_000, 0), IGN, State::Established),
            (Original, seg(F | A, 100_000, 500_001, 0), IGN, State::Established),
            (Original, seg(F | A, 100_000, 400_000, 0), IGN, State::Established),
            // Keep-alive, window probe, and the real end.
            (Original, seg(A, 99_999, 500_000, 0), ADV, State::Established),
            (Original, seg(A, 101_000, 500_000, 1), ADV, State::Established),
            (Original, seg(F, 100_000, 0, 0), IGN, State::Established),
        ],
    );
}

#[test]
fn a_forged_fin_is_taken_back_by_the_next_data() {
    let mut t = established(100, 500);
    run(
        &mut t,
        &[
            (Original, seg(F | A, 100, 500, 0), ADV, State::HalfClosed),
            (Original, seg(A, 100, 500, 200), ADV, State::Established),
        ],
    );
}

#[test]
fn syn_on_a_live_connection() {
    let mut t = established(100_000, 500_000);
    run(
        &mut t,
        &[
            (Reply, seg(S, 1, 0, 0), BAD, State::Established),
            (Original, seg(S, 9_000_000, 0, 0), IGN, State::Established),
            // The server still knows the connection and says so; the client resets; the next SYN begins anew.
            (Reply, seg(A, 500_000, 100_000, 0), ADV, State::Established),
            (Original, seg(R, 100_000, 0, 0), ADV, State::Reset),
            (Original, seg(S, 9_000_000, 0, 0), Ok(Step::Reopen), State::Reset),
        ],
    );
}

#[test]
fn a_server_that_forgot_the_connection_is_followed() {
    let mut t = established(100_000, 500_000);
    run(
        &mut t,
        &[
            (Reply, seg(S | A, 7, 9_000_001, 0), IGN, State::Established),
            (Original, seg(S, 9_000_000, 0, 0), IGN, State::Established),
            (Reply, seg(S | A, 7, 9_000_001, 0), ADV, State::SynReceived),
            (Original, seg(A, 9_000_001, 8, 0), ADV, State::Established),
        ],
    );
}

#[test]
fn window_scales_count_only_if_both_offer_them() {
    for (theirs, allowed) in [(Some(4), true), (None, false)] {
        let mut t = Tracking::open(&Tcp { window_scale: Some(7), ..seg(S, 99, 0, 0) });
        assert_eq!(t.step(Reply, &Tcp { window_scale: theirs, ..seg(S | A, 499, 100, 0) }), ADV);
        assert_eq!(t.step(Original, &seg(A, 100, 500, 0)), ADV);
        // The client's window is 1000 << 7 or 1000.
        let far = seg(A, 500 + 100_000, 100, 10);
        assert_eq!(t.step(Reply, &far), if allowed { ADV } else { IGN });
    }
}

#[test]
fn a_restored_connection_learns_its_numbers() {
    let mut t = Tracking::unknown(State::Established);
    run(
        &mut t,
        &[
            (Original, seg(R, 1, 0, 0), IGN, State::Established),
            (Reply, seg(A, 500, 100, 20), ADV, State::Established),
            (Original, seg(A, 100, 520, 20), ADV, State::Established),
            (Reply, seg(F | A, 520, 120, 0), ADV, State::HalfClosed),
            (Original, seg(F | A, 120, 521, 0), ADV, State::Closing),
            (Reply, seg(A, 521, 121, 0), ADV, State::TimeWait),
        ],
    );
}

proptest! {
    /// Whoever does not know the numbers ends nothing: the state only ever moves by exact or in-window segments.
    #[test]
    fn far_away_segments_leave_the_state(
        c in any::<u32>(), s in any::<u32>(), flags in 0u8..64, leg in any::<bool>(),
        off in 200_000u32..u32::MAX - 200_000, payload in 0u32..1500, ack in any::<u32>(),
    ) {
        prop_assume!(flags & (S | R) != S || leg);
        let mut t = established(c, s);
        let (leg, base) = if leg { (Original, c) } else { (Reply, s) };
        let _ = t.step(leg, &seg(flags & !S | (flags & S & !(R | F)), base.wrapping_add(off), ack, payload));
        prop_assert_eq!(t.state, State::Established);
    }

    /// No sequence of segments panics, whatever it holds.
    #[test]
    fn total(script in prop::collection::vec((any::<bool>(), 0u8..64, any::<u32>(), any::<u32>(), any::<u16>(),
        prop::option::of(0u8..15)), 0..60)) {
        let mut t = Tracking::open(&seg(S, 1, 0, 0));
        for (leg, flags, seq, ack, window, window_scale) in script {
            let leg = if leg { Original } else { Reply };
            let _ = t.step(leg, &Tcp { window, window_scale, ..seg(flags, seq, ack, 3) });
        }
    }

    /// The short way for segments that flow is the long way, or leaves everything as it is; and it is taken.
    #[test]
    fn what_flows_goes_the_same_way(
        c in any::<u32>(), s in any::<u32>(), scales in prop::array::uniform2(prop::option::of(0u8..16)),
        early_fin in prop::option::weighted(0.2, 0usize..2),
        script in prop::collection::vec((
            any::<bool>(), prop::sample::select(vec![A, A, A, A | TcpFlags::PSH, A | TcpFlags::URG, A | F, S, S | A, R | A, 0]),
            prop_oneof![Just(0i32), -3i32..3, -2_000i32..2_000, -200_000i32..200_000],
            prop_oneof![Just(0i32), -3i32..3, -70_000i32..70_000],
            any::<u16>(), 0u32..3_000,
        ), 1..40),
    ) {
        let mut t = Tracking::open(&Tcp { window_scale: scales[0], ..seg(S, c.wrapping_sub(1), 0, 0) });
        let _ = t.step(Reply, &Tcp { window_scale: scales[1], ..seg(S | A, s.wrapping_sub(1), c, 0) });
        prop_assert!(!t.flows(Original, &seg(A, c, s, 0)), "a handshake does not flow");
        let _ = t.step(Original, &seg(A, c, s, 0));
        prop_assert_eq!(t.state, State::Established);
        if let Some(leg) = early_fin {
            // Of a handshake that was acknowledged late.
            t.flags[leg] |= F;
        }
        for (original, flags, seq_off, ack_off, window, payload) in script {
            let leg = if original { Original } else { Reply };
            let (seq, ack) = (t.end[leg.index()], t.end[leg.opposite().index()]);
            let tcp = Tcp { window, ..seg(flags, seq.wrapping_add_signed(seq_off), ack.wrapping_add_signed(ack_off), payload) };
            let mut short = t;
            let flowed = short.flows(leg, &tcp);
            if !flowed {
                prop_assert_eq!(short, t, "nothing was changed");
            }
            let (was, fins) = (t.state, (t.flags[0] | t.flags[1]) & F);
            let step = t.step(leg, &tcp);
            if flowed {
                prop_assert_eq!(step, ADV);
                prop_assert_eq!(short, t);
            }
            let plain = was == State::Established && fins == 0 && flags & A != 0 && flags & (S | F | R) == 0;
            prop_assert_eq!(flowed, plain && step == ADV, "every one that flows is seen to be one");
        }
    }
}
