"""The command that counts padding, against a count by hand."""

import csv
import re
import subprocess
import sys

import pytest
from conftest import REPOSITORY
from tiny_task import write_checkpoint, write_data

N = 64  # the published length of SST-2


@pytest.mark.slow
def test_padding_is_counted(tmp_path):
    """Padded to N, each row has N tokens; padded to many lengths, there is less, and with more lengths never more."""
    data, checkpoint = write_data(tmp_path / "data"), write_checkpoint(tmp_path / "checkpoint")
    command = [
        *(sys.executable, "-m", "benchmarks.inference.padded_lengths", "--task=SST-2", "--lengths=0"),
        *(f"--data_dir={data}", f"--checkpoint={checkpoint}", "--batch_size=13"),
    ]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=True)
    for split in ("train", "dev"):
        with (data / "SST-2" / f"{split}.tsv").open(encoding="utf-8") as file:
            lengths = [len(row["sentence"].split()) + 2 for row in csv.DictReader(file, delimiter="\t")]  # [CLS], [SEP]
        (row,) = re.findall(rf"^\| {split} \| (.*) \|$", done.stdout, flags=re.MULTILINE)
        shares = [float(share.removesuffix(" %")) for share in row.split(" | ")]
        assert shares[0] == pytest.approx(100 * (1 - sum(lengths) / (N * len(lengths))), abs=0.05)
        assert shares[2:] == sorted(shares[2:], reverse=True)
        assert shares[-1] < shares[0]
