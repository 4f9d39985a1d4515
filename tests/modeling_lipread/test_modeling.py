# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The contracts of the model and its encoder: shapes, gaps, gradients, settings, outputs, compilation and export."""

import copy
import json

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModel, AutoModelForCausalLM

from data.evaluation.generation import blank_video
from modeling_lipread import (
    FaceKeypointEncoder,
    FaceKeypointEncoderConfig,
    GatedCrossAttention,
    LipReadConfig,
    LipReadForConditionalGeneration,
    encoder_lipread,
)
from modeling_lipread.configuration_lipread import CALIBRATION
from tests.helpers.readers import (
    ENCODERS,
    FRAMES,
    LANDMARKS,
    VOCABULARY,
    clips,
    language_model_alone,
    make_inputs,
    make_reader,
    open_adapters,
    reader_config,
    text_config,
)


def test_classic_gate_starts_close_to_the_language_model():
    model, inputs = make_reader(gate_type="sigmoid", gate_init=-10.0, zero_init_projection=False), make_inputs()
    assert torch.allclose(model(**inputs).logits, language_model_alone(model, inputs), atol=1e-3)
    assert list(model.gate_values().values()) == pytest.approx([4.54e-5] * 2, rel=1e-2)


SCALES = dict.fromkeys(CALIBRATION, 0.0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"gate_type": "tanh", "gate_init": 0.0}, "never learns"),
        ({"gate_type": "none", "gate_init": 0.0}, "never learns"),
        ({"encoder": {"conv_kernel_size": 4}}, "conv_kernel_size must be odd"),
        ({"lora": {"alpha": 8}}, "rank r of at least 1"),
        ({"lora": {"r": 4, "rank": 4}}, "unknown in lora: rank"),
        ({"lora": {"r": 4}, "freeze_language_model": False}, "set freeze_language_model to True, or leave lora out"),
        ({"calibration": {"log_odds": 1.0, "fit": 0.0}}, "calibration lacks bias, certainty, product"),
        ({"calibration": SCALES | {"slope": 1.0}}, "unknown in calibration: slope"),
        ({"abstention": {"min_confidence": float("nan")}}, "min_confidence in abstention must be a number"),
        ({"abstention": {"confidence": 0.5}}, "unknown in abstention: confidence"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, said):
    with pytest.raises(Exception, match=said):
        reader_config(**settings)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_frames_with_a_face_change_the_logits_and_others_do_not(encoder):
    model, inputs = make_reader(encoder, open_gates=True), make_inputs()
    alone = language_model_alone(model, inputs)
    inputs["keypoints_mask"][:, FRAMES - 4 :] = 0
    expected = model(**inputs).logits
    assert (expected - alone).abs().max() > 1e-2
    shorter = {**inputs, **{name: value[:, : FRAMES - 4] for name, value in clips(inputs).items()}}
    assert torch.allclose(model(**shorter).logits, expected, atol=1e-5)
    inputs["keypoints_mask"][:] = 0
    assert torch.allclose(model(**inputs).logits, alone, atol=1e-5)
    frame = {name: value[:, :1] for name, value in clips(inputs).items()}
    assert model(**{**inputs, **frame}).logits.isfinite().all(), "a clip may have one frame"


BOTH = pytest.mark.parametrize("frame_encoder", ["linear", "transformer"])


def make_encoder(**settings) -> FaceKeypointEncoder:
    return make_reader(encoder=settings).encoder


@pytest.fixture
def gaps():
    """Three clips: a whole one, one with gaps, one with a single face between gaps and an early end."""
    mask = torch.ones(3, FRAMES, dtype=torch.long)
    mask[1, 4:6] = 0
    mask[2, [0, 2, 5]] = mask[2, 8:] = 0
    return torch.randn(3, FRAMES, LANDMARKS, 3, generator=torch.Generator().manual_seed(0)), mask


