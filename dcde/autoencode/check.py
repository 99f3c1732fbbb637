"""What would stop a training of an autoencoder, as far as it is known before any work."""

from __future__ import annotations

from dcde.autoencode.start import start_config
from dcde.base.autoencoder import AutoencoderParams
from dcde.base.devices import check_compiler
from dcde.base.processes import check_batch_size, check_launcher, make_accelerator


def check_run(params: AutoencoderParams) -> None:
    """Refuse what a later stage would stop at.

    Raises:
        UserError: naming the parameter.
    """
    check_launcher(params.launcher)
    config = start_config(params.start)
    if config is not None:
        config.check_image_size("data.eval_size", params.data.eval_size)
    for name, phase in params.phases().items():
        if phase.epochs == 0:
            continue
        make_accelerator(phase.precision)
        if phase.compile:
            check_compiler(f"{name}.compile")
        if config is not None:
            config.check_image_size(f"{name}.crops.image_size", phase.crops.image_size)
        if phase.samples_per_epoch is not None:
            field = f"{name}.batch_size"
            check_batch_size(field, phase.batch_size, phase.samples_per_epoch, 1)
