# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Folders of videos and transcripts, from which `data.corpora` reads; their order is the same on every platform."""

from __future__ import annotations

import codecs
import os
import posixpath
import re
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lipread.video_files import VIDEO_SUFFIXES, is_hidden

from .records import BadClip, Record, Root, Skip, SourceError, TranscriptError, Word, make_record

LARGEST_TRANSCRIPT = 64 * 2**20  # bytes; the text of a thousand hours is smaller
# Labels of silence and noise, in lower case: HTK's and Kaldi's, TIMIT's "h#", WebMAUS' "<p:>", P2FA's in braces and
# the Montreal forced aligner's in brackets.
NO_WORDS = frozenset(
    "sil sp spn pau h# # <eps> <p> <p:> <sil> <unk> {br} {cg} {lg} {ls} {ns} {sl} [bracketed]".split()
)
_LANGUAGE = re.compile("[a-z]{2,3}(-[a-z0-9]+)*")
_OUTSIDE = "copy there what it leads to, or give --allow_outside"


def natural(name: str) -> tuple:
    """Returns a sorting key that puts ``clip9`` before ``clip10`` in every locale."""
    parts = re.split("([0-9]+)", name)
    return [int(part) if index % 2 else part.casefold() for index, part in enumerate(parts)], name


def kind_of(path: str) -> str:
    """Returns the suffix in lower case, or ``"video"`` for every video."""
    suffix = os.path.splitext(path)[1].lower()
    return "video" if suffix in VIDEO_SUFFIXES else suffix


def read_text(path: Path, name: str) -> str:
    """Reads a transcript in UTF-8 or UTF-16 (written by Praat and Windows), with or without a byte order mark.

    Raises `TranscriptError` with `name` if it is no file, too large, or in another encoding.
    """
    try:
        if not os.path.isfile(path):  # a named pipe would block forever
            raise TranscriptError(f"{name} is no file")
        if os.path.getsize(path) > LARGEST_TRANSCRIPT:
            raise TranscriptError(f"{name}: larger than {LARGEST_TRANSCRIPT >> 20} MiB, which no transcript is")
        data = path.read_bytes()
    except OSError as error:
        raise TranscriptError(f"{name}: cannot be read ({error.strerror})") from error
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
    """Splits a text at CR, LF and CR LF only; `str.splitlines` splits at other characters too."""
    return re.split("\r\n|\r|\n", text)


def parse_timed_words(text: str, name: str, rate: int, *, overlap: bool = False) -> list[Word]:
    """Parses an alignment of lines ``start end word`` in whole units, `rate` a second, without `NO_WORDS`.

    With `overlap`, a word may start before the one before it ends. Raises `TranscriptError` for any other line.
    """
    words, earliest = [], 0.0
    for number, line in enumerate(text_lines(text), start=1):
        if not line.strip():
            continue
        match = re.fullmatch(r"\s*([0-9]{1,15})\s+([0-9]{1,15})\s+(\S+)\s*", line)
        if not match:
            raise TranscriptError(
                f"{name} line {number}: expected 'start end word' with times in whole units, found {line[:80]!r}"
            )
        start, end = int(match[1]) / rate, int(match[2]) / rate
        if not earliest <= start <= end:
            raise TranscriptError(f"{name} line {number}: times run backwards in {line[:80]!r}")
        earliest = start if overlap else end
        if match[3].casefold() not in NO_WORDS:
            words.append(Word(match[3], start, end))
    if not words:
        raise TranscriptError(f"{name}: the alignment holds no word")
    return words


@dataclass(frozen=True)
class Pair:
    """A video and the transcripts of its name beside it, as paths relative to the folder."""

    video: str
    transcripts: dict[str, str]  # by suffix in lower case: ``{".txt": "anna/clip1.TXT"}``


