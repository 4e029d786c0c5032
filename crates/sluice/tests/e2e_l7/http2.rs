//! HTTP/2 without TLS: refusals that cost one stream, among many at a time.

use crate::kit;
use crate::support::Lab;
use sluice::testbed::exec::find_program;

/// The lab of [`kit::web`] whose rules count for the port of HTTP/2, or `None` where the clients are missing.
fn web(test: &str) -> Option<Lab> {
    if ["nghttp", "h2load"].iter().any(|program| find_program(program).is_none()) {
        println!("SKIPPED {test}: nghttp or h2load is missing (package nghttp2-client)");
        return None;
    }
    let mut lab = kit::three_pods(test)?;
    kit::nginx(&mut lab);
    let ports = format!(
        "toPorts: [{{ports: [{{port: \"{}\", protocol: TCP}}], rules: {{http: [{}]}}}}]",
        kit::HTTP2,
        kit::PUBLIC
    );
    lab.write_policy("server", &kit::server_policy(&ports)).expect("written");
    lab.start();
    Some(lab)
}

#[test]
fn a_refused_stream_leaves_the_others_of_its_connection_alone() {
    let Some(lab) = web("a_refused_stream_leaves_the_others_of_its_connection_alone") else { return };
    let url = format!("http://{}:{}", lab.pod("lab/server").ipv4(), kit::HTTP2);
    let (ok, said) = lab
        .run("lab/client", &format!("nghttp -v {url}/public/a {url}/private {url}/public/b {url}/private/c"));
    assert!(ok, "{said}");
    let mut statuses: Vec<&str> =
        said.lines().filter_map(|line| line.split_once(":status: ")).map(|(_, code)| code).collect();
    // Answers of streams come in any order.
    statuses.sort_unstable();
    assert_eq!(statuses, ["200", "200", "403", "403"], "{said}");
    assert_eq!(said.matches("Access denied").count(), 2, "{said}");
    assert!(said.contains("GET /public/a") && said.contains("GET /public/b"), "{said}");
    kit::logged(&lab, &format!("http-request FORWARDED (HTTP/2 GET {url}/public/a) by lab/server"));
    kit::logged(&lab, &format!("http-request DROPPED (HTTP/2 403 GET {url}/private) by default deny"));
    let log = std::fs::read_to_string(kit::nginx_file(&lab, "access.log")).expect("a log");
    assert!(!log.contains("/private"), "{log}");
}

#[test]
fn each_of_many_streams_gets_its_own_answer() {
    let Some(lab) = web("each_of_many_streams_gets_its_own_answer") else { return };
    let url = format!("http://{}:{}", lab.pod("lab/server").ipv4(), kit::HTTP2);
    let (ok, said) =
        lab.run("lab/client", &format!("h2load -n 20000 -c 10 -m 20 {url}/public/a {url}/private"));
    assert!(ok, "{said}");
    assert!(said.contains("20000 done, 10000 succeeded, 10000 failed, 0 errored, 0 timeout"), "{said}");
    assert!(said.contains("status codes: 10000 2xx, 0 3xx, 10000 4xx, 0 5xx"), "{said}");
    let log = std::fs::read_to_string(kit::nginx_file(&lab, "access.log")).expect("a log");
    assert!(!log.contains("/private"), "a refused request arrived");
}
