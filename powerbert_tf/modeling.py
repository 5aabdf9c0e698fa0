"""BERT with one optional slot in each encoder; without `powerbert_tf.extract` it is still BERT.

Axes: `B` batch, `T` rows of the input, `F` rows that enter an encoder, `K` rows that leave it, `A` heads,
`D` size of a head, `H = A * D` hidden size, `I` feed-forward size, `C` classes.
"""

import dataclasses

import keras
from keras import ops

from powerbert_tf.bert_config import BertConfig
from powerbert_tf.dense import FusedDense
from powerbert_tf.extract import Extract, GatedExtract, SoftExtract, gather_queries, gather_rows
from powerbert_tf.retention import keep_all, validate_configuration

_ACTIVATIONS = {
    # Google's and Hugging Face's "gelu" is x * Phi(x); the others are its tanh approximation under two names.
    "gelu": lambda x: keras.activations.gelu(x, approximate=False),
    "gelu_new": lambda x: keras.activations.gelu(x, approximate=True),
    "gelu_pytorch_tanh": lambda x: keras.activations.gelu(x, approximate=True),
    "relu": keras.activations.relu,
    "silu": keras.activations.silu,
    "tanh": keras.activations.tanh,
}


def _dense(units, config, **kwargs):
    initializer = keras.initializers.TruncatedNormal(stddev=config.initializer_range)
    return FusedDense(units, kernel_initializer=initializer, **kwargs)


def _softmax(scores):
    """Softmax over the last axis, without Keras's warning that over one row, as where [CLS] is alone, it is 1."""
    return ops.ones_like(scores) if scores.shape[-1] == 1 else ops.softmax(scores, axis=-1)


def _attention_bias(mask, dtype):
    """What masks scores `[B, A, F, F]`: log(gate) for each key; about -infinity for 0, in a mask of integers, too."""
    # Finite in float16, too; after the softmax it is an exact zero in every precision.
    closed = -3.0e4 if dtype == "float16" else -1.0e9
    if keras.backend.is_float_dtype(mask.dtype):
        bias = ops.where(mask > 0, ops.log(ops.maximum(mask, 1e-30)), closed)
    else:
        bias = (1.0 - ops.cast(mask, dtype)) * closed
    return ops.cast(bias, dtype)[:, None, None, :]


def _layer_norm(config, **kwargs):
    return keras.layers.LayerNormalization(epsilon=config.layer_norm_eps, **kwargs)


class _BertLayer(keras.layers.Layer):
    """A layer that is made from a `BertConfig`."""

    def __init__(self, config, **kwargs):
        super().__init__(**kwargs)
        self.config = BertConfig(**config) if isinstance(config, dict) else config

    def get_config(self):
        return {**super().get_config(), "config": dataclasses.asdict(self.config)}


@keras.saving.register_keras_serializable("powerbert_tf")
class BertEmbeddings(_BertLayer):
    """Sum of word-piece, position and segment embeddings, normalised.

    Args:
        config: Sizes.
        max_seq_length: N; longer inputs are refused.
        **kwargs: The layer's own.
    """

    def __init__(self, config, max_seq_length, **kwargs):
        super().__init__(config, **kwargs)
        self.max_seq_length = max_seq_length

    def build(self, token_ids_shape, segment_ids_shape):
        config = self.config

        def table(rows, name):
            initializer = keras.initializers.TruncatedNormal(stddev=config.initializer_range)
            return self.add_weight(shape=(rows, config.hidden_size), initializer=initializer, name=name)

        self.word_embeddings = table(config.vocab_size, "word_embeddings")
        self.position_embeddings = table(config.max_position_embeddings, "position_embeddings")
        self.segment_embeddings = table(config.type_vocab_size, "segment_embeddings")
        self.layer_norm = _layer_norm(config, name="layer_norm")
        self.layer_norm.build((None, None, config.hidden_size))
        self.dropout = keras.layers.Dropout(config.hidden_dropout_prob)

    def call(self, token_ids, segment_ids, training=False):
        """`[B, T]`, `[B, T]` int32 -> word-vectors `[B, T, H]`.

        Raises:
            ValueError: T is above `max_seq_length`.
        """
        length = ops.shape(token_ids)[1]
        if isinstance(length, int) and length > self.max_seq_length:
            raise ValueError(f"token_ids: {length} columns; expected at most max_seq_length={self.max_seq_length}.")
        word_vectors = (
            ops.take(self.word_embeddings, token_ids, axis=0)
            + self.position_embeddings[:length]
            + ops.take(self.segment_embeddings, segment_ids, axis=0)
        )
        return self.dropout(self.layer_norm(word_vectors), training=training)

    def compute_output_spec(self, token_ids, segment_ids, training=False):
        # Stated, not traced: backends trace an unknown length with some large number.
        return keras.KerasTensor((*token_ids.shape, self.config.hidden_size), dtype=self.compute_dtype)

    def get_config(self):
        return {**super().get_config(), "max_seq_length": self.max_seq_length}


