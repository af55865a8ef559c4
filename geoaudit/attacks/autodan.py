"""AutoDAN: a genetic search over readable prompts for one under which the target is likely (Liu et al. 2024).

A prompt is a template of paragraphs and sentences with one place for the request. Each generation keeps the best,
draws parents by softmax(-loss), crosses their sentences and rewords some children (Liu et al., arXiv 2310.04451,
section 3; HarmBench's port, Mazeika et al. 2024). The fitness is the loss of the prompt as it is sent
(`target.string_losses`: chat format, BOS and padding mask as for a user), so it does not depend on the prompts beside
it. The request stands in every prompt once, as it is: operators see only the text around it.

What is not the published attack: prompts are reworded by a table of synonyms (`words`), not by a language model, so a
child is mutated more often than there, and less.
"""

from __future__ import annotations

import hashlib
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from geoaudit.attacks.crossing import crossed, joined, split
from geoaudit.attacks.initial import REQUEST, TARGET, template
from geoaudit.attacks.target import Aim, target_ids, text_losses
from geoaudit.attacks.trace import Progress, Step, Trace
from geoaudit.attacks.words import reworded, words
from geoaudit.errors import BrokenCheckpoint, RequestError
from geoaudit.model.loaded import LoadedModel

_PARAGRAPH_LEVEL = 5
"""`hga`: sentences are crossed in every generation whose number this divides, words exchanged in the others."""
_GROWTH = 1.25
"""Templates longer than this times the longest initial one are not kept, so that a step's cost stays what it was."""


