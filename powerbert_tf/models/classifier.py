"""The classifier: BERT's layers in a functional graph, with what is in the slots of its encoders.

Axes: `B` batch, `T` rows of the input, `C` classes, `K` options of a question.
"""

import dataclasses

import keras

from powerbert_tf.elimination.extract import Extract, GatedExtract, SoftExtract
from powerbert_tf.elimination.retention import keep_all, validate_configuration
from powerbert_tf.models.config import BertConfig
from powerbert_tf.models.encoder import BertEmbeddings, EncoderBlock, bert_dense

INPUTS = ("token_ids", "segment_ids", "padding_mask")


@keras.saving.register_keras_serializable("powerbert_tf")
class BertClassifier(keras.Model):
    """Encoders, pooler and head: `{"token_ids", "segment_ids", "padding_mask"}` int32 `[B, T]` -> logits `[B, C]`.

    T is any length up to `max_seq_length`; padding is on the right. Of multiple choice an example is `choices` inputs
    next to each other, each of which gets one logit: int32 `[B K, T]` -> logits `[B, K]`.

    Args:
        config: Sizes, a `BertConfig`.
        num_classes: C; 1 for a regression.
        max_seq_length: N.
        retention_configuration: What each encoder keeps (extract layers): counts, or fractions of each example's own
            length; see `elimination.retention`. None keeps all. Of the last encoder [CLS] alone is computed, whatever
            its entry says: nothing else is read.
        soft_extract: Whether each encoder has a soft-extract layer instead (the paper's search).
        gate_width: Width of the ramp of gated extraction instead, see `elimination.extract.gates`; None for no gates.
        selection: `"attention"`, `"weighted"`, `"head"` or `"random"`, see `powerbert_tf.elimination.extract`.
        padding_queries_vote: Whether padding votes for significance, as in the original release.
        pin_cls: Whether soft-extract puts [CLS] first; None means that it does unless `padding_queries_vote`, so that
            this one argument gives the original release's semantics.
        mass_penalty: Lambda of the search loss, the coefficient of sum_j j * mass_j.
        choices: K of multiple choice, with `num_classes` 1; else 1.
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
        choices=1,
        shared=None,
        **kwargs,
    ):
        config = BertConfig(**config) if isinstance(config, dict) else config
        if num_classes < 1:
            raise ValueError(f"num_classes={num_classes}; expected at least 1 (1 for a regression).")
        if choices > 1 and num_classes != 1:
            raise ValueError(f"num_classes={num_classes} and choices={choices}; expected 1 logit of each option.")
        if not 1 <= max_seq_length <= config.max_length:
            raise ValueError(
                f"max_seq_length={max_seq_length}; expected 1 to {config.max_length}, "
                "the checkpoint's position embeddings."
            )
        _require_one_kind_of_slot(retention_configuration, soft_extract, gate_width)
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
        encoders = _encoder_blocks(config, slots, None if shared is None else shared.encoders)
        super().__init__(**_classifier_graph(config, encoders, choices, **layers), **kwargs)

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
        self.choices = choices
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
            "choices": self.choices,
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


def _require_one_kind_of_slot(retention_configuration, soft_extract, gate_width):
    given = {
        "retention_configuration": retention_configuration is not None,
        "soft_extract": soft_extract,
        "gate_width": gate_width is not None,
    }
    if sum(given.values()) > 1:
        names = " and ".join(name for name, is_given in given.items() if is_given)
        raise ValueError(f"{names} are given; expected one of them.")


def _slots(num_encoders, configuration, soft_extract, gate_width, *, pin_cls, mass_penalty, **common):
    """The extract layer of each encoder; None where all rows stay, and in the last one, of which [CLS] alone is read.

    Soft-extract is in the last one, too: it learns a mass for it, and [CLS] has a rank. Where that is always 0, no
    other row is computed.
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


def _encoder_blocks(config, slots, shared):
    """The encoders: with the weights of the blocks `shared`, or new ones; where they share one set, the first one's."""
    encoders = []
    for index, slot in enumerate(slots):
        first = encoders[0] if config.shares_encoders and encoders else None
        block = EncoderBlock(
            config,
            slot,
            cls_only=index == config.num_hidden_layers - 1 and (slot is None or slot.pin_cls),
            shared=first if shared is None else shared[index],
            name=f"encoder_{index}",
        )
        # At once: the others take over the first one's layers.
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
