"""What a stranger's HDF5 file claims, looked at before any of its arrays takes memory."""

from __future__ import annotations

import math
from collections.abc import Collection

import h5py

_KINDS = "fiubV"  # of numbers; bfloat16 is two bytes without a name
_SPARE = 2**20  # numbers that a chunk may have beside its array's


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
    groups, seen = [file["/"]], set()
    while groups:
        group = groups.pop()
        for name in group:
            place = f"{group.name.rstrip('/')}/{name}"
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
            address = h5py.h5o.get_info(item.id).addr
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
    if array.size > most:
        raise ValueError(f"the array {place} claims {array.size} numbers, expected at most {most}")
    if math.prod(array.chunks or ()) > array.size + _SPARE:
        raise ValueError(f"the array {place} of {array.size} numbers lies in chunks of {array.chunks}")
