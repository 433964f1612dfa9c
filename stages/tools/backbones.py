"""List the backbones that pretrain.backbone can name, or describe one.

python -m stages backbones              all: size, depth, accuracy on ImageNet, blocks
python -m stages backbones vgg16        one, with the first layer of each block
"""

import argparse

from stages.backbones.registry import BACKBONES, BackboneSpec, find_backbone, weights_item
from stages.base.stage import stage
from stages.base.table import format_table

HEADER = ("name", "parameters", "MB", "depth", "px", "smallest", "top-1", "top-5", "blocks")


@stage("backbones")
def main() -> None:
    """Run the command."""
    name = build_parser().parse_args().name
    if name is None:
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
        print(f"  {source}: {', '.join(names) if len(names) < 12 else 'all others'}")


def format_cells(name: str, row: BackboneSpec) -> tuple[str, ...]:
    """Return a row of the table."""
    numbers = ["-" if number is None else f"{number}" for number in (row.depth, row.native, row.smallest)]
    accuracy = ["-" if number is None else f"{number:.1f}" for number in (row.top1, row.top5)]
    size = f"{row.parameters * 4 / 1e6:,.0f}"
    return (name, f"{row.parameters:,}", size, *numbers, *accuracy, row.family.shown)


def print_backbone(name: str, row: BackboneSpec) -> None:
    """Print everything about one backbone."""
    architecture = row.build(row.native).architecture
    for title, cell in zip(HEADER[1:-1], format_cells(name, row)[1:-1], strict=True):
        print(f"{title:<12}{cell}")
    print(f"{'layers':<12}{len(architecture.layers)}")
    print(f"{'features':<12}{' x '.join(map(str, architecture.shape(architecture.output)))} at {row.native} px")
    print(f"{'pixels':<12}{row.channels} channel{'s' * (row.channels > 1)}, 0-255; preprocessing: {row.preprocessing}")
    print(f"{'source':<12}{row.source}")
    if not row.own:
        print(f"{'weights':<12}fetch.items: [{weights_item(name)}], pretrain.source: data/fetch/{weights_item(name)}")
    print("\nextract.freeze: BLOCK thaws from the block's first layer on:")
    for block, first in architecture.blocks.items():
        print(f"  {block:<{max(map(len, architecture.blocks))}}  layer {architecture.names.index(first):>4}  {first}")


if __name__ == "__main__":
    main()
