//! Who may ask: a secret, sessions made with it, and the checks that keep other web sites out.
//!
//! - Every request names a host that is an address, `localhost`, or one that was configured. A name that an attacker
//!   points at this machine (DNS rebinding) is none of these.
//! - A request that says where it comes from (`Origin`, `Sec-Fetch-Site`) comes from this page itself.
//! - The token travels once, in a request body, and becomes a random session in a cookie that scripts cannot read and
//!   that other sites cannot send. Programs send the token itself, as `Authorization: Bearer`.

use crate::error::UiError;
use axum::http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, Method};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq as _;

/// Shortest token that is taken.
pub(crate) const MIN_TOKEN: usize = 16;

/// Longest token.
const MAX_TOKEN: usize = 512;

/// Sessions at a time; the oldest ends when one more begins.
const MAX_SESSIONS: usize = 64;

/// Life of a session.
pub(crate) const SESSION: Duration = Duration::from_secs(12 * 3600);

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The secret.
#[derive(Clone)]
pub struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// A token somebody chose.
    ///
    /// # Errors
    /// When it is short or has characters that do not fit in an address.
    pub fn new(text: &str) -> Result<Self, UiError> {
        let plain = |c: u8| c.is_ascii_alphanumeric() || b"-_.~".contains(&c);
        let fits = (MIN_TOKEN..=MAX_TOKEN).contains(&text.len()) && text.bytes().all(plain);
        if fits { Ok(Self(text.to_owned())) } else { Err(UiError::WeakToken) }
    }

    /// A fresh one of 192 random bits.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn random() -> Result<Self, UiError> {
        let mut bytes = [0_u8; 24];
        getrandom::fill(&mut bytes).map_err(|error| UiError::Random(error.to_string()))?;
        Ok(Self(hex(&bytes)))
    }

    /// The secret itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Compares in a time that says nothing about where they differ.
    pub(crate) fn is(&self, given: &str) -> bool {
        self.0.as_bytes().ct_eq(given.as_bytes()).into()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Why a request is refused.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// 401.
    NoToken,
    /// 403.
    Host,
    /// 403.
    Origin,
}

/// Checks requests.
#[derive(Debug)]
pub(crate) struct Guard {
    token: Token,
    hosts: Vec<String>,
    sessions: Mutex<VecDeque<(Token, Instant)>>,
}

impl Guard {
    /// `hosts`: names that browsers may use besides addresses and `localhost`.
    pub(crate) fn new(token: Token, hosts: &[String]) -> Self {
        let hosts = hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        Self { token, hosts, sessions: Mutex::default() }
    }

    /// Whether the request is meant for this page.
    pub(crate) fn host(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let host = text(headers, &HOST).ok_or(Refusal::Host)?;
        let (name, _) = split_port(host);
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        let known = bare.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.hosts.iter().any(|host| host.eq_ignore_ascii_case(name));
        if known { Ok(()) } else { Err(Refusal::Host) }
    }

    /// Whether the request comes from this page, as far as it says.
    pub(crate) fn origin(method: &Method, headers: &HeaderMap) -> Result<(), Refusal> {
        let host = text(headers, &HOST).unwrap_or_default();
        if headers.contains_key(ORIGIN) {
            let origin = text(headers, &ORIGIN).unwrap_or_default();
            let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            if authority != Some(host) {
                return Err(Refusal::Origin);
            }
        } else if *method != Method::GET && *method != Method::HEAD && headers.contains_key(COOKIE) {
            // Browsers name the origin of everything that changes something.
            return Err(Refusal::Origin);
        }
        match text(headers, &SEC_FETCH_SITE) {
            Some("same-origin" | "none") => Ok(()),
            None if !headers.contains_key(&SEC_FETCH_SITE) => Ok(()),
            _ => Err(Refusal::Origin),
        }
    }

