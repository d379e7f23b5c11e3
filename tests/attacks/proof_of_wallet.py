"""Rows W: only a wallet's own, fresh, single-use signature is one."""

import time
from concurrent.futures import ThreadPoolExecutor

import base58

import wallets
from api import Api, check, equal, fresh_source, want
from rows import row
from transcript import whole
from wallets import SECP256K1_ORDER, joined
from world import CHALLENGE_SECONDS, Cluster, challenge, proof, verify


def refused(world, wallet, namespace, forge, *statuses, api=None):
    """Answers a fresh challenge with what `forge` makes of it."""
    challenged = challenge(api or world.api(), wallet, namespace)
    return want(verify(api or world.api(), wallet, challenged, forge(challenged["message"])), *(statuses or (401,)))


@row("W1")
def a_nonce_is_good_once(world):
    for kind in (wallets.Ethereum, wallets.Solana):
        wallet, namespace = world.wallet(kind), world.name()
        for form in ("message", "nonce"):
            challenged = challenge(world.api(), wallet, namespace)
            signature = wallet.sign(challenged[form])
            want(verify(world.api(), wallet, challenged, signature), 200)
            for number in range(3):
                want(verify(world.api(number), wallet, challenged, signature), 401)
                # Not for another form of the same either.
                want(verify(world.api(number), wallet, challenged), 401)


@row("W2")
def of_fifty_verifies_at_once_one_is_accepted(world):
    for kind in (wallets.Ethereum, wallets.Solana):
        wallet, namespace = world.wallet(kind), world.name()
        challenged = challenge(world.api(), wallet, namespace)
        # Two tries each from addresses of their own: the limit of logins is not what is tested.
        apis = [world.api(number) for number in range(50)]
        for api in apis:
            want(api.get("/livez"), 200)
        with ThreadPoolExecutor(50) as pool:
            found = list(pool.map(lambda api: verify(api, wallet, challenged).status_code, apis))
        equal(found.count(200), 1, f"accepted of {sorted(found)}")
        check(set(found) <= {200, 401}, f"answers {sorted(set(found))}")


@row("W3")
def a_nonce_that_was_never_issued_is_refused(world):
    wallet, namespace = world.wallet(), world.name()
    real = challenge(world.api(), wallet, namespace)
    for nonce in ("A" * 43, real["nonce"][:-1] + ("A" if real["nonce"][-1] != "A" else "B"), real["nonce"].lower(),
                  real["nonce"] + "A", real["nonce"][:42], f" {real['nonce']}", "", "0", "null", "'", "%", "_" * 43):  # fmt: skip
        invented = {**real, "nonce": nonce}
        message = real["message"].replace(real["nonce"], nonce)
        for text in (message, nonce):
            want(verify(world.api(), wallet, invented, wallet.sign(text)), 400, 401)
    want(verify(world.api(), wallet, real), 200)


@row("W4")
def a_nonce_dies_of_age_and_only_of_use_across_restarts(world):
    # Older than it may be: the strict gateway gives it few seconds.
    wallet, namespace = world.wallet(), world.name()
    old = challenge(world.strict_api(), wallet, namespace)
    time.sleep(CHALLENGE_SECONDS + 0.5)
    want(verify(world.strict_api(), wallet, old), 401)
    want(verify(world.api(), wallet, old), 401)
    # Issued and used before the leader is killed, and issued before and used after.
    used, open_ = challenge(world.api(), wallet, namespace), challenge(world.api(), wallet, namespace)
    want(verify(world.api(), wallet, used), 200)
    leader = world.cluster.leader()
    leader.kill()
    world.cluster.leader()
    alive = [node for node in world.cluster.nodes if node is not leader]
    first, second = (Api(node.gateway_address) for node in alive)
    want(verify(first, wallet, used), 401)
    want(verify(second, wallet, open_), 200)
    want(verify(first, wallet, open_), 401)
    leader.start()
    whole(world)
    restarted = Api(leader.gateway_address)
    for challenged in (used, open_, old):
        want(verify(restarted, wallet, challenged), 401)


