"""BERT's layers: embeddings, and an encoder block with an optional slot. With empty slots they are plain BERT.

Axes: `B` batch, `T` rows of the input, `F` rows that enter an encoder, `K` rows that leave it, `A` heads,
`D` size of a head, `H` hidden size (`A * D`, unless heads have been removed), `I` feed-forward size, `C` classes.
"""

import dataclasses

import keras
from keras import ops

from powerbert_tf.elimination.extract import gather_queries, gather_rows
from powerbert_tf.models.config import BertConfig
from powerbert_tf.models.fused_dense import FusedDense

_ACTIVATIONS = {
    # Google's and Hugging Face's "gelu" is x * Phi(x); the others are its tanh approximation under two names.
    "gelu": lambda x: keras.activations.gelu(x, approximate=False),
    "gelu_new": lambda x: keras.activations.gelu(x, approximate=True),
    "gelu_pytorch_tanh": lambda x: keras.activations.gelu(x, approximate=True),
    "relu": keras.activations.relu,
    "silu": keras.activations.silu,
    "tanh": keras.activations.tanh,
}


def bert_dense(units, config, activation=None, **kwargs):
    """A dense layer on rows, initialised as BERT's; `activation` is one of `config.ACTIVATIONS`."""
    initializer = keras.initializers.TruncatedNormal(stddev=config.initializer_range)
    return FusedDense(units, activation=_ACTIVATIONS.get(activation), kernel_initializer=initializer, **kwargs)


def _softmax(scores):
    """Softmax over the last axis, without Keras's warning where [CLS] is alone and the result is 1."""
    return ops.ones_like(scores) if scores.shape[-1] == 1 else ops.softmax(scores, axis=-1)


def _attention_bias(mask, dtype):
    """Added to attention scores `[B, A, F, F]`: log(gate) of each key, about -infinity for 0 or an integer mask's 0."""
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
    """Sum of token, position and segment embeddings, normalised, and projected to H where it has another width.

    Args:
        config: Sizes.
        max_seq_length: N; longer inputs raise an error.
        **kwargs: Arguments of `keras.layers.Layer`.
    """

    def __init__(self, config, max_seq_length, **kwargs):
        # Otherwise half precision casts the whole table to look up a few rows.
        super().__init__(config, autocast=False, **kwargs)
        self.max_seq_length = max_seq_length

    def build(self, token_ids_shape, segment_ids_shape):
        config = self.config

        def table(rows, name):
            initializer = keras.initializers.TruncatedNormal(stddev=config.initializer_range)
            return self.add_weight(shape=(rows, config.embedding_width), initializer=initializer, name=name)

        self.word_embeddings = table(config.vocab_size, "word_embeddings")
        self.position_embeddings = table(config.max_position_embeddings, "position_embeddings")
        if config.type_vocab_size:
            self.segment_embeddings = table(config.type_vocab_size, "segment_embeddings")
        self.layer_norm = _layer_norm(config, name="layer_norm")
        self.layer_norm.build((None, None, config.embedding_width))
        if config.has_projection:
            self.projection = bert_dense(config.hidden_size, config, name="projection")
            self.projection.build((None, config.embedding_width))
        self.dropout = keras.layers.Dropout(config.hidden_dropout_prob)

    def call(self, token_ids, segment_ids, training=False):
        """`[B, T]`, `[B, T]` int32 -> word-vectors `[B, T, H]`.

        Raises:
            ValueError: T is above `max_seq_length`.
        """
        length = ops.shape(token_ids)[1]
        if isinstance(length, int) and length > self.max_seq_length:
            raise ValueError(f"token_ids: {length} columns; expected at most max_seq_length={self.max_seq_length}.")
        config = self.config
        # Padding is on the right, so tokens have the first positions.
        positions = self.position_embeddings[config.position_offset : config.position_offset + length]
        word_vectors = ops.take(self.word_embeddings, token_ids, axis=0) + positions
        if config.type_vocab_size == 1:
            word_vectors = word_vectors + self.segment_embeddings[0]
        elif config.type_vocab_size:
            word_vectors = word_vectors + ops.take(self.segment_embeddings, segment_ids, axis=0)
        word_vectors = self.dropout(self.layer_norm(word_vectors), training=training)
        if not config.has_projection:
            return word_vectors
        projected = self.projection(_rows(word_vectors))  # [B * T, E] -> [B * T, H]
        return ops.reshape(projected, (*ops.shape(token_ids), config.hidden_size))

    def compute_output_spec(self, token_ids, segment_ids, training=False):
        # Stated, not traced: backends trace an unknown length with some large number.
        return keras.KerasTensor((*token_ids.shape, self.config.hidden_size), dtype=self.compute_dtype)

    def get_config(self):
        return {**super().get_config(), "max_seq_length": self.max_seq_length}


