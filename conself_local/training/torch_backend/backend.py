"""Implement the training `Backend` with torch and peft, on the processor or a graphics card, by the same code.

The training loop is not here (`trainer.py`), nor the model and its log-probabilities (`model.py`).
"""

from __future__ import annotations

import dataclasses
import json
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from conself_local.adapters.formats import Adapter, adapter_of_peft_tensors
from conself_local.errors import ConselfError, DeviceMemoryError
from conself_local.machine.gpu import CHOICE
from conself_local.machine.room import gib
from conself_local.model_files.model_file import load_model_file
from conself_local.training.checkpoint import Progress, read_checkpoint, write_checkpoint
from conself_local.training.job import Forecast, PairLogps, PairMetrics, TokenPair, TrainingJob
from conself_local.training.packing import MICRO_BATCH_TOKENS, group_of, pack
from conself_local.training.torch_backend.devices import ComputeDevice, pick_compute_device
from conself_local.training.torch_backend.loss import con_dpo_pair_loss
from conself_local.training.torch_backend.model import (
    add_lora,
    load_base,
    load_lora,
    sum_completion_logps,
    token_logps,
)
from conself_local.training.torch_backend.optimizer import AdapterOptimizer
from conself_local.training.torch_backend.packed_linear import report_progress
from conself_local.training.torch_backend.plan import Choices, plan_training
from conself_local.training.torch_backend.trainee import TorchTrainee


