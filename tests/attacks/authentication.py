"""Rows A: whoever has no valid credential gets nowhere."""

import json
import statistics
import time

import raw
import wallets
from api import Api, check, equal, fresh_source, want
from rows import row
from world import challenge, proof, verify

# What may be asked without a credential, and nothing else.
PUBLIC = {
    "GET /health", "GET /v1/health", "GET /status", "GET /v1/status", "GET /version", "GET /v1/version",
    "GET /livez", "GET /readyz", "GET /v1/auth/jwks", "GET /.well-known/jwks.json", "GET /v1/auth/login",
    "GET /v1/auth/login.js", "GET /v1/auth/login.css",
    "POST /v1/auth/challenge", "POST /v1/auth/verify", "POST /v1/auth/register", "POST /v1/auth/api-key",
    "POST /v1/auth/refresh", "POST /v1/auth/logout", "GET /openapi.json", "GET /docs",
}  # fmt: skip

METHODS = ("get", "put", "post", "delete", "patch")


def operations(api):
    """Every method and path of the document, with whether it needs a credential."""
    document = want(api.get("/openapi.json"), 200).json()
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method in METHODS:
                wanted = operation.get("security", document.get("security"))
                # An empty alternative: the credential may be left out.
                yield method.upper(), path, bool(wanted) and {} not in wanted


def filled(path):
    """The path with something for each of its parameters."""
    return "/".join("x" if part.startswith("{") else part for part in path.split("/"))


def without_request_id(answer):
    body = answer.json()
    body.pop("request_id", None)
    return body


@row("A1")
def every_operation_but_the_public_ones_wants_a_credential(world):
    api = world.api()
    found = list(operations(api))
    check(len(found) > 60, f"the document has {len(found)} operations")
    public = {f"{method} {path}" for method, path, guarded in found if not guarded}
    unexpected = {entry for entry in public - PUBLIC if not entry.startswith("GET /docs/")}
    equal(unexpected, set(), "operations that should not be public")
    bodies = []
    for method, path, guarded in found:
        if guarded:
            answer = want(api.call(method, filled(path)), 401, code="UNAUTHENTICATED")
            bodies.append(json.dumps(without_request_id(answer), sort_keys=True))
            equal(answer.headers["www-authenticate"], 'Bearer realm="debros", charset="UTF-8"')
    equal(len(set(bodies)), 1, "bodies of a 401")


@row("A2")
def what_is_no_credential_is_refused(world):
    api = world.api()
    bodies = set()
    for value in ("", "Bearer", "bearer", "Basic ZGVmYXVsdDp4", "Basic", "Digest x", "Bearer a b c",
                  "Bearer a.b.c", "Bearer ..", "ApiKey", "ApiKey x", "Token x", "ak_x:default", "Bearer ak_x:default",
                  "Bearer " + "a" * 9000, "Bearer null", "Bearer undefined", "Bearer é".encode()):  # fmt: skip
        answer = want(api.get("/v1/storage/list", headers=[("Authorization", value)]), 401)
        bodies.add(json.dumps(without_request_id(answer), sort_keys=True))
        want(api.get("/v1/storage/list", headers=[("X-API-Key", value)]), 401)
    for value in (" ", "Bearer ", "  Bearer   ", "\t", "Bearer\t"):
        for name in ("Authorization", "X-API-Key"):
            received, _ = raw.exchange(api.address, raw.request("GET", "/v1/storage/list", [(name, value), ("Connection", "close")]))
            equal(raw.statuses(received), [401], f"{name}: {value!r}")
    equal(len(bodies), 1, "bodies of a 401")
    sent = raw.request("GET", "/v1/storage/list", [("Authorization", "Bearer " + "a" * 65536)])
    equal(raw.statuses(raw.exchange(api.address, sent, 2)[0]), [431], "a credential above the limit for headers")


@row("A3")
def two_credentials_are_refused_and_nothing_is_done(world):
    a, b = world.tenant(), world.tenant()
    api = world.api()
    put = lambda **more: api.put("/v1/storage", body=b"x", params={"key": "double"}, **more)
    want(put(headers=[("Authorization", f"Bearer {a.token}"), ("Authorization", f"Bearer {b.token}")]), 400)
    want(put(headers=[("X-API-Key", a.key), ("X-API-Key", b.key)]), 400)
    want(put(headers=[("X-API-Key", a.key), ("X-API-Key", a.key)]), 400)
    want(put(token=a.token, key=b.key), 400, code="CREDENTIAL_CONFLICT")
    want(put(token=b.key, key=a.key), 400, code="CREDENTIAL_CONFLICT")
    for tenant in (a, b):
        want(tenant.value("double"), 404)
    # By contract a key counts when the token beside it is stale. Two that say nothing do not make one.
    want(put(headers=[("Authorization", "Bearer a.b.c"), ("X-API-Key", "ak_x:" + a.namespace)]), 401)


