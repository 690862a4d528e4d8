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
"""Prompts as the condition of a latent diffusion model, with learned tokens among their words."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import threading
from typing import Any

import torch
from torch import Tensor

from lift3d_ros.errors import bad_request

Tokens = Mapping[str, Tensor]


class PromptEncoder:
    """
    CLIP's text transformer with its tokenizer.

    Learned tokens are no part of the vocabulary: their embeddings are inserted where a prompt has
    them, so that the gradient reaches them and nothing else.
    """

    def __init__(self, text_encoder: Any, tokenizer: Any) -> None:
        """Keep the model; ``text_encoder`` and ``tokenizer`` as ``StableDiffusionComponents``."""
        self._transformer = text_encoder['text_model']
        self._tokenizer = tokenizer
        self._table = self._transformer.embeddings.token_embedding
        self._length = int(self._transformer.config.max_position_embeddings)
        # The insertion is a hook of the shared network.
        self._lock = threading.Lock()

    @property
    def width(self) -> int:
        """Numbers of an embedding."""
        return int(self._table.weight.shape[1])

    def ids(self, text: str) -> list[int]:
        """Return the identifiers of a text without start and end."""
        return list(self._tokenizer(text, add_special_tokens=False).input_ids)

    def embedding_of(self, word: str) -> Tensor:
        """
        Return the embedding (1, width) of a word, float32, to start a learned token from.

        Raises ``LiftError(BAD_REQUEST)`` for what is not one token of the vocabulary.
        """
        ids = self.ids(word)
        if len(ids) != 1:
            raise bad_request(
                f'"{word}" has {len(ids)} tokens in the vocabulary of the prior; start from a '
                'word of one token, such as "object".')
        return self._table.weight[ids].detach().float().clone()

    def check_token(self, token: str) -> None:
        """Raise ``LiftError(BAD_REQUEST)`` for a token that is taken, or is not one word."""
        if not token or any(letter.isspace() for letter in token):
            raise bad_request(f'The token "{token}" is not one word; choose one such as <object>.')
        if len(self.ids(token)) == 1:
            raise bad_request(
                f'The token "{token}" is a word of the vocabulary already; choose another one, '
                'such as <object>.')

    def encode(self, prompts: Sequence[str], tokens: Tokens | None = None) -> Tensor:
        """
        Return the hidden states (n, length, width) of prompts, with gradients by ``tokens``.

        ``tokens`` are embeddings (m, width) of words that the prompts may have.

        Raises ``LiftError(BAD_REQUEST)`` for a prompt that is too long, for a token that is taken,
        and for embeddings of another width.
        """
        tokens = tokens or {}
        words = len(self._table.weight)
        first, rows = {}, []
        count = 0
        for token, value in tokens.items():
            self.check_token(token)
            if value.ndim != 2 or value.shape[1] != self.width:
                raise bad_request(
                    f'The token {token} has the shape {list(value.shape)}, and this prior takes '
                    f'(n, {self.width}); it was learned with another model.')
            first[token] = range(words + count, words + count + len(value))
            rows.append(value)
            count += len(value)
        device = self._table.weight.device
        ids = torch.tensor([self._sequence(text, first) for text in prompts], device=device)
        learned = ids >= words
        inserted = torch.cat(rows).to(device) if rows else None

        def insert(module: Any, inputs: Any, output: Tensor) -> Tensor:
            del module, inputs
            assert inserted is not None, 'the hook is set with tokens only'
            own = inserted.to(output.dtype)[(ids - words).clamp_min(0)]
            return torch.where(learned[..., None], own, output)

        with self._lock:
            handle = self._table.register_forward_hook(insert) if rows else None
            try:
                known = torch.where(learned, 0, ids)
                return self._transformer(input_ids=known).last_hidden_state
            finally:
                if handle is not None:
                    handle.remove()

    def _sequence(self, text: str, first: Mapping[str, range]) -> list[int]:
        """Return the identifiers of a prompt, padded to the length of the transformer."""
        inner: list[int] = []
        rest = text
        while rest:
            at = {rest.find(token): token for token in first if token in rest}
            if not at:
                inner += self.ids(rest)
                break
            start = min(at)
            inner += self.ids(rest[:start]) if start else []
            inner += first[at[start]]
            rest = rest[start + len(at[start]):]
        if len(inner) > self._length - 2:
            raise bad_request(
                f'The prompt "{text[:200]}" has {len(inner)} tokens; at most {self._length - 2} '
                'fit.')
        end = int(self._tokenizer.eos_token_id)
        # Stable Diffusion 1 pads with the end, as its tokenizer's settings say.
        pad = self._tokenizer.pad_token_id
        pad = end if pad is None else int(pad)
        sequence = [int(self._tokenizer.bos_token_id), *inner, end]
        return sequence + [pad] * (self._length - len(sequence))
