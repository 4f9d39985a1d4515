# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Measures reading one clip at a time from its landmarks: seconds a clip, and the peak memory of a process.

    python -m benchmarks.clips corpora/grid/validation --model_id HuggingFaceTB/SmolLM2-135M

All ways read the same clips, each way in a process of its own: the package's reader, an untrained one on `--model_id`,
and the literal encoder on the same language model. Untrained ones write 16 tokens a clip.
"""

import itertools
import statistics
import time

import torch
from transformers import AutoModel, AutoProcessor

from data.dataset import open_split
from lipread.landmark_rows import decode_row
from lipread.options import BUNDLED_MODEL
from modeling_lipread import FaceKeypointEncoderConfig, LipReadFeatureExtractor

from .decoding import LANDMARKS, make_model
from .literal_encoder import LiteralEncoder, literal_config
from .measure import in_fresh_process, make_parser, peak_mebibytes

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
    settings = {"min_new_tokens": NEW_TOKENS, "max_new_tokens": NEW_TOKENS}
    return LipReadFeatureExtractor(landmarks="face" if literal else "lower_face"), model, settings


def measure(source: str, model_id: str, number: int, way: str, beams: int) -> tuple[float, float]:
    """Returns the median seconds a clip of one of the `WAYS`, and the peak memory of this process in MiB."""
    extractor, model, settings = make_reader(way, model_id)
    clips, times = open_split(source), []
    for row in clips.__getitems__(clips.spread(number + 1)):  # the first one warms up
        start = time.perf_counter()
        features = extractor([decode_row(row)], return_tensors="pt")
        model.generate(**features, num_beams=beams, do_sample=False, **settings)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:]), peak_mebibytes()


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line."""
    parser = make_parser(__doc__)
    parser.add_argument("source", help="split of a prepared corpus")
    parser.add_argument("--model_id", default="HuggingFaceTB/SmolLM2-135M", help="language model")
    parser.add_argument("--clips", type=int, default=5, help="clips; the median counts (default: 5)")
    options = parser.parse_args(arguments)
    print("| | seconds a clip | peak memory |\n|---|---:|---:|")
    for way, beams in itertools.product(WAYS, (1, 4)):
        given = (options.source, options.model_id, options.clips, way, beams)
        seconds, mebibytes = in_fresh_process(measure, *given)
        search = "greedy" if beams == 1 else f"{beams} beams"
        print(f"| {way}, {search} | {seconds:.2f} s | {mebibytes:,.0f} MiB |", flush=True)


if __name__ == "__main__":
    main()
