"""The benchmark files and judges' prompts, each pinned by SHA-256, and the folder in which they are looked for.

Upstream addresses are made from a repository and a commit, so that nothing but a pinned `raw.githubusercontent.com`
address can be fetched. A file that upstream does not offer there has no address, and says where it comes from.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from geoaudit.errors import DataMissing

ENVIRONMENT = "GEOAUDIT_DATA"


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """One file of the data folder."""

    path: str
    """Relative to the data folder, with forward slashes."""
    sha256: tuple[str, ...]
    """Accepted contents. More than one only where copies differ in nothing that is read from them."""
    origin: str
    """Repository or data set, `owner/name`."""
    commit: str
    upstream_path: str
    on_github: bool = True
    made: str = ""
    """What was done to the files of that path to have this one; empty where it is upstream's own."""

    @property
    def url(self) -> str | None:
        """The pinned upstream address; None where the file cannot be fetched and must be put in place by hand."""
        if not self.on_github or self.made:
            return None
        return f"https://raw.githubusercontent.com/{self.origin}/{self.commit}/{self.upstream_path}"

    @property
    def source(self) -> str:
        """Origin, commit and path in one line, for the record."""
        where = "GitHub" if self.on_github else "Hugging Face data set"
        made = f" ({self.made})" if self.made else ""
        return f"{where} {self.origin} @ {self.commit[:7]}, {self.upstream_path}{made}"


def _harmbench(part: str, sha256: str) -> PinnedFile:
    return PinnedFile(
        f"harmbench/harmbench_behaviors_text_{part}.csv",
        (sha256,),
        "centerforaisafety/HarmBench",
        "8e1604d1171fe8a48d8febecd22f600e462bdcdd",
        f"data/behavior_datasets/harmbench_behaviors_text_{part}.csv",
    )


def _openings(name: str, sha256: str) -> PinnedFile:
    return PinnedFile(
        f"harmbench/{name}.json",
        (sha256,),
        "centerforaisafety/HarmBench",
        "8e1604d1171fe8a48d8febecd22f600e462bdcdd",
        f"data/optimizer_targets/extra_targets/{name}.json",
    )


def _strongreject(size: str, sha256: str) -> PinnedFile:
    return PinnedFile(
        f"strongreject/strongreject_{size}dataset.csv",
        (sha256,),
        "alexandrasouly/strongreject",
        "f7cad6c17e624e21d8df2278e918ae1dddb4cb56",
        f"strongreject_dataset/strongreject_{size}dataset.csv",
    )


def _jailbreakbench(half: str, *sha256: str) -> PinnedFile:
    # The second hash is a copy whose header is lower-cased (and, in the harmful half, one double space of the unread
    # column `behavior` is single); the first one is the official file.
    return PinnedFile(
        f"jailbreakbench/{half}_behaviors.csv",
        sha256,
        "JailbreakBench/JBB-Behaviors",
        "886acc352a31533ffbcf4ef22c744658688086fc",
        f"data/{half}-behaviors.csv",
        on_github=False,
    )


def _judge_prompt(name: str, sha256: str, origin: str, commit: str, upstream_path: str, made: str) -> PinnedFile:
    return PinnedFile(f"judges/{name}.txt", (sha256,), origin, commit, upstream_path, made=made)


def _harmbench_prompt(variant: str, sha256: str) -> PinnedFile:
    return _judge_prompt(
        f"harmbench_cls_{variant}",
        sha256,
        "centerforaisafety/HarmBench",
        "8e1604d1171fe8a48d8febecd22f600e462bdcdd",
        "eval_utils.py",
        f"the {variant} prompt in LLAMA2_CLS_PROMPT",
    )


def _strongreject_prompt(name: str, key: str, sha256: str) -> PinnedFile:
    return _judge_prompt(
        name,
        sha256,
        "dsbowen/strong_reject",
        "7a551d5b440ec7b75d4f6f5bb7c1719965b76b47",
        "strong_reject/eval_files/judge_templates.json",
        f"the value of {key!r}",
    )


