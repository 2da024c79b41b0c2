"""Progress of a run: a bar on a terminal, a line a minute in a log."""

import sys
import time

from tqdm import tqdm

_PAUSE = 60.0  # seconds between two lines in a log


class Progress:
    """Counts items on stderr, with their rate and the time left.

    Items that were done before take no time and say nothing about the others, so they do not count
    in the rate, and the clock starts after them.
    """

    def __init__(self, command: str, total: int):
        self._bar = tqdm(
            total=total, desc=command, unit="item", dynamic_ncols=True, smoothing=0,
            disable=not sys.stderr.isatty(),
        )  # fmt: skip
        self._command = command
        self._total = total
        self._count = self._skipped = self._failed = self._frames = self._waiting = 0
        self._start = self._said = time.monotonic()

    def add(self, failed: bool, skipped: bool = False, frames: int = 0) -> None:
        """Counts an item that failed, was done before, or has so many frames."""
        if skipped and self._count == self._skipped:
            self._start = time.monotonic()
            self._bar.start_t = time.time()
        self._count += 1
        self._skipped += skipped
        self._failed += failed
        self._frames += frames
        self._bar.initial = self._skipped
        self._show(1)

    def wait(self, count: int) -> None:
        """Shows that the last `count` items are in the hands of another process."""
        self._waiting = count
        self._show(0)
        self._bar.refresh()

    def close(self) -> None:
        self._bar.close()

    def _show(self, new: int) -> None:
        now = time.monotonic()
        seconds, worked = now - self._start, self._count - self._skipped
        failed = f"{self._failed} failed"
        notes = (
            [f"{self._frames / seconds:.3g} frames a second"] if self._frames and seconds else []
        )
        if self._waiting:
            notes = [f"waiting for {self._waiting} in the hands of another process"]
        self._bar.set_postfix_str(", ".join([failed] * bool(self._failed) + notes), refresh=False)
        self._bar.update(new)
        if self._bar.disable and now - self._said >= _PAUSE:
            self._said = now
            if worked and seconds and not self._waiting:
                left = tqdm.format_interval(seconds / worked * (self._total - self._count))
                notes = [f"{worked / seconds:.2g} a second", *notes, f"{left} left"]
            line = [f"{self._command}: {self._count} of {self._total} items", failed, *notes]
            print(", ".join(line), file=sys.stderr, flush=True)
