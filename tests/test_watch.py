"""The live page: what it says of a folder, who is let in, and a real browser that watches a run."""

import contextlib
import http.client
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pytest

import dither
from dither import MLP, RequestError, SimulatedDevice, Until, WeightMGD
from dither._seal import sealed_json
from dither._words import duration
from dither.studies import Study, run_study
from dither.studies.local import lease_file
from dither.studies.plan import plan
from dither.tasks import XOR
from dither.training import live
from dither.training.lease import Lease
from dither.watch import RunWatch, StudyWatch, serve, watch_folder
from dither.watch.run import MOST_POINTS, curve, run_view
from dither.watch.study import study_view

DEVICE = SimulatedDevice(network=MLP(widths=(2, 2, 1), gain=2.0))
SPECIFICATION = {"name": "one", "until": {"score": 0.9, "measurements": 5000}}


def train(out, measurements=200, **more):
    algorithm = WeightMGD(learning_rate=0.05, delta=0.01)
    settings = {"until": Until(measurements=measurements), "score_every": 20, "key": 1, **more}
    return dither.train(DEVICE, XOR(), algorithm, out=out, **settings)


def tiles(view):
    return {tile.label: tile.value for tile in view.head.tiles}


# ----------------------------------------------------------------------- the folder meanwhile


def test_a_folder_is_fresh_while_the_run_goes_on_and_the_run_is_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(live, "EVERY", 0.0)
    monkeypatch.setattr(live, "SHARE", 1e9)
    monkeypatch.setattr("dither.training.run.SECONDS_PER_CALL", 1e-9)
    out, seen = tmp_path / "run", []

    def look(_):
        if (out / "progress.json").exists():
            history = pd.read_parquet(out / "history.parquet") if seen_history() else None
            seen.append((json.loads((out / "progress.json").read_text()), history))

    def seen_history():
        return (out / "history.parquet").exists()

    result = train(out, replicas=3, observers=[look])
    histories = [history for _, history in seen if history is not None]
    assert len({len(history) for history in histories}) == 9  # all but the last evaluation
    for history in histories:
        n = len(history) // 3
        whole = result.history.groupby("replica").head(n).reset_index(drop=True)
        pd.testing.assert_frame_equal(history, whole)
    for facts, _ in seen:
        assert facts["ledger"]["measurements"] == facts["measurements"] <= facts["most"] == 200
        assert facts["ledger"]["samples"] == 4 * facts["measurements"]
        if facts["rate"]:
            left = (200 - facts["measurements"]) / facts["rate"]
            assert facts["left_seconds"] == pytest.approx(left)
    assert not (out / "progress.json").exists()
    pd.testing.assert_frame_equal(pd.read_parquet(out / "history.parquet"), result.history)
    unwatched = train(None, replicas=3)
    assert np.array_equal(result.parameters, unwatched.parameters)


def test_a_disk_that_takes_no_live_files_stops_no_run(tmp_path, monkeypatch):
    def full(*_, **__):
        raise RequestError("No space left on device")

    monkeypatch.setattr(live, "EVERY", 0.0)
    monkeypatch.setattr(live, "write_atomically", full)
    assert train(tmp_path / "run").stop_reason == "measurements"


# -------------------------------------------------------------------------------- what it says


def test_a_curve_is_the_median_of_replicas_that_keep_their_last_values():
    rng = np.random.default_rng(0)
    ends = [40, 25, 40, 33, 8]
    history = pd.concat(
        pd.DataFrame(
            {"replica": r, "measurements": 10 * np.arange(1, n + 1), "cost": rng.random(n)}
        )
        for r, n in enumerate(ends)
    )
    drawn = curve(history, "cost", "cost measured", log=True)
    values = [list(history[history["replica"] == r]["cost"]) for r in range(5)]
    for k in range(40):
        now = sorted(v[min(k, len(v) - 1)] for v in values)
        assert drawn.middle[k] == pytest.approx(now[2])
        assert drawn.low[k] == pytest.approx(now[1])
        assert drawn.high[k] == pytest.approx(now[3])
    assert list(drawn.x) == [10.0 * k for k in range(1, 41)]
    assert np.isnan(drawn.each[4][8:]).all()
    assert not np.isnan(drawn.each[4][:8]).any()


