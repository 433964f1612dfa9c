"""Which settings and machines give the same bytes: run this on two machines and compare what it prints.

    python -m tests.benchmarks.same_bytes

In the current folder, whose extract has run. Hashes what extract wrote; then trains as finetune does, in a process for
each setting: as it is, on one core, with thread pools of other sizes, and with all instructions that the processor has.
Prints a hash of the weights that came out, and seconds. data/finetune is as the last setting left it: `dvc checkout`.
"""

import hashlib
import shutil
from pathlib import Path

from tests.benchmarks.measured import processor, table
from tests.helpers.command_line import command_line
from tests.helpers.copies import run

EXTRACT, FINETUNE = Path("data/extract"), Path("data/finetune")
THREADS, INSTRUCTIONS = "TF_NUM_INTRAOP_THREADS", "ONEDNN_MAX_CPU_ISA"
SETTINGS: dict[str, tuple[dict[str, str], list[str]]] = {
    "as it is": ({}, []),
    "on one core": ({}, ["taskset", "-c", "0"]),
    **{f"{count} threads": ({THREADS: str(count)}, []) for count in (1, 2, 4, 16)},
    "all instructions": ({INSTRUCTIONS: "DEFAULT"}, []),
    "all instructions, 2 threads": ({INSTRUCTIONS: "DEFAULT", THREADS: "2"}, []),
}
CODE = """
import time
from stages.compute import backend
backend.ENVIRONMENT.update({changes})
from stages.finetune import main
began = time.perf_counter()
main()
print(time.perf_counter() - began)
"""


def main() -> None:
    """Train with each setting and print the table."""
    command_line(__file__, __doc__).parse_args()
    print(processor(), flush=True)
    arrays = [file for file in sorted(EXTRACT.glob("*.npy")) if "labels" not in file.name and "pixels" not in file.name]
    print("\n".join(f"{file}: {digest(file)}" for file in arrays), flush=True)
    rows = [("finetune", "head", "fine-tuned", "seconds")]
    for name, (changes, prefix) in SETTINGS.items():
        if not prefix or shutil.which(prefix[0]):
            said = run(*prefix, "python", "-c", CODE.format(changes=changes), cwd=Path())
            hashes = [digest(FINETUNE / f"{model}.weights.h5") for model in ("head", "finetuned")]
            rows.append((name, *hashes, f"{float(said.split()[-1]):.1f}"))
    print(table(rows))


def digest(file: Path) -> str:
    """Return the start of a file's hash."""
    return hashlib.md5(file.read_bytes()).hexdigest()[:12]


if __name__ == "__main__":
    main()
