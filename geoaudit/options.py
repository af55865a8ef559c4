"""What was asked for, read from pytest's command line and ini file, and checked as far as that needs no model."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from geoaudit.audit import profiles
from geoaudit.audit.run import Options
from geoaudit.errors import RequestError
from geoaudit.model.checkpoint import Checkpoint


def report_from(config: pytest.Config) -> Path:
    """Where the report goes, checked before anything is measured.

    Raises:
        RequestError: for a path that cannot be written.
    """
    path = _path(config, "report") or config.invocation_params.dir / "reports" / "geoaudit.html"
    if path.is_dir():
        raise RequestError(f"the report {path} is a folder: name a file, --geoaudit-report={path / 'geoaudit.html'}")
    if path.suffix == ".json":
        html = path.with_suffix(".html").name
        raise RequestError(
            f"the report {path} has the name of its record, which lies beside it: --geoaudit-report={html}"
        )
    folder = next(parent for parent in path.parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise RequestError(
            f"the report cannot be written to {path}: {folder} is no folder that can be written to; name another path "
            "with --geoaudit-report"
        )
    return path


def _path(config: pytest.Config, name: str) -> Path | None:
    """A path as asked for: on the command line relative to where pytest was started, in the ini file to that file."""
    given = config.getoption(f"geoaudit_{name}")
    if given:
        return config.invocation_params.dir / Path(given).expanduser()
    default = config.getini(f"geoaudit_{name}")
    folder = config.inipath.parent if config.inipath else config.rootpath
    return folder / Path(default).expanduser() if default else None


def options_from(config: pytest.Config) -> Options:
    """The options of an audit, checked as far as that needs no model.

    Raises:
        RequestError: for an option that cannot be right.
    """
    from platformdirs import user_cache_path

    from geoaudit.model.load import resolve_device

    def option(name: str) -> Any:
        value = config.getoption(f"geoaudit_{name}")
        return value if value is not None else (config.getini(f"geoaudit_{name}") or None)

    def text(name: str, words: tuple[str, ...]) -> str | None:
        value: str | None = option(name)
        if value is None or value in words:
            return value
        path = _path(config, name)
        try:
            there = path is not None and path.is_file()
        except OSError:  # a text, too long for a name
            there = False
        if path is not None and there:
            try:
                return path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise RequestError(f"--geoaudit-{name} {value!r} cannot be read: {error}") from None
        if words:
            raise RequestError(f"--geoaudit-{name} {value!r} is neither a file nor one of {', '.join(words)}")
        return value

    dtype = option("dtype")
    if dtype not in (None, "float32", "bfloat16", "float16"):
        raise RequestError(f"--geoaudit-dtype {dtype!r} is not one of float32, bfloat16, float16")
    named = os.environ.get("GEOAUDIT_DATA")
    data = _path(config, "data") or (config.invocation_params.dir / named if named else None)
    if data is not None and not data.is_dir():
        raise RequestError(f"the data directory {str(data)!r} does not exist (--geoaudit-data or GEOAUDIT_DATA)")
    workers: int = getattr(config, "workerinput", {}).get("workercount", 0)
    return Options(
        profile=profiles.get(option("profile") or "standard"),
        store=_path(config, "store") or user_cache_path("geoaudit"),
        device=resolve_device(option("device") or "auto"),
        dtype=dtype,
        template=text("template", ("zephyr", "chatml", "none")),
        system=text("system", ()),
        data=data.resolve() if data else None,
        threads=max(1, (os.cpu_count() or 1) // workers) if workers else None,
    )


def pack(checkpoint: Checkpoint) -> dict[str, Any]:
    """A checkpoint as xdist can send it."""
    fields = {field.name: getattr(checkpoint, field.name) for field in dataclasses.fields(checkpoint)}
    return {**fields, "path": str(checkpoint.path), "base": checkpoint.base and pack(checkpoint.base)}


def unpack(fields: Mapping[str, Any]) -> Checkpoint:
    """The checkpoint that `pack` sent."""
    base = fields["base"]
    return Checkpoint(**{**fields, "path": Path(fields["path"]), "base": base and unpack(base)})
