"""Everything that a round works with."""

from __future__ import annotations

from dataclasses import dataclass

from conself_local.events import OnEvent
from conself_local.home import Home
from conself_local.model_files.model_file import ModelFile
from conself_local.sampling.tuning import SamplingConfig, sampling_config
from conself_local.store.store import Store
from sandbox import MakeSandbox


@dataclass(frozen=True)
class Endpoint:
    """A server that samples instead of the engine; everything else stays with the model file."""

    url: str
    model_name: str
    accept_remote: bool = False


@dataclass(frozen=True)
class ComputeOptions:
    """What of this computer a round may use."""

    workers: int
    """Of the sandbox when it works alone: the cores."""
    threads: int | None = None
    """Of the engine; None: as tuned, or the cores."""
    slots: int | None = None
    """Sequences sampled at once; None: as tuned, or `SLOTS`."""
    weights_format: str | None = None
    """The format to sample from (`converted_weights.FORMATS`); None: as tuned, or what pays by rule."""
    endpoint: Endpoint | None = None
    use_gpu: bool = True
    """Where there is one that llama.cpp can use."""

    @property
    def overlap_workers(self) -> int:
        """Of the sandbox while the engine samples: it is many times faster than sampling, so a quarter is plenty."""
        return max(1, self.workers // 4)


@dataclass(frozen=True)
class RoundContext:
    """Everything that a round works with."""

    store: Store
    home: Home
    model: ModelFile
    compute: ComputeOptions
    make_sandbox: MakeSandbox
    make_overlap_sandbox: MakeSandbox
    """With fewer workers, for programs that are run while others are sampled."""
    on_event: OnEvent

    def sampling_config(self) -> SamplingConfig:
        """What the user asked for, else what is fast here."""
        asked, found = self.compute, sampling_config(self.model, self.home.cache)
        return SamplingConfig(
            asked.weights_format or found.format, asked.slots or found.slots, asked.threads or found.threads
        )
