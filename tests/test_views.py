"""Views: what each setting of extract.augment does to an image, as one would see it."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stages.images.augment import Augment, make_generator, make_view
from stages.images.contract import Contract
from stages.images.load import load
from stages.images.mixup import WINDOW, make_views, mix_view
from stages.images.rand_augment import OPERATIONS, rand_augment
from stages.training.augmentation import AugmentedData
from tests.helpers.miniature import pictures

NOTHING: dict[str, Any] = {
    **dict.fromkeys(("rotation", "shift", "shear", "zoom", "brightness", "contrast", "color"), 0),
    **dict.fromkeys(("stretch", "crop", "hue", "cutout", "mixup", "cutmix"), 0),
    "flip": "none",
    "fill": 0,
    "rand_augment": {"operations": 0, "magnitude": 9},
}
EVERYTHING: dict[str, Any] = {
    **{"rotation": 20, "shift": 0.2, "shear": 15, "zoom": 0.2, "brightness": 0.2, "contrast": 0.2, "color": 0.2},
    **{"stretch": 0.1, "crop": 0.1, "hue": 0.1, "cutout": 0.3, "mixup": 0.4, "cutmix": 1},
    **{"flip": "both", "fill": "reflect"},
    "rand_augment": {"operations": 2, "magnitude": 9},
}


def limits(**settings: Any) -> Augment:
    """Return augmentation with nothing on but ``settings``."""
    return Augment(**{**NOTHING, **settings})


def views_of(pixels: np.ndarray, count: int = 60, **settings: Any) -> list[np.ndarray]:
    return [make_view(pixels, number, limits(**settings), seed=3) for number in range(1, count + 1)]


def bar(side: int = 65, thick: int = 3) -> np.ndarray:
    """Return a bright bar across the middle of a dark image."""
    pixels = np.zeros((side, side, 1), dtype=np.uint8)
    pixels[(side - thick) // 2 : (side + thick) // 2] = 255
    return pixels


def lean(pixels: np.ndarray) -> float:
    """Return by how many degrees a bar through the middle is turned, -90 to 90: where its light spreads."""
    places = np.arange(len(pixels)) - (len(pixels) - 1) / 2
    y, x = np.meshgrid(places, places, indexing="ij")
    light = pixels[..., 0].astype(float) * (x**2 + y**2 < (places[-1] - 2) ** 2)  # in a disc, alike in all directions
    return float(np.degrees(np.arctan2(2 * (light * x * y).sum(), (light * (x**2 - y**2)).sum()) / 2))


def middle(pixels: np.ndarray) -> np.ndarray:
    """Return where the light is, from the middle of the image, in pixels: (x, y)."""
    places = np.arange(len(pixels)) - (len(pixels) - 1) / 2
    return np.array([np.average(places, weights=pixels[..., 0].astype(float).sum(axis)) for axis in (0, 1)])


@pytest.mark.parametrize("channels", [1, 3])
def test_without_settings_a_view_is_the_image(channels: int) -> None:
    pixels = pictures(1, side=24, channels=channels)[0][0]
    for number in range(6):
        np.testing.assert_array_equal(make_view(pixels, number, limits(), seed=1), pixels)
        np.testing.assert_array_equal(make_view(pixels, number, limits(fill="wrap"), seed=1), pixels)
    np.testing.assert_array_equal(make_view(pixels, 0, Augment(**EVERYTHING), seed=1), pixels)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_view_depends_on_seed_number_and_image_alone(channels: int) -> None:
    pixels, far = pictures(1, side=24, channels=channels)[0][0], Augment(**EVERYTHING)
    before = pixels.copy()
    views = [make_view(pixels, number, far, seed=1) for number in range(1, 20)]
    assert all(each.shape == pixels.shape and each.dtype == np.uint8 for each in views)
    assert len({each.tobytes() for each in views}) == 19
    np.testing.assert_array_equal(make_view(pixels, 5, far, seed=1), views[4])
    assert not np.array_equal(make_view(pixels, 5, far, seed=2), views[4])
    np.testing.assert_array_equal(pixels, before)


def test_one_setting_changes_nothing_of_what_the_others_draw() -> None:
    turned = views_of(np.repeat(bar(), 3, axis=2) // 2, 5, rotation=30)
    for others in ({"brightness": 0.5}, {"stretch": 0.02}, {"crop": 0.05}):
        other = views_of(np.repeat(bar(), 3, axis=2) // 2, 5, rotation=30, **others)
        assert not any(np.array_equal(plain, changed) for plain, changed in zip(turned, other, strict=True))
        for plain, changed in zip(turned, other, strict=True):
            assert lean(changed) == pytest.approx(lean(plain), abs=2)
    # RandAugment draws after twelve other numbers: more would change the views of existing settings.
    pixels, chosen = pictures(1, side=24, channels=3)[0][0], {"operations": 2, "magnitude": 30}
    for number, view in enumerate(views_of(pixels, 20, rand_augment=chosen), start=1):
        draw = make_generator(pixels, number, 3)
        draw.random(12)
        np.testing.assert_array_equal(view, np.asarray(rand_augment(Image.fromarray(pixels), 2, 30, 0, draw)))


def test_rotation_goes_to_its_limit_either_way_and_no_further() -> None:
    angles = [lean(each) for each in views_of(bar(), rotation=30)]
    assert 28 < max(angles) < 30.5
    assert -30.5 < min(angles) < -28
    assert min(abs(angle) for angle in angles) < 3


def test_rotation_by_90_degrees_puts_the_bar_upright() -> None:
    upright = [each for each in views_of(bar(), 200, rotation=180) if abs(lean(each)) > 85]
    assert upright
    for each in upright:
        assert each[:, 27:38].max(1).min() > 150
        assert each[:, :25].max() == each[:, 40:].max() == 0


def test_shift_goes_to_its_limit_either_way_and_no_further() -> None:
    dot = np.zeros((65, 65, 1), dtype=np.uint8)
    dot[31:34, 31:34] = 255
    places = np.array([middle(each) for each in views_of(dot, shift=0.1)])
    assert np.all(places.max(0) > 5.5)
    assert np.all(places.min(0) < -5.5)
    assert np.abs(places).max() <= 6.5 + 0.1


def test_shear_slants_upright_lines_and_leaves_level_ones() -> None:
    upright = bar().transpose(1, 0, 2)
    slants = [-lean(each.transpose(1, 0, 2)) for each in views_of(upright, shear=20)]
    assert 18 < max(slants) < 20.5
    assert -20.5 < min(slants) < -18
    for each in views_of(bar(), 10, shear=20):
        assert lean(each) == pytest.approx(0, abs=0.1)


def test_zoom_changes_the_size_within_its_limit() -> None:
    areas = [
        each.astype(float).sum() / 255 for each in views_of(np.pad(bar(21, 21), ((22, 22), (22, 22), (0, 0))), zoom=0.2)
    ]
    sides = np.sqrt(areas) / 21
    assert 0.79 < sides.min() < 0.84
    assert 1.16 < sides.max() < 1.21


def test_stretch_changes_width_and_height_by_themselves() -> None:
    square = np.pad(bar(21, 21), ((22, 22), (22, 22), (0, 0)))
    sides = np.array(
        [[each[:, 32].sum() / 255, each[32].sum() / 255] for each in views_of(square, 200, stretch=0.2)]
    ) / 21  # fmt: skip
    assert np.all((sides.min(0) > 0.78) & (sides.min(0) < 0.82))
    assert np.all((sides.max(0) > 1.18) & (sides.max(0) < 1.22))
    assert abs(np.corrcoef(sides.T)[0, 1]) < 0.2
    zoomed = [each[:, 32].sum() / each[32].sum() for each in views_of(square, zoom=0.2)]
    np.testing.assert_allclose(zoomed, 1, atol=0.01)


@pytest.mark.parametrize("fill", [0, 7, "reflect"])
def test_crop_pads_and_cuts_out_a_square_as_it_is(fill: int | str) -> None:
    pixels = pictures(1, side=32, channels=3)[0][0]
    mode: dict[str, Any] = {"mode": "symmetric"} if fill == "reflect" else {"constant_values": fill}
    padded = np.pad(pixels, ((4, 4), (4, 4), (0, 0)), **mode)
    squares = {padded[y : y + 32, x : x + 32].tobytes(): (x, y) for x in range(9) for y in range(9)}
    places = {squares[each.tobytes()] for each in views_of(pixels, 200, crop=0.125, fill=fill)}
    assert {x for x, _ in places} == {y for _, y in places} == set(range(9))
    assert len(places) > 60


@pytest.mark.parametrize("side", [64, 65])
@pytest.mark.parametrize("fill", [0, "nearest"])
def test_nothing_moves_the_middle(side: int, fill: int | str) -> None:
    """Half a pixel is easily lost between the corners and the middles of pixels."""
    dot = np.zeros((side, side, 1), dtype=np.uint8)
    dot[side // 2 - 4 : (side + 1) // 2 + 4, side // 2 - 4 : (side + 1) // 2 + 4] = 255
    for setting in ({"rotation": 180}, {"zoom": 0.5}, {"shear": 40}, {"rotation": 40, "zoom": 0.3, "shear": 30}):
        for each in views_of(dot, 20, fill=fill, **setting):
            np.testing.assert_allclose(middle(each), 0, atol=0.06)
    for each in views_of(dot, 20, shift=0.001, rotation=0.1, fill=fill):
        np.testing.assert_allclose(middle(each), 0, atol=0.001 * side + 0.06)


def test_flips() -> None:
    pixels = pictures(1, side=24, channels=3)[0][0]
    across, upside = pixels[:, ::-1].tobytes(), pixels[::-1].tobytes()
    both, plain = pixels[::-1, ::-1].tobytes(), pixels.tobytes()
    for flip, expected in {
        "horizontal": {plain, across},
        "vertical": {plain, upside},
        "both": {plain, across, upside, both},
    }.items():
        assert {each.tobytes() for each in views_of(pixels, flip=flip)} == expected


@pytest.mark.parametrize(("fill", "corner"), [(0, 0), (128, 128), (255, 200), ("nearest", 200), ("reflect", 200)])
def test_edges_are_filled_as_asked(fill: int | str, corner: int) -> None:
    even = np.full((20, 20, 3), 200, dtype=np.uint8)
    shifted = make_view(even, 1, limits(shift=0.4, fill=fill), seed=0)
    assert shifted.min() == corner
    assert set(np.unique(shifted)) == ({200, fill} if isinstance(fill, int) else {200})
    far = [make_view(even, n, limits(rotation=180, shift=0.5, zoom=0.5, shear=60, fill=fill), 0) for n in range(1, 40)]
    assert min(each.min() for each in far) == corner


def test_fill_brings_in_the_edge_the_mirror_image_or_the_other_side() -> None:
    """A ramp from left to right, shifted."""
    ramp = np.tile(np.arange(0, 240, 10, dtype=np.uint8)[None, :, None], (24, 1, 1))
    jumps = {}
    for fill in ("nearest", "reflect", "wrap"):
        steps = [np.diff(each[12, :, 0].astype(int)) for each in views_of(ramp, 20, shift=0.4, fill=fill)]
        jumps[fill] = [step for step in steps if np.abs(step).max() > 0]
    assert all(step.min() >= 0 and step.max() <= 11 for step in jumps["nearest"])  # level, then rising
    assert all(np.abs(step).max() <= 11 for step in jumps["reflect"])
    assert any(step.min() < -5 for step in jumps["reflect"])  # falling, then rising
    assert sum(step.min() < -100 for step in jumps["wrap"]) > 15  # from the brightest to the darkest


def test_brightness_multiplies_within_its_limit() -> None:
    means = [each.mean() / 100 for each in views_of(np.full((8, 8, 3), 100, dtype=np.uint8), brightness=0.2)]
    assert 0.79 <= min(means) < 0.83
    assert 1.17 < max(means) <= 1.21


def test_contrast_stretches_around_the_mean_gray() -> None:
    halves = np.repeat(np.array([80, 120], dtype=np.uint8), 32).reshape(8, 8, 1)
    seen = views_of(halves, contrast=0.5)
    ranges = [(int(each.max()) - int(each.min())) / 40 for each in seen]
    assert 0.5 <= min(ranges) < 0.6
    assert 1.4 < max(ranges) <= 1.5
    assert all(abs(each.mean() - 100) < 1.5 for each in seen)


def test_color_changes_saturation_and_leaves_gray_alone() -> None:
    reddish = np.tile(np.array([150, 100, 90], dtype=np.uint8), (8, 8, 1))
    spreads = [np.ptp(each[0, 0].astype(int)) / 60 for each in views_of(reddish, color=0.5)]
    assert 0.45 < min(spreads) < 0.6
    assert 1.4 < max(spreads) < 1.55
    for gray in (bar(), np.repeat(bar(), 3, axis=2)):
        assert all(np.array_equal(each, gray) for each in views_of(gray, 10, color=1))


def test_hue_turns_colors_either_way_and_leaves_gray_alone() -> None:
    red = np.tile(np.array([200, 50, 50], dtype=np.uint8), (8, 8, 1))
    turns = [Image.fromarray(each).convert("HSV").getpixel((0, 0))[0] for each in views_of(red, hue=0.1)]
    turns = [(turn + 128) % 256 - 128 for turn in turns]
    assert -26 <= min(turns) < -20
    assert 20 < max(turns) <= 26
    for each in views_of(red, 20, hue=0.5):
        assert (int(each.max()), int(each.min())) == pytest.approx((200, 50), abs=1)
    for gray in (bar(), np.repeat(bar(), 3, axis=2)):
        assert all(np.array_equal(each, gray) for each in views_of(gray, 10, hue=0.5))


def test_cutout_cuts_a_square_that_may_reach_over_the_edge() -> None:
    even = np.full((40, 40, 3), 200, dtype=np.uint8)
    for fill, gray in ((0, 0), (90, 90), ("reflect", 128)):
        seen = views_of(even, 100, cutout=0.3, fill=fill)
        cut = [each[..., 0] == gray for each in seen]
        assert max(mask.sum() for mask in cut) == 12 * 12
        for mask in cut:
            rows, columns = mask.any(1).sum(), mask.any(0).sum()
            assert mask.sum() == rows * columns
            assert 6 <= rows <= 12
        assert {0, 39} <= {int(row) for mask in cut for row in np.flatnonzero(mask.any(1))}
    assert all(np.all(each == 0) or each.max() == 200 for each in views_of(even, cutout=1))


def one_color(count: int, side: int = 16) -> tuple[list[np.ndarray], np.ndarray]:
    """Return even images, each of its own gray, and their classes: 0, 1 and 2 in turn."""
    return [np.full((side, side, 1), 3 * n, dtype=np.uint8) for n in range(count)], np.arange(count) % 3


def drawn(images: list[np.ndarray], labels: np.ndarray, views: int = 4, **settings: Any) -> Any:
    seen = list(make_views(images, labels, views, 3, limits(**settings), seed=1))
    targets = np.stack([target for _, target in seen]).reshape(len(images), views, 3)
    assert targets.dtype == np.float32
    np.testing.assert_allclose(targets.sum(-1), 1, atol=1e-6)
    return np.stack([pixels for pixels, _ in seen]).reshape(len(images), views, *images[0].shape), targets


def test_without_mixing_targets_are_the_classes() -> None:
    images, labels = one_color(5)
    pixels, targets = drawn(images, labels)
    np.testing.assert_array_equal(targets, np.repeat(np.eye(3, dtype=np.float32)[labels][:, None], 4, axis=1))
    np.testing.assert_array_equal(pixels[:, 2], images)


def test_mixup_is_the_weighted_sum_of_two_images_and_of_their_classes() -> None:
    images, labels = one_color(30)
    pixels, targets = drawn(images, labels, 6, mixup=1)
    np.testing.assert_array_equal(pixels[:, 0], images)  # view 0 is never mixed
    np.testing.assert_array_equal(targets[:, 0], np.eye(3)[labels])
    assert np.all(np.ptp(pixels, axis=(2, 3, 4)) == 0)
    shares = set()
    for place, label in enumerate(labels):
        for number in range(1, 6):
            gray, target = int(pixels[place, number, 0, 0, 0]), targets[place, number]
            if target.max() < 1:
                partners = [n for n in range(30) if n != place and target[labels[n]] > 0 and labels[n] != label]
                share = float(target[label])
                assert any(abs(share * 3 * place + (1 - share) * 3 * n - gray) <= 0.5 + 1e-3 for n in partners)
                shares.add(round(share, 3))
    assert len(shares) > 50
    assert min(shares) < 0.1
    assert max(shares) > 0.9


def test_cutmix_puts_in_a_rectangle_whose_area_is_the_share() -> None:
    images, labels = one_color(30)
    pixels, targets = drawn(images, labels, 6, cutmix=1)
    np.testing.assert_array_equal(pixels[:, 0], images)
    across = 0
    for place, label in enumerate(labels):
        for number in range(1, 6):
            inside = pixels[place, number, ..., 0] != 3 * place
            assert inside.sum() == inside.any(0).sum() * inside.any(1).sum()
            assert len(np.unique(pixels[place, number][inside])) <= 1
            if inside.any():
                partner = int(pixels[place, number][inside][0, 0]) // 3
                expected = (1 - inside.mean()) * np.eye(3)[label] + inside.mean() * np.eye(3)[labels[partner]]
                np.testing.assert_allclose(targets[place, number], expected, atol=1e-6)
                across += 1
    assert across > 100


def test_with_both_on_half_of_the_views_are_mixed_in_either_way() -> None:
    images, labels = one_color(60)
    pixels, _ = drawn(images, labels, 6, mixup=1, cutmix=1)
    even = (np.ptp(pixels[:, 1:], axis=(2, 3, 4)) == 0).mean()
    assert 0.4 < even < 0.75  # a sum is even; so is a rectangle that happens to lie outside


def test_partners_come_from_a_window_that_nothing_else_moves() -> None:
    images, labels = one_color(WINDOW + 20, side=4)
    full, targets = drawn(images, labels, 3, mixup=1)
    first, first_targets = drawn(images[:WINDOW], labels[:WINDOW], 3, mixup=1)
    np.testing.assert_array_equal(full[:WINDOW], first)
    np.testing.assert_array_equal(targets[:WINDOW], first_targets)
    alone, _ = drawn(images[:1], labels[:1], 3, mixup=1)
    np.testing.assert_array_equal(alone, np.stack([images[:1]] * 3, axis=1))


def test_unmixed_views_do_not_depend_on_the_other_images() -> None:
    pixels, labels = pictures(12, side=16)
    settings = {**EVERYTHING, "mixup": 0, "cutmix": 0}
    there, _ = drawn(list(pixels), labels, **settings)
    back, _ = drawn(list(pixels[::-1]), labels[::-1], **settings)
    np.testing.assert_array_equal(there, back[::-1])


def test_fresh_views_differ_from_epoch_to_epoch_and_repeat_with_the_seed() -> None:
    pixels, labels = pictures(12, side=16, channels=3)
    rows = np.array([1, 4, 7])
    plain = {**EVERYTHING, "mixup": 0, "cutmix": 0}
    data = AugmentedData(pixels, labels, 2, augment=plain, seed=1)
    assert (len(data), data.classes) == (12, 2)
    first, targets = data.batch(rows, epoch=0)
    second, _ = data.batch(rows, epoch=1)
    assert first.dtype == np.uint8
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(targets, np.eye(2, dtype=np.float32)[labels[rows]])
    for place, row in enumerate(rows):
        np.testing.assert_array_equal(second[place], make_view(pixels[row], 2, Augment(**plain), seed=1))
    np.testing.assert_array_equal(AugmentedData(pixels, labels, 2, augment=plain, seed=1).batch(rows, 0)[0], first)
    np.testing.assert_array_equal(data.batch(rows[::-1], 0)[0], first[::-1])
    assert not np.array_equal(AugmentedData(pixels, labels, 2, augment=plain, seed=2).batch(rows, 0)[0], first)


def test_fresh_views_are_mixed_with_rows_of_their_batch() -> None:
    images, labels = one_color(6)
    data = AugmentedData(np.stack(images), labels, 3, augment=limits(mixup=1).model_dump(), seed=1)
    pixels, targets = data.batch(np.array([0, 5]), epoch=0)
    assert pixels.shape == (2, 16, 16, 1)
    np.testing.assert_allclose(targets.sum(1), 1, atol=1e-6)
    np.testing.assert_array_equal(targets[:, 1], 0)  # neither shows class 1
    assert np.all(targets[:, [0, 2]] > 0)
    np.testing.assert_allclose(pixels[:, 0, 0, 0], targets[:, 2] * 15, atol=0.51)
    again = mix_view(0, [images[0], images[5]], np.eye(3)[[0, 2]], 1, limits(mixup=1), 1, lambda n: images[5 * n])
    np.testing.assert_array_equal(pixels[0], again[0])


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_of_rand_augment_do_nothing_at_magnitude_0_and_something_at_30(name: str, mode: str) -> None:
    image = Image.fromarray(pictures(1, side=32, channels=3)[0][0]).convert(mode)
    before = np.asarray(image).astype(int)
    stays = name in ("auto_contrast", "equalize")  # these have no magnitude
    calm, strong = (np.asarray(OPERATIONS[name](image, strength, 0)).astype(int) for strength in (0.0, 1.0))
    assert calm.shape == strong.shape == before.shape
    assert stays or np.array_equal(calm, before)
    idle = name == "identity" or (name == "color" and mode == "L")
    assert (np.abs(strong - before).mean() > 2) == (not idle)


def test_rand_augment_grows_with_its_magnitude_and_is_off_with_no_operation() -> None:
    pixels = (pictures(1, side=32, channels=3)[0][0] // 2 + 60).astype(np.uint8)
    image = Image.fromarray(pixels)
    assert rand_augment(image, 0, 30, 0, np.random.default_rng(0)) is image
    assert all(
        np.array_equal(each, pixels) for each in views_of(pixels, 5, rand_augment={"operations": 0, "magnitude": 30})
    )

    def difference(magnitude: float) -> float:
        seen = views_of(pixels, 100, rand_augment={"operations": 1, "magnitude": magnitude})
        return float(np.median([np.abs(each.astype(int) - pixels).mean() for each in seen]))

    differences = [difference(magnitude) for magnitude in (0, 5, 15, 30)]
    assert differences[0] == 0
    assert all(low < high for low, high in pairwise(differences))


def test_rand_augment_is_that_of_the_paper() -> None:
    """Its 14 operations (section 3), with AutoAugment's ranges at the highest magnitude."""
    assert len(OPERATIONS) == 14
    turned = Image.fromarray(bar(65)[..., 0])
    assert abs(lean(np.asarray(OPERATIONS["rotate"](turned, 1.0, 0))[..., None])) == pytest.approx(30, abs=0.5)
    even = Image.new("L", (331, 331), 200)
    shifted = np.asarray(OPERATIONS["shift_x"](even, 1.0, 7))
    assert (shifted[0] == 7).sum() == 150
    assert (np.asarray(OPERATIONS["shift_y"](even, -1.0, 7))[:, 0] == 7).sum() == 150
    assert np.asarray(OPERATIONS["brightness"](even, -1.0, 0)).max() == 20
    levels = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    assert len(np.unique(np.asarray(OPERATIONS["posterize"](levels, 1.0, 0)))) == 16
    np.testing.assert_array_equal(np.asarray(OPERATIONS["solarize"](levels, 1.0, 0)), 255 - np.asarray(levels))


def test_views_of_ink_stay_light_on_black(shared: Any) -> None:
    path = sorted((shared / "datasets" / "own_digits").rglob("*.jpg"))[0]
    digit = load(path.read_bytes(), Contract(28, 1, "ink", "dark_on_light", "stretch"))
    for each in views_of(digit, 20, rotation=15, shift=0.08, shear=10, zoom=0.1):
        assert each.shape == (28, 28, 1)
        assert each[[0, -1]].max() < 60
        assert 0.5 < each.astype(float).sum() / digit.astype(float).sum() < 1.6
    mixture, _ = drawn([digit, digit[::-1]], np.array([0, 1]), 3, cutmix=1, mixup=1)
    assert mixture.shape == (2, 3, 28, 28, 1)
