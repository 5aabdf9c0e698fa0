"""A GLUE task small enough for tests: files in the real layout, and a checkpoint whose vocabulary spells any word."""

import random
from pathlib import Path

from tiny_bert import random_weights, tiny_config, write_google_checkpoint

CONFIG = tiny_config(num_hidden_layers=2, max_position_embeddings=31)
NUM_ROWS = {"train": 53, "dev": 19, "test": 17}


def write_checkpoint(folder: Path) -> Path:
    folder.mkdir(parents=True)
    write_google_checkpoint(folder, CONFIG, random_weights(CONFIG, num_outputs=None))
    return folder


def write_data(data_dir: Path, task: str = "SST-2") -> Path:
    """SST-2, STS-B or QNLI; the label is whether there are more a's than b's."""
    folder = data_dir / task
    folder.mkdir(parents=True)
    draw = random.Random(7)
    header = {
        "SST-2": ("sentence\tlabel", "index\tsentence"),
        "QNLI": ("index\tquestion\tsentence\tlabel", "index\tquestion\tsentence"),
        "STS-B": (
            "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
            "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2",
        ),
    }[task]
    for split, num_rows in NUM_ROWS.items():
        lines = [header[split == "test"]]
        for index in range(num_rows):
            words = [draw.choice("ab") for _ in range(draw.randrange(3, 15))]
            text, other = " ".join(words), " ".join(words[::2])
            more_a = words.count("a") > words.count("b")
            fields = {
                "SST-2": ([text, str(int(more_a))], [str(index), text]),
                "QNLI": (
                    [str(index), text, other, "entailment" if more_a else "not_entailment"],
                    [str(index), text, other],
                ),
                "STS-B": (
                    [str(index), *"gfyo12", text, other, f"{5 * words.count('a') / len(words):.3f}"],
                    [str(index), *"gfyo12", text, other],
                ),
            }[task][split == "test"]
            lines.append("\t".join(fields))
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return data_dir
