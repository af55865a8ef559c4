"""A record's file: written whole or not at all, without NaN; what is no record says so."""

from __future__ import annotations

import math
import os

import pytest

from geoaudit.audit import record
from geoaudit.errors import RequestError


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_is_refused_and_the_old_record_stays(tmp_path, value):
    path = tmp_path / "a.json"
    record.write({"geoaudit_record": 2, "n": 1}, path)
    with pytest.raises(ValueError, match="JSON compliant"):
        record.write({"geoaudit_record": 2, "deep": [{"n": value}]}, path)
    assert record.read(path)["n"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_a_write_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    record.write({"geoaudit_record": 2, "n": 1}, path)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(OSError, match="No space"):
        record.write({"geoaudit_record": 2, "n": 2}, path)
    monkeypatch.undo()
    assert record.read(path)["n"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("text", ["\ud800", "ü", "</script>", "\u2028", "😀", "\x00"])
def test_any_name_can_be_written(tmp_path, text):
    record.write({"geoaudit_record": 2, "name": text}, tmp_path / "deep" / "a.json")
    found = record.read(tmp_path / "deep" / "a.json")["name"]
    assert found == text
    assert os.stat(tmp_path / "deep" / "a.json").st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[]", "is not a geoaudit record .geoaudit_record is 'list'"),
        (b"{}", "is None"),
        (b'{"geoaudit_record": 99}', "got 99"),
        (b'{"geoaudit_record": "1"}', "is .1."),
    ],
)
def test_what_is_no_record(tmp_path, content, words):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(RequestError, match=words):
        record.read(tmp_path / "a.json")


def test_a_record_that_is_not_there(tmp_path):
    with pytest.raises(RequestError, match=r"cannot read the record .*none\.json: No such file"):
        record.read(tmp_path / "none.json")
    with pytest.raises(RequestError, match="cannot read the record"):
        record.read(tmp_path)