@pytest.mark.parametrize("use_velocity", [False, True])
def test_statistics_standardise_every_channel(gaps, use_velocity):
    model = make_reader(encoder={"use_velocity": use_velocity})
    keypoints, mask = gaps[0] * 0.1 + 2, gaps[1]
    model.encoder.fit_statistics([{"keypoints": keypoints, "keypoints_mask": mask}])
    channels = 6 if use_velocity else 3
    assert model.encoder.input_mean.shape == model.encoder.input_std.shape == (LANDMARKS, channels)
    inputs = []
    model.encoder.frame_encoder.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    model.encoder(keypoints, mask)
    standardised = inputs[0][mask.bool()]
    assert torch.allclose(standardised.mean(0), torch.zeros(()), atol=1e-4)
    assert torch.allclose(standardised.std(0, correction=0), torch.ones(()), atol=1e-3)
    average = keypoints[mask.bool()].mean(0)
    assert torch.allclose(model.encoder.average_face, average, atol=1e-5)
    assert torch.allclose(blank_video(model, keypoints), average.expand_as(keypoints), atol=1e-5)


@pytest.mark.parametrize("clip_normalization", ["none", "mean"])
def test_clip_normalization_removes_the_average_face(clip_normalization, gaps):
    keypoints, mask = gaps
    encoder = make_encoder(clip_normalization=clip_normalization)
    other = keypoints + torch.randn(len(mask), 1, LANDMARKS, 3)
    expected, found = (encoder(given, mask).frame_hidden_states for given in (keypoints, other))
    assert torch.allclose(found, expected, atol=1e-4) == (clip_normalization == "mean")


@BOTH
@pytest.mark.parametrize("clip_normalization", ["none", "mean"])
def test_what_stands_in_absent_frames_is_never_seen(frame_encoder, clip_normalization, gaps):
    encoder = make_encoder(frame_encoder=frame_encoder, clip_normalization=clip_normalization)
    keypoints, mask = gaps
    hidden = keypoints.masked_fill(mask[..., None, None] == 0, float("nan"))
    assert torch.equal(encoder(hidden, mask).last_hidden_state, encoder(keypoints, mask).last_hidden_state)


def test_frames_in_parts_give_the_same(monkeypatch, gaps):
    encoder = make_encoder(frame_encoder="transformer")
    expected = encoder(*gaps).ctc_logits
    for tokens_at_once in (1, 3 * (LANDMARKS + 1), 10_000):
        monkeypatch.setitem(encoder_lipread.TOKENS_AT_ONCE, "cpu", tokens_at_once)
        assert torch.allclose(encoder(*gaps).ctc_logits, expected, atol=1e-5)


def test_conditioning_tokens_begin_as_the_averages_of_parts_of_the_clip(gaps):
    resampler, mask = make_encoder(resampler="perceiver", cond_len=5).resampler, gaps[1].bool()
    resampler.layers, resampler.input_norm, resampler.norm = torch.nn.ModuleList(), *[torch.nn.Identity()] * 2
    frames = torch.randn(*mask.shape, 16)
    averages = resampler(frames, mask)[0] - resampler(torch.zeros_like(frames), mask)[0]
    for clip, places in enumerate(valid.nonzero().flatten().tolist() for valid in mask):
        step = (places[-1] + 1) / 5
        for token, found in enumerate(averages[clip]):
            near = [i for i in places if abs(i + 0.5 - (token + 0.5) * step) <= max(step / 2, 0.5)]
            torch.testing.assert_close(found, frames[clip, near].sum(0) / max(1, len(near)), atol=1e-5, rtol=0)


@BOTH
def test_a_batch_without_a_face_still_has_every_gradient(frame_encoder, gaps):
    """Else processes that train together would wait for each other for ever."""
    encoder = make_encoder(frame_encoder=frame_encoder, ctc_feedback=False)
    output = encoder(gaps[0], torch.zeros_like(gaps[1]))
    (output.last_hidden_state.sum() + output.ctc_logits.sum()).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in encoder.parameters())


