"""`geoaudit attack`: prompts optimised against a checkpoint, kept in a file that a suite replays.

A run that is stopped keeps what it has in the file, and the same command goes on from there: with a behaviour that was
under attack at its next step, with more `--steps` where fewer ended. A file holds one attack: same settings but the
number of steps, same model, same chat format.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from geoaudit.attacks import make, stored, trace
from geoaudit.attacks.initial import REQUEST, initial
from geoaudit.attacks.trace import Progress, Trace
from geoaudit.errors import DataMissing, RequestError, UnknownName
from geoaudit.model.checkpoint import Checkpoint, resolve
from geoaudit.model.identity import identify
from geoaudit.model.load import load, resolve_device
from geoaudit.prompts import sources
from geoaudit.records import digest

if TYPE_CHECKING:
    from geoaudit.attacks.autodan import AutoDAN
    from geoaudit.attacks.gcg import GCG
    from geoaudit.attacks.target import Aim
    from geoaudit.model.loaded import LoadedModel

TOGETHER = {"gcg": 5, "autodan": 1}
"""Behaviours in a batch where it is not said: a generation of `autodan` fills the passes by itself."""
PRESETS = {"gcg": ("harmbench", "nanogcg"), "autodan": ("harmbench", "original")}
"""Published settings of each attack."""
_EVERY = 10.0
"""Seconds between two lines of progress, at least."""


@dataclass(frozen=True, slots=True)
class Request:
    """What `geoaudit attack` was asked for."""

    attack: Literal["gcg", "autodan"]
    model: str
    """Anything that `--geoaudit-model` takes, for one checkpoint."""
    output: Path
    store: Path
    """Where hashes and conversions are kept."""
    source: str = "harmful"
    """Of the behaviours."""
    n: int = 10
    """The first so many of them."""
    steps: int | None = None
    """None for the attack's default."""
    width: int | None = None
    """Candidates a step (`gcg`) or prompts a generation (`autodan`); None for the attack's default."""
    seed: int | None = None
    """None for the attack's default."""
    preset: str = ""
    """Settings of a published version, a key of `PRESETS`; empty for the attack's defaults."""
    early_stop: bool = False
    """Whether a behaviour is done when its target is the model's likeliest answer."""
    together: int | None = None
    """Behaviours in a batch; None for `TOGETHER`."""
    initial: str = "jailbreakbench"
    """`autodan`: the prompts to begin with, a set of stored attacks or a file."""
    base: str | None = None
    """An adapter's base."""
    device: str = "auto"
    dtype: str | None = None
    """None for the checkpoint's own."""
    template: str | None = None
    """Name of a chat format, or the text of one; None for the checkpoint's own."""
    system: str | None = None
    """A system prompt; None leaves it to the template."""
    data: Path | None = None
    """The data folder."""
    fresh: bool = False
    """Begin again, whatever the output holds."""


def run(asked: Request, show: Callable[[str], None] = print) -> list[Trace]:
    """Attack the behaviours that the output does not hold yet, and write them to it.

    Args:
        asked: see `Request`; checked before anything is loaded.
        show: shows a line.

    Returns:
        The traces of the behaviours asked for, in their order.

    Raises:
        RequestError: something asked for cannot be right, or the output holds another attack's traces.
        BrokenCheckpoint: the weights are broken.
        KeyboardInterrupt: passed on; what is done is in the file.
    """
    checkpoint, settings = _checked(asked)
    templates = _initial(asked) if asked.attack == "autodan" else ()
    cases = make.targeted(sources.load(asked.source, data=asked.data).first(asked.n), asked.data)
    here = [] if asked.fresh or not asked.output.exists() else trace.read(asked.output)

    from geoaudit.attacks.target import Aim  # brings torch, behind everything that can be wrong without it

    aims = [Aim(case.prompt.id, case.text, case.prefill) for case in cases.cases]
    said = _said(settings, templates)
    device, dtype = resolve_device(asked.device), asked.dtype or checkpoint.dtype
    source = digest([identify(checkpoint, asked.store).id, asked.template, asked.system, dtype])
    for one in here:
        _check_same(asked.output, one, said, source, {aim.id: aim for aim in aims})
    done = {one.aim.id: one for one in here}
    order = [aim.id for aim in aims]

    def keep(found: Sequence[Trace]) -> None:
        for one in found:
            done[one.aim.id] = replace(one, settings=said, source_model=checkpoint.name, source_sha256=source)
        first = {identity: done[identity] for identity in order if identity in done}
        trace.write(asked.output, {**first, **done}.values())

    missing = [aim for aim in aims if aim.id not in done or not _spent(done[aim.id], settings.steps)]
    show(f"{asked.attack} on {checkpoint.name}: {_opening(asked, len(aims), settings, templates)}")
    if len(missing) < len(aims):
        show(f"{len(aims) - len(missing)} of them are in {asked.output} already")
    if missing:
        _check_writable(asked.output)
        loaded = _open(checkpoint, asked, device, dtype)
        try:
            _attack(loaded, missing, settings, templates, asked.together or TOGETHER[asked.attack], done, keep, show)
        except KeyboardInterrupt:
            n = sum(one in done for one in order)
            show(f"{n} of {len(order)} behaviours are in {asked.output}; the same command goes on from there")
            raise
    found = [done[identity] for identity in order]
    for line in summary(found, asked):
        show(line)
    return found


