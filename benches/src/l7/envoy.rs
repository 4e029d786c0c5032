//! Envoy as a gate: HTTP connection manager, RBAC filter with the rules of the comparison, router; one worker, no logs.

use super::proxy::{ADMIN_PORT, PORT};
use super::speech::Speech;
use serde_json::{Value, json};
use std::net::Ipv4Addr;

/// Where it tells how many requests the rules allowed.
pub const COUNTERS: &str = "/stats?filter=rbac.allowed$";
/// The counter of these.
const ALLOWED_COUNTER: &str = "http.gate.rbac.allowed";

/// The count, from a line like `http.gate.rbac.allowed: 12`.
#[must_use]
pub fn count(said: &str) -> Option<u64> {
    let line = said.lines().find_map(|line| line.strip_prefix(ALLOWED_COUNTER))?;
    line.trim_start_matches(':').trim().parse().ok()
}

/// The configuration for a server at this address.
#[must_use]
pub fn config(server: Ipv4Addr, speech: Speech) -> String {
    let mut config = json!({
        "admin": {"address": socket("127.0.0.1", ADMIN_PORT)},
        "static_resources": {
            "listeners": [{
                "name": "gate",
                "address": socket("0.0.0.0", PORT),
                "filter_chains": [{"filters": [{
                    "name": "envoy.filters.network.http_connection_manager",
                    "typed_config": manager(speech),
                }]}],
            }],
            "clusters": [{
                "name": "server",
                "type": "STATIC",
                "connect_timeout": "5s",
                "load_assignment": {
                    "cluster_name": "server",
                    "endpoints": [{"lb_endpoints": [
                        {"endpoint": {"address": socket(&server.to_string(), 80)}}
                    ]}],
                },
            }],
        },
    });
    if speech != Speech::Http1 {
        config["static_resources"]["clusters"][0]["typed_extension_protocol_options"] = json!({
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            },
        });
    }
    config.to_string()
}

fn socket(address: &str, port: u16) -> Value {
    json!({"socket_address": {"address": address, "port_value": port}})
}

fn manager(speech: Speech) -> Value {
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "gate",
        "codec_type": if speech == Speech::Http1 { "HTTP1" } else { "HTTP2" },
        "generate_request_id": false,
        "route_config": {
            "virtual_hosts": [{
                "name": "all",
                "domains": ["*"],
                "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "server", "timeout": "0s"}}],
            }],
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.rbac",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
                    "rules": {"action": "ALLOW", "policies": {"client": {
                        "permissions": permissions(speech),
                        "principals": [{"any": true}],
                    }}},
                },
            },
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
            },
        ],
    })
}

fn permissions(speech: Speech) -> Vec<Value> {
    speech.patterns().iter().map(|(method, path)| permission(method, path)).collect()
}

fn permission(method: &str, path: &str) -> Value {
    json!({"and_rules": {"rules": [
        {"header": {"name": ":method", "string_match": {"exact": method}}},
        {"header": {"name": ":path", "string_match": {"safe_regex": {"regex": path}}}},
    ]}})
}
