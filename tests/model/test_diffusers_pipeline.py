"""A student in place of the autoencoder of a diffusers pipeline."""

import sys
from pathlib import Path
from typing import Any

import torch

import dcde
from dcde.model import DCAE, DCAEConfig
from dcde.model.checkpoint import save_model
from dcde.model.diffusers_peer import diffusers_model
from dcde.prune.shape import narrower_config
from tests.helpers.sana import SETTINGS, diffusers, sana_pipeline
from tests.helpers.tiny import random_model, run, tiny_config


def as_vae(config: DCAEConfig, seed: int, folder: Path) -> tuple[DCAE, Any]:
    """A model with random weights, and diffusers' of it, by way of an export."""
    ours = random_model(config, seed)
    save_model(ours, folder, "diffusers")
    return ours, diffusers.AutoencoderDC.from_pretrained(folder)


@torch.no_grad()
def test_swapping_the_vae_changes_how_the_same_latents_are_decoded(tmp_path: Path) -> None:
    scaled = {"scaling_factor": 0.41407}
    teacher_config = tiny_config().model_copy(update=scaled)
    student_config = tiny_config((0, 1, 1, 1)).model_copy(update=scaled)
    _, teacher = as_vae(teacher_config, 0, tmp_path / "teacher")
    ours, student = as_vae(student_config, 1, tmp_path / "student")
    pipe = sana_pipeline(teacher)

    def generate(output_type: str) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        return pipe(**SETTINGS | {"output_type": output_type}, generator=generator).images

    latent, before = generate("latent"), generate("pt")
    pipe.vae = student
    assert torch.equal(generate("latent"), latent)
    after = generate("pt")
    assert after.shape == before.shape == (1, 3, 64, 96)
    assert not torch.allclose(after, before, atol=0.01)
    expected = (ours.decode(latent / 0.41407) / 2 + 0.5).clamp(0, 1)
    assert torch.allclose(after, expected, atol=1e-5)

    pipe.vae.decoder = dcde.optimize(pipe.vae)
    assert torch.allclose(generate("pt"), expected, atol=1e-5)


GENERATE = """
import sys
sys.modules["dcde"] = None  # as where it is not installed
import torch
from diffusers import SanaPipeline

pipe = SanaPipeline.from_pretrained(sys.argv[1], trust_remote_code=True)
settings = torch.load(sys.argv[2])
image = pipe(**settings, generator=torch.Generator().manual_seed(0)).images
torch.save((image, type(pipe.vae).__name__), sys.argv[3])
"""


@torch.no_grad()
def test_a_student_that_is_narrow_inside_is_saved_and_loaded_with_its_pipeline(
    tmp_path: Path,
) -> None:
    config = narrower_config(tiny_config((0, 1, 1, 1)), None, (1, 0.5, 0.5, 0.5))
    ours = random_model(config, seed=2)
    pipe = sana_pipeline(diffusers_model(ours))
    generator = torch.Generator().manual_seed(0)
    latent = pipe(**SETTINGS | {"output_type": "latent"}, generator=generator).images
    pipe.save_pretrained(tmp_path / "pipe")

    save_model(ours, tmp_path / "vae", "diffusers")
    vae = diffusers.AutoModel.from_pretrained(str(tmp_path / "vae"), trust_remote_code=True)
    given = diffusers.SanaPipeline.from_pretrained(tmp_path / "pipe", vae=vae)
    assert given.vae is vae

    torch.save(SETTINGS, tmp_path / "settings.pt")
    files = [str(tmp_path / name) for name in ("pipe", "settings.pt", "image.pt")]
    env = {"HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(tmp_path / "modules")}
    done = run([sys.executable, "-c", GENERATE, *files], tmp_path, **env)
    assert done.returncode == 0, done.stderr
    image, kind = torch.load(files[2])
    assert kind == "NarrowAutoencoderDC"
    expected = ours.decode(latent / ours.config.scaling_factor) / 2 + 0.5
    torch.testing.assert_close(image, expected.clamp(0, 1), atol=1e-5, rtol=0)
