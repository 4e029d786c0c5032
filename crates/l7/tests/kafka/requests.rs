//! Requests of every API that names topics or repeats what was asked, in every version, written by kafka-protocol.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{
    self as m, ApiKey, GroupId, ProducerId, RequestHeader, RequestKind, TopicName, TransactionalId,
};
use kafka_protocol::protocol::{Encodable, StrBytes};
use uuid::Uuid;

/// The topics of all requests.
pub(crate) const TOPICS: [&str; 2] = ["orders", "payments"];
/// Their partitions.
const PARTITIONS: [i32; 2] = [0, 7];
/// The correlation id of all requests.
pub(crate) const CORRELATION: i32 = 0x1234_5678;

/// A request, and what is to be found in it and in its refusal.
pub(crate) struct Request {
    pub(crate) key: ApiKey,
    pub(crate) version: i16,
    body: BytesMut,
    /// Topics that the judge is to be told.
    pub(crate) topics: Vec<String>,
    /// Code of the refusal, and how often it stands there.
    pub(crate) code: i16,
    pub(crate) errors: usize,
    /// What the refusal repeats.
    pub(crate) repeated: Vec<String>,
}

impl Request {
    pub(crate) fn frame(&self) -> Vec<u8> {
        framed(self.key, self.version, &self.body)
    }

    pub(crate) fn name(&self) -> String {
        format!("{:?} version {}", self.key, self.version)
    }
}

/// A frame around a body.
pub(crate) fn framed(key: ApiKey, version: i16, body: &[u8]) -> Vec<u8> {
    numbered(key, version, CORRELATION, body)
}

fn numbered(key: ApiKey, version: i16, correlation: i32, body: &[u8]) -> Vec<u8> {
    let header = RequestHeader::default()
        .with_request_api_key(key as i16)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(text("tester")));
    let mut bytes = BytesMut::new();
    header.encode(&mut bytes, key.request_header_version(version)).expect("a header");
    bytes.extend_from_slice(body);
    [&u32::try_from(bytes.len()).expect("short").to_be_bytes()[..], &bytes].concat()
}

/// A fetch of one topic, without a session.
pub(crate) fn fetch(correlation: i32, version: i16, topic: &str) -> Vec<u8> {
    session_fetch(correlation, version, Some(topic), 0, -1)
}

/// A fetch of at most one topic, within a session.
pub(crate) fn session_fetch(
    correlation: i32,
    version: i16,
    topic: Option<&str>,
    session: i32,
    epoch: i32,
) -> Vec<u8> {
    let partition = m::fetch_request::FetchPartition::default().with_partition(3);
    let topics = topic.map(|topic| {
        m::fetch_request::FetchTopic::default().with_topic(name(topic)).with_partitions(vec![partition])
    });
    let mut body = BytesMut::new();
    m::FetchRequest::default()
        .with_topics(topics.into_iter().collect())
        .with_session_id(session)
        .with_session_epoch(epoch)
        .encode(&mut body, version)
        .expect("a fetch");
    numbered(ApiKey::Fetch, version, correlation, &body)
}

/// A produce to topics with two partitions each.
pub(crate) fn produce(correlation: i32, version: i16, topics: &[&str], acks: i16, records: &[u8]) -> Vec<u8> {
    use m::produce_request::{PartitionProduceData, TopicProduceData};
    let records = Bytes::copy_from_slice(records);
    let partition =
        |index| PartitionProduceData::default().with_index(index).with_records(Some(records.clone()));
    let topic = |topic: &&str| {
        TopicProduceData::default()
            .with_name(name(topic))
            .with_partition_data(PARTITIONS.iter().copied().map(partition).collect())
    };
    let request =
        m::ProduceRequest::default().with_acks(acks).with_topic_data(topics.iter().map(topic).collect());
    let mut body = BytesMut::new();
    request.encode(&mut body, version).expect("a produce");
    numbered(ApiKey::Produce, version, correlation, &body)
}

/// APIs of which only the header is read, in every version.
pub(crate) fn without_topics() -> impl Iterator<Item = (ApiKey, i16)> {
    const READ: [i16; 48] = [
        0, 1, 2, 3, 8, 9, 10, 15, 19, 20, 21, 23, 24, 27, 28, 30, 31, 32, 33, 34, 35, 37, 42, 43, 44, 45, 46,
        47, 52, 53, 54, 55, 56, 58, 59, 61, 65, 68, 69, 73, 75, 76, 77, 78, 79, 83, 84, 85,
    ];
    const AUTHENTICATION: [i16; 2] = [17, 36];
    ApiKey::iter()
        .filter(|key| {
            let key = *key as i16;
            !READ.contains(&key) && !AUTHENTICATION.contains(&key) && key < 86
        })
        .flat_map(|key| versions(key).map(move |version| (key, version)))
}

