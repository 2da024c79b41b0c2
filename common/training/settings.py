"""Settings of the commands `i3d_tf.train` and `i3d_torch.train`."""

import dataclasses
from pathlib import Path

from common.flow import ENGINES
from common.settings import UsageError, setting
from common.training.recipes import RECIPES, STREAMS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    r"""Trains or fine-tunes a network.

        i3d train --recipe=finetune --annotations=ucf101_1.json --rgb=frames \
            --checkpoint=rgb_scratch --output=runs/rgb
        i3d train --recipe=finetune --streams=flow --annotations=ucf101_1.json --flow=flow \
            --checkpoint=flow_imagenet --output=runs/flow --set batch=16 --set steps=20000
        torchrun --nproc_per_node=8 -m i3d_torch.train --recipe=nonlocal_400k ...
        TF_CONFIG=... python -m i3d_tf.train --recipe=nonlocal_400k ...

    OUTPUT holds the run: snapshots, from which the same command continues after it was killed,
    log.jsonl, tensorboard, and at the end curves.png and the final weights model.safetensors with
    their card model.json, which `evaluate` and `evaluate_sample` read; model_best.safetensors are
    the weights of the best validation. Two streams are trained one after the other, in OUTPUT/rgb
    and OUTPUT/flow.
    """

    recipe: str = setting(
        "How to train; common/training/recipes.py has all numbers and their sources.",
        "finetune",
        choices=tuple(RECIPES),
    )
    set: tuple[str, ...] = setting(
        "A field of the recipe as NAME=VALUE; may be given several times.", (), repeated=True
    )
    show: bool = setting("Only print the recipe as it would be used.", False)
    annotations: Path | None = setting(
        "The clips of a data set and their labels: a file that make_annotations wrote, or one of "
        "3D-ResNets or pytorch-i3d. Needed.",
        None,
    )
    rgb: Path | None = setting(
        "Folder of the data set's RGB: frames, videos, or arrays that to_numpy wrote.", None
    )
    flow: Path | None = setting(
        "Folder of the data set's flow; where it holds frames or videos, flow is computed, which "
        "takes long.",
        None,
    )
    output: Path | None = setting("Folder of the run. Needed.", None)
    streams: tuple[str, ...] = setting(
        "rgb, flow, or rgb,flow; by default the recipe's.", (), choices=STREAMS
    )
    checkpoint: str | None = setting(
        "First weights: the name of a published checkpoint, or a path in any format; by default "
        "random ones.",
        None,
    )
    rgb_checkpoint: str | None = setting(
        "First weights of the RGB stream where there are two; none for random ones.", None
    )
    flow_checkpoint: str | None = setting(
        "First weights of the flow stream where there are two; none for random ones.", None
    )
    num_classes: int | None = setting(
        "Classes of the head; by default those of the annotations. Another number than the "
        "checkpoint's makes a new head.",
        None,
        minimum=1,
    )
    resume: str = setting(
        "auto goes on from the last snapshot in OUTPUT, never refuses a folder that has any; or "
        "the path of a snapshot.",
        "auto",
    )
    export: tuple[str, ...] = setting(
        "Dialects to write the last weights in, beside our own: see convert --list.", ()
    )
    tensorboard: bool = setting("Write TensorBoard's files, too.", True)
    workers: int | None = setting(
        "Processes that load clips, by default one a core; 0 loads them between the steps.",
        None,
        minimum=0,
    )
    threads: int | None = setting(
        "Threads that the network computes with on a CPU; by default OMP_NUM_THREADS, or one a "
        "core.",
        None,
        minimum=1,
    )
    flow_engine: str = setting(
        "What computes flow that is not stored; auto is torch where there is a CUDA device, else "
        "numba. Many processes cannot share a GPU.",
        "numba",
        choices=("auto", *ENGINES),
    )

    def checkpoints(self, usual: str) -> dict[str, str | None]:
        """The checkpoint of each stream to train; None for random weights.

        Raises:
            UsageError: A stream is given twice, has two checkpoints, or none while the other has
                one; or a checkpoint belongs to a stream that is not trained.
        """
        own = {"rgb": self.rgb_checkpoint, "flow": self.flow_checkpoint}
        streams = self.streams or (usual,)
        if len({*streams}) < len(streams):
            raise UsageError(f"--streams must be rgb, flow or rgb,flow, not {','.join(streams)}")
        for stream, checkpoint in own.items():
            if checkpoint and stream not in streams:
                raise UsageError(
                    f"--{stream}_checkpoint is given, and {stream} is not among --streams"
                )
        given = {stream: own[stream] for stream in streams}
        if self.checkpoint:
            first, *others = streams
            if others:
                raise UsageError(
                    "--checkpoint is for one stream: use --rgb_checkpoint and --flow_checkpoint"
                )
            if given[first]:
                raise UsageError(f"--checkpoint and --{first}_checkpoint exclude each other")
            given[first] = self.checkpoint
        for stream, checkpoint in given.items():
            if not checkpoint and any(given.values()):
                raise UsageError(
                    f"--{stream}_checkpoint is needed, as the other stream has one; "
                    f"--{stream}_checkpoint=none begins with random weights"
                )
        return {stream: None if name == "none" else name for stream, name in given.items()}
