"""What people type by mistake, and files that are not what they are taken for."""

import shlex

FILES = {
    "empty.toml": b"",
    "binary.toml": bytes(range(256)),
    "wide.toml": "[task]\nkind = 'xor'\n".encode("utf-16"),
    "nul.toml": b"seed = 1\0",
    "twice.toml": b"seed = 1\nseed = 2\n",
    "tables_twice.toml": b"[task]\nkind = 'xor'\n[task]\nkind = 'parity'\n",
    "long_number.toml": b"seed = " + 5000 * b"9",
    "deep.toml": b"seed = " + 5000 * b"[",
    "deep_table.toml": b"a = " + 2000 * b"{a = ",
    "list.toml": b"[[task]]\nkind = 'xor'\n[[task]]\nkind = 'xor'\n",
    "text.toml": b"train my chip, please\n",
    "json.toml": b'{"task": {"kind": "xor"}}',
    "not_a_study.toml": b"[study]\nname = 'x'\n",
    "study.toml": b"base = 'xor'\n[axes]\n'algorithm.delta' = [0.1]\n",
    "no_values.toml": b"base = 'xor'\n[axes]\n'algorithm.delta' = []\n",
    "no_axis.toml": b"base = 'xor'\n[axes]\n'algorithm.dleta' = [0.1]\n",
    "one_wrong.toml": b"base = 'xor'\n[axes]\n'algorithm.delta' = [0.1, -0.1]\n",
    "nan_axis.toml": b"base = 'xor'\n[axes]\n'algorithm.delta' = [nan, 0.1]\n",
    "same_twice.toml": b"base = 'xor'\n[axes]\n'algorithm.delta' = [0.1, 0.1]\n",
    "no_base.toml": b"base = 'xro'\n[axes]\n'algorithm.delta' = [0.1]\n",
    "no_base_file.toml": b"base = 'nowhere.toml'\n",
    "lengths.toml": b"base = 'xor'\n[axes.a]\n'algorithm.delta' = [0.1]\nseed = [1, 2]\n",
    "numbered.toml": b"base = 'xor'\n[axes]\n0 = [1]\n",
    "empty.py": b"",
    "broken.py": b"def chip(:\n",
    "fails.py": b"raise RuntimeError('no laser')\n",
    "things.py": b"number = 3\nnone = None\ntext = 'chip'\nclass Bare:\n    parameters = 2\n",
    "cut.npz": b"PK\x03\x04",
}
LAB_FILE = """
import numpy as np

class chip:
    parameters, bounds = 9, (-1.0, 1.0)
    def write(self, theta): self.theta = theta
    def measure(self, inputs): return np.tanh(inputs @ self.theta[:2])
"""

