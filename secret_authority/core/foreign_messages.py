"""Messages of other programs, as far as they may be passed on: never with a value.

Kubernetes, Flux, kustomize, sops and External Secrets quote what they could not read, and that can be a secret. Which
words are values cannot be known of a text that others wrote. So only words are passed on that cannot be one: known
words of such messages, and names that are given by the caller or have the form of an object, a field or a file.
Upstream: kubernetes-sigs/structured-merge-diff "expected string, got &value.valueUnstructured{Value:...}".
"""

from __future__ import annotations

import re
from collections.abc import Collection

_HIDDEN = "[...]"
MOST = 600
# From here on Go prints a Go value, or a parser its input.
_DUMP = re.compile(
    r"(?:, )?\bgot (?:&?[\w.]+[{(\[]|[\"'`]|.*Value:).*|&?\w+\.value\w*\{.*|Value:.*|\bmap\[.*", re.DOTALL
)
_QUOTED = re.compile(r"\"(?:[^\"\\]|\\.)*\"?|'[^'\n]*'?|`[^`]*`?|“[^”]*”?", re.DOTALL)
# Words that are names by their form: an object behind its kind, a field of an object, a YAML file, a status.
_NAME = re.compile(
    r"(?:Secret|Kustomization|GitRepository|Namespace|ServiceAccount|SecretStore|ExternalSecret)"
    r"(?:/[a-z0-9][-a-z0-9.]*)+"
    r"|\.?(?:data|stringData|metadata|spec|status)(?:\.[-\w]{1,63})*"
    r"|(?:[\w.-]+/)*[\w.-]+\.ya?ml"
    r"|[a-z0-9.-]+\.(?:toolkit\.fluxcd\.io|k8s\.io|external-secrets\.io)(?:/v\d\w*)?"
    r"|v1|40[0-9]|41[23]|42[29]|50[0-4]"
)
_WORD = re.compile(r"[^\s,;:()\[\]{}<>]+")
_WORDS = """
    a about above access account accounts active after against already also an and annotation annotations
    another api apiserver applied apply are artifact as at authentication authority authorization available back
    back-off backoff be because been before being body bound build builder but by bytes ca called can canceled
    cancelled cannot certificate change changed changes check checkout checks client cluster code command commit
    condition conflict conflicts connect connection container containercreating content context controller could
    crash-loop crashloopbackoff crd crds create created creating data dataset date deadline decode decoded
    decoder decrypt decrypted decrypting decryption default delete deleted denied dependencies dependency
    deployment deployments detected dial did digest directory document does doesn't domain dry dry-run duplicate
    during each empty encoding encountered encrypted end entries entry eof errimagepull error errors event
    exceeded exist existing exists expected expired external external-secrets externalsecret failed failure
    fetch fetched field fields file files find finished first folder for forbidden format formatting found from
    generate get git go got group handle handshake has have head health healthy helm host http https id identity
    if ignored illegal image imagepullbackoff images immutable in index inline input int integer internal
    invalid io is it its job json key keys kind kubelet kustomization kustomize kustomize-controller label
    labels length limit line list load local login lookup mac main managed manager manifest map mapping marshal
    match matches message metadata method missing mount must name named namespace namespaces network new no node
    none not null number object objects of on only open operation or other out owned owner parse parsed parsing
    patch path peer permission pod podinitializing pods policy port post present problem process progress
    progressing provider pull pulling put quota reached read ready reason reconcile reconciled reconciliation
    reconciling recovered refresh refused registry remote repository request required reset resource resources
    response restarting result retries retry retrying revision role rollout root run running schema sealed
    secret secrets secretstore server service serviceaccount session set sha1 sha256 should signed size so some
    sops source source-controller spec stalled standby started starting state status still store stored string
    stringdata such suspended system tag tcp template terminated than that the their them then there this time
    timed timeout tls to token tokens too total transport tree true try type types unable unauthorized
    unavailable unexpected unknown unmarshal unreachable unsealed unsupported until update updated updating url
    use used user using validate validation value values vault verify version volume wait waiting was watch
    webhook well were when where which while will with within without write wrong x509 yaml yet you your
"""
_COMMON = frozenset(_WORDS.split())


def without_values(message: str, names: Collection[str] = ()) -> str:
    """The message with everything that could be a value taken out, at most `MOST` characters.

    `names`: what the caller knows to be no value, such as the object that was asked about.
    """
    text = _DUMP.sub(" " + _HIDDEN, message[: 8 * MOST])
    text = _QUOTED.sub(_HIDDEN, text)
    known = {name.lower() for name in names}
    text = _WORD.sub(lambda found: found[0] if _is_harmless(found[0], known) else _HIDDEN, text)
    text = re.sub(rf"{re.escape(_HIDDEN)}(?:[\s,;:]*{re.escape(_HIDDEN)})+", _HIDDEN, " ".join(text.split()))
    return text if len(text) <= MOST else text[:MOST] + " ..."


def _is_harmless(word: str, known: Collection[str]) -> bool:
    bare = word.strip(".!?*-=&").lower()
    named = bool(_NAME.fullmatch(word.strip(".!?=&") if not word.startswith(".") else word))
    return not bare or bare in _COMMON or bare in known or named or word == _HIDDEN.strip("[]")
