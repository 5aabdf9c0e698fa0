"""Everyday scenes: graded similarity (STS-B) and inference across genres (MNLI)."""

import dataclasses

from powerbert_tf.data.sample.choices import Choices
from powerbert_tf.data.sample.text import Texts, detokenized, sentence, with_article

# Who, the same in other words, the more general word.
WHO = (
    ("woman", "lady", "person"), ("man", "gentleman", "person"), ("boy", "lad", "child"),
    ("girl", "lass", "child"), ("chef", "cook", "worker"), ("doctor", "physician", "worker"),
    ("farmer", "grower", "worker"), ("dog", "hound", "animal"), ("monkey", "ape", "animal"),
)  # fmt: skip
# What they do, in other words, something close, the contrary.
DEEDS = (
    ("carrying a basket", "holding a basket", "carrying a chair", "putting down a basket"),
    ("opening a wooden door", "pulling open a wooden door", "opening a window", "closing a wooden door"),
    ("climbing a ladder", "going up a ladder", "climbing a tree", "coming down a ladder"),
    ("eating an apple", "munching an apple", "eating some bread", "throwing away an apple"),
    ("pushing a cart", "shoving a cart", "pushing a bicycle", "pulling a cart"),
    ("hiding a red ball", "concealing a red ball", "hiding a shoe", "showing a red ball"),
    ("running quickly", "sprinting", "jumping around", "standing still"),
    ("looking at a mirror", "gazing at a mirror", "looking at a map", "turning away from a mirror"),
    ("filling a bucket", "topping up a bucket", "filling a bottle", "emptying a bucket"),
    ("getting on a horse", "mounting a horse", "getting on a bicycle", "getting off a horse"),
)  # fmt: skip
# Where, in other words, the more general word.
WHERE = (
    ("in the garden", "in the yard", "outdoors"), ("on the beach", "by the sea", "outdoors"),
    ("in the kitchen", "inside the kitchen", "indoors"), ("at the market", "in the marketplace", "in public"),
    ("near the station", "close to the station", "in town"), ("in the barn", "inside the barn", "indoors"),
    ("beside the river", "next to the river", "outdoors"), ("in the school hall", "inside the school hall", "indoors"),
)  # fmt: skip
LOOKS = ("tall", "young", "old", "tired", "small", "quiet", "happy", "hungry")
PURPOSES = (
    "because a friend asked for help", "for the third time today", "before going home for dinner",
    "to win a bet with a neighbor", "as a surprise for a guest", "to earn some money",
)  # fmt: skip
FRAMES = {
    "fiction": ("By the time the bells rang , {} , and nobody in the house spoke .",
                "Through the fog I saw it all : {} .",
                "She turned the page and wrote that {} ."),
    "government": ("According to section four of the report , {} , as noted by the committee .",
                   "The survey of last year records that {} .", "The agency found that {} during the inspection ."),
    "telephone": ("uh yeah well i mean {} , you know .", "oh really , so {} , that is what my sister told me .",
                  "um i think {} , at least that is how it looks from here ."),
    "letters": ("Dear friend , please note that {} , as our gift to you shows .",
                "Thanks to your generous support , {} , as you can see from the photograph ."),
    "verbatim": ("As the dictionary of 1911 puts it , {} , an example that few readers forget .",
                 "The phrase book gives the sentence that {} ."),
}  # fmt: skip
MATCHED, MISMATCHED = ("fiction", "government", "telephone"), ("letters", "verbatim")


@dataclasses.dataclass(frozen=True)
class _Scene:
    who: tuple[str, ...]
    look: str
    deed: tuple[str, ...]
    where: tuple[str, ...]

    def tell(self, who: int = 0, look: bool = True, deed: int = 0, where: int | None = 0) -> str:
        """Returns a clause with the wording of each part given by its place in the word lists."""
        noun = f"{self.look} {self.who[who]}" if look else self.who[who]
        return f"{with_article(noun)} is {self.deed[deed]}" + ("" if where is None else f" {self.where[where]}")


def _scene(choices: Choices) -> _Scene:
    return _Scene(choices.one(WHO), choices.one(LOOKS), choices.one(DEEDS), choices.one(WHERE))


def _other_scene(choices: Choices, scene: _Scene) -> _Scene:
    """Returns a scene none of whose parts is in `scene`."""
    return _Scene(
        choices.one([who for who in WHO if who[2] != scene.who[2]]),
        choices.one([look for look in LOOKS if look != scene.look]),
        choices.one([deed for deed in DEEDS if deed != scene.deed]),
        choices.one([where for where in WHERE if where[2] != scene.where[2]]),
    )


def scored_pair(choices: Choices, level: str) -> tuple[Texts, float]:
    """Returns two captions and their similarity, near the level `0` .. `5` (STS-B)."""
    scene = _scene(choices)
    other = _other_scene(choices, scene)
    if level == "5":
        second, score = scene.tell(who=1, deed=choices.below(2), where=choices.below(2)), 5.0
    elif level == "4":
        second, score = scene.tell(look=False, deed=1, where=choices.one((0, 1, None))), 4.0
    elif level == "3":
        second = choices.one(
            (dataclasses.replace(scene, where=other.where).tell(deed=1), scene.tell(deed=2, look=False))
        )
        score = 3.0
    elif level == "2":
        changed = dataclasses.replace(scene, who=other.who, where=other.where, look=other.look)
        second, score = choices.one((changed.tell(), scene.tell(deed=3, look=False))), 2.0
    elif level == "1":
        second, score = dataclasses.replace(other, where=scene.where).tell(), 1.0
    else:
        second, score = other.tell(look=choices.chance(0.5), where=choices.one((0, None))), 0.0
    # Real scores are means of a few raters.
    score += choices.one((-0.4, -0.25, 0.0, 0.0, 0.2, 0.25))
    texts = (detokenized(f"{scene.tell()} ."), detokenized(f"{second} ."))
    return texts, min(max(score, 0.0), 5.0)


def genre_pair(choices: Choices, label: str, genre: str) -> Texts:
    """Returns a premise of the genre and a hypothesis (MNLI)."""
    scene = _scene(choices)
    other = _other_scene(choices, scene)
    premise = choices.one(FRAMES[genre]).format(scene.tell())
    if label == "entailment":
        hypothesis = choices.one(
            (
                scene.tell(who=2, look=False),
                scene.tell(deed=1, where=2),
                scene.tell(who=1, where=None),
                scene.tell(who=2, deed=1),
            )
        )
    elif label == "contradiction":
        hypothesis = choices.one(
            (
                scene.tell(deed=3),
                scene.tell(look=False).replace(" is ", " is not ", 1),
                "nobody is " + scene.deed[0] + " " + scene.where[choices.below(3)],
                dataclasses.replace(scene, where=other.where).tell(where=2),
            )
        )
    else:
        hypothesis = choices.one((scene.tell(look=False), scene.tell(where=None), scene.tell(deed=1, where=None)))
        hypothesis = f"{hypothesis} {choices.one(PURPOSES)}"
    premise = premise if genre == "telephone" else detokenized(premise)
    return premise, f"{sentence(hypothesis)}."
