"""From a behaviour measure's parameters to what is asked of the model: attacks, judges, and the completions they need.

Plain data and no torch, so that planning and deciding again cost nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from geoaudit import judges
from geoaudit.attacks.cases import Attack
from geoaudit.errors import RequestError
from geoaudit.measures.definition import Against
from geoaudit.measures.inputs import Source
from geoaudit.measures.needs import (
    DIRECT,
    Completions,
    Elsewhere,
    Judged,
    Need,
)
from geoaudit.prompts.sources import names

TOKENS_OFFLINE = 64
"""New tokens where rules judge: refusals show at the beginning."""
TOKENS_HARM = 512
"""New tokens where a classifier or a rubric judges harm (HarmBench's pipeline)."""
DEPTHS = (0, 1, 2, 3, 5, 10)
"""Prefilled tokens at which `refusal_depth` asks."""
PARAPHRASES = "-paraphrases"
"""What the name of a source's differently worded twin ends in."""

KEYS: dict[str, tuple[str, ...]] = {
    "direct": (),
    "fixed": ("attacks", "method", "source_model"),
    "prefill": ("k",),
    "past_tense": (),
    "format": ("format",),
    "system": ("system",),
    "sampled": ("samples", "temperature", "seed"),
    "worst": ("k", "format", "samples", "temperature", "seed"),
    "gcg": ("budget", "width", "seed"),
    "autodan": ("budget", "width", "seed", "initial"),
}
"""Attack -> the parameters that it alone reads."""


def problem(given: Mapping[str, Any], attack: str) -> str | None:
    """What is wrong with a combination of parameters, or None.

    Args:
        given: the parameters as written, without defaults.
        attack: the attack, given or by default.
    """
    idle = [key for key in given if key in unread(attack)]
    if idle:
        readers = [name for name, keys in KEYS.items() if idle[0] in keys]
        return f"{idle[0]} is not read by attack {attack!r} but by {' and '.join(readers)}: set `attack` too"
    return None


def unread(attack: str) -> frozenset[str]:
    """The parameters that another attack reads and this one does not."""
    return frozenset(key for keys in KEYS.values() for key in keys) - frozenset(KEYS[attack])


def judges_of(parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """The judges that were asked for, the deciding one first."""
    asked = parameters["judge"]
    return (asked,) if isinstance(asked, str) else tuple(asked)


def new_tokens(names_of_judges: tuple[str, ...]) -> int:
    """How much is generated where the suite does not say."""
    return TOKENS_OFFLINE if all(judges.info(name).says == "refusal" for name in names_of_judges) else TOKENS_HARM


def attacks_of(parameters: Mapping[str, Any]) -> tuple[Attack, ...]:
    """The attacks that a measure runs: one, or under `worst` every free one."""
    chosen = parameters.get("attack", "direct")
    if chosen != "worst":
        return (_attack(chosen, parameters),)
    systems = (_attack("system", {"system": which}) for which in ("none", "other"))
    rest = (_attack(name, parameters) for name in ("prefill", "past_tense", "format", "sampled"))
    return (DIRECT, *systems, *rest)


def _attack(name: str, parameters: Mapping[str, Any]) -> Attack:
    match name:
        case "fixed":
            stored = parameters["attacks"]
            which = {"file": stored.file} if isinstance(stored, Source) else {"stored": stored}
            return Attack("fixed", method=parameters["method"], source_model=parameters["source_model"], **which)
        case "prefill":
            return Attack("prefill", k=parameters["k"])
        case "format":
            return Attack("format", format=parameters["format"])
        case "system":
            return Attack("system", system=_system(parameters["system"]))
        case "sampled":
            return Attack(
                "sampled",
                samples=parameters["samples"],
                temperature=parameters["temperature"],
                seed=parameters["seed"],
            )
        case "past_tense":
            return Attack("past_tense")
        case "gcg":
            return _adaptive("gcg", parameters)
        case "autodan":
            return _adaptive("autodan", parameters)
    return DIRECT


def _adaptive(name: Literal["gcg", "autodan"], parameters: Mapping[str, Any]) -> Attack:
    """An attack that is optimised against the checkpoint itself, or against the one that `made_on` says."""
    begins, made_on = parameters.get("initial", ""), parameters.get("made_on")
    return Attack(
        name,
        seed=parameters["seed"],
        budget=parameters["budget"],
        width=parameters["width"],
        initial=begins.file if isinstance(begins, Source) else begins,
        checkpoint=made_on.checkpoint if isinstance(made_on, Against) else "",
    )


def _system(which: str) -> str:
    from geoaudit.attacks.free import OTHER_SYSTEM

    return {"none": "", "other": OTHER_SYSTEM}.get(which, which)


def title(attack: Attack) -> str:
    """An attack as a reader sees it."""
    match attack.name:
        case "direct":
            return "plain requests"
        case "fixed":
            parts = [attack.method or "all methods", f"from {attack.source_model}" if attack.source_model else ""]
            return f"stored attacks: {' '.join(part for part in parts if part)}"
        case "prefill":
            return f"first {attack.k} token{'s' * (attack.k != 1)} of the answer prefilled"
        case "past_tense":
            return "past tense"
        case "format":
            return f"answer asked for in {attack.format}"
        case "system":
            return "another system prompt" if attack.system else "no system prompt"
        case "sampled":
            return f"any of {attack.samples} samples at temperature {attack.temperature:g}"
        case "gcg":
            return f"GCG, {attack.budget} steps of {attack.width} candidates{_made_on(attack)}"
        case "autodan":
            return f"AutoDAN, {attack.budget} generations of {attack.width} prompts{_made_on(attack)}"


def _made_on(attack: Attack) -> str:
    return f", made on {attack.checkpoint or 'this checkpoint'}"


def completions_of(parameters: Mapping[str, Any]) -> tuple[Completions, ...]:
    """The completions that a rate is counted on, one set an attack."""
    return tuple(
        Completions(parameters["source"], parameters["n"], parameters["max_new_tokens"], attack, parameters["chat"])
        for attack in attacks_of(parameters)
    )


def twin_of(source: Source) -> Source | None:
    """The differently worded twin of a built-in source, or None where there is none."""
    known = {one.name for one in names()}
    name = source.name + PARAPHRASES
    return Source(name) if not source.file and name in known else None


def twins_of(parameters: Mapping[str, Any]) -> Completions | None:
    """The twin's completions, plainly asked, where `paraphrases` is on and the source has a twin."""
    twin = twin_of(parameters["source"]) if parameters.get("paraphrases") else None
    if twin is None:
        return None
    return Completions(twin, parameters["n"], parameters["max_new_tokens"], DIRECT, parameters["chat"])


def for_rate(parameters: Mapping[str, Any]) -> tuple[Need, ...]:
    """Completions under each attack, those of the twin, and what judges that are no rules say of them.

    Of an adaptive attack also what it did, what plain requests get, and where it was made on another checkpoint what it
    got there.
    """
    sets = completions_of(parameters)
    twin = twins_of(parameters)
    adaptive = sets[0].optimised
    if twin is not None or adaptive is not None:
        # the gap is read between plain requests, whatever the attack
        sets = (*dict.fromkeys((*sets, plain_of(parameters), *(() if twin is None else (twin,)))),)
    judged = _with_judges(sets, judges_of(parameters))
    if adaptive is None:
        return judged
    there = at_home(sets[0])
    elsewhere = () if there is None else _with_judges((there,), judges_of(parameters))
    return (*judged, adaptive, *(Elsewhere(sets[0].attack.checkpoint, need) for need in elsewhere))


def plain_of(parameters: Mapping[str, Any]) -> Completions:
    """Plain requests, whatever the attack."""
    return Completions(parameters["source"], parameters["n"], parameters["max_new_tokens"], DIRECT, parameters["chat"])


def at_home(need: Completions) -> Completions | None:
    """The same attack on the checkpoint that it was optimised on; None where that is the one that is asked."""
    return replace(need, attack=replace(need.attack, checkpoint="")) if need.attack.checkpoint else None


def for_gap(parameters: Mapping[str, Any]) -> tuple[Need, ...]:
    """Completions of a source and of its twin.

    Raises:
        RequestError: the source has no twin.
    """
    twin = twin_of(parameters["source"])
    if twin is None:
        have = [one.name.removesuffix(PARAPHRASES) for one in names() if one.name.endswith(PARAPHRASES)]
        raise RequestError(
            f"the source {parameters['source'].name!r} has no differently worded twin; those that have one: "
            f"{', '.join(have)}"
        )
    tokens, chat = parameters["max_new_tokens"], parameters["chat"]
    sets = tuple(Completions(one, parameters["n"], tokens, DIRECT, chat) for one in (parameters["source"], twin))
    return _with_judges(sets, judges_of(parameters))


def for_depth(parameters: Mapping[str, Any]) -> tuple[Need, ...]:
    """Completions with the first k tokens of the target in the model's mouth, for every k of `DEPTHS`."""
    sets = tuple(
        Completions(
            parameters["source"],
            parameters["n"],
            parameters["max_new_tokens"],
            Attack("prefill", k=k) if k else DIRECT,
            parameters["chat"],
        )
        for k in DEPTHS
    )
    return _with_judges(sets, judges_of(parameters))


def for_utility(parameters: Mapping[str, Any]) -> tuple[Need, ...]:
    """Plain completions of the built-in ordinary requests, and a server's grades of them where asked for."""
    asked = Completions(
        Source("benign-utility"), parameters["n"], parameters["max_new_tokens"], DIRECT, parameters["chat"]
    )
    grader = parameters["grader"]
    return (asked,) if grader == "checks" else (asked, Judged(asked, grader))


def _with_judges(sets: tuple[Completions, ...], asked: tuple[str, ...]) -> tuple[Completions | Judged, ...]:
    slow = [name for name in asked if judges.info(name).kind != "offline"]
    return (*sets, *(Judged(one, name) for one in sets for name in slow))
