//! Rules that come, change and go while connections live.

use crate::kit::{self, INSPECTED, Live};
use crate::support::{Lab, RELOAD, eventually};
use serde_json::{Value, json};
use std::time::Duration;

/// One connection that makes a request whenever it is told to.
struct Talk {
    live: Live,
    flag: String,
    /// The client's port.
    port: String,
    said: u32,
}

impl Talk {
    fn start(lab: &Lab, name: &str, port: u16, steps: &[&str]) -> Self {
        let flag = lab.file(name).display().to_string();
        let (address, port) = (lab.pod("lab/server").ipv4().to_string(), port.to_string());
        let mut args = vec!["steps", address.as_str(), port.as_str(), flag.as_str()];
        args.extend(steps);
        let mut live = Live::start(lab, name, "lab/client", &args);
        let connected = live.next();
        assert_eq!(connected["connected"], true);
        Self { live, flag, port: connected["port"].to_string(), said: 0 }
    }

    /// Has the next request made (the first one is made at once); what came of it.
    fn next(&mut self) -> Value {
        if self.said > 0 {
            std::fs::write(format!("{}.{}", self.flag, self.said), "").expect("written");
        }
        self.said += 1;
        let said = self.live.next();
        if said["end"].is_null() { said["status"].clone() } else { said["end"].clone() }
    }
}

/// Asks on connections of its own until the answer is `status`.
fn until(lab: &Lab, path: &str, status: &str) {
    let url = format!("http://{}{path}", lab.pod("lab/server").ipv4());
    eventually(&format!("{path} is {status}"), RELOAD, || {
        lab.run("lab/client", &format!("curl -s -o /dev/null -m 1 -w %{{http_code}} {url}")).1.trim()
            == status
    });
}

#[test]
fn the_next_request_is_judged_by_the_rules_in_force_then() {
    let Some(lab) = kit::web("the_next_request_is_judged_by_the_rules_in_force_then") else { return };
    // Around each change the same words are said again: a head that is known must not bring its verdict along.
    let steps = [
        "GET /public/a",
        "GET /other/a",
        "GET /other/a",
        "GET /public/a",
        "GET /public/a",
        "GET /public/a",
        "GET /anything",
    ];
    let mut talk = Talk::start(&lab, "changes", INSPECTED, &steps);
    assert_eq!(talk.next(), 200);
    assert_eq!(talk.next(), 403);

    lab.write_policy("server", &kit::http_policy("{method: GET, path: \"/other/.*\"}")).expect("written");
    until(&lab, "/other/x", "200");
    assert_eq!(talk.next(), 200);
    assert_eq!(talk.next(), 403);

    lab.write_policy("server", &kit::http_policy(kit::PUBLIC)).expect("written");
    until(&lab, "/public/x", "200");
    assert_eq!(talk.next(), 200);

    lab.write_policy("server", &kit::http_policy("{method: GET, path: \"/other/.*\"}")).expect("written");
    until(&lab, "/other/x", "200");
    assert_eq!(talk.next(), 403);

    // Without HTTP rules the connection goes on, and may anything.
    let ports = "toPorts: [{ports: [{port: \"80\", protocol: TCP}]}]";
    lab.write_policy("server", &kit::server_policy(ports)).expect("written");
    until(&lab, "/anything", "200");
    assert_eq!(talk.next(), 200);
    assert_eq!(talk.next(), json!("ok"));
}

#[test]
fn rules_that_come_to_a_connection_which_was_not_read_reset_it() {
    let Some(lab) = kit::web("rules_that_come_to_a_connection_which_was_not_read_reset_it") else { return };
    let ports = "toPorts: [{ports: [{port: \"80\", protocol: TCP}]}]";
    lab.write_policy("server", &kit::server_policy(ports)).expect("written");
    until(&lab, "/private", "200");
    let mut open = Talk::start(&lab, "covered", INSPECTED, &["GET /private", "GET /public/a"]);
    let mut beside = Talk::start(&lab, "beside", kit::OPEN, &["GET /private", "GET /private"]);
    assert_eq!((open.next(), beside.next()), (json!(200), json!(200)));

    lab.write_policy("server", &kit::http_policy(kit::PUBLIC)).expect("written");
    until(&lab, "/private", "403");
    assert_eq!(open.next(), json!("ECONNRESET"));
    assert_eq!(beside.next(), 200);
    until(&lab, "/public/a", "200");
}

