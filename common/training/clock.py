"""How fast a run trains, and how long it waits for data."""

import time


class Clock:
    """Time since the last note, without what is no training: evaluations and snapshots."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._waited = self._waited_before = 0.0
        self._steps = 0

    def waited(self, seconds: float) -> None:
        """A step begins, and so long has been waited for data in all."""
        self._waited = seconds
        self._steps += 1

    def skip(self) -> None:
        """What went by since the last note does not count."""
        self._start, self._steps = time.monotonic(), 0
        self._waited_before = self._waited

    def lap(self, batch: int) -> dict[str, float]:
        """Rate of clips and share of time that was waited for data, since the last note."""
        seconds = max(time.monotonic() - self._start, 1e-9)
        found = {
            "clips_per_second": self._steps * batch / seconds,
            "data_wait": min(1.0, (self._waited - self._waited_before) / seconds),
        }
        self.skip()
        return found
