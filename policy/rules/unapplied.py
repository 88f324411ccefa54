"""Objects of which nothing in a tree says that they are applied: conflicts of alternatives, examples, dumps."""

from __future__ import annotations

import os
import re

from policy.context import RuleContext
from policy.inventory.coverage import ALTERNATIVE
from policy.inventory.resource import Origin, Resource
from policy.rules.secret_values import is_secret, texts
from policy.rules.stand_ins import is_placeholder
from secret_authority.core.claims.conflicts import Conflict

# Words of the names of folders for what is shown to people, not run: demo-minio, 03_exercise, workshop-setup.
_SHOWN = re.compile(
    r"(?<![a-z])(demos?|demonstrations?|workshops?|tutorials?|exercises?|lessons?|courses?|trainings?|quick-?starts?|getting-started|playgrounds?"
    r"|(session|step|chapter|module|lesson|day|week|part)s?[-_]?\d+|walkthroughs?|katas?|katacoda|examples?|samples?|tests?|testing|testdata|fixtures?|mocks?|e2e|labs?[-_]?\d+)(?![a-z])",
    re.IGNORECASE,
)


def is_shown_to_people(resource: Resource, context: RuleContext) -> bool:
    """Whether nothing applies an object whose file, by its path, is of a demonstration, a tutorial, a test."""
    return is_unapplied(resource, context) and _SHOWN.search(resource.where.file) is not None


def is_form_to_seal(conflict: Conflict, context: RuleContext) -> bool:
    """Whether one is a Secret of placeholders that nothing applies, and the other what was sealed of it."""
    found = [context.claim_sources.get(claim.claimant.subject) for claim in (conflict.first, conflict.second)]
    if not any(source is not None and source.kind == "SealedSecret" for source in found):
        return False
    return any(source is not None and source.kind == "Secret" and _is_form(source) for source in found)


def _is_form(resource: Resource) -> bool:
    if resource.origin is not Origin.GIT or resource.applied_by.applier or resource.get("sops") is not None:
        return False
    given = list(texts(resource))
    return any(is_placeholder(text) for _, text in given) and not any(is_secret(key, text) for key, text in given)


def is_of_a_dump(conflict: Conflict, context: RuleContext) -> bool:
    """Whether a claimant is what kubectl got from a cluster, which nothing applies: it shows what another one made."""
    return any(_is_dump(resource) for resource in _unapplied(conflict, context))


def _is_dump(resource: Resource) -> bool:
    """Only the API server sets both of these."""
    return all(resource.get("metadata", name) for name in ("uid", "resourceVersion"))


def is_doubtful(conflict: Conflict, context: RuleContext) -> bool:
    """Whether something says that the claimants may not meet: one is suspended, or nothing applies their two folders.

    Such folders are read as one cluster, because they could be. What speaks against it: other folders of the tree are
    alternatives, or an object names no namespace, so whoever applies it does.
    """
    sources = [context.claim_sources.get(claim.claimant.subject) for claim in (conflict.first, conflict.second)]
    if len({source is not None and source.applied_by.suspended for source in sources}) > 1:
        return True
    found = _unapplied(conflict, context)
    if len({os.path.dirname(resource.where.file) for resource in found}) < 2:  # noqa: PTH120
        return False
    alternatives = any(entry.why == ALTERNATIVE for entry in context.coverage.entries) if context.coverage else False
    return alternatives or not all(resource.get("metadata", "namespace") for resource in found)


def is_one_object_twice(conflict: Conflict, context: RuleContext) -> bool:
    """Whether two files that nothing applies bring one object: all in one file and each by itself, or a backup."""
    found = _unapplied(conflict, context)
    return len(found) == 2 and len({(resource.token, resource.label) for resource in found}) == 1


def _unapplied(conflict: Conflict, context: RuleContext) -> list[Resource]:
    """The claimants that nothing applies."""
    found = (context.claim_sources.get(claim.claimant.subject) for claim in (conflict.first, conflict.second))
    return [source for source in found if source is not None and is_unapplied(source, context)]


def is_unapplied(resource: Resource, context: RuleContext) -> bool:
    """Whether nothing in the tree says that an object is applied."""
    if context.coverage is None or resource.origin is not Origin.GIT or resource.applied_by.applier:
        return False
    return resource.cluster in context.coverage.guessed or resource.where.file in context.coverage.by_hand
