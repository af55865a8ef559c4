"""The validity checks in words, and those notes that hold for many lines: said once, with the lines they stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from geoaudit.report import words
from geoaudit.report.titles import Row
from geoaudit.report.verdict import Line, rows

CHECKS: Mapping[str, tuple[str, str]] = {
    "degenerate-output": (
        "broken output",
        "Few successes because the text is empty, loops or is nonsense.",
    ),
    "unparsed-judgements": (
        "unreadable judgements",
        "Too many replies of the judge were no verdict.",
    ),
    "constant-judge": (
        "constant judge",
        "The judge says the same of everything, so that it tells nothing apart.",
    ),
    "judge-departs": (
        "judge departs",
        "The judge is set up otherwise than published: no published number compares.",
    ),
    "judge-flip": (
        "judge decides",
        "Another judge would have decided otherwise, or the judge's own error is larger than what the "
        "bound leaves, or not known for prompts of this kind.",
    ),
    "few-labels": (
        "few labels",
        "Too few labels of a person to correct the judge by.",
    ),
    "paraphrase-gap": (
        "wording matters",
        "In other words the same prompts may get another answer.",
    ),
    "graded-in-part": (
        "graded in part",
        "Only a part of the answers could be graded.",
    ),
    "single-condition": (
        "one condition",
        "Read under one template, one system prompt, one decoding and no prefix.",
    ),
    "train-eval-overlap": (
        "seen in training",
        "Prompts that were scored are in the checkpoint's training data.",
    ),
    "attack-did-not-optimise": (
        "no attack",
        "The optimised attack hardly lowered the loss of its targets: that it opens little says nothing of the model.",
    ),
    "weaker-than-direct": (
        "weaker than asking",
        "Plain requests to the same behaviours do not keep the bound that was kept under the attack: who can ask "
        "plainly needs no attack.",
    ),
    "nothing-to-transfer": (
        "nothing to transfer",
        "The attack opened nothing on the checkpoint that it was made on.",
    ),
    "underpowered": (
        "too few prompts",
        "No result of this many prompts could satisfy the bound.",
    ),
    "fewer-prompts": (
        "fewer prompts",
        "The line asks for more prompts than its source holds: it is decided on those that there are.",
    ),
    "unpaired-denominator": (
        "unpaired",
        "With and without the intervention, other prompts were counted.",
    ),
    "intervention-damage": (
        "damage",
        "The edit broke the model, refusal was not switched: its controls move alike, it is only less damaged than "
        "they are, it shifts harmless prompts too far, or it breaks answers, be it behind their first token.",
    ),
    "environment-mismatch": (
        "other conditions",
        "The two were measured under another template, dtype, judge or decoding.",
    ),
    "unknown-step": (
        "step not known",
        "A rule about the order of checkpoints cannot be put to one whose step nobody knows.",
    ),
    "missing-checkpoint": (
        "checkpoint missing",
        "A rule names a step that this audit has no checkpoint of.",
    ),
    "common-trend": (
        "both follow training",
        "Two measures that both change with the steps go together for that reason alone.",
    ),
    "few-points": (
        "few points",
        "A trend over too few distinct checkpoints.",
    ),
    "null-direction": (
        "no direction",
        "The direction has no length to speak of, or is no better than random ones: the template's own "
        "tokens at layer 0 differ by nothing between prompts.",
    ),
    "uninducible-carrier": (
        "induces nothing",
        "Adding the direction does no more for refusal than its KL-matched controls: it is admissible "
        "only because it does nothing.",
    ),
    "cross-layer-coupling": (
        "two layers",
        "H and R are read at different layers, whose directions differ for that reason alone; the table "
        "gives both at either layer.",
    ),
    "same-contrast": (
        "same contrast",
        "H and R are made from the same harmful − harmless contrast, so that they are alike by construction.",
    ),
    "unidentified-coupling": (
        "not identified",
        "Too few refused or complied prompts in a cell: R cannot be told from H.",
    ),
    "unidentified-beliefs": (
        "too few prompts",
        "A group, or a centre, has too few prompts to say where the others lie.",
    ),
    "beliefs-alike": (
        "beliefs alike",
        "Nothing tells the belief of harmfulness from that of refusal: hardly any prompt is harmful and answered, or "
        "harmless and refused, or the two scores or directions are nearly the same.",
    ),
    "task-not-done": (
        "task not done",
        "The model does not answer the question that the task puts, or its answers do not tell harmful from harmless "
        "requests: moving them says nothing.",
    ),
    "rank-by-norm": (
        "rank by norm",
        "A few long rows dominate the spectrum; read the one at unit norm beside it.",
    ),
    "chance-level": (
        "chance level",
        "The value lies within what permuted labels, contrasts between harmless categories or control directions give: "
        "nothing shows that it is about harm.",
    ),
    "noise-dominated": (
        "noise",
        "The interval is so wide against the value, or the halves of the prompts agree so little, that "
        "the number is mostly noise.",
    ),
    "refusal-score-uncalibrated": (
        "refusal tokens",
        "The refusal tokens do not tell this model's refusals from its answers (AUROC against the judge below 0.95).",
    ),
    "sink-driven": (
        "first token",
        "The first token, an attention sink of great norm, accounts for most of the KL or norm.",
    ),
    "few-kept-prompts": (
        "few prompts kept",
        "The filter by refusal score leaves too few validation prompts to select a carrier on.",
    ),
    "incomplete-refusal-tokens": (
        "refusal tokens in part",
        "A checkpoint of the trajectory gave no answers, so that the refusal tokens are those of the others.",
    ),
    "within-controls": (
        "within its controls",
        "Others that disturb harmless prompts as much move the refusal score, or what judges say of the text, as far.",
    ),
    "uncontrolled": (
        "no controls",
        "Too few controls could be drawn, or given a dose that disturbs harmless prompts as much as the target does.",
    ),
    "plateau-not-seen": (
        "no plateau",
        "The effect still rises at the largest subspace that was tried: more directions may matter.",
    ),
    "no-null-level": ("no null level", "There was nothing to draw a level of harmless contrasts from."),
    "not-admissible": (
        "not admissible",
        "No direction is admissible; the nearest one stands in.",
    ),
}
"""Name of a check -> its title and what it means, in the order of the glossary. A record may hold others."""
GATHERED = frozenset({"judge-flip"})
"""Notes about the judge and not about the line: said once where many lines have them word for word."""
MOST_NAMED = 12
"""Lines of a note that are named one by one; of more, each assertion is named once."""
LEAST_GATHERED = 3
"""Lines that must share such a note."""


@dataclass(frozen=True)
class Note:
    """A note that many lines share."""

    number: int
    name: str
    sentence: str
    lines: Sequence[Line]
    everywhere: bool
    """Whether every line has it."""

    @property
    def alone(self) -> list[tuple[Line, int]]:
        """Every line by itself."""
        return [(line, 1) for line in self.lines]

    @property
    def assertions(self) -> list[tuple[Line, int]]:
        """Each assertion once, by its first line, with the number of its lines."""
        found: dict[tuple[str, str], list[Line]] = {}
        for line in self.lines:
            own = words.plain(line.assertion.get("suite")), words.plain(line.assertion.get("id"))
            found.setdefault(own, []).append(line)
        return [(own[0], len(own)) for own in found.values()]


def notes(lines: Sequence[Line]) -> list[Note]:
    """The notes that are said once, in the order of the lines."""
    grouped: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        for key in dict.fromkeys(_key(flag) for flag in line.flags if _gatherable(flag)):
            grouped.setdefault(key, []).append(line)
    many = [(key, found) for key, found in grouped.items() if len(found) >= LEAST_GATHERED]
    return [Note(k, *key, found, len(found) == len(lines)) for k, (key, found) in enumerate(many, 1)]


def own(line: Line, shared: Sequence[Note]) -> list[Row]:
    """The flags that stand at the line itself."""
    said = {(note.name, note.sentence) for note in shared}
    return [flag for flag in line.flags if not _gatherable(flag) or _key(flag) not in said]


def of(line: Line, shared: Sequence[Note]) -> list[Note]:
    """The shared notes that hold for the line."""
    return [note for note in shared if any(one is line for one in note.lines)]


def fired(record: Row) -> list[tuple[str, str, str]]:
    """Name, title and meaning of every known check that fired, in the order of the glossary."""
    flags = [
        flag for part in ("assertions", "measurements") for row in rows(record, part) for flag in rows(row, "flags")
    ]
    found = {words.plain(flag.get("name")) for flag in flags}
    return [(name, *text) for name, text in CHECKS.items() if name in found]


def _gatherable(flag: Row) -> bool:
    return flag.get("effect") != "stops" and words.plain(flag.get("name")) in GATHERED


def _key(flag: Row) -> tuple[str, str]:
    return words.plain(flag.get("name")), words.plain(flag.get("sentence"))
