"""Write or read the fixture: blocks of every type and the values that ggml gives for them, without llama-cpp-python.

`python -m tests.gpu.fixture` writes it with ggml. `tests/gpu/test_check.py` holds it to the installed ggml.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

PATH = Path(__file__).with_name("blocks.safetensors")
ROWS, COLUMNS = 2, 256
TYPES = {
    "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q5_0": 6, "Q5_1": 7, "Q8_0": 8, "Q2_K": 10, "Q3_K": 11, "Q4_K": 12, "Q5_K": 13,
    "Q6_K": 14, "IQ2_XXS": 16, "IQ2_XS": 17, "IQ3_XXS": 18, "IQ1_S": 19, "IQ4_NL": 20, "IQ3_S": 21, "IQ2_S": 22,
    "IQ4_XS": 23, "IQ1_M": 29, "BF16": 30,
}  # fmt: skip
"""Name -> ggml's number of the type."""
Fixture = dict[str, tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]]


def read_fixture() -> Fixture:
    """Return type -> (blocks (rows, bytes), values (rows, columns))."""
    tensors = load_file(PATH)
    return {name: (tensors[f"{name}.blocks"], tensors[f"{name}.values"]) for name in TYPES}


def make_fixture() -> Fixture:
    """Return the same, made now: random bytes whose values are finite, unpacked by ggml."""
    from conself_local.model_files import ggml

    found: Fixture = {}
    for name, number in TYPES.items():
        random = np.random.default_rng(number)
        size = ggml.row_bytes(number, COLUMNS)
        while True:
            blocks = random.integers(0, 256, (ROWS, size), dtype=np.uint8)
            if number in (1, 30):
                blocks[:, 1::2] &= 0x3F
            values = ggml.unpack(number, blocks.reshape(-1), ROWS, COLUMNS)
            if np.isfinite(values).all():
                break
        found[name] = (blocks, values)
    return found


if __name__ == "__main__":
    pairs = make_fixture().items()
    save_file(
        {f"{name}.blocks": blocks for name, (blocks, _) in pairs}
        | {f"{name}.values": values for name, (_, values) in pairs},
        PATH,
    )
