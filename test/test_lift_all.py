# Copyright 2026 lift3d_ros contributors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""Several objects of one frame at once: the same shapes, each with an error of its own."""

from __future__ import annotations

from pathlib import Path
import pickle
import sys
import threading
import time

import numpy as np
import pytest
import trimesh

from lift3d_ros import lifter as lifter_module
from lift3d_ros.bench.timing import five_objects
from lift3d_ros.cli import main
from lift3d_ros.cli.demo import DEMO_SCENE
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry.shape import Shape
from lift3d_ros.io.scene import read_scene
from lift3d_ros.io.scene import write_scene
from lift3d_ros.lifter import Lifter
from lift3d_ros.lifter import LiftRequest
from lift3d_ros.meshing.isosurface import decimate
from lift3d_ros.methods.geometric import Geometric
from lift3d_ros.observation.hints import ScaleHints
from lift3d_ros.runtime import process
from lift3d_ros.runtime.process import run_in_threads


@pytest.fixture(scope='module')
def frame():
    return read_scene(DEMO_SCENE)[0]


@pytest.fixture(scope='module')
def masks():
    """Return the object's mask, its left and its right half."""
    mask = read_scene(DEMO_SCENE)[1]
    left = mask.copy()
    left[:, int(np.nonzero(mask)[1].mean()):] = False
    return [mask, left, mask & ~left]


@pytest.fixture(autouse=True)
def two_threads(monkeypatch):
    """Let every test have two threads, whatever the machine has."""
    monkeypatch.setattr(process, 'core_count', lambda: 2)
    torch = sys.modules.get('torch')
    before = torch.get_num_threads() if torch else 0
    if torch:
        torch.set_num_threads(2)
    yield
    if torch:
        torch.set_num_threads(before)


def assert_same(one: Shape, other: Shape) -> None:
    np.testing.assert_array_equal(one.mesh.vertices, other.mesh.vertices)
    np.testing.assert_array_equal(one.mesh.faces, other.mesh.faces)
    np.testing.assert_array_equal(one.mesh.colors, other.mesh.colors)
    np.testing.assert_array_equal(one.confidence, other.confidence)
    np.testing.assert_array_equal(one.T_camera_object, other.T_camera_object)


# Shapes


def test_the_shapes_are_those_of_single_lifts(frame, masks):
    lifter = Lifter('geometric')
    found = lifter.lift_all(frame, [LiftRequest(mask, seed=3) for mask in masks])
    for one, mask in zip(found, masks, strict=True):
        assert_same(one, lifter.lift(frame, LiftRequest(mask, seed=3)))


def test_networks_give_what_they_give_with_one_thread_and_have_theirs_back(
    frame, masks, learned_weights: Path
):
    import torch

    lifter = Lifter(weights=str(learned_weights), max_faces=4000)
    torch.set_num_threads(2)
    try:
        found = lifter.lift_all(frame, [LiftRequest(mask, seed=3) for mask in masks])
        assert torch.get_num_threads() == 2
        seen = []
        thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert seen == [2], 'threads that begin later have as many, too'
        torch.set_num_threads(1)
        assert_same(found[1], lifter.lift(frame, LiftRequest(masks[1], seed=3)))
    finally:
        torch.set_num_threads(2)


def test_no_objects_are_no_shapes(frame):
    assert Lifter('geometric').lift_all(frame, []) == []


def test_an_object_that_cannot_be_lifted_leaves_the_others_alone(frame, masks):
    found = Lifter('geometric').lift_all(frame, [masks[1], np.zeros_like(masks[0]), masks[2]])
    assert isinstance(found[0], Shape)
    assert isinstance(found[2], Shape)
    assert isinstance(found[1], LiftError)
    assert found[1].code is ErrorCode.EMPTY_MASK


def test_each_request_has_its_own_hints(frame, masks):
    requests = [
        LiftRequest(masks[0], ScaleHints(known_size=0.5, order=('known_size',))),
        LiftRequest(masks[1], min_confidence=0.999),
        masks[2],
    ]
    sized, refused, plain = Lifter('geometric').lift_all(frame, requests)
    assert sized.scale_source == 'known_size'
    assert refused.code is ErrorCode.LOW_CONFIDENCE
    assert plain.scale_source == 'depth'


def test_requests_and_shapes_pass_between_processes(frame, masks):
    request = pickle.loads(pickle.dumps(LiftRequest(masks[0], seed=3)))
    shape = Lifter('geometric').lift(frame, request)
    again = pickle.loads(pickle.dumps(shape))
    np.testing.assert_array_equal(again.mesh.vertices, shape.mesh.vertices)
    assert again.notes == shape.notes


# Progress, cancellation, deadline, memory


def test_each_object_tells_its_progress_one_thread_at_a_time(frame, masks):
    told: dict[int, list[float]] = {}
    busy = threading.Lock()

    def progress(index: int, stage: str, fraction: float) -> None:
        assert busy.acquire(blocking=False), 'another thread is here'
        time.sleep(1e-3)
        told.setdefault(index, []).append(fraction)
        busy.release()

    found = Lifter('geometric').lift_all(frame, masks, progress=progress)
    assert all(isinstance(one, Shape) for one in found)
    assert sorted(told) == [0, 1, 2]
    for fractions in told.values():
        assert fractions == sorted(fractions)
        assert fractions[-1] == 1.0


