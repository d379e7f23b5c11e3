"""Rows T: nobody makes a token but the cluster, and what was ended stays ended."""

import base64
import hashlib
import hmac
import json
import socket
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import raw
import wallets
from api import Api, check, equal, fresh_source, want
from nacl.signing import SigningKey
from proof_of_wallet import other_cluster
from rows import row
from transcript import whole
from world import challenge, until, verify

# The start of an Ed25519 key in X.509's form.
ED25519_DER = bytes.fromhex("302a300506032b6570032100")


def encoded(data):
    data = data if isinstance(data, bytes) else json.dumps(data, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(part):
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


class Token:
    """A token taken apart."""

    def __init__(self, text):
        self.text = text
        self.parts = text.split(".")
        self.header, self.claims = (json.loads(decoded(part)) for part in self.parts[:2])

    def forged(self, header=None, claims=None, sign=None):
        """With other contents; the old signature, or one of `sign`'s making."""
        head = self.parts[0] if header is None else encoded(header)
        body = self.parts[1] if claims is None else encoded(claims)
        signature = self.parts[2] if sign is None else encoded(sign(f"{head}.{body}".encode()))
        return f"{head}.{body}.{signature}"


def refused(world, text):
    """No node lets the token in, for whatever it is shown."""
    api = world.api()
    headers = [("Authorization", f"Bearer {text}" if isinstance(text, str) else b"Bearer " + text)]
    want(api.get("/v1/auth/whoami", headers=headers), 401)
    want(api.get("/v1/storage/list", headers=headers), 401)
    want(api.get("/v1/namespaces", headers=headers), 401)
    api.close()


def shared_tenant(world):
    if not getattr(world, "token_tenant", None):
        world.token_tenant = world.tenant()
    return world.token_tenant


def token_of(world):
    tenant = shared_tenant(world)
    want(world.api().get("/v1/auth/whoami", token=tenant.token), 200)
    return Token(tenant.token)


def own_key():
    key = SigningKey.generate()
    return key, lambda text: key.sign(text).signature


def jwks(world):
    api = world.api()
    return want(api.get("/v1/auth/jwks"), 200).json()["keys"]


@row("T1")
def a_token_without_a_signature_is_none(world):
    token = token_of(world)
    for algorithm in ("none", "None", "NONE", "nOnE", "", None, 0, [], {}):
        for extra in ({}, {"kid": token.header["kid"], "typ": token.header["typ"]}):
            header = {"alg": algorithm, **extra}
            for sign in (lambda text: b"", lambda text: b"\0" * 64, None):
                refused(world, token.forged(header, sign=sign))
    refused(world, f"{token.parts[0]}.{token.parts[1]}.")
    want(world.api().get("/v1/auth/whoami", token=f"{token.parts[0]}.{token.parts[1]}"), 401)


@row("T2")
def a_public_key_is_no_shared_secret(world):
    token = token_of(world)
    for key in jwks(world):
        public = decoded(key["x"])
        der = ED25519_DER + public
        pem = "-----BEGIN PUBLIC KEY-----\n" + base64.b64encode(der).decode() + "\n-----END PUBLIC KEY-----"
        secrets = [public, public.hex().encode(), key["x"].encode(), der, base64.b64encode(der), pem.encode(), pem.encode() + b"\n",
                   json.dumps(key).encode(), json.dumps(key, separators=(",", ":")).encode(), b"", b"secret"]  # fmt: skip
        for secret in secrets:
            for name, digest in (("HS256", hashlib.sha256), ("HS384", hashlib.sha384), ("HS512", hashlib.sha512)):
                header = {**token.header, "alg": name, "kid": key["kid"]}
                refused(world, token.forged(header, sign=lambda text: hmac.new(secret, text, digest).digest()))


@row("T3")
def another_algorithm_with_our_key_id_is_refused(world):
    token = token_of(world)
    key, sign = own_key()
    for algorithm in ("ES256", "ES256K", "ES384", "RS256", "PS256", "RS512", "Ed25519", "Ed448", "eddsa", "EDDSA"):
        refused(world, token.forged({**token.header, "alg": algorithm}))
        refused(world, token.forged({**token.header, "alg": algorithm}, sign=sign))
    refused(world, token.forged(sign=sign))
    refused(world, token.forged(sign=lambda text: bytes(64)))
    refused(world, token.forged(sign=lambda text: bytes([1] + [0] * 63)))
    for _ in range(20):
        # An Ethereum wallet's signature, say.
        refused(world, token.forged({**token.header, "alg": "ES256K"}, sign=lambda text: bytes.fromhex(wallets.Ethereum().sign(text)[2:130])))


@row("T4")
def a_key_id_is_only_compared(world):
    token = token_of(world)
    _, sign = own_key()
    for kid in ("../../etc/passwd", "/dev/null", "' OR 1=1 --", "' UNION SELECT x'00' --", "\0", f"{token.header['kid']}\0", "k" * 4096,
                "unknown", "", None, 0, True, ["x"], {"$ne": ""}, token.header["kid"].upper() + " ", "http://127.0.0.1/", "é"):  # fmt: skip
        for signing in (sign, None):
            refused(world, token.forged({**token.header, "kid": kid}, sign=signing))
    header = dict(token.header)
    header.pop("kid")
    refused(world, token.forged(header, sign=sign))
    # Many unknown ids at once: asking the cluster for keys is bounded, and nobody else notices.
    def one(number):
        api = world.api()
        header = {**token.header, "kid": f"{number:016x}"}
        found = api.get("/v1/auth/whoami", token=token.forged(header, sign=sign)).status_code
        api.close()
        return found

    with ThreadPoolExecutor(16) as pool:
        equal(set(pool.map(one, range(100))), {401})
    want(world.api().get("/v1/auth/whoami", token=token.text), 200)


@row("T5")
def keys_that_a_token_brings_along_are_not_used(world):
    token = token_of(world)
    key, sign = own_key()
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(16)
        listening.settimeout(1)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/keys"
        own = {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "own", "x": encoded(bytes(key.verify_key))}
        for extra in ({"jwk": own}, {"jku": url}, {"x5u": url}, {"x5c": [base64.b64encode(ED25519_DER + bytes(key.verify_key)).decode()]},
                      {"jku": url, "kid": "own"}, {"jwk": own, "kid": "own"}, {"x5t": "AA", "x5u": url}):  # fmt: skip
            refused(world, token.forged({**token.header, **extra}, sign=sign))
            refused(world, token.forged({**token.header, **extra}))
        refused(world, token.forged(claims={**token.claims, "iss": url}, sign=sign))
        try:
            listening.accept()
            check(False, "the server fetched a key from where a token said")
        except TimeoutError:
            pass


@row("T6")
def unknown_critical_extensions_are_refused(world):
    token = token_of(world)
    for extra in ({"crit": ["b64"], "b64": False}, {"crit": ["x"], "x": 1}, {"crit": []}, {"crit": "exp"}, {"b64": False}, {"zip": "DEF"},
                  {"cty": "JWT"}, {"enc": "A128GCM"}):  # fmt: skip
        refused(world, token.forged({**token.header, **extra}))


@row("T7")
def no_claim_can_be_changed_or_left_out(world):
    token = token_of(world)
    _, sign = own_key()
    for changed in ({"exp": None}, {"exp": "9999999999"}, {"exp": -1}, {"exp": 2**63}, {"exp": 1e300}, {"exp": 9999999999}, {"exp": 0},
                    {"nbf": 0}, {"iat": 0}, {"namespace": "default"}, {"sub": "operator"}, {"sid": ""}, {"role": "owner"},
                    {"namespace": "_accounts"}, {"scope": "*"}):  # fmt: skip
        for signing in (None, sign):
            refused(world, token.forged(claims={**token.claims, **changed}, sign=signing))
    for name in token.claims:
        refused(world, token.forged(claims={other: value for other, value in token.claims.items() if other != name}))


# RFC 7519's leeway for clocks, and a little.
LEEWAY_SECONDS = 32


def issue_one_that_expires(world):
    """The strict gateway's tokens live for a second."""
    wallet, namespace = world.wallet(), world.name()
    api = world.strict_api()
    issued = want(verify(api, wallet, challenge(api, wallet, namespace)), 200).json()
    world.expiring = (time.monotonic(), issued)


@row("T8")
def an_expired_token_is_refused(world):
    began, issued = world.expiring
    equal(issued["expires_in"], 1, "the strict gateway's tokens expire soon")
    time.sleep(max(0, began + LEEWAY_SECONDS - time.monotonic()))
    refused(world, issued["access_token"])
    want(world.strict_api().get("/v1/auth/whoami", token=issued["access_token"]), 401)
    # What expires is the token and not the login.
    want(world.api().post("/v1/auth/refresh", {"refresh_token": issued["refresh_token"]}), 200)


an_expired_token_is_refused.begin = issue_one_that_expires


@row("T9")
def a_token_says_for_whom_it_is(world):
    token = token_of(world)
    equal((token.header["alg"], token.header["typ"]), ("EdDSA", "at+jwt"), "the header")
    check({"iss", "aud", "sub", "exp", "nbf", "iat", "jti"} <= set(token.claims), f"claims {sorted(token.claims)}")
    check(token.claims["exp"] - token.claims["iat"] <= 900, "a token lives for at most 15 minutes")
    for changed in ({"aud": "other"}, {"aud": ["gateway", "other"]}, {"aud": [token.claims["aud"]]}, {"aud": ""}, {"iss": "other"}, {"iss": [token.claims["iss"]]}):
        refused(world, token.forged(claims={**token.claims, **changed}))
    for kind in ("JWT", "jwt", "dpop+jwt", "application/at+jwt", "", None):
        refused(world, token.forged({**token.header, "typ": kind}))


@row("T10")
def each_kind_of_secret_is_only_itself(world):
    tenant = shared_tenant(world)
    for text in (tenant.refresh, "rt_" + tenant.refresh[3:], "wt_" + tenant.refresh[3:]):
        refused(world, text)
        want(world.api().get("/v1/storage/list", key=text), 401)
    want(world.api().get("/v1/storage/list", key=tenant.token), 401)
    for text in (tenant.token, tenant.key, tenant.key_id, "wt_" + tenant.refresh[3:], tenant.refresh[3:]):
        want(world.api().post("/v1/auth/refresh", {"refresh_token": text}), 400, 401)
    want(world.api().post("/v1/auth/token", token=tenant.token), 400, 401, 403)
    want(world.api().post("/v1/auth/token", key=tenant.refresh), 401)
    want(world.api().get("/v1/auth/whoami", token=tenant.token), 200)


@row("T11")
def a_token_of_another_cluster_is_refused(world):
    other = other_cluster(world)
    wallet, namespace = world.wallet(), shared_tenant(world).namespace
    foreign = Api(other.nodes[0].gateway_address, fresh_source())
    issued = want(verify(foreign, wallet, challenge(foreign, wallet, namespace)), 200).json()
    refused(world, issued["access_token"])
    want(world.api().post("/v1/auth/refresh", {"refresh_token": issued["refresh_token"]}), 401)
    key = want(foreign.post("/v1/auth/api-key", {}, token=issued["access_token"]), 200).json()["api_key"]
    want(world.api().get("/v1/storage/list", key=key), 401)
    want(foreign.get("/v1/auth/whoami", token=token_of(world).text), 401)
    # Its key with our key's id, and ours with its.
    theirs, ours = Token(issued["access_token"]), token_of(world)
    refused(world, theirs.forged({**theirs.header, "kid": ours.header["kid"]}))
    refused(world, f"{ours.parts[0]}.{theirs.parts[1]}.{theirs.parts[2]}")


@row("T12")
def a_token_has_one_spelling(world):
    token = token_of(world)
    header, claims, signature = token.parts
    text = token.text
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for place, part in enumerate(token.parts):
        # Bits of the last digit that stand for nothing.
        spare = {0: 0, 2: 4, 3: 2}[len(part) % 4]
        for bits in range(1, 2**spare):
            digit = last[last.index(part[-1]) ^ bits]
            changed = [*token.parts]
            changed[place] = part[:-1] + digit
            refused(world, ".".join(changed))
    for bad in (f"{text}.", f"{text}.x", f".{text}", f"{text}.{signature}", f"{header}.{claims}", f"{header}=.{claims}.{signature}",
                f"{text}=", f"{text}==", text.replace("-", "+").replace("_", "/") + "=",
                f"{header}.{claims}%2e{signature}", f"{header} .{claims}.{signature}", f"{header}..{signature}"):  # fmt: skip
        api = world.api()
        want(api.get("/v1/auth/whoami", headers=[("Authorization", f"Bearer {bad}")]), 401)
        api.close()
    for members in ('"exp":9999999999', '"namespace":"default"', '"sub":"x"'):
        for place in (0, 1):
            changed = [decoded(header).decode(), decoded(claims).decode()]
            changed[place] = "{" + members + "," + changed[place][1:]
            refused(world, f"{encoded(changed[0].encode())}.{encoded(changed[1].encode())}.{signature}")
    for claims in (b"", b"null", b"[]", b"1", b'"x"', b"{", b"\xff\xfe", decoded(claims) + b" ", b"\xef\xbb\xbf" + decoded(claims)):
        refused(world, f"{header}.{encoded(claims)}.{signature}")


@row("T13")
def a_large_or_deep_token_costs_nothing(world):
    token = token_of(world)
    deep = b'{"a":' * 5000 + b"1" + b"}" * 5000
    for text in (token.forged(claims={**token.claims, "x": "x" * 20_000}), f"{encoded(deep)}.{token.parts[1]}.{token.parts[2]}",
                 f"{token.parts[0]}.{encoded(deep)}.{token.parts[2]}", "." * 20_000, "a." * 10_000):  # fmt: skip
        api = world.api()
        want(api.get("/livez"), 200)
        started = time.perf_counter()
        want(api.get("/v1/auth/whoami", headers=[("Authorization", f"Bearer {text}")]), 401, 431)
        taken = time.perf_counter() - started
        check(taken < 0.1, f"{taken:.3f} s for a token of {len(text)} bytes")
        api.close()
    huge = raw.request("GET", "/v1/auth/whoami", [("Authorization", "Bearer " + token.forged(claims={"x": "x" * 1_000_000}))])
    equal(raw.statuses(raw.exchange(world.addresses()[0], huge, 2)[0]), [431])


@row("T14")
def published_keys_have_no_private_half(world):
    first = None
    for number in range(3):
        for path in ("/v1/auth/jwks", "/.well-known/jwks.json"):
            keys = want(world.api(number).get(path), 200).json()["keys"]
            check(1 <= len(keys) <= 3, f"{len(keys)} keys")
            for key in keys:
                equal(set(key), {"kty", "crv", "use", "alg", "kid", "x"}, "members of a key")
                equal((key["kty"], key["crv"], len(decoded(key["x"]))), ("OKP", "Ed25519", 32))
            first = first or keys
            equal(keys, first, "keys of every node")
    token = token_of(world)
    check(token.header["kid"] in [key["kid"] for key in first], "the token's key is published")


def session(world):
    wallet, namespace = world.wallet(), world.name()
    return want(verify(world.api(), wallet, challenge(world.api(), wallet, namespace)), 200).json()


def refresh(world, token, number=None):
    api = world.api(number)
    try:
        return api.post("/v1/auth/refresh", {"refresh_token": token})
    finally:
        api.close()


@row("T15")
def a_refresh_token_that_comes_back_ends_everything_that_came_of_it(world):
    first = session(world)
    second = want(refresh(world, first["refresh_token"]), 200).json()
    third = want(refresh(world, second["refresh_token"]), 200).json()
    want(world.api().get("/v1/auth/whoami", token=third["access_token"]), 200)
    want(refresh(world, first["refresh_token"]), 401)
    for tokens in (third, second, first):
        want(refresh(world, tokens["refresh_token"]), 401)
        world.everywhere(lambda api: api.get("/v1/auth/whoami", token=tokens["access_token"]).status_code == 401)


@row("T16")
def of_fifty_uses_at_once_one_is_accepted(world):
    for _ in range(2):
        first = session(world)
        apis = [world.api(number) for number in range(50)]
        for api in apis:
            want(api.get("/livez"), 200)
        with ThreadPoolExecutor(50) as pool:
            use = lambda api: api.post("/v1/auth/refresh", {"refresh_token": first["refresh_token"]})
            found = list(pool.map(use, apis))
        codes = [answer.status_code for answer in found]
        equal(codes.count(200), 1, f"accepted of {sorted(codes)}")
        check(set(codes) <= {200, 401}, f"answers {sorted(set(codes))}")
        # It was reused, so what the one got has ended as well.
        won = next(answer for answer in found if answer.status_code == 200).json()
        want(refresh(world, won["refresh_token"]), 401)


@row("T17")
def what_was_revoked_is_refused_everywhere_within_five_seconds(world):
    def gone(**credential):
        world.everywhere(lambda api: api.get("/v1/storage/list", **credential).status_code == 401)

    def used(**credential):
        # So that every node has it in whatever it remembers.
        for number in range(3):
            want(world.api(number).get("/v1/storage/list", **credential), 200)
        for gateway in world.cluster.gateways:
            want(Api(gateway.gateway_address).get("/v1/storage/list", **credential), 200)

    tenant = world.tenant()
    for credential in ({"token": tenant.token}, {"key": tenant.key}):
        used(**credential)
    exchanged = want(world.api().post("/v1/auth/token", key=tenant.key), 200).json()["access_token"]
    used(token=exchanged)
    # Log out, once by the access token and once by the refresh token.
    want(world.api().post("/v1/auth/logout", {}, token=tenant.token), 200)
    gone(token=tenant.token)
    want(refresh(world, tenant.refresh), 401)
    tenant.log_in(tenant.api())
    one, other = dict(token=tenant.token, refresh=tenant.refresh), None
    tenant.log_in(tenant.api())
    other = dict(token=tenant.token, refresh=tenant.refresh)
    used(token=one["token"])
    used(token=other["token"])
    want(world.api().post("/v1/auth/logout", {"refresh_token": one["refresh"]}), 200)
    gone(token=one["token"])
    want(world.api().get("/v1/storage/list", token=other["token"]), 200)
    want(world.api().post("/v1/auth/logout", {"all": True}, token=other["token"]), 200)
    gone(token=other["token"])
    want(refresh(world, other["refresh"]), 401)
    # A key: rotated, then revoked.
    tenant.log_in(tenant.api())
    rotated = want(world.api().post(f"/v1/keys/{tenant.key_id}/rotate", token=tenant.token), 200).json()
    gone(key=tenant.key)
    used(key=rotated["api_key"])
    want(world.api().delete(f"/v1/keys/{rotated['key_id']}", token=tenant.token), 200)
    gone(key=rotated["api_key"])
    gone(token=exchanged)
    # A member who is let go.
    member = world.wallet()
    path = f"/v1/namespaces/{tenant.namespace}/members/{member.address}"
    want(world.api().put(path, {"role": "writer"}, token=tenant.token), 200)
    joined = want(verify(world.api(), member, challenge(world.api(), member, tenant.namespace)), 200).json()
    used(token=joined["access_token"])
    want(world.api().delete(path, token=tenant.token), 200)
    gone(token=joined["access_token"])
    want(refresh(world, joined["refresh_token"]), 401)
    # A role that was lowered.
    want(world.api().put(path, {"role": "writer"}, token=tenant.token), 200)
    joined = want(verify(world.api(), member, challenge(world.api(), member, tenant.namespace)), 200).json()["access_token"]
    want(world.api().put("/v1/storage", body=b"x", params={"key": "x"}, token=joined), 201)
    want(world.api().put(path, {"role": "reader"}, token=tenant.token), 200)
    lowered = lambda api: api.put("/v1/storage", body=b"x", params={"key": "x"}, token=joined).status_code == 403
    world.everywhere(lowered)
    # The namespace itself.
    key = want(world.api().post("/v1/keys", {"scopes": ["*"]}, token=tenant.token), 201).json()["api_key"]
    used(key=key)
    used(token=tenant.token)
    want(world.api().delete(f"/v1/namespaces/{tenant.namespace}", token=tenant.token), 200)
    for credential in ({"key": key}, {"token": tenant.token}, {"token": joined}):
        gone(**credential)
    want(refresh(world, tenant.refresh), 401)


@row("T19")
def a_key_is_compared_byte_by_byte(world):
    tenant, other = world.tenant(), world.tenant()
    secret, _, namespace = tenant.key.partition(":")
    for bad in (tenant.key.upper(), tenant.key.lower(), tenant.key.swapcase(), tenant.key[:-1], tenant.key + "x", secret, secret + ":",
                f"{secret}:{other.namespace}", f"{secret}:default", f"{secret[:-1]}:{namespace}", f"{secret}::{namespace}",
                f"{secret}:{namespace}:default", secret[3:] + ":" + namespace, tenant.key.replace("ak_", "AK_"), f"{secret}:{namespace}%00",
                tenant.key_id, f"ak_{tenant.key_id}:{namespace}"):  # fmt: skip
        for headers in ([("X-API-Key", bad)], [("Authorization", f"Bearer {bad}")], [("Authorization", f"ApiKey {bad}")]):
            api = world.api()
            want(api.get("/v1/storage/list", headers=headers), 401)
            api.close()
    for params in ({"namespace": other.namespace}, {"namespace": "default"}):
        want(tenant.call("GET", "/v1/storage/list", params=params), 403)
    want(tenant.call("GET", "/v1/storage/list", params={"namespace": namespace}), 200)


@row("T20")
def a_wrong_key_takes_the_same_time_wherever_it_differs(world):
    tenant = world.tenant()
    early = "ak_" + ("B" if tenant.key[3] != "B" else "C") + tenant.key[4:]
    place = tenant.key.index(":") - 1
    late = tenant.key[:place] + ("E" if tenant.key[place] != "E" else "I") + tenant.key[place + 1:]
    taken = {early: [], late: []}
    api = world.api(0)
    for number in range(300):
        for key in taken if number % 2 else reversed(taken):
            started = time.perf_counter()
            answer = api.get("/v1/storage/list", key=key)
            taken[key].append(time.perf_counter() - started)
            equal(answer.status_code, 401)
    first, second = (statistics.median(times) for times in taken.values())
    check(abs(first - second) < 0.1 * max(first, second) + 0.0002, f"median times {first:.6f} and {second:.6f} s")


@row("T11b")
def tokens_outlive_a_restart_of_every_node(world):
    tenant = shared_tenant(world)
    want(tenant.value("absent"), 404)
    for node in world.cluster.nodes:
        node.stop()
        node.start()
        whole(world)
    for number in range(3):
        until(lambda: world.api(number).get("/v1/auth/whoami", token=tenant.token).status_code == 200, "the token is good", 10)
        want(world.api(number).get("/v1/storage/list", key=tenant.key), 200)