TYPED = r"""
trian
train
train xor more
train xor --sed 1
train xor --seed one
train xor --seed 1.5
train xor --seed -1
train xor --seed 2147483648
train xor --seed 2147483647 --replicas 2
train xor --seed
train xor --replicas 0
train xor --replicas 1e3
train xor --replicas 1000000000000
train xor --replicas 2147483647
train xro
train ''
train XOR
train xor.toml
train /
train folder
train folder.toml
train nowhere/run.toml
train study.toml
train empty.py
train xor --set ''
train xor --set =
train xor --set x
train xor --set =3
train xor --set algorithm..delta=1
train xor --set a.b.c=1
train xor --set until=3
train xor --set until=
train xor --set 'until=[]'
train xor --set algorithm=3
train xor --set 'algorithm=[1]'
train xor --set task=nothing
train xor --set task=
train xor --set device=lab.py
train xor --set 'device={}'
train xor --set device.imperfections=3
train xor --set device.imperfections.9.sigma=1
train xor --set device.imperfections.-1.sigma=1
train xor --set device.imperfections.x.sigma=1
train xor --set 'device.imperfections=[[]]'
train xor --set "device.imperfections=['cost-noise']"
train xor --set algorithm.delta.x=1
train xor --set algorithm.optimizer.settings.b1=1
train xor --set algorithm.optimizer=adam --set "algorithm.optimizer.settings={b1='a'}"
train xor --set algorithm.optimizer=adam --set 'algorithm.optimizer.settings={b1=nan}'
train xor --set algorithm.optimizer=adam --set 'algorithm.optimizer.settings={learning_rate=1.0}'
train xor --set algorithm.optimizer.schedule=cosine_decay_schedule
train xor --set "algorithm.optimizer.schedule={name='cosine_decay_schedule', settings={decay_steps=-3}}"
train xor --set "algorithm.optimizer.schedule={name='cosine_decay_schedule', settings={decay_steps='a'}}"
train xor --set until.score=95
train xor --set until.score=9500
train xor --set until.measurements=1e3.5
train xor --set 'until.measurements=10 000'
train xor --set until.measurements=0
train xor --set until.plateau=-5
train xor --set until.confirm=0
train xor --set until.wall_seconds=-1
train xor --set until.wall_seconds=1h
train xor --set task.batch=0
train xor --set task.batch=-1
train xor --set task.batch=5
train xor --set task.batch=1.5
train xor --set task.cost=mse2
train xor --set 'device.network.widths=[2]'
train xor --set 'device.network.widths=[3,2,1]'
train xor --set device.network.widths=2
train xor --set 'device.network.widths=[2,1000000000,1]'
train xor --set device.imperfections.0.low=20
train xor --set device.access=cost --set algorithm=node-perturbation --set algorithm.learning_rate=1
train xor --set device.access=all
train xor --set name=a/b
train xor --set "name=''"
train xor --out empty.py
train xor --out full
train xor --out empty.py/run
train xor --out ''
train xor --resume
train xor --resume --out empty_folder
train folder --resume
train xor --track wandb
train xor --device
train xor --device chip
train xor --device lab.py
train xor --device lab.py:
train xor --device lab.py:chop
train xor --device empty.py:chip
train xor --device broken.py:chip
train xor --device fails.py:chip
train xor --device things.py:number
train xor --device things.py:none
train xor --device things.py:text
train xor --device things.py:Bare
train xor --device no.module:chip
train xor --device os:path
train xor --device remote://
train xor --device remote://localhost
train xor --device remote://localhost:port
train xor --device remote://localhost:70000
train xor --device http://localhost:7700
train xor --device lab.py:chip --replicas 2
train xor --device lab.py:chip --set device.bits=10.5
train xor --device lab.py:chip --set device.bits=30
train xor --device lab.py:chip --set 'device.bounds=[1, -1]'
train xor --device lab.py:chip --set 'device.bounds=[0, nan]'
train xor --device lab.py:chip --set device.levels=-5
train xor --device lab.py:chip --set until.measurements=1
train xor --device lab.py:chip --set device.guard.timeout=0
train xor --device lab.py:chip --set 'device.guard={retries=3}'
train xor --set "task={kind='arrays', file='nowhere.npz'}"
train xor --set "task={kind='arrays', file='/'}"
train xor --set "task={kind='arrays', file='cut.npz'}"
train xor --set "task={kind='arrays', file='lab.py'}"
study
study nowhere.toml
study folder
study xor
study /
study study.toml --workers 0
study study.toml --workers two
study study.toml --resume
study study.toml --out empty.py
study study.toml --out full
study study.toml --seeds 3
report
report nowhere
report empty.py
report empty_folder
report full --format gif
watch
watch nowhere
watch empty.py
watch empty_folder
watch full --port 70000
watch full --port x
presets xro
presets xor more
paper
paper nobody2020
paper andreoli2023 fig99
paper andreoli2023 --resume
paper andreoli2023 --out full
device chekc
device check
device check lab.py
device check lab.py:chop
device check things.py:number
device check things.py:Bare
device check empty.toml
device check study.toml
device check lab.py:chip --repeats 1
device check lab.py:chip --inputs nist8x8
device serve
device serve nowhere.py:chip
device serve empty.toml
device serve lab.py:chip --listen here
device serve lab.py:chip --listen 127.0.0.1:port
device serve lab.py:chip --listen 127.0.0.1:70000
device serve lab.py:chip --listen 0.0.0.0:7700
device serve lab.py:chip --lease 0
device serve lab.py:chip --certificate nowhere.pem
device look
device look here
device look localhost:port
device certificates
"""  # noqa: E501

LONG = 300 * "x"
MISTAKES = [
    *map(shlex.split, TYPED.strip().splitlines()),
    *(["train", name] for name in FILES if name.endswith(".toml") and "study" not in name),
    *(["study", name] for name in FILES if name.endswith(".toml") and name != "study.toml"),
    ["train", "a\0b.toml"], ["train", LONG], ["train", f"{LONG}.toml"], ["study", LONG],
    ["report", LONG], ["watch", LONG], ["device", "check", f"{LONG}.py:chip"],
    ["train", "xor", "--out", LONG],
]  # fmt: skip