@keras.saving.register_keras_serializable("powerbert_tf")
class SelfAttention(_BertLayer):
    """Multi-head self-attention in two steps, between which an encoder chooses the queries that it goes on with."""

    def build(self, word_vectors_shape, padding_mask_shape):
        hidden_size = self.config.hidden_size
        self.query_key_value = _dense(3 * hidden_size, self.config, name="query_key_value")
        self.output_projection = _dense(hidden_size, self.config, name="output")
        for projection in (self.query_key_value, self.output_projection):
            projection.build((None, hidden_size))
        self.dropout = keras.layers.Dropout(self.config.attention_probs_dropout_prob)

    def attend(self, word_vectors, padding_mask, cls_only=False):
        """Who attends to whom.

        Args:
            word_vectors: `[B, F, H]`.
            padding_mask: `[B, F]`, integers, or gates in [0, 1].
            cls_only: Whether [CLS] is the only query, Q = 1; else Q = F.

        Returns:
            Probabilities `[B, A, Q, F]`, and the values `[B, A, F, D]` that they weigh.
        """
        config = self.config
        batch, length = ops.shape(word_vectors)[:2]
        heads, head_size = config.num_attention_heads, config.hidden_size // config.num_attention_heads

        def split_heads(projected, rows, parts):  # [B * rows, parts * H] -> parts of [B, A, rows, D]
            projected = ops.reshape(projected, (batch, rows, parts, heads, head_size))
            return ops.unstack(ops.transpose(projected, (2, 0, 3, 1, 4)), parts)

        if cls_only:
            kernel, bias, hidden_size = self.query_key_value.kernel, self.query_key_value.bias, config.hidden_size
            query = ops.matmul(word_vectors[:, 0], kernel[:, :hidden_size]) + bias[:hidden_size]
            key_value = ops.matmul(_rows(word_vectors), kernel[:, hidden_size:]) + bias[hidden_size:]
            (query,), (key, value) = split_heads(query, 1, 1), split_heads(key_value, length, 2)
        else:
            query, key, value = split_heads(self.query_key_value(_rows(word_vectors)), length, 3)
        scores = ops.matmul(query * head_size**-0.5, ops.transpose(key, (0, 1, 3, 2)))  # [B, A, Q, F]
        bias = _attention_bias(padding_mask, keras.backend.standardize_dtype(scores.dtype))
        return _softmax(scores + bias), value

    def gather_heads(self, attention_probs, value, training=False):
        """`[B, A, Q, F]`, `[B, A, F, D]` -> what the heads found, `[B, Q, H]`."""
        context = ops.matmul(self.dropout(attention_probs, training=training), value)  # [B, A, Q, D]
        batch, _, queries, _ = ops.shape(context)
        return ops.reshape(ops.transpose(context, (0, 2, 1, 3)), (batch, queries, self.config.hidden_size))


def _rows(word_vectors):
    """`[B, F, H]` -> `[B * F, H]`: on TensorFlow, only a product of matrices is fused with what follows it."""
    return ops.reshape(word_vectors, (-1, word_vectors.shape[-1]))


