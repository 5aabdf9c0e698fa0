"""The signatures of a SavedModel: ids, texts or `tf.Example`s in, answers out, over one set of weights.

The graph itself checks each request, and rejects a wrong one with an error that says what was expected.

Axes: `B` batch, `T` columns of ids, `C` classes, `K` options of a multiple-choice question, which are its classes;
`K` is 1 for other tasks.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from powerbert_tf.data.kinds import CLASSES, NUMBER, Kind
from powerbert_tf.data.race import input_texts
from powerbert_tf.data.tasks import Task
from powerbert_tf.export.expected_answers import EXAMPLES, IDS, TEXT
from powerbert_tf.export.settings import ServingShapes
from powerbert_tf.models.classifier import INPUTS, BertClassifier
from powerbert_tf.models.config import BertConfig
from powerbert_tf.models.precision import computing_in
from powerbert_tf.tokenizers.word_pieces import Tokenizer

TEXTS = ("text", "text_pair")


def text_inputs(task: Task) -> tuple[str, ...]:
    """Names of the texts of a request, and of the features of its `tf.Example`s."""
    if task.choices > 1:
        return ("article", "question", *(f"option_{name.lower()}" for name in task.classes))
    return TEXTS[: 1 + task.is_pair]


def budget_suffix(target_speedup: float) -> str:
    """The suffix of a budget's signatures, such as `_2x`."""
    return f"_{target_speedup:g}x"


def in_precision(models: Mapping[str, BertClassifier], precision: str) -> dict[str, BertClassifier]:
    """Copies the models to another precision (a Keras dtype); those of one width share their weights, as before."""
    copies: dict[BertConfig, BertClassifier] = {}
    found = {}
    with computing_in(precision):
        for suffix, model in models.items():
            base = copies.get(model.config)
            if base is None:
                base = found[suffix] = copies[model.config] = BertClassifier.from_config(model.get_config())
                base.set_weights(model.get_weights())
            else:
                found[suffix] = base.with_slots(
                    retention_configuration=model.retention_configuration,
                    custom_slots=model.custom_slots,
                    selection=model.selection,
                )
    return found


def linked(kind: Kind, logits: Any, temperature: float = 1.0) -> Any:
    """The answers that exported models give: probabilities `[B, C]` of logits `[B, C]`, or the numbers `[B]`."""
    return getattr(keras.ops, kind.link)(logits / temperature) if kind.link else keras.ops.squeeze(logits, axis=-1)


