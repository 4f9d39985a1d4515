# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""lipread: a language model that reads lips from 3D face landmarks."""

from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from .adapters_lipread import Conditioning, GatedCrossAttention
from .configuration_lipread import FaceKeypointEncoderConfig, LipReadConfig
from .encoder_lipread import FaceKeypointEncoder, FaceKeypointEncoderOutput
from .modeling_lipread import LipReadForConditionalGeneration, LipReadOutput, LipReadPreTrainedModel

AutoConfig.register("lipread_encoder", FaceKeypointEncoderConfig)
AutoConfig.register("lipread", LipReadConfig)
AutoModel.register(FaceKeypointEncoderConfig, FaceKeypointEncoder)
AutoModel.register(LipReadConfig, LipReadForConditionalGeneration)
AutoModelForCausalLM.register(LipReadConfig, LipReadForConditionalGeneration)
LipReadConfig.register_for_auto_class()
LipReadForConditionalGeneration.register_for_auto_class("AutoModel")
