"""The classifier: BERT's layers in a functional graph, and the layers in the slots of its encoders.

Axes: `B` batch, `T` rows of the input, `C` classes, `K` options of a question.
"""

import dataclasses

import keras

from powerbert_tf.elimination.extract import Extract, GatedExtract, SoftExtract
from powerbert_tf.elimination.reduction import DIMENSIONS, Reduction
from powerbert_tf.elimination.retention import keep_all, validate_configuration
from powerbert_tf.elimination.significance import find_score
from powerbert_tf.elimination.width_gates import WidthGate
from powerbert_tf.models.config import BertConfig
from powerbert_tf.models.encoder import BertEmbeddings, EncoderBlock, bert_dense

INPUTS = ("token_ids", "segment_ids", "padding_mask")
# Arguments of a classifier that are attributes of the same name, and JSON values.
_ARGUMENTS = (
    "num_classes",
    "max_seq_length",
    "retention_configuration",
    "soft_extract",
    "gate_width",
    "gated",
    "selection",
    "padding_queries_vote",
    "pin_cls",
    "lambda_",
    "choices",
)


@keras.saving.register_keras_serializable("powerbert_tf")
class BertClassifier(keras.Model):
    """Encoders, pooler and head: `{"token_ids", "segment_ids", "padding_mask"}` int32 `[B, T]` -> logits `[B, C]`.

    T is any length up to `max_seq_length`; padding is on the right. An example of multiple choice has `choices`
    consecutive rows, and each of them gets one logit: int32 `[B K, T]` -> logits `[B, K]`.

    The last encoder computes [CLS] only, because nothing else is read from it.

    Args:
        config: Sizes, a `BertConfig`.
        num_classes: C; 1 for a regression.
        max_seq_length: N.
        retention_configuration: How many word-vectors each encoder keeps (extract layers): counts, or fractions of each
            example's own length; see `elimination.retention`. None keeps all. The entry of the last encoder changes
            nothing.
        soft_extract: Whether each encoder has a soft-extract layer instead (the paper's search).
        gate_width: Width of the ramp of gated extraction instead, see `elimination.extract.gates`; None for no gates.
        gated: Which `reduction.DIMENSIONS` these gates are on: rows, and with "neurons" and "heads" also the widths of
            all encoders, the last one included, see `elimination.width_gates`.
        custom_slots: Layers of your own instead, one or None for each encoder, None for the last. Each is called
            between self-attention and the feed-forward network:

                (word_vectors [B, F, H], attention_probs [B, A, F, F], padding_mask [B, F])
                    -> (word_vectors [B, K, H], padding_mask [B, K])

            Row 0 must stay [CLS]. The mask that the first slot receives is int32; one that returns another type should
            return it everywhere. Keras saves and loads the layers as other custom layers.
        selection: Name of the score that ranks word-vectors, see `elimination.significance.score_names`.
        padding_queries_vote: Whether padding counts in significance scores, as in the original release.
        pin_cls: Whether soft-extract ranks [CLS] first; None means the opposite of `padding_queries_vote`, so that this
            one argument gives the semantics of the original release.
        lambda_: Lambda of the paper's search, the coefficient of sum_j j * mass_j in the loss.
        choices: K of multiple choice, with `num_classes` 1; otherwise 1.
        shared: Another classifier whose weights this one uses, or None for new weights; see `with_retention`.
        **kwargs: Arguments of `keras.Model`.

    Raises:
        InputError: `retention_configuration` does not fit, or `selection` is unknown.
        ValueError: More than one of `retention_configuration`, `soft_extract`, `gate_width` and `custom_slots` is
            given, `custom_slots` or `gated` does not fit, `num_classes` is below 1, or `max_seq_length` is outside 1 to
            the number of position embeddings.
    """

    def __init__(
        self,
        config,
        num_classes,
        max_seq_length,
        retention_configuration=None,
        soft_extract=False,
        gate_width=None,
        gated=("rows",),
        custom_slots=None,
        selection="attention",
        padding_queries_vote=False,
        pin_cls=None,
        lambda_=0.0,
        choices=1,
        shared=None,
        **kwargs,
    ):
        config = BertConfig(**config) if isinstance(config, dict) else config
        _check_sizes(config, num_classes, max_seq_length, choices)
        if not gated or not set(gated) <= set(DIMENSIONS):
            raise ValueError(f"gated={gated}; expected some of {', '.join(DIMENSIONS)}.")
        find_score(selection)
        _require_one_kind_of_slot(
            retention_configuration=retention_configuration is not None,
            soft_extract=soft_extract,
            gate_width=gate_width is not None,
            custom_slots=custom_slots is not None,
        )
        num_encoders = config.num_hidden_layers
        if custom_slots is not None:
            custom_slots = _checked_slots(custom_slots, num_encoders)
        if retention_configuration is not None:
            retention_configuration = validate_configuration(retention_configuration, num_encoders, max_seq_length)
        slots = _slots(
            num_encoders,
            retention_configuration,
            soft_extract,
            gate_width if "rows" in gated else None,
            pin_cls=not padding_queries_vote if pin_cls is None else pin_cls,
            lambda_=lambda_,
            max_seq_length=max_seq_length,
            selection=selection,
            padding_queries_vote=padding_queries_vote,
        )
        layers = _shared_layers(shared) if shared is not None else _new_layers(config, num_classes, max_seq_length)
        width_gates = _width_gates(config, gate_width, gated)
        sources = None if shared is None else shared.encoders
        encoders = _encoder_blocks(config, slots, custom_slots, width_gates, sources)
        super().__init__(**_classifier_graph(config, encoders, choices, **layers), **kwargs)

        self.config = config
        self.num_classes = num_classes
        self.max_seq_length = max_seq_length
        self.retention_configuration = retention_configuration
        self.soft_extract = soft_extract
        self.gate_width = gate_width
        self.gated = tuple(gated)
        self.selection = selection
        self.padding_queries_vote = padding_queries_vote
        self.pin_cls = pin_cls
        self.lambda_ = lambda_
        self.choices = choices
        self.encoders = encoders

    @property
    def reduction(self):
        """What its encoders keep, a `Reduction`: all word-vectors where there is no retention configuration."""
        rows = self.retention_configuration or (1.0,) * self.config.num_hidden_layers
        return Reduction(rows, self.config.neurons, self.config.heads)

    @property
    def masses(self):
        """Mass of each encoder's retention parameters, a list of L floats; empty without soft-extract layers."""
        return [slot.mass for slot in self.slots] if self.soft_extract else []

    @property
    def slots(self):
        """The extract layers of the encoders that have one."""
        return [encoder.extract for encoder in self.encoders if encoder.extract is not None]

    @property
    def gates(self):
        """The layers of gates, a list for each dimension in `gated`; empty without gates.

        Rows have one for each encoder but the last, widths one for each encoder with weights of its own.
        """
        if self.gate_width is None:
            return {}
        distinct = self.encoders[: self.config.num_encoder_weights]
        layers = {
            "rows": self.slots,
            "neurons": [encoder.neuron_gate for encoder in distinct],
            "heads": [encoder.head_gate for encoder in distinct],
        }
        return {dimension: layers[dimension] for dimension in self.gated}

    @property
    def custom_slots(self):
        """The user's own layers, one or None for each encoder; None without any."""
        slots = [encoder.custom_slot for encoder in self.encoders]
        return None if all(slot is None for slot in slots) else slots

    def with_slots(self, **slots):
        """A model that shares this model's weights, with other slots.

        Args:
            **slots: `retention_configuration`, `soft_extract`, `gate_width`, `custom_slots`, `selection` and so on. Of
                the first four, those that are not given are off, and gates are on rows unless `gated` is given; the
                others stay as they are.
        """
        empty = {"retention_configuration": None, "soft_extract": False, "gate_width": None, "custom_slots": None}
        empty["gated"] = ("rows",)
        return type(self)(**{**self.get_config(), **empty, **slots}, shared=self)

    def get_config(self):
        slots = self.custom_slots and [slot and keras.saving.serialize_keras_object(slot) for slot in self.custom_slots]
        config = {"name": self.name, "config": dataclasses.asdict(self.config), "custom_slots": slots}
        return config | {name: getattr(self, name) for name in _ARGUMENTS}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        if "mass_penalty" in config:  # its name before
            config["lambda_"] = config.pop("mass_penalty")
        with keras.saving.custom_object_scope(custom_objects or {}):
            return cls(**config)


