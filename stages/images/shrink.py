"""Make an image smaller by averaging."""

from PIL import Image


def shrink(image: Image.Image, longest: int) -> Image.Image:
    """Average an image down to ``longest`` pixels; leave a smaller one as it is."""
    scale = longest / max(image.size)
    if scale >= 1:
        return image
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.BOX)
