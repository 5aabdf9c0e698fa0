"""Multiple choice: an article, a question and K options are K pairs of texts, of which a model scores each.

Axes: `B` questions, `K` options, `R = B K` pairs, those of a question next to each other.
"""

from collections.abc import Sequence

import tensorflow as tf

_BLANK = "_"  # in a question: where the option goes


def input_texts(texts: Sequence[tf.Tensor], choices: int) -> Sequence[tf.Tensor]:
    """The one or two texts of each input of a model: an example's own, or of multiple choice those of `option_pairs`.

    Args:
        texts: Columns of an example, strings `[B]` each.
        choices: K; 1 where an example is one input.
    """
    return option_pairs(texts) if choices > 1 else texts


def option_pairs(texts: Sequence[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    """The pairs of each question: the article, and the question with an option.

    An option takes the place of each `_` of its question; it follows a question that has none.

    Args:
        texts: Articles, questions, and the options in their order, strings `[B]` each.

    Returns:
        Strings `[R]` each.
    """
    articles, questions, *options = texts
    count = len(options)
    rows = tf.reshape(tf.stack(options, axis=1), [-1])  # [R]
    parts = tf.strings.split(tf.repeat(questions, count), _BLANK)  # [R, (parts)]
    numbers = parts.value_rowids()
    is_last = tf.equal(tf.range(tf.size(numbers, tf.int64)) + 1, tf.gather(parts.row_limits(), numbers))
    behind_last = tf.where(parts.row_lengths() > 1, tf.constant(""), tf.strings.join([tf.constant(" "), rows]))
    behind = tf.where(is_last, tf.gather(behind_last, numbers), tf.gather(rows, numbers))
    filled = tf.strings.unsorted_segment_join(
        tf.strings.join([parts.flat_values, behind]), numbers, tf.size(rows, tf.int64)
    )
    return tf.repeat(articles, count), filled
