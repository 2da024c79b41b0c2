"""Dialects: names and layouts of parameters, a file for each family of checkpoints."""

from convert.dialects.canonical import CANONICAL
from convert.dialects.dialect import Dialect, Native, has_scale, to_native
from convert.dialects.flax import FLAX
from convert.dialects.hassony2 import HASSONY2
from convert.dialects.kinetics_i3d import KINETICS_I3D, KINETICS_I3D_600
from convert.dialects.piergiaj import PIERGIAJ

DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (CANONICAL, KINETICS_I3D, KINETICS_I3D_600, PIERGIAJ, HASSONY2, FLAX)
}
"""Every dialect by name."""

__all__ = ["DIALECTS", "Dialect", "Native", "has_scale", "to_native"]
