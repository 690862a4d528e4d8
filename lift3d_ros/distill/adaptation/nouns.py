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
The word from which textual inversion starts: the noun that CLIP finds nearest to the picture.

RealFusion compares the picture with "an image of a <noun>" (``textual-inversion/main.py``,
``autoinit``). The published program takes its nouns from a dictionary; these name things that a
robot handles.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from lift3d_ros.diffusion.conditioning import ClipEncoder
from lift3d_ros.errors import bad_request
from lift3d_ros.weights.clip import ClipTowers

#: What the noun is put into.
TEMPLATE = 'an image of a {}'

NOUNS = tuple("""
animal apple axe bag ball balloon banana basket bat battery bear bed bell belt bench bike bin bird
block boat book boot bottle bow bowl box brain bread brick broom brush bucket building bulb bus
butterfly button cabinet cactus cage cake camera can candle cap car card carrot case castle cat
chain chair cheese chicken clamp clock coat coin comb computer cone cookie cow crab crown cube cup
cushion deer desk device dice dinosaur dish disk dog doll dolphin donut door dragon drawer dress
drill drink drum duck egg elephant engine eraser face fan figure fish flag flask flower fork fox
frame frog fruit funnel gear giraffe glass glasses globe glove gorilla grape guitar gun hammer
hand handle hat helmet hook horse hose house jar jewel jug kettle key keyboard kit knife knob
ladder lamp laptop leaf lemon lens lid light lion lock machine magnet mask meat medal microphone
mirror monitor monkey mouse mug mushroom nail necklace needle nut onion orange oven owl pan panda
paper parrot peach pear pen pencil penguin pepper person phone piano pig pillow pin pipe pizza
plane plant plate pliers plug pot potato printer pump pumpkin puppet puzzle rabbit racket radio
ring robot rock rocket rod roll rope rose rubber ruler sandal sandwich saw scissors screw
screwdriver shark sheep shelf shell ship shirt shoe shovel sign skull snail snake soap sock sofa
speaker sphere spoon spring stamp star statue stone strawberry sushi switch sword table tank tape
teapot telescope tiger tire toast toaster tomato tool torch towel tower toy tractor train tray
tree trophy truck tube turtle umbrella vacuum van vase vegetable violin wallet watch wheel whistle
wire wolf wood wrench zebra
""".split())


@torch.no_grad()
def nearest_noun(towers: ClipTowers, picture: Tensor, nouns: Sequence[str] = NOUNS) -> str:
    """
    Return the noun whose sentence has the largest cosine with a picture.

    ``picture`` is premultiplied RGBA (4, h, w) in [0, 1], which is shown on white. Raises
    ``LiftError(BAD_REQUEST)`` without nouns.
    """
    if not nouns:
        raise bad_request('There are no nouns to choose from; give at least one.')
    device = next(towers.image.parameters()).device
    white = (picture[:3] + 1.0 - picture[3:]).clamp(0.0, 1.0) * 2.0 - 1.0
    seen = ClipEncoder(towers.image).embed(white[None].to(device))
    words = towers.tokenizer(
        [TEMPLATE.format(noun) for noun in nouns], padding=True, truncation=True,
        return_tensors='pt').to(device)
    known = towers.text(**words).text_embeds
    cosines = functional.cosine_similarity(known.float(), seen.float())
    return nouns[int(cosines.argmax())]
