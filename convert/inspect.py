"""Prints what a checkpoint holds."""

from dataclasses import dataclass

from common import arch, command
from common.io import escape, listing
from common.settings import UsageError, setting
from convert import formats, hub, published


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Prints what a checkpoint holds: every array, format, dialect, architecture and classes.

    python -m convert.inspect rgb_scratch
    python -m convert.inspect some/model.pt
    """

    checkpoint: tuple[str, ...] = setting("Name or path of one checkpoint.", (), positional=True)


def main(settings: Settings) -> None:
    if len(settings.checkpoint) != 1:
        raise UsageError("give the name or path of one checkpoint")
    path, _ = published.resolve(settings.checkpoint[0])
    module = formats.detect(path)
    native = module.read(path)
    rows = [(escape(name), array) for name, array in native.items()]
    width = max(len(name) for name, _ in rows)
    for name, array in rows:
        print(f"{name:{width}}  {array.dtype.name}  {list(array.shape)}")
    print()
    weights = hub.identify(native, path, module.NAME)
    facts = {
        "format": weights.format,
        "dialect": weights.dialect,
        "architecture": weights.net.name,
        "classes": weights.net.num_classes,
        "stream": weights.stream,
        "parameters": f"{arch.count(weights.net):,} trainable, {weights.numbers:,} in all",
        "passed over": escape(listing(weights.ignored, 3)),
    }
    for name, fact in facts.items():
        if fact:
            print(f"{name + ':':14}{fact}")


if __name__ == "__main__":
    command.start(main, Settings)