fn versions(key: ApiKey) -> std::ops::RangeInclusive<i16> {
    let range = key.valid_versions();
    range.min..=range.max
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn name(name: &str) -> TopicName {
    TopicName(text(name))
}

/// The id of a topic.
pub(crate) fn id(topic: &str) -> Uuid {
    Uuid::from_bytes([u8::try_from(topic.len()).expect("short"); 16])
}

fn each<T>(f: impl Fn(&str) -> T) -> Vec<T> {
    TOPICS.iter().map(|topic| f(topic)).collect()
}

fn partitions<T>(f: impl Fn(i32) -> T) -> Vec<T> {
    PARTITIONS.iter().map(|partition| f(*partition)).collect()
}

/// What a builder says: the request, the code of its refusal and how often it stands there.
type Built = (RequestKind, i16, usize);

macro_rules! builders {
    ($($key:ident => $build:expr,)+) => {
        /// All of them.
        pub(crate) fn all() -> impl Iterator<Item = Request> {
            let builders: Vec<(ApiKey, fn(i16) -> Built)> = vec![$((ApiKey::$key, $build)),+];
            builders.into_iter().flat_map(|(key, build)| {
                versions(key).filter_map(move |version| {
                    let (kind, code, errors) = build(version);
                    let mut body = BytesMut::new();
                    match kind.encode(&mut body, version) {
                        Ok(()) => {}
                        // Versions that the codec lists and does not write.
                        Err(error) if format!("{error:#}").contains("version not supported") => return None,
                        Err(error) => panic!("{key:?} version {version}: {error:#}"),
                    }
                    Some(request(key, version, body, code, errors))
                })
            })
        }
    };
}

fn by_id(key: ApiKey, version: i16) -> bool {
    match key {
        ApiKey::Produce | ApiKey::Fetch => version >= 13,
        ApiKey::ShareFetch | ApiKey::ShareAcknowledge | ApiKey::ReadShareGroupState => true,
        _ => false,
    }
}

fn request(key: ApiKey, version: i16, body: BytesMut, code: i16, errors: usize) -> Request {
    let without = [
        ApiKey::FindCoordinator,
        ApiKey::DescribeGroups,
        ApiKey::DeleteGroups,
        ApiKey::DescribeTransactions,
        ApiKey::ConsumerGroupDescribe,
        ApiKey::CreateAcls,
        ApiKey::DeleteAcls,
    ];
    let mut topics = each(|topic| topic.to_owned());
    let mut repeated = each(|topic| format!("{topic:?}"));
    if by_id(key, version) {
        topics = each(|topic| format!("({})", id(topic)));
        repeated = each(|topic| id(topic).to_string());
    }
    // What an answer has no place for.
    let top = [
        ApiKey::DescribeLogDirs,
        ApiKey::ListPartitionReassignments,
        ApiKey::ConsumerGroupHeartbeat,
        ApiKey::DescribeQuorum,
        ApiKey::Vote,
        ApiKey::ShareGroupHeartbeat,
        ApiKey::CreateAcls,
        ApiKey::DeleteAcls,
    ];
    if top.contains(&key) || (key == ApiKey::FindCoordinator && version < 4) {
        repeated.clear();
    }
    if without.contains(&key) {
        topics.clear();
    }
    if key == ApiKey::Envelope {
        topics = vec!["(opaque)".to_owned()];
        repeated.clear();
    }
    Request { key, version, body, topics, code, errors, repeated }
}

builders! {
    Produce => |v| {
        use m::produce_request::{PartitionProduceData, TopicProduceData};
        let topics = each(|topic| {
            let data = TopicProduceData::default().with_partition_data(partitions(|index| {
                PartitionProduceData::default().with_index(index).with_records(Some(Bytes::from_static(b"records")))
            }));
            if v >= 13 { data.with_topic_id(id(topic)) } else { data.with_name(name(topic)) }
        });
        (RequestKind::Produce(m::ProduceRequest::default().with_acks(-1).with_topic_data(topics)), 29, 4)
    },
    Fetch => |v| {
        use m::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
        let topics = each(|topic| {
            let data = FetchTopic::default()
                .with_partitions(partitions(|index| FetchPartition::default().with_partition(index)));
            if v >= 13 { data.with_topic_id(id(topic)) } else { data.with_topic(name(topic)) }
        });
        let mut fetch = m::FetchRequest::default().with_topics(topics);
        if (7..13).contains(&v) {
            let forgotten = ForgottenTopic::default().with_topic(name("forgotten")).with_partitions(vec![1]);
            fetch = fetch.with_forgotten_topics_data(vec![forgotten]);
        }
        (RequestKind::Fetch(fetch), 29, 4)
    },
    ListOffsets => |_| {
        use m::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
        let topics = each(|topic| {
            ListOffsetsTopic::default().with_name(name(topic)).with_partitions(partitions(|index| {
                ListOffsetsPartition::default().with_partition_index(index)
            }))
        });
        (RequestKind::ListOffsets(m::ListOffsetsRequest::default().with_topics(topics)), 29, 4)
    },
    Metadata => |_| {
        use m::metadata_request::MetadataRequestTopic;
        let topics = each(|topic| MetadataRequestTopic::default().with_name(Some(name(topic))));
        let request = m::MetadataRequest::default().with_topics(Some(topics)).with_allow_auto_topic_creation(true);
        (RequestKind::Metadata(request), 29, 2)
    },
    OffsetCommit => |_| {
        use m::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
        let topics = each(|topic| {
            OffsetCommitRequestTopic::default().with_name(name(topic)).with_partitions(partitions(|index| {
                OffsetCommitRequestPartition::default().with_partition_index(index)
            }))
        });
        let request = m::OffsetCommitRequest::default().with_group_id(GroupId(text("group"))).with_topics(topics);
        (RequestKind::OffsetCommit(request), 29, 4)
    },
    OffsetFetch => |v| {
        use m::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics};
        let request = m::OffsetFetchRequest::default();
        let request = if v >= 8 {
            let topics = each(|topic| {
                OffsetFetchRequestTopics::default()
                    .with_name(name(topic))
                    .with_partition_indexes(PARTITIONS.to_vec())
            });
            let group = OffsetFetchRequestGroup::default().with_group_id(GroupId(text("g"))).with_topics(Some(topics));
            request.with_groups(vec![group])
        } else {
            request.with_group_id(GroupId(text("g"))).with_topics(Some(each(|topic| {
                OffsetFetchRequestTopic::default()
                    .with_name(name(topic))
                    .with_partition_indexes(PARTITIONS.to_vec())
            })))
        };
        (RequestKind::OffsetFetch(request), 29, 4)
    },
    FindCoordinator => |v| {
        let request = m::FindCoordinatorRequest::default();
        if v >= 4 {
            (RequestKind::FindCoordinator(request.with_coordinator_keys(each(text))), 30, 2)
        } else {
            (RequestKind::FindCoordinator(request.with_key(text("orders"))), 30, 1)
        }
    },
    DescribeGroups => |_| {
        let groups = each(|group| GroupId(text(group)));
        (RequestKind::DescribeGroups(m::DescribeGroupsRequest::default().with_groups(groups)), 30, 2)
    },
    CreateTopics => |_| {
        use m::create_topics_request::{CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig};
        let topics = each(|topic| {
            CreatableTopic::default()
                .with_name(name(topic))
                .with_assignments(partitions(|index| {
                    CreatableReplicaAssignment::default().with_partition_index(index).with_broker_ids(vec![m::BrokerId(1)])
                }))
                .with_configs(vec![CreatableTopicConfig::default().with_name(text("x")).with_value(Some(text("y")))])
        });
        (RequestKind::CreateTopics(m::CreateTopicsRequest::default().with_topics(topics)), 29, 2)
    },
    DeleteTopics => |v| {
        use m::delete_topics_request::DeleteTopicState;
        let request = m::DeleteTopicsRequest::default();
        let request = if v >= 6 {
            request.with_topics(each(|topic| DeleteTopicState::default().with_name(Some(name(topic)))))
        } else {
            request.with_topic_names(each(name))
        };
        (RequestKind::DeleteTopics(request), 29, 2)
    },
    DeleteRecords => |_| {
        use m::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
        let topics = each(|topic| {
            DeleteRecordsTopic::default().with_name(name(topic)).with_partitions(partitions(|index| {
                DeleteRecordsPartition::default().with_partition_index(index)
            }))
        });
        (RequestKind::DeleteRecords(m::DeleteRecordsRequest::default().with_topics(topics)), 29, 4)
    },
    OffsetForLeaderEpoch => |_| {
        use m::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
        let topics = each(|topic| {
            OffsetForLeaderTopic::default().with_topic(name(topic)).with_partitions(partitions(|index| {
                OffsetForLeaderPartition::default().with_partition(index)
            }))
        });
        (RequestKind::OffsetForLeaderEpoch(m::OffsetForLeaderEpochRequest::default().with_topics(topics)), 29, 4)
    },
    AddPartitionsToTxn => |v| {
        use m::add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction};
        let topics = each(|topic| {
            AddPartitionsToTxnTopic::default().with_name(name(topic)).with_partitions(PARTITIONS.to_vec())
        });
        let request = m::AddPartitionsToTxnRequest::default();
        let request = if v >= 4 {
            request.with_transactions(vec![
                AddPartitionsToTxnTransaction::default()
                    .with_transactional_id(TransactionalId(text("t")))
                    .with_topics(topics),
            ])
        } else {
            request.with_v3_and_below_topics(topics)
        };
        (RequestKind::AddPartitionsToTxn(request), 29, 4)
    },
    WriteTxnMarkers => |_| {
        use m::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
        let topics = each(|topic| {
            WritableTxnMarkerTopic::default().with_name(name(topic)).with_partition_indexes(PARTITIONS.to_vec())
        });
        let marker = WritableTxnMarker::default().with_producer_id(ProducerId(5)).with_topics(topics);
        (RequestKind::WriteTxnMarkers(m::WriteTxnMarkersRequest::default().with_markers(vec![marker])), 29, 4)
    },
    TxnOffsetCommit => |_| {
        use m::txn_offset_commit_request::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic};
        let topics = each(|topic| {
            TxnOffsetCommitRequestTopic::default().with_name(name(topic)).with_partitions(partitions(|index| {
                TxnOffsetCommitRequestPartition::default().with_partition_index(index)
            }))
        });
        (RequestKind::TxnOffsetCommit(m::TxnOffsetCommitRequest::default().with_topics(topics)), 29, 4)
    },
    CreateAcls => |_| {
        use m::create_acls_request::AclCreation;
        let creations = each(|topic| AclCreation::default().with_resource_type(2).with_resource_name(text(topic)));
        (RequestKind::CreateAcls(m::CreateAclsRequest::default().with_creations(creations)), 31, 2)
    },
    DeleteAcls => |_| {
        use m::delete_acls_request::DeleteAclsFilter;
        let filters = each(|topic| DeleteAclsFilter::default().with_resource_name_filter(Some(text(topic))));
        (RequestKind::DeleteAcls(m::DeleteAclsRequest::default().with_filters(filters)), 31, 2)
    },
    DescribeConfigs => |_| {
        use m::describe_configs_request::DescribeConfigsResource;
        let mut resources = each(|topic| {
            DescribeConfigsResource::default().with_resource_type(2).with_resource_name(text(topic))
        });
        // A broker is no topic.
        resources.push(DescribeConfigsResource::default().with_resource_type(4).with_resource_name(text("1")));
        (RequestKind::DescribeConfigs(m::DescribeConfigsRequest::default().with_resources(resources)), 29, 3)
    },
    AlterConfigs => |_| {
        use m::alter_configs_request::{AlterConfigsResource, AlterableConfig};
        let resources = each(|topic| {
            AlterConfigsResource::default()
                .with_resource_type(2)
                .with_resource_name(text(topic))
                .with_configs(vec![AlterableConfig::default().with_name(text("x"))])
        });
        (RequestKind::AlterConfigs(m::AlterConfigsRequest::default().with_resources(resources)), 29, 2)
    },
    IncrementalAlterConfigs => |_| {
        use m::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
        let resources = each(|topic| {
            AlterConfigsResource::default()
                .with_resource_type(2)
                .with_resource_name(text(topic))
                .with_configs(vec![AlterableConfig::default().with_name(text("x"))])
        });
        let request = m::IncrementalAlterConfigsRequest::default().with_resources(resources);
        (RequestKind::IncrementalAlterConfigs(request), 29, 2)
    },
    AlterReplicaLogDirs => |_| {
        use m::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
        let dirs = each(|topic| {
            let topic = AlterReplicaLogDirTopic::default().with_name(name(topic)).with_partitions(PARTITIONS.to_vec());
            AlterReplicaLogDir::default().with_path(text("/data")).with_topics(vec![topic])
        });
        (RequestKind::AlterReplicaLogDirs(m::AlterReplicaLogDirsRequest::default().with_dirs(dirs)), 29, 4)
    },
    DescribeLogDirs => |v| {
        use m::describe_log_dirs_request::DescribableLogDirTopic;
        let topics = each(|topic| {
            DescribableLogDirTopic::default().with_topic(name(topic)).with_partitions(PARTITIONS.to_vec())
        });
        let request = m::DescribeLogDirsRequest::default().with_topics(Some(topics));
        (RequestKind::DescribeLogDirs(request), 31, usize::from(v >= 3))
    },
    CreatePartitions => |_| {
        use m::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
        let topics = each(|topic| {
            CreatePartitionsTopic::default().with_name(name(topic)).with_assignments(Some(vec![
                CreatePartitionsAssignment::default().with_broker_ids(vec![m::BrokerId(1)]),
            ]))
        });
        (RequestKind::CreatePartitions(m::CreatePartitionsRequest::default().with_topics(topics)), 29, 2)
    },
    DeleteGroups => |_| {
        let groups = each(|group| GroupId(text(group)));
        (RequestKind::DeleteGroups(m::DeleteGroupsRequest::default().with_groups_names(groups)), 30, 2)
    },
    ElectLeaders => |_| {
        use m::elect_leaders_request::TopicPartitions;
        let topics =
            each(|topic| TopicPartitions::default().with_topic(name(topic)).with_partitions(PARTITIONS.to_vec()));
        (RequestKind::ElectLeaders(m::ElectLeadersRequest::default().with_topic_partitions(Some(topics))), 29, 4)
    },
    AlterPartitionReassignments => |_| {
        use m::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
        let topics = each(|topic| {
            ReassignableTopic::default().with_name(name(topic)).with_partitions(partitions(|index| {
                ReassignablePartition::default().with_partition_index(index).with_replicas(Some(vec![m::BrokerId(2)]))
            }))
        });
        let request = m::AlterPartitionReassignmentsRequest::default().with_topics(topics);
        (RequestKind::AlterPartitionReassignments(request), 29, 4)
    },
    ListPartitionReassignments => |_| {
        use m::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
        let topics = each(|topic| {
            ListPartitionReassignmentsTopics::default()
                .with_name(name(topic))
                .with_partition_indexes(PARTITIONS.to_vec())
        });
        let request = m::ListPartitionReassignmentsRequest::default().with_topics(Some(topics));
        (RequestKind::ListPartitionReassignments(request), 31, 1)
    },
    OffsetDelete => |_| {
        use m::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
        let topics = each(|topic| {
            OffsetDeleteRequestTopic::default().with_name(name(topic)).with_partitions(partitions(|index| {
                OffsetDeleteRequestPartition::default().with_partition_index(index)
            }))
        });
        (RequestKind::OffsetDelete(m::OffsetDeleteRequest::default().with_topics(topics)), 29, 4)
    },
    DescribeProducers => |_| {
        use m::describe_producers_request::TopicRequest;
        let topics =
            each(|topic| TopicRequest::default().with_name(name(topic)).with_partition_indexes(PARTITIONS.to_vec()));
        (RequestKind::DescribeProducers(m::DescribeProducersRequest::default().with_topics(topics)), 29, 4)
    },
    DescribeTransactions => |_| {
        let ids = each(|id| TransactionalId(text(id)));
        let request = m::DescribeTransactionsRequest::default().with_transactional_ids(ids);
        (RequestKind::DescribeTransactions(request), 53, 2)
    },
    ConsumerGroupHeartbeat => |_| {
        let request = m::ConsumerGroupHeartbeatRequest::default().with_subscribed_topic_names(Some(each(name)));
        (RequestKind::ConsumerGroupHeartbeat(request), 30, 1)
    },
    ConsumerGroupDescribe => |_| {
        let groups = each(|group| GroupId(text(group)));
        let request = m::ConsumerGroupDescribeRequest::default().with_group_ids(groups);
        (RequestKind::ConsumerGroupDescribe(request), 30, 2)
    },
    DescribeTopicPartitions => |_| {
        use m::describe_topic_partitions_request::TopicRequest;
        let topics = each(|topic| TopicRequest::default().with_name(name(topic)));
        let request = m::DescribeTopicPartitionsRequest::default().with_topics(topics);
        (RequestKind::DescribeTopicPartitions(request), 29, 2)
    },
    DescribeQuorum => |_| {
        use m::describe_quorum_request::{PartitionData, TopicData};
        let topics = each(|topic| {
            TopicData::default().with_topic_name(name(topic)).with_partitions(vec![PartitionData::default()])
        });
        (RequestKind::DescribeQuorum(m::DescribeQuorumRequest::default().with_topics(topics)), 31, 1)
    },
    Vote => |_| {
        use m::vote_request::{PartitionData, TopicData};
        let topics = each(|topic| {
            TopicData::default().with_topic_name(name(topic)).with_partitions(vec![PartitionData::default()])
        });
        (RequestKind::Vote(m::VoteRequest::default().with_topics(topics)), 31, 1)
    },
    Envelope => |_| {
        let request = m::EnvelopeRequest::default().with_request_data(Bytes::from_static(b"a request within"));
        (RequestKind::Envelope(request), 31, 1)
    },
    ShareGroupHeartbeat => |_| {
        let request = m::ShareGroupHeartbeatRequest::default().with_subscribed_topic_names(Some(each(name)));
        (RequestKind::ShareGroupHeartbeat(request), 30, 1)
    },
    ShareFetch => |_| {
        use m::share_fetch_request::{FetchPartition, FetchTopic};
        let topics = each(|topic| {
            FetchTopic::default().with_topic_id(id(topic)).with_partitions(partitions(|index| {
                FetchPartition::default().with_partition_index(index)
            }))
        });
        (RequestKind::ShareFetch(m::ShareFetchRequest::default().with_topics(topics)), 29, 4)
    },
    ShareAcknowledge => |_| {
        use m::share_acknowledge_request::{AcknowledgePartition, AcknowledgeTopic};
        let topics = each(|topic| {
            AcknowledgeTopic::default().with_topic_id(id(topic)).with_partitions(partitions(|index| {
                AcknowledgePartition::default().with_partition_index(index)
            }))
        });
        (RequestKind::ShareAcknowledge(m::ShareAcknowledgeRequest::default().with_topics(topics)), 29, 4)
    },
    ReadShareGroupState => |_| {
        use m::read_share_group_state_request::{PartitionData, ReadStateData};
        let topics = each(|topic| {
            ReadStateData::default().with_topic_id(id(topic)).with_partitions(partitions(|index| {
                PartitionData::default().with_partition(index)
            }))
        });
        (RequestKind::ReadShareGroupState(m::ReadShareGroupStateRequest::default().with_topics(topics)), 29, 4)
    },
    AlterShareGroupOffsets => |_| {
        use m::alter_share_group_offsets_request::{
            AlterShareGroupOffsetsRequestPartition, AlterShareGroupOffsetsRequestTopic,
        };
        let topics = each(|topic| {
            AlterShareGroupOffsetsRequestTopic::default().with_topic_name(name(topic)).with_partitions(partitions(
                |index| AlterShareGroupOffsetsRequestPartition::default().with_partition_index(index),
            ))
        });
        (RequestKind::AlterShareGroupOffsets(m::AlterShareGroupOffsetsRequest::default().with_topics(topics)), 29, 4)
    },
    DeleteShareGroupOffsets => |_| {
        use m::delete_share_group_offsets_request::DeleteShareGroupOffsetsRequestTopic;
        let topics = each(|topic| DeleteShareGroupOffsetsRequestTopic::default().with_topic_name(name(topic)));
        let request = m::DeleteShareGroupOffsetsRequest::default().with_topics(topics);
        (RequestKind::DeleteShareGroupOffsets(request), 29, 2)
    },
    DescribeShareGroupOffsets => |_| {
        use m::describe_share_group_offsets_request::{
            DescribeShareGroupOffsetsRequestGroup, DescribeShareGroupOffsetsRequestTopic,
        };
        let topics = each(|topic| {
            DescribeShareGroupOffsetsRequestTopic::default()
                .with_topic_name(name(topic))
                .with_partitions(PARTITIONS.to_vec())
        });
        let group = DescribeShareGroupOffsetsRequestGroup::default()
            .with_group_id(GroupId(text("g")))
            .with_topics(Some(topics));
        let request = m::DescribeShareGroupOffsetsRequest::default().with_groups(vec![group]);
        (RequestKind::DescribeShareGroupOffsets(request), 29, 4)
    },
}