@dataclass(frozen=True, slots=True)
class AutoDAN:
    """Settings. Frozen and hashable.

    Raises:
        RequestError: a value is out of its range.
    """

    steps: int = 100
    """Generations after the initial one."""
    population: int = 64
    """Prompts a generation."""
    elite: float = 0.1
    """Share of a generation, rounded down but one at least, that goes on as it is."""
    crossover: float = 0.5
    """Chance that two parents are crossed."""
    points: int = 5
    """Places, at most, at which a paragraph is cut when it is crossed."""
    mutation: float = 0.5
    """Chance that a child is reworded."""
    share: float = 0.1
    """Chance that a word of the table is exchanged in a child that is."""
    levels: Literal["ga", "hga"] = "ga"
    """`hga` crosses sentences in every fifth generation only and in the others exchanges words by how prompts with them
    did (momentum word scores); `ga` crosses in all."""
    patience: int = 0
    """Generations without a lower loss after which a behaviour is given up; 0 for never."""
    early_stop: bool = False
    """Whether a behaviour is done when every token of its target is the likeliest behind the best prompt."""
    check_every: int = 5
    """Generations after which `attack` asks its `stop`."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("steps", 0), ("population", 2), ("points", 1), ("patience", 0), ("check_every", 1)):
            if (value := getattr(self, name)) < least:
                raise RequestError(f"autodan: {name} is a whole number from {least} on, got {value!r}")
        for name in ("elite", "crossover", "mutation", "share"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise RequestError(f"autodan: {name} is a share from 0 to 1, got {value!r}")
        if self.levels not in ("ga", "hga"):
            raise RequestError(f"autodan: levels is ga or hga, got {self.levels!r}")

    @property
    def elites(self) -> int:
        """Prompts of a generation that go on as they are."""
        return min(max(1, math.floor(self.elite * self.population)), self.population - 1)


PRESETS: dict[str, AutoDAN] = {
    "harmbench": AutoDAN(mutation=0.01, patience=10),
    "original": AutoDAN(population=256, elite=0.05, mutation=0.01, levels="hga", check_every=1, seed=20),
}
"""The constants of HarmBench's port and of the authors' release. Both still differ in what rewords a prompt; HarmBench
also asks for `Developer Mode` in the target, which is not done here, so that losses can be compared with those of
other attacks."""


@dataclass(slots=True)
class _Search:
    """One behaviour under attack."""

    aim: Aim
    ranked: list[tuple[float, str]] = field(default_factory=list)
    """(loss, template) of the current generation, the lowest loss first."""
    known: dict[str, tuple[float, bool]] = field(default_factory=dict)
    """Of the generation: template -> loss, and whether every token of the target is the likeliest."""
    scores: dict[str, float] = field(default_factory=dict)
    """`hga`: word -> momentum score, nats."""
    steps: list[Step] = field(default_factory=list)
    since: int = 0
    """Generations since the loss was last lowered."""
    stopped: str = ""


def attack(
    loaded: LoadedModel,
    aims: Sequence[Aim],
    settings: AutoDAN,
    initial: Sequence[str],
    *,
    progress: Progress | None = None,
    stop: Callable[[Aim, Step], bool] | None = None,
    resume: Mapping[str, Trace] | None = None,
    source_model: str = "",
) -> list[Trace]:
    """Attack every behaviour; all of them share each generation's passes, and in float32 none depends on another.

    Args:
        loaded: the model, in eval mode.
        aims: the behaviours, ids all different.
        settings: see `AutoDAN`.
        initial: templates to begin with (`initial.initial`); where there are fewer than the population, the rest are
            reworded copies of them, in turn.
        progress: called after the initial generation (step 0) and after each other.
        stop: asked every `settings.check_every` generations whether the best prompt so far is good enough, such as
            when the model's answer to it is no refusal.
        resume: traces of an earlier run with these settings, by the aim's id: they are gone on with from their last
            generation, as if there had been no interruption.
        source_model: name of the model, for the traces.

    Returns:
        A trace a behaviour, in order. Step 0 is the best of the initial generation; the loss never rises. `stopped` is
        `matched` under `early_stop`, `answered` where `stop` said so, `patience` where the behaviour was given up.

    Raises:
        RequestError: no initial template, one with several places for the request or too long for the model, or the
            same id twice.
        BrokenCheckpoint: a loss is not finite.
    """
    if len({aim.id for aim in aims}) != len(aims):
        raise RequestError("autodan: two behaviours have the same id, so their steps could not be told apart")
    if not initial:
        raise RequestError("autodan: no initial prompts; give the templates of `attacks.initial.initial`")
    seeds = list(dict.fromkeys(joined(split(template(one))) for one in initial))
    _check_fits(loaded, aims, seeds)
    said = asked(settings, initial)
    searches = [_begun(aim, (resume or {}).get(aim.id)) for aim in aims]

    def traces() -> list[Trace]:
        return [_trace(one, said, source_model) for one in searches]

    for step in range(settings.steps + 1):
        going = [one for one in searches if not one.stopped and len(one.steps) == step]
        if not going:
            continue
        started = time.monotonic()
        generations = []
        for search in going:
            rng = _rng(settings.seed, search.aim.id, step)
            made = _first(seeds, settings, rng) if step == 0 else _next(search, settings, step, seeds, rng)
            generations.append(made)
        tokens = _evaluate(loaded, going, generations)
        seconds = (time.monotonic() - started) / len(going)
        for search, generation, read in zip(going, generations, tokens, strict=True):
            _noted(search, settings, Step(step, *_best(search, generation), seconds, read), stop)
        if progress is not None:
            progress(step, traces())
    return traces()


def _best(search: _Search, generation: Sequence[str]) -> tuple[float, str]:
    """Rank a generation; the lowest loss, and the text that has it."""
    search.ranked = sorted(((search.known[one][0], one) for one in generation), key=lambda pair: pair[0])
    search.known = {one: search.known[one] for one in generation}  # no more than a search that goes on would know
    loss, best = search.ranked[0]
    return loss, filled(best, search.aim)


def _noted(search: _Search, settings: AutoDAN, step: Step, stop: Callable[[Aim, Step], bool] | None) -> None:
    """Keep a step, and see whether it was the last one."""
    lowered = not search.steps or step.loss < search.steps[-1].loss
    search.since = 0 if lowered else search.since + 1
    search.steps.append(step)
    if settings.early_stop and search.known[search.ranked[0][1]][1]:
        search.stopped = "matched"
    elif stop is not None and step.step % settings.check_every == 0 and stop(search.aim, step):
        search.stopped = "answered"
    elif settings.patience and search.since >= settings.patience:
        search.stopped = "patience"
    if settings.levels == "hga":
        _score(search)


def _begun(aim: Aim, earlier: Trace | None) -> _Search:
    """A search that begins, or goes on where a trace ended."""
    search = _Search(aim)
    if earlier is not None:
        kept = earlier.extra
        search.ranked = [(float(loss), str(one)) for loss, one in kept["generation"]]
        search.known = {one: (loss, False) for loss, one in search.ranked}
        search.scores = dict(kept["scores"])
        search.since = int(kept["since"])
        search.steps = list(earlier.steps)
        search.stopped = earlier.stopped
    return search


def _trace(search: _Search, said: Mapping[str, Any], source_model: str) -> Trace:
    extra = {
        "template": search.ranked[0][1],
        "generation": [[loss, one] for loss, one in search.ranked],
        "scores": dict(search.scores),
        "since": search.since,
    }
    return Trace("autodan", search.aim, source_model, said, tuple(search.steps), search.stopped, extra=extra)


def asked(settings: AutoDAN, initial: Sequence[str]) -> Mapping[str, Any]:
    """What a trace keeps of the settings: theirs, and a hash of the initial prompts."""
    return {**asdict(settings), "initial": hashlib.sha256("\0".join(initial).encode()).hexdigest()}


def filled(text: str, aim: Aim) -> str:
    """A template with the behaviour's request, once and as it is, and its target wherever the template asks for it."""
    before, _, behind = text.partition(REQUEST)
    return before.replace(TARGET, aim.target) + aim.request + behind.replace(TARGET, aim.target)


