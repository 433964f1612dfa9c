"""params.yaml: an unknown key, a wrong type, a value that is not allowed end in one message that names all three."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.base.errors import UserError
from stages.base.params import read_section, read_yaml, validate
from stages.schema.split import Split
from stages.tools.check import SECTIONS
from tests.conftest import PROJECT

DEFAULT = read_yaml(PROJECT / "recipes" / "default.yaml")


def leaves(values: dict[str, Any], above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for key, value in values.items():
        found += leaves(value, (*above, key)) if isinstance(value, dict) else [(*above, key)]
    return found


KEYS = leaves(DEFAULT)


def changed(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    section = {**DEFAULT[path[0]]}
    place = section
    for key in path[1:-1]:
        place[key] = {**place[key]}
        place = place[key]
    place[path[-1]] = value
    return section


def test_the_defaults_are_valid() -> None:
    assert list(DEFAULT) == list(SECTIONS)
    for name, schema in SECTIONS.items():
        validate(DEFAULT[name], name, schema)


def test_every_key_says_what_it_does() -> None:
    lines = (PROJECT / "recipes" / "default.yaml").read_text().splitlines()
    keys = [number for number, line in enumerate(lines) if re.match(r" +[\w]+: \S", line)]
    assert len(keys) == len(KEYS)
    for number in keys:
        assert re.match(r" +# .{15}", lines[number - 1]), f"{lines[number].strip()} has no comment above it"


@given(
    st.sampled_from(KEYS),
    st.sampled_from([None, True, [], {}, "", "nonsense", -1.5, math.inf, math.nan, -(10**9), [None], object]),
)
def test_a_wrong_value_is_named_with_its_key_and_what_is_allowed(path: tuple[str, ...], value: Any) -> None:
    try:
        accepted = validate(changed(path, value), path[0], SECTIONS[path[0]])
    except UserError as error:
        lines = str(error).splitlines()
        assert len(lines) == 1
        assert lines[0].startswith(f"params.yaml: {'.'.join(path)}")
        assert re.search(r": (expected|value error|.*should) .*received ", lines[0]), lines[0]
    else:
        dumped = accepted.model_dump()
        for key in path[1:]:
            dumped = dumped[key]
        assert dumped == value


def test_an_old_name_is_one_line_with_the_new_one() -> None:
    augment = {**DEFAULT["extract"]["augment"]}
    augment["colour"] = augment.pop("color")
    with pytest.raises(UserError) as raised:
        validate({**DEFAULT["extract"], "augment": augment}, "extract", SECTIONS["extract"])
    assert str(raised.value) == "params.yaml: extract.augment.colour: renamed; write color."


@given(st.sampled_from(KEYS), st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1))
def test_an_unknown_key_is_named_with_the_known_ones(path: tuple[str, ...], key: str) -> None:
    place: Any = DEFAULT
    for part in path[:-1]:
        place = place[part]
    if key in place:
        return
    with pytest.raises(UserError, match=f"{key}: unknown key.*Allowed here: .*{path[-1]}"):
        validate(changed((*path[:-1], key), 1), path[0], SECTIONS[path[0]])


@given(st.sampled_from(KEYS))
def test_a_missing_key_is_named(path: tuple[str, ...]) -> None:
    section = changed(path, None)
    place = section
    for key in path[1:-1]:
        place = place[key]
    del place[path[-1]]
    with pytest.raises(UserError, match=re.escape(f"params.yaml: {'.'.join(path)}: missing")):
        validate(section, path[0], SECTIONS[path[0]])


def test_several_mistakes_are_listed_at_once() -> None:
    section = changed(("split", "seed"), -1) | {"polarity": "upside_down", "sede": 3}
    with pytest.raises(UserError) as error:
        validate(section, "split", SECTIONS["split"])
    assert str(error.value).splitlines() == [
        "params.yaml: split.polarity: expected 'light_on_dark' or 'dark_on_light'; received 'upside_down'.",
        "params.yaml: split.seed: expected greater than or equal to 0; received -1.",
        f"params.yaml: split.sede: unknown key. Did you mean seed? Allowed here: {', '.join(Split.model_fields)}.",
    ]


@pytest.mark.parametrize("text", ["1e-5", "1.0e-5", "0.00001"])
def test_numbers_are_read_as_dvc_reads_them(tmp_path: Path, text: str) -> None:
    content = (
        (PROJECT / "recipes" / "default.yaml").read_text().replace("learning_rate: 0.0001", f"learning_rate: {text}")
    )
    (tmp_path / "params.yaml").write_text(content)
    assert (
        read_section(tmp_path / "params.yaml", "finetune", SECTIONS["finetune"]).model_dump()["thawed"]["learning_rate"]
        == 1e-5
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("split: [", 'in "params.yaml", line 1'),
        ("- a\n- b\n", "expected sections such as 'split:', received list"),
        ("pretrain: {}\n", "section 'split:' is missing"),
        ("split: 3\n", "split: expected keys and values, received 3"),
        ("split:\n  seed: 1\n  seed: 2\n", "is not valid YAML"),
        ("", "expected sections"),
        ("split: " + "[" * 100_000, "is nested too deeply"),
        ("split: " + "{a: " * 100_000, "is nested too deeply"),
        ("split:\n  seed: " + "9" * 5000, "is not valid YAML: Exceeds the limit"),
        ("split:\n" + "".join(f"  key{n}: 1\n" for n in range(1000)), f"... and {980 + len(Split.model_fields)} more"),
        ("split: {seed: [" + "1, " * 5000 + "1]}", "(15,003 characters)"),
        ("split: [" + "1, " * 500_000, "expected at most 1,048,576 bytes, received 1,500,008"),
        ("split: {seed: \x07}", "is not valid YAML"),
        ("split: &a [*a]", "expected keys and values, received [[...]]"),
        ("split: !!python/object/apply:os.system [ls]", "is not valid YAML"),
    ],
)
def test_a_broken_file_is_one_message(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "params.yaml").write_text(content)
    with pytest.raises(UserError, match=re.escape(said)) as error:
        read_section(tmp_path / "params.yaml", "split", SECTIONS["split"])
    assert len(str(error.value)) < 5000


def test_a_missing_file_says_where_to_be(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Run this from the top folder of the project"):
        read_section(tmp_path / "params.yaml", "split", SECTIONS["split"])


@pytest.mark.parametrize(
    "about",
    ["none", {"source": "x"}, {"license": "CC BY 4.0"}, {"source": "© J. Doe <jane@example.org>", "license": "猫"}],
)
def test_source_and_license_of_the_data_are_a_line_each(about: object) -> None:
    assert validate(changed(("split", "about"), about), "split", SECTIONS["split"]) is not None


@pytest.mark.parametrize(
    "about",
    [
        *({}, "", "all", None, ["x"], {"licence": "CC0"}, {"source": "x", "license": None}),
        *({"source": text} for text in ("", " ", "a\nb", "a\u2028b", "x" * 201, "\x1b[31m", "\ud800", 2024)),
    ],
)
def test_what_is_no_line_on_the_data_is_refused(about: object) -> None:
    with pytest.raises(
        UserError, match=r"split.about: expected none, or \{source: TEXT, license: TEXT\}, one line each"
    ):
        validate(changed(("split", "about"), about), "split", SECTIONS["split"])
