"""Training on several machines: two processes on this one, the environments that name them, and the launch script."""

import json
import os
import pathlib
import socket
import subprocess
import sys
import types

import machine
import numpy as np
import pytest
import tensorflow as tf

from keras_det import data, models
from keras_det.training import strategies

HERE = pathlib.Path(__file__).parent
LAUNCH = HERE.parents[1] / "export" / "training" / "launch_slurm.sh"


def free_ports(count):
    """Ports of this machine that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    except OSError as error:
        pytest.skip(f"no port can be opened here: {error}")
    finally:
        for each in sockets:
            each.close()


@pytest.mark.slow
def test_two_machines_train_as_one(tmp_path):
    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    started = []
    for index in range(2):
        config = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        environment = os.environ | {"TF_CONFIG": json.dumps(config), "CUDA_VISIBLE_DEVICES": "-1"}
        command = [sys.executable, HERE / "machine.py", tmp_path / "two"]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(command, env=environment, text=True, **streams))
    try:
        alone, metrics = machine.run(tmp_path / "one", None)  # meanwhile
        found = []
        for process in started:
            said, errors = process.communicate(timeout=400)
            assert process.returncode == 0, errors[-3000:]
            found.append(json.loads(said.splitlines()[-1]))
    finally:
        for process in started:
            process.kill()
    assert found[0] == found[1]  # the same weights and metrics everywhere
    np.testing.assert_allclose(found[0]["metrics"], metrics, rtol=1e-4, atol=1e-6)  # each image evaluated once
    together = models.MultiBox(weights=tmp_path / "two" / "last.weights.h5")
    untrained = machine.models.MultiBox(**alone.get_config())
    for mine, theirs in zip(together.weights, alone.weights, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5, err_msg=mine.path)
    assert any(np.abs(np.array(a) - np.array(b)).max() > 1e-3 for a, b in zip(alone.weights, untrained.weights))
    names = {path.name for path in (tmp_path / "two").iterdir()}
    assert names == {path.name for path in (tmp_path / "one").iterdir()}  # of the chief alone, nothing temporary left


def test_each_machine_reads_its_part_of_every_batch():
    source = data.load("shapes", images=10, seed=3)
    options = {"training": True, "repeat": True, "seed": 1, "first_step": 1}
    whole = data.batches(source, 4, (32, 32), **options).take(4)
    whole = [images.numpy() for images, _ in whole]
    parts = [data.batches(source, 4, (32, 32), shard=(index, 2), **options).take(2) for index in (0, 1)]
    for index, part in enumerate(parts):
        halves = np.concatenate([images.numpy() for images, _ in part]).reshape(4, 2, 32, 32, 3)
        for batch, half in zip(whole, halves, strict=True):
            np.testing.assert_array_equal(half, batch[2 * index : 2 * index + 2])


def test_a_batch_that_machines_cannot_share_is_refused():
    source = data.load("shapes", images=3)
    with pytest.raises(ValueError, match="3 images"):
        data.batches(source, 4, (32, 32), training=True, shard=(0, 2))


CONFIG = {"cluster": {"worker": ["one:1", "two:2"]}, "task": {"type": "worker", "index": 1}}


@pytest.fixture
def environment(monkeypatch):
    """The environment without anything that names machines."""
    for name in list(os.environ):
        if name == "TF_CONFIG" or name.startswith(("SLURM", "KUBERNETES", "JOB_", "TPU")):
            monkeypatch.delenv(name)
    return monkeypatch


def test_tf_config_names_the_machines(environment):
    environment.setenv("TF_CONFIG", json.dumps(CONFIG))
    found = strategies.cluster()
    assert found.cluster_spec().as_dict() == CONFIG["cluster"] and found.task_id == 1


@pytest.mark.parametrize("changed", [{"task": {"type": "worker", "index": 2}}, {"cluster": {}}, {"task": 3}])
def test_a_faulty_tf_config_is_refused(environment, changed):
    environment.setenv("TF_CONFIG", json.dumps(CONFIG | changed))
    with pytest.raises(ValueError, match="TF_CONFIG must be like"):
        strategies.cluster()


SLURM = {
    "SLURM_PROCID": "2",
    "SLURM_STEP_NUM_TASKS": "3",
    "SLURM_STEP_NODELIST": "node[08-09]",
    "SLURM_STEP_TASKS_PER_NODE": "2,1",
}


def test_a_slurm_step_names_the_machines(environment):
    for name, value in SLURM.items():
        environment.setenv(name, value)
    environment.setenv("SLURMD_NODENAME", "node09")
    found = strategies.cluster()
    assert found.cluster_spec().as_dict() == {"worker": ["node08:8888", "node08:8889", "node09:8888"]}
    assert (found.task_type, found.task_id) == ("worker", 2)
    environment.setenv("SLURM_STEP_NODELIST", "node[9-10]")  # sorted by name, 10 comes first
    environment.setenv("SLURMD_NODENAME", "node10")
    with pytest.raises(ValueError, match="sorts the nodes by name"):
        strategies.cluster()


def test_pods_find_each_other(environment, monkeypatch):
    """A stand-in for Kubernetes's client, whose last pod is pending at first."""
    asked, resolvers = [], tf.distribute.cluster_resolver

    def pods(label_selector):
        asked.append(label_selector)
        phase = "Pending" if len(asked) == 1 else "Running"
        items = [pod(f"ssd-{index}-x", f"10.0.0.{index}", "Running") for index in range(10)]
        return types.SimpleNamespace(items=[*items, pod("ssd-10-x", "10.0.0.10", phase)])

    client = types.SimpleNamespace(CoreV1Api=lambda: types.SimpleNamespace(list_pod_for_all_namespaces=pods))
    config = types.SimpleNamespace(load_incluster_config=lambda: None)
    environment.setitem(sys.modules, "kubernetes", types.SimpleNamespace(client=client, config=config))
    environment.setattr(strategies.time, "sleep", lambda seconds: None)
    for name, value in {"KUBERNETES_SERVICE_HOST": "10.1.1.1", "JOB_COMPLETION_INDEX": "2"}.items():
        environment.setenv(name, value)
    with pytest.raises(ValueError, match="JOB_NAME and WORKERS"):
        strategies.cluster()
    environment.setenv("JOB_NAME", "ssd")
    environment.setenv("WORKERS", "11")
    with monkeypatch.context() as patch:
        patch.delattr(resolvers, "KubernetesExecutableLocation", raising=False)  # as TensorFlow before 2.20
        with pytest.raises(ValueError, match="2.20 and later can. Set TF_CONFIG"):
            strategies.cluster()
    if not hasattr(resolvers, "KubernetesExecutableLocation"):
        return
    found = strategies.cluster()
    assert set(asked) == {"job-name=ssd"} and len(asked) > 1
    assert found.cluster_spec().task_address("worker", found.task_id) == "10.0.0.2:8888"


