# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The tokenizer learned from transcripts, and packed text."""

import pytest

from data.tokenizer import train_tokenizer
from data.training.text_training import pack_texts, read_texts

TEXTS = ["bin blue at f two now", "set red by g nine please"] * 5


def test_tokenizer_writes_any_text():
    tokenizer = train_tokenizer(TEXTS, vocab_size=300)
    for text in [*TEXTS, "Grüße, 世界! don't"]:
        assert tokenizer.decode(tokenizer(text)["input_ids"]).strip() == text
    assert len(tokenizer) <= 300
    assert len(tokenizer(TEXTS[0])["input_ids"]) < len(TEXTS[0])


def test_too_small_a_vocabulary_is_refused():
    with pytest.raises(ValueError, match="259"):
        train_tokenizer(TEXTS, vocab_size=100)


def test_packing_loses_nothing():
    tokenizer = train_tokenizer(TEXTS)
    blocks = pack_texts(TEXTS, tokenizer, seq_len=16)
    stream = [token for block in blocks["input_ids"] for token in block]
    assert {len(block) for block in blocks["input_ids"][:-1]} == {16}
    assert stream.count(tokenizer.bos_token_id) == stream.count(tokenizer.eos_token_id) == len(TEXTS)
    assert tokenizer.decode(stream, skip_special_tokens=True).split() == " ".join(TEXTS).split()
    assert blocks["labels"] == blocks["input_ids"]


def test_text_files(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_bytes("\ufeffbin blue\r\n\r\nset red\n".encode())
    assert read_texts(path) == ["bin blue", "set red"]
    path.write_text("\n \n")
    with pytest.raises(ValueError, match="holds no text"):
        read_texts(path)
    with pytest.raises(ValueError, match="no such text file"):
        read_texts(tmp_path / "missing.txt")
