"""The one way to the labels and the truth of target and test events.

The evaluation comes this way, and so do the pictures and tables of `nubench data` and `nubench show`, which no method
meets. Methods and what they are made of never do: a test reads the imports of every module.
"""

from __future__ import annotations

from pathlib import Path

from nubench.containers import LabelledEvents
from nubench.datasets.cards import Split
from nubench.datasets.dataset import HIDDEN_SPLITS, Dataset
from nubench.datasets.files import MANIFEST_FILE, labels_of
from nubench.errors import DataError
from nubench.events.label_files import Labels, read_labels
from nubench.events.store import holds_labels, read_events, read_voxels
from nubench.shifts import ShiftPoint


def load_labels(dataset: Dataset, split: Split, shift: str, point: ShiftPoint) -> Labels:
    """Read labels and truth of ``adapt`` or ``test`` at a point, in the order of the events.

    Raises:
        DataError: when a file was not built, is not the one that was built, or belongs to other events.
    """
    path, content = dataset.labels_file(split, shift, point)
    labels = read_labels(path)
    if labels.content != content:
        raise DataError(f"{path} holds the labels of other events than {split} at {point.name}; build them anew")
    return labels


def load_labelled(dataset: Dataset, split: Split, shift: str, point: ShiftPoint) -> LabelledEvents:
    """Read the events of any split at a point with their labels and truth.

    Raises:
        DataError: as :func:`load_labels`.
    """
    if split not in HIDDEN_SPLITS:
        return dataset.load(split, shift, point)
    labels = load_labels(dataset, split, shift, point)
    events = dataset.events(split, shift, point)
    return LabelledEvents(events, labels.labels, labels.truth, labels.from_track)


def load_labelled_file(path: Path) -> LabelledEvents:
    """Read a file of events with labels and truth, which stand in it or in the folder of its data set.

    Raises:
        DataError: when a file is missing or damaged, or no labels are found.
    """
    if holds_labels(path):
        return read_events(path)
    whole = path.resolve()
    root = next((folder for folder in whole.parents if (folder / MANIFEST_FILE).is_file()), None)
    if root is None:
        raise DataError(f"{path} holds no labels, and it is not in the folder of a data set, where they would be")
    labels = read_labels(root / labels_of(whole.relative_to(root).as_posix()))
    return LabelledEvents(read_voxels(path), labels.labels, labels.truth, labels.from_track)
