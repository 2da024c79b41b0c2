"""Every source against a server of our own or an archive made here; nothing is really fetched."""

import hashlib
import http.server
import io
import os
import socket
import tarfile
import threading
import time
import zipfile

import pytest

from common import sources
from common.io import git_blob
from common.sources import PackageFile, PassedOver, Url

CONTENT = bytes(range(256)) * 4096


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Range")))
        getattr(self, f"answer_{self.path.strip('/')}")()

    def _send(self, content, status=200, length=None, **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def answer_good(self):
        if asked := self.headers.get("Range"):
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(CONTENT):
                self._send(b"", 416)
                return
            where = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
            self._send(CONTENT[start:], 206, Content_Range=where)
        else:
            self._send(CONTENT)

    def answer_breaks(self):
        """Half of what is left each time."""
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        rest = CONTENT[start:]
        where = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
        part = rest if len(self.server.asked) >= 3 else rest[: len(rest) // 2]
        self._send(part, 206 if asked else 200, len(rest), Content_Range=where)

    def answer_truncates(self):
        self._send(CONTENT[:1000], 200, len(CONTENT))

    def answer_noranges(self):
        self._send(CONTENT)

    def answer_shifted(self):
        self._send(CONTENT, 206, Content_Range=f"bytes 7-{len(CONTENT)}/{len(CONTENT)}")

    def answer_portal(self):
        self._send(b"<html>Please log in</html>")

    def answer_missing(self):
        self._send(b"404: Not Found", 404)

    def answer_hangs(self):
        self.server.over.wait(5)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.asked, server.over = [], threading.Event()
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    monkeypatch.setattr(sources, "_silent_hosts", set())
    monkeypatch.setattr(sources, "ANSWER_SECONDS", 0.3)


@pytest.fixture
def land(tmp_path):
    """Accepts CONTENT only and moves it to `landed`."""

    def accept(name, path):
        git_blob(hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest()).check(path, "")
        os.replace(path, tmp_path / "landed")

    return accept


def _files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_good_answer_lands(server, tmp_path, land):
    Url(f"{server.url}/good").provide("f", tmp_path / "deep" / "cache", land)
    assert (tmp_path / "landed").read_bytes() == CONTENT
    assert _files(tmp_path / "deep" / "cache") == []


def test_a_kept_part_is_resumed(server, tmp_path, land):
    (tmp_path / ".f.part").write_bytes(CONTENT[:12345])
    Url(f"{server.url}/good").provide("f", tmp_path, land)
    assert server.asked == [("/good", "bytes=12345-")]
    assert _files(tmp_path) == ["landed"]


@pytest.mark.parametrize("part", [b"other content", CONTENT + b"more", CONTENT])
def test_a_bad_part_is_fetched_anew(server, tmp_path, land, part):
    (tmp_path / ".f.part").write_bytes(part)
    Url(f"{server.url}/good").provide("f", tmp_path, land)
    assert (tmp_path / "landed").read_bytes() == CONTENT
    assert _files(tmp_path) == ["landed"]


def test_a_server_without_ranges_starts_over(server, tmp_path, land):
    (tmp_path / ".f.part").write_bytes(CONTENT[:12345])
    Url(f"{server.url}/noranges").provide("f", tmp_path, land)
    assert (tmp_path / "landed").read_bytes() == CONTENT


def test_a_broken_connection_goes_on_where_it_ended(server, tmp_path, land):
    Url(f"{server.url}/breaks").provide("f", tmp_path, land)
    assert (tmp_path / "landed").read_bytes() == CONTENT
    half = len(CONTENT) // 2
    ranges = [asked for _, asked in server.asked]
    assert ranges == [None, f"bytes={half}-", f"bytes={half + half // 2}-"]


def test_a_truncated_file_is_kept_for_the_next_run(server, tmp_path, land):
    with pytest.raises(PassedOver, match="ended after 1,000 of 1,048,576 bytes"):
        Url(f"{server.url}/truncates").provide("f", tmp_path, land)
    assert _files(tmp_path) == [".f.part"]
    Url(f"{server.url}/good").provide("f", tmp_path, land)
    assert server.asked[-1] == ("/good", "bytes=1000-")
    assert _files(tmp_path) == ["landed"]


def test_wrong_content_is_refused_and_removed(server, tmp_path, land):
    (tmp_path / "landed").write_text("good")
    with pytest.raises(PassedOver, match=r"Expected git blob .*, got .*HTML page"):
        Url(f"{server.url}/portal").provide("f", tmp_path, land)
    assert _files(tmp_path) == ["landed"]
    assert (tmp_path / "landed").read_text() == "good"


def test_other_answers(server, tmp_path, land):
    with pytest.raises(PassedOver, match="answered 404 Not Found"):
        Url(f"{server.url}/missing").provide("f", tmp_path, land)
    (tmp_path / ".f.part").write_bytes(CONTENT[:100])
    with pytest.raises(PassedOver, match="resumed at another place"):
        Url(f"{server.url}/shifted").provide("f", tmp_path, land)


def test_a_silent_server_is_passed_over_once(server, tmp_path, land):
    start = time.monotonic()
    with pytest.raises(PassedOver):
        Url(f"{server.url}/hangs").provide("f", tmp_path, land)
    with pytest.raises(PassedOver, match="did not answer before"):
        Url(f"{server.url}/good").provide("f", tmp_path, land)
    assert time.monotonic() - start < 3
    assert len(server.asked) == 1


def test_an_endless_look_up_is_passed_over(tmp_path, land, monkeypatch):
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(10))
    with pytest.raises(PassedOver, match="no answer within"):
        Url("http://nowhere.invalid/x").provide("f", tmp_path, land)
    over.set()


def test_nobody_listens(tmp_path, land):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(PassedOver, match="refused"):
        Url(f"http://127.0.0.1:{port}/x").provide("f", tmp_path, land)


def test_many_fetches_into_one_folder(server, tmp_path, land):
    failures = []

    def fetch():
        try:
            Url(f"{server.url}/good").provide("f", tmp_path, land)
        except Exception as error:
            failures.append(error)

    (tmp_path / ".f.part").write_bytes(CONTENT[:500])
    threads = [threading.Thread(target=fetch) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert (tmp_path / "landed").read_bytes() == CONTENT
    assert _files(tmp_path) == ["landed"]


def test_a_part_whose_process_died_is_taken_over(server, tmp_path, land):
    lost, alive = tmp_path / ".f.aaaaaaaa.part", tmp_path / ".f.bbbbbbbb.part"
    lost.write_bytes(CONTENT[:77])
    alive.write_bytes(CONTENT[:88])
    os.utime(lost, (1, 1))
    Url(f"{server.url}/good").provide("f", tmp_path, land)
    assert server.asked == [("/good", "bytes=77-")]
    assert _files(tmp_path) == [alive.name, "landed"]


def _archive(path, member, content):
    if path.suffix == ".whl":
        with zipfile.ZipFile(path, "w") as wheel:
            wheel.writestr("other.py", "raise SystemExit")
            wheel.writestr(member, content)
    else:
        with tarfile.open(path, "w:gz") as sdist:
            for name, data in (("other.py", b"raise SystemExit"), (member, content)):
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                sdist.addfile(entry, io.BytesIO(data))
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(params=["thing-1.0-py3-none-any.whl", "thing-1.0.tar.gz"])
def package(request, tmp_path, monkeypatch):
    """A package whose download is a copy; gives the hash and what pip was asked for."""
    made = tmp_path / request.param
    digest = _archive(made, "thing/weights.bin", CONTENT)
    asked = []

    def download(requirements, target):
        asked.append(requirements.read_text())
        target.mkdir()
        (target / made.name).write_bytes(made.read_bytes())

    monkeypatch.setattr(sources, "pip_download", download)
    return digest, asked


def test_a_file_of_a_package(package, tmp_path, land):
    digest, asked = package
    PackageFile("thing==1.0", digest, "thing/weights.bin").provide("f", tmp_path / "c", land)
    assert asked == [f"thing==1.0 --hash=sha256:{digest}\n"]
    assert (tmp_path / "landed").read_bytes() == CONTENT
    assert _files(tmp_path / "c") == []


def test_packages_that_are_not_as_expected(package, tmp_path, land, monkeypatch):
    digest, _ = package
    with pytest.raises(PassedOver, match="has no file thing/nothing"):
        PackageFile("thing==1.0", digest, "thing/nothing").provide("f", tmp_path / "c", land)
    with pytest.raises(PassedOver, match="not the expected file"):
        PackageFile("thing==1.0", digest, "other.py").provide("f", tmp_path / "c", land)
    monkeypatch.setattr(sources, "_extract", lambda *_: pytest.fail("opened before it was checked"))
    with pytest.raises(PassedOver, match=r"Expected sha256 00, got"):
        PackageFile("thing==1.0", "00", "thing/weights.bin").provide("f", tmp_path / "c", land)
    assert _files(tmp_path / "c") == []


def reverse(source, folder):
    """A derivation that makes two files."""
    (folder / "one").write_bytes(source.read_bytes()[::-1])
    (folder / "two").write_bytes(b"2")


def test_a_derived_file(package, tmp_path):
    digest, _ = package
    landed = {}
    source = PackageFile(
        "thing==1.0", digest, "thing/weights.bin", derive="common.sources_test:reverse"
    )
    source.provide(
        "one", tmp_path / "c", lambda name, path: landed.update({name: path.read_bytes()})
    )
    assert landed == {"one": CONTENT[::-1], "two": b"2"}
    assert _files(tmp_path / "c") == []


def test_pip_is_asked_for_files_only(tmp_path, monkeypatch):
    commands = []

    class Done:
        returncode, stderr = 1, "WARNING: x\nERROR: no such package\n"

    def run(command, **_):
        commands.append(command)
        return Done

    monkeypatch.setattr(sources.subprocess, "run", run)
    with pytest.raises(PassedOver, match="pip download failed: ERROR: no such package"):
        sources.pip_download(tmp_path / "r.txt", tmp_path / "target")
    assert commands[0][1:4] == ["-m", "pip", "download"]
    assert {"--no-deps", "--require-hashes"} <= set(commands[0])
    Done.stderr = "python: No module named pip"
    with pytest.raises(PassedOver, match="ensurepip"):
        sources.pip_download(tmp_path / "r.txt", tmp_path / "target2")
