"""Files that are damaged, changed, closed, deleted: named in a sentence, and nothing is lost."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dither
from dither import MLP, RequestError, RunError, SimulatedDevice, Until, WeightMGD
from dither._interrupt import ctrl_c, status_of_signal
from dither._seal import is_whole, read_json, sealed, sealed_json
from dither.studies import Study, load_study, read_study, run_study, store
from dither.studies.parts import as_text
from dither.studies.report import write_report
from dither.tasks import XOR
from dither.training import load_run
from dither.training.checkpoint import npz, read_checkpoint, read_npz
from dither.training.folder import CHECKPOINT
from dither.training.history import history_bytes, read_history
from dither.training.lease import Lease, abandoned, holder
from dither.training.load import read_result
from dither.training.specification import read_specification, read_toml

DEVICE = SimulatedDevice(network=MLP(widths=(2, 2, 1), gain=2.0))
STUDY = Study(
    name="small", base="xor", seeds=3, set={"until.measurements": 200, "until.confirm": 100},
    axes={"algorithm.learning_rate": [0.5, 1.0]},
)  # fmt: skip
SCORES = ["run", "seed", "score", "stop_reason", "measurements"]


def train(out, measurements=60, **more):
    return dither.train(
        DEVICE, XOR(batch=2), WeightMGD(learning_rate=0.05, delta=0.01), score_every=20, out=out,
        until=Until(measurements=measurements), **more,
    )  # fmt: skip


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run and a study, finished, and a lease."""
    folder = tmp_path_factory.mktemp("files")
    train(folder / "run", replicas=2)
    run_study(STUDY, folder / "study")
    lease = Lease(folder / "lease.json")
    (folder / "lease.json").write_bytes(sealed_json(lease.about))
    return folder


def run_file(folder):
    return sorted((folder / "study" / "runs").iterdir())[0]


def run_row(file):
    row = store.read_run(file.parents[1], file.stem)
    if row is None:
        raise RequestError("It is run again.")
    return row


def as_lists(arrays):
    return {name: array.tolist() for name, array in arrays.items()}


def checkpoint_of(file):
    arrays, about = read_checkpoint(file)
    return as_lists(arrays), about


def lease_of(file):
    about = holder(file)
    if not about:
        raise RequestError("Whoever holds it is told by the clock of the file alone.")
    return about


KINDS = {
    "checkpoint": (lambda folder: folder / "run" / CHECKPOINT, checkpoint_of),
    "history": (lambda folder: folder / "run" / "history.parquet",
                lambda file: read_history(file).to_dict()),
    "result": (lambda folder: folder / "run" / "result.json", read_result),
    "parameters": (lambda folder: folder / "run" / "parameters.npz",
                   lambda file: as_lists(read_npz(file))),
    "spec.toml": (lambda folder: folder / "run" / "spec.toml",
                  lambda file: read_specification(str(file))),
    "study.toml": (lambda folder: folder / "study" / "study.toml", read_study),
    "run of a study": (run_file, run_row),
    "lease": (lambda folder: folder / "lease.json", lease_of),
}  # fmt: skip
"""Each kind of file that dither reads again, and how it is read."""


