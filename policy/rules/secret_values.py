"""Whether a text in a Secret is a secret, as far as a reader of Git could tell: not a reference, nor plain data.

What a key is called counts first, then what the value is. Under a key that says nothing, only plain words, addresses
and measures are evidently no secret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from policy.inventory.resource import Resource, mapping, walk
from policy.rules.stand_ins import USER_INFO, decoded, stands_for_another

# Keys that hold public parts only.
PUBLIC_KEYS = frozenset({"ca.crt", "tls.crt", "ca.pem", "ca-bundle.crt", "known_hosts", "identity.pub"})
# Keys that say where or what something is.
_PLAIN = re.compile(
    r"(^|[-_.])(type|url|uri|name|project|host|hostname|port|db|dbname|database|user|username|login|endpoint|bucket|region"
    r"|server|address|enable\w*|insecure|proxy|version|schema|scheme|protocol|email|domain|namespace|path|issuer|client[-_]?id"
    r"|network|account|scopes?|repository|timeout|level|mode|debug|environment|env|namespaces|clusterresources|sshmode|sslmode"
    r"|ip|ips|cidr|subnet|addr|dns|fqdn|period|interval|duration|ttl|reconciles|replicas|id|class|handle|size|kind|cluster|zone|group|org|organization"
    r"|number|phone|tz|timezone|locale|lang|language|currency|title|description|comment|label|channel|topic|queue|index)$",
    re.IGNORECASE,
)
_SECRET = re.compile(
    r"(?<!by)(?<!com)pass(?!ive|through|port|eng|age|ing)|pwd|secret|token(?!i[sz])|api[-_.]?key|private|credential|webhook"
    r"|\bkey\b|[-_.]key|encryption|cookie|salt|seed(?!box)|dsn|[-_.]pw$",
    re.IGNORECASE,
)
# The last word of keys that say something about a secret: PASSWORD_SECRET_NAME, TOKEN_LIFETIME.
_NAMES = re.compile(
    r"[-_.](name|file|filename|path|dir|ref|prefix|suffix|namespace|environment|issuer|domain|scopes?|audience|aud|region"
    r"|user|username|email)$",
    re.IGNORECASE,
)
_ABOUT = re.compile(
    r"[-_.](type|header|length|len|size|lifetime|expir\w*|ttl|timeout|policy|algorithm|algo|alg|method|format|mode|level"
    r"|count|interval|version|field|attribute|parameter|required|strategy|rotation|duration|period|days?|hours?|minutes?"
    r"|seconds?|max|min|limit|nodes?|network|subnets?|cidrs?|ips?|hosts?|hostname|servers?|endpoint|addr|address|gateway"
    r"|bind|port|ms|millis|secs)$",
    re.IGNORECASE,
)
# Keys of what everybody may know.
_PUBLIC = re.compile(r"(^|[-_.])(public|publishable|pub|site)[-_.]?key|pubkey|fingerprint|\.pub$", re.IGNORECASE)
# Where one word of a key ends and the next begins: fsName.
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# A word of its own, not a part of the name of a product: AUTHELIA_HOST.
_AUTH = re.compile(r"auth(?![a-z])", re.IGNORECASE)
_SWITCH = re.compile(r"true|false|yes|no|on|off|enabled?|disabled?", re.IGNORECASE)
_LITERAL = re.compile(rf"^({_SWITCH.pattern}|-?\d{{1,5}}(\.\d+)?)$", re.IGNORECASE)
_PUBLIC_PEM = re.compile(
    r"-----BEGIN (CERTIFICATE|PUBLIC KEY|TRUSTED CERTIFICATE|PGP PUBLIC KEY BLOCK)-----|^ssh-\w+ AAAA"
)
_PRIVATE_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----([^-]*)")
_KEY_MATERIAL = re.compile(r"[A-Za-z0-9+/=]{16}")
_URL = re.compile(r"^([a-z][a-z0-9+.-]*:)+//\S+$")
# What nobody would guard: words, addresses, measures, versions, times.
_WORDS = re.compile(r"(?=.{1,80}$)[A-Za-z]{1,20}([-_ ./,:;]{1,2}[A-Za-z]{1,20})*[.,]?")
_MEASURES = re.compile(
    r"(\d{1,3}\.){3}\d{1,3}(/\d{1,2})?(:\d+)?|:\d{2,5}|[\w.-]+@[\w-]+(\.[\w-]+)+|v?\d+(\.\d+)+([-+.]\w+)*"
    r"|\d+(\.\d+)?\s?(ms|s|sec|m|min|h|d|w|y|m|[KMGT]i?B?|%)|\+\d[\d ()-]{5,}|\d{4}-\d\d-\d\d([T ][\d:.Z+-]+)?"
    r"|[*\d/,-]+( [*\d/,A-Z-]+){4}|([a-z0-9-]+\.)+[a-z]{2,24}(:\d+)?|[a-z0-9-]+:\d{2,5}|\w+=[^,=]+(,\s*\w+=[^,=]+)+",
    re.IGNORECASE,
)
# hmac-sha512, AES-256-GCM, RS256
_ALGORITHM = re.compile(
    r"(hmac[-_.]?)?((sha|md|aes|rsa|ecdsa|ed|[rehp]s|xchacha|chacha)[-_]?\d{1,4}([-_](\d{3}|[a-z]{2,8}\d{0,4}))*)",
    re.IGNORECASE,
)
# A file of settings, also with one line.
_PROPERTIES = re.compile(r"\.(properties|ini|conf|cfg|toml)$", re.IGNORECASE)
# Where something is asked for: TOKEN_URL, OIDC_TOKEN_ENDPOINT. Who knows the address of a webhook may use it.
_ADDRESS_KEY = re.compile(r"^(?!.*webhook).*[-_.](url|uri|endpoint)$", re.IGNORECASE)
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://[^\s?#@]+")
# A part of a path that is long and has digits can be a credential itself.
_LONG_PART = re.compile(r"/(?=[^/]*\d)[^/]{20,}")
# Under a key that says nothing, this many letters are the name of something: s3, v2, eu1.
_TOO_SHORT = 3
# Letters and digits without an order, long enough to be made by a machine.
_RANDOM = re.compile(r"(?=.*\d)(?=.*[A-Za-z])[A-Za-z0-9+/=_-]{16,}")
# A file by its whole path with an extension, or an image with its registry. Base64 has no dots.
_PATH = re.compile(r"^(/[\w-]+)+(\.[A-Za-z0-9]{1,6})+$|^([a-z0-9-]+\.)+[a-z]{2,6}(:\d+)?(/\S+)+$")
# How PNG, JPEG, GIF, WebP and SVG begin in base64.
_IMAGE = re.compile(r"(data:image/[\w.+-]+;base64,)?(iVBORw0KGgo|/9j/[24]|R0lGOD|UklGR|PHN2Z)[A-Za-z0-9+/=\s]{40,}")
# A file in a folder of the system, from which something reads what it needs.
_FILE = re.compile(r"/(var|etc|run|opt|mnt|tmp|home|usr|vault|secrets?|config|data|app|certs?|keys?|root)(/[\w.-]+)+")
_ASSIGNED = re.compile(
    r"(pass(word|wd|phrase)?|secret|token|(api|private|access|secret|encryption|signing|account|license)[-_]?key"
    r"|secret[-_]access[-_]key|credentials?)[\"']?\s*[:=]\s*[\"']?(?!\s*$)\S",
    re.IGNORECASE,
)
# existingSecret: names the Secret that has the value.
_NAMES_ANOTHER = re.compile(r"(existing|external|by|com)[\w-]*$", re.IGNORECASE)
# secret: shop-tls
_OBJECT_NAME = re.compile(r"[a-z0-9-]+-(tls|certs?|secrets?|credentials|creds|token|keys?)")
# "credentials": {   password: |
_OPENS = re.compile(r"[{\[(]+|[|>][-+]?\d?|&\w+")
_COMMENT = re.compile(r"\s#.*$")
# Where a file of settings takes a value from, instead of having it: !secret of Home Assistant, the environment.
_IN_CODE = re.compile(
    r"!\w+\s|os\.(environ|getenv)\b|process\.env\b|(System\.)?getenv\(|env\(|ENV\[|\$[({A-Za-z_]|\$\d\b(?![\w$])"
    r"|[A-Za-z_][\w.]*[(\[]"
)


def texts(resource: Resource) -> Iterator[tuple[str, str]]:
    """(key, text) of each value of a Secret that is not empty; base64 is taken apart."""
    for field in ("data", "stringData"):
        for path, value in walk(resource.get(field)):
            if not path or not isinstance(value, str) or not value:
                continue
            yield str(path[0]), (decoded(value) if field == "data" else value)


def is_secret(key: str, text: str) -> bool:
    """Whether a value is a secret itself, or could be."""
    bare = text.strip()
    if key in PUBLIC_KEYS or not bare or stands_for_another(text):
        return False
    if _has_private_key(text) or any(not stands_for_another(user[1]) for user in USER_INFO.finditer(text)):
        return True
    if _PUBLIC_PEM.search(text) or _PRIVATE_PEM.search(text):
        return False
    if key in (".dockerconfigjson", ".dockercfg"):
        return _logs_in(bare)
    if "\n" in bare or bare[:1] in ("{", "[") or _PROPERTIES.search(key):
        # A file, or JSON: it holds a secret where something in it is called one, and given a value.
        return any(_assigns(line) for line in text.splitlines())
    if _SWITCH.fullmatch(bare) or _FILE.fullmatch(bare) or _IMAGE.fullmatch(bare):
        return False
    words = _HUMP.sub("_", key)
    if _PUBLIC.search(words):
        return False
    if _ADDRESS_KEY.match(words) and _ADDRESS.fullmatch(bare) and not _LONG_PART.search(bare, 8):
        return False
    if not _SECRET.search(words) and _LITERAL.match(bare):
        return False
    if _SECRET.search(words) or (_AUTH.search(words) and not _PLAIN.search(words)):
        if _NAMES.search(words) and not _RANDOM.fullmatch(bare):
            return False
        if _ABOUT.search(words) and _is_plain_data(bare):
            return False
        return not _LITERAL.match(bare) or len(bare) > 3
    return not (_PLAIN.search(words) or _is_plain_data(bare) or len(bare) <= _TOO_SHORT)


def _is_plain_data(text: str) -> bool:
    """Whether a text is evidently words, an address, or a measure."""
    return any(pattern.match(text) for pattern in (_LITERAL, _URL, _PATH)) or any(
        pattern.fullmatch(text) for pattern in (_WORDS, _MEASURES, _ALGORITHM)
    )


def _has_private_key(text: str) -> bool:
    """Whether there is a private key, and not three dots or a remark in its place."""
    return "AGE-SECRET-KEY-" in text or any(_KEY_MATERIAL.search(found[2]) for found in _PRIVATE_PEM.finditer(text))


def _logs_in(text: str) -> bool:
    """Whether the settings of a registry have a password, and not a placeholder for one."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return True
    registries = mapping(mapping(content).get("auths") or content)
    for registry in registries.values():
        given = mapping(registry)
        user, _, password = decoded(str(given.get("auth") or "")).partition(":")
        found = [str(given.get("password") or ""), password or ("" if given.get("password") else user)]
        if any(each.strip() and not stands_for_another(each) for each in found):
            return True
    return False


def _assigns(line: str) -> bool:
    found = _ASSIGNED.search(line)
    if found is None or line.lstrip().startswith(("#", "//", ";")):
        return False
    if _NAMES_ANOTHER.search(line[: found.start(1)]):
        return False
    value = _COMMENT.sub("", line[found.end() - 1 :]).strip(" \"',")
    if (
        not value
        or _OPENS.fullmatch(value)
        or value in ("{}", "[]", "~")
        or _SWITCH.fullmatch(value)
        or _IN_CODE.match(value)
    ):
        return False
    if _FILE.fullmatch(value) or (found[1].lower() in ("secret", "credentials") and _OBJECT_NAME.fullmatch(value)):
        return False
    return not stands_for_another(value)