@row("A4")
def a_credential_in_the_url_counts_for_nothing_and_is_not_logged(world):
    tenant = world.tenant()
    api = world.api()
    for name in ("api_key", "token", "access_token", "key", "apikey", "X-API-Key", "authorization"):
        for value in (tenant.key, tenant.token):
            want(api.get("/v1/storage/list", params={name: value}), 401)
            want(api.get("/v1/auth/whoami", params={name: value}), 401)
    for process in world.processes():
        text = process.directory.parent.joinpath(f"{process.directory.name}.log").read_text(errors="replace")
        for secret in (tenant.key, tenant.token, tenant.key.replace(":", "%3A")):
            check(secret not in text, f"a credential from the URL is in the log of {process.directory.name}")


@row("A5")
def no_spelling_of_a_public_path_reaches_a_guarded_one(world):
    address = world.addresses()[0]
    tenant = world.tenant()
    tenant.put("spelled", b"secret value")
    for target in (
        "/v1/health/../storage?key=spelled", "/v1/health/..%2fstorage?key=spelled", "/health/%2e%2e/v1/storage?key=spelled",
        "/v1/health%2f..%2fstorage?key=spelled", "//v1/storage?key=spelled", "/v1//storage?key=spelled",
        "/v1/health;/../storage?key=spelled", "/v1/storage;x?key=spelled", "/v1/storage.?key=spelled",
        "/V1/STORAGE?key=spelled", "/v1/Storage?key=spelled", "/v1/storage/?key=spelled", "/v1/storage%00?key=spelled",
        "/v1/%73torage?key=spelled", "/v1/auth/login/../../storage?key=spelled", "/v1/auth/verify/..;/whoami",
        "/.well-known/../v1/storage?key=spelled", "/docs/../v1/storage?key=spelled", "\\v1\\storage?key=spelled",
        f"http://{address}/v1/storage?key=spelled", f"http://{address}/health", "http://evil.example/v1/health",
        "/v1/auth/whoami%20", "/v1/auth/whoami%09", "/v1/auth/whoami/.", "*",
    ):  # fmt: skip
        for method in ("GET", "POST"):
            received, _ = raw.exchange(address, raw.request(method, target, [("Connection", "close")]))
            found = raw.statuses(received)
            check(found and set(found) <= {400, 401, 404, 405}, f"{method} {target!r} without a credential: {found}")
            check(b"secret value" not in received, f"{target!r} shows a value")
        # With a credential it is still no path.
        sent = raw.request("GET", target, [("Connection", "close"), ("X-API-Key", tenant.key)])
        received, _ = raw.exchange(address, sent)
        found = raw.statuses(received)
        check(found and set(found) <= {400, 404}, f"{target!r} with a credential: {found}")


@row("A6")
def no_other_method_gets_around_the_check(world):
    tenant = world.tenant()
    tenant.put("kept")
    api = world.api()
    for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
        want(api.get("/v1/storage", params={"key": "kept"}, headers=[(name, "DELETE")]), 401)
        want(api.get("/v1/storage", params={"key": "kept"}, headers=[(name, "DELETE")], key=tenant.key), 200)
        want(api.get("/health", headers=[(name, "DELETE"), ("X-Original-URL", "/v1/storage")]), 200)
    want(api.post("/v1/storage?_method=DELETE&key=kept", key=tenant.key), 405)
    equal(api.call("HEAD", "/v1/storage", params={"key": "kept"}).status_code, 401, "HEAD")
    for method, path, guarded in operations(api):
        if not guarded:
            continue
        answer = api.call("OPTIONS", filled(path), body=b'{"sql":"CREATE TABLE options(x)"}', key=tenant.key)
        check(answer.status_code in (204, 401, 405) and not answer.content, f"OPTIONS {path}: {answer.status_code}")
        check(api.call("HEAD", filled(path)).status_code in (401, 405), f"HEAD {path}")
        check(api.call("TRACE", filled(path), key=tenant.key).status_code in (400, 405), f"TRACE {path}")
        check(api.call("PROPFIND", filled(path)).status_code in (400, 401, 405), f"PROPFIND {path}")
    received, _ = raw.exchange(api.address, raw.request("CONNECT", "127.0.0.1:22", [("Connection", "close")]), 3)
    check(set(raw.statuses(received)) <= {400, 404, 405}, f"CONNECT: {received[:100]}")
    want(tenant.value("kept"), 200)
    want(tenant.query("SELECT * FROM options"), 400, 404)


