"""What the author of a method reads: the contract between a method and the benchmark.

A method is a class that derives from :class:`Method`, in a module that returns it from the hook
``register_methods``. The benchmark calls :meth:`Method.fit` once for each training and hands the returned
:class:`Model` test events without labels; the scores are computed elsewhere. `docs/write-a-method.md` walks through
a whole file.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from nubench.containers import Events, Float32, Int64
from nubench.datasets.cards import Normalisation
from nubench.errors import PluginError, UsageError
from nubench.progress import Progress
from nubench.storage.files import make_folder

if TYPE_CHECKING:
    import torch

    from nubench.backbone import Backbone
    from nubench.simulation.resimulation import Resimulator

TargetAccess = Literal["none", "unlabelled", "labelled"]
ReadOut = Literal["head", "probe"]


class MethodConfig(BaseModel):
    """Base of every method's settings: immutable, and unknown names are refused.

    Derive from it (or from :class:`TrainingConfig`), give each field a type, a default and a description; all of
    them can then be changed by ``--set name=value`` and are recorded in every result.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TrainingConfig(MethodConfig):
    """Settings of :func:`nubench.training.train`; the profile sets ``views`` and ``batch_size``."""

    views: int = Field(80_000, ge=1, description="event views shown to the backbone in the whole training")
    batch_size: int = Field(128, ge=2, description="event views a step")
    learning_rate: float = Field(2e-3, gt=0, description="highest learning rate of AdamW")
    weight_decay: float = Field(0.01, ge=0, description="decoupled weight decay of AdamW")
    warmup: float = Field(0.05, ge=0, lt=1, description="fraction of the steps with a rising learning rate")
    schedule: Literal["cosine", "constant"] = Field("cosine", description="learning rate after the warm-up")
    gradient_clip: float = Field(1.0, gt=0, description="largest norm of the gradient")
    precision: Literal["auto", "32", "bf16"] = Field(
        "auto", description="of the forward pass: bf16 mixed with 32 bits, 32 bits alone; auto: bf16 on GPUs"
    )
    early_stop: int = Field(
        0, ge=0, description="stop after so many of 20 validations in a row without a better one; 0 never"
    )


@dataclass(frozen=True)
class TrainingView:
    """All that a method may see of the data.

    Attributes:
        classes: names of the classes, in the order of the labels.
        train: E labelled source events; train_labels (E,) int64.
        val: source events held out, for choosing hyper-parameters; val_labels.
        normalisation: offset and scale of the features; the network should see ``(raw - offset) / scale``.
        voxel_size_cm: edge of a voxel.
    """

    classes: tuple[str, ...]
    train: Events
    train_labels: Int64
    val: Events
    val_labels: Int64
    normalisation: Normalisation
    voxel_size_cm: float
    _method: str = field(repr=False)
    _target: Events | None = field(repr=False)
    _target_labels: Int64 | None = field(default=None, repr=False)
    _resimulator: Callable[[], Resimulator[Any, Any, Events]] | None = field(default=None, repr=False)

    @property
    def target(self) -> Events:
        """Unlabelled events of the target, other than the test events.

        Raises:
            PluginError: when the method did not declare ``target_access = "unlabelled"``.
        """
        if self._target is None:
            raise PluginError(
                f"method {self._method!r} reads the target events but declares target_access = 'none'; "
                "declare target_access = 'unlabelled' in the class"
            )
        return self._target

    @property
    def target_labels(self) -> Int64:
        """Labels of :attr:`target`, for the row that shows what could be reached and is never ranked.

        Raises:
            PluginError: when the method did not declare ``target_access = "labelled"``.
        """
        if self._target_labels is None:
            raise PluginError(
                f"method {self._method!r} reads the labels of target events; no method may, but one that declares "
                "target_access = 'labelled' and is not ranked"
            )
        return self._target_labels

    def resimulator(self) -> Resimulator[Any, Any, Events]:
        """The true deposits of the training events, to be simulated again under other detectors.

        Its event ``i`` is event ``i`` of :attr:`train`. The deposits stay in memory as long as it does: some 40 kB an
        event.

        Raises:
            UsageError: when the detector offers no re-simulation, or the deposits of the data set are not there.
        """
        if self._resimulator is None:
            raise UsageError(
                f"method {self._method!r} simulates the training events again, which this data set does not offer: "
                "its detector has no re-simulation, or it was imported without deposits"
            )
        return self._resimulator()


