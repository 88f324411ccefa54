"""One secret for each rotator that is no database's: its target, and how its consumers use the value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cryptography import x509

from secret_authority.clients.vault import Vault
from secret_authority.core.catalogue.schema import Catalogue
from secret_authority.core.rotation.rotator import Accepts, Value
from secret_authority.engine.rotation.rotators import registry
from secret_authority.engine.tls.ca import Pair, issue, new_ca
from tests.support.background import Background
from tests.support.issuer import Issuer
from tests.support.rotation_site import Cluster, HandedOver, catalogue_of

Fields = Mapping[str, str]


class Generated:
    """Only its consumers know the value: nobody is there who could refuse it."""

    def __init__(self) -> None:
        self.rotator: Mapping[str, Any] = {"kind": "generated"}
        self.rotation: Fields = {"ttl": "720h"}
        self.first: Fields = {"key": "old"}
        self.admin: Fields | None = None

    def catalogue(self) -> Catalogue:
        return catalogue_of(self.rotator, {name: name for name in self.first}, self.rotation)

    def site(self, root: Vault) -> HandedOver:
        return HandedOver(root, self.catalogue(), self.first, self.admin)

    def refused(self, held: Sequence[Fields]) -> list[bool]:
        """Whether it is refused, for each use that these holders make of what they have."""
        return [False for _ in held]

    def problem(self, newest: Fields) -> str:
        """What is wrong after the rotation from the first to this value; empty for nothing."""
        return "the value is the first one" if newest["key"] == self.first["key"] else ""


class KeySet(Generated):
    """Each holder signs with its current key, and each accepts the three keys that it has."""

    def __init__(self) -> None:
        super().__init__()
        self.rotator = {"kind": "key-set", "keys": {"current": "key", "next": "key-next", "previous": "key-previous"}}
        self.rotation = {"ttl": "720h", "max_overlap": "1s"}
        self.first = {"key": "old", "key-next": "none", "key-previous": "none"}

    def refused(self, held: Sequence[Fields]) -> list[bool]:
        return [signing["key"] not in accepting.values() for signing in held for accepting in held]

    def problem(self, newest: Fields) -> str:
        return "an old key is still accepted" if set(newest.values()) & set(self.first.values()) else ""


class Tls(Generated):
    """Its CA was replaced. Each holder is a server, and each is a client that trusts the `ca.crt` that it has."""

    def __init__(self) -> None:
        super().__init__()
        self.rotation = {"ttl": "720h", "rotate_before": "240h"}
        self.rotator = {"kind": "tls", "names": ["web.shop.svc"], "admin": "orders-db-admin"}
        old, self._new = new_ca("web-ca"), new_ca("web-ca")
        pair = issue(old, ["web.shop.svc"])
        self.first = {"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": old.certificate}
        self.admin = {"tls.crt": self._new.certificate, "tls.key": self._new.key}

    def refused(self, held: Sequence[Fields]) -> list[bool]:
        bundles = [x509.load_pem_x509_certificates(client["ca.crt"].encode()) for client in held]
        servers = [Pair(server["tls.crt"], server["tls.key"]) for server in held]
        return [not any(server.issued_by(ca) for ca in bundle) for server in servers for bundle in bundles]

    def problem(self, newest: Fields) -> str:
        issued = Pair(newest["tls.crt"], newest["tls.key"]).issued_by(self._new.parsed)
        return "" if issued else "the certificate is not of the new CA"


class Issued(Generated):
    """Each holder shows its key to the issuer, over HTTPS."""

    def __init__(self, issuer: Issuer) -> None:
        super().__init__()
        self._issuer, self.first = issuer, {"key-id": "first", "api-key": "first-issued-secret"}
        issuer.forget()
        issuer.register("first", self.first["api-key"], "orders-db", 0)
        names = {"id": "key-id", "secret": "api-key"}
        self.rotator = {"kind": "issuer", "url": issuer.url, "keys": names, "admin": "orders-db-admin"}
        self.admin = issuer.login
        self._client = registry.build(next(iter(self.catalogue())), lambda _name: issuer.login)

    def refused(self, held: Sequence[Fields]) -> list[bool]:
        answers = [self._client.accepts(Value(one)) for one in held]
        return [answer is Accepts.NO for answer in answers if answer is not Accepts.UNKNOWN]

    def problem(self, newest: Fields) -> str:
        """The old key is gone, and so is every one that a rotation which was cut off may have made."""
        left = set(self._issuer.keys) - {newest["key-id"]}
        return f"the issuer has {len(left)} other keys" if left or not self._issuer.keys else ""


class Created(Issued):
    """The issuer makes the keys."""

    def __init__(self, issuer: Issuer) -> None:
        super().__init__(issuer)
        self.rotator = {**self.rotator, "create": True}


class Users(Background):
    """Uses what the Secret and each pod have, all the time. Counts uses and those that were refused."""

    def __init__(self, kind: Generated, cluster: Cluster) -> None:
        self._kind, self._cluster = kind, cluster
        self.uses = self.refused = 0

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            held = self._held()
            answers = self._kind.refused([values for values, _ in held])
            # Who was replaced meanwhile has not been refused anything.
            if any(answers) and self._held() != held:
                continue
            self.uses, self.refused = self.uses + len(answers), self.refused + sum(answers)

    def _held(self) -> list[tuple[dict[str, str], Any]]:
        return [self._cluster.secret, *self._cluster.pods]
