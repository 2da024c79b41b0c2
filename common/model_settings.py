"""Settings that all commands with a network share: its weights, and how it runs."""

import dataclasses
from collections.abc import Mapping, Sequence

from common import arch
from common.models import PRECISIONS
from common.settings import UsageError, setting

STREAMS = ("rgb", "flow")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """The architecture of the weights, and how a network runs."""

    architecture: str | None = setting(
        "The network the weights belong to, where their names fit several.",
        None,
        choices=tuple(arch.ARCHITECTURES),
    )
    device: str = setting(
        "Where to compute: auto is a GPU if there is one.", "auto", choices=("auto", "cpu", "gpu")
    )
    precision: str = setting(
        "Precision that the network computes in; results are float32.",
        "float32",
        choices=PRECISIONS,
    )
    threads: int | None = setting(
        "Threads of the network on a CPU; by default OMP_NUM_THREADS, or one a core.",
        None,
        minimum=1,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointSettings(ModelSettings):
    """The weights of each stream, for commands that choose the streams in their own way."""

    checkpoint: str | None = setting(
        "Weights of the only stream: the name of a published checkpoint, or a path in any format.",
        None,
    )
    rgb_checkpoint: str | None = setting("Weights of the RGB stream.", None)
    flow_checkpoint: str | None = setting("Weights of the flow stream.", None)

    def choose(
        self, streams: Sequence[str], asked: str, usual: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """The checkpoint of each stream, by name or path.

        Args:
            streams: The streams that are asked for.
            asked: The flag that asks for them, as it is written on the command line.
            usual: The checkpoint of a stream that is given none.

        Raises:
            UsageError: A stream has no checkpoint or two, or there is one of another stream.
        """
        given = {"rgb": self.rgb_checkpoint, "flow": self.flow_checkpoint}
        for stream in STREAMS:
            if given[stream] and stream not in streams:
                raise UsageError(f"--{stream}_checkpoint does not go with {asked}")
            if given[stream] and self.checkpoint and len(streams) == 1:
                raise UsageError(f"--checkpoint and --{stream}_checkpoint exclude each other")
        if self.checkpoint and len(streams) > 1:
            raise UsageError(
                f"--checkpoint is for one stream, and {asked} has two: use --rgb_checkpoint and "
                "--flow_checkpoint"
            )
        chosen = {}
        for stream in streams:
            chosen[stream] = given[stream] or self.checkpoint or (usual or {}).get(stream, "")
            if not chosen[stream]:
                alone = "--checkpoint or " if len(streams) == 1 else ""
                raise UsageError(f"{alone}--{stream}_checkpoint is needed")
        return chosen


@dataclasses.dataclass(frozen=True, kw_only=True)
class StreamSettings(CheckpointSettings):
    """The streams and the weights of each."""

    streams: tuple[str, ...] = setting("rgb, flow, or both: rgb,flow.", ("rgb",), choices=STREAMS)

    def checkpoints(self) -> dict[str, str]:
        """The checkpoint of each stream.

        Raises:
            UsageError: No stream or one twice; a stream has no checkpoint or two, or there is one
                of another stream.
        """
        if not self.streams or len(set(self.streams)) < len(self.streams):
            raise UsageError("--streams must be rgb, flow or rgb,flow")
        return self.choose(self.streams, f"--streams={','.join(self.streams)}")