@row("A7")
def forged_headers_of_proxies_are_ignored(world):
    tenant, other = world.tenant(), world.tenant()
    api = world.api()
    forged = [("X-Forwarded-User", "admin"), ("X-Real-IP", "127.0.0.1"), ("X-Wallet", tenant.wallet.address),
              ("X-Namespace", tenant.namespace), ("X-Internal", "1"), ("X-Internal-Namespace", tenant.namespace),
              ("X-Authenticated-User", tenant.wallet.address), ("Forwarded", "for=127.0.0.1;by=127.0.0.1"),
              ("X-Forwarded-Host", "localhost"), ("Cookie", f"token={tenant.token}; api_key={tenant.key}")]  # fmt: skip
    want(api.get("/v1/auth/whoami", headers=forged), 401)
    found = want(api.get("/v1/auth/whoami", headers=forged, key=other.key), 200).json()
    equal(found["namespace"], other.namespace)
    # A client does not become another one by saying so.
    wallet = wallets.Ethereum()
    limited = 0
    for number in range(100):
        headers = [(name, f"10.0.{number}.1") for name in ("X-Forwarded-For", "X-Real-IP", "CF-Connecting-IP")]
        body = {"wallet": wallet.address, "namespace": "forged"}
        limited += want(api.post("/v1/auth/challenge", body, headers=headers), 200, 429).status_code == 429
    check(limited > 0, "100 challenges at once were all let through")


@row("A8")
def challenges_are_limited(world):
    api = world.api()
    found = [api.post("/v1/auth/challenge", {"wallet": wallets.Ethereum().address}) for _ in range(100)]
    for answer in found:
        want(answer, 200, 429)
    check(found[-1].status_code == 429, "100 challenges a minute of one address")
    want(found[-1], 429, code="RATE_LIMITED")
    check(1 <= int(found[-1].headers["retry-after"]) <= 60, f"Retry-After {found[-1].headers['retry-after']}")
    # Others are still served, and only the newest few challenges of a wallet are good.
    wallet, namespace = world.wallet(), world.name()
    challenged = [challenge(world.api(), wallet, namespace) for _ in range(12)]
    for old in challenged[:-5]:
        want(verify(world.api(), wallet, old), 401)
    want(verify(world.api(), wallet, challenged[-5]), 200)
    want(verify(world.api(), wallet, challenged[-1]), 200)


@row("A9")
def a_failed_login_does_not_tell_why(world):
    known = world.tenant()
    stranger = wallets.Ethereum()
    invented = {"nonce": "A" * 43, "message": "x"}

    def failed(wallet, challenged, signature):
        body = {**challenged, "namespace": known.namespace}
        return want(verify(world.api(), wallet, body, signature), 401)

    wrong = wallets.Ethereum()
    answers = [
        failed(known.wallet, invented, known.wallet.sign("x")),
        failed(stranger, invented, stranger.sign("x")),
        failed(known.wallet, challenge(world.api(), known.wallet, known.namespace), wrong.sign("x")),
        failed(stranger, challenge(world.api(), stranger, known.namespace), wrong.sign("x")),
    ]
    equal(len({json.dumps(without_request_id(answer), sort_keys=True) for answer in answers}), 1, "bodies")
    # Nor does the time that it takes: known and unknown wallets in turn, so that what else happens hits both.
    taken = {known.wallet: [], stranger: []}
    signatures = {wallet: wallet.sign("x") for wallet in taken}
    number = 0
    for _ in range(10):
        apis = Api(world.addresses()[0], fresh_source())
        for _ in range(25):
            for wallet in taken if number % 2 else reversed(taken):
                started = time.perf_counter()
                body = {**invented, "namespace": known.namespace}
                want(verify(apis, wallet, body, signatures[wallet]), 401)
                taken[wallet].append(time.perf_counter() - started)
            number += 1
        apis.close()
    first, second = (statistics.median(times) for times in taken.values())
    check(abs(first - second) < 0.1 * max(first, second) + 0.0003, f"median times {first:.5f} and {second:.5f} s")