def _attack(
    loaded: LoadedModel,
    aims: Sequence[Aim],
    settings: GCG | AutoDAN,
    templates: Sequence[str],
    together: int,
    before: Mapping[str, Trace],
    keep: Callable[[Sequence[Trace]], None],
    show: Callable[[str], None],
) -> None:
    """Attack the behaviours batch by batch; what is done of a batch is kept even if it is stopped."""
    missing = sum(settings.steps - before[aim.id].last.step if aim.id in before else settings.steps + 1 for aim in aims)
    clock = _Clock(missing, settings.steps, show)
    for start in range(0, len(aims), together):
        batch = aims[start : start + together]
        latest: Sequence[Trace] = ()

        def told(number: int, traces: Sequence[Trace]) -> None:
            nonlocal latest
            latest = traces
            if clock.told(number, traces):
                keep(traces)

        resume = {aim.id: before[aim.id] for aim in batch if aim.id in before}
        clock.begin(resume)
        try:
            latest = _attacked(loaded, batch, settings, templates, told, resume)
        finally:
            if latest:
                keep(latest)
        for number, one in enumerate(latest, start=start + 1):
            show(_line(f"[{number}/{len(aims)}]", one))


def summary(found: Sequence[Trace], asked: Request) -> list[str]:
    """What the traces say in a few lines, and how a suite puts them to a model."""
    n = len(found)
    before = sum(one.steps[0].loss for one in found) / n
    after = sum(one.best.loss for one in found) / n
    lowered = sum(one.lowered for one in found)
    where = json.dumps(str(asked.output.resolve()))
    return [
        f"loss lowered on {lowered} of {n} behaviours, in the mean from {before:.3f} to {after:.3f} nats a token",
        f"{asked.output}: put them to a model by",
        f"  with: {{source: {asked.source}, attack: fixed, attacks: {{file: {where}}}, n: {n}}}",
    ]


def _checked(asked: Request) -> tuple[Checkpoint, GCG | AutoDAN]:
    """The one checkpoint and the settings; raises for what needs no model to be wrong."""
    for name, value in (("-n", asked.n), ("--together", asked.together)):
        if value is not None and value < 1:
            raise RequestError(f"{name} must be at least 1, got {value}")
    if asked.output.suffix.lower() != ".jsonl":
        raise RequestError(f"the traces are JSON lines: name a file that ends in .jsonl, got {asked.output}")
    found = resolve(asked.model, base=asked.base)
    if len(found) != 1:
        raise RequestError(f"--model {asked.model!r} means {len(found)} checkpoints: an attack is made on one")
    sources.check(asked.source, asked.data)
    return found[0], _settings(asked)


def _settings(asked: Request) -> GCG | AutoDAN:
    if asked.preset and asked.preset not in PRESETS[asked.attack]:
        raise UnknownName.among(f"preset of {asked.attack}", asked.preset, PRESETS[asked.attack])
    width = "width" if asked.attack == "gcg" else "population"
    given: dict[str, Any] = {"steps": asked.steps, "seed": asked.seed, width: asked.width}
    given = {name: value for name, value in given.items() if value is not None}
    if asked.early_stop:
        given["early_stop"] = True
    if asked.attack == "gcg":
        from geoaudit.attacks.gcg import GCG

        match asked.preset:
            case "harmbench":
                return GCG.harmbench(**given)
            case "nanogcg":
                return GCG.nanogcg(**given)
            case _:
                return GCG(**given)
    from geoaudit.attacks import autodan

    return replace(autodan.PRESETS.get(asked.preset, autodan.AutoDAN()), **given)


def _initial(asked: Request) -> tuple[str, ...]:
    try:
        return initial(asked.initial, asked.data)
    except DataMissing as error:
        if asked.initial not in {one.name for one in stored.sets()}:
            raise
        raise DataMissing(
            f"autodan needs prompts to begin with, and those of {asked.initial!r} are not there. Give your own with "
            f"--initial FILE.txt, {REQUEST} where the request goes and --- between two of them. Or: {error}"
        ) from None


