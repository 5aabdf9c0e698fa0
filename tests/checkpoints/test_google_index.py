"""The index of a TF1 checkpoint: what makes no sense is refused before TensorFlow, which ends the process, reads it."""

import numpy as np
import pytest
import tensorflow as tf

from benchmarks.reliability.fuzz.index_checksums import blocks_of, with_checksums
from powerbert_tf.checkpoints.google_index import STRING, Entry, read_index

ARRAYS = {
    "a/kernel": np.arange(35, dtype="float32").reshape(5, 7),
    "a/steps": np.array(3, "int64"),
    "a/text": np.array([b"x", b"yz"]),
    "b": np.zeros([0, 11], "float16"),
}
SHAPE = b"\x12\x02\x08\x05\x12\x02\x08\x07"  # of the first one, as a proto: dimensions of 5 and of 7


@pytest.fixture
def files(tmp_path):
    prefix = tmp_path / "model.ckpt"
    tensors = [tf.constant(array) for array in ARRAYS.values()]
    tf.raw_ops.SaveV2(prefix=str(prefix), tensor_names=list(ARRAYS), shape_and_slices=[""] * 4, tensors=tensors)
    return tmp_path / "model.ckpt.index", [tmp_path / "model.ckpt.data-00000-of-00001"]


def test_it_says_what_tensorflow_says(files):
    found = read_index(*files)
    reader = tf.train.load_checkpoint(str(files[0]).removesuffix(".index"))
    shapes, types = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    assert found == {name: Entry(types[name].as_datatype_enum, tuple(shapes[name])) for name in ARRAYS}
    assert found["a/text"].dtype == STRING


def test_a_table_of_many_blocks(tmp_path):
    names = [f"encoder/layer_{number}/with/a/long/name/kernel" for number in range(6007)]
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "m"),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.zeros([3])] * len(names),
    )
    index = tmp_path / "m.index"
    assert len(blocks_of(index.read_bytes())) > 3  # two that say where things are, and several of 256 KiB
    found = read_index(index, [tmp_path / "m.data-00000-of-00001"])
    assert found == dict.fromkeys(names, Entry(1, (3,)))


def change(files, before, after):
    """Puts bytes in the place of as many, with right checksums."""
    index = files[0].read_bytes()
    assert index.count(before) == 1
    assert len(before) == len(after)
    files[0].write_bytes(with_checksums(index.replace(before, after), blocks_of(index)))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (SHAPE, b"\x12\x02\x08\x05\x12\x02\x08\x7f", r"a/kernel has the shape \(5, 127\) and 140"),
        (SHAPE, b"\x12\x02\x08\x05\x12\x02\x18\x01", r"an entry that cannot|a/kernel has the shape"),
        (SHAPE, b"\xff\xff\xff\xff\xff\xff\xff\xff", r"an entry that cannot be read"),
        (b"\x28\x8c\x01", b"\x28\xff\x7f", r"a/kernel ends behind the end of the data"),
        (b"\x08\x01\x12\x08", b"\x08\x63\x12\x08", r"a/kernel has the type 99"),
        (b"a/kernel", b"z/kernel", r"names that are not in order"),
        (b"a/kernel", b"\xff/kernel", r"names that are not in order|codec can't decode"),
    ],
)  # fmt: skip
def test_an_entry_that_makes_no_sense(files, before, after, message):
    change(files, before, after)
    with pytest.raises(ValueError, match=message):
        read_index(*files)


def test_what_is_no_table(files):
    index = files[0].read_bytes()
    for content, message in (
        (b"", "no end of a table"),
        (index[:-1], "no end of a table"),
        (bytes(len(index) - 48) + index[-48:], "a block"),
        (index[:-48] + b"\xff" * 40 + index[-8:], "a number without an end"),
        (index[-60:], "a block behind the end"),
    ):
        files[0].write_bytes(content)
        with pytest.raises(ValueError, match=message):
            read_index(*files)


def test_data_that_is_not_all_there(files):
    files[1][0].write_bytes(files[1][0].read_bytes()[:100])
    with pytest.raises(ValueError, match="a/kernel ends behind the end of the data"):
        read_index(*files)
    with pytest.raises(ValueError, match="a header of 1 files of data"):
        read_index(files[0], files[1] * 2)


def test_where_a_search_begins_has_to_be_an_entry(files):
    index = bytearray(files[0].read_bytes())
    first, last = blocks_of(bytes(index))[-1]
    index[last - 8 : last - 4] = (last - first - 9).to_bytes(4, "little")
    files[0].write_bytes(with_checksums(bytes(index), blocks_of(bytes(index))))
    with pytest.raises(ValueError, match="a block with wrong beginnings"):
        read_index(*files)
