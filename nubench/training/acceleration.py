"""Where and in which precision a training runs, alone or with others: one place, Lightning Fabric's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment

PrecisionName = Literal["auto", "32", "bf16"]


def make_fabric(device: torch.device, precision: PrecisionName) -> Fabric:
    """Fabric for this process on its device: autocast and backward of a training go through it.

    Where torch's process group is there, it is that of all processes of the training (DDP).

    Networks and optimisers are not given to its ``setup``: methods call their own modules, and stored weights bear
    their names. What DDP's wrapper would do, :mod:`nubench.training.sharing` does.

    Args:
        device: a CPU or a GPU.
        precision: ``"bf16"`` multiplies in bfloat16 and keeps weights and sums in float32; ``"auto"`` does so on GPUs.
    """
    # Seconds; a training that is only loaded needs none of it.
    import torch.distributed
    from lightning_fabric import Fabric
    from lightning_fabric.plugins import MixedPrecision, Precision
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.strategies.ddp import DDPStrategy

    mixed = precision == "bf16" or (precision == "auto" and device.type == "cuda")
    how = MixedPrecision("bf16-mixed", device.type) if mixed else Precision()
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return Fabric(
            accelerator=device.type,
            devices=1 if device.index is None else [device.index],
            # One process: no scheduler is to be asked for more.
            plugins=[how, LightningEnvironment()],
        )
    processes = torch.distributed.get_world_size()
    fabric = Fabric(
        accelerator=device.type,
        devices=processes,
        strategy=DDPStrategy(process_group_backend=torch.distributed.get_backend()),
        plugins=[how, _members_of_the_group()],
    )
    threads = torch.get_num_threads()
    fabric.launch()
    # It takes another number where the environment names none, and another number is another last bit.
    torch.set_num_threads(threads)
    return fabric


def _members_of_the_group() -> ClusterEnvironment:
    """The processes of torch's process group, which are there already, all on this machine."""
    import torch.distributed
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment

    class Members(LightningEnvironment):
        creates_processes_externally = True

        def local_rank(self) -> int:
            return torch.distributed.get_rank()

        def node_rank(self) -> int:
            return 0

    return Members()
