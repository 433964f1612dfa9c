"""List the built-in backbones for pretrain.backbone, or describe one.

python -m stages backbones              the families, when to choose each, and all members with size and accuracy
python -m stages backbones vgg16        one, with its paper, license and the first layer of each block
"""

import argparse
from textwrap import fill

from stages.backbones.profiles import LICENSES, NOT_STATED, PROFILES
from stages.backbones.registry import BACKBONES, BackboneSpec, find_backbone, weights_item
from stages.base.stage import stage
from stages.base.table import format_table

FAMILIES = ("family", "year", "million parameters", "top-1", "license", "character")
HEADER = ("name", "parameters", "MB", "depth", "px", "smallest", "top-1", "top-5", "family")


@stage("backbones")
def main() -> None:
    """Run the command."""
    name = build_parser().parse_args().name
    if name is None:
        print_families()
        print_table()
    else:
        print_backbone(name, find_backbone(name, 10**6))


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m stages backbones", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", nargs="?", metavar="BACKBONE", help="describe only this one")
    return parser


def print_families() -> None:
    """Print the families of backbones, and when to choose each."""
    rows: list[tuple[object, ...]] = [FAMILIES]
    for name, profile in PROFILES.items():
        members = [row for row in BACKBONES.values() if row.family.name == name]
        parameters = _span([row.parameters / 1e6 for row in members])
        accuracy = _span([row.top1 for row in members if row.top1 is not None])
        rows.append((name, profile.year, parameters, accuracy, profile.license, profile.character))
    print("\n".join(format_table(rows, right=(2, 3))))
    print(f"\nlicense: of the published weights, according to {LICENSES}; {NOT_STATED}: it has none.\n")
    print("\n".join(format_table([("choose", "when"), *((name, each.choose) for name, each in PROFILES.items())])))
    print()


def _span(numbers: list[float]) -> str:
    low, high = f"{min(numbers):.1f}", f"{max(numbers):.1f}"
    return low if low == high else f"{low} to {high}"


def print_table() -> None:
    """Print the table of backbones."""
    rows = [HEADER, *(format_cells(name, row) for name, row in BACKBONES.items())]
    print("\n".join(format_table(rows, right=range(1, len(HEADER) - 1))))
    print(
        "\nParameters and MB (float32) exclude the classifier. px: side of the images that the weights were trained on."
    )
    print("Published depth, top-1 and top-5 accuracy (% of ImageNet's validation images):")
    for source in dict.fromkeys(row.source for row in BACKBONES.values() if row.top1 is not None):
        names = [name for name, row in BACKBONES.items() if row.source == source and row.top1 is not None]
        text = f"  {source}: {', '.join(names) if len(names) < 12 else 'all others'}"
        print(fill(text, 100, subsequent_indent="    "))


def format_cells(name: str, row: BackboneSpec) -> tuple[str, ...]:
    """Return a row of the table."""
    numbers = ["-" if number is None else f"{number}" for number in (row.depth, row.native, row.smallest)]
    accuracy = ["-" if number is None else f"{number:.1f}" for number in (row.top1, row.top5)]
    size = f"{row.parameters * 4 / 1e6:,.0f}"
    return (name, f"{row.parameters:,}", size, *numbers, *accuracy, row.family.name)


def print_backbone(name: str, row: BackboneSpec) -> None:
    """Print everything about one backbone."""
    architecture = row.build(row.native).architecture
    for title, cell in zip(HEADER[1:-1], format_cells(name, row)[1:-1], strict=True):
        print(f"{title:<12}{cell}")
    if not row.own:
        profile = PROFILES[row.family.name]
        print(f"{'family':<12}{row.family.name}: {profile.character}")
        print(f"{'paper':<12}{profile.year}, arXiv:{profile.paper}")
        print(f"{'license':<12}{profile.license} (weights; {LICENSES})")
        print(f"{'choose it':<12}when {profile.choose}")
    print(f"{'layers':<12}{len(architecture.layers)}")
    print(f"{'features':<12}{' x '.join(map(str, architecture.shape(architecture.output)))} at {row.native} px")
    print(f"{'pixels':<12}{row.channels} channel{'s' * (row.channels > 1)}, 0-255; preprocessing: {row.preprocessing}")
    print(f"{'source':<12}{row.source}")
    if not row.own:
        print(f"{'weights':<12}fetch.items: [{weights_item(name)}], pretrain.source: data/fetch/{weights_item(name)}")
        print(f"{'classifier':<12}python -m stages predict IMAGE --imagenet {name}")
    print("\nextract.freeze: BLOCK thaws from the block's first layer on:")
    for block, first in architecture.blocks.items():
        print(f"  {block:<{max(map(len, architecture.blocks))}}  layer {architecture.names.index(first):>4}  {first}")


if __name__ == "__main__":
    main()
