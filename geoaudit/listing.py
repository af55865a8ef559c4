"""What there is to use: `geoaudit judges`, `measures` and `data`, and the schemas of the files (`schema`)."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from geoaudit.errors import GeoauditError


def add_judges_to(commands: Any) -> None:
    """Add `judges` to the commands."""
    parser: argparse.ArgumentParser = commands.add_parser("judges", help="list the judges, or show the card of one")
    parser.add_argument("name", nargs="?", help="one judge, in full")
    parser.set_defaults(run=_judges)


def add_measures_to(commands: Any) -> None:
    """Add `measures` to the commands."""
    parser: argparse.ArgumentParser = commands.add_parser("measures", help="list the measures and their parameters")
    parser.add_argument("name", nargs="?", help="one measure, in full")
    parser.set_defaults(run=_measures)


def add_schema_to(commands: Any) -> None:
    """Add `schema` to the commands."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "schema", help="print the JSON Schema of suite files, for editors, or of records"
    )
    parser.add_argument("--record", action="store_true", help="of records, for programs that read one")
    parser.set_defaults(run=_schema)


def add_data_to(commands: Any) -> None:
    """Add `data list` and `data fetch` to the commands."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "data", help="the prompt sources: list what is there, fetch the public ones"
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="names, sizes, licences, and whether they are here")
    listing.set_defaults(run=_data_list)
    fetch = actions.add_parser("fetch", help="download a benchmark from its official source, checked by SHA-256")
    fetch.add_argument("name", metavar="NAME", help="for example xstest")
    fetch.set_defaults(run=_data_fetch)
    for action in (listing, fetch):
        action.add_argument("--data", type=Path, metavar="DIR", help="(default: GEOAUDIT_DATA, else the cache folder)")


def _judges(arguments: argparse.Namespace, show: Callable[[str], None] = print) -> int:
    from geoaudit.judges import JUDGES, info

    if arguments.name is None:
        width = max(map(len, JUDGES))
        for judge in JUDGES.values():
            show(f"{judge.name:<{width}}  {judge.kind:<9} {judge.card.labels}")
        show("\n`geoaudit judges NAME` shows the card of one.")
        return 0
    judge = info(arguments.name)
    card = judge.card
    show(f"{judge.name} ({judge.kind})\n\nlabels: {card.labels}\nlanguage: {card.language}\nlicence: {card.licence}")
    show(f"limits: {card.limits}")
    for part in card.agreement:
        (low, high), (least, most) = part.sensitivity_interval, part.specificity_interval
        show(
            f"\n{part.data}, n = {part.n}: {part.question}\n  agreement {part.agreement:.3f}, "
            f"sensitivity {part.sensitivity:.3f} [{low:.3f}, {high:.3f}], "
            f"specificity {part.specificity:.3f} [{least:.3f}, {most:.3f}]"
            + ("; read or fitted to while the judge was made" if part.seen else "")
        )
    for title, parts in (("three classes told apart", card.three_class), ("plainly worded", card.plain)):
        if parts:
            show(f"\n{title}" + (f" ({card.plain_means})" if title == "plainly worded" else ""))
        for share in parts:
            low, high = share.interval
            show(f"  {share.data}, n = {share.n}: {share.agreement:.3f} [{low:.3f}, {high:.3f}]")
    if card.lengths:
        show(f"\nagreement where only the beginning is seen ({card.counted})")
    for cut in card.lengths:
        seen = "the whole text" if cut.tokens is None else f"{cut.tokens} tokens"
        show(
            f"  {seen}: any refusal {cut.any_refusal / cut.n:.3f}, three classes {cut.three_class / cut.n:.3f}, "
            f"n = {cut.n} ({cut.whole} texts fit)"
        )
    if card.made:
        show(f"\n{card.made}")
    return 0


def _measures(arguments: argparse.Namespace, show: Callable[[str], None] = print) -> int:
    from geoaudit.measures.table import MEASURES, get

    if arguments.name is None:
        width = max(map(len, MEASURES))
        for measure in MEASURES.values():
            show(f"{measure.name:<{width}}  {measure.title}, {measure.unit}")
        show("\n`geoaudit measures NAME` explains one.")
        return 0
    measure = get(arguments.name)
    show(f"{measure.name}: {measure.title}\n\n{measure.says}")
    show(f"Does not say: {measure.says_not}")
    show(f"\nunit: {measure.unit}\nkind: {measure.kind}\nbetter: {measure.better}\nsource: {measure.source}\n\nwith:")
    for name, parameter in measure.parameters.items():
        default = "set by the profile" if parameter.profile else f"default {parameter.default!r}"
        default = "no default" if not parameter.profile and parameter.default is None else default
        choices = f", one of {', '.join(parameter.choices)}" if parameter.choices else ""
        show(f"  {name} ({parameter.type}, {default}{choices})\n      {parameter.what}")
    return 0


def _schema(arguments: argparse.Namespace, show: Callable[[str], None] = print) -> int:
    from geoaudit.audit.record_schema import record_schema
    from geoaudit.audit.schema import suite_schema

    show(json.dumps(record_schema() if arguments.record else suite_schema(), indent=1))
    return 0


def _data_list(arguments: argparse.Namespace, show: Callable[[str], None] = print) -> int:
    from geoaudit.attacks.stored import sets
    from geoaudit.prompts.pinned import data_directory
    from geoaudit.prompts.sources import check, names

    folder = data_folder(arguments)
    for source in names():
        state = "built in"
        if source.kind == "benchmark":
            try:
                check(source.name, folder)
                state = "here"
            except GeoauditError:
                state = "not here"
        show(f"{source.name:<26} {source.n:>4}  {source.label:<9} {state:<9} {source.what} ({source.licence})")
    for one in sets():
        here = "here" if (data_directory(folder) / one.file.path).is_file() else "not here"
        show(f"{one.name:<26} {one.n:>4}  {'attacks':<9} {here:<9} {one.what} ({one.licence})")
    show("\n`geoaudit data fetch NAME` downloads a benchmark that is not here.")
    return 0


def _data_fetch(arguments: argparse.Namespace, show: Callable[[str], None] = print) -> int:
    from geoaudit.prompts.fetch import fetch

    show(str(fetch(arguments.name, data_folder(arguments))))
    return 0


def data_folder(arguments: argparse.Namespace) -> Path | None:
    """Where the benchmarks are, as far as a command line or the environment says so."""
    named: Any = arguments.data or os.environ.get("GEOAUDIT_DATA")
    return Path(named) if named else None
