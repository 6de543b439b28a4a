"""Known tables."""

from __future__ import annotations

from shendu.data.known.entry import Known, local
from shendu.reading import Published

ADULT = (
    local("train", "adult.data", 3_974_305, "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d"),
    local("test", "adult.test", 2_003_153, "a2a9044bc167a35b2361efbabec64e89d69ce82d9790d2980119aac5fd7e9c05"),
)
ADULT_COLUMNS = (
    "age,workclass,fnlwgt,education,education-num,marital-status,occupation,relationship,race,sex,"
    "capital-gain,capital-loss,hours-per-week,native-country,income"
)

SETS: tuple[Known, ...] = (
    Known(
        name="adult",
        summary="census records of 1994, 32,561 + 16,281 rows of 14 columns: who earns above $50,000",
        kind="table",
        files=ADULT,
        classes=("<=50K", ">50K"),
        licence="CC BY 4.0 (UCI Machine Learning Repository)",
        home="https://archive.ics.uci.edu/dataset/2/adult",
        table=Published(
            target="income", names=tuple(ADULT_COLUMNS.split(",")), skip=("test",), label_end=".", missing=("?",)
        ),
    ),
    Known(
        name="california-housing",
        summary="districts of California in 1990, 20,640 rows of 9 columns: the median house value in dollars",
        kind="table",
        files=(
            local(
                "train",
                "housing.csv",
                1_423_529,
                "2364609dc48bec7df3ba9dbb7041478e704ecddcee70ef1827ec3fc49d22c0cc",
            ),
        ),
        licence="none stated (US census; Pace and Barry 1997)",
        home="https://github.com/ageron/data/tree/main/housing",
        table=Published(target="median_house_value"),
    ),
    Known(
        name="uci-splice",
        summary="where genes of primates are spliced, 3,190 sequences of 60 bases, 3 classes",
        kind="table",
        files=(
            local(
                "train",
                "splice.arff",
                527_517,
                "7e9b1b59c6731059f40bf16874fcac85af43fa65504b05cc6517b1a4c70fd99a",
            ),
        ),
        classes=("EI", "IE", "N"),
        licence="CC BY 4.0 (UCI Machine Learning Repository)",
        home="https://archive.ics.uci.edu/dataset/69/molecular+biology+splice+junction+gene+sequences",
        table=Published(target="Class"),
    ),
    Known(
        name="uci-promoters",
        summary="promoters of E. coli genes and other pieces of DNA, 106 sequences of 57 bases, 2 classes",
        kind="table",
        files=(
            local(
                "train",
                "promoters.data",
                7_089,
                "9cba9e8661ab04760d69b857f62259233446f2dce5ec9b515efe0b23c315bb29",
            ),
        ),
        classes=("+", "-"),
        licence="CC BY 4.0 (UCI Machine Learning Repository)",
        home="https://archive.ics.uci.edu/dataset/67/molecular+biology+promoter+gene+sequences",
        table=Published(target="class", names=("class", "name", "sequence")),
    ),
)
