"""Rows N: a tenant sees its own, and nothing tells it of others."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import raw
import websocket
from api import Api, check, equal, want
from authentication import without_request_id
from rows import row
from world import KEYS_MAX, challenge, until, verify


@row("N1")
def a_key_that_spells_another_namespace_stays_at_home(world):
    a, b = world.tenant(), world.tenant()
    for key in (f"ns::{b.namespace}::x", "::x", "a::b", f"{b.namespace}::x", f"../{b.namespace}/x", f"/{b.namespace}/x", f"ns::{b.namespace}"):
        a.put(key, b"of a")
        equal(want(a.value(key), 200).content, b"of a")
        want(b.value(key), 404, code="NO_SUCH_KEY")
    want(b.value("x"), 404)
    equal(want(b.call("GET", "/v1/storage/list"), 200).json()["keys"], [])
    b.put("x", b"of b")
    want(a.value("x"), 404)
    equal(want(a.value(f"ns::{b.namespace}::x"), 200).content, b"of a")


@row("N2")
def a_namespace_has_a_name_without_tricks(world):
    wallet = world.wallet()
    for bad in ("a::b", ".", "..", "a/b", "a\\b", "", " ", "a b", "a" * 64, "a" * 65, "UPPER", "a\0", "emoji😀", "é", "-a", "_a", "_accounts", "_system",
                "a.sqlite", "../x", "%2e%2e", "a\n", "ａ", None, 1, ["a"], {"a": 1}):  # fmt: skip
        api = world.api()
        body = {"wallet": wallet.address, "namespace": bad}
        answer = api.post("/v1/auth/challenge", body)
        # Nothing said is the gateway's own namespace.
        if bad in ("", None) and answer.status_code == 200:
            equal(answer.json()["namespace"], "default")
            continue
        want(answer, 400)
        body = {**body, "nonce": "A" * 43, "signature": "0x" + "11" * 65}
        want(api.post("/v1/auth/verify", body), 400, 401)
        api.close()
    tenant = world.tenant()
    for bad in ("a::b", "..", "UPPER", "_accounts", "_system", "a%2fb", "%00", "%ff", "a" * 70):
        want(tenant.api().delete(f"/v1/namespaces/{bad}", token=tenant.token), 400, 403, 404)
        want(tenant.api().get(f"/v1/namespaces/{bad}/members", token=tenant.token), 400, 403, 404)


@row("N3")
def namespace_and_key_cannot_be_shifted_into_each_other(world):
    a = world.tenant()
    b = world.tenant(namespace=f"{a.namespace}-b")
    pairs = [(a, "b::c"), (b, "c"), (a, "-b::c"), (a, "b:c"), (b, ":c"), (b, "::c"), (a, ""), (b, "b")]
    for tenant, key in pairs:
        if key:
            tenant.put(key, f"{tenant.namespace} {key}".encode())
    for tenant, key in pairs:
        if key:
            equal(want(tenant.value(key), 200).content, f"{tenant.namespace} {key}".encode())
    equal(len(want(a.call("GET", "/v1/storage/list"), 200).json()["keys"]), 3)
    equal(len(want(b.call("GET", "/v1/storage/list"), 200).json()["keys"]), 4)


@row("N4")
def a_prefix_is_taken_literally(world):
    a, b = world.tenant(), world.tenant()
    keys = ["a", "a%", "a%b", "a_b", "axb", "a*", "a?b", "ab", "é", "a\u00ffb", "a[b]", "'"]
    for key in keys:
        a.put(key)
        b.put(f"of-b-{key}")
    for prefix in ("", "%", "_", "*", "a%", "a_", "a*", "a?", "a[", "[a-z]", "ÿ", "a\u00ff", "é", "a" * 1000, "of-b", "' OR 1=1 --", "'", "\\"):
        found = want(a.call("GET", "/v1/storage/list", params={"prefix": prefix, "limit": 100}), 200).json()["keys"]
        equal(sorted(found), sorted(key for key in keys if key.startswith(prefix)), f"prefix {prefix!r}")
    for bad in ("%ff", "a%80", "%c0%af", "%ed%a0%80"):
        received, _ = raw.exchange(world.addresses()[0], raw.request("GET", f"/v1/storage/list?prefix={bad}", [("X-API-Key", a.key), ("Connection", "close")]))
        equal(raw.statuses(received), [400], f"prefix {bad}")


@row("N5")
def keys_are_distinct_by_their_bytes(world):
    tenant = world.tenant()
    keys = ["caf\u00e9", "cafe\u0301", "paypal", "p\u0430ypal", "a\u200bb", "ab", "a\u202eb", "\ufeffab", "A", "a", "ﬁ", "fi", "ß", "ss", "😀", "a ", " a", "a\t", "a\n"]
    for number, key in enumerate(keys):
        tenant.put(key, b"%d" % number)
    for number, key in enumerate(keys):
        equal(want(tenant.value(key), 200).content, b"%d" % number, f"key {key!r}")
    equal(sorted(want(tenant.call("GET", "/v1/storage/list", params={"limit": 100}), 200).json()["keys"]), sorted(keys))
    address = world.addresses()[0]
    for bad in ("%ff", "%c0%af", "%ed%a0%80", "%f5%80%80%80", "%e2%82", "%", "%4", "%zz", "%u0041"):
        sent = raw.request("GET", f"/v1/storage?key={bad}", [("X-API-Key", tenant.key), ("Connection", "close")])
        equal(raw.statuses(raw.exchange(address, sent)[0]), [400], f"key {bad}")
    for bad in (b'{"key":"\\ud800"}', b'{"key":"a\\udfffb"}', b'{"key":"\xff"}', b'{"key":"\xed\xa0\x80"}'):
        want(tenant.call("POST", "/v1/storage/get", body=bad, headers=[("Content-Type", "application/json")]), 400)


@row("N6")
def a_nul_does_not_end_a_key(world):
    tenant = world.tenant()
    tenant.put("a", b"short")
    found = tenant.call("PUT", "/v1/storage", body=b"long", params={"key": "a\0b"})
    want(found, 201, 400)
    equal(want(tenant.value("a"), 200).content, b"short")
    if found.status_code == 201:
        equal(want(tenant.value("a\0b"), 200).content, b"long")
        want(tenant.value("a\0c"), 404)
        equal(want(tenant.call("GET", "/v1/storage/list"), 200).json()["keys"], ["a", "a\0b"])


@row("N7")
def a_key_is_no_path(world):
    tenant = world.tenant()
    address = world.addresses()[0]
    for number, text in enumerate(("%2e%2e%2f", "..%5c", "%2e%2e/%2e%2e/etc/passwd", "/".join(["x"] * 64), "C:%5c", "file:///etc/passwd", "%252e%252e", "a%2fb", "..")):
        headers = [("X-API-Key", tenant.key), ("Connection", "close"), ("Content-Length", "2")]
        received, _ = raw.exchange(address, raw.request("PUT", f"/v1/storage?key={text}", headers, b"%02d" % number))
        equal(raw.statuses(received), [201], text)
    found = want(tenant.call("GET", "/v1/storage/list", params={"limit": 100}), 200).json()["keys"]
    equal(sorted(found), sorted(["../", "..\\", "../../etc/passwd", "/".join(["x"] * 64), "C:\\", "file:///etc/passwd", "%2e%2e", "a/b", ".."]))
    want(tenant.put("k" * 1024), 201)
    want(tenant.call("PUT", "/v1/storage", body=b"x", params={"key": "k" * 1025}), 400)
    want(tenant.call("PUT", "/v1/storage", body=b"x", params={"key": ""}), 400)


@row("N8")
def the_credential_alone_decides_the_namespace(world):
    a, b = world.tenant(), world.tenant()
    b.put("private", b"of b")
    b.exec("CREATE TABLE private(x)")
    other = {"namespace": b.namespace}
    for method, path, body in (
        ("GET", "/v1/storage?key=private", None), ("GET", "/v1/storage/list", None), ("PUT", "/v1/storage?key=private", None),
        ("DELETE", "/v1/storage?key=private", None), ("GET", "/v1/storage/exists?key=private", None),
    ):  # fmt: skip
        for credential in ({"key": a.key}, {"token": a.token}):
            api = a.api()
            separator = "&" if "?" in path else "?"
            want(api.call(method, f"{path}{separator}namespace={b.namespace}", body, **credential), 403, code="NAMESPACE_MISMATCH")
            api.close()
    for headers in ([("X-Namespace", b.namespace)], [("Namespace", b.namespace)], [("X-Tenant", b.namespace)]):
        found = a.call("GET", "/v1/storage", params={"key": "private"}, headers=headers)
        want(found, 403, 404)
    # In a body: refused or not looked at, but never followed.
    for path, body in (("/v1/storage/get", {"key": "private"}), ("/v1/storage/multi-get", {"keys": ["private"]}), ("/v1/db/query", {"sql": "SELECT * FROM private"})):
        found = a.call("POST", path, {**body, **other})
        check(found.status_code in (400, 403, 404) or found.json()["items"] == [None], f"{path}: {found.status_code} {found.text}")
    want(a.call("POST", "/v1/auth/api-key", {"scopes": ["*"], **other}, headers=[]), 400, 401, 403)
    api = a.api()
    made = api.post("/v1/auth/api-key", {"scopes": ["*"], **other}, token=a.token)
    check(made.status_code in (400, 403) or made.json()["namespace"] == a.namespace, f"a key of {made.text}")
    want(api.post("/v1/auth/refresh", {"refresh_token": a.refresh, **other}), 401)
    want(api.post("/v1/auth/refresh", {"refresh_token": a.refresh, "namespace": a.namespace}), 200)
    equal(want(b.value("private"), 200).content, b"of b")


@row("N10")
def handles_of_another_tenant_are_worth_nothing(world):
    a, b = world.tenant(), world.tenant()
    for number in range(5):
        a.put(f"secret-of-a-{number}")
        b.put(f"zz-{number}")
    cursor = want(a.call("GET", "/v1/storage/list", params={"limit": 2}), 200).json()["next_cursor"]
    found = b.call("GET", "/v1/storage/list", params={"cursor": cursor, "limit": 100})
    want(found, 200, 400, 403)
    check("secret-of-a" not in found.text, "a cursor shows another tenant's keys")
    for bad in ("x", "'", "%", "A" * 5000, cursor[:-1], cursor + "A", ""):
        found = a.call("GET", "/v1/storage/list", params={"cursor": bad})
        want(found, 200, 400)
    apps = want(a.call("POST", "/v1/apps", {"name": "of a"}), 200, 201).json()
    app = apps.get("app_id") or apps["app"]["app_id"]
    for method, body in (("GET", None), ("PUT", {"name": "of b"}), ("DELETE", None)):
        want(b.call(method, f"/v1/apps/{app}", body), 404)
    for method, path in (("DELETE", f"/v1/keys/{a.key_id}"), ("POST", f"/v1/keys/{a.key_id}/rotate")):
        want(b.call(method, path), 404)
    want(a.call("GET", f"/v1/apps/{app}"), 200)
    # An idempotency key is the caller's own.
    headers = [("Idempotency-Key", "same")]
    want(a.exec("CREATE TABLE t(x)"), 200)
    want(b.exec("CREATE TABLE t(x)"), 200)
    want(a.exec("INSERT INTO t VALUES(1) RETURNING 'of a'", headers=headers), 200)
    found = want(b.exec("INSERT INTO t VALUES(1) RETURNING 'of a'", headers=headers), 200)
    check(found.headers.get("idempotent-replayed") is None, "another tenant's answer was replayed")
    equal(want(b.query("SELECT count(*) AS n FROM t"), 200).json()["items"], [{"n": 1}])


@row("N11")
def what_is_not_mine_is_as_if_it_were_not(world):
    a, b = world.tenant(), world.tenant()
    b.put("there")
    b.exec("CREATE TABLE there(x)")
    missing, foreign = (without_request_id(want(a.value(key), 404)) for key in ("absent-key", "there"))
    equal(json.dumps(foreign).replace("there", "absent-key"), json.dumps(missing))
    for ask in (lambda name: a.call("GET", f"/v1/namespaces/{name}/members"), lambda name: a.call("DELETE", f"/v1/namespaces/{name}"),
                lambda name: a.api().delete(f"/v1/namespaces/{name}", token=a.token), lambda name: a.api().get(f"/v1/namespaces/{name}/members", token=a.token)):  # fmt: skip
        there, absent = ask(b.namespace), ask("absent-" + b.namespace)
        equal(there.status_code, absent.status_code, "status for a foreign and a missing namespace")
        equal({**without_request_id(there), "error": ""}, {**without_request_id(absent), "error": ""})
    statuses = [a.query(f"SELECT * FROM {name}").status_code for name in ("there", "absent")]
    equal(statuses[0], statuses[1], "tables")


@row("N12")
def a_name_that_is_used_again_has_nothing_of_before(world):
    first = world.tenant()
    first.put("old", b"old value")
    want(first.exec("CREATE TABLE old(x)"), 200)
    app = want(first.call("POST", "/v1/apps", {"name": "old"}), 200, 201).json()
    want(first.api().delete(f"/v1/namespaces/{first.namespace}", token=first.token), 200)
    second = world.tenant(namespace=first.namespace)
    want(second.value("old"), 404)
    equal(want(second.call("GET", "/v1/storage/list"), 200).json()["keys"], [])
    equal(want(second.call("GET", "/v1/db/schema"), 200).json()["count"], 0)
    check("old" not in want(second.call("GET", "/v1/apps"), 200).text, "old apps")
    equal([key["key_id"] for key in want(second.call("GET", "/v1/keys"), 200).json()["keys"]], [second.key_id])
    for credential in ({"key": first.key}, {"token": first.token}):
        world.everywhere(lambda api: api.get("/v1/storage/list", **credential).status_code == 401)
    want(first.api().post("/v1/auth/refresh", {"refresh_token": first.refresh}), 401)
    want(verify(first.api(), first.wallet, challenge(first.api(), first.wallet, first.namespace)), 403)
    check(app, "the app was there")


@row("N13")
def one_tenants_quota_is_not_anothers(world):
    """What a tenant may have: namespaces, keys, the size of a value."""
    tenant = world.tenant()
    wallet = tenant.wallet
    found = []
    for _ in range(11):
        found.append(verify(world.api(), wallet, challenge(world.api(), wallet, world.name())).status_code)
    equal(found.count(200), 9, "further namespaces of one wallet")
    check(set(found) <= {200, 403, 409, 429}, f"answers {found}")
    # What it did not get has left nothing behind.
    refused = world.name("never")
    want(verify(world.api(), wallet, challenge(world.api(), wallet, refused)), 403, 409, 429)
    left = [str(path) for path in world.cluster.root.rglob(f"{refused}.sqlite*")]
    equal(left, [], "databases of names that nobody owns")
    api = tenant.api()
    statuses = [api.post("/v1/keys", {"scopes": ["kv:read"]}, token=tenant.token).status_code for _ in range(201)]
    check(statuses[-1] in (403, 409, 429) and statuses.count(201) == 199, f"keys: {statuses.count(201)} made, then {statuses[-1]}")
    want(tenant.put("large", b"x" * 1024 * 1024), 201)
    want(tenant.call("PUT", "/v1/storage", body=b"x" * (1024 * 1024 + 1), params={"key": "large"}), 413)
    other = world.tenant()
    want(other.put("x"), 201)
    # The strict gateway's quotas are small enough to be reached.
    strict, statuses = world.strict_api(), []
    for number in range(KEYS_MAX + 2):
        statuses.append(strict.put("/v1/storage", body=b"x", key=other.key, params={"key": f"q{number}"}).status_code)
    equal((statuses.count(201), set(statuses)), (KEYS_MAX - 1, {201, 403}), f"keys up to a quota of {KEYS_MAX}")
    full = strict.put("/v1/storage", body=b"x", key=other.key, params={"key": "one more"})
    want(full, 403, code="QUOTA_EXCEEDED")
    want(strict.put("/v1/storage", body=b"changed", key=other.key, params={"key": "x"}), 201)
    want(strict.delete("/v1/storage", key=other.key, params={"key": "x"}), 200)
    want(strict.put("/v1/storage", body=b"x", key=other.key, params={"key": "one more"}), 201)
    want(world.tenant().put("x"), 201)


@row("N13b")
def a_flood_of_one_tenant_leaves_the_others_served(world):
    loud, quiet = world.tenant(), world.tenant()
    apis = [world.api(number) for number in range(8)]
    ending = time.monotonic() + 3

    def flood(api):
        count = 0
        while time.monotonic() < ending:
            api.post("/v1/db/query", {"sql": "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c WHERE n < 3000000", "args": []}, key=loud.key)
            count += 1
        return count

    with ThreadPoolExecutor(8) as pool:
        floods = [pool.submit(flood, api) for api in apis]
        taken = []
        while time.monotonic() < ending:
            started = time.monotonic()
            want(quiet.put("x"), 201)
            want(quiet.value("x"), 200)
            taken.append(time.monotonic() - started)
        for running in floods:
            running.result()
    check(len(taken) >= 3 and sorted(taken)[len(taken) // 2] < 1.5, f"times of the quiet tenant: {taken}")


@row("N14")
def nothing_names_other_tenants(world):
    a = world.tenant()
    b = world.tenant(namespace=world.name("whispering"))
    b.put("whispered")
    member = websocket.opened(world.addresses()[0], f"{websocket.PATH}?topic=whispered&presence=true&member_id=whispered", key=b.key)
    want(b.call("PUT", "/v1/pubsub/durable", {"count": 10}, params={"topic": "whispered"}), 200)
    want(b.call("POST", "/v1/pubsub/publish", {"topic": "whispered", "data": "whispered", "ack": "durable"}), 200)
    until(lambda: all(world.api(n).get("/v1/pubsub/topics", key=b.key).json()["topics"] == ["whispered"] for n in range(3)), "every node knows the topic", 10)
    api = a.api()
    document = want(api.get("/openapi.json"), 200).json()
    for path, item in document["paths"].items():
        if "get" not in item or "watch" in path:
            continue
        filled = path.replace("{namespace}", a.namespace).replace("{id}", "x")
        for credential in ({}, {"key": a.key}, {"token": a.token}):
            if "{" in filled:
                continue
            found = api.get(filled, **credential)
            for told in (b.namespace, "whispered", b.wallet.address.lower()):
                check(told not in found.text.lower(), f"{filled} tells {told}")
    for sql in ("SELECT * FROM sqlite_schema", "SELECT * FROM pragma_table_list"):
        found = a.query(sql)
        check(b.namespace not in found.text, f"{sql}: {found.text}")
    for path in ("/v1/pubsub/topics", "/v1/pubsub/presence?topic=whispered", "/v1/pubsub/durable", "/v1/pubsub/messages?topic=>"):
        found = want(a.call("GET", path), 200)
        check("whispered" not in found.text.replace('"topic":"whispered"', ""), f"{path}: {found.text}")
    equal(want(a.call("GET", "/v1/pubsub/presence?topic=whispered"), 200).json()["count"], 0)
    member.close()
