"""Training: the loop with its checkpoints, and the network that it ends in."""

from nubench.training.checkpoints import TrainingRecord, snapshot_folders
from nubench.training.loop import Step, train
from nubench.training.network_model import NetworkModel

__all__ = ["NetworkModel", "Step", "TrainingRecord", "snapshot_folders", "train"]
