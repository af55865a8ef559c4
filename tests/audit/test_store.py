"""The store: what is written is there whole, whoever else writes and whatever kills the writer."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoaudit.audit.store import Store
from geoaudit.errors import RequestError

json_values = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters()), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "deep" / "store")


@settings(deadline=None, max_examples=40, derandomize=True)
@given(json_values, st.text(st.characters(exclude_categories=["Cs"])))
def test_what_is_put_is_what_is_got(tmp_path_factory, value, key):
    folder = tmp_path_factory.getbasetemp() / "store"
    Store(folder).put(key, value)
    found = Store(folder).get(key)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\x00", "\u2028\u0085", "\ufeff", "😀", ""])
def test_any_completion_comes_back_as_it_was(store, text):
    store.put("key", [[text, 3, True, None]])
    assert store.get("key") == [[text, 3, True, None]]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1.0, {"a": -float("inf")}]])
def test_nan_is_refused_and_leaves_what_was_there(store, value):
    store.put("key", 1.5)
    with pytest.raises(ValueError, match="JSON compliant"):
        store.put("key", value)
    assert store.get("key") == 1.5


def test_a_key_that_was_never_written_is_none(store):
    assert store.get("key") is None
    assert store.get_arrays("key") is None


def test_the_last_write_counts(store):
    store.put("key", [1])
    store.put("key", [2])
    assert store.get("key") == [2]


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
def test_arrays_come_back_bit_for_bit(store, dtype):
    values = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(dtype)
    arrays = {"a": values, "transposed": values.T, "strided": values[:, ::2], "empty": values[:0]}
    store.put_arrays("key", arrays)
    found = store.get_arrays("key")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == dtype
        np.testing.assert_array_equal(found[name], array)


def test_arrays_keep_nan_because_a_score_may_be_missing(store):
    store.put_arrays("key", {"kl": np.array([np.nan, np.inf, 1.0])})
    np.testing.assert_array_equal(store.get_arrays("key")["kl"], [np.nan, np.inf, 1.0])


def test_locks_lie_in_the_store(store):
    assert store.lock_path("abc").parent.is_dir()
    assert store.lock_path("abc") != store.lock_path("abd")


# --- what breaks ---------------------------------------------------------------------------------------------------

WRITER = """
    import sys
    from pathlib import Path
    from geoaudit.audit.store import Store
    store = Store(Path(sys.argv[1]))
    for i in range(int(sys.argv[2]), int(sys.argv[3])):
        store.put(f"key {i}", [i] * 5000)
        print(i, flush=True)
"""


def writer(folder, first, last):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(folder), str(first), str(last)],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_killed_writer_loses_at_most_what_it_was_writing(tmp_path):
    process = writer(tmp_path, 0, 100_000)
    said = [int(process.stdout.readline()) for _ in range(20)]
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate()
    said += [int(line) for line in rest.split()]
    assert said[:20] == list(range(20))
    store = Store(tmp_path)
    for i in range(len(said) + 2):
        found = store.get(f"key {i}")
        assert found == [i] * 5000 or (found is None and i >= len(said)), "whole, or not there"
    store.put("key 0", "the next run goes on")
    assert store.get("key 0") == "the next run goes on"


def test_a_write_that_fails_halfway_changes_nothing(store, monkeypatch):
    store.put("key", [1])

    class Interrupted(sqlite3.Connection):
        def execute(self, *args):
            super().execute(*args)
            raise KeyboardInterrupt

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **more: connect(*args, **more, factory=Interrupted))
    with pytest.raises(KeyboardInterrupt):
        store.put("key", [2])
    monkeypatch.undo()
    assert store.get("key") == [1]


def test_two_processes_write_at_once(tmp_path):
    spans = [(0, 40), (20, 60)]
    processes = [writer(tmp_path, *span) for span in spans]
    for process in processes:
        process.communicate(timeout=60)
    assert [process.returncode for process in processes] == [0, 0]
    store = Store(tmp_path)
    assert [store.get(f"key {i}")[0] for i in range(60)] == list(range(60))


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"\x00" * 4096, b"{}"])
def test_a_file_that_is_no_database_is_said_plainly(tmp_path, content):
    path = Store(tmp_path).path
    path.write_bytes(content)
    with pytest.raises(RequestError, match=r"cannot be used: file is not a database.*delete") as error:
        Store(tmp_path)
    assert str(path) in str(error.value)
    assert "--geoaudit-store" in str(error.value)


def test_damage_found_only_while_reading_is_said_plainly_too(store):
    store.put("key", "x" * 100_000)
    content = bytearray(store.path.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    store.path.write_bytes(content)
    found = Store(store.folder)  # the header is whole
    with pytest.raises(RequestError, match=r"cannot be used: .*malformed.*--geoaudit-store"):
        found.get("key")
    with pytest.raises(RequestError, match="cannot be used"):
        found.put("key", 1)


def test_a_folder_that_cannot_be_made_is_said_plainly(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match=r"the store .*file/store cannot be used.*--geoaudit-store"):
        Store(tmp_path / "file" / "store")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not bind root")
def test_a_read_only_folder_is_said_plainly(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(RequestError, match="cannot be used"):
        Store(tmp_path)


def test_a_store_that_turned_read_only_gives_what_it_has_and_takes_nothing(store, monkeypatch):
    store.put("key", [1])
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, **more: connect(f"file:{path}?mode=ro", uri=True, **more))
    assert store.get("key") == [1]
    with pytest.raises(RequestError, match="readonly database"):
        store.put("key", [2])


def test_opening_imports_nothing_heavy():
    code = """
        import sys, tempfile
        from pathlib import Path
        from geoaudit.audit.store import Store
        store = Store(Path(tempfile.mkdtemp()))
        store.put("key", [1])
        store.get("key")
        print(sorted({"numpy", "torch", "safetensors", "scipy"} & set(sys.modules)))
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
