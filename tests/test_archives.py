"""Archives: read like the folders they were packed from, in the published layouts, and refused when they are evil."""

import bz2
import gzip
import io
import json
import lzma
import os
import random
import shutil
import stat
import tarfile
import tempfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stages.backbones.pretraining_data import read_pixels
from stages.base.errors import UserError
from stages.images.contract import Contract
from stages.sources import archives
from stages.sources.data_set import DataSet
from stages.sources.read import read_data_set
from stages.split import main
from tests.helpers.copies import set_params

FORMATS = ("zip", "tar", "tar.gz", "tgz", "tar.bz2", "tar.xz")


def picture(seed: int, kind: str = "JPEG") -> bytes:
    """An image of noise of its own."""
    buffer = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, kind)
    return buffer.getvalue()


def pictures(*classes: str, count: int = 6, above: str = "") -> dict[str, bytes]:
    """Files of class folders, by their paths."""
    return {
        f"{above}{name}/{number:04d}.jpg": picture(100 * place + number)
        for place, name in enumerate(classes)
        for number in range(count)
    }


def tar(files: dict[str, bytes], kind: str = "", **more: str | int) -> bytes:
    """A tar archive; ``more`` are fields of the header of its last member."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{kind}") as archive:
        for number, (name, data) in enumerate(files.items(), 1):
            header = tarfile.TarInfo(name)
            header.size = len(data)
            if number == len(files):
                for key, value in more.items():
                    setattr(header, key, value)
            archive.addfile(header, io.BytesIO(data))
    return buffer.getvalue()


def zipped(files: dict[str, bytes], **more: int) -> bytes:
    """A zip archive; ``more`` are fields of the header of its last member."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, (name, data) in enumerate(files.items(), 1):
            header = zipfile.ZipInfo(name)
            header.compress_type = zipfile.ZIP_DEFLATED
            if number == len(files):
                for key, value in more.items():
                    setattr(header, key, value)
            archive.writestr(header, data)
    return buffer.getvalue()


def pack(files: dict[str, bytes], form: str) -> bytes:
    if form == "zip":
        return zipped(files)
    return tar(files, {"tar": "", "tgz": "gz"}.get(form, form.removeprefix("tar.")))


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def read(path: Path) -> dict[str, bytes]:
    return {sample.source: sample.data for sample in read_data_set(path).samples}


# What users bring.


@pytest.mark.parametrize("form", FORMATS)
def test_an_archive_is_read_like_the_folder_it_was_packed_from(tmp_path: Path, form: str) -> None:
    files = pictures("10", "2", "rot weiß") | {"2/deep/er/x.png": picture(7, "PNG"), "README.txt": b"words"}
    junk = {"2/Thumbs.db": b"x", "__MACOSX/2/._0001.jpg": b"x", ".git/c.jpg": b"x", "2/.DS_Store": b"x"}
    archive = write(tmp_path / f"set.{form}", pack(files | junk, form))
    for name, data in (files | junk).items():
        write(tmp_path / "folder" / name, data)
    found, unpacked = read_data_set(archive), read_data_set(tmp_path / "folder")
    assert found.classes == unpacked.classes == ["2", "10", "rot weiß"]
    assert [(s.source, s.class_name, s.part, s.data) for s in found.samples] == [
        (s.source, s.class_name, s.part, s.data) for s in unpacked.samples
    ]
    assert len(found.samples) == 19


