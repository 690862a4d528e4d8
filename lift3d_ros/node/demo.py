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

"""
Publish a scene folder to a running node and store the result.

    python -m lift3d_ros.node.demo --scene SCENE --out DIR

Publishes image, depth, mask and camera_info of the scene at 10 Hz, waits until the node is active,
requests a lift by the action, and writes NAME.ply, NAME.glb and NAME.json. Arguments after
--ros-args are for ROS.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import json
import math
from pathlib import Path
import sys
import time
from typing import Any

import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException

from lift3d_ros.action import Lift
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.geometry.shape import Mesh
from lift3d_ros.io.scene import read_scene
from lift3d_ros.messages.geometry import pose_matrix
from lift3d_ros.messages.geometry import seconds
from lift3d_ros.messages.results import mesh_from_message
from lift3d_ros.msg import LiftedObject
from lift3d_ros.msg import ObjectSelector
from lift3d_ros.node import middleware
from lift3d_ros.node.client import LiftClient
from lift3d_ros.node.diagnostics import StatusReader
from lift3d_ros.node.executors.background import BackgroundNode
from lift3d_ros.node.frame_camera import FrameCamera
from lift3d_ros.robot.export import T_Y_UP

#: The packaged scene.
DEMO_SCENE = Path(__file__).parents[1] / 'data' / 'demo_scene'

#: Rate of the camera.
_RATE_HZ = 10.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return the exit status, 0 where the object was lifted."""
    parser = argparse.ArgumentParser(prog='lift3d_ros.node.demo', description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        '--scene', type=Path, default=DEMO_SCENE, help='scene folder, the packaged one by default'
    )
    parser.add_argument(
        '--out', type=Path, default=Path('demo/out'), help='folder for the results'
    )
    parser.add_argument('--server', default='lift3d', help='name of the node')
    parser.add_argument('--method', default='', help="method, the node's own by default")
    parser.add_argument('--seed', type=int, default=0, help="seed, the node's own by default")
    parser.add_argument(
        '--timeout', type=float, default=120.0, help='seconds for everything together'
    )
    given = list(sys.argv[1:] if arguments is None else arguments)
    ros = given.index('--ros-args') if '--ros-args' in given else len(given)
    options = parser.parse_args(given[:ros])
    # Images are published by this process.
    middleware.use_profile()
    rclpy.init(args=given[ros:])
    try:
        return _show(options)
    except (KeyboardInterrupt, ExternalShutdownException):
        print('demo: interrupted', file=sys.stderr)
        return 130
    finally:
        rclpy.try_shutdown()


def _show(options: argparse.Namespace) -> int:
    name = options.scene.resolve().name
    options.out.mkdir(parents=True, exist_ok=True)
    report = options.out / f'{name}.json'
    try:
        frame, mask = read_scene(options.scene)
        with BackgroundNode('lift3d_demo') as background:
            status = StatusReader(background.node, options.server)
            camera = FrameCamera(background.node, frame, mask)
            background.node.create_timer(1.0 / _RATE_HZ, camera.publish)
            result = _ask(background, options)
            peak = status.value('peak memory MB')
        if not result.success:
            raise LiftError(ErrorCode(result.error_code), result.message)
        lifted = result.result.objects[0]
        mesh = mesh_from_message(lifted).transformed(pose_matrix(lifted.pose.pose))
        attributes = {
            'confidence': np.array(lifted.vertex_confidence, np.float32),
            'observed': np.array(lifted.vertex_observed, np.float32),
        }
        mesh.export(options.out / f'{name}.ply', attributes)
        # As `lift3d lift` writes it: y up, as glTF requires.
        mesh_from_message(lifted).transformed(T_Y_UP).export(options.out / f'{name}.glb')
    except (LiftError, TimeoutError) as error:
        if not isinstance(error, LiftError):
            error = LiftError(ErrorCode.TIMEOUT, str(error))
        report.write_text(json.dumps(_failed(error), indent=1) + '\n')
        print(f'demo: {error}', file=sys.stderr)
        return 1
    report.write_text(json.dumps(_succeeded(lifted, mesh, peak), indent=1) + '\n')
    length, width, height = (1000.0 * v for v in (lifted.size.x, lifted.size.y, lifted.size.z))
    print(
        f'{lifted.id}: {length:.0f} x {width:.0f} x {height:.0f} mm, {len(mesh.faces)} triangles, '
        f'confidence {lifted.confidence:.2f}, {seconds(lifted.compute_time):.2f} s'
    )
    print(f'written: {options.out / name}.ply, .glb, .json')
    return 0


def _ask(background: BackgroundNode, options: argparse.Namespace) -> Lift.Result:
    """Request the largest object once the node has received a frame; raises TimeoutError."""
    end = time.monotonic() + options.timeout
    print(f'waiting for the node {options.server} to be active ...', flush=True)
    while not _is_active(background, options.server):
        if time.monotonic() > end:
            raise TimeoutError(f'the node {options.server} did not become active')
        time.sleep(0.1)
    client = LiftClient(background.node, options.server)
    if not client.wait_for_server(end - time.monotonic()):
        raise TimeoutError(f'the node {options.server} offers no action')
    while True:
        client.lift(
            ObjectSelector(mode=ObjectSelector.LARGEST),
            method=options.method,
            seed=options.seed,
            timeout=max(1.0, end - time.monotonic()),
        )
        _follow(client)
        result = client.result(max(1.0, end - time.monotonic()))
        # The first frame may still be under way.
        waiting = result.error_code in (ErrorCode.BAD_IMAGE.value, ErrorCode.NO_CAMERA.value)
        if not waiting or 'no frame to lift' not in result.message or time.monotonic() > end:
            return result
        time.sleep(0.2)


def _is_active(background: BackgroundNode, server: str) -> bool:
    try:
        return background.lifecycle_state(server, 2.0) == 'active'
    except TimeoutError:
        return False


def _follow(client: LiftClient) -> None:
    last = None
    while not client.is_done():
        feedback = client.feedback()
        if feedback is not None and feedback.object_count:
            line = f'{100.0 * feedback.progress:3.0f} % {feedback.object_id}: {feedback.stage}'
            if line != last:
                print(line, flush=True)
                last = line
        time.sleep(0.02)


def _succeeded(lifted: LiftedObject, mesh: Mesh, peak: float) -> dict[str, Any]:
    return {
        'ok': True,
        'error': None,
        'method': lifted.method,
        'scale_source': lifted.scale_source,
        'scale_stddev': round(lifted.scale_stddev, 4),
        'elevation_deg': round(lifted.elevation, 2),
        'elevation_source': lifted.elevation_source,
        'support': lifted.support,
        'confidence': round(lifted.confidence, 4),
        'pass_probability': round(lifted.pass_probability, 4),
        'camera_source': 'given',
        'watertight': mesh.is_watertight(),
        'seconds': {'total': round(seconds(lifted.compute_time), 4)},
        'peak_memory_mb': None if math.isnan(peak) else peak,
    }


def _failed(error: LiftError) -> dict[str, Any]:
    return {'ok': False, 'error': {'code': error.code.value, 'message': error.message}}


if __name__ == '__main__':
    sys.exit(main())
