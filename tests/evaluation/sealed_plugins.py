"""Methods for the tests of the sealed child: well-behaved, broken and hostile ones, as text of plugin files."""

from __future__ import annotations

FRAME = """
import json, os, signal, sys, time
from pathlib import Path
import numpy as np
import nubench
from nubench.errors import PluginError, UsageError
from nubench.methods import Method, Model

class Guess(Model):
    def log_probabilities(self, events):
        return np.full((len(events), 3), np.log(1 / 3), np.float32)

class Mine(Method):
    name = "mine"
    title = "for tests"
    ranked_by = "head"
    uses_backbone = False
    target_access = "{access}"

    def fit(self, data, context):
{body}

@nubench.hookimpl
def register_methods():
    return [Mine]
"""


def plugin(body: str, access: str = "none") -> str:
    """A plugin file whose method ``mine`` does this in ``fit``."""
    indented = "\n".join(f"        {line}" for line in body.strip().splitlines())
    return FRAME.replace("{access}", access).replace("{body}", indented)


#: Searches all objects for label arrays of which it knows the digests, sums and sums of squares alone: these do not put
#: the arrays into its memory. Tries to open and change every file of the cache. Then it waits, so that its memory can
#: be searched from outside.
HOSTILE = '''
import gc, hashlib, json, os, sys, time, types
from pathlib import Path
import numpy as np
import nubench
from nubench.methods import Method, Model

known = json.loads((Path(__file__).parent / "known.json").read_text())
SHORTEST = min(secret["length"] for secret in known["secrets"].values())

def labels_in(values):
    """The names of the label arrays that stand somewhere in an array of numbers."""
    small = np.where((values >= 0) & (values <= 2), values, 50).astype(np.int64)
    return [name for name, secret in known["secrets"].items() if stands_in(small, **secret)]

def stands_in(small, length, total, squares, digest):
    if len(small) < length:
        return False
    def sums(each):
        added = np.concatenate([[0], np.cumsum(each)])
        return added[length:] - added[:-length]
    places = np.flatnonzero((sums(small) == total) & (sums(small * small) == squares))
    return any(hashlib.sha256(small[i : i + length].astype(np.uint8).tobytes()).hexdigest() == digest for i in places)

def numbers_in(thing):
    """The numbers that an object holds."""
    kind = type(thing)
    if kind.__module__ == "torch" and kind.__name__ in ("Tensor", "Parameter") and not thing.is_meta:
        thing = thing.detach().cpu().float().numpy()
    if kind in (list, tuple) and len(thing) >= SHORTEST and all(type(x) in (int, float) for x in thing):
        thing = np.array(thing, dtype=object)
        thing = np.array([x if 0 <= x <= 2 else 50 for x in thing])
    if kind in (bytes, bytearray):
        thing = np.frombuffer(thing, np.uint8)
    if isinstance(thing, np.ndarray) and thing.dtype.kind in "biuf":
        return thing.ravel()
    return np.zeros(0)

def reachable():
    """All that garbage collection, frames, closures and attributes lead to."""
    seen, queue = set(), list(gc.get_objects()) + list(sys.modules.values())
    frame = sys._getframe()
    while frame:
        queue += [frame.f_locals, frame.f_globals]
        frame = frame.f_back
    for frame in sys._current_frames().values():
        queue.append(frame.f_locals)
    while queue:
        thing = queue.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        yield thing
        if isinstance(thing, types.FunctionType) and thing.__closure__:
            for cell in thing.__closure__:
                try:
                    queue.append(cell.cell_contents)
                except ValueError:
                    pass
        try:
            queue += gc.get_referents(thing)
        except Exception:
            pass

def tried(path):
    """What it can do with a file."""
    ways = {
        "read": lambda: path.read_bytes(),
        "change": lambda: path.open("r+b").write(b"x"),
        "make": lambda: path.with_name("hostile").touch(),
        "rename": lambda: path.rename(path.with_name("stolen")),
        "remove": lambda: path.unlink(),
    }
    done = []
    for way, attempt in ways.items():
        try:
            attempt()
            done.append(way)
        except OSError:
            pass
    return done

def search(context, moment):
    # Of several trainings, one is looked into from outside.
    if context.directory.name != known["directory"]:
        return
    found = {"objects": [], "open": [], "touched": {}}
    looked_at = 0
    for thing in reachable():
        looked_at += 1
        found["objects"] += labels_in(numbers_in(thing))
    for number in os.listdir("/proc/self/fd"):
        try:
            found["open"].append(os.readlink("/proc/self/fd/" + number))
        except OSError:
            pass
    cache = context.directory.parents[1]
    # What was handed over is its own, and stays as it is for now.
    own = {context.directory, cache / "handouts" / context.directory.name}
    for path in sorted(path for path in cache.rglob("*") if path.is_file() and not own & set(path.parents)):
        found["touched"][str(path.relative_to(cache))] = tried(path)
    found["environment"] = [name for name in os.environ if name == "NUBENCH_CACHE"]
    found["looked_at"] = looked_at
    found["modules"] = sorted(name for name in sys.modules if name.startswith("nubench"))
    (context.directory / f"{moment}.json").write_text(json.dumps(found))
    # Made whole before it is seen.
    (context.directory / f"{moment}.partly").write_text(str(os.getpid()))
    (context.directory / f"{moment}.partly").rename(context.directory / f"{moment}.waits")
    while not (context.directory / f"{moment}.searched").exists():
        time.sleep(0.02)

class Searching(Model):
    def __init__(self, context):
        self.context, self.calls = context, 0
    def log_probabilities(self, events):
        self.calls += 1
        # The validation events come first, then those of each point that this training is for.
        if self.calls == known["calls"]:
            search(self.context, "at-test")
        return np.full((len(events), 3), np.log(1 / 3), np.float32)

class Hostile(Method):
    name = "mine"
    title = "looks for labels"
    ranked_by = "head"
    uses_backbone = False
    target_access = known["access"]
    def fit(self, data, context):
        model = Searching(context)
        if known["access"] == "unlabelled":
            assert len(data.target) == known["target_events"]
            try:
                data.target_labels
            except nubench.errors.PluginError:
                pass
        # Each as one array, and as every kind of number at an odd place.
        model.planted = [
            (values, [bytearray(b"7" + values.astype(kind).tobytes()) for kind in known["kinds"]])
            for values in (np.array(digits, np.int64) - 7 for digits in known["digits"])
        ]
        search(context, "at-fit")
        return model

@nubench.hookimpl
def register_methods():
    return [Hostile]
'''
