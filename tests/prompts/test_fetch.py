"""Fetching with a stand-in for the network."""

from __future__ import annotations

import hashlib
import io
import urllib.error
import urllib.request

import pytest

from geoaudit.errors import DataMissing, UnknownName
from geoaudit.prompts import pinned, sources
from geoaudit.prompts.benchmarks import BENCHMARKS
from geoaudit.prompts.fetch import LARGEST, TIMEOUT, fetch, status

FETCHABLE = [name for name, benchmark in BENCHMARKS.items() if benchmark.file.url]


class Server:
    """Answers every address with the same bytes, or each with its own, and keeps what it was asked for."""

    def __init__(self, content):
        self.content, self.asked = content, []

    def __call__(self, url, *, timeout):
        self.asked.append((url, timeout))
        return io.BytesIO(self.content[url] if isinstance(self.content, dict) else self.content)


def refuse(url, *, timeout):
    raise AssertionError(f"the network must not be used, {url} was asked for")


def files_in(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", FETCHABLE)
def test_a_fetched_benchmark_can_be_loaded(name, tmp_path, benchmark_data):
    file = BENCHMARKS[name].file
    files = [one for one in (file, BENCHMARKS[name].targets, BENCHMARKS[name].openings) if one is not None]
    server = Server({one.url: (benchmark_data / one.path).read_bytes() for one in files})
    path = fetch(name, tmp_path, opener=server)
    assert server.asked == [(one.url, TIMEOUT) for one in files]
    assert path == tmp_path / file.path
    assert files_in(tmp_path) == sorted(tmp_path / one.path for one in files)
    assert sources.load(name, data=tmp_path).sha256 == sources.load(name, data=benchmark_data).sha256
    assert fetch(name, tmp_path, opener=refuse) == path, "what is there is not fetched again"


def test_all_but_jailbreakbench_can_be_fetched():
    assert set(BENCHMARKS) - set(FETCHABLE) == {"jailbreakbench", "jailbreakbench-benign"}


def test_another_file_than_the_pinned_one_is_not_kept(tmp_path):
    answer = b"<html>please log in</html>"
    with pytest.raises(DataMissing, match="another file than the pinned one") as caught:
        fetch("xstest", tmp_path, opener=Server(answer))
    assert hashlib.sha256(answer).hexdigest() in str(caught.value)
    assert pinned.XSTEST.sha256[0] in str(caught.value)
    assert files_in(tmp_path) == []


def test_an_endless_answer_is_cut_off(tmp_path):
    class Endless(io.RawIOBase):
        taken = 0

        def read(self, size=-1):
            assert size > 0, "an answer of unknown length must not be read whole"
            type(self).taken += size
            return b"x" * size

    with pytest.raises(DataMissing):
        fetch("xstest", tmp_path, opener=lambda url, timeout: Endless())
    assert Endless.taken == LARGEST + 1


@pytest.mark.parametrize(
    "error",
    [
        urllib.error.URLError("Name or service not known"),
        urllib.error.HTTPError("https://x", 404, "Not Found", {}, None),
        TimeoutError(),
        ConnectionResetError("reset by peer"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_without_a_network_it_says_what_else_can_be_done(tmp_path, error):
    def fail(url, *, timeout):
        raise error

    with pytest.raises(DataMissing, match=r"could not download https://raw\.githubusercontent\.com") as caught:
        fetch("xstest", tmp_path, opener=fail)
    assert (str(error) or type(error).__name__) in str(caught.value)
    for word in ("xstest/xstest_prompts.csv", "--geoaudit-data", "GEOAUDIT_DATA"):
        assert word in str(caught.value)
    assert files_in(tmp_path) == []


def test_an_answer_that_breaks_off_leaves_nothing(tmp_path):
    class Broken(io.BytesIO):
        def read(self, size=-1):
            raise ConnectionResetError("in the middle")

    with pytest.raises(DataMissing, match="in the middle"):
        fetch("xstest", tmp_path, opener=lambda url, timeout: Broken())
    assert files_in(tmp_path) == []


def test_a_different_file_in_its_place_is_not_overwritten(tmp_path):
    path = tmp_path / pinned.XSTEST.path
    path.parent.mkdir()
    path.write_text("mine")
    with pytest.raises(DataMissing, match="Move it away"):
        fetch("xstest", tmp_path, opener=refuse)
    assert path.read_text() == "mine"


def test_a_folder_that_cannot_be_written(tmp_path, benchmark_data):
    (tmp_path / "xstest").touch()
    server = Server((benchmark_data / pinned.XSTEST.path).read_bytes())
    with pytest.raises(DataMissing, match="cannot write"):
        fetch("xstest", tmp_path, opener=server)


def test_what_has_no_address_is_not_asked_for(tmp_path):
    with pytest.raises(DataMissing, match="JBB-Behaviors"):
        fetch("jailbreakbench", tmp_path, opener=refuse)


def test_only_benchmarks_are_fetched(tmp_path):
    with pytest.raises(UnknownName, match="did you mean 'strongreject'"):
        fetch("strongrejct", tmp_path, opener=refuse)


def test_status_tells_present_absent_different_and_unreadable(tmp_path, benchmark_data):
    assert {one.state for one in status(tmp_path)} == {"absent"}
    for file in (pinned.XSTEST, pinned.ADVBENCH):
        (tmp_path / file.path).parent.mkdir()
        (tmp_path / file.path).write_bytes((benchmark_data / file.path).read_bytes())
    (tmp_path / pinned.ADVBENCH.path).write_text("edited")
    (tmp_path / pinned.STRONGREJECT.path).mkdir(parents=True)
    states = {one.file: one for one in status(tmp_path)}
    assert states[pinned.XSTEST].state == "present"
    assert states[pinned.XSTEST].benchmarks == ("xstest", "xstest-unsafe")
    assert states[pinned.ADVBENCH].state == "different"
    assert states[pinned.ADVBENCH].sha256 == hashlib.sha256(b"edited").hexdigest()
    assert states[pinned.STRONGREJECT].state == "unreadable"
    assert states[pinned.HARMBENCH_ALL].state == "absent"
    assert {name for one in states.values() for name in one.benchmarks} == set(BENCHMARKS)
    assert "harmbench" in states[pinned.HARMBENCH_TARGETS].benchmarks


def test_status_of_the_whole_data(benchmark_data):
    assert {one.state for one in status(benchmark_data)} == {"present"}
