"""Rows H11 to H21 and N9: sockets against clients that may not, flood, break the protocol or do not read."""

import base64
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import raw
from api import check, equal, want
from listener import in_background, joined
from rows import row
from websocket import BINARY, CLOSE, CONTINUATION, PATH, PING, PONG, TEXT, V1, Socket, frame, handshake, opened, said
from world import ORIGIN, SOCKET_RATE, challenge, until, verify

MESSAGE_BYTES_MAX = 1 << 20
SUBSCRIPTIONS_MAX = 64
TOPICS_MAX = 5000

# A socket is looked at every two seconds; the rest is what a loaded machine needs.
REVOKED_SECONDS = 5
TICKET_SECONDS = 30
LEEWAY_SECONDS = 30
SILENCE_SECONDS = 75


def on(topic, query=""):
    return f"{PATH}?topic={topic}{query}"


def everywhere(world):
    return [*world.addresses(), world.strict.gateway_address]


def status_of(address, target=PATH, headers=(), **more):
    with Socket(address, target, headers, **more) as found:
        return found.status


def bearer(text):
    return "debros.bearer." + base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def ticket_of(world, query="", **credential):
    return want(world.api().post(f"/v1/auth/ws-ticket{query}", {}, **credential), 200).json()["ticket"]


def publish(tenant, number, topic, data, **more):
    """At one node: its own subscribers hear it, those of others once it knows of them."""
    api = tenant.api(number)
    try:
        return want(api.post("/v1/pubsub/publish", {"topic": topic, "data": data, **more}, key=tenant.key), 200).json()
    finally:
        api.close()


def is_served(world, address, tenant):
    """A socket on this process hears what it says itself."""
    topic = world.name("echo")
    with opened(address, on(topic), key=tenant.key) as echo:
        echo.send(frame(TEXT, b"hello"))
        equal(echo.next(), b"hello", f"an echo at {address}")


@row("H11")
def a_socket_wants_a_credential_before_it_opens(world):
    tenant = world.tenant()
    narrow = want(tenant.call("POST", "/v1/keys", {"scopes": ["kv:read", "pubsub:publish"]}), 201).json()["api_key"]
    target = on("t")
    early = frame(TEXT, b"early")
    with opened(world.addresses()[0], target, key=tenant.key) as listening:
        for address in everywhere(world):
            for expected, path, headers in (
                (401, target, []), (401, target, [("X-API-Key", "")]), (401, target, [("X-API-Key", f"ak_wrong:{tenant.namespace}")]),
                (401, target, [("Authorization", "Bearer x")]), (401, target, [("Authorization", f"Basic {tenant.key}")]), (401, target, [("Cookie", f"api_key={tenant.key}; token={tenant.token}")]),
                (401, target, [("Sec-WebSocket-Protocol", bearer("ak_wrong:x"))]), (401, target, [("Sec-WebSocket-Protocol", "debros.bearer.!!")]),
                (401, target, [("Sec-WebSocket-Protocol", "debros.bearer.")]), (401, f"{target}&api_key=x", []), (401, f"{target}&token=x", []), (401, f"{target}&ticket=wt_x", []),
                (401, f"{target}&ticket=wt_{'A' * 43}", []), (401, f"{target}&ticket={tenant.refresh}", []), (403, target, [("X-API-Key", narrow)]),
                (400, f"{target}&api_key={tenant.key}", [("X-API-Key", tenant.key)]), (400, f"{target}&token={tenant.key}", [("Sec-WebSocket-Protocol", bearer(tenant.key))]),
            ):  # fmt: skip
                # What is sent along with the request is no frame before there is a socket.
                received, _ = raw.exchange(address, handshake(path, [*headers, V1] if not headers else headers) + early, 3)
                found = raw.statuses(received)
                check(found and found[0] == expected and 101 not in found, f"{path} with {headers}: {found}")
        for spelling in ("//v1/pubsub/ws", "/v1/pubsub/ws/", "/v1/./pubsub/ws", "/health/../v1/pubsub/ws", "/v1/pubsub/%77s", "/V1/pubsub/ws", "/health", "/livez", "/v1/auth/challenge"):
            check(status_of(world.addresses()[1], f"{spelling}?topic=t") != 101, f"{spelling} opens a socket")
        # A credential does not make an upgrade of what is none.
        for headers in ([("Upgrade", "h2c")], [("Connection", "keep-alive")], [("Sec-WebSocket-Version", "8")], [("Sec-WebSocket-Key", "short")]):
            found = status_of(world.addresses()[0], target, headers, key=tenant.key)
            check(found in (400, 426), f"{headers}: {found}")
        publish(tenant, 0, "t", "the first")
        equal(listening.next(), b"the first", "nothing came before it")


