"""Read a data set, images with their classes, from a folder or an archive.

SET/CLASS/*.jpg|png|...                    class folders; images may lie in folders below, too
SET/train/CLASS/..., SET/val/..., SET/test/...  class folders in each of the parts it comes divided into
SET.zip, SET.tar, SET.tar.gz|bz2|xz        an archive of such folders; read without unpacking it to files
SET/SET.zip                                a folder that holds just the archive, as fetched; or one in another
cifar-10-batches-bin/*.bin                 CIFAR-10 or CIFAR-100 in binary form, in an archive or not
SET/train-images-idx3-ubyte.gz, ...        the four idx files of MNIST, under their published names, packed or not
SET.parquet, SET/*.parquet                 images and labels in rows, as Hugging Face stores them
SET.npz                                    arrays of images and labels, as Keras and MedMNIST publish them
SET/**/*.jpg and a table                   images whose classes a CSV or TSV file names: see stages.sources.labels
"""

from collections.abc import Mapping
from pathlib import Path

from stages.base.errors import UserError
from stages.sources.annotations import explain_foreign, refuse_annotations
from stages.sources.archives import is_archive, max_unpacked_size, read_archive
from stages.sources.cifar import is_cifar, read_cifar
from stages.sources.columns import Columns
from stages.sources.data_set import DataSet, Sample, normalize_name
from stages.sources.labels import read_labeled
from stages.sources.mnist import is_mnist, read_mnist
from stages.sources.npz import SUFFIX as NPZ
from stages.sources.npz import read_npz
from stages.sources.parquet import SUFFIX as PARQUET
from stages.sources.parquet import read_parquet
from stages.sources.parts import find_parts, find_strays, recognize_part, resolve_parts
from stages.sources.tables import Labels, list_tables
from stages.sources.tree import UTF8, File, Folder, is_image, read_folder, refer_to_file, sort_naturally

AUTO = "auto"
NESTED = 2  # archives in archives

LAYOUT = (
    "class folders (NAME/CLASS/*.jpg|png|...), an archive of such folders (NAME.zip, NAME.tar.gz, ...), images with a "
    "table of labels in split.labels, Parquet files with images, an .npz file, or the four idx files of MNIST "
    "(train-images-idx3-ubyte.gz, ...)"
)


def read_data_set(
    source: Path, parts: Mapping[str, str] | str = AUTO, names: str = UTF8, labels: Labels | None = None
) -> DataSet:
    """Read the data set at ``source``; its images are read on demand.

    A single folder around the class folders is skipped, and so is an archive with only documents next to it.

    >>> from tempfile import mkdtemp
    >>> folder = Path(mkdtemp())
    >>> for name in ("cat", "dog"):
    ...     (folder / name).mkdir()
    ...     (folder / name / "1.png").touch()
    >>> data_set = read_data_set(folder)
    >>> data_set.classes
    ['cat', 'dog']
    >>> [sample.source for sample in data_set.samples]
    ['cat/1.png', 'dog/1.png']

    Args:
        source: the folder, archive, or file of rows or arrays.
        parts: "auto", or the folders of its parts: see ``resolve_parts``.
        names: the encoding of names that are not marked as Unicode.
        labels: the table of classes, and the column names from params.yaml.

    Raises:
        UserError: it is not a data set; the message describes the layouts.
    """
    labels = labels or Labels()
    if source.is_dir():
        if is_mnist(source):
            _check_plain(parts, labels, source)
            return read_mnist(source)
        outer, allowed = read_folder(source, names), _limit_unpacked(source)
    elif source.is_file():
        file = refer_to_file(source)
        if is_archive(source.name):
            allowed = max_unpacked_size(source.stat().st_size)
            outer = read_archive(file, str(source), allowed, names)
        else:
            outer, allowed = Folder(files={source.name: file}), 0
    else:
        raise UserError(f"{source} is missing. A data set is a folder of {LAYOUT}.")
    where, root, above, folder = _enter(outer, str(source), allowed, names)
    if labels.name:
        return read_labeled(root, outer, labels, parts, where)
    packed = _find_packed(root)
    if rows := {path: file for path, file in packed.items() if path.lower().endswith(PARQUET)}:
        return read_parquet(rows, labels.columns, parts, where)
    if labels.columns != Columns():
        raise UserError(
            f"split.labels, split.group: {where} has no columns. Expected Parquet files, or a table in split.labels."
        )
    if is_cifar(folder) or len(packed) == 1:
        _check_plain(parts, labels, source)
        return read_cifar(folder, where) if is_cifar(folder) else read_npz(next(iter(packed.values())), where)
    refuse_annotations(root, where)
    if reason := explain_foreign(root, where):
        raise UserError(reason)
    if not folder.folders:
        raise UserError(_explain_missing(root, folder, where))
    return _read_folders(root, folder, above, where, parts)


