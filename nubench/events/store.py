"""The files of a data set, in one place: events, the documented contract, and the deposits they are made from."""

from nubench.events.event_files import (
    EventAttributes,
    check_voxels,
    count_events,
    holds_labels,
    read_attributes,
    read_events,
    read_voxels,
    stream_events,
    write_events,
)
from nubench.events.truth_files import TruthChunk, read_truth, truth_provenance, write_truth

__all__ = [
    "EventAttributes",
    "TruthChunk",
    "check_voxels",
    "count_events",
    "holds_labels",
    "read_attributes",
    "read_events",
    "read_truth",
    "read_voxels",
    "stream_events",
    "truth_provenance",
    "write_events",
    "write_truth",
]
