//! HTTP/1: refusals between answers, pipelining, large bodies, load, and what else passes beside it.

use crate::kit::{self, INSPECTED, OPEN, answers, request};
use crate::support::eventually;
use sluice::testbed::{exec, servers};
use std::time::Duration;

/// Bytes of the large bodies.
const LARGE: usize = 100 << 20;

#[test]
fn curl_is_refused_one_request_and_goes_on_on_the_same_connection() {
    let Some(lab) = kit::web("curl_is_refused_one_request_and_goes_on_on_the_same_connection") else {
        return;
    };
    let pod = lab.pod("lab/server");
    for host in [pod.ipv4().to_string(), format!("[{}]", pod.ipv6())] {
        let url = |path: &str| format!("http://{host}{path}");
        let (ok, said) = lab.run(
            "lab/client",
            &format!(
                "curl -sS -g -m 10 -w %{{http_code}}/%{{num_connects}}\\n {} {} {} {}",
                url("/public/a?b=c"),
                url("/private"),
                url("/public/b"),
                url("/")
            ),
        );
        assert!(ok, "{said}");
        assert_eq!(
            said.replace('\r', ""),
            "GET /public/a\n200/1\nAccess denied\n403/0\nGET /public/b\n200/0\nAccess denied\n403/0"
        );
        kit::logged(
            &lab,
            &format!("http-request FORWARDED (HTTP/1.1 GET http://{host}/public/a?b=c) by lab/server"),
        );
        kit::logged(&lab, "http-response FORWARDED (HTTP/1.1 200 ");
        kit::logged(
            &lab,
            &format!("http-request DROPPED (HTTP/1.1 403 GET http://{host}/private) by default deny"),
        );
    }
    // Who may not connect at all is never asked what it wants.
    let (ok, said) = lab.run("lab/stranger", &format!("curl -sS -m 2 http://{}/public/a", pod.ipv4()));
    assert!(!ok && said.contains("(28)"), "{said}");
    lab.drops("lab/stranger", "POLICY_DENIED");
}

#[test]
fn pipelined_requests_get_their_own_answers_in_order() {
    let Some(lab) = kit::web("pipelined_requests_get_their_own_answers_in_order") else { return };
    let mut text = String::new();
    let mut expected = Vec::new();
    for number in 0..60 {
        if number % 3 == 1 {
            text.push_str(&request("GET", &format!("/private/{number}")));
            expected.push((403, "Access denied".to_owned()));
        } else {
            let path = format!("/public/{number}");
            text.push_str(&request("GET", &path));
            expected.push((200, format!("GET {path}")));
        }
    }
    let (data, end) = kit::raw(&lab, INSPECTED, "0.5", &[&text]);
    assert_eq!((answers(&data), end.as_str()), (expected.clone(), "silence"));

    // The same cut into pieces at places that are no ends of anything.
    let pieces: Vec<&str> =
        text.as_bytes().chunks(97).map(|piece| str::from_utf8(piece).expect("ASCII")).collect();
    let (data, end) = kit::raw(&lab, INSPECTED, "0.5", &pieces);
    assert_eq!((answers(&data), end.as_str()), (expected, "silence"));
}

#[test]
fn a_body_goes_with_its_request() {
    let Some(lab) = kit::web("a_body_goes_with_its_request") else { return };
    let hidden = request("GET", "/private/hidden");
    // A refused body goes where its head went, however it is framed; an allowed one is a body whatever it says.
    let refused =
        format!("POST /private HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{hidden}", hidden.len());
    let chunked = format!(
        "POST /private HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{hidden}\r\n0\r\n\r\n",
        hidden.len()
    );
    let allowed =
        format!("PUT /public/x HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{hidden}", hidden.len());
    let last = request("GET", "/public/last");
    let (data, _) = kit::raw(&lab, INSPECTED, "0.5", &[&refused, &chunked, &allowed, &last]);
    let found: Vec<u16> = answers(&data).iter().map(|(status, _)| *status).collect();
    assert_eq!(found, [403, 403, 200, 200], "{data}");
    let log = std::fs::read_to_string(kit::nginx_file(&lab, "access.log")).expect("a log");
    assert_eq!(log.lines().collect::<Vec<_>>(), ["200 PUT /public/x", "200 GET /public/last"]);
}