@keras.saving.register_keras_serializable("powerbert_tf")
class SelfAttention(_BertLayer):
    """Multi-head self-attention in two steps, between which an encoder may eliminate queries."""

    def build(self, word_vectors_shape, padding_mask_shape):
        hidden_size, attention_size = self.config.hidden_size, self.config.attention_size
        self.query_key_value = bert_dense(3 * attention_size, self.config, name="query_key_value")
        self.query_key_value.build((None, hidden_size))
        self.output_projection = bert_dense(hidden_size, self.config, name="output")
        self.output_projection.build((None, attention_size))
        self.dropout = keras.layers.Dropout(self.config.attention_probs_dropout_prob)

    def attend(self, word_vectors, padding_mask, cls_only=False):
        """Computes the attention probabilities.

        Args:
            word_vectors: `[B, F, H]`.
            padding_mask: `[B, F]`, integers, or gates in [0, 1].
            cls_only: Whether [CLS] is the only query, Q = 1; else Q = F.

        Returns:
            Probabilities `[B, A, Q, F]`, and the values `[B, A, F, D]` that they weigh.
        """
        config = self.config
        batch, length = ops.shape(word_vectors)[:2]
        heads, head_size = config.num_attention_heads, config.head_columns

        def split_heads(projected, rows, parts):  # [B * rows, parts * A * D] -> parts of [B, A, rows, D]
            projected = ops.reshape(projected, (batch, rows, parts, heads, head_size))
            return ops.unstack(ops.transpose(projected, (2, 0, 3, 1, 4)), parts)

        if cls_only:
            kernel, bias, size = self.query_key_value.kernel, self.query_key_value.bias, config.attention_size
            query = ops.matmul(word_vectors[:, 0], kernel[:, :size]) + bias[:size]
            key_value = ops.matmul(_rows(word_vectors), kernel[:, size:]) + bias[size:]
            (query,), (key, value) = split_heads(query, 1, 1), split_heads(key_value, length, 2)
        else:
            query, key, value = split_heads(self.query_key_value(_rows(word_vectors)), length, 3)
        scores = ops.matmul(query * head_size**-0.5, ops.transpose(key, (0, 1, 3, 2)))  # [B, A, Q, F]
        bias = _attention_bias(padding_mask, keras.backend.standardize_dtype(scores.dtype))
        return _softmax(scores + bias), value

    def gather_heads(self, attention_probs, value, training=False):
        """Computes the outputs of the heads: `[B, A, Q, F]`, `[B, A, F, D]` -> `[B, Q, A * D]`."""
        context = ops.matmul(self.dropout(attention_probs, training=training), value)  # [B, A, Q, D]
        batch, _, queries, _ = ops.shape(context)
        return ops.reshape(ops.transpose(context, (0, 2, 1, 3)), (batch, queries, self.config.attention_size))


def _rows(word_vectors):
    """`[B, F, H]` -> `[B * F, H]`: on TensorFlow, only a product of matrices is fused with what follows it."""
    return ops.reshape(word_vectors, (-1, word_vectors.shape[-1]))


_SHARED = ["attention", "attention_layer_norm", "intermediate", "feed_forward_output", "output_layer_norm", "dropout"]


