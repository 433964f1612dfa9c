"""How often the interval over images and runs holds the true accuracy, beside the interval over images alone.

    python -m tests.benchmarks.coverage [--simulations 200] [--images 200]

Simulates trainings that differ in how good they are, on images that differ in how hard they are: run r is right about
image i if its skill plus the image's ease plus noise, all normal, is above a bound. Prints for each number of runs and
each spread of the skills, the standard deviation of the accuracy over runs, how often each interval at 0.95
holds the accuracy over all runs and images, and how wide they are, in points.
"""

from itertools import product

import numpy as np
from scipy.stats import norm

from stages.measure.intervals import bound_accuracy
from stages.measure.repeated import bound_over_runs
from tests.benchmarks.measured import table
from tests.helpers.command_line import command_line

EASE, BOUND = 1.0, -2.0  # about 91 % right


def main() -> None:
    """Simulate, and print a table."""
    parser = command_line(__file__, __doc__)
    parser.add_argument("--simulations", type=int, default=200)
    parser.add_argument("--images", type=int, default=200)
    arguments = parser.parse_args()
    images = arguments.images
    header = ["runs", "sd over runs", "images and runs", "images alone", "width", "width alone"]
    rows = [header]
    generator = np.random.default_rng(1)
    for runs, spread in product((3, 5, 10), (0.0, 0.15, 0.4)):
        true = float(norm.cdf(-BOUND / np.sqrt(1 + EASE**2 + spread**2)))
        hits, widths, deviations = np.zeros(2), np.zeros(2), 0.0
        for _ in range(arguments.simulations):
            skill = spread * generator.standard_normal((runs, 1))
            ease = EASE * generator.standard_normal(images)
            right = skill + ease + generator.standard_normal((runs, images)) > BOUND
            both, alone = bound_over_runs(right, 0.95), bound_accuracy(int(right[0].sum()), images, 0.95)
            hits += [low <= true <= high for low, high in (both, alone)]
            widths += [high - low for low, high in (both, alone)]
            deviations += float(right.mean(axis=1).std(ddof=1))
        shares, points = hits / arguments.simulations, 100 * widths / arguments.simulations
        deviation = 100 * deviations / arguments.simulations
        cells = [f"{runs}", f"{deviation:.1f}", *(f"{share:.1%}" for share in shares)]
        rows.append([*cells, *(f"{width:.1f}" for width in points)])
    print(table(rows))


if __name__ == "__main__":
    main()