@pytest.mark.parametrize("form", ["zip", "tar.gz"])
def test_a_split_of_an_archive_is_that_of_the_folder(
    tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    shutil.copy(project / "recipes" / "default.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    files = pictures("cat", "dog", above="animals/") | {"animals/cat/bad.jpg": b""}
    for name, data in files.items():
        write(tmp_path / "data/own" / name, data)
    write(tmp_path / f"data/own/animals.{form}", pack(files, form))
    results = []
    for source in ("data/own/animals", f"data/own/animals.{form}"):
        set_params(tmp_path, {"split": {"source": source, "train": 2, "val": 1, "max_rejects": 0.1}})
        main()
        tables = [pd.read_parquet(f"data/split/{split}.parquet") for split in ("train", "val", "test")]
        for table in tables:
            table["image"] = [image["bytes"] for image in table["image"]]
        results.append((pd.concat(tables).drop(columns="source"), Path("data/split/summary.json").read_text()))
    pd.testing.assert_frame_equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]
    assert json.loads(results[0][1])["images"] == {"train": 4, "val": 2, "test": 6}
    assert Path("data/split/rejects.csv").read_text().splitlines()[1] == "animals/cat/bad.jpg,cat,empty file"
    before = {path.name: path.read_bytes() for path in Path("data/split").iterdir()}
    main()
    assert before == {path.name: path.read_bytes() for path in Path("data/split").iterdir()}


def test_a_folder_that_holds_just_an_archive_is_that_archive(tmp_path: Path) -> None:
    write(tmp_path / "item" / "set.tgz", tar(pictures("a", "b"), "gz"))
    write(tmp_path / "item" / "LICENCE.txt", b"words")
    assert len(read(tmp_path / "item")) == 12
    write(tmp_path / "item" / "other.zip", zipped(pictures("a", "b")))
    with pytest.raises(UserError, match=r"expected one archive of images, found 2 among other.zip, set.tgz"):
        read_data_set(tmp_path / "item")


def test_an_archive_is_a_source_to_pretrain_on(tmp_path: Path) -> None:
    source = write(tmp_path / "set.zip", zipped(pictures("a", "b") | {"b/bad.jpg": b""}))
    images = read_pixels(source, Contract(8, 3, "photo", "light_on_dark", "stretch"), tmp_path / "pixels.npy")
    assert (images.classes, images.unreadable) == (["a", "b"], 1)
    assert len(images.train) + len(images.test) == 12
    assert images.rows.shape == (13, 8, 8, 3)


@pytest.mark.parametrize("form", ["zip", "tar.gz"])
def test_several_threads_read_at_once(tmp_path: Path, form: str) -> None:
    files = {f"{number % 3}/{number}.jpg": random.Random(number).randbytes(30_000) for number in range(60)}
    found = read_data_set(write(tmp_path / f"set.{form}", pack(files, form))).samples
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            data = list(pool.map(lambda sample: sample.data, found))
            assert data == [files[sample.source] for sample in found]


@pytest.mark.parametrize("form", ["zip", "tar", "tar.gz"])
def test_memory_does_not_grow_with_the_archive(tmp_path: Path, form: str) -> None:
    draw = random.Random(1)
    files = {f"{number % 2}/{number}.jpg": draw.randbytes(500_000) for number in range(60)}
    path = write(tmp_path / f"set.{form}", pack(files, form))
    del files
    tracemalloc.start()
    for sample in read_data_set(path).samples:
        assert len(sample.data) == 500_000
    assert tracemalloc.get_traced_memory()[1] < 6_000_000
    tracemalloc.stop()


def test_nothing_is_left_in_the_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    found = read_data_set(write(tmp_path / "set.tar.xz", tar(pictures("a", "b"), "xz")))
    assert found.samples[0].data
    del found
    assert list((tmp_path / "temporary").iterdir()) == []


def test_names_of_macos_and_windows_zips_are_read(tmp_path: Path) -> None:
    # No mark of UTF-8 though it is; and backslashes for slashes.
    data = zipped({"Grxn/1.jpg": picture(1), "b\\1.jpg": picture(2)}).replace(b"Grxn", "Gr\u00fc".encode())
    assert list(read(write(tmp_path / "set.zip", data))) == ["Gr\u00fc/1.jpg", "b/1.jpg"]


def old_zip(names: Iterable[str], encoding: str) -> bytes:
    """A zip as old programs write it: names in their own encoding, not marked."""
    data, files = {}, {}
    for number, name in enumerate(names):
        for image in range(2):
            path = f"{name}/{image}.jpg".encode(encoding)
            data[place := "x" * (len(path) - 4) + f"{number}{image:03d}"] = path
            files[place] = picture(10 * number + image)
    packed = zipped(files)
    for place, path in data.items():
        packed = packed.replace(place.encode(), path)
    return packed


OLD = [
    (["\u308a\u3093\u3054", "\u307f\u304b\u3093"], "shift_jis"),
    (["\u8868", "\u80fd"], "shift_jis"),  # their second byte is a backslash
    (["\u732b", "\u72d7"], "gb18030"),
    (["caf\u00e9", "caf\u00e8"], "cp437"),
    (["caf\u00e9", "caf\u00e8"], "latin-1"),
    (["\u043a\u043e\u0442", "\u043f\u0451\u0441"], "cp866"),
]


@pytest.mark.parametrize(("names", "encoding"), OLD)
@pytest.mark.parametrize("form", ["zip", "tar", "folder"])
def test_names_in_another_encoding_are_refused_until_it_is_named(
    tmp_path: Path, names: list[str], encoding: str, form: str
) -> None:
    source = tmp_path / f"set.{form}"
    if form == "zip":
        write(source, old_zip(names, encoding))
    elif form == "tar":
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT, encoding=encoding) as archive:
            for number, name in enumerate(names):
                header = tarfile.TarInfo(f"{name}/1.jpg")
                header.size = len(picture(number))
                archive.addfile(header, io.BytesIO(picture(number)))
        write(source, buffer.getvalue())
    else:
        for number, name in enumerate(names):
            write(source / str(number) / "1.jpg", picture(number))
            os.rename(source / str(number), os.fsencode(source) + b"/" + name.encode(encoding))
    with pytest.raises(
        UserError, match=r"the name '.*' is not in utf-8; it reads '.* Set split.names to the enc"
    ) as no:
        read_data_set(source)
    assert "\n" not in str(no.value)
    str(no.value).encode()
    found = read_data_set(source, names=encoding)
    assert sorted(found.classes) == sorted(names)
    assert all(sample.data and sample.source.startswith(f"{sample.class_name}/") for sample in found.samples)


