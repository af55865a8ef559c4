"""Which checkpoints are of one run, in what order, and what each is compared with."""

from __future__ import annotations

from itertools import permutations

import pytest

from geoaudit.audit.trajectory import Place, Trajectories, group
from geoaudit.errors import RequestError


def place(name: str, folder: str | None = None, **manifest) -> Place:
    return Place(name, f"/runs/{folder or name}", "llama", **manifest)


STEPS = (place("r2d2/step30"), place("r2d2/step50"), place("r2d2/step250"))


def names(*places: Place) -> list[tuple[str, ...]]:
    return [one.names for one in group(places)]


@pytest.mark.parametrize("given", list(permutations(STEPS)))
def test_checkpoints_of_one_folder_are_ordered_by_the_numbers_of_their_names(given):
    assert names(*given) == [("r2d2/step30", "r2d2/step50", "r2d2/step250")]


def test_two_folders_are_two_runs():
    assert names(*STEPS, place("sft/step50")) == [tuple(one.name for one in STEPS), ("sft/step50",)]


def test_two_kinds_of_model_in_one_folder_are_two_runs():
    assert names(place("models/a"), Place("models/b", "/runs/models/b", "qwen2")) == [("models/a",), ("models/b",)]


def test_the_run_of_the_manifest_wins_over_the_folder():
    apart = [place("a/x", run="seven", step=2), place("b/y", run="seven", step=1), place("a/z")]
    assert names(*apart) == [("b/y", "a/x"), ("a/z",)]


def test_the_step_of_the_manifest_wins_over_the_name():
    assert names(place("r/step9", step=1), place("r/step5", step=2)) == [("r/step9", "r/step5")]


def test_where_a_step_is_unknown_the_given_order_stands():
    given = [place("r/base"), place("r/step100"), place("r/step50"), place("r/final")]
    assert names(*given) == [("r/base", "r/step100", "r/step50", "r/final")]


@pytest.mark.parametrize("name", ["smollm2-135m", "org/model", "m/q4.gguf"])
def test_what_lies_in_no_folder_of_a_run_is_alone_unless_its_manifest_says_otherwise(name):
    other = Place("other", None, "llama")
    assert names(Place(name, None, "llama"), other) == [(name,), ("other",)]
    joined = [Place(name, None, "llama", run="r", step=0), place("r/step5", run="r")]
    assert names(*joined) == [(name, "r/step5")]


# --- names ------------------------------------------------------------------------------------------------------------


def named(*places: Place) -> list[str]:
    return [one.name for one in group(places)]


def test_a_trajectory_is_called_what_its_checkpoints_have_in_common_before_the_last_slash():
    assert named(*STEPS, place("sft/step50")) == ["r2d2", "sft"]
    deep = [Place(f"runs/r2d2/step{n}", f"/x/y/step{n}", "llama") for n in (1, 2)]
    assert named(*deep) == ["runs/r2d2"]


def test_a_trajectory_whose_checkpoints_have_names_of_their_own_is_called_by_its_folder():
    assert named(Place("before", "/runs/r2d2/step1", "llama"), Place("after", "/runs/r2d2/step9", "llama")) == ["r2d2"]
    assert named(Place("before", "/runs/r2d2/step1", "llama"), place("r2d2/step5")) == ["r2d2"]


@pytest.mark.parametrize("name", ["smollm2-135m", "org/model", "m/q4.gguf"])
def test_what_lies_in_no_folder_is_a_trajectory_of_its_own_name(name):
    assert named(Place(name, None, "llama")) == [name]


def test_a_run_that_lies_in_several_folders_is_called_by_its_first_checkpoint():
    assert named(place("a/x", run="seven", step=2), place("b/y", run="seven", step=1)) == ["a/x"]


def test_names_of_trajectories_differ():
    kinds = [Place(f"models/{kind}", f"/runs/models/{kind}", kind) for kind in ("llama", "qwen2", "gemma")]
    assert named(*kinds) == ["models", "models-2", "models-3"]
    taken = [*kinds[:2], Place("models-2", None, "llama")]
    assert named(*taken) == ["models", "models-2", "models-2-2"]


# --- lines across one -------------------------------------------------------------------------------------------------


