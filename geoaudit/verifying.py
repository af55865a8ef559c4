"""`geoaudit verify RECORD`: does a record say what its checkpoints do? Hashes, outcomes, and a sample measured again.

Nothing of an earlier audit is reused: what is measured again is measured into a store of its own. Exit 0: everything
that was looked at agrees. 1: something differs. 2: something could not be looked at, and nothing differs. 4: the
request cannot be right.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoaudit.errors import GeoauditError, RequestError

if TYPE_CHECKING:
    from geoaudit.audit.again import Asked, Findings
    from geoaudit.audit.suite import Suite
    from geoaudit.records import Measurement

EXIT: Mapping[str, int] = {"agrees": 0, "differs": 1, "open": 2}


def add_to(commands: Any) -> None:
    """The command line of `geoaudit verify`."""
    parser = commands.add_parser(
        "verify",
        help="measure a sample of a record again, and check its hashes and outcomes",
        description="Checks that a record is as it was written, that suites, prompts and weights are those it names, "
        "that its outcomes follow from its numbers, and measures a random sample of the numbers again, with nothing "
        "reused. Exit 0: all of it agrees; 1: something differs; 2: something could not be looked at; 4: the request "
        "cannot be right, for example a record that cannot be read or a --model that the record does not name.",
        epilog="example: geoaudit verify reports/geoaudit.json --sample 0.2",
    )
    parser.add_argument("record", type=Path, metavar="RECORD.json")
    parser.add_argument(
        "--sample", type=float, default=0.1, metavar="SHARE", help="of the measurements (default: %(default)s; 0: none)"
    )
    parser.add_argument("--seed", type=int, metavar="SEED", help="of the sample (default: a new one each time)")
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="NAME=MODEL",
        help="where a checkpoint of the record is now, repeatable (default: as the record names it, from here)",
    )
    parser.add_argument("--store", type=Path, metavar="DIR", help="an empty folder for new rows (default: a temporary)")
    parser.add_argument("--device", metavar="DEVICE", help="(default: the record's kind)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="benchmarks (default: GEOAUDIT_DATA)")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from geoaudit.audit.again import Asked

    data = arguments.data or (Path(os.environ["GEOAUDIT_DATA"]) if os.environ.get("GEOAUDIT_DATA") else None)
    seed = secrets.randbelow(2**31) if arguments.seed is None else arguments.seed
    asked = Asked(arguments.record, arguments.sample, seed, _models(arguments.model), arguments.device, data)
    if arguments.store is not None:
        if arguments.store.exists() and any(arguments.store.iterdir()):
            raise RequestError(f"--store {arguments.store} is not empty: rows of an earlier audit would be reused")
        return verify(asked, arguments.store)
    with tempfile.TemporaryDirectory(prefix="geoaudit-verify-") as folder:
        return verify(asked, Path(folder))


def _line(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def verify(asked: Asked, store: Path, say: Callable[[str], None] = _line) -> int:
    """Verify a record.

    Args:
        asked: what.
        store: an empty folder.
        say: where the lines go.

    Returns:
        0, 1 or 2.

    Raises:
        RequestError: no such record, or a share that is none.
    """
    from geoaudit.audit import record as records
    from geoaudit.audit.again import Findings, again

    if not 0 <= asked.sample <= 1:
        raise RequestError(f"--sample is a share from 0 to 1, got {asked.sample:g}")
    record = records.read(asked.record, sealed=False)
    unknown = set(asked.models) - {one["name"] for one in record["checkpoints"]}
    if unknown:
        there = ", ".join(one["name"] for one in record["checkpoints"])
        raise RequestError(f"--model: the record has no checkpoint {', '.join(sorted(unknown))}: {there}")
    say(f"{asked.record}: made {record['created']} by geoaudit {record['geoaudit']}")
    findings = Findings(say)
    _content(record, asked.record, findings)
    suites = _suites(record, findings)
    _outcomes(record, asked.record, suites, findings)
    _package(record, say)
    again(record, suites, asked, store, findings)
    apart = findings.verdicts.count("differs")
    end = {
        "agrees": "everything that was looked at agrees with the record",
        "differs": f"{apart} finding{'s differ' if apart != 1 else ' differs'} from the record",
        "open": "nothing differs, but not everything could be looked at",
    }
    say(end[findings.worst])
    return EXIT[findings.worst]


# --- without a model -------------------------------------------------------------------------------------------------


def _content(record: Mapping[str, Any], path: Path, findings: Findings) -> None:
    from geoaudit.audit.provenance import is_intact

    intact = is_intact(json.loads(path.read_bytes()))
    if intact is None:
        findings.add("open", "content: the record carries no hash of it")
    elif intact:
        findings.add("agrees", "content: as it was written")
    else:
        findings.add("differs", "content: the record was changed after it was written")


def _package(record: Mapping[str, Any], say: Callable[[str], None]) -> None:
    """Another source is no difference of the record's: what it measures says whether that matters."""
    from geoaudit.audit.provenance import package_sha256

    measured = record["provenance"]["package"]
    if measured["sha256"] == package_sha256():
        said = "the same source as measured"
    elif measured["sha256"]:
        said = f"measured by geoaudit {measured['version']}, whose source is not the one here"
    else:
        said = f"measured by geoaudit {measured['version']}; its source was not noted"
    say(f"note      package: {said}")