@keras.saving.register_keras_serializable("powerbert_tf")
class EncoderBlock(_BertLayer):
    """Self-attention, an optional slot, feed-forward network.

    Args:
        config: Sizes of this encoder, see `BertConfig.of_encoder`.
        extract: None (plain BERT), or a layer that decides from the attention probabilities which rows stay, see
            `elimination.extract`. All that follows them is computed for those rows only.
        cls_only: Whether the block computes [CLS] only: for the last encoder, whose other rows nobody reads. It then
            has no slot, unless the slot can scale [CLS] alone (`cls_scale`).
        custom_slot: A layer `(word_vectors, attention_probs, padding_mask) -> (word_vectors, padding_mask)` between
            self-attention and the feed-forward network, or None. See `BertClassifier`.
        neuron_gate: A `WidthGate` on the neurons, or None.
        head_gate: A `WidthGate` on axis 1, that of the heads, or None. A closed head has no say in which rows stay.
        shared: Another block whose weights this one uses, or None for new weights. Slots and gates are never shared.
        **kwargs: Arguments of `keras.layers.Layer`.

    Raises:
        ValueError: The block has more than one slot, or computes [CLS] only and has a slot that needs other rows.
    """

    def __init__(
        self,
        config,
        extract=None,
        cls_only=False,
        custom_slot=None,
        neuron_gate=None,
        head_gate=None,
        shared=None,
        **kwargs,
    ):
        super().__init__(config, **kwargs)
        self.extract, self.custom_slot, self.neuron_gate, self.head_gate = (
            keras.saving.deserialize_keras_object(layer) if isinstance(layer, dict) else layer
            for layer in (extract, custom_slot, neuron_gate, head_gate)
        )
        if custom_slot is not None and (cls_only or extract is not None):
            raise ValueError("custom_slot is given with extract or cls_only; expected one of them.")
        if cls_only and extract is not None and not hasattr(self.extract, "cls_scale"):
            raise ValueError("extract and cls_only are given; expected one of them.")
        self.cls_only = cls_only
        if shared is not None:
            for name in _SHARED:
                setattr(self, name, getattr(shared, name))
        self._is_shared = shared is not None

    def build(self, word_vectors_shape, padding_mask_shape, input_mask_shape):
        config = self.config
        if self.extract is not None and not self.extract.built:
            self.extract.build((None, config.num_attention_heads, None, None), (None, None), (None, None))
        if self.custom_slot is not None:
            self._custom_slot_spec("int32")
        for gate in (self.neuron_gate, self.head_gate):
            if gate is not None and not gate.built:
                gate.build((None,))
        if self._is_shared:
            return
        self.attention = SelfAttention(config, name="attention")
        self.attention.build((None, None, config.hidden_size), (None, None))
        self.attention_layer_norm = _layer_norm(config, name="attention_layer_norm")
        self.intermediate = bert_dense(
            config.intermediate_size, config, activation=config.hidden_act, name="intermediate"
        )
        self.feed_forward_output = bert_dense(config.hidden_size, config, name="feed_forward_output")
        self.output_layer_norm = _layer_norm(config, name="output_layer_norm")
        for layer in (self.attention_layer_norm, self.intermediate, self.output_layer_norm):
            layer.build((None, config.hidden_size))
        self.feed_forward_output.build((None, config.intermediate_size))
        self.dropout = keras.layers.Dropout(config.hidden_dropout_prob)

    def call(self, word_vectors, padding_mask, input_mask, training=False):
        """`[B, F, H]`, `[B, F]`, `[B, T]` -> `[B, K, H]`, `[B, K]`; K = F without extraction."""
        word_vectors, attention_probs, value, stays = self.choose(word_vectors, padding_mask, input_mask)
        context = self.attention.gather_heads(attention_probs, value, training)
        if self.custom_slot is None:
            return self.update(word_vectors, context, stays.get("scale"), training), stays["padding_mask"]
        rows = ops.reshape(self.add_context(word_vectors, context, training), ops.shape(word_vectors))
        word_vectors, padding_mask = self.custom_slot(rows, attention_probs, padding_mask)
        return ops.reshape(self.feed_forward(_rows(word_vectors), training), ops.shape(word_vectors)), padding_mask

    def _custom_slot_spec(self, mask_dtype):
        """Calls the custom slot on symbolic tensors, which builds it as Keras builds any layer."""
        return self.custom_slot(
            keras.KerasTensor((None, None, self.config.hidden_size), dtype=self.compute_dtype),
            keras.KerasTensor((None, self.config.num_attention_heads, None, None), dtype=self.compute_dtype),
            keras.KerasTensor((None, None), dtype=mask_dtype),
        )

    def choose(self, word_vectors, padding_mask, input_mask):
        """Computes what needs every row, and decides which rows stay.

        Returns:
            Word-vectors that stay `[B, K, H]`, their attention probabilities `[B, A, K, F]`, the values `[B, A, F, D]`,
            and the answer of the extract layer.
        """
        attention_probs, value = self.attention.attend(word_vectors, padding_mask, self.cls_only)
        if self.head_gate is not None:
            # Here, so that it reaches scores as well as the heads' outputs, which are linear in the probabilities.
            attention_probs = self.head_gate(attention_probs)
        stays = {"padding_mask": padding_mask}
        if self.cls_only:
            word_vectors, stays = word_vectors[:, :1], {"padding_mask": padding_mask[:, :1]}
            if self.extract is not None:
                stays["scale"] = self.extract.cls_scale(padding_mask)
        elif self.extract is not None:
            stays = self.extract(attention_probs, padding_mask, input_mask, value)
        if "rows" in stays:
            attention_probs = gather_queries(attention_probs, stays["rows"])
            word_vectors = gather_rows(word_vectors, stays["rows"])
        return word_vectors, attention_probs, value, stays

    def update(self, word_vectors, context, scale=None, training=False):
        """Computes the rest of the block for the rows that stay.

        Args:
            word_vectors: `[B, K, H]`.
            context: Outputs of the heads for them, `[B, K, A * D]`.
            scale: Of soft-extract, `[B, K]`, or None for 1.
            training: Whether dropout acts.

        Returns:
            `[B, K, H]`.
        """
        rows = self.add_context(word_vectors, context, training)
        if scale is not None:
            rows = rows * ops.cast(ops.reshape(scale, (-1, 1)), rows.dtype)
        return ops.reshape(self.feed_forward(rows, training), ops.shape(word_vectors))

    def add_context(self, word_vectors, context, training=False):
        """Output projection, residual and LayerNorm, `[B, K, H]` and `[B, K, A * D]` -> `[B * K, H]`."""
        attended = self.dropout(self.attention.output_projection(_rows(context)), training=training)
        return self.attention_layer_norm(_rows(word_vectors) + attended)

    def feed_forward(self, rows, training=False):
        """The feed-forward network, `[B * K, H]` -> `[B * K, H]`."""
        active = self.intermediate(rows)  # [B * K, I]
        if self.neuron_gate is not None:
            active = self.neuron_gate(active)
        update = self.feed_forward_output(active)
        return self.output_layer_norm(rows + self.dropout(update, training=training))

    def compute_output_spec(self, word_vectors, padding_mask, input_mask, training=False):
        # Stated, not traced: K is min(l, F), and a trace with some large F would take l for the answer.
        batch, length, hidden_size = word_vectors.shape
        kept, mask_dtype = length, padding_mask.dtype
        if self.cls_only:
            kept = 1
        elif self.custom_slot is not None:
            kept, mask_dtype = None, self._custom_slot_spec(mask_dtype)[1].dtype
        elif self.extract is not None:
            kept = self.extract.compute_num_kept(length, input_mask.shape[1])
            mask_dtype = self.extract.mask_dtype or mask_dtype
        return (
            keras.KerasTensor((batch, kept, hidden_size), dtype=self.compute_dtype),
            keras.KerasTensor((batch, kept), dtype=mask_dtype),
        )

    def get_config(self):
        layers = {
            name: None if (layer := getattr(self, name)) is None else keras.saving.serialize_keras_object(layer)
            for name in ("extract", "custom_slot", "neuron_gate", "head_gate")
        }
        return {**super().get_config(), "cls_only": self.cls_only, **layers}
