"""Sources by name, and what importing the room costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from geoaudit.errors import DataMissing, UnknownName
from geoaudit.prompts import sources

BUILTIN = [info for info in sources.names() if info.kind == "builtin"]


def test_names_are_unique_and_say_what_they_are():
    names = [info.name for info in sources.names()]
    assert len(names) == len(set(names))
    assert {"harmful", "harmbench", "xstest", "strongreject", "advbench", "jailbreakbench"} <= set(names)
    assert all(info.what and info.licence and info.n > 0 for info in sources.names())


@pytest.mark.parametrize("ask", [sources.check, sources.load])
def test_an_unknown_name_gets_the_nearest_one(ask):
    with pytest.raises(UnknownName, match="did you mean 'harmbench'"):
        ask("harmbensh")


@pytest.mark.parametrize("info", BUILTIN, ids=lambda info: info.name)
def test_built_in_sets_need_no_data_folder(info, tmp_path, monkeypatch):
    monkeypatch.setenv("GEOAUDIT_DATA", str(tmp_path / "nothing here"))
    sources.check(info.name)
    loaded = sources.load(info.name)
    assert (loaded.name, len(loaded), loaded.licence) == (info.name, info.n, info.licence)
    assert {one.label for one in loaded.prompts} == {info.label}


def test_a_broken_installation_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "BUILTIN_FOLDER", tmp_path)
    for ask in (sources.check, sources.load):
        with pytest.raises(DataMissing, match="Reinstall"):
            ask("harmful")


def test_the_environment_names_the_data_folder(benchmark_data, monkeypatch, tmp_path):
    monkeypatch.setenv("GEOAUDIT_DATA", str(benchmark_data))
    sources.check("advbench")
    assert len(sources.load("advbench")) == 520
    monkeypatch.setenv("GEOAUDIT_DATA", str(tmp_path))
    with pytest.raises(DataMissing):
        sources.check("advbench")


@pytest.mark.parametrize("module", ["sources", "files", "fetch", "overlap"])
def test_nothing_heavy_is_imported(module):
    heavy = "{'torch', 'numpy', 'scipy', 'transformers', 'pydantic', 'yaml', 'jinja2'}"
    code = f"import sys, geoaudit.prompts.{module}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
