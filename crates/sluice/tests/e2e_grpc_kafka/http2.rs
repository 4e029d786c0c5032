//! HTTP/2 between nginx, Node, nghttp2's clients and curl.

use crate::kit;
use crate::support::Lab;
use serde_json::{Value, json};
use sluice::testbed::{exec, wait_for_port};
use std::time::Duration;

const PORT: u16 = 80;
const RULES: &str = "http: [{method: GET, path: \"/public/.*\"}, {method: POST, path: \"/public/.*\"}]";

/// client, server and the programs named, or `None`.
fn pods(test: &str, programs: &[&str]) -> Option<Lab> {
    for program in programs {
        if exec::find_program(program).is_none() {
            kit::skip(test, &format!("{program} (scripts/setup.sh test installs it)"));
            return None;
        }
    }
    let lab = kit::pods(test, &[])?;
    lab.write_policy("server", &kit::policy(&[(PORT, RULES)])).expect("written");
    Some(lab)
}

/// nginx that speaks HTTP/2 with prior knowledge, says what it was asked, and ends a connection in order after 1,000
/// requests.
fn nginx(lab: &mut Lab, http2: &str) {
    nginx_on(lab, PORT, http2, 1_000);
}

fn nginx_on(lab: &mut Lab, port: u16, http2: &str, requests: u32) {
    let folder = lab.file("nginx");
    std::fs::create_dir_all(&folder).expect("a folder");
    let dir = folder.display();
    let text = format!(
        "daemon off; master_process off; pid {dir}/pid; error_log stderr warn;\nevents {{ worker_connections 1000; }}\n\
         http {{\n  log_format executed '$status $request_uri'; access_log {dir}/access.log executed;\n  \
         client_body_temp_path {dir}; proxy_temp_path {dir}; fastcgi_temp_path {dir}; uwsgi_temp_path {dir};\n  \
         scgi_temp_path {dir}; keepalive_requests {requests};\n  \
         http2_max_concurrent_streams 5000;\n  \
         server {{ listen {port}{http2}; listen [::]:{port}{http2}; default_type text/plain;\n    \
         location / {{ return 200 \"$request_method $uri\\n\"; }} }}\n}}\n"
    );
    std::fs::write(folder.join("nginx.conf"), text).expect("written");
    let mut command = lab.pod("lab/server").command("nginx");
    command.args(["-e", "stderr", "-p"]).arg(&folder).arg("-c").arg(folder.join("nginx.conf"));
    lab.start_program("nginx", &mut command);
    wait_for_port(lab.pod("lab/server").netns(), port, Duration::from_secs(20)).expect("nginx listens");
}

/// The Node server of this folder.
fn node(lab: &mut Lab) {
    let script = lab.file("server.js");
    std::fs::write(&script, include_str!("server.js")).expect("written");
    let mut command = lab.pod("lab/server").command("node");
    command.arg(script).arg(PORT.to_string());
    lab.start_program("node", &mut command);
    wait_for_port(lab.pod("lab/server").netns(), PORT, Duration::from_secs(20)).expect("node listens");
}

/// Executed requests by nginx' own log.
fn executed(lab: &Lab, path: &str) -> usize {
    let log = std::fs::read_to_string(lab.file("nginx").join("access.log")).expect("a log");
    log.lines().filter(|line| line.ends_with(path)).count()
}

#[test]
fn curl_and_nghttp_are_refused_one_stream_with_403() {
    let name = "curl_and_nghttp_are_refused_one_stream_with_403";
    let Some(mut lab) = pods(name, &["nginx", "curl", "nghttp"]) else { return };
    nginx(&mut lab, " http2");
    lab.start();
    let pod = lab.pod("lab/server");
    for host in [pod.ipv4().to_string(), format!("[{}]", pod.ipv6())] {
        // A run for each request: the curl of Debian 12 cannot ask twice on such a connection, with nobody between.
        for (path, answer) in [
            ("/public/a", "GET /public/a\n2 200"),
            ("/private", "Access denied\n2 403"),
            ("/public/../private", "Access denied\n2 403"),
        ] {
            let line = format!(
                "curl -sS -g -m 10 --path-as-is --http2-prior-knowledge -w %{{http_version}}\\x20%{{http_code}} http://{host}{path}"
            );
            let (ok, said) = lab.run("lab/client", &line);
            assert!(ok, "{path}: {said}");
            assert_eq!(said.replace('\r', "").replace("\\x20", " "), answer, "{path}");
        }
        let (ok, said) = lab.run(
            "lab/client",
            &format!("nghttp -nv http://{host}/public/1 http://{host}/private http://{host}/public/2"),
        );
        let statuses: Vec<&str> = said.lines().filter_map(|line| line.split(":status: ").nth(1)).collect();
        let mut sorted = statuses.clone();
        sorted.sort_unstable();
        assert!(ok && sorted == ["200", "200", "403"], "{said}");
        assert!(!said.contains("recv RST_STREAM") && !said.contains("recv GOAWAY"), "{said}");
        let url = format!("(HTTP/2 403 GET http://{host}/private)");
        kit::expect_logged(&lab, &["http-request DROPPED", &url, "by default deny"]);
    }
    assert_eq!((executed(&lab, "/private"), executed(&lab, "/public/1")), (0, 2));
}

