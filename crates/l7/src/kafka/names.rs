//! Kafka's APIs as Cilium names them in rules and Hubble prints them; later ones have no name there.

/// Names by key (Kafka protocol guide, "API keys").
pub const API_NAMES: [&str; 34] = [
    "produce",
    "fetch",
    "offsets",
    "metadata",
    "leaderandisr",
    "stopreplica",
    "updatemetadata",
    "controlledshutdown",
    "offsetcommit",
    "offsetfetch",
    "findcoordinator",
    "joingroup",
    "heartbeat",
    "leavegroup",
    "syncgroup",
    "describegroups",
    "listgroups",
    "saslhandshake",
    "apiversions",
    "createtopics",
    "deletetopics",
    "deleterecords",
    "initproducerid",
    "offsetforleaderepoch",
    "addpartitionstotxn",
    "addoffsetstotxn",
    "endtxn",
    "writetxnmarkers",
    "txnoffsetcommit",
    "describeacls",
    "createacls",
    "deleteacls",
    "describeconfigs",
    "alterconfigs",
];

/// The name of an API, if it has one.
#[must_use]
pub fn api_name(key: i16) -> Option<&'static str> {
    API_NAMES.get(usize::try_from(key).ok()?).copied()
}

/// The key of the API of that name, in any case.
#[must_use]
pub fn api_key(name: &str) -> Option<i16> {
    let at = API_NAMES.iter().position(|known| known.eq_ignore_ascii_case(name))?;
    i16::try_from(at).ok()
}

#[cfg(test)]
mod tests {
    use super::{API_NAMES, api_key, api_name};
    use kafka_protocol::messages::ApiKey;

    #[test]
    fn names_are_kafkas_own_but_for_one() {
        let mut known = 0;
        for (key, name) in (0..).zip(API_NAMES) {
            assert_eq!((api_name(key), api_key(&name.to_uppercase())), (Some(name), Some(key)));
            // Those that brokers of today still have.
            let Ok(api) = ApiKey::try_from(key) else { continue };
            known += 1;
            let expected = if name == "offsets" { "listoffsets" } else { name };
            assert_eq!(format!("{api:?}").to_ascii_lowercase(), expected);
        }
        assert!(known >= 28, "{known}");
        assert_eq!([api_name(-1), api_name(34)], [None; 2]);
        assert_eq!(api_key("listoffsets"), None);
    }
}
