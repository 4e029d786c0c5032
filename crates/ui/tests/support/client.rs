//! A browser's requests, byte by byte, so that wrong ones can be made too.

#![allow(dead_code, reason = "each test uses a part of it")]

use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

pub(crate) const TOKEN: &str = "a-token-for-the-http-tests";

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// Sends these bytes on a connection of its own and reads the answer.
pub(crate) fn raw(to: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(to).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
    // A server that refuses early may not read the rest.
    let _ = stream.write_all(request);
    read(&mut BufReader::new(stream))
}

fn read(reader: &mut BufReader<TcpStream>) -> Answer {
    let (status, headers) = head(reader);
    let mut answer = Answer { status, headers, body: String::new() };
    let length = answer.header("content-length").parse().unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("the body");
    answer.body = String::from_utf8(body).expect("text");
    answer
}

fn head(reader: &mut BufReader<TcpStream>) -> (u16, Vec<(String, String)>) {
    let mut line = String::new();
    reader.read_line(&mut line).expect("a status line");
    let status =
        line.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{line:?}"));
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line).expect("a header");
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.to_owned())),
            None => return (status, headers),
        }
    }
}

/// A request with these header fields besides the host; a body makes it a POST.
pub(crate) fn request(to: SocketAddr, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> Answer {
    let method = if body.is_some() { "POST" } else { "GET" };
    let mut text = format!("{method} {path} HTTP/1.1\r\n");
    if !headers.iter().any(|(name, _)| *name == "host") {
        text.push_str(&format!("host: {to}\r\n"));
    }
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    let body = body.unwrap_or_default();
    text.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    raw(to, text.as_bytes())
}

/// A question of somebody who knows the token.
pub(crate) fn ask(to: SocketAddr, path: &str) -> Answer {
    request(to, path, &[("authorization", &format!("Bearer {TOKEN}"))], None)
}

/// One server-sent event.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) kind: String,
    pub(crate) data: Value,
    pub(crate) at: Instant,
}

/// An open stream.
pub(crate) struct Stream {
    reader: BufReader<TcpStream>,
    pub(crate) status: u16,
}

impl Stream {
    pub(crate) fn open(to: SocketAddr, query: &str) -> Self {
        let mut stream = TcpStream::connect(to).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_millis(500))).expect("set");
        let text = format!(
            "GET /api/stream?{query} HTTP/1.1\r\nhost: {to}\r\nauthorization: Bearer {TOKEN}\r\n\r\n"
        );
        stream.write_all(text.as_bytes()).expect("sent");
        let mut reader = BufReader::new(stream);
        let (status, _) = head(&mut reader);
        Self { reader, status }
    }

    /// What comes within some time. Sizes of chunks and empty lines between are no events.
    pub(crate) fn events(&mut self, time: Duration) -> Vec<Event> {
        let until = Instant::now() + time;
        let (mut events, mut kind, mut line) = (Vec::new(), String::new(), String::new());
        while Instant::now() < until {
            match self.reader.read_line(&mut line) {
                Ok(0) => break,
                // A time-out in the middle of a line leaves its beginning in `line`.
                Err(_) => continue,
                Ok(_) => {}
            }
            if let Some(name) = line.strip_prefix("event: ") {
                name.trim_end().clone_into(&mut kind);
            } else if let Some(data) = line.strip_prefix("data: ") {
                let data = serde_json::from_str(data.trim_end()).expect("JSON");
                events.push(Event { kind: std::mem::take(&mut kind), data, at: Instant::now() });
            }
            line.clear();
        }
        events
    }
}
