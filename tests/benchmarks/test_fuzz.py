"""A few wrong inputs of each kind, here; thousands are what `python -m benchmarks.reliability.fuzz` is for."""

import json
import os

import numpy as np
import pytest

from benchmarks.reliability.fuzz import __main__ as fuzz
from benchmarks.reliability.fuzz.index_checksums import blocks_of, masked_crc32c, with_checksums
from benchmarks.reliability.fuzz.kinds import KINDS, Kind, WrongError, check, make_kinds, show
from benchmarks.reliability.fuzz.mutations import mutate_arguments, mutate_json
from benchmarks.reliability.fuzz.process import make_input
from benchmarks.reliability.fuzz.sound_files import write_google
from powerbert_tf.common.errors import InputError

SEED = 1


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    """All kinds, with their files in what is the working directory meanwhile."""
    folder, before = tmp_path_factory.mktemp("fuzz"), os.getcwd()
    os.chdir(folder)
    yield make_kinds(folder)
    os.chdir(before)


@pytest.mark.parametrize("inputs", [5, pytest.param(40, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", KINDS)
def test_sound_inputs_are_taken_and_wrong_ones_refused_or_right(name, inputs, kinds):
    kind = kinds[name]
    for data in kind.sound:
        assert check(kind, data)
    refused = 0
    for number in range(inputs):
        data = make_input(kind, SEED, number)
        try:
            refused += not check(kind, data)
        except Exception as error:
            raise AssertionError(f"{name}, seed {SEED}, number {number}: {show(data)}") from error
    assert inputs < 10 or refused >= inputs // 5  # they are wrong indeed


def test_inputs_are_the_same_each_time(kinds):
    for name in ("task.json", "vocab.txt", "command line"):
        assert make_input(kinds[name], 3, 5) == make_input(kinds[name], 3, 5) != make_input(kinds[name], 3, 7)


def read_badly(data):
    raise {b"refused": InputError("x: wrong; expected y."), b"raised": KeyError("x"), b"silent": InputError("")}[data]


def test_what_counts_as_a_failure():
    kind = Kind((), lambda draw: b"", read_badly)
    assert check(kind, b"refused") is False
    with pytest.raises(KeyError):
        check(kind, b"raised")
    with pytest.raises(WrongError, match="the message has 0 characters"):
        check(kind, b"silent")


def test_the_checksum_is_the_published_one():
    # RFC 3720, B.4: 32 bytes of zeros; the mask as LevelDB's documentation has it.
    crc = 0x8A9136AA
    assert masked_crc32c(bytes(32)) == (((crc >> 15) | (crc << 17) & 0xFFFFFFFF) + 0xA282EAD8) & 0xFFFFFFFF


def test_an_index_with_its_own_checksums_is_as_it_was(tmp_path):
    write_google(tmp_path)
    index = (tmp_path / "bert_model.ckpt.index").read_bytes()
    blocks = blocks_of(index)
    assert len(blocks) >= 3
    assert with_checksums(index, blocks) == index
    changed = bytearray(index)
    changed[blocks[-1][0]] ^= 1
    assert with_checksums(bytes(changed), blocks) != bytes(changed)


def test_changed_json_is_mostly_json():
    import random

    draw = random.Random(0)
    parsed = 0
    for _ in range(200):
        try:
            json.loads(mutate_json({"a": [1, 2, {"b": "c"}], "d": None}, draw, ("a", "e")))
            parsed += 1
        except (ValueError, RecursionError):
            pass
    assert 100 < parsed < 200
    assert np.mean([mutate_arguments(["--a=1"], draw, ["--b"]) != ["--a=1"] for _ in range(100)]) > 0.8


# The worker with a made-up kind in the place of all others, which would import TensorFlow.
WORKER = """
import json, os, sys, types
import benchmarks.reliability.fuzz.process as process
def check(kind, data):
    while data == b"busy":
        pass
    if data == b"large":
        bytearray(2**40)
    if data == b"dies":
        os.abort()
    return True
process.kinds.check = check
process.kinds.make_kinds = lambda folder, names: {names[0]: types.SimpleNamespace(sound=())}
process.make_input = lambda kind, seed, number: (b"right", b"busy", b"large", b"dies", b"right")[number]
process.main(process.Job(**json.loads(sys.argv[1])), int(sys.argv[2]))
"""


@pytest.mark.slow
def test_a_process_that_ends_or_takes_too_much_is_counted_and_the_others_go_on(tmp_path, monkeypatch):
    started = fuzz.subprocess.Popen

    def start(command, **options):
        return started([command[0], "-c", WORKER, *command[3:]], **options)

    monkeypatch.setattr(fuzz.subprocess, "Popen", start)
    tally = fuzz.Tally("vocab.txt")
    fuzz.fuzz(fuzz.Job("vocab.txt", 0, 0, 5, 1.0, 1024, str(tmp_path / "failures")), tally, tmp_path / "log")
    assert (tally.inputs, tally.taken) == (5, 2)
    assert [(one["number"], one["error"].split(":")[0]) for one in tally.failures] == [
        (1, "more than 1 s of the processor"),
        (2, "MemoryError"),
        (3, "the process ended (SIGABRT)"),
    ]
    assert [path.read_bytes() for path in (tmp_path / "failures").iterdir()] == [b"large"]
