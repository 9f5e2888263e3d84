import tempfile
from pathlib import Path

from dither.studies import read_study, run_study

study = read_study(Path(__file__).with_suffix(".toml"))
with tempfile.TemporaryDirectory() as folder:
    run_study(study, Path(folder, "study"))
