"""A Sana pipeline of diffusers' own classes, with random weights."""

from typing import Any

import pytest
import torch

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")

WORDS = ("<pad>", "<eos>", "<bos>", "<unk>", "a", "photo", "of", "cat", "dog")
HIDDEN = 8
SETTINGS: dict[str, Any] = {
    "prompt": "a photo of a cat",
    "height": 64,
    "width": 96,
    "num_inference_steps": 2,
    "max_sequence_length": 8,
    "complex_human_instruction": None,
    "use_resolution_binning": False,
    "output_type": "pt",
}


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


def sana_pipeline(vae: Any) -> Any:
    """Sana with random weights around an autoencoder, small enough for a CPU."""
    channels = vae.config.latent_channels
    torch.manual_seed(0)
    transformer = diffusers.SanaTransformer2DModel(
        in_channels=channels,
        out_channels=channels,
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
