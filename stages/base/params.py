"""Read params.yaml: each section becomes a validated, frozen object, or a message that says what to change."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from stages.base.errors import UserError, shorten, suggest, summarize


class Section(BaseModel):
    """Base of all params sections: unknown or missing keys are errors, types are not converted, objects are frozen.

    Attributes:
        RENAMED: old keys and the keys that replaced them.
        DEFAULTS: where to find the default of a missing key.
    """

    RENAMED: ClassVar[Mapping[str, str]] = {}
    DEFAULTS: ClassVar[str] = " recipes/default.yaml has it with its default and what it does."

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


S = TypeVar("S", bound=Section)
_LARGEST = 2**20  # bytes of a file: DVC's YAML reader takes a second per 100,000
_LINES = 20  # mistakes listed in a message
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # the range that NumPy and the Keras backends accept


def allowed(accepts: Callable[[Any], bool], expected: str) -> BeforeValidator:
    """Return a validator for a field that accepts several types: one message instead of one for each type.

    Args:
        accepts: whether a value is allowed; it never receives a bool.
        expected: what is allowed, for the message.
    """

    def check(value: Any) -> Any:
        if isinstance(value, bool) or not accepts(value):
            raise ValueError(f"expected {expected}")
        return value

    return BeforeValidator(check)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML 1.2 mapping with DVC's reader, so that both read 1e-5 as a number and ``no`` as a string.

    Raises:
        UserError: the file is missing, too large, or not a YAML mapping.
    """
    try:
        if (size := path.stat().st_size) > _LARGEST:
            raise UserError(f"{path}: expected at most {_LARGEST:,} bytes, received {size:,}.")
        content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing. Run this from the top folder of the project.") from None
    except RecursionError:
        raise UserError(f"{path} is nested too deeply. Expected sections of keys and values.") from None
    except (YAMLError, ValueError) as error:  # ValueError: not UTF-8, or a number of too many digits
        reason = summarize(error).replace("<unicode string>", path.name)
        raise UserError(f"{path} is not valid YAML: {reason}.") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected sections such as 'split:', received {type(content).__name__}.")
    return content


def read_section(path: Path, name: str, schema: type[S]) -> S:
    """Return section ``name`` of the params file at ``path`` as a ``schema`` object.

    Args:
        path: the params file.
        name: of the section.
        schema: what the section must contain.

    Raises:
        UserError: the file or section is missing, a key is unknown or missing, or a value is not allowed. The message
            has a line for each mistake, with the key, the value and what is allowed.
    """
    return validate(_section(path, name), name, schema, str(path))


def read_values(path: Path, name: str, schema: type[Section], *keys: str) -> tuple[Any, ...]:
    """Return the values of ``keys`` in a section. Other known keys may be wrong or missing.

    Args:
        path: the params file.
        name: of the section.
        schema: what the section must contain.
        keys: of the section, in the order of the values.

    Raises:
        UserError: see ``read_section``; for these keys, and for unknown ones.
    """
    values = _section(path, name)
    wrong = _mistakes(values, name, schema, str(path))
    _refuse(line for key, line in wrong if key in keys or key not in schema.model_fields)
    return tuple(values[key] for key in keys)


def _section(path: Path, name: str) -> Any:
    content = read_yaml(path)
    if name not in content:
        raise UserError(f"{path}: section '{name}:' is missing. recipes/default.yaml has it with its defaults.")
    return content[name]


def validate(values: Any, name: str, schema: type[S], origin: str = "params.yaml") -> S:
    """Return ``values`` as a ``schema`` object.

    Args:
        values: keys and values, as read from YAML.
        name: of the section, for messages.
        schema: what it must contain.
        origin: the file, for messages.

    Raises:
        UserError: with a line for each mistake.
    """
    _refuse(line for _, line in _mistakes(values, name, schema, origin))
    return schema.model_validate(values)


def _refuse(lines: Iterable[str]) -> None:
    if found := list(dict.fromkeys(lines)):
        more = [f"... and {len(found) - _LINES} more"] if len(found) > _LINES else []
        raise UserError("\n".join([*found[:_LINES], *more]))


def _mistakes(values: Any, name: str, schema: type[Section], origin: str) -> list[tuple[str, str]]:
    """Return for each mistake the top-level key that contains it, and a line that describes it."""
    if not isinstance(values, dict):
        raise UserError(f"{origin}: {name}: expected keys and values, received {shorten(repr(values))}.")
    try:
        schema.model_validate(values)
    except ValidationError as error:
        details = error.errors()
        # A renamed key is one mistake: do not report the new name as missing, too.
        renamed = [(*detail["loc"][:-1], _new_name(detail, schema)) for detail in details]
        wrong = [detail for detail in details if detail["type"] != "missing" or detail["loc"] not in renamed]
        return [(str(detail["loc"][0]), f"{origin}: {_explain(detail, name, schema)}") for detail in wrong]
    return []


def _new_name(detail: ErrorDetails, schema: type[Section]) -> str | None:
    """Return the key that replaced an unknown one, if any."""
    if detail["type"] != "extra_forbidden":
        return None
    *above, key = (str(part) for part in detail["loc"])
    return _section_at(above, schema).RENAMED.get(key)


def _explain(detail: ErrorDetails, name: str, schema: type[Section]) -> str:
    path = [str(part) for part in detail["loc"]]
    key = ".".join([name, *path])
    kind = detail["type"]
    if new := _new_name(detail, schema):
        return f"{key}: renamed; write {new}."
    if kind == "extra_forbidden":
        known = list(_section_at(path[:-1], schema).model_fields)
        return f"{key}: unknown key.{suggest(path[-1], known)} Allowed here: {', '.join(known)}."
    if kind == "missing":
        return f"{key}: missing.{schema.DEFAULTS}"
    message = detail["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    message = message.replace("a valid integer", "a whole number").replace("a valid ", "a ")
    return f"{key}: {message[0].lower()}{message[1:].rstrip('.')}; received {shorten(repr(detail['input']))}."


def _section_at(keys: list[str], schema: type[Section]) -> type[Section]:
    for key in keys:
        if key.isdigit():  # an item in a list of sections; the key before it has led here
            continue
        annotation: Any = schema.model_fields[key].annotation
        schema = next(iter(get_args(annotation)), annotation)
    return schema
