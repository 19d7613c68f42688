"""Implement the training `Backend` with torch and peft, on the CPU or a CUDA GPU.

The training loop is not here (`trainer.py`), nor the model and its log-probabilities (`model.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from conself_local.adapters.formats import Adapter, adapter_of_peft_tensors
from conself_local.machine.process_memory import give_back_freed
from conself_local.model_files.model_file import load_model_file
from conself_local.training.checkpoint import Progress, read_checkpoint, write_checkpoint
from conself_local.training.job import DISK_ADAPTERS, Forecast, PairLogps, PairMetrics, TokenPair, TrainingJob
from conself_local.training.packing import Group, group_of, pack
from conself_local.training.torch_backend.devices import pick_device, pick_dtype
from conself_local.training.torch_backend.loss import con_dpo_pair_loss
from conself_local.training.torch_backend.model import (
    add_lora,
    load_base,
    load_lora,
    sum_completion_logps,
    token_logps,
)
from conself_local.training.torch_backend.packed_linear import keep_dense, report_progress
from conself_local.training.torch_backend.plan import plan_training


class TorchBackend:
    """A `Backend` on torch; `on_progress` is called after each linear map, forward and backward.

    Raises ConselfError if the model cannot be loaded or is not supported.
    """

    def __init__(self, job: TrainingJob, on_progress: Callable[[], None] = lambda: None) -> None:
        # torch's default does not count the second thread of a core, from which matrix products gain nothing
        torch.set_num_threads(min(job.threads, torch.get_num_threads()))
        self._job = job
        self._device = pick_device()
        self.model_file = load_model_file(Path(job.model_path))
        base = load_base(self.model_file, pick_dtype(self._device), self._device, job.context_tokens)
        report_progress(base, on_progress)
        parent = job.parent_adapter
        self._model = (
            load_lora(base, Path(parent)) if parent else add_lora(base, job.lora_rank, job.lora_alpha, job.seed)
        )
        self._named = {name: p for name, p in self._model.named_parameters() if p.requires_grad}
        self._parameters = list(self._named.values())
        self._optimizer = torch.optim.AdamW(self._parameters, lr=job.learning_rate, weight_decay=0.0)

    def plan(self) -> Forecast:
        """Return the forecast of the run; on a GPU only the disk space is forecast, and the weights are unpacked.

        Raises ConselfError if the longest micro-batch does not fit the free memory (checked on a CPU only).
        """
        adapter_bytes = sum(p.numel() * p.element_size() for p in self._parameters)
        if self._device.type != "cpu":
            # only CPU memory is measured here, and the CPU unpacks the weights; CI does not run this branch
            keep_dense(self._model, True)
            summary = f"on {torch.cuda.get_device_name(self._device)}; its time and memory are not forecast"
            return Forecast(summary, None, DISK_ADAPTERS * adapter_bytes)

        def run(groups: Sequence[Group]) -> None:
            token_logps(self._model, pack(groups)).sum().backward()  # type: ignore[no-untyped-call]
            self._optimizer.zero_grad(set_to_none=True)

        return plan_training(self._job, self._model, run, adapter_bytes)

    def _completion_logps(self, pairs: Sequence[TokenPair]) -> torch.Tensor:
        """Return (pairs, 2) log-probabilities, chosen and rejected, in nats, summed over tokens."""
        packed = pack([group_of(pair) for pair in pairs])
        return sum_completion_logps(token_logps(self._model, packed), packed).reshape(-1, 2)

    def completion_logps(self, pairs: Sequence[TokenPair]) -> list[PairLogps]:
        """Return (chosen, rejected) log-probabilities per pair in nats, summed over tokens; no gradient."""
        with torch.no_grad():
            return [(chosen, rejected) for chosen, rejected in self._completion_logps(pairs).tolist()]

    def backward(self, pairs: Sequence[TokenPair], references: Sequence[PairLogps], share: float) -> list[PairMetrics]:
        """Accumulate the gradient of `share` times the sum of the pairs' losses, and return each pair's metrics."""
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
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        norm = float(torch.nn.utils.clip_grad_norm_(self._parameters, self._job.max_gradient_norm))
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        give_back_freed()
        return norm

    def save(self, folder: Path, progress: Progress) -> None:
        """Write LoRA weights, the state of the optimiser and the progress as the checkpoint in `folder`."""
        tensors = {f"weight/{name}": p.detach().cpu().contiguous() for name, p in self._named.items()}
        for name, p in self._named.items():
            for key, value in self._optimizer.state.get(p, {}).items():
                tensors[f"{key}/{name}"] = value.detach().cpu().contiguous()
        write_checkpoint(folder, progress, lambda path: save_file(tensors, path))

    def load(self, folder: Path, job_hash: str) -> Progress:
        """Restore the checkpoint in `folder` and return its progress; step 0 if there is none of this job."""
        progress, path = read_checkpoint(folder, job_hash)
        tensors = load_file(path) if path else {}
        with torch.no_grad():
            for name, p in self._named.items() if path else ():
                p.copy_(tensors[f"weight/{name}"])
                state = {
                    key: tensors[f"{key}/{name}"]
                    for key in ("step", "exp_avg", "exp_avg_sq")
                    if f"{key}/{name}" in tensors
                }
                self._optimizer.state[p] = {k: v if k == "step" else v.to(p.device) for k, v in state.items()}
        return progress

    def adapter(self) -> Adapter:
        """Return the current LoRA weights in float32."""
        config: Any = self._model.peft_config["default"]
        tensors = {
            name.replace(".default.weight", ".weight"): p.detach().float().cpu().numpy()
            for name, p in self._named.items()
        }
        return adapter_of_peft_tensors(tensors, config.lora_alpha / config.r)
