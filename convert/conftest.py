"""Fixtures of the converter's tests."""

from collections.abc import Callable, Iterator

import pytest

from common import arch
from convert import detect


@pytest.fixture
def thin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every architecture with a sixteenth of its channels, under its own name.

    What files hold is recognised by names and shapes together, so that the converter has to
    know the thin networks in place of the real ones.
    """

    def narrowed(make: Callable[..., arch.Network]) -> Callable[..., arch.Network]:
        return lambda *args, **kwargs: arch.narrow(make(*args, **kwargs), 16)

    for name, make in list(arch.ARCHITECTURES.items()):
        monkeypatch.setitem(arch.ARCHITECTURES, name, narrowed(make))
    _forget()
    yield
    monkeypatch.undo()
    _forget()


def _forget() -> None:
    detect._default.cache_clear()
    detect._ends.cache_clear()
