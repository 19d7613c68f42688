"""Read the rows of a Parquet file, as Hugging Face publishes data sets, in a limited child process.

A Parquet file may claim any size and unpack to any size, and its parser is a large library in C++. So the child's
memory and time are limited, and what the file claims is checked before a value is read. Columns that no format of
problems uses are never read: LiveCodeBench's private tests are pickles, and solutions are not wanted.
Needs pyarrow, the extra `parquet`. Not covered: what a row means (`load.py`).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from conself_local.errors import ConselfError
from conself_local.machine.limited_child import LimitedChild

PARQUET_MAGIC = b"PAR1"
MEMORY_BYTES = 2**31
"""Address space of the child; the libraries alone take a part of it."""
WORK_SECONDS = 20
"""Processor time of the child per batch of rows."""
UNREAD_COLUMNS = frozenset(("private_test_cases", "solutions", "raw_solutions", "query", "response"))
"""Columns that are never read."""


def parquet_rows(path: Path, most_rows: int, most_bytes: int, most_ratio: int) -> Iterator[dict[str, Any] | str]:
    """Yield each row as a record, or why it is none.

    most_bytes: the size of a row as JSON. most_ratio: the times that the columns that are read may be larger than the
    file, if they are larger than `most_bytes`. Raises ConselfError without pyarrow, ValueError if the file is damaged
    or breaks a limit.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise ConselfError(
            f"{path} is a Parquet file, and pyarrow is not installed",
            "install it with: pip install 'conself-local[parquet]'",
        )
    request = {"path": str(path.absolute()), "rows": most_rows, "bytes": most_bytes, "ratio": most_ratio}
    with LimitedChild("conself_local.problems.parquet_child", WORK_SECONDS) as child:
        while rows := child.ask(request):
            yield from rows
