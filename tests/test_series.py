"""The series: each generator against its equation written out plainly, the errors, the refusals."""

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from dither import RequestError
from dither.tasks import (
    NARMA10,
    SERIES,
    AnySeries,
    ChannelEqualisation,
    HeaderRecognition,
    MackeyGlass,
    SeriesFile,
    nmse,
    symbol_error_rate,
)

DRAWN = [MackeyGlass(skip=50), NARMA10(), ChannelEqualisation(), HeaderRecognition()]


def fine_mackey_glass(tau, count, h=0.001, initial=1.2):
    """Heun's method at a step of which tau and 1 are multiples: no interpolation anywhere."""
    lag, per_unit = round(tau / h), round(1 / h)
    x = [initial] * (lag + 1)

    def rate(now, delayed):
        return 0.2 * delayed / (1 + delayed**10) - 0.1 * now

    for n in range((count - 1) * per_unit):
        k1 = rate(x[-1], x[n])
        k2 = rate(x[-1] + h * k1, x[n + 1])
        x.append(x[-1] + h / 2 * (k1 + k2))
    return np.array(x[lag::per_unit])


# 17.034 is no multiple of the step: the delayed value lies between grid points
@pytest.mark.parametrize("tau", [17.0, 17.034])
def test_mackey_glass_agrees_with_a_fine_integration(tau):
    x = MackeyGlass(tau=tau, skip=0).values(151)
    assert np.abs(x - fine_mackey_glass(tau, 151)).max() < 2e-5


def test_mackey_glass_until_tau_is_an_exponential():
    x = MackeyGlass(tau=17, skip=0, sampling=0.7, step=0.35, initial=0.5).values(25)
    t = 0.7 * np.arange(25)
    end = 0.2 * 0.5 / (1 + 0.5**10) / 0.1
    assert x == pytest.approx(end + (0.5 - end) * np.exp(-0.1 * t), abs=1e-7)


def test_mackey_glass_rests_at_its_fixed_point():
    assert MackeyGlass(initial=1.0, skip=0).values(200) == pytest.approx(1.0, abs=1e-12)


def test_mackey_glass_is_bounded_and_chaotic_from_tau_17_on():
    def apart(tau):
        a, b = (
            MackeyGlass(tau=tau, step=0.5, skip=2000, initial=x).values(500)
            for x in (1.2, 1.2 + 1e-7)
        )
        return np.abs(a - b).max(), a

    chaotic, x = apart(25.0)
    assert 0.2 < x.min() < 0.6
    assert 1.1 < x.max() < 1.5
    assert chaotic > 0.1
    assert apart(10.0)[0] < 1e-5


def test_steps_ahead_and_sampling():
    one = MackeyGlass(skip=10, step=0.5)
    far = MackeyGlass(skip=10, step=0.5, steps=7)
    assert far.load().targets[:-6] == pytest.approx(one.load().targets[6:])
    assert MackeyGlass(skip=12, sampling=3).values(5) == pytest.approx(
        MackeyGlass(skip=12).values(13)[::3], abs=1e-9
    )
    u, t = one.load().inputs, one.load().targets
    assert np.corrcoef(u[1:], t[:-1])[0, 1] == pytest.approx(1)


def test_narma10_is_its_equation():
    series = NARMA10(seed=3).load()
    drawn = np.random.default_rng(3).uniform(0, 0.5, 1100)
    assert np.corrcoef(series.inputs, drawn)[0, 1] == pytest.approx(1)
    y = [0.0]
    for n in range(1100):
        total = sum(y[n - i] for i in range(10) if n - i >= 0)
        past = drawn[n - 9] if n >= 9 else 0.0
        y.append(0.3 * y[n] + 0.05 * y[n] * total + 1.5 * past * drawn[n] + 0.1)
    assert series.targets == pytest.approx(np.array(y[1:]), rel=1e-12)


def test_channel_is_its_equation():
    settings = ChannelEqualisation(snr=300, seed=1)
    series = settings.load()
    d = np.concatenate([series.targets[2:], [np.nan, np.nan]])  # d(n) from t(n) = d(n − 2)
    assert set(np.unique(series.targets)) == {-3, -1, 1, 3}
    weights = {2: 0.08, 1: -0.12, 0: 1, -1: 0.18, -2: -0.1, -3: 0.091, -4: -0.05, -5: 0.04}
    weights |= {-6: 0.03, -7: 0.01}
    n = np.arange(20, 1000)
    q = sum(weight * d[n + shift] for shift, weight in weights.items())
    u = q + 0.036 * q**2 - 0.011 * q**3
    slope, offset = np.polyfit(u, series.inputs[n], 1)
    assert series.inputs[n] == pytest.approx(slope * u + offset, abs=1e-9)


def test_channel_noise_has_its_ratio():
    long = {"train": 20000, "seed": 2}
    clean, noisy = (ChannelEqualisation(snr=snr, **long).load().inputs for snr in (300, 12))
    # inputs are scaled to [0, 1]; the correlation is free of the scale: 1/√(1 + 10^−1.2)
    expected = 1 / np.sqrt(1 + 10**-1.2)
    assert np.corrcoef(clean, noisy)[0, 1] == pytest.approx(expected, abs=5 * 0.06 / 20600**0.5)


