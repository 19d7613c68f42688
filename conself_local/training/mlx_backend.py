"""Train with MLX (Apple Silicon; tested on the CPU under Linux): the same loss and adapter as with torch.

The dequantised values of a GGUF file are put into mlx-lm's model of the architecture; a folder of MLX weights (4-bit
weights too) is loaded unchanged. If memory is short, each layer is computed again in the backward pass instead of being
kept (gradient checkpointing). Not covered: prefix sharing. Each completion is a separate row after its prompt, because
mlx-lm's layers number the positions themselves.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn
import mlx.optimizers
import numpy as np
from mlx.utils import tree_flatten, tree_map, tree_unflatten
from mlx_lm.tuner.utils import linear_to_lora_layers
from mlx_lm.utils import load_model as load_folder

from conself_local.adapters.formats import Adapter, adapter_of_mlx_tensors, read_peft
from conself_local.errors import ConselfError
from conself_local.machine.process_memory import peak_bytes
from conself_local.machine.resources import available_memory_bytes
from conself_local.machine.room import gib
from conself_local.model_files.family import ATTENTION, GATED_MLP
from conself_local.model_files.gguf_weights import read_weights
from conself_local.model_files.mlx_families import verify_mlx_family
from conself_local.model_files.mlx_folder import MlxFolder
from conself_local.model_files.model import open_model
from conself_local.model_files.model_file import ModelFile
from conself_local.training.checkpoint import Progress, read_checkpoint, write_checkpoint
from conself_local.training.checkpointed_layers import set_checkpointing
from conself_local.training.job import DISK_ADAPTERS, Forecast, PairLogps, PairMetrics, TokenPair, TrainingJob
from conself_local.training.packing import MICRO_BATCH_TOKENS

nn: Any = mlx.nn
optim: Any = mlx.optimizers


def _flat(tree: Any) -> dict[str, Any]:
    """`layers.0.mlp.up_proj.lora_a` -> array."""
    flat: Any = tree_flatten(tree)
    return dict(flat)


def load_mlx_model(model: ModelFile, dtype: mx.Dtype) -> Any:
    """Return mlx-lm's model with the file's dequantised values in `dtype`.

    Raises ConselfError if the architecture or a tensor is not supported, or the tensors do not fit the architecture.
    """
    weights = read_weights(model)
    if not weights.family.mlx or weights.is_scaled:
        what = "a model with scaled positions" if weights.family.mlx else f"the architecture {model.architecture}"
        raise ConselfError(f"{what} cannot be trained with MLX here", "train it on a computer with torch")
    values = [(tensor.model_name, mx.array(tensor.dense()).astype(dtype)) for tensor in weights.tensors]
    module = importlib.import_module(f"mlx_lm.models.{model.architecture}")
    built = module.Model(module.ModelArgs.from_dict(weights.config))
    try:
        built.load_weights(values, strict=True)
    except ValueError as error:
        raise ConselfError(
            f"{model.path.name} does not fit its architecture: {str(error)[:200]}", "the file is damaged; get it again"
        ) from error
    return built


def _load_folder(model: MlxFolder) -> Any:
    """Return mlx-lm's model of a folder. Raises ConselfError if its family is not known or mlx-lm cannot load it."""
    verify_mlx_family(model)
    try:
        built: Any = load_folder(model.path)[0]
    except (ValueError, KeyError, OSError, RuntimeError, TypeError, AttributeError) as error:
        raise ConselfError(
            f"mlx-lm cannot load {model.name}: {str(error)[:300]}", "use a model that mlx-lm supports"
        ) from error
    inner = getattr(built, "model", None)
    if not (hasattr(inner, "embed_tokens") and hasattr(inner, "layers")):
        raise ConselfError(
            f"mlx-lm's model of the architecture {model.architecture} has other parts than expected",
            "choose a model of another family; this one can still be sampled and evaluated",
        )
    return built


def logits_of(model: Any, hidden: mx.array) -> mx.array:
    """Return the logits (..., vocabulary) of the last layer's output, as mlx-lm's model itself computes them."""
    logits: mx.array = model.lm_head(hidden) if "lm_head" in model else model.model.embed_tokens.as_linear(hidden)
    if hasattr(model, "logits_scaling"):
        return logits / model.logits_scaling
    cap = getattr(model, "final_logit_softcapping", None)
    return mx.tanh(logits / cap) * cap if cap else logits


