"""The task behind the bundled teacher: encoder and decoder trained together."""

from __future__ import annotations

import torch

from dcde.model import DCAE
from dcde.train.losses import ENCODER_TERMS, IMAGE_TERMS
from teacher.autoencode import BRANCH_SCALE, AutoencodeTask, quiet_branches


def test_prediction_has_what_the_encoders_terms_need(tiny_model: DCAE) -> None:
    task, image = AutoencodeTask(tiny_model), torch.rand(2, 3, 32, 32) * 2 - 1
    prediction = task.predict(task.module, {"image": image})
    torch.testing.assert_close(prediction.image, tiny_model(image))
    assert prediction.latent is not None
    torch.testing.assert_close(prediction.latent, tiny_model.encode(image))
    # The residual stream after stages 1, 2 and 3; the tiny decoder has no stage 0.
    assert [a.shape[1:] for a in prediction.activations] == [(8, 16, 16), (16, 8, 8), (32, 4, 4)]


def test_gradients_reach_encoder_and_decoder(tiny_model: DCAE) -> None:
    task = AutoencodeTask(tiny_model.train())
    prediction = task.predict(task.module, {"image": torch.rand(2, 3, 32, 32) * 2 - 1})
    terms = IMAGE_TERMS | ENCODER_TERMS
    torch.stack([term(prediction) for term in terms.values()]).sum().backward()
    lacking = [name for name, p in tiny_model.named_parameters() if p.grad is None]
    assert lacking == []


@torch.no_grad()
def test_quiet_branches_leave_the_stream_nearly_alone(tiny_model: DCAE) -> None:
    block, x = tiny_model.decoder.stages[1].op_list[1], torch.randn(1, 8, 8, 8)
    before = block(x) - x
    norm = block.main.conv2.norm
    bias = torch.zeros_like(norm.bias)
    norm.bias.copy_(bias)
    loud = block(x) - x
    scale = norm.weight.clone()
    quiet_branches(tiny_model)
    quiet = block(x) - x
    torch.testing.assert_close(quiet, loud * (BRANCH_SCALE / scale)[:, None, None])
    assert quiet.norm() < 0.2 * before.norm()
