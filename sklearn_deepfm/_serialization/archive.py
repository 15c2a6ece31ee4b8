"""Files of plain data: JSON and arrays in a zip archive, which is read without running code.

A file is written under another name and renamed when it is complete, so that a write that fails
leaves the old file as it was.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import secrets
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from sklearn_deepfm._serialization.plain_values import Damaged, objects

_TREE = "content.json"
_SCALARS = str, int, float, bool, type(None)
_KEY = "sklearn_deepfm"
_NUMBERS = "i2", "i4", "i8", "u2", "u4", "u8", "f2", "f4", "f8"
# Little-endian only, so that a file means the same on every machine; no objects, which would need
# pickle.
_DTYPES = {"|b1", "|i1", "|u1"} | {f"<{kind}" for kind in _NUMBERS}


def write(path: str | os.PathLike, content: Any, beside: str | None = None) -> None:
    """Write plain data to a file, in place of what it held.

    Parameters
    ----------
    path : str or path-like
    content : plain data
    beside : str, default=None
        Temporary file, which is renamed to `path` at the end. None: a new file in the same
        folder, of a random name.

    Raises
    ------
    TypeError
        If something in it is not plain data; the message says where.
    """
    arrays: list[np.ndarray] = []
    tree = json.dumps({_KEY: _encoded(content, "", arrays)}).encode()
    with replacing(path, beside) as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr(_TREE, tree)
        for number, array in enumerate(arrays):
            # The size is unknown while the entry is opened, and may exceed 2 GiB.
            with archive.open(str(number), "w", force_zip64=True) as entry:
                entry.write(array.data.cast("B") if array.size else b"")


def read(path: str | os.PathLike) -> Any:
    """The plain data of a file.

    Raises
    ------
    ValueError
        If it is another kind of file, is cut short, or has changed since it was written.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(archive, os.path.getsize(path))
    except OSError as error:
        if error.errno != errno.EINVAL:  # a seek to an impossible offset, of a damaged file
            raise
        raise _damaged(path, error) from error
    except (
        Damaged,
        EOFError,
        LookupError,
        MemoryError,
        OverflowError,
        RuntimeError,  # RecursionError among them: lists nested too deeply
        TypeError,
        ValueError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise _damaged(path, error) from error


def _damaged(path: str | os.PathLike, error: Exception) -> Damaged:
    return Damaged(
        f"{os.fspath(path)!r} is no file that sklearn_deepfm has written, or it is damaged: "
        f"{error}. Take another copy of it."
    )


@contextlib.contextmanager
def replacing(path: str | os.PathLike, beside: str | None) -> Iterator[Any]:
    """A file to write to, which replaces `path` when the block ends without an error."""
    folder, name = os.path.split(os.path.abspath(path))
    flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0)
    # In the same folder: only within one file system does a rename replace a file in one step.
    if beside is None:
        beside = os.path.join(folder, f".{name}.{secrets.token_hex(8)}")
        flags |= os.O_EXCL
    # Not by tempfile, whose files are for their owner alone.
    handle = os.open(beside, flags | os.O_TRUNC, _mode(path))
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            # On disk before the rename, or a power cut could leave the name with half the content.
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        os.unlink(beside)
        raise
    _sync(folder)


def _mode(path: str | os.PathLike) -> int:
    """Permissions of the file to replace, or those of any new file."""
    try:
        return os.stat(path).st_mode & 0o777
    except FileNotFoundError:
        return 0o666


def _sync(folder: str) -> None:
    """Write the new name to disk as well, where the system allows it."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _encoded(value: Any, where: str, arrays: list[np.ndarray]) -> Any:
    """A value for JSON: lists and scalars as they are, others as an object that names their kind.

    Arrays are appended to `arrays` and stand in the JSON as their number there; `where` is the path
    to the value, for the error message.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if type(value) in _SCALARS:
        return value
    if isinstance(value, np.ndarray) and value.dtype.newbyteorder("<").str in _DTYPES:
        array = np.asarray(value, value.dtype.newbyteorder("<"), order="C")
        arrays.append(array)
        return {"array": len(arrays) - 1, "dtype": array.dtype.str, "shape": list(array.shape)}
    if isinstance(value, np.ndarray) and value.dtype.kind in "OU":
        values = [_encoded(v, f"{where}[{i}]", arrays) for i, v in enumerate(value.tolist())]
        return {"objects": values, "dtype": value.dtype.str}
    if isinstance(value, dict):
        items = value.items()
        return {
            "dict": [
                [_encoded(k, where, arrays), _encoded(v, _at(where, k), arrays)] for k, v in items
            ]
        }
    for kind in (list, tuple, set, frozenset):
        if type(value) is kind:
            values = [_encoded(v, f"{where}[{i}]", arrays) for i, v in enumerate(value)]
            return values if kind is list else {kind.__name__: values}
    raise TypeError(
        f"{where} is {value!r}, of type {type(value).__name__}, which cannot be saved without code "
        f"to make it again. Set it to a number, a string or None first, or use pickle or skops."
    )


def _at(where: str, key: Any) -> str:
    return f"{where}.{key}" if where else str(key)


def _read(archive: zipfile.ZipFile, size: int) -> Any:
    # Compressed or overlapping parts could take far more memory than the file has bytes.
    entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise Damaged("its parts are compressed")
    if sum(entry.file_size for entry in entries) > size:
        raise Damaged("its parts overlap")
    tree = json.loads(archive.read(_TREE))
    if not isinstance(tree, dict) or set(tree) != {_KEY}:
        raise Damaged("it holds something else")
    return _decoded(tree[_KEY], archive, set())


def _array(archive: zipfile.ZipFile, taken: set, number: Any, dtype: Any, shape: Any) -> np.ndarray:
    """Read array `number`, which must not be in `taken`, if its entry has the size of its shape."""
    # Each array once: a tree that names one a thousand times would take its memory as often.
    if type(number) is not int or number in taken:
        raise Damaged(f"array {number} stands in two places")
    taken.add(number)
    if dtype not in _DTYPES or not all(type(n) is int and n >= 0 for n in shape):
        raise Damaged("it holds an array of another type")
    n_bytes = np.dtype(dtype).itemsize * math.prod(shape)
    # Compared before anything is read, for the shape may ask for any amount of memory.
    entry = archive.getinfo(str(number))
    if entry.file_size != n_bytes or entry.compress_size != n_bytes:
        raise Damaged(f"array {number} has another size than it says")
    content = bytearray()  # not bytes, which would make the array read-only
    with archive.open(entry) as file:
        while part := file.read(2**24):
            content += part
    return np.frombuffer(content, dtype).reshape(shape)


def _decoded(value: Any, archive: zipfile.ZipFile, taken: set) -> Any:
    """Inverse of `_encoded`; `taken` holds the numbers of the arrays that were read already."""
    if isinstance(value, list):
        return [_decoded(item, archive, taken) for item in value]
    if not isinstance(value, dict):
        return value
    kind = next(iter(value), None)
    content = value.get(kind)
    if kind == "array":
        return _array(archive, taken, content, value["dtype"], value["shape"])
    if not isinstance(content, list):
        raise Damaged("it holds something else")
    if kind == "dict":
        return {
            _decoded(key, archive, taken): _decoded(item, archive, taken) for key, item in content
        }
    items = [_decoded(item, archive, taken) for item in content]
    if kind == "objects":
        return objects(items, value.get("dtype"), kind)
    kinds = {"tuple": tuple, "set": set, "frozenset": frozenset}
    if kind not in kinds:
        raise Damaged("it holds something else")
    return kinds[kind](items)
