"""The words of the built-in word problems: few enough for a model of a million parameters, varied enough not to be one text.

``{first}`` and ``{second}`` are a number with its noun ("23 apples"), ``{a}`` and ``{b}`` the bare numbers.
Nouns take a plain plural s.
"""

NAMES = (
    "Tom", "Mia", "Ben", "Lily", "Sam", "Anna", "Max", "Emma", "Leo", "Zoe", "Jack", "Nina", "Paul", "Ruth", "Omar", "Ida",
)  # fmt: skip
OBJECTS = (
    "apples", "books", "coins", "cards", "pens", "shells", "stones", "cakes", "eggs", "balls", "stamps", "flowers",
)  # fmt: skip

PROBLEMS = {
    "+": (
        "{name} has {first} and buys {b} more. How many {things} does {name} have now?",
        "{name} has {first}. {other} gives {name} {b} more. How many {things} does {name} have now?",
        "{name} finds {first} in the morning and {b} in the evening. How many {things} does {name} find?",
        "A box holds {first}. {name} puts in {b} more. How many {things} are in the box now?",
        "{name} has {first} and {other} has {second}. How many {things} do they have together?",
        "{name} sells {first} on Monday and {second} on Friday. How many {things} does {name} sell in all?",
        "{name} sees {first} on the table and {second} on the floor. How many {things} does {name} see?",
        "{name} gets {first} from {other} and {second} from a friend. How many {things} does {name} get?",
        "{name} packs {first} in a red bag and {second} in a blue bag. How many {things} are in the bags?",
        "{other} has {first}. {name} has {b} more than {other}. How many {things} does {name} have?",
        "A shop has {first}. Then {b} more come in. How many {things} does the shop have now?",
        "{name} counts {first}, and then {b} more. How many {things} does {name} count in all?",
    ),
    "-": (
        "{name} has {first} and sells {b} of them. How many {things} does {name} have now?",
        "{name} has {first}. {name} gives {b} of them to {other}. How many {things} are left?",
        "{name} finds {first} and loses {b} of them. How many {things} does {name} have now?",
        "A box holds {first}. {name} takes out {b} of them. How many {things} are in the box now?",
        "{name} has {first}. {other} has {b} fewer than {name}. How many {things} does {other} have?",
        "A shop has {first}. {name} buys {b} of them. How many {things} does the shop have now?",
        "{name} puts {first} on the table. {b} of them fall on the floor. How many {things} are still on the table?",
        "{name} needs {first} and has {b} already. How many more {things} does {name} need?",
        "{name} packs {first} in a bag. {b} of them fall out. How many {things} are left in the bag?",
        "{name} has {first} and {other} has {second}. How many more {things} does {name} have than {other}?",
        "{name} had {first} in the morning and used {b} of them. How many {things} are left?",
        "Of {first}, {name} takes {b} away. How many {things} are left?",
    ),
}
FACTS = {
    "+": (
        "{a} + {b} = {c}.",
        "{a} plus {b} is {c}.",
        "If you add {b} to {a}, you get {c}.",
        "The sum of {a} and {b} is {c}.",
        "{b} more than {a} is {c}.",
    ),
    "-": (
        "{a} - {b} = {c}.",
        "{a} minus {b} is {c}.",
        "If you take {b} from {a}, you get {c}.",
        "The difference of {a} and {b} is {c}.",
        "{b} less than {a} is {c}.",
    ),
}