@row("A10")
def nothing_hands_out_a_credential_without_a_proof(world):
    tenant = world.tenant()
    api = world.api()
    wallet = {"wallet": tenant.wallet.address, "namespace": tenant.namespace}
    for path in ("/v1/auth/simple-key", "/v1/auth/phantom/session", "/v1/auth/dev-token", "/v1/auth/impersonate",
                 "/v1/invoke/x/y", "/v1/auth/keys", "/debug/token"):  # fmt: skip
        want(api.post(path, wallet), 404)
    for path in ("/v1/auth/verify", "/v1/auth/register", "/v1/auth/api-key"):
        want(api.post(path, wallet), 400, 401)
        want(api.post(path, {**wallet, "nonce": "", "signature": ""}), 400, 401)
        want(api.post(path, {**wallet, "nonce": "A" * 43, "signature": "0x" + "00" * 65}), 401)
        want(api.post(path, wallet, headers=[("X-Wallet", tenant.wallet.address)]), 400, 401)
        want(api.post(path, wallet, token="a.b.c"), 400, 401)
    want(api.post("/v1/auth/token", wallet), 401)
    want(api.post("/v1/keys", {}), 401)
    want(api.post("/v1/auth/refresh", {**wallet, "refresh_token": ""}), 400, 401)
    # A key that is not the administrator's makes no keys, nor does a reader.
    narrow = want(tenant.call("POST", "/v1/keys", {"scopes": ["kv:read"]}), 201).json()["api_key"]
    for path in ("/v1/keys", "/v1/auth/api-key"):
        want(api.post(path, {"scopes": ["kv:read"]}, key=narrow), 400, 401, 403)


@row("A11")
def a_name_that_is_somebody_elses_stays_theirs(world):
    tenant = world.tenant()
    intruder = world.wallet()
    api = world.api()
    for namespace in (tenant.namespace, "default"):
        for path, purpose in (("verify", "login"), ("register", "register"), ("api-key", "api_key_generation")):
            challenged = challenge(world.api(), intruder, namespace, purpose)
            want(api.post(f"/v1/auth/{path}", proof(intruder, challenged)), 403)
    members = want(api.get(f"/v1/namespaces/{tenant.namespace}/members", token=tenant.token), 200).json()["members"]
    equal([(member["wallet"].lower(), member["role"]) for member in members], [(tenant.wallet.address.lower(), "owner")])
    # The intruder's own credentials do not reach it either.
    own = world.tenant()
    for method, path, body in (
        ("GET", "members", None), ("PUT", f"members/{own.wallet.address}", {"role": "owner"}),
        ("DELETE", f"members/{tenant.wallet.address}", None), ("POST", "transfer", {"wallet": own.wallet.address}),
        ("DELETE", "", None),
    ):  # fmt: skip
        path = f"/v1/namespaces/{tenant.namespace}/{path}".rstrip("/")
        for credential in ({"token": own.token}, {"key": own.key}):
            want(api.call(method, path, body, **credential), 403, 404)
    want(api.get("/v1/storage/list", key=tenant.key), 200)


