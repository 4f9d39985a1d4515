# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Measures how well a causal LM predicts sentences in capitals, in lower case and as usually written:

OMP_NUM_THREADS=1 python -m benchmarks.letter_case HuggingFaceTB/SmolLM2-135M
"""

import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

SENTENCES = """we walked along the river until it was too dark to see the path
she told me that the train would be an hour late again
nobody in the office knew how to repair the old printer
if you want to learn a language you have to speak it every day
the doctor said that he should rest for at least two weeks
my grandmother kept her letters in a box under the bed
there is a small shop at the corner that sells fresh bread
most of the people in the village work at the harbour
they have been building that bridge for more than ten years
could you please open the window and let some air in
the children laughed when the dog ran away with the ball
it was the first time that he had seen the sea
we need to think about what happens when the money is gone
the teacher asked everybody to write a story about winter
i do not remember who won the match last saturday
after dinner they sat in the garden and talked about the war
the water in this well has been clean for a hundred years
he bought a bicycle because the bus never came on time
what i want to say is that all of us can help
the museum is closed on mondays except in the summer""".split("\n")
CASES = {"capitals": str.upper, "lower case": str.lower, "sentences": lambda text: f"{text[0].upper()}{text[1:]}."}


@torch.inference_mode()
def main(model_id: str) -> None:
    """Prints tokens and nats a word for each case."""
    tokenizer, model = AutoTokenizer.from_pretrained(model_id), AutoModelForCausalLM.from_pretrained(model_id)
    words = sum(len(sentence.split()) for sentence in SENTENCES)
    for case, write in CASES.items():
        tokens, nats = 0, 0.0
        for sentence in SENTENCES:
            ids = tokenizer(tokenizer.bos_token + write(sentence), return_tensors="pt").input_ids
            tokens += ids.shape[1] - 1
            nats += model(input_ids=ids, labels=ids).loss.item() * (ids.shape[1] - 1)
        print(f"{case}: {tokens / words:.2f} tokens and {nats / words:.2f} nats a word")


if __name__ == "__main__":
    main(sys.argv[1])
