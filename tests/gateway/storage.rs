//! Keys and values over HTTP.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::caller::{Caller, start};
use crate::support::{TestCluster, TestNode, soon};

/// A caller with a namespace of its own.
fn tenant(node: &TestNode, namespace: &str) -> Caller {
    node.cli_ok(&["namespace", "create", namespace]);
    Caller::with_key(node, &node.cli_ok(&["key", "create", "--namespace", namespace]))
}

fn put(caller: &mut Caller, key: &str, value: &[u8]) -> String {
    let answer = caller.send("PUT", &format!("/v1/storage?key={key}"), &[], value);
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.header("etag").expect("an ETag").to_owned()
}

#[test]
fn bytes_come_back_as_they_went_in_whatever_they_are_and_however_they_are_named() {
    let node = start(&[]);
    let mut caller = tenant(&node, "shop");
    let every_byte: Vec<u8> = (0..=255).collect();
    for (key, value) in
        [("a%2Fb%20c", every_byte.as_slice()), ("empty", b""), ("%C3%A9%F0%9F%99%82", b"{\"json\":1}"), ("a::b", b"x")]
    {
        put(&mut caller, key, value);
        let answer = caller.ask("GET", &format!("/v1/storage/get?key={key}"), &Value::Null);
        assert_eq!((answer.status, answer.bytes.as_slice()), (200, value), "{key}");
        assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
    }
    let page =
        caller.send("PUT", "/v1/storage?key=page", &[("Content-Type", "text/html")], b"<script>alert(1)</script>");
    assert_eq!(page.status, 201);
    let page = caller.ask("GET", "/v1/storage?key=page", &Value::Null);
    assert_eq!(page.header("content-type"), Some("application/octet-stream"), "no page of this origin");
    assert_eq!(page.header("debros-content-type"), Some("text/html"));
    let body = json!({ "key": "a/b c", "value_base64": BASE64.encode(&every_byte), "content_type": "image/png" });
    caller.ok("POST", "/v1/storage/put", &body);
    let by_json = caller.ask("POST", "/v1/storage/get", &json!({ "key": "a/b c" }));
    assert_eq!(
        (by_json.bytes.as_slice(), by_json.header("debros-content-type")),
        (every_byte.as_slice(), Some("image/png"))
    );
    assert_eq!(caller.ok("GET", "/v1/storage/exists?key=a%2Fb%20c", &Value::Null)["exists"], true);
    assert_eq!(caller.ok("POST", "/v1/storage/delete", &json!({ "key": "a/b c" }))["existed"], true);
    assert_eq!(caller.ok("DELETE", "/v1/storage?key=a%2Fb%20c", &Value::Null)["existed"], false);
    caller.refused("GET", "/v1/storage?key=a%2Fb%20c", &Value::Null, 404, "NO_SUCH_KEY");
}

