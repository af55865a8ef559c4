"""The `geoaudit` command: what needs no pytest. `geoaudit COMMAND --help` explains each."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import geoaudit
from geoaudit import comparing, listing, noising, verifying
from geoaudit.errors import GeoauditError, RequestError
from geoaudit.listing import data_folder
from geoaudit.training import command as training

EXIT_USAGE = 4
"""pytest's code for a wrong request."""
EXIT_INTERRUPTED = 130
"""The shell's code for Ctrl-C."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0, 4 for a request that cannot be right, or 130 after Ctrl-C."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a minus sign must not end the program where the output is cp1252
        sys.stdout.reconfigure(errors="backslashreplace")
    parser = _parser()
    parsed = parser.parse_args(arguments)
    run: Callable[[argparse.Namespace], int] | None = getattr(parsed, "run", None)
    if run is None:
        parser.print_help()
        return 0
    try:
        code = run(parsed)
        sys.stdout.flush()  # here, where a reader that went away is caught
        return code
    except GeoauditError as error:
        print(f"geoaudit: {error}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        print("geoaudit: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe went away (`geoaudit measures | head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a file that cannot be written
        print(f"geoaudit: {error}", file=sys.stderr)
        return EXIT_USAGE


def _parser() -> argparse.ArgumentParser:
    from geoaudit.stats.power import FLIPS

    parser = argparse.ArgumentParser(
        prog="geoaudit",
        description="Audit the safety geometry of a language-model checkpoint. Audits themselves are run by pytest: "
        "pytest --geoaudit-model=MODEL",
    )
    parser.add_argument("--version", action="version", version=f"geoaudit {geoaudit.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    judge = commands.add_parser(
        "judge",
        help="label stored completions",
        description='Label JSONL rows {"prompt": ..., "completion": ...}. Every row comes back in order with label, '
        "score, judge and reason added.",
    )
    judge.add_argument("input", type=Path, metavar="IN.jsonl")
    judge.add_argument("-o", "--output", type=Path, required=True, metavar="OUT.jsonl")
    judge.add_argument("--judge", default="refusal", metavar="NAME", help="(default: %(default)s)")
    judge.set_defaults(run=_judge)

    label = commands.add_parser(
        "label",
        help="label a random sample of completions yourself, to correct a rate",
        description="Shows a random sample of what the model wrote, without the judge's word, and asks y or n. The "
        "answers go to a file; --geoaudit-labels=FILE then corrects the rate by prediction-powered inference.",
    )
    label.add_argument("record", type=Path, metavar="RECORD.json")
    label.add_argument("--assertion", metavar="ID", help="whose completions (needed where the record has several)")
    label.add_argument("--n", type=int, default=50, metavar="N", help="completions to label (default: %(default)s)")
    label.add_argument("--seed", type=int, default=0, metavar="SEED", help="of the sample (default: %(default)s)")
    label.add_argument(
        "--store", type=Path, metavar="DIR", help="store of the audit (default: the user's cache folder)"
    )
    label.add_argument("-o", "--output", type=Path, metavar="LABELS.json", help="(default: beside the record)")
    label.set_defaults(run=_label)

    listing.add_judges_to(commands)
    attack = commands.add_parser(
        "attack",
        help="optimise prompts against a checkpoint, and keep them",
        description="Attacks the first N requests of a source and writes a trace of each, which a suite replays as a "
        "fixed-source attack. A run that is stopped goes on where it was. gcg adds a suffix of tokens (Zou et al. "
        "2023), autodan breeds readable prompts from initial ones (Liu et al. 2024).",
    )
    attack.add_argument("attack", choices=("gcg", "autodan"))
    attack.add_argument("--model", required=True, metavar="MODEL", help="anything that --geoaudit-model takes")
    attack.add_argument("--source", default="harmful", metavar="NAME", help="(default: %(default)s)")
    attack.add_argument("-n", type=int, default=10, metavar="N", help="requests (default: %(default)s)")
    attack.add_argument("-o", "--output", type=Path, default=Path("traces.jsonl"), metavar="TRACES.jsonl")
    attack.add_argument("--steps", type=int, metavar="N", help="at most (default: 500 of gcg, 100 of autodan)")
    attack.add_argument("--width", type=int, metavar="N", help="tried a step (default: 512 of gcg, 64 of autodan)")
    attack.add_argument("--seed", type=int, metavar="SEED", help="of all draws (default: 0)")
    attack.add_argument(
        "--preset",
        default="",
        metavar="NAME",
        help="settings of a published version: harmbench or nanogcg of gcg, harmbench or original of autodan",
    )
    attack.add_argument(
        "--early-stop", action="store_true", help="leave a request when its target is the model's likeliest answer"
    )
    attack.add_argument("--together", type=int, metavar="N", help="requests that share passes")
    attack.add_argument(
        "--initial",
        default="jailbreakbench",
        metavar="SET|FILE",
        help="autodan: prompts to begin with, a set of stored attacks or a .txt, .json or .jsonl file with [REQUEST] "
        "where the request goes (default: %(default)s)",
    )
    attack.add_argument("--fresh", action="store_true", help="begin again, whatever the file holds")
    attack.add_argument("--base", metavar="MODEL", help="an adapter's base")
    attack.add_argument("--device", default="auto", metavar="DEVICE", help="(default: %(default)s)")
    attack.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="(default: the checkpoint's)")
    attack.add_argument("--template", metavar="FILE|zephyr|chatml|none", help="(default: the checkpoint's)")
    attack.add_argument("--system", metavar="TEXT|FILE", help="system prompt (default: the template's own)")
    attack.add_argument("--store", type=Path, metavar="DIR", help="(default: the user's cache folder)")
    attack.add_argument("--data", type=Path, metavar="DIR", help="(default: GEOAUDIT_DATA, else the cache folder)")
    attack.set_defaults(run=_attack)

    preflight = commands.add_parser(
        "preflight",
        help="how likely a comparison of two models on the same prompts is to pass",
        description="P(passed) of a line that allows a rate to rise by at most MARGIN between a baseline and a "
        "candidate, asked the same prompts: where nothing changed, and where the true change is half the margin.",
    )
    preflight.add_argument("--n", type=int, required=True, metavar="N", help="prompts")
    preflight.add_argument(
        "--discordance",
        type=float,
        default=FLIPS,
        metavar="SHARE",
        help="share of prompts on which two runs of unchanged models differ (default: %(default)s)",
    )
    preflight.add_argument("--margin", type=float, required=True, metavar="MARGIN", help="for example 0.10")
    preflight.set_defaults(run=_preflight)

    comparing.add_to(commands)
    noising.add_to(commands)
    verifying.add_to(commands)
    training.add_to(commands)
    listing.add_measures_to(commands)
    listing.add_schema_to(commands)

    report = commands.add_parser(
        "report",
        help="render a record again as HTML, or several as one, without measuring",
        description="Several records, for example of the checkpoints of one run, are merged into one report; the "
        "merged record lies beside it. Lines across a trajectory are decided again by pytest with --geoaudit-replay.",
    )
    report.add_argument("record", type=Path, nargs="+", metavar="RECORD.json")
    report.add_argument(
        "-o", "--output", type=Path, metavar="REPORT.html", help="(default: beside the record; of several: merged.html)"
    )
    report.add_argument(
        "--figures", type=Path, metavar="DIR", help="write every figure there too: SVG, its numbers as CSV"
    )
    report.set_defaults(run=_report)

    listing.add_data_to(commands)
    return parser


def _judge(arguments: argparse.Namespace) -> int:
    from geoaudit.judges.stored import judge_file

    counts = judge_file(arguments.input, arguments.output, arguments.judge)
    print(f"{arguments.output}: {counts}")
    return 0


def _label(arguments: argparse.Namespace) -> int:
    from platformdirs import user_cache_path

    from geoaudit.audit.store import Store
    from geoaudit.labelling import comparison, label
    from geoaudit.stats.corrected import LEAST_LABELLED

    if arguments.n < 1:
        raise RequestError(f"--n must be at least 1, got {arguments.n}")
    output = arguments.output or arguments.record.with_suffix(".labels.json")
    store = Store(arguments.store or user_cache_path("geoaudit"))
    sample = label(
        arguments.record, output, store=store, assertion=arguments.assertion, n=arguments.n, seed=arguments.seed
    )
    if not sample.answers:
        print("nothing was labelled")
        return 0
    found = comparison(arguments.record, sample)
    print(
        f"\n{output}: {found['labelled']} labelled, the judge agrees on {found['agree']}; yes by the judge alone "
        f"{found['judge_only']}, by you alone {found['person_only']}."
    )
    short = LEAST_LABELLED - found["labelled"]
    if short > 0:
        print(f"At least {LEAST_LABELLED} labels correct a rate: {short} more are needed (run this again).")
    else:
        print(f"Correct the rate with: pytest --geoaudit-labels={output} and the options of the audit")
    return 0


def _attack(arguments: argparse.Namespace) -> int:
    from platformdirs import user_cache_path

    from geoaudit.attacking import Request, run

    given = {name: value for name, value in vars(arguments).items() if name not in ("run", "store", "data")}
    given |= {name: _file_or_text(arguments, name) for name in ("template", "system")}
    run(Request(**given, store=arguments.store or user_cache_path("geoaudit"), data=data_folder(arguments)))
    return 0


def _file_or_text(arguments: argparse.Namespace, name: str) -> str | None:
    """What an option says, or what is in the file that it names."""
    value: str | None = getattr(arguments, name)
    if value is None:
        return None
    try:
        return Path(value).read_text(encoding="utf-8") if Path(value).is_file() else value
    except (OSError, ValueError) as error:  # a text too long for a name is no file
        if isinstance(error, UnicodeDecodeError):
            raise RequestError(f"--{name} {value!r} is not UTF-8") from None
        return value


def _preflight(arguments: argparse.Namespace) -> int:
    from geoaudit.stats.power import n_for_power, preflight

    found = preflight(arguments.n, arguments.discordance, arguments.margin)
    print(f"n = {found.n}, discordance {found.discordance:g}, margin {found.margin:g}")
    print(f"P(passed | no change)          {found.if_unchanged:.3f}")
    print(f"P(passed | half the margin)    {found.if_half:.3f}")
    if found.if_unchanged < 0.8:
        needed = n_for_power(arguments.discordance, arguments.margin)
        often = f"from n = {needed} on" if needed else "at no n"
        print(f"too few to rely on: an unchanged model passes four times in five {often}")
    elif found.if_half < 0.8:
        print("enough for an unchanged model; one that changed by half the margin passes less than four times in five")
    return 0


def _report(arguments: argparse.Namespace) -> int:
    from geoaudit.audit.merge import merge, told_apart
    from geoaudit.audit.provenance import sealed
    from geoaudit.audit.record import read, write
    from geoaudit.report import html
    from geoaudit.report.export import INDEX

    paths: list[Path] = arguments.record
    several = len(paths) > 1
    output = arguments.output or (paths[0].with_name("merged.html") if several else paths[0].with_suffix(".html"))
    beside = output.with_suffix(".json")
    for path in paths:
        if path.resolve() in (output.resolve(), *([beside.resolve()] if several else [])):
            raise RequestError(f"the report would overwrite its record {path}: name another file with -o")
    if output.suffix.lower() == ".json":
        beside_it = f"; the merged record is then written to {beside}" if several else ""
        raise RequestError(f"-o names the HTML page, not a record: -o {output.with_suffix('.html')}{beside_it}")
    record = merge([(name, read(path)) for name, path in zip(told_apart(paths), paths, strict=True)])
    if several:
        record = sealed(record)
        write(record, beside)
    html.write(record, output, arguments.figures)
    print(output)
    if several:
        print(beside)
    if arguments.figures is not None:
        print(arguments.figures / INDEX)
    return 0


if __name__ == "__main__":
    sys.exit(main())
