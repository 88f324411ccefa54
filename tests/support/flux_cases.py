"""Folders of encrypted files as people write them, right and wrong: to compare what is read with what Flux does.

Every folder comes from its number, so that a failure can be had again.
"""

from __future__ import annotations

import base64
import json
import random
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import yaml

from secret_authority.clients.sops import sops_program

NAMESPACE = "bootstrap-data"
_TEXTS = (
    "text",
    "yes",
    "012",
    "2026-01-01",
    "null",
    "a: b",
    "---",
    "",
    "grüße\n",
    " lead",
    "x\r\ny",
    "$HOME ${A}",
    "\u2028",
)


@dataclass(frozen=True)
class Folder:
    """A generated folder: its files by path, and what was done to it."""

    number: int
    files: dict[str, bytes] = field(repr=False)
    made: str


@dataclass
class Maker:
    """Makes folders for these age recipients."""

    recipients: Sequence[str]

    def encrypt(self, text: str, kind: str = "yaml") -> str:
        to = ["--age", ",".join(self.recipients), "--encrypted-regex", "^(data|stringData)$"]
        types = ["--input-type", kind, "--output-type", kind, "--filename-override", f"x.{kind}"]
        done = subprocess.run(
            [sops_program(), "encrypt", *to, *types, "/dev/stdin"],
            input=text.encode(),
            capture_output=True,
            check=True,
            env={"HOME": "/nonexistent"},
        )
        return done.stdout.decode()

    def encrypt_whole(self, content: str | bytes, kind: str, *options: str) -> str:
        """A file for a generator: all of it is encrypted, where no option says otherwise."""
        types = ["--input-type", kind, "--output-type", kind, "--filename-override", "x"]
        done = subprocess.run(
            [sops_program(), "encrypt", "--age", ",".join(self.recipients), *types, *options, "/dev/stdin"],
            input=content if isinstance(content, bytes) else content.encode(),
            capture_output=True,
            check=True,
            env={"HOME": "/nonexistent"},
        )
        return done.stdout.decode()

    def folder(self, number: int) -> Folder:
        random_ = random.Random(number)  # noqa: S311
        change, name = CHANGES[number % len(CHANGES)]
        count = random_.choice((1, 1, 2, 3))
        texts = [_manifest(random_, f"case-{number}-{index}") for index in range(count)]
        together = ["---\n".join(texts)] if random_.random() < 0.5 else texts
        files = change(self, random_, texts, _Encrypted(self, together))
        return Folder(number, {path: text.encode() for path, text in files.items()}, f"{name}, {count} documents")


class _Encrypted(Mapping[str, str]):
    """secrets.yaml, encrypted when it is asked for: many changes make files of their own."""

    def __init__(self, maker: Maker, texts: Sequence[str]) -> None:
        self._maker, self._texts = maker, texts

    def __getitem__(self, key: str) -> str:
        if key != "secrets.yaml":
            raise KeyError(key)
        return "---\n".join(self._maker.encrypt(text) for text in self._texts)

    def __iter__(self) -> Iterator[str]:
        return iter(("secrets.yaml",))

    def __len__(self) -> int:
        return 1


def _value(random_: random.Random) -> bytes:
    kind = random_.randrange(3)
    if kind == 0:
        return random_.choice(_TEXTS).encode()
    if kind == 1:
        return random_.randbytes(random_.randrange(200))
    return "".join(chr(random_.choice((9, 10, 13, *range(32, 127), 228, 8364, 128512))) for _ in range(30)).encode()


def _is_text(value: bytes) -> bool:
    try:
        return all(c.isprintable() or c in "\n\r\t" for c in value.decode())
    except UnicodeDecodeError:
        return False


