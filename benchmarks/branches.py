"""Measures what it would gain to fuse the 1x1x1 convolutions of a block that read the same input.

    python benchmarks/branches.py [--rounds=15] [--results=FILE.md]

Of each Inception block, its first convolutions as `i3d_torch.optimize` has them, one after the
other; and one with all of their kernels, whose output is cut into the inputs of what follows, which
takes contiguous ones. They take turns in one process; the time is the median.
"""

import statistics
from collections.abc import Sequence
from dataclasses import replace

import measuring
from absl import app, flags

from common import arch
from common.io import write_text

ROUNDS = flags.DEFINE_integer("rounds", 15, "Turns of each.", lower_bound=1)
PRECISION = flags.DEFINE_list("precisions", ["float32", "bfloat16"], "What is computed in.")
RESULTS = flags.DEFINE_string("results", None, "A file for the table as well.")

ARCHITECTURE = "inception_i3d"
CLIP = (64, 224, 224)


def blocks(net: arch.Network) -> list[tuple[str, tuple[int, ...], list[arch.Conv]]]:
    """Name, shape of the input, and the 1x1x1 convolutions that read it, of each block."""
    shapes = arch.endpoint_shapes(net, CLIP)
    found = []
    for before, node in zip(net.nodes, net.nodes[1:], strict=False):
        if isinstance(node, arch.Branches):
            firsts = [parts[0] for _, parts in node.branches]
            convs = [part for part in firsts if isinstance(part, arch.Conv)]
            found.append((node.name, shapes[before.name], convs))
    return found


def works(
    shape: tuple[int, ...], convs: Sequence[arch.Conv], precision: str
) -> tuple[measuring.Run, measuring.Run]:
    """One after the other, and fused."""
    import torch

    from i3d_torch import layers
    from i3d_torch.optimize import _FoldedConv

    layout, dtype = torch.channels_last_3d, getattr(torch, precision)
    time, height, width, channels = shape
    x = torch.randn(1, channels, time, height, width).to(dtype, memory_format=layout)
    counts = [conv.out_channels for conv in convs]

    def made(conv: arch.Conv) -> torch.nn.Module:
        plain = layers.Conv(replace(conv, norm=None, bias=True), channels)
        return _FoldedConv(plain.to(dtype, memory_format=layout))

    each = [made(conv) for conv in convs]
    one = made(replace(convs[0], out_channels=sum(counts)))

    @torch.inference_mode()
    def separate() -> None:
        for conv in each:
            conv(x)

    @torch.inference_mode()
    def fused() -> None:
        _, *others = one(x).split(counts, dim=1)  # the first goes to the block's output as it is
        for part in others:
            part.contiguous(memory_format=layout)

    return separate, fused


def main(argv: Sequence[str]) -> None:
    del argv
    measuring.begin("cpu")
    machine = measuring.machine("cpu")
    lines = [
        f"{machine['date']}, {machine['processor']}, {machine['cores']} cores, torch"
        f" {machine['packages']['torch']}. Medians of {ROUNDS.value} turns, ms.",
        "",
        f"The first convolutions of the blocks of `{ARCHITECTURE}` on a clip of"
        f" {'x'.join(map(str, CLIP))}.",
        "",
        "| precision | block | separate | fused, and cut |",
        "| --- | --- | ---: | ---: |",
    ]
    for precision in PRECISION.value:
        total = [0.0, 0.0]
        for name, shape, convs in blocks(arch.make(ARCHITECTURE)):
            both = enumerate(works(shape, convs, precision))
            taken = measuring.in_turn(
                {k: measuring.Work(run, kept=True) for k, run in both}, ROUNDS.value
            )
            found = [statistics.median(taken[k]) * 1e3 for k in range(2)]
            total = [sum(pair) for pair in zip(total, found, strict=True)]
            lines.append(f"| {precision} | {name} | {found[0]:.2f} | {found[1]:.2f} |")
        lines.append(f"| {precision} | all | {total[0]:.1f} | {total[1]:.1f} |")
    print("\n".join(lines))
    if RESULTS.value:
        write_text(RESULTS.value, "\n".join(lines) + "\n")


if __name__ == "__main__":
    app.run(main)
