"""Converts a checkpoint into another format or dialect; the files' names say which.

    python -m convert --input=rgb_scratch --output=rgb_scratch.pt
    python -m convert --input=i3d_baseline_32x2_IN_pretrain_400k.pkl --output=r50.safetensors
    python -m convert --input=model.ckpt --output=i3d.pt --to=piergiaj --num_classes=101
    python -m convert --list

--input is a published name or a path: format, dialect, architecture and number of classes are
found out. What was written is read back and compared before it is kept.
"""

from collections.abc import Sequence

from absl import app, flags

from common import command
from common.flags import ARCHITECTURE, INPUT, OUTPUT, OVERWRITE
from convert import changes, conversion, hub, inflation, listing
from convert.dialects import DIALECTS
from convert.exports import EXPORTS
from convert.formats import FORMATS

TO = flags.DEFINE_enum(
    "to",
    None,
    [name for name, dialect in DIALECTS.items() if dialect.writable],
    "Dialect to write; by default the usual one of the format. --list says whose each is.",
)
FORMAT = flags.DEFINE_enum(
    "format",
    None,
    [name for name, module in {**FORMATS, **EXPORTS}.items() if module.SUFFIXES],
    "Format to write; by default what the ending of --output says.",
)
ALLOW = flags.DEFINE_multi_enum(
    "allow",
    [],
    list(changes.CHANGES),
    "Changes that may be made where a conversion cannot be exact. "
    + " ".join(f"{name}: {change.about}." for name, change in changes.CHANGES.items()),
)
ADJUST_EPS = flags.DEFINE_bool(
    "adjust_eps", False, "Take the other side's eps of batch norm into the running variances."
)
NUM_CLASSES = flags.DEFINE_integer(
    "num_classes", None, "Replace the classifier by a new one of so many classes.", lower_bound=1
)
TO_AFFINE = flags.DEFINE_bool("to_affine", False, "Turn batch norm into scale and offset.")
AVERAGE = flags.DEFINE_list("average", [], "Checkpoints to average, instead of --input.")
INFLATE = flags.DEFINE_enum(
    "inflate", "repeat", list(inflation.HOW), "How 2-D kernels become 3-D ones."
)
VERIFY = flags.DEFINE_bool("verify", False, "Run the network with both files and compare.")
LIST = flags.DEFINE_bool("list", False, "Print formats, dialects and architectures.")
for _flag in (INPUT, OUTPUT, OVERWRITE, ARCHITECTURE):
    flags.declare_key_flag(_flag.name)


def main(argv: Sequence[str]) -> None:
    command.no_arguments(argv)
    if LIST.value:
        print(listing.table())
        return
    if INPUT.value and AVERAGE.value:
        raise app.UsageError("give --input or --average, not both.")
    if not (INPUT.value or AVERAGE.value):
        raise app.UsageError("--input is missing.")
    if not OUTPUT.value:
        raise app.UsageError("--output is missing.")
    options = conversion.Options(
        inputs=tuple(AVERAGE.value or [INPUT.value]),
        output=OUTPUT.value,
        to=TO.value,
        container=FORMAT.value,
        terms=hub.Terms(
            architecture=ARCHITECTURE.value,
            allow=frozenset(ALLOW.value),
            adjust_eps=ADJUST_EPS.value,
            inflate=INFLATE.value,
            num_classes=NUM_CLASSES.value,
        ),
        to_affine=TO_AFFINE.value,
        overwrite=OVERWRITE.value,
        verify=VERIFY.value,
    )
    print(conversion.run(options))


if __name__ == "__main__":
    command.run(main)