# ------------------------------------------------------------------------------- bits, truncation


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60)
@given(data=st.data())
def test_a_flipped_bit_is_found_or_changes_nothing(folder, kind, data):
    where, read = KINDS[kind]
    file = where(folder)
    whole, before = file.read_bytes(), repr(read(file))
    place = data.draw(st.integers(0, 8 * len(whole) - 1))
    cut = data.draw(st.sampled_from(["bit", "bit", "bit", "cut", "doubled"]))
    flipped = bytearray(whole)
    flipped[place // 8] ^= 1 << place % 8
    content = {"bit": bytes(flipped), "cut": whole[: place // 8], "doubled": whole + whole}[cut]
    try:
        file.write_bytes(content)
        found = repr(read(file))
    except RequestError as error:
        found = before if "\n" not in str(error) else error
    finally:
        file.write_bytes(whole)
    assert found == before


def test_a_seal_is_the_digest_of_all_else():
    content = sealed_json({"a": "sha256-" + "0" * 64})
    assert is_whole(content)
    assert not is_whole(content.replace(b"0", b"1", 1))
    assert not is_whole(content + b" ")
    assert sealed(b"sha256-" + b"0" * 64 + b"!").endswith(b"!")


# -------------------------------------------------------------------------- edits, sealed or not

NONSENSE = [b"", b"[]", b"null", b"{}", b"[" * 100_000, b"1" * 100_000, b"\xff\xfe", b'{"a": 1}']


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("content", NONSENSE, ids=lambda content: repr(content[:4]))
def test_another_files_content_is_refused(folder, kind, content):
    where, read = KINDS[kind]
    file = where(folder)
    whole = file.read_bytes()
    try:
        file.write_bytes(content)
        with pytest.raises(RequestError) as caught:
            read(file)
        assert "\n" not in str(caught.value)
    finally:
        file.write_bytes(whole)


def every_edit(table):
    """A table with each of its fields left out, null, and of another type."""
    for key in table:
        yield {name: value for name, value in table.items() if name != key}
        for value in (None, [], {}, "x", [[1, 2]], {"a": None}):
            if not (isinstance(table[key], str) and isinstance(value, str)):
                yield {**table, key: value}


def test_a_result_that_was_sealed_again_is_doubted_too(folder):
    file = folder / "run" / "result.json"
    whole = file.read_bytes()
    before = load_run(folder / "run").summary()
    told = read_json(file)
    edits = [*every_edit(told), *({**told, "replicas": [one]} for one in every_edit(
        told["replicas"][0]))]  # fmt: skip
    refused = 0
    try:
        for edit in edits:
            file.write_bytes(sealed_json(edit))
            try:
                result = load_run(folder / "run").summary()
            except RequestError as error:
                refused += "\n" not in str(error)
            else:  # what is not read, or may be null
                changed = {k for k in result if result[k] != before[k]}
                assert changed <= {"score", "warnings", "replicas", "start_from"}
    finally:
        file.write_bytes(whole)
    assert refused > len(edits) / 2


def edits_of_a_checkpoint(saved):
    about = json.loads(str(saved["about"]))
    for name, array in saved.items():
        if name != "about":
            yield {n: a for n, a in saved.items() if n != name}
            yield {**saved, name: np.concatenate([array.reshape(-1)] * 2 + [np.zeros(1)])}
            yield {**saved, name: np.full(array.shape, "x")} if array.dtype.kind != "U" else {}
    for edit in every_edit(about):
        if edit.get("version") == about["version"] and edit.get("plateau", 0) is None:
            yield {**saved, "about": np.array(json.dumps(edit))}
    yield {**saved, "about": np.array("[" * 10_000)}
    yield {**saved, "array.new": np.zeros(3)}


def test_a_checkpoint_that_was_sealed_again_is_doubted_before_anything_is_written(tmp_path):
    train(tmp_path / "run")
    file = tmp_path / "run" / CHECKPOINT
    whole, saved = file.read_bytes(), read_npz(file)
    before = {p: c for p, c in contents(tmp_path).items() if p != file}
    edits, accepted = [*edits_of_a_checkpoint(saved)], 0
    for edit in edits:
        file.write_bytes(npz(edit))
        try:
            read = read_checkpoint(file)
            with pytest.raises(RequestError) as caught:
                train(tmp_path / "run", 80, resume=True)
        except RequestError as error:
            caught = error
        except pytest.fail.Exception:
            accepted += 1  # a score of null, which is one
            assert read[1].score is None
            shutil.rmtree(tmp_path / "run")
            for path, content in before.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            (tmp_path / "run" / "checkpoint").mkdir(exist_ok=True)
            continue
        assert "\n" not in str(getattr(caught, "value", caught))
        assert {p: c for p, c in contents(tmp_path).items() if p != file} == before
    assert len(edits) > 60
    assert accepted <= 2
    file.write_bytes(whole)
    assert train(tmp_path / "run", 80, resume=True).ledger["measurements"] == 80


def test_a_history_with_other_columns_is_refused(folder):
    file = folder / "run" / "history.parquet"
    whole, history = file.read_bytes(), read_history(file)
    try:
        for other in (history.drop(columns="score"), history.astype({"cost": str}), history[[]]):
            file.write_bytes(history_bytes(other))
            with pytest.raises(RequestError, match="not the history of a run"):
                load_run(folder / "run")
        history.to_parquet(file)  # as others write it
        with pytest.raises(RequestError, match="has changed since it was written"):
            write_report(folder / "run")
    finally:
        file.write_bytes(whole)


def test_a_specification_may_be_changed_on_purpose_but_not_by_accident(tmp_path):
    train(tmp_path / "run")
    file = tmp_path / "run" / "spec.toml"
    whole = file.read_text()
    changed = whole.replace("learning_rate = 0.05", "learning_rate = 0.15")
    file.write_text(changed)
    with pytest.raises(
        RequestError, match=r"spec.toml has changed since dither.*remove its first line"
    ):
        read_toml(file)
    file.write_text(changed.partition("\n")[2])
    assert read_toml(file)[0]["algorithm"]["learning_rate"] == 0.15
    (tmp_path / "mine.toml").write_text(changed)  # a copy is one's own
    assert read_toml(tmp_path / "mine.toml")[0]["algorithm"]["learning_rate"] == 0.15


# ---------------------------------------------------------------------------------------- studies


@pytest.mark.parametrize("kind", ["flipped", "cut", "foreign", "another run's"])
def test_a_rotten_run_of_a_study_is_named_set_aside_and_run_again(folder, tmp_path, kind):
    shutil.copytree(folder / "study", tmp_path / "study")
    whole = load_study(tmp_path / "study")
    victim, other = sorted((tmp_path / "study" / "runs").iterdir())[2:4]
    content = victim.read_bytes()
    if kind == "foreign":
        pd.DataFrame({"a": [1]}).to_parquet(victim)
    else:
        half = len(content) // 2
        flipped = content[:half] + bytes([content[half] ^ 4]) + content[half + 1 :]
        other_files = {
            "flipped": flipped,
            "cut": content[:half],
            "another run's": other.read_bytes(),
        }
        victim.write_bytes(other_files[kind])
    rotten = victim.read_bytes()
    with pytest.warns(store.DamagedFileWarning, match=victim.name):
        rest = load_study(tmp_path / "study")
    kept = whole[whole["run"] != victim.stem].reset_index(drop=True)
    pd.testing.assert_frame_equal(rest[SCORES], kept[SCORES])
    with pytest.warns(store.DamagedFileWarning, match=victim.name):
        page = write_report(tmp_path / "study")
    assert "5 of 6 are finished" in page.read_text()
    with pytest.warns(store.DamagedFileWarning, match=victim.name):
        again = run_study(STUDY, tmp_path / "study")
    pd.testing.assert_frame_equal(again[SCORES], whole[SCORES])
    assert (tmp_path / "study" / "damaged" / victim.name).read_bytes() == rotten


def test_cells_that_spreadsheets_take_for_formulas_are_quoted():
    for cell in ("=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1"):
        assert as_text(cell) == f"'{cell}"
    for cell in ("-0.5", "+1e-3", "-inf", "a=b", "", -0.5, 3, True, None):
        assert as_text(cell) == cell


# -------------------------------------------------------------------------- folders that are lost


def test_a_folder_that_is_deleted_meanwhile_is_saved_beside(tmp_path):
    out = tmp_path / "run"

    def delete(now):
        if now.measurements >= 300 and out.exists():
            shutil.rmtree(out)

    with pytest.raises(
        RunError, match=r"run was deleted or .* saved in .*run\.saved; continue with"
    ):
        train(out, 2000, observers=[delete])
    assert not out.exists()
    beside = tmp_path / "run.saved"
    n = load_run(beside).ledger["measurements"]
    assert 300 <= n < 2000
    again = train(beside, n + 100, resume=True)
    whole = train(None, n + 100)
    assert np.array_equal(again.parameters, whole.parameters)


def test_a_folder_that_another_has_taken_over_is_left_to_it(tmp_path):
    out, other = tmp_path / "run", {"host": "elsewhere", "pid": 7, "born": 0.0, "since": 0.0}

    def take_over(now):
        if now.measurements >= 300:
            (out / "lease.json").write_bytes(sealed_json(other))

    with pytest.raises(RunError, match=r"taken over .* saved in .*run\.saved"):
        train(out, 2000, observers=[take_over])
    assert read_json(out / "lease.json") == other
    assert not (out / "result.json").exists()
    assert load_run(tmp_path / "run.saved").ledger["measurements"] >= 300


def test_a_study_whose_folder_is_deleted_goes_on_beside_it(folder, tmp_path):
    out = tmp_path / "study"

    def delete(now):
        if "measurements" in now.doing and (out / "study.toml").exists():
            shutil.rmtree(out)

    with pytest.raises(RunError, match=r"study was deleted .* saved in .*study\.saved"):
        run_study(STUDY, out, observers=[delete])
    assert not out.exists()
    table = run_study(STUDY, tmp_path / "study.saved")
    pd.testing.assert_frame_equal(table[SCORES], load_study(folder / "study")[SCORES])


# ------------------------------------------------------------------------------------ permissions

CLOSED = """
import ctypes, os, sys
if os.geteuid() == 0:  # root with the rights of others: their files are closed to it
    libc = ctypes.CDLL(None, use_errno=True)
    for right in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        assert libc.prctl(24, right, 0, 0, 0) == 0
    os.execv(sys.executable, [sys.executable, "-m", "dither.cli", *sys.argv[1:]])
from dither.cli import main
main()
"""


def closed(*words):
    return subprocess.run(
        [sys.executable, "-c", CLOSED, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="modes and rights are Linux's")
@pytest.mark.parametrize(
    ("shut", "mode", "command", "option"),
    [
        ("run/checkpoint/state.npz", 0o000, "train", "--resume"),
        ("run", 0o500, "train", "--resume"),
        ("study/runs", 0o000, "study", "--resume"),
    ],
)
def test_what_one_may_not_read_or_write_is_not_damaged(
    folder, tmp_path, shut, mode, command, option
):
    what = shut.partition("/")[0]
    shutil.copytree(folder / what, tmp_path / what)
    before = contents(tmp_path)
    (tmp_path / shut).chmod(mode)
    try:
        ended = closed(command, tmp_path / what, option)
    finally:
        (tmp_path / shut).chmod(0o755)
    assert ended.returncode == 2, ended.stderr
    sentence = ended.stderr.strip()
    assert "\n" not in sentence
    assert str(tmp_path / shut) in sentence
    assert "no permission" in sentence
    assert "damaged" not in sentence
    assert "remove" not in sentence
    assert contents(tmp_path) == before


# ---------------------------------------------------------------------------- signals, full disks


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_program_that_was_asked_to_end_says_by_which_signal(monkeypatch, number):
    from dither import _interrupt, cli

    monkeypatch.setattr(_interrupt, "_HEARD", [])
    ignored = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # as under nohup

    def command(**_):
        with ctrl_c(*_interrupt.LEAVING) as asked:
            os.kill(os.getpid(), number)
            assert asked()

    monkeypatch.setattr(cli, "app", command)
    try:
        with pytest.raises(SystemExit) as ended:
            cli.main()
    finally:
        signal.signal(signal.SIGHUP, ignored)
    assert ended.value.code == 128 + number == status_of_signal()


def test_a_run_that_is_told_to_end_is_saved_and_the_next_command_is_not_begun(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "dither.cli", "train", "xor", "--out", str(tmp_path / "run"),
         "--set", "until.measurements=100000000", "--set", "until.confirm=1000000"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        for _ in range(600):
            if (tmp_path / "run" / "progress.json").exists():
                break
            try:
                process.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
        process.terminate()
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 128 + signal.SIGTERM, said
    assert load_run(tmp_path / "run").stop_reason == "interrupted"
    assert (tmp_path / "run" / CHECKPOINT).is_file()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_an_output_that_takes_no_more_is_told_once():
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "dither.cli", "presets", "xor"],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=120,
        )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stderr == "dither: The output cannot be used: No space left on device.\n"


# ------------------------------------------------------------------------- clocks, a lab's own file


def test_a_clock_that_is_set_takes_no_lease_from_the_living(tmp_path, monkeypatch):
    import psutil

    lease = Lease.take(tmp_path / "lease.json")
    made, boot = psutil.Process.create_time, psutil.boot_time
    try:
        for jump in (3600.0, -3600.0, 1e9):
            monkeypatch.setattr(psutil, "boot_time", lambda jump=jump: boot() + jump)
            monkeypatch.setattr(
                psutil.Process, "create_time", lambda self, jump=jump: made(self) + jump
            )
            assert not abandoned(tmp_path / "lease.json")
            assert Lease.take(tmp_path / "lease.json") is None
    finally:
        lease.give_up()


LAB = """
import numpy as np
from pathlib import Path
Path("imported").touch()
class Chip:
    parameters, bounds = 2, (-1.0, 1.0)
    def write(self, theta):
        self.theta = theta
    def cost(self, inputs, targets):
        return float(np.sum(self.theta ** 2))
"""


def test_a_resume_runs_a_labs_file_only_for_the_run_that_it_is_of(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("lab.py").write_text(LAB)

    def of_the_lab(measurements, **more):
        return dither.train(
            "lab.py:Chip", XOR(batch=2), WeightMGD(learning_rate=0.05, delta=0.01), out="run",
            until=Until(measurements=measurements), **more,
        )  # fmt: skip

    of_the_lab(60)
    Path("imported").unlink()
    for change in ({"key": 5}, {"score_every": 7}):
        with pytest.raises(RequestError, match="belongs to another specification"):
            of_the_lab(80, resume=True, **change)
    content = (Path("run") / CHECKPOINT).read_bytes()
    (Path("run") / CHECKPOINT).write_bytes(content[:-1])
    with pytest.raises(RequestError, match="has changed since it was written"):
        of_the_lab(80, resume=True)
    assert not Path("imported").exists()
    (Path("run") / CHECKPOINT).write_bytes(content)
    of_the_lab(80, resume=True)
    assert Path("imported").exists()
