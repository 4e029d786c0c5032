//! What must hold for any bytes that a client and a server of DNS say.

use super::{DatagramStep, Tcp, Udp};
use crate::inspector::{Context, Settings, Side};
use crate::testing::{Event, Recorder, Splice, play, show};

/// Plays `data` over TCP, whole and in pieces, and as datagrams. Its first byte says what the judge allows, the next
/// two how much of the rest the client says.
pub fn assert_holds(data: &[u8]) {
    let Some(([options, split @ ..], said)) = data.split_first_chunk::<3>() else { return };
    let allow = options & 1 == 0;
    let (client, server) = said.split_at(usize::from(u16::from_le_bytes(*split)).min(said.len()));
    let script = [Event::Send(Side::Client, client.to_vec()), Event::Send(Side::Server, server.to_vec())];
    let splice = || {
        let judge = Recorder { dns: Box::new(move |_| allow), ..Recorder::default() };
        Splice::new(Tcp::new(), judge)
    };
    let whole = play(splice(), &script, |_, _| Vec::new());
    assert!(allow || whole.to_server.is_empty(), "{}", show(&whole));
    let cuts: [fn(usize) -> Vec<usize>; 3] =
        [|len| (1..len).collect(), |len| (1..len).step_by(7).collect(), |len| vec![len / 2]];
    for cut in cuts {
        let pieces = play(splice(), &script, |_, len| cut(len));
        assert_eq!(show(&whole), show(&pieces), "whole, and in pieces");
    }
    assert_datagrams(client, server, allow);
}

/// A question and an answer, and the question turned into its own answer.
fn assert_datagrams(client: &[u8], server: &[u8], allow: bool) {
    let settings = Settings::default();
    let mut udp = Udp::new();
    let mut judge = Recorder { dns: Box::new(move |_| allow), ..Recorder::default() };
    let (mut out, mut unused) = (Vec::new(), Vec::new());
    let mut cx = Context {
        judge: &mut judge,
        now: 0,
        settings: &settings,
        to_client: &mut out,
        to_server: &mut unused,
    };
    match udp.query(client, &mut cx) {
        DatagramStep::Pass => {
            assert!(allow && udp.outstanding() == 1 && cx.to_client.is_empty());
            let mut echo = client.to_vec();
            echo[2] |= 0x80;
            assert_eq!(udp.response(&echo, &mut cx), DatagramStep::Pass, "{echo:02x?}");
            assert_eq!(udp.outstanding(), 0);
            assert_eq!(udp.query(client, &mut cx), DatagramStep::Pass);
        }
        DatagramStep::Answer => {
            let reply = &*cx.to_client;
            assert!(udp.outstanding() == 0 && reply.len() <= client.len());
            assert!(reply[..2] == client[..2] && reply[2] & 0x80 != 0);
        }
        DatagramStep::Drop(_) => assert_eq!(udp.outstanding(), 0),
        DatagramStep::Wait => panic!("a question waits"),
    }
    let told = udp.outstanding();
    let step = udp.response(server, &mut cx);
    assert!(step != DatagramStep::Answer, "an answer is answered");
    assert_eq!(udp.outstanding(), told - usize::from(step == DatagramStep::Pass));
}
