"""How far a run is: a bar on a terminal, a line now and then in a log."""

import sys
import time

_PAUSE = 60.0  # seconds between two lines in a log


class Progress:
    """Counts items on stderr, with their rate and the time that is left."""

    def __init__(self, command: str, total: int):
        from tqdm import tqdm

        self._terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=total, desc=command, unit="item", dynamic_ncols=True, disable=not self._terminal
        )
        self._command = command
        self._total = total
        self._count = 0
        self._failed = 0
        self._start = self._said = time.monotonic()

    def add(self, failed: bool) -> None:
        """Counts an item that has been dealt with."""
        self._count += 1
        self._failed += failed
        if failed:
            self._bar.set_postfix_str(f"{self._failed} failed", refresh=False)
        self._bar.update()
        if not self._terminal and time.monotonic() - self._said >= _PAUSE:
            self._said = time.monotonic()
            print(self._line(self._said - self._start), file=sys.stderr, flush=True)

    def close(self) -> None:
        self._bar.close()

    def _line(self, seconds: float) -> str:
        from tqdm import tqdm

        left = tqdm.format_interval(seconds / self._count * (self._total - self._count))
        return (
            f"{self._command}: {self._count} of {self._total} items, {self._failed} failed, "
            f"{self._count / seconds:.2g} a second, {left} left"
        )
