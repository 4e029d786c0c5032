//! nginx: the servers behind every gate, and a gate that matches method and path against a map of regular expressions.

use super::gate::{LARGE_LEN, SMALL_BODY};
use super::proxy::{ADMIN_PORT, PORT};
use super::rules::LARGE;
use super::speech::{self, Speech};
use anyhow::{Context, Result};
use sluice::testbed::TestBed;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// Where the gate tells how many requests it has seen.
pub const COUNTERS: &str = "/status";
/// Where the server of HTTP/2 speaks HTTP/1.1 too: nginx as a gate speaks nothing else to what is behind it.
const PLAIN_PORT: u16 = 81;

/// One process, no logs, connections that stay.
fn preamble(folder: &Path) -> String {
    let dir = folder.display();
    format!(
        "user root; daemon off; master_process off; pid {dir}/pid; error_log stderr warn; pcre_jit on;\n\
         events {{ worker_connections 512; }}\n\
         http {{\n  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; keepalive_timeout 600;\n  \
         client_body_temp_path {dir}; proxy_temp_path {dir}; fastcgi_temp_path {dir}; uwsgi_temp_path {dir}; \
         scgi_temp_path {dir};\n  default_type text/plain;\n"
    )
}

/// The server: a short answer without a file, and one large file. Answers its folder, with `nginx.conf` in it.
///
/// # Errors
/// A file cannot be written.
pub fn server(bed: &TestBed, speech: Speech) -> Result<PathBuf> {
    let folder = bed.file("nginx");
    std::fs::create_dir_all(folder.join("www/allowed"))?;
    let large = std::fs::File::create(folder.join(format!("www{LARGE}")))?;
    // A hole is read like any page in memory.
    large.set_len(LARGE_LEN)?;
    let listen = match speech {
        Speech::Http2 => format!("listen {} http2; listen {PLAIN_PORT};", speech::PORT),
        _ => format!("listen {};", speech::PORT),
    };
    let mut text = preamble(&folder);
    let _ok = write!(
        text,
        "  server {{ {listen} root {}/www;\n    location / {{ return 200 \"{SMALL_BODY}\"; }}\n    \
         location = {LARGE} {{ }}\n  }}\n}}\n",
        folder.display()
    );
    std::fs::write(folder.join("nginx.conf"), text).context("write nginx.conf")?;
    Ok(folder)
}

/// The gate in front of a server at this address.
#[must_use]
pub fn config(folder: &Path, server: Ipv4Addr, speech: Speech) -> String {
    let behind = if speech == Speech::Http2 { PLAIN_PORT } else { speech::PORT };
    let mut text = preamble(folder);
    let _ok = write!(
        text,
        "  upstream server {{ server {server}:{behind}; keepalive 64; keepalive_requests 1000000000; }}\n  \
         map \"$request_method $request_uri\" $allowed {{\n    default 0;\n"
    );
    for (method, path) in speech.patterns() {
        let _ok = writeln!(text, "    \"~^{method} (?:{path})$\" 1;");
    }
    let listen = if speech == Speech::Http1 { "" } else { " http2" };
    let refused = if speech == Speech::Grpc { "error_page 403 =200 @refused; " } else { "" };
    let pass = if speech == Speech::Grpc {
        "grpc_pass grpc://server; grpc_read_timeout 600s;"
    } else {
        "proxy_pass http://server; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_max_temp_file_size 0;"
    };
    let _ok = write!(
        text,
        "  }}\n  server {{\n    listen {PORT}{listen};\n    {refused}if ($allowed = 0) {{ return 403; }}\n    \
         location / {{ {pass} }}\n    \
         location @refused {{ default_type application/grpc; add_header grpc-status 7 always; return 200; }}\n  }}\n  \
         server {{ listen 127.0.0.1:{ADMIN_PORT}; location = {COUNTERS} {{ stub_status; }} }}\n}}\n"
    );
    text
}

/// The third number of the line below `server accepts handled requests`.
#[must_use]
pub fn count(status: &str) -> Option<u64> {
    let line = status.lines().skip_while(|line| !line.contains("requests")).nth(1)?;
    line.split_whitespace().nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_not_connections() {
        let text = "Active connections: 2 \nserver accepts handled requests\n 7 8 4711 \nReading: 0 Writing: 1 Waiting: 1 \n";
        assert_eq!((count(text), count("Active connections: 2")), (Some(4711), None));
    }

    #[test]
    fn every_pattern_is_for_the_whole_path() {
        let text = config(Path::new("/tmp/x"), Ipv4Addr::LOCALHOST, Speech::Http1);
        assert_eq!(text.matches("\"~^GET (?:/").count(), Speech::Http1.patterns().len());
        assert!(text.contains(r#""~^GET (?:/api/v1/search\?q=[^&]*)$" 1;"#), "{text}");
    }
}
