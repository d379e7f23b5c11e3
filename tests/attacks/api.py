"""An HTTP client of one gateway that remembers every secret it was given.

Client addresses are rate limited. All of 127.0.0.0/8 is this machine, so each client comes from an address of its own.
"""

import itertools
import ssl
import threading

import httpx

# Names of members that are secrets, or open something.
SECRETS = ("access_token", "refresh_token", "token", "api_key", "nonce", "ticket")

_lock = threading.Lock()
_sources = itertools.count(1)
# What was given out, by the member's name.
issued = {name: set() for name in SECRETS}

# Made once: reading the machine's certificates takes longer than a request.
_tls = ssl.create_default_context()


def fresh_source():
    """An address of this machine that nothing has come from yet."""
    with _lock:
        number = next(_sources)
    return f"127.{100 + number // 62500 % 100}.{number // 250 % 250}.{number % 250 + 1}"


class Api:
    def __init__(self, address, source=None):
        self.address = address
        self.base = f"http://{address}"
        transport = httpx.HTTPTransport(local_address=source or fresh_source(), verify=_tls)
        self.client = httpx.Client(base_url=self.base, transport=transport, timeout=30, trust_env=False)

    def call(self, method, path, json=None, *, body=None, token=None, key=None, headers=(), params=None):
        """One request; the answer. `headers` are pairs, so that one may be there twice."""
        sent = list(dict(headers).items()) if isinstance(headers, dict) else list(headers)
        if token is not None:
            sent.append(("Authorization", f"Bearer {token}"))
        if key is not None:
            sent.append(("X-API-Key", key))
        answer = self.client.request(method, path, json=json, content=body, headers=sent, params=params)
        if answer.status_code < 300:
            remember(answer)
        return answer

    def get(self, path, **more):
        return self.call("GET", path, **more)

    def post(self, path, json=None, **more):
        return self.call("POST", path, json, **more)

    def put(self, path, json=None, **more):
        return self.call("PUT", path, json, **more)

    def delete(self, path, **more):
        return self.call("DELETE", path, **more)

    def close(self):
        self.client.close()


def remember(answer):
    if not answer.headers.get("content-type", "").startswith("application/json"):
        return
    try:
        body = answer.json()
    except ValueError:
        return
    if isinstance(body, dict):
        with _lock:
            for name in SECRETS:
                if isinstance(body.get(name), str):
                    issued[name].add(body[name])


class Refused(AssertionError):
    """An answer is not what it must be."""


def want(answer, *statuses, code=None):
    """The answer, which must have one of the statuses, and the form of an error if it is one."""
    status, text = answer.status_code, answer.text[:600]
    request = answer.request
    named = f"{request.method} {request.url} -> {status} {text!r}"
    if status not in statuses:
        raise Refused(f"expected {' or '.join(map(str, statuses))}: {named}")
    if status >= 400 and request.method != "HEAD":
        body = answer.json()
        for member in ("error", "code", "request_id", "retryable"):
            if member not in body:
                raise Refused(f"an error without `{member}`: {named}")
        if code is not None and body["code"] not in (code if isinstance(code, tuple) else (code,)):
            raise Refused(f"expected code {code}: {named}")
        if status == 401 and not answer.headers.get("www-authenticate"):
            raise Refused(f"a 401 without WWW-Authenticate: {named}")
        if status == 429 and not answer.headers.get("retry-after"):
            raise Refused(f"a 429 without Retry-After: {named}")
    return answer


def check(holds, what):
    if not holds:
        raise Refused(what)


def equal(found, expected, what=""):
    if found != expected:
        raise Refused(f"{what}: found {found!r:.600}, expected {expected!r:.600}")
