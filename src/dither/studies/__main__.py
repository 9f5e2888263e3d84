"""`python -m dither.studies FOLDER`: one worker process of a study."""

import sys
from pathlib import Path

from dither._errors import RequestError, RunError
from dither._interrupt import LEAVING, ctrl_c, status_of_signal
from dither.studies.local import work
from dither.studies.study import read_study
from dither.studies.together import Interrupted


def main(folder: Path) -> int:
    """Run the missing runs of the study in a folder, with the exit status of the command line."""
    try:
        with ctrl_c(*LEAVING) as interrupted:
            work(folder, read_study(folder), interrupted=interrupted)
    except Interrupted:
        return status_of_signal()
    except (RequestError, RunError) as error:
        print(f"dither: {error}", file=sys.stderr)
        return 2 if isinstance(error, RequestError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
