//! TLS: connections by the server name that their hello asks for, to OpenSSL.

use crate::kit;
use crate::support::Lab;
use sluice::testbed::{exec, wait_for_port};
use std::process::Command;
use std::time::Duration;

/// `openssl s_server` on two ports that accepts every name, and a client that may ask for some on the first.
fn tls_lab(test: &str) -> Option<Lab> {
    let mut lab = kit::three_pods(test)?;
    let (key, cert) = (lab.file("key.pem"), lab.file("cert.pem"));
    let mut make = Command::new("openssl");
    make.args(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test".split(' '),
    );
    exec::check(make.arg("-keyout").arg(&key).arg("-out").arg(&cert), kit::LIMIT).expect("a certificate");
    for port in ["443", "81"] {
        let mut command = lab.pod("lab/server").command("openssl");
        command
            .args(["s_server", "-www", "-quiet", "-accept", port, "-key"])
            .arg(&key)
            .arg("-cert")
            .arg(&cert);
        lab.start_program(&format!("tls-{port}"), &mut command);
        wait_for_port(lab.pod("lab/server").netns(), port.parse().expect("a port"), kit::LIMIT)
            .expect("it listens");
    }
    let ports = "toPorts: [{ports: [{port: \"443\", protocol: TCP}], serverNames: [shop.example.test, \"*.pay.example.test\"]}]";
    lab.write_policy("server", &kit::server_policy(ports)).expect("written");
    lab.start();
    Some(lab)
}

/// Whether a handshake with these options of `s_client` comes to its end, and what the client says.
fn handshake(lab: &Lab, port: u16, options: &str) -> (bool, String) {
    let address = lab.pod("lab/server").ipv4();
    let line = format!("timeout 5 openssl s_client -connect {address}:{port} {options}");
    let (_, said) = lab.run("lab/client", &line);
    let done = said.contains("Verify return code")
        && !said.contains("Cipher is (NONE)")
        && said.contains("BEGIN CERT");
    (done, said)
}

#[test]
fn only_the_named_servers_can_be_asked_for() {
    let Some(lab) = tls_lab("only_the_named_servers_can_be_asked_for") else { return };
    for version in ["-tls1_3", "-tls1_2"] {
        for (name, allowed) in [
            ("shop.example.test", true),
            ("SHOP.example.test", true),
            ("a.pay.example.test", true),
            ("admin.example.test", false),
            ("shop.example.test.evil.test", false),
            ("pay.example.test", false),
        ] {
            let (done, said) = handshake(&lab, 443, &format!("{version} -servername {name}"));
            assert_eq!(done, allowed, "{version} {name}: {said}");
        }
        // Nobody is named: nothing to allow.
        let (done, said) = handshake(&lab, 443, &format!("{version} -noservername"));
        assert!(!done, "{version} without a name: {said}");
        assert!(handshake(&lab, 81, &format!("{version} -servername admin.example.test")).0);
    }
    let records = lab
        .agent_ref()
        .json(&["observe", "--verdict", "DROPPED", "--to-port", "443", "--all"])
        .expect("flows");
    let text = records.iter().map(ToString::to_string).collect::<String>();
    assert!(text.contains("admin.example.test"), "{text}");
    assert!(!text.contains("shop.example.test\""), "{text}");
}

#[test]
fn a_hello_larger_than_a_segment_and_a_session_behind_it_pass() {
    let Some(lab) = tls_lab("a_hello_larger_than_a_segment_and_a_session_behind_it_pass") else { return };
    // Some hundred protocol names make the hello larger than what one packet holds.
    let protocols: Vec<String> = (0..150).map(|n| format!("protocol-{n:05}")).collect();
    let (done, said) =
        handshake(&lab, 443, &format!("-tls1_3 -servername shop.example.test -alpn {}", protocols.join(",")));
    assert!(done, "{said}");
    let (done, _) = handshake(
        &lab,
        443,
        &format!("-tls1_3 -servername admin.example.test -alpn {}", protocols.join(",")),
    );
    assert!(!done);
    let address = lab.pod("lab/server").ipv4();
    let (ok, said) = lab.run(
        "lab/client",
        &format!(
            "curl -sS -k -m 10 -o /dev/null -w %{{http_code}}/%{{size_download}} --resolve \
             shop.example.test:443:{address} https://shop.example.test/"
        ),
    );
    assert!(ok && said.starts_with("200/"), "{said}");
    let begun = std::time::Instant::now();
    let (ok, said) = lab.run(
        "lab/client",
        &format!("curl -sS -k -m 10 --resolve admin.example.test:443:{address} https://admin.example.test/"),
    );
    assert!(!ok && begun.elapsed() < Duration::from_secs(5), "told at once: {said}");
}
