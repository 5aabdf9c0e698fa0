"""Trains on a data frame, twice as fast as the fine-tuned model, and reads what was saved again."""

import pandas as pd

import powerbert_tf

reviews = pd.read_csv("reviews.csv")  # columns text and label
fast = powerbert_tf.train(reviews, target_speedup=2.0)
print(fast.report)
fast.save("fast_reviews")
print(powerbert_tf.load("fast_reviews").predict(["A film to remember."]))