class _ModelCall:
    """A model that pads its inputs to the shapes that it is compiled for: int32 `[B K, T]` -> float32 answers.

    All signatures call the same function, so a SavedModel holds it once, and XLA compiles it once.
    """

    def __init__(self, model: BertClassifier, kind: Kind, shapes: ServingShapes, temperature: float):
        self._shapes = shapes
        self._choices = model.choices

        def answers(*inputs):
            logits = model(dict(zip(INPUTS, inputs, strict=True)), training=False)
            return linked(kind, keras.ops.cast(logits, "float32"), temperature)

        def compiled(batch: int | None, length: int | None):
            spec = tf.TensorSpec([batch, length], tf.int32)
            return tf.function(
                answers, input_signature=[spec] * len(INPUTS), jit_compile=shapes.jit_compile or None, autograph=False
            )

        lengths = shapes.lengths if shapes.is_static else (None,)
        rows = shapes.batch_size * model.choices or None
        self._compiled = {length: compiled(rows, length) for length in lengths}

    def __call__(self, token_ids: tf.Tensor, segment_ids: tf.Tensor, padding_mask: tf.Tensor) -> tf.Tensor:
        inputs, shapes = (token_ids, segment_ids, padding_mask), self._shapes
        if shapes.is_static:
            inputs = (checked_batch(token_ids, shapes.batch_size, self._choices), segment_ids, padding_mask)
        rows, length = tf.unstack(tf.shape(inputs[0]))
        examples = rows // self._choices
        batch = _round_up(shapes.batch_sizes, examples) * self._choices
        if shapes.is_static:
            branches = [functools.partial(self._at, static, inputs) for static in shapes.lengths]
            answers = tf.switch_case(tf.searchsorted(shapes.lengths, [length])[0], branches)
        else:
            answers = self._compiled[None](*_fill(inputs, batch, _round_up(shapes.lengths, length)))
        return answers[:examples]

    def _at(self, length: int, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        return self._compiled[length](*_fill(inputs, self._shapes.batch_size * self._choices, length))


def _round_up(sizes: Sequence[int], size: tf.Tensor) -> tf.Tensor:
    """The smallest of `sizes` that holds `size`, or a multiple of the largest one; `size` itself if there are none."""
    if not sizes:
        return size
    known = tf.constant(sizes, tf.int32)
    index = tf.minimum(tf.searchsorted(known, size[None])[0], len(sizes) - 1)
    multiple = (size + sizes[-1] - 1) // sizes[-1] * sizes[-1]
    return tf.where(size > sizes[-1], multiple, known[index])


def _fill(inputs: Sequence[tf.Tensor], batch: Any, length: Any) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Pads inputs to `[batch, length]`; a row that fills a batch has one token, at the place of [CLS]."""
    shape = tf.shape(inputs[0])
    more = [[0, batch - shape[0]], [0, length - shape[1]]]
    token_ids, segment_ids, padding_mask = (tf.pad(values, more) for values in inputs)
    return token_ids, segment_ids, tf.maximum(padding_mask, tf.one_hot(0, tf.shape(padding_mask)[1], dtype=tf.int32))


def build_signatures(
    models: Mapping[str, BertClassifier],
    task: Task,
    tokenizer: Tokenizer,
    shapes: ServingShapes,
    temperatures: Mapping[str, float],
) -> tuple[tf.Module, dict[str, Callable]]:
    """Returns what `tf.saved_model.save` takes: the weights, and a function for each signature.

    Models and temperatures are given as in `ExportRequest`, by the suffix of their signatures. The tokenizer's files
    become assets.

    For each suffix there are

    - `serving_default`: `token_ids`, `segment_ids` and `padding_mask`, int32 `[B, T]`, T up to N -> `probabilities`
      `[B, C]`, or `scores` `[B]` for a regression; for multiple choice, inputs are int32 `[B, K, T]`;
    - `serve_text`: `text`, and `text_pair` for a task on pairs, or `article`, `question`, `option_a` and so on for
      multiple choice, strings `[B]` -> the same, and strings `label` `[B]`, where one class is the answer, and
      `classes` `[B, C]`;
    - `serve_examples`: `inputs`, strings `[B]`, each a serialised `tf.Example` with these texts -> `classes` and
      `scores` `[B, C]`, or `outputs` `[B]`, for the Classify and Regress calls of TensorFlow Serving.
    """
    module = tf.Module(name="powerbert")
    module.vocabulary = [tf.saved_model.Asset(str(path)) for path in tokenizer.files]
    module.tokenizer = tokenizer  # keeps its look-up tables
    variables = {id(variable): variable.value for model in models.values() for variable in model.variables}
    module.weights = list(variables.values())
    first, *_ = models.values()
    tokenize = tokenize_function(tokenizer, task, first.max_seq_length)
    signatures: dict[str, Callable] = {}
    for suffix, model in models.items():
        call = _ModelCall(model, task.kind, shapes, temperatures[suffix])
        signatures[IDS + suffix] = _ids_signature(call, model, task)
        signatures[TEXT + suffix] = _text_signature(call, tokenize, task)
        signatures[EXAMPLES + suffix] = _examples_signature(call, tokenize, task)
    return module, signatures


def tokenize_function(tokenizer: Tokenizer, task: Task, max_seq_length: int) -> Callable:
    """A graph from the texts of a request, strings `[B]` each, to the three inputs, int32 `[B K, T]`."""
    names = text_inputs(task)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)] * len(names), autograph=False)
    def tokenize(*texts):
        """Strings `[B]` -> the inputs of a model, `[B K, T]`, where T is the longest of the batch."""
        pairs = input_texts(checked_texts(texts, names), task.choices)
        token_ids, segment_ids = tokenizer(pairs, max_seq_length)
        lengths = token_ids.row_lengths()
        longest = tf.cast(tf.reduce_max(tf.concat([lengths, [1]], axis=0)), tf.int32)  # 1 for an empty batch

        def pad(ragged, value):
            dense = ragged.to_tensor(value)
            return tf.pad(dense, [[0, 0], [0, longest - tf.shape(dense)[1]]], constant_values=value)

        return pad(token_ids, tokenizer.pad_id), pad(segment_ids, 0), tf.sequence_mask(lengths, longest, tf.int32)

    return tokenize


def _ids_signature(call: _ModelCall, model: BertClassifier, task: Task) -> Callable:
    options = [task.choices] if task.choices > 1 else []
    specs = [tf.TensorSpec([None, *options, None], tf.int32, name=name) for name in INPUTS]

    @tf.function(input_signature=specs, autograph=False)
    def serve(token_ids, segment_ids, padding_mask):
        axes, example = ("[B, K, T]", "[[[2, 7, 3]]]") if options else ("[B, T]", "[[2, 7, 3]]")
        inputs = checked_ranks([token_ids, segment_ids, padding_mask], INPUTS, axes, example)
        if options:
            inputs = [tf.reshape(values, [-1, tf.shape(values)[-1]]) for values in inputs]
        answers = call(*checked_ids(model, *inputs))
        return {task.kind.output: answers}

    return serve


def _classes(task: Task, probabilities: tf.Tensor) -> tf.Tensor:
    """Class names `[B, C]`: every output of a server has the batch axis."""
    return tf.tile(tf.constant(task.classes)[None], [tf.shape(probabilities)[0], 1])


def _text_signature(call: _ModelCall, tokenize: Callable, task: Task) -> Callable:
    specs = [tf.TensorSpec([None], tf.string, name=name) for name in text_inputs(task)]

    @tf.function(input_signature=specs, autograph=False)
    def serve(*texts):
        answers = call(*tokenize(*texts))
        if task.kind is not CLASSES:
            return {task.kind.output: answers, **({"classes": _classes(task, answers)} if task.classes else {})}
        label = tf.gather(tf.constant(task.classes), tf.argmax(answers, axis=-1))
        return {"label": label, "probabilities": answers, "classes": _classes(task, answers)}

    return serve


def _examples_signature(call: _ModelCall, tokenize: Callable, task: Task) -> Callable:
    features = {name: tf.io.FixedLenFeature([], tf.string) for name in text_inputs(task)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")], autograph=False)
    def serve(inputs):
        (inputs,) = checked_ranks([inputs], ["inputs"], "[B]", "[example.SerializeToString()]")
        parsed = tf.io.parse_example(inputs, features)
        answers = call(*tokenize(*(parsed[name] for name in features)))
        if task.kind is NUMBER:
            return {"outputs": answers}
        return {"classes": _classes(task, answers), "scores": answers}

    return serve


def checked_ids(
    model: BertClassifier, token_ids: tf.Tensor, segment_ids: tf.Tensor, padding_mask: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns the inputs of a model, int32 `[B, T]` each, once they are checked.

    Without this, the result of an id outside its table depends on the device: an error, a row of zeros, another row.

    Args:
        model: Its vocabulary, segments and N set the limits.
        token_ids: Ids in the vocabulary; T is from 1 to N.
        segment_ids: Ids of segments; 0 in a model without segments.
        padding_mask: 1 for a token, 0 for padding, which is on the right; at least one 1 in each row.

    Returns:
        The three inputs. Evaluating them raises `InvalidArgumentError` if something is wrong.
    """
    max_seq_length, num_segments = model.max_seq_length, max(model.config.type_vocab_size, 1)
    shape = tf.shape(token_ids)
    binary = tf.logical_or(padding_mask == 0, padding_mask == 1)
    checks = [
        (
            tf.logical_and(shape[1] >= 1, shape[1] <= max_seq_length),
            ["token_ids has", shape[1], f"columns; expected 1 to {max_seq_length}, the maximum length."],
        ),
        _same_shape("segment_ids", segment_ids, shape),
        _same_shape("padding_mask", padding_mask, shape),
        _inside("token_ids", token_ids, model.config.vocab_size, "the vocabulary."),
        _inside("segment_ids", segment_ids, num_segments, "the segments."),
        (binary, ["padding_mask has values other than 0 (padding) and 1 (token); expected those only."]),
        (
            tf.reduce_any(padding_mask == 1, axis=1),
            ["padding_mask has a row of zeros; expected a 1 in each row."],
        ),
        (
            padding_mask[:, 1:] <= padding_mask[:, :-1],
            ["padding_mask has a 1 after a 0; expected padding on the right of each row."],
        ),
    ]
    with tf.control_dependencies([_require(checks)]):
        return tf.identity(token_ids), tf.identity(segment_ids), tf.identity(padding_mask)


def _same_shape(name: str, values: tf.Tensor, shape: tf.Tensor) -> tuple[tf.Tensor, list]:
    given = tf.shape(values)
    return tf.equal(given, shape), [f"{name} has the shape", given, "; expected that of token_ids,", shape]


def _inside(name: str, values: tf.Tensor, size: int, where: str) -> tuple[tf.Tensor, list]:
    inside = tf.logical_and(values >= 0, values < size)
    lowest, highest = tf.reduce_min(values), tf.reduce_max(values)
    return inside, [f"{name} has ids from", lowest, "to", highest, f"; expected 0 to {size - 1}, {where}"]


def checked_ranks(values: Sequence[tf.Tensor], names: Sequence[str], axes: str, example: str) -> list[tf.Tensor]:
    """Returns the inputs of a request, once they are checked to have as many axes as their signature says.

    Neither TensorFlow nor TensorFlow Serving checks that; without it, some operation further on fails.

    Args:
        values: The inputs.
        names: Their names.
        axes: Their axes, such as `[B, T]`.
        example: Of a request with these axes, for the message.
    """
    rank = axes.count(",") + 1
    checks = []
    for value, name in zip(values, names, strict=True):
        # The graph takes the shape of its signature for granted, and would not look: this one has no known shape.
        shape = tf.shape(tf.compat.v1.placeholder_with_default(value, None))
        checks.append(
            (tf.size(shape) == rank, [f"{name} has the shape", shape, f"; expected {axes}, such as {example}."])
        )
    with tf.control_dependencies([_require(checks)]):
        return [tf.identity(value) for value in values]


def checked_texts(texts: Sequence[tf.Tensor], names: Sequence[str]) -> list[tf.Tensor]:
    """Returns tensors of strings `[B]`, once they are checked to have one axis and one size."""
    texts = checked_ranks(texts, names, "[B]", '["one text", "another"]')
    sizes = [tf.size(text) for text in texts]
    equal = tf.equal(sizes, sizes[0])
    words: list = [f"{' and '.join(names)} have"]
    for number, size in enumerate(sizes):
        words += ["and", size] if number else [size]
    with tf.control_dependencies([_require([(equal, [*words, "strings; expected the same number of each."])])]):
        return [tf.identity(text) for text in texts]


def checked_batch(values: tf.Tensor, batch_size: int, choices: int = 1) -> tf.Tensor:
    """Returns a tensor `[B * choices, ...]`, once it is checked to have at most `batch_size` examples."""
    rows = tf.shape(values)[0] // choices
    expected = f"examples; expected at most {batch_size}, the batch that the model was exported for."
    with tf.control_dependencies([_require([(rows <= batch_size, ["the request has", rows, expected])])]):
        return tf.identity(values)


def _require(checks: Sequence[tuple[tf.Tensor, list]]) -> tf.Operation:
    """Fails with the message of the first condition that does not hold everywhere; later ones may follow from it."""
    last: list[tf.Operation] = []
    for condition, message in checks:
        with tf.control_dependencies(last):
            last = [tf.debugging.Assert(tf.reduce_all(condition), message)]
    return last[0]