def test_long_curves_are_thinned_so_that_points_stay():
    def points(n):
        k = np.arange(1, n + 1)
        frame = pd.DataFrame({"replica": 0, "measurements": 3 * k, "cost": 1.0 / k})
        return curve(frame, "cost", "cost measured", log=True)

    longest = points(4 * MOST_POINTS)
    assert len(longest.x) == MOST_POINTS
    for n in (3 * MOST_POINTS, 3 * MOST_POINTS + 7):
        shorter = points(n)
        assert np.array_equal(shorter.x, longest.x[: len(shorter.x)])
    np.testing.assert_allclose(longest.middle, 3.0 / longest.x)


PROGRESS = {
    "measurements": 1250, "most": 5000, "cost": 0.25, "score": 0.5, "score_name": "accuracy",
    "rate": 50.0, "left_seconds": 75.0, "wall_seconds": 25.0, "finished": 1, "replicas": 4,
    "ledger": {"measurements": 1250, "writes": 1250, "samples": 5000, "failed": 25,
               "device_seconds": 12.5, "joules": 0.0},
}  # fmt: skip


def test_a_runs_numbers(tmp_path):
    view = run_view(tmp_path, SPECIFICATION, PROGRESS, None, None, silent=1.0)
    shown = tiles(view)
    assert shown["cost measured"] == "0.25"
    assert shown["test accuracy"] == "0.5"
    assert shown["measurements"] == "1 250"
    assert shown["rate"] == "50 / s"
    assert shown["time left"] == "1 min 15 s"
    assert shown["replicas finished"] == "1 of 4"
    (failed,) = [tile for tile in view.head.tiles if tile.label == "failed measurements"]
    assert (failed.value, failed.detail) == ("25", "2 % of all")
    assert view.head.share == 0.25
    assert view.head.mood == "going"
    ledger, ends, _ = view.tables
    assert ("time on the device", "12.5", "s") in ledger.rows
    assert ends.rows == (("0.9", "score"), ("5 000", "measurements"))


@pytest.mark.parametrize(
    ("rate", "silent", "state", "mood"),
    [
        (50.0, 14.0, "running", "going"),
        (50.0, 40.0, "no sign of life for 40 s", "quiet"),
        (0.05, 40.0, "running", "going"),  # a measurement takes 20 s
        (0.05, 70.0, "no sign of life for 1 min 10 s", "quiet"),
        (None, 40.0, "no sign of life for 40 s", "quiet"),
    ],
)
def test_a_run_that_died_is_told_from_a_slow_one(tmp_path, rate, silent, state, mood):
    progress = {**PROGRESS, "rate": rate}
    head = run_view(tmp_path, SPECIFICATION, progress, None, None, silent).head
    assert (head.state, head.mood) == (state, mood)


def started(tmp_path, *more):
    """A run of a slow device in a process of its own."""
    (tmp_path / "slow.py").write_text(textwrap.dedent(SLOW))
    command = [
        sys.executable, "-m", "dither.cli", "train", "xor", "--device",
        f"{tmp_path / 'slow.py'}:Slow", "--out", str(tmp_path / "run"),
        "--set", "until.measurements=1000000", "--set", "until.confirm=1000000",
        "--set", "score_every=20", *more,
    ]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_a_run_whose_process_is_gone_has_stopped(tmp_path):
    train(tmp_path)
    (tmp_path / "result.json").unlink()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    lease = {"host": socket.gethostname(), "pid": ended.pid, "born": 1.0, "since": 1.0}
    (tmp_path / "lease.json").write_bytes(sealed_json(lease))
    heard = (tmp_path / "lease.json").stat().st_mtime
    for progress in (False, True):
        if progress:
            (tmp_path / "progress.json").write_bytes(sealed_json(PROGRESS))
            os.utime(tmp_path / "progress.json", (heard, heard))
        head = RunWatch(tmp_path).look(heard + 0.5).head
        at = time.strftime("%H:%M:%S", time.localtime(heard))
        assert (head.state, head.mood) == (f"stopped, last sign of life at {at}", "quiet")
    (tmp_path / "lease.json").write_bytes(sealed_json({**lease, "host": "elsewhere"}))
    assert RunWatch(tmp_path).look(heard + 0.5).head.state == "running"
    (tmp_path / "lease.json").unlink()  # an error has ended it, and nobody holds the folder
    assert RunWatch(tmp_path).look(time.time() + 3.0).head.state.startswith("stopped, last sign")