/// Servers that take an offer to go on in HTTP/2.
#[derive(Copy, Clone, Debug)]
enum Taker {
    Lighttpd,
    /// Speaks HTTP/1 to an nginx behind it.
    Nghttpx,
}

impl Taker {
    const fn program(self) -> &'static str {
        match self {
            Self::Lighttpd => "lighttpd",
            Self::Nghttpx => "nghttpx",
        }
    }

    /// Starts it, and answers the lines of requests that it executed, which are written to a file.
    fn start(self, lab: &mut Lab) -> std::path::PathBuf {
        let folder = lab.file(self.program());
        std::fs::create_dir_all(folder.join("public")).expect("a folder");
        let (log, config) = (folder.join("access.log"), folder.join("conf"));
        let dir = folder.display();
        let mut command = lab.pod("lab/server").command(self.program());
        match self {
            Self::Lighttpd => {
                for file in ["public/a", "public/1", "public/2", "private"] {
                    std::fs::write(folder.join(file), format!("this is {file}\n")).expect("written");
                }
                let text = format!(
                    "server.document-root = \"{dir}\"\nserver.port = {PORT}\nserver.modules = ( \"mod_accesslog\" )\n\
                     server.feature-flags = ( \"server.h2proto\" => \"enable\", \"server.h2c\" => \"enable\" )\n\
                     accesslog.filename = \"{dir}/access.log\"\naccesslog.format = \"%s %r\"\n"
                );
                std::fs::write(&config, text).expect("written");
                command.arg("-D").arg("-f").arg(&config);
            }
            Self::Nghttpx => {
                let text = format!(
                    "frontend=*,{PORT};no-tls\nbackend=127.0.0.1,81\nworkers=1\naccesslog-file={dir}/access.log\n\
                     accesslog-format=$status $request\n"
                );
                std::fs::write(&config, text).expect("written");
                command.arg("--conf").arg(&config);
                nginx_on(lab, 81, "", 1_000);
            }
        }
        lab.start_program(self.program(), &mut command);
        wait_for_port(lab.pod("lab/server").netns(), PORT, Duration::from_secs(20)).expect("it listens");
        log
    }
}

fn upgrade(name: &str, taker: Taker) {
    let Some(mut lab) = pods(name, &["nginx", "curl", "nghttp", taker.program()]) else { return };
    let log = taker.start(&mut lab);
    lab.start();
    let host = lab.pod("lab/server").ipv4();
    for (path, answer) in [("/public/a", "2/200"), ("/private", "1.1/403")] {
        let line = format!(
            "curl -sS -m 10 --http2 -o /dev/null -w %{{http_version}}/%{{http_code}} http://{host}{path}"
        );
        let (ok, said) = lab.run("lab/client", &line);
        assert_eq!((ok, said.as_str()), (true, answer), "{taker:?} {path}");
    }
    // The first request comes with the offer, the others are streams of the same connection.
    let line = format!("nghttp -nuv http://{host}/public/1 http://{host}/private http://{host}/public/2");
    let (ok, said) = lab.run("lab/client", &line);
    let of = |status: &str| -> Vec<&str> {
        let end = format!(":status: {status}");
        said.lines()
            .filter(|line| line.ends_with(&end))
            .filter_map(|line| line.split(['=', ')']).nth(1))
            .collect()
    };
    assert!(ok && said.contains("HTTP Upgrade success") && !said.contains("recv GOAWAY"), "{said}");
    // A server may answer in any order.
    assert_eq!((of("200").len(), of("200").contains(&"1"), of("403").len()), (2, true, 1), "{said}");
    let url = |path: &str| format!("http://{host}/{path}");
    let mut messages = Vec::new();
    crate::support::eventually(
        "all four requests and answers in the flow log",
        Duration::from_secs(10),
        || {
            messages = kit::logged(&lab);
            let answered = |path: &str| {
                let url = url(path);
                messages
                    .iter()
                    .any(|line| line.contains("http-response FORWARDED (HTTP/2 200") && line.contains(&url))
            };
            answered("public/1") && answered("public/2")
        },
    );
    let count = |words: [&str; 2]| {
        messages.iter().filter(|line| words.iter().all(|word| line.contains(word))).count()
    };
    assert_eq!(count(["http-request FORWARDED (HTTP/1.1 GET", &url("public/1")]), 1, "{messages:#?}");
    assert_eq!(count(["http-response FORWARDED (HTTP/2 200", &url("public/1")]), 1, "{messages:#?}");
    assert_eq!(count(["http-request FORWARDED (HTTP/2 GET", &url("public/2")]), 1, "{messages:#?}");
    assert_eq!(count(["http-request DROPPED (HTTP/2", &url("private")]), 1, "{messages:#?}");
    assert_eq!(count(["http-request DROPPED (HTTP/1.1", &url("private")]), 1, "{messages:#?}");
    kit::no_anomalies(&lab);
    crate::support::eventually("the server's log is written", Duration::from_secs(10), || {
        let log = std::fs::read_to_string(&log).unwrap_or_default();
        assert!(!log.contains("/private"), "{log}");
        log.lines().filter(|line| line.contains("/public/")).count() == 3
    });
}

