# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The CTC head: alignment of words, prefix scores, spellings of tokens, and generation with both scores."""

import itertools
from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModel, AutoProcessor, pipeline

from data.tokenizer import train_tokenizer
from modeling_lipread.ctc_lipread import (
    IMPOSSIBLE,
    CTCLogitsProcessor,
    CTCPrefixScores,
    align_words,
    best_spoken_path,
    clip_lengths,
    greedy_ctc,
    pack_spellings,
    spoken_log_probs,
    token_spellings,
    unpack_spellings,
)
from modeling_lipread.text_normalizer_lipread import normalize_text
from tests.data.test_tokenizer import metaspace
from tests.helpers.readers import FRAMES, LANDMARKS, make_inputs, make_reader, save_reader, text_config
from tests.helpers.training import TEXTS, make_clip

LETTERS = ["", "a", "b", "c"]


def some_log_probs(seed, frames, symbols):
    return np.log(np.random.default_rng(seed).dirichlet(np.ones(symbols), size=frames))


def ctc_paths(words, frames, vocabulary):
    """Every path that collapses to the words, a pair `(symbol, word)` a frame."""
    symbols = [(vocabulary.index(character), word) for word, text in enumerate(words) for character in text]
    for path in itertools.product(range(len(vocabulary)), repeat=frames):
        runs = [(symbol, len(list(group))) for symbol, group in itertools.groupby(path)]
        if [symbol for symbol, _ in runs if symbol] == [symbol for symbol, _ in symbols]:
            owners = iter(word for _, word in symbols)
            labelled = [(symbol, next(owners) if symbol else None, length) for symbol, length in runs]
            yield [(symbol, owner) for symbol, owner, length in labelled for _ in range(length)]


def frame_paths(words, frames, vocabulary):
    """Every path of the words in order: silence between them alone, no two neighbouring characters left out."""
    states = [(word, place) for word, text in enumerate(words) for place in range(len(text))]
    for path in itertools.product([None, *states], repeat=frames):
        runs = [state for state, _ in itertools.groupby(path)]
        pieces = [list(group) for _, group in itertools.groupby(runs, key=lambda state: state and state[0])]
        spoken = [piece for piece in pieces if piece[0]]
        places = [[place for _, place in piece] for piece in spoken]
        if [piece[0][0] for piece in spoken] == list(range(len(words))) and all(
            place[0] == 0 and place[-1] == len(text) - 1 and set(np.diff(place)) <= {1, 2}
            for place, text in zip(places, words, strict=True)
        ):
            yield [(0, None) if s is None else (vocabulary.index(words[s[0]][s[1]]), s[0]) for s in path]


@pytest.mark.parametrize(
    ("each_frame", "words"),
    [
        *((False, words) for words in (["aa"], ["a", "b"], ["bab"], ["aa", "b"])),
        *((True, words) for words in (["abc"], ["ab", "ba"], ["abca"], ["c", "ab", "a"])),
    ],
)
def test_the_best_of_all_paths_is_found(each_frame, words):
    vocabulary, frames, paths = (LETTERS, 5, frame_paths) if each_frame else (LETTERS[:3], 6, ctc_paths)
    for seed in range(3):
        log_probs = some_log_probs(seed, frames, len(vocabulary))
        best = max(
            paths(words, frames, vocabulary),
            key=lambda path: sum(scores[symbol] for scores, (symbol, _) in zip(log_probs, path, strict=True)),  # noqa: B023
        )
        found = align_words(log_probs, words, vocabulary, each_frame)
        assert len(found.frames) == len(words)
        for word, (span, fit) in enumerate(zip(found.frames.tolist(), found.fit, strict=True)):
            own = [frame for frame, (_, owner) in enumerate(best) if owner == word]
            assert span == [own[0], own[-1] + 1]
            assert fit == pytest.approx(np.mean([log_probs[frame, best[frame][0]] for frame in own]))
        if each_frame:
            symbols, text = [symbol for symbol, _ in best], " ".join(words)
            assert best_spoken_path(log_probs, text, vocabulary).tolist() == symbols
            found = spoken_log_probs(log_probs, ["b", text, "abc abc abc"], vocabulary)
            assert found[1:] == pytest.approx([log_probs[range(frames), symbols].sum(), -np.inf])


