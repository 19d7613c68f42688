"""Adapters keep their values in every format, damaged ones are refused, and merged files keep what fits their bits."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import gguf
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from conself_local.adapters.export import MergeFidelity, export_adapter, fidelity_meter
from conself_local.adapters.formats import Adapter, read_adapter, read_gguf, write_gguf, write_mlx, write_peft
from conself_local.adapters.importing import import_adapter
from conself_local.adapters.merge import merge_adapter
from conself_local.errors import ConselfError
from conself_local.home import Home
from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.gguf_weights import read_weights
from conself_local.model_files.model_file import ModelFile, load_model_file
from conself_local.new_files import whole_file
from conself_local.sampling.engine_process import LlamaProcess
from conself_local.sampling.sampler import ChatMessage
from conself_local.store.store import Store
from tests.fakes.random_adapter import random_adapter
from tests.fakes.tiny_model import LAYERS, write_tiny_model


@pytest.fixture(params=["llama", "qwen2"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> ModelFile:
    """Return a tiny model of each architecture."""
    return write_tiny_model(tmp_path / "tiny.gguf", request.param)


def _same(one: Adapter, other: Adapter) -> bool:
    assert one.scale == pytest.approx(other.scale) and set(one.maps) == set(other.maps)
    return all(np.array_equal(a, b) for name in one.maps for a, b in zip(one.maps[name], other.maps[name], strict=True))


def test_every_format_reads_back_unchanged(model: ModelFile, tmp_path: Path) -> None:
    adapter = random_adapter(model, 0.1)
    write_peft(adapter, tmp_path / "peft", model.architecture)
    write_mlx(adapter, tmp_path / "mlx", LAYERS)
    write_gguf(adapter, model, tmp_path / "a.gguf")
    for path in (tmp_path / "peft", tmp_path / "mlx", tmp_path / "a.gguf"):
        assert _same(adapter, read_adapter(path, model))


@pytest.mark.model
def test_peft_and_mlx_lm_load_what_is_written(model: ModelFile, tmp_path: Path) -> None:
    import torch

    from conself_local.training.torch_backend.model import completion_logps, load_base, load_lora

    adapter = random_adapter(model, 0.2)
    write_peft(adapter, tmp_path / "peft", model.architecture)
    of_torch = load_lora(load_base(model, torch.float32, torch.device("cpu")), tmp_path / "peft")
    logps = completion_logps(of_torch, (1, 5, 9), [(7, 8, 2)])[0].tolist()
    mx = pytest.importorskip("mlx.core")
    from mlx_lm.tuner.utils import load_adapters

    from conself_local.training.mlx_backend import load_mlx_model

    write_mlx(adapter, tmp_path / "mlx", LAYERS)
    of_mlx = load_adapters(load_mlx_model(model, mx.float32), str(tmp_path / "mlx"))
    logits = of_mlx(mx.array([[1, 5, 9, 7, 8]]))[0, 2:]
    taken = (logits - mx.logsumexp(logits, axis=-1, keepdims=True))[mx.arange(3), mx.array([7, 8, 2])]
    assert logps == pytest.approx(taken.tolist(), abs=1e-4)


def test_foreign_and_damaged_adapters_are_refused(model: ModelFile, tmp_path: Path) -> None:
    adapter = random_adapter(model, 0.1)
    folder = tmp_path / "peft"
    write_peft(adapter, folder, model.architecture)
    config, weights = folder / "adapter_config.json", folder / "adapter_model.safetensors"
    good_config, good_weights = json.loads(config.read_text()), load_file(weights)
    key = next(k for k in good_weights if k.endswith("q_proj.lora_B.weight"))

    def refused(match: str) -> None:
        with pytest.raises(ConselfError, match=match):
            read_adapter(folder, model)
        config.write_text(json.dumps(good_config))
        save_file(good_weights, weights)

    save_file(good_weights | {key: np.zeros((7, 4), dtype=np.float32)}, weights)
    refused("shapes")
    save_file(good_weights | {key: good_weights[key] * np.float32("nan")}, weights)
    refused("not finite")
    save_file({k: v for k, v in good_weights.items() if k != key}, weights)
    refused("only half")
    save_file(good_weights | {"base_model.model.lm_head.weight": good_weights[key]}, weights)
    refused("not a LoRA tensor")
    weights.write_bytes(weights.read_bytes()[:-100])
    refused("damaged")
    weights.rename(folder / "adapter_model.bin")
    refused("could run code")
    for change, word in (
        ({"use_dora": True}, "use_dora"),
        ({"peft_type": "IA3"}, "not a LoRA"),
        ({"bias": "all"}, "bias"),
        ({"r": 0}, "rank"),
    ):
        config.write_text(json.dumps(good_config | change))
        refused(word)
    other = write_tiny_model(tmp_path / "other.gguf", "qwen2" if model.architecture == "llama" else "llama")
    write_gguf(adapter, model, tmp_path / "a.gguf")
    with pytest.raises(ConselfError, match="is for the architecture"):
        read_gguf(tmp_path / "a.gguf", other)
    unknown = dataclasses.replace(model, architecture="mamba")
    with pytest.raises(ConselfError, match="mamba"):
        write_gguf(adapter, unknown, tmp_path / "b.gguf")
    with pytest.raises(ConselfError, match="mamba cannot be trained"):
        read_weights(unknown)


def test_an_imported_adapter_becomes_one_of_the_home(model: ModelFile, tmp_path: Path) -> None:
    write_mlx(random_adapter(model, 0.1), tmp_path / "mlx", LAYERS)
    home = Home(tmp_path / "home")
    with Store(home.database) as store:
        adapter_id = import_adapter(store, home, tmp_path / "mlx", model, "theirs", use=True)
        row = store.adapter(adapter_id)
        assert row["state"] == "accepted" and row["model_sha256"] == model.sha256
        assert _same(read_adapter(tmp_path / "mlx", model), read_adapter(Path(row["peft_path"]), model))
        for name, match in (("theirs", "already"), ("../x", "cannot be")):
            with pytest.raises(ConselfError, match=match):
                import_adapter(store, home, tmp_path / "mlx", model, name, use=False)
        with pytest.raises(ConselfError, match="no adapter at"):
            import_adapter(store, home, tmp_path / "nothing", model, "x", use=False)
        store.rename_adapter(adapter_id, "mine")  # its folder keeps the old name, and an import must not replace it
        with pytest.raises(ConselfError, match="was renamed"):
            import_adapter(store, home, tmp_path / "mlx", model, "theirs", use=False)
        assert store.adapter_file(adapter_id) == Path(row["path"])


def test_an_export_that_cannot_be_done_writes_and_replaces_nothing(model: ModelFile, tmp_path: Path) -> None:
    write_mlx(random_adapter(model, 0.1), tmp_path / "mlx", LAYERS)
    home, out = Home(tmp_path / "home"), tmp_path / "out"
    out.mkdir()
    (out / "mine.Modelfile").write_text("FROM somewhere else")
    with Store(home.database) as store:
        adapter_id = import_adapter(store, home, tmp_path / "mlx", model, "theirs", use=True)
        with pytest.raises(ConselfError, match="already exists"):
            export_adapter(store, home, adapter_id, "merged", "shipped", out / "mine.gguf")
    assert [path.name for path in out.iterdir()] == ["mine.Modelfile"]
    assert (out / "mine.Modelfile").read_text() == "FROM somewhere else"


def test_a_file_that_came_while_another_was_written_stays(tmp_path: Path) -> None:
    target = tmp_path / "model.gguf"
    with pytest.raises(ConselfError, match="already exists"), whole_file(target, replace=False) as part:
        part.write_text("ours")
        target.write_text("theirs")
    assert [path.name for path in tmp_path.iterdir()] == ["model.gguf"] and target.read_text() == "theirs"
    with whole_file(tmp_path / "new.gguf", replace=False) as part:
        part.write_text("ours")
    assert (tmp_path / "new.gguf").read_text() == "ours" and len(list(tmp_path.iterdir())) == 2


@pytest.mark.model
def test_an_imported_adapter_is_merged_and_measured_without_any_round(tmp_path: Path) -> None:
    """Prevent a regression: a home without pairs refused the default form of an export."""
    model = load_model_file(bundled_model())
    write_peft(random_adapter(model, 0.3, only="layers.3.mlp.down_proj"), tmp_path / "peft", model.architecture)
    home, target = Home(tmp_path / "home"), tmp_path / "merged.gguf"
    with Store(home.database) as store:
        adapter_id = import_adapter(store, home, tmp_path / "peft", model, "theirs", use=True)
        said = export_adapter(store, home, adapter_id, "merged", "shipped", target)
    assert load_model_file(target).architecture == model.architecture
    (measured,) = (sentence for sentence in said if "measured on" in sentence)
    assert "6 reference programs of the starter pack" in measured and "of the change is kept" in measured
    assert target.with_suffix(".Modelfile").read_text() == "FROM ./merged.gguf\n"


@pytest.mark.model
def test_a_small_change_is_exported_in_the_smallest_format_that_keeps_it(tmp_path: Path) -> None:
    """A quarter of what training changes vanishes in the four bits of the bundled model's file."""
    model = load_model_file(bundled_model())
    write_peft(random_adapter(model, 0.08, only="mlp.down_proj"), tmp_path / "peft", model.architecture)
    home = Home(tmp_path / "home")
    with Store(home.database) as store:
        id = import_adapter(store, home, tmp_path / "peft", model, "small", use=True)
        four_bits = export_adapter(store, home, id, "merged", "shipped", tmp_path / "four.gguf")
        kept = export_adapter(store, home, id, "merged", "auto", tmp_path / "kept.gguf")
    assert "the gain is lost" in four_bits[1] and "because" not in four_bits[0]
    assert ", in Q8_0, because the gain is lost in shipped" in kept[0] and "of the change is kept" in kept[1]
    assert load_model_file(tmp_path / "kept.gguf").size_bytes > 1.3 * load_model_file(tmp_path / "four.gguf").size_bytes
    assert sorted(path.name for path in tmp_path.glob("kept*")) == ["kept.Modelfile", "kept.gguf"]


