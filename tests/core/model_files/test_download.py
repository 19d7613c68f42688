"""`conself models get` fetches a pinned model once, continues a broken download, and refuses a changed or missing file.

A local server takes the place of the hub; huggingface_hub does the download.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pytest

from conself_local.errors import ConselfError
from conself_local.model_files import download
from conself_local.model_files.download import CATALOGUE, get_model
from tests.fakes.hub_server import Hub
from tests.fakes.small_round import run_conself
from tests.fakes.tiny_model import write_tiny_model

NAME = "qwen2.5-coder-0.5b"
FILE = CATALOGUE[NAME].file


@pytest.fixture
def content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Pin a whole small model in place of the real one, and return its bytes."""
    write_tiny_model(tmp_path / "tiny.gguf")
    raw = (tmp_path / "tiny.gguf").read_bytes() + bytes(24 * 2**20)  # the library writes ten MiB at a time
    pinned = dataclasses.replace(CATALOGUE[NAME], sha256=hashlib.sha256(raw).hexdigest(), size_bytes=len(raw))
    monkeypatch.setitem(CATALOGUE, NAME, pinned)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    # another test of this process may have imported the hub after torch's backend, which keeps it offline
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    return raw


def test_a_model_is_fetched_once(content: bytes, tmp_path: Path) -> None:
    with Hub(FILE, content) as hub:
        path = get_model(NAME, tmp_path / "models", hub.address)
        assert path.read_bytes() == content and len(hub.ranges) == 1
        assert get_model(NAME, tmp_path / "models", hub.address) == path and len(hub.ranges) == 1


def test_a_broken_download_continues_where_it_stopped(content: bytes, tmp_path: Path) -> None:
    with Hub(FILE, content, break_after=len(content) // 2) as hub:
        for _ in range(3):
            try:
                path = get_model(NAME, tmp_path / "models", hub.address)
                break
            except ConselfError as error:
                assert "failed" in error.message and "continues" in error.hint
        assert path.read_bytes() == content
        assert hub.ranges[0] is None and (hub.ranges[1] or "").startswith("bytes=1"), hub.ranges


def test_a_file_with_another_hash_is_deleted(content: bytes, tmp_path: Path) -> None:
    with Hub(FILE, content[:-1] + b"x") as hub:
        with pytest.raises(ConselfError, match="sha256 differs"):
            get_model(NAME, tmp_path / "models", hub.address)
        assert not list((tmp_path / "models").glob("*.gguf"))


def test_a_hub_without_the_file_is_reported(content: bytes, tmp_path: Path) -> None:
    with Hub("other.gguf", content) as hub, pytest.raises(ConselfError, match="does not have"):
        get_model(NAME, tmp_path / "models", hub.address)


@pytest.mark.slow  # the library tries for half a minute
def test_a_hub_that_does_not_answer_is_reported(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(ConselfError, match=r"the download of .* failed") as caught:
        get_model(NAME, tmp_path / "models", "http://127.0.0.1:9")
    assert "\n" not in caught.value.message


def test_the_known_names_are_listed(tmp_path: Path) -> None:
    listed = run_conself(tmp_path / "h", "models", "get")
    assert listed.returncode == 0 and NAME in listed.stdout and download.BUNDLED in listed.stdout
    unknown = run_conself(tmp_path / "h", "models", "get", "gpt-9")
    assert unknown.returncode == 2 and "choose one of: " in unknown.stderr
    bundled = run_conself(tmp_path / "h", "models", "get", download.BUNDLED)
    assert bundled.returncode == 0 and bundled.stdout.strip().endswith(".gguf")


def test_every_pinned_model_has_its_hashes_and_size() -> None:
    for pinned in CATALOGUE.values():
        assert len(pinned.sha256) == 64 and len(pinned.revision) == 40 and pinned.size_bytes > 10**8
