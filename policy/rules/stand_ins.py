"""Texts that stand for a value and are none: references, template text, placeholders, what another tool encrypted."""

from __future__ import annotations

import base64
import binascii
import re

# What begins with one of these is ciphertext, or the file of a tool that encrypts. git-crypt writes binary files, which
# `data` holds in base64: AEdJVENSWVBU is how their header begins there.
_CIPHERTEXT = re.compile(
    r"\s*(#\s*)?(ENC\[|ENC\(|\{cipher\}|\$ANSIBLE_VAULT;|STRONGBOX ENCRYPTED|age-encryption\.org/|vault:v\d+:|"
    r"AEdJVENSWVBU|\?\{\w+:"
    r"|-----BEGIN (AGE ENCRYPTED FILE|PGP MESSAGE)-----|\$kubesec)"
)
# A variable, template text, or a reference to a store.
_REFERENCE = re.compile(
    r"^\s*(\$\{|\$\(|\$[A-Za-z_]\w*\s*$|\$__|\{\{|\[\[|\(@|\{%|#\{|%\(|<<|\{env[.:]|@@\w+@@|__[A-Z0-9_]+__\s*$|%\w+%\s*$"
    r"|op://|ref\+|vault:|secretref\+|awssm:|gcp:|env:|file:|ssm:|arn:aws[\w-]*:|projects/[^/\s]+/secrets/"
    r"|@Microsoft\.KeyVault\(|<[^<>\n]+>\s*$)"
)
# A scheme of its own, of a tool that fills the value in: secret://, bao://, aws-secrets-manager://.
_SCHEME = re.compile(
    r"\s*[a-z0-9+.-]*(secret|vault|bao|infisical|doppler|bws|bitwarden|1password|keeper|akv|azkv|awssm|gcpsm|akeyless"
    r"|conjur|keychain|env|sops|kms|parameter-?store|ssm)[a-z0-9+.-]*://",
    re.IGNORECASE,
)
# The same in the middle of a text of one line.
_INSIDE = re.compile(
    r"\$\{[A-Za-z_]|\{\{|\(@|\$\([A-Z_]+\)|\$[A-Z][A-Z0-9_]{2,}\b|<[A-Za-z][\w .-]*>|%\([\w.]+\)s|@@\w+@@"
)
_AVP = re.compile(r"<path:[^>]+>|^<[\w .-]+>$")
_PLACEHOLDER = re.compile(
    r"^[\W_]*(place-?_?holder|change[-_ ]?(me|it|this)?|replace[-_ ]?(me|this|with\w*)?|todo|fixme|tbd|dummy|fake|none"
    r"|null|nil|undefined|n/?a|example|sample|test|mock|redacted|x{3,}|\*{3,}|my[-_ ](secret|password|token).*"
    r"|insert[-_ ].*|unused|empty|override[-_ ]?me|set[-_ ]?me|fill[-_ ]?(me|in).*|to[-_ ]be[-_ ].*"
    r"|not[-_ ](used|set|needed))[\W_]*$",
    re.IGNORECASE,
)
# What gives a placeholder away wherever it is: CHANGEME_postgres_1, sk_test_your-key, change-me-before-deploy.
_GIVEAWAY = re.compile(
    r"(?<![a-z])(change[-_ ]?(me|it|this)|replace[-_ ]?(me|this|with)|your|mock|dummy|redacted|fixme"
    r"|todo|auto[-_]?replace|fill[-_ ]?in|not[-_ ]real|to[-_ ]be[-_ ](set|replaced|filled|defined|generated|provided))"
    r"(?![a-z])|place[-_ ]?holder|x{6,}|\*{3,}|\.{3}$|…$",
    re.IGNORECASE,
)
_GIVEAWAY_CASED = re.compile(r"Change(Me|It|This)(?![a-z])|Replace(Me|This|With)(?![a-z])|Your[A-Z]|EXAMPLE(KEY)?$")
# An instruction: generate-a-long-random-token, put your key here.
_INSTRUCTION = re.compile(
    r"(generate|create|put|enter|use|get|paste|add|provide|insert|obtain|see|replace|change|copy|must|should)"
    r"([-_ ][A-Za-z']+){2,}[.!]?|openssl[-_ ]rand\b.*",
    re.IGNORECASE,
)
# A name in capitals that asks to be replaced: AUTOREPLACE_DB_PASSWORD, REPLACE_ME_TOKEN.
_TO_REPLACE = re.compile(r"(?=[A-Z0-9_]*(REPLACE|PLACEHOLDER|CHANGE_?ME))[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")
# The name of a thing where the thing would be: PASSWORD, DB_PASSWORD.
_NAME_OF_A_THING = re.compile(r"[A-Z]*(SECRET|PASSWORD|PASSWD|TOKEN|APIKEY|USERNAME|VALUE)|[A-Z]+(_[A-Z]+)+(_\d{1,2})?")
# Words that say what would be in their place, with a number that nobody has to remember: demo-api-key-12345.
_WORDS_FOR_A_VALUE = re.compile(
    r"(?=.*(?<![a-z])(secret|password|passwd|token|key|credentials?)(?![a-z]))[a-z]+([-_ ][a-z]+)+"
    r"([-_ ]?0*1(23(4(56?)?)?)?)?",
    re.IGNORECASE,
)
# A host that nobody has (RFC 2606), with what may be around it and says no more: storage.example.com.
_EXAMPLE_HOST = re.compile(
    r"([a-z][a-z0-9+.-]*://|[\w.+-]+@)?([\w-]+\.)*(example(\.(com|net|org))?|invalid)(:\d+)?/?", re.IGNORECASE
)
# Where a value would be and a person saw that none is needed: -, ..., ~
_NOTHING = re.compile(r"-{1,3}|\.{1,3}|~|_{1,3}|\?{1,3}")
# The password of a URL.
USER_INFO = re.compile(r"://[^/\s:@]*:([^/\s@]+)@")


