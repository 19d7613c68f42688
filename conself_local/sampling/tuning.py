"""Find the fastest sampling configuration on this computer: engine, weights format, number of slots and threads.

It is probed once per model and stored in the cache. A probe is a few seconds of real sampling with every slot busy. A
format that loses quality is tried only if the user allows it; the difference of its log-probabilities from those of the
original file is measured and stored with the speed. OpenVINO is tried if it is installed and reads the model rightly;
it is taken only if it is faster and its gap is at most `_OPENVINO_MARGIN` above that of BF16, or if the user allows
loss. Only the number of slots is probed for a folder of MLX weights. Not tuned: the number of layers on the GPU, the
batch size, and OpenVINO on Intel graphics.
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
from typing import get_type_hints

from conself_local.errors import ConselfError
from conself_local.foreign_files import PARSER_ERRORS, read_text
from conself_local.machine.gpu import usable_gpu
from conself_local.machine.openvino import openvino_version, verify_openvino
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
from conself_local.model_files.mlx_folder import MlxFolder
from conself_local.model_files.model import Model, gguf_model
from conself_local.model_files.openvino_models import OPENVINO_FORMATS, unreadable_reason
from conself_local.problems.load import load_starter
from conself_local.sampling.config import LLAMA_CPP, MLX, OPENVINO, SamplingConfig
from conself_local.sampling.engine_process import EngineProcess
from conself_local.sampling.logp_gap import ReferenceAnswers
from conself_local.sampling.open_engine import open_engine
from conself_local.sampling.openvino_proof import load_gap
from conself_local.sampling.prompts import program_messages
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
_OPENVINO_MARGIN = 0.02
"""Nats per token by which the gap of OpenVINO may be above that of BF16."""
_CLEARLY_FASTER = 1.03
_MLX_SLOTS = 16
"""Number of slots of a folder of MLX weights without a probe."""
_MLX_SLOTS_TRIED = (16, 8, 32, 64)
_FORMATS_OF = {LLAMA_CPP: FORMATS, OPENVINO: OPENVINO_FORMATS, MLX: (ORIGINAL,)}
"""Engine that may be chosen automatically -> its formats."""


@dataclass(frozen=True)
class TuningResult:
    """The fastest configuration and the measurements behind it."""

    format: str
    slots: int
    threads: int
    tokens_per_second: dict[str, float]
    """Measured speed by configuration, e.g. `BF16, 64 slots, 2 threads`."""
    logp_gap: dict[str, float]
    """Mean absolute difference of log-probability from the original file, nats per token, by format.

    Those of OpenVINO are called `openvino, F16` and so on.
    """
    engine: str = LLAMA_CPP

    @property
    def config(self) -> SamplingConfig:
        """The fastest configuration."""
        return SamplingConfig(self.format, self.slots, self.threads, self.engine)

    def __str__(self) -> str:
        return str(self.config)


def load_tuning(model: Model, cache: Path) -> TuningResult | None:
    """Return the stored result of `tune_model` for this model on this computer; None if it is missing or damaged."""
    try:
        found = TuningResult(**json.loads(read_text(_tuning_path(model, cache), _MAX_BYTES)))
    except (OSError, *PARSER_ERRORS):
        return None
    is_usable = (
        all(fits(getattr(found, name), hint) for name, hint in get_type_hints(TuningResult).items())
        and found.format in _FORMATS_OF.get(found.engine, ())
        and (found.engine == MLX) == isinstance(model, MlxFolder)
        and 1 <= found.slots <= _MAX_SLOTS
        and 1 <= found.threads <= _MAX_THREADS
    )
    return found if is_usable else None


def sampling_config(model: Model, cache: Path, engine: str | None = None) -> SamplingConfig:
    """Return the probed configuration, or without a probe one that is likely fast.

    engine: one of `ENGINES`; None: the probed one, or llama.cpp. For llama.cpp, the format is the original file's if
    memory or disk is too small for the converted weights.
    """
    if isinstance(model, MlxFolder):
        return _mlx_config(model, cache, engine)
    tuning = load_tuning(model, cache)
    if tuning and engine in (None, tuning.engine):
        found = tuning.config
    elif engine in (None, LLAMA_CPP):
        # a card computes with the file's blocks, and its memory is better spent on slots than on wider weights
        weights_format = ORIGINAL if usable_gpu() else automatic_format(model, processor_features())
        found = SamplingConfig(weights_format, SLOTS, usable_cores())
    else:
        found = SamplingConfig(OPENVINO_FORMATS[0], SLOTS, usable_cores(), engine)
    if found.engine != LLAMA_CPP or found.format == ORIGINAL:
        return found
    fits_here = conversion_fits(model, found.format, cache, available_memory_bytes())
    return found if fits_here else dataclasses.replace(found, format=ORIGINAL)


def _mlx_config(model: MlxFolder, cache: Path, engine: str | None) -> SamplingConfig:
    """Return the configuration for a folder of MLX weights. Raises ConselfError if another engine is asked for."""
    _verify_engine_of_folder(model, engine)
    tuning = load_tuning(model, cache)
    return tuning.config if tuning else SamplingConfig(ORIGINAL, _MLX_SLOTS, usable_cores(), MLX)


def _verify_engine_of_folder(model: MlxFolder, engine: str | None) -> None:
    if engine not in (None, MLX):
        raise ConselfError(
            f"{model.name} is a folder of MLX weights, which the engine {engine} does not read", "omit --engine"
        )


def describe_choice(model: Model, cache: Path) -> str:
    """Return one line for the user: what a round on this model samples with if nothing else is asked for."""
    tuned = "" if load_tuning(model, cache) else " (not measured: conself tune)"
    config = sampling_config(model, cache)
    return f"{model.path.name} is sampled by {config.engine}, {dataclasses.replace(config, engine=LLAMA_CPP)}{tuned}"


def tune_model(
    model: Model, cache: Path, allow_loss: bool, say: Callable[[str], None], engine: str | None = None
) -> TuningResult:
    """Probe engines and formats, then slots, then threads; store and return the fastest configuration.

    engine: `LLAMA_CPP` or `OPENVINO`, the only one to choose from; None: both, if OpenVINO is installed and reads the
    model.
    `say` receives one line per probe. Converted weights that were made here and are not the fastest are deleted.
    Raises ConselfError if only OpenVINO is to be probed and cannot be used.
    """
    prober = _Prober(model, cache, say, allow_loss)
    best: SamplingConfig | None = None
    if isinstance(model, MlxFolder):
        _verify_engine_of_folder(model, engine)
        best = _fastest_mlx(prober)
    elif engine != OPENVINO:
        best = _fastest_llama(prober, allow_loss)
    if (
        not isinstance(model, MlxFolder)
        and engine != LLAMA_CPP
        and _openvino_can_be_tried(model, say, required=engine == OPENVINO)
    ):
        if best is None and not allow_loss:
            prober.measure_gap_of_bf16()
        best = _with_openvino(prober, best, allow_loss)
    assert best is not None, "an engine was probed"
    prober.clean_up(best.format)
    rates = {str(config): round(rate, 1) for config, rate in prober.rates.items()}
    tuning = TuningResult(best.format, best.slots, best.threads, rates, prober.gaps, best.engine)
    path = _tuning_path(model, cache)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".part{os.getpid()}")
    part.write_text(json.dumps(dataclasses.asdict(tuning), indent=2), encoding="utf-8")
    part.replace(path)
    return tuning


def _fastest_llama(prober: _Prober, allow_loss: bool) -> SamplingConfig:
    cores = usable_cores()
    formats = [
        ORIGINAL,
        *(f for f in (*LOSSLESS_FORMATS, *(LOSSY_FORMATS if allow_loss else ())) if prober.fits(f)),
    ]
    best = prober.fastest([SamplingConfig(weights_format, SLOTS, cores) for weights_format in formats])
    return _fastest_slots_and_threads(prober, best)


def _fastest_mlx(prober: _Prober) -> SamplingConfig:
    """Return the fastest number of slots. Raises ConselfError if none could be measured."""
    best = prober.fastest([SamplingConfig(ORIGINAL, slots, usable_cores(), MLX) for slots in _MLX_SLOTS_TRIED])
    if best not in prober.rates:
        raise ConselfError("no number of slots could be measured", "the lines above say why")
    return best


def _fastest_slots_and_threads(prober: _Prober, best: SamplingConfig) -> SamplingConfig:
    best = prober.fastest([best, *(dataclasses.replace(best, slots=slots) for slots in _SLOTS_TRIED)])
    if best.threads > 2:  # half of them, for processors that report each core twice
        best = prober.fastest([best, dataclasses.replace(best, threads=best.threads // 2)])
    return best


def _openvino_can_be_tried(model: Model, say: Callable[[str], None], *, required: bool) -> bool:
    """Return whether OpenVINO is installed and may read the model; raise ConselfError if not, and it is `required`."""
    if required:
        verify_openvino()
    elif openvino_version() is None:
        return False
    reason = unreadable_reason(gguf_model(model, "OpenVINO"))
    if reason and required:
        raise ConselfError(f"OpenVINO does not read {model.name} rightly: {reason}", "tune with --engine llama.cpp")
    if reason:
        say(f"openvino: skipped, {reason}")
    return reason is None


def _with_openvino(prober: _Prober, best: SamplingConfig | None, allow_loss: bool) -> SamplingConfig:
    """Return the fastest of `best` and the configurations of OpenVINO whose gap is small enough.

    Raises ConselfError if there is neither.
    """
    cores = usable_cores()
    formats = [f for f in OPENVINO_FORMATS if (f not in LOSSY_FORMATS or allow_loss) and prober.fits(f)]
    tried = [SamplingConfig(weights_format, SLOTS, cores, OPENVINO) for weights_format in formats]
    usable = [config for config in tried if prober.probe(config) and prober.is_near(config)]
    if not usable:
        if best is None:
            raise ConselfError("OpenVINO cannot be used for this model", "the lines above say why")
        return best
    openvino = _fastest_slots_and_threads(prober, prober.fastest(usable))
    return openvino if best is None else prober.fastest([best, openvino])


class _Prober:
    """Measures each configuration once and remembers its speed."""

    def __init__(self, model: Model, cache: Path, say: Callable[[str], None], allow_loss: bool) -> None:
        self._model, self._cache, self._say, self._allow_loss = model, cache, say, allow_loss
        self._problems = load_starter(("train",))[:_PROBE_PROBLEMS]
        self._converted: set[str] = set()
        self._reference = ReferenceAnswers()
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
            if config not in self.rates and not self.probe(config):
                continue
            if self.rates[config] > self.rates.get(best, 0.0) * (_CLEARLY_FASTER if config != best else 0.0):
                best = config
        return best

    def probe(self, config: SamplingConfig) -> bool:
        """Measure the speed of a configuration, and once per engine and format its gap; return whether it runs."""
        model = self._model
        if config.format != ORIGINAL and not converted_path(model, config.format, self._cache).is_file():
            self._converted.add(config.format)
        try:
            opened = open_engine(
                model, config, self._cache, longest=_TOKENS_PER_SLOT, use_gpu=True, on_notice=self._say
            )
        except ConselfError as error:
            self._say(f"{config}: skipped, {error.message}")
            return False
        with opened as engine:
            prompts = [engine.encode(program_messages(p)) for p in self._problems]
            rate = self.rates[config] = engine.measure(prompts, _PROBE_SECONDS, _PROBE_TOKENS)
            line = f"{config}: {rate:.0f} tokens/s"
            if config.engine == LLAMA_CPP and config.format == ORIGINAL and not self._reference.answers:
                self._reference.take(engine, prompts)
            elif config.format != ORIGINAL and _gap_name(config) not in self.gaps:
                gap = self.gaps[_gap_name(config)] = round(self._gap(config, engine), 5)
                line += f"; {gap:.4f} nats per token from the original file"
            self._say(line)
        return True

    def measure_gap_of_bf16(self) -> None:
        """Measure only the gap of llama.cpp's BF16 weights, which decides what gap OpenVINO may have."""
        for weights_format in (ORIGINAL, *(f for f in ("BF16",) if self.fits(f))):
            config = SamplingConfig(weights_format, SLOTS, usable_cores())
            if self.probe(config):
                del self.rates[config]

    def _gap(self, config: SamplingConfig, engine: EngineProcess) -> float:
        """Return the gap on the answers of the original file; without them, the one of the proof (`open_engine`)."""
        proven = load_gap(self._model, config.format, "CPU", self._cache) if config.engine == OPENVINO else None
        return self._reference.gap(engine) if self._reference.answers or proven is None else proven

    def is_near(self, config: SamplingConfig) -> bool:
        """Return whether OpenVINO in this format may be taken; the gap of BF16 counts as 0 if it is not known."""
        gap, largest = self.gaps[_gap_name(config)], self.gaps.get("BF16", 0.0) + _OPENVINO_MARGIN
        if gap <= largest or self._allow_loss:
            return True
        self._say(
            f"{_gap_name(config)}: not used, its gap of {gap:.4f} nats per token is above {largest:.4f}; "
            "add --allow-loss to use it all the same"
        )
        return False

    def clean_up(self, kept: str) -> None:
        for weights_format in self._converted - {kept}:
            converted_path(self._model, weights_format, self._cache).unlink(missing_ok=True)


def _gap_name(config: SamplingConfig) -> str:
    return config.format if config.engine == LLAMA_CPP else f"{config.engine}, {config.format}"


def _tuning_path(model: Model, cache: Path) -> Path:
    return cache / "tuned" / f"{model.sha256[:32]}-{_machine_key(model)}.json"


def _machine_key(model: Model) -> str:
    """Return a hash of what the speed of a model depends on: processor, usable cores, card, versions of the engines."""
    gpu = usable_gpu()
    parts = [platform.machine(), _processor(), str(usable_cores()), importlib.metadata.version("llama-cpp-python")]
    parts += [gpu.name] if gpu else []  # nothing without a card, so that what was measured before there were any stays
    if openvino := openvino_version():
        parts.append(openvino)
    if isinstance(model, MlxFolder):
        parts.append(importlib.metadata.version("mlx-lm"))
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:12]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
