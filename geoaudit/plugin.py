"""geoaudit's pytest plugin: options, collection of `*.audit.yaml`, the `audit` fixture.

Everything that costs anything is imported only when a checkpoint was named or a suite file is collected. Without
either the plugin prints nothing, reads nothing and imports nothing but this file.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from geoaudit.audit.subject import AuditedCheckpoint
    from geoaudit.errors import RequestError
    from geoaudit.model.checkpoint import Checkpoint

SUFFIX = ".audit.yaml"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options and ini keys; a command-line option wins over its ini key."""
    group = parser.getgroup("geoaudit", "geoaudit: audit the safety geometry of a language-model checkpoint")
    add = group.addoption
    add(
        "--geoaudit-model",
        dest="geoaudit_model",
        action="append",
        default=[],
        metavar="[NAME=]MODEL",
        help="checkpoint to audit, repeatable: a Hugging Face directory, a PEFT adapter directory, a .gguf file, a "
        "quoted glob such as 'ckpt/step*', the built-in name smollm2-135m, or a hub id with optional @revision. "
        "Without test paths the suites are run and not the unit tests.",
    )
    for name, metavar, text in _VALUED:
        key = f"geoaudit_{name.replace('-', '_')}"
        add(f"--geoaudit-{name}", dest=key, default=None, metavar=metavar, help=text)
        parser.addini(key, f"default of --geoaudit-{name}", type="string", default="")
    add(
        "--geoaudit-suite",
        dest="geoaudit_suite",
        action="append",
        default=[],
        metavar="FILE|NAME",
        help="suite to run, repeatable: a *.audit.yaml file or the name of a shipped one (smoke, refusal, "
        "over-refusal, refusal-geometry, harmfulness, interventions, coupling, adaptive, gate, trajectory, paper-r2d2)",
    )
    add(
        "--geoaudit-judge-model",
        dest="geoaudit_judge_model",
        action="append",
        default=[],
        metavar="JUDGE=MODEL",
        help="weights of a judge that loads a model, repeatable: a directory or a hub id with @revision, for example "
        "harmbench=/models/harmbench-cls (default: the pinned published weights)",
    )
    add(
        "--geoaudit-allow-mismatch",
        dest="geoaudit_allow_mismatch",
        action="append",
        default=[],
        metavar="NAME",
        help="compare with a baseline though this differs, repeatable: template, system, dtype, device, torch, "
        "transformers, generation, judge, measure, numerics or geoaudit",
    )
    add(
        "--geoaudit-labels",
        dest="geoaudit_labels",
        action="append",
        default=[],
        metavar="FILE",
        help="labels that a person gave to a sample (`geoaudit label RECORD`), repeatable: they correct the rates",
    )
    add(
        "--geoaudit-replay",
        dest="geoaudit_replay",
        action="append",
        default=[],
        metavar="RECORD",
        help="decide from the record of an earlier audit, without a model, repeatable: several are merged. "
        "--geoaudit-model then names checkpoints of it (default: all)",
    )
    add(
        "--geoaudit-plan",
        dest="geoaudit_plan",
        action="store_true",
        help="show what would be measured, on how many prompts and tokens, with time and memory, and stop",
    )
    add(
        "--geoaudit-allow-inconclusive",
        dest="geoaudit_allow_inconclusive",
        action="store_true",
        help="report inconclusive assertions as skipped in place of failing (never as passed)",
    )
    parser.addini("geoaudit_judge_model", "default of --geoaudit-judge-model", type="linelist", default=[])
    parser.addini("geoaudit_allow_mismatch", "default of --geoaudit-allow-mismatch", type="linelist", default=[])
    parser.addini("geoaudit_labels", "default of --geoaudit-labels", type="paths", default=[])
    parser.addini("geoaudit_suites", "suites run when no test path is given (default: assertions/)", type="paths")
    parser.addini(
        "geoaudit_require", "fail, in place of skipping, where no checkpoint is named", type="bool", default=False
    )


