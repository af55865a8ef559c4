"""Two planted checkpoints of one trajectory, made once, and a store that already holds what most tests ask for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.plugin.project import PROBE, RATE, SEARCH, Project

if TYPE_CHECKING:
    from tests.model.planted import Planted


@pytest.fixture(scope="session")
def checkpoints(planted: Callable[..., Planted], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`step50` answers everything, `step100` refuses harmful prompts by a carrier at layer 3, position -2."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for step, refuses in ((50, False), (100, True)):
        made = planted(layer=3, position=-2, refuses=refuses)
        (folder / f"step{step}").symlink_to(made.folder, target_is_directory=True)
    return folder


@pytest.fixture(scope="session")
def store(checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the measurements of `project.FOUR` and `project.RANK`, of each checkpoint alone and of both.

    Measured in this process, so that torch and transformers are whole in it before pytester's first run inside it,
    which forgets the modules that were imported during the run.
    """
    from geoaudit.audit import profiles
    from geoaudit.audit.measuring import Options
    from geoaudit.audit.run import Auditor
    from geoaudit.measures.inputs import Source
    from geoaudit.model.checkpoint import resolve_all

    folder = tmp_path_factory.mktemp("store")
    options = Options(
        profile=profiles.get("standard"), store=folder, device="cpu", dtype=None, template=None, system=None
    )
    found = resolve_all([str(checkpoints / "step50"), str(checkpoints / "step100")])
    rate = {**RATE, "source": Source("harmful")}
    for audited in (found, found[:1], found[1:]):  # refusal tokens, and with them carriers, are those of a whole run
        auditor = Auditor(audited, options, lambda _: None)
        for name in auditor.names:
            planned = [
                auditor.plan(name, measure, parameters)
                for measure, parameters in (
                    ("refusal_rate", rate),
                    ("attack_success_rate", rate),
                    ("carrier_layer", SEARCH),
                    ("effective_rank", PROBE),
                )
            ]
            assert [auditor.measurement(one).why_missing for one in planned] == [""] * len(planned)
    return folder


@pytest.fixture
def project(pytester: pytest.Pytester, checkpoints: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """An empty project beside the two checkpoints, `ckpt/step50` and `ckpt/step100`."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(pytester.path / "cache"))
    (pytester.path / "ckpt").symlink_to(checkpoints)
    return Project(pytester, store)
