"""What each account of the platform can reach, derived from what the program registers: RBAC, pods, admission, Vault.

Two steps: what an account may do itself, and what the accounts may do that it can become.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from secret_authority.contract.names import (
    AUDITOR_ACCOUNT,
    CONFIGURATOR_ACCOUNT,
    ENGINE_ACCOUNT,
    ENGINE_NAMESPACE,
    IDENTITY_SECRET,
    SNAPSHOT_READER,
    UNSEAL_SHARES,
)
from secret_authority.contract.vault_policies import auditor_policy, configurator_policy, engine_policy

Registered = Mapping[str, Mapping[str, Any]]
_WORKLOADS = {"deployments", "statefulsets", "daemonsets", "jobs", "pods", "cronjobs"}
_ALL = "*"
ROOT = "root"
_KINDS = {"data": "values", "config": "configuration"}


@dataclass
class Reach:
    """Secrets as NAMESPACE/NAME, accounts likewise, Vault in words; `*` for all of a namespace."""

    reads: set[str] = field(default_factory=set)
    writes: set[str] = field(default_factory=set)
    becomes: set[str] = field(default_factory=set)
    vault: set[str] = field(default_factory=set)

    def take(self, other: Reach) -> None:
        for name in ("reads", "writes", "becomes", "vault"):
            getattr(self, name).update(getattr(other, name))


def reach(registered: Registered) -> dict[str, Reach]:
    """Per account: everything within two steps."""
    stack = _Stack(registered)
    direct = {account: stack.direct(account) for account in sorted(stack.accounts)}
    found: dict[str, Reach] = {}
    for account, own in direct.items():
        whole = found[account] = Reach()
        whole.take(own)
        for other in own.becomes:
            whole.take(direct.get(other, Reach()))
        names = {secret.rpartition("/")[2] for secret in whole.reads}
        if {IDENTITY_SECRET, UNSEAL_SHARES} <= names:
            whole.vault.add(ROOT)
        if {IDENTITY_SECRET, SNAPSHOT_READER} <= names:
            # Bundles hold the shares that open them.
            whole.vault.add("reads all values of snapshots")
    return found


class _Stack:
    def __init__(self, registered: Registered) -> None:
        self._of: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for name, entry in registered.items():
            self._of[name.partition("::")[0].split(":")[-1]].append(entry["inputs"])
        self.accounts = {_place(inputs["metadata"]) for inputs in self._of["ServiceAccount"]}
        self._roles = {
            (inputs["metadata"].get("namespace", ""), inputs["metadata"]["name"]): inputs["rules"]
            for kind in ("Role", "ClusterRole")
            for inputs in self._of[kind]
        }

    def direct(self, account: str) -> Reach:
        found = Reach()
        for namespace, rule in self._rules(account):
            self._rule(account, namespace, rule, found)
        found.reads |= set(self._mounted(account))
        found.vault |= set(self._vault(account))
        found.becomes.discard(account)
        return found

    def _rules(self, account: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Each rule, and the namespace in which it holds; `*` for the whole cluster."""
        for kind in ("RoleBinding", "ClusterRoleBinding"):
            for binding in self._of[kind]:
                if account not in {f"{s['namespace']}/{s['name']}" for s in binding["subjects"]}:
                    continue
                namespace = binding["metadata"].get("namespace", "")
                role = binding["roleRef"]
                for rule in self._roles.get((namespace if role["kind"] == "Role" else "", role["name"]), ()):
                    yield namespace or _ALL, rule

    def _rule(self, account: str, namespace: str, rule: Mapping[str, Any], found: Reach) -> None:
        verbs, resources = set(rule["verbs"]), set(rule["resources"])
        names = rule.get("resourceNames") or [_ALL]
        places = {f"{namespace}/{name}" for name in names}
        if _ALL in verbs | resources:
            raise AssertionError(f"{account} has a rule with a wildcard: {rule}")
        if "secrets" in resources:
            if verbs & {"get", "list", "watch"}:
                found.reads |= places
            if verbs & {"create", "update", "patch", "delete"}:
                found.writes |= places
            if "create" in verbs and not self._guarded(account, "secrets", "CREATE", "service-account-token"):
                found.becomes |= self._everybody(namespace)
        if "serviceaccounts/token" in resources or "impersonate" in verbs:
            found.becomes |= places if names != [_ALL] else self._everybody(namespace)
        changing = verbs & {"create", "update", "patch"}
        if changing and any(not self._guarded(account, each, "UPDATE") for each in resources & _WORKLOADS):
            found.becomes |= self._everybody(namespace)
            found.reads.add(f"{namespace}/{_ALL}")
        if {"roles", "rolebindings", "clusterroles", "clusterrolebindings"} & resources and changing:
            found.becomes |= self.accounts

    def _everybody(self, namespace: str) -> set[str]:
        own = {account for account in self.accounts if namespace in (_ALL, account.partition("/")[0])}
        return own | {f"{namespace}/{_ALL}"}

    def _guarded(self, account: str, resource: str, operation: str, words: str = "") -> bool:
        """Whether an admission policy with a binding judges such requests of the account (tests/integration)."""
        bound = {inputs["spec"]["policyName"] for inputs in self._of["ValidatingAdmissionPolicyBinding"]}
        user = f"system:serviceaccount:{account.replace('/', ':')}"
        for policy in self._of["ValidatingAdmissionPolicy"]:
            spec = policy["spec"]
            conditions = " ".join(condition["expression"] for condition in spec.get("matchConditions", []))
            starts = re.findall(r'startsWith\("([^"]+)"\)', conditions)
            matches = any(map(user.startswith, starts)) or f'"{user}"' in conditions
            rules = spec["matchConstraints"]["resourceRules"]
            judged = any(resource in rule["resources"] and operation in rule["operations"] for rule in rules)
            text = " ".join(validation["expression"] for validation in spec["validations"])
            if matches and judged and words in text and policy["metadata"]["name"] in bound:
                return True
        return False

    def _mounted(self, account: str) -> Iterator[str]:
        """Secrets in the volumes of pods that run as the account."""
        for kind in ("Deployment", "StatefulSet", "Job", "DaemonSet", "CronJob"):
            for inputs in self._of[kind]:
                spec = inputs["spec"]["jobTemplate"]["spec"] if kind == "CronJob" else inputs["spec"]
                namespace, pod = inputs["metadata"]["namespace"], spec["template"]["spec"]
                if f"{namespace}/{pod.get('serviceAccountName', 'default')}" == account:
                    for volume in pod.get("volumes", []):
                        if "secret" in volume:
                            yield f"{namespace}/{volume['secret']['secretName']}"

    def _vault(self, account: str) -> Iterator[str]:
        own = {
            ENGINE_ACCOUNT: engine_policy(),
            CONFIGURATOR_ACCOUNT: configurator_policy(),
            AUDITOR_ACCOUNT: auditor_policy(),
        }
        for name, text in own.items():
            if account == f"{ENGINE_NAMESPACE}/{name}":
                yield from powers(text)
        policies = {inputs["name"]: inputs["policy"] for inputs in self._of["Policy"]}
        for role in self._of["AuthBackendRole"]:
            places = {
                f"{namespace}/{name}"
                for namespace in role["boundServiceAccountNamespaces"]
                for name in role["boundServiceAccountNames"]
            }
            if account in places:
                for policy in role["tokenPolicies"]:
                    yield from powers(policies[policy])


