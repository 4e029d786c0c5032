//! What these tests share: nginx as it is needed here, clients that say in JSON what they saw, messages from the
//! flow log.

use crate::support::{Lab, eventually, lab};
use serde_json::Value;
use sluice::testbed::{PodSpec, Proc, exec, servers, wait_for_port};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Beyond every client's own limit.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

/// The port with HTTP rules.
pub(crate) const INSPECTED: u16 = 80;

/// The port beside it that is simply open.
pub(crate) const OPEN: u16 = 81;

/// The port where nginx speaks HTTP/2.
pub(crate) const HTTP2: u16 = 82;

/// Requests that the client may make of the server, as `rules.http` wants them.
pub(crate) const PUBLIC: &str = "{method: GET, path: \"/public.*\"}, {method: PUT, path: \"/public.*\"}";

/// client, stranger and server in namespace `lab`.
pub(crate) fn three_pods(test: &str) -> Option<Lab> {
    let mut lab = lab(test)?;
    for name in ["client", "stranger", "server"] {
        lab.add_pod(PodSpec::new("lab", name, &format!("app={name}"))).expect("a pod");
    }
    Some(lab)
}

/// Those with nginx in the server, and a policy that lets the client make [`PUBLIC`] requests of it.
pub(crate) fn web(test: &str) -> Option<Lab> {
    let mut lab = three_pods(test)?;
    nginx(&mut lab);
    lab.write_policy("server", &http_policy(PUBLIC)).expect("written");
    lab.start();
    Some(lab)
}

/// A policy for the server: the client may make requests of these kinds on [`INSPECTED`], and anything on [`OPEN`].
pub(crate) fn http_policy(rules: &str) -> String {
    server_policy(&format!(
        "toPorts: [{{ports: [{{port: \"80\", protocol: TCP}}], rules: {{http: [{rules}]}}}}]"
    ))
}

/// A policy for the server: these ports for the client, and anything on [`OPEN`].
pub(crate) fn server_policy(ports: &str) -> String {
    format!(
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: server, namespace: lab}}\nspec:\n  \
         endpointSelector: {{matchLabels: {{app: server}}}}\n  ingress:\n    \
         - fromEndpoints: [{{matchLabels: {{app: client}}}}]\n      {ports}\n    \
         - fromEndpoints: [{{matchLabels: {{app: client}}}}]\n      \
         toPorts: [{{ports: [{{port: \"81\", protocol: TCP}}]}}]\n"
    )
}

/// nginx in the server on both ports: files below `/public/file/` that may also be put there, and its own words
/// about every other request. Keeps connections for as long as clients do.
pub(crate) fn nginx(lab: &mut Lab) {
    let folder = lab.file("nginx");
    std::fs::create_dir_all(folder.join("www/public/file")).expect("a folder");
    let dir = folder.display();
    let text = format!(
        "daemon off; master_process off; pid {dir}/pid; error_log stderr warn;\n\
         events {{ worker_connections 12000; }}\n\
         http {{\n  log_format executed '$status $request_method $request_uri';\n  access_log {dir}/access.log executed;\n  \
         client_body_temp_path {dir}/body; client_max_body_size 0; proxy_temp_path {dir}; fastcgi_temp_path {dir};\n  \
         uwsgi_temp_path {dir}; scgi_temp_path {dir};\n  \
         keepalive_requests 100000000; keepalive_timeout 600;\n  \
         server {{ listen 80; listen [::]:80; listen 81; listen [::]:81; listen 82 http2; default_type text/plain; root {dir}/www;\n    \
         location / {{ return 200 \"$request_method $uri\\n\"; }}\n    \
         location /public/file {{ dav_methods PUT; create_full_put_path on; }}\n  }}\n}}\n"
    );
    std::fs::write(folder.join("nginx.conf"), text).expect("written");
    let mut command = lab.pod("lab/server").command("prlimit");
    command
        .args(["--nofile=20000", "nginx", "-e", "stderr", "-p"])
        .arg(&folder)
        .arg("-c")
        .arg(folder.join("nginx.conf"));
    lab.start_program("nginx", &mut command);
    wait_for_port(lab.pod("lab/server").netns(), INSPECTED, Duration::from_secs(20)).expect("nginx listens");
}

/// The folder of nginx.
pub(crate) fn nginx_file(lab: &Lab, name: &str) -> PathBuf {
    lab.file("nginx").join(name)
}

/// A command that runs `peer.py` of this folder in a pod.
pub(crate) fn peer(lab: &Lab, pod: &str, args: &[&str]) -> Command {
    let script = lab.file("l7-peer.py");
    if !script.exists() {
        std::fs::write(&script, include_str!("peer.py")).expect("written");
    }
    let (python, _) = servers::python_peer(lab).expect("python");
    let mut command = lab.pod(pod).command(&python.to_string_lossy());
    command.arg(script).args(args);
    command
}

/// Runs it to its end; its last line of JSON.
#[track_caller]
pub(crate) fn ask(lab: &Lab, pod: &str, args: &[&str]) -> Value {
    let output = exec::run(&mut peer(lab, pod, args), LIMIT).expect("the peer runs");
    let line = output.stdout.lines().last().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|_| panic!("{pod} {args:?}: {}", output.text()))
}

/// Sends texts on one connection from the client to the server: what came back, and how it ended.
#[track_caller]
pub(crate) fn raw(lab: &Lab, port: u16, wait: &str, texts: &[&str]) -> (String, String) {
    let address = lab.pod("lab/server").ipv4().to_string();
    let mut args = vec!["raw".to_owned(), address, port.to_string(), wait.to_owned()];
    args.extend(texts.iter().map(|text| (*text).to_owned()));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let said = ask(lab, "lab/client", &args);
    let text = |key: &str| said[key].as_str().unwrap_or_default().to_owned();
    (text("data"), text("end"))
}

/// The status codes and the bodies of one line in what came back, in order.
pub(crate) fn answers(data: &str) -> Vec<(u16, String)> {
    let mut found = Vec::new();
    let mut rest = data;
    while let Some((head, behind)) = rest.split_once("\r\n\r\n") {
        let status = head.get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0);
        let length = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, value)| value.trim().parse().ok())
            .unwrap_or(0);
        let (body, after) = behind.split_at(behind.len().min(length));
        found.push((status, body.trim_end().to_owned()));
        rest = after;
    }
    found
}

