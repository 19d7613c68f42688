"""Define the settings of a round, and the two presets.

`paper` reproduces the choices of arXiv 2603.29292 and its artifact to the letter, and a test holds it there.
`laptop`, the default, differs from it for small models on small machines; the comments in `LAPTOP` give the reasons.

Not covered: how a round uses the computer (`round/context.py`: slots, threads, weights format), and which model and
problems it uses.
Source: arXiv 2603.29292 and the settings of the authors' artifact.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from conself_local.method.curriculum import EntropyNormalisation
from conself_local.method.pairs import Rejected

Preset = Literal["paper", "laptop"]
Pairing = Literal["consensus", "random"]
PairWeight = Literal["consensus", "one", "none"]


@dataclass(frozen=True)
class Settings:
    """The settings of a round, which are stored with it; the defaults are those of `paper`."""

    preset: Preset = "paper"
    """Name of the preset that these settings started from."""
    # sampling
    observations: int = 3
    """Observations per problem."""
    programs_per_observation: int = 5
    """Programs sampled per observation."""
    observation_temperature: float = 0.7
    """Sampling temperature of observations; 0 is greedy."""
    observation_top_p: float = 0.8
    """Nucleus (top-p) of observations: the share of probability that is sampled from, in (0, 1]."""
    observation_max_new_tokens: int = 512
    """Maximum number of tokens in the completion that holds the observations of a problem."""
    observation_tries: int = 3
    """Maximum number of attempts at a problem's observations; if all fail, its programs get the plain prompt."""
    temperature: float = 1.0
    """Sampling temperature of programs; 0 is greedy."""
    top_p: float = 0.8
    """Nucleus (top-p) of programs, in (0, 1]."""
    max_new_tokens: int = 2048
    """Maximum number of tokens in the completion that holds a program."""
    thinking_tokens: int = 0
    """Tokens that a reasoning model may think before each program; 0: it answers at once.

    A model that thinks gets no answer prefix, and its completions do not end at the first code block.
    """
    answer_prefix: bool = False
    """Begin the answer with the code fence and the starter code, as part of the prompt."""
    stop_at_fence: bool = False
    """End a completion at the fence that closes its first code block."""
    stop_at_repetition: bool = False
    """End a completion whose end repeats one short piece many times."""
    # execution
    wall_s: float = 3.0
    """Wall time limit in seconds per input; loading the program has the same limit."""
    max_timeouts: int | None = None
    """After this many time-outs, a program's other inputs count as time-outs without a run; None runs all inputs."""
    grown_inputs: int = 0
    """Maximum number of augmented inputs per problem, each of which separates programs (`stages/augment.py`)."""
    ask_for_inputs: bool = False
    """Also ask the model for candidates of augmented inputs; no effect if `grown_inputs` is 0.

    On MBPP this separated more pairs of programs (6.9 % more instead of 5.8 %), but the chosen program was right less
    often.
    """
    # score
    exact_behaviour: bool = True
    """Compare outputs by their canonical text; False: by comparison key (floats to 12 significant digits)."""
    keep_nondeterministic: bool = True
    """Count samples of nondeterministic programs in scores and pairs; False: exclude them."""
    max_crash_rate: float = 0.8
    """Problems with this crash rate or a higher one, in [0, 1], are not selected."""
    normaliser: EntropyNormalisation = "min-max"
    """How the entropy of a problem is normalised: over the problems of the run, or by log2 of the valid samples."""
    threshold: float = 0.3
    """Problems whose normalised entropy is below this are selected; above 1, it selects every informative problem."""
    # pairs
    rejected: Rejected = "lowest-first"
    """Which samples are rejected, and in which order (`method/pairs.py`)."""
    distinct_code: bool = False
    """Treat samples of equal code as one candidate for pairs."""
    min_share: float = 0.0
    """Least share of the samples that ran, in [0, 1], that must behave as a chosen sample, itself included."""
    constant_chosen: bool = True
    """Whether a program that gives the same output for every input may be chosen."""
    max_pairs: int = 3
    """Maximum number of pairs per problem."""
    pairing: Pairing = "consensus"
    """`random`: pairs of any two programs that compiled, a control; `consensus`: by the method."""
    pair_weight: PairWeight = "consensus"
    """Weight of the preference term: the chosen's consensus, 1 (`one`: plain DPO), or 0 (`none`: SFT term alone)."""
    user_pair_weight: float = 0.0
    """Weight of the pairs from the user's own answers to `conself ask --best-of`, in [0, 1]; 0: they train nothing."""
    # training
    beta: float = 0.1
    """Factor of the difference of log-ratios (nats) in the preference term of the loss (`method/con_dpo.py`)."""
    lora_rank: int = 16
    """Rank of the LoRA adapter, which covers all linear layers except the output head."""
    lora_alpha: int = 32
    """LoRA alpha: the adapter's update is multiplied by lora_alpha / lora_rank."""
    learning_rate: float = 5e-6
    """Highest learning rate, reached after the warm-up; a cosine then lowers it towards 0."""
    epochs: int = 3
    """How many times training passes over all pairs."""
    batch_pairs: int = 8
    """Pairs per optimiser step."""
    warmup_share: float = 0.1
    """Share of the steps, in [0, 1], over which the learning rate rises linearly."""
    max_gradient_norm: float = 1.0
    """Gradients of a larger L2 norm are scaled down to this norm."""
    max_tokens: int = 2048
    """Maximum number of tokens of prompt plus one completion; longer pairs are excluded, and a notice counts them."""
    sft_weight: float = 0.0
    """Weight of the SFT term, the chosen's mean negative log-likelihood (nats per token), against displacement."""
    max_displacement: float | None = None
    """Nats per token that the chosen completions may lose against the reference before training ends; None: no limit.

    The change is averaged over the last half epoch (at least three steps).
    """
    # evaluation
    evaluation_samples: int = 5
    """Programs sampled per benchmark problem for each of base and adapter, besides one greedy program."""
    evaluation_temperature: float = 0.6
    """Sampling temperature of the sampled evaluation programs."""
    evaluation_top_p: float = 0.95
    """Nucleus (top-p) of the sampled evaluation programs, in (0, 1]."""
    evaluation_max_new_tokens: int = 512
    """Maximum number of tokens in the completion that holds an evaluation program."""

    @property
    def ends_at_fence(self) -> bool:
        """Whether completions end at the fence that closes their first code block: thoughts may hold some too."""
        return self.stop_at_fence and not self.thinking_tokens

    @property
    def longest_completion(self) -> int:
        """Maximum number of tokens in the completion that holds a program, thoughts included."""
        return self.max_new_tokens + self.thinking_tokens

    @property
    def samples_per_problem(self) -> int:
        """Number of programs sampled per problem: observations times programs per observation."""
        return self.observations * self.programs_per_observation


