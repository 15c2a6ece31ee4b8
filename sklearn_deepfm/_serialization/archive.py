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
import re
import secrets
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from sklearn_deepfm._serialization.plain_values import Damaged, PlainData, objects

_TREE = "content.json"
_SCALARS = str, int, float, bool, type(None)
_KEY = "sklearn_deepfm"
_NUMBERS = "i2", "i4", "i8", "u2", "u4", "u8", "f2", "f4", "f8"
# Little-endian only, so that a file means the same on every machine; no objects, which would need
# pickle.
_DTYPES = {"|b1", "|i1", "|u1"} | {f"<{kind}" for kind in _NUMBERS}

# What a model's content has beyond this is long: names, strings, and numbers of arrays.
_MOST_SHORT_LISTS, _BYTES_PER_LIST = 2**16, 8
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"')


def write(path: str | os.PathLike[str], content: PlainData, beside: str | None = None) -> None:
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
        # Each entry is a ZipInfo, which has a fixed date: equal content gives equal bytes.
        archive.writestr(zipfile.ZipInfo(_TREE), tree)
        for number, array in enumerate(arrays):
            # The size is unknown while the entry is opened, and may exceed 2 GiB.
            with archive.open(zipfile.ZipInfo(str(number)), "w", force_zip64=True) as entry:
                entry.write(array.data.cast("B") if array.size else b"")


def read(path: str | os.PathLike[str]) -> PlainData:
    """The plain data of a file.

    Raises
    ------
    ValueError
        If it is another kind of file, is cut short, or has changed since it was written.
    """
    path = checked_path(path)
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


def _damaged(path: str | os.PathLike[str], error: Exception) -> Damaged:
    return Damaged(
        f"{os.fspath(path)!r} is no file that sklearn_deepfm has written, or it is damaged: "
        f"{error}. Take another copy of it."
    )


def checked_path(path: object) -> str:
    """The path as a string.

    Raises
    ------
    TypeError
        If it is none.
    """
    name = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(name, str):
        raise TypeError(
            f"path must name a file, as a string or a pathlib.Path, got {path!r}, of type "
            f"{type(path).__name__}."
        )
    return name


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], beside: str | None) -> Iterator[BinaryIO]:
    """A file to write to, which replaces `path` when the block ends without an error.

    Of a symbolic link, it replaces the file to which the link leads, as `open` does.
    """
    path = os.path.realpath(checked_path(path))
    folder, name = os.path.split(path)
    # In the same folder: only within one file system does a rename replace a file in one step.
    if beside is None:  # a part of the name, since a long one leaves no room for more
        beside = os.path.join(folder, f".{name[:32]}.{secrets.token_hex(8)}")
    else:
        with contextlib.suppress(FileNotFoundError):  # left by a process that was killed
            os.unlink(beside)
    # A new file, never one that a link of this name leads to, which others may have made. Not by
    # tempfile, whose files are for their owner alone.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    flags |= getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
    handle = os.open(beside, flags, _mode(path))
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


def _mode(path: str | os.PathLike[str]) -> int:
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


def _encoded(value: PlainData, where: str, arrays: list[np.ndarray]) -> PlainData:
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
            # The order of a set differs between processes.
            members = sorted(value, key=repr) if kind in (set, frozenset) else value
            values = [_encoded(v, f"{where}[{i}]", arrays) for i, v in enumerate(members)]
            return values if kind is list else {kind.__name__: values}
    raise TypeError(
        f"{where} is {value!r}, of type {type(value).__name__}, which cannot be saved without code "
        f"to make it again. Set it to a number, a string or None first, or use pickle or skops."
    )


def _at(where: str, key: PlainData) -> str:
    return f"{where}.{key}" if where else str(key)


def _read(archive: zipfile.ZipFile, size: int) -> PlainData:
    # Compressed or overlapping parts could take far more memory than the file has bytes.
    entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise Damaged("its parts are compressed")
    if sum(entry.file_size for entry in entries) > size:
        raise Damaged("its parts overlap")
    tree = archive.read(_TREE)
    _refuse_many_lists(tree)
    # Decoded while it is parsed: the tree as JSON has it is never in memory.
    content = json.loads(tree, object_pairs_hook=_Decoder(archive))
    if not isinstance(content, _Whole):
        raise Damaged("it holds something else")
    return content.content


def _refuse_many_lists(tree: bytes) -> None:
    """Refuse a text of little but brackets: an empty list takes 20 times the memory of its text."""
    most = _MOST_SHORT_LISTS + len(tree) // _BYTES_PER_LIST
    if tree.count(b"[") > most and _STRINGS.sub(b"", tree).count(b"[") > most:
        raise Damaged("it holds lists of nothing")


class _Whole:
    """The whole content of a file."""

    def __init__(self, content: PlainData) -> None:
        self.content = content


class _Decoder:
    """Inverse of `_encoded`, for the objects of the JSON: called on each, the inner ones first."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._taken: set[int] = set()  # numbers of the arrays that were read already
        self._is_whole = False

    def __call__(self, pairs: list[tuple[str, PlainData]]) -> PlainData:
        value = dict(pairs)
        kind = next(iter(value), "")
        content = value.get(kind)
        if kind == _KEY and len(value) == 1 and not self._is_whole:
            self._is_whole = True  # within it there is no other
            return _Whole(content)
        if kind == "array":
            return self._array(content, value["dtype"], value["shape"])
        if not isinstance(content, list):
            raise Damaged("it holds something else")
        if kind == "dict":
            return dict(content)
        if kind == "objects":
            return objects(content, value.get("dtype"), kind)
        kinds = {"tuple": tuple, "set": set, "frozenset": frozenset}
        if kind not in kinds:
            raise Damaged("it holds something else")
        return kinds[kind](content)

    def _array(self, number: PlainData, dtype: PlainData, shape: PlainData) -> np.ndarray:
        """Read array `number`, if it is read for the first time and has the size of its shape."""
        # Each array once: a tree that names one a thousand times would take its memory as often.
        if type(number) is not int or number in self._taken:
            raise Damaged(f"array {number} stands in two places")
        self._taken.add(number)
        if dtype not in _DTYPES or not all(type(n) is int and n >= 0 for n in shape):
            raise Damaged("it holds an array of another type")
        n_bytes = np.dtype(dtype).itemsize * math.prod(shape)
        # Compared before anything is read, for the shape may ask for any amount of memory.
        entry = self._archive.getinfo(str(number))
        if entry.file_size != n_bytes or entry.compress_size != n_bytes:
            raise Damaged(f"array {number} has another size than it says")
        content = bytearray()  # not bytes, which would make the array read-only
        with self._archive.open(entry) as file:
            while part := file.read(2**24):
                content += part
        return np.frombuffer(content, dtype).reshape(shape)