@pytest.mark.model
def test_a_merged_file_that_cannot_be_measured_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model_file(bundled_model())
    write_peft(random_adapter(model, 0.3, only="layers.3.mlp.down_proj"), tmp_path / "peft", model.architecture)
    home, out = Home(tmp_path / "home"), tmp_path / "out"
    out.mkdir()
    engines = itertools.count()

    def no_memory(what: str, needed_bytes: int, hint: str) -> None:
        if next(engines) == 1:  # after the engine for the prompts
            raise ConselfError(f"{what} needs more memory", hint)

    monkeypatch.setattr("conself_local.sampling.open_engine.verify_memory", no_memory)
    with Store(home.database) as store:
        adapter_id = import_adapter(store, home, tmp_path / "peft", model, "theirs", use=True)
        with pytest.raises(ConselfError, match="memory"):
            export_adapter(store, home, adapter_id, "merged", "shipped", out / "merged.gguf")
    assert not list(out.iterdir())


@pytest.mark.model
def test_a_merged_file_keeps_everything_but_the_adapted_tensors(tmp_path: Path) -> None:
    model = load_model_file(bundled_model())
    write_gguf(random_adapter(model, 0.05, only="layers.3."), model, tmp_path / "a.gguf")
    merge_adapter(model, tmp_path / "a.gguf", tmp_path / "merged.gguf", "shipped", tmp_path / "cache")
    old, new = (gguf.GGUFReader(path) for path in (model.path, tmp_path / "merged.gguf"))
    assert {k: f.contents() for k, f in old.fields.items()} == {k: f.contents() for k, f in new.fields.items()}
    changed = [a.name for a, b in zip(old.tensors, new.tensors, strict=True) if not np.array_equal(a.data, b.data)]
    assert len(changed) == 7 and all(name.startswith("blk.3.") for name in changed)
    assert [(t.name, t.tensor_type, t.data_offset) for t in old.tensors] == [
        (t.name, t.tensor_type, t.data_offset) for t in new.tensors
    ]
    with pytest.raises(ConselfError, match="is for the architecture"):
        qwen = write_tiny_model(tmp_path / "tiny.gguf", "qwen2")
        merge_adapter(qwen, tmp_path / "a.gguf", tmp_path / "wrong.gguf", "shipped", tmp_path / "cache")


