use super::*;
use l7::http::{Header, HttpRequest};

fn round_trip(detail: Detail<'_>) -> (usize, Message) {
    let mut buffer = vec![0; MAX_ENCODED];
    let len = encode(detail, &mut buffer).expect("has room");
    (len, decode(&buffer[..len]).expect("reads back"))
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
            headers: vec![("user-agent".into(), "curl/8".into()), ("x-request-id".into(), "42".into())],
        }
    );
}
