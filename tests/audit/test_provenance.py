"""The hash of a record's content: the same after a file, another after any edit."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoaudit.audit import record
from geoaudit.audit.provenance import OWN, is_intact, package_sha256, sealed
from tests.audit.test_migrate import FIRST

TEXT = st.text(st.characters(exclude_categories=()), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=12,
)
RECORDS = st.dictionaries(TEXT, VALUES, max_size=4).map(lambda found: {**found, "geoaudit_record": 2, "provenance": {}})


@given(RECORDS)
def test_what_is_written_is_read_as_it_was(tmp_path_factory, found):
    path = tmp_path_factory.mktemp("a") / "a.json"
    whole = sealed(found)
    assert is_intact(whole)
    assert sealed(whole) == whole
    record.write(whole, path)
    assert record.read(path) == whole


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [leaf for key, inner in value.items() for leaf in _leaves(inner, (*path, key))]
    if isinstance(value, list):
        return [leaf for index, inner in enumerate(value) for leaf in _leaves(inner, (*path, index))]
    return [path]


WHOLE = sealed(record.read(FIRST))
LEAVES = [path for path in _leaves(WHOLE) if path[-1] != OWN]


@given(st.sampled_from(LEAVES), st.sampled_from([0, "x", None, True, 1e-9, []]))
def test_any_change_is_seen(path, value):
    changed = copy.deepcopy(WHOLE)
    inner: Any = changed
    for key in path[:-1]:
        inner = inner[key]
    before = json.dumps(inner[path[-1]])
    inner[path[-1]] = value
    assert is_intact(changed) == (json.dumps(value) == before)


@pytest.mark.parametrize("edit", ["drop", "add", "rename"])
def test_what_is_taken_out_or_added_is_seen(edit):
    changed = copy.deepcopy(WHOLE)
    if edit == "drop":
        changed["measurements"].pop()
    elif edit == "add":
        changed["assertions"].append(changed["assertions"][0])
    else:
        changed["provenance"]["packages"] = changed["provenance"].pop("package")
    assert is_intact(changed) is False


def test_a_record_without_a_hash_says_nothing():
    assert is_intact(record.read(FIRST)) is None
    assert is_intact({"geoaudit_record": 2, "provenance": {OWN: "x", "n": math.nan}}) is False


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nan_is_never_sealed(value):
    with pytest.raises(ValueError, match="JSON compliant"):
        sealed({"geoaudit_record": 2, "n": value})


def test_the_package_has_one_hash(tmp_path, monkeypatch):
    import geoaudit

    here = package_sha256()
    assert len(here) == 64
    package = tmp_path / "geoaudit"
    (package / "__pycache__").mkdir(parents=True)
    (package / "__init__.py").write_text("x = 1")
    monkeypatch.setattr(geoaudit, "__file__", str(package / "__init__.py"))

    def there() -> str:
        package_sha256.cache_clear()
        return package_sha256()

    try:
        first = there()
        (package / "__pycache__" / "a.pyc").write_text("compiled")
        assert there() == first != here
        (package / "data.json").write_text("{}")
        assert there() != first
    finally:
        monkeypatch.undo()
        package_sha256.cache_clear()


@pytest.mark.parametrize("key", [*WHOLE, *(f"provenance {key}" for key in WHOLE["provenance"])])
def test_every_part_is_covered(key):
    changed = copy.deepcopy(WHOLE)
    part, _, inner = key.partition(" ")
    if inner:
        changed[part][inner] = "another"
    else:
        changed[part] = "another"
    assert is_intact(changed) is (None if part == key == "provenance" else False)
