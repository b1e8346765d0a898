"""`chat`: a terminal chat with a local model, by the way that a browser's messages go."""

import contextlib
import importlib
import sys

from messages.errors import ErrorCode, HostError
from messages.facts import Figures, FinishReason, ModelState
from messages.replies import Generated
from messages.wording import plural
from native_host.cli.chat_session import ChatSession
from native_host.cli.terminal import CliError, printable, say_error, size, styled
from native_host.client import HostGone
from native_host.config import ConfigError, load_config
from native_host.one_line import one_line
from native_host.runtime import VERSION

_HELP = """\
/model         list the models        /model NAME    change to another
/system TEXT   set instructions       /system        remove them
/clear         forget what was said   /quit          leave (so does Ctrl-D)
Ctrl-C stops an answer."""

_ERASE_LINE = "\r\x1b[2K"


class TerminalScreen:
    """Answers on stdout, everything else on stderr, so that a pipe gets the answer alone."""

    def __init__(self) -> None:
        self._animated = sys.stderr.isatty()
        self._progress_shown = False
        self._in_reasoning = False
        self.in_answer = False

    def show_progress(self, text: str) -> None:
        """One grey line that the next thing takes the place of; not within an answer, and not into a file."""
        if self._animated and not self.in_answer and not self._in_reasoning:
            print(_ERASE_LINE + styled(printable(text), "dim", sys.stderr), end="", file=sys.stderr, flush=True)
            self._progress_shown = True

    def show_reasoning(self, text: str) -> None:
        """What the model thinks, as it comes, in grey; not into a file."""
        if not text or not self._animated:
            return
        self._clear_progress()
        self._in_reasoning = True
        print(styled(printable(text), "dim", sys.stderr), end="", file=sys.stderr, flush=True)

    def show_text(self, text: str) -> None:
        """New text, as it comes."""
        if not text:
            return
        self._clear_progress()
        self._end_reasoning()
        self.in_answer = True
        print(printable(text), end="", flush=True)

    def end_answer(self) -> None:
        """Finish the answer's line."""
        self._clear_progress()
        self._end_reasoning()
        if self.in_answer:
            print(flush=True)
        self.in_answer = False

    def note(self, text: str) -> None:
        """A remark of the program's own."""
        self._clear_progress()
        print(styled(printable(text), "dim", sys.stderr), file=sys.stderr, flush=True)

    def _end_reasoning(self) -> None:
        if self._in_reasoning:
            print("\n", file=sys.stderr, flush=True)
        self._in_reasoning = False

    def _clear_progress(self) -> None:
        if self._progress_shown:
            print(_ERASE_LINE, end="", file=sys.stderr, flush=True)
        self._progress_shown = False


def chat(model: str | None, system: str | None) -> int:
    """Chat until /quit, or answer what stdin holds if it is not a terminal."""
    try:
        name = model or load_config().models.default
    except ConfigError as error:
        raise CliError(error.message) from error
    screen = TerminalScreen()
    session = ChatSession(name, system, screen)
    with contextlib.closing(session):
        if sys.stdin.isatty():
            return _converse(session, screen)
        return _answer_stdin(session, screen)


def _answer_stdin(session: ChatSession, screen: TerminalScreen) -> int:
    question = sys.stdin.buffer.read().decode("utf-8", "replace").strip()
    if not question:
        raise CliError("There is no question on stdin; type one, or pipe one in.")
    try:
        session.load()
        answer = session.ask(question)
    except (HostError, HostGone, TimeoutError) as error:
        screen.end_answer()
        raise CliError(_sentence(error)) from error
    screen.end_answer()
    screen.note(_figures_line(answer))
    return 0


def _converse(session: ChatSession, screen: TerminalScreen) -> int:
    with contextlib.suppress(ImportError):
        importlib.import_module("readline")
    try:
        screen.note(_banner(session.load()))
    except (HostError, HostGone, TimeoutError) as error:
        screen.end_answer()
        raise CliError(_sentence(error)) from error
    while True:
        try:
            line = input("> ").strip()
        except EOFError:
            print()
            return 0
        except KeyboardInterrupt:
            print("\n" + styled("Ctrl-D or /quit leaves.", "dim", sys.stdout))
            continue
        if line in ("/quit", "/exit"):
            return 0
        if line:
            _react(session, screen, line)


def _react(session: ChatSession, screen: TerminalScreen, line: str) -> None:
    """Do what a line asks for; whatever goes wrong is said, and the conversation goes on."""
    try:
        if line.startswith("/"):
            _command(session, screen, line)
        else:
            answer = session.ask(line)
            screen.end_answer()
            screen.note(_figures_line(answer))
    except (HostGone, TimeoutError) as error:
        screen.end_answer()
        session.reconnect()
        say_error(f"{_sentence(error)} The next question starts it again.")
    except HostError as error:
        screen.end_answer()
        hint = " /clear forgets what was said." if error.code is ErrorCode.CONTEXT_OVERFLOW else ""
        say_error(f"{_sentence(error)}{hint}")


def _command(session: ChatSession, screen: TerminalScreen, line: str) -> None:
    name, _, argument = line.partition(" ")
    argument = argument.strip()
    if name == "/model" and argument:
        screen.note(_banner(session.load(argument)))
    elif name == "/model":
        _list_models(session, screen)
    elif name == "/system":
        session.system = argument or None
        screen.note("Instructions set." if argument else "Instructions removed.")
    elif name == "/clear":
        session.clear()
        screen.note("Forgotten.")
    elif name == "/help":
        screen.note(_HELP)
    else:
        screen.note(f"There is no {name}. /help tells what there is.")


def _list_models(session: ChatSession, screen: TerminalScreen) -> None:
    for model in session.list_models():
        mark = "*" if model.model == session.model else " "
        problem = f" - {model.problem}" if model.problem else ""
        screen.note(f"{mark} {one_line(model.model)}  ({model.format}, {size(model.size_bytes)}){problem}")


def _banner(model: ModelState) -> str:
    context = f", {model.context_length} tokens of context" if model.context_length else ""
    engine = model.backend_type or model.backend
    return (
        f"TabAgent {VERSION}: {one_line(model.model)} on {engine}{context}. /help for commands, Ctrl-C stops an answer."
    )


def _figures_line(answer: Generated) -> str:
    """Such as "[53 tokens, 118.2 tokens/s, first after 31 ms, 12 of 40 prompt tokens cached, stopped]"."""
    figures: Figures = answer.stats
    parts = [f"{figures.output_tokens or 0} {plural(figures.output_tokens, 'token')}"]
    if figures.tokens_per_second is not None:
        parts.append(f"{figures.tokens_per_second:.1f} tokens/s")
    if figures.time_to_first_token is not None:
        parts.append(f"first after {figures.time_to_first_token:.0f} ms")
    if figures.cached_tokens and figures.input_tokens:
        parts.append(
            f"{figures.cached_tokens} of {figures.input_tokens} prompt {plural(figures.input_tokens, 'token')} cached"
        )
    if answer.finish_reason == FinishReason.CANCELLED:
        parts.append("stopped")
    if answer.finish_reason == FinishReason.LENGTH:
        parts.append("cut off at the limit")
    return f"[{', '.join(parts)}]"


def _sentence(error: Exception) -> str:
    text = printable(str(error)).strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."
