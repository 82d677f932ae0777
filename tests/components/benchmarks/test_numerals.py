"""Which number an answer gives, among others in it, in English and Portuguese."""

from __future__ import annotations

import doctest
import time

import pytest

from components.benchmarks import _math
from components.benchmarks._numerals import last_number, written
from components.benchmarks._scorers import math_verify


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("The answer is 7, since 3 + 4 = 7 as in step 2", "7"),
        ("The answer is 7, since 3 + 4 = 7 as in step 2.", "7"),
        ("The answer is 7 (see step 2).", "7"),
        ("The answer is 7. I used 2 steps.", "7"),
        ("The answer is 7. This took 3 steps.", "7"),
        ("The answer is 7, as shown in equation 3.", "7"),
        ("The answer is 12. Check: 12 / 4 = 3.", "12"),
        ("The answer is 12 because 3 * 4 = 12.", "12"),
        ("The answer is 12 because 12 - 4 is 8.", "12"),
        ("7 of 8", None),
        ("7 out of 8", None),
        ("3 + 4 = 7", "7"),
        ("3 + 4 = 7 apples in 2 baskets", None),
        ("So 3 x 4 = 12 km", "12"),
        ("7, not 8", "7"),
        ("7, e não 8", "7"),
        ("7 e não 8", "7"),
        ("7 and not 8", "7"),
        ("7 rather than 8", "7"),
        ("7 (not 8)", "7"),
        ("7 em vez de 8", "7"),
        ("7, ao invés de 8", "7"),
        ("not 8 but 7", "7"),
        ("não 8, mas 7", "7"),
        ("about 12 (rounded from 11.6)", "12"),
        ("cerca de 12 (arredondado de 11,6)", "12"),
        ("approximately 3.14", "3.14"),
        ("12.0", "12"),
        ("The answer is 1,234.5 km", "1234.5"),
        ("A resposta é 1.234,5 km", "1234.5"),
        ("R$ 1.234,56", "1234.56"),
        ("$1,234.56", "1234.56"),
        ("50%", "50"),
        ("50 por cento", "50"),
        ("50 percent", "50"),
        ("2 million", "2000000"),
        ("2 milhões", "2000000"),
        ("2.5 million dollars", "2500000"),
        ("Step 1: add 3 and 4. Step 2: the total is 7.", "7"),
        ("step 3: 12", "12"),
        ("Passo 3: 12", "12"),
        ("Step 3: multiply by 2. So the answer is 24.", "24"),
        ("On 5 May 2024 it was 12", "12"),
        ("12 (as of 5 May 2024)", "12"),
        ("The answer is 12 as of 2024.", "12"),
        ("In 2024 there were 12", "12"),
        ("em 2024 eram 12", "12"),
        ("2024-05-05", None),
        ("05/05/2024", None),
        ("May 5, 2024", None),
        ("5 de maio de 2024", None),
        ("10:30", None),
        ("The answer is 7.\n\nLet me know if you need 2 more examples!", "7"),
        ("Answer: 7\n\nExplanation: 10 minus 3.", "7"),
        ("Resposta: 7\n\nExplicação: 10 menos 3.", "7"),
        ("The final answer is: 42", "42"),
        ("#### 42", "42"),
        ("Final answer: 42 (from 6 times 7)", "42"),
        ("x = 7 or x = -7", None),
        ("The answer is 3 or 4.", None),
        ("between 3 and 4", None),
        ("The answer is 5. Wait, no, it is 6.", "6"),
        ("The answer is 5. Actually, 6.", "6"),
        ("A resposta é 5. Aliás, 6.", "6"),
        ("The answer is 5. Wait, no.", None),
        ("3 hours and 20 minutes", None),
        ("3 horas e 20 minutos", None),
        ("5 feet 7 inches", None),
        ("2 dozen", None),
        ("uma dúzia", None),
        ("7 (seven)", "7"),
        ("sete (7)", "7"),
        ("7ª", "7"),
        ("7th", "7"),
        ("1st place", "1"),
        ("There are 7 apples and 3 pears", None),
        ("Temos 7 maçãs", "7"),
        ("Total: 7 apples", "7"),
        ("The total is 7 apples for 3 children.", None),
        ("He needs 7 in total for the 3 children", None),
        ("-7", "-7"),
        ("minus 7", "-7"),
        ("menos 7", "-7"),
        ("The answer is minus 7.", "-7"),
        ("The answer is 7 ± 1", None),
        ("7e3", "7000"),
        ("1 234", None),
        ("The answer is 12 m²", "12"),
        ("12 km/h", "12"),
        ("60 miles per hour", "60"),
        ("The answer is 7 (question 3)", "7"),
        ("Question 3: 7", "7"),
        ("3. 7", "7"),
        ("1. Add 3 and 4.\n2. The answer is 7.", "7"),
        ("The answer is 12, as 3 times 4 equals 12 (see Table 2).", "12"),
        ("A resposta é 12, pois 3 vezes 4 são 12 (ver tabela 2).", "12"),
        ("The answer is 18 dollars every day (9 eggs at $2 each).", "18"),
        ("16 - 3 - 4 = 9 eggs, 9 * 2 = 18 dollars", "18"),
        ("The answer is 7 [1]", "7"),
        ("A resposta é 7. Somei 3 e 4.", "7"),
        ("7. Somei 3 e 4.", None),
        ("10 minus 3", None),
        ("The answer is 10 minus 3.", None),
        ("The answer is 10 minus 3, that is 7.", "7"),
        ("The answer is 10 - 3 = 7.", "7"),
        ("The answer is 3 + 4 = 7 apples.", "7"),
        ("He was born in 1984.", "1984"),
        ("The answer is 1984.", "1984"),
        ("In March 2020", None),
        ("março de 2020", None),
        ("The answer is approximately 3.5 (3.4999).", None),
        ("The answer is 1 1/2 cups", "1.5"),
        ("The answer is -1 1/2", "-1.5"),
        ("The answer is 5 km, 2 of them uphill", None),
        ("The answer is x_1 = 5", "5"),
        ("The answer is 2 x 3 = 6", "6"),
        ("The answer is 12 m^2", "12"),
        ("The answer is between 5 and 6.", None),
        ("The answer is [5, 6].", None),
        ("The answer is 5-6.", None),
        ("The answer is: 1.5", "1.5"),
        ("So the answer is $18.\n#### 18", "18"),
        ("#### 1,200", "1200"),
        ("The answer is below:\n7", "7"),
        ("7 is the answer", "7"),
        ("The answer is seven.", None),
        ("The answer is 7. I hope the answer is clear.", "7"),
        ("A resposta é R$ 1.234,56 por mês.", "1234.56"),
        ("A resposta é 12 km em 3 horas.", "12"),
        ("The answer is 12 km in 3 hours.", "12"),
        ("The answer is 5, no, wait, 6", "6"),
        ("5, no wait, 6", "6"),
        ("5. Wait, no.", None),
        ("The sum of 3 and 4 is 7", "7"),
        ("A soma de 3 e 4 é 7", "7"),
        ("3 cats and 4 dogs make a total of 7", "7"),
        ("3 gatos e 4 cães dão um total de 7", "7"),
        ("Each gets 7 because 21 / 3 = 7", "7"),
        ("Since 21 / 3 = 7, each gets 7", "7"),
        ("He pays $200 out of pocket", "200"),
        ("7 out of the 8", None),
        ("3 + 4 = 7, since 2 are left", None),
        ("So he sells 9 eggs and earns $18.", "18"),
        ("earns $18 every day", "18"),
        ("It costs 20% of 50, which is 10.", "10"),
        ("There are 24 hours in a day", "24"),
        ("The answer is 24 hours.", "24"),
        ("The answer is 2 hours 30 minutes.", None),
        ("A resposta é 2 horas e 30 minutos.", None),
        ("Answer: 12 / 4 = 3", "3"),
        ("Answer = 3", "3"),
        ("The answer is 10, which is more than 7.", "10"),
        ("The answer is not 8, it's 7", "7"),
        ("The answer is not 8", None),
        ("Resposta final: 42.", "42"),
        ("A resposta correta é 42, e não 41.", "42"),
        ("Resposta: 3/4", "0.75"),
        ("The answer is 0.75, or 3/4.", None),
        ("The answer is 2.5e6", "2500000"),
        ("The answer is x = 5.", "5"),
        ("x = 5 and y = 6", None),
        ("The answer is 5 apples", "5"),
        ("5 maçãs e 3 peras", None),
        ("The answer is 3:2", None),
        ("ratio 3:2", None),
        ("**Answer:** 7", "7"),
        ("The answer is **7**, since **3** + **4**", "7"),
        ("The answer is\n\n7", "7"),
        ("The temperature is -3 degrees.", "-3"),
        ("A temperatura é de -3 graus.", "-3"),
        ("The answer is about 12.", "12"),
        ("A resposta é cerca de 12.", "12"),
        ("The answer is 1 more than 6, so 7.", "7"),
        ("7 apples. 3 of them are red.", None),
        ("Total of 7, including 2 spares", None),
    ],
)
def test_the_number_that_an_answer_gives(answer: str, number: str | None) -> None:
    """None where two numbers may be meant: that counts as unread, never as a guess."""
    found = last_number(answer)
    assert (None if found is None else written(found)) == number


@pytest.mark.parametrize("answer", ["7, e não 8", "It is 7, not 8.", "It is $7$, and not $8$.", "7 rather than 8", "7 em vez de 8"])
def test_math_verify_is_not_given_a_number_that_the_answer_denies(answer: str) -> None:
    assert math_verify(["8"], answer) == math_verify(["7"], answer) == (False, None)


def test_the_examples_are_true() -> None:
    assert doctest.testmod(_math).failed == 0


def test_math_verify_reads_what_is_stated_in_a_box() -> None:
    assert math_verify(["7"], "It is $\\boxed{7}$, not 8.")[0]
    assert math_verify(["8"], "Not 7 but 8.") == (True, "8")


@pytest.mark.parametrize(
    "text", ["7 ", "The answer is 7. ", "( ", " (7", "wait, no ", "3, ", "answer is ", "1 of ", "because ", "not 3 ", "5 feet "]
)
def test_a_model_that_repeats_itself_is_read_quickly(text: str) -> None:
    start = time.perf_counter()
    last_number(text * 20_000 + "7")
    assert time.perf_counter() - start < 5