HARMBENCH_ALL = _harmbench("all", "8d81accedd38eaaf8b760618622bb888417d1fd0c86eba65c427a16f1cbb4afc")
HARMBENCH_TEST = _harmbench("test", "75d257b3e7428c52eb7b0154318f455af3e01b09a3794b5e2f3d36054f3c0e29")
HARMBENCH_VAL = _harmbench("val", "7bfaaa5e2b9b95002c89e2d33c019f58e9e8496e2fc65d368f1eeb8179e69534")
HARMBENCH_TARGETS = PinnedFile(
    "harmbench/harmbench_targets_text.json",
    # The second hash is a copy with CRLF at the ends of its lines.
    (
        "dedcac1f8c0108ca79e36589ef9693d5af916ed70878e60fb2c4c20482872e3f",
        "95a29d9b1e0b1da2339d626935636975b88b3b24a2a938bf4363475a72bcdb1d",
    ),
    "centerforaisafety/HarmBench",
    "8e1604d1171fe8a48d8febecd22f600e462bdcdd",
    "data/optimizer_targets/harmbench_targets_text.json",
)
ADV_TRAINING = PinnedFile(
    "harmbench/adv_training_behaviors.csv",
    ("73b38848f6a38e1ad3b67747fc9412c8bac114a12cedc2c26579a31387329f7a",),
    "centerforaisafety/HarmBench",
    "8e1604d1171fe8a48d8febecd22f600e462bdcdd",
    "data/behavior_datasets/extra_behavior_datasets/adv_training_behaviors.csv",
)
ADV_TRAINING_OPENINGS = _openings(
    "adv_training_targets", "1d675653b74741f2528747dc05a25f6a3dba53e0ff6a3f863a1589506f598817"
)
ADV_TRAINING_VAL_OPENINGS = _openings(
    "adv_training_val_targets", "1352a636aea0e015cdfa038214c72efb614c8e6ca49130836ecd7ba2fb477131"
)
STRONGREJECT = _strongreject("", "4dd70357e4ff8b5d0ba5ebafecab5d6dd5633ce8046e3dd1c8bd93e64de44381")
STRONGREJECT_SMALL = _strongreject("small_", "3051340e3e89a3598d764dde497d5fcda80e258ac05cc35e6bd87228ac3d467c")
ADVBENCH = PinnedFile(
    "advbench/harmful_behaviors.csv",
    ("6cd1a5c63c07610d7eb67307772ee5606017ee950b5770ab288a2c487489d3e1",),
    "llm-attacks/llm-attacks",
    "098262edf85f807224e70ecd87b9d83716bf6b73",
    "data/advbench/harmful_behaviors.csv",
)
JAILBREAKBENCH_HARMFUL = _jailbreakbench(
    "harmful",
    "4a8ec6832056b631eb092dccc60d37a61c3d441268268888b3d006288afeffa1",
    "88ba8818fec56e21221bbe6b7c40ed34b8824e140517b854349961cd7ad85c9a",
)
JAILBREAKBENCH_BENIGN = _jailbreakbench(
    "benign",
    "3cda234d21a991fa309bbfea4b6d9dae31ccdf8e9d452424b6a983e4fdc33468",
    "c0958ac974fb6629527aeff6c81c88154a877190d07313ac377d36951fde5d3e",
)
JAILBREAKBENCH_ATTACKS = PinnedFile(
    "jailbreakbench/fixed_source_attacks.jsonl",
    ("d898a591b3a4e00fb711ff7c1ea5cd19e998793cbe2d0a2ba883fc484a9cd2ac",),
    "JailbreakBench/artifacts",
    "909e68c01d94222b8ad2e397a017e2e12e2adb73",
    "attack-artifacts",
    made="the prompts of every artifact in one file, without responses and without repeats",
)
XSTEST = PinnedFile(
    "xstest/xstest_prompts.csv",
    ("11783fb294ed017473ee53c207d71f2161c7672c8d0b037501e78387f801cb5a",),
    "paul-rottger/xstest",
    "d7bb5bd738c1fcbc36edd83d5e7d1b71a3e2d84d",
    "xstest_prompts.csv",
)
JUDGE_HARMBENCH_STANDARD = _harmbench_prompt(
    "standard", "788f4f6aa1491c433c4da76c9140cfc30966cea3ff3875c4d0fcb336d92f60e0"
)
JUDGE_HARMBENCH_CONTEXTUAL = _harmbench_prompt(
    "contextual", "5d6bb9e3cf4d1e5f3f7620093113222ee115af75b0b2913f00e4c7225ec9f219"
)
JUDGE_STRONGREJECT_FINETUNED = _strongreject_prompt(
    "strongreject_finetuned",
    "strongreject_finetuned",
    "d90102b02d66b34a3dbf7d82789ce92310965503a481dc725232626bd7700937",
)
# A copy that is in circulation under the same name: a rubric of three questions, not the grade that the weights were
# trained to give. Read, but never as upstream's prompt.
JUDGE_STRONGREJECT_FINETUNED_COPY = PinnedFile(
    JUDGE_STRONGREJECT_FINETUNED.path,
    ("945e793709ecb9167b17327466e528079cf3c241b14edbf68c67f6c0461e403e",),
    JUDGE_STRONGREJECT_FINETUNED.origin,
    JUDGE_STRONGREJECT_FINETUNED.commit,
    JUDGE_STRONGREJECT_FINETUNED.upstream_path,
    made="not upstream's text",
)
JUDGE_STRONGREJECT_RUBRIC_SYSTEM = _strongreject_prompt(
    "strongreject_rubric_system",
    "strongreject_rubric_system",
    "7919b6d41af2dc9f32797d96eaa952934dca0713c7f3f63ddc6c299db9857248",
)
JUDGE_STRONGREJECT_RUBRIC_USER = _strongreject_prompt(
    "strongreject_rubric_user",
    "strongreject_rubric",
    "0a282b857e1e53ff6ec92c91eb960d2444806e2e4518f4a40232549b599963d0",
)
JUDGE_XSTEST_LABEL = _judge_prompt(
    "xstest_label",
    "2fe0ce96894b55539e0d42807ef9834494babcd6084bd3034de1d3c0cc847e00",
    "paul-rottger/xstest",
    "d7bb5bd738c1fcbc36edd83d5e7d1b71a3e2d84d",
    "classify_completions_gpt.py",
    "the prompt of the classifier",
)


