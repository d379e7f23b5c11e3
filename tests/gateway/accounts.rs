//! Accounts on several nodes and a process without data: what one says counts for all, through kills and restarts.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::caller::{Caller, Session, accounts_ready, start, unhurried};
use crate::support::node::Launch;
use crate::support::{TestCluster, TestNode, Wallet, soon, within};

/// By then everybody knows of a revocation.
const REVOKED_WITHIN: Duration = Duration::from_secs(5);

fn cluster() -> TestCluster {
    let cluster = TestCluster::start_with(3, unhurried);
    accounts_ready(&cluster[0]);
    cluster
}

fn everybody_says(callers: &mut [Caller], status: u16, what: &str) {
    within(REVOKED_WITHIN, what, || callers.iter_mut().all(|caller| caller.known() == status).then_some(()));
}

#[test]
fn what_ends_on_one_node_ends_on_all_within_five_seconds_and_what_begins_works_at_once() {
    let cluster = cluster();
    let gateway =
        TestNode::join(unhurried(Launch::new("gateway")), &cluster[0].invite("gateway"), &cluster.root, "gateway");
    accounts_ready(&gateway);
    let everywhere: Vec<&TestNode> = cluster.nodes.iter().chain([&gateway]).collect();
    let wallet = Wallet::ethereum("owner");
    let login = |node: &TestNode| Caller::at(node).log_in(&wallet, "club");
    let with = |make: &dyn Fn(&TestNode) -> Caller| everywhere.iter().map(|node| make(node)).collect::<Vec<Caller>>();
    for (turn, node) in everywhere.iter().enumerate() {
        let session = login(node);
        let mut by_token = with(&|node| Caller::with_token(node, &session.access));
        assert!(by_token.iter_mut().all(|caller| caller.known() == 200), "a token works everywhere at once");
        let made = by_token[turn].ok("POST", "/v1/keys", &json!({}));
        let key = made["api_key"].as_str().expect("a key");
        let mut by_key = with(&|node| Caller::with_key(node, key));
        assert!(by_key.iter_mut().all(|caller| caller.known() == 200), "a key works everywhere at once");
        let other = (turn + 1) % everywhere.len();
        let id = made["key_id"].as_str().expect("an id");
        by_token[other].ok("DELETE", &format!("/v1/keys/{id}"), &Value::Null);
        everybody_says(&mut by_key, 401, "a revoked key is refused");
        let out = json!({ "refresh_token": session.refresh });
        Caller::at(everywhere[other]).ok("POST", "/v1/auth/logout", &out);
        everybody_says(&mut by_token, 401, "a session that was logged out is refused");
    }
    let guest = Wallet::solana("guest");
    let mut owner = Caller::with_token(everywhere[1], &login(everywhere[0]).access);
    let member = format!("/v1/namespaces/club/members/{}", guest.address());
    owner.ok("PUT", &member, &json!({ "role": "writer", "chain_type": "SOL" }));
    let session = Caller::at(everywhere[2]).log_in(&guest, "club");
    let mut by_token = with(&|node| Caller::with_token(node, &session.access));
    everybody_says(&mut by_token, 200, "a member is known");
    owner.ok("DELETE", &format!("{member}?chain_type=SOL"), &Value::Null);
    everybody_says(&mut by_token, 401, "a member who was let go is refused");

    // One refresh token, two nodes: it works once.
    let session = login(everywhere[0]);
    let body = json!({ "refresh_token": session.refresh });
    let redeem = |node: &TestNode| Caller::at(node).ask("POST", "/v1/auth/refresh", &body).status;
    let mut statuses = std::thread::scope(|scope| {
        let redeeming: Vec<_> = everywhere.iter().map(|node| scope.spawn(move || redeem(node))).collect();
        redeeming.into_iter().map(|one| one.join().expect("no panic")).collect::<Vec<u16>>()
    });
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 401, 401, 401]);
    let mut by_token = with(&|node| Caller::with_token(node, &session.access));
    everybody_says(&mut by_token, 401, "a token that was used twice has ended its session");
    // One nonce likewise.
    let proof = Caller::at(everywhere[0]).proof(&wallet, "club", "login");
    let verify = |node: &TestNode| Caller::at(node).ask("POST", "/v1/auth/verify", &proof).status;
    let mut statuses = std::thread::scope(|scope| {
        let verifying: Vec<_> = everywhere.iter().map(|node| scope.spawn(move || verify(node))).collect();
        verifying.into_iter().map(|one| one.join().expect("no panic")).collect::<Vec<u16>>()
    });
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 401, 401, 401]);
}

