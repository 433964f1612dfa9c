"""Decoding and the one loader: what users feed it becomes right pixels, or one line that says why not."""

import contextlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin, TiffTags

from stages.images.contract import Contract, Fit
from stages.images.decode import BadImage, NotAnImage, decode
from stages.images.load import load
from tests.conftest import PROJECT
from tests.helpers.copies import run

# What each awkward file is: mode and size of the decoded image, or words of the reason why it is refused.
BOMB, BROKEN = "89,478,485 pixels", "truncated or broken"
AWKWARD: dict[str, tuple[str, tuple[int, int]] | str] = {
    "16bit.cropped.tif": ("L", (64, 64)),
    "apng_mode_16bit.png": ("RGB", (128, 64)),
    "bmp_b_reallybig.bmp": BOMB,
    "broken.png": BROKEN,
    "broken_data_stream.png": BROKEN,
    "decompression_bomb.gif": BOMB,
    "dispose_bgnd_transparency.gif": ("RGB", (38, 32)),
    "exif_imagemagick_orientation.png": ("RGB", (512, 512)),
    **{f"exif_landscape_{n}.jpg": ("RGB", (1800, 1200)) for n in (1, 3, 6, 8)},
    "flower.jpg": ("RGB", (480, 360)),
    "flower2.jpg": ("RGB", (300, 225)),
    **{f"hopper.{suffix}": ("RGB", (128, 128)) for suffix in ("bmp", "gif", "jpg", "png", "tif", "webp")},
    **{f"hopper_orientation_{n}.jpg": ("RGB", (128, 128)) for n in range(2, 9)},
    "i_trns.png": ("L", (64, 64)),
    "iss634.gif": ("RGB", (245, 245)),
    "l2rgb_read.bmp": BOMB,
    "p_trns_single.png": ("RGB", (64, 64)),
    "pil123p.png": ("RGB", (162, 150)),
    "pil_sample_cmyk.jpg": ("RGB", (100, 100)),
    "png_decompression_dos.png": "1 MB",
    "truncated_end_chunk.png": BROKEN,
    "truncated_image.png": BROKEN,
    "truncated_jpeg.jpg": BROKEN,
    "uncompressed_la.png": ("L", (128, 128)),
}


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture(width: int = 40, height: int = 30, channels: int = 3) -> Image.Image:
    """A picture that no rotation, mirroring or inversion leaves as it is."""
    y, x = np.mgrid[:height, :width]
    planes = [x * 255 // width, y * 255 // height, (x + y) * 100 // (width + height)][:channels]
    stacked = np.stack(planes, axis=-1).astype(np.uint8)
    return Image.fromarray(stacked if channels > 1 else stacked[..., 0])


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


@pytest.fixture(scope="module")
def awkward(shared: Path) -> Path:
    return shared / "datasets" / "awkward"


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_file_is_decoded_or_refused_without_a_word(
    awkward: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    expected, data = AWKWARD[name], (awkward / name).read_bytes()
    if isinstance(expected, str):
        with pytest.raises(BadImage) as refusal:
            decode(data)
        assert expected in str(refusal.value)
        assert "\n" not in str(refusal.value)
    else:
        image = decode(data)
        assert (image.mode, image.size) == expected
    assert capfd.readouterr() == ("", "")


DECODE_ALL = """
import sys
from contextlib import suppress
from pathlib import Path
from stages.images.decode import BadImage, decode

for path in Path(sys.argv[1]).iterdir():
    with suppress(BadImage):
        decode(path.read_bytes())
"""


def test_pillows_warnings_are_not_shown(awkward: Path) -> None:
    assert run("python", "-c", DECODE_ALL, str(awkward), cwd=PROJECT, PYTHONWARNINGS="always") == ""


def test_every_awkward_file_is_expected(awkward: Path) -> None:
    assert sorted(AWKWARD) == sorted(path.name for path in awkward.iterdir())


def test_the_same_picture_in_other_clothes_looks_the_same(awkward: Path) -> None:
    def small(name: str) -> np.ndarray:
        return pixels(decode((awkward / name).read_bytes()).resize((32, 32), Image.Resampling.BOX))

    others = [f"hopper.{suffix}" for suffix in ("bmp", "gif", "jpg", "tif", "webp")]
    for name in [*others, *(f"hopper_orientation_{n}.jpg" for n in range(2, 9))]:
        assert np.abs(small(name) - small("hopper.png")).mean() < 6, name
    for n in (3, 6, 8):
        # each shows its own number in the middle
        difference = np.abs(small(f"exif_landscape_{n}.jpg") - small("exif_landscape_1.jpg"))
        assert difference.mean() < 2, n


def test_cmyk_jpeg_has_its_colors(awkward: Path) -> None:
    red, green, blue = pixels(decode((awkward / "pil_sample_cmyk.jpg").read_bytes()))[1, 5]
    assert red > 200
    assert max(green, blue) < 60


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: a.transpose(1, 0, 2)[:, ::-1],
        7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
        8: lambda a: a.transpose(1, 0, 2)[::-1],
    }[orientation](pixels(picture()))
    options = {"quality": 95} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    upright = pixels(decode(encode(picture(), kind, exif=exif, **options)))
    assert upright.shape == turned.shape
    assert np.abs(upright - turned).mean() < (3 if kind == "JPEG" else 0.01)


def test_a_broken_exif_block_does_not_matter() -> None:
    data = encode(picture(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40)
    assert decode(data).size == (40, 30)


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (128, 0), (129, 1), (257, 1), (32896, 128), (65535, 255)])
def test_16_bit_gray_is_scaled_by_its_full_range(value: int, expected: int) -> None:
    values = np.full((4, 5), value, dtype=np.uint16)
    for kind in ("PNG", "TIFF"):
        image = decode(encode(Image.fromarray(values), kind))
        assert (image.mode, image.size, set(np.asarray(image).ravel())) == ("L", (5, 4), {expected})


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0.0, 0.5, 1.0]], dtype=np.float32), [0, 128, 255]),  # shares of white
        (np.array([[-10.0, 0.0, 10.0]], dtype=np.float32), [0, 0, 255]),  # what lies outside is black or white
        (np.array([[0, 32896, 65535]], dtype=np.int32), [0, 128, 255]),
        (np.array([[-5, 0, 1 << 21]], dtype=np.int32), [0, 0, 255]),
    ],
)
def test_gray_values_of_other_types(values: np.ndarray, expected: list[int]) -> None:
    assert np.asarray(decode(encode(Image.fromarray(values), "TIFF"))).tolist() == [expected]


