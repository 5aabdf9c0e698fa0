"""The processor, the cores and the memory of this machine."""

import os
import platform
import re
import resource
from pathlib import Path

_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}  # the last one of Arm


def usable_cores() -> int:
    """Returns how many cores this process may run on; in a container they may be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_bytes() -> int:
    """Returns the bytes of main memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def processor_name() -> str:
    """Returns what the processor is called."""
    models = _cpu_info("model name")
    return models[0] if models else platform.processor() or platform.machine()


def computes_bfloat16() -> bool:
    """Returns whether the processor has instructions for bfloat16; without them it is slower than float32."""
    return bool(_BFLOAT16 & {flag for line in _cpu_info("flags|Features")[:1] for flag in line.split()})


def _cpu_info(names: str) -> list[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return []
    return re.findall(rf"^(?:{names})[ \t]*:[ \t]*(.+)$", text, flags=re.MULTILINE)


def peak_memory_bytes() -> int:
    """Returns the most main memory that this process has had at once."""
    # Not `ru_maxrss` where there is another way: a new process begins with that of the one that started it.
    try:
        peak = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    except OSError:
        peak = None
    return 1024 * (int(peak.group(1)) if peak else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
