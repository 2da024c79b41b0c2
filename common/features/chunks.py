"""Parts of a clip, run one after another, that together give the rows of the whole.

Parts overlap, and rows that see beyond an end of their part which is not one of the clip are left
out. So every row is made from the frames and the padding that it is made from in the whole, and
is the same number but for the order of sums.
"""

from dataclasses import dataclass

import numpy as np

from common import arch


@dataclass(frozen=True)
class Chunk:
    """A part of a clip, and what it gives.

    Attributes:
        start: Its first frame.
        stop: One past its last frame.
        rows: Rows of the whole that it gives.
        skip: Rows that it gives before those: they see beyond its start.
    """

    start: int
    stop: int
    rows: slice
    skip: int

    @property
    def kept(self) -> slice:
        """Those of the chunk's own rows that are `rows` of the whole."""
        return slice(self.skip, self.skip + self.rows.stop - self.rows.start)


def plan(net: arch.Network, endpoint: str, frames: int, most: int) -> list[Chunk]:
    """Divides a clip into chunks that give every row of an endpoint once, in order.

    A clip of up to `most` frames is one chunk. Of more, all chunks but the last have one length:
    the greatest up to `most` with which a chunk ends as the clip does, see `arch.Spans.period`.

    Args:
        net: The network.
        endpoint: One whose rows see a part of the clip.
        frames: Frames of the clip.
        most: Frames that are run at once, at most.

    Raises:
        ValueError: `most` frames cannot hold what some row sees, or `arch.time_spans` has no rows
            for this clip and endpoint.
    """
    spans = arch.time_spans(net, endpoint, frames)
    total, period = len(spans.first), spans.period

    # Lengths that leave the clip's remainder; the network must be able to run the shortest.
    shortest = arch.smallest_size(net)[0]
    shortest += (frames - shortest) % period
    # For each row, the latest start of a chunk that gives it, and how long that must be.
    starts = np.minimum(np.maximum(spans.first, 0) // period * period, frames - shortest)
    needed = np.maximum(np.minimum(spans.last + 1, frames) - starts, shortest)
    least = int((needed + (frames - needed) % period).max())
    if most < least:
        raise ValueError(
            f"{net.name}: chunks are too short for what a row of {endpoint} sees of a clip of"
            f" {frames} frames. Expected at least {least} frames. Received: {most}."
        )
    length = min(most, frames)
    length -= (length - frames) % period

    chunks = []
    row = 0
    while row < total:
        start = int(starts[row])
        stop = min(start + length, frames)
        end = total if stop == frames else int(np.searchsorted(spans.last, stop))
        chunks.append(Chunk(start, stop, slice(row, end), row - start // spans.step))
        row = end
    return chunks