#[test]
fn a_condition_holds_or_nothing_happens() {
    let node = start(&[]);
    let mut caller = tenant(&node, "shop");
    let mut with = |method: &str, header: (&str, &str), value: &str| {
        caller.send(method, "/v1/storage?key=k", &[header], value.as_bytes()).status
    };
    assert_eq!(with("PUT", ("If-Match", "*"), "never"), 412);
    assert_eq!(with("PUT", ("If-None-Match", "*"), "first"), 201);
    assert_eq!(with("PUT", ("If-None-Match", "*"), "never"), 412);
    assert_eq!(with("PUT", ("If-Match", "*"), "second"), 201);
    let etag = caller.ask("GET", "/v1/storage?key=k", &Value::Null).header("etag").expect("an ETag").to_owned();
    let mut with = |method: &str, header: (&str, &str), value: &str| {
        caller.send(method, "/v1/storage?key=k", &[header], value.as_bytes()).status
    };
    assert_eq!(with("GET", ("If-None-Match", &etag), ""), 304);
    assert_eq!(with("PUT", ("If-Match", &etag), "third"), 201);
    assert_eq!(with("PUT", ("If-Match", &etag), "never"), 412);
    assert_eq!(with("DELETE", ("If-Match", &etag), ""), 412);
    let answer = caller.ask("GET", "/v1/storage?key=k", &Value::Null);
    assert_eq!(answer.body, "third");
    let newest = answer.header("etag").expect("an ETag").to_owned();
    assert_eq!(caller.send("DELETE", "/v1/storage?key=k", &[("If-Match", &newest)], b"").status, 200);

    // Of many that try to be first, one is.
    let key = node.cli_ok(&["key", "create", "--namespace", "shop"]);
    let first = |n: usize| {
        let mut caller = Caller::with_key(&node, &key);
        caller.send("PUT", "/v1/storage?key=lock", &[("If-None-Match", "*")], n.to_string().as_bytes()).status
    };
    let first = &first;
    let won: Vec<u16> = std::thread::scope(|scope| {
        let trying: Vec<_> = (0..8).map(|n| scope.spawn(move || first(n))).collect();
        trying.into_iter().map(|one| one.join().expect("no panic")).collect()
    });
    assert_eq!(won.iter().filter(|status| **status == 201).count(), 1, "{won:?}");

    // And several changes are one.
    let ops = |last: &str| {
        json!({ "ops": [
        { "op": "put", "key": "b1", "value_base64": "eA==" },
        { "op": "delete", "key": "lock" },
        { "op": "put", "key": "b2", "value_base64": "eA==", "if_match": last },
    ] })
    };
    let refused = caller.refused("POST", "/v1/storage/batch", &ops("*"), 412, "PRECONDITION_FAILED");
    assert_eq!((refused["details"]["op"].as_u64(), refused["outcome"].as_str()), (Some(2), Some("not_executed")));
    assert_eq!(caller.ok("GET", "/v1/storage/list", &Value::Null)["keys"], json!(["lock"]));
    put(&mut caller, "b2", b"y");
    let done = caller.ok("POST", "/v1/storage/batch", &ops("*"));
    let results: Vec<&Value> =
        done["results"].as_array().expect("results").iter().map(|result| &result["result"]).collect();
    assert_eq!(results, ["created", "deleted", "replaced"]);
    assert_eq!(caller.ok("GET", "/v1/storage/list", &Value::Null)["keys"], json!(["b1", "b2"]));
    let items = caller.ok("POST", "/v1/storage/multi-get", &json!({ "keys": ["b2", "lock", "b1", "b2"] }));
    let values: Vec<&Value> =
        items["items"].as_array().expect("items").iter().map(|item| &item["value_base64"]).collect();
    assert_eq!(values, [&json!("eA=="), &Value::Null, &json!("eA=="), &json!("eA==")]);
}

#[test]
fn what_expires_is_gone_and_pages_have_every_key_once() {
    let node = start(&[]);
    let mut caller = tenant(&node, "shop");
    assert_eq!(caller.send("PUT", "/v1/storage?key=short&ttl=1", &[], b"x").status, 201);
    caller.ok("POST", "/v1/storage/put", &json!({ "key": "shorter", "value": "", "ttl": 1 }));
    put(&mut caller, "stays", b"x");
    assert_eq!(caller.ok("GET", "/v1/storage/list", &Value::Null)["keys"], json!(["short", "shorter", "stays"]));
    soon("they expire", || {
        (caller.ok("GET", "/v1/storage/list", &Value::Null)["keys"] == json!(["stays"])).then_some(())
    });
    caller.refused("GET", "/v1/storage?key=short", &Value::Null, 404, "NO_SUCH_KEY");
    assert_eq!(caller.send("PUT", "/v1/storage?key=short", &[("If-None-Match", "*")], b"again").status, 201);

    let ops: Vec<Value> = (0..250).map(|n| json!({ "op": "put", "key": format!("p/{n:03}"), "value": "" })).collect();
    caller.ok("POST", "/v1/storage/batch", &json!({ "ops": ops }));
    let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = caller.ok("GET", &format!("/v1/storage/list?prefix=p%2F&limit=100{cursor}"), &Value::Null);
        seen.extend(page["keys"].as_array().expect("keys").iter().map(|key| key.as_str().expect("text").to_owned()));
        pages += 1;
        // What is written in between, behind and before the cursor, moves nothing.
        put(&mut caller, "p%2F000x", b"");
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let all: Vec<String> = (0..250).map(|n| format!("p/{n:03}")).collect();
    assert_eq!((pages, seen), (3, all));
    let mut other = tenant(&node, "other");
    other.refused("GET", &format!("/v1/storage/list?{}", &cursor[1..]), &Value::Null, 400, "INVALID_PARAMETER");
}