def test_cancelled_it_keeps_what_is_done(frame, masks):
    done: list[int] = []

    def progress(index: int, stage: str, fraction: float) -> None:
        if stage == 'done':
            done.append(index)

    many = masks * 3
    found = Lifter('geometric').lift_all(
        frame, many, progress=progress, cancelled=lambda: bool(done)
    )
    shapes = [index for index, one in enumerate(found) if isinstance(one, Shape)]
    assert shapes == sorted(done)
    assert 1 <= len(shapes) <= Geometric.max_concurrent
    assert {one.code for one in found if isinstance(one, LiftError)} == {ErrorCode.CANCELLED}


def test_after_the_deadline_every_object_says_so(frame, masks):
    found = Lifter('geometric').lift_all(frame, masks, deadline=time.monotonic() - 1.0)
    assert [one.code for one in found if isinstance(one, LiftError)] == [ErrorCode.TIMEOUT] * 3


def test_what_finds_no_memory_beside_others_is_tried_again_alone(frame, masks, monkeypatch):
    reconstruct, lock = Geometric.reconstruct, threading.Lock()
    running = 0
    alone: list[bool] = []

    def hungry(self, obs, rng, progress):
        nonlocal running
        with lock:
            running += 1
            alone.append(running == 1)
            crowded = len(alone) == 1
        try:
            if crowded:
                raise MemoryError
            return reconstruct(self, obs, rng, progress)
        finally:
            with lock:
                running -= 1

    monkeypatch.setattr(Geometric, 'reconstruct', hungry)
    found = Lifter('geometric').lift_all(frame, masks)
    assert all(isinstance(one, Shape) for one in found)
    assert len(alone) == len(masks) + 1
    assert alone[-1]


def test_an_object_too_large_for_the_memory_says_so_after_two_tries(frame, masks, monkeypatch):
    tries = []

    def starving(self, obs, rng, progress):
        tries.append(obs)
        raise MemoryError

    monkeypatch.setattr(Geometric, 'reconstruct', starving)
    found = Lifter('geometric').lift_all(frame, masks[:1])
    assert [one.code for one in found if isinstance(one, LiftError)] == [ErrorCode.OUT_OF_MEMORY]
    assert len(tries) == 2


# Threads


def test_several_are_done_at_once_but_not_more_than_asked_for():
    together = threading.Barrier(3)
    lock = threading.Lock()
    running, most = 0, 0

    def work(index: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        # It is passed when three are here at once, and never by one after another.
        together.wait(timeout=30.0)
        with lock:
            running -= 1
        return index * index

    assert run_in_threads(work, 6, 3) == [0, 1, 4, 9, 16, 25]
    assert most <= 3


def test_with_one_core_or_one_object_no_thread_is_begun(monkeypatch):
    here = threading.get_ident()
    assert run_in_threads(lambda index: threading.get_ident(), 1, 4) == [here]
    assert run_in_threads(lambda index: threading.get_ident(), 3, 1) == [here] * 3
    assert here not in run_in_threads(lambda index: threading.get_ident(), 3, 4)
    monkeypatch.setattr(process, 'core_count', lambda: 1)
    monkeypatch.delitem(sys.modules, 'torch', raising=False)
    assert run_in_threads(lambda index: threading.get_ident(), 3, 4) == [here] * 3


def test_a_bug_in_one_is_raised_and_does_not_hang():
    def work(index: int) -> int:
        return 1 // (index - 1)

    with pytest.raises(ZeroDivisionError):
        run_in_threads(work, 5, 2)


def test_the_published_networks_lift_one_object_at_a_time(frame, masks, monkeypatch):
    at_once = []

    def remember(work, count, most):
        at_once.append(most)
        return [None] * count

    monkeypatch.setattr(lifter_module, 'run_within_memory', remember)
    monkeypatch.setattr(Lifter, '_load', lambda self: None)
    Lifter('one2345', weights='full').lift_all(frame, masks)
    Lifter('one2345').lift_all(frame, masks)
    assert at_once == [1, Geometric.max_concurrent]


def test_meshes_of_several_threads_are_decimated_each_for_itself():
    meshes = [trimesh.creation.icosphere(5, radius) for radius in (1.0, 2.0, 3.0, 4.0)]

    def fewer(index: int) -> tuple[np.ndarray, np.ndarray]:
        mesh = meshes[index % len(meshes)]
        return decimate(mesh.vertices, mesh.faces, 2000)

    alone = [fewer(index) for index in range(len(meshes))]
    for index, (vertices, faces) in enumerate(run_in_threads(fewer, 16, 4)):
        np.testing.assert_array_equal(vertices, alone[index % len(meshes)][0])
        np.testing.assert_array_equal(faces, alone[index % len(meshes)][1])


# The benchmark's line


def test_five_objects_are_timed_beside_one(monkeypatch):
    monkeypatch.setattr(five_objects, 'OBJECTS', 2)
    monkeypatch.setattr(five_objects, 'REPEATS', 1)
    found = five_objects.measure(DEMO_SCENE, 'geometric')
    assert found['threads'] == 2
    assert found['ratio'] == pytest.approx(found['five_seconds'] / found['one_seconds'])
    # It is the work of two, however long it took.
    assert 1.2 < found['five_cpu'] / found['one_cpu'] < 4.0
    assert found['one_memory_mb'] <= found['five_memory_mb']
    assert len(five_objects.as_rows(found)) == len(found) - 1


def test_an_object_that_cannot_be_lifted_is_not_timed(tmp_path):
    write_scene(tmp_path / 'empty', read_scene(DEMO_SCENE)[0], np.zeros((480, 640), bool))
    with pytest.raises(LiftError) as caught:
        five_objects.measure(tmp_path / 'empty', 'geometric')
    assert caught.value.code is ErrorCode.EMPTY_MASK


def test_one_method_is_timed_at_once():
    assert main(['bench', '--five', '--methods', 'geometric', 'one2345']) != 0
