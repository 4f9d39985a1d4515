# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Tokens spelled one by one make the text that the tokenizer makes of them, whatever kind of tokenizer it is."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from data.tokenizer import train_tokenizer
from modeling_lipread.ctc_lipread import pack_spellings, token_spellings, unpack_spellings
from tests.helpers.training import TEXTS

SENTENCES = [*TEXTS, "Don't go, naïve café!", "größer als 3.5 km", "привет мир", "今日は"]


def byte_level():
    return train_tokenizer(SENTENCES, 400)


def sentencepiece():
    """As Llama's first: spaces are letters, and what it does not know is written in bytes."""
    letters = sorted(set("".join(TEXTS).replace(" ", "▁")))
    pieces = ["▁bin", "▁blue", "▁set", "▁red", "lay", "▁gr", "een", *letters]
    byte_tokens = [(f"<0x{byte:02X}>", -20.0) for byte in range(256)]
    special = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0)]
    vocabulary = [*special, *byte_tokens, *((piece, -5.0) for piece in pieces)]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=0, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def wordpiece():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    tokenizer.train_from_iterator(SENTENCES, trainers.WordPieceTrainer(vocab_size=120, special_tokens=["[UNK]"]))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="[UNK]", unk_token="[UNK]")


TOKENIZERS = {kind.__name__: kind() for kind in (byte_level, sentencepiece, wordpiece)}


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=100, deadline=None)
@given(st.data())
def test_spellings_make_the_text(name, data):
    tokenizer = TOKENIZERS[name]
    spellings = token_spellings(tokenizer)
    written = st.sampled_from(SENTENCES).map(lambda text: tokenizer(text, add_special_tokens=False)["input_ids"])
    tokens = sum(data.draw(st.lists(written, min_size=1, max_size=4)), [])
    tokens.append(tokenizer.eos_token_id)
    spelled = b"".join(spellings[token] for token in tokens)
    expected = tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert spelled.decode().strip() == expected.strip()


@pytest.mark.parametrize("name", ["byte_level", "sentencepiece"])
def test_tokens_that_end_within_a_character(name):
    tokenizer = TOKENIZERS[name]
    tokens = tokenizer("名", add_special_tokens=False)["input_ids"]
    parts = [token_spellings(tokenizer)[token] for token in tokens]
    assert len([part for part in parts if part.strip()]) > 1 and b"".join(parts).decode().strip() == "名"


def test_packing_keeps_every_spelling():
    spellings = token_spellings(TOKENIZERS["byte_level"])
    unpacked = unpack_spellings(pack_spellings(spellings))
    # The byte that separates is in no text, and comes back as another that is in none.
    assert unpacked == [spelling.replace(b"\xff", b"\xfe") for spelling in spellings]
    assert len(set(spellings)) > 256
