"""Models of the Hugging Face hub: what the local cache holds, else a download, and a quick answer when offline."""

from __future__ import annotations

import re
import threading
from pathlib import Path

from geoaudit.errors import CheckpointNotFound, UnsupportedCheckpoint
from geoaudit.model import folder

_ID = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@([\w./-]+))?")
_FILES = (".gguf", ".safetensors", ".json", *folder.PICKLES)  # endings of file names, not of models

_WANTED = [
    "config.json",
    "generation_config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "adapter_config.json",
    "adapter_model.safetensors",
    "tokenizer*",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "added_tokens.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "additional_chat_templates/*.jinja",
]
"""What an audit reads. No pickles, and none of the other formats that repositories carry beside."""

_REACH = 1.0  # seconds that the hub has to answer at all before it counts as out of reach
_ANSWER = 10.0  # seconds for an answer, once it is known to be there


def split(spec: str) -> tuple[str, str] | None:
    """(`org/name`, revision) of a hub id; the revision is `main` unless one is given; None for anything else."""
    match = _ID.fullmatch(spec)
    if match is None or spec.endswith(_FILES):
        return None
    return match[1], match[2] or "main"


def cached(spec: str) -> tuple[Path, str] | None:
    """The snapshot of a hub id in the local cache and its commit, if what an audit needs of it is whole."""
    found = _in_cache(spec)
    return found if found is not None and _whole(found[0]) else None


def fetch(spec: str) -> tuple[Path, str]:
    """The snapshot of a hub id and its commit: from the local cache, else downloaded.

    Raises:
        CheckpointNotFound: no such model or revision, or the hub is out of reach, which is known within about a second.
        UnsupportedCheckpoint: the repository has no safetensors.
    """
    if (found := cached(spec)) is not None:
        return found
    repository, revision = split(spec) or (spec, "main")
    try:
        _look_up(repository, revision)
    except CheckpointNotFound:
        partial = _in_cache(spec)
        if partial is None:
            raise
        _say_what_is_missing(partial[0])
        raise
    from huggingface_hub import snapshot_download

    try:
        path = Path(snapshot_download(repository, revision=revision, allow_patterns=_WANTED))
    except OSError as error:
        raise CheckpointNotFound(f"the download of {spec!r} from the hub broke off: {error}. Try again") from error
    return path, path.name


def _in_cache(spec: str) -> tuple[Path, str] | None:
    """The snapshot folder as the cache has it, whole or not (layout: huggingface_hub's guide to its cache)."""
    parts = split(spec)
    if parts is None:
        return None
    from huggingface_hub import constants

    repository, revision = parts
    root = Path(constants.HF_HUB_CACHE, "models--" + repository.replace("/", "--"))
    reference = root / "refs" / revision
    commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else revision
    path = root / "snapshots" / commit
    return (path, commit) if commit and path.is_dir() else None


def _whole(path: Path) -> bool:
    """Whether the weights are all there; a snapshot may hold no more than a config that something else looked at."""
    if (path / folder.ADAPTER_CONFIG).is_file():
        return (path / folder.ADAPTER_WEIGHTS).is_file()
    try:
        folder.weights(path)
    except UnsupportedCheckpoint:
        return False
    return (path / folder.CONFIG).is_file() and folder.has_tokenizer(path)


def _say_what_is_missing(path: Path) -> None:
    """Raise the error that an incomplete snapshot gives as a folder, which says more than "out of reach"."""
    try:
        if folder.is_adapter(path):
            folder.adapter(path)
        else:
            folder.config(path)
            folder.weights(path)
            folder.check_tokenizer(path)
    except UnsupportedCheckpoint as error:
        raise UnsupportedCheckpoint(
            f"the local copy of the hub model is not whole, and the hub cannot complete it now: {error}"
        ) from error


def _look_up(repository: str, revision: str) -> None:
    """Raise unless the hub is in reach and has this model, with weights that need no unpickling."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    spec = repository if revision == "main" else f"{repository}@{revision}"
    use = "Pass a folder, or download the model where there is a network and copy the hub's cache folder here"
    if constants.is_offline_mode():
        raise CheckpointNotFound(
            f"the hub model {spec!r} is not in the local cache ({constants.HF_HUB_CACHE}), and HF_HUB_OFFLINE is set. "
            f"{use}"
        )
    if not _in_reach(constants.ENDPOINT):
        raise CheckpointNotFound(
            f"the hub model {spec!r} is not in the local cache ({constants.HF_HUB_CACHE}), and {constants.ENDPOINT} "
            f"does not answer. {use}"
        )
    try:
        info = HfApi().model_info(repository, revision=revision, timeout=_ANSWER)
    except GatedRepoError as error:
        raise CheckpointNotFound(
            f"the hub model {spec!r} is gated: accept its terms at {constants.ENDPOINT}/{repository}, then run "
            "`hf auth login`"
        ) from error
    except RevisionNotFoundError as error:
        raise CheckpointNotFound(
            f"the hub model {repository!r} has no revision {revision!r}: pass a branch, a tag or a commit"
        ) from error
    except RepositoryNotFoundError as error:
        raise CheckpointNotFound(
            f"the hub has no model {repository!r}, or it is private: check the name, or `hf auth login`"
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise CheckpointNotFound(
            f"the hub could not be asked for {spec!r}: {error}. Try again, or pass a folder"
        ) from error
    names = [sibling.rfilename for sibling in info.siblings or []]
    if names and not any(name.endswith(".safetensors") and "/" not in name for name in names):
        other = next((name for name in names if name.endswith((".gguf", *folder.PICKLES))), "no weights at all")
        raise UnsupportedCheckpoint(
            f"the hub model {spec!r} has no safetensors (it has {other}): pass a revision that has, or a converted copy"
        )


def _in_reach(endpoint: str) -> bool:
    """Whether anything answers at `endpoint` within `_REACH` seconds, whatever it answers. One try.

    In a thread of its own, because a name server that drops packets holds up the look-up of a name for much longer than
    any timeout of the request.
    """
    from huggingface_hub import get_session

    answered: list[bool] = []

    def ask() -> None:
        try:
            get_session().head(endpoint, timeout=_REACH)
            answered.append(True)
        except Exception:  # whatever went wrong, there is no hub to ask
            answered.append(False)

    thread = threading.Thread(target=ask, name="geoaudit-hub", daemon=True)
    thread.start()
    thread.join(_REACH)
    return bool(answered and answered[0])