def _manifest(random_: random.Random, name: str) -> str:
    document: dict[str, object] = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": NAMESPACE},
    }
    if random_.random() < 0.3:
        document["type"] = random_.choice(("Opaque", "example.com/kind"))
    if random_.random() < 0.2:
        document["metadata"]["labels"] = {"app": "a"}  # type: ignore[index]
    for index in range(random_.randrange(1, 4)):
        value = _value(random_)
        if _is_text(value) and random_.random() < 0.5:
            document.setdefault("stringData", {})[f"key-{index}"] = value.decode()  # type: ignore[index]
        else:
            document.setdefault("data", {})[f"key-{index}"] = base64.b64encode(value).decode()  # type: ignore[index]
    if random_.random() < 0.3:
        return json.dumps(document, ensure_ascii=False) + "\n"
    return "# a comment\n" + yaml.safe_dump(document, sort_keys=random_.random() < 0.5, allow_unicode=True)


Files = Mapping[str, str]
Change = Callable[[Maker, random.Random, list[str], Files], Files]


def _as(path: str) -> Change:
    return lambda _m, _r, _t, files: {path: files["secrets.yaml"]}


def _plain(change: Callable[[str], str]) -> Change:
    """Change the first manifest before it is encrypted."""
    return lambda maker, _r, texts, _f: {"secrets.yaml": maker.encrypt(change(texts[0]))}


def _after(change: Callable[[str], str]) -> Change:
    """Change the encrypted file."""
    return lambda _m, _r, _t, files: {"secrets.yaml": change(files["secrets.yaml"])}


def _add(text: str) -> Callable[[str], str]:
    def change(manifest: str) -> str:
        document = yaml.safe_load(manifest)
        extra = yaml.safe_load(text)
        for key, value in extra.items():
            if isinstance(value, dict) and isinstance(document.get(key), dict):
                document[key].update(value)
            else:
                document[key] = value
        return yaml.safe_dump(document)

    return change


def _kustomized(text: str, where: str = "secrets.yaml") -> Change:
    return lambda _m, _r, _t, files: {where: files["secrets.yaml"], "kustomization.yaml": text}


def _beside(path: str, text: str) -> Change:
    return lambda _m, _r, _t, files: {**files, path: text}


