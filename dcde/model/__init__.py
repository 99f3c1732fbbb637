"""The DC-AE model: blocks, autoencoder and the zoo of named architectures."""

from dcde.model.dcae import DCAE, Decoder, Encoder
from dcde.model.spec import DCAEConfig, DecoderConfig, EncoderConfig
from dcde.model.zoo import zoo_config, zoo_names

__all__ = [
    "DCAE",
    "DCAEConfig",
    "Decoder",
    "DecoderConfig",
    "Encoder",
    "EncoderConfig",
    "zoo_config",
    "zoo_names",
]
