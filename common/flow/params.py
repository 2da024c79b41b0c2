"""The parameters of TV-L1 optical flow, under OpenCV's names and with its defaults."""

import dataclasses
from collections.abc import Iterable


@dataclasses.dataclass(frozen=True)
class TVL1Params:
    """Parameters of the duality-based TV-L1 flow of Zach, Pock and Bischof (DAGM 2007).

    The defaults are those of OpenCV's `DualTVL1OpticalFlow`, with which the flow of Kinetics was
    made. Its weight of illumination changes (gamma) is 0 there and left out here.

    Attributes:
        tau: Time step of the dual variables; stable up to 0.25.
        lambda_: Weight of the data term: smaller is smoother.
        theta: Tightness of the coupling between the two parts of the problem.
        scales: Levels of the pyramid; fewer if a level would have a side below 16 pixels.
        warps: Times the second frame is warped by the flow so far, at each level.
        epsilon: Iterations end when the flow changes by less (root mean square, pixels).
        inner_iterations: Iterations between two median filters.
        outer_iterations: Median filters for each warp.
        scale_step: Size of a level as a fraction of the next finer one.
        median: Side of the median filter: 1 (none), 3 or 5 pixels.
    """

    tau: float = 0.25
    lambda_: float = 0.15
    theta: float = 0.3
    scales: int = 5
    warps: int = 5
    epsilon: float = 0.01
    inner_iterations: int = 30
    outer_iterations: int = 10
    scale_step: float = 0.8
    median: int = 5

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not value > 0:  # so NaN fails, too
                least = "at least 1" if isinstance(field.default, int) else "above 0"
                raise ValueError(f"{field.name} must be {least}. Received: {value}.")
        if not self.scale_step < 1:
            raise ValueError(f"scale_step must lie between 0 and 1. Received: {self.scale_step}.")
        if self.median not in (1, 3, 5):
            raise ValueError(f"median must be 1, 3 or 5. Received: {self.median}.")

    @classmethod
    def with_values(cls, texts: Iterable[str]) -> "TVL1Params":
        """Returns the defaults, changed as texts of the form NAME=VALUE say.

        Raises:
            ValueError: A text has another form, no such parameter, or a value out of range.
        """
        kinds = {name: type(value) for name, value in dataclasses.asdict(cls()).items()}
        values: dict[str, float] = {}
        for text in texts:
            name, _, value = text.partition("=")
            try:
                values[name] = kinds[name](value)
            except (KeyError, ValueError) as error:
                raise ValueError(
                    f"expected a parameter of TV-L1 as NAME=VALUE, NAME being one of "
                    f"{', '.join(kinds)}. Received: {text!r}."
                ) from error
        return cls(**values)  # type: ignore[arg-type]  # each is of its own type