def test_header_is_found_where_it_ends():
    series = HeaderRecognition(header="1101", seed=5).load()
    text = "".join("1" if bit > 0.5 else "0" for bit in series.inputs)
    found = [float(text[: n + 1].endswith("1101")) for n in range(len(text))]
    assert series.targets[3:].tolist() == found[3:]
    assert symbol_error_rate(np.zeros(1100), series.targets) == series.targets.mean()


@pytest.mark.parametrize("settings", DRAWN, ids=lambda s: s.kind)
def test_parts_and_scale(settings):
    series = settings.load()
    assert series.inputs.shape == series.targets.shape == (1100,)
    assert series.inputs[:600].min() == 0
    assert series.inputs[:600].max() == 1
    assert series.train_part == slice(100, 600)
    assert series.test_part == slice(600, 1100)
    assert series.score(series.targets, series.targets) == pytest.approx(0, abs=1e-12)
    assert np.array_equal(settings.load().inputs, series.inputs)


@pytest.mark.parametrize("settings", DRAWN[1:], ids=lambda s: s.kind)
def test_another_seed_is_another_series(settings):
    other = settings.model_copy(update={"seed": 17})
    assert not np.array_equal(other.load().targets, settings.load().targets)


def test_nmse_closed_forms():
    rng = np.random.default_rng(0)
    t, independent = rng.normal(size=(2, 40000))
    assert nmse(t, t) == 0
    assert nmse(3 * t - 7, t) == pytest.approx(0, abs=1e-20)
    assert nmse(-t, t) == pytest.approx(4)
    # 2 (1 − correlation), the correlation within 5 standard errors of 0
    assert nmse(independent, t) == pytest.approx(2, abs=5 * 2 / 200)
    y = t + 0.5 * independent
    assert nmse(y, t) == pytest.approx(2 * (1 - np.corrcoef(y, t)[0, 1]), rel=1e-9)
    assert nmse(np.full(40000, 0.1), t) == pytest.approx(1)


def test_symbol_error_rate_counts_wrong_symbols():
    t = np.tile([-3.0, -1.0, 1.0, 3.0], 50)
    assert symbol_error_rate(0.2 * t + 5, t) == 0
    wrong = t.copy()
    wrong[[0, 7]] = -1.0, 1.0
    assert symbol_error_rate(wrong, t) == 2 / 200


@pytest.mark.parametrize("score", [nmse, symbol_error_rate])
def test_a_constant_target_has_no_score(score):
    with pytest.raises(RequestError, match="constant"):
        score(np.arange(5.0), np.full(5, 0.1))


@pytest.mark.parametrize(("name", "comma"), [("x.csv", ","), ("x.txt", " "), ("x.npy", "")])
def test_series_file(tmp_path, name, comma):
    table = np.random.default_rng(0).normal(size=(60, 2))
    file = tmp_path / name
    np.save(file, table) if name == "x.npy" else np.savetxt(file, table, delimiter=comma)
    parts = {"washout": 10, "train": 20, "test": 20}
    series = SeriesFile(file=file, column=1, steps=3, **parts).load()
    assert series.targets == pytest.approx(table[3:53, 1])
    seen = table[:30, 1]
    assert series.inputs == pytest.approx((table[:50, 1] - seen.min()) / np.ptp(seen))
    with pytest.raises(RequestError, match="has 60 values"):
        SeriesFile(file=file, steps=11, **parts).load()
    with pytest.raises(RequestError, match="no column 2"):
        SeriesFile(file=file, column=2, **parts).load()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.r_[np.arange(30.0), np.nan, np.arange(30.0)], "NaN or infinity, first at step 30"),
        (np.r_[np.arange(10.0), np.full(51, 4.0)], "constant over the training part"),
        (np.r_[np.arange(31.0), np.full(30, 4.0)], "constant over the test part"),
        (np.full(61, 4.0), "inputs of the series are constant"),
    ],
)
def test_unusable_values_are_refused(tmp_path, values, message):
    np.save(tmp_path / "x.npy", values)
    settings = SeriesFile(file=tmp_path / "x.npy", washout=10, train=20, test=20)
    with pytest.raises(RequestError, match=message):
        settings.load()


def test_unreadable_files_are_refused(tmp_path):
    with pytest.raises(RequestError, match="does not exist"):
        SeriesFile(file=tmp_path / "none.txt").load()
    (tmp_path / "words.txt").write_text("not numbers\n")
    with pytest.raises(RequestError, match="unreadable"):
        SeriesFile(file=tmp_path / "words.txt").load()
    (tmp_path / "broken.npy").write_text("not numbers\n")
    with pytest.raises(RequestError, match="unreadable"):
        SeriesFile(file=tmp_path / "broken.npy").load()


@pytest.mark.parametrize("settings", [{"tau": 0.05}, {"decay": 20.0}])
def test_a_step_that_resolves_nothing_is_refused(settings):
    with pytest.raises(RequestError, match="smaller step"):
        MackeyGlass(skip=0, **settings).values(3)


def test_the_registry_makes_every_series():
    adapter = TypeAdapter(AnySeries)
    for kind, cls in SERIES.items():
        table = {"kind": kind} | ({"file": "x.txt"} if cls is SeriesFile else {})
        assert type(adapter.validate_python(table)) is cls
    with pytest.raises(ValidationError):
        adapter.validate_python({"kind": "header", "header": "12"})
