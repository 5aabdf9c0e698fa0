"""Measurements against real alternatives: every published number comes from a command in here.

`inference`, `training`: how fast is a batch, a step, a whole dev set, and what limits it, against other engines?
`accuracy`: what is lost at a measured speed-up, by rows and widths together and alone, and what does it depend on?
`paper`: do the paper's figures and tables hold for our own runs?
`reliability`: do logits agree with `transformers`, does a killed stage resume, is wrong input refused?
`server`: does `powerbert serve` answer right and evenly under load, and keep its memory?
`scale`: do many devices train to the result of one, and what do they cost?
`streams`: do predictions and training on files of any size stay within memory?
`common`: what the commands share: flags, processes that take turns, models of random weights, Markdown.

A command is `python -m benchmarks.<room>` or `python -m benchmarks.<room>.<file>`; `--help` lists its flags. It writes
JSON and Markdown to `results/`, whose README says how to read commands that were recorded there.
"""