@row("H12")
def a_page_of_another_origin_opens_no_socket(world):
    tenant = world.tenant()
    strict = world.strict.gateway_address
    origin = lambda value: [("Origin", value)]
    for value in ("https://evil.example", "null", "", "*", ORIGIN + ".evil.example", "https://xapp.example.org", "http://app.example.org", ORIGIN + ":8443", ORIGIN + "/",
                  "https://app.example.org@evil.example", "app.example.org", f"{ORIGIN} https://evil.example", f"http://{strict}.evil.example", "http://127.0.0.1:1"):  # fmt: skip
        for credential in ({"key": tenant.key}, {"headers": [("Authorization", f"Bearer {tenant.key}")]}, {"headers": [("Sec-WebSocket-Protocol", bearer(tenant.key))]}):
            headers = [*credential.pop("headers", []), *origin(value)]
            equal(status_of(strict, on("t"), headers, **credential), 403, f"origin {value!r}")
        equal(status_of(strict, on("t", f"&ticket={ticket_of(world, key=tenant.key)}"), origin(value)), 403, f"origin {value!r} with a ticket")
    equal(status_of(strict, on("t"), origin(ORIGIN), key=tenant.key), 101, "the listed origin")
    equal(status_of(strict, on("t"), key=tenant.key), 101, "a program")
    equal(status_of(strict, on("t"), [("Authorization", f"Bearer {tenant.key}")]), 101, "a program with a bearer")
    equal(status_of(strict, on("t"), origin(f"http://{strict}"), key=tenant.key, host=strict), 101, "the gateway's own pages")
    # Nothing is listed at the nodes.
    equal(status_of(world.addresses()[0], on("t"), origin(ORIGIN), key=tenant.key), 403)


def make_an_old_ticket(world):
    tenant = world.tenant()
    world.old_ticket = tenant, ticket_of(world, key=tenant.key), time.monotonic()


@row("H13")
def a_ticket_opens_one_socket_of_its_own_namespace_soon(world):
    tenant, other = world.tenant(), world.tenant()
    with_ticket = lambda ticket, more="": on("t", f"&ticket={ticket}{more}")
    ticket = ticket_of(world, key=tenant.key)
    # It is bound to nobody's address: whoever has it may come from anywhere, once.
    equal(status_of(world.addresses()[1], with_ticket(ticket)), 101, "a fresh ticket")
    for address in everywhere(world):
        equal(status_of(address, with_ticket(ticket)), 401, "a used ticket")
    # At once and everywhere.
    ticket = ticket_of(world, token=tenant.token)
    addresses = everywhere(world)
    with ThreadPoolExecutor(24) as pool:
        found = list(pool.map(lambda n: status_of(addresses[n % len(addresses)], with_ticket(ticket)), range(48)))
    equal((found.count(101), found.count(401)), (1, 47), "forty-eight at once")
    # Used up by a stream of events.
    ticket = ticket_of(world, key=tenant.key)
    with raw.connect(world.addresses()[0]) as stream:
        stream.sendall(raw.request("GET", f"/v1/pubsub/sse?topic=t&ticket={ticket}"))
        equal(raw.statuses(stream.recv(4096)), [200])
        equal(status_of(world.addresses()[2], with_ticket(ticket)), 401, "a ticket that opened a stream")
    # Of another user: it opens what its maker may, and nothing together with somebody else's credential.
    equal(status_of(world.addresses()[0], with_ticket(ticket_of(world, key=tenant.key), f"&namespace={other.namespace}")), 403, "in another namespace")
    want(world.api().post(f"/v1/auth/ws-ticket?namespace={other.namespace}", {}, key=tenant.key), 403)
    equal(status_of(world.addresses()[0], with_ticket(ticket_of(world, key=tenant.key)), key=other.key), 400, "beside another credential")
    with opened(world.addresses()[0], with_ticket(ticket_of(world, key=tenant.key))) as found, opened(world.addresses()[0], on("t"), key=other.key) as foreign:
        found.send(frame(TEXT, b"of the maker"))
        equal(found.next(), b"of the maker")
        publish(other, 0, "t", "of the other")
        equal(foreign.next(), b"of the other", "the maker's message came to another namespace")
    # It ends with what made it, unused.
    made = want(tenant.call("POST", "/v1/keys", {"scopes": ["pubsub:subscribe"]}), 201).json()
    ticket = ticket_of(world, key=made["api_key"])
    want(tenant.call("DELETE", f"/v1/keys/{made['key_id']}"), 200, 204)
    until(lambda: world.api().get("/v1/pubsub/topics", key=made["api_key"]).status_code == 401, "the key is revoked", REVOKED_SECONDS)
    equal(status_of(world.addresses()[0], with_ticket(ticket)), 401, "a ticket of a revoked key")
    for bad in ("", "wt_", "x", ticket[:-1], ticket + "A", ticket.upper(), "'", "%00", "wt_" + "A" * 5000):
        check(status_of(world.addresses()[0], with_ticket(bad)) in (400, 401), f"the ticket {bad[:50]!r}")
    # An old one.
    _, ticket, made_at = world.old_ticket
    time.sleep(max(0, made_at + TICKET_SECONDS + 1 - time.monotonic()))
    for address in everywhere(world):
        equal(status_of(address, with_ticket(ticket)), 401, "an old ticket")


