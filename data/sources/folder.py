# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Folders of videos and transcripts, walked alike on every platform; what the formats of `data.corpora` read from."""

from __future__ import annotations

import codecs
import os
import re
from collections import Counter
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lipread.video_files import VIDEO_SUFFIXES, is_hidden

from .records import BadClip, Record, Skip, SourceError, TranscriptError, forget_folders, is_inside, make_record

LARGEST_TRANSCRIPT = 64 * 2**20  # bytes; text of a thousand hours is smaller
_EXAMPLES = 8  # files of a kind that recognising a format looks at
_LANGUAGE = re.compile("[a-z]{2,3}(-[a-z0-9]+)*")
_OUTSIDE = "copy there what it leads to, or give --allow_outside"


def natural(name: str) -> tuple:
    """A sorting key that puts ``clip9`` before ``clip10``, whatever the locale."""
    parts = re.split("([0-9]+)", name)
    return [int(part) if index % 2 else part.casefold() for index, part in enumerate(parts)], name


def decode_text(data: bytes, name: str) -> str:
    """A transcript's text: UTF-8, or UTF-16 (as Praat and Windows write it), with or without a byte order mark.

    Raises:
        TranscriptError: If it is neither.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif b"\0" in data[:256]:  # no text in UTF-8 holds a zero byte; Latin letters in UTF-16 hold one in two
        encoding = "utf-16-be" if data[:1] == b"\0" else "utf-16-le"
    else:
        encoding = "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise TranscriptError(
            f"{name}: not UTF-8 ({error.reason} at byte {error.start}); convert it, for instance with: "
            "iconv -f WINDOWS-1252 -t UTF-8"
        ) from None


def text_lines(text: str) -> list[str]:
    """The lines of a text file; unlike `str.splitlines`, only CR, LF and both end one."""
    return re.split("\r\n|\r|\n", text)


@dataclass(frozen=True)
class Pair:
    """A video and the transcripts of its name that lie beside it, paths relative to the folder.

    Attributes:
        video (`str`): The video.
        transcripts (`dict[str, str]`): Path by suffix, in lower case: ``{".txt": "anna/clip1.TXT"}``.
    """

    video: str
    transcripts: dict[str, str]


class Folder:
    """A source of clips: a folder, or one transcript and the video beside it.

    Hidden files are passed over, sub folders are walked in natural order, and symbolic links are followed once.

    Args:
        path (`str` or `Path`): The folder or the transcript.
        allow_outside (`bool`): Take what symbolic links that lead out of the folder lead to.

    Attributes:
        root (`Path`): The folder that all paths are relative to.
        name (`str`): Its name, or the transcript's.
        skipped (`list[Skip]`): What was passed over while walking, and why. Whoever reads takes them out.

    Raises:
        SourceError: If there is no such folder or file.
    """

    def __init__(self, path: str | Path, allow_outside: bool = False):
        self.path = Path(path)
        self.allow_outside = allow_outside
        self.is_single = self.path.is_file()
        if not self.is_single and not self.path.is_dir():
            raise SourceError(f"{path}: no such file or folder; check the path")
        self.root = self.path.parent if self.is_single else self.path
        self.name = os.path.basename(os.path.abspath(self.path)) or "corpus"
        self.skipped: list[Skip] = []
        self._clips = 0
        self._examples: dict[str, list[str]] | None = None
        self._kinds: Counter[str] = Counter()
        forget_folders()

    # What formats read

    def walk(self) -> Iterator[tuple[str, list[str]]]:
        """Every folder with its files, ``("anna/monday", ["clip1.mp4", "clip1.txt"])``; the top one is ``""``."""
        if self.is_single:
            videos = [name for name in os.listdir(self.root) if _kind(name) == "video"]
            yield "", sorted({*videos, self.path.name}, key=natural)
            return
        seen: set[tuple[int, int]] = set()
        folders, links = [""], []
        while folders or links:
            # Links last, so that a clip is called by the path it really has.
            folder = folders.pop() if folders else links.pop(0)
            try:
                state = os.stat(self.root / folder)
                if (state.st_dev, state.st_ino) in seen:
                    self.skipped.append(self.skip(folder, "a symbolic link to a folder that is read already"))
                    continue
                seen.add((state.st_dev, state.st_ino))
                files, folders_below, links_below = self._list(folder)
            except OSError as error:
                self.skipped.append(self.skip(folder or ".", f"the folder cannot be read ({error.strerror})"))
                continue
            folders += sorted(folders_below, key=natural, reverse=True)
            links += sorted(links_below, key=natural)
            yield folder, sorted(files, key=natural)

    def _list(self, folder: str) -> tuple[list[str], list[str], list[str]]:
        """Files (by name), sub folders, and links to folders inside (by path)."""
        files, folders, links = [], [], []
        with os.scandir(self.root / folder) as entries:
            for entry in entries:
                path = f"{folder}/{entry.name}" if folder else entry.name
                if is_hidden(entry.name):
                    continue
                try:
                    path.encode()
                    is_folder = entry.is_dir()
                except UnicodeEncodeError:
                    shown = os.fsencode(path).decode(errors="replace")
                    self.skipped.append(self.skip(shown, "the name is not valid UTF-8; rename it"))
                except OSError as error:
                    self.skipped.append(self.skip(path, f"leads nowhere ({error.strerror})"))
                else:
                    if not is_folder:
                        files.append(entry.name)
                    elif not entry.is_symlink():
                        folders.append(path)
                    elif self.allow_outside or is_inside(self.root, path):
                        links.append(path)
                    else:
                        self.skipped.append(self.skip(path, f"a symbolic link out of the folder; {_OUTSIDE}"))
        return files, folders, links

    def videos(self) -> Iterator[str]:
        """Every video, with or without anything beside it."""
        for folder, names in self.walk():
            yield from (f"{folder}/{name}" if folder else name for name in names if _kind(name) == "video")

    def pairs(self, *suffixes: str, ignore: Container[str] = (), language: str | None = None) -> Iterator[Pair]:
        """Every video with the transcripts of its name in the same folder; those without a partner become skips.

        Args:
            suffixes (`str`): The transcripts' suffixes in lower case; one of them is enough for a pair.
            ignore (`Container[str]`): Paths of files that are no transcripts though they look like some.
            language (`str`, *optional*): Where transcripts may carry a language, as ``talk.en.vtt`` beside
                ``talk.mp4``: the wanted one, ``""`` for whichever is there.
        """
        for folder, names in self.walk():
            groups: dict[str, list[str]] = {}
            for name in names:
                path = f"{folder}/{name}" if folder else name
                if _kind(name) == "video" or (_kind(name) in suffixes and path not in ignore):
                    groups.setdefault(os.path.splitext(name)[0].casefold(), []).append(path)
            if language is not None:
                self._join_languages(groups, language.casefold())
            for paths in groups.values():
                if pair := self._pair(paths, suffixes):
                    yield pair

    def _join_languages(self, groups: dict[str, list[str]], wanted: str) -> None:
        """Moves the transcripts of ``talk.en`` to ``talk``, if there is no video ``talk.en`` but one ``talk``."""
        has_video = {stem: any(_kind(path) == "video" for path in paths) for stem, paths in groups.items()}
        for stem in list(groups):
            plain, _, tag = stem.rpartition(".")
            if has_video[stem] or not has_video.get(plain) or not _LANGUAGE.fullmatch(tag):
                continue
            paths = groups.pop(stem)
            if wanted in ("", tag):
                groups[plain] += paths
            else:
                self.skipped += [self.skip(path, f"the language is {tag}, wanted {wanted}") for path in paths]

    def _pair(self, paths: list[str], suffixes: tuple[str, ...]) -> Pair | None:
        by_kind: dict[str, list[str]] = {}
        for path in paths:
            by_kind.setdefault(_kind(path), []).append(path)
        videos = by_kind.pop("video", [])
        if not videos:
            self.skipped += [self.skip(path, "no video of that name beside it") for path in paths]
        elif not by_kind:
            if not self.is_single:
                reason = f"no transcript of that name beside it ({' or '.join(suffixes)})"
                self.skipped += [self.skip(path, reason) for path in videos]
        elif crowd := next((some for some in (videos, *by_kind.values()) if len(some) > 1), None):
            self.skipped.append(self.skip(crowd[0], f"stands beside {', '.join(crowd[1:])}; keep one of them"))
        else:
            return Pair(videos[0], {kind: path for kind, (path,) in by_kind.items()})
        return None

    def read_text(self, path: str) -> str:
        """A transcript of the folder.

        Raises:
            TranscriptError: If it is no readable text file inside the folder, or larger than any transcript.
        """
        if not self.allow_outside and not is_inside(self.root, path):
            raise TranscriptError(f"{path} leads out of the folder; {_OUTSIDE}")
        return read_text(self.root / path, path)

    def clip(self, video: str, text: str, *, place: str | None = None, **more: Any) -> Record | Skip:
        """A clip of the folder, or the reason why it is none.

        Args:
            video (`str`): Its path, relative to the folder.
            text (`str`): What is said in it.
            place (`str`, *optional*): Where it is written down, if not by the video's name alone.
            more: ``speaker``, ``words``, ``start``, ``end``, ``id``, ``split``, ``notes``: see
            `data.sources.records.Record`.
        """
        self._clips += 1
        place = place or video
        try:
            return make_record(
                self.root,
                video,
                text,
                manifest=self.name,
                line=self._clips,
                place=place,
                is_landmarks=False,
                allow_outside=self.allow_outside,
                **more,
            )
        except BadClip as error:
            return self.skip(place, str(error))

    def skip(self, place: str, reason: object) -> Skip:
        """A clip or file left out, and why."""
        return Skip(f"{self.name}/{place}", None, str(reason))

    # What recognising a format looks at

    def has(self, *suffixes: str) -> bool:
        """Whether a file ends so (in lower case), beside a video or not."""
        self._look()
        return any(self._kinds[suffix] for suffix in suffixes)

    def examples(self, suffix: str) -> list[str]:
        """A few files that end so and stand beside a video of their name; for ``"video"``, a few videos."""
        self._look()
        return self._examples.get(suffix, [])

    def mostly(self, suffix: str, pattern: re.Pattern) -> bool:
        """Whether most of the examples of a suffix begin so; a few may be damaged."""
        examples = self.examples(suffix)
        return sum(self._begins(path, pattern) for path in examples) * 2 > len(examples)

    def _begins(self, path: str, pattern: re.Pattern) -> bool:
        try:
            return pattern.match(self.read_text(path)) is not None
        except TranscriptError:
            return False

    def _look(self) -> None:
        if self._examples is not None:
            return
        self._examples = {}
        for folder, names in self.walk():
            videos = {os.path.splitext(name)[0].casefold() for name in names if _kind(name) == "video"}
            for name in names:
                self._kinds[_kind(name)] += 1
                some = self._examples.setdefault(_kind(name), [])
                if len(some) < _EXAMPLES and os.path.splitext(name)[0].casefold() in videos:
                    some.append(f"{folder}/{name}" if folder else name)
        self.skipped.clear()  # reading walks again, and says so then


def read_text(path: Path, name: str) -> str:
    """A text file; `name` is what errors call it.

    Raises:
        TranscriptError: If it is no file, larger than any transcript, or neither UTF-8 nor UTF-16.
    """
    try:
        if not os.path.isfile(path):  # a named pipe would block for ever
            raise TranscriptError(f"{name} is no file")
        if os.path.getsize(path) > LARGEST_TRANSCRIPT:
            raise TranscriptError(f"{name}: larger than {LARGEST_TRANSCRIPT >> 20} MiB, which no transcript is")
        data = path.read_bytes()
    except OSError as error:
        raise TranscriptError(f"{name}: cannot be read ({error.strerror})") from error
    return decode_text(data, name)


def _kind(path: str) -> str:
    """The suffix in lower case; of every video, ``"video"``."""
    suffix = os.path.splitext(path)[1].lower()
    return "video" if suffix in VIDEO_SUFFIXES else suffix