class Folder:
    """A folder of clips.

    Hidden files are ignored, sub-folders come in natural order, and symbolic links are followed once, out of the
    folder only if `allow_outside` is set. All paths are relative to `root`. Raises `SourceError` if there is no such
    folder.
    """

    def __init__(self, path: str | Path, allow_outside: bool = False):
        self.root = Path(path)
        if not self.root.is_dir():
            raise SourceError(f"{path}: no such folder; check the path")
        self.name = os.path.basename(os.path.abspath(self.root)) or "corpus"
        self._media = Root(self.root, allow_outside)
        self._clips = 0

    def walk(self) -> Iterator[tuple[str, list[str]] | Skip]:
        """Yields every folder with its files, ``("anna/monday", ["clip1.mp4", "clip1.txt"])``, and skips.

        The root is ``""``. What cannot be read is a skip.
        """
        read, failed = [os.path.realpath(self.root)], []
        for place, below, files in os.walk(self.root, onerror=failed.append, followlinks=True):
            folder = os.path.relpath(place, self.root).replace(os.sep, "/").removeprefix(".")
            for names in (below, files):
                names[:] = sorted((name for name in names if not is_hidden(name)), key=natural)
                for name in names[:]:
                    path = posixpath.join(folder, name)
                    shown = os.fsencode(path).decode(errors="replace")
                    real = os.path.realpath(self.root / path) if names is below else ""
                    if shown != path:
                        reason = "the name is not valid UTF-8; rename it"
                    elif real in read:  # also below a link to a folder above it
                        reason = "leads to a folder that is read already"
                    elif real and os.path.islink(self.root / path):
                        if any(os.path.commonpath([real, other]) == other for other in read):
                            reason = "leads to a folder that is read already"
                        elif self._media.allows(path):
                            read.append(real)
                            continue
                        else:
                            reason = f"a symbolic link out of the folder; {_OUTSIDE}"
                    else:
                        continue
                    names.remove(name)
                    yield self.skip(shown, reason)
            yield folder, files
        for error in failed:
            place = os.path.relpath(error.filename, self.root)
            yield self.skip(place, f"the folder cannot be read ({error.strerror})")

    def pairs(self, *suffixes: str, ignore: Container[str] = ()) -> Iterator[Pair | Skip]:
        """Yields every video with the transcripts of its name in the same folder; files without a partner are skips.

        One transcript with any of the `suffixes` (in lower case) is enough. Paths in `ignore` are not transcripts.
        ``talk.en.vtt`` belongs to ``talk.mp4``, unless there is a ``talk.en.mp4``.
        """
        for found in self.walk():
            if isinstance(found, Skip):
                yield found
                continue
            folder, names = found
            groups: dict[str, dict[str, list[str]]] = {}  # by name without suffix, and by kind
            for name in names:
                kind, path = kind_of(name), posixpath.join(folder, name)
                if kind == "video" or (kind in suffixes and path not in ignore):
                    stem = os.path.splitext(name)[0].casefold()
                    groups.setdefault(stem, {}).setdefault(kind, []).append(path)
            for stem in list(groups):
                plain, _, tag = stem.rpartition(".")
                if "video" not in groups[stem] and "video" in groups.get(plain, {}) and _LANGUAGE.fullmatch(tag):
                    for kind, paths in groups.pop(stem).items():
                        groups[plain].setdefault(kind, []).extend(paths)
            for group in groups.values():
                several = next((paths for paths in group.values() if len(paths) > 1), None)
                if "video" not in group:
                    for path in (path for paths in group.values() for path in paths):
                        yield self.skip(path, "no video of that name beside it")
                elif len(group) == 1:
                    reason = f"no transcript of that name beside it ({' or '.join(suffixes)})"
                    yield from (self.skip(path, reason) for path in group["video"])
                elif several:
                    yield self.skip(several[0], f"stands beside {', '.join(several[1:])}; keep one of them")
                else:
                    yield Pair(group.pop("video")[0], {kind: path for kind, (path,) in group.items()})

    def speaker(self, folder: str, pattern: re.Pattern, no_speakers: Container[str]) -> str:
        """Returns group 1 of the innermost folder named by a pattern, else the innermost not among `no_speakers`."""
        names = [self.name, *filter(None, folder.split("/"))][::-1]
        matches = (pattern.fullmatch(name) for name in names)
        others = (name for name in names if name.lower() not in no_speakers)
        return next((match[1] for match in matches if match), None) or next(others, self.name)

    def read_text(self, path: str) -> str:
        """Reads a transcript; raises `TranscriptError` if it is no readable text file inside the folder."""
        if not self._media.allows(path):
            raise TranscriptError(f"{path} leads out of the folder; {_OUTSIDE}")
        return read_text(self.root / path, path)

    def clip(self, video: str, text: str, *, place: str | None = None, **more: Any) -> Record | Skip:
        """Returns a clip of the folder, or a skip with the reason if it cannot be used.

        `place` says where it is listed, by default the video's path; `more` are arguments of `make_record`.
        """
        self._clips += 1
        place = place or video
        more |= {"where": f"{self.name}/{place}", "line": self._clips}
        try:
            return make_record(self._media, video, text, is_landmarks=False, **more)
        except BadClip as error:
            return self.skip(place, error)

    def skip(self, place: str, reason: object) -> Skip:
        """Returns a clip or file that is left out, with the reason."""
        return Skip(f"{self.name}/{place}", None, str(reason))
