"""Find the class folders of a data set: in one folder, or in one for each part (train, val, test)."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

from stages.base.errors import UserError
from stages.base.splits import SPLITS, Part
from stages.sources.archives import is_archive
from stages.sources.data_set import Reject, join_names, normalize_name
from stages.sources.tree import Folder, is_image, is_table, sort_naturally

# Words in folder names, as in flowers_train, Train-Set or seg_test.
WORDS: dict[str, Part] = {"train": "train", "training": "train", "test": "test", "testing": "test"}
WORDS |= dict.fromkeys(("val", "valid", "validation", "dev"), "val")
# Folder names in a part that are not classes: test/images/1.jpg is an image without a label.
UNLABELED = frozenset(
    ("data", "images", "image", "imgs", "img", "photos", "pictures", "unknown", "unlabeled", "unlabelled")
)
SHOWN = 4  # folders, and class folders of each, in a message


@dataclass(frozen=True)
class ClassRoot:
    """A folder that may contain class folders.

    Attributes:
        name: its name among its siblings, such as "seg_train".
        path: the path of its class folders, ending with a slash, such as "seg_train/seg_train/".
        folder: the folder at that path.
        classes: the names of its folders with images; none if it contains images directly.
    """

    name: str
    path: str
    folder: Folder
    classes: frozenset[str]


def find_parts(folder: Folder, above: str, where: str) -> dict[Part | None, ClassRoot]:
    """Return the root of the class folders for each part, or the folder itself under the key None.

    Folders are parts if their names say so and they contain mostly the same class folders. Neither alone is enough: a
    class may be named train, and cat/indoor beside dog/indoor are not parts.

    Args:
        folder: the folder with the class folders or the parts.
        above: its path in the data set, ending with a slash.
        where: its name in messages.

    Raises:
        UserError: the folders are named like parts and differ in their classes, or the other way round.
    """
    siblings = [
        _enter_root(name, folder.folders[name], f"{above}{name}/") for name in sort_naturally(_find_holding(folder))
    ]
    named = {root.name: part for root in siblings if (part := recognize_part(root.name))}
    others = [root for root in siblings if root.name not in named]
    labeled = [root for root in siblings if root.name in named and root.classes]
    if len(set(named.values())) > 1 and (labeled or not others):
        found: dict[Part | None, ClassRoot] = {named[root.name]: root for root in labeled}
        train = found.get("train")
        if (
            train
            and len(found) == len(labeled)  # no part twice
            and all(_share_classes(root, train) for root in labeled)
            and not any(_share_classes(root, train) for root in others)
            and (len(found) > 1 or not others)
        ):
            return {part: found[part] for part in SPLITS if part in found}
        raise _make_refusal(siblings, where)
    deep = [root for root in siblings if len(root.classes) > 1]
    if any(_share_classes(one, other, 2) for one, other in combinations(deep, 2)):
        raise _make_refusal(siblings, where)
    return {None: ClassRoot("", above, folder, _classes(folder))}


def resolve_parts(root: Folder, wanted: Mapping[str, str], where: str) -> dict[Part | None, ClassRoot]:
    """Return the root of the class folders for each part in split.parts.

    Args:
        root: the data set.
        wanted: the path in it for "train", and optionally for "val" and "test".
        where: the data set's name in messages.

    Raises:
        UserError: a folder does not exist, has no class folders, or is inside another one.
    """
    found: dict[Part | None, ClassRoot] = {}
    for part in (part for part in SPLITS if part in wanted):
        folder, path = root, ""
        for name in filter(lambda name: name not in ("", "."), wanted[part].split("/")):
            known = next((known for known in folder.folders if normalize_name(known) == normalize_name(name)), None)
            if known is None:
                here = ", ".join(sort_naturally(folder.folders)[:10]) or "no folder"
                raise UserError(
                    f"split.parts.{part}: there is no folder {wanted[part]} in {where}; {path or 'it'} holds {here}."
                )
            folder, path = folder.folders[known], f"{path}{known}/"
        entered = _enter_root(part, folder, path)
        if not entered.classes:
            raise UserError(f"split.parts.{part}: expected class folders in {wanted[part]}, found none with images.")
        for other, earlier in found.items():
            if entered.path.startswith(earlier.path) or earlier.path.startswith(entered.path):
                raise UserError(f"split.parts: expected separate folders; those of {other} and {part} overlap.")
        found[part] = entered
    return found


def find_strays(root: Folder, roots: Mapping[Part | None, ClassRoot]) -> Iterator[Reject]:
    """Yield what a data set contains besides its class folders: images, archives, tables, and folders of images.

    Args:
        root: the data set.
        roots: the root of the class folders for each part.
    """
    paths = [found.path for found in roots.values()]

    def look(folder: Folder, path: str) -> Iterator[Reject]:
        for name in sorted(folder.files):
            if is_image(name):
                yield Reject(f"{path}{name}", "", "outside the class folders", "stray")
            elif is_archive(name):
                yield Reject(f"{path}{name}", "", "an archive next to the class folders: unpack it", "unused")
            elif is_table(name):
                said = f"a table next to the class folders; set split.labels: {path}{name} to take the classes from it"
                yield Reject(f"{path}{name}", "", said, "unused")
        for name in sort_naturally(folder.folders):
            inner, below = folder.folders[name], f"{path}{name}/"
            if path in paths:
                continue  # a class
            if any(known.startswith(below) for known in paths):
                yield from look(inner, below)
            elif count := sum(is_image(file) for file, _ in inner.walk()):
                yield Reject(below, "", f"{count:,} images, but no class folders", "unused")

    return look(root, "")


def recognize_part(name: str) -> Part | None:
    """Return the part that a folder's name mentions; None if it mentions none or several."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)
    found = {WORDS[word.lower()] for word in words if word.lower() in WORDS}
    return found.pop() if len(found) == 1 else None


