"""How many word-pieces the texts of a task need."""

import dataclasses

import numpy as np

from powerbert_tf.batches.batching import encode_split
from powerbert_tf.data.splits import Split
from powerbert_tf.tokenizers.word_pieces import Tokenizer

_SHARE = 99  # percent of the texts that are to be whole
_MULTIPLE = 8  # of the proposal
_LEAST = 16
_EXAMPLES = 10_000  # to measure


@dataclasses.dataclass(frozen=True)
class LengthProposal:
    """A maximum sequence length, and why."""

    max_seq_length: int
    reason: str


def propose_length(split: Split, tokenizer: Tokenizer, largest: int) -> LengthProposal:
    """Proposes the N that holds 99 % of the texts whole, a multiple of 8.

    Args:
        split: The training texts; of more than 10,000, a sample drawn with a seed is measured.
        tokenizer: Of the checkpoint.
        largest: What the checkpoint has positions for.
    """
    lengths = encode_split(split.sample(_EXAMPLES, seed=0), tokenizer, largest).lengths
    needed = int(np.ceil(np.percentile(lengths, _SHARE)))
    proposed = min(largest, max(_LEAST, -(-needed // _MULTIPLE) * _MULTIPLE))
    longest = f"{lengths.max()}{' or more' if lengths.max() == largest else ''}"
    whole = np.mean(lengths < largest if proposed == largest else lengths <= proposed)
    return LengthProposal(
        proposed,
        f"--max_seq_length={proposed}: holds {whole:.1%} of the training texts whole (mean {lengths.mean():.0f} "
        f"word-pieces, longest {longest})",
    )
