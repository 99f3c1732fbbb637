"""Folded batch norms: the same features and images, and no batch norm left."""

import torch
from torch import nn

from dcde.model import DCAE
from dcde.model.fold import fold_norms
from dcde.params.pipeline import TAPS


def test_folded_decoder_equals_the_original_at_every_tap(tiny_model: DCAE) -> None:
    before = {name: tensor.clone() for name, tensor in tiny_model.state_dict().items()}
    folded = fold_norms(tiny_model)
    assert any(isinstance(m, nn.BatchNorm2d) for m in tiny_model.modules())
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    latent = torch.randn(2, 4, 4, 4)
    with torch.no_grad():
        image, features = tiny_model.decode(latent, TAPS)
        folded_image, folded_features = folded.decode(latent, TAPS)
    torch.testing.assert_close(folded_image, image, rtol=1e-4, atol=1e-4)
    for tap in TAPS:
        torch.testing.assert_close(folded_features[tap], features[tap], rtol=1e-4, atol=1e-4)
    after = tiny_model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