class TorchBackend:
    """A `Backend` on torch; `on_progress` is called after each linear map, forward and backward.

    compute: the device (default: the first graphics card that torch can use, else the processor).
    Raises ConselfError if the model cannot be loaded or is not supported.
    """

    def __init__(
        self,
        job: TrainingJob,
        on_progress: Callable[[], None] = lambda: None,
        compute: ComputeDevice | None = None,
    ) -> None:
        # torch's default does not count the second thread of a core, from which matrix products gain nothing
        torch.set_num_threads(min(job.threads, torch.get_num_threads()))
        self._job = job
        self._compute = compute or pick_compute_device()
        self.model_file = load_model_file(Path(job.model_path))
        self._verify_room(self.model_file.size_bytes)
        device = self._compute.device
        with self._out_of_memory(0, 0):
            base = load_base(
                self.model_file, self._compute.dtype, device, job.context_tokens, as_card=self._compute.as_card
            )
        report_progress(base, on_progress)
        parent = job.parent_adapter
        self._model = (
            load_lora(base, Path(parent)) if parent else add_lora(base, job.lora_rank, job.lora_alpha, job.seed)
        )
        self._named = {name: p for name, p in self._model.named_parameters() if p.requires_grad}
        self._optimizer = AdapterOptimizer(self._named, job.learning_rate, job.max_gradient_norm)
        self.trainee = TorchTrainee(self._model, self._optimizer, device)
        self.micro_batch_tokens = MICRO_BATCH_TOKENS
        self._choices_path: Path | None = None
        self._failed: tuple[int, int] = (0, 0)
        """Pairs and tokens of the micro-batch that did not fit."""

    def _verify_room(self, weights_bytes: int) -> None:
        """Raise ConselfError if the file's blocks are too large for a card."""
        free = self._compute.memory.free_bytes() if self._compute.memory.is_exact else None
        if free is not None and weights_bytes > free:
            raise ConselfError(
                f"the weights take {gib(weights_bytes)}, and {gib(free)} are free on {self._compute.name}",
                f"train a smaller model or a smaller quantisation of it, or train on the processor ({CHOICE}=cpu)",
            )

    def plan(self, folder: Path) -> Forecast:
        """Fit the run to the free memory, and return its forecast; raise ConselfError if it does not fit.

        A run that was planned before in `folder` keeps its choices as far as they fit.
        """
        self._choices_path = folder / "choices.json"
        compute = self._compute
        found = plan_training(self._job, self.trainee, compute.memory, compute.name, self._stored_choices())
        self.micro_batch_tokens = found.choices.micro_batch_tokens
        self._store_choices()
        return found.forecast

    def _stored_choices(self) -> Choices | None:
        """Return the choices of an earlier plan of this job; None if there is none."""
        if self._choices_path is None or not self._choices_path.is_file():
            return None
        stored = json.loads(self._choices_path.read_text())
        if stored.pop("job_hash") != self._job.content_hash():
            return None
        return Choices(**stored)

    def _store_choices(self) -> None:
        if self._choices_path is None:
            return
        choices = dataclasses.asdict(Choices(self.micro_batch_tokens, self.trainee.is_dense))
        part = self._choices_path.with_suffix(".part")
        part.write_text(json.dumps(choices | {"job_hash": self._job.content_hash()}))
        part.replace(self._choices_path)

    def reduce_memory(self) -> str:
        """Use less memory from now on, and return how, in words; an empty text if nothing is left to do."""
        self._optimizer.reset_gradients()
        self._compute.memory.give_back()
        pairs, tokens = self._failed
        if pairs > 1:
            self.micro_batch_tokens = max(1, min(self.micro_batch_tokens, tokens) // 2)
            self._store_choices()
            return f"micro-batches hold at most {self.micro_batch_tokens} tokens"
        measure = self.trainee.save_more()
        self._store_choices()
        return measure

    def peak_bytes(self) -> int:
        """Return the peak of the memory of the device."""
        return self._compute.memory.peak_bytes()

    @contextmanager
    def _out_of_memory(self, pairs: int, tokens: int) -> Iterator[None]:
        """Raise DeviceMemoryError if the device runs out of memory on this micro-batch."""
        try:
            yield
        except torch.OutOfMemoryError as error:
            traceback.clear_frames(error.__traceback__)  # they keep the activations, and the error lives on
            self._failed = (pairs, tokens)
            raise DeviceMemoryError(
                f"the memory of {self._compute.name} ran out" + (f" on {tokens} tokens at once" if tokens else ""),
                "close other programs, train a smaller model, or lower max_tokens; training continues from its last "
                f"step; {CHOICE}=cpu trains on the processor",
            ) from error

    def _completion_logps(self, pairs: Sequence[TokenPair]) -> torch.Tensor:
        """Return (pairs, 2) log-probabilities, chosen and rejected, in nats, summed over tokens."""
        packed = pack([group_of(pair) for pair in pairs])
        return sum_completion_logps(token_logps(self._model, packed), packed).reshape(-1, 2)

    def completion_logps(self, pairs: Sequence[TokenPair]) -> list[PairLogps]:
        """Return (chosen, rejected) log-probabilities per pair in nats, summed over tokens; no gradient."""
        with self._out_of_memory(*_size(pairs)), torch.no_grad():
            return [(chosen, rejected) for chosen, rejected in self._completion_logps(pairs).tolist()]

    def backward(self, pairs: Sequence[TokenPair], references: Sequence[PairLogps], share: float) -> list[PairMetrics]:
        """Accumulate the gradient of `share` times the sum of the pairs' losses, and return each pair's metrics."""
        with self._out_of_memory(*_size(pairs)):
            return self._backward(pairs, references, share)

    def _backward(self, pairs: Sequence[TokenPair], references: Sequence[PairLogps], share: float) -> list[PairMetrics]:
        logps = self._completion_logps(pairs)
        total = logps.new_zeros(())
        metrics = []
        for pair, reference, (chosen, rejected) in zip(pairs, references, logps, strict=True):
            preference, margin = con_dpo_pair_loss(chosen, rejected, *reference, pair.weight, self._job.beta)
            loss = preference - self._job.sft_weight * chosen / len(pair.chosen)
            total = total + loss
            shift = (float(chosen.detach()) - reference[0]) / len(pair.chosen)
            metrics.append(PairMetrics(float(loss.detach()), float(margin.detach()), shift))
        (total * share).backward()  # type: ignore[no-untyped-call]
        return metrics

    def step(self, learning_rate: float) -> float:
        """Take one AdamW step with the clipped gradients, reset them, and return the gradient norm before clipping."""
        with self._out_of_memory(0, 0):
            norm = self._optimizer.step(learning_rate)
        self._compute.memory.give_back()
        return norm

    def save(self, folder: Path, progress: Progress) -> None:
        """Write LoRA weights, the state of the optimiser and the progress as the checkpoint in `folder`."""
        write_checkpoint(folder, progress, lambda path: save_file(self._optimizer.tensors(), path))

    def load(self, folder: Path, job_hash: str) -> Progress:
        """Restore the checkpoint in `folder` and return its progress; step 0 if there is none of this job."""
        progress, path = read_checkpoint(folder, job_hash)
        if path:
            self._optimizer.load(load_file(path))
        return progress

    def adapter(self) -> Adapter:
        """Return the current LoRA weights in float32."""
        config: Any = self._model.peft_config["default"]
        tensors = {
            name.replace(".default.weight", ".weight"): p.detach().float().cpu().numpy()
            for name, p in self._named.items()
        }
        return adapter_of_peft_tensors(tensors, config.lora_alpha / config.r)


def _size(pairs: Sequence[TokenPair]) -> tuple[int, int]:
    """Return the number of pairs and of their packed tokens."""
    return len(pairs), sum(group_of(pair).size for pair in pairs)