@dataclass(frozen=True)
class Context:
    """The circumstances of one training.

    Attributes:
        seed: everything random in the training must follow from it.
        device: where the network runs.
        profile: name of the profile.
        backbone_preset, engine: what :meth:`build_backbone` builds.
        directory: a folder of this training alone; what is kept there survives a killed run.
        progress: for bars and log lines.
        snapshots: how many times along the training :func:`nubench.training.train` keeps the weights for later.
        snapshot: one of those: where it belongs to the training, :func:`nubench.training.train` loads it instead.
    """

    seed: int
    device: torch.device
    profile: str
    backbone_preset: str
    engine: str
    directory: Path
    progress: Progress
    snapshots: int = 0
    snapshot: Path | None = None
    _source_directory: Path | None = field(default=None, repr=False)
    _build: Callable[..., Any] | None = field(default=None, repr=False)

    @property
    def source_directory(self) -> Path:
        """A folder shared by the trainings for all targets of a run, for the part that does not depend on the target.

        A network trained on the source alone is found there by the next target.
        """
        folder = self._source_directory or self.directory / "source"
        make_folder(folder)
        return folder

    def build_backbone(self, **overrides: Any) -> Backbone:
        """Build the shared backbone with weights that follow from the seed, on the device.

        Args:
            **overrides: fields of :class:`nubench.backbone.BackboneConfig` that differ from the preset.

        Raises:
            UsageError: when there is no such field.
        """
        import torch

        from nubench.backbone import build_backbone

        build = self._build or partial(build_backbone, self.backbone_preset)
        torch.manual_seed(self.seed)
        network: Backbone = build(in_channels=1, engine=self.engine, **overrides).to(self.device)
        return network


class Model:
    """A fitted method. It is handed events and nothing else; each event must be treated by itself.

    Override at least one of the two.
    """

    def embed(self, events: Events) -> Float32 | None:
        """Representations (E, D) float32 of E events for the probe, or None when the model has none."""
        return None

    def log_probabilities(self, events: Events) -> Float32 | None:
        """The model's own class scores (E, C), log of normalised probabilities, or None when it has no head."""
        return None

    def outputs(self, events: Events) -> tuple[Float32 | None, Float32 | None]:
        """Embeddings and class scores of the same events, what :meth:`embed` and :meth:`log_probabilities` return.

        Override it where one pass through the network gives both.
        """
        return self.embed(events), self.log_probabilities(events)

    @property
    def number_of_parameters(self) -> int:
        """Trained parameters, for the record."""
        return 0

    @property
    def backbone_parameters(self) -> int:
        """Parameters of the shared backbone among them."""
        return 0

    @property
    def training_record(self) -> Mapping[str, Any]:
        """What the training reports (steps, seconds, ...), for the record."""
        return {}


class Method(abc.ABC):
    """One training recipe.

    Attributes:
        name: lower case, digits and hyphens; unique.
        title: one line for listings.
        version: raised when the method changes in a way that changes its results.
        target_access: ``"none"``, or ``"unlabelled"`` to be given unlabelled events of each target point, with
            one training for each; ``"labelled"`` for a row that shows what could be reached: it is not ranked.
        ranked_by: the read-out that ranks the method: its own ``"head"``, or the ``"probe"`` on frozen embeddings.
        ranked: False for rows that stand on the board for orientation only.
        uses_backbone: False when the method does not train the shared backbone.
        Config: the settings, a :class:`MethodConfig`.
        profiles: settings that differ from the defaults in a profile, by its name.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    version: ClassVar[str] = "1"
    target_access: ClassVar[TargetAccess] = "none"
    ranked_by: ClassVar[ReadOut]
    ranked: ClassVar[bool] = True
    uses_backbone: ClassVar[bool] = True
    Config: ClassVar[type[MethodConfig]] = MethodConfig
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def __init__(self, config: Any) -> None:
        self.config = config

    @abc.abstractmethod
    def fit(self, data: TrainingView, context: Context) -> Model:
        """Train and return the model.

        Called again after a killed run with the same arguments: what :func:`nubench.training.train` saved in
        ``context.directory`` is continued.

        Raises:
            NubenchError: when the training cannot go on; the message says why.
        """
