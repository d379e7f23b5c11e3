"""From nothing to logged out, each call to another node."""

import threading
import time

import httpx

import wallets
from api import Api, check, equal, want
from rows import row
from world import until


def steps(world, wallet, namespace, form, call):
    """The whole life of a login. `call(method, path, ...)` chooses whom to ask; yields between the steps."""
    about = {"wallet": wallet.address, "namespace": namespace, "chain_type": wallet.chain}

    def proven(purpose):
        challenged = want(call("POST", "/v1/auth/challenge", {**about, "purpose": purpose}), 200).json()
        check(challenged["nonce"] in challenged["message"], "the text to sign contains the nonce")
        signature = wallet.sign(challenged[form])
        return {**about, "nonce": challenged["nonce"], "signature": signature}

    tokens = want(call("POST", "/v1/auth/verify", proven("login")), 200).json()
    yield "logged in"
    equal((tokens["token_type"], tokens["namespace"], tokens["signature_verified"]), ("Bearer", namespace, True))
    token, refresh = tokens["access_token"], tokens["refresh_token"]
    key = want(call("POST", "/v1/auth/api-key", {**proven("api_key_generation"), "name": "first"}), 200).json()["api_key"]
    check(key.startswith("ak_") and key.endswith(f":{namespace}"), "the key has its form")
    yield "has a key"
    schema = "CREATE TABLE notes (id INTEGER PRIMARY KEY, body TEXT NOT NULL, at TEXT DEFAULT CURRENT_TIMESTAMP)"
    want(call("POST", "/v1/db/create-table", {"schema": schema}, key=key), 201)
    inserted = call("POST", "/v1/db/exec", {"sql": "INSERT INTO notes(body) VALUES(?)", "args": ["hello"]}, token=token)
    equal(want(inserted, 200).json()["rows_affected"], 1)
    yield "has written a row"
    found = want(call("POST", "/v1/db/find", {"table": "notes", "criteria": {"body": "hello"}}, token=token), 200).json()
    equal((found["count"], found["items"][0]["id"], found["items"][0]["body"]), (1, 1, "hello"))
    value = bytes(range(256))
    put = want(call("PUT", "/v1/storage", body=value, key=key, params={"key": "a/b"}), 201).json()
    equal((put["key"], put["size"]), ("a/b", 256))
    yield "has put a value"
    equal(want(call("GET", "/v1/storage", token=token, params={"key": "a/b"}), 200).content, value)
    equal(want(call("GET", "/v1/storage/list", key=key, params={"prefix": "a/"}), 200).json()["keys"], ["a/b"])
    yield "has read it"
    again = want(call("POST", "/v1/auth/refresh", {"refresh_token": refresh, "namespace": namespace}), 200).json()
    check(again["refresh_token"] != refresh and again["access_token"] == again["token"], "the tokens are new")
    equal(want(call("GET", "/v1/auth/whoami", token=again["access_token"]), 200).json()["namespace"], namespace)
    want(call("POST", "/v1/auth/logout", {"refresh_token": again["refresh_token"]}), 200)
    yield "logged out"
    want(call("POST", "/v1/auth/refresh", {"refresh_token": again["refresh_token"]}), 401)

    def over():
        return call("GET", "/v1/storage", token=again["access_token"], params={"key": "a/b"}).status_code == 401

    for _ in range(3):
        until(over, "the token has ended with its session", 5)
    equal(want(call("GET", "/v1/storage", key=key, params={"key": "a/b"}), 200).content, value, "the key lives on")


FORMS = [(kind, form) for kind in (wallets.Ethereum, wallets.Solana) for form in ("message", "nonce")]


@row("transcript")
def each_call_to_another_of_three_nodes(world):
    for kind, form in FORMS:
        apis = [world.api(number) for number in range(3)]
        turns = iter(range(1000))

        def call(method, path, json=None, **more):
            return apis[next(turns) % 3].call(method, path, json, **more)

        for _ in steps(world, world.wallet(kind), world.name("transcript"), form, call):
            pass
        for api in apis:
            api.close()


@row("transcript")
def through_a_gateway_whose_nodes_are_killed_midway(world):
    """The leader is killed after one step, and after another the node that the gateway talks to, as far as that can be
    seen from outside: whichever it is, every node but one has been killed in turn by the end."""
    gateway = world.cluster.start_gateway("passing")
    for number, (kind, form) in enumerate(FORMS):
        api = Api(gateway.gateway_address)

        def call(method, path, json=None, **more):
            """As clients do: what certainly did not happen is asked again."""
            deadline = time.monotonic() + 20
            while True:
                answer = api.call(method, path, json, **more)
                told = answer.json() if answer.status_code >= 500 else {}
                safe = method == "GET" or told.get("outcome") == "not_executed"
                if not (answer.status_code >= 500 and told.get("retryable") and safe) or time.monotonic() > deadline:
                    return answer
                time.sleep(0.1)

        for step in steps(world, world.wallet(kind), world.name("gateway"), form, call):
            if step == "has a key":
                killed = world.cluster.leader()
                killed.kill()
            elif step == "has put a value":
                killed.start()
                whole(world)
                # The one that the gateway reaches first may be any of the others.
                killed = world.cluster.nodes[number % 3]
                killed.kill()
            elif step == "has read it":
                killed.start()
                whole(world)
        api.close()


def whole(world):
    for node in world.cluster.nodes:
        until(lambda: node.status()["ready"], f"{node.directory.name} serves again", 30)


def running(world, call, writes):
    """Writes again and again until told to stop; what was acknowledged."""
    stopped = threading.Event()

    def write():
        while not stopped.is_set():
            try:
                if call(len(writes)).status_code == 201:
                    writes.append(len(writes))
            except httpx.HTTPError:
                time.sleep(0.05)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()

    def stop():
        stopped.set()
        thread.join(40)
        check(not thread.is_alive(), "the writer ends")

    return stop


@row("transcript")
def a_gateway_goes_on_writing_while_leaders_are_killed(world):
    tenant = world.tenant()
    gateway = next(process for process in world.cluster.gateways if process.directory.name == "passing")
    api = Api(gateway.gateway_address)
    writes = []
    put = lambda number: api.put("/v1/storage", body=b"%d" % number, key=tenant.key, params={"key": f"w/{number}"})
    stop = running(world, put, writes)
    until(lambda: len(writes) > 5, "writes begin", 20)
    leader = world.cluster.leader()
    leader.kill()
    before = len(writes)
    until(lambda: len(writes) > before + 5, "writes go on without the leader", 20)
    leader.start()
    whole(world)
    stop()
    for number in writes:
        equal(want(tenant.value(f"w/{number}"), 200).content, b"%d" % number, "an acknowledged write")
    api.close()
