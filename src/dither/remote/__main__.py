"""`python -m dither.remote FILE.py:NAME`: serve a device from a machine without JAX."""

import argparse
import sys
from pathlib import Path

from dither._errors import DitherError, RequestError
from dither._interrupt import status_of_signal
from dither.remote.serve import serve


def main() -> None:
    """Serve until a signal N. Exit status: 128 + N, or 1 failure, 2 wrong request."""
    parser = argparse.ArgumentParser(prog="python -m dither.remote", description=__doc__)
    parser.add_argument("place", metavar="FILE.py:NAME")
    parser.add_argument("--listen", default="127.0.0.1:7700", metavar="HOST:PORT")
    for name in ("token-file", "certificate", "key", "client-ca", "record"):
        parser.add_argument(f"--{name}", type=Path, metavar="FILE")
    for name, seconds in (("timeout", 60.0), ("lease", 10.0)):
        parser.add_argument(f"--{name}", type=float, default=seconds, metavar="SECONDS")
    parser.add_argument("--rate", type=float, default=20_000.0, metavar="REQUESTS_PER_SECOND")
    try:
        serve(**vars(parser.parse_args()), say=lambda line: print(line, flush=True))
    except DitherError as error:
        print(f"dither: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, RequestError) else 1)
    sys.exit(status_of_signal())


main()
