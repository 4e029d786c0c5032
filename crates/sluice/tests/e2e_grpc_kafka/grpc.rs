//! gRPC between grpcio's client and server.

use crate::kit::{self, ask};
use crate::support::Lab;
use serde_json::json;
use sluice::testbed::messages::{self, Speaks};

/// The port with rules.
const PORT: u16 = 50051;
/// The port beside it that is simply open: to ask the server what it saw.
const OPEN: u16 = 50052;
/// All that the suite of the peer needs to be let do.
const RULES: &str =
    "http: [{method: POST, path: \"/payments.PaymentService/(AuthorizePayment|Collect|List|Chat|Slow)\"}]";

fn service(test: &str, rules: &str) -> Option<Lab> {
    let mut lab = kit::pods(test, &[Speaks::Grpc])?;
    messages::start(&mut lab, "lab/server", Speaks::Grpc, &[PORT, OPEN]).expect("the service");
    lab.write_policy("server", &kit::policy(&[(PORT, rules), (OPEN, "")])).expect("written");
    lab.start();
    Some(lab)
}

#[test]
fn a_method_that_is_not_allowed_is_permission_denied_and_the_channel_goes_on() {
    let name = "a_method_that_is_not_allowed_is_permission_denied_and_the_channel_goes_on";
    let Some(lab) = service(name, "http: [{method: POST, path: /payments.PaymentService/AuthorizePayment}]")
    else {
        return;
    };
    let pod = lab.pod("lab/server");
    let (ok, refused) = ("authorized 42 EUR", "PERMISSION_DENIED: Access denied");
    for host in [pod.ipv4().to_string(), format!("[{}]", pod.ipv6())] {
        let methods =
            ["AuthorizePayment", "IssueRefund", "AuthorizePayment", "AuthorizePaymentX", "IssueRefund"];
        let mut args = vec!["call".to_owned(), format!("{host}:{PORT}")];
        args.extend(methods.iter().map(|method| (*method).to_owned()));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        assert_eq!(
            ask(&lab, Speaks::Grpc, &args)["calls"],
            json!([ok, refused, ok, refused, refused]),
            "{host}"
        );
        let url =
            |method: &str| format!("(HTTP/2 POST http://{host}:{PORT}/payments.PaymentService/{method})");
        kit::expect_logged(&lab, &["http-request FORWARDED", &url("AuthorizePayment"), "lab/server"]);
        kit::expect_logged(&lab, &["http-request DROPPED", &url("IssueRefund"), "by default deny"]);
        kit::expect_logged(&lab, &["http-response FORWARDED (HTTP/2 200 ", &url("AuthorizePayment")[8..]]);
    }
    // One connection for each family, four calls that passed, and never a word of the others.
    let seen = ask(&lab, Speaks::Grpc, &["report", &format!("{}:{OPEN}", pod.ipv4())]);
    assert_eq!(seen, json!({"AuthorizePayment": 4}));
    let responses = kit::responses(&lab, 4);
    let ports: std::collections::BTreeSet<u64> = responses
        .iter()
        .filter_map(|record| record["flow"]["l4"]["TCP"]["destination_port"].as_u64())
        .collect();
    assert_eq!((responses.len(), ports.len()), (4, 2));
    assert!(responses.iter().all(|record| record["flow"]["extensions"]["grpc_status"] == 0), "{responses:?}");
    kit::no_anomalies(&lab);
}

#[test]
fn streams_both_ways_deadlines_cancellation_and_metadata_beside_refused_calls() {
    let name = "streams_both_ways_deadlines_cancellation_and_metadata_beside_refused_calls";
    let Some(lab) = service(name, RULES) else { return };
    let host = lab.pod("lab/server").ipv4();
    let refused = "PERMISSION_DENIED: Access denied";
    assert_eq!(
        ask(&lab, Speaks::Grpc, &["suite", &format!("{host}:{PORT}")]),
        json!({
            "metadata": "ok",
            "server stream": 1000,
            "client stream": 10_000_000,
            "refused stream_unary": refused,
            "refused stream_stream": refused,
            "both ways": true,
            "deadline": "DEADLINE_EXCEEDED: Deadline Exceeded",
            "cancelled": true,
            "afterwards": "authorized after",
        })
    );
    let mut seen = serde_json::Value::Null;
    crate::support::eventually("the server hears of both ends", kit::LIMIT, || {
        seen = ask(&lab, Speaks::Grpc, &["report", &format!("{host}:{OPEN}")]);
        seen["SlowEndedEarly"] == 2
    });
    assert_eq!(
        seen,
        json!({"AuthorizePayment": 10, "List": 1, "Collect": 1, "Chat": 1, "Slow": 2, "SlowEndedEarly": 2})
    );
    kit::no_anomalies(&lab);
}

/// More at once than a connection may have (1,024), in segments of up to 64 KiB. The library knows of that limit and keeps
/// calls back until there is room.
#[test]
fn thousands_of_calls_at_once_of_which_every_third_is_refused() {
    let Some(lab) = service("thousands_of_calls_at_once_of_which_every_third_is_refused", RULES) else {
        return;
    };
    let host = lab.pod("lab/server").ipv4();
    let said = ask(&lab, Speaks::Grpc, &["many", &format!("{host}:{PORT}"), "2400", "2"]);
    kit::no_anomalies(&lab);
    assert_eq!(said, json!({"ok": 3200, "refused": 1600, "other": []}));
    let seen = ask(&lab, Speaks::Grpc, &["report", &format!("{host}:{OPEN}")]);
    assert_eq!(seen, json!({"AuthorizePayment": 3200}), "no other method was heard of");
}