def with_retention(model, configuration, **kwargs):
    """A model that shares the weights of another, with another retention configuration.

    Args:
        model: A `BertClassifier`.
        configuration: Counts or fractions, one per encoder; None keeps all.
        **kwargs: Such as `selection`; the others stay as they are.

    Returns:
        A `BertClassifier`; training one trains both.

    Raises:
        InputError: `configuration` does not fit, or `selection` is unknown.

    Example:
        >>> model = powerbert_tf.load_classifier("classifier", num_classes=3, max_seq_length=23)
        >>> powerbert_tf.with_retention(model, (0.9, 0.6, 0.3)).retention_configuration
        (0.9, 0.6, 0.3)
    """
    return model.with_slots(retention_configuration=configuration, **kwargs)


def _check_sizes(config, num_classes, max_seq_length, choices):
    if num_classes < 1:
        raise ValueError(f"num_classes={num_classes}; expected at least 1 (1 for a regression).")
    if choices > 1 and num_classes != 1:
        raise ValueError(f"num_classes={num_classes} and choices={choices}; expected 1 logit of each option.")
    if not 1 <= max_seq_length <= config.max_length:
        raise ValueError(
            f"max_seq_length={max_seq_length}; expected 1 to {config.max_length}, the checkpoint's position embeddings."
        )


