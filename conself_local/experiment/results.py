"""Store the results of an experiment as JSON lines: one line per arm, seed and benchmark, with all that produced it.

An experiment takes hours. Whoever has the file of results can continue the experiment on this or another computer.
Not covered: running the arms (`run.py`) and printing the results (`table.py`).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from conself_local.foreign_files import read_text, refusing
from conself_local.new_files import give_away
from conself_local.settings import Settings, fits, settings_from_json, settings_to_json

_MAX_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Arm:
    """One variant of an experiment: its settings, and how many rounds it runs one after another."""

    name: str
    settings: Settings
    rounds: int = 1
    pairs_sha256: str | None = None
    """sha256 of a file of pairs that the arm trains on instead of those of its round; None: those of its round."""
    pairs_file: Path | None = field(default=None, compare=False)
    """That file; None in a stored result."""
    pairs: int = field(default=0, compare=False)
    """The number of pairs in it."""


@dataclass(frozen=True)
class ExperimentInputs:
    """What an arm's results depend on beside its settings; equal on two computers that have the same files."""

    model_sha256: str
    problems_sha256: str
    limit: int | None
    """Largest number of training problems; None: all."""


@dataclass(frozen=True)
class SeedResult:
    """One arm and seed on one benchmark: the model before the first round compared with that after the last one."""

    arm: Arm
    seed: int
    benchmark: str
    inputs: ExperimentInputs
    compared: dict[str, Any] | None
    """Result of `evaluation.compare.compare`; None if no adapter was trained."""
    base: tuple[float, ...]
    """Share of right samples per problem, in the order of the problems' ids; empty if no adapter was trained."""
    adapter: tuple[float, ...]
    """The same for the model with the adapter."""
    pairs: int
    """Preference pairs of all rounds, without excluded ones."""
    steps: int
    """Optimiser steps of all rounds."""
    tokens: int
    """Tokens of all sampled programs and answers of the arm, including those that it shares with other arms."""
    seconds: float
    """Time that the arm took, excluding the samples that it shares with other arms."""
    looks: int
    """How many times rounds of this arm were judged on the benchmark."""
    adapter_sha256: str
    versions: dict[str, str]
    """Package name -> version, for the packages that a result depends on."""

    def is_of(self, arm: Arm, seed: int, benchmark: str, inputs: ExperimentInputs) -> bool:
        """Return whether this is the result of running `arm` with these inputs; the name of the arm is ignored."""
        own = (dataclasses.replace(self.arm, name=arm.name), self.seed, self.benchmark, self.inputs)
        return own == (arm, seed, benchmark, inputs)


def append_result(path: Path, result: SeedResult) -> None:
    """Append the result as one line of JSON to `path`, which is created if it does not exist."""
    values = dataclasses.asdict(result)
    arm, inputs = values.pop("arm"), values.pop("inputs")
    line = {
        "arm": arm["name"],
        "rounds": arm["rounds"],
        "pairs_sha256": arm["pairs_sha256"],
        "settings": settings_to_json(result.arm.settings),
        "begun": inputs,
    } | values
    is_new = not path.exists()
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    if is_new:
        give_away(path)


def _verified(result: SeedResult) -> SeedResult:
    """Return the result if its values have the types of its fields. Raises ValueError that names a field if not."""
    for name, hint in get_type_hints(SeedResult).items():
        value = getattr(result, name)
        if name not in ("arm", "inputs") and not fits(value, hint):
            raise ValueError(f"{name} has the wrong type")
    if len(result.base) != len(result.adapter) or bool(result.compared) != bool(result.base):
        raise ValueError("base, adapter and compared do not belong together")
    return result


def load_results(path: Path) -> list[SeedResult]:
    """Return the results of a file, or none if it does not exist yet. Raises ConselfError that names a bad line."""
    lines: Sequence[str] = ()
    if path.exists():
        with refusing(f"{path} cannot be read", "choose another --report"):
            lines = read_text(path, _MAX_BYTES).splitlines()
    results = []
    for number, line in enumerate(lines, 1):
        with refusing(f"{path}, line {number}: not a result of this version", "choose another --report"):
            values = json.loads(line)
            settings, pairs_sha256 = settings_from_json(values.pop("settings")), values.pop("pairs_sha256", None)
            arm = Arm(values.pop("arm"), settings, values.pop("rounds"), pairs_sha256)
            base, adapter, inputs = (
                tuple(values.pop("base")),
                tuple(values.pop("adapter")),
                ExperimentInputs(**values.pop("begun")),
            )
            results.append(_verified(SeedResult(arm=arm, inputs=inputs, base=base, adapter=adapter, **values)))
    return results
