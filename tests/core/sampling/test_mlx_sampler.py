"""The MLX sampler works on a tiny random model: real mlx-lm, on the processor instead of Apple's GPU."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from conself_local.errors import ConselfError
from conself_local.model_files.mlx_folder import load_mlx_folder
from conself_local.sampling.engine_process import MlxProcess
from conself_local.sampling.sampler import ChatMessage, EncodedPrompt, SampleRequest
from tests.fakes.tiny_mlx_folder import CONFIG, write_mlx_folder

pytestmark = pytest.mark.model

mx = pytest.importorskip("mlx.core")

RANK = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tiny folder of MLX weights."""
    return write_mlx_folder(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def adapter(folder: Path) -> Path:
    """Return a random LoRA adapter in mlx-lm's format."""
    path = folder / "adapter"
    path.mkdir()
    keys = ["self_attn.q_proj", "mlp.down_proj"]
    settings = {
        "fine_tune_type": "lora",
        "num_layers": 2,
        "lora_parameters": {"rank": RANK, "scale": 4.0, "dropout": 0.0, "keys": keys},
    }
    (path / "adapter_config.json").write_text(json.dumps(settings))
    sizes = {"self_attn.q_proj": (64, 64), "mlp.down_proj": (128, 64)}
    tensors = {
        f"model.layers.{layer}.{key}.{side}": mx.random.normal(shape)
        for layer in range(2)
        for key, (n, m) in sizes.items()
        for side, shape in (("lora_a", (n, RANK)), ("lora_b", (RANK, m)))
    }
    mx.save_safetensors(str(path / "adapters.safetensors"), tensors)
    return path


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[MlxProcess]:
    """Yield an engine with four slots over the folder."""
    with MlxProcess(load_mlx_folder(folder), slots=4, context_tokens=4 * 128) as process:
        yield process


def _requests(prompt: EncodedPrompt, n: int, **changes: object) -> list[SampleRequest]:
    values: dict[str, object] = {"temperature": 1.0, "top_p": 0.9, "max_new_tokens": 12}
    return [SampleRequest(f"k{i}", prompt.token_ids, seed=i, **(values | changes)) for i in range(n)]  # type: ignore[arg-type]


def test_every_request_is_answered_once_with_its_uncertainty(engine: MlxProcess) -> None:
    prompt = engine.encode([ChatMessage("user", "Write a function.")])
    assert prompt.text.endswith("<|im_start|>assistant\n") and prompt.token_ids
    completions = {c.key: c for c in engine.sample(_requests(prompt, 11))}
    assert set(completions) == {f"k{i}" for i in range(11)}
    for c in completions.values():
        assert c.finish in ("length", "end-token") and 0 < len(c.token_ids) <= 12
        assert c.mean_nll is not None and c.mean_nll > 0
        assert c.mean_entropy_bits is not None and 0 <= c.mean_entropy_bits <= np.log2(15)
    assert len({c.token_ids for c in completions.values()}) > 5, "every request draws by its own seed"


def test_equal_requests_are_equal_and_their_nll_is_their_score(engine: MlxProcess) -> None:
    prompt = engine.encode([ChatMessage("user", "Say a number.")])
    (alone,) = engine.sample(_requests(prompt, 1))
    among = {c.key: c for c in engine.sample(_requests(prompt, 6))}["k0"]
    assert alone.token_ids == among.token_ids
    scores = engine.score(prompt.token_ids, alone.token_ids)
    assert len(scores) == len(alone.token_ids)
    assert -sum(scores) / len(scores) == pytest.approx(alone.mean_nll, abs=1e-3)


def test_adapter_and_base_answer_apart_in_one_engine(engine: MlxProcess, adapter: Path) -> None:
    prompt = engine.encode([ChatMessage("user", "Say a word.")])
    base = engine.score(prompt.token_ids, [5, 6, 7])
    adapted = engine.score(prompt.token_ids, [5, 6, 7], adapter)
    assert max(abs(a - b) for a, b in zip(base, adapted, strict=True)) > 0.01
    assert engine.score(prompt.token_ids, [5, 6, 7]) == pytest.approx(base, abs=1e-6)
    mixed = [*_requests(prompt, 3, temperature=0.0), *_requests(prompt, 3, temperature=0.0, adapter=adapter)]
    mixed = [SampleRequest(**(vars(r) | {"key": f"{i}"})) for i, r in enumerate(mixed)]
    answers = {int(c.key): c.token_ids for c in engine.sample(mixed)}
    assert len(answers) == 6 and answers[0] == answers[1] == answers[2] != answers[3] == answers[4] == answers[5]


def test_a_prompt_that_does_not_fit_is_reported(engine: MlxProcess) -> None:
    long = SampleRequest("long", tuple(range(100, 300)), 1.0, 0.8, 8, 1)
    (completion,) = engine.sample([long])
    assert completion.finish == "too-long"


def test_a_folder_with_code_or_with_damaged_weights_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model"
    copy.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "model.safetensors"):
        (copy / name).write_bytes((folder / name).read_bytes())
    for key in ("auto_map", "model_file"):
        (copy / "config.json").write_text(json.dumps(CONFIG | {key: "evil.py"}))
        with pytest.raises(ConselfError, match="run code from the model folder"):
            MlxProcess(load_mlx_folder(copy), slots=1, context_tokens=128)
    (copy / "config.json").write_text(json.dumps(CONFIG))
    (copy / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-100])
    with pytest.raises(ConselfError, match="cut short"):
        MlxProcess(load_mlx_folder(copy), slots=1, context_tokens=128)
    (copy / "model.safetensors").unlink()
    (copy / "model.bin").write_bytes(b"pickle")
    with pytest.raises(ConselfError, match="no weights"):
        MlxProcess(load_mlx_folder(copy), slots=1, context_tokens=128)


def test_a_folder_that_is_no_lora_adapter_is_refused(engine: MlxProcess, adapter: Path, tmp_path: Path) -> None:
    prompt = engine.encode([ChatMessage("user", "Hi")])
    with pytest.raises(ConselfError, match="no adapter folder"):
        engine.score(prompt.token_ids, [5], tmp_path / "none")
    (tmp_path / "adapter_config.json").write_text('{"fine_tune_type": "full"}')
    with pytest.raises(ConselfError, match="not a LoRA adapter"):
        engine.score(prompt.token_ids, [5], tmp_path)


def test_a_measurement_leaves_the_engine_as_it_was(engine: MlxProcess) -> None:
    prompt = engine.encode([ChatMessage("user", "Say a number.")])
    (before,) = engine.sample(_requests(prompt, 1))
    assert engine.measure([prompt], 0.3, 8) > 0
    (after,) = engine.sample(_requests(prompt, 1))
    assert after == before
