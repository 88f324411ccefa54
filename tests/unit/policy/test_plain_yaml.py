"""The quick reader of plain YAML never gives another result than libyaml, and reads what manifests are written in."""

from __future__ import annotations

import os

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policy.readers.git.files import plain_yaml
from policy.readers.git.files.manifests import parse_with_libyaml
from tests.support.policy.trees import corpus

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "300"))
PLAIN = {
    "a mapping": "apiVersion: v1\nkind: Secret\nmetadata:\n  name: a\n  namespace: b\n",
    "a sequence in the column of its key": "a:\n- b: 1\n  c: 2\n- d\ne: f\n",
    "an indented sequence": "a:\n  - b: 1\n    c:\n      - x\n  - d: {}\ne: f\n",
    "literal text": "a: |\n  one\n   two\n\n  three\nb: |-\n  x\n\nc: |+\n  y\n\n",
    "folded text": "a: >-\n  one\n  two\nb: >\n  three\n",
    "text in a sequence": "a:\n  - |\n    x\n  - k: |\n      y\n    l: z\n",
    "flow collections": "a: {b: c, d: [1, x y, 'q'], e: {}}\nf: []\ng: [{h: i}, {j: 'k'}]\n",
    "quoted scalars and keys": "'a': \"b # c\"\n\"d\": 'e: f'\n",
    "comments": "# one\na: b # two\n  # three\nc: # four\n  d: e\n",
    "scalars that are no text": "a: 1\nb: 0x1F\nc: 010\nd: 1.5e3\ne: yes\nf: ~\ng:\nh: 1_000\ni: -1\nj: 0b1\n",
    "text that looks like more": "a: http://x:80/y#z\nb: a{b}c\nc: x:y\nd: -flag\ne: a 'b' c\n",
    "several documents": "---\na: b\n---\n# none\n---\nc:\n  - d\n---\n",
    "a document without a line feed at its end": "a: b\nc:\n  - d",
    "a key that is given twice": "a: b\na: c\n",
}
OTHER = {
    "an anchor": "a: &x b\nc: *x\n",
    "a merge key": "<<: {a: b}\n",
    "a tag": "a: !!str 1\n",
    "a plain scalar over two lines": "a: b\n  c\n",
    "a quoted scalar over two lines": 'a: "b\n  c"\n',
    "an escape": 'a: "b\\n"\n',
    "a tab": "a:\tb\n",
    "a flow collection over two lines": "a: {b: c,\n  d: e}\n",
    "text with spaces before its first line": "a: |\n\n  b\n",
    "letters beyond ASCII": "a: é\n",
    "a directive": "%YAML 1.2\n---\na: b\n",
    "a complex key": "? a\n: b\n",
    "an item with nothing": "a:\n  -\n  - b\n",
    "a template": "a: {{ .Values.b }}\n",
    "no mapping": "- a\n- b\n",
    "wrong indentation": "a:\n    b: c\n  d: e\n",
    "a colon at the end of a scalar": "a: b:\n",
}


def by_libyaml(text: str) -> list[tuple[int, object]] | None:
    try:
        return [(document.line, document.content) for document in parse_with_libyaml(text, "x.yaml")]
    except (yaml.YAMLError, RecursionError):
        return None


def assert_same(text: str) -> None:
    found = plain_yaml.read(text)
    # repr, as 1 == True == 1.0.
    assert found is None or repr(found) == repr(by_libyaml(text)), text


@pytest.mark.parametrize("text", PLAIN.values(), ids=PLAIN)
def test_what_manifests_are_written_in_is_read(text: str) -> None:
    assert plain_yaml.read(text) is not None
    assert_same(text)


@pytest.mark.parametrize("text", OTHER.values(), ids=OTHER)
def test_the_rest_is_left_to_libyaml(text: str) -> None:
    assert plain_yaml.read(text) is None


def test_the_trees_of_the_corpus() -> None:
    files = [text for repository in corpus() for text in repository.files.values()]
    for text in files:
        assert_same(text)
    assert sum(plain_yaml.read(text) is not None for text in files) > len(files) / 2


indents = st.sampled_from(["", "", " ", "  ", "  ", "   ", "    ", "      "])
starts = st.sampled_from(["", "", "", "- ", "- ", "-  ", "- - ", "-", "? "])
keys = st.sampled_from(
    ["", "", "a: ", "b: ", "a:", "'c': ", '"d" : ', "e.f/g: ", "<<: ", "1: ", "a:b: ", "-x: ", "a b: ", "...: ", "$a: "]
)
scalars = ["", "x", "1", "-1", "- x", "--x", "'q'", '"q"', "'a''b'", '"a\\nb"', "{}", "[]", "{a: b}", "{a: b, }"]
scalars += ["[a, b]", "[a: b]", "{a, b}", "{a: }", '{"a":"b"}', "[[a], {b: [c]}]", "[a b , c]", "{a: b} # c", "[a]]"]
scalars += ["|", "|-", "|+", ">", ">-", ">+", "|2", "a # c", "a#c", "a:b", "a: b", "a:", "# c", "&a x", "*a", "!t x"]
scalars += ["---", "...", "%x", "@x", "`x`", "~", "yes", "0o7", "08", "1e3", ".5", "=", "<<", "x ", "a, b", "a ]", "?x"]
lines = st.tuples(indents, starts, keys, st.sampled_from(scalars), st.sampled_from(["", "", "", " ", " # c"])).map(
    "".join
)
texts = st.lists(lines, max_size=9).map("\n".join)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(texts, st.sampled_from(["", "\n"]))
def test_any_lines_are_read_as_libyaml_reads_them(text: str, end: str) -> None:
    assert_same(text + end)


plain = st.sampled_from(
    ["a: b", "- a: b", "- x", "a:", "- a:", "a: |", "- a: >-", "- |", "a: {b: c}", "text", "", "# c"]
)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(indents, plain).map("".join), max_size=12).map("\n".join), st.sampled_from(["", "\n"]))
def test_any_indentation_is_read_as_libyaml_reads_it(text: str, end: str) -> None:
    assert_same(text + end)