@row("A12")
def a_key_and_a_tenant_do_only_what_is_theirs(world):
    tenant = world.tenant()
    api = world.api()
    stranger = wallets.Ethereum()
    space = f"/v1/namespaces/{tenant.namespace}"
    want(api.delete(space, key=tenant.key), 403)
    want(api.post(f"{space}/transfer", {"wallet": stranger.address}, key=tenant.key), 403)
    want(api.put(f"{space}/members/{stranger.address}", {"role": "owner"}, key=tenant.key), 400, 403, 409)
    want(api.get("/v1/namespaces", key=tenant.key), 403)
    exchanged = want(api.post("/v1/auth/token", key=tenant.key), 200).json()["access_token"]
    want(api.delete(space, token=exchanged), 403)
    for path, body in (("connect", {"multiaddr": "/ip4/127.0.0.1/tcp/1"}), ("disconnect", {"peer_id": "x"})):
        for credential in ({"token": tenant.token}, {"key": tenant.key}):
            want(api.post(f"/v1/network/{path}", body, **credential), 403)
    # Each scope opens what it names and nothing beside it.
    asked = {
        "sql:read": ("POST", "/v1/db/query", {"sql": "SELECT 1"}, 200),
        "sql:write": ("POST", "/v1/db/exec", {"sql": "CREATE TABLE IF NOT EXISTS scoped(x)"}, 200),
        "kv:read": ("GET", "/v1/storage/list", None, 200),
        "kv:write": ("POST", "/v1/storage/put", {"key": "scoped", "value": "eA=="}, 201),
        "apps": ("GET", "/v1/apps", None, 200),
        "admin": ("GET", "/v1/keys", None, 200),
    }
    for scope in asked:
        key = want(tenant.call("POST", "/v1/keys", {"scopes": [scope]}), 201).json()["api_key"]
        token = want(api.post("/v1/auth/token", key=key), 200).json()["access_token"]
        for other, (method, path, body, status) in asked.items():
            expected = status if other == scope else 403
            want(api.call(method, path, body, key=key), expected)
            want(api.call(method, path, body, token=token), expected)
        if scope == "sql:read":
            for sql in ("INSERT INTO scoped VALUES(1)", "DROP TABLE scoped"):
                want(api.post("/v1/db/query", {"sql": sql}, key=key), 400, 403, 404, 422)
            want(api.post("/v1/db/transaction", {"statements": ["SELECT 1"]}, key=key), 403)
    # A reader reads, and cannot raise itself.
    reader = world.wallet()
    want(api.put(f"{space}/members/{reader.address}", {"role": "reader"}, token=tenant.token), 200)
    read = want(verify(world.api(), reader, challenge(world.api(), reader, tenant.namespace)), 200).json()["access_token"]
    want(api.get("/v1/storage/list", token=read), 200)
    want(api.put("/v1/storage", body=b"x", token=read, params={"key": "reader"}), 403)
    want(api.post("/v1/db/exec", {"sql": "CREATE TABLE reader(x)"}, token=read), 403)
    want(api.put(f"{space}/members/{reader.address}", {"role": "admin"}, token=read), 403)
    want(api.post("/v1/keys", {"scopes": ["*"]}, token=read), 403)
    want(api.post("/v1/auth/api-key", {"scopes": ["*"]}, token=read), 403)
    # Nor by a proof: what a wallet may not do, a key of it may not.
    challenged = challenge(world.api(), reader, tenant.namespace, "api_key_generation")
    made = want(api.post("/v1/auth/api-key", proof(reader, challenged, scopes=["*"])), 200, 403)
    if made.status_code == 200:
        want(api.put("/v1/storage", body=b"x", key=made.json()["api_key"], params={"key": "reader"}), 403)
    # Whoever manages keys and members gets no further by them: not by a key that can do more, nor by a member who can.
    narrow = want(tenant.call("POST", "/v1/keys", {"scopes": ["admin"]}), 201).json()["api_key"]
    wide = want(api.post("/v1/keys", {"scopes": ["*"]}, token=tenant.token), 201).json()
    # The tenant's key has every scope that there is, but not those that may come.
    want(tenant.call("POST", "/v1/keys", {"scopes": ["*"]}), 403)
    want(api.post("/v1/keys", {"scopes": ["*"]}, key=narrow), 403)
    want(api.post("/v1/keys", {"scopes": ["admin", "kv:read"]}, key=narrow), 403)
    want(api.post(f"/v1/keys/{wide['key_id']}/rotate", key=narrow), 403)
    want(api.get("/v1/storage/list", key=wide["api_key"]), 200)
    want(api.put(f"{space}/members/{stranger.address}", {"role": "writer"}, key=narrow), 403)
    want(api.put(f"{space}/members/{stranger.address}", {"role": "admin"}, key=narrow), 403)
    # An administrator does not become the owner.
    admin = world.wallet()
    want(api.put(f"{space}/members/{admin.address}", {"role": "admin"}, token=tenant.token), 200)
    held = want(verify(world.api(), admin, challenge(world.api(), admin, tenant.namespace)), 200).json()["access_token"]
    want(api.put(f"{space}/members/{admin.address}", {"role": "owner"}, token=held), 400, 403, 409)
    want(api.post(f"{space}/transfer", {"wallet": admin.address}, token=held), 403)
    want(api.delete(f"{space}/members/{tenant.wallet.address}", token=held), 400, 403, 409)
    want(api.delete(space, token=held), 403)