@keras.saving.register_keras_serializable("powerbert_tf")
class EncoderBlock(_BertLayer):
    """Self-attention, the optional extract slot, feed-forward network.

    Args:
        config: Sizes.
        extract: None (plain BERT), or a layer that says which rows stay, see `powerbert_tf.extract`. Only theirs is
            computed of all that follows the attention probabilities.
        cls_only: Whether only the row of [CLS] leaves, so that no other is computed: for the last encoder, of which
            nothing else is read. There is nothing to choose then, and no slot.
        shared: Another block whose weights are these, or None for new ones.
        **kwargs: The layer's own.

    Raises:
        ValueError: `extract` and `cls_only` are both given.
    """

    _SUBLAYERS = (
        "attention",
        "attention_layer_norm",
        "intermediate",
        "feed_forward_output",
        "output_layer_norm",
        "dropout",
    )

    def __init__(self, config, extract=None, cls_only=False, shared=None, **kwargs):
        super().__init__(config, **kwargs)
        if cls_only and extract is not None:
            raise ValueError("extract and cls_only are given; expected one of them.")
        self.extract = keras.saving.deserialize_keras_object(extract) if isinstance(extract, dict) else extract
        self.cls_only = cls_only
        if shared is not None:
            for name in self._SUBLAYERS:
                setattr(self, name, getattr(shared, name))
        self._is_shared = shared is not None

    def build(self, word_vectors_shape, padding_mask_shape, input_mask_shape):
        config = self.config
        shape = (None, config.hidden_size)
        if self.extract is not None and not self.extract.built:
            self.extract.build((None, config.num_attention_heads, None, None), (None, None), (None, None))
        if self._is_shared:
            return
        self.attention = SelfAttention(config, name="attention")
        self.attention.build((None, None, config.hidden_size), (None, None))
        self.attention_layer_norm = _layer_norm(config, name="attention_layer_norm")
        self.attention_layer_norm.build(shape)
        self.intermediate = _dense(
            config.intermediate_size, config, activation=_ACTIVATIONS[config.hidden_act], name="intermediate"
        )
        self.intermediate.build(shape)
        self.feed_forward_output = _dense(config.hidden_size, config, name="feed_forward_output")
        self.feed_forward_output.build((None, config.intermediate_size))
        self.output_layer_norm = _layer_norm(config, name="output_layer_norm")
        self.output_layer_norm.build(shape)
        self.dropout = keras.layers.Dropout(config.hidden_dropout_prob)

    def call(self, word_vectors, padding_mask, input_mask, training=False):
        """`[B, F, H]`, `[B, F]`, `[B, T]` -> `[B, K, H]`, `[B, K]`; K = F without extraction."""
        word_vectors, attention_probs, value, stays = self.choose(word_vectors, padding_mask, input_mask)
        context = self.attention.gather_heads(attention_probs, value, training)
        return self.update(word_vectors, context, stays.get("scale"), training), stays["padding_mask"]

    def choose(self, word_vectors, padding_mask, input_mask):
        """All that needs every row, and which rows go on.

        Returns:
            Word-vectors that stay `[B, K, H]`, their attention probabilities `[B, A, K, F]`, the values `[B, A, F, D]`,
            and what the slot says.
        """
        attention_probs, value = self.attention.attend(word_vectors, padding_mask, self.cls_only)
        stays = {"padding_mask": padding_mask}
        if self.cls_only:
            word_vectors, stays = word_vectors[:, :1], {"padding_mask": padding_mask[:, :1]}
        elif self.extract is not None:
            stays = self.extract(attention_probs, padding_mask, input_mask)
        if "rows" in stays:
            attention_probs = gather_queries(attention_probs, stays["rows"])
            word_vectors = gather_rows(word_vectors, stays["rows"])
        return word_vectors, attention_probs, value, stays

    def update(self, word_vectors, context, scale=None, training=False):
        """All that follows on each row that stays.

        Args:
            word_vectors: `[B, K, H]`.
            context: What the heads found for them, `[B, K, H]`.
            scale: Of soft-extract, `[B, K]`, or None for 1.
            training: Whether dropout acts.

        Returns:
            `[B, K, H]`.
        """
        attended = self.dropout(self.attention.output_projection(_rows(context)), training=training)
        rows = self.attention_layer_norm(_rows(word_vectors) + attended)
        if scale is not None:
            rows = rows * ops.cast(ops.reshape(scale, (-1, 1)), rows.dtype)
        return ops.reshape(self.feed_forward(rows, training), ops.shape(word_vectors))

    def feed_forward(self, rows, training=False):
        """The feed-forward network, `[B * K, H]` -> `[B * K, H]`."""
        update = self.feed_forward_output(self.intermediate(rows))  # [B * K, I] -> [B * K, H]
        return self.output_layer_norm(rows + self.dropout(update, training=training))

    def compute_output_spec(self, word_vectors, padding_mask, input_mask, training=False):
        # Stated, not traced: K is min(l, F), and a trace with some large F would take l for the answer.
        batch, length, hidden_size = word_vectors.shape
        kept, mask_dtype = length, padding_mask.dtype
        if self.cls_only:
            kept = 1
        elif self.extract is not None:
            kept = self.extract.compute_num_kept(length, input_mask.shape[1])
            mask_dtype = self.extract.mask_dtype or mask_dtype
        return (
            keras.KerasTensor((batch, kept, hidden_size), dtype=self.compute_dtype),
            keras.KerasTensor((batch, kept), dtype=mask_dtype),
        )

    def get_config(self):
        extract = None if self.extract is None else keras.saving.serialize_keras_object(self.extract)
        return {**super().get_config(), "extract": extract, "cls_only": self.cls_only}


