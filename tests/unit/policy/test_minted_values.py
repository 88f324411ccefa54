"""What counts as a value that Pulumi made: data of a Secret, of Vault and of a chart, not a name that is random."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.policy.stacks import CANARY, R, secret, verdicts

RULE = "pulumi-minted-value"
SUFFIX = R("random:index/randomId:RandomId", "suffix", {"hex": "ab", "byteLength": 1})
MINTED = R("random:index/randomPassword:RandomPassword", "minted", {"result": secret(CANARY), "length": 20})
SECRET, VAULT = "kubernetes:core/v1:Secret", "vault:kv/secretV2:SecretV2"
RELEASE, CHART = "kubernetes:helm.sh/v3:Release", "kubernetes:helm.sh/v4:Chart"
PROPS: dict[str, dict[str, Any]] = {
    SECRET: {"metadata": {"name": "db-ab", "namespace": "shop"}, "stringData": {"password": secret(CANARY)}},
    VAULT: {"mount": "platform-data", "name": "pg/ab", "dataJson": secret("{}"), "customMetadata": {"data": {}}},
    RELEASE: {"chart": "pg", "name": "pg-ab", "values": {"auth": {"pw": secret(CANARY)}}},
    CHART: {"chart": "pg", "name": "pg-ab", "values": {"auth": {"pw": secret(CANARY)}}},
}


def filled(token: str, **fed_by: str) -> R:
    sources = {field: (source,) for field, source in fed_by.items()}
    return R(token, "filled", PROPS[token], depends_on=tuple(set(fed_by.values())), fed_by=sources)


@pytest.mark.parametrize(
    ("resource", "source"),
    [
        (filled(SECRET, stringData="minted"), "RandomPassword minted"),
        (filled(SECRET, data="minted", metadata="suffix"), "RandomPassword minted"),
        (filled(SECRET, stringData="suffix"), "RandomId suffix"),
        (filled(VAULT, dataJson="minted"), "RandomPassword minted"),
        (filled(RELEASE, values="minted"), "RandomPassword minted"),
        (filled(CHART, values="minted"), "RandomPassword minted"),
        (R(SECRET, "filled", PROPS[SECRET], depends_on=("minted",)), "RandomPassword minted"),
    ],
)
def test_a_made_value_is_found(resource: R, source: str) -> None:
    (message,) = verdicts([SUFFIX, MINTED, resource])[RULE]
    assert f"its value is made by {source} and kept" in message
    assert CANARY not in message


@pytest.mark.parametrize(
    "resource",
    [
        filled(SECRET, metadata="suffix"),
        filled(SECRET, metadata="minted"),
        filled(VAULT, name="suffix", customMetadata="suffix"),
        filled(RELEASE, values="suffix", name="minted"),
        filled(CHART, values="suffix"),
    ],
)
def test_a_random_name_is_no_value(resource: R) -> None:
    assert RULE not in verdicts([SUFFIX, MINTED, resource])
