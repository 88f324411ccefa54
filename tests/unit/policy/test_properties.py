"""Random stacks against an independent reading of them: a finding exactly when two writers can meet."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.policy.cases import ESO
from tests.support.policy.stacks import CANARY, UNKNOWN, R, secret, verdicts

NAMES = ("a", "b")
KEYS = ("x", "y", "z")


@dataclass(frozen=True)
class Writer:
    """What a person would say of a writer: who, where, and which keys (None: the whole object)."""

    kind: str
    namespace: str | None
    name: str | None
    keys: tuple[str, ...] | None

    def cells(self) -> set[tuple[str, str, str]]:
        """Every key of every Secret that it may write; what is unknown may be each of the names."""
        spaces = [self.namespace] if self.namespace else list(NAMES)
        names = [self.name] if self.name else list(NAMES)
        return set(product(spaces, names, self.keys or KEYS))

    def resource(self, number: int) -> R:
        space: Any = self.namespace or UNKNOWN
        name: Any = self.name or UNKNOWN
        keys = self.keys or KEYS
        if self.kind == "Secret":
            props = {"metadata": {"namespace": space, "name": name}, "data": {k: secret(CANARY) for k in keys}}
            return R("kubernetes:core/v1:Secret", f"r{number}", props)
        target = {"name": name, "creationPolicy": "Merge" if self.keys else "Owner"}
        data = [{"secretKey": key, "remoteRef": {"key": f"pg/{number}"}} for key in keys]
        props = {"metadata": {"namespace": space, "name": f"es{number}"}, "spec": {"target": target, "data": data}}
        return R(f"kubernetes:{ESO}:ExternalSecret", f"r{number}", props)


parts = st.sampled_from([*NAMES, None])
some_keys = st.lists(st.sampled_from(KEYS), min_size=1, unique=True).map(lambda keys: tuple(sorted(keys)))
writers = st.one_of(
    st.builds(Writer, st.just("Secret"), parts, parts, some_keys),
    st.builds(Writer, st.just("ExternalSecret"), parts, parts, st.none() | some_keys),
)
stacks = st.lists(writers, min_size=1, max_size=5)


def found(stack: list[Writer]) -> set[str]:
    resources = [writer.resource(number) for number, writer in enumerate(stack)]
    return {rule for rule in verdicts(resources) if rule in ("single-authority", "undecided-authority")}


def can_meet(stack: list[Writer]) -> bool:
    return any(a.cells() & b.cells() for a, b in combinations(stack, 2))


@settings(max_examples=60, deadline=None)
@given(stacks)
def test_a_finding_exactly_when_two_writers_can_meet(stack: list[Writer]) -> None:
    # Two Secrets of one known name are two resources over one object, whatever the API server would say.
    assert bool(found(stack)) == can_meet(stack)


@settings(max_examples=30, deadline=None)
@given(stacks, st.integers(0, 4), st.sampled_from(["namespace", "name"]))
def test_knowing_less_never_hides_a_conflict(stack: list[Writer], number: int, field: str) -> None:
    if not found(stack):
        return
    blurred = list(stack)
    writer = blurred[number % len(blurred)]
    values = {"namespace": writer.namespace, "name": writer.name, field: None}
    blurred[number % len(blurred)] = Writer(writer.kind, values["namespace"], values["name"], writer.keys)
    assert found(blurred)


@settings(max_examples=20, deadline=None)
@given(stacks)
def test_the_order_of_resources_does_not_matter(stack: list[Writer]) -> None:
    assert found(stack) == found(list(reversed(stack)))
