"""What a stranger's HDF5 file claims, looked at before any of its arrays takes memory."""

from __future__ import annotations

import contextlib
import io
import math
import mmap
import os
from collections.abc import Collection, Iterator

import h5py

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_SIZES_AT = {0: 13, 1: 13, 2: 9, 3: 9}  # by the version: where the sizes of addresses and of lengths stand
_HEAP = b"GCOL\x01"  # a collection of texts of any length
_OBJECT = 16  # bytes before an object of a collection: number, references, length

_KINDS = "fiubV"  # of numbers; bfloat16 is two bytes without a name
_SPARE = 2**20  # numbers that a chunk may have beside its array's


@contextlib.contextmanager
def open_h5(source: str | os.PathLike | bytes) -> Iterator[h5py.File]:
    """An HDF5 file opened for reading, after a look at what the library goes round and round in.

    Reading a text enters a collection of them, whose objects' lengths lead from one to the next: one of zero never
    ends (HDF5 1.14), and one too long leads anywhere.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError, OSError: it is no HDF5 file, or such a collection is damaged.
    """
    with contextlib.ExitStack() as stack:
        if isinstance(source, bytes):
            content, opened = source, io.BytesIO(source)
        else:
            file = stack.enter_context(open(source, "rb"))
            size = os.fstat(file.fileno()).st_size
            content = stack.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) if size else b""
            opened = source
        _check_heaps(content)
        yield stack.enter_context(h5py.File(opened))


def _check_heaps(content: bytes | mmap.mmap) -> None:
    start = content[: len(_SIGNATURE) + 8]
    sizes = _SIZES_AT.get(start[8]) if len(start) == 16 else None
    if start[:8] != _SIGNATURE or sizes is None:
        raise ValueError("it does not begin as an HDF5 file does")
    if content[sizes : sizes + 2] != b"\x08\x08":
        raise ValueError("its addresses and lengths are not of 8 bytes")
    place = content.find(_HEAP)
    while place >= 0:
        _check_heap(content, place)
        place = content.find(_HEAP, place + 1)


def _check_heap(content: bytes | mmap.mmap, place: int) -> None:
    end = place + int.from_bytes(content[place + 8 : place + 16], "little")
    here = place + 16
    while here + _OBJECT <= end:
        number = int.from_bytes(content[here : here + 2], "little")
        length = int.from_bytes(content[here + 8 : here + 16], "little")
        step = _OBJECT + -(-length // 8) * 8 if number else length  # number 0 is what is free, with its own head
        if not _OBJECT <= step <= end - here or end > len(content):
            raise ValueError(f"the collection of texts at byte {place} is damaged")
        here += step


def check_h5(
    file: h5py.File, shapes: Collection[tuple[int, ...]] | None, most: int, unread: Collection[str] = ()
) -> None:
    """Refuse a file with anything but plain arrays of known shapes.

    Links to other places and files, virtual arrays and arrays in other files are refused, and so are chunks much larger
    than their array, which are decompressed whole.

    Args:
        file: the open file.
        shapes: of the variables that the arrays are for; None where others are passed over.
        most: numbers in an array at most.
        unread: names of groups, at any depth, that nobody reads.

    Raises:
        ValueError: the file is refused; names the array.
    """
    groups: list[h5py.Group] = [file]
    seen = set()
    while groups:
        group = groups.pop()
        for name in group:
            place = f"{(group.name or '').rstrip('/')}/{name}"
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ValueError(f"{place} is a link to another place, expected an array")
            if name in unread:  # of the model, or of one that it is made of
                continue
            item = group[name]
            if isinstance(item, h5py.Dataset):
                _check_array(item, place, shapes, most)
                continue
            if not isinstance(item, h5py.Group):
                raise ValueError(f"{place} is a type, expected an array")
            address = h5py.h5o.get_info(item.id).addr  # pyright: ignore[reportAttributeAccessIssue]
            if address not in seen:  # a group may hold itself
                seen.add(address)
                groups.append(item)


def _check_array(array: h5py.Dataset, place: str, shapes: Collection[tuple[int, ...]] | None, most: int) -> None:
    if array.is_virtual or array.external:
        raise ValueError(f"the array {place} lies in other files, expected it in this one")
    if array.dtype.kind not in _KINDS or array.dtype.hasobject:
        raise ValueError(f"the array {place} is of {array.dtype}, expected numbers")
    if array.shape is None or (shapes is not None and array.shape not in shapes):
        raise ValueError(f"the array {place} has the shape {array.shape}, which no variable has")
    size = math.prod(array.shape)
    if size > most:
        raise ValueError(f"the array {place} claims {size} numbers, expected at most {most}")
    if math.prod(array.chunks or ()) > size + _SPARE:
        raise ValueError(f"the array {place} of {size} numbers lies in chunks of {array.chunks}")