def decoded(value: str) -> str:
    """The text behind base64; the value itself where it is none, or no text."""
    try:
        return base64.b64decode(value, validate=True).decode()
    except (binascii.Error, ValueError):
        return value


def is_sops_file(text: str) -> bool:
    """Whether a value is a whole file that sops encrypted, put into a Secret by a generator."""
    return "ENC[AES256_GCM," in text and "sops" in text


def stands_for_another(text: str) -> bool:
    """Whether a text is a reference, a placeholder or ciphertext: something else gives the value."""
    bare = text.strip()
    if is_sops_file(text) or _CIPHERTEXT.match(bare):
        return True
    if "\n" in bare or bare[:1] in ("{", "["):
        # Of a file each line is judged by itself.
        return bool(_REFERENCE.match(bare) or _AVP.search(bare))
    user = USER_INFO.search(bare)
    if user is not None and user[1] != bare:
        # Of an address with a password, the password is what counts.
        return stands_for_another(user[1])
    if _REFERENCE.match(bare) or _SCHEME.match(bare) or _INSIDE.search(bare) or _AVP.search(bare):
        return True
    if _is_placeholder(bare):
        return True
    # Some formats are base64 of base64.
    inner = decoded(bare).strip()
    return inner != bare and "\n" not in inner and _is_placeholder(inner)


def is_placeholder(text: str) -> bool:
    """Whether a text asks to be replaced by hand: changeme, <key>."""
    bare = text.strip()
    return _is_placeholder(bare) or _AVP.fullmatch(bare) is not None


def names_itself(text: str) -> bool:
    """Whether a text is words for what would be in its place: a stand-in where nothing applies it, else a password."""
    return _WORDS_FOR_A_VALUE.fullmatch(text.strip()) is not None


def _is_placeholder(bare: str) -> bool:
    whole = (_PLACEHOLDER, _INSTRUCTION, _TO_REPLACE, _NAME_OF_A_THING, _EXAMPLE_HOST, _NOTHING)
    if any(pattern.fullmatch(bare) for pattern in whole) or _GIVEAWAY.search(bare) or _GIVEAWAY_CASED.search(bare):
        return True
    # 00000000-0000-0000-0000-000000000000
    characters = [character for character in bare if character.isalnum()]
    return len(characters) >= 8 and len(set(characters)) == 1