def test_encoder_runs_once_a_clip():
    model, inputs = make_reader(open_gates=True), make_inputs()
    calls = []
    model.encoder.register_forward_hook(lambda *_: calls.append("encoder"))
    for adapter in model.adapters:
        adapter.k_proj.register_forward_hook(lambda *_: calls.append("keys"))
    model.generate(**clips(inputs), num_beams=3, max_new_tokens=6)
    assert sorted(calls) == ["encoder"] + ["keys"] * len(model.adapters)


def test_the_alignment_loss_is_of_frames_with_a_face_and_a_known_character():
    model, inputs = make_reader(encoder={"alignment_head": True, "ctc_vocab_size": 4}), make_inputs()
    labels = torch.randint(0, 4, inputs["keypoints"].shape[:2])
    inputs["keypoints_mask"][:, 5:] = 0
    labels[0, 2] = -100
    output = model(**inputs, alignment_targets=labels)
    logits = model.encoder(inputs["keypoints"], inputs["keypoints_mask"]).alignment_logits[:, :5]
    means = [torch.nn.functional.cross_entropy(*clip) for clip in zip(logits, labels[:, :5], strict=True)]
    expected = torch.stack(means).mean()
    assert torch.allclose(output.alignment_loss, expected)
    assert torch.allclose(output.loss, model.config.alignment_weight * expected)
    assert model(**inputs, alignment_targets=torch.full_like(labels, -100)).alignment_loss == 0


@pytest.mark.parametrize("encoder", ENCODERS)
def test_attention_implementations_agree(encoder):
    model, inputs = make_reader(encoder, open_gates=True), make_inputs()
    model.set_attn_implementation("eager")
    eager = model(**inputs).logits
    model.set_attn_implementation("sdpa")
    assert model.adapters[0].config._attn_implementation == "sdpa"
    assert torch.allclose(model(**inputs).logits, eager, atol=1e-4)


def test_inputs_of_a_wrong_shape_or_type_are_named():
    model, inputs = make_reader(), make_inputs()
    with pytest.raises(ValueError, match=f"{LANDMARKS}, 3"):
        model(**{**inputs, "keypoints": inputs["keypoints"][:, :, :-1]})
    with pytest.raises(ValueError, match="at least one frame"):
        model.encode(inputs["keypoints"][:, :0])
    with pytest.raises(ValueError, match=rf"keypoints_mask \(2, {FRAMES - 1}\)"):
        model(**{**inputs, "keypoints_mask": inputs["keypoints_mask"][:, 1:]})
    arrays = {name: value.numpy() for name, value in clips(inputs).items()}
    for call in (model, model.generate, model.encoder):
        with pytest.raises(TypeError, match='keypoints must be a tensor, not ndarray.*return_tensors="pt"'):
            call(**arrays)


def test_new_tokens_are_for_language_models_that_learn():
    frozen = make_reader()
    assert frozen.resize_token_embeddings() is frozen.get_input_embeddings()
    with pytest.raises(ValueError, match="before a reader is built on"):
        frozen.resize_token_embeddings(VOCABULARY + 5)
    model, inputs = make_reader(open_gates=True, freeze_language_model=False), make_inputs()
    expected = model(**inputs).logits
    model.resize_token_embeddings(VOCABULARY + 5)
    assert torch.allclose(model(**inputs).logits[..., :VOCABULARY], expected, atol=1e-5)


def test_a_callers_configurations_stay_as_they_are(language_model_dir):
    encoder, text = FaceKeypointEncoderConfig(num_landmarks=LANDMARKS), text_config()
    config = LipReadConfig(encoder_config=encoder, text_config=text, ctc_vocab=["", "a"])
    given = [copy.deepcopy(settings.to_dict()) for settings in (encoder, text, config)]
    LipReadForConditionalGeneration.from_language_model(language_model_dir, config, attn_implementation="eager")
    assert [settings.to_dict() for settings in (encoder, text, config)] == given
    assert encoder.ctc_vocab_size == 0 and config.base_model_name_or_path is None


