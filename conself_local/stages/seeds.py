"""Derive each seed from the purpose that it serves, never from a slot or from the order of work."""

from __future__ import annotations

import hashlib

MAX_SEED = 10**9 - 1
"""Largest seed that a user may give, of a round or of anything else that is drawn; the least is 0."""


def seed_for(*names: object) -> int:
    """Return a seed of 32 bits for names such as (round seed, problem, observation, index); equal names, equal seed.

    It is the first four bytes of a SHA-256, read as a big-endian number.
    """
    digest = hashlib.sha256("\0".join(map(str, names)).encode()).digest()
    return int.from_bytes(digest[:4], "big")