#[test]
fn a_quota_is_the_namespaces_own() {
    let node = start(&[
        ("GATEWAY__KV_KEYS_MAX", "3"),
        ("GATEWAY__KV_BYTES_MAX", "100KiB"),
        ("GATEWAY__DATABASE_BYTES_MAX", "1MiB"),
    ]);
    let (mut caller, mut other) = (tenant(&node, "shop"), tenant(&node, "other"));
    for key in ["a", "b", "c"] {
        put(&mut caller, key, b"x");
    }
    let fourth = caller.refused("PUT", "/v1/storage?key=d", &Value::Null, 403, "QUOTA_EXCEEDED");
    assert!(fourth["error"].as_str().is_some_and(|text| text.contains("3 keys") && text.contains('4')), "{fourth}");
    put(&mut caller, "c", b"replaced");
    put(&mut other, "d", b"x");
    caller.ok("DELETE", "/v1/storage?key=a", &Value::Null);
    put(&mut caller, "d", b"x");
    let large = vec![b'x'; 110 * 1024];
    let refused = caller.send("PUT", "/v1/storage?key=d", &[], &large);
    assert_eq!((refused.status, refused.json()["code"].as_str()), (403, Some("QUOTA_EXCEEDED")));
    caller.exec("CREATE TABLE t (x)");
    let grow = json!({ "sql": "INSERT INTO t VALUES (zeroblob(100000))" });
    let full = soon("the database is full", || {
        let answer = caller.ask("POST", "/v1/db/exec", &grow);
        (answer.status != 200).then_some(answer)
    });
    assert_eq!((full.status, full.json()["code"].as_str()), (403, Some("QUOTA_EXCEEDED")), "{full:?}");
    assert!(caller.rows("SELECT count(*) FROM t")[0][0].as_i64().is_some_and(|rows| (5..=10).contains(&rows)));
    caller.exec("DELETE FROM t");
    caller.exec("INSERT INTO t VALUES (zeroblob(100000))");
    other.exec("CREATE TABLE t (x)");
}

#[test]
fn a_put_that_is_sent_again_happens_once_and_its_index_is_seen_on_another_node() {
    let cluster = TestCluster::start(3);
    let key = {
        cluster[0].cli_ok(&["namespace", "create", "shop"]);
        cluster[0].cli_ok(&["key", "create", "--namespace", "shop"])
    };
    let mut callers: Vec<Caller> = cluster.nodes.iter().map(|node| Caller::with_key(node, &key)).collect();
    let once = [("Idempotency-Key", "order-7")];
    let first = callers[0].send("PUT", "/v1/storage?key=k", &once, b"x");
    let again = callers[1].send("PUT", "/v1/storage?key=k", &once, b"x");
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(first.header("etag"), again.header("etag"));
    assert_eq!(callers[2].send("PUT", "/v1/storage?key=k", &once, b"y").status, 422);
    for round in 0..50 {
        let writer = round % 3;
        let written = callers[writer].send("PUT", "/v1/storage?key=k", &[], round.to_string().as_bytes());
        let index = written.header("debros-index").expect("an index").to_owned();
        let reader = (writer + 1) % 3;
        let read = callers[reader].ask("GET", &format!("/v1/storage?key=k&level=none&min_index={index}"), &Value::Null);
        assert_eq!(read.body, round.to_string(), "{read:?}");
        let read = callers[reader].ask("GET", "/v1/storage?key=k", &Value::Null);
        assert_eq!(read.body, round.to_string(), "linearizable by default");
    }
}