PAPER = Settings()

LAPTOP = Settings(
    preset="laptop",
    # small models often miss the observation format, and a third try costs as much as it gains
    observation_tries=2,
    observation_max_new_tokens=256,
    # the answer begins and ends with the code, because the bundled model too often misses the code block or the name
    max_new_tokens=384,
    answer_prefix=True,
    stop_at_fence=True,
    stop_at_repetition=True,
    max_timeouts=2,
    exact_behaviour=False,
    keep_nondeterministic=False,
    # on MBPP 601-974 (Qwen2.5-Coder-0.5B) the chosen of a pair is right in 0.53 of the pairs instead of 0.43,
    # judged on all inputs
    grown_inputs=8,
    # the entropy threshold of `paper` selects 54 of 474 problems, too few to learn from, and depends on the hardest
    # problem of the run; with log2, H_norm is at most 1, so 1.1 selects every informative problem
    normaliser="log2",
    threshold=1.1,
    # the share decides instead: if few samples behave as the chosen one, it is not believed
    min_share=0.4,
    constant_chosen=False,
    # rejected programs that ran and disagreed teach more than crashed ones; longer ones would teach brief answers
    rejected="like-length",
    distinct_code=True,
    # a round on a laptop has tens of steps, not thousands: with 5e-6 the adapter would hardly change
    learning_rate=1e-4,
    epochs=2,
    # the bundled model learns from the SFT term; with beta 0.1, the preference term also teaches it to omit the last
    # operation of a program (validation, one seed: +2.8 points; beta 0.02: +5.5; the SFT term alone: +5.5)
    beta=0.02,
    sft_weight=1.0,
    max_tokens=1024,
    # DPO fails when the chosen answers themselves become unlikely; training must not continue for hours after that
    max_displacement=1.0,
    evaluation_max_new_tokens=256,
)

PRESETS: dict[str, Settings] = {"paper": PAPER, "laptop": LAPTOP}


def settings_to_json(settings: Settings) -> dict[str, Any]:
    """Return the settings as a dict of JSON values, field name -> value."""
    return dataclasses.asdict(settings)


def settings_from_json(values: dict[str, Any]) -> Settings:
    """Return the settings that `settings_to_json` wrote; a missing field gets its default, that of `paper`.

    Raises ValueError that names a field which this version does not know, or whose value is of the wrong type.
    """
    return change_settings(PAPER, values)


def change_settings(settings: Settings, values: dict[str, Any]) -> Settings:
    """Return `settings` with other values for some fields, field name -> value.

    Raises ValueError that names an unknown field, or one whose value is of the wrong type or not finite.
    """
    if not isinstance(values, dict):
        raise ValueError("settings must be a table of names and values")
    types = get_type_hints(Settings)
    unknown = sorted(str(name) for name in set(values) - set(types))
    if unknown:
        raise ValueError(f"unknown field {unknown[0]!r}; known fields are {', '.join(sorted(types))}")
    for name, value in values.items():
        if not fits(value, types[name]):
            raise ValueError(f"{name} must be of the same type as {getattr(PAPER, name)!r}, not {value!r:.100}")
    return dataclasses.replace(settings, **values)


def fits(value: object, hint: Any) -> bool:
    """Return whether a value that was read from JSON has the type of a field; a float is a finite number."""
    kind, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if kind is Literal:
        return isinstance(value, str) and value in arguments
    if kind is tuple:
        return isinstance(value, tuple) and all(fits(item, arguments[0]) for item in value)
    if kind is dict:
        return isinstance(value, dict) and all(
            fits(k, arguments[0]) and fits(v, arguments[1]) for k, v in value.items()
        )
    if arguments:
        return any(fits(value, argument) for argument in arguments)
    if hint is float:
        return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]
    return type(value) is hint
