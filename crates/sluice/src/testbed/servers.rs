//! Real servers for pods: HTTP, PostgreSQL, DNS, and the small peers of `peer.py`.
//!
//! Each function starts a server through [`TestBed::start`] and returns once it listens.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::exec::{self, find_program};
use super::{Pod, TestBed, wait_for_port};

/// How long a server may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(20);
/// The peers that are hard to find as packages: see the text at its top.
const PEER: &str = include_str!("peer.py");

/// A command that runs `peer.py` with `args` in the pod.
///
/// # Errors
/// The script could not be written, or there is no Python.
pub fn peer(bed: &TestBed, pod: &Pod, args: &[&str]) -> Result<Command> {
    let (python, script) = python_peer(bed)?;
    let mut command = pod.command(&python.to_string_lossy());
    command.arg(script).args(args);
    Ok(command)
}

/// The interpreter and the script, for namespaces that are no pods.
///
/// # Errors
/// As [`peer`].
pub fn python_peer(bed: &TestBed) -> Result<(PathBuf, PathBuf)> {
    let script = bed.file("peer.py");
    if !script.exists() {
        fs::write(&script, PEER)?;
    }
    let system = PathBuf::from("/usr/bin/python3");
    let python = if system.is_file() { Some(system) } else { find_program("python3") };
    Ok((python.context("python3 is not installed")?, script))
}

/// Starts a server of `peer.py` (`["echo", "tcp", "7"]` and the like) and waits for its port.
///
/// # Errors
/// It does not listen in time.
pub fn start_peer(bed: &mut TestBed, path: &str, args: &[&str], port: u16) -> Result<()> {
    let pod = bed.pod(path);
    let mut command = peer(bed, pod, args)?;
    let name = format!("{}-{}", pod.spec().name, args.join("-"));
    bed.start(&name, &mut command)?;
    wait_for_port(bed.pod(path).netns(), port, START_LIMIT)
}

/// Starts an HTTP server that answers every request with 200 and the pod's name: nginx, or Python where it is missing.
///
/// # Errors
/// It does not listen in time.
pub fn start_http(bed: &mut TestBed, path: &str, port: u16) -> Result<&'static str> {
    let name = bed.pod(path).spec().name.clone();
    let Some(nginx) = find_program("nginx") else {
        start_peer(bed, path, &["http", &port.to_string(), &name], port)?;
        return Ok("python http.server");
    };
    let folder = bed.file(&format!("{name}-nginx"));
    fs::create_dir_all(&folder)?;
    let config = folder.join("nginx.conf");
    let dir = folder.display();
    fs::write(
        &config,
        format!(
            "daemon off;\nmaster_process off;\npid {dir}/pid;\nerror_log stderr warn;\n\
             events {{ worker_connections 512; }}\n\
             http {{\n  access_log {dir}/access.log;\n  client_body_temp_path {dir};\n  proxy_temp_path {dir};\n  \
             fastcgi_temp_path {dir};\n  uwsgi_temp_path {dir};\n  scgi_temp_path {dir};\n  \
             server {{\n    listen {port};\n    listen [::]:{port};\n    default_type text/plain;\n    \
             location / {{ return 200 \"{name}: $request_method $uri\\n\"; }}\n  }}\n}}\n"
        ),
    )?;
    let mut command = bed.pod(path).command(&nginx.to_string_lossy());
    command.arg("-p").arg(&folder).arg("-c").arg(&config).args(["-e", "stderr"]);
    bed.start(&format!("{name}-nginx"), &mut command)?;
    wait_for_port(bed.pod(path).netns(), port, START_LIMIT)?;
    Ok("nginx")
}

/// Starts dnsmasq on port 53 with an address record for every pod: `NAME.NAMESPACE.svc.cluster.local`, short name too.
///
/// # Errors
/// dnsmasq is not installed or does not listen in time.
pub fn start_dns(bed: &mut TestBed, path: &str) -> Result<()> {
    start_dns_with(bed, path, &[])
}

