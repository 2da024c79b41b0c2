"""What TensorBoard reads: a file of events, each a protocol buffer with length and checksums.

tensorboardX has the messages. Its own writer works in a thread, whose trouble (a full disk) nobody
hears of until the training waits for it; here an event is on its way when the call returns.
"""

import errno
import os
import struct
import time
from io import FileIO
from pathlib import Path
from typing import Any

import google_crc32c

_MASK = 0xA282EAD8  # of TFRecord files, which hold checksums of checksums


class EventFile:
    """A file of events in a folder, made anew; what others wrote there stays."""

    def __init__(self, folder: Path, first_step: int):
        """Begins with the word that events from `first_step` on of older files do not count.

        Raises:
            ImportError: tensorboardX is not installed.
        """
        try:
            from tensorboardX.proto import event_pb2, summary_pb2
        except ImportError as error:
            raise ImportError(
                "TensorBoard's files need tensorboardX: pip install 'i3d[torch]' or 'i3d[tf]', or "
                "do without them (--notensorboard)."
            ) from error
        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads them in the order of their names.
        path = folder / f"events.out.tfevents.{time.time_ns()}.i3d"
        self._file = path.open("wb", buffering=0)
        self._write(file_version="brain.Event:2")
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._write(step=first_step, session_log=start)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        items = [self._summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self._write(step=step, summary=self._summary(value=items))

    def picture(self, step: int, tag: str, encoded: bytes, height: int, width: int) -> None:
        """Adds an encoded picture of three channels: a PNG, or a GIF, which moves."""
        image = self._summary.Image(
            height=height, width=width, colorspace=3, encoded_image_string=encoded
        )
        self._write(
            step=step, summary=self._summary(value=[self._summary.Value(tag=tag, image=image)])
        )

    def close(self) -> None:
        self._file.close()

    def _write(self, **content: Any) -> None:
        data = self._event(wall_time=time.time(), **content).SerializeToString()
        length = struct.pack("<Q", len(data))
        append(self._file, length + _checksum(length) + data + _checksum(data))


def append(file: FileIO, data: bytes) -> None:
    """Writes at once, with nothing kept for later: there is no second error on closing.

    Raises:
        OSError: The disk takes no more; the text names the file.
    """
    try:
        if file.write(data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise OSError(f"{file.name!s}: cannot be written ({error.strerror}).") from error


def _checksum(data: bytes) -> bytes:
    checksum = google_crc32c.value(data)
    rotated = (checksum >> 15 | checksum << 17) & 0xFFFFFFFF
    return struct.pack("<I", (rotated + _MASK) & 0xFFFFFFFF)
