"""The prompts that `autodan` begins with: templates with a place for the request, from stored attacks or a user's file.

None are built in: the data folder's are JailbreakBench's stored attacks (Chao et al. 2024). Those count that say their
behaviour in its own words, so that it can be taken out again, and of what is left those that several behaviours share:
a prompt that was written for one behaviour speaks of it all over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from geoaudit.attacks import stored
from geoaudit.attacks.cases import Attack
from geoaudit.attacks.jsonfile import Piece, lines, pieces, read
from geoaudit.errors import RequestError
from geoaudit.prompts.overlap import near_duplicates, shingles
from geoaudit.prompts.sources import load

REQUEST = "[REQUEST]"
"""Where the request goes. A template without it gets the request as its last paragraph."""
TARGET = "[TARGET]"
"""Where the target goes, in templates that say how the answer is to begin; may be absent, or there several times."""

_ALIKE = 0.8
"""Templates whose word 3-grams overlap at least this much (Jaccard) are one with two endings: the first is kept."""
_SUFFIXES = ("GCG", "DSN")
"""Methods whose prompts are a request and a suffix of tokens: no sentences to cross."""


def initial(name: str = "jailbreakbench", data: Path | None = None) -> tuple[str, ...]:
    """The templates of a set of stored attacks, or of a user's file.

    Args:
        name: a set of stored attacks (`stored.sets`), or the path of a file: `.txt` (templates separated by lines of
            three or more hyphens), `.json` (a list of texts) or `.jsonl` (objects with the key `prompt`).
        data: the data folder; None for GEOAUDIT_DATA or the user's cache.

    Returns:
        One or more templates, each with `REQUEST` exactly once; equal ones once, in the order of the file.

    Raises:
        DataMissing: if a file is not there.
        RequestError: if a file holds no template, or one with several places for the request.
    """
    if name in {one.name for one in stored.sets()}:
        found = _shared(_from_stored(name, data))
        where = f"the stored attacks {name!r}"
    else:
        found = list(dict.fromkeys(_from_file(Path(name))))
        where = name
    if not found:
        raise RequestError(f"{where}: no template to begin with; give a file of prompts with {REQUEST} in them")
    return tuple(found)


def template(text: str) -> str:
    """The text as a template: stripped, with `REQUEST` exactly once, as its last paragraph where it had none.

    Raises:
        RequestError: if it is empty, or has several places for the request.
    """
    text = text.replace("\r\n", "\n").strip()
    if not text:
        raise RequestError("an initial prompt is empty")
    if text.count(REQUEST) > 1:
        raise RequestError(f"an initial prompt has {REQUEST} {text.count(REQUEST)} times: once is enough")
    return text if REQUEST in text else f"{text}\n\n{REQUEST}"


def _from_stored(name: str, data: Path | None) -> Iterator[tuple[str, str]]:
    """(id of the behaviour, template)."""
    prompts = load(next(one.made_for for one in stored.sets() if one.name == name), data=data)
    for case in stored.stored_cases(Attack("fixed", stored=name), prompts, data).cases:
        if case.method in _SUFFIXES:
            continue
        made = _without(case.text, case.prompt.request, case.prompt.target)
        if made is not None:
            yield case.prompt.id, template(made)


def _without(text: str, request: str, target: str) -> str | None:
    """The text with placeholders for the behaviour, or None where words of the behaviour would stay in it."""
    if target:
        text = text.replace(target.strip(), TARGET)
    parts = re.split(re.escape(request.strip().rstrip(".?!")) + r"[.?!]?", text, flags=re.IGNORECASE)
    if len(parts) != 2:
        return None
    made = REQUEST.join(parts)
    return None if shingles(made) & (shingles(request) | shingles(target)) else made


def _shared(found: Iterable[tuple[str, str]]) -> list[str]:
    """The templates that prompts for several behaviours have in common."""
    kept: list[str] = []
    behaviours: list[set[str]] = []
    for identity, text in found:
        alike = near_duplicates([text], kept, _ALIKE)
        if alike:
            behaviours[alike[0][1]].add(identity)
        else:
            kept.append(text)
            behaviours.append({identity})
    return [text for text, several in zip(kept, behaviours, strict=True) if len(several) > 1]


def _from_file(path: Path) -> Iterator[str]:
    suffix = path.suffix.lower()
    if suffix not in (".txt", ".json", ".jsonl"):
        sets = ", ".join(one.name for one in stored.sets())
        raise RequestError(
            f"initial prompts {str(path)!r} are neither a set of stored attacks ({sets}) nor a file that ends in .txt, "
            ".json or .jsonl"
        )
    text = read(path)
    if suffix == ".txt":
        at = 0
        for end in (*re.finditer(r"^-{3,}[ \t\r]*$", text, flags=re.MULTILINE), None):
            block = text[at : end.start() if end else None]
            begins = at + len(block) - len(block.lstrip())
            if block.strip():
                yield _checked(block, Piece(path, text.count("\n", 0, begins) + 1, (), block))
            at = end.end() if end else len(text)
    elif suffix == ".jsonl":
        for piece in lines(path, text):
            if not isinstance(piece.value, dict) or not isinstance(piece.value.get("prompt"), str):
                raise piece.wrong('expected an object with a text under "prompt"')
            yield _checked(piece.value["prompt"], piece)
    else:
        for piece in pieces(path, text, depth=1):
            if piece.value == [] and not piece.keys:
                continue
            if not (len(piece.keys) == 1 and isinstance(piece.keys[0], int) and isinstance(piece.value, str)):
                raise piece.wrong("expected a list of texts")
            yield _checked(piece.value, piece)


def _checked(text: Any, piece: Piece) -> str:
    try:
        return template(text)
    except RequestError as error:
        raise piece.wrong(str(error)) from None
