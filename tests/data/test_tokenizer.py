# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Tokenizers: learned from transcripts, with and without BOS, EOS and PAD, for any script; packed text."""

import json

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from data.collator import LipReadCollator
from data.schema import encode_row
from data.tokenizer import (
    SpecialTokens,
    build_ctc_vocab,
    check_texts,
    check_vocabulary,
    special_tokens,
    train_tokenizer,
)
from data.training.text_training import pack_texts, read_texts
from modeling_lipread import LipReadFeatureExtractor, LipReadProcessor
from modeling_lipread.text_normalizer_lipread import normalize_text
from tests.helpers.training import make_clip

NAMES = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
IDS = {"<pad>": 0, "<s>": 1, "</s>": 2}
SCRIPTS = {
    "latin": ["bin blue at f two", "set white"],
    "decomposed": ["cafe\u0301 noe\u0308l", "nai\u0308ve"],
    "arabic": ["مرحبا بالعالم", "كيف حالك"],
    "hindi": ["नमस्ते दुनिया", "आप कैसे हैं"],
    "chinese": ["你好世界", "今天天气很好"],
    "emoji": ["good 👋🏽 morning", "so 🙂 so"],
}


def byte_level(texts, *names) -> PreTrainedTokenizerFast:
    """As GPT-2's and Llama 3's: bytes, every text can be written."""
    tokenizer = train_tokenizer(texts, 330).backend_tokenizer
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return named(tokenizer, names)


def metaspace(texts, *names) -> PreTrainedTokenizerFast:
    """As Llama 2's and Gemma's: spaces are a sign of their own, one before every text; bytes where all else fails."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token=None))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence([decoders.Metaspace(), decoders.ByteFallback(), decoders.Fuse()])
    trainer = trainers.BpeTrainer(vocab_size=330, special_tokens=list(NAMES.values()), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    settings = json.loads(tokenizer.to_str())
    vocabulary = settings["model"]["vocab"]
    vocabulary |= {f"<0x{byte:02X}>": len(vocabulary) + byte for byte in range(256)}
    return named(Tokenizer.from_str(json.dumps(settings)), names)


def named(tokenizer, names) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **{name: NAMES[name] for name in names})


def batch_of(texts, tokenizer, **settings):
    """A training batch of clips with these texts."""
    rows = [encode_row(make_clip(text, 0), text=text, id=text) for text in texts]
    return LipReadCollator(LipReadProcessor(LipReadFeatureExtractor(), tokenizer), seq_len=64, **settings)(rows)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["bos_token", "eos_token", "pad_token"], "<s> </s> <pad>"),  # SmolLM2
        (["bos_token", "eos_token"], "<s> </s> </s>"),  # Llama
        (["eos_token", "pad_token"], "</s> </s> <pad>"),  # Qwen
        (["eos_token"], "</s> </s> </s>"),  # GPT-2
        (["bos_token"], "<s> <s> <s>"),
        (["bos_token", "pad_token"], "<s> <pad> <pad>"),
    ],
)
def test_one_rule_for_every_tokenizer(names, expected):
    tokenizer = byte_level(SCRIPTS["latin"], *names)
    tokens = special_tokens(tokenizer)
    assert tokens == SpecialTokens(*(IDS[name] for name in expected.split()))
    # The end is learned, once, though the same token may begin and pad.
    batch = batch_of(SCRIPTS["latin"], tokenizer)
    assert (batch["input_ids"][:, 0] == tokens.start).all()
    for labels, mask, text in zip(batch["labels"], batch["attention_mask"], SCRIPTS["latin"], strict=True):
        learned = labels[labels != -100].tolist()
        assert learned[-1] == tokens.end and tokens.end not in learned[:-1]
        assert len(learned) + 1 == mask.sum()
        assert tokenizer.decode(learned, skip_special_tokens=True) == text


def test_what_cannot_begin_or_is_too_large_is_refused():
    """The highest id counts, where ids have gaps too."""
    tokenizer = byte_level(SCRIPTS["latin"])
    with pytest.raises(ValueError, match="no BOS, EOS or PAD token"):
        special_tokens(tokenizer)
    for kind, size in ((tokenizer, len(tokenizer)), (word_level(), 31)):
        check_vocabulary(kind, size)
        with pytest.raises(ValueError, match=f"has {size} tokens, its language model {size - 1}"):
            check_vocabulary(kind, size - 1)


def word_level() -> PreTrainedTokenizerFast:
    """Words and no bytes; its ids have a gap."""
    words = {"</s>": 0, "<unk>": 1, "set": 2, "white": 30}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>")


def test_texts_that_cannot_be_written_are_counted_and_refused_if_all_are(caplog):
    for kind in (byte_level, metaspace):  # bytes write every script
        assert check_texts(kind(SCRIPTS["latin"], "eos_token"), sum(SCRIPTS.values(), [])) == 0
    tokenizer = word_level()
    assert check_texts(tokenizer, ["set white", "set  white"]) == 0 and not caplog.records
    assert check_texts(tokenizer, ["set white", "set é", "set white"]) == 1
    assert "1 of 3 texts hold characters" in caplog.text and "'set é' becomes" in caplog.text
    with pytest.raises(ValueError, match="2 of 2 texts .* --model_id whose tokenizer knows their script"):
        check_texts(tokenizer, SCRIPTS["hindi"])
    with pytest.raises(ValueError, match="no letter"):
        build_ctc_vocab(["?!", ""])


@pytest.mark.parametrize("kind", [byte_level, metaspace])
@pytest.mark.parametrize("script", SCRIPTS)
def test_texts_of_any_script_are_learned_and_spelled_as_they_are(kind, script):
    texts = SCRIPTS[script]
    tokenizer, vocabulary = kind(texts, "bos_token", "eos_token"), build_ctc_vocab(texts)
    batch = batch_of(texts, tokenizer, ctc_vocab=vocabulary)
    for labels, spelled, text in zip(batch["labels"], batch["ctc_targets"], texts, strict=True):
        learned = tokenizer.decode(labels[labels != -100], skip_special_tokens=True)
        assert normalizers.NFC().normalize_str(learned) == normalizers.NFC().normalize_str(text)
        assert "".join(vocabulary[index] for index in spelled[spelled != -100]) == normalize_text(text)


def test_texts_are_packed_into_blocks(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_bytes("\ufeffbin blue\r\n\r\nGrüße, 世界! don't\n".encode())
    texts = read_texts(path)
    assert texts == ["bin blue", "Grüße, 世界! don't"]
    tokenizer = train_tokenizer(texts, vocab_size=300)
    blocks = pack_texts(texts * 5, tokenizer, seq_len=16)
    stream = [token for block in blocks["input_ids"] for token in block]
    assert {len(block) for block in blocks["input_ids"][:-1]} == {16} and blocks["labels"] == blocks["input_ids"]
    assert stream.count(tokenizer.bos_token_id) == stream.count(tokenizer.eos_token_id) == 10
    assert tokenizer.decode(stream, skip_special_tokens=True).split() == " ".join(texts * 5).split()
    path.write_text("\n \n")
    for bad, reason in ((path, "holds no text"), (tmp_path / "missing.txt", "No such file")):
        with pytest.raises((OSError, ValueError), match=reason):
            read_texts(bad)
    with pytest.raises(ValueError, match="259"):
        train_tokenizer(texts, vocab_size=100)
