use super::*;

fn read(fields: &str) -> Result<(Option<u64>, bool, bool, Option<Upgrade>), Anomaly> {
    let head = format!("GET / HTTP/1.1\r\n{fields}\r\n");
    request(head.as_bytes(), head.matches('\n').count() - 1, |request| {
        let facts = &request.facts;
        (facts.content_length, facts.chunked, facts.connection.close, facts.upgrade)
    })
}

#[test]
fn framing_that_is_clear() {
    assert_eq!(read(""), Ok((None, false, false, None)));
    assert_eq!(read("content-LENGTH: 0\r\n"), Ok((Some(0), false, false, None)));
    assert_eq!(read("Content-Length:  0007 \t\r\n"), Ok((Some(7), false, false, None)));
    assert_eq!(read("Transfer-Encoding: Chunked\r\n"), Ok((None, true, false, None)));
    assert_eq!(read("Connection: keep-alive, Close\r\n"), Ok((None, false, true, None)));
    assert_eq!(read("Upgrade: WebSocket\r\n"), Ok((None, false, false, Some(Upgrade::WebSocket))));
    assert_eq!(read("Upgrade: h2c\r\n"), Ok((None, false, false, Some(Upgrade::Http2))));
    for other in [
        "Upgrade: websocket, h2c\r\n",
        "Upgrade: websocket\r\nUpgrade: h2c\r\n",
        "Upgrade: TLS/1.0\r\n",
        "Upgrade:\r\n",
    ] {
        assert_eq!(read(other), Ok((None, false, false, Some(Upgrade::Other))), "{other}");
    }
}

#[test]
fn framing_that_is_not() {
    for (fields, anomaly) in [
        ("Content-Length: 5\r\nContent-Length: 5\r\n", Anomaly::HttpConflictingLength),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", Anomaly::HttpConflictingLength),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Anomaly::HttpConflictingLength),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", Anomaly::HttpConflictingLength),
        ("Content-Length:\r\n", Anomaly::HttpContentLength),
        ("Content-Length: +5\r\n", Anomaly::HttpContentLength),
        ("Content-Length: -5\r\n", Anomaly::HttpContentLength),
        ("Content-Length: 5,5\r\n", Anomaly::HttpContentLength),
        ("Content-Length: 5 5\r\n", Anomaly::HttpContentLength),
        ("Content-Length: 0x5\r\n", Anomaly::HttpContentLength),
        ("Content-Length: 1234567890123456789\r\n", Anomaly::HttpContentLength),
        ("Content_Length: 5\r\n", Anomaly::HttpHeader),
        ("Transfer_Encoding: chunked\r\n", Anomaly::HttpHeader),
        ("Transfer-Encoding: gzip, chunked\r\n", Anomaly::HttpTransferEncoding),
        ("Transfer-Encoding: chunked, chunked\r\n", Anomaly::HttpTransferEncoding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Anomaly::HttpTransferEncoding),
        ("Transfer-Encoding: chunked;q=1\r\n", Anomaly::HttpTransferEncoding),
        ("Transfer-Encoding: \"chunked\"\r\n", Anomaly::HttpTransferEncoding),
        ("Transfer-Encoding: xchunked\r\n", Anomaly::HttpTransferEncoding),
        ("Transfer-Encoding:\r\n", Anomaly::HttpTransferEncoding),
        ("Transfer-Encoding: identity\r\n", Anomaly::HttpTransferEncoding),
        ("Transfer-Encoding : chunked\r\n", Anomaly::HttpHeader),
        ("Content-Length\t: 5\r\n", Anomaly::HttpHeader),
        (" Content-Length: 5\r\n", Anomaly::HttpHeader),
        ("X: a\r\n b\r\n", Anomaly::HttpHeader),
        ("X: a\x7f\r\n", Anomaly::HttpHeader),
        ("no colon\r\n", Anomaly::HttpHeader),
        (": empty\r\n", Anomaly::HttpHeader),
        ("X\u{e9}: a\r\n", Anomaly::HttpHeader),
        ("Connection: Content-Length\r\n", Anomaly::HttpHeader),
        ("Connection: close, host\r\n", Anomaly::HttpHeader),
        ("Host: a\r\nHost: a\r\n", Anomaly::HttpHost),
    ] {
        assert_eq!(read(fields), Err(anomaly), "{fields:?}");
    }
}

#[test]
fn start_lines_that_are_refused() {
    for line in [
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET / HTTP/1.2",
        "GET / HTTP/2.0",
        "GET / http/1.1",
        "GET / HTTP/1.01",
        "GET /",
        "G(T / HTTP/1.1",
        "G\u{e9}T / HTTP/1.1",
        "GET /a b HTTP/1.1",
        "PRI * HTTP/2.0",
    ] {
        let head = format!("{line}\r\nHost: a\r\n\r\n");
        assert_eq!(request(head.as_bytes(), 2, |_| ()), Err(Anomaly::HttpStartLine), "{line}");
    }
    let head = format!("{} / HTTP/1.1\r\n\r\n", "M".repeat(65));
    assert_eq!(request(head.as_bytes(), 1, |_| ()), Err(Anomaly::HttpStartLine));
}

#[test]
fn fields_beyond_the_usual_have_room() {
    for count in [1, 15, 16, 17, 63, 64, 65, 255] {
        let head = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(count));
        let found = request(head.as_bytes(), count + 1, |request| request.headers.len());
        assert_eq!(found, Ok(count));
    }
}

#[test]
fn an_offer_of_http2_is_taken_out() {
    let head =
        b"POST /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, close, HTTP2-Settings\r\nUpgrade: h2c\r\n\
        HTTP2-Settings: AAMAAABk\r\nX:  y \r\nconnection: upgrade\r\n\r\n";
    let mut out = Vec::new();
    request(head, 7, |request| without_upgrade(request, &mut out)).unwrap();
    let expected = b"POST /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX: y\r\n\r\n";
    assert_eq!(out.escape_ascii().to_string(), expected.escape_ascii().to_string());
}

#[test]
fn responses() {
    let status =
        |head: &str| response(head.as_bytes(), head.matches('\n').count() - 1, |response| response.status);
    assert_eq!(status("HTTP/1.1 200 OK\r\n\r\n"), Ok(200));
    assert_eq!(status("HTTP/1.0 204\r\n\r\n").ok(), Some(204));
    assert_eq!(status("HTTP/1.1 599 \r\nA: b\r\n\r\n"), Ok(599));
    assert_eq!(status("HTTP/1.1 600 x\r\n\r\n"), Err(Anomaly::HttpResponse));
    assert_eq!(status("HTTP/1.1 099 x\r\n\r\n"), Err(Anomaly::HttpResponse));
    assert!(status("HTTP/1.1 2000 x\r\n\r\n").is_err());
    assert!(status("HTTP/1.1  200 x\r\n\r\n").is_err());
    assert_eq!(status("HTTP/1.1 200 OK\r\nA : b\r\n\r\n"), Err(Anomaly::HttpHeader));
    assert_eq!(
        status("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        Err(Anomaly::HttpTransferEncoding)
    );
}
