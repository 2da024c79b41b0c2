"""Finds, fetches and verifies the files the project works with but does not ship.

Looked for in this order: the project's `data/` and the folders of the search path `I3D_DATA`, the
project's cache, then the sources of the asset's row. A file is verified whenever it is taken into
use. Set `I3D_OFFLINE=1` to fetch nothing, `I3D_CACHE` to move the cache.
"""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from absl import logging

from common.io import AssetError, Digest
from common.sources import PassedOver, Source

_PACKAGE = Path(__file__).resolve().parent


@dataclasses.dataclass(frozen=True)
class Asset:
    """One file.

    Attributes:
        name: What people call it, for messages.
        relative_path: Where it lies in each folder, such as "samples/backflip.mp4".
        digest: What its content must be.
        sources: Where to fetch it from, in order.
    """

    name: str
    relative_path: str
    digest: Digest
    sources: tuple[Source, ...]

    @property
    def file_name(self) -> str:
        return Path(self.relative_path).name


def fetch(asset: Asset) -> Path:
    """The path of a verified file; see `fetch_together`."""
    return fetch_together([asset])[0]


def fetch_together(assets: Sequence[Asset]) -> list[Path]:
    """The paths of verified files that lie under one root, fetched if need be.

    Raises:
        AssetError: No source has one of the files; the text names each source and its reason.
        DigestError: A file is there and is not what it should be; nothing is deleted.
    """
    tried: list[str] = []
    cache = cache_folder()
    for folder in [*local_folders(), cache]:
        paths = [folder / asset.relative_path for asset in assets]
        missing = [path for path in paths if not path.is_file()]
        if not missing:
            return _verified(assets, paths)
        tried.append(f"{missing[0]} (not there)")
    for asset in assets:
        if not (cache / asset.relative_path).is_file():
            _obtain(asset, assets, tried)
    return _verified(assets, [cache / asset.relative_path for asset in assets])


def local_folders() -> list[Path]:
    """The project's `data/` (or that of a built package), then those of `I3D_DATA`."""
    own = [path for path in (_PACKAGE / "data", _PACKAGE.parent / "data") if path.is_dir()]
    listed = os.environ.get("I3D_DATA", "").split(os.pathsep)
    return own + [Path(folder).expanduser() for folder in listed if folder]


def cache_folder() -> Path:
    """`I3D_CACHE`, or `i3d` in the user's cache folder; it need not exist."""
    if chosen := os.environ.get("I3D_CACHE"):
        return Path(chosen).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "i3d"


def _verified(assets: Sequence[Asset], paths: list[Path]) -> list[Path]:
    for asset, path in zip(assets, paths, strict=True):
        asset.digest.check(path, "Move it away and run the command again to fetch a good one.")
    return paths


def _obtain(asset: Asset, together: Sequence[Asset], tried: list[str]) -> None:
    """Puts the file into the cache from the first source that has it.

    A source may bring more of the files in `together`; they are taken too.
    """
    wanted = {each.file_name: each for each in together}
    cache = cache_folder()

    def land(name: str, path: Path) -> None:
        if name not in wanted:
            return
        wanted[name].digest.check(path, "Nothing was kept of it.")
        target = cache / wanted[name].relative_path
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, target)

    offline = os.environ.get("I3D_OFFLINE", "") not in ("", "0")
    for source in asset.sources:
        reason = "skipped: I3D_OFFLINE is set"
        if not offline:
            try:
                source.provide(asset.file_name, (cache / asset.relative_path).parent, land)
                if (cache / asset.relative_path).is_file():
                    return
                reason = f"brought no {asset.file_name}"
            except PassedOver as error:
                reason = str(error)
        tried.append(f"{source} ({reason})")
        logging.warning("passed over: %s", tried[-1])
    raise AssetError(
        f"{asset.name}: no source could provide {asset.relative_path}. Tried: {'; '.join(tried)}. "
        f"Put the file at data/{asset.relative_path} or in the same place of a folder of I3D_DATA."
    )
