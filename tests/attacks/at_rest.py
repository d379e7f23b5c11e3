"""Row T18: whoever reads the disks or the logs of the nodes cannot log in with what is there."""

import base64
import re

import nacl.exceptions
from nacl.signing import SigningKey

import api
from api import check, want
from rows import row
from tokens import decoded


# Every secret that is text: tokens, keys, nonces, digits.
RUN = re.compile(rb"[A-Za-z0-9_.:=+/-]{32,}")


def contents(world):
    """Every file below the nodes' directories and beside them: databases, logs of Raft, snapshots, what was said."""
    # The database that the SQL rows filled to its bounds holds nothing but what they made up.
    filled = getattr(world, "sql_tenant", None)
    for path in world.cluster.root.rglob("*"):
        if path.is_file() and not (filled and path.name.startswith(f"{filled.namespace}.sqlite")):
            yield path, path.read_bytes()


def forms(secret):
    """The ways in which a secret could be written down."""
    text = secret.encode()
    yield text
    core = secret.removeprefix("rt_").removeprefix("ak_").removeprefix("wt_").split(":")[0]
    if re.fullmatch(r"[A-Za-z0-9_-]{43}", core):
        raw = base64.urlsafe_b64decode(core + "=")
        yield raw
        yield raw.hex().encode()
        yield core.encode()


@row("T18")
def no_secret_is_on_a_disk_or_in_a_log(world):
    tenant = world.tenant()
    canary = "a value that is not secret 5c0f1d"
    want(tenant.put("canary", canary.encode()), 201)
    published = [key for key in want(world.api().get("/v1/auth/jwks"), 200).json()["keys"]]
    # A backup and a snapshot hold what the files hold; both are made from them.
    world.cluster.end()
    secrets = {}
    for name, values in api.issued.items():
        for value in values:
            for form in forms(value):
                secrets[form] = name
    for wallet in world.wallets:
        for form in (wallet.secret, wallet.secret.hex().encode(), base64.b64encode(wallet.secret)):
            secrets[form] = "seed of a wallet"
    check(len(secrets) > 20, f"{len(secrets)} secrets to look for")
    written = {secret: name for secret, name in secrets.items() if RUN.fullmatch(secret)}
    starts = {secret[:8] for secret in written}
    found_canary, leaks = set(), set()
    for path, data in contents(world):
        if canary.encode() in data:
            found_canary.add(path.parent.name)
        # What is text is looked for in the runs of its alphabet, which are few; the rest everywhere.
        for run in RUN.findall(data):
            if any(run[place : place + 8] in starts for place in range(len(run) - 7)):
                leaks.update((name, str(path.relative_to(world.cluster.root))) for secret, name in written.items() if secret in run)
        for secret, name in secrets.items():
            if secret not in written and secret in data:
                leaks.add((name, str(path.relative_to(world.cluster.root))))
        leaks.update((f"private half of {kid}", str(path.relative_to(world.cluster.root))) for kid in private_halves(data, published))
    check({"db", "raft"} <= found_canary, f"the search finds what is there: {sorted(found_canary)}")
    check(not leaks, f"secrets found: {sorted(leaks)}")


no_secret_is_on_a_disk_or_in_a_log.stops_the_nodes = True


def private_halves(data, keys):
    """The keys whose private half lies open near a place where the key is named: any 32 bytes there may be it."""
    for key in keys:
        public = decoded(key["x"])
        places = [match.start() for match in re.finditer(re.escape(key["kid"].encode()) + b"|" + re.escape(public), data)]
        for place in places[:8]:
            for start in range(max(0, place - 160), min(place + 160, len(data) - 32)):
                try:
                    if bytes(SigningKey(data[start : start + 32]).verify_key) == public:
                        yield key["kid"]
                except nacl.exceptions.CryptoError:
                    continue
