"""What a data set holds: images with their classes, from a folder or an archive.

SET/CLASS/*.jpg|png|...                    class folders; images may lie in folders below, too
SET/train/CLASS/..., SET/val/..., SET/test/...  class folders in each of the parts it comes divided into
SET.zip, SET.tar, SET.tar.gz|bz2|xz        an archive of such folders; read without unpacking it to files
SET/SET.zip                                a folder that holds just the archive, as fetched; or one in another
cifar-10-batches-bin/*.bin                 CIFAR-10 or CIFAR-100 in binary form, in an archive or not
SET/train-images-idx3-ubyte.gz, ...        the four idx files of MNIST, under their published names, packed or not
"""

from collections.abc import Mapping
from pathlib import Path

from stages.base.stage import UserError
from stages.sources.archives import SUFFIXES, allowance, is_archive, read_archive
from stages.sources.cifar import is_cifar, read_cifar
from stages.sources.mnist import is_mnist, read_mnist
from stages.sources.parts import beside, find_parts, named_part, named_parts
from stages.sources.sample import DataSet, Sample, nfc
from stages.sources.tree import UTF8, Folder, file_on_disk, is_image, natural, on_disk

AUTO = "auto"
NESTED = 2  # archives in archives

LAYOUT = (
    "class folders (NAME/CLASS/*.jpg|png|...), an archive of such folders (NAME.zip, NAME.tar.gz, ...), "
    "or the four idx files of MNIST (train-images-idx3-ubyte.gz, ...)"
)


def read_set(source: Path, parts: Mapping[str, str] | str = AUTO, names: str = UTF8) -> DataSet:
    """Read the data set that ``source``, a folder or an archive, holds; its images are read when they are asked for.

    A single folder around the class folders is entered, and so is an archive that nothing else than papers lie beside.

    Args:
        source: the folder or archive.
        parts: "auto", or the folders of its parts: see ``named_parts``.
        names: the encoding of the names in it that are not marked as Unicode.

    Raises:
        UserError: it is no data set; the message says what one looks like.
    """
    if source.is_dir():
        if is_mnist(source):
            _check_undivided(parts, source)
            return read_mnist(source)
        root, allowed = on_disk(source, names), _allowed(source)
    elif source.is_file():
        if not is_archive(source.name):
            raise UserError(f"{source}: expected an archive ({', '.join(SUFFIXES)}) or a folder of {LAYOUT}.")
        allowed = allowance(source.stat().st_size)
        root = read_archive(file_on_disk(source), str(source), allowed, names)
    else:
        raise UserError(f"{source} is missing. A data set is a folder of {LAYOUT}.")
    where, root, above, folder = _entered(root, str(source), allowed, names)
    if is_cifar(folder):
        _check_undivided(parts, source)
        return read_cifar(folder, where)
    if not folder.folders:
        count = len(folder.images())
        found = f"{count} images, but no class folder" if count else "no class folder"
        raise UserError(f"{where} holds {found}. A data set is a folder of {LAYOUT}.")
    roots = find_parts(folder, above, where) if isinstance(parts, str) else named_parts(root, parts, where)
    written: dict[str, set[str]] = {}
    samples = []
    for part, division in roots.items():
        for name in natural(division.folder.folders):
            written.setdefault(nfc(name), set()).add(name)
            for path, file in division.folder.folders[name].walk(f"{division.path}{name}/"):
                samples.append(Sample(path, nfc(name), part, file.read))
    paths = {part: division.path for part, division in roots.items() if part}
    merged = sorted(name for name, spellings in written.items() if len(spellings) > 1)
    return DataSet(natural(written), samples, list(beside(root, roots)), paths, merged)


def _check_undivided(parts: Mapping[str, str] | str, source: Path) -> None:
    if parts != AUTO:
        raise UserError(f"split.parts: {source} has parts of its own. Expected auto; received {parts}.")


def _entered(root: Folder, where: str, allowed: int, names: str) -> tuple[str, Folder, str, Folder]:
    """Return the folder that the class folders or parts lie in.

    Returns:
        What to call the data set, all that it holds, the folder's path in it, and the folder.
    """
    folder, above, nested = root, "", 0
    while True:
        archives = sorted(filter(is_archive, folder.files))
        if len(folder.folders) == 1:
            ((name, inner),) = folder.folders.items()
            if not (inner.folders or is_cifar(inner) or any(map(is_archive, inner.files))):
                break  # it is a class
            above, folder = f"{above}{name}/", inner
        elif archives and not folder.folders and not folder.images() and nested < NESTED:
            opened = {
                name: read_archive(folder.files[name], f"{where}/{above}{name}", allowed, names) for name in archives
            }
            found = {name: inner for name, inner in opened.items() if _holds_images(inner)}
            if len({named_part(name) for name in found} - {None}) == len(found) > 1:  # train.zip beside test.zip
                where, above = f"{where}/{above}".rstrip("/"), ""
                root = folder = Folder({name.split(".")[0]: inner for name, inner in found.items()})
                break
            if len(found) != 1:
                raise UserError(
                    f"{where}: expected one archive of images, found {len(found)} among {', '.join(archives)}. "
                    "Name the one to use, or move the others away."
                )
            ((name, root),) = found.items()
            where, above, folder, nested = f"{where}/{above}{name}", "", root, nested + 1
        else:
            break
    return where, root, above, folder


def _holds_images(folder: Folder) -> bool:
    return any(is_image(path) or is_archive(path) or path.endswith(".bin") for path, _ in folder.walk())


def _allowed(folder: Path) -> int:
    """What the archives in ``folder`` may unpack to."""
    return allowance(sum(path.stat().st_size for path in folder.iterdir() if is_archive(path.name) and path.is_file()))
