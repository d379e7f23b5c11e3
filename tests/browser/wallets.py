"""Wallets with real keys, as they answer a page, and signing in without one."""

import base64
import itertools
import json
import urllib.error
import urllib.request

import nacl.signing
from eth_account import Account
from eth_account.messages import encode_defunct

# A green circle.
ICON = "data:image/svg+xml;base64," + base64.b64encode(
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><circle cx="16" cy="16" r="16" fill="#2a9d5b"/></svg>'
).decode()

BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

numbers = itertools.count(1)


def base58(data):
    number = int.from_bytes(data, "big")
    digits = ""
    while number:
        number, digit = divmod(number, 58)
        digits = BASE58[digit] + digits
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + digits


def no(code, message):
    return {"error": {"code": code, "message": message}}


class Wallet:
    """Answers what a page asks, as its owner's mood is: `yes`, `no` (to signing), or `silent`."""

    def __init__(self, name, icon=ICON, mood="yes", late=False):
        self.identity = f"wallet-{next(numbers)}"
        self.name = name
        self.icon = icon
        self.mood = mood
        self.late = late
        self.signed = []

    def described(self):
        return {
            "identity": self.identity,
            "name": self.name,
            "icon": self.icon,
            "chain": self.chain,
            "kind": self.kind,
            "late": self.late,
        }

    def answer(self, method, parameters):
        """`None` when it keeps silent."""
        if self.mood == "silent":
            return None
        if method == self.connects:
            return {"value": self.accounts()}
        if method != self.signs:
            return no(-32601, f"{method} is unknown here")
        if self.mood == "no":
            return no(4001, "User rejected the request.")
        return self.sign(*parameters)


class EthereumWallet(Wallet):
    chain = "ETH"
    connects = "eth_requestAccounts"
    signs = "personal_sign"

    def __init__(self, name="Fox", kind="eip6963", **options):
        super().__init__(name, **options)
        self.kind = kind
        self.key = Account.create()
        self.address = self.key.address.lower()
        # With which key it signs: another one, when a wallet is not what it says.
        self.signing_key = self.key

    def accounts(self):
        return [self.address]

    def sign(self, message, address):
        if address != self.address:
            return no(-32602, f"{address} is not here")
        text = bytes.fromhex(message.removeprefix("0x")).decode()
        self.signed.append(text)
        return {"value": self.signature(text)}

    def signature(self, text):
        return "0x" + bytes(self.signing_key.sign_message(encode_defunct(text=text)).signature).hex()


class SolanaWallet(Wallet):
    chain = "SOL"
    kind = "standard"
    connects = "connect"
    signs = "signMessage"

    def __init__(self, name="Ghost", prefix=b"", **options):
        super().__init__(name, **options)
        self.key = nacl.signing.SigningKey.generate()
        self.address = base58(bytes(self.key.verify_key))
        # What it puts in front of what it is told to sign, as some hardware wallets do.
        self.prefix = prefix

    def accounts(self):
        return {"address": self.address, "publicKey": list(bytes(self.key.verify_key))}

    def sign(self, address, message):
        if address != self.address:
            return no(-32602, f"{address} is not here")
        signed = self.prefix + bytes(message)
        self.signed.append(signed.decode())
        return {"value": {"signedMessage": list(signed), "signature": list(self.key.sign(signed).signature)}}

    def signature(self, text):
        return base64.b64encode(self.key.sign(text.encode()).signature).decode()


def call(method, url, body=None, headers=()):
    """Status and JSON of an answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **dict(headers)}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=40) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def make_key(gateway, wallet, namespace):
    """Signs in without a browser; status and JSON of the answer."""
    who = {"wallet": wallet.address, "chain_type": wallet.chain, "namespace": namespace}
    status, told = call("POST", f"{gateway}/v1/auth/challenge", {**who, "purpose": "api_key_generation"})
    if status != 200:
        return status, told
    proof = {"nonce": told["nonce"], "signature": wallet.signature(told["message"])}
    return call("POST", f"{gateway}/v1/auth/api-key", {**who, **proof})
