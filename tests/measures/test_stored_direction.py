"""A direction of the user's own as a target: the same edit as if it had been found here, or a reason why not."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from geoaudit.audit.plan import measurement_key, resolve
from geoaudit.audit.profiles import get as profile
from geoaudit.audit.suite import read
from geoaudit.errors import GeoauditError, NothingToMeasure, RequestError, SuiteError
from geoaudit.judges.setup import JudgeSetup
from geoaudit.measures.bench import Contract
from geoaudit.measures.inputs import File
from geoaudit.measures.intervention_needs import DOSES, for_sweep, intervention_of
from geoaudit.measures.intervention_targets import target_of
from geoaudit.measures.interventions import intervention_sensitivity
from geoaudit.measures.needs import Intervention
from geoaudit.measures.preparing import prepared
from geoaudit.measures.searching import in_use, scorer_of_search
from geoaudit.measures.stored_direction import rows_of, sha256, shape_of
from geoaudit.measures.table import get
from tests.measures.benches import SHARED, evidence_of, open_bench
from tests.measures.test_interventions import SMALL, stopped

SENSITIVITY = get("intervention_sensitivity")
D = 64
FEW = {"n_held_out": 8, "n_controls": 4}
"""Enough for what edits do; a measurement needs more controls."""


@pytest.fixture(scope="module")
def bench(planted):
    return open_bench(planted(layer=2, position=-1), SHARED)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def saved(folder: Path, *tensors: torch.Tensor, name: str = "mine") -> File:
    file = folder / f"{name}.safetensors"
    save_file({f"part{place}": tensor.contiguous() for place, tensor in enumerate(tensors)}, file)
    return File(str(file))


def target(file: File, layer: int = -1, **more) -> dict:
    return {**SMALL, "target": "stored", "file": file, "layer": layer, **more}


# --- what it does ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [{}, {"operator": "add", "scope": "single_layer", "dose": -1.0}])
def test_the_direction_that_was_found_does_the_same_when_it_is_stored(bench, tmp_path, how):
    own = {**SMALL, **FEW, **how}
    vector = prepared(bench, intervention_of(own)).target.vector
    file = saved(tmp_path, torch.from_numpy(vector))
    found, again = (bench.fulfil(intervention_of(each)) for each in (own, target(file, **FEW, **how)))
    np.testing.assert_allclose(again.target, found.target, atol=1e-6)
    np.testing.assert_allclose(again.kl, found.kl, atol=1e-9)
    np.testing.assert_allclose(again.deciding.scores, found.deciding.scores, atol=1e-6)
    assert (again.layer, again.position) == (found.layer, found.position)
    assert "wrong_layer" not in again.controls, "a profile is R's"


def test_the_planted_axis_is_beyond_its_controls_and_one_out_of_nowhere_is_not(planted, bench, tmp_path):
    axis = planted(layer=2, position=-1).direction
    found = intervention_sensitivity(target(saved(tmp_path, axis)), evidence_of(bench))
    assert stopped(found) == []
    assert found.high < -5
    nowhere = intervention_sensitivity(target(saved(tmp_path, drawn(D), name="other")), evidence_of(bench))
    assert "within-controls" in stopped(nowhere) or "uncontrolled" in stopped(nowhere)
    assert abs(nowhere.detail["effect"]) < 0.2 * abs(found.detail["effect"])


def test_it_is_edited_at_the_layer_that_is_asked_for(planted, bench, tmp_path):
    """Before the layer that writes it there is nothing to take out."""
    file = saved(tmp_path, planted(layer=2, position=-1).direction)
    sites = [target(file, layer=layer, scope="single_layer", **FEW) for layer in (1, 2, 3, -1)]
    effects = [bench.fulfil(intervention_of(site)) for site in sites]
    assert [each.layer for each in effects] == [1, 2, 3, 2]
    before, at, behind, of_r = (float((each.target - each.base).mean()) for each in effects)
    assert abs(before) < 0.5
    assert max(at, behind) < -5
    assert of_r == at


def test_a_subspace_of_two_does_what_either_of_them_does(planted, bench, tmp_path):
    both = torch.stack([planted(layer=2, position=-1).direction, drawn(D)])
    need = intervention_of(target(saved(tmp_path, both), **FEW))
    found = bench.fulfil(need)
    assert (found.target - found.base).max() < -5
    assert prepared(bench, need).matched.frames.shape == (4, 2, D)


@settings(max_examples=20)
@given(st.integers(0, 30), st.integers(1, 4))
def test_a_subspace_is_its_span_whatever_rows_it_is_stored_by(bench, tmp_path_factory, seed, k):
    folder, rows = tmp_path_factory.mktemp("span"), drawn(k, D, seed=seed)
    mixed = (drawn(k, k, seed=seed + 1) + 3 * torch.eye(k)) @ rows
    spans = []
    for name, each in (("rows", rows), ("mixed", mixed)):
        need = intervention_of(target(saved(folder, each, name=name)))
        scorer = scorer_of_search(bench, need.search)
        basis = target_of(bench, need, scorer, in_use(bench.fulfil(need.search), need.selecting, "carrier")).rows
        np.testing.assert_allclose(basis @ basis.T, np.eye(k), atol=1e-8)
        spans.append(basis.T @ basis)
    np.testing.assert_allclose(*spans, atol=1e-4)


def test_a_sweep_takes_it_too(tmp_path):
    file = saved(tmp_path, drawn(D))
    given = resolve(get("dose_response"), {"target": "stored", "file": file.path, "layer": 3}, profile("smoke"))
    edits = [need for need in for_sweep(given) if isinstance(need, Intervention)]
    assert {need.dose for need in edits} == set(DOSES)
    assert {(need.target, need.file, need.layer) for need in edits} == {("stored", file, 3)}


def test_the_record_names_the_file_and_no_folder(planted, bench, tmp_path):
    file = saved(tmp_path, planted(layer=2, position=-1).direction)
    found = intervention_sensitivity(target(file), evidence_of(bench))
    text = json.dumps(found.to_json())
    assert found.parameters["file"] == found.detail["file"] == "mine.safetensors"
    assert str(tmp_path) not in text


def test_what_is_said_of_r_is_not_said_of_a_stored_direction(planted, bench, tmp_path):
    """That nothing is admissible, or that R is null, concerns R."""
    file = saved(tmp_path, planted(layer=2, position=-1).direction)
    strict = {"kl_budget": 1e-9, "direction": "nearest"}
    of_r = intervention_sensitivity({**SMALL, **strict}, evidence_of(bench))
    own = intervention_sensitivity(target(file, **strict), evidence_of(bench))
    assert "not-admissible" in {flag.name for flag in of_r.flags}
    assert "not-admissible" not in {flag.name for flag in own.flags}
    assert resolve(SENSITIVITY, {"target": "stored", "file": file.path}, profile("smoke"))["direction"] == "nearest"


# --- what is no direction of this model ------------------------------------------------------------------------------


def test_another_width_or_a_layer_that_is_not_there(bench, tmp_path):
    with pytest.raises(NothingToMeasure, match=r"mine.safetensors is 32 wide, this model 64"):
        bench.fulfil(intervention_of(target(saved(tmp_path, drawn(32)))))
    with pytest.raises(NothingToMeasure, match="at layer 6; this model has layers 0 to 5"):
        bench.fulfil(intervention_of(target(saved(tmp_path, drawn(D), name="deep"), layer=6)))
    twice = torch.stack([drawn(D), 2 * drawn(D)])
    with pytest.raises(NothingToMeasure, match="one and the same"):
        bench.fulfil(intervention_of(target(saved(tmp_path, twice, name="twice"))))


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (torch.full((D,), float("nan")), "NaN or infinity"),
        (torch.tensor([1.0, float("inf")]), "NaN or infinity"),
        (torch.zeros(D), "null-direction"),
        (torch.stack([drawn(D), torch.zeros(D)]), "null-direction"),
    ],
)
def test_numbers_that_are_no_direction(tmp_path, tensor, said):
    with pytest.raises(NothingToMeasure, match=said):
        rows_of(saved(tmp_path, tensor))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_every_floating_dtype_is_read(tmp_path, dtype):
    values = drawn(3, D).to(dtype)
    file = saved(tmp_path, values)
    assert shape_of(file) == (3, D)
    assert rows_of(file).dtype == np.float64
    np.testing.assert_array_equal(rows_of(file), values.double().numpy())
    one = saved(tmp_path, values[0], name="one")
    assert shape_of(one) == (1, D)
    assert rows_of(one).shape == (1, D)


# --- what is refused while planning ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ([drawn(D), drawn(D)], r"must hold one tensor, got 2 \(part0, part1\)"),
        ([drawn(D)] * 5, "got 5 .*…"),
        ([drawn(2, 2, D)], "floating tensor .* F32 2×2×64"),
        ([torch.tensor(1.0)], "F32 scalar"),
        ([torch.arange(D)], "I64 64"),
        ([torch.zeros(0)], "F32 0"),
    ],
)
def test_a_file_of_something_else(tmp_path, tensors, said):
    file = saved(tmp_path, *(tensor.clone() for tensor in tensors))
    with pytest.raises(RequestError, match=said):
        resolve(SENSITIVITY, {"target": "stored", "file": file.path}, profile("smoke"))


def test_a_pickle_a_torn_file_and_none_at_all(tmp_path):
    pickled, torn = tmp_path / "direction.pt", tmp_path / "torn.safetensors"
    pickled.write_bytes(b"PK\x03\x04" + b"\x80" * 60)
    torn.write_bytes(Path(saved(tmp_path, drawn(D)).path).read_bytes()[:-8])
    for file in (pickled, torn):
        with pytest.raises(RequestError, match=r"not a whole safetensors file.*pickle"):
            resolve(SENSITIVITY, {"target": "stored", "file": str(file)}, profile("smoke"))
    for missing in (str(tmp_path / "none.safetensors"), "x" * 5000, "", 3):
        with pytest.raises(GeoauditError, match=r"no such file|must be the path"):
            resolve(SENSITIVITY, {"target": "stored", "file": missing}, profile("smoke"))


def test_a_file_that_has_gone_is_said(tmp_path):
    file = saved(tmp_path, drawn(D))
    Path(file.path).unlink()
    with pytest.raises(RequestError, match="no such file"):
        shape_of(file)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"target": "stored"}, "needs a file"),
        ({"layer": 3}, "layer is not read by target 'R' but by stored"),
        ({"target": "H", "file": "FILE"}, "file is not read by target 'H'"),
        ({"target": "stored", "file": "FILE", "operator": "add"}, "holds 2 directions"),
        (
            {"target": "stored", "file": "FILE", "outcome": "harmless_kl", "controls": "norm_matched"},
            "controls: random",
        ),
    ],
)
def test_combinations_that_make_no_sense_are_refused(tmp_path, given, said):
    file = saved(tmp_path, drawn(2, D))
    with pytest.raises(GeoauditError, match=said):
        resolve(
            SENSITIVITY,
            {name: file.path if value == "FILE" else value for name, value in given.items()},
            profile("smoke"),
        )


def test_what_the_target_does_not_read_is_no_part_of_the_measurement(tmp_path):
    file = saved(tmp_path, drawn(D))
    assert not {"file", "layer"} & resolve(SENSITIVITY, {}, profile("smoke")).keys()
    found = resolve(SENSITIVITY, {"target": "stored", "file": file.path}, profile("smoke"))
    assert (found["file"], found["layer"]) == (file, -1)
    assert resolve(SENSITIVITY, found, profile("smoke")) == found


# --- what it is known by ---------------------------------------------------------------------------------------------


def key(file: File, **more) -> str:
    given = {"target": "stored", "file": file.path, **more}
    parameters = resolve(SENSITIVITY, given, profile("smoke"))
    contract = Contract("cpu", "float32", "", "", "2", "5")
    return measurement_key("a" * 64, contract, SENSITIVITY, parameters, (), "", JudgeSetup())


def test_a_file_counts_by_its_content_and_not_by_its_folder(tmp_path):
    folders = [tmp_path / name for name in ("a", "b", "c")]
    for folder in folders:
        folder.mkdir()
    one, copy, other = (saved(folder, drawn(D, seed=seed)) for folder, seed in zip(folders, (0, 0, 1), strict=True))
    assert key(one) == key(copy)
    assert key(one) != key(other)
    assert key(one, layer=3) != key(one)
    before = sha256(one)
    saved(folders[0], drawn(D + 1))  # written anew while the program runs
    assert sha256(one) != before


def test_a_suite_names_it_relative_to_itself(tmp_path):
    (tmp_path / "directions").mkdir()
    file = saved(tmp_path / "directions", drawn(D))
    suite = tmp_path / "own.audit.yaml"

    def written(path: str) -> Path:
        suite.write_text(
            "geoaudit: 1\nsuite: own\nassertions:\n  - id: own\n    measure: intervention_sensitivity\n"
            f"    with: {{target: stored, file: {path}}}\n    at_most: -0.5\n    because: it is mine\n",
            encoding="utf-8",
        )
        return suite

    (line,) = read(written("directions/mine.safetensors")).assertions
    assert line.parameters["file"] == file
    with pytest.raises(SuiteError, match=r"own.audit.yaml:6:34: no such file"):
        read(written("mine.safetensors"))
    with pytest.raises(SuiteError, match="must be a single value"):
        read(written("{file: mine.safetensors}"))


def test_a_file_without_its_folder_is_a_name():
    assert dataclasses.replace(File("/somewhere/else/mine.safetensors")).name == "mine.safetensors"