def _check_fits(loaded: LoadedModel, aims: Sequence[Aim], seeds: Sequence[str]) -> None:
    """That the model can read every initial prompt with its target behind it."""
    most = getattr(loaded.causal_lm.config.get_text_config(), "max_position_embeddings", None) or math.inf
    for aim in aims:
        behind = len(target_ids(loaded, aim.target))
        for seed in seeds:
            n = len(loaded.chat.render(filled(seed, aim)).ids) + behind
            if n > most:
                raise RequestError(
                    f"autodan: an initial prompt is {n} tokens long with the request and the target of {aim.id!r}, and "
                    f"this model reads {most} at most: {seed[:60]!r}... Leave it out"
                )


# --- a generation ------------------------------------------------------------------------------------------------


def _rng(seed: int, identity: str, step: int) -> random.Random:
    """Of this seed, behaviour and step only: what else is attacked changes nothing."""
    named = hashlib.sha256(f"autodan:{seed}:{step}:{identity}".encode()).digest()
    return random.Random(int.from_bytes(named[:8], "big"))


def _first(seeds: Sequence[str], settings: AutoDAN, rng: random.Random) -> list[str]:
    found = dict.fromkeys(seeds[: settings.population])
    for number in range(settings.population - len(found)):
        found.setdefault(_new(seeds[number % len(seeds)], found, seeds, settings.share, rng))
    return list(found)


def _next(search: _Search, settings: AutoDAN, step: int, seeds: Sequence[str], rng: random.Random) -> list[str]:
    """The next generation: the elite, then children; equal templates once."""
    longest = int(_GROWTH * max(map(len, seeds)))
    templates = [one for _, one in search.ranked]
    best = search.ranked[0][0]
    weights = [math.exp(best - loss) for loss, _ in search.ranked]
    found = dict.fromkeys(templates[: settings.elites])
    missing = settings.population - settings.elites
    parents = rng.choices(templates, weights, k=missing + missing % 2)
    by_words = settings.levels == "hga" and step % _PARAGRAPH_LEVEL != 0
    children = []
    for one, other in zip(parents[::2], parents[1::2], strict=True):
        if by_words:
            pick = _roulette(search.scores, rng)
            children += [reworded(parent, rng, settings.share, pick) for parent in (one, other)]
        elif rng.random() < settings.crossover:
            pair = zip((one, other), crossed(one, other, settings.points, rng), strict=True)
            children += [child if len(child) <= longest else parent for parent, child in pair]
        else:
            children += [one, other]
    for child in children[:missing]:
        if rng.random() < settings.mutation:
            changed = reworded(child, rng, settings.share)
            child = changed if len(changed) <= longest else child
        found.setdefault(_new(child, found, seeds, settings.share, rng))
    return list(found)


def _new(text: str, there: Mapping[str, Any], seeds: Sequence[str], share: float, rng: random.Random) -> str:
    """The text, reworded until it is not there yet; where it has too few words for that, an initial one, reworded."""
    for source in (text, rng.choice(seeds)):
        changed = source
        for _ in range(8):
            if changed not in there:
                return changed
            changed = reworded(changed, rng, max(share, 0.05))
    return text


def _evaluate(loaded: LoadedModel, going: Sequence[_Search], generations: Sequence[Sequence[str]]) -> list[int]:
    """Find the losses of all templates that are new, in one call; returns the tokens read for each behaviour."""
    new = [[one for one in made if one not in search.known] for search, made in zip(going, generations, strict=True)]
    aims = [search.aim for search, made in zip(going, new, strict=True) for _ in made]
    texts = [filled(one, search.aim) for search, made in zip(going, new, strict=True) for one in made]
    if not texts:
        return [0] * len(going)
    found = text_losses(loaded, aims, texts)
    if not bool(found.losses.isfinite().all()):
        raise BrokenCheckpoint(
            "the target's loss behind a prompt is NaN or infinite, so prompts cannot be compared: look for NaN in the "
            "weights, or load the model in float32"
        )
    rows = iter(zip(found.losses.tolist(), found.matched.tolist(), found.tokens, strict=True))
    tokens = []
    for search, made in zip(going, new, strict=True):
        read = 0
        for one in made:
            loss, matched, n = next(rows)
            search.known[one] = (loss, matched)
            read += n
        tokens.append(read)
    return tokens


def _score(search: _Search) -> None:
    """A word's score: the mean of -loss over the prompts that hold it, averaged with its last one (Liu et al., 3.3)."""
    held: dict[str, list[float]] = {}
    for loss, one in search.ranked:
        for word in words(one):
            held.setdefault(word, []).append(-loss)
    for word, found in held.items():
        now = sum(found) / len(found)
        search.scores[word] = (search.scores[word] + now) / 2 if word in search.scores else now


def _roulette(scores: Mapping[str, float], rng: random.Random) -> Callable[[str, Sequence[str]], str]:
    """Draws a word by softmax of the scores; one that no prompt has held yet has the mean of the others'."""

    def pick(word: str, choices: Sequence[str]) -> str:
        known = [scores[one] for one in choices if one in scores]
        mean = sum(known) / len(known) if known else 0.0
        values = [scores.get(one, mean) for one in choices]
        return rng.choices(choices, [math.exp(value - max(values)) for value in values])[0]

    return pick
