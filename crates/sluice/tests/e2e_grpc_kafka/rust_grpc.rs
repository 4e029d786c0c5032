//! gRPC between tonic's client and server.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use tonic::{Code, Request, Status};

use crate::kit;
use crate::rust::payments::{Client, Payment, Payments};
use crate::rust::{Server, ask};
use crate::support::{Lab, eventually};
use sluice::testbed::wait_for_port;

const PORT: u16 = 50051;
const RULES: &str =
    "http: [{method: POST, path: \"/payments.PaymentService/(AuthorizePayment|Collect|List|Chat|Slow)\"}]";

struct Bed {
    lab: Lab,
    service: Payments,
    _server: Server,
    url: String,
}

fn service(test: &str) -> Option<Bed> {
    let mut lab = kit::pods(test, &[])?;
    let service = Payments::default();
    let serving = service.clone();
    let server = Server::start(&lab, "lab/server", move |stop| serving.serve(PORT, stop));
    wait_for_port(lab.pod("lab/server").netns(), PORT, Duration::from_secs(20)).expect("tonic listens");
    lab.write_policy("server", &kit::policy(&[(PORT, RULES)])).expect("written");
    lab.start();
    let url = format!("http://{}:{PORT}", lab.pod("lab/server").ipv4());
    Some(Bed { lab, service, _server: server, url })
}

/// How a call ended, as text.
fn end<T>(ended: Result<T, Status>) -> String {
    match ended {
        Ok(_) => "ok".to_owned(),
        Err(status) => format!("{:?}: {}", status.code(), status.message()),
    }
}

const REFUSED: &str = "PermissionDenied: Access denied";

fn payment(text: &str) -> Request<Payment> {
    Request::new(Payment::new(text, 7))
}

/// Ten megabytes.
fn much() -> impl futures_util::Stream<Item = Payment> + Send + 'static {
    stream::iter((0..200).map(|number| Payment { data: vec![b'z'; 50_000], ..Payment::new("much", number) }))
}

#[test]
fn calls_of_every_kind_beside_refused_ones() {
    let Some(bed) = service("calls_of_every_kind_beside_refused_ones") else { return };
    let url = bed.url.clone();
    ask(&bed.lab, move || async move {
        let mut client = Client::connect(url).await;
        let refused = |ended: Result<(), Status>| assert_eq!(end(ended), REFUSED);
        for _ in 0..3 {
            let answer = client.unary("AuthorizePayment", payment("42 EUR")).await.expect("allowed");
            assert_eq!(*answer.get_ref(), Payment::new("authorized 42 EUR", 7));
            refused(client.unary("IssueRefund", payment("42 EUR")).await.map(drop));
            refused(client.unary("AuthorizePaymentX", payment("42 EUR")).await.map(drop));
        }
        let numbers = client.list("List", 1_000).await.expect("allowed");
        assert_eq!(numbers, (0..1_000).collect::<Vec<_>>());
        refused(client.list("IssueRefund", 1_000).await.map(drop));
        assert_eq!(client.collect("Collect", much()).await.expect("allowed"), 10_000_000);
        // Refused with the body on its way: its credit comes back, or the calls behind it would wait for ever.
        for _ in 0..3 {
            refused(client.collect("IssueRefund", much()).await.map(drop));
            refused(client.chat("IssueRefund", much()).await.map(drop));
        }
        assert_eq!(client.collect("Collect", much()).await.expect("allowed"), 10_000_000);
    });
    assert_eq!(
        bed.service.seen().into_iter().map(|(method, times)| format!("{method} {times}")).collect::<Vec<_>>(),
        ["AuthorizePayment 3", "Collect 2", "List 1"]
    );
    let url = |method: &str| format!("(HTTP/2 POST {}/payments.PaymentService/{method})", bed.url);
    kit::expect_logged(&bed.lab, &["http-request FORWARDED", &url("Collect")]);
    kit::expect_logged(&bed.lab, &["http-request DROPPED", &url("IssueRefund"), "by default deny"]);
    kit::no_anomalies(&bed.lab);
}