@keras.saving.register_keras_serializable("powerbert_tf")
class BertClassifier(keras.Model):
    """BERT, pooler and head: `{"token_ids", "segment_ids", "padding_mask"}` int32 `[B, T]` -> logits `[B, C]`.

    T is any length up to `max_seq_length`; padding is on the right.

    Args:
        config: Sizes, a `BertConfig`.
        num_classes: C; 1 for a regression.
        max_seq_length: N.
        retention_configuration: What each encoder keeps (extract layers): counts, or fractions of each example's own
            length; see `powerbert_tf.retention`. None keeps all. Of the last encoder [CLS] alone is computed, whatever
            its entry says: nothing else is read.
        soft_extract: Whether each encoder has a soft-extract layer instead (the paper's search).
        gate_width: Width of the ramp of gated extraction instead, see `powerbert_tf.extract.gates`; None for no gates.
        selection: `"attention"`, `"head"` or `"random"`, see `powerbert_tf.extract`.
        padding_queries_vote: Whether padding votes for significance, as in the original release.
        pin_cls: Whether soft-extract puts [CLS] first; None means that it does unless `padding_queries_vote`, so that
            this one argument gives the original release's semantics.
        mass_penalty: Lambda of the search loss, the coefficient of sum_j j * mass_j.
        shared: Another classifier whose weights are these, or None for new ones; see `with_retention`.
        **kwargs: The model's own.

    Raises:
        InputError: `retention_configuration` does not fit.
        ValueError: More than one of `retention_configuration`, `soft_extract` and `gate_width` is given, `num_classes`
            is below 1, or `max_seq_length` is outside 1 to the number of position embeddings.
    """

    def __init__(
        self,
        config,
        num_classes,
        max_seq_length,
        retention_configuration=None,
        soft_extract=False,
        gate_width=None,
        selection="attention",
        padding_queries_vote=False,
        pin_cls=None,
        mass_penalty=0.0,
        shared=None,
        **kwargs,
    ):
        config = BertConfig(**config) if isinstance(config, dict) else config
        if num_classes < 1:
            raise ValueError(f"num_classes={num_classes}; expected at least 1 (1 for a regression).")
        if not 1 <= max_seq_length <= config.max_position_embeddings:
            raise ValueError(
                f"max_seq_length={max_seq_length}; expected 1 to {config.max_position_embeddings}, "
                "the checkpoint's position embeddings."
            )
        given = {
            "retention_configuration": retention_configuration is not None,
            "soft_extract": soft_extract,
            "gate_width": gate_width is not None,
        }
        if sum(given.values()) > 1:
            names = " and ".join(name for name, is_given in given.items() if is_given)
            raise ValueError(f"{names} are given; expected one of them.")
        if retention_configuration is not None:
            retention_configuration = validate_configuration(
                retention_configuration, config.num_hidden_layers, max_seq_length
            )
        slots = _slots(
            config.num_hidden_layers,
            retention_configuration,
            soft_extract,
            gate_width,
            pin_cls=not padding_queries_vote if pin_cls is None else pin_cls,
            mass_penalty=mass_penalty,
            max_seq_length=max_seq_length,
            selection=selection,
            padding_queries_vote=padding_queries_vote,
        )
        layers = _shared_layers(shared) if shared is not None else _new_layers(config, num_classes, max_seq_length)
        encoders = [
            EncoderBlock(
                config,
                slot,
                cls_only=slot is None and index == config.num_hidden_layers - 1,
                shared=None if shared is None else shared.encoders[index],
                name=f"encoder_{index}",
            )
            for index, slot in enumerate(slots)
        ]
        super().__init__(**_classifier_graph(encoders, **layers), **kwargs)

        self.config = config
        self.num_classes = num_classes
        self.max_seq_length = max_seq_length
        self.retention_configuration = retention_configuration
        self.soft_extract = soft_extract
        self.gate_width = gate_width
        self.selection = selection
        self.padding_queries_vote = padding_queries_vote
        self.pin_cls = pin_cls
        self.mass_penalty = mass_penalty
        self.encoders = encoders

    @property
    def masses(self):
        """Mass of each encoder's retention parameters, a list of L floats; empty without soft-extract layers."""
        return [slot.mass for slot in self.slots] if self.soft_extract else []

    @property
    def slots(self):
        """The extract layers, of the encoders that have one."""
        return [encoder.extract for encoder in self.encoders if encoder.extract is not None]

    def with_slots(self, **slots):
        """A model with the same weights, shared and not copied, and other extract slots.

        Args:
            **slots: `retention_configuration`, `soft_extract`, `gate_width`, `selection` and so on; what is not given
                of the first three is off, of the others as it is here.
        """
        config = self.get_config()
        config.update(retention_configuration=None, soft_extract=False, gate_width=None)
        return type(self)(**{**config, **slots}, shared=self)

    def get_config(self):
        return {
            "name": self.name,
            "config": dataclasses.asdict(self.config),
            "num_classes": self.num_classes,
            "max_seq_length": self.max_seq_length,
            "retention_configuration": self.retention_configuration,
            "soft_extract": self.soft_extract,
            "gate_width": self.gate_width,
            "selection": self.selection,
            "padding_queries_vote": self.padding_queries_vote,
            "pin_cls": self.pin_cls,
            "mass_penalty": self.mass_penalty,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)


