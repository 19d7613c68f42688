"""Check in under six minutes that a graphics card trains as the processor does: `python tests/gpu/check.py`.

It needs no network, no data and no llama-cpp-python, only torch 2.11 or newer, transformers, peft, numpy, gguf and
safetensors (and TRL, for one comparison). It prints a table with ratios, what it skipped and why, and ends with status
1 if a goal was missed. `--device cpu` makes the same checks on the processor with tiny shapes, in a few seconds.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
os.environ.setdefault("HF_HUB_OFFLINE", "1")

_SECONDS = 350.0
_MEMORY_SECONDS = {"7B": 90.0, "1.5B": 45.0, "14B": 120.0}
"""Shape -> the seconds that its training may take on a slow card."""


def main(arguments: list[str] | None = None) -> int:
    """Run all checks and print the table; return 1 if one failed or missed its goal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("auto", "cpu"), default="auto", help="auto: the first graphics card")
    parser.add_argument("--folder", type=Path, help="where models are written: up to 9 GB (default: temporary files)")
    parser.add_argument("--seconds", type=float, default=_SECONDS, help="checks that may take longer are skipped")
    parser.add_argument("--without-trl", action="store_true", help="leave TRL out, which takes long to import")
    options = parser.parse_args(arguments)
    missing = _missing()
    if missing:
        print(f"this check needs {', '.join(missing)}: pip install {' '.join(missing)}")
        return 2
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        return _check(options, Path(folder))


def _missing() -> list[str]:
    from importlib.util import find_spec

    return [name for name in ("torch", "transformers", "peft", "numpy", "gguf", "safetensors") if not find_spec(name)]


def _check(options: argparse.Namespace, folder: Path) -> int:
    from tests.gpu import exactness, training
    from tests.gpu.device import describe, has_ggml, open_device
    from tests.gpu.report import Report

    warnings.simplefilter("ignore", FutureWarning)
    compute, device = open_device(options.device), options.device
    if device != "cpu" and compute.device.type == "cpu":
        print(
            "torch finds no graphics card that it can use; `conself doctor` says why, --device cpu checks without one"
        )
        return 2
    print(describe(compute), flush=True)
    report = Report(options.seconds)
    if not has_ggml():
        report.skip("ggml on this machine", "llama-cpp-python is not installed; the fixture has ggml's values")
    is_card = compute.device.type != "cpu"

    def memory(shape: str, size_gb: int) -> tuple[str, float, Callable[[], None]]:
        check = partial(training.check_memory, report, device, folder, shape, size_gb)
        return f"(c) {shape} in {size_gb} GB", _MEMORY_SECONDS[shape], check

    with_trl = not options.without_trl
    layers = ("layers of the bundled model", "layers of a 7B") if is_card else ("tiny",)
    parts = [
        ("(a) unpacking", 5.0, partial(exactness.check_unpacking, report, compute)),
        *((f"(b) {n}", 20.0, partial(exactness.check_gradients, report, compute, folder, n)) for n in layers),
        memory("7B", 8),
        ("(e) kill and resume", 60.0, partial(training.check_resume, report, device, folder)),
        ("(d) speed", 60.0, partial(training.check_speed, report, device, folder, with_trl)),
        *((memory("1.5B", 4), memory("14B", 16)) if is_card else ()),
    ]
    for name, seconds, part in parts:
        report.run(name, seconds if is_card else 0.0, part)
    if not is_card:
        report.skip("(c) 1.5B and 14B", "on the processor, a tiny model stands for all of them")
    print(f"\n{report.table()}\n\n{'some goals were missed' if report.failed else 'no goal was missed'}")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
