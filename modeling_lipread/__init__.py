# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""lipread: a language model that reads lips from 3D face landmarks.

Importing it registers the reader with transformers' Auto classes, except within the application and the training code
(the packages `lipread` and `data`): these import the classes of the model when they use them, since PyTorch and
transformers take seconds and memory that video and landmarks do not need.
"""

import sys
from functools import cache
from importlib import import_module
from typing import Any

from .geometry_lipread import solve_head_pose
from .landmarks_lipread import Face3DKeypointExtractor, LandmarkSequence, NoFaceError
from .video_lipread import VideoError

_NAMES = {
    "adapters_lipread": ("Conditioning", "GatedCrossAttention"),
    "configuration_lipread": ("FaceKeypointEncoderConfig", "LipReadConfig"),
    "encoder_lipread": ("FaceKeypointEncoder", "FaceKeypointEncoderOutput"),
    "feature_extraction_lipread": ("LipReadFeatureExtractor",),
    "modeling_lipread": ("LipReadForConditionalGeneration", "LipReadOutput", "LipReadPreTrainedModel"),
    "pipeline_lipread": ("PIPELINE_TASK", "LipReadingPipeline"),
    "processing_lipread": ("LipReadProcessor",),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}


@cache
def register() -> None:
    """Registers the reader with transformers' Auto classes and pipelines, as importing a class of the model does."""
    from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoModelForCausalLM, AutoProcessor
    from transformers.pipelines import PIPELINE_REGISTRY

    from .configuration_lipread import FaceKeypointEncoderConfig, LipReadConfig
    from .encoder_lipread import FaceKeypointEncoder
    from .feature_extraction_lipread import LipReadFeatureExtractor
    from .modeling_lipread import LipReadForConditionalGeneration
    from .pipeline_lipread import PIPELINE_TASK, LipReadingPipeline
    from .processing_lipread import LipReadProcessor

    AutoConfig.register("lipread_encoder", FaceKeypointEncoderConfig)
    AutoConfig.register("lipread", LipReadConfig)
    AutoModel.register(FaceKeypointEncoderConfig, FaceKeypointEncoder)
    AutoModel.register(LipReadConfig, LipReadForConditionalGeneration)
    AutoModelForCausalLM.register(LipReadConfig, LipReadForConditionalGeneration)
    AutoFeatureExtractor.register(LipReadConfig, LipReadFeatureExtractor)
    AutoProcessor.register(LipReadConfig, LipReadProcessor)
    PIPELINE_REGISTRY.register_pipeline(
        PIPELINE_TASK, pipeline_class=LipReadingPipeline, pt_model=AutoModel, type="multimodal"
    )
    LipReadConfig.register_for_auto_class()
    LipReadForConditionalGeneration.register_for_auto_class("AutoModel")


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    register()
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


__all__ = [
    "Face3DKeypointExtractor",
    "LandmarkSequence",
    "NoFaceError",
    "VideoError",
    "register",
    "solve_head_pose",
    *_MODULES,
]

if "lipread" not in sys.modules or "transformers" in sys.modules:
    register()
