"""A hardware key's age plugin (c2sp.org/age-plugin) without hardware: it asks for a PIN and for a touch."""

from __future__ import annotations

import sys
from pathlib import Path

NAME = "fake"
PIN = "123456"
TOUCH = "touch the key"

# Wraps a file key with a pad that only the plugin has; with a wrong PIN it gives nothing.
PROGRAM = f'''#!{sys.executable}
import base64, hashlib, sys

PAD = hashlib.sha256(b"in the hardware").digest()[:16]


def receive():
    line = sys.stdin.readline().rstrip("\\n")
    assert line.startswith("-> "), line
    body = ""
    while True:
        part = sys.stdin.readline().rstrip("\\n")
        body += part
        if len(part) < 64:
            return line[3:].split(" "), base64.b64decode(body + "=" * (-len(body) % 4))


def send(*words, body=b""):
    text = base64.b64encode(body).decode().rstrip("=")
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    if not lines or len(lines[-1]) == 64:
        lines.append("")
    print("-> " + " ".join(words), *lines, sep="\\n", flush=True)


def ask(*words, body=b""):
    send(*words, body=body)
    return receive()


given = []
while True:
    words, body = receive()
    if words[0] == "done":
        break
    given.append((words, body))
mixed = lambda content: bytes(a ^ b for a, b in zip(content, PAD))
if sys.argv[1] == "--age-plugin=recipient-v1":
    keys = [body for words, body in given if words[0] == "wrap-file-key"]
    for number, key in enumerate(keys):
        ask("recipient-stanza", str(number), "{NAME}", body=mixed(key))
else:
    pin = ask("request-secret", body=b"PIN of the key")[1]
    ask("msg", body=b"{TOUCH}\\x1b[2J")
    for words, body in given:
        if words[0] == "recipient-stanza" and words[2] == "{NAME}" and pin == b"{PIN}":
            ask("file-key", words[1], body=mixed(body))
send("done")
'''


def install(folder: Path) -> tuple[str, str]:
    """Write the plugin into a folder that is on PATH; gives the key's recipient and its identity."""
    program = folder / f"age-plugin-{NAME}"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    return _bech32(f"age1{NAME}", b"recipient"), _bech32(f"age-plugin-{NAME}-", b"identity").upper()


def _bech32(head: str, data: bytes) -> str:
    """BIP 173, without its limit of length."""
    letters = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
    number, bits, words = 0, 0, []
    for byte in data:
        number, bits = (number << 8) | byte, bits + 8
        while bits >= 5:
            bits -= 5
            words.append((number >> bits) & 31)
    if bits:
        words.append((number << (5 - bits)) & 31)
    expanded = [ord(letter) >> 5 for letter in head] + [0] + [ord(letter) & 31 for letter in head]
    check = _polymod([*expanded, *words, *[0] * 6]) ^ 1
    words += [(check >> 5 * (5 - index)) & 31 for index in range(6)]
    return f"{head}1{''.join(letters[word] for word in words)}"


def _polymod(values: list[int]) -> int:
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for index, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= generator if top >> index & 1 else 0
    return check
