"""A WebSocket client (RFC 6455) that sends what it is told to, well-formed or not."""

import base64
import json
import os
import socket
import time

import raw
from api import Refused, check, equal, fresh_source

PATH = "/v1/pubsub/ws"

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

V1 = ("Sec-WebSocket-Protocol", "debros.v1")


def handshake(target, headers=(), host="localhost"):
    """The request that opens a socket. A header of `headers` stands in place of the usual one."""
    usual = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    usual["Sec-WebSocket-Key"] = base64.b64encode(os.urandom(16)).decode()
    named = {name.lower() for name, _ in headers}
    sent = [pair for pair in usual.items() if pair[0].lower() not in named]
    return raw.request("GET", target, [*sent, *headers], host=host)


def frame(opcode, payload=b"", *, fin=True, reserved=0, masked=True, length=None):
    """One frame. `length` is what it claims to have; the mask is zero, which changes nothing."""
    length = len(payload) if length is None else length
    head = bytes([fin << 7 | reserved << 4 | opcode])
    if length < 126:
        head += bytes([masked << 7 | length])
    elif length < 1 << 16:
        head += bytes([masked << 7 | 126]) + length.to_bytes(2)
    else:
        head += bytes([masked << 7 | 127]) + length.to_bytes(8)
    return head + (bytes(4) if masked else b"") + payload


def said(value):
    """What `debros.v1` says, in a frame."""
    return frame(TEXT, json.dumps(value).encode())


class Socket:
    """A connection that asked to become a socket; `status` is the answer."""

    def __init__(self, address, target=PATH, headers=(), *, key=None, source=None, options=(), host="localhost"):
        headers = [*headers, *([("X-API-Key", key)] if key else [])]
        self.stream = socket.socket()
        for level, option, value in options:
            self.stream.setsockopt(level, option, value)
        self.stream.bind((source or fresh_source(), 0))
        self.stream.settimeout(30)
        name, _, port = address.rpartition(":")
        self.stream.connect((name, int(port)))
        self.stream.sendall(handshake(target, headers, host))
        self.received = b""
        while b"\r\n\r\n" not in self.received and self._fill(30):
            pass
        self.head, _, self.received = self.received.partition(b"\r\n\r\n")
        found = raw.statuses(self.head)
        self.status = found[0] if found else None

    def _fill(self, seconds):
        """Takes what comes; false when the other side has ended it. A TimeoutError, which is an OSError, is the caller's."""
        self.stream.settimeout(max(seconds, 0.001))
        try:
            part = self.stream.recv(1 << 18)
        except TimeoutError:
            raise
        except OSError:
            return False
        self.received += part
        return bool(part)

    def send(self, sent):
        """Sends bytes; whether the other side took them all."""
        self.stream.settimeout(30)
        try:
            self.stream.sendall(sent)
            return True
        except OSError:
            return False

    def say(self, value):
        return self.send(said(value))

    def _frame(self):
        """The first frame of what has come, if all of it has."""
        if len(self.received) < 2:
            return None
        length, at = self.received[1] & 127, 2
        check(not self.received[1] & 128, "a server masks nothing")
        check(not self.received[0] & 0x70, "no extension was agreed on")
        if length > 125:
            at = 4 if length == 126 else 10
            if len(self.received) < at:
                return None
            length = int.from_bytes(self.received[2:at])
        if len(self.received) < at + length:
            return None
        found = self.received[0] & 15, self.received[at : at + length]
        self.received = self.received[at + length :]
        return found

    def frame(self, seconds=30):
        """The next frame's opcode and payload; None when the connection has ended.

        Raises TimeoutError when none comes in time."""
        deadline = time.monotonic() + seconds
        while (found := self._frame()) is None:
            if not self._fill(deadline - time.monotonic()):
                return None
        return found

    def next(self, seconds=30):
        """The next message's bytes; pings are answered. None when the socket ends."""
        deadline = time.monotonic() + seconds
        while found := self.frame(deadline - time.monotonic()):
            opcode, payload = found
            if opcode == PING:
                self.send(frame(PONG, payload))
            elif opcode in (TEXT, BINARY):
                return payload
            elif opcode == CLOSE:
                return None
        return None

    def json(self, seconds=30):
        found = self.next(seconds)
        return None if found is None else json.loads(found)

    def ask(self, value, seconds=30):
        """Asks something in `debros.v1`; the answer to it."""
        self.say({**value, "id": 7})
        while found := self.json(seconds):
            if found.get("id") == 7:
                return found
        raise Refused(f"the socket ends before {value} is answered")

    def subscribe(self, *topics):
        for topic in topics:
            found = self.ask({"type": "subscribe", "topic": topic})
            equal(found["type"], "subscribed", f"subscribing to {topic}: {found}")

    def end(self, seconds=30):
        """Reads to the end; the code with which the other side closes, None when it says nothing."""
        deadline = time.monotonic() + seconds
        while found := self.frame(deadline - time.monotonic()):
            opcode, payload = found
            if opcode == CLOSE:
                return int.from_bytes(payload[:2]) if payload else 1005
        return None

    def ends_in_order(self, seconds=5):
        """Whether nothing more comes and the connection is closed, not reset: after that a last word may be lost."""
        self.stream.settimeout(seconds)
        try:
            return self.stream.recv(1) == b""
        except OSError:
            return False

    def close(self):
        self.stream.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def opened(*arguments, **more):
    """A socket that must open."""
    found = Socket(*arguments, **more)
    equal(found.status, 101, f"the socket does not open: {found.head}")
    return found
