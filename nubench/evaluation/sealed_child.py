"""The process in which a plugin is trained: it is given the files that it may see, and returns arrays.

It is started as ``python -m nubench.evaluation.sealed_child COMMANDS ANSWERS``, with the numbers of two pipes; what is
said over them stands in :mod:`nubench.evaluation.messages`. The first line that it reads is the folders that it must
not read or change; the first that it writes says whether the system can see to that.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from queue import Queue
from typing import IO, TYPE_CHECKING, Any, Final, NoReturn

# Nothing else may be imported here: libraries start threads, and a thread that runs already is not confined.
from nubench.evaluation.confinement import confine

if TYPE_CHECKING:
    from nubench.containers import Deposits, Int64
    from nubench.evaluation.messages import Order, Sender
    from nubench.evaluation.trainee import Trainee

INTERRUPTED: Final = 130
#: A step on a slow machine, and a checkpoint, may be waited for.
_SECONDS_TO_END: Final = 60.0

_END: Final[dict[str, Any]] = {"command": "end"}

Commands = Queue[dict[str, Any]]


def main() -> NoReturn:
    """Serve the evaluation until it closes its pipe."""
    commands, answers = (int(number) for number in sys.argv[1:3])
    del sys.argv[1:]
    # Neither is closed: a thread waits in the first, and closing it would wait for the evaluation to close its end.
    incoming, outgoing = os.fdopen(commands, encoding="utf-8"), os.fdopen(answers, "w", encoding="utf-8")
    try:
        walls = {name: [Path(path) for path in paths] for name, paths in json.loads(incoming.readline()).items()}
        confined = confine(**walls)
        outgoing.write(json.dumps({"confined": confined}) + "\n")
        outgoing.flush()
        _serve(incoming, outgoing)
        _end(0)
    except (KeyboardInterrupt, BrokenPipeError):
        # The evaluation says what there is to say.
        os._exit(INTERRUPTED)
    except BaseException:
        traceback.print_exc()
        _end(1)


def _end(code: int) -> NoReturn:
    """End at once: an orderly end would close the pipes, or be interrupted on its way."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)


def _serve(incoming: IO[str], outgoing: IO[str]) -> None:
    from nubench.errors import NubenchError
    from nubench.evaluation.messages import ERRORS, Order, Sender
    from nubench.interrupts import listen

    listen()
    order = Order.model_validate_json(incoming.readline())
    received: Commands = Queue()
    threading.Thread(target=_listen, args=(incoming, received), daemon=True).start()
    sender = Sender(outgoing)
    try:
        trainee = _trainee(order, sender, received)
        while (command := received.get()) != _END:
            sender.send(kind="done", value=_obey(trainee, command))
    except NubenchError as error:
        kind = next(name for name in reversed(ERRORS) if isinstance(error, ERRORS[name]))
        sender.send(kind="error", error=kind, message=str(error))


def _listen(incoming: IO[str], received: Commands) -> None:
    """Receive commands; when the evaluation is gone, end this process."""
    for line in incoming:
        received.put(json.loads(line))
    received.put(_END)
    # A training is interrupted as by Ctrl-C: a file that is being written is removed on the way out.
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    threading.Event().wait(_SECONDS_TO_END)
    os._exit(INTERRUPTED)


def _trainee(order: Order, sender: Sender, received: Commands) -> Trainee:
    from nubench.detectors import ResimulableDetector
    from nubench.errors import PluginError
    from nubench.evaluation.handout import Handout, load_deposits
    from nubench.evaluation.messages import RemoteProgress
    from nubench.evaluation.trainee import Trainee
    from nubench.plugins.discovery import load_plugins

    def deposits() -> tuple[Deposits, Int64]:
        sender.send(kind="deposits")
        return load_deposits(Path(received.get()["file"]))

    registry = load_plugins(order.plugin_files)
    detector = None if order.detector is None else registry.detector(order.detector).thing
    if detector is not None and not isinstance(detector, ResimulableDetector):
        raise PluginError(f"detector {order.detector!r} offers no re-simulation")
    return Trainee(
        order.job,
        Handout.load(order.handout),
        registry.method(order.method).thing,
        registry.backbone(order.backbone).thing,
        RemoteProgress(sender),
        detector,
        deposits,
    )


def _obey(trainee: Trainee, command: dict[str, Any]) -> Any:
    from nubench.evaluation.handout import load_events

    match command["command"]:
        case "fit":
            trainee.fit()
        case "source":
            trainee.source_outputs(command["split"]).save(Path(command["outputs"]))
        case "outputs":
            trainee.outputs(load_events(Path(command["events"]))).save(Path(command["outputs"]))
        case "report":
            return trainee.report().model_dump(mode="json")
    return None


if __name__ == "__main__":
    main()
