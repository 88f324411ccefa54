"""The issuer of the example, on the loopback device."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import examples.issuer
from secret_authority.engine.tls.ca import issue, new_ca

TOKEN = "issuer-administrator-token"


class Issuer(examples.issuer.Issuer):
    """`down`: it answers 503 to everything."""

    def __init__(self) -> None:
        super().__init__(TOKEN)
        self.url = self.ca = ""
        self.down = False

    @property
    def login(self) -> dict[str, str]:
        return {"token": TOKEN, "ca.crt": self.ca}

    def answer(self, method: str, target: str, bearer: str, body: Any) -> tuple[int, Any]:
        return (503, None) if self.down else super().answer(method, target, bearer, body)

    def forget(self) -> None:
        """As if nobody had ever asked for anything."""
        self.keys, self.ended, self.generations, self.tags = {}, set(), {}, set()


def certificate(folder: Path) -> tuple[Path, Path, str]:
    """Files of a certificate for the loopback device and its key, and the CA that issued it."""
    ca = new_ca("issuer")
    pair = issue(ca, ["127.0.0.1", "localhost"])
    files = folder / "tls.crt", folder / "tls.key"
    for file, text in zip(files, (pair.certificate, pair.key), strict=True):
        file.write_text(text)
    return *files, ca.certificate


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Issuer]:
    """An issuer with a certificate of a CA of its own."""
    issuer = Issuer()
    *files, issuer.ca = certificate(folder)
    with examples.issuer.server(issuer, "127.0.0.1", 0, *files) as made:
        issuer.url = f"https://localhost:{made.server_address[1]}/v1"
        thread = threading.Thread(target=made.serve_forever, daemon=True)
        thread.start()
        try:
            yield issuer
        finally:
            made.shutdown()
