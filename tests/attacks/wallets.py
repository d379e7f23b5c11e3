"""Wallets that sign as people's wallets do, and in every way in which they do not."""

import base64
import hashlib
import os

import base58
import nacl.bindings as sodium
from eth_account import Account
from eth_account.messages import encode_defunct, encode_typed_data
from eth_keys import keys
from eth_utils import keccak
from nacl.signing import SigningKey

# The orders of the groups of secp256k1 and Ed25519.
SECP256K1_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493
ED25519_PRIME = 2**255 - 19


class Ethereum:
    chain = "ETH"

    def __init__(self):
        self.secret = os.urandom(32)
        self.account = Account.from_key(self.secret)
        # With its EIP-55 checksum.
        self.address = self.account.address

    def sign(self, text):
        """An EIP-191 signature in hex."""
        signed = self.account.sign_message(encode_defunct(text=text) if isinstance(text, str) else encode_defunct(text))
        return "0x" + bytes(signed.signature).hex()

    def parts(self, text):
        """r, s and v of the same."""
        signature = bytes.fromhex(self.sign(text)[2:])
        return int.from_bytes(signature[:32]), int.from_bytes(signature[32:64]), signature[64]

    def sign_hash(self, digest):
        """A signature without any prefix, as the old eth_sign made it."""
        signature = keys.PrivateKey(self.secret).sign_msg_hash(digest)
        return joined(signature.r, signature.s, signature.v + 27)

    def sign_raw(self, text):
        return self.sign_hash(keccak(text.encode()))

    def sign_length_in_characters(self, text):
        prefix = f"\x19Ethereum Signed Message:\n{len(text)}".encode()
        return self.sign_hash(keccak(prefix + text.encode()))

    def sign_typed(self, text):
        """An EIP-712 signature over the same text."""
        typed = encode_typed_data({"name": "debros"}, {"Login": [{"name": "message", "type": "string"}]}, {"message": text})
        return "0x" + bytes(self.account.sign_message(typed).signature).hex()


def joined(r, s, v):
    """65 bytes in hex; each number is cut to what its place holds."""
    return "0x" + (r % 2**256).to_bytes(32).hex() + (s % 2**256).to_bytes(32).hex() + bytes([v % 256]).hex()


class Solana:
    chain = "SOL"

    def __init__(self):
        self.secret = os.urandom(32)
        self.key = SigningKey(self.secret)
        self.public = bytes(self.key.verify_key)
        self.address = base58.b58encode(self.public).decode()

    def signature(self, text):
        return self.key.sign(text.encode() if isinstance(text, str) else text).signature

    def sign(self, text):
        """A signature in base64."""
        return base64.b64encode(self.signature(text)).decode()

    def sign_not_canonically(self, text):
        """The same signature with S + L in the place of S."""
        signature = self.signature(text)
        number = int.from_bytes(signature[32:], "little") + ED25519_ORDER
        return base64.b64encode(signature[:32] + number.to_bytes(32, "little")).decode()


class MixedOrder:
    """An Ed25519 key with a component of order 2 added. For half of all texts it can sign so that a verifier without the
    cofactor is content."""

    chain = "SOL"

    def __init__(self):
        seed = os.urandom(32)
        digest = bytearray(hashlib.sha512(seed).digest()[:32])
        digest[0] &= 248
        digest[31] = digest[31] & 63 | 64
        self.scalar = int.from_bytes(digest, "little") % ED25519_ORDER
        good = sodium.crypto_scalarmult_ed25519_base_noclamp(self.scalar.to_bytes(32, "little"))
        # Adding (0, -1) turns (x, y) into (-x, -y).
        y = int.from_bytes(good, "little")
        sign, y = y >> 255, y & (2**255 - 1)
        self.public = ((ED25519_PRIME - y) | ((1 - sign) << 255)).to_bytes(32, "little")
        self.address = base58.b58encode(self.public).decode()

    def sign(self, text):
        while True:
            nonce = int.from_bytes(os.urandom(64), "little") % ED25519_ORDER
            point = sodium.crypto_scalarmult_ed25519_base_noclamp(nonce.to_bytes(32, "little"))
            digest = hashlib.sha512(point + self.public + text.encode()).digest()
            challenge = int.from_bytes(digest, "little") % ED25519_ORDER
            if challenge % 2 == 0:
                s = (nonce + challenge * self.scalar) % ED25519_ORDER
                return base64.b64encode(point + s.to_bytes(32, "little")).decode()


# Encodings of points of Ed25519 of small order, canonical and not (the well-known list of such points).
SMALL_ORDER = [
    bytes(32),
    (1).to_bytes(32, "little"),
    (ED25519_PRIME - 1).to_bytes(32, "little"),
    ED25519_PRIME.to_bytes(32, "little"),
    (ED25519_PRIME + 1).to_bytes(32, "little"),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
]
