"""What was asked for, read from pytest's command line and ini file, and checked as far as that needs no model."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import pytest
from platformdirs import user_cache_path

from geoaudit import judges
from geoaudit.audit import profiles
from geoaudit.audit.baseline import RecordBaseline
from geoaudit.audit.environment import check_names
from geoaudit.audit.measuring import Options
from geoaudit.audit.noise import Noise
from geoaudit.audit.record import whole
from geoaudit.audit.replay import Replay
from geoaudit.errors import RequestError
from geoaudit.judges.setup import EndpointSetup, JudgeSetup
from geoaudit.judges.wire import address
from geoaudit.measures.labels import read as read_labels
from geoaudit.model.checkpoint import Checkpoint, resolve
from geoaudit.model.load import check_device, resolve_device
from geoaudit.model.template import check_template
from geoaudit.report.export import check as check_figures

MEASURING = (
    *("device", "dtype", "template", "system", "base", "judge_model", "judge_quantise", "judge_device_map"),
    *("endpoint", "endpoint_model", "endpoint_concurrency", "endpoint_budget", "labels", "plan"),
)
"""Options that say how to measure."""


def replay_from(config: pytest.Config) -> tuple[Replay, Path]:
    """The records to decide from, and where the report goes: beside that of the audit, never over it.

    Raises:
        RequestError: for an option that says how to measure, or a record that cannot be replayed.
    """
    for name in MEASURING:
        if config.getoption(f"geoaudit_{name}"):
            raise RequestError(
                f"--geoaudit-{name.replace('_', '-')} says how to measure, and a replay measures nothing: leave it out"
            )
    paths = [config.invocation_params.dir / Path(one).expanduser() for one in config.getoption("geoaudit_replay")]
    baseline = _baseline(config, lambda name: config.getoption(f"geoaudit_{name}"))
    if isinstance(baseline, Checkpoint):
        raise RequestError("a replay compares with a record: --geoaudit-baseline=RECORD.json")
    noise = config.getoption("geoaudit_noise") and _path(config, "noise")
    replay = Replay(
        paths,
        config.getoption("geoaudit_model"),
        profile=config.getoption("geoaudit_profile"),
        reference=config.getoption("geoaudit_reference"),
        baseline=baseline,
        allowed=check_names(config.getoption("geoaudit_allow_mismatch")) or None,
        noise=Noise.read(noise) if noise else None,
    )
    report = report_from(config)
    if not config.getoption("geoaudit_report"):
        report = report.with_stem(f"{report.stem}-replay")
    if any(report.with_suffix(".json").resolve() == path.resolve() for path in paths):
        raise RequestError(f"the report {report} would overwrite the record that is replayed: name another path")
    return replay, report


def store_from(config: pytest.Config) -> Path:
    """The folder of measured rows."""
    return _path(config, "store") or user_cache_path("geoaudit")


def completions_from(config: pytest.Config) -> bool:
    """Whether prompts and answers are written out.

    Raises:
        RequestError: for a word that is neither.
    """
    word = config.getoption("geoaudit_completions") or config.getini("geoaudit_completions") or "redacted"
    if word not in ("full", "redacted"):
        raise RequestError(f"--geoaudit-completions {word!r} is not one of full, redacted")
    return bool(word == "full")


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


def figures_from(config: pytest.Config) -> Path | None:
    """Where the report's figures go, None for nowhere, checked before anything is measured.

    Raises:
        RequestError: for a path that is no folder that can be written to.
    """
    path = _path(config, "figures")
    if path is None:
        return None
    check_figures(path)
    folder = next(parent for parent in (path, *path.parents) if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise RequestError(
            f"the figures cannot be written into {path}: {folder} is no folder that can be written to; name another "
            "with --geoaudit-figures"
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
    device = resolve_device(option("device") or "auto")
    if option("device"):
        check_device(device)
    workers: int = getattr(config, "workerinput", {}).get("workercount", 0)
    return Options(
        profile=profiles.get(option("profile") or "standard"),
        store=store_from(config),
        device=device,
        dtype=dtype,
        template=text("template", ("zephyr", "chatml", "none")),
        system=text("system", ()),
        judging=_judging(config, option, data.resolve() if data else None),
        labels=read_labels(_several(config, "labels")),
        threads=max(1, (os.cpu_count() or 1) // workers) if workers else None,
        reference=option("reference"),
        baseline=_baseline(config, option),
        allow_mismatch=check_names(
            config.getoption("geoaudit_allow_mismatch") or config.getini("geoaudit_allow_mismatch")
        ),
        noise=Noise.read(noise) if (noise := _path(config, "noise")) is not None else None,
    )


def _baseline(config: pytest.Config, option: Callable[[str], Any]) -> RecordBaseline | Checkpoint | None:
    """An earlier record (`FILE.json` or `FILE.json#CHECKPOINT`), or one model."""
    resolved = getattr(config, "workerinput", {}).get("geoaudit_baseline")
    if resolved is not None:  # xdist: by the controller
        return unpack(resolved)
    given = option("baseline")
    if not given:
        return None
    place, _, only = str(given).partition("#")
    path = _path(config, "baseline")
    assert path is not None
    file = Path(str(path).removesuffix(f"#{only}"))  # a checkpoint's name may hold slashes
    if place.endswith(".json") or (file.is_file() and file.suffix not in (".gguf", ".safetensors")):
        if file.suffix == ".html":
            raise RequestError(f"--geoaudit-baseline {given!r} is a report: the record lies beside it, as .json")
        return RecordBaseline(place, *whole(file), only)
    there = str(given) if config.getoption("geoaudit_baseline") or not path.exists() else str(path)
    models = resolve(there, base=config.getoption("geoaudit_base") or config.getini("geoaudit_base") or None)
    if len(models) != 1:
        raise RequestError(f"--geoaudit-baseline {given!r} names {len(models)} models: a baseline is one")
    if option("template") is None:
        check_template(models[0])
    return models[0]


def _judging(config: pytest.Config, option: Callable[[str], Any], data: Path | None) -> JudgeSetup:
    """What judges that load a model or ask a server need."""
    models = {}
    for given in config.getoption("geoaudit_judge_model") or config.getini("geoaudit_judge_model"):
        name, found, place = given.partition("=")
        if not found or not place:
            raise RequestError(f"--geoaudit-judge-model {given!r} is not JUDGE=MODEL, such as harmbench=/models/cls")
        if judges.info(name).kind != "model":
            able = ", ".join(one.name for one in judges.JUDGES.values() if one.kind == "model")
            raise RequestError(f"--geoaudit-judge-model: the judge {name!r} loads no model; those that do: {able}")
        there = config.invocation_params.dir / Path(place).expanduser()
        if place.startswith(("/", ".", "~")) and not there.is_dir():
            raise RequestError(f"--geoaudit-judge-model: there is no folder {place!r} with the weights of {name}")
        models[name] = str(there.resolve()) if there.is_dir() else place
    quantise: Literal["", "8bit", "4bit"]
    match given := option("judge_quantise") or "":
        case "" | "8bit" | "4bit":
            quantise = given
        case _:
            raise RequestError(f"--geoaudit-judge-quantise {given!r} is not one of 8bit, 4bit")
    return JudgeSetup(
        data=data,
        store=store_from(config),
        device=resolve_device(option("device") or "auto"),
        device_map=option("judge_device_map") or "",
        quantise=quantise,
        models=models,
        endpoint=_endpoint(option),
    )


def _endpoint(option: Callable[[str], Any]) -> EndpointSetup | None:
    url, model = option("endpoint"), option("endpoint_model")
    if not url:
        if model:
            raise RequestError("--geoaudit-endpoint-model needs the address of a server: --geoaudit-endpoint=URL")
        return None
    address(url)
    if not model:
        raise RequestError("--geoaudit-endpoint needs the name of a model: --geoaudit-endpoint-model=NAME")

    def number(name: str) -> int | None:
        value = option(name)
        if value is None:
            return None
        if not str(value).isdigit() or int(value) < 1:
            raise RequestError(f"--geoaudit-{name.replace('_', '-')} must be a whole number from 1 on, got {value!r}")
        return int(value)

    return EndpointSetup(url, model, concurrency=number("endpoint_concurrency") or 4, budget=number("endpoint_budget"))


def _several(config: pytest.Config, name: str) -> list[Path]:
    given = config.getoption(f"geoaudit_{name}")
    if given:
        return [config.invocation_params.dir / Path(one).expanduser() for one in given]
    return [Path(one) for one in config.getini(f"geoaudit_{name}")]


def pack(checkpoint: Checkpoint) -> dict[str, Any]:
    """A checkpoint as xdist can send it."""
    fields = {field.name: getattr(checkpoint, field.name) for field in dataclasses.fields(checkpoint)}
    return {**fields, "path": str(checkpoint.path), "base": checkpoint.base and pack(checkpoint.base)}


def unpack(fields: Mapping[str, Any]) -> Checkpoint:
    """The checkpoint that `pack` sent."""
    base = fields["base"]
    return Checkpoint(**{**fields, "path": Path(fields["path"]), "base": base and unpack(base)})