def test_what_is_not_known_is_not_shown(tmp_path):
    history = pd.DataFrame(
        {"replica": 0, "measurements": [10, 20], "cost": [0.5, 0.4], "score": np.nan,
         "test_cost": np.nan, "wall_seconds": 1.0}
    )  # fmt: skip
    view = run_view(tmp_path, SPECIFICATION, PROGRESS, None, history, silent=1.0)
    assert [one.quantity for one in view.curves] == ["cost measured"]
    assert not any("energy" in row or "J" in row for row in view.tables[0].rows)
    assert "learning rate" not in tiles(view)
    told = {**PROGRESS, "learning_rate": 0.03125}
    told["ledger"] = {**PROGRESS["ledger"], "joules": 0.25}
    view = run_view(tmp_path, SPECIFICATION, told, None, None, silent=1.0)
    assert ("energy", "0.25", "J") in view.tables[0].rows
    assert tiles(view)["learning rate"] == "0.03125"
    assert view.curves == ()


def test_how_a_run_ended(tmp_path):
    result = train(tmp_path / "run", replicas=2)
    view = RunWatch(tmp_path / "run").look(time.time() + 1000.0)
    assert (view.head.state, view.head.mood) == ("ended (measurements)", "ended")
    assert tiles(view)["measurements"] == "200"
    assert tiles(view)["test accuracy"] == f"{result.score:.4g}"
    cost, score = view.curves
    assert list(cost.x) == list(range(20, 201, 20))
    both = result.history.pivot_table(index="measurements", columns="replica", values="score")
    np.testing.assert_allclose(score.middle, both.mean(axis=1))  # the median of two


def test_a_run_that_goes_on_again_is_not_one_that_ended(tmp_path):
    train(tmp_path / "run")
    (tmp_path / "run" / "progress.json").write_bytes(sealed_json(PROGRESS))
    assert RunWatch(tmp_path / "run").look(time.time()).head.state == "running"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0 s"), (0.25, "0.25 s"), (59.4, "59 s"), (61.0, "1 min 1 s"), (3600.0, "1 h 0 min"),
     (2 * 86400 + 3 * 3600 + 59.0, "2 d 3 h")],
)  # fmt: skip
def test_durations(seconds, text):
    assert duration(seconds) == text


# ------------------------------------------------------------------------------------- a study


STUDY = Study(
    name="two axes",
    base={
        "task": "xor",
        "device": {"kind": "simulated", "network": {"kind": "mlp", "widths": [2, 2, 1]}},
        "algorithm": {"kind": "weight-mgd", "learning_rate": 0.05, "delta": 0.01},
        "until": {"measurements": 40, "score": 0.7},
        "score_every": 20,
    },
    axes={"algorithm.delta": [0.01, 0.1, 0.3], "algorithm.learning_rate": [0.05, 1.0]},
    seeds=4,
)


def test_what_is_done_of_a_study_is_counted_cell_by_cell(tmp_path):
    runs = [run for job in plan(STUDY) for run in job.runs]
    rng = np.random.default_rng(1)
    there = frozenset(run.name for run in runs if rng.random() < 0.5)
    done = study_view(tmp_path, STUDY, runs, there, None, []).done
    for k, rate in enumerate([0.05, 1.0]):
        for j, delta in enumerate([0.01, 0.1, 0.3]):
            mine = [
                run for run in runs
                if run.cell.specification.algorithm.delta == delta
                and run.cell.specification.algorithm.learning_rate == rate
            ]  # fmt: skip
            assert done.planned[k, j] == len(mine) == 4
            assert done.done[k, j] == sum(run.name in there for run in mine)
    assert (done.x, done.y) == ("perturbation amplitude delta", "learning rate")
    assert done.x_labels == ("0.01", "0.1", "0.3")


