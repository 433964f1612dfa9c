"""Compare revisions by their predictions: which is better, how certain that is, and which images flipped.

    python -m stages compare                    the workspace with main; with HEAD if dvc.lock has changed since
    python -m stages compare HEAD~1             the workspace with another commit, branch, tag or DVC experiment
    python -m stages compare main frozen        two revisions or more, each with the first
    python -m stages compare main --test        also on the test images
    python -m stages compare main --max-drop 0.5

Validation images decide: log loss ranks, and accuracies are shown with their intervals. Only images that all revisions
predicted count. Nothing is computed or checked out: dvc.lock is read with git, predictions from DVC's cache. Writes
data/compare/compare.html. With --max-drop, the exit code is 1 if the accuracy fell by more than that beyond chance: if
the whole interval of the difference, new minus old, lies below. After an error it is 2.
"""

import argparse
import sys
import traceback
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

import pandas as pd

from stages.base.dvc_command import find_cache
from stages.base.errors import UserError, summarize
from stages.base.files import check_names
from stages.base.folders import replace_folder
from stages.base.git_command import run_git
from stages.base.params import read_section
from stages.base.stage import stage
from stages.base.terminal import format_size
from stages.draw import comparison
from stages.draw.block import format_block, format_markdown, paragraphs
from stages.draw.comparison_page import render_page, select_pictured
from stages.draw.markdown import escape_markdown
from stages.draw.numbers import MINUS
from stages.images.pick import pick_thumbnails
from stages.measure.model_selection import describe_fitted
from stages.measure.paired import Results, compare_models, read_predictions
from stages.pipeline import recorded, revisions
from stages.pipeline.recorded import Files
from stages.pipeline.revisions import WORKSPACE, Revision
from stages.schema.evaluate import Evaluate
from stages.training import history as training

PARAMS = Path("params.yaml")
LOCK = Path("dvc.lock")
# By split: predictions and images.
PREDICTIONS = {"validation": Path("data/finetune/val.parquet"), "test": Path("data/evaluate/predictions.parquet")}
IMAGES = {"validation": Path("data/split/val.parquet"), "test": Path("data/split/test.parquet")}
HISTORY = Path("data/finetune/history.csv")
LAYERS = Path("data/finetune/layers.csv")
COMPARE = Path("data/compare")
COLUMNS = {HISTORY: training.COLUMNS, LAYERS: ["parameters", "state"]}
STAGES = ("fetch", "split", "pretrain", "extract", "extract_test", "finetune", "evaluate")


def main() -> None:
    """Run the command."""
    options = build_parser().parse_args()
    fallen = False
    try:
        with stage("compare"):
            fallen = compare(options)
    except SystemExit as ended:
        raise SystemExit(2 if ended.code == 1 else ended.code) from None  # 1 says that the accuracy fell
    except Exception:
        traceback.print_exc()
        raise SystemExit(2) from None
    raise SystemExit(int(fallen))


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m stages compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("revisions", nargs="*", metavar="REV", help="branch, tag, commit, DVC experiment or workspace")
    parser.add_argument("--test", action="store_true", help="also compare, or with --max-drop judge, the test images")
    parser.add_argument("--markdown", action="store_true", help="print Markdown, such as for a pull request")
    parser.add_argument(
        "--max-drop", type=_read_points, metavar="POINTS", help="end with 1 if the accuracy fell by more than this"
    )
    return parser


def _read_points(text: str) -> float:
    points = float(text)
    if not 0 <= points <= 100:
        raise argparse.ArgumentTypeError(f"expected points of accuracy from 0 to 100, received {text}")
    return points


def compare(options: argparse.Namespace) -> bool:
    """Compare, print, write the page; return whether the accuracy fell by more than is allowed."""
    found, notes = choose_revisions(options.revisions)
    if options.max_drop is not None and len(found) != 2:
        raise UserError(f"--max-drop: expected one or two revisions, received {len(found)}.")
    params, splits = read_section(PARAMS, "evaluate", Evaluate), ["validation", "test"][: 1 + options.test]
    needed, wanted = [PREDICTIONS[split] for split in splits], [HISTORY, LAYERS, *(IMAGES[split] for split in splits)]
    files, lacking = recorded.locate_files(found, needed, wanted, find_cache())
    results: list[Results] = []
    for split, tables in read_splits(found, splits, files).items():
        ranking = results[0].ranking if results else None  # test images do not choose
        results.append(compare_models(split, tables, params.confidence, params.calibration_bins, ranking))
    judged, fallen = [], False
    if options.max_drop is not None:
        fallen, said = comparison.judge_drop(results[-1], options.max_drop)
        judged.append(f"--max-drop {options.max_drop:g}: {said}")
    verdicts = [*(line for each in results for line in comparison.describe_verdict(each)), *judged]
    heading, names, notes = ", ".join(map(str, found)), [revision.name for revision in found], [*notes, *lacking]
    if results[0].split != "validation":
        notes.append("Some have no validation images: only test images are compared, and these should not choose.")
    elif calibrated := recorded.find_calibrated(found):
        notes.append(f"{', '.join(calibrated)}: {describe_fitted(results[0].images)}.")
    sizes = [describe_model(revision, files) for revision in found]
    changes = comparison.tabulate_changes(*recorded.list_changes(found, STAGES), names)
    histories = {name: read_cached(files, name, HISTORY) for name in names if (name, HISTORY) in files}
    pictures = {sha256: image for each in results for sha256, image in pick_pictures(each, files).items()}
    with replace_folder(COMPARE) as folder, redirect_stdout(sys.stderr):  # with --markdown, only Markdown goes there
        page = render_page(judged, [f"{heading}.", *notes], results, sizes, changes, histories, pictures, folder)
        (folder / "compare.html").write_text(page, encoding="utf-8")
    blocks = [block for each in results for block in comparison.tabulate_results(each, sizes)] + [changes]
    if options.markdown:
        blocks += [block for each in results for block in comparison.tabulate_flips(each) if block.rows]
        lines = [f"## {escape_markdown(heading)}", *paragraphs([*verdicts, *notes])]
        lines += [line for block in blocks for line in format_markdown(block)]
    else:
        lines = [text.replace(MINUS, "-") for text in (heading, *verdicts, *notes)]
        lines += [line for block in blocks for line in format_block(block)]
    print("\n".join(lines))
    print(f"open {COMPARE / 'compare.html'} in a browser", file=sys.stderr)
    return fallen


