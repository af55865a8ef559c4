"""Files of the user's: what is read, and that each mistake is named with its line."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoaudit.errors import DataMissing, RequestError, UnknownName
from geoaudit.prompts.files import load_file


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def texts(prompts):
    return sorted(one.text for one in prompts.prompts)


def test_the_three_formats_hold_the_same_set(write):
    wanted = ["How do I bake bread?", 'Say "hello", twice', "Wie spät ist es?"]
    csv = write("a.csv", 'n,prompt\n1,How do I bake bread?\n2,"Say ""hello"", twice"\n3,Wie spät ist es?\n')
    jsonl = write("a.jsonl", "\n".join(json.dumps({"prompt": one}) for one in wanted))
    txt = write("a.txt", "\n".join(wanted))
    sets = [load_file(path, label="harmless") for path in (csv, jsonl, txt)]
    assert [texts(one) for one in sets] == [sorted(wanted)] * 3
    assert len({one.sha256 for one in sets}) == 1, "ids, order, labels and categories are equal too"
    assert [one.name for one in sets] == ["a.csv", "a.jsonl", "a.txt"]
    assert all(one.label == "harmless" for one in sets[0].prompts)


def test_ids_are_hashes_of_the_content(write):
    prompts = load_file(write("a.txt", "one\ntwo\n"), label="harmful").prompts
    assert {one.id for one in prompts} == {hashlib.sha256(one.encode()).hexdigest()[:12] for one in ("one", "two")}


def test_moving_rows_changes_nothing(write):
    lines = [f"prompt number {i}" for i in range(20)]
    forward = load_file(write("a.txt", "\n".join(lines)), label="harmful")
    backward = load_file(write("b.txt", "\n".join(reversed(lines))), label="harmful")
    assert forward.prompts == backward.prompts
    assert [one.text for one in forward.prompts] != lines


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "txt"])
def test_byte_order_mark_and_line_ends_do_not_matter(write, suffix):
    lines = {"csv": "prompt\nfirst\nsecond\n", "jsonl": '{"prompt": "first"}\n{"prompt": "second"}\n'}
    plain = lines.get(suffix, "first\nsecond\n")
    odd = b"\xef\xbb\xbf" + plain.replace("\n", "\r\n").encode()
    assert load_file(write(f"odd.{suffix}", odd), label="harmful").prompts == (
        load_file(write(f"plain.{suffix}", plain), label="harmful").prompts
    )


def test_columns_and_categories(write):
    csv = write("a.csv", "frage,art\nx,one\ny,two\n")
    prompts = load_file(csv, text_column="frage", category_column="art", label="harmful").prompts
    assert {one.text: one.category for one in prompts} == {"x": "one", "y": "two"}
    jsonl = write("a.jsonl", '{"frage": "x", "art": "one"}\n{"frage": "y", "art": "two"}\n')
    assert load_file(jsonl, text_column="frage", category_column="art", label="harmful").prompts == prompts
    assert {one.category for one in load_file(csv, text_column="frage", label="harmful").prompts} == {"uncategorised"}


def test_a_cell_with_line_breaks_is_taken_exactly_and_lines_are_counted_on(write):
    path = write("a.csv", 'prompt\n" two\r\nlines "\n\nlast\n')
    assert texts(load_file(path, label="harmful")) == [" two\r\nlines ", "last"]
    bad = write("b.csv", 'prompt\n"two\nlines"\n\n" "\n')
    with pytest.raises(RequestError, match=r"b\.csv:5: the prompt is empty"):
        load_file(bad, label="harmful")


def test_separators_that_json_allows_in_text_do_not_end_a_row(write):
    path = write("a.jsonl", '{"prompt": "a\u2028b\u0085c"}\n\n')
    assert texts(load_file(path, label="harmful")) == ["a\u2028b\u0085c"]


MISTAKES = {
    "empty file": ("a.csv", "", UnknownName, "a.csv:1: column 'prompt' does not exist; columns: none"),
    "header only": ("a.csv", "prompt\n", RequestError, "a.csv: no prompts"),
    "no lines": ("a.txt", "\n \n", RequestError, "a.txt: no prompts"),
    "no objects": ("a.jsonl", "\n", RequestError, "a.jsonl: no prompts"),
    "other column": ("a.csv", "promt\nx\n", UnknownName, "did you mean 'promt'.*columns: promt"),
    "column twice": ("a.csv", "prompt,prompt\nx,y\n", UnknownName, "a.csv:1: column 'prompt' is there twice"),
    "too many cells": ("a.csv", "prompt\nhello, you\n", RequestError, "a.csv:2: 2 cells where the header has 1"),
    "too few cells": ("a.csv", "prompt,b\nx,1\ny\n", RequestError, "a.csv:3: 1 cells where the header has 2"),
    "open quote": ("a.csv", 'prompt\nx\n"y\nz\n', RequestError, "a.csv:3: not CSV"),
    "quote inside": ("a.csv", 'prompt\n"a" b\n', RequestError, "a.csv:2: not CSV"),
    "empty cell": ("a.csv", "n,prompt\n1,x\n2,\n", RequestError, "a.csv:3: the prompt is empty"),
    "twice": ("a.csv", "prompt\nx\ny\nx\n", RequestError, "a.csv:4: this prompt is already on line 2"),
    "twice in text": ("a.txt", "x\n\n x \n", RequestError, "a.txt:3: this prompt is already on line 1"),
    "broken json": ("a.jsonl", '{"prompt": "x"}\n{"prompt": }\n', RequestError, "a.jsonl:2:12: not JSON"),
    "json list": ("a.jsonl", '["x"]\n', RequestError, "a.jsonl:1: each line must be a JSON object, got list"),
    "json key": ("a.jsonl", '{"promt": "x"}\n', UnknownName, "a.jsonl:1: no key 'prompt'.*did you mean 'promt'"),
    "json number": ("a.jsonl", '{"prompt": 3}\n', RequestError, "a.jsonl:1: 'prompt' must be text, got int"),
    "json empty": ("a.jsonl", '{"prompt": " "}\n', RequestError, "a.jsonl:1: the prompt is empty"),
    "half a character": ("a.jsonl", '{"prompt": "\\ud83d"}\n', RequestError, "a.jsonl:1: .* surrogate"),
    "other encoding": ("a.csv", "prompt\nx\nspät\n".encode("latin-1"), RequestError, "a.csv:3: not UTF-8"),
    "other suffix": ("a.xlsx", "x", RequestError, "suffix '.xlsx'; use .csv, .jsonl or .txt"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_named_with_its_line(write, case):
    name, content, kind, message = MISTAKES[case]
    with pytest.raises(kind, match=message):
        load_file(write(name, content), label="harmful")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "prompt,kind\nx,a\ny,\n", r"a\.csv:3: the category in 'kind'"),
        ("a.csv", "prompt,kinds\nx,a\n", r"column 'kind' does not exist \(did you mean 'kinds'\?\)"),
        ("a.jsonl", '{"prompt": "x", "kind": "a"}\n{"prompt": "y"}\n', r"a\.jsonl:2: no key 'kind'"),
        ("a.jsonl", '{"prompt": "x", "kind": 7}\n', r"a\.jsonl:1: the category in 'kind' .* got 7"),
        ("a.txt", "x\n", "a text file has no column 'kind'"),
    ],
)
def test_a_category_that_was_asked_for_must_be_there(write, name, content, message):
    with pytest.raises(RequestError, match=message):
        load_file(write(name, content), label="harmful", category_column="kind")


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(DataMissing, match="no such prompt file"):
        load_file(tmp_path / "none.csv", label="harmful")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataMissing, match="cannot read"):
        load_file(tmp_path / "folder.csv", label="harmful")


def test_a_wrong_label_is_refused(write):
    with pytest.raises(RequestError, match="got 'bad'"):
        load_file(write("a.txt", "x"), label="bad")


@given(st.lists(st.text(min_size=1, alphabet=st.characters(codec="utf-8")).filter(str.strip), min_size=1, unique=True))
def test_any_text_survives_json_lines(tmp_path_factory, wanted):
    path = tmp_path_factory.mktemp("any") / "a.jsonl"
    path.write_text("\n".join(json.dumps({"prompt": one}, ensure_ascii=False) for one in wanted), encoding="utf-8")
    assert texts(load_file(path, label="harmless")) == sorted(wanted)