def test_words_stand_where_their_letters_are_seen():
    vocabulary, labels = ["", " ", "a", "b", "c"], [0, 0, 2, 2, 0, 3, 1, 0, 4, 4, 4, 0]
    log_probs = np.full((12, 5), np.log(0.01))
    log_probs[np.arange(12), labels] = np.log(0.96)
    frames, fit = align_words(log_probs, ["ab", "c"], vocabulary)
    assert frames.tolist() == [[2, 6], [8, 11]] and fit == pytest.approx(np.log(0.96))
    # A word is spelled as in training; a word that cannot be spelled takes no time.
    assert align_words(log_probs, ["Ab,", "!", "C"], vocabulary).frames.tolist() == [[2, 6], [6, 6], [8, 11]]
    assert align_words(log_probs, ["!"], vocabulary).frames.tolist() == [[0, 0]]
    assert align_words(log_probs, [], vocabulary).frames.shape == (0, 2)
    assert align_words(log_probs, ["a", "b", "a"], vocabulary).fit[2] == pytest.approx(np.log(0.01))


@pytest.mark.parametrize("each_frame", [False, True])
def test_too_few_frames_for_the_words(each_frame):
    log_probs = some_log_probs(0, 3, len(LETTERS))
    assert align_words(log_probs, ["a", "b", "c"], LETTERS, each_frame).frames.tolist() == [[0, 1], [1, 2], [2, 3]]
    assert align_words(log_probs, ["ab", "ca"], LETTERS, each_frame) is None
    assert align_words(log_probs[:0], ["a"], LETTERS, each_frame) is None
    # CTC needs a blank between two equal characters.
    assert (align_words(log_probs, ["a", "a", "b"], LETTERS, each_frame) is None) == (not each_frame)


VOCABULARY = LETTERS[:3]


def all_texts(logits: torch.Tensor) -> dict[str, float]:
    """The probability of every text, summed over all paths."""
    probabilities = logits.double().softmax(-1).numpy()
    texts: dict[str, float] = defaultdict(float)
    for path in itertools.product(range(len(VOCABULARY)), repeat=len(probabilities)):
        text = "".join(VOCABULARY[symbol] for symbol, _ in itertools.groupby(path))
        texts[text] += float(np.prod([probabilities[frame, symbol] for frame, symbol in enumerate(path)]))
    return texts


scores_of_a_frame = st.lists(st.floats(-8, 8, width=32), min_size=len(VOCABULARY), max_size=len(VOCABULARY))
some_clips = st.lists(st.lists(scores_of_a_frame, min_size=1, max_size=6), min_size=1, max_size=3)


@settings(max_examples=40)
@given(some_clips, st.data())
def test_prefix_scores_are_those_of_all_paths(clips, data):
    lengths = torch.tensor([len(clip) for clip in clips])
    logits = torch.full((len(clips), int(lengths.max()), len(VOCABULARY)), 7.0)  # padding must not matter
    for row, clip in zip(logits, clips, strict=True):
        row[: len(clip)] = torch.tensor(clip)
    scores = CTCPrefixScores(logits, lengths, VOCABULARY)
    text = st.tuples(st.integers(0, len(clips) - 1), st.text("ab", max_size=5))
    exact = [all_texts(logits[clip, :length]) for clip, length in enumerate(lengths)]
    for _ in range(3):  # what was kept, or forgotten, in between must not matter
        asked = data.draw(st.lists(text, min_size=1, max_size=6))
        begin = [sum(p for said, p in exact[clip].items() if said.startswith(prefix)) for clip, prefix in asked]
        assert scores.prefix_log_probs(asked).exp().tolist() == pytest.approx(begin, rel=1e-9, abs=1e-300)
        end = [exact[clip].get(said, 0.0) for clip, said in asked]
        assert scores.text_log_probs(asked).exp().tolist() == pytest.approx(end, rel=1e-9, abs=1e-300)
        scores.keep(asked)


def processor(logits, lengths, **arguments):
    """Tokens 0 and 6 are special ones, 5 is the end."""
    settings = {"weight": 0.4, "prompt_length": 1, "end_ids": [5], "num_candidates": 4} | arguments
    spellings = [b"", b"a", b"b", b"Ab", b"!", b""]
    return CTCLogitsProcessor(CTCPrefixScores(logits, lengths, VOCABULARY), spellings, **settings)


def test_candidates_are_the_likeliest_and_the_end_and_without_a_face_the_language_model_chooses():
    logits, scores = torch.zeros(1, 6, 3), torch.tensor([[0.0, 3, 2, 1, 0, -9, 0]])
    for count, expected in ((2, [1, 2, 5]), (7, [1, 2, 3, 4, 5])):
        fused = processor(logits, torch.tensor([6]), num_candidates=count)(torch.tensor([[0]]), scores)
        assert torch.where(fused[0] > 0.4 * IMPOSSIBLE)[0].tolist() == expected
    scores, logits = torch.randn(2, 7), torch.randn(2, 5, 3)
    mask = torch.tensor([[0, 0, 0, 0, 0], [0, 1, 0, 1, 0]])
    assert clip_lengths(mask, logits).tolist() == [0, 4]
    fused = processor(logits, clip_lengths(mask, logits), num_candidates=7)(torch.tensor([[0, 1], [0, 1]]), scores)
    torch.testing.assert_close(fused[0, 1:6], 0.6 * scores[0, :].log_softmax(-1)[1:6])
    best = torch.tensor([[0, 1, 1, 0, 1, 2, 2], [2, 0, 3, 3, 1, 1, 1]])
    logits, mask = torch.nn.functional.one_hot(best, 4).float(), torch.tensor([[1] * 7, [1, 1, 0, 1, 0, 0, 0]])
    assert greedy_ctc(logits, mask, ["", "a", "b", " "]) == ["aab", "b"]
    assert greedy_ctc(logits, None, ["", "a", "b", " "]) == ["aab", "b a"]


