"""Audit the shipped trajectories and print the papers' tables with ours beside them.

    python -m examples.study            # audits what is not measured yet: hours on two cores, goes on at any time
    python -m examples.study --tables   # from the records beside the adapters: seconds, nothing is measured

The R2D2 run is audited in `standard`, the others in `smoke`, by the papers' claims (assertions/paper-r2d2.audit.yaml)
and by controlled ones (controlled.audit.yaml). Records go to examples/trajectories/records, the tables to tables.md
there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from examples.study import tables

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TRAJECTORIES = HERE.parent / "trajectories"
RECORDS = TRAJECTORIES / "records"
SUITES = (ROOT / "assertions" / "paper-r2d2.audit.yaml", HERE / "controlled.audit.yaml")


@dataclass(frozen=True)
class Audit:
    """One run of pytest over one or several runs of training."""

    name: str
    runs: tuple[str, ...]
    profile: str

    @property
    def record(self) -> Path:
        """Where its record lies."""
        return RECORDS / f"{self.name}.json"

    def command(self, more: list[str]) -> list[str]:
        """As one would type it, in the repository."""
        models = [f"--geoaudit-model={(TRAJECTORIES / run).relative_to(ROOT)}/step*" for run in self.runs]
        suites = [f"--geoaudit-suite={suite.relative_to(ROOT)}" for suite in SUITES]
        record = self.record.with_suffix(".html").relative_to(ROOT)
        return ["pytest", *models, *suites, f"--geoaudit-profile={self.profile}", f"--geoaudit-report={record}", *more]


AUDITS = (
    Audit("r2d2", ("r2d2",), "standard"),
    Audit("others", ("sft", "safety-sft", "r2d2-untouched", "r2d2-seed43"), "smoke"),
)


def main() -> int:
    """Audit and print. Anything it does not know goes to pytest (`--geoaudit-data=FOLDER`, `--geoaudit-plan`)."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.study",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--tables", action="store_true", help="measure nothing: tables of the records that there are")
    arguments, more = parser.parse_known_args()
    for audit in () if arguments.tables else AUDITS:
        command = audit.command(more)
        print("$", *command, flush=True)
        code = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=False).returncode
        if code not in (0, 1):
            return code
    found = [audit.record for audit in AUDITS if audit.record.is_file()]
    if not found:
        print(f"no record in {RECORDS}: leave --tables out to measure", file=sys.stderr)
        return 2
    page = tables.page(tables.Records.of(json.loads(one.read_text(encoding="utf-8")) for one in found))
    (RECORDS / "tables.md").write_text(page, encoding="utf-8")
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
