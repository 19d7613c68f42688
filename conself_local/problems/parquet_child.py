"""Read a Parquet file in a limited child process, batch by batch; `parquet_file.py` starts it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from conself_local.foreign_files import PARSER_ERRORS, open_regular, reason
from conself_local.machine.limited_child import serve
from conself_local.problems.parquet_file import MEMORY_BYTES, PARQUET_MAGIC, UNREAD_COLUMNS, WORK_SECONDS

_ROWS_TOGETHER = 16
_MAX_FOOTER_BYTES = 16 * 2**20
_MAX_TEXTS = 100_000
"""Texts and containers in the file's description."""
_MAX_PAGES_BYTES = 2**20

Row = tuple[int, dict[str, Any] | str]
"""The size of the row as JSON, and the row or why it gives no record."""


def main() -> None:
    """Answer each request with the next rows of its file, and with none at the end."""
    import pyarrow  # before the limits: loading it needs address space
    import pyarrow.parquet as parquet

    pyarrow.set_cpu_count(1)
    pyarrow.set_io_thread_count(1)
    rows: Iterator[list[dict[str, Any] | str]] | None = None

    def work(request: dict[str, Any]) -> list[dict[str, Any] | str]:
        nonlocal rows
        rows = rows or _replies(_rows(parquet, pyarrow.ArrowException, request), request["bytes"])
        return next(rows, [])

    serve(work, MEMORY_BYTES, WORK_SECONDS)


def _rows(parquet: Any, errors: type[Exception], request: dict[str, Any]) -> Iterator[Row]:
    try:
        with open_regular(Path(request["path"])) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 8))
            tail = file.read()
            if len(tail) < 8 or not tail.endswith(PARQUET_MAGIC):
                raise ValueError("its end is missing")
            if int.from_bytes(tail[:4], "little") > _MAX_FOOTER_BYTES:
                raise ValueError("its description is too large")
            table = parquet.ParquetFile(
                file,
                thrift_string_size_limit=_MAX_FOOTER_BYTES,
                thrift_container_size_limit=_MAX_TEXTS,
                pre_buffer=False,
                buffer_size=_MAX_PAGES_BYTES,
            )
            columns = _verified_columns(table, size, request)
            total = 0
            for batch in table.iter_batches(_ROWS_TOGETHER, columns=columns, use_threads=False):
                for number in range(batch.num_rows):
                    row = _row(batch, number, request["bytes"])
                    total += row[0]
                    if total > max(request["bytes"], request["ratio"] * size):
                        raise ValueError(f"it unpacks to more than {request['ratio']} times its size")
                    yield row
    except (OSError, errors) as error:
        if isinstance(error, PARSER_ERRORS):
            raise
        raise ValueError(reason(error)) from error


def _verified_columns(table: Any, size: int, request: dict[str, Any]) -> list[str]:
    """Return the columns that are read. Raises ValueError if the file claims more than the limits allow."""
    described = table.metadata
    if described.num_rows > request["rows"]:
        raise ValueError(f"it has more than {request['rows']} rows")
    columns = [name for name in table.schema_arrow.names if name not in UNREAD_COLUMNS]
    for group in (described.row_group(number) for number in range(described.num_row_groups)):
        chunks = (group.column(number) for number in range(group.num_columns))
        read = sum(c.total_uncompressed_size for c in chunks if c.path_in_schema.partition(".")[0] in columns)
        if read > max(request["bytes"], request["ratio"] * size):
            raise ValueError(f"it claims to unpack to more than {request['ratio']} times its size")
    return columns


def _row(batch: Any, row: int, most_bytes: int) -> Row:
    values = {name: column[row].as_py() for name, column in zip(batch.schema.names, batch.columns, strict=True)}
    text = json.dumps(values, default=str)
    return len(text), f"it is longer than {most_bytes} bytes" if len(text) > most_bytes else json.loads(text)


def _replies(rows: Iterator[Row], most_bytes: int) -> Iterator[list[dict[str, Any] | str]]:
    """Yield the rows in lists of at most `most_bytes` of JSON."""
    together: list[dict[str, Any] | str] = []
    total = 0
    for size, row in rows:
        if together and (total + min(size, most_bytes) > most_bytes or len(together) == _ROWS_TOGETHER):
            yield together
            together, total = [], 0
        together.append(row)
        total += min(size, most_bytes)
    if together:
        yield together


if __name__ == "__main__":
    main()
