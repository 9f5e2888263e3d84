"""The live page of a run or a study: what its folder says, in a browser, read-only."""

from dither.watch.run import RunView, RunWatch
from dither.watch.server import serve, watch_folder
from dither.watch.study import StudyView, StudyWatch

__all__ = ["RunView", "RunWatch", "StudyView", "StudyWatch", "serve", "watch_folder"]