def with_retention(model, configuration, **kwargs):
    """The same model, its weights shared and not copied, with another retention configuration.

    Args:
        model: A `BertClassifier`.
        configuration: Counts or fractions, one an encoder; None keeps all.
        **kwargs: Such as `selection`; the others stay as they are.

    Returns:
        A `BertClassifier`; training one trains both.

    Raises:
        InputError: `configuration` does not fit.
    """
    return model.with_slots(retention_configuration=configuration, **kwargs)


def _slots(num_encoders, configuration, soft_extract, gate_width, *, pin_cls, mass_penalty, **common):
    """The extract layer of each encoder; None where all rows stay, and in the last one, of which [CLS] alone is read.

    Soft-extract is in the last one, too: it learns a mass for it, and [CLS] has a rank.
    """

    def named(index):
        return {**common, "seed": index, "name": "extract"}

    if soft_extract:
        return [
            SoftExtract(mass_penalty=mass_penalty * (index + 1), pin_cls=pin_cls, **named(index))
            for index in range(num_encoders)
        ]
    slots = [None] * num_encoders
    for index in range(num_encoders - 1):
        if gate_width is not None:
            slots[index] = GatedExtract(width=gate_width, **named(index))
        elif configuration is not None:
            before = (keep_all(configuration, common["max_seq_length"]), *configuration)[index]
            # Where nothing leaves, neither scores nor a gather are computed.
            slots[index] = Extract(configuration[index], **named(index)) if configuration[index] < before else None
    return slots


def _new_layers(config, num_classes, max_seq_length):
    return {
        "embeddings": BertEmbeddings(config, max_seq_length, name="embeddings"),
        "pooler": _dense(config.hidden_size, config, activation="tanh", name="pooler"),
        "dropout": keras.layers.Dropout(config.hidden_dropout_prob, name="dropout"),
        "classifier": _dense(num_classes, config, dtype="float32", name="classifier"),
    }


def _shared_layers(model):
    return {name: model.get_layer(name) for name in ("embeddings", "pooler", "dropout", "classifier")}


def _classifier_graph(encoders, embeddings, pooler, dropout, classifier):
    """Inputs and outputs of the classifier's functional graph."""
    inputs = {
        name: keras.Input((None,), dtype="int32", name=name) for name in ("token_ids", "segment_ids", "padding_mask")
    }
    input_mask = padding_mask = inputs["padding_mask"]
    word_vectors = embeddings(inputs["token_ids"], inputs["segment_ids"])
    for encoder in encoders:
        word_vectors, padding_mask = encoder(word_vectors, padding_mask, input_mask)
    return {"inputs": inputs, "outputs": classifier(dropout(pooler(word_vectors[:, 0])))}