a_ticket_opens_one_socket_of_its_own_namespace_soon.begin = make_an_old_ticket


def in_fragments(count, last=True):
    one = frame(CONTINUATION, b"x", fin=False)
    return frame(TEXT, b"x", fin=False) + one * (count - 2) + (frame(CONTINUATION, b"x") if last else one)


@row("H14")
def messages_have_a_bound_however_they_are_cut(world):
    tenant = world.tenant()
    address = world.addresses()[0]
    whole = b"x" * MESSAGE_BYTES_MAX
    fragment = frame(CONTINUATION, b"x" * 65536, fin=False)
    for name, sent, length in (
        ("the largest", frame(BINARY, whole), MESSAGE_BYTES_MAX),
        # As many bytes as there are fragments, and so fewer than a message may have.
        ("a million fragments", in_fragments(1_000_000), 1_000_000),
    ):
        with opened(address, on("large"), key=tenant.key) as one:
            check(one.send(sent), f"{name}: not taken")
            equal(len(one.next() or b""), length, name)
    for name, sent in (
        ("one byte more", frame(BINARY, whole + b"x")),
        ("twice as much", frame(BINARY, whole * 2)),
        ("a length of 2^62", frame(BINARY, whole, length=1 << 62)),
        ("a length of 2^62 and nothing of it", frame(BINARY, b"", length=1 << 62)),
        ("fragments of 64 KiB without end", frame(BINARY, b"", fin=False) + fragment * 400),
        ("two million fragments", in_fragments(2_000_000)),
        ("fragments of one byte without end", in_fragments(2_000_000, last=False)),
    ):
        for headers, topic in (([], "large"), ([V1], "of-v1")):
            # In debros.v1 it is no frame that can be read, and still within what one may have.
            if headers and name == "one byte more":
                continue
            with opened(address, on(topic), headers, key=tenant.key) as one:
                sending = threading.Thread(target=one.send, args=(sent,), daemon=True)
                sending.start()
                equal(one.end(), 1009, f"{name} {headers}")
                sending.join(30)
                if name == "twice as much":
                    check(one.ends_in_order(), f"{name} {headers}: the connection is reset")
    with opened(address, PATH, [V1], key=tenant.key) as one:
        equal(one.ask({"type": "publish", "topic": "t", "data": (whole + b"x").decode()})["code"], "BODY_TOO_LARGE")
        equal(one.ask({"type": "publish", "topic": "t", "data_base64": base64.b64encode(whole).decode()})["type"], "published")
    is_served(world, address, tenant)


