//! Each conversation over UDP, over TCP at every split point, and with its messages damaged.

use l7::dns::{Tcp, Udp};
use l7::testing::{Event, Recorder, Splice, agree};
use l7::{Anomaly, End, Settings, Side};

use crate::support::{Lines, allows, conversations, datagram, framed, step_line};

fn recorder() -> Recorder {
    Recorder { dns: Box::new(allows), ..Recorder::default() }
}

#[test]
fn over_udp() {
    for conversation in conversations() {
        let (mut udp, mut judge) = (Udp::new(), Lines::default());
        let settings = Settings::default();
        for (number, message) in conversation.messages.iter().enumerate() {
            let (step, reply) = datagram(&mut udp, &mut judge, &settings, 0, message.side, &message.bytes);
            let what = format!("{}, message {number}", conversation.title);
            assert_eq!(step_line(step, &reply), message.step, "{what}");
            assert_eq!(core::mem::take(&mut judge.told), message.told, "{what}");
        }
    }
}

#[test]
fn over_tcp_at_every_split_point() {
    for conversation in conversations() {
        let (mut udp, mut judge) = (Udp::new(), recorder());
        let settings = Settings::default();
        let (mut script, mut to_server, mut to_client, mut end) = (vec![], vec![], vec![], None);
        for message in &conversation.messages {
            script.push(Event::Send(message.side, framed(&message.bytes)));
            let (_, reply) = datagram(&mut udp, &mut judge, &settings, 0, message.side, &message.bytes);
            match (message.step.as_str(), message.side) {
                ("Pass", Side::Client) => to_server.extend(framed(&message.bytes)),
                ("Pass", Side::Server) => to_client.extend(framed(&message.bytes)),
                ("Drop dns-malformed", _) => end = Some(End::Anomaly(Anomaly::DnsMalformed)),
                ("Drop dns-unexpected-answer", _) => {
                    judge.told.push("oddity dns-unexpected-answer".to_owned());
                }
                _ => to_client.extend(framed(&reply)),
            }
        }
        let outcome = agree(&script, || Splice::new(Tcp::new(), recorder()));
        let title = &conversation.title;
        assert_eq!(outcome.to_server, to_server, "{title}: to the server");
        assert_eq!(outcome.to_client, to_client, "{title}: to the client");
        assert_eq!(outcome.end, end, "{title}");
        assert_eq!(outcome.told, judge.told, "{title}");
    }
}

/// A message cut anywhere is malformed, save an operation that is refused by its header: no part of a message teaches.
#[test]
fn cut_short_nothing_passes() {
    for conversation in conversations() {
        let (mut udp, settings) = (Udp::new(), Settings::default());
        for message in &conversation.messages {
            if message.step == "Drop dns-malformed" {
                continue;
            }
            for len in 0..message.bytes.len() {
                let mut judge = Lines::default();
                let cut = &message.bytes[..len];
                let (step, reply) = datagram(&mut udp, &mut judge, &settings, 0, message.side, cut);
                let line = step_line(step, &reply);
                let other_operation =
                    message.step.starts_with("Answer") && message.told[0].starts_with("oddity");
                assert!(
                    line == "Drop dns-malformed" || other_operation && len >= 12,
                    "{} cut at {len}: {line}, {:?}",
                    conversation.title,
                    judge.told
                );
                assert!(judge.told.is_empty() || other_operation, "{:?}", judge.told);
            }
            let mut judge = Lines::default();
            let _ = datagram(&mut udp, &mut judge, &settings, 0, message.side, &message.bytes);
        }
    }
}

/// Whatever one byte is changed to, nothing panics, and what is learnt is learnt for the question that left.
#[test]
fn one_byte_changed() {
    let values = [0, 1, 2, 0x0c, 0x2e, 0x3f, 0x40, 0x80, 0xc0, 0xff];
    for conversation in conversations() {
        let settings = Settings::default();
        for (number, message) in conversation.messages.iter().enumerate() {
            for at in 0..message.bytes.len() {
                for value in values.into_iter().chain([message.bytes[at] ^ 1, message.bytes[at] ^ 0x20]) {
                    let (mut udp, mut judge) = (Udp::new(), Lines::default());
                    for before in &conversation.messages[..number] {
                        let _ = datagram(&mut udp, &mut judge, &settings, 0, before.side, &before.bytes);
                    }
                    let mut bytes = message.bytes.clone();
                    bytes[at] = value;
                    let asked = judge.told.clone();
                    let _ = datagram(&mut udp, &mut judge, &settings, 0, message.side, &bytes);
                    for line in &judge.told[asked.len()..] {
                        if let Some(rest) = line.strip_prefix("answer ") {
                            let question = rest.split(" rcode=").next().unwrap_or_default();
                            assert!(asked.contains(&format!("allow {question}")), "{line} of {asked:?}");
                        }
                    }
                }
            }
        }
    }
}
