"""A student in place of the autoencoder of a diffusers pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from dcde.model import DCAE, DCAEConfig
from dcde.model.checkpoint import save_model
from dcde.model.diffusers_peer import diffusers_model
from dcde.prune.widths import narrow_config
from tests.helpers.tiny import randomize, tiny_config

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")

WORDS = ("<pad>", "<eos>", "<bos>", "<unk>", "a", "photo", "of", "cat", "dog")
HIDDEN = 8


def tokenizer() -> Any:
    """Whole words by number."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    numbers = {word: i for i, word in enumerate(WORDS)}
    words = Tokenizer(models.WordLevel(numbers, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )


def text_encoder() -> Any:
    config = transformers.Gemma2Config(
        vocab_size=len(WORDS),
        hidden_size=HIDDEN,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=4,
    )
    return transformers.Gemma2Model(config)


def pipeline(vae: Any) -> Any:
    """Sana with random weights, small enough for a CPU."""
    torch.manual_seed(0)
    transformer = diffusers.SanaTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_layers=1,
        num_attention_heads=2,
        attention_head_dim=4,
        num_cross_attention_heads=2,
        cross_attention_head_dim=4,
        cross_attention_dim=8,
        caption_channels=HIDDEN,
        patch_size=1,
        sample_size=8,
    )
    pipe = diffusers.SanaPipeline(
        tokenizer(),
        text_encoder(),
        vae,
        transformer,
        diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def as_vae(config: DCAEConfig, seed: int, folder: Path) -> tuple[DCAE, Any]:
    """A model with random weights, and diffusers' of it, by way of an export."""
    ours = DCAE(config)
    randomize(ours, seed)
    save_model(ours.eval(), folder, "diffusers")
    return ours, diffusers.AutoencoderDC.from_pretrained(folder)


@torch.no_grad()
def test_swapping_the_vae_changes_how_the_same_latents_are_decoded(tmp_path: Path) -> None:
    scaled = {"scaling_factor": 0.41407}
    teacher_config = tiny_config().model_copy(update=scaled)
    student_config = tiny_config((0, 1, 1, 1)).model_copy(update=scaled)
    _, teacher = as_vae(teacher_config, 0, tmp_path / "teacher")
    ours, student = as_vae(student_config, 1, tmp_path / "student")
    pipe = pipeline(teacher)

    def generate(output_type: str) -> torch.Tensor:
        return pipe(
            "a photo of a cat",
            height=64,
            width=96,
            num_inference_steps=2,
            max_sequence_length=8,
            complex_human_instruction=None,
            use_resolution_binning=False,
            generator=torch.Generator().manual_seed(0),
            output_type=output_type,
        ).images

    latent, before = generate("latent"), generate("pt")
    pipe.vae = student
    assert torch.equal(generate("latent"), latent)
    after = generate("pt")
    assert after.shape == before.shape == (1, 3, 64, 96)
    assert not torch.allclose(after, before, atol=0.01)
    expected = ours.decode(latent / 0.41407) / 2 + 0.5
    assert torch.allclose(after, expected.clamp(0, 1), atol=1e-5)

    narrow = DCAE(narrow_config(student_config, None, (1, 0.5, 0.5, 0.5)))
    randomize(narrow, 2)
    pipe.vae = diffusers_model(narrow)
    assert torch.equal(generate("latent"), latent)
    expected = narrow.eval().decode(latent / 0.41407) / 2 + 0.5
    assert torch.allclose(generate("pt"), expected.clamp(0, 1), atol=1e-5)
