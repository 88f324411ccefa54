"""Layer 4 on a real cluster: Vault in service unattended, whatever happens to it, and nothing in the clear."""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from secret_authority.contract.names import AUTHORITY_MOUNT, ENGINE_NAMESPACE, VAULT_NAMESPACE, reader_role
from secret_authority.engine.runtime_authority.initial_configuration import living_tokens
from secret_authority.engine.runtime_authority.unseal_shares import SealedShares, SharesError, open_shares
from tests.support.flux import ask_flux
from tests.support.recorded_stack import RecordedStack
from tests.support.vault_pods import PODS, back_in_service, conditions, in_service, phase_of, ready_pods
from tests.support.vault_way import broken_glass, served_certificate, serves, vault_way
from tests.support.waiting import until, until_all

pytestmark = [
    pytest.mark.cluster,
    # A tunnel's thread may still write while its test has ended.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]

SHARES = f"/api/v1/namespaces/{VAULT_NAMESPACE}/secrets/vault-unseal-shares"


def test_a_second_up_changes_nothing(runtime: RecordedStack) -> None:
    run = runtime.set_up(phase_of(runtime), "--expect-no-changes")
    runtime.record("up without a change at phase 3", run)


def test_every_condition_holds(runtime: RecordedStack) -> None:
    found = conditions(runtime)
    assert {name for name, condition in found.items() if not condition["status"]} == set()
    assert set(found) >= {"CertificatesValid", "VaultInService", "VaultConfigured", "HandedOver", "NothingUnmanaged"}


def test_what_is_stored_of_the_shares_is_ciphertext_for_cluster_and_root(runtime: RecordedStack) -> None:
    stored = runtime.objects.get(SHARES)
    assert stored is not None
    fields = {name: base64.b64decode(text).decode() for name, text in stored["data"].items()}
    sealed = SealedShares.from_fields(fields)
    assert all(text.startswith("-----BEGIN AGE ENCRYPTED FILE-----") for text in sealed.ciphertexts)
    root, cluster = runtime.identities()
    assert open_shares(sealed, root.secret) == open_shares(sealed, cluster.secret)
    with pytest.raises(SharesError):
        open_shares(SealedShares(sealed.ciphertexts, len(sealed.ciphertexts) + 1), root.secret)


def test_break_glass_opens_vault_and_leaves_no_root_token(runtime: RecordedStack, tmp_path: Path) -> None:
    root, _ = runtime.identities()
    with broken_glass(runtime.kubeconfig, tmp_path, root.secret) as vault:
        # Tokens of the engines come and go meanwhile.
        roots = [accessor for accessor, token in living_tokens(vault) if "root" in token["policies"]]
        assert len(roots) == 1, "the break-glass token alone"
        assert set((vault.read("sys/audit") or {})["data"]) == {"file/", "stdout/"}
        mounts = (vault.read("sys/mounts") or {})["data"]
        assert {"platform-data/", "platform-config/", f"{AUTHORITY_MOUNT}/"} <= set(mounts)
        settings = vault.read("platform-data/config")
        assert settings is not None and settings["data"]["cas_required"] is True


def test_a_reader_may_read_its_own_paths_and_nothing_else(runtime: RecordedStack, tmp_path: Path) -> None:
    root, _ = runtime.identities()
    with broken_glass(runtime.kubeconfig, tmp_path, root.secret) as vault:
        roles = [role for role in vault.list("auth/kubernetes/role") if role.startswith("consumer-")]
        assert roles
        namespace = roles[0].removeprefix("consumer-")
        role = vault.read(f"auth/kubernetes/role/{reader_role(namespace)}")
        assert role is not None and role["data"]["bound_service_account_namespaces"] == [namespace]
        policy = vault.read(f"sys/policies/acl/{roles[0]}")
        assert policy is not None and "*" not in policy["data"]["policy"]
        words = policy["data"]["policy"].split('"')
        rights = dict(zip(words[1::4], words[3::4], strict=True))
        assert {verb for path, verb in rights.items() if not path.startswith("auth/token/")} == {"read"}


@dataclass(frozen=True)
class Noticed:
    """After how many seconds the engine said what a person had added, and the listener served a new certificate."""

    reported: float
    served: float
    # The Vault pods that were ready before and after.
    pods: tuple[set[str], set[str]]
    # The condition while the policy was there.
    condition: dict[str, object]


@pytest.fixture(scope="module")
def noticed(runtime: RecordedStack, tmp_path_factory: pytest.TempPathFactory) -> Noticed:
    """Both take about a minute, the interval of a look, so both are awaited at once."""
    folder = tmp_path_factory.mktemp("noticed")
    ca = folder / "ca.crt"
    before = ready_pods(runtime)
    root, _ = runtime.identities()
    with broken_glass(runtime.kubeconfig, folder, root.secret) as vault:
        old = served_certificate(vault, ca)

        def renewed() -> bool:
            # Each look opens a connection of its own, and a tunnel may drop one.
            try:
                return served_certificate(vault, ca) != old
            except OSError:
                return False

        def reported() -> bool:
            return "policy by-hand" in str(conditions(runtime)["NothingUnmanaged"]["message"])

        vault.write("sys/policies/acl/by-hand", {"policy": 'path "a" { capabilities = ["read"] }'})
        try:
            runtime.objects.request("DELETE", f"/api/v1/namespaces/{VAULT_NAMESPACE}/secrets/vault-tls")
            seconds = until_all({"it is said": reported, "a new certificate is served": renewed}, 240)
            condition = conditions(runtime)["NothingUnmanaged"]
        finally:
            vault.delete("sys/policies/acl/by-hand")
        runtime.measured.append(("a new certificate is served", seconds["a new certificate is served"]))
    return Noticed(
        seconds["it is said"], seconds["a new certificate is served"], (before, ready_pods(runtime)), condition
    )


def test_unmanaged_configuration_is_reported_while_it_is_there(noticed: Noticed) -> None:
    assert noticed.reported < 90 and noticed.condition["status"] is False


def test_a_new_certificate_is_served_without_a_restart(noticed: Noticed) -> None:
    before, after = noticed.pods
    assert after == before, "no pod was restarted"


def test_a_deleted_pod_is_unsealed_without_anyone(runtime: RecordedStack) -> None:
    gone = ready_pods(runtime)
    runtime.objects.request("DELETE", f"{PODS}/vault-0")
    back_in_service(runtime, "its pod was deleted", gone)


def test_sealed_by_hand_it_is_unsealed_without_anyone(runtime: RecordedStack, tmp_path: Path) -> None:
    root, _ = runtime.identities()
    with vault_way(runtime.kubeconfig, tmp_path) as plain:
        with broken_glass(runtime.kubeconfig, tmp_path, root.secret) as vault:
            begun = time.monotonic()
            vault.write("sys/seal", {})
            until(lambda: serves(plain), "Vault is active again", 60)
        runtime.measured.append(("Vault unsealed after it was sealed by hand", time.monotonic() - begun))


def test_vault_does_not_need_the_bootstrap_secrets(runtime: RecordedStack) -> None:
    """All of them are deleted and Vault restarted. When Flux comes round it makes them anew, and they are emptied."""
    places = list(runtime.wanted_values())
    for namespace, name in places:
        runtime.objects.request("DELETE", f"/api/v1/namespaces/{namespace}/secrets/{name}")
    gone = ready_pods(runtime)
    runtime.objects.request("DELETE", f"{PODS}/vault-0")
    back_in_service(runtime, "all bootstrap Secrets and its pod were deleted", gone)
    ask_flux(runtime)

    def emptied(place: tuple[str, str]) -> bool:
        found = runtime.objects.secret(*place)
        return found is not None and not found.get("data")

    until(lambda: all(emptied(place) for place in places), "each is there again, and empty", 90)


def test_a_restarted_kubelet_and_api_server_change_nothing(runtime: RecordedStack) -> None:
    before = ready_pods(runtime)
    for part in ("kubelet", "kube-apiserver"):
        runtime.run_toolchain("node", "kill", "--name", runtime.name, "--part", part)
        runtime.run_toolchain("node", "up", "--name", runtime.name)
    until(lambda: in_service(runtime), "in service", 180)
    assert ready_pods(runtime) == before, "the same pods"


def test_a_killed_engine_is_replaced(runtime: RecordedStack) -> None:
    path = f"/api/v1/namespaces/{ENGINE_NAMESPACE}/pods?labelSelector=app=secret-authority-engine"
    before = (runtime.objects.get(path) or {})["items"]
    for pod in before:
        runtime.objects.request(
            "DELETE", f"/api/v1/namespaces/{ENGINE_NAMESPACE}/pods/{pod['metadata']['name']}?gracePeriodSeconds=0"
        )
    gone = ready_pods(runtime)
    runtime.objects.request("DELETE", f"{PODS}/vault-0")
    back_in_service(runtime, "its pod and the engine were deleted", gone)


def test_unmanaged_configuration_is_no_longer_reported_when_it_has_gone(
    runtime: RecordedStack, noticed: Noticed
) -> None:
    """Last, so that the minute until the engine looks again is that of the tests before."""
    until(lambda: conditions(runtime)["NothingUnmanaged"]["status"] is True, "it is gone", 120)
