"""The plan: which measurements an audit needs, each once, and what each is known by. Nothing here loads a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from geoaudit import judges
from geoaudit.attacks.cases import ADAPTIVE, Cases
from geoaudit.attacks.initial import initial
from geoaudit.attacks.make import cases, targeted
from geoaudit.attacks.stored import cases_sha256, sets
from geoaudit.audit.profiles import Profile
from geoaudit.audit.values import check_parameter
from geoaudit.errors import GeoauditError, RequestError, UnknownName
from geoaudit.judges.setup import JudgeSetup
from geoaudit.measures import intervention_needs, stored_direction, target_needs
from geoaudit.measures.asking import judges_of, new_tokens, problem, unread
from geoaudit.measures.bench import Contract
from geoaudit.measures.carrier_needs import HELD_OUT, with_preset
from geoaudit.measures.definition import Against, Measure, Parameter
from geoaudit.measures.evidence import describe
from geoaudit.measures.inputs import ChatSetting, Source, load_source
from geoaudit.measures.needs import (
    DIRECT,
    PROBE_HARMFUL,
    PROBE_HARMLESS,
    Beliefs,
    CandidateSearch,
    Categories,
    Cells,
    Completions,
    CosineProfiles,
    Damage,
    EditedCompletions,
    Elsewhere,
    Examination,
    Intervention,
    Inversion,
    Judged,
    Need,
    Optimised,
    Probe,
    Projections,
    SubspaceAblation,
    Transfer,
)
from geoaudit.measures.outcome_needs import idle, outcome_problem, with_outcome
from geoaudit.measures.table import dotted, get
from geoaudit.prompts.sources import names
from geoaudit.records import Flag, digest

UTILITY_TOKENS = 128
"""Tokens of an answer whose usefulness is graded."""


@dataclass(frozen=True)
class Planned:
    """One measurement of one checkpoint."""

    checkpoint: str
    measure: str
    parameters: Mapping[str, Any]
    key: str

    @property
    def needs(self) -> tuple[Need, ...]:
        """What it draws from the checkpoint, and from others (`Elsewhere`)."""
        needs: tuple[Need, ...] = dotted(get(self.measure).needs)(self.parameters)
        return needs


def resolve(measure: Measure, given: Mapping[str, Any], profile: Profile) -> dict[str, Any]:
    """Every parameter that the measure reads: as given, else its preset's, the profile's, or the table's default.

    Raises:
        UnknownName: for a parameter that the measure does not have.
        GeoauditError: for a value that it cannot take.
    """
    for name in given:
        if name not in measure.parameters:
            raise UnknownName.among(f"parameter of {measure.name}", name, measure.parameters)
    if "preset" in measure.parameters:
        given = with_preset(given)
    if "outcome" in measure.parameters:
        given = with_outcome(given)
    given = intervention_needs.with_scope(target_needs.with_controls(given))
    resolved = {
        name: check_parameter(name, parameter, given[name]) if name in given else _default(name, parameter, profile)
        for name, parameter in measure.parameters.items()
    }
    if "attack" in resolved:
        if (why := problem(given, resolved["attack"])) is not None:
            raise GeoauditError(why)
        for name in unread(resolved["attack"]):  # what the attack does not read is no part of the measurement
            resolved.pop(name, None)
    if "n_controls" in resolved and (why := intervention_needs.problem(resolved)) is not None:
        raise GeoauditError(why)
    if "outcome" in resolved:
        if (why := outcome_problem(given, resolved)) is not None:
            raise GeoauditError(why)
        for name in idle(resolved):  # nor what the outcome does not
            resolved.pop(name)
    if "n_controls" in resolved:
        if (why := target_needs.target_problem(given, resolved)) is not None:
            raise GeoauditError(why)
        for name in target_needs.idle_for(resolved):  # nor what the target does not
            resolved.pop(name)
    if resolved.get("refusal") == "partial":
        deaf = [name for name in judges_of(resolved) if name.endswith("-strings")]
        if deaf:
            raise GeoauditError(f"the judge {deaf[0]} never says partial refusal, so the rate would be 0 for any model")
    if resolved.get("attack") in ADAPTIVE:
        _sized(given, resolved, profile)
    if resolved.get("attack") == "fixed" and "source" not in given and isinstance(resolved["attacks"], str):
        resolved["source"] = Source(next(one.made_for for one in sets() if one.name == resolved["attacks"]))
    if "max_new_tokens" in resolved and resolved["max_new_tokens"] is None:
        resolved["max_new_tokens"] = new_tokens(judges_of(resolved)) if "judge" in resolved else UTILITY_TOKENS
    return resolved


def check(measure: Measure, given: Mapping[str, Any], profile: Profile, judging: JudgeSetup) -> None:
    """That a measurement could be made of some checkpoint: prompts are there, and those of judges; servers are set up.

    Raises:
        GeoauditError: it could not, whatever the checkpoint is.
    """
    for need in dotted(measure.needs)(resolve(measure, given, profile)):
        prompt_hashes(need, judging.data)
        if isinstance(need, Judged) and judges.info(need.judge).kind != "offline":
            judges.get(need.judge, judging)


def _sized(given: Mapping[str, Any], resolved: dict[str, Any], profile: Profile) -> None:
    """How many behaviours an adaptive attack is made for, and in how many steps, where the suite does not say.

    It answers no question about the wording of plain requests, for which so few behaviours would be too few.
    """
    if "n" not in given:
        resolved["n"] = profile.adaptive["n"]
    if resolved["budget"] is None:
        resolved["budget"] = profile.adaptive["budget"]
    if "paraphrases" in resolved and "paraphrases" not in given:
        resolved["paraphrases"] = False


def _default(name: str, parameter: Parameter, profile: Profile) -> Any:
    if parameter.profile:
        return profile.defaults[name]
    if parameter.type == "chat":
        return ChatSetting()
    if parameter.type == "checkpoint":
        return Against(parameter.default)
    return Source(parameter.default) if parameter.type == "source" else parameter.default


def measurement_key(
    checkpoint_id: str,
    contract: Contract,
    measure: Measure,
    parameters: Mapping[str, Any],
    trained_on: Iterable[str],
    labels: str,
    judging: JudgeSetup,
    others: Any = (),
) -> str:
    """Hash of everything that determines a measurement; no folder and no name of a checkpoint is part of it.

    `labels` is the hash of the human labels that correct rates, empty without any; `others` says what other
    checkpoints it rests on, by their content (and by their names, where the measurement itself names them).
    """
    needs: tuple[Need, ...] = dotted(measure.needs)(parameters)
    for need in needs:
        if isinstance(need, Judged) and judges.info(need.judge).kind == "endpoint":
            judges.get(need.judge, judging)  # a server that is not set up is said before anything is generated
    return digest(
        [
            "measurement",
            checkpoint_id,
            asdict(contract),
            measure.name,
            measure.version,
            {name: describe(value) for name, value in parameters.items()},
            [sha for need in needs for sha in prompt_hashes(need, judging.data)],
            sorted(trained_on),
            judges.rules_sha256(),
            [_weights(need.judge, judging) for need in needs if isinstance(need, Judged)],
            labels,
            others,
        ]
    )


def _weights(judge: str, judging: JudgeSetup) -> list[Any]:
    """What makes a judge that is no rules another one."""
    if judges.info(judge).kind == "endpoint":
        return [judge, judging.endpoint and [digest(judging.endpoint.url), judging.endpoint.model]]
    place = judging.models.get(judge, "")
    files = sorted(Path(place).iterdir()) if Path(place).is_dir() else []
    what = [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files if file.is_file()] or place
    return [judge, what, judging.quantise, judging.dtype, judging.device_map]


def prompt_hashes(need: Need, data: Path | None) -> tuple[str, ...]:
    """Hashes of the prompt sets that a need reads, and of the cases that attacks make of them."""
    found = tuple(_sha(source, n, data, _stamp(source.file)) for source, n in sources(need))
    if isinstance(need, Intervention) and need.file is not None:
        found += (stored_direction.sha256(need.file),)
    if isinstance(need, Completions | Optimised) and need.attack.adaptive:
        begins = need.attack.initial
        return (*found, _aimed(need.source, need.n, begins, data, (_stamp(need.source.file), _stamp(begins))))
    if isinstance(need, Completions) and need.attack != DIRECT:
        made = cases_of(need, data)
        if not made.cases:
            reasons = ", ".join(f"{n} {reason}" for reason, n in made.skipped.items())
            raise RequestError(
                f"no stored attack is for a behaviour of {need.source.name!r} ({reasons}); `behavior_id`, `goal` or "
                "`behavior` of a case must name a prompt of the source"
            )
        asked = cases_sha256(made.cases)
        found += (digest([need.attack.system, asked]),)
    return found


@cache
def _aimed(source: Source, n: int | None, begins: str, data: Path | None, stamps: tuple[Any, Any]) -> str:
    """Hash of the targets that an adaptive attack aims at, and of the prompts that it begins with."""
    aims = targeted(load_source(source, data).first(n), data).cases
    return digest(
        [[[case.id, case.text, case.prefill] for case in aims], list(initial(begins, data)) if begins else []]
    )


def sources(need: Need) -> tuple[tuple[Source, int | None], ...]:
    """What a need reads of which prompt source; a search its validation prompts last."""
    match need:
        case Completions(source=source, n=n) | Optimised(source=source, n=n):
            return ((source, n),)
        case Judged(completions=completions):
            return sources(completions)
        case Probe(n_train=n_train):
            return ((Source(PROBE_HARMFUL[0]), n_train), (Source(PROBE_HARMLESS[0]), n_train))
        case Categories(n_train=n_train):
            return ((Source(PROBE_HARMLESS[0]), n_train),)
        case Cells() | Beliefs():
            return tuple(each for answered in need.answered for each in sources(answered))
        case (
            CandidateSearch(probe=probe, n_validation=n)
            | Projections(probe=probe, n_validation=n)
            | Inversion(probe=probe, n_validation=n)
        ):
            return (*sources(probe), (Source(PROBE_HARMFUL[1]), n), (Source(PROBE_HARMLESS[1]), n))
        case SubspaceAblation(search=search, n=n):
            return (*sources(search), (Source(HELD_OUT), n))
        case Intervention(search=search, source=source, n=n):
            return (*sources(search), (source, n))
        case EditedCompletions(intervention=intervention):
            return sources(intervention)
        case Damage(intervention=intervention):
            return (*sources(intervention), *sources(need.answers))
        case CosineProfiles(made_of=made_of, n_validation=n):
            read = tuple(each for one in made_of for each in sources(one))
            return (*read, (Source(PROBE_HARMFUL[1]), n), (Source(PROBE_HARMLESS[1]), n))
        case Examination(search=search) | Transfer(search=search):
            return sources(search)
        case Elsewhere(need=there):
            return sources(there)


def _stamp(file: str) -> tuple[int, int] | None:
    """What changes when a file of the user's is edited while the program runs."""
    if not file or not Path(file).is_file():
        return None
    about = Path(file).stat()
    return about.st_mtime_ns, about.st_size