#[test]
fn a_token_is_good_on_every_node_before_and_after_restarts_and_a_rotation() {
    let mut cluster = cluster();
    let wallet = Wallet::ethereum("owner");
    let session = Caller::at(&cluster[0]).log_in(&wallet, "club");
    let known = |cluster: &TestCluster, token: &str| -> Vec<u16> {
        cluster.nodes.iter().map(|node| Caller::with_token(node, token).known()).collect()
    };
    let kids = |node: &TestNode| -> Vec<String> {
        let keys = Caller::at(node).ok("GET", "/v1/auth/jwks", &Value::Null);
        keys["keys"]
            .as_array()
            .expect("keys")
            .iter()
            .map(|key| key["kid"].as_str().expect("an id").to_owned())
            .collect()
    };
    assert_eq!(known(&cluster, &session.access), [200; 3]);
    let first = kids(&cluster[0]);
    assert_eq!(first.len(), 1);
    for node in &mut cluster.nodes {
        node.kill9();
    }
    for node in &mut cluster.nodes {
        node.spawn();
    }
    for node in &mut cluster.nodes {
        node.wait_ready();
    }
    cluster.leader();
    soon("every node knows the token again", || (known(&cluster, &session.access) == [200; 3]).then_some(()));
    let refreshed =
        Caller::at(&cluster[1]).ok("POST", "/v1/auth/refresh", &json!({ "refresh_token": session.refresh }));
    let session = Session::of(&refreshed);

    cluster[2].cli_ok(&["auth", "rotate-signing-key"]);
    soon("every node has two keys", || cluster.nodes.iter().all(|node| kids(node).len() == 2).then_some(()));
    assert!(kids(&cluster[0]).contains(&first[0]));
    let newer = Caller::at(&cluster[1]).log_in(&wallet, "club");
    assert_eq!(known(&cluster, &session.access), [200; 3], "the key before goes on verifying");
    assert_eq!(known(&cluster, &newer.access), [200; 3]);
    cluster[0].cli_ok(&["auth", "rotate-signing-key"]);
    let mut all: Vec<Caller> = cluster.nodes.iter().map(|node| Caller::with_token(node, &session.access)).collect();
    everybody_says(&mut all, 401, "a key that was replaced twice is gone");
    assert_eq!(known(&cluster, &newer.access), [200; 3]);
    assert!(!kids(&cluster[1]).contains(&first[0]));
}

#[test]
fn no_acknowledged_login_is_lost_and_no_nonce_is_good_twice_when_the_leader_is_killed() {
    let mut cluster = cluster();
    let leader = cluster.leader();
    let (over, logins) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut doomed = cluster.nodes.remove(leader);
    let others: Vec<&TestNode> = cluster.nodes.iter().collect();
    let log_in_on = |thread: usize, node: &TestNode| {
        let wallet = Wallet::ethereum(&format!("wallet {thread}"));
        let namespace = format!("space-{thread}");
        let (mut caller, mut acknowledged, mut proofs) = (Caller::at(node), Vec::new(), Vec::new());
        while !over.load(Ordering::Relaxed) {
            let body = json!({ "wallet": wallet.address(), "namespace": namespace });
            let challenge = caller.ask("POST", "/v1/auth/challenge", &body);
            if challenge.status != 200 {
                assert!(challenge.status >= 500, "{challenge:?}");
                continue;
            }
            let challenge = challenge.json();
            let signature = wallet.sign(challenge["message"].as_str().expect("a text"));
            let proof = json!({ "wallet": wallet.address(), "namespace": namespace, "nonce": challenge["nonce"],
                "signature": signature });
            let answer = caller.ask("POST", "/v1/auth/verify", &proof);
            match answer.status {
                200 => {
                    acknowledged.push(Session::of(&answer.json()));
                    proofs.push(proof);
                    logins.fetch_add(1, Ordering::Relaxed);
                }
                // What became of it is not known, but it is not taken for a wrong signature.
                500.. => {}
                _ => panic!("{answer:?}"),
            }
        }
        (acknowledged, proofs)
    };
    let results = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let node = others[thread % 2];
                scope.spawn(move || log_in_on(thread, node))
            })
            .collect();
        let count = || logins.load(Ordering::Relaxed);
        soon("logging in is under way", || (count() > 40).then_some(()));
        doomed.kill9();
        let before = count();
        soon("logging in goes on under the new leader", || (count() > before + 40).then_some(()));
        over.store(true, Ordering::Relaxed);
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
    });
    doomed.start();
    cluster.nodes.insert(leader, doomed);
    let mut tokens = HashSet::new();
    for (acknowledged, proofs) in results {
        assert!(acknowledged.len() > 5, "{} logins", acknowledged.len());
        // Fifty sessions of a wallet are kept.
        for session in acknowledged.iter().rev().take(10) {
            assert!(tokens.insert(session.access.clone()));
            for node in &cluster.nodes {
                assert_eq!(Caller::with_token(node, &session.access).known(), 200);
            }
        }
        for proof in proofs.iter().rev().take(5) {
            Caller::at(&cluster[leader]).refused("POST", "/v1/auth/verify", proof, 401, "UNAUTHENTICATED");
        }
    }
    cluster.verify();
}

#[test]
fn accounts_with_an_edited_history_are_refused_with_a_clear_line_in_the_log() {
    let mut node = start(&[]);
    let session = Caller::at(&node).log_in(&Wallet::ethereum("owner"), "club");
    assert_eq!(node.terminate().code(), Some(0));
    let file = node.data().join("db/_accounts.sqlite");
    let database = rusqlite::Connection::open(&file).expect("the accounts' database");
    let edited = database.execute("UPDATE schema_migrations SET checksum = 'edited' WHERE version = 2", []);
    assert_eq!(edited.expect("an update"), 1);
    drop(database);
    node.start();
    soon("the log says so", || {
        let log = node.log_text();
        let line = log
            .lines()
            .find(|line| line.contains("002_core.sql") && line.contains("was changed after it was applied"))?;
        line.contains("ERROR").then_some(())
    });
    assert_eq!(Caller::with_token(&node, &session.access).known(), 200, "what works goes on");
}
