"""Change the brightness, the contrast and the strength of the colours of an image."""

from PIL import Image, ImageEnhance


def recolour(image: Image.Image, brightness: float, contrast: float, colour: float) -> Image.Image:
    """Return ``image`` (mode L or RGB) recoloured; with a factor of 1 nothing is done.

    Args:
        brightness: what pixel values are multiplied by.
        contrast: what their difference from the image's mean grey is multiplied by.
        colour: what their difference from their own grey is multiplied by; a grey image has none.
    """
    if brightness != 1:
        image = ImageEnhance.Brightness(image).enhance(brightness)
    if contrast != 1:
        image = ImageEnhance.Contrast(image).enhance(contrast)
    if colour != 1 and image.mode != "L":
        image = ImageEnhance.Color(image).enhance(colour)
    return image
