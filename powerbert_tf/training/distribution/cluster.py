"""`TF_CONFIG`: the processes of a run, and which of them this is."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from powerbert_tf.common.errors import InputError

VARIABLE = "TF_CONFIG"
_JOBS = ("chief", "worker")
_EXAMPLE = '{"cluster": {"worker": ["host-a:2222", "host-b:2222"]}, "task": {"type": "worker", "index": 0}}'


class Cluster(NamedTuple):
    """The `host:port` of each process of a run, the chief first, and the number of this process among them."""

    addresses: tuple[str, ...]
    rank: int


def read_cluster(environment: Mapping[str, str]) -> Cluster:
    """Reads `TF_CONFIG` from the environment of a process.

    Raises:
        InputError: It is missing, or TensorFlow or this program cannot use it.
    """
    text = environment.get(VARIABLE, "")
    if not text.strip():
        raise InputError(
            f"--distribution=multi_worker: the variable {VARIABLE} is not set; expected the cluster and this process's "
            f"place in it, such as {_EXAMPLE}."
        )
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _bad(f"not JSON ({error})") from None
    content = content if isinstance(content, dict) else {}
    cluster, task = content.get("cluster"), content.get("task")
    if not isinstance(cluster, dict) or not isinstance(task, dict):
        raise _bad("not an object with cluster and task")
    addresses = [address for job in _JOBS for address in _addresses(cluster, job)]
    unknown = sorted(str(job) for job in cluster.keys() - set(_JOBS))
    if unknown:
        raise _bad(f"the cluster has jobs that train nothing here: {', '.join(unknown)}; only chief and worker do")
    if len(cluster.get("chief", ())) > 1:
        raise _bad("the cluster has more than one chief")
    if not addresses:
        raise _bad("the cluster has no chief and no worker")
    twice = sorted({address for address in addresses if addresses.count(address) > 1})
    if twice:
        raise _bad(f"{', '.join(twice)} is there more than once")
    job, index = task.get("type"), task.get("index")
    if job not in _JOBS or job not in cluster:
        raise _bad(f"the task's type is {job!r}, which is not a job of the cluster")
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(cluster[job]):
        raise _bad(f"the task's index is {index!r}; the cluster has {len(cluster[job])} of type {job}, from 0")
    return Cluster(tuple(addresses), index + (len(cluster.get("chief", ())) if job == "worker" else 0))


def _addresses(cluster: Mapping[str, Any], job: str) -> list[str]:
    addresses = cluster.get(job, [])
    if not isinstance(addresses, list):
        raise _bad(f"{job} is {addresses!r}, not a list")
    for address in addresses:
        host, _, port = address.rpartition(":") if isinstance(address, str) else ("", "", "")
        if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
            raise _bad(f"{job} has {address!r}, not a host:port")
    return addresses


def _bad(what: str) -> InputError:
    return InputError(f"{VARIABLE}: {what}; expected such as {_EXAMPLE}.")