class MlxBackend:
    """A `Backend` on MLX: bfloat16 on the GPU, float32 on a CPU, unless `dtype` is given.

    `on_progress` is called after each micro-batch and step. Raises ConselfError if the model cannot be loaded.
    """

    def __init__(
        self, job: TrainingJob, dtype: mx.Dtype | None = None, on_progress: Callable[[], None] = lambda: None
    ) -> None:
        self._job, self._on_progress = job, on_progress
        path = Path(job.model_path)
        dtype = dtype or (mx.bfloat16 if mx.metal.is_available() else mx.float32)
        self.model_file = model = open_model(path)
        if isinstance(model, MlxFolder):
            self._model = _load_folder(model)
            linears = {name.split(".", 3)[3] for name in model.stored.linears}
        else:
            self._model = load_mlx_model(model, dtype)
            linears = {*ATTENTION.values(), *GATED_MLP.values()}
        self._model.freeze()
        mx.random.seed(job.seed)
        parent = read_peft(Path(job.parent_adapter)) if job.parent_adapter else None
        self._scale = parent.scale if parent else job.lora_alpha / job.lora_rank
        parameters = {
            "rank": parent.rank if parent else job.lora_rank,
            "scale": self._scale,
            "dropout": 0.0,
            "keys": linears,
        }
        linear_to_lora_layers(self._model, len(self._model.layers), parameters)
        if parent:
            factors = [
                (f"{name}.lora_{side}", both[n].T) for name, both in parent.maps.items() for n, side in enumerate("ab")
            ]
            self._model.load_weights([(name, mx.array(value)) for name, value in factors], strict=False)
        self._optimizer = optim.AdamW(job.learning_rate, weight_decay=0.0, bias_correction=True)
        self._optimizer.init(self._model.trainable_parameters())
        self._gradients: Any = None
        self.micro_batch_tokens = MICRO_BATCH_TOKENS

    def reduce_memory(self) -> str:
        """Return an empty text: MLX shares the computer's memory, and nothing here is made smaller."""
        return ""

    def peak_bytes(self) -> int:
        """Return the peak of the process's memory."""
        return peak_bytes()

    def plan(self, folder: Path) -> Forecast:
        """Measure the peak memory of the longest pair by running it; raise ConselfError if it does not fit.

        The weights are in memory already. Layers are kept for the backward pass only if they surely fit: if as many
        layers as the model has need at most half of the free memory, each as much as the whole run without them. The
        time is not forecast.
        """
        mx.eval(self._model.parameters())
        before, free = mx.get_active_memory(), available_memory_bytes()
        set_checkpointing(self._model.layers, True)
        peak = self._measure_longest()
        if free is not None and peak - before > free:
            raise ConselfError(
                f"training needs about {gib(peak - before)} beside the weights, and {gib(free)} are free",
                "close other programs, train a smaller model, or lower max_tokens "
                "so that the longest pairs are excluded",
            )
        how = "computing each layer twice to save memory"
        if free is None or len(self._model.layers) * (peak - before) <= free // 2:
            set_checkpointing(self._model.layers, False)
            peak, how = self._measure_longest(), "keeping all layers"
        adapter_bytes = sum(value.nbytes for value in _flat(self._model.trainable_parameters()).values())
        return Forecast(f"about {gib(peak)} of memory at the longest pair, {how}", peak, DISK_ADAPTERS * adapter_bytes)

    def _measure_longest(self) -> int:
        """Return the peak memory of a backward pass of the longest pair, weights included."""
        longest = max(self._job.pairs, key=lambda p: len(p.prompt) + max(len(p.chosen), len(p.rejected)))
        mx.reset_peak_memory()
        self.backward([longest], [(0.0, 0.0)], 0.0)
        self._gradients = None
        return int(mx.get_peak_memory())

    def _token_logps(self, model: Any, pairs: Sequence[TokenPair]) -> tuple[mx.array, mx.array]:
        """Return (rows, T) log-probabilities of the next token, and a mask (rows, T) of those in a completion.

        There is one row per completion: chosen, then rejected, pair by pair.
        """
        rows = [((*p.prompt, *c), len(p.prompt)) for p in pairs for c in (p.chosen, p.rejected)]
        size = max(len(tokens) for tokens, _ in rows)
        ids, mask = np.zeros((len(rows), size), dtype=np.int32), np.zeros((len(rows), size - 1), dtype=np.float32)
        for i, (tokens, begin) in enumerate(rows):
            ids[i, : len(tokens)] = tokens
            mask[i, begin - 1 : len(tokens) - 1] = 1
        first = min(begin for _, begin in rows) - 1  # no logits where every row is still in its prompt
        hidden = model.model(mx.array(ids[:, :-1]))[:, first:]
        logits = logits_of(model, hidden).astype(mx.float32)
        chosen = mx.take_along_axis(logits, mx.array(ids[:, 1 + first :])[..., None], axis=-1)[..., 0]
        return chosen - mx.logsumexp(logits, axis=-1), mx.array(mask[:, first:])

    def _completion_logps(self, model: Any, pairs: Sequence[TokenPair]) -> mx.array:
        """Return (pairs, 2) log-probabilities, chosen and rejected, in nats, summed over tokens."""
        logps, mask = self._token_logps(model, pairs)
        return (logps * mask).sum(-1).reshape(-1, 2)

    def completion_logps(self, pairs: Sequence[TokenPair]) -> list[PairLogps]:
        """Return (chosen, rejected) log-probabilities per pair in nats, summed over tokens; no gradient."""
        logps = np.array(self._completion_logps(self._model, pairs))
        self._on_progress()
        return [(float(chosen), float(rejected)) for chosen, rejected in logps]

    def backward(self, pairs: Sequence[TokenPair], references: Sequence[PairLogps], share: float) -> list[PairMetrics]:
        """Accumulate the gradient of `share` times the sum of the pairs' losses, and return each pair's metrics."""
        job = self._job
        reference, weights = mx.array(np.array(references)), mx.array([p.weight for p in pairs])
        lengths = mx.array([len(p.chosen) for p in pairs])

        def loss_of(model: Any) -> tuple[mx.array, mx.array, mx.array, mx.array]:
            ratios = self._completion_logps(model, pairs) - reference
            margins = job.beta * (ratios[:, 0] - ratios[:, 1])
            chosen = ratios[:, 0] + reference[:, 0]
            losses = -weights * nn.log_sigmoid(margins) - job.sft_weight * chosen / lengths
            return (losses.sum() * share, losses, margins, ratios[:, 0] / lengths)

        (_, *metrics), gradients = nn.value_and_grad(self._model, loss_of)(self._model)
        if self._gradients is not None:
            gradients = tree_map(lambda a, b: a + b, self._gradients, gradients)
        self._gradients = gradients
        mx.eval(gradients, *metrics)
        self._on_progress()
        return [
            PairMetrics(float(loss), float(margin), float(shift))
            for loss, margin, shift in zip(*map(np.array, metrics), strict=True)
        ]

    def step(self, learning_rate: float) -> float:
        """Take one AdamW step with the clipped gradients, reset them, and return the gradient norm before clipping."""
        gradients, norm = optim.clip_grad_norm(self._gradients, self._job.max_gradient_norm)
        self._optimizer.learning_rate = learning_rate
        self._optimizer.update(self._model, gradients)
        mx.eval(self._model.parameters(), self._optimizer.state)
        self._on_progress()
        self._gradients = None
        return float(norm)

    def save(self, folder: Path, progress: Progress) -> None:
        """Write LoRA weights, the state of the optimiser and the progress as the checkpoint in `folder`."""
        tensors = {f"weight/{name}": value for name, value in _flat(self._model.trainable_parameters()).items()}
        tensors |= {f"optimizer/{name}": value for name, value in _flat(self._optimizer.state).items()}
        write_checkpoint(folder, progress, lambda path: mx.save_safetensors(str(path), tensors))

    def load(self, folder: Path, job_hash: str) -> Progress:
        """Restore the checkpoint in `folder` and return its progress; step 0 if there is none of this job."""
        progress, path = read_checkpoint(folder, job_hash)
        if path:
            tensors: Any = mx.load(str(path))
            weights = [
                (key.removeprefix("weight/"), value) for key, value in tensors.items() if key.startswith("weight/")
            ]
            state = [
                (key.removeprefix("optimizer/"), value)
                for key, value in tensors.items()
                if key.startswith("optimizer/")
            ]
            self._model.load_weights(weights, strict=False)
            self._optimizer.state = tree_unflatten(state)
        return progress

    def adapter(self) -> Adapter:
        """Return the current LoRA weights in float32."""
        tensors = {
            name: np.array(value.astype(mx.float32))
            for name, value in _flat(self._model.trainable_parameters()).items()
        }
        return adapter_of_mlx_tensors(tensors, self._scale)