    /// Whether the request knows the token or a session.
    pub(crate) fn known(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        if let Some(bearer) = text(headers, &AUTHORIZATION) {
            let given = bearer.strip_prefix("Bearer ").unwrap_or_default();
            return if self.token.is(given) { Ok(()) } else { Err(Refusal::NoToken) };
        }
        let given = session(headers).ok_or(Refusal::NoToken)?;
        let now = Instant::now();
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        // All are looked at, so that time does not tell which one was near.
        let hits = sessions.iter().filter(|(id, until)| id.is(given) && *until > now).count();
        if hits > 0 { Ok(()) } else { Err(Refusal::NoToken) }
    }

    /// Exchanges the token for the value of a `Set-Cookie` header.
    pub(crate) fn begin(&self, token: &str, headers: &HeaderMap) -> Result<String, Refusal> {
        if !self.token.is(token.trim()) {
            return Err(Refusal::NoToken);
        }
        let id = Token::random().map_err(|_| Refusal::NoToken)?;
        let cookie = cookie(headers, id.reveal(), SESSION.as_secs());
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        sessions.retain(|(_, until)| *until > now);
        if sessions.len() == MAX_SESSIONS {
            sessions.pop_front();
        }
        sessions.push_back((id, now + SESSION));
        Ok(cookie)
    }

    /// Ends the session of a request; answers the cookie that takes it away.
    pub(crate) fn end(&self, headers: &HeaderMap) -> String {
        if let Some(given) = session(headers) {
            let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            sessions.retain(|(id, _)| !id.is(given));
        }
        cookie(headers, "", 0)
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut all = headers.get_all(name).iter();
    let first = all.next()?.to_str().ok()?;
    // Two of a kind mean that somebody tries to be read in two ways.
    if all.next().is_some() { None } else { Some(first) }
}

fn split_port(host: &str) -> (&str, &str) {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => {
            (name, port)
        }
        _ => (host, ""),
    }
}

/// Cookies ignore ports, and several nodes may be reached through tunnels to one machine: the port is in the name.
fn cookie_name(headers: &HeaderMap) -> String {
    let port = text(headers, &HOST).map_or("", |host| split_port(host).1);
    format!("sluice_ui_{}", if port.is_empty() { "0" } else { port })
}

fn cookie(headers: &HeaderMap, id: &str, seconds: u64) -> String {
    let secure = text(headers, &ORIGIN).is_some_and(|origin| origin.starts_with("https://"));
    let name = cookie_name(headers);
    let secure = if secure { "; Secure" } else { "" };
    format!("{name}={id}; HttpOnly; SameSite=Strict; Path=/; Max-Age={seconds}{secure}")
}