@row("W5")
def a_nonce_is_bound_to_wallet_namespace_and_purpose(world):
    a, b = world.wallet(), world.wallet()
    here, there = world.name(), world.name()
    api = world.api()
    challenged = challenge(api, a, here)
    want(verify(world.api(), b, challenged, b.sign(challenged["message"])), 401)
    want(verify(world.api(), b, challenged, b.sign(challenged["message"].replace(a.address, b.address))), 401)
    want(verify(world.api(), b, challenged, b.sign(challenged["nonce"])), 401)
    moved = {**challenged, "namespace": there}
    want(verify(world.api(), a, moved, a.sign(challenged["message"].replace(here, there))), 401)
    want(verify(world.api(), a, moved, a.sign(challenged["nonce"])), 401)
    without = proof(a, challenged)
    without.pop("namespace")
    want(world.api().post("/v1/auth/verify", without), 401)
    for path in ("api-key", "register"):
        want(world.api().post(f"/v1/auth/{path}", proof(a, challenged)), 401)
        want(world.api().post(f"/v1/auth/{path}", proof(a, challenged, a.sign(challenged["nonce"]))), 401)
    for purpose in ("api_key_generation", "register"):
        other = challenge(world.api(), a, here, purpose)
        want(verify(world.api(), a, other), 401)
        want(verify(world.api(), a, other, a.sign(other["nonce"])), 401)
    want(verify(world.api(), a, challenged), 200)


@row("W6")
def only_the_very_text_counts(world):
    wallet, namespace = world.wallet(), world.name()
    changes = {
        "domain": lambda text: "evil.example" + text[text.index(" wants"):],
        "URI": lambda text: text.replace("URI: ", "URI: https://evil.example/"),
        "version": lambda text: text.replace("Version: 1", "Version: 2"),
        "chain id": lambda text: text.replace("Chain ID: ", "Chain ID: 1"),
        "namespace": lambda text: text.replace(namespace, "default"),
        "purpose": lambda text: text.replace(" for login", " for register"),
        "issued at": lambda text: text.replace("Issued At: 20", "Issued At: 19"),
        "expiry": lambda text: text.replace("Expiration Time: 20", "Expiration Time: 21"),
        "no expiry": lambda text: text[: text.index("\nExpiration")],
        "resources": lambda text: text + "\nResources:\n- https://evil.example",
        "case": lambda text: text.lower(),
        "CRLF": lambda text: text.replace("\n", "\r\n"),
        "end": lambda text: text + "\n",
        "empty": lambda text: "",
    }  # fmt: skip
    for name, change in changes.items():
        challenged = challenge(world.api(), wallet, namespace)
        changed = change(challenged["message"])
        check(changed != challenged["message"], f"{name} is changed")
        answer = verify(world.api(), wallet, challenged, wallet.sign(changed))
        check(answer.status_code == 401, f"another {name}: {answer.status_code} {answer.text}")
    # Where the bare nonce is switched off it is one of those other texts.
    for kind in (wallets.Ethereum, wallets.Solana):
        wallet, namespace = world.wallet(kind), world.name()
        challenged = challenge(world.strict_api(), wallet, namespace)
        want(verify(world.strict_api(), wallet, challenged, wallet.sign(challenged["nonce"])), 401)
        want(verify(world.strict_api(), wallet, challenged), 200)


@row("W7")
def the_domain_does_not_come_from_the_request(world):
    wallet, namespace = world.wallet(), world.name()
    for headers in ([("Host", "evil.example")], [("X-Forwarded-Host", "evil.example")], [("Origin", "https://evil.example")],
                    [("Referer", "https://evil.example/")], [("Forwarded", "host=evil.example")]):  # fmt: skip
        body = {"wallet": wallet.address, "namespace": namespace}
        challenged = want(world.api().post("/v1/auth/challenge", body, headers=headers), 200).json()
        check("evil" not in challenged["message"], f"{headers} is in the text to sign")
        forged = "evil.example" + challenged["message"][challenged["message"].index(" wants"):]
        answer = world.api().post("/v1/auth/verify", proof(wallet, challenged, wallet.sign(forged)), headers=headers)
        want(answer, 401)


