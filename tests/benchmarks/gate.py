"""How often `compare --max-drop 0.5` fails, on simulated predictions of a worse model and of one that is no worse.

    python -m tests.benchmarks.gate [--runs 20] [--seed 1]

The first model is right on 90 % of the images. The second loses 3 % of all images and wins 3 %, as another seed might:
it should pass. Or it loses 5 or 10 points more: it should fail, as far as so many images can show it. The last column
is the share of the runs in which the interval of the difference in log loss holds the true difference.
"""

import numpy as np
import pandas as pd

from stages.draw.comparison import judge_drop
from stages.measure.model_selection import find_detectable_difference
from stages.measure.paired import compare_models
from tests.benchmarks.measured import table
from tests.helpers.command_line import command_line

RIGHT, FLIPPED, ALLOWED = 0.9, 0.03, 0.5
DROPS = {"no worse": 0.0, "5 points worse": 0.05, "10 points worse": 0.10}


def main() -> None:
    """Simulate, judge and print."""
    parser = command_line(__file__, __doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    draw = np.random.default_rng(arguments.seed)
    rows = [("images", "smallest drop shown", *DROPS, "log loss covered")]
    for images in (50, 200, 480, 1000, 5000):
        failed, covered = [], []
        for drop in DROPS.values():
            judged = [simulate(draw, images, drop) for _ in range(arguments.runs)]
            failed.append(f"{sum(fallen for fallen, _ in judged)} of {arguments.runs}")
            covered += [inside for _, inside in judged]
        least = find_detectable_difference(images, 0.95, round(2 * FLIPPED * images), ALLOWED / 100)
        rows.append((f"{images:,}", f"{100 * (least or np.nan):.1f}", *failed, f"{100 * np.mean(covered):.0f} %"))
    print(table(rows))


def simulate(draw: np.random.Generator, images: int, drop: float) -> tuple[bool, bool]:
    """Return whether the gate fails, and whether the interval of the log loss holds the true difference."""
    before = draw.random(images) < RIGHT
    chance = draw.random(images)
    lost, won = before & (chance < (FLIPPED + drop) / RIGHT), ~before & (chance < FLIPPED / (1 - RIGHT))
    models = {"old": predict(draw, before), "new": predict(draw, (before & ~lost) | won)}
    results = compare_models("validation", models, 0.95, 15)
    _, low, high = results.differences[0].loss
    truth = drop * 2 * np.log(2)  # probabilities are uniform: a mistake costs 1 + log 2 on average, else 1 - log 2
    return judge_drop(results, ALLOWED)[0], low <= truth <= high


def predict(draw: np.random.Generator, right: np.ndarray) -> pd.DataFrame:
    """Return predictions of two classes, with probabilities of the actual class above or below a half."""
    own = np.where(right, 0.5, 0.0) + draw.random(len(right)) / 2
    return pd.DataFrame(
        {
            "class": "a",
            "label": 0,
            "right": right,
            "finetuned_predicted": np.where(right, "a", "b"),
            "finetuned_loss": -np.log(own),
            "finetuned_probabilities": list(np.stack([own, 1 - own], axis=1)),
        }
    )


if __name__ == "__main__":
    main()
