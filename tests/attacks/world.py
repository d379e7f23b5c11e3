"""What the attacks are carried out against: three nodes that vote, and gateways that store nothing."""

import itertools
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "clients"))

from cluster import Cluster, until  # noqa: E402

import wallets  # noqa: E402
from api import Api, check, fresh_source, want  # noqa: E402

# The origin that the strict gateway lets in.
ORIGIN = "https://app.example.org"

# Of the strict gateway; what is shorter than usual is waited for.
CHALLENGE_SECONDS = 3

KEYS_MAX = 20
CONNECTIONS_MAX = 150
SOCKET_RATE = 500

STRICT = {
    "DEBROS_GATEWAY__KV_KEYS_MAX": str(KEYS_MAX),
    "DEBROS_GATEWAY__IDLE_TIMEOUT": "3s",
    "DEBROS_GATEWAY__CONNECTIONS_MAX": str(CONNECTIONS_MAX),
    "DEBROS_GATEWAY__SOCKET_RATE": str(SOCKET_RATE),
    "DEBROS_GATEWAY__BARE_NONCE": "false",
    "DEBROS_GATEWAY__ALLOWED_ORIGINS": ORIGIN,
    "DEBROS_SECURITY__CHALLENGE_TTL": f"{CHALLENGE_SECONDS}s",
    "DEBROS_SECURITY__ACCESS_TOKEN_TTL": "1s",
}

ALL_SCOPES = ["sql:read", "sql:write", "kv:read", "kv:write", "pubsub:subscribe", "pubsub:publish", "apps", "admin"]


class World:
    def __init__(self):
        # Everything that a node says is searched for secrets.
        self.cluster = Cluster(3, {"DEBROS_LOGGING__LEVEL": "debug"})
        try:
            self.strict = self.cluster.start_gateway("strict", STRICT)
        except BaseException:
            self.cluster.stop()
            raise
        self.names = itertools.count(1)
        self.turns = itertools.count()
        # Wallets whose seeds must not be found anywhere.
        self.wallets = []
        # Values that must be found in what is stored, or the search for secrets is worth nothing.
        self.stored = []

    def addresses(self):
        return [node.gateway_address for node in self.cluster.nodes]

    def api(self, number=None, source=None):
        """A client of a node; of another one each time, unless told which."""
        addresses = self.addresses()
        chosen = next(self.turns) if number is None else number
        return Api(addresses[chosen % len(addresses)], source)

    def strict_api(self):
        return Api(self.strict.gateway_address)

    def name(self, stem="tenant"):
        return f"{stem}-{next(self.names)}"

    def wallet(self, kind=wallets.Ethereum):
        wallet = kind()
        self.wallets.append(wallet)
        return wallet

    def tenant(self, kind=wallets.Ethereum, namespace=None):
        return Tenant(self, self.wallet(kind), namespace or self.name())

    def processes(self):
        return self.cluster.nodes + self.cluster.gateways

    def healthy(self):
        """Every process lives, and says that it is well."""
        for process in self.processes():
            check(process.process.poll() is None, f"{process.directory.name} has ended:\n{process.log()}")

            def well():
                api = Api(process.gateway_address)
                try:
                    return api.get("/health").status_code == 200
                finally:
                    api.close()

            until(well, f"{process.directory.name} is healthy", 20)

    def everywhere(self, ask, seconds=5):
        """Asks every node until each gives something."""
        for number in range(len(self.cluster.nodes)):
            api = self.api(number)
            until(lambda: ask(api), f"node {number + 1} says so", seconds)
            api.close()

    def stop(self):
        self.cluster.stop()
        if other := getattr(self, "other", None):
            other.stop()


def challenge(api, wallet, namespace, purpose="login", **more):
    body = {"wallet": wallet.address, "namespace": namespace, "chain_type": wallet.chain, "purpose": purpose}
    return want(api.post("/v1/auth/challenge", {**body, **more}), 200).json()


def proof(wallet, challenged, signature=None, **more):
    """The body that answers a challenge."""
    signature = wallet.sign(challenged["message"]) if signature is None else signature
    body = {
        "wallet": wallet.address,
        "namespace": challenged["namespace"],
        "chain_type": wallet.chain,
        "nonce": challenged["nonce"],
        "signature": signature,
    }
    return {**body, **more}


def verify(api, wallet, challenged, signature=None, **more):
    return api.post("/v1/auth/verify", proof(wallet, challenged, signature, **more))


class Tenant:
    """A wallet that owns a namespace, logged in and with a key."""

    def __init__(self, world, wallet, namespace):
        self.world, self.wallet, self.namespace = world, wallet, namespace
        self.source = fresh_source()
        api = self.api()
        self.log_in(api)
        made = want(api.post("/v1/auth/api-key", {"scopes": ALL_SCOPES}, token=self.token), 200).json()
        self.key, self.key_id = made["api_key"], made["key_id"]
        api.close()

    def log_in(self, api):
        tokens = want(verify(api, self.wallet, challenge(api, self.wallet, self.namespace)), 200).json()
        self.token, self.refresh = tokens["access_token"], tokens["refresh_token"]
        return tokens

    def api(self, number=None):
        return self.world.api(number, self.source)

    def call(self, method, path, json=None, **more):
        """A request with the tenant's key."""
        api = self.api()
        try:
            return api.call(method, path, json, key=self.key, **more)
        finally:
            api.close()

    def put(self, key, value=b"value", **more):
        return want(self.call("PUT", "/v1/storage", body=value, params={"key": key}, **more), 201)

    def value(self, key):
        return self.call("GET", "/v1/storage", params={"key": key})

    def query(self, sql, *args, **more):
        return self.call("POST", "/v1/db/query", {"sql": sql, "args": list(args)}, **more)

    def exec(self, sql, *args, **more):
        return self.call("POST", "/v1/db/exec", {"sql": sql, "args": list(args)}, **more)
