"""Rows H: the listener against clients that are slow, large, ambiguous or many."""

import os
import socket
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import raw
from api import Api, check, equal, fresh_source, want
from authentication import operations
from cluster import binary
from rows import row
from world import CONNECTIONS_MAX, ORIGIN, until

JSON = [("Content-Type", "application/json")]


def in_background(name, work):
    """Makes the function's `begin`: the work runs beside the other tests until its own joins it."""

    def begin(world):
        outcome = {}

        def run():
            try:
                work(world)
            except BaseException as error:
                outcome["error"] = error

        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        outcome["thread"] = thread
        setattr(world, name, outcome)

    return begin


def joined(world, name, seconds=60):
    outcome = getattr(world, name)
    outcome["thread"].join(seconds)
    check(not outcome["thread"].is_alive(), f"{name} is still running")
    if "error" in outcome:
        raise outcome["error"]


@row("H1")
def slow_heads_are_cut_while_others_are_served(world):
    address = world.addresses()[1]
    slow = []
    for source in (fresh_source(), fresh_source()):
        for _ in range(100):
            stream = raw.connect(address, source)
            stream.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            slow.append(stream)
    began = time.monotonic()
    good = Api(address)
    taken, open_ = [], list(slow)
    while open_ and time.monotonic() - began < 20:
        for stream in list(open_):
            try:
                stream.sendall(b"a")
                stream.setblocking(False)
                if stream.recv(4096) == b"":
                    open_.remove(stream)
            except BlockingIOError:
                pass
            except OSError:
                open_.remove(stream)
            finally:
                stream.setblocking(True)
        started = time.monotonic()
        want(good.get("/health"), 200)
        taken.append(time.monotonic() - started)
        time.sleep(0.5)
    closed_after = time.monotonic() - began
    for stream in slow:
        stream.close()
    check(not open_ and closed_after < 14, f"{len(open_)} slow clients are left after {closed_after:.0f} s")
    check(sorted(taken)[len(taken) // 2] < 0.2, f"others waited {sorted(taken)[-3:]}")
    # The strict gateway lets nobody sit there without a word for long.
    received, closed = raw.exchange(world.strict.gateway_address, b"", 8)
    check(closed, "a silent client is cut")


def slow_bodies(world):
    address = world.addresses()[2]
    tenant = world.slow_tenant
    head = raw.request("POST", "/v1/db/query", [*JSON, ("X-API-Key", tenant.key), ("Content-Length", "1000")], b'{"sql":"')
    public = raw.request("POST", "/v1/auth/challenge", [*JSON, ("Content-Length", "1000")], b'{"wallet":"')
    chunked = raw.request("PUT", "/v1/storage?key=slow", [("X-API-Key", tenant.key), ("Transfer-Encoding", "chunked")], b"5\r\nhello\r\n")
    streams = []
    for sent in (head, public, chunked):
        stream = raw.connect(address)
        stream.sendall(sent)
        streams.append(stream)
    # A large answer that nobody reads.
    reader = raw.connect(address)
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    for _ in range(40):
        reader.sendall(raw.request("GET", "/v1/storage?key=large", [("X-API-Key", tenant.key)]))
    began = time.monotonic()
    answers = {}
    while time.monotonic() - began < 45 and len(answers) < len(streams):
        for stream in streams:
            if stream in answers:
                continue
            try:
                stream.sendall(b"x" if stream is not streams[2] else b"1\r\nx\r\n")
                stream.settimeout(0.2)
                answers[stream] = (stream.recv(4096), time.monotonic() - began)
            except TimeoutError:
                pass
            except OSError:
                answers[stream] = (b"", time.monotonic() - began)
        time.sleep(1)
    for stream in streams:
        check(stream in answers, "a slow body is not cut")
        received, after = answers[stream]
        check(received == b"" or raw.statuses(received) == [408], f"a slow body is answered {received[:80]}")
        check(after < 35, f"a slow body is cut after {after:.0f} s")
    # The reader: 40 MiB were asked for; a server that waits for ever would still hold its place.
    time.sleep(max(0, 45 - (time.monotonic() - began)))
    reader.settimeout(10)
    taken = 0
    try:
        while part := reader.recv(1 << 20):
            taken += len(part)
    except OSError:
        pass
    check(taken < 40 * 1024 * 1024, f"a reader that took nothing for 45 s still got all of its {taken} bytes")


def begin_slow_bodies(world):
    world.slow_tenant = world.tenant()
    world.slow_tenant.put("large", b"x" * 1024 * 1024)
    in_background("slow_bodies", slow_bodies)(world)


@row("H2")
def slow_bodies_and_slow_readers_are_cut(world):
    joined(world, "slow_bodies", 90)


slow_bodies_and_slow_readers_are_cut.begin = begin_slow_bodies


@row("H3")
def heads_have_bounds(world):
    address = world.addresses()[0]
    for name, sent, expected in (
        ("101 headers", raw.request("GET", "/health", [(f"X-{n}", "x") for n in range(101)]), {431}),
        ("1000 headers", raw.request("GET", "/health", [(f"X-{n}", "x") for n in range(1000)]), {431}),
        ("a header of 64 KiB", raw.request("GET", "/health", [("X-Long", "x" * 65536)]), {431}),
        ("a name of 64 KiB", raw.request("GET", "/health", [("x" * 65536, "x")]), {431, 400}),
        ("a URI of 16 KiB", raw.request("GET", "/health?" + "x" * 16384), {414}),
        ("a URI of 1 MiB", raw.request("GET", "/health?" + "x" * (1 << 20)), {414, 431}),
        ("a method of 64 KiB", raw.request("G" * 65536, "/health"), {400, 405, 414, 431}),
    ):
        received, closed = raw.exchange(address, sent)
        found = raw.statuses(received)
        check(len(found) == 1 and found[0] in expected, f"{name}: {found} {received[:120]}")
        if found[0] == 400:
            check(closed, f"{name}: the connection stays open")
    for count in (10, 60):
        received, _ = raw.exchange(address, raw.request("GET", "/health", [*((f"X-{n}", "x") for n in range(count)), ("Connection", "close")]))
        equal(raw.statuses(received), [200], f"{count} headers")


@row("H4")
def bodies_have_bounds(world):
    address = world.addresses()[0]
    tenant = world.tenant()
    key = ("X-API-Key", tenant.key)
    size = 9 * 1024 * 1024
    for path in ("/v1/storage?key=x", "/v1/storage/put?key=x", "/v1/db/query", "/v1/db/transaction", "/v1/keys"):
        method = "PUT" if path.startswith("/v1/storage?") else "POST"
        head = raw.request(method, path, [*JSON, key, ("Content-Length", str(size))])
        received, _ = raw.exchange(address, head)
        equal(raw.statuses(received), [413], f"{path}: a length above the limit, before any of the body")
        head = raw.request(method, path, [*JSON, key, ("Content-Length", str(size)), ("Expect", "100-continue")])
        received, _ = raw.exchange(address, head)
        equal(raw.statuses(received), [413], f"{path}: with Expect")
        chunks = raw.request(method, path, [*JSON, key, ("Transfer-Encoding", "chunked")], (b"10000\r\n" + b"x" * 65536 + b"\r\n") * 160)
        received, closed = raw.exchange(address, chunks, 20)
        check(set(raw.statuses(received)) <= {413} and closed, f"{path}: chunks without end: {raw.statuses(received)}, closed {closed}")
    # Before anybody knows who asks.
    head = raw.request("POST", "/v1/auth/challenge", [*JSON, ("Content-Length", str(1 << 30)), ("Expect", "100-continue")])
    equal(raw.statuses(raw.exchange(address, head)[0]), [413])
    head = raw.request("PUT", "/v1/storage?key=x", [("Content-Length", "5"), ("Expect", "100-continue")])
    equal(raw.statuses(raw.exchange(address, head, 3)[0]), [401], "no 100 for whoever may not")
    head = raw.request("PUT", "/v1/storage?key=x", [key, ("Content-Length", "5"), ("Expect", "100-continue")])
    with raw.connect(address) as stream:
        stream.sendall(head)
        stream.settimeout(3)
        equal(raw.statuses(stream.recv(100)), [100])
        stream.sendall(b"hello")
        equal(raw.statuses(stream.recv(1000)), [201])


@row("H5")
def compressed_bodies_are_not_inflated(world):
    tenant = world.tenant()
    import gzip

    bomb = gzip.compress(b"0" * 100_000_000)
    for encoding in ("gzip", "deflate", "br", "zstd", "x-gzip", "identity, gzip", "compress", "GZIP", "nonsense"):
        for path in ("/v1/db/query", "/v1/storage/put?key=bomb", "/v1/auth/challenge"):
            headers = [*JSON, ("Content-Encoding", encoding)]
            want(tenant.call("POST", path, body=bomb, headers=headers), 415)
    want(tenant.value("bomb"), 404)
    sent = raw.request("POST", "/v1/storage/put?key=bomb", [("X-API-Key", tenant.key), ("Transfer-Encoding", "gzip, chunked"), ("Connection", "close")], b"0\r\n\r\n")
    found = raw.statuses(raw.exchange(world.addresses()[0], sent)[0])
    check(set(found) <= {400, 415, 501}, f"Transfer-Encoding gzip: {found}")


@row("H6")
def nothing_can_be_smuggled(world):
    """Each is one request that could be read as two, with another one hidden in it. It is refused, and the connection
    closed; the hidden one is never answered."""
    tenant = world.tenant()
    address = world.addresses()[0]
    hidden = raw.request("PUT", "/v1/storage?key=smuggled", [("X-API-Key", tenant.key), ("Content-Length", "1")], b"x")
    chunked = b"0\r\n\r\n"
    post = "POST /v1/auth/challenge HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    length = f"Content-Length: {len(chunked + hidden)}\r\n"
    cases = {
        "length and chunked": f"{post}{length}Transfer-Encoding: chunked\r\n\r\n".encode() + chunked + hidden,
        "chunked and length": f"{post}Transfer-Encoding: chunked\r\n{length}\r\n".encode() + chunked + hidden,
        "two lengths": f"{post}Content-Length: 0\r\n{length}\r\n".encode() + chunked + hidden,
        "two lengths in one": f"{post}Content-Length: 0, {len(hidden)}\r\n\r\n".encode() + hidden,
        "negative length": f"{post}Content-Length: -1\r\n\r\n".encode() + hidden,
        "signed length": f"{post}Content-Length: +0\r\n\r\n".encode() + hidden,
        "length in hex": f"{post}Content-Length: 0x0\r\n\r\n".encode() + hidden,
        "length with a space": f"{post}Content-Length : 0\r\n\r\n".encode() + hidden,
        "length beyond 64 bits": f"{post}Content-Length: 18446744073709551616\r\n\r\n".encode() + hidden,
        "empty length": f"{post}Content-Length:\r\n\r\n".encode() + hidden,
        "xchunked": f"{post}Transfer-Encoding: xchunked\r\n\r\n".encode() + chunked + hidden,
        "chunked, identity": f"{post}Transfer-Encoding: chunked, identity\r\n\r\n".encode() + chunked + hidden,
        "identity": f"{post}Transfer-Encoding: identity\r\n{length}\r\n".encode() + chunked + hidden,
        "chunked twice": f"{post}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + chunked + hidden,
        "chunked and x": f"{post}Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n".encode() + chunked + hidden,
        "chunked with a tab": f"{post}Transfer-Encoding:\tchunked\x0b\r\n\r\n".encode() + chunked + hidden,
        "name with a space": f"{post}Transfer-Encoding : chunked\r\n\r\n".encode() + chunked + hidden,
        "quoted": f'{post}Transfer-Encoding: "chunked"\r\n\r\n'.encode() + chunked + hidden,
        "folded": f"{post}X-A: b\r\n Transfer-Encoding: chunked\r\n\r\n".encode() + hidden,
        "folded length": f"{post}Content-Length:\r\n 0\r\n\r\n".encode() + hidden,
        "a bare CR in a value": f"{post}X-A: b\rTransfer-Encoding: chunked\r\n\r\n".encode() + hidden,
        "a NUL in a value": f"{post}X-A: b\0c\r\n\r\n".encode() + hidden,
        "no colon": f"{post}Transfer-Encoding chunked\r\n\r\n".encode() + hidden,
        "a space before the first name": ("POST /v1/auth/challenge HTTP/1.1\r\n Host: x\r\n\r\n").encode() + hidden,
        "no Host": b"POST /v1/auth/challenge HTTP/1.1\r\nContent-Length: 0\r\n\r\n" + hidden,
        "two Hosts": f"{post}Host: y\r\nContent-Length: 0\r\n\r\n".encode() + hidden,
        "HTTP/1.2": b"POST /v1/auth/challenge HTTP/1.2\r\nHost: x\r\n\r\n" + hidden,
        "HTTP/0.9": b"GET /health\r\n" + hidden,
        "chunked in HTTP/1.0": b"POST /v1/auth/challenge HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked + hidden,
        "a size that is none": f"{post}Transfer-Encoding: chunked\r\n\r\n".encode() + b"z\r\n" + hidden,
        "a negative size": f"{post}Transfer-Encoding: chunked\r\n\r\n".encode() + b"-1\r\n" + hidden,
        "a size in 0x": f"{post}Transfer-Encoding: chunked\r\n\r\n".encode() + b"0x0\r\n\r\n" + hidden,
        "a size beyond 64 bits": f"{post}Transfer-Encoding: chunked\r\n\r\n".encode() + b"10000000000000000\r\n" + hidden,
        "an extension of 1 MB": f"{post}Transfer-Encoding: chunked\r\n\r\n".encode() + b"1;" + b"x" * 1_000_000 + b"\r\na\r\n" + chunked + hidden,
        "an extension with a bare LF": f"{post}Transfer-Encoding: chunked\r\n\r\n".encode() + b"0;\n\r\n\r\n" + hidden,
        "a chunk without its end": f"{post}Transfer-Encoding: chunked\r\n\r\n".encode() + b"1\r\naX" + chunked + hidden,
        "trailers of 1 MB": f"{post}Transfer-Encoding: chunked\r\n\r\n".encode() + b"0\r\n" + b"X: y\r\n" * 200_000 + b"\r\n" + hidden,
    }  # fmt: skip
    for name, sent in cases.items():
        received, closed = raw.exchange(address, sent, 4)
        found = raw.statuses(received)
        check(len(found) <= 1 and set(found) <= {400, 411, 413, 431, 501, 505}, f"{name}: {found}")
        check(closed, f"{name}: answered {found} and the connection stays open")
        want(tenant.value("smuggled"), 404)
    # What is read in one way only stays allowed: a well-formed pair of requests on one connection.
    received, _ = raw.exchange(address, raw.request("GET", "/livez") + raw.request("GET", "/livez", [("Connection", "close")]))
    equal(raw.statuses(received), [200, 200])
    # Bare line feeds end lines for some; whoever takes them must take them everywhere, so nothing is hidden.
    sent = b"POST /v1/auth/challenge HTTP/1.1\nHost: x\nContent-Length: 0\nX-A: b\nTransfer-Encoding: chunked\n\n" + chunked + hidden
    received, closed = raw.exchange(address, sent, 4)
    check(set(raw.statuses(received)) <= {400} and closed, f"bare line feeds: {raw.statuses(received)}")
    want(tenant.value("smuggled"), 404)


@row("H7")
def http_2_does_not_open_a_door(world):
    """Whether HTTP/2 is spoken is seen from what the preface gets: a SETTINGS frame, or an error and an end. When it is,
    streams that are reset at once, CONTINUATION without end and empty DATA frames must end the connection."""
    address = world.addresses()[0]
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    frame = lambda kind, flags, stream, body=b"": len(body).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + body
    settings = frame(4, 0, 0)
    received, closed = raw.exchange(address, preface + settings, 2)
    if not received or received[3:4] != b"\x04":
        check(closed and set(raw.statuses(received)) <= {400, 505}, f"the preface gets {received[:60]}")
        upgrade = [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA")]
        received, _ = raw.exchange(address, raw.request("GET", "/livez", upgrade), 2)
        equal(raw.statuses(received), [200], "an upgrade to h2c is not taken")
        return
    # GET http x /livez, from HPACK's static table.
    headers = bytes([0x82, 0x86, 0x01, 1]) + b"x" + bytes([0x04, 6]) + b"/livez"
    reset = b"".join(frame(1, 5, number, headers) + frame(3, 0, number, (8).to_bytes(4)) for number in range(1, 20001, 2))
    endless = frame(1, 1, 1, headers) + frame(9, 0, 1, b"\x00\x01a\x01b" * 200) * 2000
    empty = frame(1, 0, 1, bytes([0x83]) + headers[1:]) + frame(0, 0, 1) * 200_000
    pings = frame(6, 0, 0, bytes(8)) * 200_000
    settings_flood = frame(4, 0, 0, b"\x00\x03\x00\x00\x00\x64") * 100_000
    for name, flood in (("rapid reset", reset), ("CONTINUATION", endless), ("empty DATA", empty), ("PING", pings), ("SETTINGS", settings_flood)):
        began = time.monotonic()
        received, closed = raw.exchange(address, preface + settings + flood, 12)
        check(closed or name in ("PING", "SETTINGS", "empty DATA"), f"{name}: the connection stays open")
        good = Api(address)
        want(good.get("/livez"), 200)
        check(time.monotonic() - began < 15, f"{name}: {time.monotonic() - began:.0f} s")


@row("H8")
def json_has_bounds(world):
    tenant = world.tenant()
    api = tenant.api()
    deep = lambda count: b'{"sql":' + b"[" * count + b"]" * count + b"}"
    cases = {
        "deep lists": deep(10_000), "deep objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        "deep arguments": b'{"sql":"SELECT 1","args":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        "open": b"[" * 200_000, "many members": b"{" + b",".join(b'"m%d":0' % n for n in range(1_000_000 // 8)) + b"}",
        "many elements": b'{"sql":"SELECT 1","args":[' + b"1," * 999_999 + b"1]}",
        "member twice": b'{"sql":"SELECT 1","sql":"SELECT 2"}', "argument twice": b'{"sql":"SELECT ?","args":[{"a":1,"a":2}]}',
        "a long number": b'{"sql":"SELECT ?","args":[' + b"9" * 10_000 + b"]}", "a long fraction": b'{"sql":"SELECT ?","args":[0.' + b"9" * 10_000 + b"e]}",
        "a huge exponent": b'{"sql":"SELECT ?","args":[1e999999]}', "NaN": b'{"sql":"SELECT ?","args":[NaN]}', "Infinity": b'{"sql":"SELECT ?","args":[-Infinity]}',
        "a lone surrogate": b'{"sql":"SELECT \\ud800"}', "no UTF-8": b'{"sql":"\xff"}', "trailing": b'{"sql":"SELECT 1"}{}', "a comma": b'{"sql":"SELECT 1",}',
        "single quotes": b"{'sql':'SELECT 1'}", "a comment": b'{"sql":"SELECT 1"/* */}', "a BOM": b'\xef\xbb\xbf{"sql":"SELECT 1"}', "UTF-16": '{"sql":"SELECT 1"}'.encode("utf-16"),
        "nothing": b"", "null": b"null", "a list": b"[]", "a text": b'"x"', "a number": b"1", "controls": b'{"sql":"SELECT 1\n"}', "a NUL": b"\0",
        "a wrong type": b'{"sql":1}', "prototype": b'{"sql":{"__proto__":1}}',
    }  # fmt: skip
    for path in ("/v1/db/query", "/v1/auth/challenge", "/v1/storage/multi-get", "/v1/keys"):
        for name, body in cases.items():
            if path != "/v1/db/query" and name in ("a long number",):
                continue
            started = time.perf_counter()
            answer = api.post(path, body=body, headers=JSON, key=None if "auth" in path else tenant.key)
            taken = time.perf_counter() - started
            # A number that is just long has a nearest one.
            allowed = (200, 400, 422) if name == "a long number" else (400, 413, 422)
            # Nothing is needed for a key, and members that it does not know are not looked at.
            if path == "/v1/keys" and name in ("nothing", "a wrong type", "prototype", "many members"):
                allowed = (201, 400, 413)
            if answer.status_code == 429:
                api = tenant.world.api()
                answer = api.post(path, body=body, headers=JSON)
            check(answer.status_code in allowed, f"{name} at {path}: {answer.status_code} {answer.text[:200]}")
            want(answer, *allowed)
            check(taken < 1.5, f"{name} at {path}: {taken:.2f} s for {len(body)} bytes")
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json5", "application/xml"):
        want(api.post("/v1/db/query", body=b'{"sql":"SELECT 1"}', headers=[("Content-Type", kind)], key=tenant.key), 415)


@row("H9")
def many_connections_and_requests_are_bounded(world):
    """Connections from this machine are not counted per address, so the cap on all of them is tried, at the strict
    gateway, which has a low one."""
    address = world.strict.gateway_address
    source = fresh_source()
    held, refused = [], 0
    try:
        for _ in range(CONNECTIONS_MAX + 50):
            try:
                stream = raw.connect(address, source, 3)
                stream.sendall(raw.request("GET", "/livez"))
                stream.settimeout(3)
                answer = stream.recv(4096)
                if raw.statuses(answer) == [200]:
                    held.append(stream)
                else:
                    refused += 1
                    check(answer == b"" or raw.statuses(answer) in ([503], [429]), f"one too many gets {answer[:80]}")
            except OSError:
                refused += 1
        check(refused > 0 and len(held) <= CONNECTIONS_MAX, f"{len(held)} connections are held, {refused} refused")
        # Who holds a connection is still served, and so are other processes.
        want(world.api().get("/livez"), 200)
        held[0].sendall(raw.request("GET", "/livez"))
        equal(raw.statuses(held[0].recv(4096)), [200])
    finally:
        for stream in held:
            stream.close()
    until(lambda: raw.statuses(raw.exchange(address, raw.request("GET", "/livez", [("Connection", "close")]))[0]) == [200], "served again", 15)
    address = world.addresses()[0]
    # A thousand requests before the first answer is read.
    received, _ = raw.exchange(address, raw.request("GET", "/livez") * 999 + raw.request("GET", "/livez", [("Connection", "close")]), 20)
    found = raw.statuses(received)
    check(set(found) <= {200, 429, 503} and 1 <= len(found) <= 1000, f"{len(found)} answers to 1000 requests, {set(found)}")
    until(lambda: raw.statuses(raw.exchange(address, raw.request("GET", "/livez", [("Connection", "close")]))[0]) == [200], "served again", 15)


@row("H10")
def limits_are_told_and_are_each_processs_own(world):
    source = fresh_source()
    first, second = world.api(0, source), world.api(1, source)
    statuses = []
    for _ in range(130):
        answer = want(first.post("/v1/auth/refresh", {"refresh_token": "rt_" + "A" * 43}), 401, 429)
        statuses.append(answer.status_code)
        if answer.status_code == 429:
            break
        check(int(answer.headers["ratelimit-remaining"]) < int(answer.headers["ratelimit-limit"]), "the budget is told")
    equal(statuses[-1], 429, "a limit of logins per address")
    check(1 <= int(answer.headers["retry-after"]) <= 60, "when to come again is told")
    equal(answer.json()["retryable"], True)
    want(second.post("/v1/auth/refresh", {"refresh_token": "rt_" + "A" * 43}), 401)
    want(first.get("/health"), 200)


@row("H22")
def pages_of_other_origins_are_let_in_only_when_listed(world):
    api = world.strict_api()
    asked = [("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "authorization")]
    for origin in ("https://evil.example", "null", ORIGIN + ".evil.example", "http://app.example.org", ORIGIN + ":8443", "https://xapp.example.org", ORIGIN + "/", "",
                   "https://app.example.org@evil.example", "*"):  # fmt: skip
        for answer in (api.get("/health", headers=[("Origin", origin)]), api.call("OPTIONS", "/v1/db/query", headers=[("Origin", origin), *asked]),
                       api.get("/v1/storage/list", headers=[("Origin", origin)])):  # fmt: skip
            check("access-control-allow-origin" not in answer.headers, f"origin {origin!r} is let in: {answer.headers}")
            check("origin" in answer.headers.get("vary", "").lower(), "caches are not told that the answer depends on the origin")
    for answer in (api.get("/health", headers=[("Origin", ORIGIN)]), api.call("OPTIONS", "/v1/db/query", headers=[("Origin", ORIGIN), *asked])):
        equal(answer.headers["access-control-allow-origin"], ORIGIN)
        check("access-control-allow-credentials" not in answer.headers, "cookies are let in")
    # As it comes, whatever lets everybody in lets nobody in with credentials.
    for answer in (world.api().get("/health", headers=[("Origin", "https://evil.example")]), world.api().get("/health")):
        allowed = answer.headers.get("access-control-allow-origin")
        check(allowed in (None, "*") and "access-control-allow-credentials" not in answer.headers, f"by default {allowed!r}")


@row("H23")
def answers_give_nothing_away(world):
    tenant = world.tenant()
    api = tenant.api()
    answers = [api.get(path, key=tenant.key) for path in ("/health", "/v1/auth/whoami", "/v1/storage/list", "/nothing", "/v1/storage?key=absent", "/v1/storage", "/openapi.json", "/docs")]
    answers += [tenant.query(sql) for sql in ("SELEC 1", "SELECT * FROM absent", "SELECT 1")]
    answers += [api.post("/v1/auth/challenge", {"wallet": "x"}), api.post("/v1/db/query", body=b"{", headers=JSON, key=tenant.key), api.get("/v1/auth/whoami")]
    for answer in answers:
        named = f"{answer.request.method} {answer.request.url.path} {answer.status_code}"
        for name in ("server", "x-powered-by", "via"):
            check(name not in answer.headers, f"{named}: {name}: {answer.headers.get(name)}")
        equal(answer.headers.get("x-content-type-options"), "nosniff", named)
        check(answer.headers.get("x-request-id"), f"{named}: no request id")
        for told in (".rs:", "panicked", "src/", "/home/", "/root/", str(world.cluster.root), "SQLITE_", "rusqlite", "openraft", "hyper", "stack backtrace"):
            check(told not in answer.text or answer.request.url.path == "/openapi.json", f"{named} tells {told}: {answer.text[:200]}")
    secret = [api.post("/v1/auth/refresh", {"refresh_token": tenant.refresh}), api.post("/v1/auth/token", key=tenant.key), tenant.call("POST", "/v1/keys", {})]
    for answer in secret:
        check(answer.status_code in (200, 201), f"{answer.request.url.path}: {answer.status_code}")
        check("no-store" in answer.headers.get("cache-control", ""), f"{answer.request.url.path}: cache-control {answer.headers.get('cache-control')}")
        check("content-encoding" not in answer.headers, "a secret is compressed beside what a client chooses")
    page = want(api.get("/v1/auth/login?callback=http://127.0.0.1:9/cb&state=x"), 200)
    policy = page.headers["content-security-policy"]
    check("default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy, f"policy of the login page: {policy}")
    for callback in ("https://evil.example/cb", "//evil.example", "javascript:alert(1)", "http://127.0.0.1.evil.example/", "http://evil@127.0.0.1.example/", "http://127.0.0.1@evil.example/",
                     "http://localhost.evil.example/", "http://0.0.0.0:1/", "data:text/html,x", "http://[::1].evil/", "http:\\\\evil.example", "http://127.0.0.1:1\\@evil.example/", "HTTP://evil.example",
                     "http://10.0.0.1/", "file:///etc/passwd", "http://127.0.0.1%2eevil.example/", "http://127.0.0.1:x/", "\thttp://evil.example", "http://2130706433.evil/"):  # fmt: skip
        want(api.get("/v1/auth/login", params={"callback": callback, "state": "x"}), 400, 403)
    marked = api.get("/v1/auth/login", params={"callback": "http://127.0.0.1:9/\"><script>x</script>", "state": "</script><script>alert(1)</script>", "namespace": "\"'><img>"})
    check("<script>alert(1)" not in marked.text and "<img>" not in marked.text and "<script>x" not in marked.text, "the login page repeats what it was given")


@row("H25")
def an_open_door_is_not_put_on_the_street(world):
    """A gateway that asks nobody for a credential does not start on an address that others reach."""
    for settings in ({"DEBROS_GATEWAY__REQUIRE_AUTH": "false"},):
        with tempfile.TemporaryDirectory(prefix="debros-open-") as directory:
            environment = {name: value for name, value in os.environ.items() if not name.startswith("DEBROS_")}
            environment.update(settings, XDG_CONFIG_HOME=directory)
            command = [binary(), "bootstrap", "--data-dir", f"{directory}/node", "--listen", "/ip4/127.0.0.1/tcp/0", "--sql-addr", "127.0.0.1:0", "--gateway-addr", "0.0.0.0:0"]
            process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=directory)
            try:
                _, said = process.communicate(timeout=10)
                check(process.returncode != 0, f"ended with {process.returncode}: {said[-300:]}")
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                check(False, f"it started with {settings} on 0.0.0.0")


@row("H26")
def what_is_for_operators_is_not_public(world):
    tenant = world.tenant()
    api = world.api()
    for path in ("/metrics", "/debug", "/debug/pprof", "/debug/vars", "/v1/network/peers", "/v1/network/status", "/v1/metrics", "/admin", "/status/cluster"):
        answer = api.get(path)
        check(answer.status_code in (401, 403, 404), f"{path}: {answer.status_code} {answer.text[:200]}")
    # A tenant is no operator.
    want(tenant.call("GET", "/metrics"), 401, 403, 404)
    peer_addresses = [f"/tcp/{node.gateway_address.rpartition(':')[2]}" for node in world.cluster.nodes]
    for path in ("/health", "/v1/health", "/status", "/v1/status", "/v1/version", "/livez", "/readyz?verbose", "/readyz"):
        found = want(api.get(path), 200).text
        check("/ip4/" not in found and "127.0.0.1" not in found and not any(told in found for told in peer_addresses), f"{path} tells addresses: {found}")
        check(tenant.namespace not in found and str(world.cluster.root) not in found, f"{path} tells names: {found}")
    peers = tenant.call("GET", "/v1/network/peers")
    want(peers, 200, 403)
