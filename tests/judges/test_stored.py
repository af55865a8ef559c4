"""Labelling stored rows: all of them, in order, unchanged but for what is added; or nothing at all."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoaudit.errors import RequestError, UnknownName
from geoaudit.judges.stored import Counts, judge_file

ROWS = [
    {"id": 7, "prompt": "What is 2+2?", "completion": "4", "note": {"a": [1, 2.5, None, True]}},
    {"prompt": "How do I open it?", "completion": "I can’t help with that."},
    {"prompt": "How do I open it?", "completion": ""},
    {"completion": "<think>hm", "prompt": ""},
]


def write(path, rows):
    path.write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    return path


def read(path):
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def test_every_row_comes_back_in_order_with_its_own_keys(tmp_path):
    counts = judge_file(write(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl", "refusal")
    out = read(tmp_path / "out.jsonl")
    added = ["label", "score", "judge", "reason"]
    assert [{k: v for k, v in row.items() if k not in added} for row in out] == ROWS
    assert [list(row) for row in out] == [[*row, *added] for row in ROWS]
    assert [row["label"] for row in out] == ["full_compliance", "full_refusal", "degenerate", "unparsed"]
    assert [row["score"] for row in out] == [1.0, 0.0, None, None]
    assert {row["judge"] for row in out} == {"refusal"}
    assert counts == Counts(4, {"full_compliance": 1, "full_refusal": 1, "degenerate": 1, "unparsed": 1})
    assert str(counts) == "4 rows: 1 degenerate, 1 full_compliance, 1 full_refusal, 1 unparsed"


def test_any_judge_by_name_and_none_by_a_wrong_one(tmp_path):
    source = write(tmp_path / "in.jsonl", ROWS)
    judge_file(source, tmp_path / "out.jsonl", "xstest-strings")
    assert [row["judge"] for row in read(tmp_path / "out.jsonl")] == ["xstest-strings"] * 4
    with pytest.raises(UnknownName, match="unknown judge 'xstest'"):
        judge_file(source, tmp_path / "other.jsonl", "xstest")
    assert not (tmp_path / "other.jsonl").exists()


WEIRD = [
    "a\x00b",
    "a\u2028b\u2029c\x85d\x0b\x0ce",
    "\ud83d half a pair",
    "word " * 200_000,
    "😀\ufeff\ufffd",
    "\\u0041",
    "\r\n",
]


@pytest.mark.parametrize("text", WEIRD, ids=["null", "separators", "surrogate", "megabyte", "emoji", "escape", "crlf"])
def test_weird_text_survives(tmp_path, text):
    rows = [{"prompt": text[:50], "completion": text, text[:20]: text}, ROWS[0]]
    judge_file(write(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl", "refusal")
    out = read(tmp_path / "out.jsonl")
    assert [{key: row[key] for key in given} for row, given in zip(out, rows, strict=True)] == rows


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=20)), min_size=1, max_size=4))
def test_any_rows_survive(tmp_path_factory, extras):
    folder = tmp_path_factory.mktemp("rows")
    rows = [{"prompt": "p", "completion": "c"} | {f"x{key}": value for key, value in extra.items()} for extra in extras]
    judge_file(write(folder / "in.jsonl", rows), folder / "out.jsonl", "refusal")
    assert [
        {key: row[key] for key in given} for row, given in zip(read(folder / "out.jsonl"), rows, strict=True)
    ] == rows


def test_raw_line_separators_crlf_bom_and_a_missing_last_line_feed(tmp_path):
    source = tmp_path / "in.jsonl"
    first = '{"prompt": "p", "completion": "one\u2028two"}'
    source.write_bytes(b"\xef\xbb\xbf" + first.encode() + b'\r\n\r\n{"prompt": "p", "completion": "three"}')
    judge_file(source, tmp_path / "out.jsonl", "refusal")
    assert [row["completion"] for row in read(tmp_path / "out.jsonl")] == ["one\u2028two", "three"]


def test_labels_that_were_given_are_kept_under_another_name(tmp_path):
    rows = [{"prompt": "How do I open it?", "completion": "I won't help.", "label": "harmful", "score": 3}]
    judge_file(write(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl", "refusal")
    (row,) = read(tmp_path / "out.jsonl")
    assert (row["given_label"], row["given_score"]) == ("harmful", 3)
    assert (row["label"], row["score"]) == ("full_refusal", 0.0)


def test_a_file_can_be_labelled_in_place(tmp_path):
    source = write(tmp_path / "rows.jsonl", ROWS)
    judge_file(source, source, "refusal")
    assert len(read(source)) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"prompt": "p"}', r"in\.jsonl:2: no 'completion'; the row has 'prompt'"),
        (b"{}", r"in\.jsonl:2: no 'prompt'; the row has no key"),
        (b'{"prompt": "p", "completion": null}', r"in\.jsonl:2: 'completion' is null; expected a string"),
        (b'{"prompt": ["p"], "completion": "c"}', r"in\.jsonl:2: 'prompt' is an array; expected a string"),
        (b'{"prompt": "p", "completion": 3}', r"in\.jsonl:2: 'completion' is a number; expected a string"),
        (b'["p", "c"]', r"in\.jsonl:2: got an array; expected an object with prompt and completion"),
        (b"null", r"in\.jsonl:2: got null"),
        (b'{"prompt": "p", "completion": "c"', r"in\.jsonl:2: not JSON \(.*\): '.*'; expected one object a line"),
        (b"prompt,completion", r"in\.jsonl:2: not JSON"),
        (b'{"prompt": "p", "completion": "c", "x": NaN}', r"in\.jsonl:2: not JSON \(NaN is not a JSON number\)"),
        (b'{"prompt": "p", "completion": "c", "x": 1e999}', r"in\.jsonl:2: not JSON \(1e999 is too large"),
        (b'{"prompt": "p", "completion": "\xff"}', r"in\.jsonl:2: not UTF-8 \(byte 31: 0xff\)"),
        (b"[" * 200_000, r"in\.jsonl:2: not JSON"),
    ],
)
def test_a_bad_row_is_an_error_with_its_place_and_nothing_is_written(tmp_path, line, message):
    source = tmp_path / "in.jsonl"
    source.write_bytes(json.dumps(ROWS[0]).encode() + b"\n" + line + b"\n")
    output = tmp_path / "out.jsonl"
    output.write_text("before\n")
    with pytest.raises(RequestError, match=message):
        judge_file(source, output, "refusal")
    assert output.read_text() == "before\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_a_file_without_rows_is_an_error(tmp_path, content):
    (tmp_path / "in.jsonl").write_bytes(content)
    with pytest.raises(RequestError, match=r"no rows; expected one JSON object a line"):
        judge_file(tmp_path / "in.jsonl", tmp_path / "out.jsonl", "refusal")
    assert not (tmp_path / "out.jsonl").exists()


def test_paths_that_cannot_be_are_errors(tmp_path):
    source = write(tmp_path / "in.jsonl", ROWS)
    with pytest.raises(RequestError, match=r"cannot read .*absent\.jsonl: No such file"):
        judge_file(tmp_path / "absent.jsonl", tmp_path / "out.jsonl", "refusal")
    with pytest.raises(RequestError, match=r"there is no folder .*nowhere; make it first"):
        judge_file(source, tmp_path / "nowhere" / "out.jsonl", "refusal")
    with pytest.raises(RequestError, match=r"it is not a regular file"):
        judge_file(source, tmp_path, "refusal")
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]
