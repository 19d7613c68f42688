"""Define the settings of training and of evaluation.

The defaults are those of the preset `paper`. Source: arXiv 2603.29292 and the settings of the authors' artifact.
"""

from __future__ import annotations

from dataclasses import dataclass

from conself_local.settings.describe import setting

_MAX_TOKENS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How the adapter is trained on the pairs."""

    beta: float = setting(
        0.1,
        label="Beta",
        meaning="Factor of the difference of log-ratios (nats) in the preference term of the loss.",
        at_least=0,
        at_most=10,
        time="No effect.",
        reason="With 0.1, the bundled model also learns to omit the last operation of a program (validation, one seed: "
        "+2.8 points; 0.02: +5.5, and +3.3 in another run; the SFT term alone: +5.5), at all of the strength.",
    )
    lora_rank: int = setting(
        16,
        label="LoRA rank",
        meaning="Rank of the LoRA adapter, which covers all linear layers except the output head.",
        at_least=1,
        at_most=1024,
        time="Training takes slightly longer, and the adapter needs proportionally more memory and disk space.",
        reason="It is the paper's choice.",
    )
    lora_alpha: int = setting(
        32,
        label="LoRA alpha",
        meaning="The adapter's update is multiplied by this divided by the rank.",
        at_least=1,
        at_most=65536,
        time="No effect.",
        reason="It is the paper's choice.",
    )
    learning_rate: float = setting(
        5e-6,
        label="Learning rate",
        meaning="Highest learning rate, reached after the warm-up; a cosine then lowers it towards 0.",
        above=0,
        at_most=1,
        time="No effect.",
        reason="A round on a laptop has tens of steps, not thousands: with 5e-6 the adapter would hardly change.",
    )
    epochs: int = setting(
        3,
        label="Epochs",
        meaning="How many times training passes over all pairs.",
        unit="epochs",
        at_least=1,
        at_most=1000,
        time="Training takes proportionally longer.",
        reason="A round on a laptop must end soon, and the higher learning rate makes up for fewer steps.",
    )
    batch_size: int = setting(
        8,
        label="Batch size",
        meaning="Pairs per optimiser step.",
        unit="pairs",
        at_least=1,
        at_most=100_000,
        time="No effect: pairs are computed one after the other, and there are fewer steps.",
        reason="It is the paper's choice.",
    )
    warmup_ratio: float = setting(
        0.1,
        label="Warm-up",
        meaning="Share of the steps over which the learning rate rises linearly.",
        unit="share of steps",
        at_least=0,
        below=1,
        time="No effect.",
        reason="It is the paper's choice.",
    )
    max_grad_norm: float = setting(
        1.0,
        label="Gradient norm limit",
        meaning="Gradients of a larger L2 norm are scaled down to this norm.",
        above=0,
        at_most=1_000_000,
        time="No effect.",
        reason="It is the paper's choice.",
    )
    max_tokens: int = setting(
        2048,
        label="Longest pair",
        meaning="Maximum length of prompt plus one completion; longer pairs are excluded, and a notice counts them.",
        unit="tokens",
        at_least=1,
        at_most=_MAX_TOKENS,
        time="Training takes longer and needs more memory if there are long pairs.",
        reason="Prompt and answer of a function fit, and memory grows with the longest pair.",
    )
    sft_weight: float = setting(
        0.0,
        label="Weight of the SFT term",
        meaning="Weight of the SFT term, the chosen's mean negative log-likelihood (nats per token), against "
        "displacement.",
        at_least=0,
        at_most=100,
        time="No effect.",
        reason="The bundled model learns from the SFT term.",
    )
    max_displacement: float | None = setting(
        None,
        label="Displacement limit",
        meaning="How much likelihood the chosen completions may lose against the reference, averaged over the last "
        "half epoch (at least three steps), before training ends; none: no limit.",
        unit="nats per token",
        above=0,
        at_most=100,
        time="Training ends early if the limit is reached.",
        reason="DPO fails if the chosen answers themselves become unlikely; training must not continue for hours then.",
    )
    strength: float = setting(
        1.0,
        label="Adapter strength",
        meaning="Share of what training changed in the weights that the adapter keeps, between the model that training "
        "began with (0) and the trained one (1).",
        above=0,
        at_most=1,
        time="No effect.",
        reason="With all of it the bundled model repeats itself; a quarter keeps most of the gain without that loss.",
    )


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """How base and adapter answer the benchmarks."""

    samples: int = setting(
        5,
        label="Samples",
        meaning="Programs sampled per benchmark problem for each of base and adapter, besides one greedy program; 0: "
        "greedy programs alone, which show neither reach nor what the guard asks for.",
        unit="per problem",
        at_least=0,
        at_most=1000,
        time="Evaluation takes proportionally longer.",
        reason="Evaluation is a large part of a round's time; experiments that compare arms take 20.",
    )
    temperature: float = setting(
        0.6,
        label="Temperature",
        meaning="Sampling temperature of the sampled evaluation programs; 0 is greedy.",
        at_least=0,
        at_most=2,
        time="No effect.",
        reason="It is a usual value for judging code models by several samples.",
    )
    top_p: float = setting(
        0.95,
        label="Top-p",
        meaning="Nucleus (top-p) of the sampled evaluation programs: the share of probability that is sampled from.",
        above=0,
        at_most=1,
        time="No effect.",
        reason="It is a usual value for judging code models by several samples.",
    )
    max_new_tokens: int = setting(
        512,
        label="Longest program",
        meaning="Maximum length of the completion that holds an evaluation program.",
        unit="tokens",
        at_least=1,
        at_most=_MAX_TOKENS,
        time="Evaluation takes longer if programs reach the limit.",
        reason="The answer begins and ends with the code, so the function of a benchmark fits.",
    )
    ranking_programs: int = setting(
        0,
        label="Programs of the ranking measure",
        meaning="Maximum number of programs per benchmark problem that the ranking measure A scores; 0: not measured.",
        unit="programs",
        at_least=0,
        at_most=1000,
        time="Evaluation takes longer: 8 programs of 100 problems are up to 1600 passes over a prompt and an answer.",
        reason="No decision of a round needs the measure.",
    )


@dataclass(frozen=True, kw_only=True)
class AcceptanceSettings:
    """When the adapter of a round is accepted."""

    guard: bool = setting(
        False,
        label="Guard against lost variety",
        meaning="Whether an adapter is rejected if its sampled answers, compared with those of the model before the "
        "round, show that variety was lost or that hardly anything changed. No reference is read for it.",
        time="No effect.",
        reason="It is off, because its limits come from one small model.",
    )