/// Clients take ports again at once. What policy took back or what ended before it changed is not in their way.
#[test]
fn ports_of_earlier_connections_open_new_ones_whatever_changed_since() {
    let Some(lab) = kit::web("ports_of_earlier_connections_open_new_ones_whatever_changed_since") else {
        return;
    };
    let address = lab.pod("lab/server").ipv4().to_string();
    let ask = |source: &str, path: &str| {
        kit::ask(&lab, "lab/client", &["from", source, &address, "80", path])["status"].clone()
    };
    let read = kit::http_policy(kit::PUBLIC);
    let unread = kit::server_policy("toPorts: [{ports: [{port: \"80\", protocol: TCP}]}]");
    // Ports that the kernel gives nobody else.
    for (policy, private) in [(&unread, 200), (&read, 403), (&unread, 200), (&read, 403)] {
        lab.write_policy("server", policy).expect("written");
        until(&lab, "/private", &private.to_string());
        for _ in 0..2 {
            assert_eq!([ask("20000", "/public/a"), ask("20001", "/private")], [json!(200), json!(private)]);
        }
    }
    // A connection that was revoked while it lived ends by its client's doing, too, and its port is free.
    lab.write_policy("server", &unread).expect("written");
    until(&lab, "/private", "200");
    let mut open = Talk::start(&lab, "taken", INSPECTED, &["GET /private", "GET /private"]);
    assert_eq!(open.next(), json!(200));
    lab.write_policy("server", &read).expect("written");
    until(&lab, "/private", "403");
    assert_eq!(open.next(), json!("ECONNRESET"));
    assert_eq!(ask(&open.port, "/public/a"), json!(200));
}

#[test]
fn revoked_connections_do_not_get_another_word_through() {
    let Some(lab) = kit::web("revoked_connections_do_not_get_another_word_through") else { return };
    let mut talk = Talk::start(&lab, "revoked", INSPECTED, &["GET /public/a", "GET /public/b"]);
    assert_eq!(talk.next(), 200);
    lab.write_policy("server", &kit::http_policy(kit::PUBLIC).replace("app: client", "app: nobody"))
        .expect("written");
    until(&lab, "/public/a", "000");
    let end = talk.next();
    assert!(end == json!("ECONNRESET") || end == json!("timeout"), "{end}");
    let log = std::fs::read_to_string(kit::nginx_file(&lab, "access.log")).expect("a log");
    assert!(!log.contains("/public/b"), "{log}");
}

/// What was read up to where is not saved, so such a connection cannot go on; least of all may it go on unread.
#[test]
fn an_inspected_connection_does_not_outlive_the_agent_unread() {
    let Some(mut lab) = kit::web("an_inspected_connection_does_not_outlive_the_agent_unread") else { return };
    for crash in [false, true] {
        let name = if crash { "crashed" } else { "restarted" };
        let mut talk = Talk::start(&lab, name, INSPECTED, &["GET /public/a", "GET /private/hidden"]);
        let mut open = Talk::start(&lab, &format!("open-{name}"), kit::OPEN, &["GET /a", "GET /b"]);
        assert_eq!((talk.next(), open.next()), (json!(200), json!(200)));
        // State is saved once a second.
        std::thread::sleep(Duration::from_millis(1500));
        if crash {
            lab.agent().kill();
        } else {
            assert_eq!(lab.agent().stop(), Some(0));
        }
        lab.start();
        let end = talk.next();
        assert!(end == json!("ECONNRESET") || end == json!("timeout"), "{name}: {end}");
        assert_eq!(open.next(), json!(200), "{name}: what is not inspected goes on");
        until(&lab, "/public/a", "200");
        until(&lab, "/private/hidden", "403");
    }
    let log = std::fs::read_to_string(kit::nginx_file(&lab, "access.log")).expect("a log");
    assert!(!log.contains("hidden"), "{log}");
}
