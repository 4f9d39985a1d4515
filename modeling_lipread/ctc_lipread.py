# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""CTC with the encoder's heads: greedy decoding, prefix scores for joint decoding, and forced alignment.

Joint decoding (Hori et al., 2017, https://huggingface.co/papers/1706.02737) scores a text by the weighted sum of its
log-probabilities by the language model and by the CTC head. The CTC score of an unfinished text is its prefix score,
the log-probability of all texts that begin with it (Watanabe et al., 2017). Each token extends the prefix by the
characters of its spelling; the spellings are saved with the weights.

Forced alignment finds the frames of known words by a Viterbi search. The alignment head classifies the character of
every frame. The CTC head emits each character only once and blanks in all other frames, so its words are too short,
and the first one often starts too early.
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

from .text_normalizer_lipread import normalize_text

BLANK = 0  # of the CTC head; silence of the alignment head
IMPOSSIBLE = -1e4  # log-probability of impossible or unscored tokens; finite, so that one can always be chosen
NUM_CANDIDATES = 20
MOST_SILENT = 3  # consecutive tokens without a spelling, such as punctuation or incomplete characters
NO_WORD = -1
SEPARATOR = b"\xff"  # never occurs in UTF-8
_REPLACEMENT = "\ufffd"  # a tokenizer decodes incomplete characters to it
_BYTE_OF = {character: byte for byte, character in bytes_to_unicode().items()}


def clip_lengths(mask: torch.Tensor | None, logits: torch.Tensor) -> torch.Tensor:
    """Returns the number of frames of each clip up to its last frame with a face, int64 `(clips,)`.

    The mask `(clips, frames)` is non-zero for frames with a face; without it, all frames of the logits have one.
    """
    clips, frames, _ = logits.shape
    if mask is None:
        return torch.full((clips,), frames, device=logits.device)
    return (mask.bool() * torch.arange(1, frames + 1, device=mask.device)).amax(1)


def greedy_ctc(logits: torch.Tensor, mask: torch.Tensor | None, ctc_vocab: Sequence[str]) -> list[str]:
    """Decodes logits of the CTC head `(clips, frames, symbols)` by the most probable symbol of every frame."""
    best, lengths = logits.argmax(-1).tolist(), clip_lengths(mask, logits).tolist()
    texts = []
    for symbols, length in zip(best, lengths, strict=True):
        runs = (symbol for symbol, _ in itertools.groupby(symbols[:length]))
        texts.append("".join(ctc_vocab[symbol] for symbol in runs if symbol != BLANK).strip())
    return texts


class CTCPrefixScores:
    """Computes probabilities of texts and of prefixes by the CTC head.

    It caches the forward variables of each prefix (Graves et al., 2006): for every frame, the probability of all paths
    up to it that spell the prefix and end in a blank, and of those that end in its last character. All
    log-probabilities are float64. A prefix or text is given as a pair of the index of its clip and its characters.

    Args:
        logits: Logits of the CTC head, `(clips, frames, symbols)`.
        lengths: Frames of each clip, `(clips,)`.
        ctc_vocab: Its characters, beginning with the blank.
    """

    def __init__(self, logits: torch.Tensor, lengths: torch.Tensor, ctc_vocab: Sequence[str]):
        device = "cpu" if logits.device.type == "mps" else logits.device  # MPS has no float64
        log_probs = logits.to(device).double().log_softmax(-1)
        self._log_probs = log_probs.transpose(0, 1).contiguous()  # (frames, clips, symbols)
        self._lengths = lengths.to(device)
        self._symbols = _symbol_ids(ctc_vocab)
        frames, clips, _ = self._log_probs.shape
        self.num_clips, self.characters = clips, self._symbols.keys()
        # Before the first frame, the empty prefix has probability 1.
        blank = torch.cat([log_probs.new_zeros(1, clips), self._log_probs[:, :, BLANK].cumsum(0)])
        self._columns = {(clip, ""): clip for clip in range(clips)}
        self._paths = torch.stack([blank, torch.full_like(blank, -torch.inf)])  # (2, frames + 1, prefixes)
        self._inside = torch.arange(frames, device=device)[:, None] < self._lengths

    def prefix_log_probs(self, prefixes: Sequence[tuple[int, str]]) -> torch.Tensor:
        """Returns the log-probability of each prefix, of all texts that begin with it, `(prefixes,)`."""
        longer = list(dict.fromkeys(prefix for prefix in prefixes if prefix[1]))
        self._add((clip, text[:-1]) for clip, text in longer)
        scores = self._log_probs.new_zeros(len(longer) + 1)  # the last one is that of the empty prefix
        if longer:
            before, emitted, clips = self._steps(longer)
            log_probs = (before + emitted).masked_fill(~self._inside[:, clips], -torch.inf).logsumexp(0)
            # A clip without frames gives no evidence against any prefix.
            scores[:-1] = log_probs.masked_fill(self._lengths[clips] == 0, 0.0)
        place = {prefix: index for index, prefix in enumerate(longer)}
        return scores[self._index(place.get(prefix, -1) for prefix in prefixes)]

    def text_log_probs(self, texts: Sequence[tuple[int, str]]) -> torch.Tensor:
        """Returns the log-probability of each complete text, `(texts,)`."""
        self._add(texts)
        columns = self._index(self._columns[text] for text in texts)
        lengths = self._lengths[self._index(clip for clip, _ in texts)]
        scores = torch.logaddexp(*self._paths[:, lengths, columns])
        return scores.masked_fill(lengths == 0, 0.0)

    def keep(self, prefixes: Iterable[tuple[int, str]]) -> None:
        """Drops all cached prefixes but these."""
        prefixes = list(prefixes)
        self._add(prefixes)
        empty = [(clip, "") for clip in range(self.num_clips)]
        kept = list(dict.fromkeys(empty + prefixes))
        self._paths = self._paths[:, :, self._index(self._columns[prefix] for prefix in kept)]
        self._columns = {prefix: column for column, prefix in enumerate(kept)}

    def _add(self, prefixes: Iterable[tuple[int, str]]) -> None:
        """Adds prefixes to the cache, shorter ones first, from which the longer ones are computed."""
        missing: dict[tuple[int, str], None] = {}
        for clip, text in prefixes:
            while (clip, text) not in self._columns and (clip, text) not in missing:
                missing[clip, text] = None
                text = text[:-1]
        by_length = sorted(missing, key=lambda prefix: len(prefix[1]))
        for _, level in itertools.groupby(by_length, key=lambda prefix: len(prefix[1])):
            self._fill(list(level))

    def _fill(self, prefixes: list[tuple[int, str]]) -> None:
        """Adds prefixes that are one character longer than cached ones."""
        before, emitted, clips = self._steps(prefixes)
        blanks = self._log_probs[:, clips, BLANK]
        paths = self._paths.new_full((*self._paths.shape[:2], len(prefixes)), -torch.inf)
        blank, character = paths
        for frame in range(len(before)):
            torch.logaddexp(blank[frame], character[frame], out=blank[frame + 1]).add_(blanks[frame])
            torch.logaddexp(before[frame], character[frame], out=character[frame + 1]).add_(emitted[frame])
        self._columns.update(zip(prefixes, itertools.count(self._paths.shape[2]), strict=False))
        self._paths = torch.cat([self._paths, paths], dim=2)

    def _steps(self, prefixes: list[tuple[int, str]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Returns the terms of the CTC recursion for prefixes that are one character longer than cached ones.

        They are the log-probability of all paths before each frame that the last character can follow, and of that
        character in the frame, both `(frames, prefixes)`; and the clip of each prefix.
        """
        steps = [
            (self._columns[clip, text[:-1]], self._symbols[text[-1]], clip, text[-2:-1] == text[-1])
            for clip, text in prefixes
        ]
        parents, symbols, clips, doubled = torch.tensor(steps, device=self._paths.device).T
        blank, character = self._paths[0, :-1, parents], self._paths[1, :-1, parents]
        # A repeated character needs a blank in between.
        before = torch.logaddexp(blank, character.masked_fill_(doubled.bool(), -torch.inf))
        return before, self._log_probs[:, clips, symbols], clips

    def _index(self, places: Iterable[int]) -> torch.Tensor:
        return torch.tensor(list(places), dtype=torch.long, device=self._paths.device)


class CTCLogitsProcessor(LogitsProcessor):
    """Scores the most probable tokens for joint decoding by `(1 - weight) * log p(token) + weight * gain`.

    The gain of a token is the change of the prefix score that it causes; that of an end token is the difference of the
    log-probability of the complete text and the prefix score.

    Args:
        spellings: Bytes of every token by its id; tokens beyond the list have none.
        weight: Weight of the CTC head, 0 to 1.
        prompt_length: Tokens before the transcript.
        end_ids: Tokens that end a text.
        num_candidates: Number of most probable tokens that are scored.
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
        self.prefix_scores, self.spellings, self.weight = prefix_scores, spellings, weight
        self.prompt_length, self.end_ids = prompt_length, list(end_ids)
        self.num_candidates = num_candidates

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Returns scores of the next token, `(rows, vocab_size)`; the rows of a clip are consecutive."""
        # Beam search passes log-probabilities, which log_softmax does not change; other searches pass logits.
        scores = scores.log_softmax(-1)
        beams = len(input_ids) // self.prefix_scores.num_clips
        count = min(max(self.num_candidates, 2 * beams), scores.shape[-1])
        candidates = scores.topk(count, dim=-1).indices
        written = [[self._bytes(token) for token in row] for row in input_ids[:, self.prompt_length :].tolist()]
        prefixes = [(row // beams, self._spell(b"".join(pieces))[0]) for row, pieces in enumerate(written)]
        extended = [
            (clip, self._spelled_with(pieces, self._bytes(token)))
            for (clip, _), pieces, tokens in zip(prefixes, written, candidates.tolist(), strict=True)
            for token in tokens
        ]
        self.prefix_scores.keep(prefixes)
        current = self.prefix_scores.prefix_log_probs(prefixes)
        with_token = self.prefix_scores.prefix_log_probs([(clip, text or "") for clip, text in extended])
        disallowed = torch.tensor([text is None for _, text in extended], device=with_token.device)
        with_token = with_token.masked_fill(disallowed, -torch.inf).view(candidates.shape)
        gains = torch.full_like(scores, IMPOSSIBLE)
        gains.scatter_(1, candidates, _gain(with_token, current[:, None]).to(gains))
        gains[:, self.end_ids] = _gain(self.prefix_scores.text_log_probs(prefixes), current)[:, None].to(gains)
        mixed = (1 - self.weight) * scores + self.weight * gains
        return mixed.masked_fill(scores == -torch.inf, -torch.inf)  # keeps tokens that other processors ruled out

    def _spelled_with(self, pieces: list[bytes], more: bytes) -> str | None:
        """Returns the spelling of a text with one more token; `None` if the token is not allowed.

        Not allowed are special tokens, tokens with characters outside the vocabulary, and more than `MOST_SILENT`
        consecutive tokens without a spelling, which cost nothing and could otherwise go on without end.
        """
        before = b"".join(pieces)
        spelled, unknown = self._spell(before + more)
        if not more or unknown > self._spell(before)[1]:
            return None
        silent = len(pieces) >= MOST_SILENT and spelled == self._spell(b"".join(pieces[:-MOST_SILENT]))[0]
        return None if silent else spelled

    def _spell(self, text: bytes) -> tuple[str, int]:
        """Spells a text in UTF-8, whose last character may be incomplete, as the CTC targets of training.

        Returns its normalised characters that are in the CTC vocabulary, and the number of the others.
        """
        normalized = normalize_text(text.decode(errors="replace"))
        spelled = "".join(filter(self.prefix_scores.characters.__contains__, normalized))
        return spelled, len(normalized) - len(spelled)

    def _bytes(self, token: int) -> bytes:
        return self.spellings[token] if token < len(self.spellings) else b""


def _gain(after: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    return (after - before).nan_to_num(nan=IMPOSSIBLE).clamp(min=IMPOSSIBLE)


class WordAlignment(NamedTuple):
    """The alignment of words with the frames of a clip."""

    frames: np.ndarray  # first frame of each word and the frame after its last, int `(words, 2)`
    fit: np.ndarray  # mean log-probability of a word's characters in their frames, `(words,)`; 0 without characters


def align_words(
    log_probs: np.ndarray,
    words: Sequence[str],
    ctc_vocab: Sequence[str],
    each_frame: bool = False,
    joined: Sequence[bool] | None = None,
) -> WordAlignment | None:
    """Aligns known words with the frames of a clip.

    Args:
        log_probs: Log-posteriors of the CTC head or, with `each_frame`, of the alignment head, `(frames, vocabulary)`.
        words: The words; one without characters of the vocabulary gets an empty span.
        ctc_vocab: Characters of both heads, beginning with the blank.
        joined: Whether each word follows the one before without a space; by default none does.

    Returns:
        The alignment; `None` if there are fewer frames than the words need.
    """
    known = _symbol_ids(ctc_vocab)
    spelled = _spell(words, known)
    if each_frame:
        symbols, owners, may_skip = _frame_states(spelled)
    else:
        symbols, owners, may_skip = _ctc_states(spelled, known.get(" "), joined or [False] * len(words))
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


def _ctc_states(
    words: Sequence[Sequence[int]], space: int | None, joined: Sequence[bool]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the states of a CTC path: the characters with blanks before and after each (Graves et al., 2006).

    Each state has a symbol, the index of its word or `NO_WORD`, and whether a path may skip the state before it, as it
    may the blank between two different characters.
    """
    symbols, owners = [BLANK], [NO_WORD]
    for index, word in enumerate(words):
        spaced = word and len(symbols) > 1 and space is not None and not joined[index]
        between = [(space, NO_WORD)] if spaced else []
        for symbol, owner in [*between, *((symbol, index) for symbol in word)]:
            symbols += [symbol, BLANK]
            owners += [owner, NO_WORD]
    states = np.array(symbols)
    may_skip = np.zeros(len(states), bool)
    may_skip[3::2] = states[3::2] != states[1:-2:2]
    return states, np.array(owners), may_skip


def _frame_states(words: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the states, as `_ctc_states`, of a path of the alignment head: each word with silence around it.

    A path may skip the silence between two words, and a character between two others of a word: the targets of a word
    with fewer frames than characters lack some characters too.
    """
    symbols, owners, may_skip = [BLANK], [NO_WORD], [False]
    for index, word in enumerate(words):
        if word:
            may_skip += [len(symbols) > 1, *(place > 1 for place in range(1, len(word))), False]
            symbols += [*word, BLANK]
            owners += [*[index] * len(word), NO_WORD]
    return np.array(symbols), np.array(owners), np.array(may_skip)


def best_path(emissions: np.ndarray, may_skip: np.ndarray) -> np.ndarray | None:
    """Finds the most probable path through ordered states (Viterbi).

    A path begins in the first or second state and ends in the last or last but one. From frame to frame it stays,
    moves to the next state, or skips the state before one with `may_skip`, bool `(states,)`.

    Args:
        emissions: Log-probabilities of the states, `(frames, states)`.

    Returns:
        The state of every frame, int `(frames,)`; `None` if there are too few frames for a path.
    """
    frames, states = emissions.shape
    score = np.full(states, -np.inf)
    score[:2] = 0.0
    moves = np.zeros(emissions.shape, np.int8)
    for frame in range(frames):
        if frame:
            next_state = np.concatenate([[-np.inf], score])[:states]
            skip = np.where(may_skip, np.concatenate([[-np.inf, -np.inf], score])[:states], -np.inf)
            options = np.stack([score, next_state, skip])
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


def best_spoken_path(log_probs: np.ndarray, text: str, ctc_vocab: Sequence[str]) -> np.ndarray | None:
    """Returns the symbol of every frame on the most probable path that speaks a text, int `(frames,)`.

    Args:
        log_probs: Log-posteriors of the alignment head, `(frames, vocabulary)`.
        text: The text, whose characters outside the vocabulary are left out.
        ctc_vocab: Its characters, beginning with the blank.

    Returns:
        `None` if there are fewer frames than the text needs.
    """
    symbols, may_skip = _text_states(text, ctc_vocab)
    path = best_path(log_probs[:, symbols], may_skip)
    return None if path is None else symbols[path]


def spoken_log_probs(log_probs: np.ndarray, texts: Sequence[str], ctc_vocab: Sequence[str]) -> np.ndarray:
    """Returns the log-probability of each text's `best_spoken_path`, `(texts,)`, `-inf` where there is none."""
    paths = [_text_states(text, ctc_vocab) for text in texts]
    lengths = np.array([len(states) for states, _ in paths])
    symbols = np.zeros((len(texts), lengths.max()), int)
    may_skip = np.zeros(symbols.shape, bool)
    for row, (states, skips) in enumerate(paths):
        symbols[row, : len(states)], may_skip[row, : len(states)] = states, skips
    score = np.full((len(texts), lengths.max() + 2), -np.inf)  # with two states before the first one
    score[:, 1] = 0.0  # a path begins in the first or the second state
    may_skip[:, 1:2] = True
    for frame in log_probs:
        skipped = np.where(may_skip, score[:, :-2], -np.inf)
        score[:, 2:] = np.maximum(np.maximum(score[:, 2:], score[:, 1:-1]), skipped) + frame[symbols]
        score[:, :2] = -np.inf
    rows = np.arange(len(texts))
    return np.maximum(score[rows, lengths + 1], score[rows, lengths])


def _text_states(text: str, ctc_vocab: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the states of a text's path of the alignment head, as `_frame_states`, without their words."""
    symbols, _, may_skip = _frame_states(_spell(normalize_text(text).split(), _symbol_ids(ctc_vocab)))
    return symbols, may_skip


def _symbol_ids(ctc_vocab: Sequence[str]) -> dict[str, int]:
    """Returns the index of each character in the vocabulary, without the blank."""
    return {character: index for index, character in enumerate(ctc_vocab) if index != BLANK}


def _spell(words: Iterable[str], known: dict[str, int]) -> list[list[int]]:
    """Returns the symbols of each normalised word, without characters that are not `known`."""
    return [[known[character] for character in normalize_text(word) if character in known] for word in words]


def token_spellings(tokenizer: Any) -> list[bytes]:
    """Returns the bytes that each token of a tokenizer adds to a text, by the id of the token.

    Special tokens and ids without a token add none. The bytes of a token may end within a character. Raises ValueError
    if no token is a letter.
    """
    arguments = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
    ids = sorted(set(tokenizer.get_vocab().values()))
    # Decodes each token after a letter, since many tokenizers drop a token's space at the beginning of a text.
    alone = tokenizer.batch_decode([[token] for token in ids], **arguments)
    letter = next((place for place, text in enumerate(alone) if text.strip().isalpha()), None)
    if letter is None:
        raise ValueError("no token of the tokenizer is a letter; use the tokenizer of the language model")
    before = len(alone[letter])
    texts = tokenizer.batch_decode([[ids[letter], token] for token in ids], **arguments)
    spellings = [b""] * (ids[-1] + 1)
    for token, text in zip(ids, texts, strict=True):
        text = text[before:]
        complete = _REPLACEMENT not in text
        spellings[token] = text.encode() if complete else _bytes_of(tokenizer.convert_ids_to_tokens(token), text)
    return spellings


def _bytes_of(token: str, text: str) -> bytes:
    """Returns the bytes of a token with an incomplete character, as SentencePiece or byte-level BPE writes it."""
    if byte := re.fullmatch("<0x([0-9A-Fa-f]{2})>", token):
        return bytes.fromhex(byte[1])
    if all(character in _BYTE_OF for character in token):
        return bytes(_BYTE_OF[character] for character in token)
    return text.encode()


def pack_spellings(spellings: list[bytes]) -> bytes:
    """Joins all spellings with `SEPARATOR`; a spelling with that byte, invalid UTF-8 anyway, gets another."""
    return SEPARATOR.join(spelling.replace(SEPARATOR, b"\xfe") for spelling in spellings)


def unpack_spellings(packed: bytes) -> list[bytes]:
    """Splits the result of `pack_spellings`."""
    return packed.split(SEPARATOR)
