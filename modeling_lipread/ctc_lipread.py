# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""CTC with the face encoder's heads: greedy decoding, prefix scores for joint decoding, and forced alignment.

In joint decoding (Hori et al., 2017, https://huggingface.co/papers/1706.02737) the score of a text is the weighted sum
of its log-probability by the language model and by the CTC head. For a text that is still being written, the latter is
that of all texts that begin with it (its prefix score; Watanabe et al., 2017). Tokens and characters need not match: a
token extends the prefix by the characters that it spells, which a model keeps with its weights.

Forced alignment finds the frames of known words by a Viterbi search in numpy. The alignment head names the character
of every frame, silence included, so a word lies where its characters are. The CTC head emits each character once, in
any frame, and blanks elsewhere: its words come out too short, and the first one often too early.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import LogitsProcessor
from transformers.convert_slow_tokenizer import bytes_to_unicode

from .text_normalizer_lipread import TextNormalizer

BLANK = 0  # of the CTC head; silence of the alignment head
IMPOSSIBLE = -1e4  # for what cannot be or is not looked at; finite, so that there is always something to write
NUM_CANDIDATES = 20
MOST_SILENT = 3  # tokens in a row that spell nothing: punctuation, or all but the last byte of a character
NO_WORD = -1
SEPARATOR = b"\xff"  # in no text of UTF-8
_REPLACEMENT = "\ufffd"  # what a tokenizer shows for bytes that are no whole character
_BYTE_OF = {character: byte for byte, character in bytes_to_unicode().items()}


def clip_lengths(mask: torch.Tensor | None, logits: torch.Tensor) -> torch.Tensor:
    """Frames of each clip, int64 `(clips,)`: it ends with the last that has a face.

    Args:
        mask: Non-zero where there is a face, `(clips, frames)`; everywhere if `None`.
        logits: Scores of the CTC head, `(clips, frames, symbols)`.
    """
    clips, frames, _ = logits.shape
    if mask is None:
        return torch.full((clips,), frames, device=logits.device)
    # Frames without a face inside a clip may still emit blanks.
    return (mask.bool() * torch.arange(1, frames + 1, device=mask.device)).amax(1)


def greedy_ctc(logits: torch.Tensor, mask: torch.Tensor | None, ctc_vocab: Sequence[str]) -> list[str]:
    """What the CTC head reads on its own, from the likeliest symbol of every frame.

    Args:
        logits: Scores of the CTC head, `(clips, frames, symbols)`.
        mask: Non-zero where there is a face, `(clips, frames)`.
        ctc_vocab: Its characters, the blank first.
    """
    best, lengths = logits.argmax(-1).tolist(), clip_lengths(mask, logits).tolist()
    texts = []
    for symbols, length in zip(best, lengths, strict=True):
        runs = (symbol for symbol, _ in itertools.groupby(symbols[:length]))
        texts.append("".join(ctc_vocab[symbol] for symbol in runs if symbol != BLANK).strip())
    return texts


class CTCSpelling:
    """Spells texts as the CTC head learned to: normalised, and without the characters it does not know.

    Args:
        characters: Those it knows.
    """

    def __init__(self, characters: Iterable[str]):
        self._normalize = TextNormalizer()
        self._characters = frozenset(characters)
        self._normalized: dict[bytes, str] = {b"": ""}
        self._spelled: dict[str, str] = {}

    def __call__(self, text: bytes) -> str:
        """The characters of a text in UTF-8, whose last character may still lack bytes."""
        normalized = self._normalized_text(text)
        if normalized not in self._spelled:
            self._spelled[normalized] = "".join(filter(self._characters.__contains__, normalized))
        return self._spelled[normalized]

    def unknown(self, text: bytes) -> int:
        """How many characters of a text were left out."""
        return len(self._normalized_text(text)) - len(self(text))

    def _normalized_text(self, text: bytes) -> str:
        # Nothing reaches across a space, so words are normalised one by one, and each of them once.
        if text not in self._normalized:
            before, space, word = text.rpartition(b" ")
            if space:
                parts = self._normalized_text(before), self._normalized_text(word)
                self._normalized[text] = " ".join(filter(None, parts))
            else:
                self._normalized[text] = self._normalize(word.decode(errors="replace"))
        return self._normalized[text]


class CTCPrefixScores:
    """Probabilities of texts, and of all texts that begin with them, by the CTC head.

    A prefix is kept with what it takes to go on from it: for every frame, the probability of all paths up to there
    that spell it and end in a blank, and of those that end in its last character (Graves et al., 2006). All
    log-probabilities are float64.

    Args:
        logits: Scores of the CTC head, `(clips, frames, symbols)`.
        lengths: Frames of each clip, `(clips,)`.
        ctc_vocab: Its characters, the blank first.
    """

    def __init__(self, logits: torch.Tensor, lengths: torch.Tensor, ctc_vocab: Sequence[str]):
        device = "cpu" if logits.device.type == "mps" else logits.device  # which has no float64
        log_probs = logits.to(device).double().log_softmax(-1)
        self._log_probs = log_probs.transpose(0, 1).contiguous()  # frames first: they are gone through one by one
        self._lengths = lengths.to(device)
        self._symbols = {character: index for index, character in enumerate(ctc_vocab) if index != BLANK}
        frames, clips, _ = self._log_probs.shape
        # Before the first frame nothing is spelled, for certain.
        blank = torch.cat([log_probs.new_zeros(1, clips), self._log_probs[:, :, BLANK].cumsum(0)])
        self._columns = {(clip, ""): clip for clip in range(clips)}
        self._paths = torch.stack([blank, torch.full_like(blank, -torch.inf)])  # (2, frames + 1, prefixes)
        self._inside = torch.arange(frames, device=device)[:, None] < self._lengths

    @property
    def num_clips(self) -> int:
        return len(self._lengths)

    @property
    def characters(self) -> Iterable[str]:
        """The characters that a text may have here."""
        return self._symbols.keys()

    def begins(self, prefixes: Sequence[tuple[int, str]]) -> torch.Tensor:
        """Log-probabilities, `(prefixes,)`, that what is said begins with a prefix.

        Args:
            prefixes: Each with the index of its clip.
        """
        unique = list(dict.fromkeys(prefixes))
        longer = [(clip, text) for clip, text in unique if text]
        self._add((clip, text[:-1]) for clip, text in longer)
        scores = self._log_probs.new_zeros(len(unique))
        if longer:
            before, emitted, clips = self._steps(longer)
            said = (before + emitted).masked_fill(~self._inside[:, clips], -torch.inf).logsumexp(0)
            # A clip without a frame says nothing, and nothing against anything.
            said = said.masked_fill(self._lengths[clips] == 0, 0.0)
            scores[self._index(index for index, (_, text) in enumerate(unique) if text)] = said
        place = {prefix: index for index, prefix in enumerate(unique)}
        return scores[self._index(place[prefix] for prefix in prefixes)]

    def ends(self, texts: Sequence[tuple[int, str]]) -> torch.Tensor:
        """Log-probabilities, `(texts,)`, that a text is what is said.

        Args:
            texts: Each with the index of its clip.
        """
        self._add(texts)
        columns = self._index(self._columns[text] for text in texts)
        lengths = self._lengths[self._index(clip for clip, _ in texts)]
        scores = torch.logaddexp(*self._paths[:, lengths, columns])
        return scores.masked_fill(lengths == 0, 0.0)

    def keep(self, prefixes: Iterable[tuple[int, str]]) -> None:
        """Forgets all prefixes but these, which are going to be continued."""
        prefixes = list(prefixes)
        self._add(prefixes)
        empty = [(clip, "") for clip in range(self.num_clips)]
        kept = list(dict.fromkeys(empty + prefixes))
        self._paths = self._paths[:, :, self._index(self._columns[prefix] for prefix in kept)]
        self._columns = {prefix: column for column, prefix in enumerate(kept)}

    def _add(self, prefixes: Iterable[tuple[int, str]]) -> None:
        """Makes prefixes known, each from the longest known one that it begins with."""
        depths: dict[tuple[int, str], int] = {}  # how many characters beyond a known one
        levels: list[list[tuple[int, str]]] = []
        for clip, text in prefixes:
            missing = []
            while (prefix := (clip, text)) not in self._columns and prefix not in depths:
                missing.append(prefix)
                text = text[:-1]
            for depth, longer in enumerate(reversed(missing), start=depths.get(prefix, 0) + 1):
                depths[longer] = depth
                if depth > len(levels):
                    levels.append([])
                levels[depth - 1].append(longer)
        if not levels:
            return
        known = self._paths.shape[2]
        paths = self._paths.new_empty((*self._paths.shape[:2], known + len(depths)))
        paths[:, :, :known] = self._paths
        self._paths = paths
        for level in levels:
            self._fill(level, paths[:, :, known : known + len(level)])
            self._columns.update(zip(level, range(known, known + len(level)), strict=True))
            known += len(level)

    def _fill(self, prefixes: list[tuple[int, str]], paths: torch.Tensor) -> None:
        """Computes the paths of prefixes, each by a character longer than a known one."""
        before, emitted, clips = self._steps(prefixes)
        blanks = self._log_probs[:, clips, BLANK]
        blank, character = paths
        paths[:, 0] = -torch.inf
        for frame in range(len(before)):
            torch.logaddexp(blank[frame], character[frame], out=blank[frame + 1]).add_(blanks[frame])
            torch.logaddexp(before[frame], character[frame], out=character[frame + 1]).add_(emitted[frame])

    def _steps(self, prefixes: list[tuple[int, str]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """How prefixes come from those that are by a character shorter.

        Returns:
            For each frame and prefix, `(frames, prefixes)`, the log-probability of all paths before the frame that its
            last character can follow, and of that character in the frame; and each prefix's clip.
        """
        steps = [
            (self._columns[clip, text[:-1]], self._symbols[text[-1]], clip, text[-2:-1] == text[-1])
            for clip, text in prefixes
        ]
        parents, symbols, clips, doubled = torch.tensor(steps, device=self._paths.device).T
        blank, character = self._paths[0, :-1, parents], self._paths[1, :-1, parents]
        # A character follows another of its kind only after a blank.
        before = torch.logaddexp(blank, character.masked_fill_(doubled.bool(), -torch.inf))
        return before, self._log_probs[:, clips, symbols], clips

    def _index(self, places: Iterable[int]) -> torch.Tensor:
        return torch.tensor(list(places), dtype=torch.long, device=self._paths.device)


class CTCLogitsProcessor(LogitsProcessor):
    """Adds to the language model's scores what the CTC head says: `(1 - weight) * log p(token) + weight * gain`.

    A token's gain is how the log-probability of the text so far, by the CTC head, changes with it; that of an end
    token, how it changes when nothing follows. Only the language model's likeliest tokens are looked at.

    Args:
        prefix_scores: The clips' prefix scores.
        spellings: The bytes of every token; of those beyond the list, none.
        weight: Weight of the CTC head, from 0 to 1.
        prompt_length: Tokens at the beginning that are not part of what is said.
        end_ids: Tokens that end a text.
        num_candidates: How many of the likeliest tokens are looked at.
    """

    def __init__(
        self,
        prefix_scores: CTCPrefixScores,
        spellings: Sequence[bytes],
        *,
        weight: float,
        prompt_length: int,
        end_ids: Sequence[int],
        num_candidates: int = NUM_CANDIDATES,
    ):
        self.prefix_scores = prefix_scores
        self.spelling = CTCSpelling(prefix_scores.characters)
        self.spellings = spellings
        self.weight = weight
        self.prompt_length = prompt_length
        self.end_ids = list(end_ids)
        self.num_candidates = num_candidates

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Scores of the next token, `(rows, vocab_size)`; the rows of a clip, its beams or samples, stand together."""
        # Beam search gives log-probabilities, which this leaves as they are; greedy search and sampling give logits.
        scores = scores.log_softmax(-1)
        beams = len(input_ids) // self.prefix_scores.num_clips
        count = min(max(self.num_candidates, 2 * beams), scores.shape[-1])
        candidates = scores.topk(count, dim=-1).indices
        written = [[self._bytes(token) for token in row] for row in input_ids[:, self.prompt_length :].tolist()]
        prefixes = [(row // beams, self.spelling(b"".join(pieces))) for row, pieces in enumerate(written)]
        extended = [
            (clip, self._spelled_with(pieces, self._bytes(token)))
            for (clip, _), pieces, tokens in zip(prefixes, written, candidates.tolist(), strict=True)
            for token in tokens
        ]
        self.prefix_scores.keep(prefixes)
        so_far = self.prefix_scores.begins(prefixes)
        with_token = self.prefix_scores.begins([(clip, text or "") for clip, text in extended])
        barred = torch.tensor([text is None for _, text in extended], device=with_token.device)
        with_token = with_token.masked_fill(barred, -torch.inf).view(candidates.shape)
        gains = torch.full_like(scores, IMPOSSIBLE)
        gains.scatter_(1, candidates, _gain(with_token, so_far[:, None]).to(gains))
        gains[:, self.end_ids] = _gain(self.prefix_scores.ends(prefixes), so_far)[:, None].to(gains)
        mixed = (1 - self.weight) * scores + self.weight * gains
        return mixed.masked_fill(scores == -torch.inf, -torch.inf)  # what others have ruled out stays so

    def _spelled_with(self, pieces: list[bytes], more: bytes) -> str | None:
        """What a text spells with one token more; `None` if the CTC head cannot go along.

        It never says a character that it does not know. Of punctuation it knows nothing, which costs it nothing, so
        that without a limit a text could put off for ever what it must still say. Special tokens say nothing at all.
        """
        before = b"".join(pieces)
        text = before + more
        if not more or self.spelling.unknown(text) > self.spelling.unknown(before):
            return None
        spelled = self.spelling(text)
        silent = len(pieces) >= MOST_SILENT and spelled == self.spelling(b"".join(pieces[:-MOST_SILENT]))
        return None if silent else spelled

    def _bytes(self, token: int) -> bytes:
        return self.spellings[token] if token < len(self.spellings) else b""


def _gain(after: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    return (after - before).nan_to_num(nan=IMPOSSIBLE).clamp(min=IMPOSSIBLE)


class WordAlignment(NamedTuple):
    """Where words lie in a clip.

    Attributes:
        frames: For each word its first frame and the one after its last, int `(words, 2)`.
        fit: How well it fits what was seen: the mean log-probability of its characters in the frames they were given,
            `(words,)`; 0 for a word without any.
    """

    frames: np.ndarray
    fit: np.ndarray


def align_words(
    log_probs: np.ndarray, words: Sequence[str], ctc_vocab: Sequence[str], each_frame: bool = False
) -> WordAlignment | None:
    """The frames of each word, and how well it fits what was seen in them.

    Args:
        log_probs: Logarithms of a head's posteriors, `(frames, vocabulary)`.
        words: What is known to be said.
        ctc_vocab: Characters of both heads, the blank first.
        each_frame: Whether they are the alignment head's, which names the character of each frame, and not the CTC
            head's.

    Returns:
        Their alignment; a word without any character that the heads know has no frames where it stands. `None` if
        there are too few frames to say so much.
    """
    known = {character: index for index, character in enumerate(ctc_vocab) if index != BLANK}
    normalize = TextNormalizer()
    spelled = [[known[character] for character in normalize(word) if character in known] for word in words]
    symbols, owners, may_skip = _frame_states(spelled) if each_frame else _ctc_states(spelled, known.get(" "))
    path = best_path(log_probs[:, symbols], may_skip)
    if path is None:
        return None
    emissions, owner = log_probs[np.arange(len(path)), symbols[path]], owners[path]
    frames, fit = np.zeros((len(words), 2), int), np.zeros(len(words))
    end = 0
    for index in range(len(words)):
        own = np.flatnonzero(owner == index)
        if len(own):
            frames[index], fit[index] = (own[0], own[-1] + 1), emissions[own].mean()
        else:
            frames[index] = end
        end = frames[index, 1]
    return WordAlignment(frames, fit)


def _ctc_states(words: Sequence[Sequence[int]], space: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The states that a path of the CTC head goes through: characters, with a blank before and after each.

    Source: Graves et al., "Connectionist temporal classification", 2006.

    Returns:
        Of each state its symbol, the index of its word or `NO_WORD`, and whether the state before may be left out: a
        blank between two characters, unless these are alike.
    """
    symbols, owners = [BLANK], [NO_WORD]
    for index, word in enumerate(words):
        between = [(space, NO_WORD)] if word and len(symbols) > 1 and space is not None else []
        for symbol, owner in [*between, *((symbol, index) for symbol in word)]:
            symbols += [symbol, BLANK]
            owners += [owner, NO_WORD]
    states = np.array(symbols)
    may_skip = np.zeros(len(states), bool)
    may_skip[3::2] = states[3::2] != states[1:-2:2]
    return states, np.array(owners), may_skip


def _frame_states(words: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The states that a path of the alignment head goes through: characters, and silence before and after each word.

    Returns:
        As for the CTC head. What may be left out is the silence between two words, and a character between two others
        of a word: in training too, a word with fewer frames than characters lacks some of them.
    """
    symbols, owners, may_skip = [BLANK], [NO_WORD], [False]
    for index, word in enumerate(words):
        if word:
            may_skip += [len(symbols) > 1, *(place > 1 for place in range(1, len(word))), False]
            symbols += [*word, BLANK]
            owners += [*[index] * len(word), NO_WORD]
    return np.array(symbols), np.array(owners), np.array(may_skip)


def best_path(emissions: np.ndarray, may_skip: np.ndarray) -> np.ndarray | None:
    """The likeliest way through states in their order, each frame in one of them (Viterbi).

    A path begins in the first or second state and ends in the last or last but one. From a frame to the next it stays,
    goes one state on, or goes two on where the state between may be left out.

    Args:
        emissions: Log-probabilities of the states, `(frames, states)`.
        may_skip: For each state whether the one before it may be left out, bool `(states,)`.

    Returns:
        The state of every frame, int `(frames,)`; `None` if there is no path, the frames being too few.
    """
    frames, states = emissions.shape
    score = np.full(states, -np.inf)
    score[:2] = 0.0
    moves = np.zeros(emissions.shape, np.int8)
    for frame in range(frames):
        if frame:
            one_on = np.concatenate([[-np.inf], score])[:states]
            two_on = np.where(may_skip, np.concatenate([[-np.inf, -np.inf], score])[:states], -np.inf)
            options = np.stack([score, one_on, two_on])
            moves[frame], score = options.argmax(0), options.max(0)
        score = score + emissions[frame]
    state = states - 1 if states == 1 or score[-1] >= score[-2] else states - 2
    if not np.isfinite(score[state]) or (not frames and states > 1):
        return None
    path = np.zeros(frames, int)
    for frame in range(frames - 1, -1, -1):
        path[frame] = state
        state -= moves[frame, state]
    return path


def token_spellings(tokenizer: Any) -> list[bytes]:
    """The bytes that each token adds to a text, by its id.

    Special tokens, and ids without a token, add none. A token may end within a character, as those of byte-level
    tokenizers do: the bytes of all tokens together are the text.

    Args:
        tokenizer: The language model's tokenizer.

    Raises:
        ValueError: If no token of it spells a letter.
    """
    arguments = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
    ids = sorted(set(tokenizer.get_vocab().values()))
    # Behind a letter a token shows the space before it, which many tokenizers leave out at the beginning of a text.
    alone = tokenizer.batch_decode([[token] for token in ids], **arguments)
    letter = next((place for place, text in enumerate(alone) if text.strip().isalpha()), None)
    if letter is None:
        raise ValueError("no token of the tokenizer spells a letter")
    behind = len(alone[letter])
    texts = tokenizer.batch_decode([[ids[letter], token] for token in ids], **arguments)
    spellings = [b""] * (ids[-1] + 1)
    for token, text in zip(ids, texts, strict=True):
        text = text[behind:]
        whole = _REPLACEMENT not in text
        spellings[token] = text.encode() if whole else _bytes_of(tokenizer.convert_ids_to_tokens(token), text)
    return spellings


def _bytes_of(token: str, text: str) -> bytes:
    """The bytes of a token that is no whole text, in the notations of SentencePiece and of byte-level BPE."""
    if byte := re.fullmatch("<0x([0-9A-Fa-f]{2})>", token):
        return bytes.fromhex(byte[1])
    if all(character in _BYTE_OF for character in token):
        return bytes(_BYTE_OF[character] for character in token)
    return text.encode()


def pack_spellings(spellings: list[bytes]) -> bytes:
    """All spellings in one string of bytes."""
    # Both bytes are in no text, so one may stand for the other.
    return SEPARATOR.join(spelling.replace(SEPARATOR, b"\xfe") for spelling in spellings)


def unpack_spellings(packed: bytes) -> list[bytes]:
    """The spellings in a string of bytes that `pack_spellings` made."""
    return packed.split(SEPARATOR)