FIRST, SECOND, THIRD = (bytes([byte]) for byte in "名".encode())


@pytest.mark.parametrize(
    ("written", "tokens"),
    [
        # Characters that the CTC head does not know are never said, unless they were there before.
        (b"ab", {b" a": True, b"7": False, b" a7": False, b"A,": True, "ä".encode(): False}),
        (b"7", {b"a": True, b"7": False}),
        # Punctuation does not put off what must be said.
        (b"", {b",": True, b" ": True}),
        (b'a,"', {b".": True, b" b": True, b"b": True}),
        (b'a,".', {b".": False, b" ": False, b" b": True, b".b": True}),
        ("名".encode() + FIRST, {SECOND: True, SECOND + THIRD: True}),
        ("名".encode() + FIRST + SECOND, {THIRD: True}),
    ],
)
def test_tokens_that_may_follow_a_text(written, tokens):
    """The text's tokens are its bytes."""
    spellings = [bytes([byte]) for byte in range(256)] + list(tokens)
    scores = CTCPrefixScores(torch.zeros(1, 40, 5), torch.tensor([40]), ["", " ", "a", "b", "名"])
    arguments = {"weight": 0.5, "prompt_length": 0, "end_ids": [], "num_candidates": len(spellings)}
    fuse = CTCLogitsProcessor(scores, spellings, **arguments)
    fused = fuse(torch.tensor([list(written)], dtype=torch.long).view(1, -1), torch.zeros(1, len(spellings)))
    assert (fused[0, 256:] > 0.5 * IMPOSSIBLE).tolist() == list(tokens.values())


SENTENCES = [*TEXTS, "Don't go, naïve café!", "größer als 3.5 km", "привет мир", "今日は"]


# As Llama's first: spaces are letters, and unknown characters are written in bytes.
METASPACE = metaspace(TEXTS, "bos_token", "eos_token")


@pytest.mark.parametrize("tokenizer", [train_tokenizer(SENTENCES, 400), METASPACE], ids=["byte_level", "metaspace"])
@settings(max_examples=100)
@given(st.data())
def test_spellings_of_tokens_make_the_text(tokenizer, data):
    spellings = token_spellings(tokenizer)
    written = st.sampled_from(SENTENCES).map(lambda text: tokenizer(text, add_special_tokens=False)["input_ids"])
    tokens = sum(data.draw(st.lists(written, min_size=1, max_size=4)), [])
    tokens.append(tokenizer.eos_token_id)
    spelled = b"".join(spellings[token] for token in tokens)
    expected = tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert spelled.decode().strip() == expected.strip()
    # The byte that separates packed spellings is in no text.
    assert unpack_spellings(pack_spellings(spellings)) == [part.replace(b"\xff", b"\xfe") for part in spellings]


WEIGHT = 0.4
SPELLINGS = [b"", b"", b"", b" ", b"a", b"b", b"ab", b" b", b"A!"]


@pytest.fixture(scope="module")
def reader():
    config = {"token_spelling_size": len(pack_spellings(SPELLINGS))}
    # Tied to its input, a random language model says nothing but what was said before.
    model = make_reader(open_gates=True, text_config=text_config(tie_word_embeddings=False), **config)
    model.token_spelling.copy_(torch.tensor(list(pack_spellings(SPELLINGS)), dtype=torch.uint8))
    torch.nn.init.normal_(model.encoder.ctc_head.weight)
    model.encoder.ctc_head.bias.data[0] = 5.0  # short texts are likely
    return model


LENGTHS = (FRAMES, 8, 5)


@pytest.fixture(scope="module")
def clips():
    mask = torch.zeros(3, FRAMES, dtype=torch.long)
    for row, length in zip(mask, LENGTHS, strict=True):
        row[:length] = 1
    return {"keypoints": make_inputs(3)["keypoints"], "keypoints_mask": mask}


