//! What is read from a hello, and what is no hello.

use l7::testing::{Event, Recorder, Splice, play};
use l7::tls::{MAX_HELLO, MAX_HELLO_STREAM, Tls, client_hello};
use l7::{Anomaly, Side};

use crate::support::{
    Hello, allowed, assert_anomaly, encrypted, first, handshake, open, record, records, server_name, vector16,
};

#[test]
fn names() {
    let long_label = "a".repeat(63);
    let longest = format!("{long_label}.{long_label}.{long_label}.{}", "b".repeat(61));
    for (sent, read) in [
        ("example.com", "example.com"),
        ("API.Example.COM", "api.example.com"),
        ("localhost", "localhost"),
        ("_x-1.a", "_x-1.a"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("192.0.2.1", "192.0.2.1"),
        (&longest, &longest),
    ] {
        let bytes = Hello::named(sent.as_bytes()).record();
        let outcome = first(&bytes);
        assert_eq!(outcome.told, [allowed(Some(read), false)]);
        assert_eq!((outcome.end, outcome.to_server), (None, bytes));
    }
}

#[test]
fn what_is_no_name() {
    let (long_label, long_name) = ("a".repeat(64), "a.".repeat(126) + "aa");
    assert_eq!(long_name.len(), 254);
    for name in [
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "a b",
        "a/b",
        "*.a",
        "a:443",
        "a\0",
        "a\0.b",
        "b\u{fc}cher",
        "a,b",
        "[::1]",
        &long_label,
        &long_name,
    ] {
        assert_anomaly(&Hello::named(name.as_bytes()).record(), Anomaly::TlsHello, name);
    }
}

#[test]
fn what_is_no_server_name_extension() {
    let one = [&[0][..], &vector16(b"a.test")].concat();
    let two = [&one[..], &one].concat();
    let other_type = [&[1][..], &vector16(b"a.test")].concat();
    let with = |data: Vec<u8>| Hello::with(&[(0, data)]).record();
    for (what, bytes) in [
        ("empty", with(vec![])),
        ("an empty list", with(vector16(&[]))),
        ("two names", with(vector16(&two))),
        ("a type that is no host name", with(vector16(&other_type))),
        ("a name and another type", with(vector16(&[&one[..], &other_type].concat()))),
        ("a list longer than its data", with([&[0, 10][..], &one].concat())),
        ("a list shorter than its data", with([&vector16(&one)[..], &[0]].concat())),
        ("a name longer than its list", with(vec![0, 4, 0, 0, 2, b'a'])),
        ("twice the extension", Hello::with(&[server_name(b"a.test"), server_name(b"b.test")]).record()),
        ("twice, not side by side", {
            Hello::with(&[server_name(b"a.test"), (16, vec![]), server_name(b"a.test")]).record()
        }),
        ("twice an encrypted hello", Hello::with(&[encrypted(), encrypted()]).record()),
    ] {
        assert_anomaly(&bytes, Anomaly::TlsHello, what);
    }
}

#[test]
fn without_a_name_and_encrypted() {
    for (extensions, name, is_encrypted) in [
        (vec![], None, false),
        (vec![encrypted()], None, true),
        (vec![encrypted(), server_name(b"cover.test")], Some("cover.test"), true),
        (vec![server_name(b"cover.test"), encrypted()], Some("cover.test"), true),
    ] {
        assert_eq!(first(&Hello::with(&extensions).record()).told, [allowed(name, is_encrypted)]);
    }
    let old = Hello { extensions: None, ..Hello::with(&[]) };
    assert_eq!(first(&old.record()).told, [allowed(None, false)], "before extensions");
}

#[test]
fn the_shape_of_a_hello() {
    let usual = Hello::named(b"a.test");
    for (what, hello) in [
        ("a session id that is too long", Hello { session: vec![0; 33], ..usual.clone() }),
        ("no ciphers", Hello { ciphers: vec![], ..usual.clone() }),
        ("half a cipher", Hello { ciphers: vec![0x13, 1, 0x13], ..usual.clone() }),
        ("no compression", Hello { compressions: vec![], ..usual.clone() }),
        ("bytes behind the extensions", Hello { trailing: vec![0], ..usual.clone() }),
    ] {
        assert_anomaly(&hello.record(), Anomaly::TlsHello, what);
    }
    // Each length in the hello, one more or less.
    let message = usual.message();
    let body = &message[4..];
    assert!(client_hello(body, |hello| hello.server_name == Some("a.test")) == Some(true));
    for len in 0..body.len() {
        let read = client_hello(&body[..len], |hello| hello.server_name.map(str::to_owned));
        let without_extensions = 2 + 32 + 33 + 6 + 2;
        let expected = (len == without_extensions).then_some(None);
        assert_eq!(read, expected, "cut at {len}");
    }
}

#[test]
fn over_records_and_segments() {
    let hello = Hello::named(b"api.example.com");
    let message = hello.message();
    for len in [1, 2, 3, 4, 5, 7, 50, message.len() - 1] {
        let bytes = records(&message, len);
        let outcome = first(&bytes);
        assert_eq!(outcome.told, [allowed(Some("api.example.com"), false)], "records of {len}");
        assert_eq!(outcome.to_server, bytes);
    }
    let halves = records(&message, 60);
    assert_anomaly(
        &[&halves[..65], &record(22, &[]), &halves[65..]].concat(),
        Anomaly::TlsHello,
        "an empty record between",
    );
    assert_anomaly(
        &[&halves[..65], &record(21, &[1, 0])[..]].concat(),
        Anomaly::TlsNotTls,
        "an alert between",
    );
    assert_anomaly(
        &record(22, &[&message[..], &handshake(1, &[0])[..]].concat()),
        Anomaly::TlsHello,
        "another message in its record",
    );
}

/// With the key shares of several post-quantum groups, and one of exactly the most that is read.
#[test]
fn large_hellos() {
    let padding = |len| Hello::with(&[server_name(b"a.test"), encrypted(), (51, vec![0; len])]).message();
    let most = MAX_HELLO - padding(0).len() + 4;
    for (len, record_len) in [(1_216, 16_384), (3_000, 1_000), (most, 16_384), (most, 10_000), (most, 60)] {
        let message = padding(len);
        let bytes = records(&message, record_len);
        let script = [Event::Send(Side::Client, bytes.clone())];
        for step in [1, 536, 1_448, bytes.len()] {
            let outcome = play(open(), &script, |_, len| (step..len).step_by(step).collect());
            assert_eq!(outcome.told, [allowed(Some("a.test"), true)], "{len} in segments of {step}");
            assert_eq!(outcome.to_server, bytes);
        }
    }
    assert_anomaly(&records(&padding(most + 1), 10_000)[..100], Anomaly::TlsHelloTooLarge, "one byte more");
    let small = records(&padding(most), 20);
    assert!(small.len() > MAX_HELLO_STREAM);
    let outcome = play(open(), &[Event::Send(Side::Client, small)], |_, _| vec![]);
    assert_eq!(outcome.end, Some(Anomaly::TlsHelloTooLarge.into()), "in records that are too small");
}

#[test]
fn what_is_no_tls() {
    let hello = Hello::named(b"a.test").record();
    for (what, bytes, anomaly) in [
        ("HTTP", &b"GET / HTTP/1.1\r\n"[..], Anomaly::TlsNotTls),
        ("SSH", b"SSH-2.0-x\r\n", Anomaly::TlsNotTls),
        ("a hello of SSL 2", &[0x80, 0x2e, 1, 3, 1], Anomaly::TlsNotTls),
        ("PostgreSQL that asks for TLS", &[0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f], Anomaly::TlsNotTls),
        ("mail that asks for TLS", b"EHLO a\r\nSTARTTLS\r\n", Anomaly::TlsNotTls),
        ("an alert first", &[21, 3, 1, 0, 2, 1, 0], Anomaly::TlsNotTls),
        ("application data first", &[23, 3, 3, 0, 2, 1, 0], Anomaly::TlsNotTls),
        ("another major version", &[22, 2, 1, 0, 2, 1, 0], Anomaly::TlsNotTls),
        ("a hello of a server", &[22, 3, 1, 0, 5, 2, 0, 0, 1, 0], Anomaly::TlsHello),
        ("an empty record", &[22, 3, 1, 0, 0], Anomaly::TlsHello),
        ("a record beyond what a record has", &[22, 3, 1, 0x40, 1], Anomaly::TlsHello),
        ("a hello beyond what is read", &[22, 3, 1, 0x40, 0, 1, 0, 0x40, 1], Anomaly::TlsHelloTooLarge),
    ] {
        assert_anomaly(bytes, anomaly, what);
    }
    for at in 0..hello.len() {
        let outcome = play(open(), &[Event::Send(Side::Client, hello[..at].to_vec())], |_, _| vec![]);
        assert!(
            outcome.to_server.is_empty() && outcome.told.is_empty() && outcome.end.is_none(),
            "cut at {at}"
        );
    }
}

/// Whatever one byte is changed to, nothing panics, and nothing leaves without a judgement.
#[test]
fn one_byte_changed() {
    let hello = Hello::with(&[server_name(b"api.example.com"), encrypted()]);
    for bytes in [hello.record(), records(&hello.message(), 40)] {
        for at in 0..bytes.len() {
            for value in 0..=255 {
                let mut bytes = bytes.clone();
                bytes[at] = value;
                let judge = Recorder::default();
                let mut splice = Splice::new(Tls::new(), judge);
                splice.send(Side::Client, &bytes);
                let outcome = splice.outcome();
                assert!(outcome.to_server.is_empty() || outcome.told.len() == 1, "byte {at} is {value}");
            }
        }
    }
}
