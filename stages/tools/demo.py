"""Try an exported model in the browser: drop photographs on a page that runs it there.

    python -m stages demo                   make the page in data/demo, and serve it on this computer
    python -m stages demo copied/export     with a model exported elsewhere
    python -m stages demo --no-serve        only make it: data/demo works on any web server
    python -m stages demo --runtime onnxruntime-web-1.30.0.tgz

The model must have the format onnx (export.formats). It runs in ONNX Runtime for browsers, which npm downloads once;
afterwards the command and the page work without a network. Photographs do not leave the browser. Ctrl-C ends it.
"""

import argparse
from pathlib import Path

from stages.base.stage import stage
from stages.base.terminal import format_size
from stages.browser.build import build_page, check_model
from stages.browser.runtime import PACKAGE, VERSION, provide_runtime
from stages.browser.serve import HOST, open_server

EXPORT = Path("data/export")
DEMO = Path("data/demo")
RUNTIME = Path(f"data/.onnxruntime-web-{VERSION}")


@stage("demo")
def main() -> None:
    """Run the command."""
    options = build_parser().parse_args()
    check_model(options.folder)
    provide_runtime(RUNTIME, options.runtime)
    size = build_page(options.folder, RUNTIME, DEMO)
    print(f"{DEMO}: {format_size(size)}, with the model and ONNX Runtime")
    if options.serve:
        with open_server(DEMO, options.port) as server:
            print(f"http://{HOST}:{server.server_port}/ (Ctrl-C ends it)", flush=True)
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                print("demo: ended.")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m stages demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "folder", nargs="?", type=Path, default=EXPORT, metavar="FOLDER", help=f"exported model (default {EXPORT})"
    )
    parser.add_argument("--port", type=int, default=0, help="port to serve on (default: any that is free)")
    parser.add_argument("--no-serve", dest="serve", action="store_false", help="only make the page")
    parser.add_argument("--runtime", type=Path, metavar="FILE", help=f"the package {PACKAGE}, if npm cannot fetch it")
    return parser


if __name__ == "__main__":
    main()
