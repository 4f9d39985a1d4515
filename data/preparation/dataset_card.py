# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The card of an exported data set: what is in it, where it comes from, and that it is not anonymous."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, DatasetInfo, SplitDict, SplitInfo
from datasets.info import DatasetInfosDict
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard, DatasetCardData

COLUMNS = {
    "id": "name of the clip, unique in its split",
    "text": "what is said",
    "speaker": "who speaks, as the source names them; empty if it does not",
    "source": "the media file's path as the manifest of the corpus wrote it",
    "num_frames": "frames of the clip",
    "keypoints": "float16, flat: `num_frames` x 478 landmarks x (x, y, z); zero in frames without a face",
    "present": "for each frame whether a face was found",
    "timestamps": "for each frame seconds from the clip's start",
    "offset": "three numbers: the middle of the clip's landmarks, in pixels",
    "scale": "pixels of one stored unit, about the distance between the outer corners of the eyes",
    "frame_rate": "average frames a second",
    "width": "width of the video in pixels, 0 if the landmarks came without one",
    "height": "its height",
    "words": "aligned words with start and end in seconds, where the source has them",
    "quality": "how well the clip was tracked",
}
SIZES = ((1e3, "n<1K"), (1e4, "1K<n<10K"), (1e5, "10K<n<100K"), (1e6, "100K<n<1M"), (float("inf"), "1M<n<10M"))

TEXT = """
# {title}

3D face landmarks of people who speak, with what they say: {clips:,} clips, {hours}. The landmarks are those of
MediaPipe's FaceLandmarker; lipread prepared them for lip reading.

| split | clips | duration | frames | face found | speakers |
|---|---:|---:|---:|---:|---:|
{rows}

{skipped}

```python
from datasets import load_dataset

clips = load_dataset("{repo_id}", split="{split}").with_format("numpy")
```

## Columns

{columns}

Back to pixels of the video, X to the right, Y **up**, Z towards the camera, the origin in the upper left corner:

```python
landmarks = clip["keypoints"].astype("float32").reshape(clip["num_frames"], 478, 3) * clip["scale"] + clip["offset"]
```

Stored landmarks are raw: neither turned to the front nor normalised, only shifted and scaled so that float16 keeps
them within about 1/1000 of the distance between the eyes.

## Personal data

There are no pixels and no sound in this data set. **It is not anonymous.** Landmarks in motion show the shape of a
face and how a person speaks, and can tell who it is; with them stand the words that were said, and maybe names of
speakers. They are personal data, and in many countries biometric data. Whoever uses or passes them on needs the right
to do so. Do not use them to identify people, or to read the lips of those who have not agreed to it.

## Source and licence

{source}
"""


@dataclass
class CardOptions:
    """What a card says that no corpus knows of itself.

    Args:
        repo_id: Where the data set is to lie on the Hub.
        source_name: The corpus the landmarks come from.
        license: Its licence, as the Hub spells it.
        attribution: Whom the licence asks to name.
        language: Codes of the languages spoken.
    """

    repo_id: str | None = None
    source_name: str | None = None
    license: str | None = None
    attribution: str | None = None
    language: Sequence[str] | None = None


@dataclass
class SplitStatistics:
    """What is in a split."""

    name: str
    clips: int
    seconds: float
    frames: int
    frames_with_face: int
    speakers: int

    def __str__(self) -> str:
        return f"{self.name}: {self.clips:,} clips, {duration(self.seconds)}, {self.frames:,} frames"


def duration(seconds: float) -> str:
    """``1.5 hours``, or minutes, or seconds."""
    for unit, length in (("hours", 3600), ("minutes", 60)):
        if seconds >= length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:.1f} seconds"


def statistics(split: str, rows: Dataset) -> SplitStatistics:
    """Counts the rows of a split by their small columns."""
    small = rows.with_format("numpy", columns=["num_frames", "frame_rate"])[:]
    present = rows.with_format("arrow", columns=["present"])
    faces = sum(
        present[start : start + 1000]["present"].combine_chunks().flatten().true_count
        for start in range(0, len(rows), 1000)
    )
    return SplitStatistics(
        name=split,
        clips=len(rows),
        seconds=float((small["num_frames"] / small["frame_rate"]).sum()),
        frames=int(np.sum(small["num_frames"], dtype=np.int64)),
        frames_with_face=faces,
        speakers=len(set(rows["speaker"][:]) - {None}),
    )


def write_card(
    folder: Path,
    splits: Mapping[str, Dataset],
    found: Sequence[SplitStatistics],
    options: CardOptions,
    report: Mapping[str, Any],
) -> None:
    """Writes ``README.md`` beside the shards in ``data/``.

    Args:
        folder: Folder of the data set.
        splits: Its rows.
        found: What is in them.
        options: What the card says of source and licence.
        report: ``report.json`` of the corpus, empty if there is none.
    """
    clips = sum(split.clips for split in found)
    title = f"Face landmarks of {options.source_name}" if options.source_name else "Face landmarks of speech"
    data = DatasetCardData(
        language=list(options.language) if options.language else None,
        license=options.license,
        pretty_name=title,
        size_categories=[next(name for limit, name in SIZES if clips < limit)],
        tags=["lip-reading", "face-landmarks", "lipread"],
    )
    sizes = SplitDict()
    for name, rows in splits.items():
        sizes.add(SplitInfo(name=name, num_bytes=rows.data.nbytes, num_examples=len(rows)))
    info = DatasetInfo(features=next(iter(splits.values())).features, splits=sizes)
    info.dataset_size = sum(split.num_bytes for split in sizes.values())
    info.download_size = sum(path.stat().st_size for path in (folder / "data").iterdir())
    DatasetInfosDict({"default": info}).to_dataset_card_data(data)
    files = [{"split": name, "path": f"data/{name}-*"} for name in splits]
    MetadataConfigs({"default": {"data_files": files}}).to_dataset_card_data(data)
    body = TEXT.format(
        title=title,
        clips=clips,
        hours=duration(sum(split.seconds for split in found)),
        rows="\n".join(
            f"| {split.name} | {split.clips:,} | {duration(split.seconds)} | {split.frames:,} | "
            f"{split.frames_with_face / split.frames:.1%} | {split.speakers or 'not named'} |"
            for split in found
        ),
        skipped=_skipped(report),
        repo_id=options.repo_id or "FOLDER",
        split=found[0].name,
        columns="\n".join(f"- `{name}`: {COLUMNS.get(name, 'see the features')}" for name in info.features),
        source=_source(options),
    )
    DatasetCard(f"---\n{data.to_yaml()}\n---\n{body}").save(folder / "README.md")


def _skipped(report: Mapping[str, Any]) -> str:
    if "skipped" not in report:
        return "What could not be used of the source is not known."
    count = len(report["skipped"])
    return (
        f"{count:,} clips of the source could not be used, most often for want of a face."
        if count
        else ("Every clip of the source could be used.")
    )


def _source(options: CardOptions) -> str:
    name = options.source_name or "a corpus that was not named when this card was written"
    lines = [
        f"The landmarks come from {name}. They are derived from its video and texts, so its licence binds them too."
    ]
    lines.append(
        f"Licence of the source: `{options.license}`."
        if options.license
        else "**No licence of the source was given: without one, nobody but its owners may pass this on.**"
    )
    if options.attribution:
        lines.append(f"Attribution: {options.attribution}")
    return "\n\n".join(lines)
