//! What must hold for any bytes that a client and a server of TLS say.

use super::Tls;
use crate::inspector::{End, Side};
use crate::testing::{Event, Recorder, Splice, play, show};

/// Plays `data`, whole and in pieces. Its first byte says what the judge allows, the next two how much of the rest the
/// client says before the server; the client ends with the last third.
pub fn assert_holds(data: &[u8]) {
    let Some(([options, split @ ..], said)) = data.split_first_chunk::<3>() else { return };
    let allow = options & 1 == 0;
    let (first, rest) = said.split_at(usize::from(u16::from_le_bytes(*split)).min(said.len()));
    let (server, last) = rest.split_at(rest.len() * 2 / 3);
    let script = [
        Event::Send(Side::Client, first.to_vec()),
        Event::Send(Side::Server, server.to_vec()),
        Event::Send(Side::Client, last.to_vec()),
    ];
    let splice = || {
        let judge = Recorder { tls: Box::new(move |_| allow), ..Recorder::default() };
        Splice::new(Tls::new(), judge)
    };
    let whole = play(splice(), &script, |_, _| Vec::new());
    assert!(whole.told.len() <= 1, "{}", show(&whole));
    if whole.told.is_empty() || !allow {
        assert!(whole.to_server.is_empty() && whole.to_client.is_empty(), "{}", show(&whole));
    }
    if !whole.told.is_empty() && !allow {
        assert_eq!(whole.end, Some(End::Refused));
    }
    let cuts: [fn(usize) -> Vec<usize>; 3] =
        [|len| (1..len).collect(), |len| (1..len).step_by(11).collect(), |len| vec![len / 2]];
    for cut in cuts {
        let mut pieces = play(splice(), &script, |_, len| cut(len));
        // How much the server got through before an end that the client brings is a matter of time.
        if whole.end.is_some() {
            let len = whole.to_client.len().min(pieces.to_client.len());
            assert_eq!(whole.to_client[..len], pieces.to_client[..len], "to the client");
            pieces.to_client.clone_from(&whole.to_client);
        }
        assert_eq!(show(&whole), show(&pieces), "whole, and in pieces");
    }
}
