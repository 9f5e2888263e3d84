"""`dither predict`."""

import json
from pathlib import Path
from typing import Annotated

import typer


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")],
    inputs: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The inputs: a table (.csv, .tsv, .txt), .npy or .npz."),
    ] = None,
    further: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Score N simulated devices that were not trained on, instead."
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="DEVICE",
            help="Use FILE.py:NAME or remote://HOST:PORT instead of the run's device.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the table to this file instead of printing it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show a trained device's outputs for new inputs, or the scores of further devices."""
    from dither._errors import RequestError
    from dither.instruments.network import device_at
    from dither.training import load_run
    from dither.training.predict import inputs_in, told_names

    if (inputs is None) == (further is None):
        raise RequestError("Give either --inputs FILE or --further N.")
    result = load_run(run, None if device is None else device_at(device))
    if further is not None:
        scores = result.further(further)
        if as_json:
            typer.echo(json.dumps({"devices": scores.to_dict("records")}))
        else:
            _put(scores.to_csv(index=False, float_format="%.6g"), len(scores), out)
        return
    assert inputs is not None
    outputs = result.predict(inputs_in(inputs, result.task))
    known = () if result.task is None else result.task.load().classes
    classes = told_names(outputs, known)
    told = known if len(known) == outputs.shape[1] else range(outputs.shape[1])
    names = [f"output {one}" for one in told]
    if as_json:
        typer.echo(json.dumps({"outputs": outputs.tolist(), "classes": classes or None}))
        return
    import pandas as pd

    table = pd.DataFrame(outputs, columns=names)
    if classes:
        table.insert(0, "class", classes)
    _put(table.to_csv(index=False, float_format="%.6g"), len(outputs), out)


def _put(text: str, rows: int, out: Path | None) -> None:
    """Print a table, or write it to a file."""
    from dither._files import write_atomically

    if out is None:
        typer.echo(text, nl=False)
    else:
        write_atomically(out, text.encode())
        typer.echo(f"{rows} rows: {out}")