def test_gray_values_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(BadImage, match="NaN or infinite"):
        decode(encode(Image.fromarray(np.array([[0.0, np.nan]], dtype=np.float32)), "TIFF"))


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
def test_transparent_parts_are_white(mode: str) -> None:
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (0, 0, 0, 255))
    data = encode(image, "GIF") if mode == "P" else encode(image.convert(mode))
    decoded = decode(data)
    assert decoded.mode == ("L" if mode == "LA" else "RGB")
    assert np.asarray(decoded.convert("L")).tolist() == [[255, 0]]


def test_of_an_animation_it_is_the_first_frame() -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        data = encode(frames[0], kind, save_all=True, append_images=frames[1:])
        assert decode(data).getpixel((4, 4))[0] > 240, kind  # type: ignore[index]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"These are words, not an image.", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        (encode(picture())[:60], BROKEN),
        (encode(picture(), "JPEG")[:-40], BROKEN),
    ],
)
def test_what_is_no_whole_image_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(BadImage, match=reason):
        decode(data)


def tiff(**tags: object) -> bytes:
    """A picture with these tags, which are given as ``tag_NUMBER``."""
    info = TiffImagePlugin.ImageFileDirectory_v2()
    for name, value in tags.items():
        number = int(name.removeprefix("tag_"))
        info.tagtype[number] = TiffTags.BYTE if isinstance(value, bytes) else TiffTags.LONG
        info[number] = value
    return encode(picture(), "TIFF", tiffinfo=info)


def box(*brands: bytes) -> bytes:
    """The first box of a file in one of MPEG's containers."""
    first, *others = brands
    content = b"ftyp" + first + bytes(4) + b"".join(others)
    return (len(content) + 4).to_bytes(4) + content + bytes(200)


