"""Read and check the TOML file of an experiment.

Not covered: the form of the file, which the docstring of `run.py` shows, and running it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conself_local.errors import ConselfError
from conself_local.experiment.results import Arm, ExperimentInputs
from conself_local.foreign_files import refusing
from conself_local.foreign_text import is_one_line
from conself_local.hashes import content_id, file_sha256
from conself_local.home import expand_user
from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.model import Model, open_model
from conself_local.problems.load import starter_sha256
from conself_local.problems.toml_file import read_toml
from conself_local.round.start import BENCHMARKS
from conself_local.settings import (
    DEFAULT_PRESET,
    PRESETS,
    change_settings,
    fits,
    flatten,
    settings_of_later_round,
    shared_values,
)
from conself_local.stages.seeds import MAX_SEED
from conself_local.stages.train_pairs import PAIRS_SHA256
from conself_local.store.store import RoundInfo
from conself_local.training.pairs_file import read_pairs

_TOP = {"name", "model", "problems", "limit", "benchmarks", "weights", "seeds", "settings", "arm"}
_ARM = {"name", "preset", "settings", "rounds", "pairs"}
SHARED_UNTIL = "grow"
"""Arms whose settings agree up to this stage share its samples."""


@dataclass(frozen=True)
class Experiment:
    """An experiment's file, read and checked: every arm runs for every seed."""

    name: str
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    benchmarks: tuple[str, ...]
    limit: int | None = None
    """Largest number of training problems; None: all."""
    model: Path | None = None
    """A GGUF file; None: the bundled model."""
    problems: Path | None = None
    """A problems file; None: the starter pack."""
    weights: Mapping[str, float] | None = None
    """Weight of each benchmark that only reports, where they are combined; None: all problems have equal weights."""

    def inputs(self) -> ExperimentInputs:
        """Return what every result of this experiment depends on. Raises ConselfError if a file cannot be read."""
        try:
            problems = file_sha256(self.problems) if self.problems else starter_sha256()
            return ExperimentInputs(self.model_file().sha256, problems, self.limit)
        except OSError as error:
            raise ConselfError(
                f"{error.filename} cannot be read: {error.strerror}", "correct the experiment's model or problems"
            ) from error

    def model_file(self) -> Model:
        """Return the model of all arms. Raises ConselfError if it cannot be used."""
        return open_model(self.model or bundled_model())

    def holds(self, latest: RoundInfo, arm: Arm, inputs: ExperimentInputs) -> bool:
        """Return whether a home whose latest round is `latest` belongs to this arm, with at most as many rounds.

        All that an edit of the file may change is compared, because an arm that was edited may keep its name.
        """
        asked, problems = latest.request, str(self.problems.resolve()) if self.problems else None
        found = (
            latest.settings, latest.model_sha256, asked["problems"], asked["limit"], asked["benchmarks"],
            asked.get(PAIRS_SHA256),
        )  # fmt: skip
        settings = arm.settings if latest.id == 1 else settings_of_later_round(arm.settings)
        wanted = (
            settings, inputs.model_sha256, problems, self.limit, list(self.benchmarks), arm.pairs_sha256,
        )  # fmt: skip
        return latest.id <= arm.rounds and found == wanted

    def shared_name(self, arm: Arm, seed: int) -> str:
        """Return the name of the folder for what arms share for one seed whose samples are made alike.

        Arms with equal `shared_values` share samples, augmented inputs and the answers before training. The benchmarks
        are part of the name only if the problems are the user's own: a training problem that a benchmark repeats is
        then excluded, whereas the splits of the starter pack are disjoint.
        """
        shared: dict[str, Any] = {
            "settings": shared_values(arm.settings),
            "model": str(self.model),
            "problems": str(self.problems),
            "limit": self.limit,
        }
        if self.problems:
            shared["benchmarks"] = self.benchmarks
        if arm.pairs_file:
            shared["samples"] = False
        return f"samples {content_id('sampling', shared)[:8]} {seed}"


