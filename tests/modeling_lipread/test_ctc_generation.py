# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Readers that write with their CTC head: what they write is worth what both say of it, here and elsewhere."""

import pytest
import torch
from transformers import AutoModel, AutoProcessor, pipeline

import modeling_lipread  # noqa: F401  (registers the reader)
from data.tokenizer import train_tokenizer
from modeling_lipread.ctc_lipread import CTCSpelling, clip_lengths, pack_spellings, token_spellings
from tests.helpers.readers import FRAMES, LANDMARKS, make_inputs, make_reader, save_reader, text_config
from tests.helpers.training import make_clip

WEIGHT = 0.4
SPELLINGS = [b"", b"", b"", b" ", b"a", b"b", b"ab", b" b", b"A!"]


@pytest.fixture(scope="module")
def reader():
    settings = {"token_spelling_size": len(pack_spellings(SPELLINGS))}
    # Tied to its input, a random language model says nothing but what was said before.
    model = make_reader(open_gates=True, text_config=text_config(tie_word_embeddings=False), **settings)
    model.token_spelling.copy_(torch.tensor(list(pack_spellings(SPELLINGS)), dtype=torch.uint8))
    torch.nn.init.normal_(model.encoder.ctc_head.weight)
    model.encoder.ctc_head.bias.data[0] = 5.0  # short texts are likely
    return model


@pytest.fixture(scope="module")
def clips():
    """Three clips, each shorter than the one before."""
    inputs = make_inputs(3)
    mask = torch.zeros(3, FRAMES, dtype=torch.long)
    for row, length in zip(mask, (FRAMES, 8, 5), strict=True):
        row[:length] = 1
    return {"keypoints": inputs["keypoints"], "keypoints_mask": mask}


def both_say(model, clips, ids, clip):
    """The two log-probabilities of a text that ended, each computed at once."""
    video = {key: value[clip : clip + 1] for key, value in clips.items()}
    tokens = ids[: ids.tolist().index(2) + 1]
    with torch.no_grad():
        output = model(input_ids=tokens[None], **video)
    written = output.logits[0, :-1].log_softmax(-1).gather(-1, tokens[1:, None]).sum().item()
    text = CTCSpelling(" ab")(b"".join(SPELLINGS[token] for token in tokens.tolist() if token < len(SPELLINGS)))
    spoken = -torch.nn.functional.ctc_loss(
        output.ctc_logits[0].double().log_softmax(-1),
        torch.tensor([model.config.ctc_vocab.index(character) for character in text], dtype=torch.long),
        clip_lengths(video["keypoints_mask"], output.ctc_logits)[0],
        torch.tensor(len(text)),
        reduction="sum",
    ).item()
    return written, spoken


def test_beams_are_worth_what_both_say(reader, clips):
    beams = 8
    search = {"num_beams": beams, "num_return_sequences": beams, "max_new_tokens": 6, "length_penalty": 0.0}
    output = reader.generate(
        **clips,
        **search,
        ctc_decoding_weight=WEIGHT,
        return_dict_in_generate=True,
        output_scores=True,
    )
    ended = 0
    for row, (ids, score) in enumerate(zip(output.sequences, output.sequences_scores, strict=True)):
        if 2 in ids.tolist():
            written, spoken = both_say(reader, clips, ids, row // beams)
            assert score.item() == pytest.approx((1 - WEIGHT) * written + WEIGHT * spoken, abs=1e-3)
            ended += 1
    assert ended > 5


@pytest.mark.parametrize("search", [{"num_beams": 1}, {"num_beams": 4}, {"num_beams": 3, "num_return_sequences": 3}])
def test_clips_of_different_lengths_read_as_alone(reader, clips, search):
    arguments = {**search, "ctc_decoding_weight": WEIGHT, "max_new_tokens": 6, "pad_token_id": 0}
    together = reader.generate(**clips, **arguments)
    returned = search.get("num_return_sequences", 1)
    for clip, length in enumerate((FRAMES, 8, 5)):
        alone = reader.generate(
            keypoints=clips["keypoints"][clip : clip + 1, :length],
            keypoints_mask=clips["keypoints_mask"][clip : clip + 1, :length],
            **arguments,
        )
        rows = together[clip * returned : (clip + 1) * returned]
        assert rows[:, : alone.shape[1]].tolist() == alone.tolist()
        assert set(rows[:, alone.shape[1] :].flatten().tolist()) <= {0, 2}  # padding or the end's, by the search


@pytest.mark.parametrize(
    ("settings", "weight", "remedy"),
    [({"ctc_vocab": []}, 0.3, "no CTC head"), ({}, 0.3, "set_token_spelling"), ({}, 1.5, r"\[0, 1\]")],
)
def test_what_cannot_be_is_refused(settings, weight, remedy):
    model = make_reader(**settings)
    clip = {"keypoints": torch.zeros(1, FRAMES, LANDMARKS, 3), "keypoints_mask": torch.ones(1, FRAMES)}
    with pytest.raises(ValueError, match=remedy):
        model.generate(**clip, ctc_decoding_weight=weight)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = save_reader(tmp_path_factory.mktemp("reader"))
    model, tokenizer = AutoModel.from_pretrained(folder), AutoProcessor.from_pretrained(folder).tokenizer
    torch.nn.init.normal_(model.encoder.ctc_head.weight, std=2.0)
    model.language_model.lm_head.weight.data *= 0.1  # which leaves something to decide
    model.generation_config.ctc_decoding_weight = 0.8
    # At random the language model writes signs without end, of which the CTC head knows nothing.
    signs = [token for token, spelled in enumerate(token_spellings(tokenizer)) if not spelled.strip().isalpha()]
    model.generation_config.suppress_tokens = signs
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_tokens_spell_comes_back(folder, dtype):
    tokenizer = AutoProcessor.from_pretrained(folder).tokenizer
    model = AutoModel.from_pretrained(folder, dtype=dtype)
    saved = model.token_spelling.clone()
    model.set_token_spelling(tokenizer)
    assert saved.dtype == torch.uint8 and saved.equal(model.token_spelling)
    model.set_token_spelling(train_tokenizer(["bin"], 300))
    assert model.config.token_spelling_size == len(model.token_spelling) != len(saved)


def test_a_pipeline_reads_with_the_weight_saved(folder):
    clip = make_clip("bin blue", seed=7).keypoints
    model, processor = AutoModel.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    inputs = processor(videos=clip, return_tensors="pt")
    ids = [model.generate(**inputs, num_beams=3), model.generate(**inputs, ctc_decoding_weight=0)]
    expected = [processor.decode(row[0], skip_special_tokens=True).strip() for row in ids]
    assert expected[0] != expected[1]
    reader = pipeline("lip-reading", model=model, processor=processor, device="cpu")
    assert reader(clip, num_beams=3, return_timestamps="word")["text"] == expected[0]
