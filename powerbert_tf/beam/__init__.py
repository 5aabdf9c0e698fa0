"""Predictions with an exported model on many machines: an Apache Beam pipeline; needs `pip install apache-beam`.

python -m powerbert_tf.beam --saved_model=runs/reviews/saved_model/1 --predict_file='parts/*.csv' --predict_dir=answers
"""
