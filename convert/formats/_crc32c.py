"""CRC-32C as TensorFlow and LevelDB store it: masked, as their data may hold CRCs itself."""

import google_crc32c
import numpy as np

from convert.formats._mapped_file import Bytes, pieces

_MASK_DELTA = 0xA282EAD8


def crc32c(data: bytes | Bytes, start: int = 0) -> int:
    """The plain CRC-32C (Castagnoli) of `data`, going on from the checksum `start`."""
    # The C extension takes bytes and contiguous arrays, but no memoryview.
    for piece in pieces(np.frombuffer(data, np.uint8)) if len(data) else ():
        start = int(google_crc32c.extend(start, piece))
    return start


def mask(crc: int) -> int:
    """The checksum as it is stored: rotated right by 15 bits, plus a constant."""
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def masked(data: bytes | Bytes) -> int:
    """The masked CRC-32C of `data`."""
    return mask(crc32c(data))
