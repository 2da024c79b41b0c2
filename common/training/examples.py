"""What a network is trained on: a clip of a record, cut at random, and its label.

All that is random about an example is a pure function of (seed, epoch, index), so that it does not
matter which process makes it, and a run that goes on later needs no state. RGB and flow of a record
share it: clips of as many frames of the same shape are cut at the same place.
"""

import dataclasses

import numpy as np
from absl import logging
from numpy.typing import NDArray

from common.annotations import Annotations, Record
from common.annotations.frame_labels import frame_labels, rule_of
from common.flow import stamp
from common.flow.stamp import FlowStamp
from common.io import listing
from common.preprocessing import clips, crops
from common.preprocessing.contracts import InputContract
from common.preprocessing.crops import Frames
from common.training.recipes import Recipe
from common.video.clip_reader import Clip, ClipReader, ComputedFlow, Source, flow_stamp, frame_rate

Target = int | NDArray[np.float32]


class ItemError(ValueError):
    """An item that cannot be read; the text names it, where it is, and why."""


@dataclasses.dataclass(frozen=True)
class Example:
    """A clip to train on.

    Attributes:
        name: The record's.
        clip: [T, H, W, C]: uint8 RGB, or float32 flow in [-1, 1].
        target: The class; or 0 and 1 for each frame and class, [T, K], where several may apply.
    """

    name: str
    clip: Frames
    target: Target


class TrainingSet:
    """The clips of a subset. It pickles: worker processes get it once.

    Attributes:
        records: In the order of the annotations.
        num_classes: Of the head.
        stamp: How the flow was made; None for RGB, and where nobody said.
    """

    def __init__(
        self,
        annotations: Annotations,
        source: Source,
        recipe: Recipe,
        contract: InputContract,
        subset: str = "training",
    ):
        """Looks into every record's files, and opens no image or video.

        Args:
            annotations: Of the data set.
            source: Where its clips are.
            recipe: What to cut out of them.
            contract: See `ClipReader`.
            subset: Which records: see `annotations.SUBSETS`.

        Raises:
            ValueError: No records, some without a label or with one beyond the head, or without
                files, or flow that was made in different ways; the text names them.
        """
        self.records = [record for record in annotations.records if record.subset == subset]
        if not self.records:
            found = ", ".join(f"{count} for {name}" for name, count in annotations.counts.items())
            raise ValueError(f"no records for {subset}. The annotations have {found or 'none'}.")
        self.num_classes = recipe.num_classes or len(annotations.classes)
        self._recipe = recipe
        self._reader = ClipReader(source, contract)
        self._check_labels()
        self.stamp = self._check_files()

    def __len__(self) -> int:
        return len(self.records)

    def example(self, epoch: int, index: int, seed: int) -> Example:
        """Cuts a clip out of record `index`, the same for the same numbers.

        From `numpy.random.default_rng([seed, epoch, index])` are drawn, in this order: the window
        in time, the short side unless the recipe has but one, the corner of the crop, and whether
        to mirror if the recipe does.

        Raises:
            ItemError: The record cannot be read.
        """
        record, recipe = self.records[index], self._recipe
        rng = np.random.default_rng([seed, epoch, index])
        try:
            whole = self._reader.open(record, recipe.stream)
            window = clips.random_window(
                len(whole), recipe.sample_duration, recipe.sample_rate, rng
            )
            wanted, places = np.unique(window, return_inverse=True)  # short clips loop
            clip = _cut(whole.read(wanted.tolist()), recipe, rng)[places]
            return Example(record.name, clip, self._target(record, whole, window))
        except (ValueError, OSError) as error:
            reason = " ".join(str(error).splitlines())
            raise ItemError(f"{record.name} ({record.path}): {reason}") from error

    def _target(self, record: Record, whole: Clip, window: list[int]) -> Target:
        if self._recipe.task == "classes":
            return record.labels[0]
        rate = frame_rate(record, whole)
        labels = frame_labels(record, self.num_classes, len(whole), rate, rule_of(record))
        return labels[window].astype(np.float32)

    def _check_labels(self) -> None:
        several = self._recipe.task == "frames"
        wrong = [r.name for r in self.records if not several and len(r.labels) != 1]
        if wrong:
            raise ValueError(
                f"expected one label for each record. Received none or several for {len(wrong)} "
                f"of {len(self.records)}: {listing(wrong)}. Spans with labels are for the task "
                "frames."
            )
        beyond = {r.name: max(found) for r in self.records if (found := _labels(r, several))}
        beyond = {name: label for name, label in beyond.items() if label >= self.num_classes}
        if beyond:
            raise ValueError(
                f"expected labels below {self.num_classes}, the classes of the head. Received up "
                f"to {max(beyond.values())}, for {len(beyond)} of {len(self.records)} records: "
                f"{listing(beyond)}. Set num_classes."
            )

    def _check_files(self) -> FlowStamp | None:
        stamps: dict[str, FlowStamp | None] = {}
        computed: list[str] = []
        failed: dict[str, Exception] = {}
        for record in self.records:
            try:
                clip = self._reader.open(record, self._recipe.stream)
            except (ValueError, OSError) as error:
                failed[record.name] = error
            else:
                if self._recipe.stream == "flow":
                    stamps[record.name] = flow_stamp(clip)
                if isinstance(clip, ComputedFlow):
                    computed.append(record.name)
        if failed:
            name = min(failed)
            raise ValueError(
                f"{len(failed)} of {len(self.records)} records cannot be read: {listing(failed)}. "
                f"{name}: {failed[name]}"
            )
        stamp.check_same(stamps)
        if computed:
            logging.warning(
                "the flow of %d records is computed each time it is read, which takes long: %s. "
                "`extract_flow` does it once.", len(computed), listing(computed, 3),
            )  # fmt: skip
        return next(iter(stamps.values()), None)


def _labels(record: Record, spans: bool) -> list[int]:
    return [action.label for action in record.actions] if spans else list(record.labels)


def _cut(stored: Frames, recipe: Recipe, rng: np.random.Generator) -> Frames:
    """Resizes, crops and mirrors at random: [T, crop, crop, C]."""
    low, high = recipe.short_side
    side = crops.random_short_side(rng, low, high) if low < high else low
    height, width = crops.resized_size(*crops.size_of(stored), side)
    corner = crops.random_corner(height, width, recipe.crop, rng)
    flipped = recipe.flip and crops.random_flip(rng)
    from common.preprocessing import resizing  # numba takes a moment

    clip = crops.crop(resizing.resize_clip(stored, side), corner, recipe.crop)
    return crops.flip(clip, recipe.stream == "flow") if flipped else clip