def cr2() -> bytes:
    """A gray picture of 2 x 2 pixels behind the header of Canon's raw files."""
    entries = {256: 2, 257: 2, 258: 8, 259: 1, 262: 1, 273: 130, 278: 2, 279: 4}
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items())
    header = b"II*\0\x10\0\0\0CR\2\0" + bytes(4)
    return header + struct.pack("<H", len(entries)) + directory + bytes(16) + bytes(4)


OTHER_FORMATS = {
    "DNG": (tiff(tag_50706=b"\1\4\0\0"), "a camera's raw file"),
    "CR2": (cr2(), "a camera's raw file"),
    "CR2, cut": (cr2()[:40], "a camera's raw file"),
    "NEF, ARW": (tiff(tag_254=1, tag_330=8), "a camera's raw file"),
    "CR3": (box(b"crx ", b"isom"), "a camera's raw file"),
    "ORF": (b"IIRO\x08\0\0\0" + bytes(50), "a camera's raw file"),
    "RW2": (b"IIU\0\x18\0\0\0" + bytes(50), "a camera's raw file"),
    "RAF": (b"FUJIFILMCCD-RAW 0201" + bytes(50), "a camera's raw file"),
    "DICOM": (bytes(128) + b"DICM" + bytes(50), "a DICOM image"),
    "SVG": (b'<?xml version="1.0"?>\n<!-- drawn -->\n<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
    "SVG with a mark": (b'\xef\xbb\xbf<SVG width="1"/>', "an SVG drawing"),
    "PSD": (b"8BPS\0\1" + bytes(50), "a Photoshop file"),
    "JPEG XL": (b"\xff\x0a" + bytes(50), "a JPEG XL image"),
}
NO_IMAGES = {
    "git-LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", "`git lfs pull`"),
    "PDF": (b"%PDF-1.7\n", "a PDF"),
    "video": (box(b"isom", b"mp42"), "a video"),
    "web page": (b"<!DOCTYPE html><html><svg/></html>", "a web page"),
    "zip": (b"PK\3\4" + bytes(50), "an archive"),
    "words": (b"1 2 3\n", "not an image, or of a format"),
}


@pytest.mark.parametrize("kind", OTHER_FORMATS)
def test_images_in_other_formats_are_called_by_their_names(kind: str) -> None:
    data, reason = OTHER_FORMATS[kind]
    with pytest.raises(BadImage) as refusal:
        decode(data)
    assert reason in str(refusal.value)
    assert "which cannot be read here; export it as" in str(refusal.value)
    assert not isinstance(refusal.value, NotAnImage)


@pytest.mark.parametrize("kind", NO_IMAGES)
def test_what_is_no_image_is_told_from_images(kind: str) -> None:
    data, reason = NO_IMAGES[kind]
    with pytest.raises(NotAnImage) as refusal:
        decode(data)
    assert reason in str(refusal.value)


def test_tags_that_pictures_have_as_well_make_no_raw_file() -> None:
    for data in (tiff(), tiff(tag_254=0, tag_330=8), tiff(tag_254=1)):
        assert decode(data).size == (40, 30)
    plain = cr2().replace(b"CR\2\0", bytes(4))
    assert decode(plain).size == (2, 2)


def test_a_bomb_between_pillows_warning_and_its_error_is_refused() -> None:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    def white(side: int) -> bytes:
        header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
        rows = zlib.compress((b"\0" + b"\xff" * ((side + 7) // 8)) * side, 9)
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")

    assert decode(white(100)).size == (100, 100)
    with pytest.raises(BadImage, match="89,478,485 pixels"):
        decode(white(10_000))


@settings(max_examples=60)
@given(st.data())
def test_damaged_bytes_give_an_image_or_a_reason_and_nothing_else(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "PPM", "ICO"]))
    content = bytearray(encode(picture(), kind))
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=6)):
        content[place] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    with contextlib.suppress(BadImage):
        assert decode(bytes(content)).mode in ("L", "RGB")


def contract(size: int = 16, channels: int = 3, **changes: str) -> Contract:
    plain = {"form": "photo", "polarity": "light_on_dark", "fit": "stretch"}
    return Contract(size, channels, **{**plain, **changes})  # type: ignore[arg-type]


