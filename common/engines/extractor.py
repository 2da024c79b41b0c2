"""Features by an engine; the twin of `i3d_torch/extractor.py` without a framework."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from common import arch, engines
from common.engines import Floats, Session
from common.engines.scorer import values
from common.preprocessing.contracts import InputContract
from common.preprocessing.crops import Frames


@dataclasses.dataclass(frozen=True)
class Extractor:
    """Rows of clips [B, T, H, W, C]: uint8 RGB, or float32 flow in [-1, 1].

    Attributes:
        session: Gives an endpoint.
        contract: What the network expects of clips.
    """

    session: Session
    contract: InputContract

    def rows(self, clips: Frames) -> Floats:
        """The endpoint [B, T', D], float32, averaged over its height and width."""
        found = self.session(values(clips, self.contract))
        if found.ndim == 2:  # logits and predictions have no time
            return found[:, None]
        rows: Floats = found.mean(axis=(2, 3))
        return rows


def create(
    net: arch.Network,
    arrays: Mapping[str, NDArray[Any]],
    contract: InputContract,
    endpoint: str,
    precision: str = "float32",
    device: str = "auto",
    *,
    engine: str,
) -> Extractor:
    """Makes an extractor of a network, its weights by canonical name, and its contract.

    Args:
        net: The network.
        arrays: Its weights.
        contract: What it expects of clips.
        endpoint: What is taken.
        precision: One of `engines.PRECISIONS[engine]`.
        device: "cpu" or "auto".
        engine: Which one.

    Raises:
        CheckpointError, ValueError, ImportError: As `engines.create` and `engines.check`.
    """
    engines.check(engine, precision, device)
    arch.check_endpoint(net, endpoint)
    return Extractor(engines.create(engine, net, arrays, endpoint, precision), contract)
