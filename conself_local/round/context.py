"""Define what a round works with: store, home, model, sandbox, and how much of this computer it may use.

Plain values only; the caller opens the store and the model before the round begins (`start.py`).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from conself_local.events import OnEvent
from conself_local.home import Home
from conself_local.machine.gpu import usable_gpu
from conself_local.machine.mlx import computes_on_metal
from conself_local.model_files.mlx_folder import MlxFolder
from conself_local.model_files.model import Model
from conself_local.sampling.config import SamplingConfig
from conself_local.sampling.tuning import sampling_config
from conself_local.store.store import Store
from sandbox import MakeSandbox


@dataclass(frozen=True)
class Endpoint:
    """Servers that sample instead of the engine; the model file is still used for everything else."""

    urls: tuple[str, ...]
    model_name: str
    accept_remote: bool = False


@dataclass(frozen=True)
class ComputeOptions:
    """How much of this computer a round may use, and what samples."""

    workers: int
    """Workers of the sandbox while nothing else runs; normally the number of usable cores."""
    threads: int | None = None
    """Threads of the engine; None: the tuned number, or one per usable core."""
    slots: int | None = None
    """Sequences sampled at once; None: the tuned number, or `sampling.tuning.SLOTS`."""
    weights_format: str | None = None
    """Weights to sample from, one of `converted_weights.FORMATS`; None: the tuned one, or `automatic_format`."""
    endpoint: Endpoint | None = None
    """The servers that sample instead of the engine; None: the engine samples."""
    use_gpu: bool = True
    """Whether the engine uses a graphics card, if llama.cpp supports one here."""
    engine: str | None = None
    """What samples on this computer, one of `config.ENGINES`; None: what was tuned, or llama.cpp."""

    @property
    def overlap_workers(self) -> int:
        """Workers of the sandbox while the engine samples: a quarter of `workers`, at least 1; all if a card samples.

        Running programs is many times faster than sampling them, so a quarter of the cores is enough.
        """
        if self.use_gpu and self.endpoint is None and usable_gpu():
            return self.workers
        return max(1, self.workers // 4)


def workers_beside_engine(compute: ComputeOptions, model: Model) -> int:
    """Return the workers of the sandbox while the engine of the model samples: all if MLX samples on Apple's GPU."""
    if isinstance(model, MlxFolder) and computes_on_metal():
        return compute.workers
    return compute.overlap_workers


@dataclass(frozen=True)
class RoundContext:
    """Everything that the stages of a round work with."""

    store: Store
    home: Home
    model: Model
    compute: ComputeOptions
    make_sandbox: MakeSandbox
    make_overlap_sandbox: MakeSandbox
    """Makes a sandbox with fewer workers, for programs that run while others are sampled."""
    on_event: OnEvent

    def sampling_config(self) -> SamplingConfig:
        """Return what the user asked for, completed by the tuned or automatic values for this model and machine."""
        compute = self.compute
        found = sampling_config(self.model, self.home.cache, compute.engine)
        return SamplingConfig(
            compute.weights_format or found.format,
            compute.slots or found.slots,
            compute.threads or found.threads,
            found.engine,
        )

    def with_engine(self, engine: str) -> RoundContext:
        """Return this context with the engine fixed."""
        return dataclasses.replace(self, compute=dataclasses.replace(self.compute, engine=engine))