@cache
def _sha(source: Source, n: int | None, data: Path | None, stamp: tuple[int, int] | None) -> str:
    return load_source(source, data).first(n).sha256


def cases_of(need: Completions, data: Path | None) -> Cases:
    """What an attack makes of the prompts of its source; of an adaptive one the requests, which it adds to."""
    if need.attack.adaptive:
        need = replace(need, attack=DIRECT)
    return _cases(need, data, _stamp(need.attack.file))


@cache
def _cases(need: Completions, data: Path | None, stamp: tuple[int, int] | None) -> Cases:
    return cases(need.attack, load_source(need.source, data).first(need.n), data)


def fewer(planned: Planned, given: Mapping[str, Any]) -> Flag | None:
    """`fewer-prompts`: a line asks for more prompts than its source holds; what a profile asks for is no promise.

    Args:
        planned: the measurement.
        given: the line's parameters as written.
    """
    need = next((need for need in planned.needs if isinstance(need, Completions)), None)
    if need is None or given.get("n") is None:
        return None
    n, there = given["n"], _held(need.source, _stamp(need.source.file))
    if n <= there:
        return None
    return Flag("fewer-prompts", "note", f"asked for {n} prompts, and {need.source.name} holds {there}")


@cache
def _held(source: Source, stamp: tuple[int, int] | None) -> int:
    """How many prompts a source has; one with a name says so without being read."""
    if source.file:
        return len(load_source(source, None).prompts)
    return next(one.n for one in names() if one.name == source.name)


def behaviours(planned: Planned, data: Path | None) -> int:
    """How many behaviours the first set of completions that a measurement needs is about."""
    need = next(need for need in planned.needs if isinstance(need, Completions))
    return len({case.prompt.id for case in cases_of(need, data).cases})
