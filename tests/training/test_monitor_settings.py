"""The monitor's settings are closed, and bounds do what they say."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from geoaudit.errors import RequestError, UnknownName
from geoaudit.training.curve import MEANINGS
from geoaudit.training.monitor_settings import QUANTITIES, Bound, MonitorSettings, spread


def test_reading_settings_imports_nothing_heavy() -> None:
    code = (
        "import sys, geoaudit.training.monitor_settings as m; m.MonitorSettings(every=3);"
        "print([x for x in ('torch', 'numpy', 'transformers') if x in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_a_preset_is_what_other_keys_win_over() -> None:
    paper = MonitorSettings(preset="paper")
    assert (paper.n_train, paper.n_validation, paper.positions, paper.layers, paper.kl_budget) == (176, 72, 5, 5, 0.1)
    assert paper.raw
    assert paper.beta == 1
    assert MonitorSettings(preset="paper", n_train=20).n_train == 20
    assert MonitorSettings(preset="tiny").n_train == 16
    assert MonitorSettings(preset="small") == MonitorSettings().model_copy(update={"preset": "small"})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"evry": 3}, "did you mean 'every'"),
        ({"every": 0}, "every"),
        ({"preset": "papers"}, "preset"),
        ({"layers": []}, "layers is empty"),
        ({"layers": [3, 3]}, "once each"),
        ({"layers": [-1]}, "layers"),
        ({"kl_budget": float("nan")}, "kl_budget"),
        ({"kl_budget": 2.0, "frontier_kl": 1.0}, "below kl_budget"),
        ({"refusals": []}, "refusals"),
        ({"stop": [{"quantity": "gap"}]}, "at_least or at_most"),
        ({"stop": [{"quantity": "gap", "at_least": 2, "at_most": 1}]}, "no value keeps"),
        ({"stop": [{"quantity": "gpa", "at_least": 2}]}, "stop"),
        ({"stop": [{"quantity": "gap", "at_least": float("nan")}]}, "stop"),
        ({"stop": [{"quantity": "gap", "at_least": 1, "patience": 0}]}, "patience"),
    ],
)
def test_what_cannot_be_right_is_refused_by_name(fields: dict[str, Any], words: str) -> None:
    from geoaudit.training import Monitor

    with pytest.raises(RequestError, match=words):
        Monitor(**fields)


def test_an_unknown_setting_is_an_unknown_name() -> None:
    from geoaudit.training import Monitor

    with pytest.raises(UnknownName):
        Monitor(stopp=[])
    with pytest.raises(RequestError, match="not both"):
        Monitor(MonitorSettings(), every=3)
    with pytest.raises(ValidationError):
        MonitorSettings.model_validate({"every": 3, "evry": 3})


def test_every_quantity_that_can_be_bounded_is_explained() -> None:
    assert set(QUANTITIES) <= set(MEANINGS)


def test_a_missing_value_keeps_no_bound() -> None:
    for bound in (Bound(quantity="gap", at_least=-1e9), Bound(quantity="gap", at_most=1e9)):
        assert not bound.holds(None)
        assert not bound.holds(math.nan)
        assert bound.holds(0.0)


@given(st.floats(-10, 10), st.floats(-10, 10), st.floats(0, 5))
def test_a_bound_holds_on_its_ends_and_between(value: float, low: float, width: float) -> None:
    bound = Bound(quantity="kl", at_least=low, at_most=low + width)
    assert bound.holds(value) is (low <= value <= low + width)
    assert bound.holds(low)
    assert bound.holds(low + width)
    assert Bound(quantity="kl", at_least=low).holds(value) is (value >= low)
    assert Bound(quantity="kl", at_most=low).holds(value) is (value <= low)


@given(st.integers(1, 12), st.integers(1, 90))
def test_layers_are_spread_over_the_middle(n: int, n_layers: int) -> None:
    layers = spread(n, n_layers)
    assert layers == tuple(sorted(set(layers)))
    assert 1 <= len(layers) <= n
    if n_layers > 5:
        assert layers[0] >= max(1, n_layers // 5)
        assert layers[-1] < int(0.8 * n_layers)
    if n_layers >= 4 * n:
        assert len(layers) == n


def test_the_spread_of_a_known_depth() -> None:
    assert spread(5, 32) == (6, 10, 15, 20, 24)
    assert spread(5, 30) == (6, 10, 14, 19, 23)
    assert spread(1, 30) == (14,)


def test_files_are_beside_the_recipe() -> None:
    settings = MonitorSettings(train=("harm.txt", "probe-harmless-train")).within(Path("/recipes"))
    assert settings.train == ("/recipes/harm.txt", "probe-harmless-train")


def test_what_does_not_change_numbers_is_no_part_of_the_contract() -> None:
    one = MonitorSettings(every=5, stop=(Bound(quantity="gap", at_least=1),)).contract
    assert one == MonitorSettings(every=10, preset="small").contract
    assert one != MonitorSettings(n_train=63).contract