@row("H15")
def frames_against_the_protocol_end_the_socket(world):
    tenant = world.tenant()
    bad_text = b"\xce\xba\xed\xa0\x80edited"
    start = frame(TEXT, b"a", fin=False)
    cases = {
        "unmasked": (1002, frame(TEXT, b"x", masked=False)), "an unmasked ping": (1002, frame(PING, masked=False)),
        "reserved bit 1": (1002, frame(TEXT, b"x", reserved=4)), "reserved bit 2": (1002, frame(TEXT, b"x", reserved=2)), "reserved bit 3": (1002, frame(PING, reserved=1)),
        **{f"opcode {code}": (1002, frame(code, b"x")) for code in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
        "a long ping": (1002, frame(PING, b"x" * 126)), "a long close": (1002, frame(CLOSE, b"\x03\xe8" + b"x" * 124)), "a ping in fragments": (1002, frame(PING, b"x", fin=False)),
        "a ping of 1 MiB": (1002, frame(PING, b"x" * 65536)),
        "a continuation of nothing": (1002, frame(CONTINUATION, b"x")), "a message within another": (1002, start + frame(TEXT, b"b")), "bytes within a text": (1002, start + frame(BINARY, b"b")),
        "no UTF-8": (1007, frame(TEXT, bad_text)), "no UTF-8 in fragments": (1007, frame(TEXT, bad_text[:3], fin=False) + frame(CONTINUATION, bad_text[3:])),
        "UTF-8 that ends early": (1007, frame(TEXT, b"\xf0\x9f\x98")),
        **{f"close with {code}": (1002, frame(CLOSE, code.to_bytes(2))) for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)},
        "a close of one byte": (1002, frame(CLOSE, b"x")), "a close with no UTF-8": (1007, frame(CLOSE, b"\x03\xe8\xff\xfe")),
        # Those that are right: the answer is the same.
        "a close": (1000, frame(CLOSE, b"\x03\xe8")), "a close with a code of one's own": (4000, frame(CLOSE, b"\x0f\xa0bye")), "a close without a word": (1005, frame(CLOSE)),
    }  # fmt: skip
    for headers in ([], [V1]):
        for name, (expected, sent) in cases.items():
            with opened(world.addresses()[1], on("t"), headers, key=tenant.key) as one:
                one.send(sent)
                equal(one.end(), expected, f"{name} {headers}")
    # A character may be in two fragments, and a ping between them.
    with opened(world.addresses()[1], on("t"), key=tenant.key) as one:
        one.send(frame(TEXT, "ü".encode()[:1], fin=False) + frame(PING, b"now") + frame(CONTINUATION, "ü".encode()[1:]))
        found = [one.frame(), one.frame()]
        check((PONG, b"now") in found and (BINARY, "ü".encode()) in found, f"found {found}")
    with opened(world.addresses()[1], PATH, [V1], key=tenant.key) as one:
        one.send(frame(BINARY, b"{}"))
        equal(one.end(), 1003, "debros.v1 is text")
    for text in ("", "{", "[]", "null", '{"type":"shout"}', '{"type":"subscribe"}', '{"type":"subscribe","topic":1}', '{"type":"subscribe","topic":"\\ud800"}', '{"type":"publish","topic":"*","data":""}',
                 '{"type":"publish","topic":"t"}', '{"type":"publish","topic":"t","data_base64":"?"}', '{"id":-1,"type":"ping"}', '{"type":"subscribe","topic":"t","after":{}}', "[" * 10_000):  # fmt: skip
        with opened(world.addresses()[1], PATH, [V1], key=tenant.key) as one:
            one.send(frame(TEXT, text.encode()))
            equal(one.json()["type"], "error", text[:100])
            equal(one.ask({"type": "ping"})["type"], "pong", f"after {text[:100]}")


@row("H16")
def floods_of_frames_end_the_socket(world):
    """At the strict gateway, which allows few frames a second, and twice as many at once."""
    tenant = world.tenant()
    address = world.strict.gateway_address
    flood = 6 * SOCKET_RATE
    for name, headers, one in (
        ("pings", [], frame(PING)), ("pongs", [], frame(PONG, b"x")), ("empty texts", [], frame(TEXT)), ("empty bytes", [], frame(BINARY)), ("messages", [], frame(TEXT, b"x")),
        ("pings", [V1], frame(PING)), ("empty texts", [V1], frame(TEXT)), ("messages", [V1], said({"type": "publish", "topic": "t", "data": "x", "ack": "none"})), ("asked pings", [V1], said({"type": "ping"})),
    ):  # fmt: skip
        with opened(address, on("t"), headers, key=tenant.key) as loud:
            sending = threading.Thread(target=loud.send, args=(one * flood,), daemon=True)
            sending.start()
            equal(loud.end(), 1008, f"{name} {headers}")
            sending.join(30)
    with opened(address, on("t"), key=tenant.key) as steady:
        # A burst is allowed.
        steady.send(frame(PONG) * SOCKET_RATE)
        steady.send(frame(TEXT, b"hello"))
        equal(steady.next(), b"hello")
    # Fragments are no messages yet, and are not counted; without end they cost bandwidth and no memory.
    with opened(address, on("t"), key=tenant.key) as endless:
        endless.send(frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) * 500_000)
        is_served(world, address, tenant)


def resident(process):
    """KiB that a process has in memory."""
    status = open(f"/proc/{process.process.pid}/status").read()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


# Small windows, so that the machine's buffers hold little of what is not read.
STALLING = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096), (socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1024)]