def _suites(record: Mapping[str, Any], findings: Findings) -> dict[str, Suite]:
    """The suites that are here and unchanged, by their file."""
    from geoaudit.audit.suite import read

    found = {}
    for one in record["suites"]:
        path = Path(one["file"])
        if not path.is_file():
            findings.add("open", f"suite {one['file']}: not here")
            continue
        try:
            suite = read(path)
        except GeoauditError as error:
            findings.add("open", f"suite {one['file']}: {error}")
            continue
        if suite.sha256 == one["sha256"]:
            found[one["file"]] = suite
            findings.add("agrees", f"suite {one['file']}: unchanged")
        else:
            findings.add("differs", f"suite {one['file']}: changed since")
    return found


def _outcomes(record: Mapping[str, Any], path: Path, suites: Mapping[str, Suite], findings: Findings) -> None:
    """Every assertion decided again from the record's numbers: by its suite where that is here unchanged."""
    from geoaudit.audit.deciding import Deciding, Line
    from geoaudit.audit.record_parts import measurements_of
    from geoaudit.audit.replay import Replay

    replay = Replay([path], sealed=False)
    numbers, deciding = measurements_of(record), Deciding(replay, replay.profile.decide)
    lines: list[tuple[Mapping[str, Any], Line | None]] = []
    for entry in record["assertions"]:
        suite = suites.get(entry["file"])
        there = suite.assertions if suite is not None else ()
        assertion = next((one for one in there if one.id == entry["id"]), None)
        members = () if assertion is None else replay.members(assertion, entry["checkpoint"])
        line = Line(assertion, suite, entry["checkpoint"], members) if suite and assertion and members else None
        lines.append((entry, line))
    deciding.expect(line for _, line in lines if line is not None)
    alike, left = 0, 0
    for entry, line in lines:
        if line is not None:
            now: str | None = deciding.decide(line.assertion, line.suite, line.about).outcome
        else:
            now = _by_itself(entry, numbers[entry["measurement"]])
        if now is None:
            left += 1
        elif now == entry["outcome"]:
            alike += 1
        else:
            said = f"{entry['id']} on {entry['checkpoint']} is {entry['outcome']}, and by its numbers {now}"
            findings.add("differs", f"outcome: {said}")
    if alike:
        findings.add("agrees", f"outcomes: {alike} of {len(lines)} decided again alike")
    if left:
        findings.add("open", f"outcomes: {left} cannot be decided without their suite")


def _by_itself(entry: Mapping[str, Any], found: Measurement) -> str | None:
    """The outcome of a bound from its entry alone; None where that does not say enough."""
    from geoaudit.audit.decide import decide
    from geoaudit.records import Flag

    negated = entry["sentence"].startswith("the assertion that this comparison stands in")
    if entry["kind"] != "bound" or negated:
        return None
    bound = entry["bound"] if isinstance(entry["bound"], list) else [entry["bound"]]
    stands = tuple(Flag(**one) for one in entry["flags"] if one["name"] == "single-condition")
    return decide(entry["comparator"], tuple(bound), found, by=entry["by"], extra=stands).outcome


def _models(given: Sequence[str]) -> dict[str, str]:
    found = {}
    for one in given:
        name, equals, place = one.partition("=")
        if not equals or not name or not place:
            raise RequestError(f"--model {one!r} is not NAME=MODEL, with a name of the record's")
        found[name] = place
    return found
