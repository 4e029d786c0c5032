use super::*;
use l7::http::{Header, HttpRequest};

fn round_trip(detail: Detail<'_>) -> (usize, Message<'static>) {
    let mut buffer = vec![0; MAX_ENCODED];
    let len = encode(detail, &mut buffer).expect("has room");
    (len, decode(&buffer[..len]).expect("reads back").into_owned())
}

#[test]
fn an_http_request_keeps_what_helps_and_no_secrets() {
    let headers = [
        Header { name: b"Authorization", value: b"Bearer secret" },
        Header { name: b"User-Agent", value: b"curl/8" },
        Header { name: b"cookie", value: b"a=b" },
        Header { name: b"X-Request-ID", value: b"42" },
    ];
    let (_, message) = round_trip(Detail::HttpRequest(&HttpRequest {
        version: Version::Http11,
        method: b"GET",
        path: b"/a?b=c",
        normal_path: b"/a?b=c",
        host: b"api:8080",
        headers: &headers,
        stream: 0,
    }));
    assert_eq!(
        message,
        Message::HttpRequest {
            version: Version::Http11,
            method: "GET".into(),
            host: "api:8080".into(),
            path: "/a?b=c".into(),
            headers: vec![("user-agent", "curl/8".into()), ("x-request-id", "42".into())],
        }
    );
}

#[test]
fn every_message_at_its_limits_fits() {
    let (long, name) = ("x".repeat(70_000), "n".repeat(5_000));
    let headers: Vec<_> = (0..500)
        .map(|i| Header { name: KEPT_HEADERS[i % KEPT_HEADERS.len()].as_bytes(), value: long.as_bytes() })
        .collect();
    let names = vec![name.as_str(); 300];
    let addresses = vec![IpAddr::V6([0xff; 16].into()); 300];
    let query = dns::Query { id: 0, name: &name, qtype: u16::MAX };
    let text = long.as_bytes();
    let request = HttpRequest {
        version: Version::Http2,
        method: text,
        path: text,
        normal_path: text,
        host: text,
        headers: &headers,
        stream: u32::MAX,
    };
    let response = http::HttpResponse {
        version: Version::Http2,
        status: u16::MAX,
        latency_ns: u64::MAX,
        method: text,
        path: text,
        host: text,
        grpc_status: Some(u32::MAX),
        stream: 0,
    };
    let answer = dns::Answer {
        query,
        rcode: u8::MAX,
        addresses: &addresses,
        cnames: &names,
        ttl: u32::MAX,
        latency_ns: u64::MAX,
    };
    let kafka = KafkaRequest {
        api_key: i16::MIN,
        api_version: i16::MIN,
        correlation_id: i32::MIN,
        client_id: &long,
        topics: &names,
    };
    let answered = KafkaResponse {
        api_key: i16::MIN,
        api_version: i16::MIN,
        correlation_id: i32::MIN,
        topic: &long,
        error_code: i16::MIN,
        latency_ns: u64::MAX,
    };
    let hello = TlsHello { server_name: Some(&long), encrypted: true };
    for detail in [
        Detail::HttpRequest(&request),
        Detail::HttpResponse(&response),
        Detail::DnsQuery(&query),
        Detail::DnsAnswer(&answer),
        Detail::KafkaRequest(&kafka),
        Detail::KafkaResponse(&answered),
        Detail::TlsHello(&hello),
    ] {
        let (len, message) = round_trip(detail);
        assert!(len <= MAX_ENCODED, "{len}");
        assert!(format!("{message:?}").contains('…'), "cuts are marked");
    }
    for anomaly in Anomaly::ALL {
        assert_eq!(round_trip(Detail::Anomaly(*anomaly)).1, Message::Anomaly(*anomaly));
    }
}

#[test]
fn what_is_no_utf8_is_marked_and_cuts_are_clean() {
    let mut path = vec![b'a'; 2047];
    path.extend("é and more".as_bytes());
    let request = HttpRequest {
        version: Version::Http10,
        method: b"G\xffT",
        path: &path,
        normal_path: b"/",
        host: b"",
        headers: &[],
        stream: 0,
    };
    let (_, message) = round_trip(Detail::HttpRequest(&request));
    let Message::HttpRequest { method, path, .. } = message else { panic!("{message:?}") };
    assert_eq!(method, "G\u{fffd}T");
    assert_eq!(path, "a".repeat(2047) + "…");
}

#[test]
fn bytes_that_are_no_message_are_none() {
    let mut buffer = vec![0; MAX_ENCODED];
    for name in ["http-request", "dns-cname", "kafka-request", "tls-hello"] {
        let len = crate::testing::with_detail(name, |d| encode(d, &mut buffer)).expect("has room");
        for cut in 0..len {
            assert_eq!(decode(&buffer[..cut]), None, "{name} cut at {cut}");
        }
        assert_eq!(decode(&buffer[..=len]), None, "{name} with a byte too many");
        for at in 0..len {
            for bit in 0..8 {
                let mut bytes = buffer[..len].to_vec();
                bytes[at] ^= 1 << bit;
                // Some are messages, some are not; none is a panic or an allocation beyond the input.
                let _ = decode(&bytes);
            }
        }
    }
    assert_eq!(decode(&[7, u8::MAX]), None, "an anomaly that there is not");
    assert_eq!(decode(&[3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]), None);
}

#[test]
fn no_room_is_none() {
    let mut small = [0; 16];
    assert_eq!(crate::testing::with_detail("http-request", |d| encode(d, &mut small)), None);
}
