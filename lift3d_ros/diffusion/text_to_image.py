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

"""Pictures of text, by any text-to-image pipeline of diffusers that the user brings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lift3d_ros.errors import bad_request
from lift3d_ros.errors import ErrorCode
from lift3d_ros.errors import LiftError
from lift3d_ros.errors import weights_corrupt
from lift3d_ros.errors import weights_missing

#: Completes the words for an object so that its background can be removed.
PROMPT_TEMPLATE = '{}, one single whole object in the centre, on a plain white background'

#: Longest text. Encoders read 77 to 512 tokens and ignore the rest.
MAX_CHARACTERS = 1000

#: File that says which pipeline a folder has.
_INDEX = 'model_index.json'


class TextToImage:
    """A text-to-image pipeline that is loaded once for any number of pictures."""

    def __init__(
        self, source: str, device: str = 'cpu', allow_download: bool = False
    ) -> None:
        """
        Load a pipeline from a folder in the format of diffusers, with safetensors.

        With ``allow_download``, ``source`` can be a name of the Hugging Face hub, which is
        downloaded into its cache. Code in the folder is never run. Raises ``LiftError``:
        ``BAD_REQUEST`` for a source that is not there or no text-to-image pipeline,
        ``WEIGHTS_MISSING``, ``WEIGHTS_CORRUPT``, ``OUT_OF_MEMORY`` of the device.
        """
        is_local = _check_source(source, allow_download)
        # Imported here, since it takes seconds.
        import torch

        if device == 'cuda' and not torch.cuda.is_available():
            raise bad_request('There is no CUDA device; use --device cpu.')
        from diffusers import AutoPipelineForText2Image

        half = {'torch_dtype': torch.float16} if device == 'cuda' else {}
        try:
            self._pipeline: Any = AutoPipelineForText2Image.from_pretrained(
                source, local_files_only=is_local, use_safetensors=True, **half
            )
            self._pipeline.to(device)
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except OSError as error:
            raise weights_missing(
                f'The pipeline {source} is incomplete or cannot be downloaded '
                f'({_first_line(error)}); only safetensors are read.'
            ) from error
        except Exception as error:
            # diffusers, transformers and safetensors each have errors of their own.
            raise weights_corrupt(
                f'The pipeline {source} cannot be loaded ({_first_line(error)}).'
            ) from error
        self._pipeline.set_progress_bar_config(disable=True)
        self._device = device

    def generate(
        self,
        prompt: str,
        *,
        seed: int = 0,
        steps: int | None = None,
        guidance: float | None = None,
    ) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
        """
        Return a picture of a text, uint8 RGB, and notes.

        ``steps`` of the sampler and the ``guidance`` scale; None: the default of the pipeline. The
        same seed gives the same picture on the same device. Raises ``LiftError``: ``BAD_REQUEST``
        as ``check_prompt`` and for settings that the pipeline refuses, ``BAD_IMAGE`` for a picture
        of one colour.
        """
        import torch

        check_prompt(prompt)
        options: dict[str, Any] = {}
        if steps is not None:
            options['num_inference_steps'] = steps
        if guidance is not None:
            options['guidance_scale'] = guidance
        generator = torch.Generator('cpu').manual_seed(seed)
        try:
            made = self._pipeline(
                prompt=prompt, generator=generator, output_type='np', **options
            )
        except (TypeError, ValueError) as error:
            raise bad_request(
                f'The pipeline refuses the request ({_first_line(error)}).'
            ) from error
        values = np.nan_to_num(np.asarray(made.images[0], np.float32))
        picture = np.rint(255.0 * np.clip(values, 0.0, 1.0)).astype(np.uint8)
        if np.ptp(picture.reshape(-1, picture.shape[-1]), axis=0).max() < 2:
            raise LiftError(
                ErrorCode.BAD_IMAGE,
                'The pipeline made a picture of one colour, as its safety checker does with a '
                'picture that it refuses; change the text or the seed.',
            )
        return picture, self._notes(prompt)

    def _notes(self, prompt: str) -> tuple[str, ...]:
        tokenizer = getattr(self._pipeline, 'tokenizer', None)
        limit = int(getattr(tokenizer, 'model_max_length', 0) or 0)
        if tokenizer is None or not 0 < limit < 1_000_000:
            return ()
        count = len(tokenizer(prompt).input_ids)
        if count <= limit:
            return ()
        return (f'The text has {count} tokens, of which the pipeline reads the first {limit}.',)


def check_prompt(prompt: str) -> None:
    """Raise ``LiftError(BAD_REQUEST)`` for a text without words and for one that is too long."""
    if not prompt.strip():
        raise bad_request('The text is empty; describe an object, such as "a blue mug".')
    if len(prompt) > MAX_CHARACTERS:
        raise bad_request(
            f'The text has {len(prompt)} characters; describe one object in at most '
            f'{MAX_CHARACTERS}.'
        )


def _check_source(source: str, allow_download: bool) -> bool:
    """Return whether a source is a folder; raises ``LiftError`` for one that cannot be used."""
    path = Path(source)
    if path.is_file():
        raise bad_request(
            f'{source} is a file; give the folder of a pipeline of diffusers, which '
            '`StableDiffusionPipeline.from_single_file(...).save_pretrained(FOLDER)` makes of a '
            'checkpoint.'
        )
    if not path.is_dir():
        if path.is_absolute() or source.startswith('.') or source.count('/') != 1:
            raise bad_request(f'There is no folder {source} with a pipeline of diffusers.')
        if not allow_download:
            raise bad_request(
                f'There is no folder {source}; to download the pipeline of this name, add '
                '--allow-download.'
            )
        return False
    try:
        index = json.loads((path / _INDEX).read_text())
        name = index['_class_name']
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise bad_request(
            f'{source} has no readable {_INDEX}, so it is not the folder of a pipeline of '
            'diffusers.'
        ) from error
    if not _makes_images_of_text(str(name)):
        raise bad_request(
            f'{source} has the pipeline {name}, which does not make pictures of text; give one '
            'such as StableDiffusionPipeline.'
        )
    return True


def _makes_images_of_text(name: str) -> bool:
    from diffusers.pipelines.auto_pipeline import AUTO_TEXT2IMAGE_PIPELINES_MAPPING

    return name in {kind.__name__ for kind in AUTO_TEXT2IMAGE_PIPELINES_MAPPING.values()}


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f'{type(error).__name__}: {text[0][:300]}' if text else type(error).__name__