def _opening(asked: Request, n: int, settings: Any, templates: Sequence[str]) -> str:
    """What is to be done, for the first line."""
    fewer = f" (it has no more; {asked.n} were asked for)" if n < asked.n else ""
    steps = "1 step" if settings.steps == 1 else f"{settings.steps} steps"
    tried = f"{settings.population} prompts" if templates else f"{settings.width} candidates"
    begun = f", begun with {len(templates)} of {asked.initial} (--initial FILE: with yours)" if templates else ""
    return f"{n} behaviours of {asked.source}{fewer}, {steps} of {tried} each{begun}"


def _said(settings: GCG | AutoDAN, templates: Sequence[str]) -> dict[str, Any]:
    """The settings as a file holds them."""
    said: dict[str, Any] = asdict(settings)
    if templates:
        said["initial"] = digest(list(templates))
    return json.loads(json.dumps(said))  # type: ignore[no-any-return]


def _check_same(output: Path, there: Trace, said: Mapping[str, Any], source: str, aims: Mapping[str, Aim]) -> None:
    """That a trace that is there already is of the attack that is asked for."""
    names = [name for name in dict.fromkeys((*said, *there.settings)) if name != "steps"]
    differ = [name for name in names if said.get(name) != there.settings.get(name)]
    what = ""
    if differ:
        name = differ[0]
        what = f"{name} {there.settings.get(name)!r}, and {said.get(name)!r} is asked for now"
    elif there.source_sha256 != source:
        what = f"another model than is asked for now ({there.source_model}), or another chat format or dtype of it"
    elif there.aim != aims.get(there.aim.id, there.aim):
        what = f"another text for {there.aim.id}"
    if what:
        raise RequestError(
            f"{output} holds traces of another attack: {what}. Name another file with -o, or replace it with --fresh"
        )


def _check_writable(output: Path) -> None:
    """That the traces can be kept, before hours are spent on them."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output.parent):
            pass
    except OSError as error:
        raise RequestError(f"cannot write to {output.parent}: {error.strerror}. Name another file with -o") from None


def _open(checkpoint: Checkpoint, asked: Request, device: str, dtype: str) -> LoadedModel:
    from geoaudit.model.chat import Chat
    from geoaudit.model.loaded import LoadedModel

    model, tokenizer = load(checkpoint, store=asked.store, device=device, dtype=dtype)
    return LoadedModel(model, tokenizer, Chat(tokenizer, asked.template, asked.system))


def _attacked(
    loaded: LoadedModel,
    aims: Sequence[Aim],
    settings: Any,
    templates: Sequence[str],
    told: Progress,
    resume: Mapping[str, Trace],
) -> list[Trace]:
    if templates:
        from geoaudit.attacks import autodan

        return autodan.attack(loaded, aims, settings, templates, progress=told, resume=resume)
    from geoaudit.attacks import gcg

    return gcg.attack(loaded, aims, settings, progress=told, resume=resume)


def _spent(one: Trace, steps: int) -> bool:
    """Whether an attack is over."""
    return bool(one.stopped) or one.last.step >= steps


class _Clock:
    """Says how far a run is and how long the rest takes, by the steps that were made."""

    def __init__(self, missing: int, steps: int, show: Callable[[str], None]) -> None:
        self._missing, self._steps, self._show = missing, steps, show
        self._before = self._made = self._had = 0
        self._started = self._said = time.monotonic()

    def begin(self, resume: Mapping[str, Trace]) -> None:
        """A batch begins, some of whose steps are from an earlier run."""
        self._before = self._made
        self._had = sum(len(one.steps) for one in resume.values())

    def told(self, number: int, traces: Sequence[Trace]) -> bool:
        """A step of the batch is done; whether it was time to say so."""
        self._made = self._before + sum(len(one.steps) for one in traces) - self._had
        now = time.monotonic()
        if now - self._said < _EVERY or not self._made:
            return False
        self._said = now
        left = (now - self._started) / self._made * max(0, self._missing - self._made)
        loss = sum(one.best.loss for one in traces) / len(traces)
        which = traces[0].aim.id if len(traces) == 1 else f"{len(traces)} behaviours"
        self._show(f"  {which}: step {number} of {self._steps}, loss {loss:.3f}, at most {_duration(left)} left")
        return True


def _line(place: str, one: Trace) -> str:
    why = f" ({one.stopped})" if one.stopped else ""
    return (
        f"{place} {one.aim.id}: loss {one.steps[0].loss:.3f} to {one.best.loss:.3f} in {one.last.step} "
        f"step{'' if one.last.step == 1 else 's'}{why}, "
        f"{_duration(one.seconds)}, {one.tokens} tokens"
    )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