#[test]
fn a_conversation_goes_on_while_other_calls_are_refused() {
    let Some(bed) = service("a_conversation_goes_on_while_other_calls_are_refused") else { return };
    let url = bed.url.clone();
    ask(&bed.lab, move || async move {
        let mut client = Client::connect(url).await;
        let (say, said) = tokio::sync::mpsc::channel::<Payment>(1);
        let said = stream::unfold(said, |mut said| async move { Some((said.recv().await?, said)) });
        let mut answers = client.chat("Chat", said).await.expect("allowed");
        for number in 0..300_u64 {
            say.send(Payment::new("you", number)).await.expect("it listens");
            let answer = answers.next().await.expect("an answer").expect("allowed");
            assert_eq!(answer, Payment::new("re you", number));
            if number % 10 == 3 {
                assert_eq!(end(client.unary("IssueRefund", payment("x")).await), REFUSED);
            }
        }
        drop(say);
        assert!(answers.next().await.is_none(), "the conversation ends in order");
    });
    assert_eq!(bed.service.seen().get("Chat"), Some(&1));
    kit::no_anomalies(&bed.lab);
}

#[test]
fn deadlines_cancelled_calls_and_long_metadata() {
    let Some(bed) = service("deadlines_cancelled_calls_and_long_metadata") else { return };
    let url = bed.url.clone();
    ask(&bed.lab, move || async move {
        let mut client = Client::connect(url).await;
        let mut short = payment("x");
        short.set_timeout(Duration::from_millis(400));
        let ended = client.unary("Slow", short).await.expect_err("it takes longer");
        assert!([Code::DeadlineExceeded, Code::Cancelled].contains(&ended.code()), "{ended:?}");
        // A call that nobody waits for any more is reset.
        let given_up =
            tokio::time::timeout(Duration::from_millis(300), client.unary("Slow", payment("x"))).await;
        assert!(given_up.is_err());
        for kib in [1, 4, 8] {
            for method in ["AuthorizePayment", "IssueRefund"] {
                let long = "v".repeat(kib * 1_024);
                let mut request = payment("x");
                request.metadata_mut().insert("x-long", long.parse().expect("a value"));
                let ended = client.unary(method, request).await;
                if method == "IssueRefund" {
                    assert_eq!(end(ended), REFUSED);
                    continue;
                }
                let answer = ended.expect("allowed");
                let back = answer.metadata().get("x-long-back").and_then(|back| back.to_str().ok());
                assert_eq!(back, Some(long.as_str()), "{kib} KiB");
            }
        }
    });
    eventually("the server hears of both ends", kit::LIMIT, || {
        bed.service.seen().get("SlowEndedEarly") == Some(&2)
    });
    assert_eq!(bed.service.seen().get("IssueRefund"), None);
    kit::no_anomalies(&bed.lab);
}

/// tonic would open all of them at once, as the server lets it; it learns of the 1,024 that are followed.
#[test]
fn thousands_of_streams_at_once_of_which_every_third_is_refused() {
    let Some(bed) = service("thousands_of_streams_at_once_of_which_every_third_is_refused") else { return };
    let url = bed.url.clone();
    let ends = ask(&bed.lab, move || async move {
        let client = Client::connect(url).await;
        let call = |number: u64| {
            let mut client = client.clone();
            async move {
                let method = if number % 3 == 2 { "IssueRefund" } else { "AuthorizePayment" };
                let ended = client.unary(method, Request::new(Payment::new("x", number))).await;
                match ended {
                    Ok(answer) if answer.get_ref().number != number => format!("{number}: another's answer"),
                    ended => end(ended),
                }
            }
        };
        let mut ends = std::collections::BTreeMap::<String, u32>::new();
        for _ in 0..2 {
            for ended in futures_util::future::join_all((0..3_000).map(call)).await {
                *ends.entry(ended).or_default() += 1;
            }
        }
        ends
    });
    assert_eq!(ends, [("ok".to_owned(), 4_000), (REFUSED.to_owned(), 2_000)].into());
    assert_eq!(bed.service.seen(), [("AuthorizePayment".to_owned(), 4_000)].into());
    kit::no_anomalies(&bed.lab);
}