def test_medians_take_runs_that_missed_the_target_as_longer_than_any(tmp_path):
    runs = [run for job in plan(STUDY) for run in job.runs]
    rng = np.random.default_rng(2)
    rows = [
        {
            "role": "run", **run.cell.labels, "seed": run.seed, "target": 0.7,
            "reached": bool(rng.random() < 0.6), "measurements": int(rng.integers(10, 40)),
            "stop_reason": "score", "score": 0.5, "job_seconds": 2.0,
        }
        for run in runs if run.cell.labels["algorithm.delta"] != 0.3
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    medians = study_view(tmp_path, STUDY, runs, frozenset(), table, []).medians
    assert medians.quantity == "measurements to the target"
    finite = 0
    for k, rate in enumerate([0.05, 1.0]):
        for j, delta in enumerate([0.01, 0.1]):
            mine = sorted(
                row["measurements"] if row["reached"] else 10**9 for row in rows
                if (row["algorithm.delta"], row["algorithm.learning_rate"]) == (delta, rate)
            )  # fmt: skip
            middle = (mine[1] + mine[2]) / 2
            if middle < 10**8:
                finite += 1
                assert medians.of[k, j] == middle
            else:
                assert np.isnan(medians.of[k, j])
    assert 0 < finite < 4
    assert np.isnan(medians.of[:, 2]).all()


@pytest.mark.long
def test_a_studys_folder_and_who_is_at_work(tmp_path):
    folder = tmp_path / "study"
    table = run_study(STUDY, folder)
    watch = watch_folder(folder)
    assert isinstance(watch, StudyWatch)
    view = watch.look(time.time())
    assert (view.head.state, view.head.share) == ("complete", 1.0)
    assert tiles(view)["finished runs"] == "24 of 24"
    assert tiles(view)["reached the target"] == f"{table['reached'].sum()} of 24"

    gone = table["run"].iloc[:6]
    for name in gone:
        (folder / "runs" / f"{name}.parquet").unlink()
    job = next(job for job in plan(STUDY) if any(run.name == gone[0] for run in job.runs))
    assert watch.look(time.time()).head.state == "no process is working on it"
    with Lease.take(lease_file(folder, job)):
        part = folder / "work" / job.name / "runs" / "0"
        part.mkdir(parents=True)
        (part / "progress.json").write_bytes(sealed_json(PROGRESS))
        view = watch.look(time.time())
        assert view.head.state == "1 job running"
        assert tiles(view)["finished runs"] == "18 of 24"
        assert tiles(view)["running"] == str(len(job.runs))
        row = view.tables[0].rows[0]
        assert row[1:4] == (str(len(job.runs)), "1 250", "25%")
        assert str(os.getpid()) in row[-1]
    abandoned = lease_file(folder, job)
    abandoned.parent.mkdir(exist_ok=True)
    abandoned.write_bytes(
        sealed_json({"host": "elsewhere", "pid": 1, "born": 0.0, "since": time.time() - 500})
    )
    assert watch.look(time.time()).head.mood == "going"
    assert watch.look(time.time() + 100.0).head.state == "no process is working on it"


@pytest.mark.parametrize("axes", [0, 1])
def test_studies_of_fewer_axes(tmp_path, axes):
    study = Study(**{**STUDY.model_dump(), "axes": dict(list(STUDY.axes.items())[:axes])})
    runs = [run for job in plan(study) for run in job.runs]
    done = study_view(tmp_path, study, runs, frozenset({runs[0].name}), None, []).done
    assert done.done.sum() == 1
    assert done.planned.tolist() == [[4, 4, 4][: 2 * axes + 1]]


# ---------------------------------------------------------------------------------- the server


@contextlib.contextmanager
def served(folder, listen="127.0.0.1"):
    """The page's address, from a server in a thread."""
    pytest.importorskip("bokeh")
    addresses, stop = [], threading.Event()
    there = threading.Event()

    def told(address):
        addresses.append(address)
        there.set()

    thread = threading.Thread(target=serve, args=(folder, 0, listen, told, stop))
    thread.start()
    try:
        assert there.wait(60)
        yield urlsplit(addresses[0])
    finally:
        stop.set()
        thread.join(30)
    assert not thread.is_alive()


def ask(port, path="/", **headers):
    """Status, headers and text of an answer."""
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    line.request("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})
    answer = line.getresponse()
    text = "" if answer.status == 101 else answer.read().decode()
    line.close()
    return answer.status, answer.headers, text


def knock(port, page, **headers):
    """The status that a websocket is answered with."""
    token = re.search(r'"token":"([^"]+)"', page)[1]
    return ask(
        port, "/ws", Upgrade="websocket", Connection="Upgrade", Sec_WebSocket_Version="13",
        Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==", Sec_WebSocket_Protocol=f"bokeh, {token}",
        **headers,
    )[0]  # fmt: skip


def test_here_no_token_is_needed_and_no_foreign_page_gets_in(tmp_path):
    train(tmp_path / "run")
    with served(tmp_path / "run") as address:
        port = address.port
        assert address.query == ""
        status, _, page = ask(port)
        assert status == 200
        assert "https://" not in page
        assert all(src.startswith("/static/") for src in re.findall(r'src="([^"]*)"', page))
        assert knock(port, page, Origin=f"http://127.0.0.1:{port}") == 101
        assert knock(port, page, Origin="http://evil.example") == 403
        assert ask(port, Host=f"evil.example:{port}")[0] == 403  # a foreign name for this machine
        assert ask(port, Host="localhost:8080")[0] == 200  # through a tunnel


def test_elsewhere_every_request_needs_the_token(tmp_path, monkeypatch):
    train(tmp_path / "run")
    monkeypatch.setattr(socket, "gethostname", lambda: "bench")
    with served(tmp_path / "run", "0.0.0.0") as address:
        port = address.port
        token = address.query.removeprefix("token=")
        assert address.hostname == "bench"
        assert len(token) >= 32
        static = "/static/js/bokeh.min.js"
        wrong = secrets.token_urlsafe()
        for path in ("/", "/?token=", f"/?token={wrong}", static, f"{static}?token={token}",
                     "/metadata", "/autoload.js", "/nowhere"):  # fmt: skip
            status, headers, text = ask(port, path)
            assert (status, headers["Set-Cookie"]) == (403, None)
            assert "token" in text
        assert ask(port, Cookie=f"dither-{port}={wrong}")[0] == 403

        status, headers, _ = ask(port, f"/?token={token}")
        assert (status, headers["Location"]) == (302, "/")
        given = headers["Set-Cookie"]
        assert "HttpOnly" in given
        assert "SameSite=Strict" in given
        cookie = given.split(";")[0]
        status, _, page = ask(port, Cookie=cookie)
        assert status == 200
        assert token not in page
        assert ask(port, static, Cookie=cookie)[0] == 200
        here = f"http://127.0.0.1:{port}"
        assert knock(port, page, Origin=here) == 403
        assert knock(port, page, Origin=here, Cookie=f"dither-{port}={wrong}") == 403
        assert knock(port, page, Origin="http://evil.example", Cookie=cookie) == 403
        assert knock(port, page, Origin=here, Cookie=cookie) == 101


def test_a_taken_port_and_a_folder_of_nothing_are_one_sentence(tmp_path):
    pytest.importorskip("bokeh")
    train(tmp_path / "run")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(RequestError, match=rf"port {port} is in use; give another with --port"):
            serve(tmp_path / "run", port)
    with pytest.raises(RequestError, match="The port 70000 is not valid"):
        serve(tmp_path / "run", 70000)
    command = [sys.executable, "-m", "dither.cli", "watch", str(tmp_path / "nothing")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"dither: The folder {tmp_path}/nothing holds neither a run ")
    assert done.stderr.count("\n") == 1


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_page_that_is_asked_to_end_ends_well(tmp_path, number):
    train(tmp_path / "run")
    # also where the tests run in the background, which has Ctrl-C ignored
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    command = [sys.executable, "-c", heard + "from dither.cli import main; main()", "watch"]
    command += [str(tmp_path / "run"), "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as page:
        try:
            assert "http://127.0.0.1:" in page.stdout.readline()
            page.send_signal(number)
            out, errors = page.communicate(timeout=60)
        finally:
            page.kill()
    assert (page.returncode, out, errors) == (0, "", "")


def test_a_missing_bokeh_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "bokeh", None)
    monkeypatch.setitem(sys.modules, "bokeh.server.server", None)
    with pytest.raises(RequestError, match=r"pip install 'dither\[watch\]'"):
        serve(tmp_path)


# ---------------------------------------------------------------------------------- a browser


SLOW = """
    import time

    import numpy as np


    class Slow:
        parameters = 9

        def write(self, theta):
            self.theta = np.asarray(theta, float)

        def measure(self, inputs):
            time.sleep(0.01)
            hidden = np.tanh(np.asarray(inputs) @ self.theta[:4].reshape(2, 2) + self.theta[4:6])
            return (hidden @ self.theta[6:8] + self.theta[8])[:, None]
"""


@pytest.fixture
def chromium(tmp_path):
    """A browser that keeps what is said in its console and what it asks of the network."""
    webdriver = pytest.importorskip("selenium.webdriver")
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("chromium and chromium-driver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in ("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run",
                 "disable-background-networking", "disable-component-update", "disable-sync",
                 "disable-dev-shm-usage", f"user-data-dir={tmp_path / 'profile'}",
                 "window-size=1280,900"):  # fmt: skip
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(executable_path=driver)
    browser = webdriver.Chrome(options=options, service=service)
    yield browser
    browser.quit()


def until(true, seconds=90.0):
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, "this took too long"
        time.sleep(0.2)
    return found


def requested(browser):
    """Every address that a page has asked for."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [
        event["params"].get("url") or event["params"].get("request", {}).get("url", "")
        for event in events
        if event["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated")
    ]
    return {address for address in sent if urlsplit(address).scheme in ("http", "https", "ws")}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_browser_watches_a_run(tmp_path, chromium):
    out, run = tmp_path / "run", started(tmp_path)
    points = """
        const source = window.Bokeh?.documents[0]?.get_model_by_name("cost measured");
        return source == null ? 0 : source.data.x.length;
    """
    try:
        until((out / "spec.toml").exists)
        with served(out) as address:
            chromium.get(address.geturl())
            first = until(lambda: chromium.execute_script(points))
            until(lambda: chromium.execute_script(points) > first + 1)
            drawn = chromium.execute_script("return document.title")
            assert drawn == "xor – dither"
            text = """
                const roots = [document], text = [];
                while (roots.length > 0) {
                    const root = roots.pop();
                    text.push(root.textContent ?? "");
                    for (const e of root.querySelectorAll("*"))
                        if (e.shadowRoot != null) roots.push(e.shadowRoot);
                }
                return text.join(" ");
            """
            assert "running" in chromium.execute_script(text)
            run.send_signal(signal.SIGINT)
            run.wait(60)
            until(lambda: "ended (interrupted)" in chromium.execute_script(text))
            run = started(tmp_path, "--resume")
            until(lambda: "running" in chromium.execute_script(text))
            run.kill()
            killed = time.monotonic()
            until(lambda: "stopped, last sign of life at" in chromium.execute_script(text), 10.0)
            assert time.monotonic() - killed < 3.0
            assert "energy" not in chromium.execute_script(text)
            wide = """return [document.documentElement.scrollWidth, window.innerWidth]"""
            phone = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
            chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
            until(lambda: chromium.execute_script(wide) == [390, 390], 10.0)
            assert chromium.get_log("browser") == []
            hosts = {urlsplit(where).netloc for where in requested(chromium)}
            assert hosts == {f"127.0.0.1:{address.port}"}
    finally:
        run.kill()
        run.wait()
