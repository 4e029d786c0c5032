//! Kafka against an independent codec: every API and version that it knows, topics found and refusals understood.

mod kafka {
    mod hostile;
    pub(crate) mod requests;
}

use bytes::{Bytes, BytesMut};
use kafka::requests::{self, CORRELATION, TOPICS};
use kafka_protocol::messages::{ApiKey, ResponseHeader, ResponseKind};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use l7::kafka::Kafka;
use l7::testing::{Event, Recorder, Splice, agree, play};
use l7::{Settings, Side};

/// A connection on which requests are judged by `allow`.
fn splice(allow: impl Fn(&[&str]) -> bool + 'static) -> Splice<Kafka> {
    let judge = Recorder { kafka: Box::new(move |request| allow(request.topics)), ..Recorder::default() };
    Splice::new(Kafka::new(&Settings::default()), judge)
}

/// Decodes a response and demands that nothing is left over.
fn decode(key: ApiKey, version: i16, frame: &[u8]) -> Result<(i32, ResponseKind), String> {
    let size = frame.first_chunk::<4>().map(|size| u32::from_be_bytes(*size) as usize);
    if size != Some(frame.len().saturating_sub(4)) {
        return Err(format!("size {size:?} of {}", frame.len()));
    }
    let mut bytes = Bytes::copy_from_slice(&frame[4..]);
    let header = ResponseHeader::decode(&mut bytes, key.response_header_version(version))
        .map_err(|error| format!("header: {error:#}"))?;
    let response =
        ResponseKind::decode(key, &mut bytes, version).map_err(|error| format!("body: {error:#}"))?;
    if bytes.is_empty() {
        Ok((header.correlation_id, response))
    } else {
        Err(format!("{bytes:?} is left over"))
    }
}

#[test]
fn topics_are_found_in_every_version_and_allowed_requests_pass_unchanged() {
    let mut seen = 0;
    for request in requests::all() {
        let frame = request.frame();
        let mut splice = splice(|_| true);
        splice.send(Side::Client, &frame);
        let outcome = splice.outcome();
        let name = request.name();
        assert_eq!(outcome.end, None, "{name}");
        assert_eq!(outcome.to_server, frame, "{name}");
        if request.key == ApiKey::Metadata {
            let lines: Vec<String> = TOPICS.iter().map(|topic| format!("topics: [{topic:?}]")).collect();
            assert_eq!(outcome.told.len(), 2, "{name}: {:?}", outcome.told);
            assert!(
                lines.iter().zip(&outcome.told).all(|(line, told)| told.contains(line)),
                "{:?}",
                outcome.told
            );
            continue;
        }
        let topics = format!("client_id: \"tester\", topics: {:?}", request.topics);
        assert!(outcome.told.len() == 1 && outcome.told[0].contains(&topics), "{name}: {:?}", outcome.told);
        seen += 1;
    }
    assert!(seen > 150, "only {seen} requests");
}

