import hashlib
import os
from pathlib import Path

import pytest

from common import assets
from common.assets import Asset
from common.io import AssetError, Digest, DigestError, sha256
from common.sources import PassedOver


class FakeSource:
    """Lands the contents it was made with, or raises."""

    def __init__(self, contents=(), error=None):
        self.contents, self.error, self.asked = dict(contents), error, []

    def provide(self, name, folder, land):
        self.asked.append(name)
        if self.error:
            raise self.error
        folder.mkdir(parents=True, exist_ok=True)
        for each, content in self.contents.items():
            (folder / ".temporary").write_bytes(content)
            try:
                land(each, folder / ".temporary")
            except DigestError as error:
                raise PassedOver(str(error)) from error
            finally:
                (folder / ".temporary").unlink(missing_ok=True)

    def __str__(self):
        return "a fake source"


def _asset(name, content, *sources):
    digest = sha256(hashlib.sha256(content).hexdigest())
    return Asset(f"the {name}", f"things/{name}", digest, sources)


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """The project's folder, two of I3D_DATA and the cache, all empty."""
    found = {name: tmp_path / name for name in ("project", "one", "two", "cache")}
    (found["project"] / "data").mkdir(parents=True)
    monkeypatch.setattr(assets, "_PACKAGE", found["project"] / "common")
    monkeypatch.setenv("I3D_DATA", os.pathsep.join([str(found["one"]), "", str(found["two"])]))
    monkeypatch.setenv("I3D_CACHE", str(found["cache"]))
    monkeypatch.delenv("I3D_OFFLINE", raising=False)
    found["project"] /= "data"
    return found


def _put(folder, name, content):
    path = folder / "things" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_the_order_of_the_places(places):
    source = FakeSource({"f": b"x"})
    asset = _asset("f", b"x", source)
    assert assets.fetch(asset) == places["cache"] / "things/f"
    for name in ("two", "one", "project"):
        path = _put(places[name], "f", b"x")
        assert assets.fetch(asset) == path
    assert source.asked == ["f"]


def test_sources_are_asked_in_order_and_the_cache_is_used(places, caplog):
    first, second = FakeSource(error=PassedOver("asleep")), FakeSource({"f": b"x"})
    asset = _asset("f", b"x", first, second)
    for _ in range(2):
        assert assets.fetch(asset).read_bytes() == b"x"
    assert first.asked == second.asked == ["f"]
    assert "passed over: a fake source (asleep)" in caplog.text


def test_bad_content_of_a_source_never_lands(places):
    asset = _asset("f", b"x", FakeSource({"f": b"<html>"}), FakeSource({"g": b"x"}))
    with pytest.raises(AssetError) as caught:
        assets.fetch(asset)
    text = str(caught.value)
    assert isinstance(caught.value, FileNotFoundError)
    assert text.startswith("the f: no source could provide things/f. Tried: ")
    for folder in places.values():
        assert str(folder / "things/f") in text
    assert "HTML page" in text
    assert "brought no f" in text
    assert "I3D_DATA" in text
    assert not (places["cache"] / "things/f").exists()


@pytest.mark.parametrize("place", ["project", "one", "cache"])
def test_a_file_that_is_not_the_one_is_an_error_and_stays(places, place):
    path = _put(places[place], "f", b"other")
    source = FakeSource({"f": b"x"})
    with pytest.raises(DigestError, match="things/f: not the expected file") as caught:
        assets.fetch(_asset("f", b"x", source))
    assert str(path) in str(caught.value)
    assert path.read_bytes() == b"other"
    assert source.asked == []


def test_files_that_belong_together_are_in_one_folder(places):
    both = FakeSource({"a": b"a", "b": b"b", "unasked": b""})
    pair = [_asset("a", b"a", both), _asset("b", b"b", both)]
    _put(places["one"], "a", b"a")
    _put(places["two"], "b", b"b")
    assert assets.fetch_together(pair) == [places["cache"] / f"things/{name}" for name in "ab"]
    assert both.asked == ["a"]  # it brought the other one too
    assert sorted(os.listdir(places["cache"] / "things")) == ["a", "b"]
    _put(places["two"], "a", b"a")
    assert assets.fetch_together(pair)[0] == places["two"] / "things/a"


def test_what_is_missing_in_the_cache_is_completed(places):
    _put(places["cache"], "a", b"a")
    source = FakeSource({"b": b"b"})
    pair = [_asset("a", b"a", FakeSource()), _asset("b", b"b", source)]
    assert assets.fetch_together(pair)[1].read_bytes() == b"b"
    assert source.asked == ["b"]


def test_offline(places, monkeypatch):
    monkeypatch.setenv("I3D_OFFLINE", "1")
    source = FakeSource({"f": b"x"})
    with pytest.raises(AssetError, match="I3D_OFFLINE is set"):
        assets.fetch(_asset("f", b"x", source))
    assert source.asked == []
    monkeypatch.setenv("I3D_OFFLINE", "0")
    assert assets.fetch(_asset("f", b"x", source)).read_bytes() == b"x"


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("I3D_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "shared"))
    assert assets.cache_folder() == tmp_path / "own"
    monkeypatch.delenv("I3D_CACHE")
    assert assets.cache_folder() == tmp_path / "shared" / "i3d"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert assets.cache_folder() == Path.home() / ".cache" / "i3d"


def test_an_asset_is_hashable():
    assert len({Asset("n", "p", Digest("sha256", "0"), ())}) == 1