@row("W8")
def the_chain_is_part_of_the_proof(world):
    for kind in (wallets.Ethereum, wallets.Solana):
        wallet, namespace = world.wallet(kind), world.name()
        for other in ("5", "mainnet-beta", "0", ""):
            change = lambda text: "\n".join(f"Chain ID: {other}" if line.startswith("Chain ID") else line for line in text.split("\n"))
            refused(world, wallet, namespace, lambda text: wallet.sign(change(text)))
        challenged = challenge(world.api(), wallet, namespace)
        for chain in ("BTC", "", 1, None, ["ETH"], "ETH ", "E TH", "SOL" if kind is wallets.Ethereum else "ETH"):
            found = verify(world.api(), wallet, challenged, chain_type=chain).status_code
            # Nothing said is Ethereum, as the earlier contract had it.
            check(found in (400, 401) or chain in (None, "") and kind is wallets.Ethereum, f"chain {chain!r}: {found}")
            if found == 200:
                challenged = challenge(world.api(), wallet, namespace)


@row("W9")
def the_times_in_the_text_are_the_servers(world):
    wallet, namespace = world.wallet(), world.name()
    for changed in ("Issued At: 2199-01-01T00:00:00Z", "Expiration Time: 2199-01-01T00:00:00Z",
                    "Expiration Time: 2001-01-01T00:00:00Z", "Not Before: 2199-01-01T00:00:00Z"):  # fmt: skip
        name = changed.split(":")[0]

        def change(text):
            lines = [line for line in text.split("\n") if not line.startswith(name)]
            return "\n".join(lines + [changed])

        refused(world, wallet, namespace, lambda text: wallet.sign(change(text)))


@row("W10")
def a_malleated_signature_is_refused(world):
    wallet, namespace = world.wallet(), world.name()
    for form in ("message", "nonce"):
        challenged = challenge(world.api(), wallet, namespace)
        r, s, v = wallet.parts(challenged[form])
        for other in ((r, SECP256K1_ORDER - s, 55 - v), (r, SECP256K1_ORDER - s, v), (r, s, 55 - v),
                      (SECP256K1_ORDER - r, s, v), (r, SECP256K1_ORDER - s, 28 - v)):  # fmt: skip
            want(verify(world.api(), wallet, challenged, joined(*other)), 401)
        want(verify(world.api(), wallet, challenged, joined(r, s, v)), 200)


@row("W11")
def each_way_to_write_the_parity_is_good(world):
    wallet, namespace = world.wallet(), world.name()
    seen = set()
    while seen != {0, 1, 27, 28}:
        for offset in (0, 27):
            challenged = challenge(world.api(), wallet, namespace)
            r, s, v = wallet.parts(challenged["message"])
            text = joined(r, s, v - 27 + offset)
            want(verify(world.api(), wallet, challenged, text if offset else text[2:].upper()), 200)
            seen.add(v - 27 + offset)


@row("W12")
def no_other_parity_is(world):
    wallet, namespace = world.wallet(), world.name()
    challenged = challenge(world.api(), wallet, namespace)
    r, s, _ = wallet.parts(challenged["message"])
    for v in (2, 3, 4, 26, 29, 30, 35, 36, 37, 38, 128, 255):
        want(verify(world.api(), wallet, challenged, joined(r, s, v)), 401)


@row("W13")
def numbers_out_of_range_are_no_signature(world):
    wallet, namespace = world.wallet(), world.name()
    challenged = challenge(world.api(), wallet, namespace)
    r, s, v = wallet.parts(challenged["message"])
    for bad in (0, SECP256K1_ORDER, SECP256K1_ORDER + 1, 2**256 - 1):
        for numbers in ((bad, s, v), (r, bad, v), (bad, bad, v)):
            want(verify(world.api(), wallet, challenged, joined(*numbers)), 401)


@row("W14")
def what_is_no_signature_at_all_is_malformed(world):
    wallet, namespace = world.wallet(), world.name()
    challenged = challenge(world.api(), wallet, namespace)
    good = wallet.sign(challenged["message"])
    r, s, v = wallet.parts(challenged["message"])
    compact = f"0x{r:064x}{s | (v - 27) << 255:064x}"
    for bad in (good[:-2], good + "00", compact, good[:-1], f" {good}", f"{good} ", f"{good}\n", good[:10] + " " + good[10:],
                "0x" + "zz" * 65, "0x", "x" * 132, "0x0x" + good[4:], good[:-2] + "1g", "é" * 66, "0" * 1_000_00):  # fmt: skip
        want(verify(world.api(), wallet, challenged, bad), 400, *([413] if len(bad) > 16_000 else []))
    for bad in (None, 7, [good], {"x": good}, True):
        body = {**proof(wallet, challenged), "signature": bad}
        want(world.api().post("/v1/auth/verify", body), 400)
    want(verify(world.api(), wallet, challenged), 200)