/// The same with more options of dnsmasq, such as records of names outside the cluster.
///
/// # Errors
/// As [`start_dns`].
pub fn start_dns_with(bed: &mut TestBed, path: &str, options: &[&str]) -> Result<()> {
    let dnsmasq = find_program("dnsmasq").context("dnsmasq is not installed (package dnsmasq-base)")?;
    let mut command = bed.pod(path).command(&dnsmasq.to_string_lossy());
    command.args([
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
        "--no-daemon",
        "--log-facility=-",
        "--user=root",
        "--pid-file=",
        "--local-ttl=30",
        "--local=/cluster.local/",
    ]);
    command.args(options);
    for pod in bed.pods() {
        let spec = pod.spec();
        command.arg(format!(
            "--host-record={}.{}.svc.cluster.local,{},{}",
            spec.name,
            spec.namespace,
            pod.ipv4(),
            pod.ipv6()
        ));
    }
    bed.start("kube-dns", &mut command)?;
    wait_for_port(bed.pod(path).netns(), 53, START_LIMIT)?;
    let server = bed.pod(path).ipv4();
    for pod in bed.pods() {
        let namespace = &pod.spec().namespace;
        pod.netns().set_resolver(&format!(
            "nameserver {server}\nsearch {namespace}.svc.cluster.local svc.cluster.local\noptions ndots:3 timeout:1 attempts:1\n"
        ))?;
    }
    Ok(())
}

/// True where [`start_postgres`] has what it needs.
pub fn postgres_installed() -> bool {
    postgres_program("initdb").is_some()
        && postgres_program("postgres").is_some()
        && find_program("psql").is_some()
        && nix::unistd::User::from_name("postgres").is_ok_and(|user| user.is_some())
}

/// Starts PostgreSQL on port 5432 with a database `shop` that holds one order, and no password.
///
/// # Errors
/// It is not installed, or does not listen in time.
pub fn start_postgres(bed: &mut TestBed, path: &str) -> Result<()> {
    let (Some(initdb), Some(server)) = (postgres_program("initdb"), postgres_program("postgres")) else {
        bail!("PostgreSQL is not installed (package postgresql)");
    };
    let user = nix::unistd::User::from_name("postgres")?.context("there is no user postgres")?;
    let data = bed.file("postgres");
    fs::create_dir_all(&data)?;
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700))?;
    chown(&data, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;

    // The server refuses to run as root.
    let as_user = |command: &mut Command, program: &Path| {
        command
            .args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"])
            .arg(program)
            .arg("-D")
            .arg(&data);
    };
    let mut init = Command::new("setpriv");
    as_user(&mut init, &initdb);
    init.args(["--no-sync", "--auth=trust", "--username=shop", "--encoding=UTF8", "--locale=C"])
        .current_dir("/");
    exec::check(&mut init, Duration::from_secs(60)).context("initdb")?;
    fs::write(data.join("pg_hba.conf"), "host all all 0.0.0.0/0 trust\nhost all all ::/0 trust\n")?;

    let mut run = bed.pod(path).command("setpriv");
    as_user(&mut run, &server);
    run.args(["-c", "listen_addresses=*", "-c", "unix_socket_directories=", "-c", "fsync=off"])
        .current_dir("/");
    bed.start("postgres", &mut run)?;
    let pod = bed.pod(path);
    wait_for_port(pod.netns(), 5432, START_LIMIT)?;
    exec::wait_for("a database that takes connections", START_LIMIT, || {
        pod.run(
            &["psql", "-qAt", "-h", "127.0.0.1", "-U", "shop", "postgres", "-c", "CREATE DATABASE shop"],
            START_LIMIT,
        )
        .is_ok_and(|out| out.ok() || out.text().contains("already exists"))
    })?;
    let sql = "CREATE TABLE orders (id int, item text); INSERT INTO orders VALUES (1, 'sluice gate')";
    let made = pod.run(&["psql", "-qAt", "-h", "127.0.0.1", "-U", "shop", "shop", "-c", sql], START_LIMIT)?;
    if !made.ok() {
        bail!("psql: {}", made.text());
    }
    Ok(())
}

/// PostgreSQL's own folder is in `PATH` on few systems.
fn postgres_program(name: &str) -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .map(|versions| versions.flatten().map(|entry| entry.path().join("bin").join(name)).collect())
        .unwrap_or_default();
    found.retain(|path| path.is_file());
    found.sort();
    found.pop().or_else(|| find_program(name))
}
