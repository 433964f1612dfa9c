"""What a data set holds: images with their classes, from a folder or an archive.

SET/CLASS/*.jpg|png|...                    class folders; images may lie in folders below, too
SET/train/CLASS/..., SET/test/CLASS/...    class folders with a published division
SET.zip, SET.tar, SET.tar.gz|bz2|xz        an archive of such folders; read without unpacking it to files
SET/SET.zip                                a folder that holds just the archive, as fetched; or one in another
cifar-10-batches-bin/*.bin                 CIFAR-10 or CIFAR-100 in binary form, in an archive or not
SET/train-images-idx3-ubyte.gz, ...        the four idx files of MNIST, under their published names, packed or not
"""

import os
from pathlib import Path

from stages.base.stage import UserError
from stages.sources.archives import SUFFIXES, allowance, is_archive, read_archive
from stages.sources.cifar import is_cifar, read_cifar
from stages.sources.mnist import is_mnist, read_mnist
from stages.sources.sample import DataSet, Part, Sample
from stages.sources.tree import Folder, file_on_disk, is_image, natural, on_disk

PARTS = frozenset(("train", "test", "val", "valid", "validation"))
NESTED = 2  # archives in archives

LAYOUT = (
    "class folders (NAME/CLASS/*.jpg|png|...), an archive of such folders (NAME.zip, NAME.tar.gz, ...), "
    "or the four idx files of MNIST (train-images-idx3-ubyte.gz, ...)"
)


def read_set(source: Path) -> DataSet:
    """Read the data set that ``source``, a folder or an archive, holds; its images are read when they are asked for.

    A single folder around the class folders is entered, and so is an archive that nothing else than papers lie beside.

    Raises:
        UserError: it is no data set; the message says what one looks like.
    """
    if source.is_dir():
        if is_mnist(source):
            return read_mnist(source)
        root, allowed = on_disk(source), _allowed(source)
    elif source.is_file():
        if not is_archive(source.name):
            raise UserError(f"{source}: expected an archive ({', '.join(SUFFIXES)}) or a folder of {LAYOUT}.")
        allowed = allowance(source.stat().st_size)
        root = read_archive(file_on_disk(source), str(source), allowed)
    else:
        raise UserError(f"{source} is missing. A data set is a folder of {LAYOUT}.")
    where, above, folder = _entered(root, str(source), allowed)
    if is_cifar(folder):
        return read_cifar(folder, where)
    classes: set[str] = set()
    samples = []
    for part, division in _parts(folder, where).items():
        below = f"{above}{part}/" if part else above
        for name in natural(division.folders):
            classes.add(_text(name))
            for path, file in division.folders[name].walk(f"{below}{name}/"):
                samples.append(Sample(_text(path), _text(name), part, file.read))
    return DataSet(natural(classes), samples)


def _entered(folder: Folder, where: str, allowed: int) -> tuple[str, str, Folder]:
    """Return the folder that the class folders lie in, what to call it, and its path in its archive."""
    above, nested = "", 0
    while not folder.images():
        archives = sorted(filter(is_archive, folder.files))
        if len(folder.folders) == 1:
            ((name, inner),) = folder.folders.items()
            if not (inner.folders or is_cifar(inner) or any(map(is_archive, inner.files))):
                break  # it is a class
            above, folder = f"{above}{name}/", inner
        elif archives and not folder.folders and nested < NESTED:
            opened = {name: read_archive(folder.files[name], f"{where}/{above}{name}", allowed) for name in archives}
            found = {name: inner for name, inner in opened.items() if _holds_images(inner)}
            if len(found) != 1:
                raise UserError(
                    f"{where}: expected one archive of images, found {len(found)} among {', '.join(archives)}. "
                    "Name the one to use, or move the others away."
                )
            ((name, folder),) = found.items()
            where, above, nested = f"{where}/{above}{name}", "", nested + 1
        else:
            break
    return where, above, folder


def _holds_images(folder: Folder) -> bool:
    return any(is_image(path) or is_archive(path) or path.endswith(".bin") for path, _ in folder.walk())


def _parts(folder: Folder, where: str) -> dict[Part | None, Folder]:
    """The roots of the class folders: the folder itself, or its train and test folders."""
    names, loose = natural(folder.folders), folder.images()
    if not names:
        found = f"{len(loose)} images, but no class folder" if loose else "no class folder"
        raise UserError(f"{where} holds {found}. A data set is a folder of {LAYOUT}.")
    if "train" in names and len(names) > 2 and set(names) <= PARTS:
        raise UserError(
            f"{where}: expected folders train and test, or class folders; found {', '.join(names)}. Move the images "
            "of the third into the class folders of train: split.val takes validation images from there."
        )
    if sorted(names) == ["test", "train"] and all(inner.folders for inner in folder.folders.values()):
        return {"train": folder.folders["train"], "test": folder.folders["test"]}
    if loose:
        raise UserError(
            f"{where}: expected images in class folders, found {len(loose)} beside them ({', '.join(loose[:3])}"
            f"{', ...' if len(loose) > 3 else ''}). Move each into the folder of its class: {', '.join(names[:5])}"
            f"{', ...' if len(names) > 5 else ''}."
        )
    return {None: folder}


def _allowed(folder: Path) -> int:
    """What the archives in ``folder`` may unpack to."""
    return allowance(sum(path.stat().st_size for path in folder.iterdir() if is_archive(path.name) and path.is_file()))


def _text(path: str) -> str:
    """A path as text that any file can hold: what is no UTF-8 in it is replaced."""
    return os.fsencode(path).decode("utf-8", "replace")