#[test]
fn a_large_refused_body_is_taken_from_its_sender_and_goes_nowhere() {
    let Some(lab) = kit::web("a_large_refused_body_is_taken_from_its_sender_and_goes_nowhere") else {
        return;
    };
    let (address, size) = (lab.pod("lab/server").ipv4().to_string(), LARGE.to_string());
    let said = kit::ask(&lab, "lab/client", &["body", &address, "80", "PUT", "/private", &size, "/public/a"]);
    assert_eq!(said["statuses"], serde_json::json!([403, 200]), "{said}");
    let log = std::fs::read_to_string(kit::nginx_file(&lab, "access.log")).expect("a log");
    assert_eq!(log, "200 GET /public/a\n");
}

#[test]
fn what_one_side_allows_the_other_may_refuse() {
    let Some(mut lab) = kit::three_pods("what_one_side_allows_the_other_may_refuse") else { return };
    kit::nginx(&mut lab);
    // The server's side minds the path, the client's the method.
    lab.write_policy("server", &kit::http_policy("{path: \"/public.*\"}")).expect("written");
    lab.write_policy(
        "client",
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: client, namespace: lab}\nspec:\n  \
         endpointSelector: {matchLabels: {app: client}}\n  egress:\n    \
         - toEndpoints: [{matchLabels: {app: server}}]\n      \
         toPorts: [{ports: [{port: \"80\", protocol: TCP}], rules: {http: [{method: GET}]}}]\n",
    )
    .expect("written");
    lab.start();
    let texts = [
        ("GET", "/public/a"),
        ("PUT", "/public/b"),
        ("GET", "/private"),
        ("PUT", "/private"),
        ("GET", "/public/c"),
    ];
    let sent: String = texts
        .iter()
        .map(|(method, path)| format!("{method} {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"))
        .collect();
    let (data, end) = kit::raw(&lab, INSPECTED, "0.5", &[&sent]);
    let statuses: Vec<u16> = answers(&data).iter().map(|(status, _)| *status).collect();
    assert_eq!((statuses, end.as_str()), (vec![200, 403, 403, 403, 200], "silence"));
    kit::logged(&lab, "PUT http://h/public/b) by default deny (egress) of lab/client");
    kit::logged(&lab, "GET http://h/private) by default deny (ingress) of lab/server");
}

/// One download and one upload of up to [`LARGE`] bytes each on a connection that was refused something before, with each
/// setting of the kernel's TCP that changes what is in the headers.
#[test]
fn large_bodies_arrive_whole_whatever_tcp_options_the_ends_use() {
    let Some(lab) = kit::web("large_bodies_arrive_whole_whatever_tcp_options_the_ends_use") else { return };
    let bytes: Vec<u8> =
        (0..LARGE / 4).flat_map(|n| (n as u32).wrapping_mul(0x9e37_79b1).to_le_bytes()).collect();
    let file = kit::nginx_file(&lab, "www/public/file/large");
    let host = lab.pod("lab/server").ipv4();
    let (got, put) = (lab.file("got"), kit::nginx_file(&lab, "www/public/file/put"));
    for settings in ["1 1 1", "0 1 1", "1 0 1", "0 0 0"] {
        // The largest one with what the kernel does by itself; the others need no more than many windows.
        let bytes = if settings == "1 1 1" { &bytes[..] } else { &bytes[..LARGE / 8] };
        std::fs::write(&file, bytes).expect("written");
        let values: Vec<&str> = settings.split(' ').collect();
        let [sack, timestamps, scaling] = values[..] else { panic!("three settings") };
        for pod in ["lab/client", "lab/server"] {
            lab.pod(pod)
                .netns()
                .sysctl(&[
                    ("net.ipv4.tcp_sack", sack),
                    ("net.ipv4.tcp_timestamps", timestamps),
                    ("net.ipv4.tcp_window_scaling", scaling),
                ])
                .expect("set");
        }
        let line = format!(
            "curl -sS -m 60 -w %{{http_code}}/%{{num_connects}}, http://{host}/private -o /dev/null \
             http://{host}/public/file/large -o {} http://{host}/private -o /dev/null --next -sS -m 60 -w \
             %{{http_code}}/%{{num_connects}} -T {} http://{host}/public/file/put",
            got.display(),
            file.display()
        );
        let (ok, said) = lab.run("lab/client", &line);
        assert!(ok && said.starts_with("403/1,200/0,403/0,20"), "{settings}: {said}");
        assert!(said.ends_with("/0"), "{settings}: one connection for all: {said}");
        for path in [&got, &put] {
            assert!(
                std::fs::read(path).expect("the copy") == bytes,
                "{settings}: {} differs",
                path.display()
            );
            std::fs::remove_file(path).expect("removed");
        }
    }
}

#[test]
fn wrk_sees_no_wrong_status_while_postgres_goes_on_beside_it() {
    let Some(mut lab) = kit::three_pods("wrk_sees_no_wrong_status_while_postgres_goes_on_beside_it") else {
        return;
    };
    kit::nginx(&mut lab);
    let postgres = servers::postgres_installed();
    if postgres {
        servers::start_postgres(&mut lab, "lab/server").expect("a database");
    }
    let ports = format!(
        "toPorts: [{{ports: [{{port: \"80\", protocol: TCP}}], rules: {{http: [{}]}}}}, \
         {{ports: [{{port: \"5432\", protocol: TCP}}]}}]",
        kit::PUBLIC
    );
    lab.write_policy("server", &kit::server_policy(&ports)).expect("written");
    lab.start();
    let host = lab.pod("lab/server").ipv4();

    // Every third request is refused; the script counts what came instead of what should have.
    let script = lab.file("mixed.lua");
    std::fs::write(
        &script,
        "local n, wrong = 0, 0\n\
         threads = {}\n\
         function setup(thread) table.insert(threads, thread) end\n\
         function init(args) seen200, seen403, other = 0, 0, 0 end\n\
         function request() n = n + 1; return wrk.format('GET', n % 3 == 0 and '/private' or '/public/a') end\n\
         function response(status, headers, body)\n  \
         if status == 200 and body == 'GET /public/a\\n' then seen200 = seen200 + 1\n  \
         elseif status == 403 and body == 'Access denied\\r\\n' then seen403 = seen403 + 1\n  \
         else other = other + 1 end\nend\n\
         function done(summary)\n  local a, b, c = 0, 0, 0\n  \
         for _, t in ipairs(threads) do a = a + t:get('seen200'); b = b + t:get('seen403'); c = c + t:get('other') end\n  \
         local e = summary.errors\n  \
         print(string.format('counted %d %d %d %d', a, b, c, e.connect + e.read + e.write + e.timeout))\nend\n",
    )
    .expect("written");
    let line = format!("wrk -t 2 -c 32 -d 4 -s {} http://{host}/", script.display());
    let pod = lab.pod("lab/client");
    let said = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            exec::run(pod.command("wrk").args(line.split(' ').skip(1)), kit::LIMIT).expect("wrk runs").text()
        });
        let mut rounds = 0;
        while !load.is_finished() && postgres {
            let argv = [
                "psql",
                "-qAtX",
                "-h",
                &host.to_string(),
                "-U",
                "shop",
                "shop",
                "-c",
                "SELECT item FROM orders",
            ];
            let output = pod.run(&argv, kit::LIMIT).expect("psql runs");
            assert_eq!(output.stdout.trim(), "sluice gate", "{}", output.text());
            rounds += 1;
        }
        assert!(rounds > 0 || !postgres, "no query was made while wrk ran");
        load.join().expect("wrk")
    });
    let counted =
        said.lines().find_map(|line| line.strip_prefix("counted ")).unwrap_or_else(|| panic!("{said}"));
    let counts: Vec<u64> = counted.split(' ').map(|count| count.parse().expect("a number")).collect();
    let [allowed, refused, other, errors] = counts[..] else { panic!("{counted}") };
    assert!(allowed > 500 && refused > 250, "{said}");
    assert_eq!((other, errors), (0, 0), "{said}");
}

#[test]
fn what_is_no_http_or_ambiguous_is_answered_400_and_ends() {
    let Some(lab) = kit::web("what_is_no_http_or_ambiguous_is_answered_400_and_ends") else { return };
    let smuggled = "POST /public/a HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let (data, end) = kit::raw(&lab, INSPECTED, "3", &[smuggled]);
    assert!(data.starts_with("HTTP/1.1 400 ") && end == "closed", "{end}: {data}");
    let (data, end) = kit::raw(&lab, INSPECTED, "3", &["SSH-2.0-OpenSSH_9.2\r\n\r\n"]);
    assert!((data.is_empty() || data.starts_with("HTTP/1.1 400 ")) && end != "silence", "{end}: {data}");
    // The same words are nobody's business where the port is simply open.
    let (data, _) = kit::raw(&lab, OPEN, "1", &["SSH-2.0-OpenSSH_9.2\r\n\r\n"]);
    assert!(data.contains("nginx"), "{data}");
    eventually("the anomaly is logged", Duration::from_secs(3), || {
        kit::messages(&lab, &["--verdict", "ERROR"])
            .iter()
            .any(|line| line.contains("http-conflicting-length"))
    });
}
