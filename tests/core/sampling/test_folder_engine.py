"""A folder of MLX weights is sampled by mlx-lm and by nothing else, with as many slots as its memory allows."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from conself_local.errors import ConselfError
from conself_local.home import Home
from conself_local.machine.resources import usable_cores
from conself_local.model_files.memory import KV_MEMORY_BYTES, mlx_slots, training_bytes
from conself_local.model_files.mlx_folder import MlxFolder, load_mlx_folder
from conself_local.round import context as rounds
from conself_local.round.context import ComputeOptions, Endpoint, RoundContext, workers_beside_engine
from conself_local.round.run import _open_sampler
from conself_local.round.start import Request, open_round
from conself_local.sampling import tuning
from conself_local.sampling.config import LLAMA_CPP, MLX, SamplingConfig
from conself_local.sampling.engine_process import EngineProcess, LlamaProcess, MlxProcess
from conself_local.sampling.open_engine import open_engine, open_original
from conself_local.sampling.openvino_process import OpenVinoProcess
from conself_local.settings import LAPTOP
from conself_local.store.store import Store
from sandbox import Limits, Sandbox
from tests.fakes.bare_mlx_folder import write_bare_folder


@pytest.fixture
def model(tmp_path: Path) -> MlxFolder:
    """Return a folder whose weights no library loads."""
    return load_mlx_folder(write_bare_folder(tmp_path / "Tiny"))


def _no_sandbox(_: Limits) -> Sandbox:
    raise AssertionError("no program runs before the round begins")


def test_the_configuration_is_that_of_mlx(model: MlxFolder, tmp_path: Path) -> None:
    config = tuning.sampling_config(model, tmp_path)
    assert config == SamplingConfig("shipped", 16, usable_cores(), MLX) == tuning.sampling_config(model, tmp_path, MLX)
    assert "is sampled by mlx, shipped, 16 slots" in tuning.describe_choice(model, tmp_path)
    with pytest.raises(ConselfError, match="does not read"):
        tuning.sampling_config(model, tmp_path, LLAMA_CPP)
    with pytest.raises(ConselfError, match="does not read"):
        tuning.tune_model(model, tmp_path, False, print, LLAMA_CPP)
    with pytest.raises(ConselfError, match="not in the format BF16"):
        open_engine(model, dataclasses.replace(config, format="BF16"), tmp_path, longest=64, use_gpu=True)


def test_keys_and_values_decide_how_many_slots_are_filled(model: MlxFolder) -> None:
    large = dataclasses.replace(model, block_count=28, head_count_kv=4, head_size=128)
    per_slot = 2000 * large.kv_bytes_per_token
    assert mlx_slots(large, 32, 2000, None) == KV_MEMORY_BYTES // per_slot < 32
    assert mlx_slots(large, 32, 2000, 40 * 2**30) == 32 and mlx_slots(large, 32, 10**7, None) == 1
    assert training_bytes(model) > model.size_bytes


def test_what_a_stage_asks_of_an_engine_is_a_property() -> None:
    assert EngineProcess.shares_cores and LlamaProcess.shares_cores and OpenVinoProcess.shares_cores
    assert not MlxProcess.shares_cores and MlxProcess.runs_original


def test_programs_have_all_cores_while_the_gpu_samples(model: MlxFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    compute = ComputeOptions(workers=8, use_gpu=False)
    assert workers_beside_engine(compute, model) == compute.overlap_workers == 2
    monkeypatch.setattr(rounds, "computes_on_metal", lambda: True)
    assert workers_beside_engine(compute, model) == 8


def test_servers_need_a_gguf_file(model: MlxFolder, tmp_path: Path) -> None:
    compute = ComputeOptions(2, endpoint=Endpoint(("http://127.0.0.1:1",), "m"))
    context = RoundContext(None, Home(tmp_path / "home"), model, compute, None, None, print)  # type: ignore[arg-type]
    with pytest.raises(ConselfError, match="an endpoint needs a GGUF file"), _open_sampler(context, LAPTOP, None):
        pass


def test_a_folder_that_cannot_be_trained_is_refused_before_a_round_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conself_local.model_files.trainable.verify_mlx", lambda: None)
    folder = write_bare_folder(tmp_path / "Tiny")
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace("llama", "rwkv7"))
    with Store(tmp_path / "conself.db") as store:
        with pytest.raises(ConselfError, match="rwkv7 cannot be trained"):
            open_round(store, Request(model=folder), _no_sandbox)
        round_, model, _ = open_round(store, Request(model=folder, trains=False, limit=1), _no_sandbox)
        assert round_.model_path == folder and round_.model_sha256 == model.sha256
        (folder / "config.json").write_text(config)
        with pytest.raises(ConselfError, match="has changed since round 1 began"):
            open_round(store, Request(), _no_sandbox)


@pytest.mark.model
def test_the_number_of_slots_is_measured_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlx.core")
    from tests.fakes.talking_folder import write_talking_folder

    monkeypatch.setattr(tuning, "_PROBE_SECONDS", 0.2)
    monkeypatch.setattr(tuning, "_MLX_SLOTS_TRIED", (2, 3))
    monkeypatch.setattr(tuning, "_TOKENS_PER_SLOT", 640)
    model, said = load_mlx_folder(write_talking_folder(tmp_path / "Tiny", learns=False)), list[str]()
    found = tuning.tune_model(model, tmp_path, False, said.append)
    assert found.engine == MLX and found.slots in (2, 3) and len(found.tokens_per_second) == len(said) == 2
    assert tuning.load_tuning(model, tmp_path) == found and tuning.sampling_config(model, tmp_path).slots == found.slots
    with open_original(model, tmp_path, slots=1, threads=1, longest=256, use_gpu=True) as engine:
        assert isinstance(engine, MlxProcess) and engine.tokenize("a b")
