"""`python -m dither.studies FOLDER`: one process of a study, which takes what others leave."""

import sys
from pathlib import Path

from dither._errors import RequestError, RunError
from dither._interrupt import LEAVING, ctrl_c, status_of_signal
from dither.studies.local import work
from dither.studies.study import read_study
from dither.studies.together import Interrupted


def main(folder: Path) -> int:
    """Do what is missing of the study in a folder; the exit status is that of the shell."""
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
