"""Looks at all videos before anything long starts, and writes report.json and report.txt.

    python -m common.prepare.check --input=UCF-101 --output=report
    python -m common.prepare.check --input=UCF-101 --annotations=ucf101_1.json --output=report

Every video is decoded from beginning to end: files that are missing, empty, unreadable, cut short
or too short are named with the reason; so are those that do not fit their annotation, and those
that no annotation names. The exit status is 1 where more than --allow_failures cannot be used.

What was measured of a video is kept under OUTPUT/findings. A second run, with other annotations or
another --min_frames too, decodes only what is new or could not be decoded, and writes the report
anew; `failed.jsonl` lists what does not decode.
"""

from collections.abc import Sequence

from absl import flags

from common import command
from common.flags import INPUT, LIMIT
from common.io import check_target
from common.jobs import command as work
from common.prepare import checking

MIN_FRAMES = flags.DEFINE_integer(
    "min_frames",
    9,
    "Fewer frames are too short; InceptionI3D needs 9.",
    lower_bound=1,
    allow_override=True,  # `extract_features` has a flag of this name, too
)
work.declare(*work.RUN)


def main(argv: Sequence[str]) -> int:
    command.no_arguments(argv)
    items = work.found()
    settings = work.settings(items)
    for name in checking.REPORTS:
        check_target(settings.output / name, overwrite=True)
    known = work.annotations()
    ran = checking.run(items, settings)
    if settings.dry_run:
        print(f"check: {len(ran.done) + len(ran.failed)} videos to look at")
        return 0
    findings = checking.findings(items, ran, MIN_FRAMES.value)
    unlisted = None
    if known is not None:
        findings = checking.compare(findings, known.records)
        unlisted = None if LIMIT.value else checking.unlisted(INPUT.value, items)
    content = checking.report(findings, known, unlisted)
    text = checking.summary(content, findings)
    checking.write(settings.output, content, text)
    print(text)
    return int(content["videos"] - content["good"] > settings.allow_failures)


if __name__ == "__main__":
    command.run(main)