/// A request without a body.
pub(crate) fn request(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: h\r\n\r\n")
}

/// A program in the background whose lines of JSON are read as they come.
pub(crate) struct Live {
    proc: Proc,
    seen: usize,
}

impl Live {
    /// Runs `peer.py` so.
    pub(crate) fn start(lab: &Lab, name: &str, pod: &str, args: &[&str]) -> Self {
        let mut command = peer(lab, pod, args);
        let log = lab.file(&format!("{name}.log"));
        Self { proc: Proc::spawn(name, &mut command, &log).expect("the peer starts"), seen: 0 }
    }

    /// Its next line.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Value {
        let mut found = None;
        eventually("the peer says more", LIMIT, || {
            let log = self.proc.log();
            // A line is there when its end is.
            let whole = log.rfind('\n').map_or("", |end| &log[..end]);
            found = whole.lines().nth(self.seen).map(str::to_owned);
            found.is_some()
        });
        self.seen += 1;
        let line = found.unwrap_or_default();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("the peer failed: {}", self.proc.log()))
    }
}

/// Messages in the flow log from or to the client, as `observe` prints them, without time, ends and numbers: from the
/// kind of record on.
pub(crate) fn messages(lab: &Lab, more: &[&str]) -> Vec<String> {
    let mut argv =
        vec!["observe", "--type", "l7", "--pod", "lab/client", "--last", "1000", "--print-policy-names"];
    argv.extend(more);
    let output = lab.agent_ref().cli(&argv).expect("observe");
    let kind = |line: &str| {
        ["http-request", "http-response", "dns-request", "dns-response", "anomaly"]
            .iter()
            .filter_map(|kind| line.find(&format!(" {kind}")))
            .min()
            .map_or_else(|| line.to_owned(), |at| line[at + 1..].to_owned())
    };
    output.stdout.lines().map(kind).collect()
}

/// Asserts that a message like this is in the flow log soon.
#[track_caller]
pub(crate) fn logged(lab: &Lab, text: &str) {
    let mut all = Vec::new();
    let mut found = || {
        all = messages(lab, &[]);
        all.iter().any(|line| line.contains(text))
    };
    let started = std::time::Instant::now();
    while !found() {
        if started.elapsed() > Duration::from_secs(3) {
            panic!("not in the flow log: {text}\n{}", all.join("\n"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