def test_names_that_are_marked_as_unicode_stay_what_they_are(tmp_path: Path) -> None:
    files = {"\u00fcber/1.jpg": picture(1), "b/1.jpg": picture(2)}
    for form in ("zip", "tar"):
        path = write(tmp_path / f"set.{form}", pack(files, form))
        assert read_data_set(path, names="shift_jis").classes == ["b", "\u00fcber"]
    broken = zipped(files).replace("\u00fc".encode(), b"\xff\xff")
    with pytest.raises(UserError, match=r"set.zip: expected a complete zip or tar archive.*pack it again"):
        read_data_set(write(tmp_path / "set.zip", broken))
    with pytest.raises(UserError, match=r"set.tar: the name 'caf\\xe9/1.jpg' is not in utf-8"):
        read_data_set(write(tmp_path / "set.tar", tar({"caf\udce9/1.jpg": picture(1), "b/1.jpg": picture(2)})))


@pytest.mark.parametrize("form", ["zip", "tar.gz", "folder"])
def test_names_that_look_alike_are_one_class(tmp_path: Path, form: str) -> None:
    files = {f"{name}/1.jpg": picture(seed) for seed, name in enumerate(("caf\u00e9", "cafe\u0301", "tea"))}
    source = tmp_path / f"set.{form}"
    if form == "folder":
        for name, data in files.items():
            write(source / name, data)
    else:
        write(source, pack(files, form))
    found = read_data_set(source)
    assert found.classes == ["caf\u00e9", "tea"]
    assert found.notes[0].startswith("class caf\u00e9: folders whose names differ only")
    assert [sample.class_name for sample in found.samples].count("caf\u00e9") == 2
    assert len({sample.source for sample in found.samples}) == 3


# Published layouts, in miniature.


