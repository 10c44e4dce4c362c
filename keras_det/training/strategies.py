"""Where training runs: one device, all GPUs of a machine, several machines, or a TPU."""

import atexit
import contextlib
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from keras_det.models.network import Network, place_among_workers

STRATEGIES = ("none", "mirrored", "multiworker", "tpu")
PORT = 8888  # of the first process on a machine, unless TF_CONFIG says otherwise
PATIENCE = 600  # seconds to wait for all pods to run


def scope(name: str) -> contextlib.AbstractContextManager:
    """The context in which a model is built and trained.

    With `"multiworker"` it must be entered before TensorFlow has done anything else.

    Args:
        name: `"none"`; `"mirrored"`: `tf.distribute.MirroredStrategy` over all GPUs of the machine; `"multiworker"`:
            `tf.distribute.MultiWorkerMirroredStrategy` over the machines that `TF_CONFIG`, SLURM or Kubernetes name
            (see docs/guides/many_machines.md); `"tpu"`: `tf.distribute.TPUStrategy` on the TPU called `TPU_NAME`, else
            on this machine's own.

    Returns:
        A context manager.

    Raises:
        ValueError: another name, nothing that names the machines, or no TPU.
    """
    if name not in STRATEGIES:
        raise ValueError(f"`strategy` must be one of {', '.join(STRATEGIES)}; got {name!r}.")
    if name == "none":
        return contextlib.nullcontext()
    import tensorflow as tf

    if name == "mirrored":
        return tf.distribute.MirroredStrategy().scope()
    if name == "tpu":
        return tf.distribute.TPUStrategy(_tpu()).scope()
    return tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=cluster()).scope()


def is_chief(model: Network) -> bool:
    """Whether this process is the one that writes files for all that train the model together."""
    return place_among_workers(model.distribute_strategy)[0] == 0


def folder_of(model: Network, folder: str | os.PathLike) -> Path:
    """The folder that this process writes a run to: of several machines the chief alone writes to the run's.

    The others get a temporary one, removed when the process ends, with copies of the files that are there already: a
    run that is resumed is read by all, so that its folder must be on a file system that all machines see.

    Args:
        model: the network that is trained.
        folder: the run's folder.

    Returns:
        A path.
    """
    folder = Path(folder)
    if is_chief(model):
        return folder
    own = Path(tempfile.mkdtemp(prefix="keras_det-"))
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    for file in folder.glob("[!.]*.*"):
        if file.is_file():
            shutil.copy(file, own)
    return own


def cluster() -> Any:
    """TensorFlow's resolver of the machines that train together, and which of them this is.

    Raises:
        ValueError: the environment does not tell, or not in a way that can be read.
    """
    import tensorflow as tf

    if os.environ.get("TF_CONFIG"):
        _check_tf_config(os.environ["TF_CONFIG"])
        return tf.distribute.cluster_resolver.TFConfigClusterResolver()
    if "SLURM_STEP_NODELIST" in os.environ:
        return _slurm()
    if "KUBERNETES_SERVICE_HOST" in os.environ and "JOB_COMPLETION_INDEX" in os.environ:
        return _kubernetes()
    raise ValueError("`strategy` 'multiworker' needs TF_CONFIG, a SLURM step (srun) or an Indexed Job of Kubernetes.")


def _check_tf_config(text):
    """Refuse what TensorFlow would take for a single machine or fail on far from here."""
    try:
        config = json.loads(text)
        workers = len(config["cluster"]["worker"])
        kind, index = config["task"]["type"], config["task"]["index"]
        known = kind == "worker" and 0 <= index < workers or kind == "chief" and "chief" in config["cluster"]
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise ValueError(
            'TF_CONFIG must be like {"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'
            f"; got {text!r}."
        )


def _slurm():
    """The tasks of this SLURM step; which GPUs a task sees is left to SLURM (`--gpus-per-task`)."""
    import tensorflow as tf

    tasks = int(os.environ["SLURM_STEP_NUM_TASKS"])
    resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
        port_base=PORT, gpus_per_node=tasks, gpus_per_task=1, auto_set_gpu=False
    )
    addresses = resolver.cluster_spec().job_tasks("worker")
    here = os.environ.get("SLURMD_NODENAME")
    if here and addresses[resolver.task_id].rpartition(":")[0] != here:
        raise ValueError(
            f"task {resolver.task_id} runs on {here}, but TensorFlow, which sorts the nodes by name, expects it at "
            f"{addresses[resolver.task_id]}; set TF_CONFIG instead."
        )
    return resolver


def _kubernetes():
    """The pods of this Indexed Job, which use their nodes' network: TensorFlow's resolver gives the nodes' addresses.

    The pods have `JOB_NAME` and `WORKERS`, the job's name and number of completions, in their environment.
    """
    import tensorflow as tf

    missing = [name for name in ("JOB_NAME", "WORKERS") if not os.environ.get(name)]
    if missing:
        raise ValueError(f"the pods of the job need {' and '.join(missing)} in their environment.")
    if not hasattr(tf.distribute.cluster_resolver, "KubernetesExecutableLocation"):
        raise ValueError(
            f"TensorFlow {tf.__version__} cannot find pods from within one; 2.20 and later can. Set TF_CONFIG."
        )
    try:
        from kubernetes import client, config
    except ImportError as error:
        raise ValueError("to find the other pods, install the extra: pip install 'keras_det[kubernetes]'") from error
    config.load_incluster_config()
    resolver = tf.distribute.cluster_resolver.KubernetesClusterResolver(
        {"worker": [f"job-name={os.environ['JOB_NAME']}"]}, tf_server_port=PORT, override_client=client.CoreV1Api()
    )
    workers = int(os.environ["WORKERS"])
    _wait_for_pods(resolver, workers)
    # The resolver sorts the pods by name, NAME-INDEX-RANDOM, so that 10 stands before 2.
    order = sorted(range(workers), key=lambda index: f"{index}-")
    resolver.task_type, resolver.task_id = "worker", order.index(int(os.environ["JOB_COMPLETION_INDEX"]))
    return resolver


def _wait_for_pods(resolver, workers):
    """Return when all pods run."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with contextlib.suppress(RuntimeError):  # of a pod that does not run yet
            if len(resolver.cluster_spec().job_tasks("worker")) == workers:
                return
        time.sleep(2)
    raise ValueError(f"the {workers} pods of the job did not all run within {PATIENCE} seconds.")


def _tpu():
    """The TPU, initialized."""
    import tensorflow as tf

    name = os.environ.get("TPU_NAME", "local")
    try:
        return tf.distribute.cluster_resolver.TPUClusterResolver.connect(name)
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        said = str(error).partition("\n")[0]
        raise ValueError(f"`strategy` 'tpu' needs a TPU; TPU_NAME is {name!r} and TensorFlow says: {said}") from error
