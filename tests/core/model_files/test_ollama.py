"""What Ollama adds to a model is ignored, and it is said so where the model is listed and where it is used."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from conself_local.model_files.installed import describe_models, find_models
from conself_local.model_files.ollama import ignored_layers
from tests.fakes.small_round import run_conself
from tests.fakes.tiny_model import write_tiny_model

LAYER = "application/vnd.ollama.image."


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a user's home folder with one model of Ollama that has four names."""
    monkeypatch.delenv("OLLAMA_MODELS", raising=False)
    blobs = tmp_path / ".ollama/models/blobs"
    blobs.mkdir(parents=True)
    shutil.copy(write_tiny_model(tmp_path / "tiny.gguf").path, blobs / "sha256-model")
    (blobs / "sha256-extra").write_bytes(b"GGUF")
    manifests = tmp_path / ".ollama/models/manifests/registry.ollama.ai/library/coder"
    manifests.mkdir(parents=True)
    for tag, kinds in {"a": [], "b": ["adapter"], "c": ["projector", "template"], "d": ["adapter", "adapter"]}.items():
        layers = [{"mediaType": f"{LAYER}{kind}", "digest": "sha256:extra"} for kind in kinds]
        model = {"mediaType": f"{LAYER}model", "digest": "sha256:model"}
        (manifests / tag).write_text(json.dumps({"layers": [*layers, model]}))
    return tmp_path


def test_a_model_is_listed_once_with_everything_that_is_ignored(home: Path) -> None:
    rows = [row for row in describe_models(find_models(home)) if row["source"] == "Ollama"]
    assert [row["name"] for row in rows] == ["coder:a"]
    expected = [
        f"Ollama adds {what} to it under the name coder:{tag}, which is ignored here"
        for what, tag in (("an adapter", "b"), ("a projector for images", "c"), ("an adapter", "d"))
    ]
    assert rows[0]["usable"] and rows[0]["ignored"] == expected
    assert all(sentence in rows[0]["what"] for sentence in expected)


def test_only_ollamas_own_files_have_ignored_layers(home: Path) -> None:
    blob = home / ".ollama/models/blobs/sha256-model"
    (home / "link.gguf").symlink_to(blob)
    assert len(ignored_layers(blob)) == 3 and ignored_layers(home / "link.gguf") == ignored_layers(blob)
    assert ignored_layers(home / "tiny.gguf") == [] and ignored_layers(home / "blobs" / "none") == []


@pytest.mark.model
def test_a_command_that_uses_the_model_says_it_too(home: Path) -> None:
    done = run_conself(home / "h", "ask", "t1", "--model", str(home / ".ollama/models/blobs/sha256-model"))
    assert "Ollama adds an adapter to it under the name coder:b, which is ignored here" in done.stderr, done.stderr