def data_directory(data: Path | None = None) -> Path:
    """The folder of the benchmark files: `data`, else the one that GEOAUDIT_DATA names, else the user's cache."""
    if data is not None:
        return data
    named = os.environ.get(ENVIRONMENT)
    if named:
        return Path(named).expanduser()
    return Path(platformdirs.user_cache_dir("geoaudit", appauthor=False)) / "data"


def read(file: PinnedFile, benchmark: str, data: Path | None = None, what: str = "benchmark") -> bytes:
    """The file's bytes, checked against the pinned SHA-256.

    Args:
        file: Which file.
        benchmark: The name it is wanted for, used in the message.
        data: The data folder; None as in `data_directory`.
        what: What that name is the name of, used in the message.

    Raises:
        DataMissing: if it is not there, cannot be read, or is another file than the pinned one.
    """
    path = data_directory(data) / file.path
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise DataMissing(f"{what} {benchmark!r} is not there: no file {path}. {how_to_get(file, benchmark)}") from None
    except OSError as error:
        raise DataMissing(f"{what} {benchmark!r}: cannot read {path}: {error.strerror or error}") from error
    got = hashlib.sha256(content).hexdigest()
    if got not in file.sha256:
        raise DataMissing(
            f"{what} {benchmark!r}: {path} is not the pinned file: SHA-256 is {got}, expected "
            f"{' or '.join(file.sha256)}. Move it away; then: {how_to_get(file, benchmark)}"
        )
    return content


def how_to_get(file: PinnedFile, benchmark: str) -> str:
    """What a person does to have the file, in one or two sentences."""
    if file.url is None:
        return (
            f"It is not fetched for you: put {file.source} at {file.path} in the data folder, or name a folder that "
            f"has it with `--geoaudit-data DIR` (`geoaudit` commands: `--data DIR`) or {ENVIRONMENT}."
        )
    return (
        f"Run `geoaudit data fetch {benchmark}`, or name a folder that has {file.path} with `--geoaudit-data DIR` "
        f"(`geoaudit` commands: `--data DIR`) or {ENVIRONMENT}."
    )
