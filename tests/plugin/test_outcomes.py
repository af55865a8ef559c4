"""The four outcomes, each under its own word, in the terminal, with -rA, in JUnit and in the record."""

from __future__ import annotations

import pytest

from tests.plugin.project import FOUR, Project

BOTH = ("ckpt/step50", "ckpt/step100")

def test_first(project):
    project.suite(*FOUR)
    result = project.run(model=BOTH)
    assert result.ret == 1
