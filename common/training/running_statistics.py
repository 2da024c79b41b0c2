"""Disables updates of running statistics during activation recomputation."""

import contextlib
import contextvars
from collections.abc import Iterator

_are_kept = contextvars.ContextVar("_are_kept", default=False)


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Within this context, batch norms in training do not update their running statistics."""
    token = _are_kept.set(True)
    try:
        yield
    finally:
        _are_kept.reset(token)


def are_kept() -> bool:
    """Whether this thread is within `kept`."""
    return _are_kept.get()