def read_experiment(path: Path) -> Experiment:
    """Read and check an experiment's TOML file; paths in it are relative to its folder.

    Raises ConselfError that names the field at fault.
    """
    _, values = read_toml(path, "`conself_local/README.md` shows an example, and the limits")
    with refusing(str(path), "correct it; `conself_local/README.md` shows an example"):
        _verify_known(values, _TOP, "")
        seeds, benchmarks = tuple(values.get("seeds", [0])), tuple(values.get("benchmarks", ["validation"]))
        if not seeds or not all(type(seed) is int and 0 <= seed <= MAX_SEED for seed in seeds):
            raise ValueError(f"seeds must be whole numbers from 0 to {MAX_SEED:,}, as in seeds = [0, 1, 2]")
        if not benchmarks or set(benchmarks) - set(BENCHMARKS):
            raise ValueError(f"benchmarks must be some of {', '.join(BENCHMARKS)}")
        folder = path.resolve().parent
        arms = tuple(_arm(table, values.get("settings", {}), folder) for table in values.get("arm", []))
        if not arms or len({arm.name for arm in arms}) < len(arms):
            raise ValueError("give at least one [[arm]], and each a different name")
        weights = _weights(values.get("weights"), benchmarks)
        limit = values.get("limit")
        if limit is not None and (type(limit) is not int or limit < 1):
            raise ValueError("limit must be a whole number of problems, at least 1")
        model, problems = (_path(values, name, folder) for name in ("model", "problems"))
        return Experiment(
            _name(values.get("name", path.stem), "the experiment"), arms, seeds, benchmarks, limit, model, problems,
            weights,
        )  # fmt: skip


def _path(values: Mapping[str, Any], name: str, folder: Path) -> Path | None:
    """Return the path under this name, None if there is none. Raises ValueError if it is no path."""
    if name not in values:
        return None
    if not isinstance(values[name], str) or not is_one_line(values[name]):
        raise ValueError(f"{name} must be the path of a file")
    return folder / expand_user(Path(values[name]))


def _weights(weights: object, benchmarks: Sequence[str]) -> dict[str, float] | None:
    """Return the weights of the benchmarks that the table combines. Raises ValueError if they name others."""
    if weights is None:
        return None
    combined = [name for name in benchmarks if name != "validation"]
    if not isinstance(weights, dict) or set(weights) != set(combined) or len(combined) < 2:
        raise ValueError(
            "weights must name every benchmark but validation, and at least two, as in "
            "weights = { held-out = 0.4, humaneval = 0.2 }"
        )
    if not all(fits(weight, float) and weight > 0 for weight in weights.values()):
        raise ValueError("weights must be numbers above 0")
    return {name: float(weights[name]) for name in combined}


def _name(name: object, whose: str) -> str:
    """Return a name, which becomes part of a folder's name. Raises ValueError if it may not."""
    if not isinstance(name, str) or not 1 <= len(name) <= 100 or not is_one_line(name) or name.startswith("."):
        raise ValueError(
            f"{whose} needs a name of 1 to 100 characters that has no control characters and does not begin with a dot"
        )
    return name


def _verify_known(values: dict[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(f"{where}unknown field {unknown[0]!r}; known fields are {', '.join(sorted(known))}")


def _arm(table: dict[str, Any], common_settings: Any, folder: Path) -> Arm:
    name = _name(table.get("name"), "every [[arm]]")
    where = f"arm {name}: "
    _verify_known(table, _ARM, where)
    preset, rounds = table.get("preset", DEFAULT_PRESET), table.get("rounds", 1)
    if preset not in PRESETS or type(rounds) is not int or rounds < 1:
        raise ValueError(f"{where}preset must be one of {', '.join(PRESETS)}, and rounds at least 1")
    try:
        changed = flatten(common_settings, old_names=True) | flatten(table.get("settings", {}), old_names=True)
        if "preset" in changed:
            raise ValueError("give the preset of an arm beside its settings")
        settings = change_settings(PRESETS[preset], changed)
        pairs = _path(table, "pairs", folder)
    except ValueError as error:
        raise ValueError(f"{where}{error}") from error
    if pairs is None:
        return Arm(name, settings, rounds)
    if rounds > 1:
        raise ValueError(f"{where}an arm that trains on a file of pairs has one round")
    count = len(read_pairs(pairs))
    return Arm(name, settings, rounds, file_sha256(pairs), pairs, count)
