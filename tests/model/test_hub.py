from __future__ import annotations

import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import constants

from geoaudit.errors import CheckpointNotFound, UnsupportedCheckpoint
from geoaudit.model import hub
from geoaudit.model.checkpoint import resolve

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(monkeypatch, tmp_path) -> Path:
    """An empty hub cache."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def out_of_reach(monkeypatch):
    monkeypatch.setattr(hub, "_in_reach", lambda endpoint: False)


@pytest.fixture
def in_cache(cache, tiny_checkpoint):
    """Puts a tiny model into the cache as huggingface_hub lays it out."""

    def put(revision: str = "main", commit: str = COMMIT) -> Path:
        root = cache / "models--some-org--some-model"
        (root / "refs").mkdir(parents=True, exist_ok=True)
        (root / "refs" / revision).write_text(commit)
        shutil.copytree(tiny_checkpoint(), root / "snapshots" / commit)
        return root / "snapshots" / commit

    return put


@pytest.fixture
def answering(monkeypatch):
    """A hub that answers a look-up with `reply`: an exception, or a list of file names."""

    def answer(reply) -> None:
        def model_info(self, repository, *, revision, timeout):
            assert timeout <= 10
            if isinstance(reply, Exception):
                raise reply
            return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in reply])

        monkeypatch.setattr(hub, "_in_reach", lambda endpoint: True)
        monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)

    return answer


def error_of(kind: type[Exception]) -> Exception:
    """One of huggingface_hub's errors without the response that its constructor wants."""
    error = kind.__new__(kind)
    error.args = ("the hub said no",)
    return error


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("org/name", ("org/name", "main")),
        ("org/name@v1.0", ("org/name", "v1.0")),
        ("org/name@refs/pr/1", ("org/name", "refs/pr/1")),
        ("Org-1/na.me_2", ("Org-1/na.me_2", "main")),
        ("name", None),
        ("a/b/c", None),
        ("./org/name", None),
        ("../name", None),
        ("/org/name", None),
        ("~/name", None),
        ("org/name@", None),
        ("models/file.gguf", None),
        ("models/file.pt", None),
    ],
)
def test_what_is_a_hub_id(spec, parts):
    assert hub.split(spec) == parts


def test_cached_model_is_used_without_asking(in_cache, monkeypatch):
    snapshot = in_cache()
    monkeypatch.setattr(hub, "_in_reach", lambda endpoint: pytest.fail("the hub was asked"))
    (found,) = resolve("some-org/some-model")
    assert (found.kind, found.name, found.path, found.commit) == ("hub", "some-org/some-model", snapshot, COMMIT)


def test_revision_is_a_branch_a_tag_or_a_commit(in_cache, out_of_reach):
    other = "f" * 40
    in_cache("main"), in_cache("step100", other)
    assert resolve("some-org/some-model@step100")[0].commit == other
    assert resolve("some-org/some-model@step100")[0].name == "some-org/some-model@step100"
    assert resolve(f"some-org/some-model@{COMMIT}")[0].commit == COMMIT
    with pytest.raises(CheckpointNotFound, match="some-org/some-model@step200"):
        resolve("some-org/some-model@step200")


def test_cache_is_where_huggingface_hub_puts_it(in_cache):
    """The layout that is read here is the library's own."""
    snapshot = in_cache()
    found = huggingface_hub.try_to_load_from_cache(
        "some-org/some-model", "config.json", cache_dir=constants.HF_HUB_CACHE, revision="main"
    )
    assert found == str(snapshot / "config.json")


def test_snapshot_that_is_not_whole_is_not_taken_for_the_model(in_cache, out_of_reach):
    snapshot = in_cache()
    (snapshot / "model.safetensors").unlink()  # something only looked at the config
    assert hub.cached("some-org/some-model") is None
    with pytest.raises(
        UnsupportedCheckpoint, match=r"not whole, and the hub cannot complete it now: .* has no weights"
    ):
        resolve("some-org/some-model")


def test_adapter_from_the_hub_keeps_its_commit(cache, tiny_checkpoint, tiny_adapter, out_of_reach):
    root = cache / "models--some-org--lora"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(COMMIT)
    shutil.copytree(tiny_adapter(base=str(tiny_checkpoint())), root / "snapshots" / COMMIT)
    (found,) = resolve("some-org/lora")
    assert (found.kind, found.commit, found.base.kind) == ("adapter", COMMIT, "directory")


