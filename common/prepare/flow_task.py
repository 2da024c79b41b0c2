"""Videos, or folders of frames, to TV-L1 flow."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common import flow, processors
from common.flow import TVL1Params
from common.flow.encoding import BOUND
from common.flow.stamp import FlowStamp
from common.jobs.pictures import Pictures
from common.jobs.task import Item
from common.preprocessing import frames
from common.video import layouts, storing

RECIPE = Pictures(fps=25, short_side=256)
"""Of the flow of Kinetics (Carreira and Zisserman, CVPR 2017); folders keep their rate."""

_TVL1 = TVL1Params()


@dataclasses.dataclass(frozen=True)
class FlowTask:
    """Makes the flow of each video: images of x and y with `n_frames`, or one array.

    Attributes:
        pictures: Which frames, and how large.
        layout: One of `layouts.FLOW_LAYOUTS`.
        last: "repeat" for as many flows as frames, "drop" for one less.
        engine: One of `flow.ENGINES`; "auto" depends on the machine: resolve it first.
        params: Of TV-L1.
        bound: Pixels that are clipped at, and that the largest level stands for.
    """

    pictures: Pictures = RECIPE
    layout: str = "image_xy"
    last: str = "repeat"
    engine: str = "numba"
    params: TVL1Params = _TVL1
    bound: float = BOUND

    command = "extract_flow"

    def __post_init__(self) -> None:
        self._stamp()  # refuses a bound and a `last` that make no sense, before any work is done
        object.__setattr__(self, "bound", float(self.bound))  # in markers 20 is not 20.0

    def parameters(self) -> Mapping[str, object]:
        return {**dataclasses.asdict(self), "quality": storing.QUALITY}

    def targets(self, item: Item) -> Sequence[str]:
        return layouts.get(self.layout, layouts.FLOW_LAYOUTS).targets(item.name)

    def make(self, item: Item, temporary: Sequence[Path]) -> Mapping[str, int]:
        stamp = dataclasses.replace(
            self._stamp(),
            fps=self.pictures.rate(item),
            short_side=self.pictures.side(item.source),
            square_pixels=self.pictures.square(item.source),
        )
        count = storing.write_flow(temporary, item.name, self._flows(item), stamp, self.layout)
        for folder in temporary:
            if folder.is_dir():
                layouts.write_n_frames(folder, count)
        return {"flows": count}

    def _stamp(self) -> FlowStamp:
        return FlowStamp(
            engine=self.engine,
            parameters=dataclasses.asdict(self.params),
            bound=self.bound,
            last=self.last,
        )

    def _flows(self, item: Item) -> Iterator[NDArray[np.float32]]:
        greys = (frames.to_grey(picture) for picture in self.pictures.of(item))
        return flow.flows(greys, self.params, self.engine, processors.share())
