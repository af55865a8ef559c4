"""`geoaudit noise MODEL`: how far runs of one and the same checkpoint lie apart, measured and kept in a file.

What change lines compare is measured again in other batches, in another type of the weights and with other seeds, each
through the store, so that a run that was stopped goes on where it was. Other prompts are not asked: those there are are
resampled.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoaudit.errors import GeoauditError, RequestError

if TYPE_CHECKING:
    from geoaudit.audit.measuring import Options
    from geoaudit.audit.noise import Spread
    from geoaudit.audit.plan import Planned
    from geoaudit.audit.run import Auditor
    from geoaudit.audit.suite import Assertion
    from geoaudit.model.checkpoint import Checkpoint
    from geoaudit.records import Measurement

BATCHES = (8, 24)
"""Prompts in a generated batch, in place of 64."""
RESAMPLES = 1000
"""Of the prompts."""


@dataclass
class Repeated:
    """One measurement and its repeats."""

    measure: str
    given: Mapping[str, Any]
    found: Measurement
    values: dict[str, dict[str, float]] = field(default_factory=dict)
    """Source -> what a run was, in words -> its value."""
    why: dict[str, str] = field(default_factory=dict)
    """Source -> why it was not varied, or a run gave nothing."""

    def spreads(self) -> list[Spread]:
        """What each source moved it by."""
        from geoaudit.audit.noise import Spread

        assert self.found.estimate is not None
        spreads = [
            Spread(source, (self.found.estimate, *runs.values()), ("as audited", *runs), self.found.n)
            for source, runs in self.values.items()
            if runs
        ]
        resampled = resample(self.found)
        if resampled:
            runs = f"{RESAMPLES} resamples of {len(resampled)} prompts"
            spreads.append(Spread("prompts", tuple(_moved(resampled)), (runs,), len(resampled)))
        else:
            self.why["prompts"] = "no rows to resample: the measure's own interval resamples its prompts"
        return spreads


def resample(found: Measurement) -> list[float]:
    """The values of the prompts of a rate or score; empty for other measures."""
    from geoaudit.audit.pairing import spans

    return [low for low, _ in (spans(found) or {}).values()]


def _moved(values: Sequence[float]) -> Iterable[float]:
    """How far the mean of each resample lies from the mean."""
    generator, n = random.Random(0), len(values)
    mean = sum(values) / n
    for _ in range(RESAMPLES):
        yield sum(generator.choices(values, k=n)) / n - mean


def noise(
    checkpoint: Checkpoint,
    lines: Iterable[Assertion],
    options: Options,
    *,
    seeds: int = 2,
    say: Callable[[str], None],
) -> list[Repeated]:
    """Measure everything that some lines of suites are about again and again.

    Args:
        checkpoint: whose noise it is.
        lines: of suites; what several are about is measured once.
        options: of the audit that they are repeated from.
        seeds: other seeds for what is drawn.
        say: shows a line.

    Raises:
        RequestError: nothing could be measured, or a parameter that cannot be.
    """
    from geoaudit.audit.measuring import clock
    from geoaudit.audit.run import Auditor

    runs: list[tuple[str, str, Auditor, int | None]] = []
    """(source, what it is in words, auditor, seed)."""

    def auditor(changed: Options) -> Auditor:
        return Auditor([checkpoint], changed, lambda line: say(f"  {line}"))

    own = options.dtype or checkpoint.dtype
    other = "bfloat16" if own == "float32" else "float32"
    plain = auditor(options)
    runs += [
        ("batch", f"batches of {rows}", auditor(replace(options, generation_batch=rows)), None) for rows in BATCHES
    ]
    runs.append(("dtype", f"{other} in place of {own}", auditor(replace(options, dtype=other)), None))
    runs += [("seed", f"seed {{}} ({number})", plain, number) for number in range(1, seeds + 1)]

    asked: dict[str, tuple[Assertion, Planned]] = {}
    for line in lines:
        try:
            planned = plain.plan(checkpoint.name, line.measure, line.parameters)
        except GeoauditError as error:
            say(f"{line.id}: left out: {error}")
            continue
        asked.setdefault(planned.key, (line, planned))
    repeats: dict[str, list[tuple[str, str, Auditor, Planned | str]]] = {key: [] for key in asked}
    for source, words, by, seed in runs:
        for key, (line, planned) in asked.items():
            repeats[key].append((source, *_repeat(by, line, planned, source, words, seed)))
    auditors = list({id(by): by for by in (plain, *(by for _, _, by, _ in runs))}.values())
    left = sum(seconds for by in auditors for _, seconds in by.works(checkpoint.name))
    say(
        f"{checkpoint.name}: {len(asked)} measurements, each under {len(runs) + 1} settings, about {clock(left)} in all"
    )

    found = []
    for line, planned in asked.values():
        measured = _measured(plain, planned)
        if isinstance(measured, str):
            say(f"{line.id}: left out: {measured}")
        else:
            found.append((planned.key, Repeated(line.measure, line.parameters, measured)))
    by_setting = sorted({source: None for source, *_ in runs})
    for source in by_setting:  # one setting after the other: no more than one model is in memory
        for key, one in found:
            for kind, words, by, again in repeats[key]:
                if kind != source:
                    continue
                value = again if isinstance(again, str) else _measured(by, again)
                if isinstance(value, str):
                    one.why[source] = value
                else:
                    one.values.setdefault(source, {})[words] = float(value.estimate or 0.0)
    if not found:
        raise RequestError("nothing could be measured, so that there is no noise to speak of")
    return [one for _, one in found]


def _repeat(
    by: Auditor, line: Assertion, planned: Planned, source: str, words: str, seed: int | None
) -> tuple[str, Auditor, Planned | str]:
    """A repeat as it is planned, or why this source does not move this measure."""
    given = dict(line.parameters)
    if source == "batch" and "max_new_tokens" not in planned.parameters:
        return words, by, "no text is generated for it"
    if source == "seed":
        if planned.parameters.get("seed") is None:
            return words, by, "nothing is drawn for it"
        assert seed is not None
        given["seed"] = planned.parameters["seed"] + seed
        words = f"seed {given['seed']}"
    try:
        return words, by, by.plan(planned.checkpoint, line.measure, given)
    except GeoauditError as error:
        return words, by, str(error)


def _measured(by: Auditor, planned: Planned) -> Measurement | str:
    """The measurement, or why there is no number."""
    try:
        found = by.measurement(planned)
    except GeoauditError as error:
        return str(error)
    return found if found.estimate is not None else found.why_missing


# --- the command ---------------------------------------------------------------------------------------------------


def add_to(commands: Any) -> None:
    """Add the command to `geoaudit`'s."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "noise",
        help="measure how far runs of one checkpoint lie apart: a floor that a change must exceed",
        description="Measures what the change lines of the suites are about (all lines, where there is no change line) "
        f"again: in batches of {' and '.join(map(str, BATCHES))} prompts, in another type of the weights, with other "
        "seeds, and on resampled prompts. An audit takes the file with --geoaudit-noise=FILE. A run that is stopped "
        "goes on where it was.",
    )
    parser.add_argument("model", metavar="MODEL", help="anything that --geoaudit-model takes, for one checkpoint")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="NOISE.json")
    parser.add_argument(
        "--suite", action="append", default=[], metavar="FILE|NAME", help="repeatable (default: those of assertions/)"
    )
    parser.add_argument(
        "--profile", default="standard", metavar="smoke|standard|release", help="(default: %(default)s)"
    )
    parser.add_argument("--seeds", type=int, default=2, metavar="N", help="other seeds (default: %(default)s)")
    parser.add_argument("--base", metavar="MODEL", help="an adapter's base")
    parser.add_argument("--device", default="auto", metavar="DEVICE", help="(default: %(default)s)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="(default: the checkpoint's)")
    parser.add_argument("--template", metavar="FILE|zephyr|chatml|none", help="(default: the checkpoint's)")
    parser.add_argument("--system", metavar="TEXT|FILE", help="system prompt (default: the template's own)")
    parser.add_argument("--store", type=Path, metavar="DIR", help="(default: the user's cache folder)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="(default: GEOAUDIT_DATA, else the cache folder)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, show: Callable[[str], None] = print) -> int:
    """The command.

    Raises:
        RequestError: something asked for cannot be right.
    """
    from geoaudit.audit import profiles
    from geoaudit.audit.measuring import Options
    from geoaudit.audit.noise import to_json
    from geoaudit.audit.record import write_atomically
    from geoaudit.judges.setup import JudgeSetup
    from geoaudit.model.checkpoint import resolve
    from geoaudit.model.identity import identify
    from geoaudit.model.load import resolve_device

    if arguments.seeds < 1:
        raise RequestError(f"--seeds must be at least 1, got {arguments.seeds}")
    checkpoints = resolve(arguments.model, base=arguments.base)
    if len(checkpoints) != 1:
        raise RequestError(f"{arguments.model!r} means {len(checkpoints)} checkpoints: noise is that of one")
    lines = _lines(arguments.suite)
    store, data = _folders(arguments)
    device = resolve_device(arguments.device)
    options = Options(
        profile=profiles.get(arguments.profile),
        store=store,
        device=device,
        dtype=arguments.dtype,
        template=_text(arguments.template),
        system=_text(arguments.system),
        judging=JudgeSetup(data=data, store=store, device=device),
    )
    found = noise(checkpoints[0], lines, options, seeds=arguments.seeds, say=show)
    identity = identify(checkpoints[0], store)
    rows = [(one.measure, one.found.parameters, one.found.estimate, one.spreads(), one.why) for one in found]
    about = _about(arguments, options.dtype or checkpoints[0].dtype, device)
    data_out = to_json({"name": checkpoints[0].name, "id": identity.id, "spec": checkpoints[0].spec}, about, rows)
    write_atomically(arguments.output, json.dumps(data_out, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    for line in _table(rows):
        show(line)
    show(f"{arguments.output}: take it into an audit with --geoaudit-noise={arguments.output}")
    return 0


def _table(
    rows: Sequence[tuple[str, Mapping[str, Any], float | None, Sequence[Spread], Mapping[str, str]]],
) -> list[str]:
    """What each source moved each measurement by."""
    from geoaudit.report.clean import visible

    lines = []
    for measure, parameters, estimate, spreads, why in rows:
        source = parameters.get("source")
        lines.append(f"{measure}{f' (source {source})' if isinstance(source, str) else ''}: {estimate:.4g}")
        for one in spreads:
            if one.source == "prompts":
                lines.append(f"    prompts: {one.largest:.4g} holds 95 % of {RESAMPLES} resamples (n = {one.n})")
            else:
                lines.append(
                    f"    {one.source}: {len(one.values)} runs differ by at most {one.largest:.4g} (n = {one.n})"
                )
        lines += [f"    {source}: not varied: {reason}" for source, reason in why.items()]
    return [visible(line) for line in lines]


def _lines(asked: Sequence[str]) -> list[Assertion]:
    """The lines whose measurements are repeated."""
    from geoaudit.audit.suite import CHANGES, read
    from geoaudit.errors import DataMissing, did_you_mean
    from geoaudit.items import SUFFIX, shipped_suites

    shipped = shipped_suites()
    files = []
    for name in asked:
        file = Path(name) if Path(name).is_file() else shipped / f"{name}{SUFFIX}"
        if not file.is_file():
            known = [one.name.removesuffix(SUFFIX) for one in sorted(shipped.glob(f"*{SUFFIX}"))]
            near = did_you_mean(name, known)
            raise DataMissing(f"no suite {name!r}{near}: neither a file nor one of {', '.join(known)}")
        files.append(file)
    if not files:
        files = sorted(Path("assertions").glob(f"*{SUFFIX}"))
    if not files:
        raise RequestError("no suite: name one with --suite, a *.audit.yaml file or the name of a shipped one")
    lines = [line for file in files for line in read(file).assertions]
    return [line for line in lines if line.comparator in CHANGES] or lines


def _about(arguments: argparse.Namespace, dtype: str, device: str) -> dict[str, Any]:
    from datetime import UTC, datetime
    from importlib.metadata import version

    import geoaudit

    return {
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "geoaudit": geoaudit.__version__,
        "environment": {"torch": version("torch"), "transformers": version("transformers"), "device": device},
        "dtype": dtype,
        "profile": arguments.profile,
        "resamples": RESAMPLES,
    }


def _folders(arguments: argparse.Namespace) -> tuple[Path, Path | None]:
    """The store and the data folder."""
    import os

    from platformdirs import user_cache_path

    named = os.environ.get("GEOAUDIT_DATA")
    data = arguments.data or (Path(named) if named else None)
    if data is not None and not data.is_dir():
        raise RequestError(f"the data directory {str(data)!r} does not exist (--data or GEOAUDIT_DATA)")
    return arguments.store or user_cache_path("geoaudit"), data.resolve() if data else None


def _text(given: str | None) -> str | None:
    """What an option says, or what is in the file that it names."""
    if given is None:
        return None
    try:
        return Path(given).read_text(encoding="utf-8") if Path(given).is_file() else given
    except UnicodeDecodeError:
        raise RequestError(f"{given!r} is not UTF-8") from None
    except OSError:  # a text too long for a name is no file
        return given
