"""Training: the loop with its checkpoints, and the network that it ends in."""

from nubench.training.loop import Step, TrainingRecord, snapshot_folders, train
from nubench.training.network_model import NetworkModel

__all__ = ["NetworkModel", "Step", "TrainingRecord", "snapshot_folders", "train"]
