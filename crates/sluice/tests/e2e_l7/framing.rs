//! Where requests end, to servers that others wrote: whatever they make of bytes that were let through, they never
//! execute a request that policy does not allow.
//!
//! Only the path `/ok` is allowed. The texts are those of `testdata/l7/http1`, which smuggle a second request behind
//! a first one, sent whole and cut, over real TCP. The same texts on a port without rules show that the servers would
//! have executed it.

use crate::hyper_server::{self, Hyper};
use crate::kit::{self, LIMIT};
use crate::support::Lab;
use sluice::testbed::exec::find_program;
use sluice::testbed::wait_for_port;
use std::collections::BTreeMap;
use std::path::Path;

/// The server's word for what it executed, one a line: `METHOD TARGET`.
struct Server {
    name: &'static str,
    inspected: u16,
    open: u16,
    log: String,
}

/// The client's texts of every case in those files, as one string a case.
fn corpus() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/l7/http1");
    let mut found = Vec::new();
    let mut files: Vec<_> =
        std::fs::read_dir(folder).expect("test data").flatten().map(|entry| entry.path()).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|ext| ext == "txt")) {
        let text = std::fs::read_to_string(file).expect("test data");
        for case in text.split("\n== ") {
            let sent: String = case.lines().filter_map(piece).collect();
            if !sent.is_empty() {
                found.push(sent);
            }
        }
    }
    found
}

/// What a line of a case has the client send.
fn piece(line: &str) -> Option<String> {
    let text = line.strip_prefix("C: ").map(|text| format!("{text}\\r\\n"));
    let text = text.or_else(|| (line == "C:").then(|| "\\r\\n".to_owned()));
    unescaped(&text.or_else(|| line.strip_prefix("C| ").map(str::to_owned))?)
}

/// The escapes of these files, one character a byte.
fn unescaped(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            out.push(char);
            continue;
        }
        out.push(match chars.next()? {
            'r' => '\r',
            'n' => '\n',
            't' => '\t',
            'x' => {
                let digits: String = chars.by_ref().take(2).collect();
                char::from(u8::from_str_radix(&digits, 16).ok()?)
            }
            other => other,
        });
    }
    Some(out)
}

/// Every case whole, in three pieces, and with other first requests than those it was written with.
fn plays() -> Vec<Vec<String>> {
    let mut plays = Vec::new();
    for text in corpus() {
        let mut variants = vec![text.clone()];
        for (from, to) in
            [(" /a ", " /ok "), (" /denied ", " /secret "), ("POST /a", "GET /ok"), ("GET /a", "POST /ok")]
        {
            let other = text.replace(from, to);
            if !variants.contains(&other) {
                variants.push(other);
            }
        }
        for variant in variants {
            let chars: Vec<char> = variant.chars().collect();
            let third = chars.len().div_ceil(3).max(1);
            plays.push(chars.chunks(third).map(|piece| piece.iter().collect()).collect());
            plays.push(vec![variant]);
        }
    }
    plays
}

/// Starts those servers that the machine has; nginx, Python and hyper at least.
fn start_servers(lab: &mut Lab) -> (Vec<Server>, Hyper) {
    kit::nginx(lab);
    let log = |lab: &Lab, name: &str| lab.file(name).display().to_string();
    let nginx = kit::nginx_file(lab, "access.log").display().to_string();
    let mut found = vec![Server { name: "nginx", inspected: 80, open: 81, log: nginx }];
    let python = log(lab, "python.executed");
    for port in ["8081", "8082"] {
        let mut command = kit::peer(lab, "lab/server", &["serve", port, &python]);
        lab.start_program(&format!("python-{port}"), &mut command);
    }
    found.push(Server { name: "Python http.server", inspected: 8081, open: 8082, log: python });
    if let Some(node) = find_program("node") {
        let script = lab.file("server.js");
        std::fs::write(&script, include_str!("server.js")).expect("written");
        let executed = log(lab, "node.executed");
        let mut command = lab.pod("lab/server").command(&node.to_string_lossy());
        command.arg(&script).args([&executed, "8083", "8084"]);
        lab.start_program("node", &mut command);
        found.push(Server { name: "Node", inspected: 8083, open: 8084, log: executed });
    }
    let executed = lab.file("hyper.executed");
    let hyper = hyper_server::start(lab, "lab/server", [8085, 8086], &executed);
    found.push(Server { name: "hyper", inspected: 8085, open: 8086, log: executed.display().to_string() });
    for server in &found {
        for port in [server.inspected, server.open] {
            wait_for_port(lab.pod("lab/server").netns(), port, LIMIT).expect("it listens");
        }
    }
    (found, hyper)
}

