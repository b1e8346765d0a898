"""Options for all models: left out where they are refused, and told."""

import pytest

from backends.general_options import settle
from messages.errors import ErrorCode, HostError
from messages.options import LoadOptions

REFUSALS = {
    "gpu_layers": (ErrorCode.UNSUPPORTED_OPTION, "gpu_layers is 8, but llama.cpp has no GPU. Leave it out.", ""),
    "dtype": (ErrorCode.UNSUPPORTED_OPTION, "There is one kind of weights; leave dtype out.", ": must be auto"),
    "context_length": (ErrorCode.INVALID_REQUEST, "The model was trained on 100 tokens.", ": must be <= 100"),
}


def refuse(options: LoadOptions) -> LoadOptions:
    """Load with options, as a backend that does not have any of `REFUSALS` and says so of one after the other."""
    if options.context_length is not None and options.context_length <= 100:
        options = options.without({"context_length"})
    for name, (code, message, wish) in REFUSALS.items():
        if getattr(options, name) is not None:
            details = {"trained_context": 100} if name == "context_length" else {}
            raise HostError(code, message, fields=[f"options.{name}{wish}"], **details)
    return options


def test_what_is_refused_is_left_out_one_after_the_other_and_told_with_the_reason() -> None:
    settled = settle(refuse, LoadOptions(gpu_layers=8, dtype="q4", threads=2), {"gpu_layers", "dtype", "threads"})
    assert settled.options == LoadOptions(threads=2)
    assert settled.notes == (
        "Not in force here: load.gpu_layers of the configuration (gpu_layers is 8, but llama.cpp has no GPU).",
        "Not in force here: load.dtype of the configuration (There is one kind of weights).",
    )


def test_a_context_beyond_the_trained_one_becomes_the_trained_one() -> None:
    settled = settle(refuse, LoadOptions(context_length=16_384), {"context_length"})
    assert settled.options == LoadOptions(context_length=100)
    assert settled.notes == ("The context is 100 tokens, as the model was trained; load.context_length is 16384.",)


@pytest.mark.parametrize("name", REFUSALS)
def test_an_option_that_is_not_for_all_models_is_refused(name: str) -> None:
    options = LoadOptions(gpu_layers=8, dtype="q4", context_length=16_384)
    with pytest.raises(HostError) as refused:
        settle(refuse, options, set(REFUSALS) - {name})
    assert refused.value.details["fields"] == [f"options.{name}{REFUSALS[name][2]}"]


def test_an_error_that_is_about_no_option_is_raised_as_it_is() -> None:
    def fail(_options: LoadOptions) -> None:
        raise HostError(ErrorCode.OUT_OF_MEMORY, "No memory.", fields=["options.context_length"])

    with pytest.raises(HostError, match="No memory"):
        settle(fail, LoadOptions(context_length=8), {"context_length"})
