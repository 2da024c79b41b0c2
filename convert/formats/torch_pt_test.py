"""torch's containers, both ways, against torch itself and files that torch would not write."""

import collections
import zipfile

import numpy as np
import pytest

from common.io import CheckpointError
from convert.formats import torch_pt
from convert.formats.pickles import PERSISTENT, Call, dump

FLOATS = np.arange(12, dtype=np.float32)


def tensor(kind="FloatStorage", count=12, offset=0, size=(3, 4), stride=(4, 1), key="0"):
    """A pickled tensor for the ZIP container."""
    storage = Call(PERSISTENT, (("storage", Call(f"torch.{kind}"), key, "cpu", count),))
    return dump(Call("torch._utils._rebuild_tensor_v2", (storage, offset, size, stride, False)))


def items(entries):
    """Entries of a pickled dictionary."""
    return b"(" + b"".join(dump(name) + value for name, value in entries.items()) + b"u"


def archive(path, *, body=None, byteorder=b"little", compression=zipfile.ZIP_STORED, **members):
    """Writes a ZIP container around `body`, the entries of the pickled dictionary."""
    entries = body if body is not None else {"w": tensor()}
    data = b"\x80\x02}" + items(entries) + b"."
    contents = {"data.pkl": data, "byteorder": byteorder, "data/0": FLOATS.tobytes()} | members
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in contents.items():
            if content is not None:
                file.writestr(f"any/{name}", content)
    return path


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"offset": 2, "size": (2, 2), "stride": (1, 4)}, [[2, 6], [3, 7]]),
        ({"offset": 11, "size": (), "stride": ()}, 11),
        ({"offset": 12, "size": (0, 3), "stride": (3, 1)}, np.zeros((0, 3))),
        ({"offset": 5, "size": (3, 2), "stride": (0, 1)}, [[5, 6]] * 3),
        ({"kind": "IntStorage"}, FLOATS.view(np.int32).reshape(3, 4)),
        ({"kind": "ByteStorage", "count": 48, "size": (48,), "stride": (1,)}, FLOATS.view("u1")),
    ],
)
def test_offset_and_stride(parts, expected, tmp_path):
    got = torch_pt.read(archive(tmp_path / "m.pt", body={"w": tensor(**parts)}))["w"]
    np.testing.assert_array_equal(got, expected)
    assert got.shape == np.shape(expected)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"offset": 1}, "does not fit its storage of 12"),
        ({"stride": (2**61, 1)}, "does not fit"),
        ({"size": (2**40,), "stride": (0,)}, "but share only"),
        ({"stride": (-4, 1)}, r"has shape \[0, -4, 1\]"),
        ({"offset": -1}, r"has shape \[-1, 4, 1\]"),
        ({"size": (3, 4, 1)}, "zip"),
        ({"count": 13}, "storage 0: 48 bytes; its tensors need 52"),
        ({"key": "7"}, "has no member data/7"),
        ({"kind": "QInt8Storage"}, "refused to load torch.QInt8Storage"),
        ({"byteorder": b"big"}, "another byte order"),
        ({"compression": zipfile.ZIP_DEFLATED}, "compressed"),
        ({"body": {"epoch": b"K\x03"}}, "holds no array"),
        ({"data.pkl": b"\x80\x02" + tensor() + b"."}, "expected a mapping"),
        ({"data.pkl": b"\x80\x02]."}, "expected a mapping"),
        ({"data.pkl": b""}, "EOFError"),
        ({"data.pkl": None}, "not one data.pkl"),
        ({"other/data.pkl": b"N."}, "not one data.pkl"),
        ({"body": {"a": b"}" + items({"b": tensor()}), "a/b": tensor()}}, "two tensors"),
    ],
)
def test_archives_that_are_refused(options, text, tmp_path):
    of_tensor = {k: v for k, v in options.items() if k in tensor.__code__.co_varnames}
    body = {"body": {"w": tensor(**of_tensor)}} if of_tensor else options
    path = archive(tmp_path / "m.pt", **body)
    with pytest.raises(CheckpointError, match=rf"^{path}: .*{text}"):
        torch_pt.read(path)


@pytest.mark.parametrize("options", [{}, {"mmap": True}, {"weights_only": False}])
def test_torch_opens_what_is_written(options, tmp_path, arrays):
    torch = pytest.importorskip("torch")
    torch_pt.write(tmp_path / "m.pt", arrays)
    got = torch.load(tmp_path / "m.pt", **{"weights_only": True} | options)
    assert type(got) is collections.OrderedDict and list(got) == list(arrays)
    for name, array in arrays.items():
        assert got[name].shape == array.shape
        np.testing.assert_array_equal(got[name].numpy(), array)


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("protocol", [2, 4])
def test_what_torch_writes(is_zip, protocol, tmp_path):
    torch = pytest.importorskip("torch")
    base = torch.arange(100.0)
    state = collections.OrderedDict(
        slice=base[5:15],
        step=base[::7],
        transposed=base.view(10, 10).t(),
        parameter=torch.nn.Parameter(torch.ones(2, 3)),
        bfloat=torch.tensor([1.5, -2.25, 3.0e38], dtype=torch.bfloat16),
        short=torch.arange(3).to(torch.uint16),
        half=torch.ones(2, dtype=torch.float16),
        mask=torch.tensor([True, False]),
        complex=torch.tensor([1 + 2j]),
        expanded=torch.ones(1).expand(5),
        scalar=torch.tensor(4),
        empty=torch.zeros(0, 3),
    )
    module = torch.nn.BatchNorm1d(3)
    whole = {
        "state_dict": state,
        "module": module.state_dict(),  # carries _metadata
        "epoch": 3,
        "optimizer": torch.optim.SGD(module.parameters(), lr=0.1).state_dict(),
        "device": torch.device("cpu"),
        "dtype": torch.float32,
        "size": torch.Size([1, 2]),
        "best": np.float64(0.5),
    }
    path = tmp_path / "m.pt"
    torch.save(whole, path, _use_new_zipfile_serialization=is_zip, pickle_protocol=protocol)
    got = torch_pt.read(path)
    names = [f"state_dict/{name}" for name in state]
    assert list(got) == names + [f"module/{name}" for name in module.state_dict()]
    for name, value in state.items():
        expected = value.detach()
        if expected.dtype == torch.bfloat16:
            expected = expected.float()
        np.testing.assert_array_equal(got[f"state_dict/{name}"], expected.numpy(), strict=True)
    assert got["module/num_batches_tracked"] == 0


@pytest.mark.parametrize("is_zip", [True, False])
def test_whole_module_is_refused(is_zip, tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "m.pt"
    torch.save(torch.nn.Linear(2, 2), path, _use_new_zipfile_serialization=is_zip)
    text = r"refused to load torch\.nn\.modules\.linear\.Linear, .*model\.state_dict\(\)"
    with pytest.raises(CheckpointError, match=text):
        torch_pt.read(path)