#[test]
fn an_offer_that_lighttpd_takes_goes_on_in_http_2() {
    upgrade("an_offer_that_lighttpd_takes_goes_on_in_http_2", Taker::Lighttpd);
}

#[test]
fn an_offer_that_nghttpx_takes_goes_on_in_http_2() {
    upgrade("an_offer_that_nghttpx_takes_goes_on_in_http_2", Taker::Nghttpx);
}

#[test]
fn an_offer_that_nginx_does_not_take_leaves_http_1() {
    let name = "an_offer_that_nginx_does_not_take_leaves_http_1";
    let Some(mut lab) = pods(name, &["nginx", "curl"]) else { return };
    nginx(&mut lab, "");
    lab.start();
    let host = lab.pod("lab/server").ipv4();
    let line = format!(
        "curl -sS -m 10 --http2 -w %{{http_version}}/%{{http_code}}/%{{num_connects}}\\n http://{host}/public/a \
         http://{host}/private http://{host}/public/b"
    );
    let (ok, said) = lab.run("lab/client", &line);
    let said = said.replace('\r', "");
    assert!(ok, "{said}");
    assert_eq!(said, "GET /public/a\n1.1/200/1\nAccess denied\n1.1/403/0\nGET /public/b\n1.1/200/0");
}

#[test]
fn h2load_counts_every_refusal_and_nothing_else() {
    let name = "h2load_counts_every_refusal_and_nothing_else";
    let Some(mut lab) = pods(name, &["nginx", "h2load"]) else { return };
    nginx(&mut lab, " http2");
    lab.start();
    let host = lab.pod("lab/server").ipv4();
    let uris = lab.file("uris");
    let text = format!("http://{host}/public/a\nhttp://{host}/private\nhttp://{host}/public/b\n");
    std::fs::write(&uris, text).expect("written");
    // On each of 10 connections 1,500 requests, of which the server hears of 1,000 and says that it takes no more.
    let line = format!("h2load -n 15000 -c 10 -m 100 -i {}", uris.display());
    let (ok, said) = lab.run("lab/client", &line);
    assert!(ok, "{said}");
    assert!(said.contains("status codes: 10000 2xx, 0 3xx, 5000 4xx, 0 5xx"), "{said}");
    assert!(said.contains("15000 done, 10000 succeeded, 5000 failed, 0 errored, 0 timeout"), "{said}");
    assert_eq!((executed(&lab, "/private"), executed(&lab, "/public/a")), (0, 5000));
    kit::no_anomalies(&lab);
}

/// nginx takes 5,000 streams at a time; its clients learn of the 1,024 that are followed, and so none is sent back.
#[test]
fn more_streams_than_are_followed_wait_their_turn() {
    let name = "more_streams_than_are_followed_wait_their_turn";
    let Some(mut lab) = pods(name, &["nginx", "h2load", "nghttp"]) else { return };
    nginx_on(&mut lab, PORT, " http2", 100_000);
    lab.start();
    let host = lab.pod("lab/server").ipv4();
    let (ok, said) = lab.run("lab/client", &format!("nghttp -nv http://{host}/public/a"));
    assert!(ok && said.contains("[SETTINGS_MAX_CONCURRENT_STREAMS(0x03):1024]"), "{said}");
    let line = format!(
        "h2load -n 18000 -c 2 -m 3000 http://{host}/public/a http://{host}/public/b http://{host}/private"
    );
    let (ok, said) = lab.run("lab/client", &line);
    assert!(ok, "{said}");
    assert!(said.contains("18000 done, 12000 succeeded, 6000 failed, 0 errored, 0 timeout"), "{said}");
    assert!(said.contains("status codes: 12000 2xx, 0 3xx, 6000 4xx, 0 5xx"), "{said}");
    assert_eq!((executed(&lab, "/private"), executed(&lab, "/public/b")), (0, 6000));
    kit::no_anomalies(&lab);
}

#[test]
fn node_gets_its_credit_back_and_its_header_tables_stay_true() {
    let name = "node_gets_its_credit_back_and_its_header_tables_stay_true";
    let Some(mut lab) = pods(name, &["node"]) else { return };
    node(&mut lab);
    lab.start();
    let script = lab.file("client.js");
    std::fs::write(&script, include_str!("client.js")).expect("written");
    let host = lab.pod("lab/server").ipv4();
    let (ok, said) = lab.run("lab/client", &format!("node {} http://{host}", script.display()));
    let said: Value = serde_json::from_str(said.lines().last().unwrap_or_default())
        .unwrap_or_else(|_| panic!("{ok}: {said}"));
    assert_eq!(
        said,
        json!({
            "uploads": {"200 POST /public/upload 200000": 24, "403": 12},
            "requests": {"200 GET /public/x 0": 30 * 66, "403": 30 * 33},
            "ping": "ok",
        })
    );
    kit::no_anomalies(&lab);
}