SLOW_SOCKETS = 500
SLOW_SECONDS = 20
SLOW_BYTES = 4096


@row("H17")
def sockets_that_do_not_read_cost_little_and_nobody_else_anything(world):
    tenant = world.tenant()
    node = world.cluster.nodes[0]
    address = node.gateway_address
    topic = "flow"
    is_served(world, address, tenant)
    before, largest = resident(node), 0
    readers = {"plain": opened(address, on(topic), key=tenant.key), "framed": opened(address, on(topic), [V1], key=tenant.key), "elsewhere": opened(world.addresses()[1], on(topic), key=tenant.key)}
    slow = [opened(address, on(topic), [V1] if n % 2 else [], key=tenant.key, options=STALLING) for n in range(SLOW_SOCKETS)]
    count = SLOW_SECONDS * 50
    heard = {name: [] for name in readers}

    def read(name):
        while len(heard[name]) < count and (found := readers[name].next(60)):
            if name == "framed":
                found = json.loads(found)
                check(found["type"] == "message", f"instead of a message {found}")
                found = base64.b64decode(found["data_base64"])
            if not found.startswith(b"probe"):
                heard[name].append(int(found[:8]))

    with ThreadPoolExecutor(len(readers)) as pool, opened(address, PATH, [V1], key=tenant.key) as publisher:
        until(lambda: publish(tenant, 0, topic, "probe")["peers"] >= 1, "the others listen", 10)
        reading = [pool.submit(read, name) for name in readers]
        began = time.monotonic()
        for number in range(count):
            publisher.say({"type": "publish", "topic": topic, "data": f"{number:08}".ljust(SLOW_BYTES, "x"), "ack": "none"})
            time.sleep(max(0, began + (number + 1) / 50 - time.monotonic()))
            if number % 50 == 0:
                largest = max(largest, resident(node))
        for one in reading:
            one.result()
    largest = max(largest, resident(node))
    for name, numbers in heard.items():
        equal(numbers, list(range(count)), f"what the {name} reader has heard")
    print(f"  {SLOW_SOCKETS} sockets that do not read: {(largest - before) / 1024:.0f} MiB more")
    check(largest - before < 64 * 1024, f"{SLOW_SOCKETS} sockets that do not read cost {(largest - before) / 1024:.0f} MiB")
    # When they read again, they are told.
    for number, one in enumerate(slow[:16]):
        one.stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        if number % 2 == 0:
            equal(one.end(), 1013, "a plain socket that lost messages")
            continue
        lost, last = 0, -1
        while last < count - 1:
            found = one.json()
            if found["type"] == "gap":
                equal(found["reason"], "slow")
                lost += found["lost"]
                last += found["lost"]
            else:
                if base64.b64decode(found["data_base64"]) == b"probe":
                    continue
                last += 1
                equal(int(base64.b64decode(found["data_base64"])[:8]), last, "the number after what is told to be lost")
        check(lost > count / 2, f"{lost} of {count} are lost")
    for one in [*slow, *readers.values()]:
        one.close()
    is_served(world, address, tenant)


def asked(one, frames, count):
    """Sends many frames while it reads that many answers."""
    sending = threading.Thread(target=one.send, args=(b"".join(frames),), daemon=True)
    sending.start()
    answers = [one.json() for _ in range(count)]
    sending.join(30)
    return answers


def subscribing(topics, kind="subscribe"):
    return [said({"type": kind, "id": number, "topic": topic}) for number, topic in enumerate(topics)]


