"""Whether a text in a Secret is a secret, as far as a reader of Git could tell: not a reference, nor plain data.

When in doubt it is one: a Secret in the clear is shown unless all of it is evidently something else.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

from policy.inventory.resource import Resource, walk

# Keys that hold public parts only.
PUBLIC_KEYS = frozenset({"ca.crt", "tls.crt", "ca.pem", "ca-bundle.crt", "known_hosts", "identity.pub"})
# Keys that say where or what something is.
_PLAIN = re.compile(
    r"(^|[-_.])(type|url|uri|name|project|host|hostname|port|db|dbname|database|user|username|login|endpoint|bucket|region"
    r"|server|address|enable\w*|insecure|proxy|version|schema|scheme|protocol|email|domain|namespace|path|issuer|client[-_]?id"
    r"|network|account|scopes?|repository|timeout|level|mode|debug|environment|env|namespaces|clusterresources|sshmode|sslmode"
    r"|ip|ips|cidr|subnet|addr|dns|fqdn|period|interval|duration|ttl|reconciles|replicas|id|class|handle|size|kind|cluster|zone|group|org|organization)$",
    re.IGNORECASE,
)
_SECRET = re.compile(
    r"pass|pwd|secret|token|api[-_.]?key|private|credential|webhook|\bkey\b|[-_.]key|encryption|cookie|salt|seed|dsn",
    re.IGNORECASE,
)
# Where one word of a key ends and the next begins: fsName.
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# A word of its own, not a part of the name of a product: AUTHELIA_HOST.
_AUTH = re.compile(r"auth(?![a-z])", re.IGNORECASE)
# What stands for a value that something else fills in: a variable, template text, a reference to a store.
_REFERENCE = re.compile(
    r"^\s*(\$\{|\$\(|\$[A-Za-z_]\w*\s*$|\$__|\{\{|<<|op://|ref\+|vault:|secretref\+|awssm:|gcp:|env:"
    r"|(secrets?|bao|infisical|doppler|bws|keeper|akv|azkv|awssm|gcpsm)://|%\w+%\s*$|<[^<>\n]+>\s*$)"
)
_AVP = re.compile(r"<path:[^>]+>|^<[\w .-]+>$")
_PLACEHOLDER = re.compile(
    r"^[\W_]*(place-?_?holder|change[-_ ]?(me|it|this)?|replace[-_ ]?(me|this|with\w*)?|todo|fixme|tbd|dummy|fake|none"
    r"|null|n/?a|example|sample|test|redacted|x{3,}|\*{3,}|your[-_ ].*|my[-_ ](secret|password|token).*|insert[-_ ].*"
    r"|unused|empty"
    r"|override[-_ ]?me|set[-_ ]?me|fill[-_ ]?(me|in).*|to[-_ ]be[-_ ].*|not[-_ ](used|set|needed))[\W_]*$",
    re.IGNORECASE,
)
# A name in capitals that asks to be replaced: AUTOREPLACE_DB_PASSWORD, REPLACE_ME_TOKEN.
_TO_REPLACE = re.compile(r"(?=[A-Z0-9_]*(REPLACE|PLACEHOLDER|CHANGE_?ME))[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")
_SWITCH = re.compile(r"true|false|yes|no|on|off", re.IGNORECASE)
_LITERAL = re.compile(rf"^({_SWITCH.pattern}|-?\d{{1,5}}(\.\d+)?)$", re.IGNORECASE)
_PUBLIC_PEM = re.compile(r"-----BEGIN (CERTIFICATE|PUBLIC KEY|TRUSTED CERTIFICATE)-----")
_PRIVATE_PEM = re.compile(r"PRIVATE KEY-----|BEGIN AGE|AGE-SECRET-KEY-")
_USER_INFO = re.compile(r"://[^/\s:@]+:([^/\s@]+)@")
# A name in capitals stands for what somebody else fills in.
_NAMED = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")
_URL = re.compile(r"^[a-z][a-z0-9+.-]*://\S+$")
# Where something is asked for: TOKEN_URL, OIDC_TOKEN_ENDPOINT. Who knows the address of a webhook may use it.
_ADDRESS_KEY = re.compile(r"^(?!.*webhook).*[-_.](url|uri|endpoint)$", re.IGNORECASE)
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://[^\s?#@]+")
# A part of a path that is long and has digits can be a credential itself.
_LONG_PART = re.compile(r"/(?=[^/]*\d)[^/]{20,}")
# A file by its whole path with an extension, or an image with its registry. Base64 has no dots.
_PATH = re.compile(r"^(/[\w-]+)+(\.[A-Za-z0-9]{1,6})+$|^([a-z0-9-]+\.)+[a-z]{2,6}(:\d+)?(/\S+)+$")
# A file in a folder of the system, from which something reads what it needs.
_FILE = re.compile(r"/(var|etc|run|opt|mnt|tmp|home|usr|vault|secrets?)(/[a-z0-9._-]+)+")
_ASSIGNED = re.compile(
    r"(pass(word|wd)?|secret|token|api[-_]?key|private[-_]?key|credentials?)[\"']?\s*[:=]\s*[\"']?(?!\s*$)\S",
    re.IGNORECASE,
)

# existingSecret: names the Secret that has the value.
_NAMES_ANOTHER = re.compile(r"(existing|external)[\w-]*$", re.IGNORECASE)
_COMMENT = re.compile(r"\s#.*$")
# Where a file of settings takes a value from, instead of having it: !secret of Home Assistant, the environment.
_IN_CODE = re.compile(r"!\w+\s|os\.(environ|getenv)\b|process\.env\b|(System\.)?getenv\(|ENV\[")


def texts(resource: Resource) -> Iterator[tuple[str, str]]:
    """(key, text) of each value of a Secret that is not empty; base64 is taken apart."""
    for field in ("data", "stringData"):
        for path, value in walk(resource.get(field)):
            if not path or not isinstance(value, str) or not value:
                continue
            yield str(path[0]), (_decoded(value) if field == "data" else value)


def _decoded(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode()
    except (binascii.Error, ValueError):
        return value


def is_sops_file(text: str) -> bool:
    """Whether a value is a whole file that sops encrypted, put into a Secret by a generator."""
    return "ENC[AES256_GCM," in text and "sops" in text


def stands_for_another(text: str) -> bool:
    """Whether a text is a reference or a placeholder, which something else replaces."""
    bare = text.strip()
    placeholder = _PLACEHOLDER.match(bare) or _TO_REPLACE.fullmatch(bare)
    if is_sops_file(text) or placeholder or _REFERENCE.match(text) or _AVP.search(text):
        return True
    # Some formats are base64 of base64.
    inner = _decoded(bare)
    return inner != bare and _PLACEHOLDER.match(inner.strip()) is not None


def is_secret(key: str, text: str) -> bool:
    """Whether a value is a secret itself, or could be."""
    if key in PUBLIC_KEYS or not text.strip() or stands_for_another(text):
        return False
    user = _USER_INFO.search(text)
    if _PRIVATE_PEM.search(text) or (user and not (_NAMED.fullmatch(user[1]) or stands_for_another(user[1]))):
        return True
    if _PUBLIC_PEM.search(text):
        return False
    if "\n" in text.strip() or text.strip()[:1] in ("{", "["):
        # A file, or JSON: it holds a secret where something in it is called one, and given a value.
        return any(_assigns(line) for line in text.splitlines())
    if _SWITCH.fullmatch(text.strip()) or _FILE.fullmatch(text.strip()):
        return False
    words = _HUMP.sub("_", key)
    if _ADDRESS_KEY.match(words) and _ADDRESS.fullmatch(text.strip()) and not _LONG_PART.search(text.strip(), 8):
        return False
    if _SECRET.search(words) or (_AUTH.search(words) and not _PLAIN.search(words)):
        return not _LITERAL.match(text.strip()) or len(text.strip()) > 3
    return not (_PLAIN.search(words) or any(plain.match(text.strip()) for plain in (_LITERAL, _URL, _PATH)))


def _assigns(line: str) -> bool:
    found = _ASSIGNED.search(line)
    if found is None or line.lstrip().startswith(("#", "//", ";")):
        return False
    if _NAMES_ANOTHER.search(line[: found.start(1)]):
        return False
    value = _COMMENT.sub("", line[found.end() - 1 :]).strip(" \"',")
    if not value or value in ("{}", "[]", "~") or _SWITCH.fullmatch(value) or _IN_CODE.match(value):
        return False
    return not stands_for_another(value)
