"""A detector turns deposits into events under a set of parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from nubench.containers import Deposits, Events, Int64, Response

if TYPE_CHECKING:
    from nubench.simulation.resimulation import Resimulator


class Detector(Protocol):
    """The response of one detector, registered through ``register_detectors``.

    Attributes:
        name: as data-set cards name it.
        title: one line for listings.
        feature: what the one feature of a voxel is, with its unit.
        voxel_size_cm: edge of a voxel.
        version: raised with every change of the response that changes events; data built with another
            version are not used.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    feature: ClassVar[str]
    voxel_size_cm: ClassVar[float]
    version: ClassVar[int]

    def respond(
        self, deposits: Deposits, event_id: Int64, parameters: Mapping[str, float | str], seed: int
    ) -> Response:
        """Simulate the detector's response.

        The result for an event depends on its deposits, its id, the parameters and the seed alone: not on the
        other events of the call, their order or the number of threads. The same event under two sets of
        parameters sees the same noise.

        Args:
            deposits: true deposits of E events, cm, MeV and microseconds.
            event_id: (E,) int64, the key of each event's noise.
            parameters: detector parameters by name; those not named are nominal.
            seed: of the noise.

        Returns:
            E events in the same order, some perhaps without a voxel, with what the simulation knows of their voxels.

        Raises:
            UsageError: when a parameter is unknown or outside its physical range.
        """
        ...


@runtime_checkable
class ResimulableDetector(Protocol):
    """A detector whose response can be drawn again and again around its nominal point, as training data."""

    def resimulator(self, deposits: Deposits, event_id: Int64) -> Resimulator[Deposits, Any, Events]:
        """Hold the deposits of E events, with their ids (E,), for re-simulation."""
        ...


class LArTPC:
    """Liquid-argon time projection chamber with pixelated charge readout, see docs/physics.md."""

    name: ClassVar[str] = "lartpc"
    title: ClassVar[str] = "liquid-argon time projection chamber, 0.38 cm pixels, 50.4 cm drift"
    feature: ClassVar[str] = "ADC counts"
    voxel_size_cm: ClassVar[float] = 0.38
    version: ClassVar[int] = 1

    def respond(
        self, deposits: Deposits, event_id: Int64, parameters: Mapping[str, float | str], seed: int
    ) -> Response:
        """Run the chain from quenching to ADC counts; see :meth:`Detector.respond`."""
        # numba is loaded only when events are simulated: it takes half a second.
        from nubench.simulation.lartpc import LArTPCParameters, simulate

        return Response(simulate(deposits, event_id, LArTPCParameters.from_mapping(parameters), seed))

    def resimulator(self, deposits: Deposits, event_id: Int64) -> Resimulator[Deposits, Any, Events]:
        """Working points are throws of Table I, an own one for every event and draw."""
        from nubench.simulation.lartpc import draw_parameters, simulate_draws
        from nubench.simulation.resimulation import Resimulator

        return Resimulator(deposits, event_id, simulate_draws, draw_parameters)


class ScintillatorCubes:
    """Plastic scintillator of optically separated cubes with three fibres each, see docs/physics-scintillator.md."""

    name: ClassVar[str] = "scintillator"
    title: ClassVar[str] = "plastic scintillator, 200 x 200 x 200 cubes of 1 cm, three fibres a cube"
    feature: ClassVar[str] = "photoelectrons"
    voxel_size_cm: ClassVar[float] = 1.0
    version: ClassVar[int] = 1

    def respond(
        self, deposits: Deposits, event_id: Int64, parameters: Mapping[str, float | str], seed: int
    ) -> Response:
        """Run the chain from quenching to photoelectrons; see :meth:`Detector.respond`."""
        # numba is loaded only when events are simulated: it takes half a second.
        from nubench.simulation.scintillator import ScintillatorParameters, simulate

        return simulate(deposits, event_id, ScintillatorParameters.from_mapping(parameters), seed)
