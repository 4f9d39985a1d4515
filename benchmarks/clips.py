# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Measures reading one clip at a time from its landmarks: seconds a clip, and the peak memory of a process.

    python -m benchmarks.clips corpora/grid/validation --model_id HuggingFaceTB/SmolLM2-135M

All ways read the same clips, each way in a process of its own: the package's reader, an untrained one on `--model_id`,
and the literal encoder on the same language model. Untrained ones write 16 tokens a clip.
"""

import argparse
import statistics
import time

import torch
from transformers import AutoModel, AutoProcessor

from data.dataset import open_split
from lipread.landmark_rows import decode_row
from lipread.options import BUNDLED_MODEL
from modeling_lipread import FaceKeypointEncoderConfig, FaceKeypointEncoderOutput, LipReadFeatureExtractor

from .decoding import LANDMARKS, make_model
from .literal_encoder import LiteralEncoder, literal_config
from .measure import in_fresh_process, peak_kibibytes

NEW_TOKENS = 16
WAYS = ("package", "ours", "literal")


def make_reader(way: str, model_id: str) -> tuple[LipReadFeatureExtractor, torch.nn.Module, dict[str, int]]:
    """Returns feature extractor, model and generation settings of one of the `WAYS`."""
    if way == "package":
        extractor = AutoProcessor.from_pretrained(BUNDLED_MODEL).feature_extractor
        return extractor, AutoModel.from_pretrained(BUNDLED_MODEL).eval(), {}
    literal = way == "literal"
    config = literal_config() if literal else FaceKeypointEncoderConfig(num_landmarks=LANDMARKS)
    model = make_model(model_id, torch.device("cpu"), config)
    if literal:
        model.encoder = LiteralEncoder(model.encoder)
        model.encoder.register_forward_hook(_as_output)
    settings = {"min_new_tokens": NEW_TOKENS, "max_new_tokens": NEW_TOKENS}
    return LipReadFeatureExtractor(landmarks="face" if literal else "lower_face"), model, settings


def _as_output(module: torch.nn.Module, inputs: tuple, latents: torch.Tensor) -> FaceKeypointEncoderOutput:
    return FaceKeypointEncoderOutput(latents, torch.ones(latents.shape[:2], dtype=torch.bool))


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="split of a prepared corpus")
    parser.add_argument("--model_id", default="HuggingFaceTB/SmolLM2-135M", help="language model")
    parser.add_argument("--clips", type=int, default=5, help="clips; the median counts (default: 5)")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)  # of the processes that this one starts
    parser.add_argument("--num_beams", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.way is None:
        print("| | seconds a clip | peak memory |\n|---|---:|---:|")
        for way, beams in [(way, beams) for way in WAYS for beams in (1, 4)]:
            given = ("--model_id", options.model_id, "--clips", str(options.clips))
            chosen = ("--way", way, "--num_beams", str(beams))
            seconds, mebibytes = in_fresh_process("benchmarks.clips", options.source, *given, *chosen)
            print(
                f"| {way}, {'greedy' if beams == 1 else f'{beams} beams'} | {seconds:.2f} s | {mebibytes:,.0f} MiB |",
                flush=True,
            )
        return
    extractor, model, settings = make_reader(options.way, options.model_id)
    clips, times = open_split(options.source), []
    for row in clips.__getitems__(clips.spread(options.clips + 1)):  # the first one warms up
        start = time.perf_counter()
        features = extractor([decode_row(row)], return_tensors="pt")
        model.generate(**features, num_beams=options.num_beams, do_sample=False, **settings)
        times.append(time.perf_counter() - start)
    print(statistics.median(times[1:]), peak_kibibytes() / 2**10)


if __name__ == "__main__":
    main()
