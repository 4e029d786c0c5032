//! HAProxy as a gate: method and path with its query against access lists; one thread.

use super::proxy::{ADMIN_PORT, PORT};
use super::speech::{self, Speech};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// Where it tells its counters.
pub const COUNTERS: &str = "/stats;csv";

/// The configuration for a server at this address.
#[must_use]
pub fn config(server: Ipv4Addr, speech: Speech) -> String {
    let protocol = if speech == Speech::Http1 { "" } else { " proto h2" };
    let mut text = format!(
        "global\n  nbthread 1\n  maxconn 1024\ndefaults\n  mode http\n  http-reuse always\n  timeout connect 5s\n  \
         timeout client 600s\n  timeout server 600s\n\
         frontend gate\n  bind 0.0.0.0:{PORT}{protocol}\n"
    );
    let mut methods: Vec<&str> = Vec::new();
    for (method, path) in speech.patterns() {
        // Between single quotes a backslash is a backslash.
        let _ok = writeln!(text, "  acl {method}_path pathq -m reg '^(?:{path})$'");
        if !methods.contains(&method) {
            methods.push(method);
        }
    }
    let allowed: Vec<String> =
        methods.iter().map(|method| format!("{{ method {method} }} {method}_path")).collect();
    let refusal = if speech == Speech::Grpc {
        "return status 200 content-type application/grpc hdr grpc-status 7"
    } else {
        "deny deny_status 403"
    };
    let _ok = write!(
        text,
        "  http-request {refusal} unless {}\n  default_backend server\n\
         backend server\n  server one {server}:{}{protocol}\n\
         frontend admin\n  bind 127.0.0.1:{ADMIN_PORT}\n  stats enable\n  stats uri /stats\n",
        allowed.join(" || "),
        speech::PORT
    );
    text
}

/// Answers of the frontend that say success, from its statistics as CSV, whose first line names the columns.
#[must_use]
pub fn count(csv: &str) -> Option<u64> {
    let column = csv.lines().next()?.split(',').position(|name| name == "hrsp_2xx")?;
    csv.lines().find(|line| line.starts_with("gate,FRONTEND,"))?.split(',').nth(column)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn successful_answers_are_counted_by_their_column() {
        let csv = "# pxname,svname,scur,hrsp_1xx,hrsp_2xx\ngate,FRONTEND,1,0,4711\nserver,BACKEND,1,0,7\n";
        assert_eq!((count(csv), count("gate,FRONTEND,1")), (Some(4711), None));
    }

    #[test]
    fn both_sides_of_the_gate_speak_the_protocol() {
        let text = config(Ipv4Addr::LOCALHOST, Speech::Grpc);
        assert_eq!(text.matches(" proto h2").count(), 2);
        assert!(
            text.contains("hdr grpc-status 7") && text.contains("unless { method POST } POST_path"),
            "{text}"
        );
    }
}