def cifar10(count: int = 4) -> dict[str, bytes]:
    draw = np.random.default_rng(0)
    names = [f"data_batch_{number}.bin" for number in range(1, 6)] + ["test_batch.bin"]
    records = {name: draw.integers(0, 256, (count, 3073), dtype=np.uint8) for name in names}
    for batch in records.values():
        batch[:, 0] = np.arange(count) % 3
    files = {f"cifar-10-batches-bin/{name}": batch.tobytes() for name, batch in records.items()}
    return files | {
        "cifar-10-batches-bin/batches.meta.txt": b"airplane\nautomobile\nbird\n\n",
        "cifar-10-batches-bin/readme.html": b"<p>",
    }


def cifar100() -> dict[str, bytes]:
    records = np.zeros((4, 3074), np.uint8)
    records[:, 0], records[:, 1] = 1, [0, 2, 1, 0]
    records[:, 2:1026], records[:, 1026:2050] = 200, 100  # red, green
    return {
        "cifar-100-binary/coarse_label_names.txt": b"fish\nfruit\n",
        "cifar-100-binary/fine_label_names.txt": b"apple\naquarium_fish\nbaby\n",
        "cifar-100-binary/train.bin": records.tobytes(),
        "cifar-100-binary/test.bin": records[:2].tobytes(),
    }


def caltech101() -> bytes:
    images = pictures("BACKGROUND_Google", "Faces", "accordion", above="101_ObjectCategories/")
    annotations = {f"Annotations/accordion/annotation_{number:04d}.mat": b"MATLAB" for number in range(3)}
    return zipped(
        {
            "caltech-101/": b"",
            "caltech-101/101_ObjectCategories.tar.gz": tar(images | {"101_ObjectCategories/Faces/tmp": b""}, "gz"),
            "caltech-101/Annotations.tar": tar(annotations),
            "caltech-101/show_annotation.m": b"% MATLAB",
            "__MACOSX/caltech-101/._Annotations.tar": b"x",
        }
    )


def caltech256() -> bytes:
    return tar(pictures("001.ak47", "002.american-flag", "257.clutter", above="256_ObjectCategories/"))


def cats_vs_dogs() -> bytes:
    files = pictures("Cat", "Dog", above="PetImages/") | {"PetImages/Cat/666.jpg": b"", "PetImages/Cat/Thumbs.db": b"x"}
    return zipped(files | {"readme[1].txt": b"words", "MSR-LA - 3467.docx": b"words"})


PUBLISHED: dict[str, tuple[str, Callable[[], bytes], list[str], int]] = {
    "cifar10": ("cifar-10-binary.tar.gz", lambda: tar(cifar10(), "gz"), ["airplane", "automobile", "bird"], 24),
    "cifar100": ("cifar-100-binary.tar.gz", lambda: tar(cifar100(), "gz"), ["apple", "aquarium_fish", "baby"], 6),
    "caltech101": ("caltech-101.zip", caltech101, ["accordion", "BACKGROUND_Google", "Faces"], 19),
    "caltech256": ("256_ObjectCategories.tar", caltech256, ["001.ak47", "002.american-flag", "257.clutter"], 18),
    "cats_vs_dogs": ("kagglecatsanddogs_5340.zip", cats_vs_dogs, ["Cat", "Dog"], 13),
}


@pytest.mark.parametrize("form", ["tar.gz", "zip", "folder"])
def test_cifar_records_become_pictures(tmp_path: Path, form: str) -> None:
    found: list[DataSet] = []
    for name, files in (("ten", cifar10()), ("hundred", cifar100())):
        if form == "folder":
            for path, data in files.items():
                write(tmp_path / name / path, data)
        else:
            write(tmp_path / f"{name}.{form}", pack(files, form))
        found.append(read_data_set(tmp_path / (name if form == "folder" else f"{name}.{form}")))
    ten, hundred = found
    assert [sample.part for sample in ten.samples] == ["train"] * 20 + ["test"] * 4
    names = [(sample.source, sample.class_name, sample.part) for sample in ten.samples]
    assert names[:5:4] == [("train/00000", "airplane", "train"), ("train/00004", "airplane", "train")]
    assert names[-1] == ("test/00003", "airplane", "test")
    record = np.frombuffer(cifar10()["cifar-10-batches-bin/data_batch_2.bin"], np.uint8).reshape(-1, 3073)[1]
    pixels = np.asarray(Image.open(io.BytesIO(ten.samples[5].data)))
    assert np.array_equal(pixels, record[1:].reshape(3, 32, 32).transpose(1, 2, 0))
    labels = {sample.source: sample.class_name for sample in hundred.samples}
    assert labels["train/00001"] == "baby"
    assert labels["test/00001"] == "baby"
    assert np.asarray(Image.open(io.BytesIO(hundred.samples[0].data)))[3, 4].tolist() == [200, 100, 0]


