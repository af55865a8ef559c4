"""A model's own answers as training data: those that an audit would get, made once."""

from __future__ import annotations

import pytest

from geoaudit.model.chat import Chat
from geoaudit.model.checkpoint import resolve
from geoaudit.model.generate import complete
from geoaudit.model.load import load
from geoaudit.model.loaded import LoadedModel
from geoaudit.prompts.sources import load as load_source
from geoaudit.training import answering, recipe
from tests.training import tiny


@pytest.fixture
def made(tmp_path):
    """Makes an `Answering` over the tiny base, with what it says."""
    given = recipe.read(tiny.write(tmp_path, data=[{"answers": "tune-harmless", "max_new_tokens": 3}]))
    (base,) = resolve(str(tmp_path / "base"))
    model, tokenizer = load(base, store=tmp_path / "store", device="cpu", dtype="float32")
    lines: list[str] = []

    def make(**how):
        chat = Chat(tokenizer)
        how = {"store": tmp_path / "store", "device": "cpu", "say": lines.append, **how}
        return answering.Answering(given, base, model, tokenizer, chat, **how), lines

    return make, given.data[0], LoadedModel(model, tokenizer, Chat(tokenizer))


def test_answers_are_the_models_and_are_made_once(made, monkeypatch):
    make, source, loaded = made
    prompts = load_source("tune-harmless").first(70)
    answers, lines = make()
    found = answers(source, prompts)
    rendered = [loaded.chat.render(prompt.text) for prompt in prompts.prompts]
    wanted = complete(loaded, rendered, [p.id for p in prompts.prompts], max_new_tokens=3)
    assert found == [(one.text, one.stopped) for one in wanted]
    assert lines == ["answers of " + lines[0].split("answers of ")[1], *lines[1:]]
    assert [line.rsplit(" ", 1)[1] for line in lines] == ["64/70", "70/70"]
    again, _ = make()
    monkeypatch.setattr(answering, "complete_halving", None)
    assert again(source, prompts) == found
    assert len(lines) == 2


def test_another_length_is_another_answer(made):
    make, source, _ = made
    prompts = load_source("tune-harmless").first(4)
    answers, lines = make()
    answers(source, prompts)
    answers(source.model_copy(update={"max_new_tokens": 4}), prompts)
    assert len(lines) == 2


def test_a_sample_stands_for_all_and_what_it_spares_is_counted(made, monkeypatch):
    make, source, _ = made
    prompts = load_source("tune-harmless").first(200)
    answers, lines = make(sample=True)
    found = answers(source, prompts)
    assert len(found) == 200
    assert len(lines) == 1
    assert answers.seconds_left > 0
    full, lines = make()
    whole = full(source, prompts)
    assert whole[:64] == found[:64]
    assert [line.rsplit(" ", 1)[1] for line in lines[1:]] == ["128/200", "192/200", "200/200"]


def test_another_model_answers_in_its_own_format(made, tmp_path):
    make, source, _ = made
    named = source.model_copy(update={"model": "base"})
    prompts = load_source("tune-harmless").first(3)
    answers, lines = make()
    assert answers(named, prompts) == answers(source, prompts)
    assert len(lines) == 2