/// Targets that a server executed, with how often; nginx says what it answered, too, and executes what it finds good.
fn executed(server: &Server) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for line in String::from_utf8_lossy(&std::fs::read(&server.log).unwrap_or_default()).lines() {
        let line = match line.split_once(' ') {
            Some((status, rest)) if status.bytes().all(|byte| byte.is_ascii_digit()) => {
                if status == "400" {
                    continue;
                }
                rest
            }
            _ => line,
        };
        let target = line.split_once(' ').map_or(line, |(_, target)| target);
        *found.entry(target.to_owned()).or_default() += 1;
    }
    found
}

#[test]
fn no_server_executes_a_request_that_is_not_allowed() {
    let Some(mut lab) = kit::three_pods("no_server_executes_a_request_that_is_not_allowed") else { return };
    let (servers, _hyper) = start_servers(&mut lab);
    let ports = |pick: fn(&Server) -> u16| {
        let list: Vec<String> =
            servers.iter().map(|server| format!("{{port: \"{}\", protocol: TCP}}", pick(server))).collect();
        list.join(", ")
    };
    let policy = format!(
        "toPorts: [{{ports: [{}], rules: {{http: [{{path: /ok}}]}}}}, {{ports: [{}]}}]",
        ports(|server| server.inspected),
        ports(|server| server.open)
    );
    lab.write_policy("server", &kit::server_policy(&policy)).expect("written");
    lab.start();

    let plays = plays();
    assert!(plays.len() > 300, "only {} texts were found", plays.len());
    let (all, some) = (lab.file("all.json"), lab.file("some.json"));
    let few: Vec<_> = plays.iter().step_by(9).collect();
    std::fs::write(&all, serde_json::to_string(&plays).expect("JSON")).expect("written");
    std::fs::write(&some, serde_json::to_string(&few).expect("JSON")).expect("written");
    let address = lab.pod("lab/server").ipv4().to_string();
    let play = |port: u16, file: &Path| {
        let args = ["corpus", &address, &port.to_string(), &file.display().to_string()];
        kit::ask(&lab, "lab/client", &args)
    };
    for server in &servers {
        let said = play(server.inspected, &all);
        assert_eq!(said["cases"], plays.len(), "{said}");
        let found = executed(server);
        println!("{}: {said}; executed {found:?}", server.name);
        let wrong: Vec<_> = found.keys().filter(|target| *target != "/ok").collect();
        assert!(wrong.is_empty(), "{} executed {wrong:?}: {said}", server.name);
        // Some ask for HTTP/2 and stop. All others are answered, the second time at the latest.
        let unanswered = said["none timeout"].as_u64().unwrap_or(0);
        assert!(unanswered <= 6, "{}: {said}", server.name);
        // The allowed ones among them arrive, so the servers were not just cut off.
        assert!(found.get("/ok").is_some_and(|times| *times > 20), "{}: {found:?}", server.name);
    }
    for server in &servers {
        play(server.open, &some);
        let found = executed(server);
        assert!(
            found.keys().any(|target| target == "/denied"),
            "{} executes nothing at all: {found:?}",
            server.name
        );
    }
    // Nor has the appliance lost its way: a fresh connection is served and refused as ever.
    let ask = |path: &str| {
        lab.run("lab/client", &format!("curl -sS -m 5 -o /dev/null -w %{{http_code}} http://{address}{path}"))
    };
    assert_eq!((ask("/ok").1.as_str(), ask("/denied").1.as_str()), ("200", "403"));
}