def _enter_root(name: str, folder: Folder, path: str) -> ClassRoot:
    """Descend through single folders to the class folders or the images."""
    while len(inside := _find_holding(folder)) == 1:
        ((inner, below),) = inside.items()
        plain = inner.lower() in UNLABELED or recognize_part(inner) or inner.lower() == name.lower()
        if not (_find_holding(below) or (plain and not folder.images())):
            break  # it is a class
        path, folder = f"{path}{inner}/", below
    return ClassRoot(name, path, folder, _classes(folder))


def _find_holding(folder: Folder) -> dict[str, Folder]:
    """Return the subfolders with images, or with any files if no file has the suffix of an image."""
    found = {name: inner for name, inner in folder.folders.items() if _holds_images(inner)}
    if found or folder.images():
        return found
    return {name: inner for name, inner in folder.folders.items() if any(inner.walk())}


def _holds_images(folder: Folder) -> bool:
    return any(map(is_image, folder.files)) or any(map(_holds_images, folder.folders.values()))


def _classes(folder: Folder) -> frozenset[str]:
    return frozenset(map(normalize_name, _find_holding(folder)))


def _share_classes(one: ClassRoot, other: ClassRoot, least: int = 1) -> bool:
    """Return whether two folders have mostly the same class folders, and at least ``least`` in common."""
    common = len(one.classes & other.classes)
    return common >= least and 2 * common >= min(len(one.classes), len(other.classes))


def _make_refusal(siblings: list[ClassRoot], where: str) -> UserError:
    shown = []
    for root in siblings:
        inside = f"holds {join_names(sort_naturally(root.classes), SHOWN)}" if root.classes else "images alone"
        shown.append(f"{root.name} ({inside})")
    return UserError(
        f"{where}: expected class folders, or parts named train, val and test with the same class folders in each; "
        f"found {join_names(shown, SHOWN)}. For parts set split.parts: {{train: FOLDER, val: FOLDER, test: FOLDER}}; "
        "where each is a class, split.parts: {train: .}. In pretrain.source, rename or move them."
    )