def test_base_of_an_adapter_from_the_cache(in_cache, tiny_adapter, out_of_reach):
    in_cache()
    found = resolve(str(tiny_adapter(base="some-org/some-model")))[0].base
    assert (found.kind, found.commit) == ("hub", COMMIT)


def test_offline_by_switch(cache, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "_in_reach", lambda endpoint: pytest.fail("the hub was asked"))
    with pytest.raises(CheckpointNotFound, match=r"'some-org/some-model' is not in the local cache .* HF_HUB_OFFLINE"):
        resolve("some-org/some-model")


def test_out_of_reach_says_so_and_what_to_do(cache, out_of_reach):
    with pytest.raises(CheckpointNotFound, match=r"no path .*not in the local cache .*does not answer\. Pass a folder"):
        resolve("some-org/some-model")


@pytest.mark.parametrize("trouble", ["refused", "silent", "no name server"])
def test_a_hub_that_does_not_answer_is_given_up_within_a_second(monkeypatch, trouble):
    """One try: a closed port, a port that never answers, and a look-up of the name that hangs."""
    import socket

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        if trouble == "silent":
            server.listen()
        if trouble == "no name server":
            monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: time.sleep(3) or [])
        started = time.monotonic()
        assert hub._in_reach(f"http://{'localhost' if 'name' in trouble else '127.0.0.1'}:{port}") is False
        assert time.monotonic() - started < 1.5


def test_any_answer_means_that_the_hub_is_there():
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Unwell(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(503)
            self.end_headers()

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Unwell) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert hub._in_reach(f"http://127.0.0.1:{server.server_port}") is True
        thread.join()
    huggingface_hub.close_session()


def test_download_of_what_an_audit_reads(cache, answering, tiny_checkpoint, monkeypatch):
    answering(["config.json", "model.safetensors", "pytorch_model.bin"])
    asked = {}

    def download(repository, *, revision, allow_patterns):
        asked.update(repository=repository, revision=revision, patterns=allow_patterns)
        target = cache / "models--some-org--some-model" / "snapshots" / COMMIT
        shutil.copytree(tiny_checkpoint(), target)
        return str(target)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    (found,) = resolve("some-org/some-model@main")
    assert (found.kind, found.commit) == ("hub", COMMIT)
    assert (asked["repository"], asked["revision"]) == ("some-org/some-model", "main")
    wanted = list(huggingface_hub.utils.filter_repo_objects(
        ["config.json", "model-00001-of-00002.safetensors", "model.safetensors.index.json", "tokenizer.model",
         "tokenizer_config.json", "chat_template.jinja", "pytorch_model.bin", "model.onnx", "consolidated.safetensors",
         "m.gguf", "modeling_own.py"], allow_patterns=asked["patterns"]))  # fmt: skip
    assert wanted == [
        "config.json",
        "model-00001-of-00002.safetensors",
        "model.safetensors.index.json",
        "tokenizer.model",
        "tokenizer_config.json",
        "chat_template.jinja",
    ]


def test_download_that_breaks_off(cache, answering, monkeypatch):
    answering(["model.safetensors"])

    def download(*args, **kwargs):
        raise OSError("connection reset")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(CheckpointNotFound, match=r"broke off: connection reset\. Try again"):
        resolve("some-org/some-model")


@pytest.mark.parametrize(
    ("files", "match"),
    [
        (["config.json", "pytorch_model.bin"], r"has no safetensors \(it has pytorch_model.bin\)"),
        (["README.md", "q4.gguf"], r"\(it has q4.gguf\)"),
        (["README.md"], "no weights at all"),
    ],
)
def test_repository_without_safetensors_is_not_downloaded(cache, answering, monkeypatch, files, match):
    answering(files)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *a, **k: pytest.fail("downloaded"))
    with pytest.raises(UnsupportedCheckpoint, match=match):
        resolve("some-org/some-model")


@pytest.mark.parametrize(
    ("kind", "match"),
    [
        ("RepositoryNotFoundError", "the hub has no model 'some-org/some-model', or it is private"),
        ("RevisionNotFoundError", "has no revision 'v2': pass a branch"),
        ("GatedRepoError", r"is gated: accept its terms at \S+/some-org/some-model, then run `hf auth login`"),
        ("HfHubHTTPError", "could not be asked for .*the hub said no"),
    ],
)
def test_refusals_of_the_hub_say_what_to_do(cache, answering, kind, match):
    from huggingface_hub import errors

    answering(error_of(getattr(errors, kind)))
    with pytest.raises(CheckpointNotFound, match=match):
        resolve("some-org/some-model@v2")
