"""Training as it goes, for TensorBoard: the metrics of `history`, in a folder of event files for each run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lens.training.run import Run


def check_installed() -> None:
    """Raise ModuleNotFoundError, with what to install, where TensorBoard is missing."""
    try:
        import tensorboard  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "log_dir is written by TensorBoard, which is not installed: pip install tensorboard"
        ) from None


@contextmanager
def event_log(folder: Path | None, runs: Sequence[Run], first_step: int) -> Iterator[Callable[[], None]]:
    """Yields what writes the metrics that the runs have logged since it was last called; with no folder, nothing.

    Args:
        folder: each run writes into `<folder>/<name>-seed<seed>`.
        first_step: where this training begins; TensorBoard forgets what was written of later steps before.
    """
    if folder is None:
        yield lambda: None
        return
    check_installed()
    from torch.utils.tensorboard import SummaryWriter

    with ExitStack() as stack:
        writers = [stack.enter_context(SummaryWriter(folder / run.name, purge_step=first_step)) for run in runs]
        written = [len(run.history) for run in runs]

        def write() -> None:
            for i, (run, writer) in enumerate(zip(runs, writers, strict=True)):
                for step, metric, value in run.history[written[i] :]:
                    writer.add_scalar(metric, value, step)
                written[i] = len(run.history)

        yield write
