"""Find where a data set's class folders lie: in one folder, or in one for each part that it comes divided into."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

from stages.base.errors import UserError
from stages.base.splits import SPLITS, Part
from stages.sources.archives import is_archive
from stages.sources.data_set import LeftOut, normalize_name
from stages.sources.tree import Folder, is_image, is_table, sort_naturally

# Words in folder names, as in flowers_train, Train-Set or seg_test.
WORDS: dict[str, Part] = {"train": "train", "training": "train", "test": "test", "testing": "test"}
WORDS |= dict.fromkeys(("val", "valid", "validation", "dev"), "val")
# Folders inside a part that name no class: test/images/1.jpg is a picture without a label.
UNLABELED = frozenset(
    ("data", "images", "image", "imgs", "img", "photos", "pictures", "unknown", "unlabeled", "unlabelled")
)
SHOWN = 4  # folders, and class folders of each, in a message


@dataclass(frozen=True)
class ClassRoot:
    """A folder that class folders may lie in.

    Attributes:
        name: how it is called beside its siblings, such as "seg_train".
        path: where its class folders lie, with a slash at its end, such as "seg_train/seg_train/".
        folder: what lies there.
        classes: names of the folders in it that hold images; none where its images lie in it directly.
    """

    name: str
    path: str
    folder: Folder
    classes: frozenset[str]


def find_parts(folder: Folder, above: str, where: str) -> dict[Part | None, ClassRoot]:
    """Return the roots of the class folders: one for each part, or the folder itself, by None.

    Folders are parts when their names say so and they hold mostly the same class folders. Neither alone is enough: a
    class may be called train, and cat/indoor beside dog/indoor are no parts.

    Args:
        folder: what holds the class folders or the parts.
        above: its path in the data set, with a slash at its end.
        where: how to call it in messages.

    Raises:
        UserError: the names say parts and the folders do not, or the other way round.
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
    """Return the roots of the class folders of the parts that split.parts names.

    Args:
        root: the whole data set.
        wanted: a folder's path in it for "train", and for "val" and "test" where they are given.
        where: how to call it in messages.

    Raises:
        UserError: a folder does not exist, holds no class folders, or lies in another.
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
                raise UserError(f"split.parts: expected folders apart; those of {other} and {part} share images.")
        found[part] = entered
    return found


def find_strays(root: Folder, roots: Mapping[Part | None, ClassRoot]) -> Iterator[LeftOut]:
    """Go through what else than class folders a data set holds: images, archives, tables, and folders of images."""
    paths = [found.path for found in roots.values()]

    def look(folder: Folder, path: str) -> Iterator[LeftOut]:
        for name in sorted(folder.files):
            if is_image(name):
                yield LeftOut(f"{path}{name}", "", "lies beside the class folders, in none of them", "stray")
            elif is_archive(name):
                yield LeftOut(f"{path}{name}", "", "an archive beside the class folders: unpack it there", "unused")
            elif is_table(name):
                said = f"a table beside the class folders; split.labels: {path}{name} takes the classes from it"
                yield LeftOut(f"{path}{name}", "", said, "unused")
        for name in sort_naturally(folder.folders):
            inner, below = folder.folders[name], f"{path}{name}/"
            if path in paths:
                continue  # a class
            if any(known.startswith(below) for known in paths):
                yield from look(inner, below)
            elif count := sum(is_image(file) for file, _ in inner.walk()):
                yield LeftOut(below, "", f"no part with class folders: {count:,} images", "unused")

    return look(root, "")


def recognize_part(name: str) -> Part | None:
    """Which part a folder's name speaks of; None for none, or for several."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)
    found = {WORDS[word.lower()] for word in words if word.lower() in WORDS}
    return found.pop() if len(found) == 1 else None


def _enter_root(name: str, folder: Folder, path: str) -> ClassRoot:
    """Go into single folders, down to the class folders or the images."""
    while len(inside := _find_holding(folder)) == 1:
        ((inner, below),) = inside.items()
        plain = inner.lower() in UNLABELED or recognize_part(inner) or inner.lower() == name.lower()
        if not (_find_holding(below) or (plain and not folder.images())):
            break  # it is a class
        path, folder = f"{path}{inner}/", below
    return ClassRoot(name, path, folder, _classes(folder))


def _find_holding(folder: Folder) -> dict[str, Folder]:
    """The folders in it that hold images, which may lack a suffix where nothing is named like an image."""
    found = {name: inner for name, inner in folder.folders.items() if _holds_images(inner)}
    if found or folder.images():
        return found
    return {name: inner for name, inner in folder.folders.items() if any(inner.walk())}


def _holds_images(folder: Folder) -> bool:
    return any(map(is_image, folder.files)) or any(map(_holds_images, folder.folders.values()))


def _classes(folder: Folder) -> frozenset[str]:
    return frozenset(map(normalize_name, _find_holding(folder)))


def _share_classes(one: ClassRoot, other: ClassRoot, least: int = 1) -> bool:
    """Whether two folders hold mostly the same class folders, and ``least`` of them."""
    common = len(one.classes & other.classes)
    return common >= least and 2 * common >= min(len(one.classes), len(other.classes))


def _make_refusal(siblings: list[ClassRoot], where: str) -> UserError:
    def listed(names: list[str], most: int) -> str:
        return ", ".join(names[:most]) + (", ..." if len(names) > most else "")

    shown = [
        f"{root.name} ({'holds ' + listed(sort_naturally(root.classes), SHOWN) if root.classes else 'images alone'})"
        for root in siblings
    ]
    return UserError(
        f"{where}: expected class folders, or parts named train, val and test with the same class folders in each; "
        f"found {listed(shown, SHOWN)}. For parts set split.parts: {{train: FOLDER, val: FOLDER, test: FOLDER}}; where "
        "each is a class, split.parts: {train: .}. In pretrain.source, rename or move them."
    )
