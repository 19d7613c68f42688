"""Define the settings of execution and of augmentation: how programs run, and on which added inputs.

The defaults are those of the preset `paper`. Source: arXiv 2603.29292 and the settings of the authors' artifact;
augmentation is an addition of this project.
"""

from __future__ import annotations

from dataclasses import dataclass

from conself_local.settings.describe import setting


@dataclass(frozen=True, kw_only=True)
class ExecutionSettings:
    """How programs run in the sandbox, and when two of them behave alike."""

    timeout_s: float = setting(
        3.0,
        label="Time limit per input",
        meaning="Wall time limit of a program per input; loading the program has the same limit.",
        unit="seconds",
        above=0,
        at_most=600,
        time="Execution takes longer if programs hang.",
        reason="It is the paper's choice.",
    )
    max_timeouts: int | None = setting(
        None,
        label="Time-outs per program",
        meaning="After this many time-outs, a program's other inputs count as time-outs without a run; none runs all.",
        unit="inputs",
        at_least=1,
        at_most=1_000_000,
        time="Execution becomes shorter if programs hang.",
        reason="Every time-out costs the whole limit, and a laptop has few cores to wait on.",
    )
    exact_behaviour: bool = setting(
        True,
        label="Compare outputs exactly",
        meaning="Compare outputs by their canonical text; if off, floats are compared to 12 significant digits.",
        time="No effect.",
        reason="Programs that add floats in another order would count as different.",
    )
    keep_nondeterministic: bool = setting(
        True,
        label="Keep nondeterministic programs",
        meaning="Count samples of nondeterministic programs in scores and pairs; if off, they are excluded.",
        time="No effect.",
        reason="Behaviour that changes from run to run proves nothing.",
    )


@dataclass(frozen=True, kw_only=True)
class AugmentationSettings:
    """How many test inputs are added to tell programs apart, and where they come from."""

    max_inputs: int = setting(
        0,
        label="Added inputs",
        meaning="Maximum number of augmented inputs per problem, each of which separates programs; 0 adds none.",
        unit="inputs per problem",
        at_least=0,
        at_most=1000,
        time="Execution takes longer: every program runs on every added input and on candidates.",
        reason="On MBPP 601-974 (Qwen2.5-Coder-0.5B), the chosen of a pair is then right in 0.53 instead of 0.43 of "
        "the pairs, judged on all inputs.",
    )
    ask_model: bool = setting(
        False,
        label="Ask the model for inputs",
        meaning="Also ask the model for candidates of augmented inputs; no effect if no input may be added.",
        time="Sampling needs one more completion per problem.",
        reason="On MBPP this separated more pairs of programs (6.9 % more instead of 5.8 %), but the chosen program "
        "was right less often.",
    )
