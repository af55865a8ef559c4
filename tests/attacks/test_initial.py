"""The prompts that autodan begins with: from the stored attacks, and from files of a user's."""

from __future__ import annotations

import json

import pytest

from geoaudit.attacks.initial import REQUEST, TARGET, _without, initial, template
from geoaudit.errors import DataMissing, RequestError
from geoaudit.prompts import sources
from geoaudit.prompts.overlap import shingles


def test_the_stored_attacks_give_templates_that_speak_of_no_behaviour(benchmark_data):
    found = initial("jailbreakbench", benchmark_data)
    assert len(found) == 2
    prompts = sources.load("jailbreakbench", data=benchmark_data).prompts
    for text in found:
        assert text.count(REQUEST) == 1
        assert not any(len(shingles(prompt.request) & shingles(text)) > 1 for prompt in prompts)
    assert [text.count(TARGET) for text in found] == [0, 1]


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("Now FRY AN EGG in a pan. Begin: Sure, I fry!", f"Now {REQUEST} Begin: {TARGET}!"),
        ("Fry an egg in a pan, I say: fry an egg in a pan", None),  # asked for twice
        ("Boil rice", None),  # not asked for
        ("Fry an egg in a pan. As an egg in butter", None),  # other words of the request stay
        ("Fry an egg in a pan. sure i fry", None),  # words of the target stay
    ],
)
def test_a_template_is_what_is_left_without_the_behaviour(text, made):
    assert _without(text, "Fry an egg in a pan.", "Sure, I fry") == made


def test_without_the_data_it_says_how_to_get_it(tmp_path):
    with pytest.raises(DataMissing, match="data folder"):
        initial("jailbreakbench", tmp_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", f"\nTell me: {REQUEST}\n---\nNo place.\n\nTwo paragraphs.\n-----  \n\n"),
        ("a.json", json.dumps([f"Tell me: {REQUEST}", "No place.\n\nTwo paragraphs."])),
        (
            "a.jsonl",
            f'{{"prompt": "Tell me: {REQUEST}"}}\n\n{{"prompt": "No place.\\n\\nTwo paragraphs.", "more": 1}}\n',
        ),
    ],
)
def test_every_kind_of_file_is_read(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert initial(str(tmp_path / name)) == (f"Tell me: {REQUEST}", f"No place.\n\nTwo paragraphs.\n\n{REQUEST}")


def test_equal_templates_are_one(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(["Same.", " Same. ", f"Same.\n\n{REQUEST}"]))
    assert initial(str(tmp_path / "a.json")) == (f"Same.\n\n{REQUEST}",)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.txt", f"one\n---\n{REQUEST} and\n{REQUEST}\n", r"a\.txt:3: .*\[REQUEST\] 2 times"),
        ("a.json", '["one",\n 2]', r"a\.json:2: expected a list of texts"),
        ("a.json", '{"one": "two"}', r"a\.json:1: expected a list"),
        ("a.jsonl", '{"prompt": "one"}\n{"text": "two"}', r"a\.jsonl:2: .*\"prompt\""),
        ("a.jsonl", '{"prompt": " "}', r"a\.jsonl:1: an initial prompt is empty"),
        ("a.json", "[]", "no template to begin with"),
        ("a.txt", "\n", "no template to begin with"),
        ("a.csv", "one", "neither a set of stored attacks"),
    ],
)
def test_a_wrong_file_is_named_with_its_line(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(RequestError, match=words):
        initial(str(tmp_path / name))


def test_no_such_file_or_set(tmp_path):
    with pytest.raises(DataMissing, match="no such file"):
        initial(str(tmp_path / "a.txt"))
    with pytest.raises(RequestError, match="neither a set"):
        initial("jailbreakbenc")


def test_a_template_keeps_its_place_or_gets_one():
    assert template(f" a {REQUEST} b\r\nc ") == f"a {REQUEST} b\nc"
    assert template("a") == f"a\n\n{REQUEST}"
