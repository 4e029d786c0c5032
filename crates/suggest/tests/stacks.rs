//! What is suggested for the traffic of the stacks in `configs/stacks`, as text that was read by people.

mod support;

use policy::conformance::{DnsFacts, Flow, HttpFacts, KafkaFacts};
use policy::document::load_inventory;
use policy::inventory::Inventory;
use support::{Outcome, all_records, verdicts};

fn inventory(stack: &str) -> Inventory {
    let path = format!("{}/../../configs/stacks/{stack}/inventory/cluster.yaml", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect("a stack");
    load_inventory(&text, &path).expect("a valid inventory")
}

fn flow(src: &str, dst: &str, port: &str) -> Flow {
    let (port, proto) = port.split_once('/').expect("a port and a protocol");
    let end = |name: &str| match name.split_once('/') {
        Some(("ext" | "node", _)) => name.to_owned(),
        _ => format!("pod/{name}"),
    };
    let port = port.parse().expect("a number");
    Flow {
        id: "f".to_owned(),
        src: end(src),
        dst: end(dst),
        proto: proto.to_owned(),
        port,
        ..Flow::default()
    }
}

fn http(src: &str, dst: &str, port: &str, request: &str) -> Flow {
    let (method, path) = request.split_once(' ').expect("a method and a path");
    let http = HttpFacts { method: method.to_owned(), path: path.to_owned(), ..HttpFacts::default() };
    Flow { http: Some(http), ..flow(src, dst, port) }
}

fn dns(src: &str, name: &str) -> Flow {
    Flow { dns: Some(DnsFacts { name: name.to_owned() }), ..flow(src, "kube-system/kube-dns", "53/UDP") }
}

fn kafka(src: &str, api_key: i16, client: &str, topic: &str) -> Flow {
    let topics = vec![topic.to_owned()];
    let kafka = KafkaFacts { api_key, client_id: client.to_owned(), topics, ..KafkaFacts::default() };
    Flow { kafka: Some(kafka), ..flow(src, "kafka/kafka", "9092/TCP") }
}

/// Suggests, asserts that all of it is allowed and the others are not, and compares with the text kept.
#[track_caller]
fn golden(stack: &str, inventory: &Inventory, seen: &[Flow], others: &[Flow]) {
    let records = all_records(inventory, seen, Outcome::Passed);
    let suggestion = suggest::suggest(&records, &suggest::Options::default());
    let text = suggestion.to_yaml();
    for (flow, allowed) in seen.iter().zip(verdicts(inventory, &[&text], seen)) {
        assert!(allowed, "not allowed: {flow}\n{text}");
    }
    for (flow, allowed) in others.iter().zip(verdicts(inventory, &[&text], others)) {
        assert!(!allowed, "not denied: {flow}\n{text}");
    }
    insta::with_settings!({prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_snapshot!(stack, text);
    });
}

#[test]
fn three_tier() {
    let mut cluster = inventory("three-tier");
    cluster.external[0].dns_names = vec!["api.stripe.com".into()];
    let (api, front, monitoring) =
        ("production/api-service", "production/frontend", "production/monitoring-service");
    let seen = [
        dns(front, "api-service.production.svc.cluster.local"),
        http(front, api, "8080/TCP", "GET /api/v1/products"),
        http(front, api, "8080/TCP", "GET /api/v1/products/17"),
        http(front, api, "8080/TCP", "GET /api/v1/products/18?full=1"),
        http(front, api, "8080/TCP", "POST /api/v1/orders"),
        http(monitoring, api, "8080/TCP", "GET /api/v1/admin/metrics"),
        flow(api, "production/postgres-db", "5432/TCP"),
        dns("production/payment-service", "api.stripe.com"),
        flow("production/payment-service", "ext/internet", "443/TCP"),
        flow("node/node-1", front, "8080/TCP"),
    ];
    let others = [
        http(front, api, "8080/TCP", "GET /api/v1/admin/metrics"),
        http(monitoring, api, "8080/TCP", "GET /api/v1/products"),
        flow(front, "production/postgres-db", "5432/TCP"),
        flow("production/recommendation-service", api, "8080/TCP"),
        flow("production/postgres-db", "ext/internet", "443/TCP"),
        dns(front, "api.stripe.com"),
    ];
    golden("three-tier", &cluster, &seen, &others);
}

#[test]
fn payments() {
    let api = "payments/payments-api";
    let seen = [
        http("web/frontend-app", api, "8080/TCP", "GET /api/v1/charges"),
        http("web/frontend-app", api, "8080/TCP", "POST /api/v1/charges"),
        http("data/analytics-service", api, "8080/TCP", "GET /api/v1/charges"),
        http("ops/finance-tool", api, "8080/TCP", "POST /api/v1/refunds"),
    ];
    let others = [
        http("web/frontend-app", api, "8080/TCP", "POST /api/v1/refunds"),
        http("data/analytics-service", api, "8080/TCP", "POST /api/v1/charges"),
        http("ops/finance-tool", api, "8080/TCP", "GET /api/v1/charges"),
        http("web/stranger", api, "8080/TCP", "GET /api/v1/charges"),
    ];
    golden("payments", &inventory("payments"), &seen, &others);
}

#[test]
fn microservices() {
    let gateway = "shop/api-gateway";
    let worker = "shop/payment-worker";
    let mut seen = vec![
        flow("shop/frontend", gateway, "8080/TCP"),
        http(gateway, "shop/user-service", "8081/TCP", "POST /users"),
        http(gateway, "shop/order-service", "8082/TCP", "GET /orders/3f2504e0-4f89-11d3-9a0c-0305e82c3301"),
        flow("shop/user-service", "shop/database", "5432/TCP"),
        flow("shop/order-service", "shop/database", "5432/TCP"),
    ];
    let people = ["ada", "bob", "cy", "dee", "eve", "fay", "gus", "hal", "ivy", "joe"];
    seen.extend(
        people.map(|name| http(gateway, "shop/user-service", "8081/TCP", &format!("GET /users/{name}"))),
    );
    for (host, name) in [
        ("ext/stripe", "api.stripe.com"),
        ("ext/github", "api.github.com"),
        ("ext/bucket", "shop.s3.amazonaws.com"),
    ] {
        seen.extend([dns(worker, name), flow(worker, host, "443/TCP")]);
    }
    let others = [
        flow("shop/frontend", "shop/user-service", "8081/TCP"),
        http(gateway, "shop/user-service", "8081/TCP", "DELETE /users/ada"),
        http(gateway, "shop/user-service", "8081/TCP", "GET /users/ada/keys"),
        flow("shop/database", "shop/user-service", "8081/TCP"),
        flow("shop/frontend", "ext/stripe", "443/TCP"),
        flow(worker, "ext/stripe", "80/TCP"),
    ];
    golden("microservices", &inventory("microservices"), &seen, &others);
}

#[test]
fn edge_kafka() {
    let mut cluster = inventory("edge-kafka");
    let client = cluster.external[0].clone();
    for n in 21..41 {
        let name = format!("client-{n}").into();
        cluster.external.push(policy::inventory::External {
            name,
            ip: [10, 0, 0, n].into(),
            ..client.clone()
        });
    }
    let mut seen = vec![
        flow("ext/load-balancer", "frontend/frontend", "443/TCP"),
        http("frontend/frontend", "backend/backend-api", "8080/TCP", "GET /api/v1/items"),
        flow("backend/backend-api", "database/postgres", "5432/TCP"),
        kafka("backend/backend-api", 0, "payment-service", "orders"),
        kafka("backend/backend-api", 3, "payment-service", "orders"),
        kafka("backend/backend-api", 1, "payment-service", "events"),
        flow("ext/partner", "kafka/kafka", "9092/TCP"),
    ];
    seen.extend((21..41).map(|n| flow(&format!("ext/client-{n}"), "frontend/frontend", "443/TCP")));
    let others = [
        flow("ext/internet", "frontend/frontend", "443/TCP"),
        kafka("backend/backend-api", 1, "payment-service", "orders"),
        kafka("backend/backend-api", 0, "someone-else", "orders"),
        flow("backend/batch", "kafka/kafka", "9092/TCP"),
        flow("database/postgres", "backend/backend-api", "8080/TCP"),
    ];
    golden("edge-kafka", &cluster, &seen, &others);
}
