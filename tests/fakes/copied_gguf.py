"""Copy a GGUF file with other metadata, other shapes, or with all values as float32."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np

_NONE: Mapping[str, tuple[int, ...]] = {}


def copy_gguf(
    source: Path,
    target: Path,
    more: Mapping[str, str | list[int]],
    *,
    numbers: Mapping[str, int | float] | None = None,
    shapes: Mapping[str, tuple[int, ...]] = _NONE,
    float32: bool = False,
) -> Path:
    """Write `source` to `target`, and return `target`.

    more: texts or lists of numbers for the metadata. numbers: values that replace others, or are new. shapes: other
    shapes for tensors, by name.
    """
    numbers = numbers or {}
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    for field in reader.fields.values():
        if not field.name.startswith(("GGUF.", "general.architecture")) and field.name not in numbers:
            item = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=item)
    for name, number in numbers.items():
        (writer.add_float32 if isinstance(number, float) else writer.add_int32)(name, number)
    for key, value in more.items():
        if isinstance(value, str):
            writer.add_string(key, value)
        else:
            writer.add_array(key, value)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32) if float32 else tensor.data
        quant_type = None if float32 else tensor.tensor_type
        writer.add_tensor(tensor.name, values.reshape(shapes.get(tensor.name, values.shape)), raw_dtype=quant_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target
