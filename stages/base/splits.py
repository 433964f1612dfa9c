"""The splits of a data set, in their order."""

from typing import Literal

Part = Literal["train", "val", "test"]
SPLITS: tuple[Part, ...] = ("train", "val", "test")
