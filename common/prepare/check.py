"""Checks videos; what `--help` prints is the docstring of `Settings`."""

import dataclasses

from common import command
from common.jobs.settings import RunSettings
from common.prepare import checking
from common.settings import setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(RunSettings):
    """Checks all videos before anything long starts, and writes report.json and report.txt.

        python -m common.prepare.check --input=UCF-101 --output=report
        python -m common.prepare.check --input=UCF-101 --annotations=ucf101_1.json --output=report

    Decodes every video from beginning to end. Files that are missing, empty, unreadable, cut short
    or too short are named with the reason; so are those that do not fit their annotation, and those
    that no annotation names. The exit status is 1 if more than --allow_failures cannot be used.

    Measurements stay in OUTPUT/findings: a second run, with other annotations or --min_frames too,
    decodes only videos that are new or did not decode, and writes the report anew. `failed.jsonl`
    lists the videos that do not decode.
    """

    min_frames: int = setting(
        "Videos of fewer frames are too short; InceptionI3D needs 9.", 9, minimum=1
    )


def main(settings: Settings) -> int:
    known = settings.read_annotations()
    items = settings.items(known)
    checking.check_reports(settings.output, settings.overwrite)
    ran = checking.run(items, settings.for_run(items))
    if settings.dry_run:
        print(f"check: {len(ran.done) + len(ran.failed)} videos to look at")
        return 0
    findings = checking.findings(items, ran, settings.min_frames)
    unlisted = None
    if known is not None:
        findings = checking.compare(findings, known.records)
        unlisted = None if settings.limit else checking.unlisted(settings.input, items)
    content = checking.report(findings, known, unlisted)
    text = checking.summary(content, findings)
    checking.write(settings.output, content, text)
    print(text)
    return int(content["videos"] - content["good"] > settings.allow_failures)


if __name__ == "__main__":
    command.start(main, Settings)