@row("W15")
def an_address_is_read_strictly_and_is_one_wallet_in_every_spelling(world):
    wallet, namespace = world.wallet(), world.name()
    digits = wallet.address[2:]
    subjects = set()
    for spelling in (wallet.address, wallet.address.lower(), "0x" + digits.upper(), digits, digits.lower()):
        body = {"wallet": spelling, "namespace": namespace}
        challenged = want(world.api().post("/v1/auth/challenge", body), 200).json()
        body = {**proof(wallet, challenged), "wallet": spelling}
        token = want(world.api().post("/v1/auth/verify", body), 200).json()["access_token"]
        subjects.add(want(world.api().get("/v1/auth/whoami", token=token), 200).json()["subject"])
    equal(len(subjects), 1, "subjects of one wallet")
    wrong = "0x" + "".join(c.swapcase() if i == first_letter(digits) else c for i, c in enumerate(digits))
    for bad in (wrong, wallet.address[:-1], wallet.address + "0", "0x", "", digits[:39], "0x" + "g" * 40, f" {wallet.address}",
                wallet.address + "\0", "0x" + "0" * 40):  # fmt: skip
        want(world.api().post("/v1/auth/challenge", {"wallet": bad, "namespace": namespace, "chain_type": "ETH"}), 400)
    for bad in (None, 1, [wallet.address], {}):
        want(world.api().post("/v1/auth/challenge", {"wallet": bad}), 400)


def first_letter(digits):
    """Of an address with its checksum: changing one letter's case makes it wrong."""
    return next(place for place, digit in enumerate(digits) if digit.isalpha())


@row("W16")
def other_kinds_of_signatures_are_refused(world):
    wallet, namespace = world.wallet(), world.name()
    for forge in (wallet.sign_raw, wallet.sign_typed, lambda text: wallet.sign(text.encode().hex()),
                  lambda text: wallet.sign("0x" + text.encode().hex())):  # fmt: skip
        refused(world, wallet, namespace, forge)
    challenged = challenge(world.api(), wallet, namespace)
    for forge in (wallet.sign_raw, wallet.sign_typed):
        want(verify(world.api(), wallet, challenged, forge(challenged["nonce"])), 401)


@row("W17")
def no_line_can_be_put_into_the_text(world):
    wallet = world.wallet()
    for bad in ("a\nURI: https://evil.example", "a\r\nb", "a\0b", "a\x1b[31mb", "a\u2028b", "a\u202eb", "a\tb", "a b", "é"):
        for body in ({"wallet": wallet.address, "namespace": bad}, {"wallet": bad}, {"wallet": wallet.address + bad},
                     {"wallet": wallet.address, "purpose": bad}, {"wallet": wallet.address, "chain_type": bad},
                     {"wallet": bad, "chain_type": "SOL"}):  # fmt: skip
            answer = want(world.api().post("/v1/auth/challenge", body), 400)
            check("\x1b" not in answer.text and "\u202e" not in answer.text, "the answer repeats control characters")
    # A statement of the client's own does not get in.
    body = {"wallet": wallet.address, "namespace": world.name(), "statement": "evil", "domain": "evil", "uri": "evil"}
    check("evil" not in want(world.api().post("/v1/auth/challenge", body), 200).json()["message"], "a foreign statement")


@row("W18")
def the_length_is_counted_in_bytes(world):
    """The server's own text is ASCII, so what remains to try is a client that signs another one with it."""
    wallet, namespace = world.wallet(), world.name()
    refused(world, wallet, namespace, lambda text: wallet.sign_length_in_characters(text + "é"))
    refused(world, wallet, namespace, lambda text: wallet.sign("é" + text))
    challenged = challenge(world.api(), wallet, namespace)
    check(challenged["message"].isascii(), "the text is ASCII")
    want(verify(world.api(), wallet, challenged, wallet.sign_length_in_characters(challenged["message"])), 200)


