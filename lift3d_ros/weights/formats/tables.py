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
Names and shapes of the networks of One-2-3-45 and LoFTR, as their checkpoints have them.

Sources: One-2-3-45, ``reconstruction/models/{featurenet,sparse_sdf_network,rendering_network}.py``
with ``confs/one2345_lod0_val_demo.conf``; LoFTR, ``src/loftr`` with ``cvpr_ds_config.py``.
"""

from __future__ import annotations

from pathlib import Path

from lift3d_ros.weights.formats.checkpoint import Checkpoint
from lift3d_ros.weights.formats.checkpoint import Kind
from lift3d_ros.weights.integrity import printable
from lift3d_ros.weights.networks import check_tensors
from lift3d_ros.weights.tensors import check_values

Shapes = dict[str, tuple[int, ...]]


def check_networks(checkpoint: Checkpoint) -> list[str]:
    """
    Compare the networks of One-2-3-45 or LoFTR with the published shapes.

    Returns notes. Raises ``LiftError`` (WEIGHTS_CORRUPT) for a
    missing tensor, for a wrong shape, and for values that are not finite.
    """
    tables = one2345_shapes() if checkpoint.kind is Kind.ONE2345 else {'loftr': loftr_shapes()}
    notes = []
    for network, shapes in tables.items():
        tensors = checkpoint.parts[network]
        # Only some versions of these layers store batch counters.
        known = {name: tensor for name, tensor in tensors.items() if name in shapes}
        extra = [name for name in tensors
                 if name not in shapes and not name.endswith('num_batches_tracked')]
        check_tensors(Path(checkpoint.path), network, known, shapes)
        check_values(checkpoint.path, known)
        if extra:
            names = printable(', '.join(extra[:5]))
            notes.append(f'{network} has unknown tensors: {names}')
    return notes


def one2345_shapes() -> dict[str, Shapes]:
    """Return the shapes of the four networks of One-2-3-45."""
    pyramid: Shapes = {}
    layers = {
        'conv0': [(3, 8, 3), (8, 8, 3)],
        'conv1': [(8, 16, 5), (16, 16, 3), (16, 16, 3)],
        'conv2': [(16, 32, 5), (32, 32, 3), (32, 32, 3)],
    }
    for name, convolutions in layers.items():
        for index, (inner, outer, kernel) in enumerate(convolutions):
            pyramid |= _normalised(f'{name}.{index}', inner, outer, kernel)
    for name, inner, outer, kernel in (
        ('toplayer', 32, 32, 1), ('lat1', 16, 32, 1), ('lat0', 8, 32, 1), ('smooth1', 32, 16, 3),
        ('smooth0', 32, 8, 3),
    ):
        pyramid |= {f'{name}.weight': (outer, inner, kernel, kernel), f'{name}.bias': (outer,)}

    sdf = _normalised('compress_layer', 56, 16, 3)
    for index, (inner, outer) in {
        0: (32, 16), 1: (16, 16), 2: (16, 16), 3: (16, 32), 4: (32, 32), 5: (32, 64), 6: (64, 64),
        7: (64, 32), 9: (32, 16), 11: (16, 16),
    }.items():
        name = f'sparse_costreg_net.conv{index}.net'
        # One row for each of the 27 offsets of a 3 x 3 x 3 kernel, x fastest.
        sdf |= {f'{name}.0.kernel': (27, inner, outer), **_norm(f'{name}.1', outer)}
    for index, inner in enumerate((39, 128 + 16, 128 + 16)):
        name = f'sdf_layer.lin{index}'
        sdf |= {
            f'{name}.weight_g': (128, 1), f'{name}.weight_v': (128, inner),
            f'{name}.bias': (128,),
        }

    rendering: Shapes = {'s': ()}
    for name, widths in {
        'ray_dir_fc': (4, 16, 59), 'base_fc': (193, 64, 32), 'vis_fc': (32, 32, 33),
        'vis_fc2': (32, 32, 1), 'rgb_fc': (37, 16, 8, 1),
    }.items():
        for index, (inner, outer) in enumerate(zip(widths, widths[1:], strict=False)):
            # Every second module of these sequences is an activation.
            rendering |= {
                f'{name}.{2 * index}.weight': (outer, inner), f'{name}.{2 * index}.bias': (outer,)}
    return {
        'sdf_network_lod0': sdf,
        'rendering_network_lod0': rendering,
        'variance_network_lod0': {'variance': ()},
        'pyramid_feature_network': pyramid,
    }


def loftr_shapes() -> Shapes:
    """Return the shapes of LoFTR with its published settings."""
    first, second, third = 128, 196, 256
    shapes: Shapes = {'backbone.conv1.weight': (first, 1, 7, 7), **_norm('backbone.bn1', first)}
    inner = first
    for level, outer in enumerate((first, second, third), start=1):
        for block in range(2):
            name = f'backbone.layer{level}.{block}'
            start = inner if block == 0 else outer
            shapes |= {
                f'{name}.conv1.weight': (outer, start, 3, 3),
                f'{name}.conv2.weight': (outer, outer, 3, 3),
                **_norm(f'{name}.bn1', outer), **_norm(f'{name}.bn2', outer),
            }
            if level > 1 and block == 0:
                shapes[f'{name}.downsample.0.weight'] = (outer, start, 1, 1)
                shapes |= _norm(f'{name}.downsample.1', outer)
        inner = outer
    shapes['backbone.layer3_outconv.weight'] = (third, third, 1, 1)
    for level, narrow, wide in ((2, second, third), (1, first, second)):
        name = f'backbone.layer{level}_outconv'
        shapes |= {
            f'{name}.weight': (wide, narrow, 1, 1),
            f'{name}2.0.weight': (wide, wide, 3, 3),
            **_norm(f'{name}2.1', wide),
            f'{name}2.3.weight': (narrow, wide, 3, 3),
        }
    for network, layers, width in (('loftr_coarse', 8, 256), ('loftr_fine', 2, 128)):
        for layer in range(layers):
            name = f'{network}.layers.{layer}'
            for projection in ('q_proj', 'k_proj', 'v_proj', 'merge'):
                shapes[f'{name}.{projection}.weight'] = (width, width)
            shapes |= {
                f'{name}.mlp.0.weight': (2 * width, 2 * width),
                f'{name}.mlp.2.weight': (width, 2 * width),
            }
            for norm in ('norm1', 'norm2'):
                shapes |= {f'{name}.{norm}.weight': (width,), f'{name}.{norm}.bias': (width,)}
    for name, wide in (('down_proj', 256), ('merge_feat', 256)):
        shapes |= {
            f'fine_preprocess.{name}.weight': (128, wide), f'fine_preprocess.{name}.bias': (128,)}
    return shapes


def _normalised(name: str, inner: int, outer: int, kernel: int) -> Shapes:
    """Return the shapes of a convolution without bias and the normalisation after it."""
    return {f'{name}.conv.weight': (outer, inner, kernel, kernel), **_norm(f'{name}.bn', outer)}


def _norm(name: str, width: int) -> Shapes:
    return {f'{name}.{leaf}': (width,)
            for leaf in ('weight', 'bias', 'running_mean', 'running_var')}
