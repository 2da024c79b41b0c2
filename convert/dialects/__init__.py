"""Dialects: names and layouts of parameters, a file for each family of checkpoints."""

from convert.dialects.caffe2 import CAFFE2, NONLOCAL_NET, PYSLOWFAST_CAFFE2, VMZ
from convert.dialects.canonical import CANONICAL
from convert.dialects.dialect import Dialect, Native, has_scale, lazily_native, to_native
from convert.dialects.flax import FLAX
from convert.dialects.gluoncv import GLUONCV_INCEPTION, GLUONCV_RESNET
from convert.dialects.hassony2 import HASSONY2
from convert.dialects.image import GOOGLENET, RESNET_2D, SLIM_INCEPTION_V1
from convert.dialects.kinetics_i3d import KINETICS_I3D, KINETICS_I3D_600
from convert.dialects.linen import LINEN
from convert.dialects.mindspore import MINDSPORE, MINDSPORE_FINETUNED
from convert.dialects.mmaction2 import MMACTION2
from convert.dialects.piergiaj import PIERGIAJ
from convert.dialects.r2plus1d import CAOLIANGJIE_R2PLUS1D, TORCHVISION
from convert.dialects.resnet3d import CAOLIANGJIE_I3D, RESNET3D
from convert.dialects.slowfast import PYSLOWFAST, PYTORCHVIDEO
from convert.dialects.sonnet import SONNET

# A file is read in the first that it fits.
_ALL = (
    *(CANONICAL, SONNET, LINEN, CAFFE2),
    *(KINETICS_I3D, KINETICS_I3D_600, PIERGIAJ, HASSONY2, FLAX, MINDSPORE, MINDSPORE_FINETUNED),
    *(
        NONLOCAL_NET,
        PYSLOWFAST_CAFFE2,
        RESNET3D,
        CAOLIANGJIE_I3D,
        PYSLOWFAST,
        PYTORCHVIDEO,
        MMACTION2,
    ),
    *(VMZ, TORCHVISION, CAOLIANGJIE_R2PLUS1D),
    *(GLUONCV_INCEPTION, GLUONCV_RESNET),
    *(SLIM_INCEPTION_V1, GOOGLENET, RESNET_2D),
)

DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in _ALL}
"""Every dialect by name."""

__all__ = ["DIALECTS", "Dialect", "Native", "has_scale", "lazily_native", "to_native"]
