"""The form of New run as one value: what it would submit unchanged is the request it was made of."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pages._run_form import IN_ADDRESS, NO_MODEL, PrivatePart, RunForm, choices_of, keys_of, lines_of, options_of, pairs_of, words_of
from services.domain import RunRequest
from services.errors import SettingsError
from services.file_names import _REFUSED_BY_AZURE
from services.scoring.presets import RunPreset
from services.scoring.scorers import PROBABILITIES, SCORERS, ScorerOptions, scorer_at
from services.settings import LOGGING_LEVELS, OUTPUT_ACTIONS, RESERVED_ARGUMENTS, TABLE, ParallelRunSettings
from services.storage.serialization import from_json, to_json

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
filled = texts.filter(str.strip)
file_names = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters=_REFUSED_BY_AZURE), min_size=1, max_size=40).filter(
    lambda name: name.strip() and name not in (".", "..")
)
variables = st.dictionaries(
    texts.filter(lambda name: name and "=" not in name and "\0" not in name), texts.filter(lambda text: "\0" not in text), max_size=4
)
references = st.builds("{}:{}".format, st.sampled_from(["m", "churn model", "ä=b", "=cmd"]), st.integers(1, 99))


def settings_of(size, keys):
    return st.builds(
        ParallelRunSettings,
        node_count=st.integers(1, 1000),
        process_count_per_node=st.none() | st.integers(1, 1000),
        mini_batch_size=size,
        error_threshold=st.integers(-1, 10**17),
        allowed_failed_count=st.none() | st.integers(-1, 10**17),
        allowed_failed_percent=st.none() | st.floats(0, 100),
        output_action=st.sampled_from(OUTPUT_ACTIONS),
        append_row_file_name=file_names,
        run_invocation_timeout=st.integers(1, 10**17),
        run_max_try=st.integers(1, 100),
        logging_level=st.sampled_from(LOGGING_LEVELS),
        partition_keys=keys,
        environment_variables=st.none() | variables.filter(bool),
    )


settings = st.one_of(
    settings_of(st.none() | st.builds("{}{}".format, st.integers(1, 999), st.sampled_from(["", "kb", "MB", "gb"])), st.none()),
    settings_of(st.none(), st.lists(texts.filter(bool), min_size=1, max_size=3).map(tuple)),
)
options = st.builds(
    ScorerOptions,
    inputs=st.dictionaries(filled, texts, max_size=3)
    | st.lists(filled, max_size=4).map(lambda columns: {str(n): c for n, c in enumerate(columns, 1)}),
    keep=st.lists(texts, max_size=3).map(tuple),
    probabilities=st.none() | st.sampled_from(PROBABILITIES).filter(lambda value: value != "all"),
    top=st.none() | st.integers(1, 99),
    values=st.dictionaries(st.sampled_from(["size", "mean", "labels", "header", "by-order"]), texts, max_size=3),
)


def is_allowed(arguments):
    reserved = any(argument.startswith("--") and argument[2:].split("=")[0] in RESERVED_ARGUMENTS for argument in arguments)
    return not reserved and (not arguments or arguments[0].startswith("-"))


typed = st.lists(texts | st.sampled_from(["--a", "--keep", "id", "--append_row_dataframe_header", "True", "'", '"', "\\"]), max_size=5)
scripts = st.one_of(
    st.tuples(st.just("/home/me/my script.py"), st.builds(lambda words: ("--mine", *words), typed)),
    st.builds(
        lambda scorer, chosen, rest, whole: (
            str(scorer.path), (*chosen.arguments(scorer), *rest) if whole else (*chosen.arguments(scorer)[:-2], *rest)
        ),
        st.sampled_from([*SCORERS.values()]), options, typed, st.booleans(),
    ),
)  # fmt: skip
requests = st.builds(
    lambda script, **rest: RunRequest(entry_script=script[0], arguments=script[1], **rest),
    scripts.filter(lambda script: is_allowed(script[1])),
    models=st.lists(references, max_size=3).map(tuple),
    datasets=st.lists(references, min_size=1, max_size=3).map(tuple),
    settings=settings,
    source_directory=st.none() | filled.map(lambda text: "/" + text.strip()),
    side_inputs=st.dictionaries(st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,9}", fullmatch=True), references, max_size=3),
    environment=st.none() | references,
    compute_target=st.none() | st.sampled_from(["cpu-cluster", "GPU"]),
    allow_reuse=st.booleans(),
    rerun_of=st.none() | st.just("run-1"),
    name=texts,
    submission_id=texts,
)


def submitted(form, request):
    """What the form submits where a built-in scorer gets what was chosen, and nothing else was found to be matched."""
    scorer = scorer_at(request.entry_script)
    told = options_of(form.private.choices, scorer.name).arguments(scorer) if scorer and not form.private.as_written else ()
    return form.to_request(request.entry_script, told)


@given(requests)
def test_an_unchanged_form_submits_the_request_it_was_made_of(request):
    form = RunForm.from_request(request, "script")
    assert submitted(form, request) == replace(request, rerun_of=None, submission_id="")


@given(requests)
def test_the_same_through_the_address_and_the_draft(request):
    form = RunForm.from_request(request, "script")
    address = form.to_address()
    assert set(address) <= {"model", "dataset", "script", "environment", "compute_target", "allow_reuse", *IN_ADDRESS}
    again = RunForm(
        address["model"], address["dataset"], address["script"], {name: address[name] for name in IN_ADDRESS if name in address},
        address.get("environment", ""), address.get("compute_target", ""), address.get("allow_reuse") != "false",
        from_json(to_json(form.private), PrivatePart),
    )  # fmt: skip
    assert submitted(again, request) == replace(request, rerun_of=None, submission_id="")


@given(requests)
def test_an_address_is_short_and_has_nothing_private(request):
    secret = "s3cr3t"
    private = replace(
        request, name=secret, arguments=(f"--{secret}",), entry_script="/x.py", source_directory=f"/{secret}", side_inputs={secret: "d"},
        settings=replace(request.settings, environment_variables={"KEY": secret}),
    )  # fmt: skip
    address = RunForm.from_request(private, "x.py").to_address()
    assert secret not in json.dumps(address)
    assert len(json.dumps(address)) < 2_000


@given(requests)
def test_a_preset_keeps_the_settings_of_a_form(request):
    form = RunForm.from_request(request, "script")
    preset = form.to_preset()
    assert from_json(to_json(preset), RunPreset) == preset
    assert RunForm().with_preset(preset).to_preset() == preset
    assert form.with_preset(preset) == form


def test_the_defaults_make_an_empty_address():
    assert RunForm().with_preset(RunPreset()) == RunForm()
    assert RunForm().to_address() == {}


def test_what_differs_from_the_default_is_in_the_address():
    request = RunRequest((), ("d:1",), "/x.py", ParallelRunSettings(node_count=2, mini_batch_size="5"), allow_reuse=False)
    assert RunForm.from_request(request, "x.py").to_address() == {
        "model": NO_MODEL, "dataset": "d:1", "script": "x.py", "node_count": "2", "mini_batch_size": "5", "allow_reuse": "false",
    }  # fmt: skip


@given(variables)
def test_pairs_are_read_back_from_their_lines(pairs):
    assert pairs_of("environment_variables", lines_of(pairs)) == pairs


def test_pairs_are_written_plainly_where_that_says_it():
    assert lines_of({"A": "x=y", "B": ""}) == "A=x=y\nB="
    assert lines_of({"KEY": "one\ntwo", "C": "blank "}) == '"KEY=one\\ntwo"\n"C=blank "'


@pytest.mark.parametrize("text", ["nonsense", "A=1\nnonsense", '"A=1', '"A"', '"A=1" B'])
def test_lines_that_are_no_pairs_are_refused_at_their_field(text):
    with pytest.raises(SettingsError) as raised:
        pairs_of("environment_variables", text)
    assert raised.value.field == "environment_variables"
    assert "Line " in raised.value.message


@pytest.mark.parametrize("text", ["[", "[1]", '[""]', '["a"'])
def test_keys_that_are_no_list_are_refused(text):
    with pytest.raises(SettingsError):
        keys_of(text)
    assert keys_of("a, b c") == ("a", "b", "c")
    assert keys_of('["a b", "c,d"]') == ("a b", "c,d")


def test_an_open_quote_is_refused():
    with pytest.raises(SettingsError, match="No closing quotation"):
        words_of("--a 'b")


def test_a_form_without_a_choice_says_which_is_missing():
    with pytest.raises(SettingsError) as raised:
        RunForm(dataset="d:1").to_request("/x.py")
    assert raised.value.field == "model"
    with pytest.raises(SettingsError) as raised:
        RunForm(model=NO_MODEL).to_request("/x.py")
    assert raised.value.field == "dataset"


def test_columns_in_order_are_one_choice():
    chosen = ScorerOptions("score_tables", {"1": "b", "2": "a"}, ("id",), None, 3, {"size": "1"})
    assert choices_of(chosen) == {"ordered": ["b", "a"], "keep": ["id"], "top": "3", "value-size": "1"}
    assert options_of(choices_of(chosen), "score_tables") == chosen


def test_every_setting_has_a_place():
    assert set(IN_ADDRESS) | {"environment_variables", "partition_keys"} == set(TABLE)
