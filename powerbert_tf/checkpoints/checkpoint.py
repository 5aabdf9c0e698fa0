"""A checkpoint that was found: its configuration, and how to read its weights and its tokenizer."""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from powerbert_tf.common.errors import InputError
from powerbert_tf.common.files import sha256
from powerbert_tf.models.architectures import ARCHITECTURES, Architecture
from powerbert_tf.models.config import BertConfig

# How the tools that checkpoints come from cut pairs that are too long.
ROUND_ROBIN, LONGEST_FIRST, WATERFALL = "round_robin", "longest_first", "waterfall"
OPTIONS = "which of several options fits"  # the problem of a head for multiple choice
_READ = (".json", ".txt", ".model", ".safetensors", ".weights.h5", ".keras")  # and the files of a TF1 checkpoint
_TRIED_ANYWAY = 2**26  # weights: with so few, reading the file is the best way to find out that it cannot hold them


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose configuration has been read and whose weights have not.

    Attributes:
        name: For messages: the folder, the preset, or the default's package.
        folder: Where its files are.
        config: Sizes.
        read_weights: Reads the weights, by our paths.
        unpack_tokenizer: Writes the tokenizer's files into a folder; None if they are in this one.
        max_seq_length: N that its classifier was used with, or None.
        classes: Names of its head's classes; empty if it does not have them.
            is_multi_label: Whether its head's classes are labels, any number of which can be right at once.
        problem: What its head answers where that is neither classes, labels nor one number, for messages; empty for
            those.
        pair_truncation: How two texts share the room if they are too long together. Each gets what the other leaves,
            and at least half of it; an odd token goes to the first text (`ROUND_ROBIN`: Google, KerasHub), or to the
            longer one, in a tie to the second (`LONGEST_FIRST`: Hugging Face). `WATERFALL`, a choice of KerasHub: the
            first text gets all that it needs.
        ids_of: Gives the ids of texts by the tool's own tokenizer, to compare with; None without one.
    """

    name: str
    folder: Path
    config: BertConfig
    read_weights: Callable[[], dict[str, np.ndarray]]
    unpack_tokenizer: Callable[[], Path] | None = None
    max_seq_length: int | None = None
    classes: tuple[str, ...] = ()
    is_multi_label: bool = False
    problem: str = ""
    pair_truncation: str = LONGEST_FIRST
    ids_of: Callable[[Sequence[str]], Sequence[Sequence[int]]] | None = None

    def fingerprint(self) -> str | None:
        """The first 16 hexadecimal digits of a SHA-256 of names and contents of the files that may be read.

        None for a model in memory, which has no folder.
        """
        if not self.folder.is_dir():
            return None
        digest = hashlib.sha256()
        for path in sorted(self.folder.iterdir()):
            if path.is_file() and (path.name.endswith(_READ) or ".ckpt" in path.name):
                digest.update(path.name.encode() + bytes.fromhex(sha256(path)))
        return digest.hexdigest()[:16]

    @property
    def architecture(self) -> Architecture:
        """Its row in the table of architectures."""
        return ARCHITECTURES[self.config.architecture]


def require_bytes(config: BertConfig, path: Path, files: Sequence[Path]) -> None:
    """Refuses sizes for which the files of the weights are far too small, before anything of that size is made.

    Raises:
        InputError: The files cannot hold so many weights.
    """
    found = sum(file.stat().st_size for file in files)
    # Half precision takes 2 bytes per weight, and `num_weights` may be twice too large.
    if config.num_weights > max(_TRIED_ANYWAY, 2 * found):
        raise InputError(
            f"{path}: its sizes ask for about {config.num_weights:.1e} weights; the checkpoint beside it has {found} "
            "bytes. Expected the configuration that it was made with."
        )
