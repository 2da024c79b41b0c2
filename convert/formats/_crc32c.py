"""CRC-32C as TensorFlow and LevelDB store it: masked, as their data may hold CRCs itself."""

import google_crc32c
import numpy as np

from convert.formats._mapped_file import Bytes, pieces

_MASK_DELTA = 0xA282EAD8


def crc32c(data: bytes | Bytes) -> int:
    """The plain CRC-32C (Castagnoli) of `data`."""
    checksum = 0
    # The C extension takes bytes and contiguous arrays, but no memoryview.
    for piece in pieces(np.frombuffer(data, np.uint8)) if len(data) else ():
        checksum = int(google_crc32c.extend(checksum, piece))
    return checksum


def masked(data: bytes | Bytes) -> int:
    """The checksum of `data` as it is stored: rotated right by 15 bits, plus a constant."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF
