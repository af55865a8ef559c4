"""`geoaudit label`: a blind random sample, kept answer by answer, that corrects the rate of the next run."""

from __future__ import annotations

import json

import pytest

from geoaudit.audit.store import Store
from geoaudit.errors import RequestError, UnknownName
from geoaudit.labelling import comparison, label
from geoaudit.measures.fulfilled import texts_key
from geoaudit.measures.labels import exchange_sha256, read
from geoaudit.records import Exchange

TEXTS = [Exchange(f"request {i}", f"request {i}", f"answer {i}\x1b[31m") for i in range(30)]


def made(folder, checkpoints=("ckpt",), **detail):
    """A record with one rate a checkpoint, and the store that has its text: rows 0 to 9 are complied by the judge."""
    store = Store(folder / "store")
    texts = [{"behavior": t.behavior, "asked": t.asked, "completion": t.completion} for t in TEXTS]
    store.put(texts_key("k" * 64), texts)
    rows = [
        {"exchange": exchange_sha256(text), "label": "full_compliance" if i < 10 else "full_refusal"}
        for i, text in enumerate(TEXTS)
    ]
    found = {
        "geoaudit_record": 2,
        "measurements": [
            {
                "key": f"m-{name}",
                "measure": "attack_success_rate",
                "checkpoint": name,
                "parameters": {},
                "n": 30,
                "detail": {"texts": "k" * 64, "completions": "c", **detail},
            }
            for name in checkpoints
        ],
        "assertions": [{"id": "asr", "checkpoint": name, "measurement": f"m-{name}"} for name in checkpoints],
        "completions": {"c": {"rows": rows}},
    }
    path = folder / "record.json"
    path.write_text(json.dumps(found))
    return path, store


class Person:
    """Says yes to requests of these numbers, and quits after so many answers."""

    def __init__(self, yes=(), quits=None):
        self.yes, self.quits, self.shown, self.answered = set(yes), quits, [], 0

    def show(self, line):
        self.shown.append(line)

    def ask(self, question):
        if self.answered == self.quits:
            return "q"
        self.answered += 1
        number = int(self.shown[-1].partition("request: request ")[2].split()[0])
        return "y" if number in self.yes else "N "


def run(folder, person, n=12, **more):
    path, store = made(folder)
    output = folder / "labels.json"
    return label(path, output, store=store, n=n, ask=person.ask, show=person.show, **more), path, output


def test_answers_go_to_the_completions_that_were_shown(tmp_path):
    person = Person(yes=range(5))
    sample, path, output = run(tmp_path, person, n=30)
    assert {exchange_sha256(text): i < 5 for i, text in enumerate(TEXTS)} == dict(sample.answers)
    assert read([output]).samples == (sample,)
    assert comparison(path, sample) == {"labelled": 30, "agree": 25, "judge_only": 5, "person_only": 0}


def test_the_sample_is_random_and_the_same_for_a_seed(tmp_path):
    asked = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        (tmp_path / name).mkdir()
        asked[name] = list(run(tmp_path / name, Person(), seed=seed)[0].answers)
    assert asked["a"] == asked["b"] != asked["c"]
    assert len(set(asked["a"])) == 12
    assert asked["a"] != [exchange_sha256(text) for text in TEXTS[:12]]


def test_the_person_does_not_see_what_the_judge_said_nor_raw_control_characters(tmp_path):
    person = Person()
    run(tmp_path, person)
    assert not any(word in line for line in person.shown for word in ("compliance", "refusal", "\x1b"))


def test_what_is_answered_is_kept_and_not_asked_again(tmp_path):
    path, store = made(tmp_path)
    output = tmp_path / "labels.json"
    first = Person(quits=5)
    label(path, output, store=store, n=12, ask=first.ask, show=first.show)
    assert len(read([output]).samples[0].answers) == 5
    second = Person()
    sample = label(path, output, store=store, n=12, ask=second.ask, show=second.show)
    assert (second.answered, len(sample.answers)) == (7, 12)
    with pytest.raises(RequestError, match="drawn with --seed 0: go on with that"):
        label(path, output, store=store, seed=1, ask=second.ask, show=second.show)


def test_the_end_of_the_input_is_a_stop_and_nonsense_is_asked_again(tmp_path):
    path, store = made(tmp_path)
    replies = iter(["maybe", "", "y"])

    def ask(question):
        try:
            return next(replies)
        except StopIteration:
            raise EOFError from None

    sample = label(path, tmp_path / "labels.json", store=store, ask=ask, show=lambda line: None)
    assert list(sample.answers.values()) == [True]


def test_which_assertion_is_meant(tmp_path):
    path, store = made(tmp_path, checkpoints=("one", "two"))
    person = Person()

    def asked(assertion):
        return label(path, tmp_path / "l.json", store=store, assertion=assertion, n=3, ask=person.ask, show=person.show)

    with pytest.raises(RequestError, match=r"say which assertion.*asr\[one\], asr\[two\]"):
        asked(None)
    with pytest.raises(RequestError, match="ran on several checkpoints"):
        asked("asr")
    with pytest.raises(UnknownName, match="unknown assertion 'asrr'"):
        asked("asrr")
    assert len(asked("asr[two]").answers) == 3


def test_text_that_the_store_does_not_hold_is_said(tmp_path):
    path, _ = made(tmp_path)
    with pytest.raises(RequestError, match="does not hold the text of these completions"):
        label(path, tmp_path / "l.json", store=Store(tmp_path / "other"), ask=str, show=str)


def test_a_rate_over_several_conditions_is_no_one_set_to_label(tmp_path):
    path, store = made(tmp_path, conditions=[{}])
    with pytest.raises(RequestError, match="nothing in this record can be labelled"):
        label(path, tmp_path / "l.json", store=store, ask=str, show=str)
