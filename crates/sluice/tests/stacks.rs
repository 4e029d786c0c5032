//! Every stack of `configs/stacks` is valid and answers as its text says.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn stacks() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/stacks")
}

fn sluice(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sluice")).args(args).output().expect("the binary runs")
}

/// Asserts what `policy explain` answers for one flow: exit code 0 for allowed, 1 for denied.
#[track_caller]
fn explain(stack: &str, from: &str, to: &str, port: &str, allowed: bool) {
    let config = stacks().join(stack);
    let config = config.to_str().expect("a plain path");
    let output =
        sluice(&["policy", "explain", "--config", config, "--from", from, "--to", to, "--port", port]);
    let words = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        output.status.code(),
        Some(if allowed { 0 } else { 1 }),
        "{stack}: {from} -> {to} {port}: {words}"
    );
}

/// The same for one HTTP request.
#[track_caller]
fn explain_http(stack: &str, from: &str, to: &str, request: &str, allowed: bool) {
    let config = stacks().join(stack);
    let config = config.to_str().expect("a plain path");
    let mut argv =
        vec!["policy", "explain", "--config", config, "--from", from, "--to", to, "--port", "8080/TCP"];
    argv.extend(["--http", request]);
    let output = sluice(&argv);
    let words = String::from_utf8_lossy(&output.stdout);
    let code = if allowed { 0 } else { 1 };
    assert_eq!(output.status.code(), Some(code), "{stack}: {from} -> {to} {request}: {words}");
}

#[test]
fn every_stack_is_valid() {
    let mut checked = 0;
    for stack in std::fs::read_dir(stacks()).expect("configs/stacks").flatten() {
        if !stack.path().is_dir() {
            continue;
        }
        let (policies, inventory) =
            (stack.path().join("policies"), stack.path().join("inventory/cluster.yaml"));
        let output = Command::new(env!("CARGO_BIN_EXE_sluice"))
            .args(["policy", "check"])
            .arg(&policies)
            .arg("--inventory")
            .arg(&inventory)
            .output()
            .expect("the binary runs");
        let words = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{}: {words}{}",
            policies.display(),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(!words.contains("matches nothing"), "{words}");
        checked += 1;
    }
    assert_eq!(checked, 7);
}

#[test]
fn three_tiers_talk_only_along_the_chain() {
    let stack = "three-tier";
    explain(stack, "production/frontend", "production/api-service", "8080/TCP", true);
    explain(stack, "production/api-service", "production/postgres-db", "5432/TCP", true);
    explain(stack, "production/frontend", "kube-system/kube-dns", "53/UDP", true);
    explain(stack, "production/frontend", "production/postgres-db", "5432/TCP", false);
    explain(stack, "production/recommendation-service", "production/api-service", "8080/TCP", false);
    explain(stack, "production/frontend", "ext/internet", "443/TCP", false);
}

#[test]
fn three_tiers_ask_only_what_is_theirs() {
    let (frontend, monitoring) = ("production/frontend", "production/monitoring-service");
    for (from, request, allowed) in [
        (frontend, "GET /api/v1/products", true),
        (frontend, "POST /api/v1/orders", true),
        (frontend, "POST /api/v1/products", false),
        (frontend, "GET /api/v1/products/1", false),
        (frontend, "GET /api/v1/admin/metrics", false),
        (monitoring, "GET /api/v1/admin/metrics", true),
        (monitoring, "GET /api/v1/products", false),
    ] {
        explain_http("three-tier", from, "production/api-service", request, allowed);
    }
}

#[test]
fn each_client_of_the_payments_api_has_its_own_requests() {
    for (from, allowed) in [
        ("web/frontend-app", [true, true, false]),
        ("data/analytics-service", [true, false, false]),
        ("ops/finance-tool", [false, false, true]),
        ("web/stranger", [false, false, false]),
    ] {
        let requests = ["GET /api/v1/charges", "POST /api/v1/charges", "POST /api/v1/refunds"];
        for (request, allowed) in requests.iter().zip(allowed) {
            explain_http("payments", from, "payments/payments-api", request, allowed);
        }
    }
}

#[test]
fn tenants_share_nothing_but_prometheus() {
    let stack = "tenants";
    explain(stack, "tenant-a/web", "tenant-a/store", "8080/TCP", true);
    explain(stack, "tenant-a/web", "tenant-b/web", "8080/TCP", false);
    explain(stack, "tenant-b/web", "monitoring/prometheus", "9090/TCP", true);
    explain(stack, "tenant-b/web", "monitoring/prometheus", "9091/TCP", false);
}

#[test]
fn the_edge_takes_only_the_load_balancer_and_the_database_starts_nothing() {
    let stack = "edge-kafka";
    explain(stack, "ext/load-balancer", "frontend/frontend", "443/TCP", true);
    explain(stack, "ext/internet", "frontend/frontend", "443/TCP", false);
    explain(stack, "ext/load-balancer", "frontend/frontend", "80/TCP", false);
    explain(stack, "backend/backend-api", "database/postgres", "5432/TCP", true);
    explain(stack, "database/postgres", "backend/backend-api", "8080/TCP", false);
    explain(stack, "backend/batch", "kafka/kafka", "9092/TCP", false);
    explain(stack, "ext/partner", "kafka/kafka", "9092/TCP", true);
}

#[test]
fn the_host_reaches_what_its_policy_lists() {
    let stack = "host";
    explain(stack, "node/node-1", "kube-system/kube-dns", "53/UDP", true);
    explain(stack, "node/node-1", "ext/api-server", "6443/TCP", true);
    explain(stack, "node/node-1", "ext/mirror-1", "443/TCP", true);
    explain(stack, "node/node-1", "ext/internet", "443/TCP", false);
}
