"""Judges: what says of a completion whether the model answered, refused, did both, or broke.

A judge is a function of the prompt and the completion that returns a `Judgement`. `JUDGES` names the ones there are;
they are imported when they are asked for, so that a judge with a heavy dependency costs nothing until it is used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import cast

from geoaudit.errors import UnknownName
from geoaudit.records import Judgement

Judge = Callable[[str, str], Judgement]
"""`judge(prompt, completion)`."""

JUDGES: dict[str, str] = {
    "refusal": "geoaudit.judges.refusal:judge",
    "xstest-strings": "geoaudit.judges.strings:xstest",
    "refusal-direction-strings": "geoaudit.judges.strings:refusal_direction",
    "advbench-strings": "geoaudit.judges.strings:advbench",
}
"""Name of a judge -> "module:function"."""


@cache
def rules_sha256() -> str:
    """Hash of the offline judges' own source: a rule that changed must not be answered with an old label's count."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def get(name: str) -> Judge:
    """The judge called `name`.

    Raises:
        UnknownName: there is none; the message lists those there are.
    """
    if name not in JUDGES:
        raise UnknownName.among("judge", name, JUDGES)
    module, _, function = JUDGES[name].partition(":")
    return cast(Judge, getattr(import_module(module), function))
