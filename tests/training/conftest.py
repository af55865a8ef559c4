"""What tests of several files need of two processes, made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from tests.model.planted import Planted


@pytest.fixture(scope="session")
def in_two_processes(
    planted: Callable[..., Planted], tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Callable[[str], Path]:
    """The folder of a run that two processes made together (`launched.RUNS`), by its name; fails if the run did."""
    from tests.training.launched import launch

    root = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):
        root = root.parent  # which the workers of pytest-xdist share: one of them launches, the others wait for it
    folder = root / "two-processes"
    with FileLock(root / "two-processes.lock"):
        if not folder.exists():
            folder.mkdir()
            launch(folder, planted(layer=3, position=-2).folder)

    def of(name: str) -> Path:
        failed = folder / name / "failed"
        assert not failed.exists(), failed.read_text(encoding="utf-8")
        return folder / name

    return of