def test_a_language_model_has_one_reader(language_model_dir):
    """As when the cell of a notebook that builds the reader runs again: the second would be blind."""
    language_model = AutoModelForCausalLM.from_pretrained(language_model_dir).train()
    language_model.model.layers[1].eval()
    flags = [module.training for module in language_model.modules()]
    settings = {"text_config": language_model.config, "language_model": language_model}
    first, inputs = make_reader(open_gates=True, **settings), make_inputs()
    assert [module.training for module in language_model.modules()] == flags
    expected = first.eval()(**inputs).logits
    with pytest.raises(ValueError, match="load a language model for each reader"):
        make_reader(**settings)
    assert torch.equal(first(**inputs).logits, expected)


@pytest.mark.parametrize("options", [{}, {"max_shard_size": "4KB"}])
def test_a_variant_loads_what_it_saved(tmp_path, options):
    model = make_reader(open_gates=True)
    model.save_pretrained(tmp_path, variant="half", **options)
    again = AutoModel.from_pretrained(tmp_path, variant="half")
    assert torch.equal(again(**make_inputs()).logits, model(**make_inputs()).logits)
    with pytest.raises(OSError, match=r"there is no model\.other\.safetensors"):
        AutoModel.from_pretrained(tmp_path, variant="other")


def test_what_transformers_asks_a_model(tmp_path):
    model = make_reader(open_gates=True)
    wanted = {"num_beams": 3, "num_return_sequences": 2, "ctc_decoding_weight": 0.5}
    model.generation_config.update(**wanted)
    model.generation_config.ctc_decoding_weight = 0.5
    assert model.base_model is model.language_model
    assert model(**model.dummy_inputs).logits.shape == (1, 3, VOCABULARY)
    assert model(**model.dummy_inputs).ctc_logits is not None, "the dummy inputs hold a face"
    model.save_pretrained(tmp_path)
    AutoModel.from_pretrained(tmp_path).save_pretrained(tmp_path / "again")
    saved = json.loads((tmp_path / "again" / "generation_config.json").read_text())
    saved.pop("transformers_version")
    assert saved == {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0} | wanted


@pytest.mark.parametrize("lora", [None, {"r": 2}])
def test_weights_may_be_given_without_a_folder(language_model_dir, lora):
    build = LipReadForConditionalGeneration.from_language_model
    model = open_adapters(build(language_model_dir, reader_config(lora=lora)).eval())
    again = LipReadForConditionalGeneration.from_pretrained(None, config=model.config, state_dict=model.state_dict())
    assert torch.equal(again(**make_inputs()).logits, model(**make_inputs()).logits)


def test_outputs_and_labels_that_are_asked_for_are_given_or_refused():
    model, inputs = make_reader(), make_inputs()
    encoded = model.encoder(**clips(inputs), output_hidden_states=True)
    assert len(encoded.hidden_states) == model.config.encoder_config.kp_temporal_layers + 1
    assert torch.equal(model.encoder.norm(encoded.hidden_states[-1]), encoded.frame_hidden_states)
    assert model.encoder(**clips(inputs)).hidden_states is None
    with pytest.raises(TypeError, match="output_attentions"):
        model.encoder(**clips(inputs), output_attentions=True)
    with pytest.raises(ValueError, match="give labels, which the model shifts itself"):
        model(**inputs, shift_labels=inputs["input_ids"])
    assert model.get_encoder("video") is model.encoder and model.get_encoder("audio") is not model.encoder
    clip = clips(make_inputs(batch=1))
    with pytest.raises(ValueError, match="assistant_model.*prompt_lookup_num_tokens"):
        model.generate(**clip, assistant_model=model.language_model)
    assert model.generate(**clip, prompt_lookup_num_tokens=2, max_new_tokens=4).shape[0] == 1


