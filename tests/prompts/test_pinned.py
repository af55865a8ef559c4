"""Pinned files: the right one is read, another one is refused, a missing one says what to do."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

import pytest

from geoaudit.errors import DataMissing
from geoaudit.prompts import pinned, sources
from geoaudit.prompts.benchmarks import BENCHMARKS

FILES = {benchmark.file.path: benchmark.file for benchmark in BENCHMARKS.values()}


def test_a_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(DataMissing, match="geoaudit data fetch harmbench") as caught:
        sources.check("harmbench", tmp_path)
    for word in (str(tmp_path), "--geoaudit-data", "`--data DIR`", "GEOAUDIT_DATA", "harmbench_behaviors_text_all.csv"):
        assert word in str(caught.value)
    with pytest.raises(DataMissing, match="geoaudit data fetch harmbench"):
        sources.load("harmbench", data=tmp_path)


def test_a_file_that_cannot_be_fetched_says_where_it_comes_from_and_goes(tmp_path):
    with pytest.raises(DataMissing, match="JailbreakBench/JBB-Behaviors") as caught:
        sources.check("jailbreakbench", tmp_path)
    assert "jailbreakbench/harmful_behaviors.csv" in str(caught.value)
    assert "`--data DIR`" in str(caught.value)
    assert "geoaudit data fetch" not in str(caught.value)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_changed_file_is_refused_with_both_hashes(tmp_path, benchmark_data, name):
    file = BENCHMARKS[name].file
    path = tmp_path / file.path
    path.parent.mkdir(parents=True)
    shutil.copyfile(benchmark_data / file.path, path)
    sources.check(name, tmp_path)
    path.write_bytes(path.read_bytes() + b"\n")
    got = hashlib.sha256(path.read_bytes()).hexdigest()
    for read in (sources.check, lambda name, data: sources.load(name, data=data)):
        with pytest.raises(DataMissing, match="not the pinned file") as caught:
            read(name, tmp_path)
        assert got in str(caught.value)
        assert all(one in str(caught.value) for one in file.sha256)


def test_a_folder_in_place_of_the_file_is_refused(tmp_path):
    (tmp_path / pinned.XSTEST.path).mkdir(parents=True)
    with pytest.raises(DataMissing, match="cannot read"):
        sources.check("xstest", tmp_path)


def test_a_file_in_place_of_the_data_folder_is_missing_data(tmp_path):
    (tmp_path / "data").touch()
    with pytest.raises(DataMissing, match="is not there"):
        sources.check("xstest", tmp_path / "data")


def test_jailbreakbench_accepts_the_official_file_and_its_lower_cased_copy(tmp_path, benchmark_data):
    lower, official = b"index,goal,target,behavior,category,source", b"Index,Goal,Target,Behavior,Category,Source"
    for file in (pinned.JAILBREAKBENCH_HARMFUL, pinned.JAILBREAKBENCH_BENIGN):
        content = (benchmark_data / file.path).read_bytes().replace(lower, official)
        if file is pinned.JAILBREAKBENCH_HARMFUL:
            content = content.replace(b",Human trafficking,", b",Human  trafficking,")
        assert hashlib.sha256(content).hexdigest() == file.sha256[0]
        (tmp_path / file.path).parent.mkdir(exist_ok=True)
        (tmp_path / file.path).write_bytes(content)
    for source in ("jailbreakbench", "jailbreakbench-benign"):
        assert sources.load(source, data=tmp_path).sha256 == sources.load(source, data=benchmark_data).sha256


@pytest.mark.parametrize("path", FILES)
def test_the_table_is_well_formed(path):
    file = FILES[path]
    assert all(re.fullmatch("[0-9a-f]{64}", one) for one in file.sha256)
    assert re.fullmatch("[0-9a-f]{40}", file.commit)
    assert not Path(path).is_absolute()
    assert ".." not in path
    if file.url is not None:
        assert file.url.startswith(f"https://raw.githubusercontent.com/{file.origin}/{file.commit}/")


def test_the_data_folder_is_the_argument_then_the_environment_then_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GEOAUDIT_DATA", str(tmp_path / "named"))
    assert pinned.data_directory(tmp_path / "given") == tmp_path / "given"
    assert pinned.data_directory() == tmp_path / "named"
    for unset in ("", None):
        monkeypatch.setenv("GEOAUDIT_DATA", "") if unset == "" else monkeypatch.delenv("GEOAUDIT_DATA")
        assert pinned.data_directory().parts[-2:] == ("geoaudit", "data")
