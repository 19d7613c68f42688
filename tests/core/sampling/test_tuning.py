"""`conself tune` measures the bundled model with short real probes and keeps the result, and a round uses it."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

import pytest

from conself_local.errors import ConselfError
from conself_local.home import Home
from conself_local.machine.resources import usable_cores
from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.converted_weights import (
    automatic_format,
    conversion_fits,
    converted_bytes,
    converted_path,
    ensure_converted_weights,
)
from conself_local.model_files.model_file import ModelFile, load_model_file
from conself_local.round.context import ComputeOptions, RoundContext
from conself_local.round.run import open_engine
from conself_local.sampling import tuning as tune
from conself_local.sampling.config import LLAMA_CPP, OPENVINO, SamplingConfig
from conself_local.sampling.engine_process import LlamaProcess
from conself_local.settings import LAPTOP
from tests.fakes.openvino import needs_openvino
from tests.fakes.small_round import descendants
from tests.fakes.tiny_model import write_tiny_model

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def model() -> ModelFile:
    """Return the description of the bundled model."""
    return load_model_file(bundled_model())


def test_a_tuning_result_is_measured_stored_and_read_again(
    model: ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune, "_PROBE_SECONDS", 0.2)
    monkeypatch.setattr(tune, "_SLOTS_TRIED", (2,))
    monkeypatch.setattr(tune, "SLOTS", 4)
    monkeypatch.setattr(tune, "LOSSLESS_FORMATS", ("BF16",))
    said: list[str] = []
    assert tune.load_tuning(model, tmp_path) is None
    found = tune.tune_model(model, tmp_path, False, said.append, LLAMA_CPP)
    assert tune.load_tuning(model, tmp_path) == found
    assert {"shipped", "BF16"} <= {name.split(",")[0] for name in found.tokens_per_second}
    assert all(rate > 0 for rate in found.tokens_per_second.values()) and len(said) == len(found.tokens_per_second)
    assert found.tokens_per_second[str(found)] * 1.03 >= max(found.tokens_per_second.values()), (
        "no clearly faster configuration was passed over"
    )
    assert 0 < found.logp_gap["BF16"] < 0.1, "BF16 keeps the original values up to rounding"
    assert converted_path(model, "BF16", tmp_path).is_file() == (found.format == "BF16"), (
        "converted weights in a slower format are deleted"
    )
    other = write_tiny_model(tmp_path / "other.gguf")
    assert tune.load_tuning(other, tmp_path) is None, "a tuning result is for one model"


@pytest.mark.slow
@needs_openvino
def test_openvino_is_measured_beside_llama_cpp_and_the_faster_one_is_kept(
    model: ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune, "_PROBE_SECONDS", 1.0)
    monkeypatch.setattr(tune, "_SLOTS_TRIED", ())
    monkeypatch.setattr(tune, "SLOTS", 8)
    said: list[str] = []
    found = tune.tune_model(model, tmp_path, False, said.append)
    rates = found.tokens_per_second
    openvino = [rate for name, rate in rates.items() if name.startswith("openvino, F16")]
    assert openvino and 0 < found.logp_gap["openvino, F16"] < 0.1
    assert rates[str(found)] * 1.03 >= max(rates.values())
    assert tune.sampling_config(model, tmp_path).engine == found.engine
    only = tune.tune_model(model, tmp_path, False, said.append, OPENVINO)
    assert only.engine == OPENVINO and all(name.startswith("openvino") for name in only.tokens_per_second)


def test_a_damaged_tuning_result_counts_as_none(model: ModelFile, tmp_path: Path) -> None:
    path = tune._tuning_path(model, tmp_path)
    path.parent.mkdir(parents=True)
    for text in ("", "{", "[]", '{"format": "BF16"}'):
        path.write_text(text)
        assert tune.load_tuning(model, tmp_path) is None


def test_an_unknown_format_is_refused_and_the_size_of_converted_weights_is_forecast(
    model: ModelFile, tmp_path: Path
) -> None:
    with pytest.raises(ConselfError, match="unknown weights format"):
        ensure_converted_weights(model, "Q9", tmp_path)
    copy = ensure_converted_weights(model, "Q8_0", tmp_path)
    assert converted_bytes(model, "Q8_0") == pytest.approx(copy.stat().st_size, rel=0.05)


def test_without_tuning_the_16_bit_format_of_the_processor_is_used(model: ModelFile, tmp_path: Path) -> None:
    avx2 = frozenset({"avx2", "fma", "f16c"})
    features = (avx2, avx2 | {"avx512_bf16"}, frozenset({"bf16"}), avx2 - {"f16c"})
    assert [automatic_format(model, one) for one in features] == ["F16", "BF16", "BF16", "shipped"]
    full = load_model_file(ensure_converted_weights(model, "F16", tmp_path))
    assert automatic_format(full, avx2 | {"avx512_bf16"}) == "shipped", "a 16-bit file is not converted"


def test_converted_weights_leave_half_of_memory_and_disk_free(
    model: ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size, cache = converted_bytes(model, "F16"), tmp_path / "not" / "made"
    assert [conversion_fits(model, "F16", cache, memory) for memory in (None, 2 * size, 2 * size - 1)] == [
        True,
        True,
        False,
    ]
    assert not conversion_fits(dataclasses.replace(model, weights=3 * 10**9), "F16", cache, None), (
        "6 GB of converted weights are made on request only"
    )
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 2 * size - 1))
    assert not conversion_fits(model, "F16", cache, None)
    monkeypatch.setattr(tune, "processor_features", lambda: frozenset({"avx2", "fma", "f16c"}))
    assert tune.sampling_config(model, cache).format == "shipped"
    converted_path(model, "F16", cache).parent.mkdir(parents=True)
    converted_path(model, "F16", cache).touch()
    assert conversion_fits(model, "F16", cache, None), "existing converted weights need no more disk"


def test_a_tuning_result_takes_precedence_over_the_automatic_choice(
    model: ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune, "processor_features", lambda: frozenset({"avx2", "fma", "f16c"}))
    assert tune.sampling_config(model, tmp_path) == SamplingConfig("F16", tune.SLOTS, usable_cores())
    _write_tuning(model, tmp_path)
    assert tune.sampling_config(model, tmp_path) == SamplingConfig("Q8_0", 3, 5)


def test_a_round_samples_as_tuned_and_options_take_precedence(
    model: ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSELF_CACHE", str(tmp_path))
    _write_tuning(model, tmp_path)
    for compute, threads, slots in ((ComputeOptions(2), 5, 3), (ComputeOptions(2, threads=4, slots=7), 4, 7)):
        context = RoundContext(None, Home(tmp_path), model, compute, None, None, print)  # type: ignore[arg-type]
        with open_engine(context, LAPTOP) as engine:
            assert isinstance(engine, LlamaProcess) and engine.weights == converted_path(model, "Q8_0", tmp_path)
            assert (
                descendants(os.getpid(), f"--slots {slots} ") == descendants(os.getpid(), f"--threads {threads} ") != []
            )


def _write_tuning(model: ModelFile, cache: Path) -> None:
    path = tune._tuning_path(model, cache)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"format": "Q8_0", "slots": 3, "threads": 5, "tokens_per_second": {}, "logp_gap": {}}))
