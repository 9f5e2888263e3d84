"""The live page of a run or a study: a read-only view of its folder in a browser."""

from dither.watch.run import RunView as RunView
from dither.watch.run import RunWatch as RunWatch
from dither.watch.server import serve as serve
from dither.watch.server import watch_folder as watch_folder
from dither.watch.study import StudyView as StudyView
from dither.watch.study import StudyWatch as StudyWatch
