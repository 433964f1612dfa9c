"""Decode an image file of any common format to RGB or grayscale, or say in one line why that is impossible."""

import io
import logging
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from stages.base.errors import UserError, summarize
from stages.images.bit_depth import convert_to_8_bits, is_deep
from stages.images.contract import Range

# The largest image that is decoded, a quarter of a gigabyte in RGB. It is Pillow's own limit, but Pillow only warns up
# to twice as many pixels.
MAX_PIXELS = 89_478_485

# Formats that Pillow decodes by itself. Others may run a program (EPS) or accept any bytes (TGA).
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF", "JPEG2000", "PPM", "ICO")

_SIGNATURES = (b"\xff\xd8", b"\x89PNG", b"GIF8", b"BM", b"RIFF", b"II*\0", b"MM\0*")
_LFS = b"version https://git-lfs.github.com/spec/"
_RAW = "a camera's raw file"
_CR2 = b"II*\0\x10\0\0\0CR"  # Canon until 2018: a TIFF file whose first directory follows these two letters
# Other formats: the position of their signature, the signature, the name.
_OTHERS = (
    (128, b"DICM", "a DICOM image"),
    (0, _CR2, _RAW),
    (0, b"FUJIFILMCCD-RAW", _RAW),
    (0, b"IIRO", _RAW),  # Olympus
    (0, b"IIRS", _RAW),
    (0, b"IIU\0", _RAW),  # Panasonic
    (0, b"\0MRM", _RAW),  # Minolta
    (0, b"FOVb", _RAW),  # Sigma
    (4, b"ftypcrx ", _RAW),  # Canon since 2018
    (0, b"8BPS", "a Photoshop file"),
    (0, b"\xff\x0a", "a JPEG XL image"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL image"),
)
# Brands of HEIF with HEVC (ISO 23008-12); mif1 and msf1 mean HEIF with any codec.
_HEIC = frozenset(b"heic heix heim heis hevc hevx hevm hevs mif1 mif2 msf1 heif".split())
_AVIF = frozenset((b"avif", b"avis"))
_CANNOT = "{}, which cannot be read here; export it as {}"
HEIC_EXTRA = "pip install -e '.[heic]'"
_SUBFILE, _SUB_IFDS, _DNG = 254, 330, 50706  # tags of TIFF
_BOMB = f"declares more than {MAX_PIXELS:,} pixels, the largest size allowed (a decompression bomb?)"

# Without a handler of its own, Pillow's logger would print to the terminal.
logging.getLogger("PIL").addHandler(logging.NullHandler())
# A refusal says all there is to say. Set once for the process: filters set around each image are not safe in threads.
warnings.filterwarnings("ignore", module=r"PIL\.")


class BadImage(Exception):  # noqa: N818 - it is the image that is wrong, not the program
    """An image file that cannot be used; ``str(error)`` is the reason, in one line."""


class NotAnImage(BadImage):
    """A file that does not look like an image of any format."""


class MissingReader(BadImage, UserError):  # noqa: N818 - as above
    """An image that needs an optional library.

    It is also a UserError: split may have read the image on another machine, which has the library.
    """


def decode(data: bytes, enough: int = 0, values: Range | None = None) -> Image.Image:
    """Decode an image file and convert it to 8 bits.

    Args:
        data: the bytes of the file.
        enough: see ``read_image``.
        values: see ``convert_to_8_bits``.

    Returns:
        The image in mode ``"L"`` (if the file is grayscale) or ``"RGB"``.
    """
    return convert_to_8_bits(read_image(data, enough), values)


def read_image(data: bytes, enough: int = 0) -> Image.Image:
    """Decode all pixels of an image file.

    The image is turned upright (EXIF orientation). An animation gives its first frame. Transparent parts become white.

    Args:
        data: the bytes of the file, in one of ``FORMATS``, or HEIC if pi-heif is installed.
        enough: the size in pixels to which the decoder may reduce each side: a JPEG is then decoded at 1/2, 1/4 or 1/8
            of its size, which is much faster. 0: full size.

    Returns:
        The image in mode ``"L"`` (if the file is grayscale) or ``"RGB"``; with gray values of more than 8 bits in the
        file's own mode (see ``stages.images.bit_depth``).

    Raises:
        BadImage: the file is empty, of an unknown format, truncated, broken, or a decompression bomb.
    """
    if not data:
        raise NotAnImage("empty file")
    try:
        heic = _is_heic(data)
        image = _open_heic(data) if heic else Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise BadImage(_BOMB)
        if _is_raw(image, data):
            raise BadImage(_CANNOT.format(_RAW, "JPEG"))
        if enough:
            image.draft(None, (enough, enough))
        image.load()
        if image.mode == "F" and not np.isfinite(np.asarray(image)).all():
            raise BadImage("contains NaN or infinite values")
        if not heic:  # pi-heif has turned it already
            _turn_upright(image)
        return _simplify_mode(image)
    except BadImage:
        raise
    except Image.DecompressionBombError:
        raise BadImage(_BOMB) from None
    except UnidentifiedImageError:
        raise _explain_unknown(data) from None
    except Exception as error:  # parsers raise all kinds of errors on broken input
        raise BadImage(_explain(error)) from None


def _turn_upright(image: Image.Image) -> None:
    """Turn an image in place as its EXIF block says. A broken block does not make the pixels worse."""
    try:
        ImageOps.exif_transpose(image, in_place=True)  # pixels first, then the block, whose error no longer matters
    except MemoryError:
        raise
    except Exception:
        pass


def _simplify_mode(image: Image.Image) -> Image.Image:
    """Convert an image to mode "L" or "RGB", unless it has more than 8 bits."""
    if is_deep(image):
        return image
    gray = image.mode in ("1", "L", "LA", "La")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L" if gray else "RGB")


def _brands(data: bytes) -> set[bytes]:
    """Return the brands of a file in an MPEG container; none for other files."""
    if data[4:8] != b"ftyp":
        return set()
    return {data[at : at + 4] for at in range(8, min(int.from_bytes(data[:4]), 256), 4)}


def _is_heic(data: bytes) -> bool:
    brands = _brands(data)
    return bool(brands & _HEIC) and not brands & _AVIF


def _open_heic(data: bytes) -> Image.Image:
    try:
        from pi_heif import HeifImageFile  # here: it is optional
    except ImportError:
        raise MissingReader(f"a HEIC photograph, which needs `{HEIC_EXTRA}`; or export it as JPEG") from None
    # Opened by its class: the plugin that pi-heif registers with Pillow does not accept all brands.
    image: Image.Image = HeifImageFile(io.BytesIO(data))
    return image


def _is_raw(image: Image.Image, data: bytes) -> bool:
    """Return whether a TIFF file is a camera's raw file, whose first picture is a small preview."""
    if image.format != "TIFF":
        return False
    tags = getattr(image, "tag_v2", {})
    preview = _SUB_IFDS in tags and tags.get(_SUBFILE) == 1
    return data.startswith(_CR2) or _DNG in tags or preview


def _explain_unknown(data: bytes) -> BadImage:
    if data.startswith(_LFS):
        return NotAnImage("a git-LFS pointer instead of the file; get it with `git lfs pull`")
    for start, mark, what in _OTHERS:
        if data[start : start + len(mark)] == mark:
            return BadImage(_CANNOT.format(what, "JPEG" if what == _RAW else "PNG"))
    if data[4:8] == b"ftyp":
        if not _brands(data) & _AVIF:
            return NotAnImage("not an image but a video or sound")
        return BadImage("truncated or broken: its header cannot be read")
    begin = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if begin.startswith((b"<!doctype html", b"<html")):
        return NotAnImage("not an image but a web page, perhaps an answer in place of a download")
    if begin.startswith(b"<") and b"<svg" in begin:
        return BadImage(_CANNOT.format("an SVG drawing", "PNG"))
    if begin.startswith((b"%pdf", b"%!ps")):
        return NotAnImage("not an image but a PDF or PostScript document; export its pictures as PNG")
    if data.startswith((b"PK\3\4", b"\x1f\x8b")):
        return NotAnImage("not an image but an archive; unpack it")
    if data.startswith(_SIGNATURES):
        return BadImage("truncated or broken: its header cannot be read")
    return NotAnImage("not an image, or of a format that cannot be read (JPEG, PNG, GIF, BMP, WebP, TIFF, AVIF can)")


def _explain(error: Exception) -> str:
    text = summarize(error)
    if "MAX_TEXT_CHUNK" in text or "MAX_TEXT_MEMORY" in text:
        return "its text unpacks to more than 1 MB, the largest size allowed (a decompression bomb?)"
    return f"truncated or broken: {text}"
