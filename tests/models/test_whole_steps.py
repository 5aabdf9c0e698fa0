"""Each step, as a TPU wants it: one program of XLA for all of it, each shape known, and nothing asked of the host.

What is compiled here is what stages train and predict with: the model of each, its loss, and the optimizer.
"""

import functools
import json
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_bert import random_inputs, tiny_config

from powerbert_tf.data.tasks import get_task
from powerbert_tf.elimination.reduction import DIMENSIONS
from powerbert_tf.models.classifier import BertClassifier, with_retention
from powerbert_tf.models.compilation import compiled
from powerbert_tf.models.config import BertConfig
from powerbert_tf.search.soft import WIDTH
from powerbert_tf.training.elastic import SandwichModel
from powerbert_tf.training.losses import distillation_loss, task_loss
from powerbert_tf.training.optimizer import BertAdam, WarmupLinearDecay

CONFIG = BertConfig(**tiny_config(num_hidden_layers=2))
N, LENGTH, BATCH = 23, 19, 5
TASK = get_task("SST-2")
KEPT = (0.45, 0.13)
COUNTS = (7, 2)
# What a program would talk to its host by. A custom call may be anything; that of top-k is XLA's own, on a CPU.
OF_THE_HOST = re.compile(r'infeed|outfeed|send\(|recv\(|callback|custom[-_]call_target="(?!TopK")\w*"')
TRAINED = "retrain, fractions"  # run, too, and not only compiled


@functools.cache
def dense():
    """One for all, which share its weights."""
    keras.utils.set_random_seed(3)
    return BertClassifier(CONFIG, 2, N)


def gated(width):
    model = dense().with_slots(gate_width=width, gated=DIMENSIONS)
    for gates in model.gates.values() if width else ():
        for gate in gates:
            gate.price.assign(0.1)
    return model


# Stage -> what it trains, and with which loss.
STEPS = {
    "finetune": lambda: (dense(), task_loss(TASK)),
    "search, paper": lambda: (dense().with_slots(soft_extract=True, lambda_=0.01), task_loss(TASK)),
    "search, soft": lambda: (gated(WIDTH), task_loss(TASK)),
    "elastic": lambda: (
        SandwichModel(dense(), "single_label_classification", KEPT, neurons=(17, 7), heads=(5, 2)),
        task_loss(TASK),
    ),
    "retrain, fractions": lambda: (with_retention(dense(), KEPT, selection="weighted"), distillation_loss("logits")),
    "retrain, counts": lambda: (with_retention(dense(), COUNTS), distillation_loss("kl")),
}
# What predicts, in evaluation, calibration and the searches' own.
MODELS = {
    "dense": dense,
    "fractions": lambda: with_retention(dense(), KEPT),
    "weighted": lambda: with_retention(dense(), KEPT, selection="weighted"),
    "counts": lambda: with_retention(dense(), COUNTS),
    "random": lambda: with_retention(dense(), KEPT, selection="random"),
    "soft": lambda: dense().with_slots(soft_extract=True),
    "gated": lambda: gated(0.0),
}


def inputs():
    return random_inputs(tiny_config(), BATCH, LENGTH)


def labels(step):
    random = np.random.default_rng(0)
    if step.startswith("retrain"):
        return random.standard_normal((BATCH, 2)).astype("float32")
    return random.integers(2, size=BATCH).astype("int32")


def prepared(step):
    """What `training.train` would compile and fit."""
    model, loss = STEPS[step]()
    optimizer = BertAdam(WarmupLinearDecay(1e-3, 100), retention_rate_ratio=3.0, weight_decay=0.1, global_clipnorm=1.0)
    model.compile(optimizer, loss, jit_compile=True)
    if not model.built:
        model.build(None)
    optimizer.build(model.trainable_variables)
    return model


def assert_whole(program):
    """It is one whole, of static shapes: XLA writes a bound, `<=`, or a question mark where one is open."""
    assert not OF_THE_HOST.search(program)
    shapes = re.findall(r"\b(?:f|s|u|bf|pred)\d*\[([^\]]*)\]", program)
    assert len(shapes) > 100
    assert not [shape for shape in shapes if not re.fullmatch(r"[\d,]*", shape)]


@pytest.mark.parametrize("step", STEPS)
def test_a_training_step_is_one_program(step):
    model = prepared(step)
    x, y = {name: tf.constant(values) for name, values in inputs().items()}, tf.constant(labels(step))
    whole = tf.function(lambda x, y: model.train_step((x, y))["loss"], jit_compile=True, autograph=False)
    assert_whole(whole.experimental_get_compiler_ir(x, y)(stage="hlo"))
    if step == TRAINED:
        losses = [float(whole(x, y)) for _ in range(5)]
        assert losses[-1] < losses[0]
        assert whole.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("name", MODELS)
def test_a_prediction_is_one_program(name):
    model = MODELS[name]()
    function = compiled(model, jit_compile=True).function
    given = {key: tf.constant(values) for key, values in inputs().items()}
    assert_whole(function.experimental_get_compiler_ir(given)(stage="hlo"))


def test_a_program_that_asks_the_host_is_found_out():
    """The net has no hole: neither of these is one program."""
    scale = tf.function(lambda x: tf.boolean_mask(x, x > 0), jit_compile=True)
    program = scale.experimental_get_compiler_ir(tf.ones([5]))(stage="hlo")
    with pytest.raises(AssertionError):
        assert_whole(program)
    asking = tf.function(lambda x: tf.numpy_function(np.sin, [x], tf.float32), jit_compile=True)
    with pytest.raises((tf.errors.InvalidArgumentError, ValueError)):
        asking.experimental_get_compiler_ir(tf.ones([5]))(stage="hlo")


ON_JAX = """
import json, sys
sys.path[:0] = ["tests", "tests/models"]
import jax, keras, numpy as np
assert keras.backend.backend() == "jax"
import test_whole_steps as steps

found = {}
given = steps.inputs()
for step in steps.STEPS:
    model = steps.prepared(step)
    state = [
        [variable.value for variable in variables] for variables in (
            model.trainable_variables, model.non_trainable_variables, model.optimizer.variables, model.metrics_variables
        )
    ]
    found[step] = jax.jit(model.train_step).lower(state, (given, steps.labels(step), None)).as_text(dialect="hlo")
    if step == steps.TRAINED:
        losses = [float(model.train_on_batch(given, steps.labels(step))) for _ in range(5)]
        assert losses[-1] < losses[0], losses
for name, make in steps.MODELS.items():
    model = make()
    def infer(trainable, others, x):
        return model.stateless_call(trainable, others, x, training=False)[0]
    weights = (model.trainable_variables, model.non_trainable_variables)
    split = [[variable.value for variable in variables] for variables in weights]
    found["predict, " + name] = jax.jit(infer).lower(*split, given).as_text(dialect="hlo")
json.dump(found, open(sys.argv[1], "w"))
"""


@pytest.mark.slow
def test_on_jax_each_is_one_program(run_python, tmp_path):
    pytest.importorskip("jax")
    path = tmp_path / "programs.json"
    # What runs on the way, runs once.
    run_python(ON_JAX, path, KERAS_BACKEND="jax", XLA_FLAGS="--xla_backend_optimization_level=0")
    programs = json.loads(path.read_text())
    assert len(programs) == len(STEPS) + len(MODELS)
    for program in programs.values():
        assert_whole(program)
