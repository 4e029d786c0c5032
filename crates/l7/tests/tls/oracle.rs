//! Our reader beside that of rustls: what both take has the same name to both.

use std::time::Duration;

use l7::Side;
use l7::testing::{Recorder, Splice};
use l7::tls::Tls;
use rustls::server::Acceptor;

use crate::support::{Hello, conversations, records, server_name};

/// Time for damaged hellos.
const BUDGET: Duration = Duration::from_millis(1_500);

/// The name that rustls reads; `None`: it refuses the hello, or wants more.
fn told_by_oracle(mut bytes: &[u8]) -> Option<Option<String>> {
    let mut acceptor = Acceptor::default();
    while !bytes.is_empty() {
        acceptor.read_tls(&mut bytes).ok()?;
        if let Some(accepted) = acceptor.accept().ok()? {
            return Some(accepted.client_hello().server_name().map(str::to_ascii_lowercase));
        }
    }
    None
}

/// The name that we read; `None`: we refuse the hello, or want more.
fn told_by_us(bytes: &[u8]) -> Option<Option<String>> {
    let name = std::rc::Rc::new(std::cell::RefCell::new(None));
    let seen = name.clone();
    let judge = Recorder {
        tls: Box::new(move |hello| {
            *seen.borrow_mut() = Some(hello.server_name.map(str::to_owned));
            true
        }),
        ..Recorder::default()
    };
    Splice::new(Tls::new(), judge).send(Side::Client, bytes);
    name.take()
}

fn hellos() -> Vec<Vec<u8>> {
    let mut all: Vec<_> = conversations().iter().map(|one| one.said[0].1.clone()).collect();
    for name in [&b"a.test"[..], b"X-1.Example.com", b"a_b.test"] {
        let hello = Hello::with(&[(10, vec![0, 2, 0, 29]), server_name(name)]);
        all.push(hello.record());
        all.push(records(&hello.message(), 33));
    }
    all
}

#[test]
fn whole_hellos_have_the_same_name() {
    for hello in hellos() {
        let ours = told_by_us(&hello).expect("a hello");
        if let Some(oracle) = told_by_oracle(&hello) {
            assert_eq!(ours, oracle);
        } else {
            // The behaviour for which TLS 1.2 needs a feature of rustls that is not built in.
            assert_eq!(ours.as_deref(), Some("api.example.com"));
        }
    }
}

#[test]
fn damaged_hellos_have_the_same_name_or_one_refuses() {
    let seeds = hellos();
    let (mut both, mut neither) = (0u32, 0u32);
    arbtest::arbtest(|u| {
        let mut bytes = u.choose(&seeds)?.clone();
        for _ in 0..u.int_in_range(1..=3)? {
            let at = u.choose_index(bytes.len())?;
            match u.int_in_range(0..=2)? {
                0 => bytes[at] = u.arbitrary()?,
                1 => bytes[at] ^= 1 << u.int_in_range(0..=7)?,
                _ => bytes[at] ^= 0x20,
            }
        }
        match (told_by_us(&bytes), told_by_oracle(&bytes)) {
            (Some(ours), Some(oracle)) => {
                // An address is a name to us, and nothing to rustls.
                let address = ours.as_deref().is_some_and(|name| name.parse::<core::net::IpAddr>().is_ok());
                assert!(ours == oracle || address, "{ours:?} and {oracle:?} of {bytes:02x?}");
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
