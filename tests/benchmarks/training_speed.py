"""Compare one epoch of our trainer, of TRL's DPOTrainer, and of a plain loop in the style of the paper's authors.

Run by hand on an idle machine: `python -m tests.benchmarks.training_speed [MODEL.gguf] [--pairs 64]`. Every contender
runs in a separate process, so that its peak memory is measured alone. Loading is not timed; computing the reference is.
LoRA, batch and dtype are the same. TRL computes its reference before training, and runs at micro-batches of 1 and 2;
its better value of each metric counts.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from conself_local.machine.process_memory import peak_bytes
from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.model_file import load_model_file
from tests.benchmarks.training_pairs import BATCH_PAIRS, BETA, LEARNING_RATE, make_job, make_pairs, token_pair

TRL_MICRO_BATCHES = (1, 2)


def _ours(path: Path, pairs: int, threads: int) -> float:
    from conself_local.training.trainer import open_backend, train
    from tests.benchmarks.trl_peer import load_tokenizer

    tokenizer = load_tokenizer(path)
    made = tuple(token_pair(text, tokenizer) for text in make_pairs(pairs))
    job = make_job(path, load_model_file(path).architecture, made, threads)
    times: list[tuple[dict[str, Any], float]] = []
    with tempfile.TemporaryDirectory() as folder:
        train(job, Path(folder), open_backend(job), lambda report: times.append((report, time.perf_counter())))
    print(next(report["forecast"] for report, _ in times if "forecast" in report), file=sys.stderr)
    begin = next(at for report, at in times if "forecast" in report)
    end = next(at for report, at in times if report.get("step") == job.steps)
    return end - begin


def _trl(path: Path, pairs: int, threads: int, micro_batch: int) -> float:
    import torch

    from conself_local.training.torch_backend.devices import pick_device, pick_dtype
    from tests.benchmarks.trl_peer import load_for_trl, load_tokenizer, make_trainer

    torch.set_num_threads(threads)
    model, tokenizer = load_for_trl(path, pick_dtype(pick_device())), load_tokenizer(path)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        make_trainer(model, tokenizer, make_pairs(pairs), Path(folder), micro_batch).train()
        return time.perf_counter() - started


def _authors_style(path: Path, pairs: int, threads: int) -> float:
    """Train one epoch and return its seconds.

    The reference is computed at every step with the adapter off, pairs are padded, logits cover the whole sequence.
    """
    import torch
    from peft import get_peft_model
    from torch.nn.functional import logsigmoid

    from conself_local.training.torch_backend.devices import pick_device, pick_dtype
    from tests.benchmarks.trl_peer import load_for_trl, load_tokenizer, lora_config

    torch.set_num_threads(threads)
    tokenizer = load_tokenizer(path)
    model = get_peft_model(load_for_trl(path, pick_dtype(pick_device())), lora_config())
    made = [token_pair(text, tokenizer) for text in make_pairs(pairs)]
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=LEARNING_RATE, weight_decay=0.0
    )

    def completion_sums(pair: Any) -> Any:
        both = [[*pair.prompt, *answer] for answer in (pair.chosen, pair.rejected)]
        ids = torch.zeros((2, max(map(len, both))), dtype=torch.long)
        for row, tokens in enumerate(both):
            ids[row, : len(tokens)] = torch.tensor(tokens)
        position = torch.arange(ids.shape[1])[None]
        ends = torch.tensor([[len(tokens)] for tokens in both])
        logits = model(input_ids=ids, attention_mask=(position < ends).long()).logits[:, :-1].float()
        logps = torch.log_softmax(logits, -1).gather(2, ids[:, 1:, None])[..., 0]
        counted = (position[:, 1:] >= len(pair.prompt)) & (position[:, 1:] < ends)
        return (logps * counted).sum(1)

    started = time.perf_counter()
    for number, pair in enumerate(made, start=1):
        with torch.no_grad(), model.disable_adapter():
            reference = completion_sums(pair)
        ratios = completion_sums(pair) - reference
        (-logsigmoid(BETA * (ratios[0] - ratios[1])) / BATCH_PAIRS).backward()  # type: ignore[no-untyped-call]
        if number % BATCH_PAIRS == 0:
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
    return time.perf_counter() - started


_CONTENDERS: dict[str, Callable[[Path, int, int], float]] = {
    "ours": _ours,
    **{f"TRL, micro-batch {n}": partial(_trl, micro_batch=n) for n in TRL_MICRO_BATCHES},
    "authors' style": _authors_style,
}


def _run_contender(name: str, path: Path, pairs: int, threads: int) -> None:
    seconds = _CONTENDERS[name](path, pairs, threads)
    print(json.dumps({"pairs_per_second": pairs / seconds, "peak_gib": peak_bytes() / 2**30}))


def main() -> None:
    """Print pairs per second and peak memory of every contender, and the ratios of ours to the others."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--contender", choices=list(_CONTENDERS))
    options = parser.parse_args()
    path = options.model or bundled_model()
    if options.contender:
        _run_contender(options.contender, path, options.pairs, options.threads)
        return
    found: dict[str, dict[str, float]] = {}
    for name in _CONTENDERS:
        command = [
            sys.executable,
            "-m",
            "tests.benchmarks.training_speed",
            str(path),
            "--pairs",
            str(options.pairs),
            "--threads",
            str(options.threads),
            "--contender",
            name,
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            print(f"{name}: failed: {done.stderr[-500:]}")
            continue
        found[name] = json.loads(done.stdout.splitlines()[-1])
        print(
            f"{name:20} {found[name]['pairs_per_second']:.3f} pairs/s, peak {found[name]['peak_gib']:.2f} GiB",
            flush=True,
        )
    ours = found["ours"]
    for peer in ("TRL", "authors"):
        theirs = [metrics for name, metrics in found.items() if name.startswith(peer)]
        if not theirs:
            continue
        rate, peak = max(f["pairs_per_second"] for f in theirs), min(f["peak_gib"] for f in theirs)
        print(
            f"against {peer:8} {ours['pairs_per_second'] / rate:.2f} x pairs/s, {ours['peak_gib'] / peak:.2f} of the peak"
        )


if __name__ == "__main__":
    main()
