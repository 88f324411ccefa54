"""Whether an entry of a checkout is the one that a cluster was built with: a value goes where the cluster says."""

from __future__ import annotations

from secret_authority.core.catalogue.schema import CatalogueSecret


def why_not_as_built(wanted: CatalogueSecret, built: CatalogueSecret | None) -> str:
    """Why a value that is meant for `wanted` could arrive elsewhere, or in another form; empty when it cannot.

    `built` is the entry of that name in the cluster, None for none. Consumers that are not built yet do no harm.
    """
    if built is None:
        return "is not built in the cluster yet"
    if (built.vault, built.secret_class) != (wanted.vault, wanted.secret_class):
        return f"is {built.secret_class} {built.vault} in the cluster, not {wanted.secret_class} {wanted.vault}"
    if set(built.binary) != set(wanted.binary):
        return f"has the binary keys {', '.join(built.binary) or 'none'} in the cluster"
    meant = {(one.namespace, one.secret): one.keys for one in wanted.consumers}
    for one in built.consumers:
        if dict(meant.get((one.namespace, one.secret), {})) != dict(one.keys):
            return f"is delivered to {one.namespace}/{one.secret} in the cluster, other than the checkout says"
    if (built.rotator is None) != (wanted.rotator is None):
        return f"has {'a' if built.rotator else 'no'} rotator in the cluster"
    return ""