def pod(name, address, phase):
    """As much of a pod as TensorFlow's resolver looks at."""
    metadata = types.SimpleNamespace(name=name)
    return types.SimpleNamespace(metadata=metadata, status=types.SimpleNamespace(host_ip=address, phase=phase))


def test_nothing_that_names_machines_is_said(environment):
    with pytest.raises(ValueError, match="needs TF_CONFIG"):
        strategies.scope("multiworker")


@pytest.mark.slow
def test_a_machine_without_tpu_is_said(environment):
    with pytest.raises(ValueError, match="needs a TPU; TPU_NAME is 'local'"):
        strategies.scope("tpu")


def test_the_launch_script_starts_the_run_and_goes_on_with_it(tmp_path):
    subprocess.run(["bash", "-n", LAUNCH], check=True)
    srun = tmp_path / "srun"
    srun.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    srun.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}

    def launched():
        command = ["bash", LAUNCH, "--data", "voc:my data", "--out", tmp_path / "run"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()

    arguments = ["keras-det", "train", "--strategy", "multiworker", "--data", "voc:my data", "--out"]
    assert launched()[1:] == [*arguments, str(tmp_path / "run")]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "last.weights.h5").touch()
    assert launched()[1:] == [*arguments, str(tmp_path / "run"), "--resume"]