@row("H18")
def subscriptions_are_bounded_and_leave_nothing_behind(world):
    tenant, other = world.tenant(), world.tenant()
    node = world.cluster.nodes[2]
    address = node.gateway_address
    topics = lambda api: want(api.get("/v1/pubsub/topics", key=tenant.key), 200).json()["topics"]
    with opened(address, PATH, [V1], key=tenant.key) as one:
        found = asked(one, subscribing(f"many.{n}" for n in range(5000)), 5000)
        made = [answer["id"] for answer in found if answer["type"] == "subscribed"]
        equal(made, list(range(SUBSCRIPTIONS_MAX)), "subscriptions of one socket")
        equal({answer.get("code") for answer in found[SUBSCRIPTIONS_MAX:]}, {"TOO_MANY"})
        # Those that it has work; one that goes makes room for another.
        publish(tenant, 2, "many.63", "x")
        equal(one.json()["topic"], "many.63")
        equal(one.ask({"type": "unsubscribe", "topic": "many.0"})["type"], "unsubscribed")
        equal(one.ask({"type": "subscribe", "topic": "many.100"})["type"], "subscribed")
        equal(one.ask({"type": "subscribe", "topic": "many.101"})["code"], "TOO_MANY")
    world.everywhere(lambda api: topics(api) == [], 15)
    # A namespace's topics at one node.
    held = []
    try:
        answers = []
        for number in range(TOPICS_MAX // SUBSCRIPTIONS_MAX + 2):
            one = opened(address, PATH, [V1], key=tenant.key)
            held.append(one)
            answers += asked(one, subscribing(f"topic.{number}.{n}" for n in range(SUBSCRIPTIONS_MAX)), SUBSCRIPTIONS_MAX)
        kinds = [answer.get("code", answer["type"]) for answer in answers]
        equal(kinds.count("subscribed"), TOPICS_MAX, "topics of one namespace")
        equal(set(kinds[TOPICS_MAX:]), {"TOO_MANY"}, "beyond them")
        equal(held[-1].ask({"type": "subscribe", "topic": "topic.0.0"})["type"], "subscribed", "a topic that is there already")
        equal(held[-1].ask({"type": "subscribe", "topic": "topic.>"})["type"], "subscribed", "a pattern")
        is_served(world, address, other)
    finally:
        for one in held:
            one.close()
    world.everywhere(lambda api: topics(api) == [], 30)
    # Coming and going.
    memory = []
    for _ in range(3):
        with opened(address, PATH, [V1], key=tenant.key) as one:
            for turn in range(4):
                names = [f"churn.{turn}.{n}" for n in range(250)]
                frames = [part for name in names for part in (*subscribing([name]), *subscribing([name], "unsubscribe"))]
                equal({answer["type"] for answer in asked(one, frames, len(frames))}, {"subscribed", "unsubscribed"})
        world.everywhere(lambda api: topics(api) == [], 15)
        memory.append(resident(node))
    check(memory[-1] - memory[0] < 16 * 1024, f"memory grows with subscriptions that are gone: {memory} KiB")
    is_served(world, address, tenant)


def silent_peers(world):
    tenant, address = world.silent_tenant, world.strict.gateway_address
    began = time.monotonic()
    # It reads and never answers; it says half a message for ever; it has gone without a word; it answers.
    mute = opened(address, on("t"), key=tenant.key)
    trickling = opened(address, on("t"), key=tenant.key)
    trickling.send(frame(TEXT, b"x", fin=False))
    gone = opened(address, on("t"), key=tenant.key, options=STALLING)
    alive = opened(address, on("t"), key=tenant.key)
    pings, ended = 0, {}
    while len(ended) < 2 and time.monotonic() - began < 100:
        for name, one in (("mute", mute), ("trickling", trickling), ("alive", alive)):
            if name in ended:
                continue
            try:
                found = one.frame(0.2)
            except TimeoutError:
                continue
            if found is None or found[0] == CLOSE:
                check(name != "alive", f"a socket that answers ends with {found}")
                ended[name] = found, time.monotonic() - began
            elif found[0] == PING and name == "alive":
                pings += 1
                alive.send(frame(PONG, found[1]))
        trickling.send(frame(CONTINUATION, b"x", fin=False))
    for name in ("mute", "trickling"):
        check(name in ended, f"a silent socket ({name}) is not closed")
        found, after = ended[name]
        check(SILENCE_SECONDS - 5 < after < 90, f"a silent socket ({name}) is closed after {after:.0f} s")
        if name == "mute":
            equal(int.from_bytes(found[1][:2]), 1001)
    check(pings >= 2, f"{pings} pings in {SILENCE_SECONDS} s")
    time.sleep(max(0, began + 90 - time.monotonic()))
    equal(gone.end(5), 1001, "a socket whose client is gone")
    alive.send(frame(TEXT, b"still here"))
    equal(alive.next(), b"still here", "a socket that answers stays")
    for one in (mute, trickling, gone, alive):
        one.close()


def begin_silence(world):
    world.silent_tenant = world.tenant()
    in_background("silent_peers", silent_peers)(world)


@row("H19")
def a_silent_peer_is_closed(world):
    joined(world, "silent_peers", 120)


a_silent_peer_is_closed.begin = begin_silence


def expiring_sockets(world):
    """At the strict gateway, which issues short tokens, and which no test ends."""
    address, (tenant, issued) = world.strict.gateway_address, world.expiring_token
    by_token = [("Authorization", f"Bearer {issued['access_token']}")]
    with opened(address, on("t"), by_token) as plain, opened(address, PATH, [*by_token, V1]) as framed, opened(address, on("t"), key=tenant.key) as kept:
        ends_with([plain, framed], 1008, "the token has expired", 1 + LEEWAY_SECONDS + REVOKED_SECONDS)
        kept.send(frame(TEXT, b"still here"))
        equal(kept.next(), b"still here", "a key does not expire")


def begin_to_expire(world):
    tenant = world.tenant()
    issued = want(world.strict_api().post("/v1/auth/refresh", {"refresh_token": tenant.refresh}), 200).json()
    equal(issued["expires_in"], 1, "the strict gateway's tokens expire soon")
    world.expiring_token = tenant, issued
    in_background("expiring_sockets", expiring_sockets)(world)


def ends_with(sockets, code, what, seconds):
    began = time.monotonic()
    for one in sockets:
        equal(one.end(max(seconds - (time.monotonic() - began), 0.1) + 2), code, what)
        one.close()
    check(time.monotonic() - began <= seconds, f"{what}: after {time.monotonic() - began:.1f} s")


@row("H20")
def a_socket_ends_with_its_credential(world):
    tenant = world.tenant()

    def opened_everywhere(headers=(), **credential):
        return [opened(address, on("t"), headers, **credential) for address in everywhere(world)]

    made = want(tenant.call("POST", "/v1/keys", {"scopes": ["pubsub:subscribe"]}), 201).json()
    by_key = opened_everywhere(key=made["api_key"])
    by_ticket = [opened(address, on("t", f"&ticket={ticket_of(world, key=made['api_key'])}")) for address in everywhere(world)]
    exchanged = want(world.api().post("/v1/auth/token", key=made["api_key"]), 200).json()["access_token"]
    by_token = opened_everywhere([("Authorization", f"Bearer {exchanged}")])
    kept = opened_everywhere(key=tenant.key)
    want(tenant.call("DELETE", f"/v1/keys/{made['key_id']}"), 200, 204)
    ends_with(by_key + by_ticket + by_token, 1008, "the key is revoked", REVOKED_SECONDS)
    # A login that ends.
    by_login = opened_everywhere([("Authorization", f"Bearer {tenant.token}")])
    want(world.api().post("/v1/auth/logout", {}, token=tenant.token), 200)
    ends_with(by_login, 1008, "the login has ended", REVOKED_SECONDS)
    for one in kept:
        one.send(frame(TEXT, b"still here"))
        equal(one.next(), b"still here", "a credential that goes on")
    # A member who leaves.
    tenant.log_in(tenant.api())
    guest = world.wallet()
    path = f"/v1/namespaces/{tenant.namespace}/members/{guest.address}"
    want(world.api().put(path, {"role": "reader"}, token=tenant.token), 200, 201)
    login = want(verify(world.api(), guest, challenge(world.api(), guest, tenant.namespace)), 200).json()["access_token"]
    by_guest = opened_everywhere([("Authorization", f"Bearer {login}")])
    want(world.api().delete(path, token=tenant.token), 200, 204)
    ends_with(by_guest, 1008, "the member is removed", REVOKED_SECONDS)
    # The namespace itself.
    want(world.api().delete(f"/v1/namespaces/{tenant.namespace}", token=tenant.token), 200)
    ends_with(kept, 1008, "the namespace is deleted", REVOKED_SECONDS)
    # A token that expires by itself.
    joined(world, "expiring_sockets", 60)


a_socket_ends_with_its_credential.begin = begin_to_expire


@row("H21")
def compression_is_not_agreed_on(world):
    tenant = world.tenant()
    for address in everywhere(world):
        for offer in ("permessage-deflate", "permessage-deflate; client_max_window_bits; server_no_context_takeover", "x-webkit-deflate-frame", "permessage-bzip2, permessage-deflate"):
            with opened(address, on("t"), [("Sec-WebSocket-Extensions", offer)], key=tenant.key) as one:
                check(b"sec-websocket-extensions" not in one.head.lower(), f"{offer} is taken: {one.head}")
                text = b"a" * 10_000
                one.send(frame(TEXT, text))
                opcode, payload = one.frame()
                equal((opcode, payload), (BINARY, text), "a message is as it was sent")
                one.send(frame(TEXT, b"\x4a\x04\x05\x00", reserved=4))
                equal(one.end(), 1002, "a compressed message")


@row("N9")
def a_topic_of_another_tenant_is_out_of_reach(world):
    a, b = world.tenant(), world.tenant()
    spellings = ["room", ">", "*", "room.*", f"ns::{b.namespace}::room", f"{b.namespace}::room", f"ns::{b.namespace}::>", f"{b.namespace}.room", f"../{b.namespace}/room", f"/{b.namespace}/room", "::room"]
    want(b.call("PUT", "/v1/pubsub/durable", {"count": 100}, params={"topic": "kept"}), 200)
    cursor = publish(b, 1, "kept", "of b", ack="durable")["cursor"]
    # Namespaces of others, by name.
    for path in (on("room"), f"{PATH}?x=y", "/v1/pubsub/sse?topic=room"):
        for headers, credential in (([], a.key), ([V1], a.key)):
            equal(status_of(world.addresses()[0], f"{path}&namespace={b.namespace}", headers, key=credential), 403, path)
    for method, path, body in (
        ("POST", "/v1/pubsub/publish?", {"topic": "room", "data": "of a"}), ("GET", "/v1/pubsub/topics?", None), ("GET", "/v1/pubsub/presence?topic=room&", None),
        ("GET", "/v1/pubsub/durable?", None), ("GET", "/v1/pubsub/messages?topic=kept&", None), ("PUT", "/v1/pubsub/durable?topic=kept&", {"count": 1}), ("DELETE", "/v1/pubsub/durable?topic=kept&", None),
    ):  # fmt: skip
        want(a.call(method, f"{path}namespace={b.namespace}", body), 403, code="NAMESPACE_MISMATCH")
    # Topics of others, by name.
    sockets = []
    for address in everywhere(world):
        one = opened(address, PATH, [V1], key=a.key)
        for topic in spellings:
            check(one.ask({"type": "subscribe", "topic": topic})["type"] in ("subscribed", "error"), topic)
        sockets.append(one)
        for after in (0, cursor - 1, "newest"):
            found = one.ask({"type": "subscribe", "topic": "kept", "after": after})
            equal((found["type"], found.get("code")), ("error", "CONFLICT"), "another tenant's durable topic is none here")
        one.ask({"type": "subscribe", "topic": ">", "after": 0})
    member = opened(world.addresses()[0], on("room", "&presence=true&member_id=of-b"), key=b.key)
    listening = opened(world.addresses()[1], PATH, [V1], key=b.key)
    listening.subscribe(">", "only-of-b")
    until(lambda: "only-of-b" in want(b.call("GET", "/v1/pubsub/topics"), 200).json()["topics"], "the topic is known", 10)
    for number in range(6):
        publish(b, 1, "room", f"of b {number}")
        publish(b, 1, "kept", f"of b {number}", ack="durable")
    for topic in spellings:
        a.call("POST", "/v1/pubsub/publish", {"topic": topic, "data": "of a"})
    heard = set()
    while len(heard) < 12:
        found = listening.json()
        data = base64.b64decode(found["data_base64"]).decode()
        if "presence" not in data:
            check(data.startswith("of b") and found["topic"] in ("room", "kept"), f"b hears {data!r} in {found['topic']}")
            heard.add((found["topic"], data))
    publish(b, 1, "room", "the last")
    while (data := base64.b64decode(listening.json()["data_base64"])) != b"the last":
        check(b"presence" in data, f"b hears {data!r}")
    deadline = time.monotonic() + 30
    for one in sockets:
        topic = None
        while topic != "fence":
            try:
                found = one.json(0.5)
            except TimeoutError:
                # From where b's messages came, so that it comes after them.
                check(time.monotonic() < deadline, "a does not hear its own message")
                publish(a, 1, "fence", "of a")
                continue
            topic = found["topic"]
            equal(base64.b64decode(found["data_base64"]), b"of a", f"what a hears in {topic}")
        one.close()
    check("of-b" not in want(a.call("GET", "/v1/pubsub/presence", params={"topic": "room"}), 200).text, "a member of b is told to a")
    check("only-of-b" not in want(a.call("GET", "/v1/pubsub/topics"), 200).json()["topics"], "a topic of b is told to a")
    equal(want(b.call("GET", "/v1/pubsub/presence", params={"topic": "room"}), 200).json()["count"], 1)
    found = want(a.call("GET", "/v1/pubsub/messages", params={"topic": "kept", "after": 0}), 200, 404, 409)
    check(base64.b64encode(b"of b").decode()[:5] not in found.text, f"messages of b: {found.text}")
    found = want(b.call("GET", "/v1/pubsub/messages", params={"topic": "kept", "after": 0}), 200).json()
    equal(len(found["messages"]), 7)
    for one in (member, listening):
        one.close()