def powers(policy: str) -> set[str]:
    """What a Vault policy allows, in words."""
    found: set[str] = set()
    for path, listed in re.findall(r'path "([^"]+)" \{\s*capabilities = \[([^\]]*)\]', policy):
        verbs = set(re.findall(r'"([a-z]+)"', listed))
        value = re.match(r"platform-(data|config)/data/", path)
        if value:
            what = f"{'all' if path.endswith('/*') else 'named'} {_KINDS[value[1]]}"
            found |= {f"reads {what}"} if "read" in verbs else set()
            found |= {f"overwrites {what}"} if "update" in verbs else set()
            found |= {f"creates {what}"} if "create" in verbs and "update" not in verbs else set()
            found |= {f"deletes {what}"} if "delete" in verbs else set()
        elif path.startswith("sys/policies/acl/") and verbs & {"create", "update"}:
            found.add("writes policies")
        elif path.startswith("sys/mounts/") and "delete" in verbs:
            found.add("deletes mounts")
        elif path == "sys/storage/raft/snapshot" and verbs == {"read"}:
            found.add("takes snapshots")
        elif path.startswith("auth/token/accessors") and verbs <= {"list", "sudo"}:
            found.add("lists tokens")
        elif verbs & {"sudo"} or path in ("*", "sys/*"):
            found.add(ROOT)
    return found


def _place(metadata: Mapping[str, Any]) -> str:
    return f"{metadata.get('namespace', '')}/{metadata['name']}"


def table(found: Mapping[str, Reach], consumers: Iterable[str], bootstrap: Iterable[str]) -> list[str]:
    """Rows of a Markdown table, one for all accounts that differ in their namespace only."""
    namespaces = dict.fromkeys(consumers, "CONSUMER") | dict.fromkeys(bootstrap, "BOOTSTRAP")

    def general(place: str) -> str:
        namespace, _, name = place.partition("/")
        if namespace not in namespaces:
            for known in namespaces:
                name = re.sub(rf"-{re.escape(known)}$", "-CONSUMER", name)
            return f"{namespace}/{name}"
        known_names = {"secret-authority-reader", _ALL}
        return f"{namespaces[namespace]}/{name if name in known_names else 'NAMED'}"

    def cell(values: Iterable[str]) -> str:
        return ", ".join(sorted({f"`{general(value)}`" if "/" in value else value for value in values})) or "–"

    rows = {
        f"| `{general(account)}` | {cell(r.reads)} | {cell(r.writes)} | {cell(r.becomes)} | {cell(r.vault)} |"
        for account, r in found.items()
    }
    return sorted(rows)
