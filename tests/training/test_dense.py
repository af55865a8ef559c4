"""The dense probe finds the carrier that was planted, none where there is none, and scores as plain passes do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from geoaudit.audit.store import Store
from geoaudit.carriers import exhaustive
from geoaudit.carriers.search import search
from geoaudit.carriers.table import SearchTable
from geoaudit.errors import BrokenCheckpoint, DataMissing, RequestError, UnknownName
from geoaudit.measures.bench import Bench, Contract
from geoaudit.model.chat import Chat
from geoaudit.model.loaded import LoadedModel
from geoaudit.prompts.sources import load
from geoaudit.training import dense
from geoaudit.training.dense import Reading, library, prompts_of, read, refusal_ids
from geoaudit.training.monitor_settings import MonitorSettings
from tests.model.planted import Planted
from tests.training.monitored import SETTINGS, opened, refusal_id

CONTRACT = Contract("cpu", "float32", "", "", "2", "5", probe_blocks=2)


def bench_of(model: Any, tokenizer: Any, folder: Path) -> Bench:
    chat = Chat(tokenizer)
    loaded = LoadedModel(model.eval(), tokenizer, chat)
    return Bench("here", CONTRACT, Store(folder), open_chat=lambda setting: chat, open_model=lambda: loaded)


def probed(planted: Planted, folder: Path, **fields: Any) -> tuple[Reading, MonitorSettings, Bench]:
    model, tokenizer = opened(planted)
    settings = MonitorSettings(refusals=(refusal_id(tokenizer),), **{**SETTINGS, **fields})
    bench = bench_of(model, tokenizer, folder)
    return read(bench, settings, prompts_of(settings)), settings, bench


@pytest.mark.parametrize("position", [-2, -1])
def test_the_planted_carrier_is_found(planted: Callable[..., Planted], position: int, tmp_path: Path) -> None:
    truth = planted(layer=3, position=position)
    found, _, _ = probed(truth, tmp_path, layers=[1, 2, 3])
    assert found.used is not None
    assert (found.used.position, found.used.layer) == (position, 3)
    direction = found.direction(found.used)
    assert direction @ truth.direction.numpy() / np.linalg.norm(direction) > 0.99
    assert found.values["norm"] == pytest.approx(float(np.linalg.norm(direction)), rel=1e-5)
    assert found.values["gap"] == pytest.approx(found.values["norm"], rel=0.1)  # one vector in every harmful prompt
    assert found.values["split_half"] == pytest.approx(1, abs=0.02)
    refused, answered = found.values["refusal_harmful"], found.values["refusal_harmless"]
    assert refused is not None
    assert answered is not None
    assert refused > 2 > -2 > answered


def test_without_the_write_nothing_induces_refusal(planted: Callable[..., Planted], tmp_path: Path) -> None:
    found, _, _ = probed(planted(layer=3, position=-2, refuses=False), tmp_path)
    refused = found.values["refusal_harmful"]
    assert refused is not None
    assert refused < -2
    assert not any(one["position"] == -2 and one["layer"] == 3 and one["norm"] > 1 for one in found.candidates)


def test_only_sites_of_the_library_are_tried(
    planted: Callable[..., Planted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables: list[SearchTable] = []

    def spied(*args: Any, **kwargs: Any) -> SearchTable:
        tables.append(search(*args, **kwargs))
        return tables[-1]

    monkeypatch.setattr(dense, "search", spied)
    found, _, _ = probed(planted(layer=3, position=-2), tmp_path, layers=[2, 4], positions=2)
    assert [(one["position"], one["layer"]) for one in found.candidates] == [(-2, 2), (-2, 4), (-1, 2), (-1, 4)]
    assert found.directions.shape[:2] == (2, 2)
    scored = [(row.position, row.layer) for row in tables[0].candidates if row.excluded != "null"]
    assert scored == [(-2, 2), (-2, 4), (-1, 2), (-1, 4)], "what is not of the library costs no pass"
    # the carrier stays in the stream behind the block that wrote it
    assert found.used is not None
    assert (found.used.position, found.used.layer) == (-2, 4)


def test_scores_are_those_of_plain_passes(planted: Callable[..., Planted], tmp_path: Path) -> None:
    """KL, S_refuse and S_comply of the candidate in use against whole prompts through the whole model."""
    found, settings, bench = probed(planted(layer=3, position=-2), tmp_path)
    assert found.used is not None
    prompts = prompts_of(settings)
    harmful, harmless = ([bench.chat.render(one.text) for one in part.prompts] for part in prompts.validation)
    ids = list(settings.refusals)
    low = _low_layers(bench, prompts)
    base = exhaustive.base(bench.loaded, harmful, harmless, low, ids)
    base = {name: np.asarray(value) for name, value in base.items()}
    plain = exhaustive.score_candidate(
        bench.loaded,
        found.direction(found.used),
        found.used.layer,
        harmful,
        harmless,
        base,
        low,
        ids,
        operator="linear",
        scope="every_site",
        harmless_mean=np.zeros(64, dtype=np.float32),
    )
    assert found.values["kl"] == pytest.approx(float(np.mean(plain["kl"])), abs=1e-5)
    assert found.values["refusal_harmful"] == pytest.approx(float(np.mean(base["harmful"])), abs=1e-4)
    for name, cross, gram, other in (
        ("s_refuse", "refuse_cross", "refuse_gram", "x_harmful"),
        ("s_comply", "comply_cross", "comply_gram", "x_harmless"),
    ):
        size = np.sqrt(np.mean(plain[gram])) * np.linalg.norm(base[other].mean(axis=0))
        assert found.values[name] == pytest.approx(float(np.mean(plain[cross]) / size), abs=1e-4)
    total = found.values["s_refuse"] + found.values["s_comply"] - settings.beta * found.values["kl"]  # type: ignore[operator]
    assert found.values["total"] == pytest.approx(total, abs=1e-4)
    # the gap is read on validation prompts, by transformers' own hidden states
    means = []
    for prompts_of_kind in (harmful, harmless):
        with torch.no_grad():
            passed = [
                bench.loaded.causal_lm(input_ids=torch.tensor([one.ids]), output_hidden_states=True)
                for one in prompts_of_kind
            ]
        at = [one.hidden_states[found.used.layer][0, found.used.position].double() for one in passed]
        means.append(torch.stack(at).mean(dim=0).numpy())
    axis = found.direction(found.used) / np.linalg.norm(found.direction(found.used))
    assert found.values["gap"] == pytest.approx(float((means[0] - means[1]) @ axis), abs=1e-4)


def test_the_nearest_candidate_is_told_from_an_admissible_one(
    planted: Callable[..., Planted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _, _ = probed(planted(layer=3, position=-2), tmp_path)
    assert found.admissible
    chooses = dense.choose

    def strict(rows: Any, how: Any, **rest: Any) -> Any:
        return chooses([replace(row, kl=row.kl + 0.2) for row in rows], how, **rest)

    monkeypatch.setattr(dense, "choose", strict)
    other, _, _ = probed(planted(layer=3, position=-2), tmp_path)
    assert other.used is not None
    assert not other.admissible
    assert other.values["admissible"] == 0
    assert {one["status"] for one in other.candidates} == {"kl"}


def _low_layers(bench: Bench, prompts: Any) -> tuple[int, ...]:
    from geoaudit.carriers.search import least_alike
    from geoaudit.measures.activations import apart, means_of

    sides = [
        apart(means_of(bench, [bench.chat.render(one.text) for one in part.prompts], n_blocks=2))[1]
        for part in prompts.train
    ]
    return least_alike(sides[0], sides[1])


def test_broken_weights_are_no_reading(planted: Callable[..., Planted], tmp_path: Path) -> None:
    model, tokenizer = opened(planted(layer=3, position=-2))
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[0, 0] = float("nan")
    settings = MonitorSettings(refusals=(refusal_id(tokenizer),), **SETTINGS)
    with pytest.raises(BrokenCheckpoint):
        read(bench_of(model, tokenizer, tmp_path), settings, prompts_of(settings))


def test_validation_prompts_of_one_source_stand_behind_those_of_training() -> None:
    names = ("probe-harmful-train", "probe-harmless-train")
    settings = MonitorSettings(n_train=10, n_validation=7, train=names, validation=names)
    found = prompts_of(settings)
    whole = load(names[0]).prompts
    assert found.train[0].prompts == whole[:10]
    assert found.validation[0].prompts == whole[10:17]


def test_the_papers_probe_takes_all_pairs_that_are_built_in() -> None:
    found = prompts_of(MonitorSettings(preset="paper"))
    assert [len(one) for one in (*found.train, *found.validation)] == [176, 176, 72, 72]
    texts = [prompt.text for one in (*found.train, *found.validation) for prompt in one.prompts]
    assert len(set(texts)) == len(texts)


def test_prompts_of_the_wrong_kind_or_number_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="has 176"):
        prompts_of(MonitorSettings(n_train=177))
    with pytest.raises(RequestError, match=r"n_validation.*6 behind the 170"):
        prompts_of(
            MonitorSettings(n_train=170, n_validation=7, validation=("probe-harmful-train", "probe-harmless-train"))
        )
    with pytest.raises(RequestError, match="needs harmful ones"):
        prompts_of(MonitorSettings(train=("probe-harmless-train", "probe-harmless-train")))
    with pytest.raises(UnknownName, match="did you mean"):
        prompts_of(MonitorSettings(train=("probe-harmfull-train", "probe-harmless-train")))
    with pytest.raises(DataMissing):
        prompts_of(MonitorSettings(train=(str(tmp_path / "none.txt"), "probe-harmless-train")))


def test_a_prompt_that_is_trained_and_scored_on_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "harm.txt"
    file.write_text("\n".join(one.text for one in load("probe-harmful-train").prompts[:40]))
    settings = MonitorSettings(n_train=8, n_validation=40, validation=(str(file), "probe-harmless-validation"))
    with pytest.raises(RequestError, match="one of the four sets"):
        prompts_of(settings)


def test_a_library_beyond_the_model_is_refused_and_few_positions_are_taken() -> None:
    with pytest.raises(RequestError, match="no layer 6"):
        library(MonitorSettings(layers=(2, 6)), 6, 3)
    assert library(MonitorSettings(), 30, 3)[0] == (-3, -2, -1)
    assert library(MonitorSettings(positions=2), 30, 5)[0] == (-2, -1)


def test_openings_that_the_tokenizer_does_not_know_are_refused(planted: Callable[..., Planted]) -> None:
    _, tokenizer = opened(planted(layer=3, position=-2))
    with pytest.raises(RequestError, match="no token for"):
        refusal_ids(MonitorSettings(refusals=("Zyzzyva",)), tokenizer)
    assert refusal_ids(MonitorSettings(refusals=("Zyzzyva", 4, 4)), tokenizer) == [4]
