"""The noise sweep: the effect of output noise with each decision rule."""

from dither.laws import noisy_nmse
from dither.papers.andreoli2023.runs import descents, predicted
from dither.papers.drawing import PALETTE, laws, picture, points
from dither.papers.paper import Made, Observe, Row, known, mean, part_of
from dither.papers.scale import Scale, device_of

MEASURED = {"keep": 1, "remeasure": 2}
"""Measurements per test; the third decision rule uses as many as it needs."""


def noise(scale: Scale, observe: Observe) -> Made:
    """Final error against the relative noise of the output, at equal measurements."""
    study, rows = scale.study("noise"), list[Row]()
    for number, cell in enumerate(study.cells):
        sigma, decision = cell.labels["noise"], cell.labels["decision"]
        neurons = device_of(cell).space.size
        what = f"{decision}, noise {sigma:g}, N = {neurons}"
        share = part_of(observe, what, number / len(study.cells), 1 / len(study.cells))
        curves = descents(cell, study.seed_list, share)
        final, law = curves.errors[:, -1], None
        if decision in MEASURED:
            law = predicted(curves, sigma, decision, MEASURED[decision]).errors[:, -1]
        for quantity, of in (("noiseless", lambda e: e),
                             ("as measured", lambda e, s=sigma: noisy_nmse(e, s))):  # fmt: skip
            rows.append(
                Row("noise", decision, {"neurons": neurons, "noise": sigma},
                    f"final training NMSE, {quantity}", "1", *mean(of(final)), len(final),
                    law=None if law is None else float(of(law).mean()),
                    # the earlier simulation did not report whether its error includes the noise
                    expected=known("andreoli2023", "expected", figure="noise", method=decision,
                                   neurons=neurons, noise=sigma))
            )  # fmt: skip
    budget = (int(curves.tests[-1]) + neurons // 2) // neurons
    with picture(5.2, 3.6) as figure:
        axes = figure.subplots()
        for way, colour, marker in zip(study.labels("decision"), PALETTE, "osD"):
            mine = [r for r in rows if r.method == way and r.quantity.endswith("noiseless")]
            x = [row.point["noise"] for row in mine]
            points(axes, "noise", mine, colour, f"{marker}-", str(way))
            if mine[0].law is not None:
                axes.plot(x, laws(mine), "--", color=colour, linewidth=1, label=f"law, {way}")
        axes.set(xscale="log", yscale="log", xlabel="noise / standard deviation of the output",
                 ylabel=f"training NMSE, noiseless, after {budget} N")  # fmt: skip
        axes.legend(loc="upper left")
    return Made(rows, figure)