def across(places, concerned) -> list[tuple[str, tuple[str, ...]]]:
    return [(one.name, one.names) for one in Trajectories(places).across(concerned)]


def test_a_line_is_decided_on_every_trajectory_with_those_of_its_checkpoints_that_it_concerns():
    places = [*STEPS, place("sft/step50"), place("sft/step5")]
    everything = [one.name for one in places]
    assert across(places, everything) == [
        ("r2d2", tuple(one.name for one in STEPS)),
        ("sft", ("sft/step5", "sft/step50")),
    ]
    assert across(places, ["r2d2/step250", "r2d2/step30"]) == [("r2d2", ("r2d2/step30", "r2d2/step250"))]
    assert across(places, []) == []


def test_a_checkpoint_that_stands_alone_is_left_out_beside_a_trajectory_and_not_passed_over_without_one():
    alone = Place("smollm2-135m", None, "llama")
    both = [*STEPS, alone]
    assert [name for name, _ in across(both, [one.name for one in both])] == ["r2d2"]
    assert across([alone], ["smollm2-135m"]) == [("smollm2-135m", ("smollm2-135m",))]
    assert across(both, ["r2d2/step50", "smollm2-135m"]) == [
        ("r2d2", ("r2d2/step50",)),
        ("smollm2-135m", ("smollm2-135m",)),
    ]


# --- what each is compared with --------------------------------------------------------------------------------------


def test_the_first_is_the_reference_and_the_one_before_is_previous():
    found = Trajectories(STEPS)
    assert [found.against(one.name, "reference") for one in STEPS] == [None, "r2d2/step30", "r2d2/step30"]
    assert [found.against(one.name, "previous") for one in STEPS] == [None, "r2d2/step30", "r2d2/step50"]


def test_the_manifest_names_the_reference_by_its_step():
    said = [place("r/step10", reference=20), place("r/step20"), place("r/step30", reference=20)]
    found = Trajectories(said)
    assert [found.against(one.name, "reference") for one in said] == ["r/step20", None, "r/step20"]
    assert [found.against(one.name, "previous") for one in said] == [None, "r/step10", "r/step20"]


def test_a_reference_that_is_named_is_that_of_every_checkpoint_of_the_audit():
    found = Trajectories([*STEPS, place("sft/step50"), Place("base", None)], "base")
    for name in ("r2d2/step30", "r2d2/step50", "sft/step50"):
        assert found.against(name, "reference") == "base"
    assert found.against("base", "reference") is None
    assert found.against("base", "previous") is None, "it was named to be compared with"
    assert found.against("r2d2/step50", "previous") == "r2d2/step30", "only the reference was named"
    with pytest.raises(RequestError, match="sft/step50 is the only checkpoint of its run"):
        found.against("sft/step50", "previous")


def test_a_reference_that_is_named_wins_over_the_manifest():
    said = [place("r/step10", reference=10), place("r/step20")]
    assert Trajectories(said, "r/step20").against("r/step10", "reference") == "r/step20"


@pytest.mark.parametrize(
    ("places", "role", "why"),
    [
        ([place("r/step10")], "reference", r"only checkpoint of its run.*--geoaudit-reference=NAME"),
        ([place("r/step10")], "previous", r"only checkpoint of its run.*none comes before it"),
        ([place("r/step10", reference=5), place("r/step20")], "reference", r"is step 5, as its training manifest says"),
        (
            [place("r/step10", reference=5), place("r/step20", reference=10)],
            "reference",
            r"r/step10, r/step20 name different references \(step 5 and step 10\)",
        ),
    ],
)
def test_a_reference_that_is_not_there_is_an_error(places, role, why):
    with pytest.raises(RequestError, match=why):
        Trajectories(places).against("r/step10", role)


def test_the_manifest_may_call_a_lone_checkpoint_the_reference():
    assert Trajectories([place("r/step10", reference=10)]).against("r/step10", "reference") is None


def test_a_reference_that_is_no_checkpoint_of_the_audit():
    with pytest.raises(
        RequestError, match=r"'r2d2/step31' is no checkpoint of this audit \(did you mean 'r2d2/step30'"
    ):
        Trajectories(STEPS, "r2d2/step31")
