"""Find the fastest sampling configuration on this computer: weights format, number of slots, number of threads.

It is probed once per model and stored in the cache. A probe is a few seconds of real sampling with every slot busy. A
format that loses quality is tried only if the user allows it; the difference of its log-probabilities from those of the
original file is measured and stored with the speed. Not tuned: the number of layers on the GPU and the batch size.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import get_type_hints

from conself_local.errors import ConselfError
from conself_local.foreign_files import PARSER_ERRORS, read_text
from conself_local.machine.gpu import usable_gpu
from conself_local.machine.processor import processor_features
from conself_local.machine.resources import available_memory_bytes, usable_cores
from conself_local.machine.room import gib
from conself_local.model_files.converted_weights import (
    FORMATS,
    LOSSLESS_FORMATS,
    LOSSY_FORMATS,
    ORIGINAL,
    automatic_format,
    conversion_fits,
    converted_bytes,
    converted_path,
)
from conself_local.model_files.model_file import ModelFile
from conself_local.problems.load import load_starter
from conself_local.sampling.engine_process import LlamaProcess
from conself_local.sampling.open_engine import open_llama
from conself_local.sampling.prompts import program_messages
from conself_local.sampling.sampler import EncodedPrompt, SampleRequest
from conself_local.settings import fits

SLOTS = 64
"""Number of slots without a probe. Another number may be faster; the probe tries `_SLOTS_TRIED`."""
_MAX_BYTES = 2**20
_MAX_SLOTS, _MAX_THREADS = 256, 1024
_SLOTS_TRIED = (32, 128)
_PROBE_SECONDS = 3.0
_TOKENS_PER_SLOT = 512
_PROBE_PROBLEMS = 24
_PROBE_TOKENS = 96
_GAP_PROMPTS = 3
_GAP_TOKENS = 32
_CLEARLY_FASTER = 1.03


@dataclass(frozen=True)
class SamplingConfig:
    """The settings of the engine that change its speed."""

    format: str
    """One of `converted_weights.FORMATS`."""
    slots: int
    threads: int

    def __str__(self) -> str:
        return f"{self.format}, {self.slots} slots, {self.threads} threads"


@dataclass(frozen=True)
class TuningResult(SamplingConfig):
    """The fastest configuration and the measurements behind it."""

    tokens_per_second: dict[str, float]
    """Measured speed by configuration, e.g. `BF16, 64 slots, 2 threads`."""
    logp_gap: dict[str, float]
    """Mean absolute difference of log-probability from the original file, nats per token, by format."""


def load_tuning(model: ModelFile, cache: Path) -> TuningResult | None:
    """Return the stored result of `tune_model` for this model on this computer; None if it is missing or damaged."""
    try:
        found = TuningResult(**json.loads(read_text(_tuning_path(model, cache), _MAX_BYTES)))
    except (OSError, *PARSER_ERRORS):
        return None
    is_usable = (
        all(fits(getattr(found, name), hint) for name, hint in get_type_hints(TuningResult).items())
        and found.format in FORMATS
        and 1 <= found.slots <= _MAX_SLOTS
        and 1 <= found.threads <= _MAX_THREADS
    )
    return found if is_usable else None


def sampling_config(model: ModelFile, cache: Path) -> SamplingConfig:
    """Return the probed configuration, or without a probe one that is likely fast.

    The format is the original file's if memory or disk is too small for the converted weights.
    """
    tuning = load_tuning(model, cache)
    if tuning:
        found = SamplingConfig(tuning.format, tuning.slots, tuning.threads)
    else:
        # a card computes with the file's blocks, and its memory is better spent on slots than on wider weights
        weights_format = ORIGINAL if usable_gpu() else automatic_format(model, processor_features())
        found = SamplingConfig(weights_format, SLOTS, usable_cores())
    if found.format != ORIGINAL and not conversion_fits(model, found.format, cache, available_memory_bytes()):
        return dataclasses.replace(found, format=ORIGINAL)
    return found


def tune_model(model: ModelFile, cache: Path, allow_loss: bool, say: Callable[[str], None]) -> TuningResult:
    """Probe formats, then slots, then threads; store and return the fastest configuration.

    `say` receives one line per probe. Converted weights that were made here and are not the fastest are deleted.
    """
    cores = usable_cores()
    prober = _Prober(model, cache, say)
    weights_formats = [
        ORIGINAL,
        *(f for f in (*LOSSLESS_FORMATS, *(LOSSY_FORMATS if allow_loss else ())) if prober.fits(f)),
    ]
    best = prober.fastest([SamplingConfig(weights_format, SLOTS, cores) for weights_format in weights_formats])
    best = prober.fastest([best, *(SamplingConfig(best.format, slots, cores) for slots in _SLOTS_TRIED)])
    if cores > 2:  # half of them, for processors that report each core twice
        best = prober.fastest([best, SamplingConfig(best.format, best.slots, cores // 2)])
    prober.clean_up(best.format)
    tuning = TuningResult(
        best.format, best.slots, best.threads, {str(s): round(r, 1) for s, r in prober.rates.items()}, prober.gaps
    )
    path = _tuning_path(model, cache)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".part{os.getpid()}")
    part.write_text(json.dumps(dataclasses.asdict(tuning), indent=2), encoding="utf-8")
    part.replace(path)
    return tuning


class _Prober:
    """Measures each configuration once and remembers its speed."""

    def __init__(self, model: ModelFile, cache: Path, say: Callable[[str], None]) -> None:
        self._model, self._cache, self._say = model, cache, say
        self._problems = load_starter(("train",))[:_PROBE_PROBLEMS]
        self._converted: set[str] = set()
        self._reference: list[tuple[EncodedPrompt, tuple[int, ...], list[float]]] = []
        self.rates: dict[SamplingConfig, float] = {}
        self.gaps: dict[str, float] = {}

    def fits(self, weights_format: str) -> bool:
        fits = conversion_fits(self._model, weights_format, self._cache, available_memory_bytes())
        if not fits:
            self._say(
                f"{weights_format}: skipped, converted weights of {gib(converted_bytes(self._model, weights_format))} "
                "are too large for the free memory or disk"
            )
        return fits

    def fastest(self, configs: Sequence[SamplingConfig]) -> SamplingConfig:
        """Return the fastest configuration; the first one is kept unless another is clearly faster."""
        best = configs[0]
        for config in configs:
            if config not in self.rates and not self._probe(config):
                continue
            if self.rates[config] > self.rates.get(best, 0.0) * (_CLEARLY_FASTER if config != best else 0.0):
                best = config
        return best

    def _probe(self, config: SamplingConfig) -> bool:
        model = self._model
        if config.format != ORIGINAL and not converted_path(model, config.format, self._cache).is_file():
            self._converted.add(config.format)
        try:
            opened = open_llama(
                model,
                config.format,
                self._cache,
                slots=config.slots,
                threads=config.threads,
                longest=_TOKENS_PER_SLOT,
                use_gpu=True,
                on_notice=self._say,
            )
        except ConselfError as error:
            self._say(f"{config}: skipped, {error.message}")
            return False
        with opened as engine:
            prompts = [engine.encode(program_messages(p)) for p in self._problems]
            rate = self.rates[config] = engine.measure(prompts, _PROBE_SECONDS, _PROBE_TOKENS)
            line = f"{config}: {rate:.0f} tokens/s"
            if config.format == ORIGINAL and not self._reference:
                self._take_reference(engine, prompts[:_GAP_PROMPTS])
            elif config.format not in self.gaps and config.format != ORIGINAL:
                self.gaps[config.format] = round(self._gap(engine), 5)
                line += f"; {self.gaps[config.format]:.4f} nats per token from the original file"
            self._say(line)
        return True

    def _take_reference(self, engine: LlamaProcess, prompts: Sequence[EncodedPrompt]) -> None:
        requests = [SampleRequest(str(i), p.token_ids, 0.0, 1.0, _GAP_TOKENS, i) for i, p in enumerate(prompts)]
        for completion in list(engine.sample(requests)):
            prompt = prompts[int(completion.key)]
            self._reference.append((prompt, completion.token_ids, engine.score(prompt.token_ids, completion.token_ids)))

    def _gap(self, engine: LlamaProcess) -> float:
        return fmean(
            abs(a - b)
            for prompt, completion, logps in self._reference
            for a, b in zip(engine.score(prompt.token_ids, completion), logps, strict=True)
        )

    def clean_up(self, kept: str) -> None:
        for weights_format in self._converted - {kept}:
            converted_path(self._model, weights_format, self._cache).unlink(missing_ok=True)


def _tuning_path(model: ModelFile, cache: Path) -> Path:
    return cache / "tuned" / f"{model.sha256[:32]}-{_machine_key()}.json"


def _machine_key() -> str:
    """Return a hash of what the speed depends on: processor, usable cores, card, version of llama-cpp-python."""
    gpu = usable_gpu()
    parts = [platform.machine(), _processor(), str(usable_cores()), importlib.metadata.version("llama-cpp-python")]
    parts += [gpu.name] if gpu else []  # nothing without a card, so that what was measured before there were any stays
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:12]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
