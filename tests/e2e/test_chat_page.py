"""The extension's page, used as a person would: type, read, stop."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.browsers.chat import ask, choose, choose_echo, shown, tell_host, wait_for_end, wait_until_ready
from support.browsers.echo import words
from support.browsers.lab import ChromiumLab, Lab
from support.browsers.page import Page
from support.browsers.registration import CHROMIUM_ID, HOST_NAME
from support.browsers.sandbox import kill
from support.browsers.waiting import wait_until
from support.http_host import free_port
from support.scripted_gguf import THINKING, write_scripted
from support.tiny_t5 import make_t5

RUNTIME = "(globalThis.browser ?? chrome).runtime"
SCROLLER = "document.querySelector('#scroller')"
TO_THE_END = f"(({{scrollHeight, scrollTop, clientHeight}}) => scrollHeight - scrollTop - clientHeight)({SCROLLER})"
SCROLL_SLOWLY = """
(async () => {
  for (let step = 0; step < 30; step += 1) {
    SCROLLER.scrollTop += %d;
    await new Promise((done) => setTimeout(done, 20));
  }
})()
""".replace("SCROLLER", SCROLLER)
FOCUS_ON_THOUGHTS = """
new MutationObserver((_, observer) => {
  const summary = document.querySelector(".turn summary");
  if (!summary) return;
  observer.disconnect();
  summary.focus();
  window.whatHadFocus = document.activeElement.tagName;
}).observe(document.querySelector("#log"), { childList: true, subtree: true }), null
"""
CLICK_INTO_TEXT = """
new Promise((done) => {
  document.querySelector("#log").dispatchEvent(new MouseEvent("mousedown", { bubbles: true }));
  document.activeElement.blur();
  setTimeout(done, 50);
})
"""
WATCH_LOADS = """
(window.loads = [], new MutationObserver(() => {
  const words = document.querySelector("#model-name").textContent;
  if (words.startsWith("Loading") && window.loads.at(-1) !== words) window.loads.push(words);
}).observe(document.querySelector("#model-name"), { childList: true })), null
"""
TELLING_COPIED = """
[...document.querySelectorAll("[role=alert], [role=status]")]
  .filter(({ textContent }) => textContent.includes("Copied"))
  .map((region) => region.getAttribute("role"))
