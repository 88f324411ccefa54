"""The S3 server of a node: its command, its identities, its one signed request, and what `make up` does with them."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from toolchain.local_stack import LocalStack
from toolchain.objectstore import server
from toolchain.objectstore.__main__ import main
from toolchain.objectstore.probe import signed

EXPECTED = "fc17940bd195def017f1e7139d4d9b4005f13a9170c574057f4e3a05d4021e45"


def test_stopping_what_was_never_started_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["objectstore", "stop", "--name", "never-made"])
    assert main() == 0


def test_starting_without_a_node_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["objectstore", "start", "--name", "never-made"])
    assert main() == 1
    assert "toolchain.node up" in capsys.readouterr().err


def test_the_writer_may_neither_read_nor_delete_and_each_has_its_own_key() -> None:
    known = {name: (f"{name}-key", f"{name}-secret") for name in (*server.RIGHTS, server.OWNER)}
    found = json.loads(server.identities(known))
    policies = {one["name"]: json.loads(one["content"])["Statement"][0]["Action"] for one in found["policies"]}
    assert policies["writer"] == ["s3:PutObject"]
    assert "s3:PutObject" not in policies["reader"] + policies["deleter"]
    assert "s3:DeleteObject" not in policies["reader"]
    people = {one["name"]: one for one in found["identities"]}
    assert [name for name, one in people.items() if "actions" in one] == [server.OWNER]
    assert len({one["credentials"][0]["secretKey"] for one in people.values()}) == 4


def test_a_request_is_signed_as_amazon_says() -> None:
    """Key, host and day of the examples in "Authenticating Requests: AWS Signature Version 4"; signed by botocore."""
    headers = signed(
        "GET",
        "examplebucket.s3.amazonaws.com",
        "/",
        "AKIAIOSFODNN7EXAMPLE",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        datetime(2013, 5, 24, tzinfo=UTC),
    )
    assert headers["x-amz-date"] == "20130524T000000Z"
    assert headers["authorization"].endswith(f"Signature={EXPECTED}")


def test_credentials_are_given_until_a_run_has_planted_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(LocalStack, "kubeconfig", tmp_path / "kubeconfig")
    stack, variable = LocalStack("blue"), "SECRET_AUTHORITY_SNAPSHOT_CREDENTIALS"
    (tmp_path / "keys.json").write_text(json.dumps({name: ["key", "hunter2"] for name in server.RIGHTS}))
    (tmp_path / "ca.crt").write_text("PEM")
    facts = {"endpoint": "https://store", "bucket": "b", "ca": f"{tmp_path}/ca.crt", "keys": f"{tmp_path}/keys.json"}
    monkeypatch.setattr(LocalStack, "run_toolchain", lambda *_, **__: json.dumps(facts))
    reader = "SECRET_AUTHORITY_SNAPSHOT_READER"
    assert not {variable, reader} & set(stack.environment(root=True))
    (stack.fleet / "secret-authority/blue").mkdir(parents=True)
    stack.object_store()
    file = stack.store_credentials("writer")
    assert stack.environment(root=True)[reader] == str(stack.store_credentials("reader"))
    assert stack.environment(root=True)[variable] == str(file) and file.stat().st_mode & 0o777 == 0o600
    assert variable not in stack.environment(), "only beside the root holder, in the run that builds"
    text = (stack.fleet / "secret-authority/blue/snapshots.yaml").read_text()
    assert "hunter2" not in text and json.loads(text)["store"]["s3"]["bucket"] == "b"

    class Done:
        returncode = 1

    monkeypatch.setattr(LocalStack, "pulumi", lambda *_, **__: Done)
    monkeypatch.setattr(LocalStack, "release_dead_lock", lambda _: None)
    stack.up()
    assert variable in stack.environment(root=True), "that run failed"
    Done.returncode = 0
    stack.up()
    assert not {variable, reader} & set(stack.environment(root=True))
