"""Models that see the raw feature through a map, such as one that aligns the target's charge with the source's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from nubench.containers import Events, Float32
from nubench.methods import Model

#: From events to the same events with other features; each event by itself.
FeatureMap = Callable[[Events], Events]


def with_features(events: Events, features: npt.ArrayLike) -> Events:
    """The same voxels with other features (N,) or (N, 1)."""
    return replace(events, features=np.asarray(features, np.float32).reshape(-1, 1))


class MappedModel(Model):
    """A model behind a map of the features.

    Args:
        network: what sees the mapped events.
        feature_map: applied to every event that is handed in.
        embeds: whether to give embeddings. Those of the source's events are what the probe is fitted on: a map that
            holds for the target alone would spoil them.
    """

    def __init__(self, network: Model, feature_map: FeatureMap, embeds: bool) -> None:
        self._network = network
        self._map = feature_map
        self._embeds = embeds

    def embed(self, events: Events) -> Float32 | None:
        """See :meth:`nubench.methods.Model.embed`."""
        return self._network.embed(self._map(events)) if self._embeds else None

    def log_probabilities(self, events: Events) -> Float32 | None:
        """See :meth:`nubench.methods.Model.log_probabilities`."""
        return self._network.log_probabilities(self._map(events))

    @property
    def number_of_parameters(self) -> int:
        """Those of the network."""
        return self._network.number_of_parameters

    @property
    def backbone_parameters(self) -> int:
        """Those of the network."""
        return self._network.backbone_parameters

    @property
    def training_record(self) -> Mapping[str, Any]:
        """That of the network."""
        return self._network.training_record
