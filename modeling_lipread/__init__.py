# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""lipread: a language model that reads lips from 3D face landmarks."""

from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoModelForCausalLM, AutoProcessor
from transformers.pipelines import PIPELINE_REGISTRY

from .adapters_lipread import Conditioning, GatedCrossAttention
from .configuration_lipread import FaceKeypointEncoderConfig, LipReadConfig
from .encoder_lipread import FaceKeypointEncoder, FaceKeypointEncoderOutput
from .feature_extraction_lipread import LipReadFeatureExtractor
from .geometry_lipread import solve_head_pose
from .landmarks_lipread import Face3DKeypointExtractor, LandmarkSequence, NoFaceError
from .modeling_lipread import LipReadForConditionalGeneration, LipReadOutput, LipReadPreTrainedModel
from .pipeline_lipread import PIPELINE_TASK, LipReadingPipeline
from .processing_lipread import LipReadProcessor
from .video_lipread import VideoError

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

__all__ = [
    "Conditioning",
    "Face3DKeypointExtractor",
    "FaceKeypointEncoder",
    "FaceKeypointEncoderConfig",
    "FaceKeypointEncoderOutput",
    "GatedCrossAttention",
    "LandmarkSequence",
    "LipReadConfig",
    "LipReadFeatureExtractor",
    "LipReadForConditionalGeneration",
    "LipReadOutput",
    "LipReadPreTrainedModel",
    "LipReadProcessor",
    "LipReadingPipeline",
    "NoFaceError",
    "VideoError",
    "solve_head_pose",
]