def test_broken_cifar_files_are_named(tmp_path: Path) -> None:
    files = cifar10()
    files["cifar-10-batches-bin/data_batch_3.bin"] += b"x"
    path = write(tmp_path / "cifar.tar.gz", tar(files, "gz"))
    with pytest.raises(UserError, match=r"data_batch_3.bin: expected records of 3,073 bytes, received 12,293 bytes"):
        read_data_set(path)
    files = cifar10()
    files["cifar-10-batches-bin/batches.meta.txt"] = b"airplane\nautomobile\n"
    with pytest.raises(UserError, match=r"data_batch_1.bin: record 2 has label 2; expected labels below 2"):
        read_data_set(write(path, tar(files, "gz")))


def test_the_real_cifar_images_are_split_as_published(
    shared: Path, tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(project / "recipes" / "default.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "data/own/cifar-10-binary-subset.tar.gz"
    source.parent.mkdir(parents=True)
    source.symlink_to(shared / "mirror" / source.name)
    wanted = {"classes": ["cat", "ship"], "form": "photo", "train": 20, "val": 5, "test": "rest"}
    set_params(tmp_path, {"split": {"source": f"data/own/{source.name}", **wanted}})
    main()
    assert "2 classes" in capsys.readouterr().out
    found = read_data_set(source)
    assert [sum(sample.part == part for sample in found.samples) for part in ("train", "test")] == [7728, 846]
    assert found.classes[:3] == ["airplane", "automobile", "bird"]
    test = pd.read_parquet("data/split/test.parquet")
    published = [s for s in found.samples if s.part == "test" and s.class_name in wanted["classes"]]
    assert set(test["source"]) <= {sample.source for sample in published}
    assert len(test) >= 0.98 * len(published)
    assert pd.read_parquet("data/split/train.parquet")["class"].value_counts().to_dict() == {"cat": 20, "ship": 20}


# Evil, broken and odd archives: one clear error each, and nothing else.


GOOD = pictures("a", "b", count=2)
EVIL: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "tar up": ("tar", lambda: tar(GOOD | {"../up.jpg": b"x"}), "'../up.jpg' is a path that leads outside it"),
    "tar absolute": ("tar.gz", lambda: tar(GOOD | {"/etc/a.jpg": b"x"}, "gz"), "'/etc/a.jpg' is an absolute path"),
    "tar link": ("tar", lambda: tar(GOOD | {"a/l.jpg": b""}, type=tarfile.SYMTYPE, linkname="/etc"), "a symbolic link"),
    "tar hard link": ("tar", lambda: tar(GOOD | {"a/l.jpg": b""}, type=tarfile.LNKTYPE, linkname="x"), "a hard link"),
    "tar device": ("tar", lambda: tar(GOOD | {"a/l.jpg": b""}, type=tarfile.CHRTYPE), "'a/l.jpg' is a special file"),
    "tar pipe": ("tar", lambda: tar(GOOD | {"a/l.jpg": b""}, type=tarfile.FIFOTYPE), "'a/l.jpg' is a special file"),
    "tar huge": ("tar", lambda: tar(GOOD)[:-10240] + header("a/big.jpg", 1 << 40), "a file of 1,099,511,627,776 byt"),
    "tar negative": ("tar", lambda: tar(GOOD)[:-10240] + header("a/big.jpg", -512), "a file of -512 bytes"),
    "tar name": ("tar", lambda: tar(GOOD)[:-10240] + header("x", 1 << 40, tarfile.GNUTYPE_LONGNAME), "a complete zip"),
    "tar pax": ("tar", lambda: tar(GOOD)[:-10240] + header("x", 1 << 40, tarfile.XHDTYPE), "complete zip or tar"),
    "tar deep": ("tar", lambda: tar(GOOD | {"d/" * 99 + "a.jpg": b"x"}), "a path of more than 32 folders"),
    "gz bomb": ("tar.gz", lambda: gzip.compress(bytes(20_000_000)), "refused as a decompression bomb"),
    "bz2 bomb": ("tar.bz2", lambda: bz2.compress(bytes(20_000_000)), "refused as a decompression bomb"),
    "xz bomb": ("tar.xz", lambda: lzma.compress(bytes(20_000_000), preset=0), "refused as a decompression bomb"),
    "zip up": ("zip", lambda: zipped(GOOD | {"a/../../up.jpg": b"x"}), "is a path that leads outside it"),
    "zip windows up": ("zip", lambda: zipped(GOOD | {"a\\..\\..\\up.jpg": b"x"}), "is a path that leads outside it"),
    "zip absolute": ("zip", lambda: zipped(GOOD | {"/a/1.jpg": b"x"}), "'/a/1.jpg' is an absolute path"),
    "zip drive": ("zip", lambda: zipped(GOOD | {"C:\\a\\1.jpg": b"x"}), "'C:/a/1.jpg' is an absolute path"),
    "zip link": (
        "zip",
        lambda: zipped(GOOD | {"a/l.jpg": b"/etc/passwd"}, external_attr=(stat.S_IFLNK | 0o777) << 16),
        "'a/l.jpg' is a symbolic link",
    ),
    "zip device": ("zip", lambda: zipped(GOOD | {"a/l": b""}, external_attr=stat.S_IFCHR << 16), "a special file"),
    "zip bomb": ("zip", lambda: zipped(GOOD | {"a/b.jpg": bytes(20_000_000)}), "refused as a decompression bomb"),
    "zip encrypted": ("zip", lambda: marked(zipped(GOOD), flag=1), "is encrypted .* without a password"),
    "zip strongly encrypted": ("zip", lambda: marked(zipped(GOOD), flag=0x40), "is encrypted .* without a password"),
    "zip patched": ("zip", lambda: marked(zipped(GOOD), flag=0x20), "uncommon compression or feature"),
    "zip odd method": ("zip", lambda: marked(zipped(GOOD), method=9), "uncommon compression or feature"),
    "zip cut": ("zip", lambda: zipped(GOOD)[:-100], "expected a complete zip or tar archive"),
    "tar cut": ("tar", lambda: tar(GOOD)[:1300], "expected a complete zip or tar archive.*unexpected end of data"),
    "tar cut between": ("tar", lambda: tar(GOOD)[:1536], "it ends abruptly after 1,536 bytes, with 1 files"),
    "tar.gz cut": ("tar.gz", lambda: tar(GOOD, "gz")[:700], "expected a complete zip or tar archive"),
    "tar overwritten": ("tar", lambda: tar(GOOD)[:1536] + b"x" * 4096, "it ends abruptly after 1,536 bytes"),
    "a web page": ("zip", lambda: b"<!DOCTYPE html><p>Not found", "expected a complete zip or tar archive"),
    "an empty file": ("tar.gz", lambda: b"", "expected a complete zip or tar archive.*empty"),
    "an empty zip": ("zip", lambda: zipped({}), "set.zip holds no class folder"),
    "an empty tar": ("tar", lambda: tar({}), "set.tar holds no class folder"),
    "loose images": ("zip", lambda: zipped({"1.jpg": b"x", "2.jpg": b"x"}), "holds 2 images, but no class folder"),
    "only words": ("zip", lambda: zipped({"words.txt": b"x"}), "holds no class folder"),
    "nested too deep": (
        "zip",
        lambda: zipped({"1.zip": zipped({"2.zip": zipped({"3.zip": zipped(GOOD)})})}),
        "holds no class folder",
    ),
    "evil inside": ("zip", lambda: zipped({"in.tar": tar({"/a/b.jpg": b""})}), r"set.zip/in.tar: refused.*absolute"),
    "bomb inside": (
        "zip",
        lambda: zipped({"in.tar.gz": gzip.compress(bytes(20_000_000))}),
        "in.tar.gz unpacks to more .* decompression bomb",
    ),
}  # fmt: skip


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A tar header that promises ``size`` bytes."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.type = size, kind
    return entry.tobuf(tarfile.GNU_FORMAT)


def marked(data: bytes, flag: int = 0, method: int | None = None) -> bytes:
    """A zip whose directory gives its members these flags and this method."""
    changed = bytearray(data)
    at = 0
    while (at := changed.find(b"PK\1\2", at)) >= 0:
        changed[at + 8] |= flag
        if method is not None:
            changed[at + 10] = method
        at += 4
    return bytes(changed)


@pytest.mark.parametrize("evil", EVIL)
def test_what_is_no_honest_archive_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evil: str) -> None:
    monkeypatch.setattr(archives, "SMALL", 1 << 20)
    suffix, made, message = EVIL[evil]
    path = write(tmp_path / f"set.{suffix}", made())
    with pytest.raises(UserError, match=message) as error:
        read_data_set(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600
    assert [path.name for path in tmp_path.iterdir()] == [f"set.{suffix}"]


def test_more_members_than_any_data_set_has_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MEMBERS", 10)
    for form in ("zip", "tar"):
        with pytest.raises(UserError, match="expected at most 10 files and folders"):
            read_data_set(write(tmp_path / f"set.{form}", pack(pictures("a", "b"), form)))


def test_an_image_that_is_damaged_in_its_archive_cannot_be_read(tmp_path: Path) -> None:
    data = zipped({"a/1.jpg": bytes(range(256)) * 40, "b/1.jpg": picture(1)})
    place = data.index(b"a/1.jpg") + 40
    path = write(tmp_path / "set.zip", data[:place] + bytes(8) + data[place + 8 :])
    first, second = read_data_set(path).samples
    with pytest.raises(OSError, match="damaged in the archive"):
        _ = first.data
    assert second.data == picture(1)


def test_a_zip_that_states_less_than_it_holds_is_no_bomb(tmp_path: Path) -> None:
    data = bytearray(zipped({"b/1.jpg": picture(1), "a/1.jpg": bytes(50_000_000)}))
    at = data.rindex(b"PK\1\2")
    data[at + 24 : at + 28] = (1000).to_bytes(4, "little")
    first, _ = read_data_set(write(tmp_path / "set.zip", bytes(data))).samples
    tracemalloc.start()
    with pytest.raises(OSError, match="damaged in the archive"):
        _ = first.data
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_an_archive_of_another_kind_is_told_which_are_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"set.7z is an archive in an unsupported format; repack it as .zip or .tar"):
        read_data_set(write(tmp_path / "set.7z", b"7z"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_no_room_to_unpack_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", partial(open, "/dev/full", "r+b", buffering=0))
    with pytest.raises(UserError, match=r"cannot be unpacked in .*no space left\. Free .*, or set TMPDIR"):
        read_data_set(write(tmp_path / "set.tar.gz", tar(GOOD, "gz")))


@pytest.mark.parametrize("form", ["zip", "tar", "tar.gz"])
def test_whatever_is_broken_is_an_error_of_the_user(tmp_path: Path, form: str) -> None:
    draw, data = random.Random(0), pack(GOOD, form)
    for _ in range(150):
        broken = bytearray(data)
        for _ in range(draw.randint(1, 8)):
            broken[draw.randrange(len(data))] = draw.randrange(256)
        path = write(tmp_path / f"set.{form}", bytes(broken[: draw.choice([len(data), draw.randrange(len(data))])]))
        with suppress(UserError):
            for sample in read_data_set(path).samples:
                with suppress(OSError):
                    assert len(sample.data) < 10_000
