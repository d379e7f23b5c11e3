"""Bytes over a socket, for requests that no HTTP client would send."""

import re
import socket
import time

from api import fresh_source


def connect(address, source=None, seconds=10):
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), seconds, (source or fresh_source(), 0))


def exchange(address, sent, seconds=5):
    """Sends bytes; what came back until the peer closed or `seconds` passed, and whether it closed."""
    with connect(address, seconds=seconds) as stream:
        try:
            stream.sendall(sent)
        except OSError:
            # Answered and closed before everything was sent.
            pass
        return receive(stream, seconds)


def receive(stream, seconds):
    deadline = time.monotonic() + seconds
    received = b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            return received, False
        stream.settimeout(left)
        try:
            part = stream.recv(65536)
        except TimeoutError:
            return received, False
        except OSError:
            return received, True
        if not part:
            return received, True
        received += part


def statuses(received):
    """The statuses of all answers in what came back."""
    return [int(found) for found in re.findall(rb"HTTP/1\.[01] (\d{3})", received)]


def request(method, target, headers=(), body=b"", host="localhost"):
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