@torch.no_grad()
def score(model, clips, ids, clip):
    """The weighted log-probability of a text that ended, computed at once."""
    video = {key: value[clip : clip + 1] for key, value in clips.items()}
    tokens = ids[: ids.tolist().index(2) + 1]
    output = model(input_ids=tokens[None], **video)
    written = output.logits[0, :-1].log_softmax(-1).gather(-1, tokens[1:, None]).sum().item()
    text = b"".join(SPELLINGS[token] for token in tokens.tolist() if token < len(SPELLINGS)).decode()
    text = "".join(character for character in normalize_text(text) if character in " ab")
    ctc_loss = torch.nn.functional.ctc_loss(
        output.ctc_logits[0].double().log_softmax(-1),
        torch.tensor([model.config.ctc_vocab.index(character) for character in text], dtype=torch.long),
        clip_lengths(video["keypoints_mask"], output.ctc_logits)[0],
        torch.tensor(len(text)),
        reduction="sum",
    )
    return (1 - WEIGHT) * written - WEIGHT * ctc_loss.item()


def test_beams_have_the_scores_of_both(reader, clips):
    search = {"num_beams": 8, "num_return_sequences": 8, "max_new_tokens": 6, "length_penalty": 0.0}
    options = {"ctc_decoding_weight": WEIGHT, "return_dict_in_generate": True, "output_scores": True}
    output = reader.generate(**clips, **search, **options)
    found = zip(output.sequences, output.sequences_scores, strict=True)
    ended = [(row // 8, ids, value.item()) for row, (ids, value) in enumerate(found) if 2 in ids.tolist()]
    assert len(ended) > 5
    for clip, ids, value in ended:
        assert value == pytest.approx(score(reader, clips, ids, clip), abs=1e-3)


@pytest.mark.parametrize("search", [{"num_beams": 1}, {"num_beams": 3, "num_return_sequences": 3}])
def test_clips_of_different_lengths_read_as_alone(reader, clips, search):
    arguments = {**search, "ctc_decoding_weight": WEIGHT, "max_new_tokens": 6, "pad_token_id": 0}
    together = reader.generate(**clips, **arguments).chunk(3)
    for clip, (rows, length) in enumerate(zip(together, LENGTHS, strict=True)):
        alone = reader.generate(**{key: value[clip : clip + 1, :length] for key, value in clips.items()}, **arguments)
        assert rows[:, : alone.shape[1]].tolist() == alone.tolist()
        assert set(rows[:, alone.shape[1] :].flatten().tolist()) <= {0, 2}  # padding or the end's, by the search


@pytest.mark.parametrize(
    ("config", "weight", "remedy"),
    [({"ctc_vocab": []}, 0.3, "no CTC head"), ({}, 0.3, "set_token_spelling"), ({}, 1.5, r"\[0, 1\]")],
)
def test_settings_that_cannot_work_are_refused(config, weight, remedy):
    clip = {"keypoints": torch.zeros(1, FRAMES, LANDMARKS, 3), "keypoints_mask": torch.ones(1, FRAMES)}
    with pytest.raises(ValueError, match=remedy):
        make_reader(**config).generate(**clip, ctc_decoding_weight=weight)


def test_a_pipeline_reads_with_the_weight_saved(tmp_path):
    folder = save_reader(tmp_path)
    model, processor = AutoModel.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    torch.nn.init.normal_(model.encoder.ctc_head.weight, std=2.0)
    model.language_model.lm_head.weight.data *= 0.1  # which leaves something to decide
    model.generation_config.ctc_decoding_weight = 0.8
    # The random language model writes signs without end, of which the CTC head knows nothing.
    spellings = token_spellings(processor.tokenizer)
    model.generation_config.suppress_tokens = [i for i, text in enumerate(spellings) if not text.strip().isalpha()]
    model.save_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.bfloat16)
    saved = model.token_spelling.clone()
    model.set_token_spelling(processor.tokenizer)
    assert saved.dtype == torch.uint8 and saved.equal(model.token_spelling)

    clip, model = make_clip("bin blue", seed=7).keypoints, AutoModel.from_pretrained(folder)
    inputs = processor(videos=clip, return_tensors="pt")
    ids = [model.generate(**inputs, num_beams=3), model.generate(**inputs, ctc_decoding_weight=0)]
    expected = [processor.decode(row[0], skip_special_tokens=True).strip() for row in ids]
    assert expected[0] != expected[1]
    reader = pipeline("lip-reading", model=model, processor=processor, device="cpu")
    assert reader(clip, num_beams=3, return_timestamps="word")["text"] == expected[0]
    conditioning, _ = model.encode(**inputs)
    with pytest.raises(ValueError, match="ctc_logits"):
        model.generate(conditioning=conditioning, keypoints_mask=inputs["keypoints_mask"])
