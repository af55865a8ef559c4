"""What an intervention is made on and beside: a direction of the user's own, and the kind of control that decides.

Plain data: planning imports no numpy and no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geoaudit.measures.inputs import File, Source
from geoaudit.measures.stored_direction import shape_of
from geoaudit.prompts.sources import names

KL = "harmless_kl"
"""The outcome whose controls cannot be matched on it."""
KL_MATCHED = ("covariance", "categories")
"""Kinds of control whose doses are those at which they disturb harmless prompts as much as the target does."""
_OF_STORED = ("file", "layer")
"""Parameters that only the target `stored` reads."""
_SEVERAL = ("H+R", "subspace")
"""Targets of more than one direction."""
OF_R = -1
"""As `layer`: that of R."""


def with_controls(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is given, with what its target and its outcome imply where nothing is said. Twice is as once.

    >>> with_controls({"outcome": "harmless_kl"})["controls"]
    'norm_matched'
    """
    full = dict(given)
    if given.get("target") == "stored":  # R only says where and by which tokens, admissible or not
        full.setdefault("direction", "nearest")
    if given.get("outcome") == KL:
        full.setdefault("controls", "norm_matched" if _norm_can_be_matched(given) else "random")
    if full.get("controls") == "norm_matched":
        full.setdefault("scope", "every_site_but_first_token")
    return full


def _norm_can_be_matched(given: Mapping[str, Any]) -> bool:
    return (
        given.get("operator", "ablate") == "ablate"
        and given.get("target", "R") not in _SEVERAL
        and given.get("dose", 1) in (1, -1)
        and given.get("scope", "every_site_but_first_token") == "every_site_but_first_token"
    )


def idle_for(parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """Parameters that the target does not read: no part of the measurement."""
    if parameters.get("target", "stored") == "stored":
        return ()
    return tuple(name for name in _OF_STORED if name in parameters)


def target_problem(given: Mapping[str, Any], parameters: Mapping[str, Any]) -> str | None:
    """What is wrong with a target and its controls, or None.

    Args:
        given: the parameters as written, without defaults.
        parameters: all of them.

    Raises:
        RequestError: the file of a stored direction is not there, or holds no direction.
    """
    unread = [name for name in idle_for(parameters) if name in given]
    if unread:
        return f"{unread[0]} is not read by target {parameters['target']!r} but by stored: set `target` too"
    several = 2 if parameters.get("target") in _SEVERAL else 1
    if parameters.get("target") == "stored":
        file = parameters["file"]
        if not isinstance(file, File):
            return "target stored needs a file: safetensors with one tensor, a direction [d] or a subspace [k, d]"
        several, _ = shape_of(file)
        if several > 1 and parameters["operator"] == "add":
            return f"{file.name} holds {several} directions; what to add along them is not said: give it one row"
    return _controls_problem(parameters, several) if "controls" in parameters else None


def _controls_problem(parameters: Mapping[str, Any], several: int) -> str | None:
    """What is wrong with the kind of control that decides."""
    kind, of_kl = parameters["controls"], parameters.get("outcome") == KL
    if of_kl and kind in KL_MATCHED:
        return (
            f"controls {kind} have the KL of the target by construction, so that nothing could be seen of it: "
            f"set controls: norm_matched or random for outcome {KL!r}"
        )
    if of_kl and _label(parameters["source"]) != "harmless":
        return f"outcome {KL!r} is about harmless prompts; the source {parameters['source'].name!r} is harmful"
    if not of_kl and kind not in KL_MATCHED:
        return (
            f"controls {kind} disturb the model by more or less than the target does and decide nothing (they are "
            f"shown all the same): set controls: {' or '.join(KL_MATCHED)}"
        )
    if kind == "norm_matched" and (several > 1 or parameters["operator"] != "ablate" or abs(parameters["dose"]) != 1):
        return (
            "controls norm_matched stand for the ablation of one direction, whole: for others set controls: random "
            "(added at the norm of the target)"
        )
    if kind == "norm_matched" and parameters["scope"] != "every_site_but_first_token":
        return "controls norm_matched leave token 0 as it is, and so must the target: scope: every_site_but_first_token"
    return None


def _label(source: Source) -> str:
    return source.label if source.file else next(one.label for one in names() if one.name == source.name)
