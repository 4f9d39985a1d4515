# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""transformers' own common tests of models, configurations and processors, run on encoder, reader and processor."""

import unittest

import pytest
import torch

from data.tokenizer import train_tokenizer
from modeling_lipread import (
    FaceKeypointEncoder,
    FaceKeypointEncoderConfig,
    LipReadConfig,
    LipReadFeatureExtractor,
    LipReadForConditionalGeneration,
    LipReadProcessor,
)
from tests.helpers.readers import FRAMES, LANDMARKS, clips, make_inputs, reader_config, text_config
from tests.helpers.training import TEXTS
from tests.helpers.transformers_tests import load, without

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
ModelTesterMixin = load("test_modeling_common").ModelTesterMixin
ConfigTester = load("test_configuration_common").ConfigTester
ProcessorTesterMixin = load("test_processing_common").ProcessorTesterMixin


NOT_THE_ENCODERS = {
    "test_model_get_set_embeddings": "landmarks are embedded by an MLP, not by a table of tokens",
    "test_model_outputs_equivalence": "it subtracts outputs, and the mask of the conditioning tokens is bool",
}
NOT_THE_READERS = {
    "test_can_init_all_missing_weights": "nothing is filled at random",
    "test_model_weights_reload_no_missing_tied_weights": "nothing is filled at random",
    "test_correct_missing_keys": "a reader is built on a language model by from_language_model, not from its folder",
    "test_resize_*embeddings*": "a frozen language model is not resized",
    "test_bc_cache_name_forward": "the cache has both names, the older one for transformers before 5.24",
    "test_generation_tester_mixin_inheritance": "the source distribution lacks that mixin",
}
NOT_THE_PROCESSORS = {
    "*_audio": "the feature extractor takes landmarks, not audio",
    "test_model_input_names": "unknown arguments are refused, such as the do_sample_frames that it gives",
    "test_flat_kwarg_applied_when_modality_dict_lacks_it": "likewise",
    "test_processor_with_multiple_inputs": "it gives audio",
    "test_processor_from_and_save_pretrained*": "transformers saves auto_map for custom code, and drops it on loading",
}


class EncoderTester:
    """What the mixin asks about the encoder."""

    is_training = False
    batch_size, seq_length, num_hidden_layers, hidden_size, num_attention_heads = 2, FRAMES, 2, 16, 2

    def get_config(self) -> FaceKeypointEncoderConfig:
        return reader_config({"kp_temporal_layers": 2}).encoder_config

    def prepare_config_and_inputs_for_common(self):
        return self.get_config(), clips(make_inputs())


class EncoderTest(without(ModelTesterMixin, NOT_THE_ENCODERS), unittest.TestCase):
    all_model_classes = (FaceKeypointEncoder,)
    test_resize_embeddings = has_attentions = False

    def setUp(self):
        self.model_tester = EncoderTester()

    def test_config(self):
        sizes = {"num_landmarks": LANDMARKS, "kp_heads": 2, "hidden_size": 16}
        ConfigTester(self, FaceKeypointEncoderConfig, has_text_modality=False, **sizes).run_common_tests()


class ReaderTester:
    """What the mixin asks about the reader."""

    is_training = True
    batch_size, seq_length, num_hidden_layers, hidden_size, num_attention_heads = 2, 6, 2, 32, 4

    def get_config(self) -> LipReadConfig:
        return reader_config({"kp_temporal_layers": 1}, text_config=text_config(num_hidden_layers=2), adapter_every=1)

    def prepare_config_and_inputs_for_common(self):
        return self.get_config(), make_inputs()


class ReaderTest(without(ModelTesterMixin, NOT_THE_READERS), unittest.TestCase):
    all_model_classes = (LipReadForConditionalGeneration,)
    _is_composite = True

    def setUp(self):
        self.model_tester = ReaderTester()

    def _prepare_for_class(self, inputs, model_class, return_labels=False):
        inputs = super()._prepare_for_class(inputs, model_class, return_labels)
        return {**inputs, "labels": inputs["input_ids"]} if return_labels else inputs

    def test_config(self):
        ConfigTester(self, LipReadConfig, has_text_modality=False, adapter_heads=2).run_common_tests()


class ProcessorTest(without(ProcessorTesterMixin, NOT_THE_PROCESSORS), unittest.TestCase):
    processor_class = LipReadProcessor
    videos_input_name = "keypoints"

    @classmethod
    def _setup_feature_extractor(cls):
        return LipReadFeatureExtractor()

    @classmethod
    def _setup_tokenizer(cls):
        return train_tokenizer(TEXTS, 280)

    def prepare_videos_inputs(self, batch_size: int | None = None):
        landmarks = torch.rand(batch_size or 1, 8, 478, 3).numpy()
        return landmarks if batch_size else landmarks[0]