def test_peft_adapts_the_last_spatial_layer():
    model, inputs = make_reader(ENCODERS[1], open_gates=True), make_inputs()
    expected = model(**inputs).logits
    last = f"encoder.frame_encoder.layers.{model.config.encoder_config.kp_spatial_layers - 1}.attention"
    for part in ("k_proj", "v_proj"):
        adapted = get_peft_model(copy.deepcopy(model), LoraConfig(r=2, target_modules=[f"{last}.{part}"]))
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(parameter)
        assert (adapted(**inputs).logits - expected).abs().max() > 1e-4, part


def test_the_attention_of_the_adapters_is_an_output():
    model, inputs = make_reader(open_gates=True), make_inputs()
    model.set_attn_implementation("eager")
    expected = model(**inputs)
    output = model(**inputs, output_attentions=True)
    assert expected.cross_attentions is None and torch.equal(output.logits, expected.logits)
    assert len(output.attentions) == 4 and len(output.cross_attentions) == len(model.adapters)
    for weights in output.cross_attentions:
        assert weights.shape == (2, 2, 6, FRAMES // 2)
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, 6))
        assert weights[-1, ..., -1].max() == 0, "no attention to frames without a face"


def test_adapter_layers_are_counted_from_the_top():
    assert reader_config(adapter_every=3).adapter_layers == [0, 3]
    assert reader_config(adapter_top_k=2).adapter_layers == [2, 3]
    assert isinstance(make_reader(adapter_top_k=3).adapters[2], GatedCrossAttention)


@pytest.mark.slow
def test_training_step_compiles_as_one_graph():
    torch._dynamo.reset()
    model = make_reader(open_gates=True, adapter_dropout=0.0, decoder_mask_prob=0.0)
    inputs = make_inputs()
    inputs["labels"] = inputs["input_ids"]
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    losses = [model(**inputs).loss, compiled(**inputs).loss]
    assert torch.allclose(*losses, atol=1e-5)
    gradients = [torch.autograd.grad(loss, model.adapters[0].k_proj.weight)[0] for loss in losses]
    assert torch.allclose(*gradients, atol=1e-5)


@pytest.fixture
def no_trace(caplog):
    """Some of PyTorch's messages about a trace cannot be formatted, which pytest takes for errors."""
    caplog.set_level("INFO", logger="torch.__trace")


def test_an_exported_step_is_stored_with_its_conditioning(no_trace, tmp_path):
    model, inputs = make_reader(open_gates=True), make_inputs()
    with torch.no_grad():
        conditioning, _ = model.encode(**clips(inputs))
    example = {"input_ids": inputs["input_ids"], "conditioning": conditioning, "use_cache": False}
    torch.export.save(torch.export.export(model, (), copy.deepcopy(example)), tmp_path / "step.pt2")
    program = torch.export.load(tmp_path / "step.pt2").module()
    torch.testing.assert_close(program(**example).logits, model(**example).logits, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [False, True])
def test_transformers_exports_generation(no_trace, dynamic):
    dynamo = pytest.importorskip("transformers.exporters.exporter_dynamo", reason="this transformers has no exporters")
    from transformers.exporters.utils import decompose_for_generation

    model, example = make_reader(open_gates=True), clips(make_inputs(2))
    parts = decompose_for_generation(model, dict(clips(make_inputs(3 if dynamic else 2))))
    exported = dynamo.DynamoExporter().export_for_generation(model, example, dynamo.DynamoConfig(dynamic=dynamic))
    assert set(exported.components) == set(parts) == {"prefill", "decode"}
    for name, (_, inputs) in parts.items():
        given = {key: copy.deepcopy(value) for key, value in inputs.items() if key not in ("use_cache", "return_dict")}
        logits = exported.components[name].program.module()(**given).logits
        torch.testing.assert_close(logits, model(**inputs).logits, atol=1e-5, rtol=1e-4)
