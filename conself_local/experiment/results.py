"""The results of an experiment as JSON lines: one line an arm, seed and benchmark, with all that made it.

An experiment takes hours; its file of results goes on where it was, on this computer or on another one that has the file.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conself_local.errors import ConselfError
from conself_local.settings import Settings, settings_from_json, settings_to_json


@dataclass(frozen=True)
class Arm:
    name: str
    settings: Settings
    rounds: int = 1


@dataclass(frozen=True)
class ExperimentInputs:
    """What an arm's results hang on beside its settings; equal for two computers that have the same files."""

    model_sha256: str
    problems_sha256: str
    limit: int | None


@dataclass(frozen=True)
class SeedResult:
    """One arm and seed on one benchmark: the model before the first round against the model after the last one."""

    arm: Arm
    seed: int
    benchmark: str
    inputs: ExperimentInputs
    compared: dict[str, Any] | None
    """As of `evaluation.compare`; None where no adapter was trained."""
    base: tuple[float, ...]
    """The share of right samples, one a problem, by the problems' ids in order."""
    adapter: tuple[float, ...]
    pairs: int
    steps: int
    tokens: int
    """Sampled in all, what arms share included."""
    seconds: float
    """What the arm took, without what it shares with others."""
    looks: int
    """How often this arm's rounds were judged on the benchmark."""
    adapter_sha256: str
    versions: dict[str, str]
    """Of the packages that a result depends on."""

    def is_of(self, arm: Arm, seed: int, benchmark: str, inputs: ExperimentInputs) -> bool:
        """Whether this is what would come out; an arm's name is its author's choice and makes no difference."""
        mine = (self.arm.settings, self.arm.rounds, self.seed, self.benchmark, self.inputs)
        return mine == (arm.settings, arm.rounds, seed, benchmark, inputs)


def append_result(path: Path, result: SeedResult) -> None:
    values = dataclasses.asdict(result)
    arm, inputs = values.pop("arm"), values.pop("inputs")
    line = {
        "arm": arm["name"],
        "rounds": arm["rounds"],
        "settings": settings_to_json(result.arm.settings),
        "begun": inputs,
    } | values
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def load_results(path: Path) -> list[SeedResult]:
    """Of a file that may not be there yet. Raises ConselfError that names the line."""
    lines: Sequence[str] = path.read_text(encoding="utf-8").splitlines() if path.exists() else ()
    results = []
    for number, line in enumerate(lines, 1):
        try:
            values = json.loads(line)
            arm = Arm(values.pop("arm"), settings_from_json(values.pop("settings")), values.pop("rounds"))
            base, adapter, inputs = (
                tuple(values.pop("base")),
                tuple(values.pop("adapter")),
                ExperimentInputs(**values.pop("begun")),
            )
            results.append(SeedResult(arm=arm, inputs=inputs, base=base, adapter=adapter, **values))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConselfError(
                f"{path}, line {number}: not a result of this version ({error})", "name another --report"
            ) from error
    return results
