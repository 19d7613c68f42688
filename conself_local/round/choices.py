"""Keep what a person chose for the next round, in the home, and turn it into arguments of `conself run`.

Numbers are kept as they were typed: `verify_choices` says what is wrong with them. Not covered: whether the model and
the problems can be used, which needs their files (`tui/screens/start.py` looks at them).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from conself_local.errors import ConselfError
from conself_local.foreign_files import PARSER_ERRORS, read_text
from conself_local.home import Home, expand_user
from conself_local.new_files import replace_private
from conself_local.round.presets import find_preset
from conself_local.round.start import BENCHMARKS, DEFAULT_BENCHMARKS
from conself_local.settings import DEFAULT_PRESET, Settings, change_text, find_conflicts, fits, replace_values
from conself_local.stages.seeds import MAX_SEED

MOST_ROUNDS = 20
_FIRST_LIMIT = "16"
_MAX_BYTES = 2**16
_MAX_DIGITS = 20
_MOST_PROBLEMS = 10**9 - 1
_MAX_CHARACTERS = 4096


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What the next round is made from, and the theme of the screens."""

    model: str = ""
    """Path of the model, as typed; empty: the bundled model."""
    problems: str = ""
    """Path of the problems file, as typed; empty: the starter pack."""
    limit: str = ""
    """Maximum number of problems to train on; empty: all."""
    rounds: str = "1"
    seed: str = ""
    """Empty: the next one after the last round's."""
    preset: str = DEFAULT_PRESET
    changes: Mapping[str, str] = field(default_factory=dict)
    """Settings that differ from the preset, full name -> text."""
    benchmarks: tuple[str, ...] = DEFAULT_BENCHMARKS
    from_base: bool = False
    theme: str = ""
    """Empty: the default theme."""


FIRST = Choices(limit=_FIRST_LIMIT, benchmarks=("validation",), changes={"evaluation.samples": "1"})
"""What an empty home proposes: a round of minutes."""


def chosen_settings(home: Home, choices: Choices) -> Settings:
    """Return the preset's settings with the changes; settings that contradict each other are not refused here.

    Raises ConselfError if there is no such preset, or if a kept change is not allowed.
    """
    settings = preset_settings(home, choices.preset)
    try:
        for name, text in choices.changes.items():
            settings = change_text(settings, name, text)
    except (KeyError, ValueError) as error:
        raise ConselfError(f"a changed setting cannot be used: {error}", "correct it on screen 9") from None
    return settings


def preset_settings(home: Home, name: str) -> Settings:
    """Return the settings of a preset, of this program or of the home; contradictions are not refused here.

    Raises ConselfError if there is no such preset.
    """
    choice = find_preset(home, name)
    return replace_values(choice.start, choice.changes)


def verify_choices(choices: Choices) -> None:
    """Raise ConselfError that says which number cannot be used, and what is allowed."""
    for what, text, least, most in (
        ("how many problems", choices.limit, 1, _MOST_PROBLEMS),
        ("rounds", choices.rounds, 1, MOST_ROUNDS),
        ("seed", choices.seed, 0, MAX_SEED),
    ):
        number = text.strip()
        if not number and what != "rounds":
            continue
        is_whole = number.isascii() and number.isdigit() and len(number) <= _MAX_DIGITS
        if not is_whole or not least <= int(number) <= most:
            text = f"{what}: {number[:20]!r} is not a whole number from {least} to {most:,}"
            raise ConselfError(text, "correct it")
    if not choices.benchmarks:
        raise ConselfError("nothing would be judged", "tick at least one of validation, held-out and HumanEval")


def run_arguments(home: Home, choices: Choices, *, new: bool = False) -> list[str]:
    """Return the arguments of `conself run` for the choices; `new` leaves an unfinished round behind.

    Raises ConselfError if something chosen cannot be used.
    """
    verify_choices(choices)
    conflicts = find_conflicts(chosen_settings(home, choices))
    if conflicts:
        raise ConselfError(conflicts[0].message, "correct it on screen 9")
    arguments = ["--preset", choices.preset, *(["--seed", seed] if (seed := choices.seed.strip()) else [])]
    for name, text in choices.changes.items():
        arguments += ["--set", f"{name}={text}"]
    if choices.model.strip():
        arguments += ["--model", str(expand_user(Path(choices.model.strip())))]
    typed = choices.problems.strip()
    problems = str(expand_user(Path(typed))) if typed else ""
    arguments += request_arguments(problems, choices.limit.strip(), choices.benchmarks)
    arguments += ["--rounds", choices.rounds.strip()] if choices.rounds.strip() != "1" else []
    return arguments + ["--from-base"] * choices.from_base + ["--new"] * new


def request_arguments(problems: str | None, limit: str | int | None, benchmarks: Iterable[str]) -> list[str]:
    """Return the arguments of `conself run` for what a round trains on and is judged on; empty values have none."""
    arguments = ["--problems", problems] if problems else []
    arguments += ["--limit", str(limit)] if limit else []
    for benchmark in benchmarks:
        arguments += ["--benchmark", benchmark]
    return arguments


def load_choices(home: Home) -> Choices | None:
    """Return the kept choices; None if nothing was kept, or if the file is damaged. Unknown entries do not count."""
    try:
        found = json.loads(read_text(_path(home), _MAX_BYTES))
    except (OSError, *PARSER_ERRORS):
        return None
    if not isinstance(found, dict):
        return None
    benchmarks = found.get("benchmarks")
    if not isinstance(benchmarks, list) or not all(name in BENCHMARKS for name in benchmarks):
        benchmarks = list(DEFAULT_BENCHMARKS)
    kept = found.get("changes")
    values: dict[str, Any] = {
        name: found[name]
        for name, hint in get_type_hints(Choices).items()
        if hint in (str, bool)
        and name in found
        and fits(found[name], hint)
        and len(str(found[name])) <= _MAX_CHARACTERS
    }
    return Choices(**values, benchmarks=tuple(benchmarks), changes=_usable(kept if isinstance(kept, dict) else {}))


def _usable(changes: Mapping[Any, Any]) -> dict[str, str]:
    """Return the changes whose settings exist and whose values are allowed."""
    found = {}
    for name, text in changes.items():
        try:
            change_text(Settings(), name, text)
        except (KeyError, ValueError, TypeError, AttributeError):
            continue
        found[name] = text
    return found


def save_choices(home: Home, choices: Choices) -> None:
    """Keep the choices; only the user can read them. Raises OSError if the home cannot be written."""
    values = dataclasses.asdict(choices) | {"changes": dict(choices.changes)}
    replace_private(_path(home), json.dumps(values, indent=1))


def _path(home: Home) -> Path:
    return home.path / "choices.json"
