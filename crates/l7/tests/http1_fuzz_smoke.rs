//! The body of the fuzz target `http1`, for some seconds and on a stable toolchain.

use std::time::Duration;

use l7::http1::fuzzing;

/// Time for each test.
const BUDGET: Duration = Duration::from_millis(2_000);

/// Pieces of requests; what is wrong with some of them is the point.
const REQUESTS: &[&str] = &[
    "GET / HTTP/1.1\r\n",
    "GET /denied HTTP/1.1\r\n",
    "POST /a HTTP/1.1\r\n",
    "HEAD /a HTTP/1.1\r\n",
    "GET /a HTTP/1.0\r\n",
    "GET /a/../denied HTTP/1.1\r\n",
    "GET http://h/denied HTTP/1.1\r\n",
    "GET /%64enied HTTP/1.1\r\n",
    "GET //denied HTTP/1.1\r\n",
    "Host: h\r\n",
    "Host: h\r\n",
    "Host: h\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 0\r\n",
    "Content-Length: 31\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close\r\n",
    "Upgrade: websocket\r\n",
    "Upgrade: h2c\r\n",
    "Connection: Upgrade, HTTP2-Settings\r\n",
    "GET /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: \r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    "Content-Length : 5\r\n",
    "X: y\r\n z\r\n",
    "Transfer-Encoding: x\r\n",
    "\r\n",
    "\r\n",
    "\r\n",
    "\r\n",
    "hello",
    "5\r\nhello\r\n",
    "5;a=b\r\nhello\r\n",
    "0\r\n\r\n",
    "0\r\nX: y\r\n\r\n",
    "0\r\nHost: b\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET /denied HTTP/1.1\r\nHost: h\r\n\r\n",
    "\n",
    "\r",
    "\0",
    " ",
    "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
    "POST /denied HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
];

/// Pieces of responses.
const RESPONSES: &[&str] = &[
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.0 200 OK\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "5\r\nhello\r\n",
    "0\r\n\r\n",
    "0\r\nX: y\r\n\r\n",
    "Content-Length: 5\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
    "\0\0\0\x04\0\0\0\0\0",
    "\r\n",
    "hello",
    "\n",
];

fn pieces(
    u: &mut arbtest::arbitrary::Unstructured<'_>,
    from: &[&str],
    most: u32,
) -> arbtest::arbitrary::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for _ in 0..u.int_in_range(0..=most)? {
        bytes.extend_from_slice(u.choose(from)?.as_bytes());
    }
    if !bytes.is_empty() && u.ratio(1, 3)? {
        let at = u.choose_index(bytes.len())?;
        bytes[at] = u.arbitrary()?;
    }
    Ok(bytes)
}

#[test]
fn whole_and_cut_agree_on_pieces_of_messages() {
    arbtest::arbtest(|u| {
        let client = pieces(u, REQUESTS, 16)?;
        let server = pieces(u, RESPONSES, 8)?;
        fuzzing::check(&client, &server, usize::from(u.arbitrary::<u8>()?));
        Ok(())
    })
    .budget(BUDGET)
    .run();
}

#[test]
fn whole_and_cut_agree_on_mutated_conversations() {
    let requests = "POST /a?b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\nX: y\r\n\r\n\
        GET /denied HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhelloGET /c HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    let responses = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    arbtest::arbtest(|u| {
        let mut sides = [requests.as_bytes().to_vec(), responses.as_bytes().to_vec()];
        for _ in 0..u.int_in_range(0..=4)? {
            let side = &mut sides[usize::from(u.arbitrary::<bool>()?)];
            let at = u.choose_index(side.len())?;
            match u.int_in_range(0..=3)? {
                0 => side[at] = *u.choose(b"\r\n\0 \t:;,0159aZ/.%\x7f\xff")?,
                1 => side.insert(at, *u.choose(b"\r\n\0 \t:;,0159aZ/.%\x7f\xff")?),
                2 if side.len() > 1 => drop(side.remove(at)),
                _ => side[at] = u.arbitrary()?,
            }
        }
        fuzzing::check(&sides[0], &sides[1], usize::from(u.arbitrary::<u8>()?));
        Ok(())
    })
    .budget(BUDGET)
    .run();
}

#[test]
fn whole_and_cut_agree_on_any_bytes() {
    arbtest::arbtest(|u| {
        fuzzing::run(u.bytes(u.len())?);
        Ok(())
    })
    .budget(BUDGET)
    .run();
}

/// A server that answers, in one piece with its no to an offer, the request that waits behind the offer.
#[test]
fn an_answer_that_comes_with_a_no_is_the_race_that_it_is_taken_for() {
    let client = b"GET /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: \r\n\r\n\
        GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let server = b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    (0..7).for_each(|cut| fuzzing::check(client, server, cut));
}
