"""Reads and writes files of arrays in the safetensors format with NumPy alone, for bundles that contain no other package."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TYPES: dict[str, Any] = {
    "I8": np.int8,
    "U8": np.uint8,
    "U16": np.uint16,
    "I32": np.int32,
    "U32": np.uint32,
    "U64": np.uint64,
    "F32": np.float32,
}
_ALIGNMENT = 8


def save(file: Path, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> None:
    """Write arrays of the types that `load` reads, and texts; the same content gives the same bytes."""
    names = {np.dtype(kind): name for name, kind in _TYPES.items()}
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    ordered = sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0]))  # so that each array is aligned
    for name, array in ordered:
        header[name] = {"dtype": names[array.dtype], "shape": list(array.shape), "data_offsets": [end, end + array.nbytes]}
        end += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    file.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(array.tobytes() for _, array in ordered))


def load(file: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Return the arrays of a file by name, and the texts of its metadata; raise ValueError if the file is damaged."""
    data = file.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8:end])
        metadata = header.pop("__metadata__", {})
        return {name: _array(data, end, entry) for name, entry in header.items()}, metadata
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} is not a complete safetensors file: {error}. Restore it from a copy.") from error


def _array(data: bytes, begin: int, entry: dict[str, Any]) -> NDArray[Any]:
    kind, shape, (start, stop) = _TYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
    array: NDArray[Any] = np.frombuffer(data, kind, math.prod(shape), begin + start).reshape(shape)
    if array.nbytes != stop - start:
        raise ValueError(f"an array has {stop - start} bytes, but its shape {shape} needs {array.nbytes}")
    return array