#[test]
fn refusals_are_responses_of_the_very_api_and_version() {
    let mut wrong = Vec::new();
    for request in requests::all() {
        let mut splice = splice(|_| false);
        splice.send(Side::Client, &request.frame());
        let outcome = splice.outcome();
        let name = request.name();
        assert_eq!(outcome.end, None, "{name}");
        assert!(outcome.to_server.is_empty(), "{name}");
        match decode(request.key, request.version, &outcome.to_client) {
            Err(error) => wrong.push(format!("{name}: {error}")),
            Ok((correlation, response)) => {
                assert_eq!(correlation, CORRELATION, "{name}");
                let text = format!("{response:?}");
                let codes = text.matches(&format!("error_code: {}", request.code)).count();
                if codes != request.errors {
                    wrong.push(format!("{name}: {codes} errors instead of {}: {text}", request.errors));
                }
                for repeated in &request.repeated {
                    assert!(text.contains(repeated), "{name}: no {repeated} in {text}");
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn apis_without_topics_are_refused_with_an_error_too() {
    let mut wrong = Vec::new();
    for (key, version) in requests::without_topics() {
        let frame = requests::framed(key, version, &[]);
        let mut splice = splice(|_| false);
        splice.send(Side::Client, &frame);
        let outcome = splice.outcome();
        assert_eq!((outcome.end, outcome.to_server.len()), (None, 0), "{key:?} {version}");
        match decode(key, version, &outcome.to_client) {
            Err(error) => wrong.push(format!("{key:?} {version}: {error}")),
            Ok((_, response)) => {
                let text = format!("{response:?}");
                let codes = ["error_code: 30", "error_code: 31", "error_code: 53"];
                // Two answers that say errors for each thing asked, which an empty request does not.
                let silent = [ApiKey::AlterClientQuotas, ApiKey::AlterUserScramCredentials];
                let old = key == ApiKey::DescribeLogDirs && version < 3;
                if !codes.iter().any(|code| text.contains(code)) && !silent.contains(&key) && !old {
                    wrong.push(format!("{key:?} {version}: no error in {text}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn splits_do_not_matter() {
    for request in requests::all().filter(|request| request.version % 3 == 0) {
        for allowed in [true, false] {
            let script = [Event::Send(Side::Client, request.frame())];
            let outcome = agree(&script, || splice(move |_| allowed));
            assert_eq!(outcome.end, None, "{}", request.name());
        }
    }
}

/// A response of an API that is only counted: a correlation id and some bytes.
fn response(correlation: i32, body: &[u8]) -> Vec<u8> {
    let size = i32::try_from(body.len() + 4).expect("short");
    [&size.to_be_bytes()[..], &correlation.to_be_bytes(), body].concat()
}

#[test]
fn a_refusal_waits_for_its_turn_and_the_connection_goes_on() {
    let fetch = |correlation, topic| requests::fetch(correlation, 11, topic);
    let script = [
        Event::Send(Side::Client, [fetch(1, "orders"), fetch(2, "payments"), fetch(3, "orders")].concat()),
        Event::Send(Side::Server, response(1, &[0; 40])),
        Event::Send(Side::Server, response(3, &[1; 40])),
        Event::Send(Side::Client, fetch(4, "payments")),
        Event::Send(Side::Client, fetch(5, "orders")),
        Event::Send(Side::Server, response(5, &[2; 40])),
    ];
    let outcome = agree(&script, || splice(|topics| topics == ["orders"]));
    assert_eq!(outcome.end, None);
    assert_eq!(outcome.to_server, [fetch(1, "orders"), fetch(3, "orders"), fetch(5, "orders")].concat());
    let mut rest = &outcome.to_client[..];
    let mut seen = Vec::new();
    while let Some(size) = rest.first_chunk::<4>() {
        let (frame, behind) = rest.split_at(u32::from_be_bytes(*size) as usize + 4);
        let id = i32::from_be_bytes(frame[4..8].try_into().expect("four bytes"));
        seen.push(id);
        if id == 2 || id == 4 {
            let (_, refusal) = decode(ApiKey::Fetch, 11, frame).expect("a refusal that can be read");
            assert!(format!("{refusal:?}").contains("error_code: 29"));
        }
        rest = behind;
    }
    assert_eq!(seen, [1, 2, 3, 4, 5]);
    assert_eq!(outcome.told.iter().filter(|line| line.starts_with("KafkaResponse")).count(), 3);
}

#[test]
fn a_large_produce_goes_by_without_being_held() {
    let records = vec![7u8; 3 * 1024 * 1024];
    for (allowed, topic) in [(true, "orders"), (false, "payments")] {
        for version in 3..=12 {
            let frame = requests::produce(9, version, &[topic], 1, &records);
            let mut splice = splice(|topics| topics == ["orders"]);
            // Never more at hand than one piece: the model panics when too much is undecided.
            for piece in frame.chunks(60_000) {
                splice.send(Side::Client, piece);
            }
            let outcome = splice.outcome();
            assert_eq!((outcome.end, outcome.told.len()), (None, 1));
            if allowed {
                assert_eq!(outcome.to_server.len(), frame.len());
            } else {
                assert!(outcome.to_server.is_empty());
                let (id, refusal) = decode(ApiKey::Produce, version, &outcome.to_client).expect("a refusal");
                let text = format!("{refusal:?}");
                assert!(id == 9 && text.contains("payments"), "{text}");
                assert_eq!(text.matches("error_code: 29").count(), 2, "{text}");
            }
        }
    }
}

#[test]
fn a_large_produce_to_several_topics_is_refused_unasked() {
    let records = vec![7u8; 200 * 1024];
    let frame = requests::produce(9, 9, &["orders", "events"], 1, &records);
    let script =
        [Event::Send(Side::Client, frame), Event::Send(Side::Client, requests::fetch(10, 11, "orders"))];
    let outcome = play(splice(|_| true), &script, |_, _| Vec::new());
    let pieces = play(splice(|_| true), &script, |_, len| (1..len).step_by(1447).collect());
    assert_eq!(outcome, pieces);
    assert_eq!(outcome.told[0], "oddity kafka-request");
    assert_eq!(outcome.to_server, requests::fetch(10, 11, "orders"));
    let (_, refusal) = decode(ApiKey::Produce, 9, &outcome.to_client).expect("a refusal");
    assert_eq!(format!("{refusal:?}").matches("error_code: 29").count(), 4);
}

#[test]
fn a_refused_produce_without_acknowledgement_is_silent() {
    let frame = requests::produce(9, 7, &["payments"], 0, b"records");
    let next = requests::fetch(10, 11, "orders");
    let script = [
        Event::Send(Side::Client, [frame, next.clone()].concat()),
        Event::Send(Side::Server, response(10, &[])),
    ];
    let outcome = agree(&script, || splice(|topics| topics == ["orders"]));
    assert_eq!(outcome.to_server, next);
    assert_eq!(outcome.to_client, response(10, &[]));
    assert!(outcome.told[0].starts_with("deny"), "{:?}", outcome.told);
    // One that is allowed has no response either: the next response is another request's.
    let frame = requests::produce(9, 7, &["orders"], 0, b"records");
    let script =
        [Event::Send(Side::Client, [frame, next].concat()), Event::Send(Side::Server, response(10, &[]))];
    assert_eq!(agree(&script, || splice(|_| true)).end, None);
}

/// A Metadata response that names both topics with their ids.
fn metadata(correlation: i32, version: i16) -> Vec<u8> {
    use kafka_protocol::messages::metadata_response::{MetadataResponseBroker, MetadataResponsePartition};
    use kafka_protocol::messages::{MetadataResponse, TopicName, metadata_response::MetadataResponseTopic};
    let topics = TOPICS.map(|topic| {
        MetadataResponseTopic::default()
            .with_name(Some(TopicName(StrBytes::from_static_str(topic))))
            .with_topic_id(requests::id(topic))
            .with_partitions(vec![MetadataResponsePartition::default().with_error_code(5); 2])
    });
    let response = MetadataResponse::default()
        .with_brokers(vec![
            MetadataResponseBroker::default().with_host(StrBytes::from_static_str("kafka-0"));
            3
        ])
        .with_cluster_id(Some(StrBytes::from_static_str("cluster")))
        .with_topics(topics.to_vec());
    let mut body = BytesMut::new();
    ResponseHeader::default()
        .with_correlation_id(correlation)
        .encode(&mut body, ApiKey::Metadata.response_header_version(version))
        .expect("a header");
    response.encode(&mut body, version).expect("a response");
    [&u32::try_from(body.len()).expect("short").to_be_bytes()[..], &body].concat()
}

#[test]
fn ids_are_learnt_from_metadata_that_passes() {
    for version in 10..=13 {
        let question = requests::all().find(|r| r.key == ApiKey::Metadata && r.version == version);
        let fetch = requests::all().find(|r| r.key == ApiKey::Fetch && r.version == 17).expect("a fetch");
        let script = [
            Event::Send(Side::Client, question.expect("a question").frame()),
            Event::Send(Side::Server, metadata(CORRELATION, version)),
            Event::Send(Side::Client, fetch.frame()),
        ];
        let outcome = agree(&script, || splice(|topics| topics.iter().all(|topic| TOPICS.contains(topic))));
        assert_eq!((outcome.end, outcome.told.len()), (None, 4), "{:?}", outcome.told);
        assert!(outcome.to_server.ends_with(&fetch.frame()), "version {version}");
        assert_eq!(outcome.to_client, metadata(CORRELATION, version));
    }
}

#[test]
fn metadata_of_refused_topics_is_left_out_and_their_error_put_in() {
    use kafka_protocol::messages::{MetadataRequest, MetadataResponse, RequestHeader};
    for version in 0..=13 {
        let question = requests::all().find(|r| r.key == ApiKey::Metadata && r.version == version);
        let question = question.expect("a question").frame();
        for (allowed, kept) in [("orders", 1), ("none of them", 0)] {
            let script = [
                Event::Send(Side::Client, question.clone()),
                // The model server answers with both whatever it is asked.
                Event::Send(Side::Server, metadata(CORRELATION, version)),
                Event::Send(Side::Client, requests::fetch(2, 11, "orders")),
            ];
            let make = || splice(move |topics| topics.iter().all(|topic| *topic == allowed));
            let outcome =
                if version % 4 == 0 { agree(&script, make) } else { play(make(), &script, |_, _| vec![]) };
            assert_eq!(outcome.end, None, "version {version}: {:?}", outcome.told);
            // What the server is asked.
            let size = u32::from_be_bytes(*outcome.to_server.first_chunk().expect("a size")) as usize;
            let mut asked = Bytes::copy_from_slice(&outcome.to_server[4..4 + size]);
            RequestHeader::decode(&mut asked, ApiKey::Metadata.request_header_version(version))
                .expect("a header");
            let asked = MetadataRequest::decode(&mut asked, version).expect("a request");
            let names: Vec<String> = asked
                .topics
                .expect("a list")
                .iter()
                .map(|topic| topic.name.as_ref().expect("a name").as_str().to_owned())
                .collect();
            assert_eq!(names, &TOPICS.map(String::from)[..kept], "version {version}");
            // What the client hears.
            let size = u32::from_be_bytes(*outcome.to_client.first_chunk().expect("a size")) as usize;
            let (_, heard) =
                decode(ApiKey::Metadata, version, &outcome.to_client[..4 + size]).expect("a response");
            let ResponseKind::Metadata(MetadataResponse { brokers, topics, .. }) = heard else {
                panic!("{heard:?}")
            };
            assert_eq!(brokers.len(), 3);
            let refused: Vec<_> = topics.iter().filter(|topic| topic.error_code == 29).collect();
            assert_eq!(refused.len(), 2 - kept, "version {version}: {topics:?}");
            assert!(
                refused
                    .iter()
                    .any(|topic| topic.name.as_ref().is_some_and(|name| name.as_str() == "payments"))
            );
            if kept == 0 {
                assert_eq!(topics.len(), 2, "version {version}");
            }
        }
    }
}

#[test]
fn who_asks_for_brokers_hears_of_no_topics() {
    use kafka_protocol::messages::{MetadataRequest, MetadataResponse};
    for version in 1..=13 {
        let question = |topics| {
            let mut body = BytesMut::new();
            let request = MetadataRequest::default().with_topics(topics);
            request.encode(&mut body, version).expect("a request");
            requests::framed(ApiKey::Metadata, version, &body)
        };
        let hear = |topics, answer: Vec<u8>| {
            let script = [
                Event::Send(Side::Client, question(topics)),
                Event::Send(Side::Server, answer),
                // The connection goes on.
                Event::Send(Side::Client, requests::fetch(2, 12, "orders")),
                Event::Send(Side::Server, response(2, &[0; 300])),
            ];
            let outcome = agree(&script, || splice(|_| true));
            assert_eq!(outcome.end, None, "version {version}: {:?}", outcome.told);
            let tail = response(2, &[0; 300]);
            outcome.to_client.strip_suffix(&tail[..]).expect("the second response").to_vec()
        };
        let all = metadata(CORRELATION, version);
        let brokers = hear(Some(vec![]), all.clone());
        let (_, heard) = decode(ApiKey::Metadata, version, &brokers).expect("a response");
        let ResponseKind::Metadata(MetadataResponse { brokers: told, topics, .. }) = heard else {
            panic!("{heard:?}")
        };
        assert_eq!((told.len(), topics.len()), (3, 0), "version {version}");
        // A broker that does as it is asked is heard as it is, and so is the answer about all topics.
        assert_eq!(hear(Some(vec![]), brokers.clone()), brokers, "version {version}");
        assert_eq!(hear(None, all.clone()), all, "version {version}");
    }
}

#[test]
fn an_incremental_fetch_is_judged_with_the_topics_of_its_session() {
    let ask = |correlation, topic: Option<&str>, session, epoch| {
        requests::session_fetch(correlation, 11, topic, session, epoch)
    };
    let begun = response(1, &[&[0; 6][..], &77i32.to_be_bytes(), &[0; 300]].concat());
    let script = [
        Event::Send(Side::Client, ask(1, Some("events"), 0, 0)),
        Event::Send(Side::Server, begun),
        Event::Send(Side::Client, ask(2, None, 77, 1)),
        Event::Send(Side::Server, response(2, &[0; 300])),
        Event::Send(Side::Client, ask(3, Some("orders"), 77, 2)),
        Event::Send(Side::Server, response(3, &[0; 300])),
        Event::Send(Side::Client, ask(4, None, 77, 3)),
    ];
    let outcome = agree(&script, || {
        // Three requests, then the rule is revoked.
        let mut left = 3;
        let judge = Recorder {
            kafka: Box::new(move |_| {
                left -= 1;
                left >= 0
            }),
            ..Recorder::default()
        };
        Splice::new(Kafka::new(&Settings::default()), judge)
    });
    assert_eq!(outcome.end, None);
    let asked: Vec<&str> =
        outcome.told.iter().filter_map(|line| Some(line.split_once("topics: ")?.1)).collect();
    let both = "[\"events\", \"orders\"] }";
    let [first, second, third, fourth] = asked[..] else { panic!("{asked:?}") };
    assert_eq!((first, second), ("[\"events\"] }", "[\"events\"] }"));
    assert_eq!((third, fourth), ("[\"orders\", \"events\"] }", both));
    assert!(outcome.told[6].starts_with("deny"), "{:?}", outcome.told);
    // A session of another connection.
    let outcome = agree(&[Event::Send(Side::Client, ask(5, None, 78, 1))], || splice(|_| true));
    assert!(outcome.to_server.is_empty() && outcome.told.is_empty());
    let (_, answer) = decode(ApiKey::Fetch, 11, &outcome.to_client).expect("an answer");
    assert!(format!("{answer:?}").contains("error_code: 70"), "{answer:?}");
}

#[test]
fn a_broker_offers_what_is_read_here() {
    use kafka_protocol::messages::ApiVersionsResponse;
    use kafka_protocol::messages::api_versions_response::{ApiVersion, SupportedFeatureKey};
    let offers = [(0, 3, 13), (1, 4, 99), (3, 0, 13), (17, 0, 1), (18, 0, 9), (36, 0, 2), (1234, 0, 0)];
    let kept = [(0, 3, 12), (1, 4, 12), (3, 0, 13), (17, 1, 1), (18, 0, 4), (36, 0, 2)];
    let says = |offers: &[(i16, i16, i16)], version: i16| {
        let keys = offers.iter().map(|(key, min, max)| {
            ApiVersion::default().with_api_key(*key).with_min_version(*min).with_max_version(*max)
        });
        let mut response = ApiVersionsResponse::default().with_api_keys(keys.collect());
        if version >= 3 {
            let feature =
                SupportedFeatureKey::default().with_name(StrBytes::from_static_str("group.version"));
            response = response.with_supported_features(vec![feature]);
        }
        let mut body = BytesMut::new();
        body.extend_from_slice(&CORRELATION.to_be_bytes());
        response.encode(&mut body, version).expect("a response");
        [&u32::try_from(body.len()).expect("short").to_be_bytes()[..], &body].concat()
    };
    for version in 0..=4 {
        let question = requests::framed(ApiKey::ApiVersions, version, &[0; 8]);
        for offers in [&offers[..], &kept] {
            let script = [
                Event::Send(Side::Client, question.clone()),
                Event::Send(Side::Server, says(offers, version)),
                Event::Send(Side::Client, requests::fetch(2, 12, "orders")),
                Event::Send(Side::Server, response(2, &[0; 300])),
            ];
            let outcome = agree(&script, || splice(|_| true));
            assert_eq!(outcome.end, None, "version {version}");
            assert_eq!(
                outcome.to_client,
                [says(&kept, version), response(2, &[0; 300])].concat(),
                "version {version}"
            );
        }
    }
    // A version that nobody knows here is answered like brokers do, and tried again by the client.
    let question = requests::framed(ApiKey::ApiVersions, 3, &[0; 8]);
    let mut later = question.clone();
    later[7] = 9;
    let script = [
        Event::Send(Side::Client, later),
        Event::Send(Side::Client, question.clone()),
        Event::Send(Side::Server, says(&kept, 3)),
    ];
    let outcome = agree(&script, || splice(|_| true));
    assert_eq!((outcome.end, outcome.to_server), (None, question));
    let (own, behind) = outcome.to_client.split_at(4 + 4 + 2 + 4 + 6);
    assert_eq!(behind, says(&kept, 3));
    let (_, own) = decode(ApiKey::ApiVersions, 0, own).expect("an answer in version 0");
    assert!(format!("{own:?}").contains("error_code: 35"), "{own:?}");
}
