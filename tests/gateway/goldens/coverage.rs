//! No route without a page, no code without an answer.

use std::collections::BTreeSet;

use super::book::{page_name, snapshots};
use crate::support::TestNode;

/// Codes that no page has, and why.
const ELSEWHERE: &[(&str, &str)] = &[
    ("REQUEST_TIMEOUT", "takes half a minute: `gateway::limits` waits for it together with other slow clients"),
    ("STOPPING", "only in the moments between the order to stop and the end of the listener"),
    ("INTERNAL", "would be a defect"),
];

#[test]
fn every_route_of_the_contract_has_a_golden_answer_and_every_code_is_provoked() {
    let node = TestNode::bootstrap();
    let contract = node.gateway().get("/openapi.json").json();
    let pages = snapshots();
    for (path, item) in contract["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("methods") {
            let wanted = page_name(method, path);
            let of_route = |name: &str| name.split_once('-').is_some_and(|(_, page)| page == wanted);
            let texts: Vec<&String> = pages.iter().filter(|(name, _)| of_route(name)).map(|(_, text)| text).collect();
            assert!(!texts.is_empty(), "{method} {path} has no golden: ask it in one of the chapters");
            let successes = operation["responses"].as_object().expect("answers").keys();
            let mut successes = successes.filter(|status| status.starts_with('2') || *status == "101");
            let succeeded = successes.any(|status| texts.iter().any(|text| text.lines().any(|line| line == status)));
            assert!(succeeded || operation["deprecated"] == true, "{method} {path}: no golden shows a success");
        }
    }
    let codes = &contract["components"]["schemas"]["Error"]["properties"]["code"]["enum"];
    let codes: BTreeSet<&str> = codes.as_array().expect("codes").iter().filter_map(|code| code.as_str()).collect();
    let shown = |code: &str| {
        pages
            .iter()
            .any(|(_, text)| text.contains(&format!("\"code\": \"{code}\"")) || text.contains(&format!(" {code} ")))
    };
    let missing: BTreeSet<&str> = codes.iter().copied().filter(|code| !shown(code)).collect();
    let excused: BTreeSet<&str> = ELSEWHERE.iter().map(|(code, _)| *code).collect();
    assert_eq!(missing, excused, "left: shown in no golden; right: those with a reason");
}