@row("W19")
def ed25519_is_verified_strictly(world):
    wallet, namespace = world.wallet(wallets.Solana), world.name()
    for form in ("message", "nonce"):
        challenged = challenge(world.api(), wallet, namespace)
        signature = wallet.signature(challenged[form])
        flipped = bytes([signature[0] ^ 1]) + signature[1:]
        encoded = lambda raw: base58.b58encode(raw).decode()
        for bad in (wallets.Solana().sign(challenged[form]), wallet.sign_not_canonically(challenged[form]), encoded(flipped),
                    "A" * 86, encoded(bytes(64)), bytes([1] + [0] * 63).hex()):  # fmt: skip
            want(verify(world.api(), wallet, challenged, bad), 401)
        # Every encoding of the signature itself is good.
        text = {"message": encoded(signature), "nonce": signature.hex()}[form]
        want(verify(world.api(), wallet, challenged, text), 200)
    for point in wallets.SMALL_ORDER:
        for text in (base58.b58encode(point).decode(),):
            body = {"wallet": text, "namespace": world.name(), "chain_type": "SOL"}
            found = world.api().post("/v1/auth/challenge", body)
            if found.status_code != 400:
                # The identity as R, zero as S: verifies for any text without strictness.
                forged = base58.b58encode(bytes([1] + [0] * 63)).decode()
                body = {**body, "nonce": want(found, 200).json()["nonce"], "signature": forged}
                want(world.api().post("/v1/auth/verify", body), 401)
    mixed = wallets.MixedOrder()
    found = world.api().post("/v1/auth/challenge", {"wallet": mixed.address, "chain_type": "SOL"})
    if found.status_code != 400:
        want(verify(world.api(), mixed, want(found, 200).json()), 401)


@row("W20")
def base58_is_read_strictly_and_fast(world):
    wallet = world.wallet(wallets.Solana)
    good = wallet.address
    long = ("1" * 10_000, "z" * 10_000, "z" * 200_000)
    for bad in ("1" + good, good + "1", good.replace(good[5], "0"), good.replace(good[5], "O"), good + "l",
                base58.b58encode(bytes([9] * 31)).decode(), base58.b58encode(bytes([9] * 33)).decode(), f" {good}", "é" * 40,
                *long):  # fmt: skip
        api = world.api()
        want(api.get("/livez"), 200)
        started = time.perf_counter()
        want(api.post("/v1/auth/challenge", {"wallet": bad, "chain_type": "SOL"}), *([413] if len(bad) > 16_000 else [400]))
        taken = time.perf_counter() - started
        check(taken < 0.1, f"{taken:.3f} s for {len(bad)} characters")


@row("W21")
def a_chain_is_not_taken_for_another(world):
    ethereum, solana, namespace = world.wallet(), world.wallet(wallets.Solana), world.name()
    for wallet, other in ((ethereum, "SOL"), (solana, "ETH")):
        challenged = challenge(world.api(), wallet, namespace)
        want(verify(world.api(), wallet, challenged, chain_type=other), 400, 401)
        want(world.api().post("/v1/auth/challenge", {"wallet": wallet.address, "chain_type": other}), 400)
    challenged = challenge(world.api(), ethereum, namespace)
    want(verify(world.api(), ethereum, challenged, solana.sign(challenged["message"])), 400, 401)
    for wallet in (ethereum, solana):
        tenant = challenge(world.api(), wallet, own := world.name())
        token = want(verify(world.api(), wallet, tenant), 200).json()["access_token"]
        told = want(world.api().get("/v1/auth/whoami", token=token), 200).json()
        equal((told["subject"].lower(), told["chain_type"], told["namespace"]), (wallet.address.lower(), wallet.chain, own))


@row("W22")
def a_proof_is_for_one_cluster(world):
    other = other_cluster(world)
    wallet, namespace = world.wallet(), world.name()
    challenged = challenge(world.api(), wallet, namespace)
    foreign = Api(other.nodes[0].gateway_address, fresh_source())
    for form in ("message", "nonce"):
        want(verify(foreign, wallet, challenged, wallet.sign(challenged[form])), 401)
    want(verify(world.api(), wallet, challenged), 200)
    want(verify(foreign, wallet, challenged), 401)


def other_cluster(world):
    """A second cluster of one node, made when it is first needed."""
    if not getattr(world, "other", None):
        world.other = Cluster(1)
    return world.other
