"""Recognize data sets that are not images with one class each (boxes, masks, pickles), and say what to use instead."""

import re
from collections.abc import Iterator

from stages.base.errors import UserError
from stages.sources.columns import ONE_CLASS
from stages.sources.tree import Folder, is_image

# Lowercase names of sibling folders in data sets with boxes, masks or key points.
_PICTURES = re.compile(r"images?|imgs?|jpegimages|photos|leftimg8bit")
_ANNOTATIONS = re.compile(
    r"annotations?|labels|masks?|trimaps|(b|bounding_?)?boxes|segmentation(class|object)?|ground_?truth|gt(fine)?|imagesets"
)
_PICKLED = "is pickled, and reading a pickle can run any code"
_OTHERS = (
    (r"(data_batch_\d|test_batch|batches\.meta)$", f"{_PICKLED}; use the binary version (fetch.items: [cifar10])"),
    (r"\.(pkl|pickle|joblib)$", f"{_PICKLED}; save its images as files in class folders, or as .npz"),
    (r"\.(pt|pth|ckpt)$", f"{_PICKLED}; save its images as files in class folders"),
    (r"\.mat$", "is a MATLAB file; save its images as files in class folders, or as .npz"),
    (r"\.(h5|hdf5)$", "is an HDF5 file; save its images as files in class folders, or as .npz"),
    (r"\.npy$", "is an array without labels; save images and labels together: numpy.savez(file, x_train=…, y_train=…)"),
    (r"\.(tfrecord|tfrecords)$|\.tfrecord-\d", "is a TFRecord file; save its images as files in class folders"),
    (r"\.arrow$", "is an Arrow file; write it with to_parquet(), which Thaw reads"),
    (r"\.(lmdb|mdb)$", "is an LMDB database; save its images as files in class folders"),
    (r"\.(7z|rar|zst)$", "is an archive in an unsupported format; repack it as .zip or .tar"),
)
_BOXES = re.compile(
    r"(?P<COCO>(^|/)(_annotations\.coco|(instances|captions|person_keypoints|panoptic)_\w+)\.json$)"
    r"|(?P<Pascal_VOC>(^|/)imagesets/|(^|/)annotations/.*\.xml$)"
    r"|(?P<Roboflow>(^|/)(_annotations|_classes)\.csv$)"
)


def refuse_annotations(root: Folder, where: str) -> None:
    """Refuse a data set with boxes or masks, whose folders would otherwise be read as classes.

    Args:
        root: the data set.
        where: its name in messages.

    Raises:
        UserError: a folder of images has a sibling with annotations.
    """
    for path, folder in _folders(root):
        names = sorted(folder.folders)
        pictures, annotations = (
            [name for name in names if kind.fullmatch(name.lower())] for kind in (_PICTURES, _ANNOTATIONS)
        )
        if pictures and annotations:
            found = f"{pictures[0]}/ next to {annotations[0]}/"
            raise UserError(_explain_boxes(f"{where}/{path}".rstrip("/"), found))


def explain_foreign(root: Folder, where: str) -> str | None:
    """Return why a data set without class folders cannot be read, or None if its files do not show why.

    Args:
        root: the data set.
        where: its name in messages.
    """
    paths = [path for path, _ in root.walk()]
    for path in paths:
        if found := _BOXES.search(path.lower()):
            kind = next(name for name, text in found.groupdict().items() if text)
            return _explain_boxes(where, f"{path}, the format of {kind.replace('_', ' ')}")
    if any(map(is_image, paths)):
        return None
    foreign = [(path, what) for path in paths for pattern, what in _OTHERS if re.search(pattern, path.lower())]
    if 2 * len(foreign) < max(len(paths), 1):
        return None
    return f"{where}: {foreign[0][0]} {foreign[0][1]}."


def _explain_boxes(where: str, found: str) -> str:
    return (
        f"{where} holds boxes, masks or several labels per image ({found}). {ONE_CLASS}: expected class folders, or a "
        "table of files and classes in split.labels. Where these folders are classes, rename them."
    )


def _folders(folder: Folder, path: str = "") -> Iterator[tuple[str, Folder]]:
    yield path, folder
    for name in sorted(folder.folders):
        yield from _folders(folder.folders[name], f"{path}{name}/")