@settings(max_examples=40)
@given(
    width=st.integers(1, 60),
    height=st.integers(1, 60),
    size=st.integers(1, 40),
    channels=st.sampled_from([1, 3]),
    gray=st.booleans(),
    form=st.sampled_from(["photo", "ink"]),
    polarity=st.sampled_from(["light_on_dark", "dark_on_light"]),
    fit=st.sampled_from(["stretch", "crop", "pad"]),
)
def test_any_image_becomes_the_pixels_of_any_contract(
    width: int, height: int, size: int, channels: int, gray: bool, form: str, polarity: str, fit: str
) -> None:
    data = encode(picture(width, height, 1 if gray else 3).convert("L" if gray else "RGB"))
    # Handwriting cannot be told from the paper in each.
    with contextlib.suppress(BadImage) if form == "ink" else contextlib.nullcontext():
        loaded = load(data, contract(size, channels, form=form, polarity=polarity, fit=fit))
        assert (loaded.shape, loaded.dtype) == ((size, size, channels), np.uint8)


def test_an_image_of_the_right_size_keeps_its_pixels() -> None:
    data = encode(picture(28, 28, 1))
    for fit in ("stretch", "crop", "pad"):
        assert np.array_equal(load(data, contract(28, 1, fit=fit))[..., 0], picture(28, 28, 1))
        inverted = load(data, contract(28, 1, fit=fit, polarity="dark_on_light"))
        assert np.array_equal(inverted[..., 0], 255 - np.asarray(picture(28, 28, 1)))


def test_color_becomes_luminance_and_gray_is_repeated() -> None:
    green = load(encode(Image.new("RGB", (9, 9), (0, 255, 0))), contract(4, 1))
    assert set(green.ravel()) == {150}  # 0.587 * 255
    gray = load(encode(picture(9, 9, 1)), contract(4, 3))
    assert np.array_equal(gray[..., 0], gray[..., 2])


def test_what_makes_an_image_square() -> None:
    wide = Image.new("RGB", (40, 20), "red")
    wide.paste("blue", (10, 0, 30, 20))  # the middle square
    crop, pad, stretch = (load(encode(wide), contract(20, 3, fit=fit)) for fit in ("crop", "pad", "stretch"))
    assert (crop == (0, 0, 255)).all()
    assert (pad[:5] == 0).all()
    assert (pad[15:] == 0).all()
    assert tuple(pad[10, 10]) == (0, 0, 255)
    assert tuple(pad[10, 1]) == (255, 0, 0)
    assert tuple(stretch[1, 1]) == (255, 0, 0)


def test_bars_are_black_on_either_side_of_the_inversion() -> None:
    data = encode(Image.new("L", (40, 20), 200))
    for polarity, value in (("light_on_dark", 200), ("dark_on_light", 55)):
        loaded = load(data, contract(20, 1, fit="pad", polarity=polarity))
        assert (set(loaded[:5].ravel()), set(loaded[5:15].ravel())) == ({0}, {value})


def test_every_awkward_file_passes_the_loader(awkward: Path) -> None:
    for name, expected in AWKWARD.items():
        data = (awkward / name).read_bytes()
        if isinstance(expected, str):
            for form in ("photo", "ink"):
                with pytest.raises(BadImage):
                    load(data, contract(28, 3, form=form))
            continue
        assert load(data, contract(28, 3)).shape == (28, 28, 3)
        with contextlib.suppress(BadImage):  # few show handwriting
            assert load(data, contract(28, 3, form="ink")).shape == (28, 28, 3)


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_a_large_photograph_is_reduced_by_its_decoder_and_looks_the_same(fit: Fit) -> None:
    draw = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    large = Image.fromarray(draw).resize((1600, 1200), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    large.save(buffer, "JPEG", quality=95)
    assert decode(buffer.getvalue(), enough=128).size == (200, 150)  # an eighth, and still more than 128
    assert decode(buffer.getvalue()).size == (1600, 1200)
    contract = Contract(64, 3, "photo", "light_on_dark", fit)
    reduced = load(buffer.getvalue(), contract).astype(int)
    buffer = io.BytesIO()
    large.save(buffer, "PNG")
    assert np.abs(reduced - load(buffer.getvalue(), contract)).mean() < 2
