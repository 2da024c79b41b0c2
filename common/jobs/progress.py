"""Progress of a run: a bar on a terminal, a line a minute in a log."""

import sys
import time

_PAUSE = 60.0  # seconds between two lines in a log


class Progress:
    """Counts items on stderr, with their rate and the time left.

    Items that were done before take no time and say nothing about the others, so they do not count
    in the rate, and the clock starts after them.
    """

    def __init__(self, command: str, total: int):
        from tqdm import tqdm

        self._terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=total, desc=command, unit="item", dynamic_ncols=True, smoothing=0,
            disable=not self._terminal,
        )  # fmt: skip
        self._command = command
        self._total = total
        self._count = 0
        self._skipped = 0
        self._failed = 0
        self._frames = 0
        self._waiting = 0
        self._start = self._said = time.monotonic()

    def add(self, failed: bool, skipped: bool = False, frames: int = 0) -> None:
        """Counts an item.

        Args:
            failed: It could not be done.
            skipped: It was done before.
            frames: Its frames, if the task counts them.
        """
        if skipped and self._count == self._skipped:
            self._start = time.monotonic()
            self._bar.start_t = time.time()
        self._count += 1
        self._skipped += skipped
        self._failed += failed
        self._frames += frames
        self._bar.initial = self._skipped
        self._note()
        self._bar.update()
        self._say()

    def wait(self, count: int) -> None:
        """Shows that the last `count` items are in the hands of another process."""
        self._waiting = count
        self._note()
        self._bar.refresh()
        self._say()

    def close(self) -> None:
        self._bar.close()

    def _note(self) -> None:
        notes = [f"{self._failed} failed"] if self._failed else []
        notes += self._frame_rate(time.monotonic() - self._start)
        if self._waiting:
            notes.append(f"waiting for {self._waiting} in the hands of another process")
        self._bar.set_postfix_str(", ".join(notes), refresh=False)

    def _say(self) -> None:
        if not self._terminal and time.monotonic() - self._said >= _PAUSE:
            self._said = time.monotonic()
            print(self._line(self._said - self._start), file=sys.stderr, flush=True)

    def _line(self, seconds: float) -> str:
        from tqdm import tqdm

        line = f"{self._command}: {self._count} of {self._total} items, {self._failed} failed"
        if self._waiting:
            return f"{line}, waiting for {self._waiting} in the hands of another process"
        worked = self._count - self._skipped
        if not (worked and seconds):
            return line
        left = tqdm.format_interval(seconds / worked * (self._total - self._count))
        rates = [f"{worked / seconds:.2g} a second", *self._frame_rate(seconds)]
        return f"{line}, {', '.join(rates)}, {left} left"

    def _frame_rate(self, seconds: float) -> list[str]:
        return [f"{self._frames / seconds:.3g} frames a second"] if self._frames and seconds else []
