"""A hole, pixel by pixel, and the order of the stages on finished views."""

import numpy as np
import pytest
from toy_plans import assert_equal_bits, define, draw, images_of

from augmix.augment import compiled
from augmix.augment.policies import CutMix, Cutout, PatchUniform, Standard
from augmix.augment.stages.hole import Hole


def test_every_pixel_of_a_hole() -> None:
    box = np.array([[[1, 2, 4, 9], [0, 0, 0, 0], [3, 5, 3, 9]]], np.int32)  # the last two are none
    hole = Hole(box=box, fill=np.array([0.25, 0.5, 1], np.float32))
    plan = draw(Standard(), 3, (6, 9), 0, num_views=1).with_stage(hole)
    images = images_of(plan, 3)
    views = define(images, plan)[0]
    for image in range(3):
        for y in range(6):
            for x in range(9):
                inside = image == 0 and 1 <= y < 4 and 2 <= x < 9
                for channel in range(3):
                    level = np.float32(images[image, y, x, channel]) / np.float32(255)
                    expected = np.float32([0.25, 0.5, 1][channel]) if inside else level
                    assert views[image, channel, y, x] == expected
    assert_equal_bits(images, plan)
    for render in (define, compiled.render):
        with pytest.raises(ValueError, match=r"1 or 1 levels for images of 1 channel\(s\), got 3"):
            render(images[..., :1], plan)


def test_order_noise_then_hole_then_pairs() -> None:
    plan = draw(CutMix(base=Cutout(size_px=40, fill=(0.25,), base=PatchUniform())), 4, (8, 8), 0)
    views = define(images_of(plan, 3), plan)
    np.testing.assert_array_equal(views, np.float32(0.25))  # the hole covers noise, pairs its views
