"""What all unit tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from secret_authority.repository.bootstrap import opened_secrets, whole_files
from tests.support.remembered_sops import remembered


@pytest.fixture(scope="session", autouse=True)
def sops_is_remembered() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opened_secrets, "decrypt_text", remembered(opened_secrets.decrypt_text))
        patch.setattr(whole_files, "decrypt_content", remembered(whole_files.decrypt_content))
        yield
