//! Words of the flow log and Hubble's enum values.

use crate::proto::flow as to;
use flowlog::record as from;

pub(super) const fn verdict(verdict: from::Verdict) -> to::Verdict {
    match verdict {
        from::Verdict::Unknown => to::Verdict::Unknown,
        from::Verdict::Forwarded => to::Verdict::Forwarded,
        from::Verdict::Dropped => to::Verdict::Dropped,
        from::Verdict::Error => to::Verdict::Error,
        from::Verdict::Audit => to::Verdict::Audit,
        from::Verdict::Redirected => to::Verdict::Redirected,
        from::Verdict::Traced => to::Verdict::Traced,
        from::Verdict::Translated => to::Verdict::Translated,
    }
}

pub(super) const fn ip_version(version: from::IpVersion) -> to::IpVersion {
    match version {
        from::IpVersion::NotUsed => to::IpVersion::IpNotUsed,
        from::IpVersion::V4 => to::IpVersion::IPv4,
        from::IpVersion::V6 => to::IpVersion::IPv6,
    }
}

pub(super) const fn flow_type(kind: from::FlowType) -> to::FlowType {
    match kind {
        from::FlowType::Unknown => to::FlowType::UnknownType,
        from::FlowType::L3L4 => to::FlowType::L3L4,
        from::FlowType::L7 => to::FlowType::L7,
        from::FlowType::Sock => to::FlowType::Sock,
    }
}

pub(super) const fn l7_type(kind: from::L7Type) -> to::L7FlowType {
    match kind {
        from::L7Type::Unknown => to::L7FlowType::UnknownL7Type,
        from::L7Type::Request => to::L7FlowType::Request,
        from::L7Type::Response => to::L7FlowType::Response,
        from::L7Type::Sample => to::L7FlowType::Sample,
    }
}

pub(super) const fn direction(direction: from::TrafficDirection) -> to::TrafficDirection {
    match direction {
        from::TrafficDirection::Unknown => to::TrafficDirection::Unknown,
        from::TrafficDirection::Ingress => to::TrafficDirection::Ingress,
        from::TrafficDirection::Egress => to::TrafficDirection::Egress,
    }
}

pub(super) const fn point(point: from::TracePoint) -> to::TraceObservationPoint {
    use from::TracePoint as From;
    use to::TraceObservationPoint as To;
    match point {
        From::Unknown => To::UnknownPoint,
        From::ToProxy => To::ToProxy,
        From::ToHost => To::ToHost,
        From::ToStack => To::ToStack,
        From::ToOverlay => To::ToOverlay,
        From::ToEndpoint => To::ToEndpoint,
        From::FromEndpoint => To::FromEndpoint,
        From::FromProxy => To::FromProxy,
        From::FromHost => To::FromHost,
        From::FromStack => To::FromStack,
        From::FromOverlay => To::FromOverlay,
        From::FromNetwork => To::FromNetwork,
        From::ToNetwork => To::ToNetwork,
        From::FromCrypto => To::FromCrypto,
        From::ToCrypto => To::ToCrypto,
    }
}

pub(super) const fn reason(reason: from::TraceReasonName) -> to::TraceReason {
    use from::TraceReasonName as From;
    use to::TraceReason as To;
    match reason {
        From::Unknown => To::Unknown,
        From::New => To::New,
        From::Established => To::Established,
        From::Reply => To::Reply,
        From::Related => To::Related,
        #[expect(deprecated, reason = "files that older agents wrote have it")]
        From::Reopened => To::Reopened,
        From::Srv6Encap => To::Srv6Encap,
        From::Srv6Decap => To::Srv6Decap,
        #[expect(deprecated, reason = "likewise")]
        From::EncryptOverlay => To::EncryptOverlay,
    }
}