def _read_folders(root: Folder, folder: Folder, above: str, where: str, parts: Mapping[str, str] | str) -> DataSet:
    roots = find_parts(folder, above, where) if isinstance(parts, str) else resolve_parts(root, parts, where)
    written: dict[str, set[str]] = {}
    samples = []
    for part, division in roots.items():
        for name in sort_naturally(division.folder.folders):
            written.setdefault(normalize_name(name), set()).add(name)
            for path, file in division.folder.folders[name].walk(f"{division.path}{name}/"):
                samples.append(Sample(path, normalize_name(name), part, file.read))
    if len(written) < 2 and (tables := list_tables(root)):
        raise UserError(_name_table(f"{where} holds one class folder", tables))
    paths = {part: division.path for part, division in roots.items() if part}
    merged = sorted(name for name, spellings in written.items() if len(spellings) > 1)
    notes = [
        f"class {name}: folders whose names differ only in Unicode normalization (é as one character or two) are merged"
        for name in merged
    ]
    return DataSet(sort_naturally(written), samples, list(find_strays(root, roots)), paths, notes)


def _find_packed(root: Folder) -> dict[str, File]:
    """Return the Parquet and .npz files of a data set without image files."""
    files = dict(root.walk())
    found = [path for path in files if path.lower().endswith((PARQUET, NPZ))]
    return {} if found and any(map(is_image, files)) else {path: files[path] for path in sort_naturally(found)}


def _explain_missing(root: Folder, folder: Folder, where: str) -> str:
    """Return why a folder without class folders is not a data set."""
    count = len(folder.images())
    found = f"{count} images, but no class folder" if count else "no class folder"
    if tables := list_tables(root):
        return _name_table(f"{where} holds {found}", tables)
    return f"{where} holds {found}. A data set is a folder of {LAYOUT}."


def _name_table(found: str, tables: list[str]) -> str:
    return f"{found}. Where {tables[0]} names the classes, set split.labels: {tables[0]}."


def _check_plain(parts: Mapping[str, str] | str, labels: Labels, source: Path) -> None:
    if parts != AUTO:
        raise UserError(f"split.parts: {source} already defines its parts. Expected auto; received {parts}.")
    if labels != Labels():
        raise UserError(
            f"split.labels, split.group: {source} defines its labels itself and has no columns. Expected split.labels: "
            "none, and no column in split.group."
        )


def _enter(root: Folder, where: str, allowed: int, names: str) -> tuple[str, Folder, str, Folder]:
    """Find the folder that contains the class folders or parts.

    Returns:
        The data set's name in messages, its root, and the path and the content of the folder.
    """
    folder, above, nested = root, "", 0
    while True:
        archives = sorted(filter(is_archive, folder.files))
        if len(folder.folders) == 1:
            ((name, inner),) = folder.folders.items()
            packed = any(name.lower().endswith((PARQUET, NPZ)) or is_archive(name) for name in inner.files)
            if not (inner.folders or is_cifar(inner) or packed):
                break  # it is a class
            above, folder = f"{above}{name}/", inner
        elif archives and not folder.folders and not folder.images() and nested < NESTED:
            opened = {
                name: read_archive(folder.files[name], f"{where}/{above}{name}", allowed, names) for name in archives
            }
            found = {name: inner for name, inner in opened.items() if _holds_images(inner)}
            if len({recognize_part(name) for name in found} - {None}) == len(found) > 1:  # train.zip beside test.zip
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


def _limit_unpacked(folder: Path) -> int:
    """Return the maximum number of bytes that the archives in ``folder`` may unpack to."""
    return max_unpacked_size(
        sum(path.stat().st_size for path in folder.iterdir() if is_archive(path.name) and path.is_file())
    )