@pytest.mark.model
@pytest.mark.parametrize(
    ("size", "form", "lost"), [(0.3, "shipped", False), (0.3, "BF16", False), (0.01, "shipped", True)]
)
def test_llama_cpp_loads_the_merged_file_and_its_fidelity_is_reported(
    size: float, form: str, lost: bool, tmp_path: Path
) -> None:
    """A large change survives Q4_1; a small one disappears in its rounding, and the loss is reported."""
    model = load_model_file(bundled_model())
    write_gguf(
        random_adapter(model, size, only=f"layers.{model.block_count - 1}.mlp.down_proj"), model, tmp_path / "a.gguf"
    )
    merge_adapter(model, tmp_path / "a.gguf", tmp_path / "merged.gguf", form, tmp_path / "cache")
    with LlamaProcess(model, slots=1, context_tokens=512, threads=1) as engine:
        prompt = engine.encode([ChatMessage("user", "Write a Python function that adds two numbers.")])
        answer = engine.tokenize("```python\ndef add(a, b):\n    return a + b\n```")
    measure = fidelity_meter(model, tmp_path / "a.gguf", [(prompt.token_ids, answer)], tmp_path / "cache")
    kept = measure(tmp_path / "merged.gguf")
    print(kept.describe(form))
    assert kept.lost == lost and kept.moved > 0
    assert ("the gain is lost" in kept.describe(form)) == lost


def test_the_fidelity_of_a_merged_file_is_described() -> None:
    assert "90% of the change is kept" in MergeFidelity(1.0, 0.1).describe("shipped")
    assert "BF16" in MergeFidelity(1.0, 0.6).describe("shipped") and "beside the model" in MergeFidelity(
        1.0, 0.6
    ).describe("BF16")
