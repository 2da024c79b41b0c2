"""Dialects: names and layouts of parameters, a file a family of networks."""

from convert.dialects import dialect, inception, resnet
from convert.dialects.dialect import Dialect, Native, from_native, has_scale, to_native

# A file is read in the first that it fits.
_ALL = (
    *(dialect.CANONICAL, dialect.SONNET, dialect.LINEN, dialect.CAFFE2),
    *(inception.KINETICS_I3D, inception.KINETICS_I3D_600, inception.PIERGIAJ),
    *(inception.HASSONY2, inception.FLAX, inception.MINDSPORE, inception.MINDSPORE_FINETUNED),
    *(resnet.NONLOCAL_NET, resnet.PYSLOWFAST_CAFFE2, resnet.RESNET3D, resnet.CAOLIANGJIE_I3D),
    *(resnet.PYSLOWFAST, resnet.PYTORCHVIDEO, resnet.MMACTION2),
    *(resnet.VMZ, resnet.TORCHVISION, resnet.CAOLIANGJIE_R2PLUS1D),
    *(inception.GLUONCV_INCEPTION, resnet.GLUONCV_RESNET),
    *(inception.SLIM_INCEPTION_V1, inception.GOOGLENET, resnet.RESNET_2D),
)

DIALECTS: dict[str, Dialect] = {each.name: each for each in _ALL}

__all__ = ["DIALECTS", "Dialect", "Native", "from_native", "has_scale", "to_native"]
