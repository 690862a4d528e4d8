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

"""``lift3d text``: text in, a picture of it and a mesh out, with weights that the user brings."""

from __future__ import annotations

import argparse
from pathlib import Path
import re
from typing import Any
from typing import TYPE_CHECKING

from lift3d_ros.cli import exports
from lift3d_ros.cli import inputs
from lift3d_ros.cli import lift
from lift3d_ros.cli import methods
from lift3d_ros.cli import scenes
from lift3d_ros.cli import values
from lift3d_ros.errors import LiftError
from lift3d_ros.runtime.failures import as_lift_error
from lift3d_ros.runtime.files import make_folder
from lift3d_ros.runtime.files import write_whole

if TYPE_CHECKING:
    import numpy as np

    from lift3d_ros.progress import ProgressCallback

#: Longest name of files that is made of a text.
_MAX_NAME = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        'prompts', nargs='+', metavar='TEXT', help='an object in words, such as "a blue mug"')
    parser.add_argument(
        '--text-to-image', required=True, metavar='PATH|NAME',
        help='folder of a text-to-image pipeline in the diffusers format, such as Stable '
        'Diffusion; with --allow-download also a name on the Hugging Face hub',
    )
    parser.add_argument(
        '--out', type=Path, required=True, metavar='DIR',
        help='folder for the picture NAME.png, whose alpha channel is the mask, and the files of '
        '`lift3d lift`',
    )
    parser.add_argument(
        '--allow-download', action='store_true',
        help='download the pipeline from the Hugging Face hub')
    parser.add_argument(
        '--segmenter', type=Path, metavar='PATH',
        help='ONNX file of a U2-Net segmentation model (default: the mask is every pixel that '
        'differs from the plain background)',
    )
    parser.add_argument(
        '--plain-text', action='store_true',
        help='use the text unchanged (default: add words for a plain white background)',
    )
    parser.add_argument(
        '--image-steps', type=values.count, metavar='N',
        help='sampling steps of the text-to-image pipeline (default: set by the pipeline)',
    )
    parser.add_argument(
        '--guidance', type=values.finite, metavar='G',
        help='guidance scale of the text-to-image pipeline (default: set by the pipeline)',
    )
    inputs.add_scale_arguments(parser.add_argument_group(
        'scale (default: unknown, the mesh is correct only up to scale)'))
    methods.add_method_arguments(parser)
    scenes.add_seed(parser, 'picture and mesh')
    exports.add_arguments(parser)
    # Of the arguments of a scene a picture has none.


def run(options: argparse.Namespace) -> int:
    """
    Make a picture of each text and lift it; return 0 if all succeeded, else 1.

    Raises ``LiftError`` for a pipeline or a segmentation model that cannot be used, for a text
    that is empty or too long, and as ``lift3d lift``.
    """
    from lift3d_ros.batch.scene_files import failure_report
    from lift3d_ros.batch.scene_files import SceneSettings
    from lift3d_ros.diffusion.text_to_image import check_prompt

    for prompt in options.prompts:
        check_prompt(prompt)
    named = _named(options.prompts)
    export = exports.chosen(options)
    settings = SceneSettings(
        export=export,
        frame=exports.frame_of(options, export),
        depth=False,
        source_views=False,
        hints=inputs.scale_hints(options),
        min_confidence=options.min_confidence,
        seed=options.seed,
    )
    lifter = methods.make_lifter(options)
    # Before the pictures, which take minutes.
    lifter.check()
    make_folder(options.out)
    paths = {name: options.out / f'{name}.png' for name in named}
    made = _make_pictures(options, named, paths)
    lifter.load()

    def work(name: str, path: Path, progress: ProgressCallback) -> scenes.Result:
        entry = made[name]
        if isinstance(entry, LiftError):
            raise entry
        report, line = lift.lift(lifter, settings, name, path, options.out, progress)
        report['notes'] = [*entry['notes'], *report['notes']]
        lines = [line, *(f'{name}: note: {note}' for note in entry['notes'])]
        return {**report, **_origin(options, named[name], path.name)}, '\n'.join(lines)

    def failed(error: LiftError) -> dict[str, Any]:
        return failure_report(error, lifter.name)

    return scenes.work_through(
        paths, options.out, work, failed,
        lambda name: export.files(export.path(options.out, name)), 'lifted',
    )


def _make_pictures(
    options: argparse.Namespace, named: dict[str, str], paths: dict[str, Path]
) -> dict[str, dict[str, Any] | LiftError]:
    """Write the picture of each text; return its notes, or why there is none, by name."""
    import cv2

    from lift3d_ros.diffusion.text_to_image import PROMPT_TEMPLATE
    from lift3d_ros.diffusion.text_to_image import TextToImage
    from lift3d_ros.segmentation.salient import SalientObjectModel

    segmenter = None if options.segmenter is None else SalientObjectModel(options.segmenter)
    _silence()
    # The pipeline is freed at the end, before the lifter loads its networks.
    pipeline = TextToImage(options.text_to_image, options.device, options.allow_download)
    made: dict[str, dict[str, Any] | LiftError] = {}
    for name, prompt in named.items():
        paths[name].unlink(missing_ok=True)
        text = prompt if options.plain_text else PROMPT_TEMPLATE.format(prompt)
        try:
            image, notes = pipeline.generate(
                text, seed=options.seed, steps=options.image_steps, guidance=options.guidance)
            mask, more = _mask(image, segmenter)
            pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGRA)
            pixels[..., 3] = 255 * mask.astype('uint8')
            _, data = cv2.imencode('.png', pixels)
            write_whole(paths[name], data.tobytes())
        except Exception as error:
            made[name] = as_lift_error(error)
            continue
        made[name] = {'notes': [*notes, *more]}
    return made


def _silence() -> None:
    """Turn off the bars of the libraries that load the pipeline, and their advice."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()


def _mask(
    image: np.ndarray[Any, Any], segmenter: Any | None
) -> tuple[np.ndarray[Any, Any], tuple[str, ...]]:
    from lift3d_ros.segmentation.plain_background import segment_plain_background

    if segmenter is None:
        return segment_plain_background(image)
    return segmenter.mask(image), ()


def _origin(options: argparse.Namespace, prompt: str, picture: str) -> dict[str, Any]:
    return {'text': prompt, 'text_to_image': options.text_to_image, 'picture': picture}


def _named(prompts: list[str]) -> dict[str, str]:
    """Return the texts by names for their files; equal texts once."""
    named: dict[str, str] = {}
    for prompt in dict.fromkeys(prompts):
        name = re.sub(r'[^a-z0-9]+', '_', prompt.lower())[:_MAX_NAME].strip('_') or 'text'
        unique, number = name, 2
        while unique in named:
            unique, number = f'{name}_{number}', number + 1
        named[unique] = prompt
    return named
