"""Where and in which precision a training runs: one place, Lightning Fabric's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch
    from lightning_fabric import Fabric

PrecisionName = Literal["auto", "32", "bf16"]


def make_fabric(device: torch.device, precision: PrecisionName) -> Fabric:
    """Fabric for one process on one device: autocast and backward of a training go through it.

    Networks and optimisers are not given to its ``setup``: methods call their own modules, and stored weights bear
    their names.

    Args:
        device: a CPU or a GPU.
        precision: ``"bf16"`` multiplies in bfloat16 and keeps weights and sums in float32; ``"auto"`` does so on GPUs.
    """
    # Seconds; a training that is only loaded needs none of it.
    from lightning_fabric import Fabric
    from lightning_fabric.plugins import MixedPrecision, Precision
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment

    mixed = precision == "bf16" or (precision == "auto" and device.type == "cuda")
    return Fabric(
        accelerator=device.type,
        devices=1 if device.index is None else [device.index],
        plugins=[
            MixedPrecision("bf16-mixed", device.type) if mixed else Precision(),
            # One process: no scheduler is to be asked for more.
            LightningEnvironment(),
        ],
    )
