"""What to say where memory runs out: what was asked for, what there is, and which flags take less."""

import contextlib
import os
from collections.abc import Iterator

import tensorflow as tf

from powerbert_tf.bert_config import BertConfig
from powerbert_tf.errors import InputError
from powerbert_tf.settings import TRAINING_STAGES, Settings

_COPIES = 4  # of the weights in training: themselves, the gradient, and Adam's two moments


@contextlib.contextmanager
def explained_memory(stage: str, settings: Settings, config: BertConfig) -> Iterator[None]:
    """A block whose lack of memory is an error of one line with the numbers that matter.

    Raises:
        InputError: Memory ran out.
    """
    try:
        yield
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        trains = stage in TRAINING_STAGES or stage == "pareto"
        batch = f"--batch_size={settings.batch_size}" if trains else f"--eval_batch_size={settings.eval_batch_size}"
        weights = 4 * config.num_weights * (_COPIES if trains else 1)
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{stage}: out of memory at {batch}, --max_seq_length={settings.max_seq_length}; the weights take "
            f"{weights / 2**30:.1f} GiB{' in training' if trains else ''}, the machine has "
            f"{_machine_bytes() / 2**30:.1f} GiB, and what is left is for batches; expected a smaller batch, or "
            f"shorter inputs ({reason})."
        ) from error


def _machine_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
