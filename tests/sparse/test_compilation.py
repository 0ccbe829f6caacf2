from __future__ import annotations

import multiprocessing
import os
import threading

import pytest
import torch

from nubench.backbone import build_backbone
from nubench.errors import UsageError
from nubench.sparse.batch import SparseBatch
from nubench.sparse.engine import get_engine


def small_batch() -> SparseBatch:
    coords = torch.cartesian_prod(torch.arange(8), torch.arange(8), torch.arange(2)).int().repeat(4, 1)
    event = torch.arange(4).repeat_interleave(128)
    return SparseBatch(coords, event, torch.linspace(-1, 1, 512)[:, None], 4)


def embed_in_child(queue) -> None:
    # torch's own threads do not survive a fork, whatever is computed with them.
    torch.set_num_threads(1)
    queue.put(build_and_embed().tolist())


def build_and_embed() -> torch.Tensor:
    torch.manual_seed(0)
    with torch.no_grad():
        return build_backbone("tiny")(small_batch())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform cannot fork")
def test_compiled_kernels_work_after_a_fork():
    here = build_and_embed()
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=embed_in_child, args=(queue,))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    torch.testing.assert_close(torch.tensor(queue.get()), here)


def test_threads_may_embed_at_the_same_time():
    torch.manual_seed(0)
    network = build_backbone("tiny")
    expected = network(small_batch())
    results: dict[int, torch.Tensor] = {}
    threads = [threading.Thread(target=lambda n=n: results.update({n: network(small_batch())})) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    for result in results.values():
        torch.testing.assert_close(result, expected)


def test_unknown_engine_is_a_usage_error():
    with pytest.raises(UsageError, match="unknown engine 'minkowsky'"):
        get_engine("minkowsky")