def _require_one_kind_of_slot(**is_given):
    if sum(is_given.values()) > 1:
        names = " and ".join(name for name, given in is_given.items() if given)
        raise ValueError(f"{names} are given; expected one of them.")


def _checked_slots(slots, num_encoders):
    """Layers of the user's own, deserialised where they come from a configuration."""
    if len(slots) != num_encoders:
        raise ValueError(f"custom_slots: {len(slots)} entries; expected {num_encoders}, a layer or None per encoder.")
    if slots[-1] is not None:
        raise ValueError("custom_slots: the last entry is a layer; expected None: that encoder computes [CLS] only.")
    return [keras.saving.deserialize_keras_object(slot) if isinstance(slot, dict) else slot for slot in slots]


def _slots(num_encoders, configuration, soft_extract, gate_width, *, pin_cls, lambda_, **common):
    """The extract layer of each encoder; None where all rows stay, and in the last encoder.

    Soft-extract also has a layer in the last encoder, which learns a mass there.
    """

    def named(index):
        return {**common, "seed": index, "name": "extract"}

    if soft_extract:
        return [
            SoftExtract(coefficient=lambda_ * (index + 1), pin_cls=pin_cls, **named(index))
            for index in range(num_encoders)
        ]
    slots = [None] * num_encoders
    for index in range(num_encoders - 1):
        if gate_width is not None:
            slots[index] = GatedExtract(width=gate_width, **named(index))
        elif configuration is not None:
            before = (keep_all(configuration, common["max_seq_length"]), *configuration)[index]
            # An encoder that eliminates nothing computes neither scores nor a gather.
            slots[index] = Extract(configuration[index], **named(index)) if configuration[index] < before else None
    return slots


def _width_gates(config, width, gated):
    """The gates of each encoder by their names; encoders with the same weights have the same gates."""
    gates = []
    for index in range(config.num_hidden_layers):
        own = {}
        if width is not None and "neurons" in gated:
            own["neuron_gate"] = WidthGate(config.encoder_neurons[index], width=width, name="neuron_gate")
        if width is not None and "heads" in gated:
            own["head_gate"] = WidthGate(config.encoder_heads[index], axis=1, width=width, name="head_gate")
        gates.append(gates[0] if config.shares_encoders and gates else own)
    return gates


def _encoder_blocks(config, slots, custom_slots, width_gates, shared):
    """The encoders, with the weights of the blocks `shared` or new ones; ALBERT's all use those of the first."""
    encoders = []
    for index, slot in enumerate(slots):
        first = encoders[0] if config.shares_encoders and encoders else None
        block = EncoderBlock(
            config.of_encoder(index),
            slot,
            cls_only=index == config.num_hidden_layers - 1 and (slot is None or slot.pin_cls),
            custom_slot=None if custom_slots is None else custom_slots[index],
            shared=first if shared is None else shared[index],
            **width_gates[index],
            name=f"encoder_{index}",
        )
        # Now, because the others take over the layers of the first.
        block.build((None, None, config.hidden_size), (None, None), (None, None))
        encoders.append(block)
    return encoders


def _new_layers(config, num_classes, max_seq_length):
    rate = config.hidden_dropout_prob if config.classifier_dropout is None else config.classifier_dropout
    return {
        "embeddings": BertEmbeddings(config, max_seq_length, name="embeddings"),
        "pooler": bert_dense(config.hidden_size, config, activation=config.pooler_act, name="pooler"),
        "dropout": keras.layers.Dropout(rate, name="dropout"),
        "classifier": bert_dense(num_classes, config, dtype="float32", name="classifier"),
    }


def _shared_layers(model):
    return {name: model.get_layer(name) for name in ("embeddings", "pooler", "dropout", "classifier")}


def _classifier_graph(config, encoders, choices, embeddings, pooler, dropout, classifier):
    """Inputs and outputs of the classifier's functional graph."""
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in INPUTS}
    input_mask = padding_mask = inputs["padding_mask"]
    word_vectors = embeddings(inputs["token_ids"], inputs["segment_ids"])
    for encoder in encoders:
        word_vectors, padding_mask = encoder(word_vectors, padding_mask, input_mask)
    cls = dropout(word_vectors[:, 0]) if config.dropout_before_pooler else word_vectors[:, 0]
    logits = classifier(dropout(pooler(cls)))
    return {"inputs": inputs, "outputs": keras.ops.reshape(logits, (-1, choices)) if choices > 1 else logits}
