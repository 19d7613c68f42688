"""Compare the forecast memory of the engine with its measured peak, on three configurations.

Run by hand: `python -m tests.benchmarks.sampling_memory [MODEL.gguf]`. The peak is the kernel's VmHWM of the engine
process after every slot has answered. Mapped pages of the weights count, as they do in the forecast.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from conself_local.home import Home
from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.converted_weights import ensure_converted_weights
from conself_local.model_files.memory import kv_tokens, sampling_bytes
from conself_local.model_files.model_file import load_model_file
from conself_local.sampling.engine_process import LlamaProcess
from tests.benchmarks.sampling_speed import load_prompts


def _peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


def main() -> None:
    """Print forecast, peak and their ratio for every configuration."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", nargs="?", type=Path)
    arguments = parser.parse_args()
    model = load_model_file(arguments.model or bundled_model())
    for weights_format, slots, longest in (("shipped", 16, 512), ("BF16", 64, 512), ("BF16", 64, 1408)):
        weights = ensure_converted_weights(model, weights_format, Home(None).cache)
        tokens = kv_tokens(model, slots, longest)
        forecast = sampling_bytes(model, weights.stat().st_size, tokens, slots)
        with LlamaProcess(model, slots=slots, context_tokens=tokens, threads=2, weights=weights) as engine:
            prompts = [engine.encode(messages) for messages in load_prompts(24)]
            engine.measure(prompts, 4.0, longest - max(len(p.token_ids) for p in prompts))
            peak = _peak_bytes(engine.pid)
        print(
            f"{weights_format}, {slots} slots, up to {longest} tokens each: forecast {forecast >> 20} MiB, peak {peak >> 20} MiB: {forecast / peak:.2f}"
        )


if __name__ == "__main__":
    main()