_VALUED = (
    ("profile", "smoke|standard|release", "how much is measured and what decides (default: standard)"),
    ("report", "PATH", "where the HTML report goes; the record lies beside it (default: reports/geoaudit.html)"),
    ("figures", "DIR", "folder that every figure of the report is written to as well: SVG, its numbers as CSV"),
    (
        "completions",
        "full|redacted",
        "full: also write prompts and answers to a file of their own, beside the record (default: redacted)",
    ),
    ("store", "DIR", "where measured rows are kept (default: the user's cache folder)"),
    ("device", "auto|cpu|cuda[:N]|mps", "where the model runs (default: auto)"),
    ("dtype", "float32|bfloat16|float16", "type of the weights (default: as stored in the checkpoint)"),
    ("base", "MODEL", "base model of the adapters that are audited (default: the one that they name)"),
    ("reference", "NAME", "the audited checkpoint that drift of all others is measured from (default: each run's own)"),
    (
        "baseline",
        "RECORD|MODEL",
        "what change_at_most and change_at_least compare with: an earlier audit's record (.json, or .json#CHECKPOINT "
        "where it has several), or a model that is measured along",
    ),
    ("noise", "FILE", "noise floor that a change must exceed (`geoaudit noise MODEL -o FILE`)"),
    ("template", "FILE|zephyr|chatml|none", "chat template to use (default: the checkpoint's own)"),
    ("system", "TEXT|FILE", "system prompt to audit under (default: none beyond the template's)"),
    ("data", "DIR", "folder of the public benchmarks (default: GEOAUDIT_DATA, else the cache folder)"),
    ("judge-quantise", "8bit|4bit", "load judging models quantised (bitsandbytes, CUDA only)"),
    ("judge-device-map", "MAP", "`auto` spreads judging models over the devices there are"),
    ("endpoint", "URL", "OpenAI-compatible chat server for judges, up to /v1; its key is GEOAUDIT_ENDPOINT_KEY"),
    ("endpoint-model", "NAME", "the model to ask for on that server"),
    ("endpoint-concurrency", "N", "requests at a time (default: 4)"),
    ("endpoint-budget", "N", "most requests of one run, retries counted; the rest is unjudged (default: no limit)"),
)


def pytest_configure(config: pytest.Config) -> None:
    """Start an audit if a checkpoint, or a record of one, was named."""
    replayed = bool(config.getoption("geoaudit_replay"))
    if not config.getoption("geoaudit_model") and not replayed:
        for option in ("plan", "suite", "baseline", "noise"):
            if config.getoption(f"geoaudit_{option}"):
                raise pytest.UsageError(f"--geoaudit-{option} needs a checkpoint: name one with --geoaudit-model")
        return
    if config.option.help or getattr(config.option, "version", 0):
        return
    from geoaudit.audit.numbers import Live
    from geoaudit.audit.run import Auditor
    from geoaudit.errors import RequestError
    from geoaudit.items import SESSION
    from geoaudit.options import completions_from, figures_from, options_from, replay_from, report_from, store_from
    from geoaudit.session import AuditSession

    if config.getoption("geoaudit_plan") and getattr(config.option, "numprocesses", None):
        raise pytest.UsageError("--geoaudit-plan shows the plan of one process: leave -n out")
    try:
        if replayed:
            replay, report = replay_from(config)
            session = AuditSession(config, replay.profile, report, lambda say: replay)
        else:
            options = options_from(config)
            checkpoints, report = _checkpoints(config, options.template), report_from(config)
            session = AuditSession(
                config, options.profile, report, lambda say: Live(Auditor(checkpoints, options, say))
            )
        _aim(config)
        figures = figures_from(config)
        session.completions, session.store = completions_from(config), store_from(config)
    except RequestError as error:
        raise pytest.UsageError(f"geoaudit: {error}") from None
    session.figures = figures
    config.stash[SESSION] = session
    config.pluginmanager.register(session, "geoaudit-session")


def _checkpoints(config: pytest.Config, template: str | None) -> list[Checkpoint]:
    """Globs and ids are resolved once, on the controller, and passed on to xdist's workers."""
    from geoaudit.model.checkpoint import resolve_all
    from geoaudit.model.template import check_template
    from geoaudit.options import unpack

    worker: dict[str, Any] = getattr(config, "workerinput", {})
    if "geoaudit_checkpoints" in worker:
        return [unpack(fields) for fields in worker["geoaudit_checkpoints"]]
    base = config.getoption("geoaudit_base") or config.getini("geoaudit_base") or None
    checkpoints = resolve_all(config.getoption("geoaudit_model"), base=base)
    if template is None:
        for checkpoint in checkpoints:
            check_template(checkpoint)
    return checkpoints


