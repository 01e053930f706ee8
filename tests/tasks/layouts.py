"""The data sets of the Hub that our recipes name, as their columns are there, with a few made-up rows: small Parquet files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset, Features, List, Value

TEXT, NUMBER = Value("string"), Value("int64")
ROWS = 60
# Where a recipe takes rows by their number.
_MORE = {"fancyzhx/amazon_polarity": 21_600}
DEFAULT = ("train", "validation", "test")


def classes(*names: str) -> ClassLabel:
    return ClassLabel(names=list(names))


def pair(first: str, second: str, label: Any, **more: Any) -> dict[str, Any]:
    return {first: TEXT, second: TEXT, "label": label, **more}


_TWO = classes("0", "1")
_BIGBENCH = {"inputs": TEXT, "targets": List(TEXT), "multiple_choice_targets": List(TEXT), "multiple_choice_scores": List(NUMBER)}
_TWEETS = {
    "emotion": classes("anger", "joy", "optimism", "sadness"),
    "hate": classes("non-hate", "hate"),
    "irony": classes("non_irony", "irony"),
    "offensive": classes("non-offensive", "offensive"),
    "sentiment": classes("negative", "neutral", "positive"),
    **{f"stance_{of}": classes("none", "against", "favor") for of in ("abortion", "atheism", "climate", "feminist", "hillary")},
}
_COPA = dict.fromkeys(("premise", "choice1", "choice2", "question"), TEXT) | {"label": classes("choice1", "choice2")}
_BLIMP = {"sentence_good": TEXT, "sentence_bad": TEXT, "field": TEXT, "linguistics_term": TEXT}
# By path and configuration: the columns, and the splits.
LAYOUTS: dict[tuple[str, str | None], tuple[dict[str, Any], tuple[str, ...]]] = {
    ("stanfordnlp/sst2", None): ({"idx": NUMBER, "sentence": TEXT, "label": classes("negative", "positive")}, DEFAULT),
    ("nyu-mll/glue", "cola"): ({"sentence": TEXT, "label": classes("unacceptable", "acceptable"), "idx": NUMBER}, DEFAULT),
    ("nyu-mll/glue", "mrpc"): (pair("sentence1", "sentence2", classes("not_equivalent", "equivalent")), DEFAULT),
    ("nyu-mll/glue", "qqp"): (pair("question1", "question2", classes("not_duplicate", "duplicate")), DEFAULT),
    ("nyu-mll/glue", "stsb"): (pair("sentence1", "sentence2", Value("float32")), DEFAULT),
    ("nyu-mll/glue", "rte"): (pair("sentence1", "sentence2", classes("entailment", "not_entailment")), DEFAULT),
    ("nyu-mll/glue", "wnli"): (pair("sentence1", "sentence2", classes("not_entailment", "entailment")), DEFAULT),
    ("nyu-mll/glue", "qnli"): (pair("question", "sentence", classes("entailment", "not_entailment")), DEFAULT),
    ("nyu-mll/multi_nli", None): (
        pair("premise", "hypothesis", classes("entailment", "neutral", "contradiction")),
        ("train", "validation_matched", "validation_mismatched"),
    ),
    ("facebook/anli", None): (
        pair("premise", "hypothesis", classes("entailment", "neutral", "contradiction"), uid=TEXT, reason=TEXT),
        ("train_r1", "dev_r1", "test_r1"),
    ),
    ("google-research-datasets/paws", "labeled_final"): (pair("sentence1", "sentence2", _TWO, id=NUMBER), DEFAULT),
    ("CogComp/trec", "default"): (
        {"text": TEXT, "coarse_label": classes("ABBR", "ENTY", "DESC", "HUM", "LOC", "NUM"), "fine_label": classes("a", "b")},
        ("train", "test"),
    ),
    ("SetFit/subj", None): ({"text": TEXT, "label": NUMBER, "label_text": classes("objective", "subjective")}, ("train", "test")),
    **{("cardiffnlp/tweet_eval", name): ({"text": TEXT, "label": label}, DEFAULT) for name, label in _TWEETS.items()},
    ("tdavidson/hate_speech_offensive", None): (
        {"count": NUMBER, "class": classes("hate speech", "offensive language", "neither"), "tweet": TEXT},
        ("train",),
    ),
    ("google-research-datasets/poem_sentiment", "default"): (
        {"id": NUMBER, "verse_text": TEXT, "label": classes("negative", "positive", "no_impact", "mixed")},
        DEFAULT,
    ),
    ("google-research-datasets/google_wellformed_query", "default"): ({"rating": Value("float32"), "content": TEXT}, DEFAULT),
    ("ucirvine/sms_spam", None): ({"sms": TEXT, "label": classes("ham", "spam")}, ("train",)),
    ("takala/financial_phrasebank", "sentences_allagree"): (
        {"sentence": TEXT, "label": classes("negative", "neutral", "positive")},
        ("train",),
    ),
    ("ade-benchmark-corpus/ade_corpus_v2", "Ade_corpus_v2_classification"): (
        {"text": TEXT, "label": classes("Not-Related", "Related")},
        ("train",),
    ),
    ("ade-benchmark-corpus/ade_corpus_v2", "Ade_corpus_v2_drug_ade_relation"): (
        {"text": TEXT, "drug": TEXT, "effect": TEXT},
        ("train",),
    ),
    ("tasksource/bigbench", "intent_recognition"): (_BIGBENCH, ("train", "validation")),
    ("tasksource/bigbench", "qa_wikidata"): (_BIGBENCH, ("train", "validation")),
    ("CogComp/mc_taco", "default"): (
        {"sentence": TEXT, "question": TEXT, "answer": TEXT, "label": classes("no", "yes")},
        ("validation", "test"),
    ),
    **{
        ("nyu-mll/blimp", name): (_BLIMP, ("train",))
        for name in ("anaphor_gender_agreement", "ellipsis_n_bar_1", "sentential_negation_npi_scope")
    },
    ("jaredfern/codah", "fold_0"): (
        {"id": NUMBER, "question_propmt": TEXT, "candidate_answers": List(TEXT), "correct_answer_idx": NUMBER},
        DEFAULT,
    ),
    ("aps/super_glue", "copa"): (_COPA, DEFAULT),
    ("allenai/social_i_qa", "default"): (
        dict.fromkeys(("context", "question", "answerA", "answerB", "answerC", "label"), TEXT),
        ("train", "validation"),
    ),
    ("allenai/ai2_arc", "ARC-Easy"): (
        {"id": TEXT, "question": TEXT, "choices": {"text": List(TEXT), "label": List(TEXT)}, "answerKey": TEXT},
        DEFAULT,
    ),
    ("stanfordnlp/web_questions", None): ({"url": TEXT, "question": TEXT, "answers": List(TEXT)}, ("train", "test")),
    ("INK-USC/numer_sense", "default"): ({"sentence": TEXT, "target": TEXT}, ("train",)),
    ("rajpurkar/squad", None): (
        {"context": TEXT, "question": TEXT, "answers": {"text": List(TEXT), "answer_start": List(NUMBER)}},
        ("train", "validation"),
    ),
    ("allenai/common_gen", "default"): ({"concepts": List(TEXT), "target": TEXT}, ("train", "validation")),
    ("fancyzhx/ag_news", None): ({"text": TEXT, "label": classes("World", "Sports", "Business", "Sci/Tech")}, ("train", "test")),
    ("RobZamp/sick", "default"): (
        {"sentence_A": TEXT, "sentence_B": TEXT, "label": classes("entailment", "neutral", "contradiction")},
        DEFAULT,
    ),
    ("copenlu/fever_gold_evidence", None): ({"claim": TEXT, "label": TEXT, "id": NUMBER}, DEFAULT),
    ("fancyzhx/dbpedia_14", None): ({"label": classes("Company", "Animal"), "title": TEXT, "content": TEXT}, ("train", "test")),
    ("stanfordnlp/imdb", None): ({"text": TEXT, "label": classes("neg", "pos")}, ("train", "test")),
    ("dair-ai/emotion", None): ({"text": TEXT, "label": classes("sadness", "joy", "love", "anger", "fear", "surprise")}, DEFAULT),
    ("microsoft/wiki_qa", None): (pair("question", "answer", _TWO), DEFAULT),
    ("google/boolq", None): ({"question": TEXT, "answer": Value("bool"), "passage": TEXT}, ("train", "validation")),
    ("EdinburghNLP/xsum", None): ({"document": TEXT, "summary": TEXT, "id": TEXT}, DEFAULT),
    ("Harvard/gigaword", "default"): ({"document": TEXT, "summary": TEXT}, DEFAULT),
    ("cornell-movie-review-data/rotten_tomatoes", None): ({"text": TEXT, "label": classes("neg", "pos")}, DEFAULT),
    ("fancyzhx/yelp_polarity", None): ({"text": TEXT, "label": classes("1", "2")}, ("train", "test")),
    ("fancyzhx/amazon_polarity", None): (
        {"label": classes("negative", "positive"), "title": TEXT, "content": TEXT},
        ("train", "test"),
    ),
}
# Columns whose texts are not free.
_TEXTS = {
    ("allenai/social_i_qa", "label"): ("1", "2", "3"),
    ("allenai/ai2_arc", "answerKey"): ("A", "2", "C"),
    ("copenlu/fever_gold_evidence", "label"): ("SUPPORTS", "REFUTES", "NOT ENOUGH INFO"),
}
_RATINGS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def _value(feature: Any, column: str, row: int, path: str, split: str) -> Any:
    if isinstance(feature, dict):
        return {name: _value(inner, name, row, path, split) for name, inner in feature.items()}
    if isinstance(feature, ClassLabel):
        # In order, as many data sets are: parts that are taken without shuffling lack a class.
        return row * len(feature.names) // _MORE.get(path, ROWS)
    if isinstance(feature, List):
        if column == "targets":
            return [f"intent {row % 7}"]
        return [_value(feature.feature, column, 3 * row + place, path, split) for place in range(3)]
    if feature.dtype == "string":
        texts = _TEXTS.get((path, column))
        return texts[row % len(texts)] if texts else f"{split} {column} {row}"
    if feature.dtype == "float32":
        return _RATINGS[row % len(_RATINGS)]
    return bool(row % 2) if feature.dtype == "bool" else row % 3


def made(path: str, config: str | None, split: str, folder: Path) -> Path:
    """A data set's split as a Parquet file in a folder, with the features that the Hub's have."""
    features, splits = LAYOUTS[(path, config)]
    assert split in splits, f"{path} has no split {split}"
    file = folder / path.replace("/", "--") / (config or "default") / split / "0000.parquet"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        rows = [
            {column: _value(feature, column, row, path, split) for column, feature in features.items()}
            for row in range(_MORE.get(path, ROWS))
        ]
        Dataset.from_list(rows, features=Features(features)).to_parquet(str(file))
    return file