def _list(maker: Maker, _r: random.Random, texts: list[str], _f: Files) -> Files:
    items = [yaml.safe_load(text) for text in texts]
    return {"list.yaml": maker.encrypt(yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": items}))}


def _as_json(maker: Maker, _r: random.Random, texts: list[str], _f: Files) -> Files:
    return {"a.json": maker.encrypt(json.dumps(yaml.safe_load(texts[0]), ensure_ascii=False), "json")}


def _listed_json(maker: Maker, random_: random.Random, texts: list[str], files: Files) -> Files:
    return {**_as_json(maker, random_, texts, files), "kustomization.yaml": "resources: [a.json]\n"}


_PLAIN_NAME = "options: {disableNameSuffixHash: true}"
_ENV = "A=b c\n# a note\n\nQUOTED=\"q\"\nEMPTY=\nODD= $HOME ${A} #x=y \\n 'z' \nU=grüße \u2028 😀\nlast-one.x=1"


def _generated(
    entry: str, make: Callable[[Maker, random.Random], Files], extra: str = "", where: str = "kustomization.yaml"
) -> Change:
    """A generator named g-NUMBER in place of the manifests. `entry` is what it says beside its name and namespace."""

    def change(maker: Maker, random_: random.Random, texts: list[str], _f: Files) -> Files:
        name = yaml.safe_load(texts[0])["metadata"]["name"]
        text = f"secretGenerator:\n- name: {name}\n  namespace: {NAMESPACE}\n"
        text += "".join(f"  {line}\n" for line in entry.splitlines()) + extra
        return {**make(maker, random_), where: text}

    return change


def _env(text: str = _ENV, *options: str) -> Callable[[Maker, random.Random], Files]:
    return lambda maker, _r: {"a.env": maker.encrypt_whole(text, "dotenv", *options)}


def _blob(name: str = "blob.bin", content: bytes | None = None) -> Callable[[Maker, random.Random], Files]:
    def make(maker: Maker, random_: random.Random) -> Files:
        return {name: maker.encrypt_whole(random_.randbytes(300) if content is None else content, "binary")}

    return make


def _json(text: str, after: Callable[[str], str] = str) -> Callable[[Maker, random.Random], Files]:
    return lambda maker, _r: {"a.json": after(maker.encrypt_whole(text, "json"))}


def _both(maker: Maker, random_: random.Random) -> Files:
    return {**_env()(maker, random_), **_blob()(maker, random_)}


_AUTHS = '{"auths": {"example.org": {"auth": "Z3LDvMOfZTpw", "email": "", "a": null, "b": ["<&>\\u2028", "\\/"]}}}'
_GENERATORS: tuple[tuple[Change, str], ...] = (
    (_generated(f"files: [blob.bin]\n{_PLAIN_NAME}", _blob()), "a binary file"),
    (_generated(f"files: [blob.bin]\n{_PLAIN_NAME}", _blob(content=b"")), "an empty file"),
    (_generated(f"files: [key.store=sub/blob]\n{_PLAIN_NAME}", _blob("sub/blob")), "a file under another key"),
    (_generated(f"files: [sub/blob]\n{_PLAIN_NAME}", _blob("sub/blob")), "a file of a folder"),
    (_generated(f"envs: [a.env]\n{_PLAIN_NAME}", _env()), "an env file"),
    (_generated(f"files: [a.env]\n{_PLAIN_NAME}", _env()), "an env file as a file"),
    (_generated(f"files: [blob.bin]\nenvs: [a.env]\n{_PLAIN_NAME}", _both), "a file and an env file"),
    (
        _generated(
            "envs: [a.env]\noptions: {labels: {a: b}}",
            _env(),
            "generatorOptions: {disableNameSuffixHash: true, annotations: {c: d}}\nnamePrefix: p-\nnameSuffix: -s\n",
        ),
        "options for all and a prefix",
    ),
    (
        _generated(
            f"files: [.dockerconfigjson=a.json]\ntype: kubernetes.io/dockerconfigjson\n{_PLAIN_NAME}", _json(_AUTHS)
        ),
        "a generated pull secret",
    ),
    (_generated("envs: [a.env]", _env()), "a name with a hash"),
    (_generated(f"envs: [a.env]\nliterals: [B=c]\n{_PLAIN_NAME}", _env()), "a literal"),
    (_generated(f"envs: [a.env]\n{_PLAIN_NAME}", _env("A=b\nC=d", "--encrypted-regex", "^A$")), "half encrypted"),
    (_generated(f"envs: [a.env]\n{_PLAIN_NAME}", lambda _m, _r: {"a.env": "A=b\n"}), "an env file in the clear"),
    (_generated(f"files: [blob.bin]\n{_PLAIN_NAME}", lambda _m, _r: {"blob.bin": "x"}), "a file in the clear"),
    (_generated(f"files: [a.json]\n{_PLAIN_NAME}", _json('{"a": 12345678901234567890}')), "a number in JSON"),
    (_generated(f"files: [a.json]\n{_PLAIN_NAME}", _blob("a.json")), "binary under a name of JSON"),
    (
        _generated(f"files: [a.json]\n{_PLAIN_NAME}", _json(_AUTHS, lambda t: json.dumps(json.loads(t)))),
        "JSON on one line",
    ),
    (
        _generated(
            f"files: [a.json]\n{_PLAIN_NAME}",
            _json(_AUTHS, lambda t: json.dumps(json.loads(t), separators=(",", ":"))),
        ),
        "JSON without spaces",
    ),
    (
        _generated(f"files: [a.yaml]\n{_PLAIN_NAME}", lambda m, _r: {"a.yaml": m.encrypt_whole("a: b\n", "yaml")}),
        "a YAML file for a generator",
    ),
    (_generated(f"files: [blob.bin]\n{_PLAIN_NAME}", _blob(content=b"[sops]\na=b\n")), "what looks like sops"),
    (_generated(f"files: [blob.bin]\nbehavior: merge\n{_PLAIN_NAME}", _blob()), "a merge"),
    (_generated(f"files: [A=blob.bin]\nenvs: [a.env]\n{_PLAIN_NAME}", _both), "a key in two files"),
    (_generated(f"files: [missing]\n{_PLAIN_NAME}", _blob()), "a file that is not there"),
    (_generated(f"files: [../blob.bin]\n{_PLAIN_NAME}", _blob()), "a file above"),
    (_generated(f"files: ['a b=blob.bin']\n{_PLAIN_NAME}", _blob()), "a bad key for a file"),
    (_generated(f"envs: [a.env]\n{_PLAIN_NAME}", _env("A b=c")), "a bad name in an env file"),
    (_generated(f"envs: [a.env]\n{_PLAIN_NAME}", _env("1A=c")), "an env name that begins with a digit"),
    (
        _generated(f"envs: [a.env]\n{_PLAIN_NAME}", lambda m, _r: {"a.env": m.encrypt_whole("A=b", "dotenv") + "B\n"}),
        "an env line without =",
    ),
    (_generated(f"envs: [a.env]\n{_PLAIN_NAME}", _env("A=" + "x" * 66_000)), "a long env line"),
    (_generated(f"envs: [a.env]\n{_PLAIN_NAME}", _env("A=" + "x" * 65_000)), "a rather long env line"),
)


def _whole(body: str, *options: str) -> Change:
    """A manifest that is all written out, encrypted with these options of sops in place of encrypted_regex."""

    def change(maker: Maker, _r: random.Random, texts: list[str], _f: Files) -> Files:
        name = yaml.safe_load(texts[0])["metadata"]["name"]
        text = f"apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\n{body}"
        return {"secrets.yaml": maker.encrypt_whole(text, "yaml", *options) if options else maker.encrypt(text)}

    return change


def _header(line: str) -> Change:
    return _after(lambda text: text.replace("\nsops:\n", f"\nsops:\n    {line}\n"))


def _block(change: Callable[[str], str]) -> Change:
    return _after(lambda text: text.partition("\nsops:\n")[0] + "\nsops:\n" + change(text.partition("\nsops:\n")[2]))


_LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12345\n"
_APPLIED = '{annotations: {kubectl.kubernetes.io/last-applied-configuration: \'{"stringData":{"a":"clear"}}\'}}'
_ODD: tuple[tuple[Change, str], ...] = (
    (_whole("stringData: {}\n"), "no values"),
    (_whole("type: Opaque\n"), "no fields for values"),
    (_whole("data:\nstringData: {a: b}\n"), "null for data"),
    (_whole("stringData: {on: a, 'yes': b}\n"), "keys of YAML 1.1"),
    (_whole("stringData: {'012': a, '2026-01-01': b, 'null': c, '1.5': d, 'on': e}\n"), "such keys in quotes"),
    (_whole("stringData: {a: on, b: 0o17, c: '0x1f', d: 1_000}\n"), "scalars that only some read as numbers"),
    (_whole("stringData: {a: 2026-01-01}\n"), "a date as value"),
    (_whole("stringData: {a: 1:30}\n"), "a number of base 60"),
    (_whole("stringData: {a: .inf}\n"), "infinity"),
    (_whole("stringData: {a: é, b: e\u0301, c: \ufb01, d: ｐ}\n"), "composed and decomposed letters"),
    (_whole("stringData: {a: '" + "x" * 200_000 + "'}\n"), "a long line"),
    (_whole("stringData:\n  a: |+\n    ---\n    b: c\n\n\n"), "a separator in a value"),
    (_whole("stringData:\n  a: >-\n    b\n    c\n\n    d\n"), "a folded value"),
    (_whole("stringData: {a: '$(HOME) ${HOME} $HOME $$'}\n"), "what looks like a variable"),
    (_whole('stringData: {a: "\\x07\\ufeff\\ufffd\\u2029\\U0001F600"}\n'), "escapes"),
    (_whole("data: {a: 'QUJD IEFC'}\n"), "base64 with a space"),
    (_whole("data: {a: 'QUJD\tQUJD'}\n"), "base64 with a tab"),
    (_whole("data: {a: '-_-_'}\n"), "base64 of URLs"),
    (_whole("data: {a: 'QR=='}\n"), "base64 with stray bits"),
    (_whole("data: {a: ''}\n"), "an empty value"),
    (_whole("immutable: 'true'\nstringData: {a: b}\n"), "immutable as a text"),
    (_whole("type: kubernetes.io/service-account-token\nstringData: {a: b}\n"), "a token of a service account"),
    (_whole("type: bootstrap.kubernetes.io/token\nstringData: {a: b}\n"), "a bootstrap token"),
    (_whole("type: ''\nstringData: {a: b}\n"), "an empty type"),
    (_whole("stringData: {a: &x b, c: *x}\n"), "an alias for a value"),
    (_whole("stringData: &x {a: b}\ndata: {<<: {c: ZA==}}\n"), "a merge key"),
    (_plain(_add(f"metadata: {_APPLIED}")), "what kubectl applied last"),
    (_plain(_add("metadata: {generateName: a-}")), "a generated name"),
    (_plain(_add("metadata: {labels: {app: 'a b'}}")), "a bad value of a label"),
    (_plain(_add("metadata: {labels: {app: ''}}")), "an empty label"),
    (_plain(_add("metadata: {labels: {A.example/b: c}}")), "a bad prefix of a label"),
    (_plain(_add("metadata: {annotations: {A.example/B_c: ' x '}}")), "an annotation with capitals"),
    (_plain(_add("metadata: {annotations: {a b: c}}")), "a bad key of an annotation"),
    (_plain(_add('metadata: {annotations: {a: "b\\x85c"}}')), "a line end of Unicode in an annotation"),
    (_whole('stringData: {a: "\\x7f"}\n'), "a character that is no YAML"),
    (_whole('stringData: {a: "\\x85"}\n'), "a line end of Unicode in a value"),
    (_whole("data: {a: woU=}\n"), "a line end of Unicode in base64"),
    (_plain(_add("metadata: {finalizers: [example.com/a]}")), "a finalizer"),
    (_plain(_add("metadata: {name: Upper}")), "a name with capitals"),
    (_plain(_add('metadata: {name: "a\\n"}')), "a name with a line end"),
    (_plain(_add("metadata: {namespace: bootstrap.data}")), "a namespace with a dot"),
    (_after(lambda t: t.replace("kind: Secret", "kind: Secret\nkind: Secret", 1)), "a field twice"),
    (_after(lambda t: t.replace("kind: Secret", "kind: Secret # comment", 1)), "a comment that was added"),
    (_after(lambda t: t.replace("kind: Secret", "kind:   Secret", 1)), "more spaces"),
    (_after(lambda t: t.replace("kind: Secret", "kind: secret", 1)), "a kind in small letters"),
    (_after(lambda t: t.replace("\nkind: Secret", "\nkind: Secret\nextra: ENC", 1)), "a field that was added"),
    (_block(lambda t: t.replace("version: ", "version: 9", 1)), "a newer version"),
    (_block(lambda t: "".join(f"{line}\n" for line in t.splitlines() if "version:" not in line)), "no version"),
    (_block(lambda t: "".join(f"{line}\n" for line in t.splitlines() if "mac:" not in line)), "no MAC"),
    (_header("pgp: []"), "an empty list of other keys"),
    (_header("shamir_threshold: 2"), "a threshold"),
    (_header("unknown_field: true"), "an unknown field of sops"),
    (_header("mac_only_encrypted: true"), "a MAC of less"),
    (_whole("stringData: {a: b, c_clear: d}\n", "--unencrypted-suffix", "_clear"), "a suffix for clear values"),
    (_whole("stringData: {a_enc: b, c: d}\n", "--encrypted-suffix", "_enc"), "a suffix for encrypted values"),
    (_whole("stringData: {a: b}\n", "--encrypted-regex", "^(stringData|type)$"), "a part of it"),
    (_whole("stringData: {a: b}\n", "--encrypted-regex", "."), "everything encrypted"),
    (_beside("lfs.yaml", _LFS), "a pointer of Git LFS"),
    (_beside("lfs.bin", _LFS), "a pointer of Git LFS that is no YAML"),
    (_as("secrets.sops.yaml"), "a name with sops"),
    (_as("secrets.enc.yml"), "another ending"),
    (_as("dir.yaml/secrets.yaml"), "a folder with the ending of a file"),
    (_as("grüße und/a b.yaml"), "a name with spaces and letters"),
    (_beside("app.env", "A=b\n"), "an env file that nobody uses"),
    (_beside(".sourceignore", "secrets.yaml\n"), "an ignore file"),
    (_kustomized("resources: [secrets.yaml]\nkind: Component\n"), "a component"),
    (_kustomized("resources:\r\n- secrets.yaml\r\n"), "a kustomization with Windows lines"),
    (_kustomized("\ufeffresources: [secrets.yaml]\n"), "a kustomization with a byte order mark"),
    (_kustomized("resources: &a [secrets.yaml]\n"), "a kustomization with an anchor"),
    (_kustomized("resources: [./secrets.yaml]\n"), "a path with a dot"),
    (_kustomized("resources: [x/../secrets.yaml]\n"), "a path with two dots"),
    (_kustomized("namespace: Bad_Name\nresources: [secrets.yaml]\n"), "a bad namespace"),
    (_kustomized("resources: [secrets.yaml]\nimages: [{name: a, newTag: b}]\n"), "images"),
    (_kustomized("resources: [secrets.yaml]\nlabels: [{pairs: {a: b}}]\n"), "labels"),
    (_kustomized("resources: [secrets.yaml]\npatches: [{patch: '[{op: add, path: /a, value: b}]'}]\n"), "a patch"),
    (_kustomized("resources: [secrets.yaml]\nbuildMetadata: [originAnnotations]\n"), "build metadata"),
)


_HEAD = "apiVersion: v1\nkind: Secret\nmetadata: {name: clear, namespace: bootstrap-data}\n"
CHANGES: tuple[tuple[Change, str], ...] = (
    (_as("secrets.yaml"), "as it is"),
    (_as("secrets.yml"), ".yml"),
    (_as("a/b/secrets.yaml"), "in a folder"),
    (_as(".hidden/secrets.yaml"), "in a hidden folder"),
    (_as(".secrets.yaml"), "a hidden file"),
    (_as("secrets.YAML"), ".YAML"),
    (_as_json, ".json"),
    (_listed_json, ".json that is listed"),
    (_list, "a list"),
    (_after(lambda t: t.replace("\n", "\r\n")), "Windows lines"),
    (_after(lambda t: "---\n" + t + "---\n"), "separators around"),
    (_after(lambda t: "---\n# nothing\n---\n" + t), "an empty document"),
    (_after(lambda t: t + "...\n"), "an end mark"),
    (_after(lambda t: "\ufeff" + t), "a byte order mark"),
    (_after(lambda t: t.replace("kind: Secret", "kind: &a Secret", 1)), "an anchor"),
    (_after(lambda t: t.replace("kind: Secret", "kind: !!str Secret", 1)), "a tag"),
    (_after(lambda t: t.replace("kind: Secret", "kind: 'Secret'", 1)), "other quotes"),
    (_plain(_add("data: {bad: plain-text}")), "no base64"),
    (_plain(_add("data: {bad: 'QQ'}")), "base64 without padding"),
    (_plain(_add("data: {bad: 'QUJD\\nQUJD\\n'}")), "base64 with escapes"),
    (_plain(_add('data: {good: "QUJD\\nQUJD\\n"}')), "base64 with line ends"),
    (_plain(_add("data: {bad: 1234}")), "a number in data"),
    (_plain(_add("stringData: {bad: 7741908233}")), "a number in stringData"),
    (_plain(_add("stringData: {bad: true}")), "a boolean"),
    (_plain(_add("stringData: {bad: null}")), "a null"),
    (_plain(_add("stringData: {bad: [a]}")), "a list as value"),
    (_plain(_add("metadata: {name: a..b}")), "a bad name"),
    (_plain(_add("metadata: {name: 1}")), "a number as name"),
    (_plain(_add("metadata: {annotations: {kustomize.toolkit.fluxcd.io/reconcile: disabled}}")), "not reconciled"),
    (_plain(_add("metadata: {annotations: {kustomize.toolkit.fluxcd.io/decrypt: Disabled}}")), "not decrypted"),
    (_plain(_add("metadata: {annotations: {kustomize.toolkit.fluxcd.io/ssa: Ignore}}")), "ignored"),
    (_plain(_add("metadata: {annotations: {config.kubernetes.io/local-config: 'true'}}")), "local"),
    (_plain(_add("metadata: {labels: {a: 1}}")), "a number as label"),
    (_plain(_add("metadata: {creationTimestamp: null}")), "as kubectl writes it"),
    (_plain(_add("metadata: {uid: abc, resourceVersion: '7'}")), "from a cluster"),
    (_plain(_add("immutable: true")), "immutable"),
    (_plain(_add("type: kubernetes.io/tls")), "TLS without keys"),
    (_plain(_add("type: kubernetes.io/tls\nstringData: {tls.crt: a, tls.key: b}")), "TLS"),
    (_plain(_add("type: kubernetes.io/dockerconfigjson\nstringData: {.dockerconfigjson: '{'}")), "broken pull secret"),
    (_plain(_add("type: kubernetes.io/dockerconfigjson\nstringData: {.dockerconfigjson: '{\"auths\": {}}'}")), "pull"),
    (_plain(_add("spec: {}")), "an unknown field"),
    (_plain(_add("stringData: {'a b': x}")), "a bad key"),
    (_plain(_add("stringData: {..a: x}")), "a key with dots"),
    (_plain(_add("stringData: {.a: x, b..c: y}")), "good keys with dots"),
    (_plain(lambda t: t + "# last\n"), "a comment at the end"),
    (_kustomized("resources: [secrets.yaml]\nnamespace: bootstrap-edge\n"), "a namespace"),
    (_kustomized("resources: [secrets.yaml]\nnamePrefix: a-\nnameSuffix: -z\n"), "a prefix"),
    (_kustomized("resources: []\n"), "nothing listed"),
    (_kustomized("resources: [secrets.yaml, secrets.yaml]\n"), "listed twice"),
    (_kustomized("resources: [secrets.yaml]\nsecretGenerator: [{name: g, literals: [a=b]}]\n"), "a generator"),
    (_kustomized("resources: [secrets.yaml]\ncommonAnnotations: {a: b}\n"), "annotations"),
    (_kustomized("resources: [part]\n", "part/secrets.yaml"), "a folder without a kustomization"),
    (_beside("clear.yaml", _HEAD + "stringData: {a: b}\n"), "a clear Secret"),
    (_beside("map.yaml", _HEAD.replace("Secret", "ConfigMap") + "data: {a: b}\n"), "a ConfigMap"),
    (_beside("empty.yaml", "# nothing\n"), "an empty file"),
    (_beside("README.md", "# text\n"), "another file"),
    (_beside("values.yaml", "a: b\n"), "no object"),
    (_beside("broken.yaml", "a: [\n"), "no YAML"),
    *_GENERATORS,
    *_ODD,
)
