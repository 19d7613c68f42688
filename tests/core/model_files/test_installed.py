"""Models of other tools are found where those tools keep them, and what each can be used for is reported."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from conself_local.model_files.installed import describe_models, find_models
from tests.fakes.bare_mlx_folder import write_bare_folder
from tests.fakes.tiny_model import write_tiny_model


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty home folder of a user, with no variable that points elsewhere."""
    for name in ("HF_HUB_CACHE", "HF_HOME", "LLAMA_CACHE", "OLLAMA_MODELS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_models_of_every_tool_are_found_and_each_file_is_listed_once(home: Path) -> None:
    tiny = home / "tiny.gguf"
    write_tiny_model(tiny)
    studio = home / ".lmstudio/models/maker/model/coder.gguf"
    snapshot = home / ".cache/huggingface/hub/models--a--b/snapshots/1/model.gguf"
    blob = home / ".ollama/models/blobs/sha256-abc"
    for place in (studio, blob, home / ".cache/llama.cpp/other.gguf", studio.with_name("mmproj-f16.gguf")):
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tiny, place)
    snapshot.parent.mkdir(parents=True)
    snapshot.symlink_to(studio)
    (home / ".cache/llama.cpp/broken.gguf").write_bytes(b"GGUF")
    write_tiny_model(home / ".cache/llama.cpp/strange.gguf", "gemma")
    manifests = home / ".ollama/models/manifests/registry.ollama.ai/library/coder"
    manifests.mkdir(parents=True)
    layer = {"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:abc"}
    (manifests / "0.5b").write_text(json.dumps({"layers": [layer, {"mediaType": "text/plain", "digest": "sha256:x"}]}))
    (manifests / "bad").write_text("{")
    (manifests / "climbs").write_text(json.dumps({"layers": [layer | {"digest": "../../../tiny.gguf"}]}))

    rows = {(row["source"], row["name"]): row for row in describe_models(find_models(home))}
    assert set(rows) == {
        ("bundled", "SmolLM2-135M-Instruct"),
        ("LM Studio", "coder"),
        ("llama.cpp", "other"),
        ("llama.cpp", "broken"),
        ("llama.cpp", "strange"),
        ("Ollama", "coder:0.5b"),
    }
    assert all(rows[key]["trainable"] for key in (("LM Studio", "coder"), ("Ollama", "coder:0.5b")))
    assert "llama, " in rows["LM Studio", "coder"]["what"] and "trainable in" in rows["LM Studio", "coder"]["what"]
    assert not rows["llama.cpp", "broken"]["usable"] and "cut short" in rows["llama.cpp", "broken"]["what"]
    strange = rows["llama.cpp", "strange"]
    assert strange["usable"] and not strange["trainable"] and "gemma" in strange["what"]


def test_an_empty_computer_has_the_bundled_model(home: Path) -> None:
    assert [model.source for model in find_models(home)] == ["bundled"]


def test_models_behind_links_and_with_a_name_in_capitals_are_found(home: Path) -> None:
    models = home / ".lmstudio/models"
    (home / "disk/repo").mkdir(parents=True)
    models.mkdir(parents=True)
    write_tiny_model(home / "disk/repo/coder.gguf")
    write_tiny_model(home / "disk/repo/Other.GGUF", seed=1)
    (models / "publisher").symlink_to(home / "disk")
    (models / "circle").symlink_to(".")
    names = [model.name for model in find_models(home) if model.source == "LM Studio"]
    assert sorted(names) == ["Other", "coder"]


def test_folders_of_lm_studio_and_snapshots_of_hugging_face_are_found(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conself_local.model_files.installed.mlx_fault", lambda: "")
    monkeypatch.setattr("conself_local.model_files.trainable.verify_mlx", lambda: None)
    studio = write_bare_folder(home / ".lmstudio/models/mlx-community/Coder-4bit", parts=2)
    blobs = write_bare_folder(home / "blobs")
    snapshot = home / ".cache/huggingface/hub/models--maker--Small/snapshots/abc"
    snapshot.mkdir(parents=True)
    for path in blobs.iterdir():
        (snapshot / path.name).symlink_to(path)
    broken = write_bare_folder(home / ".lmstudio/models/mlx-community/Broken", parts=2)
    (broken / "model-00002-of-00002.safetensors").unlink()
    voices = home / ".cache/huggingface/hub/models--maker--voices/snapshots/abc"
    voices.mkdir(parents=True)
    (voices / "config.json").write_text("{}")
    rows = {row["name"]: row for row in describe_models(find_models(home)) if row["source"] != "bundled"}
    assert set(rows) == {"Coder-4bit", "Broken", "maker/Small"}
    found = rows["Coder-4bit"]
    assert found["usable"] and found["trainable"] and found["path"] == str(studio) and found["parts"] == 2
    assert "llama, " in found["what"] and "trainable in" in found["what"]
    assert rows["maker/Small"]["usable"] and rows["maker/Small"]["source"] == "Hugging Face"
    assert not rows["Broken"]["usable"] and "incomplete" in rows["Broken"]["what"]
    monkeypatch.setattr("conself_local.model_files.installed.mlx_fault", lambda: "mlx is not installed")
    assert all(
        "mlx is not installed" in row["what"] for row in describe_models(find_models(home)) if row["name"] in rows
    )
