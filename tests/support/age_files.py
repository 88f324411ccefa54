"""age files with a passphrase whose work factor is small: pyrage chooses one by the speed of the machine.

age-encryption.org/v1: "scrypt recipient stanza", "Header MAC", "Payload". pyrage reads what is made here.
"""

from __future__ import annotations

import base64
import hmac
import secrets

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

_WORK = 10  # log2 of scrypt's N


def protect(content: bytes, passphrase: str) -> bytes:
    """What `age --passphrase` writes."""
    file_key, salt, nonce = secrets.token_bytes(16), secrets.token_bytes(16), secrets.token_bytes(16)
    derived = Scrypt(salt=b"age-encryption.org/v1/scrypt" + salt, length=32, n=2**_WORK, r=8, p=1)
    wrapped = ChaCha20Poly1305(derived.derive(passphrase.encode())).encrypt(bytes(12), file_key, None)
    head = b"age-encryption.org/v1\n-> scrypt %s %d\n%s\n---" % (_text(salt), _WORK, _text(wrapped))
    mac = hmac.digest(_derive(file_key, b"", b"header"), head, "sha256")
    # One chunk, the last: a counter of 11 bytes and the flag.
    payload = ChaCha20Poly1305(_derive(file_key, nonce, b"payload")).encrypt(bytes(11) + b"\1", content, None)
    return head + b" " + _text(mac) + b"\n" + nonce + payload


def _derive(key: bytes, salt: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=purpose).derive(key)


def _text(content: bytes) -> bytes:
    return base64.b64encode(content).rstrip(b"=")
