"""Requests to a shop's help desk, as a user's own data would be: one text, twenty topics, a CSV file."""

import csv
import io

from powerbert_tf.data.sample.choices import Choices

COLUMNS = ("request", "topic")

# Topic -> what is asked; {item}, {day} and {number} are filled in.
TOPICS: dict[str, tuple[str, ...]] = {
    "account closing": ("please close my account", "i want my profile deleted for good", "how do i leave your shop"),
    "account opening": ("how do i sign up", "i would like to register", "can i open an account for my firm"),
    "address change": ("i moved house, where do i enter it", "send the {item} to my new flat", "my street was renamed"),
    "cancellation": ("please cancel order {number}", "i ordered the {item} twice", "stop the order from {day}"),
    "damaged goods": ("the {item} arrived broken", "there is a crack in the {item}", "the box was crushed on arrival"),
    "delivery date": ("when will the {item} be here", "is order {number} on its way", "will it come before {day}"),
    "discount code": ("my voucher is refused at the till", "where is the coupon typed", "the code of {day} is expired"),
    "gift wrapping": ("can you wrap the {item} as a present", "add a greeting card, please", "i want a ribbon on it"),
    "invoice": ("i want the bill of {number}", "the receipt lacks my tax number", "i need a bill for the {item}"),
    "missing part": ("the screws of the {item} are not there", "a piece lacks in the box", "no manual came along"),
    "opening hours": ("are you open on {day}", "until when is the store open", "do you close at noon on {day}"),
    "password": ("i forgot my password", "the reset link does not work", "my login is locked since {day}"),
    "payment method": ("may i pay by bank transfer", "do you take credit cards", "can i pay the {item} in instalments"),
    "price": ("what does the {item} cost", "why did the {item} become dearer", "is it cheaper if i buy {number}"),
    "product advice": ("which {item} suits a small room", "is this {item} good for children", "compare two for me"),
    "refund": ("where is my money for the {item}", "i was charged twice for {number}", "when do you pay me back"),
    "return": ("i want to send the {item} back", "where do i print the return label", "may i bring it back on {day}"),
    "stock": ("is the {item} available again", "when do you get more of them", "do you have {number} pieces in store"),
    "warranty": ("the {item} failed after a year", "how long is its guarantee", "repair the {item} free of charge"),
    "wrong item": ("i got a {item} that i never ordered", "this is the wrong colour", "order {number} is not mine"),
}  # fmt: skip
ITEMS = ("lamp", "kettle", "chair", "desk", "radio", "blender", "tent", "bicycle", "clock", "sofa", "printer", "oven")
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
OPENINGS = ("", "", "hello,", "good morning,", "hi there,", "dear team,", "excuse me,", "urgent:")
ENDINGS = ("", "", "thanks", "many thanks in advance", "please answer soon", "i have written before", "best regards")
ROWS = {"train.csv": 1000, "test.csv": 200}


def write_requests(file_name: str, seen: set[str]) -> str:
    """Contents of a file; no text of `seen` occurs, and its own are added.

    Args:
        file_name: A key of `ROWS`.
        seen: Texts of files written before.
    """
    choices = Choices("requests", file_name)
    topics = choices.several(list(TOPICS) * (ROWS[file_name] // len(TOPICS)), ROWS[file_name])
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(COLUMNS)
    for topic in topics:
        while (text := _request(choices, topic)) in seen:
            pass
        seen.add(text)
        writer.writerow((text, topic))
    return output.getvalue()


def _request(choices: Choices, topic: str) -> str:
    asked = choices.one(TOPICS[topic]).format(
        item=choices.one(ITEMS), day=choices.one(DAYS), number=str(2 + choices.below(9998))
    )
    other = f"it is about the {choices.one(ITEMS)} that i bought on {choices.one(DAYS)}," if choices.chance(0.6) else ""
    return " ".join(part for part in (choices.one(OPENINGS), other, asked, choices.one(ENDINGS)) if part)
