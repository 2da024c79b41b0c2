"""Packages, extras and the console command; exact versions are in constraints.txt."""

from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

# What a training run is looked at with: curves, confusion matrices, TensorBoard.
LOOK = ["matplotlib", "tensorboardX"]
TF = ["tensorflow>=2.16", "dm-sonnet>=2.0.2", *LOOK]
TORCH = ["torch>=2.4", *LOOK]
# Features as HDF5.
HDF5 = ["h5py>=3.10"]
# ONNX models, written and checked.
ONNX = ["onnx>=1.16", "onnxruntime>=1.17"]
TEST = ["hypothesis", "pytest", "pytest-xdist", "scipy", *LOOK, *HDF5, *ONNX]
RAY = ["ray"]
DEV = [*TEST, *RAY, "mypy", "ruff"]
# The software that other formats belong to, torch among it; the tests ask it, nothing else does.
# triton comes with CUDA builds of torch; what imports TensorFlow here is tested beside it.
JUDGES = [*TORCH, *ONNX, "flax", "mindspore", "triton"]


class BuildWithoutTests(build_py):
    """Leaves tests and their helpers out of the wheel."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        return [
            module
            for module in super().find_package_modules(package, package_dir)
            if not module[1].endswith("_test") and module[1] != "conftest"
        ]


setup(
    name="i3d",
    version="0.1.0",
    description="I3D video models in TensorFlow and PyTorch with the same numbers",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[
        *find_packages(
            include=["common*", "convert*", "i3d_tf*", "i3d_torch*"], exclude=["common.testing*"]
        ),
        "common.data",
    ],
    # Label maps travel with the package; in the tree they stay in data/.
    package_dir={"common.data": "data"},
    package_data={"common.data": ["*.txt"]},
    install_requires=[
        "absl-py",
        "filelock>=4",  # one process at a time makes an item
        "av",  # decodes videos; its wheels bring FFmpeg
        "google-crc32c",  # checksums of TensorFlow checkpoints, in hardware
        "msgpack",
        "numba",  # compiles the optical flow
        "numpy",
        "opencv-contrib-python",
        "pooch",  # downloads
        "safetensors",
        "tqdm",
    ],
    extras_require={
        "tf": TF,
        "torch": TORCH,
        "all": TF + TORCH + HDF5 + ONNX,
        "hdf5": HDF5,
        "onnx": ONNX,
        "ray": RAY,
        "test": TEST,
        "dev": DEV,
        "judges": JUDGES,
    },
    cmdclass={"build_py": BuildWithoutTests},
    entry_points={"console_scripts": ["i3d = common.cli:main"]},
)