def choose_revisions(names: Sequence[str]) -> tuple[list[Revision], list[str]]:
    """Return what to compare, the oldest first, and what is doubtful about it.

    Args:
        names: as given; a single one is compared with the workspace.
    """
    changed = run_git("diff", "--name-only", "HEAD", "--", str(LOCK))
    if not names:
        names = ["HEAD" if changed else "main"]
        if not changed and revisions.find_commit("main")[0] == run_git("rev-parse", "HEAD"):
            raise UserError(f"expected a revision, because {LOCK} is that of main. For example: HEAD~1")
    names = [*names, WORKSPACE] if len(names) == 1 else names
    if len(set(names)) < len(names):
        raise UserError(f"expected different revisions, received {' '.join(names)}.")
    found = [revisions.open_revision(name, LOCK) for name in names]
    notes = []
    if WORKSPACE in names and not changed and run_git("diff", "--name-only", "HEAD", "--", str(PARAMS)):
        notes.append(f"{PARAMS} is edited, and {LOCK} is not: the edits have not run. Run `dvc repro`.")
    return found, notes + [f"{one}: {line}." for one in found for line in recorded.find_stale(one.lock, "evaluate")]


def read_splits(found: Sequence[Revision], splits: Sequence[str], files: Files) -> dict[str, dict[str, pd.DataFrame]]:
    """Return the predictions of each split, by revision; without validation if that is not all that was asked for.

    Args:
        found: the revisions.
        splits: validation, and maybe test.
        files: where the predictions are.

    Raises:
        UserError: a revision has none.
    """
    tables = {}
    for split in splits:
        path = PREDICTIONS[split]
        without = [str(revision) for revision in found if (revision.name, path) not in files]
        if not without:
            tables[split] = {revision.name: read_cached(files, revision.name, path) for revision in found}
        elif split == "test" or len(splits) == 1:
            why = " They have no validation images (split.val: 0); compare the test images: --test" * (split != "test")
            raise UserError(f"{', '.join(without)}: expected {path}, which was not written there.{why}")
    return tables


def read_cached(files: Files, name: str, path: Path) -> pd.DataFrame:
    """Return a table of a revision.

    Args:
        files: where it is.
        name: of the revision.
        path: data/STAGE/FILE.

    Raises:
        UserError: it is damaged, or lacks columns.
    """
    try:
        if path in PREDICTIONS.values():
            return read_predictions(files[name, path])
        table = pd.read_csv(files[name, path], keep_default_na=False, na_values=[""])
        check_names(COLUMNS[path], map(str, table))
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{path} of {name} cannot be read ({summarize(error)}). Another version of the project may have "
            f"written it; or it is damaged, which `python -m stages check --data` finds."
        ) from None
    return table


def describe_model(revision: Revision, files: Files) -> dict[str, str]:
    """Return the size of a revision's model: parameters of the backbone, and bytes of the export."""
    sizes = {}
    if (revision.name, LAYERS) in files:
        layers = read_cached(files, revision.name, LAYERS)
        sizes["parameters"] = f"{layers['parameters'].sum():,}"
        sizes["thawed"] = f"{layers.loc[layers['state'] == 'thawed', 'parameters'].sum():,}"
    export = revision.lock.get("export")
    if export and not any(recorded.find_stale(revision.lock, "export")):
        sizes["exported"] = format_size(sum(int(out.get("size", 0)) for out in export.outs.values()))
    return sizes


def pick_pictures(results: Results, files: Files) -> dict[str, bytes]:
    """Return small pictures of the images that flipped, by hash, if there are the images of a revision."""
    there = (files.get((name, IMAGES[results.split])) for name in results.names)
    file = next(filter(None, there), None)
    return pick_thumbnails(file, select_pictured(results)) if file else {}


if __name__ == "__main__":
    main()
