"""The benchmark of GCG against a stand-in for nanoGCG: the same losses on both sides, and it says what it measured."""

from __future__ import annotations

import sys

import pytest

from tests.benchmarks import gcg

pytestmark = pytest.mark.slow

STAND_IN = """
import json, sys
print(json.dumps({"versions": ["stand-in"], "threads": 1}), flush=True)
for line in sys.stdin:
    job = json.loads(line)
    if "ids" in job:
        said = {"loss": float(sys.argv[1])}
    else:
        assert job["request"].endswith("{optim_str}") and job["initial"] == " " + " ".join("!" * 20)
        said = {"seconds": 30.0, "cpu": 60.0, "losses": [9.0, 1.0, 5.0], "strings": [" zeal", job["initial"], " up"]}
    print(json.dumps(said), flush=True)
"""


def arguments(folder):
    return ["--model", str(folder), "--runs", "6x2,4x1", "--steps", "3"]


@pytest.fixture
def model(planted):
    return planted(layer=2, position=-2).folder


def test_it_says_seconds_and_losses_of_both(model, capsys):
    from geoaudit.attacks.target import Aim, string_losses, suffixed
    from geoaudit.model.chat import Chat
    from geoaudit.model.checkpoint import resolve
    from geoaudit.model.load import load
    from geoaudit.model.loaded import LoadedModel
    from geoaudit.prompts.sources import load as load_prompts

    subject, tokenizer = load(resolve(str(model))[0], store=model, device="cpu", dtype="float32")
    loaded = LoadedModel(subject, tokenizer, Chat(tokenizer))
    prompts = load_prompts("harmful", data=None).first(2).prompts
    aims = [Aim(one.id, one.text, one.target) for one in prompts]
    started = string_losses(loaded, aims, [suffixed(aim.request, gcg.START) for aim in aims]).tolist()
    command = [sys.executable, "-c", STAND_IN, str(started[0])]
    (theirs, ours, start), (_, _, alone) = gcg.main(arguments(model), command)
    assert start == pytest.approx(started, abs=1e-5)
    assert alone == pytest.approx(started[:1], abs=1e-5)
    assert theirs.losses == pytest.approx(started, abs=1e-5), "its best string was the start"
    assert (theirs.seconds, theirs.cpu) == (10.0, 20.0)
    assert all(one <= first for one, first in zip(ours.losses, start, strict=True))
    assert 0 < ours.seconds < 10
    said = capsys.readouterr().out
    assert "width 6 x 2 behaviours: nanoGCG 10.00 s (20.00), ours 0." in said
    assert "width 4 x 1 behaviours" in said
    assert "['stand-in']" in said


def test_it_ends_where_the_two_do_not_compute_the_same(model):
    with pytest.raises(SystemExit, match=r"losses .* nats apart for the same tokens"):
        gcg.main(arguments(model), [sys.executable, "-c", STAND_IN, "99"])
