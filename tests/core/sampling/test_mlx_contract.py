"""mlx-lm's own interfaces are as `mlx_engine.py`, `mlx_backend.py` and `fuse.py` use them; they change between releases."""

from __future__ import annotations

import importlib.metadata
import inspect
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conself_local.errors import ConselfError
from conself_local.machine.mlx import INSTALL_MLX, MLX_LM_BEFORE, MLX_LM_FIRST, mlx_fault, verify_mlx

pytestmark = pytest.mark.model
pytest.importorskip("mlx.core")

_REPOSITORY = Path(__file__).parents[3]
_RANGE = f">={MLX_LM_FIRST[0]}.{MLX_LM_FIRST[1]},<{MLX_LM_BEFORE[0]}.{MLX_LM_BEFORE[1]}"


def _names(function: Callable[..., Any]) -> set[str]:
    return set(inspect.signature(function).parameters)


def test_the_range_is_the_one_that_pip_is_told() -> None:
    project = tomllib.loads((_REPOSITORY / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["test"]]
    stated = [line.removeprefix("mlx-lm").partition(";")[0].strip() for line in wanted if line.startswith("mlx-lm")]
    assert stated == [_RANGE, _RANGE] and f"'mlx-lm{_RANGE}'" in INSTALL_MLX
    assert mlx_fault() == "", "the installed version is one of the range"


def test_another_version_and_none_at_all_are_said_clearly(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(version: str) -> str:
        monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
        return mlx_fault()

    assert "mlx-lm 0.33.0 is installed" in found("0.33.0") and "mlx-lm 0.31.3" in found("0.31.3")
    assert found("0.32.0") == found("0.32.9") == "" and "unknown" in found("unknown")

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(ConselfError, match="mlx is not installed") as caught:
        verify_mlx()
    assert "pip install" in caught.value.hint


def test_the_batch_generator_takes_and_returns_what_the_engine_expects() -> None:
    from mlx_lm.generate import BatchGenerator, GenerationBatch

    wanted = {"stop_tokens", "completion_batch_size", "prefill_batch_size"}
    assert wanted <= _names(BatchGenerator.__init__)
    assert {"prompts", "max_tokens", "samplers"} <= _names(BatchGenerator.insert)
    for name in ("next", "remove", "close"):
        assert callable(getattr(BatchGenerator, name))
    assert {"uid", "token", "logprobs", "finish_reason"} <= set(GenerationBatch.Response.__dataclass_fields__)


def test_adapters_are_put_on_and_taken_off_by_the_functions_of_the_tuner() -> None:
    from mlx_lm.tuner.utils import linear_to_lora_layers, load_adapters, remove_lora_layers

    assert list(inspect.signature(load_adapters).parameters) == ["model", "adapter_path"]
    assert list(inspect.signature(remove_lora_layers).parameters) == ["model"]
    assert list(inspect.signature(linear_to_lora_layers).parameters)[:3] == ["model", "num_layers", "config"]


def test_models_are_loaded_and_written_by_the_functions_of_utils() -> None:
    from mlx_lm.tuner.lora import LoRALinear
    from mlx_lm.utils import dequantize_model, load, load_model, save_config, save_model

    assert "dequantize" in _names(LoRALinear.fuse)
    assert "adapter_path" in _names(load) and next(iter(inspect.signature(load_model).parameters)) == "model_path"
    assert list(inspect.signature(save_model).parameters)[:2] == ["save_path", "model"]
    assert list(inspect.signature(save_config).parameters)[:2] == ["config", "config_path"]
    assert list(inspect.signature(dequantize_model).parameters) == ["model"]
