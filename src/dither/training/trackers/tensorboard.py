"""TensorBoard."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dither.training.stop import StopReason
from dither.training.trackers.tracker import AbstractTracker

FLUSH_SECONDS = 5


class TensorBoard(AbstractTracker):
    """Writes event files into `tensorboard/` in the run's folder: `tensorboard --logdir runs`."""

    writer: Any

    @staticmethod
    def check_installed() -> None:
        """Import the client. Errors: `ImportError`."""
        import tensorboardX  # noqa: F401  # only whether it is there

    def begin(self, out: Path, name: str, settings: Mapping[str, str]) -> None:
        """Begin an event file; that of a resumed run replaces the earlier ones."""
        from tensorboardX import SummaryWriter

        folder = str(out / "tensorboard")
        self.writer = SummaryWriter(folder, purge_step=0, flush_secs=FLUSH_SECONDS)
        lines = [f"| {key} | {value} |" for key, value in settings.items()]
        table = "\n".join([f"**{name}**", "", "| setting | value |", "|---|---|", *lines])
        self.writer.add_text("specification", table, 0)

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Send one evaluation."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def close(self, reason: StopReason) -> None:
        """Close the record with the reason for the end."""
        self.writer.add_text("stopped by", reason, 0)
        self.writer.close()