"""
LEFT_OF_CHARACTER = """
(() => {
  const [range, text] = [document.createRange(), document.querySelector(".turn.assistant").lastChild];
  range.setStart(text, %d);
  range.setEnd(text, range.startOffset + 1);
  return range.getBoundingClientRect().left;
})()
"""


@pytest.fixture
def chat(lab: Lab) -> Iterator[Page]:
    """The chat page with the demo model loaded."""
    page = lab.open_chat()
    wait_until_ready(page)
    yield page
    page.evaluate("localStorage.clear()")
    page.close()


def test_the_demo_model_is_loaded_and_named(chat: Page) -> None:
    assert re.search(r"demo \([A-Z_]+\)", shown(chat, "#model-name"))
    assert chat.evaluate("document.querySelector('#model').value") == "demo"


def test_a_question_is_answered_with_its_speed_beside_it(chat: Page) -> None:
    ask(chat, "What are you?")
    assert shown(chat, ".turn.user") == "What are you?"
    wait_for_end(chat)
    assert len(shown(chat, ".turn.assistant").split()) >= 3
    assert re.search(r"\d+ tokens, [\d.]+ tokens/s", shown(chat, "#figures"))
    assert shown(chat, "#problem") == ""


def test_one_token_is_told_as_one(chat: Page) -> None:
    choose_echo(chat, "slow", prefill_ms=500)
    ask(chat, "word")
    chat.wait_for("document.querySelector('#figures').textContent.startsWith('1 token, first after')")


def test_text_streams_and_escape_stops_it(chat: Page) -> None:
    choose_echo(chat, "slow", tokens_per_second=20)
    ask(chat, " ".join(f"word{number}" for number in range(500)))
    chat.wait_for("document.querySelector('.turn.assistant:not(.waiting)')?.textContent.length > 20")
    assert "tokens" in shown(chat, "#progress")
    chat.press("Escape")
    wait_for_end(chat)
    assert shown(chat, ".note") == "Stopped."
    assert "word499" not in shown(chat, ".turn.assistant")


def offer_echoes(page: Page, *names: str) -> None:
    """Add models to the end of the list, and go to the list, where ``demo`` stays chosen."""
    for name in names:
        tell_host(page, action="load", model=name, backend="echo")
        page.evaluate(f"document.querySelector('#model').add(new Option('{name}', '{name}')), null")
    page.evaluate(f"{WATCH_LOADS.strip()}, document.querySelector('#model').focus()")


def step_down_to(page: Page, model: str) -> None:
    """Go down the closed list with the arrow key until it shows a model."""
    for _ in range(10):
        page.press("ArrowDown")
        if page.evaluate("document.querySelector('#model').value") == model:
            return
    raise AssertionError(f"{model} is not in the list")


@pytest.mark.parametrize("key", ["Enter", "Tab"])
def test_arrow_keys_on_the_closed_list_load_no_model_until_the_choice_is_made(chat: Page, key: str) -> None:
    offer_echoes(chat, "one", "two", "three")
    step_down_to(chat, "three")
    chat.press("ArrowUp")
    assert chat.evaluate("loads") == []
    chat.press(key)
    chat.wait_for("document.querySelector('#model-name').textContent.startsWith('two (')")
    assert chat.evaluate("loads") == ["Loading two"]


def test_a_list_that_is_left_as_it_was_loads_nothing(chat: Page) -> None:
    offer_echoes(chat)
    chat.press("ArrowDown")
    chat.press("ArrowUp")
    chat.press("Tab")
    assert chat.evaluate("document.querySelector('#model').value") == "demo"
    assert chat.evaluate("document.activeElement.id") != "model"
    assert chat.evaluate("loads") == []


@pytest.mark.parametrize("button", ["#send", ".suggestion"])
def test_a_message_goes_to_the_model_that_the_list_shows(chat: Page, button: str) -> None:
    chat.click("#input")
    chat.type_text("What can you do?")
    offer_echoes(chat, "one")
    step_down_to(chat, "one")
    chat.evaluate(f"document.querySelector({button!r}).focus()")
    chat.click(button)
    chat.wait_for("document.querySelector('.turn.assistant')")
    wait_for_end(chat)
    assert shown(chat, ".turn.assistant") == "What can you do?"
    assert chat.evaluate("loads") == ["Loading one"]


@pytest.mark.parametrize("act", ["type on", "#new-chat"])
def test_a_message_that_waits_for_a_load_is_not_sent_if_the_person_goes_on(chat: Page, lab: Lab, act: str) -> None:
    chat.click("#input")
    chat.type_text("first words")
    offer_echoes(chat, "one")
    step_down_to(chat, "one")
    daemon = lab.daemon_pid()
    os.kill(daemon, signal.SIGSTOP)
    try:
        chat.evaluate("document.querySelector('#send').focus()")
        chat.click("#send")
        chat.click("#input")
        if act == "type on":
            chat.type_text(" and more")
        else:
            chat.click(act)
    finally:
        os.kill(daemon, signal.SIGCONT)
    chat.wait_for("document.querySelector('#model-name').textContent.startsWith('one (')")
    wait_until_ready(chat)
    assert chat.evaluate("document.querySelector('.turn.user')") is None
    assert chat.evaluate("document.querySelector('#input').value").startswith("first words")


def test_the_stop_button_stops(chat: Page) -> None:
    choose_echo(chat, "slow", tokens_per_second=20)
    ask(chat, " ".join(f"word{number}" for number in range(500)))
    chat.wait_for("document.querySelector('.turn.assistant:not(.waiting)')")
    chat.click("#stop")
    wait_for_end(chat)
    assert shown(chat, ".note") == "Stopped."


def test_shift_enter_makes_a_new_line(chat: Page) -> None:
    chat.click("#input")
    chat.type_text("one")
    chat.press("Enter", shift=True)
    chat.type_text("two")
    assert chat.evaluate("document.querySelector('#input').value") == "one\ntwo"
    assert shown(chat, ".turn.user") == ""


def test_new_chat_forgets_what_was_said(chat: Page) -> None:
    ask(chat, "Hello")
    wait_for_end(chat)
    chat.click("#new-chat")
    assert shown(chat, ".turn") == ""
    assert "Ask the model" in shown(chat, "#welcome")


def test_escape_closes_the_figures_and_does_not_stop_the_answer(chat: Page) -> None:
    choose_echo(chat, "slow", tokens_per_second=20)
    ask(chat, " ".join(f"word{number}" for number in range(500)))
    chat.wait_for("document.querySelector('.turn.assistant:not(.waiting)')")
    chat.click("#open-figures")
    chat.wait_for("document.querySelector('#figures-dialog').open")
    chat.press("Escape")
    chat.wait_for("!document.querySelector('#figures-dialog').open")
    seen = "document.querySelector('.turn.assistant').textContent.length"
    chat.wait_for(f"{seen} > {chat.evaluate(seen)}")
    chat.press("Escape")
    wait_for_end(chat)
    assert shown(chat, ".note") == "Stopped."


def test_a_problem_with_a_chat_goes_with_the_chat(chat: Page) -> None:
    choose_echo(chat, "small", context_length=40)
    ask(chat, words(20))
    wait_for_end(chat)
    ask(chat, "Hello")
    wait_for_end(chat)
    assert shown(chat, "#problem-title") == "The conversation is too long for this model"
    assert "at most 39 fit. Begin a new chat. Your message is back in the box." in shown(chat, "#problem-text")
    assert shown(chat, "#retry") == ""
    chat.click("#new-chat")
    assert shown(chat, "#problem") == ""
    chat.click("#input")
    chat.press("Enter")
    wait_for_end(chat)
    assert shown(chat, ".turn.assistant") == "Hello"


def test_a_first_message_that_is_too_long_comes_back_to_be_shortened(chat: Page) -> None:
    choose_echo(chat, "small", context_length=40)
    ask(chat, words(80))
    wait_for_end(chat)
    assert shown(chat, "#problem-title") == "Your message is too long for this model"
    told = "Shorten it: it has 80 tokens, and at most 39 fit. Your message is back in the box."
    assert shown(chat, "#problem-text") == told
    assert shown(chat, ".turn") == ""
    assert chat.evaluate("document.querySelector('#input').value") == words(80)
    assert focused(chat) == "input"
    chat.evaluate(f"document.querySelector('#input').value = {words(3)!r}")
    chat.press("Enter")
    wait_for_end(chat)
    assert shown(chat, "#problem") == ""
    assert shown(chat, ".turn.assistant") == words(3)


def test_a_model_whose_answer_has_a_room_of_its_own_is_said_to_fit_what_fits(chat: Page, tmp_path: Path) -> None:
    choose(chat, str(make_t5(tmp_path / "t5")))
    ask(chat, "x" * 512)
    wait_for_end(chat)
    assert shown(chat, "#problem-text").startswith("Shorten it: it has 513 tokens, and at most 512 fit.")
    chat.evaluate(f"document.querySelector('#input').value = {'x' * 511!r}")
    chat.press("Enter")
    wait_for_end(chat)
    assert shown(chat, "#problem") == ""


def test_an_error_that_is_none_of_the_hosts_ends_the_answer_and_is_shown(lab: Lab, chat: Page) -> None:
    """As when the extension was updated under the page: the browser then throws at `connectNative`."""
    chat.evaluate("""void ((globalThis.browser ?? chrome).runtime.connectNative = () => {
      throw new Error("Extension context invalidated.");
    })""")
    kill(lab.daemon_pid())
    lab.wait_for_no_relay()
    ask(chat, "Hello")
    wait_for_end(chat)
    assert "Extension context invalidated." in shown(chat, "#problem-text")
    assert shown(chat, "#stop") == ""


def test_what_is_typed_while_a_message_turns_out_too_long_stays_beside_it(chat: Page) -> None:
    choose_echo(chat, "small", context_length=40)
    chat.evaluate(f"""(async () => {{
      const input = document.querySelector("#input");
      input.value = {words(80)!r};
      document.querySelector("#send").click();
      for (let turn = 0; turn < 100 && input.value; turn += 1) await null;
      input.value = "Another question";
    }})()""")
    wait_for_end(chat)
    assert shown(chat, "#problem-text") == "Shorten it: it has 80 tokens, and at most 39 fit."
    assert shown(chat, ".turn.user") == words(80)
    assert chat.evaluate("document.querySelector('#input').value") == "Another question"


def offered(page: Page) -> list[str]:
    """The models that the list has."""
    names: list[str] = page.evaluate("[...document.querySelector('#model').options].map(({value}) => value)")
    return names


@pytest.mark.parametrize("sign", ["focus", "pointerenter"])
def test_a_model_that_came_after_the_page_is_offered_when_the_list_is_gone_to(chat: Page, sign: str) -> None:
    assert sign not in offered(chat)
    tell_host(chat, action="load", model=sign, backend="echo")
    chat.evaluate("document.querySelector('#input').focus()")
    event = "focus()" if sign == "focus" else "dispatchEvent(new PointerEvent('pointerenter'))"
    chat.evaluate(f"document.querySelector('#model').{event}, null")
    chat.wait_for(f"[...document.querySelector('#model').options].some(({{value}}) => value === {sign!r})")
    assert chat.evaluate("document.querySelector('#model').value") == "demo"
    choose(chat, sign)
    ask(chat, "Hello")
    wait_for_end(chat)
    assert shown(chat, ".turn.assistant") == "Hello"


def test_a_model_that_has_gone_is_offered_no_more_unless_it_is_chosen(chat: Page) -> None:
    for name in ("passing", "chosen"):
        tell_host(chat, action="load", model=name, backend="echo")
    chat.evaluate("dispatchEvent(new Event('focus')), null")
    chat.wait_for("document.querySelector('#model').textContent.includes('passing')")
    choose(chat, "chosen")
    chat.evaluate("document.querySelector('#input').focus()")
    for name in ("passing", "chosen"):
        tell_host(chat, action="unload", model=name)
    chat.wait_for("!document.querySelector('#model').textContent.includes('passing')")
    assert chat.evaluate("document.querySelector('#model').value") == "chosen"


def test_models_that_come_into_an_empty_list_are_no_choice(chat: Page) -> None:
    made = """import("./model_list.js").then(({ ModelList }) => {
      const [list, chosen] = [new ModelList(), []];
      list.bind((model) => chosen.push(model), () => {});
      list.fill([], "");
      list.offer(["one", "two"]);
      list.settle();
      return [document.querySelector("#model").value, chosen];
    })"""
    assert chat.evaluate(made) == ["", []]


def test_models_of_one_name_are_told_apart_by_their_folders_in_front(chat: Page, tmp_path: Path) -> None:
    """The closed list cuts the end off: what differs comes first, and folders behind it that do not are left out."""
    folders = ("one", "first/a model", "second/a model")
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    models = [write_scripted(tmp_path / folder / "same.gguf", "Yes.") for folder in folders]
    for model in models:
        tell_host(chat, action="load", model=str(model))
    chat.evaluate("dispatchEvent(new Event('focus')), null")
    labels = "[...document.querySelector('#model').options].map(({text}) => text)"
    wanted = ["demo", "one/same.gguf", "first/\u2026/same.gguf", "second/\u2026/same.gguf"]
    chat.wait_for(f"{json.dumps(wanted)}.every((label) => {labels}.includes(label))")
    choose(chat, str(models[-1]))
    assert shown(chat, "#model-name").startswith("second/\u2026/same.gguf (")
    for model in models:
        tell_host(chat, action="unload", model=str(model))


def test_models_that_come_while_a_choice_is_being_made_leave_it_alone(chat: Page) -> None:
    offer_echoes(chat, "one")
    step_down_to(chat, "one")
    tell_host(chat, action="load", model="newcomer", backend="echo")
    chat.evaluate("dispatchEvent(new Event('focus')), null")
    chat.wait_for("document.querySelector('#model').textContent.includes('newcomer')")
    assert chat.evaluate("document.querySelector('#model').value") == "one"
    assert chat.evaluate("loads") == []
    chat.press("Enter")
    chat.wait_for("document.querySelector('#model-name').textContent.startsWith('one (')")


def test_a_look_for_models_starts_no_host_that_was_stopped(chat: Page, lab: Lab) -> None:
    kill(lab.daemon_pid())
    lab.wait_for_no_relay()
    chat.evaluate("dispatchEvent(new Event('focus')), document.querySelector('#model').focus()")
    chat.evaluate("new Promise((done) => setTimeout(done, 300))")
    assert lab.relays() == []
    ask(chat, "What are you?")  # a person's message does
    wait_for_end(chat)
    assert shown(chat, ".turn.assistant") != ""


def focused(page: Page) -> str:
    """The id or the text of the element that has the focus."""
    active = "document.activeElement"
    return str(page.evaluate(f"{active}.id || ({active} === document.body ? '' : {active}.innerText)"))


def paste(page: Page, text: str) -> None:
    """Send a long question, which would take long to type."""
    page.evaluate(f"document.querySelector('#input').focus(), document.querySelector('#input').value = {text!r}")
    page.press("Enter")


def press_on(page: Page, selector: str) -> None:
    """Press Enter on a button that has the focus."""
    page.evaluate(f"document.querySelector({selector!r}).focus()")
    page.press("Enter")


def test_the_focus_is_never_lost_with_a_button_that_goes_away(chat: Page) -> None:
    choose_echo(chat, "slow", tokens_per_second=20)
    chat.type_text(words(100))
    press_on(chat, "#send")
    chat.wait_for("document.querySelector('.turn.assistant:not(.waiting)')")
    assert focused(chat) == "input"
    press_on(chat, "#stop")
    wait_for_end(chat)
    assert focused(chat) == "input"
    chat.click("#new-chat")
    press_on(chat, ".suggestion")
    chat.wait_for("document.querySelector('.turn.assistant')")
    assert focused(chat) == "input"
    wait_for_end(chat)


def test_the_end_of_an_answer_leaves_the_focus_where_the_person_is(chat: Page) -> None:
    choose_echo(chat, "slow", tokens_per_second=20)
    paste(chat, words(600))
    chat.wait_for("document.querySelector('.turn.assistant:not(.waiting)')")
    chat.evaluate("document.querySelector('#open-figures').focus()")
    chat.press("Escape")
    wait_for_end(chat)
    assert shown(chat, ".note") == "Stopped."
    assert focused(chat) == "open-figures"


@pytest.mark.parametrize("left", ["input", "stop"])
def test_the_end_of_an_answer_leaves_who_clicked_into_the_text_where_they_are(chat: Page, left: str) -> None:
    choose_echo(chat, "slow", tokens_per_second=20)
    paste(chat, words(600))
    chat.wait_for("document.querySelector('.turn.assistant:not(.waiting)')")
    chat.evaluate(f"document.querySelector('#{left}').focus()")
    chat.evaluate(CLICK_INTO_TEXT)
    chat.evaluate("document.querySelector('#stop').click()")
    wait_for_end(chat)
    assert chat.evaluate("document.activeElement === document.body")


def test_the_fold_of_what_a_model_thinks_keeps_the_focus_when_the_answer_begins(chat: Page, tmp_path: Path) -> None:
    model = write_scripted(tmp_path / "m.gguf", f"Hm, {words(200)}.\n</think>\n\nIt is 4.", THINKING)
    choose(chat, str(model))
    chat.evaluate(FOCUS_ON_THOUGHTS)
    ask(chat, "2 + 2?")
    wait_for_end(chat)
    assert chat.evaluate("whatHadFocus") == "SUMMARY"
    assert focused(chat) == "Thoughts"


def test_the_end_stays_in_sight_however_much_comes_at_once(chat: Page) -> None:
    choose_echo(chat, "fast")
    paste(chat, words(600))
    wait_for_end(chat)
    chat.wait_for(f"{TO_THE_END} < 2", timeout_s=2)
    choose_echo(chat, "slow", tokens_per_second=200)
    paste(chat, words(6000))
    chat.wait_for("document.querySelector('.turn.assistant:last-child:not(.waiting)')")
    chat.evaluate(f"{SCROLLER}.scrollTop = 10")
    length = "document.querySelector('.turn.assistant:last-child').textContent.length"
    chat.wait_for(f"{length} > {chat.evaluate(length) + 100}")
    chat.press("Escape")
    wait_for_end(chat)
    assert shown(chat, ".note") == "Stopped."
    assert chat.evaluate(f"{SCROLLER}.scrollTop") == 10


def test_a_person_can_scroll_up_slowly_while_an_answer_comes(chat: Page) -> None:
    choose_echo(chat, "slow", tokens_per_second=200)
    paste(chat, words(2000))
    chat.wait_for(f"{SCROLLER}.scrollTop > 200")
    chat.evaluate(SCROLL_SLOWLY % -6)
    assert chat.evaluate(TO_THE_END) > 150
    chat.evaluate(SCROLL_SLOWLY % 60)
    chat.wait_for(f"{TO_THE_END} < 2", timeout_s=2)
    chat.press("Escape")
    wait_for_end(chat)


def test_the_end_stays_in_sight_when_the_page_becomes_narrow(chromium: ChromiumLab) -> None:
    page = chromium.open_chat()
    wait_until_ready(page)
    choose_echo(page, "fast")
    page.emulate(1000, 700)
    ask(page, words(300))
    wait_for_end(page)
    page.emulate(360, 640)
    page.wait_for(f"innerWidth === 360 && {TO_THE_END} < 2", timeout_s=2)
    page.evaluate("localStorage.clear()")
    page.close()


def test_a_small_window_shows_the_welcome_from_its_beginning_and_the_models_name(chromium: ChromiumLab) -> None:
    page = chromium.open_chat()
    page.emulate(320, 500)
    wait_until_ready(page)
    choose(page, "demo-vision")
    assert page.evaluate(f"{SCROLLER}.scrollHeight > {SCROLLER}.clientHeight && {SCROLLER}.scrollTop === 0")
    assert page.evaluate("document.querySelector('#model').clientWidth") > 200
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    ask(page, words(300))
    wait_for_end(page)
    page.click("#new-chat")
    assert page.evaluate(f"{SCROLLER}.scrollTop") == 0
    page.evaluate("localStorage.clear()")
    page.close()


def test_the_whole_chat_is_printed(chromium: ChromiumLab) -> None:
    page = chromium.open_chat()
    wait_until_ready(page)
    choose_echo(page, "fast")
    paste(page, words(3000))
    wait_for_end(page)
    pages = base64.b64decode(page.command("Page.printToPDF")["data"]).count(b"/Type /Page\n")
    assert pages > 5
    page.command("Emulation.setEmulatedMedia", {"media": "print"})
    assert shown(page, "#composer") == shown(page, "header") == ""
    page.evaluate("document.querySelector('#figures-dialog').showModal()")
    assert shown(page, "#figures-title") == ""
    page.evaluate("localStorage.clear()")
    page.close()


def test_a_lost_connection_is_told_only_while_it_is_lost(chat: Page, lab: Lab) -> None:
    choose_echo(chat, "slow", tokens_per_second=20)
    paste(chat, words(600))
    chat.wait_for("document.querySelector('.turn.assistant:not(.waiting)')")
    for relay in lab.relays():
        kill(relay)
    chat.wait_for("document.querySelector('.turn.assistant').textContent.includes('word40')")
    assert shown(chat, "#figures") == ""
    kill(lab.daemon_pid())
    wait_for_end(chat)
    assert "The answer was lost" in shown(chat, "#problem")
    assert shown(chat, "#figures") == ""


def break_off(page: Page, lab: Lab) -> None:
    """Have the worker of an answer end in the middle of it."""
    choose_echo(page, "slow", tokens_per_second=20)
    ask(page, words(20))
    page.wait_for("document.querySelector('.turn.assistant:not(.waiting)')")
    state = page.evaluate(f"{RUNTIME}.sendNativeMessage({HOST_NAME!r}, {{action: 'get_state', model: 'slow'}})")
    kill(state["models"][0]["pid"])
    wait_for_end(page)
    assert "The model crashed" in shown(page, "#problem")


def test_an_answer_that_broke_off_says_so_and_gives_its_place_to_the_next_try(chat: Page, lab: Lab) -> None:
    break_off(chat, lab)
    assert shown(chat, ".note") == "Not finished."
    chat.click("#retry")
    chat.wait_for(f"document.querySelector('.turn.assistant').textContent === {words(20)!r}")
    wait_for_end(chat)
    assert shown(chat, ".note") == ""
    assert chat.evaluate("document.querySelectorAll('.turn.assistant').length") == 1


def test_the_stop_button_waits_for_no_load(chat: Page, lab: Lab) -> None:
    daemon = lab.daemon_pid()
    os.kill(daemon, signal.SIGSTOP)
    try:
        ask(chat, "Hello")
        chat.wait_for("!document.querySelector('#stop').hidden")
        chat.click("#stop")
        wait_for_end(chat)
        assert shown(chat, ".note") == "Stopped."
    finally:
        os.kill(daemon, signal.SIGCONT)


def test_an_unload_in_the_middle_of_an_answer_is_told(chat: Page) -> None:
    choose_echo(chat, "slow", tokens_per_second=20)
    ask(chat, words(200))
    chat.wait_for("document.querySelector('.turn.assistant:not(.waiting)')")
    tell_host(chat, action="unload", model="slow")
    wait_for_end(chat)
    assert shown(chat, "#problem-title") == "The answer was ended"
    assert "slow was unloaded" in shown(chat, "#problem-text")


def test_a_list_that_cannot_be_used_looks_so(chat: Page) -> None:
    choose_echo(chat, "slow", tokens_per_second=20)
    ask(chat, words(200))
    chat.wait_for("getComputedStyle(document.querySelector('#model')).opacity < 1")
    chat.press("Escape")
    wait_for_end(chat)


def test_each_paragraph_runs_in_its_own_direction(chat: Page) -> None:
    choose_echo(chat, "fast")
    ask(chat, "\u05e9\u05dc\u05d5\u05dd! (abc).")
    wait_for_end(chat)
    first, last = (chat.evaluate(LEFT_OF_CHARACTER % place) for place in (0, 11))
    assert last < first


def test_a_huge_text_without_a_line_break_does_not_hold_the_page_up(chromium: ChromiumLab) -> None:
    page = chromium.open_chat()
    wait_until_ready(page)
    page.command("Browser.grantPermissions", {"permissions": ["clipboardReadWrite"]})
    page.evaluate("navigator.clipboard.writeText('lorem ipsum dolor '.repeat(60_000))")
    page.evaluate("document.querySelector('#input').focus()")
    began = time.monotonic()
    page.command("Input.dispatchKeyEvent", {"type": "keyDown", "key": "v", "modifiers": 2, "commands": ["paste"]})
    page.wait_for("document.querySelector('#input').value.length > 1_000_000")
    page.press("Enter")
    wait_for_end(page)
    assert "too long for this model" in shown(page, "#problem")
    assert time.monotonic() - began < 25
    page.evaluate("localStorage.clear()")
    page.close()


def test_who_speaks_is_told_to_those_who_do_not_see_it(chat: Page) -> None:
    ask(chat, "Hello")
    wait_for_end(chat)
    turns = "[...document.querySelectorAll('#log [role=article]')]"
    assert chat.evaluate(f"{turns}.map((turn) => turn.getAttribute('aria-label'))") == ["You", "Model"]


def test_a_suggestion_leaves_what_was_typed(chat: Page) -> None:
    chat.click("#input")
    chat.type_text("a draft")
    chat.click(".suggestion")
    wait_for_end(chat)
    assert shown(chat, ".turn.user") == "What can you do?"
    assert chat.evaluate("document.querySelector('#input').value") == "a draft"


def test_suggestions_can_be_taken_only_while_a_message_can_be_sent(chat: Page) -> None:
    disabled = "document.querySelector('.suggestion').disabled"
    assert chat.evaluate(disabled) is False
    assert chat.evaluate(f"document.querySelector('#model').dispatchEvent(new Event('change')) && {disabled}") is True
    chat.wait_for(f"!{disabled}")


def test_an_answer_without_a_word_is_said_to_be_none(chat: Page, tmp_path: Path) -> None:
    choose(chat, str(write_scripted(tmp_path / "m.gguf", "")))
    ask(chat, "Hello")
    wait_for_end(chat)
    assert shown(chat, ".note") == "The model gave no answer."


def test_a_page_that_is_loaded_anew_stops_the_answer_that_it_forgot(chat: Page) -> None:
    choose_echo(chat, "slow", tokens_per_second=20)
    ask(chat, words(400))
    chat.wait_for("document.querySelector('.turn.assistant:not(.waiting)')")
    chat.evaluate("setTimeout(() => location.reload()), null")
    chat.wait_for("performance.getEntriesByType('navigation')[0].type === 'reload' && document.querySelector('#send')")
    wait_until_ready(chat)
    jobs = chat.evaluate(
        f"(globalThis.browser ?? chrome).runtime.sendNativeMessage({HOST_NAME!r}, {{action: 'list_jobs'}})"
    )["jobs"]
    assert [job["state"] for job in jobs if job["model"] == "slow"][-1] == "cancelled"


def test_the_figures_are_shown_without_http(chat: Page) -> None:
    ask(chat, "What are you?")
    wait_for_end(chat)
    chat.click("#open-figures")
    chat.wait_for("document.querySelector('#figures-dialog').open")
    assert re.search(r"demo\s+LLAMA_CPP_CPU\s+ready\s+\d+ MB", shown(chat, "#loaded-table tbody"))
    assert re.search(r"LLAMA_CPP_CPU\s+\d+(\s+[\d.]+){6}", shown(chat, "#speed-table tbody"))
    chat.click("#figures-dialog button")
    assert shown(chat, "#loaded-table") == ""


def test_what_a_model_thinks_is_in_a_fold_above_its_answer(chat: Page, tmp_path: Path) -> None:
    choose(chat, str(write_scripted(tmp_path / "m.gguf", "Hm, <b>two</b>.\n</think>\n\nIt is 4.", THINKING)))
    ask(chat, "2 + 2?")
    wait_for_end(chat)
    assert shown(chat, ".turn.assistant") == "Thoughts\nIt is 4."
    assert chat.evaluate("document.querySelector('.turn details').open") is False
    chat.click(".turn summary")
    assert shown(chat, ".turn details").split("\n") == ["Thoughts", "Hm, <b>two</b>."]


def test_html_in_a_text_is_shown_as_text(chat: Page) -> None:
    choose_echo(chat, "slow", tokens_per_second=20)
    ask(chat, "<img src=x onerror=document.title='broken'>")
    wait_for_end(chat)
    assert shown(chat, ".turn.assistant") == "<img src=x onerror=document.title='broken'>"
    assert chat.evaluate("document.querySelectorAll('#log img').length") == 0


def test_without_a_host_the_page_says_how_to_install_it(lab: Lab) -> None:
    manifests = list(lab.sandbox.root.rglob(f"{HOST_NAME}.json"))
    for manifest in manifests:
        manifest.rename(manifest.with_suffix(".away"))
    page = lab.open_chat()
    try:
        page.wait_for("!document.querySelector('#problem').hidden")
        assert "not installed" in shown(page, "#problem-title")
        assert shown(page, "#problem-command code") == "python3 install.py"
        assert "comes from where this extension comes from" in shown(page, "#problem-text")
        page.click("#problem-command button")
        page.wait_for("document.querySelector('#problem-command button').textContent === 'Copied'")
        assert page.evaluate(TELLING_COPIED) == ["status"]
    finally:
        for manifest in manifests:
            manifest.with_suffix(".away").rename(manifest)
    page.click("#retry")
    wait_until_ready(page)
    page.close()


def test_a_host_that_does_not_know_the_extension_gets_the_command_with_its_id(chromium: ChromiumLab) -> None:
    manifest = chromium.browser.profile / "NativeMessagingHosts" / f"{HOST_NAME}.json"
    text = manifest.read_text()
    manifest.write_text(text.replace(CHROMIUM_ID, "a" * 32))
    page = chromium.open_chat()
    try:
        page.wait_for("!document.querySelector('#problem').hidden")
        assert shown(page, "#problem-command code") == f"python3 install.py --extension-id {CHROMIUM_ID}"
    finally:
        manifest.write_text(text)
        page.close()


def test_a_host_whose_configuration_leaves_the_extension_out_gets_the_command_that_finds_it() -> None:
    lab = ChromiumLab('[origins]\nallowed = ["cli"]\n')
    try:
        page = lab.open_chat()
        page.wait_for("!document.querySelector('#problem').hidden")
        assert "does not let this extension in" in shown(page, "#problem-title")
        assert shown(page, "#problem-command code") == "tabagent-host config --path"
    finally:
        lab.close()


def test_the_figures_open_the_hosts_own_page_where_http_is_on() -> None:
    port = free_port()
    lab = ChromiumLab(f"[http]\nenabled = true\nport = {port}\ntoken = false\n")
    try:
        page = lab.open_chat()
        wait_until_ready(page)
        page.click("#open-figures")
        wait_until("the dashboard", lambda: lab.browser.targets("page", f"http://127.0.0.1:{port}/"))
        page.close()
    finally:
        lab.close()