fn session(headers: &HeaderMap) -> Option<&str> {
    let wanted = cookie_name(headers);
    let pairs = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    pairs.flat_map(|value| value.split(';')).find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == wanted).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))
        };
        pairs.iter().map(pair).collect()
    }

    fn guard() -> Guard {
        Guard::new(Token::new("0123456789abcdef").expect("long enough"), &["node1.example.com".into()])
    }

    #[test]
    fn hosts_that_rebinding_could_use_are_refused() {
        let host = |host: &str| guard().host(&headers(&[("host", host)])).is_ok();
        for good in [
            "127.0.0.1:12000",
            "localhost:8080",
            "LOCALHOST",
            "[::1]:12000",
            "[::1]",
            "192.0.2.7",
            "node1.example.com:443",
        ] {
            assert!(host(good), "{good}");
        }
        for bad in [
            "evil.example",
            "localhost.evil.example:12000",
            "127.0.0.1.evil.example",
            "",
            "node1.example.com.",
            "x[::1]",
        ] {
            assert!(!host(bad), "{bad}");
        }
        assert_eq!(guard().host(&HeaderMap::new()), Err(Refusal::Host));
        let mut two = headers(&[("host", "127.0.0.1")]);
        two.append(HOST, HeaderValue::from_static("127.0.0.1"));
        assert_eq!(guard().host(&two), Err(Refusal::Host));
    }

    #[test]
    fn other_sites_are_refused() {
        let ok = |method: Method, pairs: &[(&'static str, &str)]| {
            let mut all = vec![("host", "127.0.0.1:12000")];
            all.extend(pairs);
            Guard::origin(&method, &headers(&all)).is_ok()
        };
        assert!(ok(Method::GET, &[]));
        assert!(ok(Method::POST, &[("origin", "http://127.0.0.1:12000"), ("cookie", "a=b")]));
        assert!(ok(Method::GET, &[("sec-fetch-site", "same-origin")]));
        assert!(ok(Method::POST, &[]));
        assert!(!ok(Method::POST, &[("cookie", "a=b")]));
        assert!(!ok(Method::POST, &[("origin", "null")]));
        assert!(!ok(Method::GET, &[("origin", "http://127.0.0.1:9000")]));
        assert!(!ok(Method::GET, &[("origin", "ftp://127.0.0.1:12000")]));
        assert!(!ok(Method::GET, &[("sec-fetch-site", "cross-site")]));
        assert!(!ok(Method::GET, &[("sec-fetch-site", "same-site")]));
    }

    #[test]
    fn sessions_begin_with_the_token_and_end() {
        let guard = guard();
        let here = [("host", "localhost:12000")];
        assert_eq!(guard.begin("0123456789abcdeX", &headers(&here)), Err(Refusal::NoToken));
        assert_eq!(guard.known(&headers(&here)), Err(Refusal::NoToken));
        let set = guard.begin("0123456789abcdef", &headers(&here)).expect("the token");
        assert!(set.ends_with("; HttpOnly; SameSite=Strict; Path=/; Max-Age=43200"), "{set}");
        let pair = set.split(';').next().expect("a pair").to_owned();
        assert!(pair.starts_with("sluice_ui_12000="), "{pair}");
        let with = format!("other=1; {pair}");
        assert_eq!(guard.known(&headers(&[here[0], ("cookie", &with)])), Ok(()));
        // The cookie of one port is nothing on another.
        assert_eq!(
            guard.known(&headers(&[("host", "localhost:1"), ("cookie", &with)])),
            Err(Refusal::NoToken)
        );
        assert!(guard.end(&headers(&[here[0], ("cookie", &with)])).contains("Max-Age=0"));
        assert_eq!(guard.known(&headers(&[here[0], ("cookie", &with)])), Err(Refusal::NoToken));
        let bearer = |token: &str| guard.known(&headers(&[("authorization", &format!("Bearer {token}"))]));
        assert_eq!(bearer("0123456789abcdef"), Ok(()));
        for wrong in ["", "0123456789abcde", "0123456789abcdefg"] {
            assert_eq!(bearer(wrong), Err(Refusal::NoToken));
        }
        let secure = headers(&[("host", "node1.example.com"), ("origin", "https://node1.example.com")]);
        assert!(guard.begin("0123456789abcdef", &secure).expect("the token").ends_with("; Secure"));
    }

    #[test]
    fn sessions_are_bounded() {
        let guard = guard();
        let here = headers(&[("host", "localhost")]);
        for _ in 0..MAX_SESSIONS + 5 {
            guard.begin("0123456789abcdef", &here).expect("the token");
        }
        assert_eq!(guard.sessions.lock().expect("no panic").len(), MAX_SESSIONS);
    }

    #[test]
    fn tokens_are_strong_or_refused() {
        assert!(Token::new("short").is_err());
        assert!(Token::new("0123456789abc def").is_err());
        let (one, two) = (Token::random().expect("random"), Token::random().expect("random"));
        assert_eq!(one.reveal().len(), 48);
        assert_ne!(one.reveal(), two.reveal());
        assert_eq!(format!("{one:?}"), "Token");
    }
}