def _aim(config: pytest.Config) -> None:
    """Run the suites in place of the unit tests where no test path was given.

    On the controller and on every worker: workers parse the original command line again.
    """
    from geoaudit.errors import DataMissing, did_you_mean
    from geoaudit.items import shipped_suites

    shipped = shipped_suites()
    suites: list[str] = []
    for name in config.getoption("geoaudit_suite"):
        named = shipped / f"{name}{SUFFIX}"
        path = Path(config.invocation_params.dir / name)
        if not path.exists() and not named.is_file():
            known = [file.name.removesuffix(SUFFIX) for file in sorted(shipped.glob(f"*{SUFFIX}"))]
            raise DataMissing(
                f"no suite {name!r}{did_you_mean(name, known)}: neither a file nor one of {', '.join(known)}"
            )
        if path.is_file() and not path.name.endswith(SUFFIX):
            raise _misnamed(name)
        suites.append(str(path if path.exists() else named))
    for given in config.args if config.args_source is config.ArgsSource.ARGS else ():
        if _is_misnamed_suite(Path(config.invocation_params.dir / given.partition("::")[0])):
            raise _misnamed(given)
    if suites:
        if config.args_source is config.ArgsSource.ARGS:
            config.args = [*config.args, *suites]
        else:
            config.args = suites
    elif config.args_source is not config.ArgsSource.ARGS:
        own = config.rootpath / "assertions"
        chosen = config.getini("geoaudit_suites") or ([own] if own.is_dir() else [shipped])
        config.args = [str(path) for path in chosen]


def _misnamed(given: str) -> RequestError:
    from geoaudit.errors import RequestError

    name = Path(given).name.partition(".")[0]
    return RequestError(f"{given}: a suite is a file called *{SUFFIX}: rename it, for example to {name}{SUFFIX}")


def _is_misnamed_suite(path: Path) -> bool:
    """Whether a file reads like a suite and is not called one; YAML files of others are none of our business."""
    if path.suffix not in (".yaml", ".yml") or path.name.endswith(SUFFIX) or not path.is_file():
        return False
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return {"geoaudit", "assertions"} <= {line.partition(":")[0] for line in lines}


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Suite files."""
    if not file_path.name.endswith(SUFFIX):
        return None
    from geoaudit.items import AuditFile

    # Outside the project pytest would leave the file out of the id, and two suites could hold the same assertion.
    outside = not file_path.is_relative_to(parent.config.rootpath)
    return AuditFile.from_parent(parent, path=file_path, nodeid=file_path.as_posix() if outside else None)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests that use the `audit` fixture below, and not one of their own of that name, run once a checkpoint."""
    if "_geoaudit_checkpoint" not in metafunc.fixturenames:
        return
    from geoaudit.items import SESSION

    session = metafunc.config.stash.get(SESSION, None)
    if session is not None:
        names = session.checkpoints
        metafunc.parametrize("_geoaudit_checkpoint", names, indirect=True, ids=names)


@pytest.fixture
def _geoaudit_checkpoint(request: pytest.FixtureRequest) -> str | None:
    """Name of the checkpoint that `audit` is about."""
    name: str | None = getattr(request, "param", None)
    return name


@pytest.fixture
def audit(request: pytest.FixtureRequest, _geoaudit_checkpoint: str | None) -> AuditedCheckpoint:
    """One audited checkpoint; the test runs once for each that --geoaudit-model names.

    `assert audit.attack_success_rate("harmbench") <= 0.05` shows value, interval, n and judge when it fails, and raises
    where the number is inconclusive or invalid. Parameters are keywords: `audit.carrier_layer(rule="arditi")`.
    """
    from geoaudit.audit.subject import AuditedCheckpoint
    from geoaudit.items import SESSION, without_model

    session = request.config.stash.get(SESSION, None)
    name = _geoaudit_checkpoint
    if session is None or name is None:
        without_model(request.config)
    return AuditedCheckpoint(
        name,
        lambda measure, parameters: session.measure(name, measure, parameters, str(request.path)),
        session.profile.decide,
        lambda verdict: session.report(request.node, verdict),
        lambda assertion: session.change(assertion, name),
    )


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """What an `assert audit... <= bound` shows."""
    if type(left).__name__ not in ("Measured", "Changed") or type(left).__module__ != "geoaudit.audit.subject":
        return None
    verdict = left.verdict  # type: ignore[attr-defined]
    if verdict is None:
        return None
    from geoaudit.report.clean import visible

    return [visible(line) for line in (f"{left!r} {op} {right!r}", *verdict.text().splitlines()[1:])]
