"""Whether batch norms in training average what they find; for what is computed a second time."""

import contextlib
import contextvars
from collections.abc import Iterator

_are_kept = contextvars.ContextVar("_are_kept", default=False)


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """In here, batch norms in training leave their running statistics as they are."""
    token = _are_kept.set(True)
    try:
        yield
    finally:
        _are_kept.reset(token)


def are_kept() -> bool:
    """Whether this is within `kept`, in this thread."""
    return _are_kept.get()
