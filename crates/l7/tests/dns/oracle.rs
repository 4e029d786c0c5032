//! Our reader beside simple-dns: messages that it writes, compressed and not, and damaged ones, must say the same to
//! both.

use core::net::IpAddr;
use std::time::Duration;

use arbtest::arbitrary::{Result, Unstructured};
use l7::dns::{DatagramStep, Udp};
use l7::{Settings, Side};
use simple_dns::rdata::{A, AAAA, CNAME, RData};
use simple_dns::{CLASS, Name, Packet, QCLASS, QTYPE, Question, ResourceRecord, TYPE};

use crate::support::{Lines, datagram};

/// Time for each of the two tests.
const BUDGET: Duration = Duration::from_millis(1_500);
const NAMES: [&str; 6] =
    ["www.example.com", "WWW.example.COM", "a.example.com", "b.test", "B.Test", "example.com"];

type Labels = Vec<Vec<u8>>;

fn labels(name: &Name<'_>) -> Labels {
    name.as_bytes().map(<[u8]>::to_ascii_lowercase).filter(|label| !label.is_empty()).collect()
}

fn text(labels: &Labels) -> String {
    labels.iter().map(|label| String::from_utf8_lossy(label).into_owned()).collect::<Vec<_>>().join(".")
}

/// An answer whose CNAMEs and addresses belong to names of a small set, so that chains come about.
fn answer(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let qtype = if u.arbitrary()? { TYPE::A } else { TYPE::AAAA };
    let mut packet = Packet::new_reply(7);
    let name = |u: &mut Unstructured<'_>| Ok(Name::new_unchecked(NAMES[u.choose_index(NAMES.len())?]));
    packet.questions.push(Question::new(name(u)?, QTYPE::TYPE(qtype), QCLASS::CLASS(CLASS::IN), false));
    for _ in 0..u.int_in_range(0..=8)? {
        let data = match u.int_in_range(0..=3)? {
            0 => RData::A(A { address: u.arbitrary()? }),
            1 => RData::AAAA(AAAA { address: u.arbitrary()? }),
            _ => RData::CNAME(CNAME(name(u)?)),
        };
        let ttl = u.int_in_range(0..=1_000)?;
        packet.answers.push(ResourceRecord::new(name(u)?, CLASS::IN, ttl, data));
    }
    let bytes = if u.arbitrary()? { packet.build_bytes_vec_compressed() } else { packet.build_bytes_vec() };
    Ok(bytes.expect("simple-dns writes what it made"))
}

/// What an answer says, plainly: as our judge would be told it. `None`: simple-dns cannot read it, or not as we do.
fn told_by_oracle(message: &[u8]) -> Option<String> {
    let packet = Packet::parse(message).ok()?;
    // What it takes for the flag of multicast DNS is another class to us.
    let multicast = |question: &simple_dns::Question<'_>| question.unicast_response;
    if packet.answers.iter().any(|record| record.cache_flush)
        || packet.questions.iter().any(multicast)
        || packet.opt().is_some()
    {
        return None;
    }
    let rcode = message[3] & 15;
    let [question] = &packet.questions[..] else { return None };
    let (QTYPE::TYPE(qtype), QCLASS::CLASS(CLASS::IN)) = (question.qtype, question.qclass) else {
        return None;
    };
    let mut chain = vec![labels(&question.qname)];
    let (mut addresses, mut ttl) = (Vec::<IpAddr>::new(), None::<u32>);
    let ours = |record: &&ResourceRecord<'_>| record.class == CLASS::IN;
    let mut least = |record: &ResourceRecord<'_>| {
        let seconds = if record.ttl >> 31 == 1 { 0 } else { record.ttl };
        ttl = Some(ttl.map_or(seconds, |ttl| ttl.min(seconds)));
    };
    if rcode == 0 {
        loop {
            let next = packet.answers.iter().filter(ours).find_map(|record| match &record.rdata {
                RData::CNAME(CNAME(target)) if Some(&labels(&record.name)) == chain.last() => {
                    Some((record, labels(target)))
                }
                _ => None,
            });
            match next {
                Some((record, target)) if !chain.contains(&target) => {
                    least(record);
                    chain.push(target);
                }
                _ => break,
            }
        }
        for record in packet.answers.iter().filter(ours) {
            let address = match (&record.rdata, qtype) {
                (RData::A(a), TYPE::A) => IpAddr::from(a.address.to_be_bytes()),
                (RData::AAAA(aaaa), TYPE::AAAA) => IpAddr::from(aaaa.address.to_be_bytes()),
                _ => continue,
            };
            if chain.contains(&labels(&record.name)) {
                addresses.push(address);
                least(record);
            }
        }
    }
    Some(format!(
        "answer {:#06x} {} {} rcode={} ttl={} {addresses:?} via [{}]",
        packet.id(),
        text(&chain[0]),
        u16::from(qtype),
        rcode,
        ttl.unwrap_or(0),
        chain[1..].iter().map(text).collect::<Vec<_>>().join(", "),
    ))
}

/// What our judge is told of an answer whose question was passed before; `None`: it is malformed.
fn told_by_us(message: &[u8]) -> Option<String> {
    let (mut udp, mut judge, settings) = (Udp::new(), Lines::default(), Settings::default());
    let question_end = 12 + message.get(12..)?.iter().position(|byte| *byte == 0)? + 5;
    let mut query = message.get(..question_end)?.to_vec();
    query[2..12].copy_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    if datagram(&mut udp, &mut judge, &settings, 0, Side::Client, &query).0 != DatagramStep::Pass {
        return None;
    }
    match datagram(&mut udp, &mut judge, &settings, 0, Side::Server, message).0 {
        DatagramStep::Pass => judge.told.pop(),
        _ => None,
    }
}

#[test]
fn what_it_writes_says_the_same_to_both() {
    arbtest::arbtest(|u| {
        let message = answer(u)?;
        let oracle = told_by_oracle(&message).expect("it reads what it wrote");
        assert_eq!(told_by_us(&message), Some(oracle), "{message:02x?}");
        Ok(())
    })
    .budget(BUDGET)
    .run();
}

#[test]
fn damaged_messages_say_the_same_to_both_or_nothing() {
    let (mut both, mut neither) = (0u32, 0u32);
    arbtest::arbtest(|u| {
        let mut message = answer(u)?;
        for _ in 0..u.int_in_range(1..=2)? {
            let at = u.choose_index(message.len())?;
            match u.int_in_range(0..=2)? {
                0 => message[at] = u.arbitrary()?,
                1 => message[at] ^= 1 << u.int_in_range(0..=7)?,
                _ => message[at] = 0xc0,
            }
        }
        // Labels that text cannot show plainly are ours to write out.
        let plain = |told: &String| !told.contains('\\') && told.is_ascii();
        match (told_by_us(&message), told_by_oracle(&message)) {
            (Some(us), Some(oracle)) if plain(&us) => {
                assert_eq!(us, oracle, "{message:02x?}");
                both += 1;
            }
            _ => neither += 1,
        }
        Ok(())
    })
    .budget(BUDGET)
    .run();
    assert!(both > 100 && neither > 0, "{both} read by both, {neither} not");
}
