"""Decide after a few samples of a problem whether more would change what is known about it.

Samples come in batches of 5 in a fixed order, so what is decided depends only on the first samples and on nothing else,
such as which of them ended first. After each batch but the last, three tests ask whether the problem is decided:

- `alike`: all samples that ran behave alike. If the less common behaviours had a share of 0.4 or more (and at most
  0.6), this would happen with a probability of at most 0.6^v + 0.4^v after v samples that ran.
- `scattered`: the most common behaviour has too few votes. If some behaviour had a share of 0.6 or more, it would
  have so few with a probability of at most `error`, over all looks together. Problems whose samples all crash are the
  case of no votes at all, and are called `crashed`.
- `settled`: there are several behaviours, and the most common one leads the next one so clearly that a given one of two
  behaviours with equal shares would only with a probability of at most `error` (a one-sided sign test, at each look).
  So the wrong one of two leads that clearly at most as often; that either one does is up to twice as likely.

The tests keep problems with a clear majority. A majority with a smaller share than 0.6 is lost more often than `error`
says: with an error of 1/3, a problem whose top behaviour has the share 0.4 is left after 5 samples in 68 %.
With an error of 1/3 and 15 samples, a problem is decided after 5 samples if no behaviour has 3 votes, if 3 or more ran
and all of those behave alike, or if one behaviour has 3 votes or more and the next one has 1.
What is saved goes to problems that are open after all their samples and have two or three behaviours.
Not covered: sampling and running (`stages/adaptive.py`). Source: the tests are this project's; the last one follows
Adaptive-Consistency (arXiv 2305.11860), which stops when the leader is clear.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import comb
from typing import Literal

from conself_local.method.behaviour import Behaviour, is_crashed

BATCH = 5
"""Samples per look."""
LEADING_SHARE = 0.6
"""A problem may be worth more samples if some behaviour has at least this share of them."""
FEW_BEHAVIOURS = (2, 3)
"""Numbers of behaviours with which an open problem gets what others saved."""
Decision = Literal["open", "alike", "crashed", "scattered", "settled"]


@dataclass(frozen=True)
class AdaptiveRules:
    """How many samples a problem gets."""

    full: int
    """The number of samples of an open problem: that of fixed sampling."""
    cap: int
    """The largest number of samples of a problem that gets what others saved."""
    error: float
    """Largest probability with which each test is wrong; that of `settled`, at each look."""

    @property
    def looks(self) -> tuple[int, ...]:
        """The numbers of samples after which a problem is judged, smaller than `full`."""
        return tuple(range(BATCH, self.full, BATCH))


def decide(behaviours: Sequence[Behaviour], rules: AdaptiveRules) -> Decision:
    """Return what the first samples of a problem decide; a crashed behaviour stands for a sample without a program.

    The number of behaviours must be one of `rules.looks`; for any other number nothing is decided.
    Examples with an error of 0.1 and 15 samples: A A A A A -> alike; five behaviours -> scattered; five crashed ->
    crashed; A A A A B -> open; A A A A and one crashed -> open, since 0.6^4 + 0.4^4 = 0.155.
    After 10 samples, 8 A and 2 B -> settled, since such a lead has the probability 56/1024 = 0.055 with equal shares;
    7 A and 3 B (0.172) -> open. With an error of 1/3, A A A B C -> settled, since 3 against 1 has 5/16 = 0.3125.
    """
    if len(behaviours) not in rules.looks:
        return "open"
    votes = [count for _, count in Counter(b for b in behaviours if not is_crashed(b)).most_common()]
    if len(votes) == 1 and _chance_of_alike(votes[0]) <= rules.error:
        return "alike"
    if max(votes, default=0) <= closing_votes(rules.looks, rules.error)[rules.looks.index(len(behaviours))]:
        return "scattered" if votes else "crashed"
    if len(votes) > 1 and _chance_of_lead(votes[0], votes[1]) <= rules.error:
        return "settled"
    return "open"


def _chance_of_alike(votes: int) -> float:
    return float((1 - LEADING_SHARE) ** votes + LEADING_SHARE**votes)


def _chance_of_lead(first: int, second: int) -> float:
    """Return the probability that a fair coin gives at least `first` heads in `first + second` throws."""
    throws = first + second
    return sum(comb(throws, k) for k in range(first, throws + 1)) / 2**throws


@lru_cache(maxsize=64)
def closing_votes(looks: tuple[int, ...], error: float) -> tuple[int, ...]:
    """Return for each look the largest number of votes of a behaviour with which it has too few; -1: none does.

    The probability that a behaviour of the share 0.6 has so few votes at any of the looks is at most `error`: at every
    look, the number is the largest that the error left by the looks before allows.
    Example: `closing_votes((5, 10), 0.1)` -> `(1, 2)`: 0.4^5 + 5 * 0.6 * 0.4^4 = 0.0870 for at most one vote in the
    first batch, and 10 * 0.6^2 * 0.4^3 * 0.4^5 = 0.0024 for two in the first and none in the second, 0.0894 in all.
    """
    open_paths, spent, before, limits = {0: 1.0}, 0.0, 0, []
    for look in looks:
        open_paths, before = _throw(open_paths, look - before), look
        limit = -1
        while spent + open_paths.get(limit + 1, 0.0) <= error:
            limit += 1
            spent += open_paths.pop(limit, 0.0)
        limits.append(limit)
    return tuple(limits)


def _throw(paths: dict[int, float], samples: int) -> dict[int, float]:
    """Return the probabilities of the votes of a behaviour of the share 0.6 after more samples."""
    found: dict[int, float] = {}
    for votes, chance in paths.items():
        for more in range(samples + 1):
            binomial = comb(samples, more) * LEADING_SHARE**more * (1 - LEADING_SHARE) ** (samples - more)
            found[votes + more] = found.get(votes + more, 0.0) + chance * binomial
    return found


def plan_samples(known: Sequence[Sequence[Behaviour]], rules: AdaptiveRules) -> list[int]:
    """Return how many samples each problem is to have now, given the behaviours of its first samples.

    `known` holds for each problem, in the order of the round, the behaviours of all its samples so far, in their fixed
    order; more than the plan has asked for until now do no harm. Call it again when the samples that it asks for are
    known; if it asks for nothing more, the plan is complete. The same samples give the same plan, wherever it begins.

    First every problem is sampled until it is decided or has `full` samples. Then what the decided ones saved is
    given out in batches: one to each problem that is still open and has two or three behaviours, in the order of the
    round, then a second one, until `cap` is reached or less than a batch is left. So no more is sampled than `full`
    times the number of problems.
    Example with 15 samples, a cap of 20 and an error of 0.1: of three problems, one is alike after 5 samples; the two
    others have 8 A and 7 B after 15, so both get 20.
    """
    wanted = [_base_samples(behaviours, rules) for behaviours in known]
    if _is_waiting(known, wanted):
        return wanted
    saved = sum(rules.full - n for n in wanted)
    for size in range(rules.full, rules.cap - BATCH + 1, BATCH):
        for i, behaviours in enumerate(known):
            if wanted[i] == size and saved >= BATCH and _gets_more(behaviours[:size], rules):
                wanted[i], saved = size + BATCH, saved - BATCH
        if _is_waiting(known, wanted):
            break
    return wanted


def _base_samples(behaviours: Sequence[Behaviour], rules: AdaptiveRules) -> int:
    for look in rules.looks:
        if len(behaviours) < look or decide(behaviours[:look], rules) != "open":
            return look
    return rules.full


def _gets_more(behaviours: Sequence[Behaviour], rules: AdaptiveRules) -> bool:
    """Return whether a problem has two or three behaviours, of which none leads clearly."""
    votes = [count for _, count in Counter(b for b in behaviours if not is_crashed(b)).most_common()]
    return len(votes) in FEW_BEHAVIOURS and _chance_of_lead(votes[0], votes[1]) > rules.error


def _is_waiting(known: Sequence[Sequence[Behaviour]], wanted: Sequence[int]) -> bool:
    return any(len(behaviours) < n for behaviours, n in zip(known, wanted, strict=True))
