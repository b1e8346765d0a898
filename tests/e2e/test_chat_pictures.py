"""Pictures in the extension's page, as a person brings them: dropped, pasted, picked, taken from a tab."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from PIL import Image
from support.browsers import axe
from support.browsers.chat import ask, choose_echo, shown, tell_host, wait_for_end, wait_until_ready
from support.browsers.lab import ChromiumLab, Lab
from support.browsers.page import Page
from support.browsers.waiting import wait_until

DRAW = """((kind, name) => {
  const noise = name.startsWith("noise");
  const [width, height] = noise ? [2400, 1600] : [120, 80];
  const canvas = Object.assign(document.createElement("canvas"), {width, height});
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.fillStyle = "red";
  context.fillRect(10, 10, 60, 60);
  if (noise) {
    const pixels = context.createImageData(width, height);
    for (let place = 0; place < pixels.data.length; place += 1) pixels.data[place] = 256 * Math.random();
    for (let place = 3; place < pixels.data.length; place += 4) pixels.data[place] = 255;
    context.putImageData(pixels, 0, 0);
  }
  return new Promise((resolve) => canvas.toBlob((blob) => resolve(new File([blob], name, {type: kind})), "image/png"));
})"""
BRING = """(async (way, kind, name) => {
  const sizes = {"slim.svg": [2000, 4], "long.svg": [8000, 41]};
  const [wide, high] = sizes[name] ?? [60, 40];
  const size = `width='${wide}' height='${high}'`;
  const svg = `<svg xmlns='http://www.w3.org/2000/svg' ${size}><rect width='9' height='9'/></svg>`;
  const texts = {txt: "hello", svg};
  const text = texts[name.split(".").at(-1)];
  const whole = text ? new File([text], name, {type: kind}) : await DRAW(kind, name);
  const file = name.startsWith("broken") ? new File([whole.slice(0, whole.size / 2)], name, {type: kind}) : whole;
  const data = new DataTransfer();
  data.items.add(file);
  if (way === "drop") {
    const place = document.querySelector("#log");
    place.dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true}));
  } else if (way === "paste") {
    const place = document.querySelector("#input");
    place.dispatchEvent(new ClipboardEvent("paste", {clipboardData: data, bubbles: true, cancelable: true}));
  } else {
    const place = document.querySelector("#files");
    place.files = data.files;
    place.dispatchEvent(new Event("change", {bubbles: true}));
  }
})""".replace("DRAW", DRAW)


@pytest.fixture
def chat(lab: Lab) -> Iterator[Page]:
    """The chat page with an echo that takes pictures."""
    page = lab.open_chat()
    wait_until_ready(page)
    choose_echo(page, "seeing", pictures=True, prefill_ms=300)
    yield page
    page.evaluate("localStorage.clear()")
    page.close()


def bring(page: Page, way: str, name: str = "square.png", kind: str = "image/png") -> None:
    page.evaluate(f"{BRING}({json.dumps(way)}, {json.dumps(kind)}, {json.dumps(name)})")


def wait_for_pictures(page: Page, count: int) -> None:
    page.wait_for(f"document.querySelectorAll('#pictures li').length === {count}")


@pytest.mark.parametrize("way", ["drop", "pick"])
def test_a_picture_is_shown_small_and_goes_with_the_message(chat: Page, way: str) -> None:
    bring(chat, way)
    wait_for_pictures(chat, 1)
    assert chat.evaluate("document.querySelector('#pictures img').alt") == "square.png"
    assert chat.evaluate("document.querySelector('#tray-count').textContent") == "1 picture to send"
    chat.click("#input")
    chat.type_text("What is it?")
    chat.press("Enter")
    wait_for_end(chat)
    assert shown(chat, "#problem") == ""
    assert shown(chat, ".turn.assistant") == "What is it?"
    assert chat.evaluate("document.querySelectorAll('.turn.user img').length") == 1
    assert shown(chat, "#pictures li") == ""
    assert "seen at 112 x 84 of 120 x 80 pixels" in shown(chat, "#figures")


def test_a_picture_may_be_pasted(chromium: ChromiumLab) -> None:
    """In Chromium alone: a paste event that a test makes has no files in Firefox."""
    page = chromium.open_chat()
    wait_until_ready(page)
    bring(page, "paste")
    wait_for_pictures(page, 1)
    page.close()


COPY_AS_OFFICE_DOES = f"""(async () => {{
  const image = await {DRAW}("image/png", "cells.png");
  const html = new Blob(["<b>Total</b> 5"], {{type: "text/html"}});
  const text = new Blob(["Total 5"], {{type: "text/plain"}});
  await navigator.clipboard.write([new ClipboardItem({{"text/plain": text, "text/html": html, "image/png": image}})]);
}})()"""


def test_text_that_comes_with_a_picture_of_itself_is_pasted_as_text(chromium: ChromiumLab) -> None:
    page = chromium.open_chat()
    wait_until_ready(page)
    chromium.browser.command("Browser.grantPermissions", {"permissions": ["clipboardReadWrite"]})
    page.click("#input")
    page.evaluate(COPY_AS_OFFICE_DOES)
    paste = {"key": "v", "code": "KeyV", "commands": ["paste"]}
    page.command("Input.dispatchKeyEvent", {"type": "keyDown", **paste})
    page.wait_for("document.querySelector('#input').value === 'Total 5'")
    assert shown(page, "#pictures li") == ""
    assert shown(page, "#tray-refused") == ""
    page.close()


def test_several_pictures_are_sent_and_one_may_be_taken_away(chat: Page) -> None:
    for name in ("one.png", "two.png", "three.png"):
        bring(chat, "pick", name)
    wait_for_pictures(chat, 3)
    assert chat.evaluate("document.querySelector('#pictures li button').getAttribute('aria-label')") == "Remove one.png"
    chat.click("#pictures li button")
    wait_for_pictures(chat, 2)
    assert chat.evaluate("document.activeElement.getAttribute('aria-label')") == "Remove two.png"
    chat.click("#send")
    wait_for_end(chat)
    assert shown(chat, ".turn.assistant") == "Describe the picture."
    assert chat.evaluate("document.querySelectorAll('.turn.user img').length") == 2


def send(page: Page, *names: str) -> None:
    """Bring pictures one after another, send them, and wait for the answer."""
    for name in names:
        bring(page, "pick", name, "image/svg+xml" if name.endswith("svg") else "image/png")
    wait_for_pictures(page, len(names))
    page.click("#send")
    wait_for_end(page)


def test_the_figures_tell_how_the_newest_messages_pictures_were_seen(chat: Page) -> None:
    send(chat, "square.png")
    send(chat, "drawing.svg", "square.png")
    assert "seen at 84 x 56 of 60 x 40, 112 x 84 of 120 x 80 pixels" in shown(chat, "#figures")
    send(chat, "drawing.svg")
    assert "seen at 84 x 56 of 60 x 40 pixels" in shown(chat, "#figures")
    ask(chat, "And now?")
    wait_for_end(chat)
    assert "seen" not in shown(chat, "#figures")
    assert "tokens" in shown(chat, "#figures")


def test_the_figures_name_no_more_than_three_pictures(chat: Page) -> None:
    send(chat, *["square.png"] * 5)
    assert shown(chat, "#figures").endswith(f"seen at {', '.join(['112 x 84 of 120 x 80'] * 3)} pixels and 2 more")


def test_a_message_that_is_sent_at_once_waits_for_its_picture(chat: Page) -> None:
    chat.click("#input")
    chat.type_text("What is it?")
    send = 'document.querySelector("#send").click()'
    arguments = '"drop", "image/png", "noise.png"'
    chat.evaluate(f"{BRING}({arguments}).then(() => {{ {send}; {send}; }})")
    chat.wait_for("document.querySelectorAll('.turn.user img').length === 1")
    wait_for_end(chat)
    assert shown(chat, ".turn.assistant") == "What is it?"
    assert chat.evaluate("document.querySelectorAll('.turn.user').length") == 1
    assert shown(chat, "#pictures li") == ""


def test_a_chat_with_more_pictures_than_a_request_may_have_says_so_before_it_is_sent(chat: Page) -> None:
    for number in range(10):
        bring(chat, "pick", f"{number}.png")
    wait_for_pictures(chat, 10)
    chat.click("#send")
    wait_for_end(chat)
    for number in range(7):
        bring(chat, "pick", f"again {number}.png")
    wait_for_pictures(chat, 7)
    words = "A chat may have 16 pictures, and this one would have 17. Remove some, or begin a new chat."
    assert shown(chat, "#tray-note") == words
    assert shown(chat, "#use-vision") == ""
    assert chat.evaluate("document.querySelector('#send').disabled") is True
    chat.click("#pictures li button")
    assert shown(chat, "#tray-note") == ""
    chat.click("#send")
    wait_for_end(chat)
    assert shown(chat, "#problem") == ""


def test_that_a_picture_was_one_too_many_is_forgotten_when_one_is_removed(chat: Page) -> None:
    for number in range(17):
        bring(chat, "pick", f"{number}.png")
    chat.wait_for("document.querySelector('#tray-refused').textContent")
    assert shown(chat, "#tray-refused") == "16 pictures are the most in one message."
    chat.click("#pictures li button")
    wait_for_pictures(chat, 15)
    assert shown(chat, "#tray-refused") == ""


LARGE_DRAWINGS = """(() => {
  const {toDataURL} = HTMLCanvasElement.prototype;
  HTMLCanvasElement.prototype.toDataURL = function (...options) {
    const url = toDataURL.apply(this, options);
    return url.replace(/=*$/, "").padEnd(url.length + 20_400_000, "A");
  };
})()"""
"""Zeros behind a drawing's own bytes, for no picture that is drawn in a test is as large as a photo may be."""


def test_pictures_that_are_too_large_together_are_told_before_they_are_sent(chat: Page) -> None:
    chat.evaluate(LARGE_DRAWINGS)
    send(chat, "one.svg")
    assert shown(chat, "#problem") == ""
    for name in ("two.svg", "three.svg"):
        bring(chat, "pick", name, "image/svg+xml")
    wait_for_pictures(chat, 2)
    words = "These pictures are too large together for one message. Remove some, or begin a new chat."
    assert shown(chat, "#tray-note") == words
    assert chat.evaluate("document.querySelector('#send').disabled") is True
    chat.click("#pictures li button")
    assert shown(chat, "#tray-note") == ""
    assert chat.evaluate("document.querySelector('#send').disabled") is False


def test_a_file_whose_ending_is_wrong_is_sent_as_what_it_is(chat: Page) -> None:
    bring(chat, "drop", "square.jpg", "image/jpeg")
    wait_for_pictures(chat, 1)
    chat.click("#send")
    wait_for_end(chat)
    assert shown(chat, "#problem") == ""
    assert shown(chat, ".turn.assistant") == "Describe the picture."


def test_a_drawing_in_svg_is_sent_as_a_picture_that_the_host_takes(chat: Page) -> None:
    bring(chat, "drop", "drawing.svg", "image/svg+xml")
    wait_for_pictures(chat, 1)
    assert chat.evaluate("document.querySelector('#pictures img').src.slice(0, 22)") == "data:image/jpeg;base64"
    chat.click("#send")
    wait_for_end(chat)
    assert shown(chat, "#problem") == ""
    assert "of 60 x 40 pixels" in shown(chat, "#figures")


def test_a_long_picture_is_not_made_slimmer_than_it_is(chat: Page) -> None:
    bring(chat, "drop", "long.svg", "image/svg+xml")
    wait_for_pictures(chat, 1)
    chat.click("#send")
    wait_for_end(chat)
    assert shown(chat, "#problem") == ""
    assert "of 2048 x 11 pixels" in shown(chat, "#figures")


TRUNCATED = "broken.png is a broken or truncated PNG picture."


def wait_for_refusal(page: Page) -> str:
    """Wait until the page says that a picture cannot be sent, and return the words below that."""
    page.wait_for("!document.querySelector('#problem').hidden")
    wait_for_end(page)
    assert shown(page, "#problem-title") == "A picture cannot be sent"
    assert shown(page, "#retry") == ""
    assert page.evaluate("document.activeElement.id") == "input"
    return shown(page, "#problem-text")


def test_a_picture_that_the_host_does_not_take_is_told_in_words_for_a_person(chat: Page) -> None:
    send(chat, "slim.svg")
    assert wait_for_refusal(chat) == "slim.svg is 2000 x 4 pixels: one side is over 200 times the other."
    assert shown(chat, ".turn") == ""
    assert "Ask the model" in shown(chat, "#welcome")
    assert shown(chat, "#pictures li") == ""
    assert chat.evaluate("document.querySelector('#input').value") == ""
    chat.click("#new-chat")
    assert shown(chat, "#problem") == ""


def test_a_message_comes_back_without_the_picture_that_the_host_does_not_take(chat: Page) -> None:
    ask(chat, "Hello")
    wait_for_end(chat)
    chat.click("#input")
    chat.type_text("Which one is red?")
    send(chat, "broken.png", "square.png")
    assert wait_for_refusal(chat) == f"{TRUNCATED} Your message is back in the box without it."
    assert chat.evaluate("document.querySelector('#input').value") == "Which one is red?"
    assert chat.evaluate("[...document.querySelectorAll('#pictures img')].map(({alt}) => alt)") == ["square.png"]
    assert chat.evaluate("[...document.querySelectorAll('.turn')].map(({innerText}) => innerText)") == [
        "Hello",
        "Hello",
    ]
    chat.press("Enter")
    wait_for_end(chat)
    assert shown(chat, "#problem") == ""
    assert shown(chat, ".turn.assistant") == "Which one is red?"
    assert chat.evaluate("document.querySelectorAll('.turn').length") == 4


def test_a_new_chat_keeps_the_pictures_that_are_still_to_be_sent(chat: Page) -> None:
    bring(chat, "drop")
    wait_for_pictures(chat, 1)
    chat.click("#new-chat")
    wait_for_pictures(chat, 1)


def test_pictures_that_are_too_many_for_the_model_are_told_in_words_for_a_person(chat: Page) -> None:
    error = {
        "code": "invalid_request",
        "details": {"fields": ["messages: has 3 pictures, and this model takes at most 1 a request"]},
    }
    explained = "import('./problems.js').then((problems) => problems.explainExcess(%s, %s, true).text)"
    told = [chat.evaluate(explained % (json.dumps(error), is_first)) for is_first in ("true", "false")]
    begin, end = (
        "This chat has 3 pictures, and this model takes at most 1 a request.",
        "Your message is back in the box.",
    )
    assert told == [f"{begin} Remove some. {end}", f"{begin} Remove some, or begin a new chat. {end}"]


def test_a_message_may_be_stopped_before_the_model_has_looked_at_its_picture(chat: Page) -> None:
    choose_echo(chat, "later", pictures=True, prefill_ms=60_000)
    tell_host(chat, action="generate", model="later", prompt="x", background=True)
    bring(chat, "drop")
    wait_for_pictures(chat, 1)
    chat.click("#send")
    chat.wait_for("document.querySelector('#progress-words').textContent.startsWith('Waiting for the model')")
    chat.press("Escape")
    wait_for_end(chat)
    assert shown(chat, ".note") == "Stopped."
    assert shown(chat, "#problem") == ""
    tell_host(chat, action="stop_generation", model="later")


def test_what_is_typed_while_a_picture_is_refused_stays(chat: Page) -> None:
    bring(chat, "drop", "broken.png")
    wait_for_pictures(chat, 1)
    chat.click("#input")
    chat.type_text("What is it?")
    chat.evaluate("""(async () => {
      const input = document.querySelector("#input");
      document.querySelector("#send").click();
      for (let turn = 0; turn < 100 && input.value; turn += 1) await null;
      input.value = "Another question";
    })()""")
    assert wait_for_refusal(chat) == TRUNCATED
    assert chat.evaluate("document.querySelector('#input').value") == "Another question"


def test_a_large_file_is_made_smaller_before_it_is_sent(chat: Page) -> None:
    bring(chat, "drop", "noise.png")
    wait_for_pictures(chat, 1)
    assert chat.evaluate("document.querySelector('#pictures img').src.slice(0, 22)") == "data:image/jpeg;base64"
    assert chat.evaluate("document.querySelector('#pictures img').naturalWidth") == 2048


def test_what_is_no_picture_is_named_and_not_sent(chat: Page) -> None:
    bring(chat, "drop", "notes.txt", "text/plain")
    chat.wait_for("document.querySelector('#tray-refused').textContent")
    assert shown(chat, "#tray-refused") == "notes.txt is no picture that this browser can show."
    assert shown(chat, "#pictures li") == ""


def test_before_anything_is_sent_the_page_says_that_the_model_takes_no_pictures(chat: Page) -> None:
    choose_echo(chat, "blind")
    bring(chat, "drop")
    wait_for_pictures(chat, 1)
    assert shown(chat, "#tray-note") == "blind takes no pictures. Choose a model that does, or remove them."
    assert chat.evaluate("document.querySelector('#send').disabled") is True
    chat.click("#input")
    chat.press("Enter")
    assert shown(chat, ".turn.user") == ""
    chat.click("#pictures li button")
    chat.wait_for("!document.querySelector('#send').disabled")
    assert shown(chat, "#tray-note") == ""


def test_a_chat_with_pictures_does_not_go_on_with_a_model_that_takes_none(chat: Page) -> None:
    bring(chat, "drop")
    wait_for_pictures(chat, 1)
    chat.click("#send")
    wait_for_end(chat)
    choose_echo(chat, "blind")
    assert shown(chat, "#tray-note").startswith("blind takes no pictures, and this chat has some.")
    chat.click("#new-chat")
    assert shown(chat, "#tray-note") == ""


def test_the_progress_line_tells_phase_tokens_speed_and_time(chat: Page) -> None:
    choose_echo(chat, "slow", tokens_per_second=25, prefill_ms=2500)
    chat.click("#input")
    chat.type_text(" ".join(f"word{number}" for number in range(60)))
    chat.press("Enter")
    words = "document.querySelector('#progress-words').textContent"
    chat.wait_for(f"/Reading the prompt · \\d+ of 60 tokens · [\\d.]+ s · about [\\d.]+ s left/.test({words})")
    assert 0 < chat.evaluate("document.querySelector('#progress progress').value") < 1
    chat.wait_for(f"/Writing · \\d+ tokens · [\\d.]+ tokens\\/s · [\\d.]+ s · at most [\\d.]+ s left/.test({words})")
    chat.press("Escape")
    wait_for_end(chat)
    assert shown(chat, "#progress") == ""
    assert re.search(r"\d+ tokens", shown(chat, "#figures"))


@pytest.mark.parametrize("dark", [False, True])
def test_the_bar_shows_how_much_is_read_on_light_and_on_dark(chromium: ChromiumLab, tmp_path: Path, dark: bool) -> None:
    page = chromium.open_chat()
    page.emulate(900, 760, dark)
    wait_until_ready(page)
    choose_echo(page, "slow reader", prefill_ms=20_000)
    ask(page, "one two three four five six seven eight nine ten")
    page.wait_for("document.querySelector('#progress progress').value >= 0.1", 30)
    place = page.evaluate("document.querySelector('#progress progress').getBoundingClientRect().toJSON()")
    page.screenshot(tmp_path / "bar.png")
    with Image.open(tmp_path / "bar.png") as shot:
        middle = int(place["y"] + place["height"] / 2)
        done, left, beside = (
            shot.convert("L").getpixel((int(place["x"] + share * place["width"]), middle + below))
            for share, below in ((0.05, 0), (0.95, 0), (0.95, 20))
        )
    page.click("#stop")
    wait_for_end(page)
    page.close()
    assert isinstance(done, int)
    assert isinstance(left, int)
    assert isinstance(beside, int)
    assert abs(done - left) > 60
    assert abs(left - beside) > 10


def test_without_a_tab_that_it_was_opened_from_the_page_offers_none(chat: Page) -> None:
    assert shown(chat, "#add-tab") == ""


class RedPage(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"<!doctype html><title>A red page</title><body style='background:red'>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def red_page() -> Iterator[str]:
    """The address of a page that is red all over, on this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), RedPage) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


FIRST_PIXEL = """(async () => {
  const image = document.querySelector("#pictures img");
  await image.decode();
  const canvas = Object.assign(document.createElement("canvas"), {width: 1, height: 1});
  canvas.getContext("2d").drawImage(image, 0, 0, 1, 1);
  return [...canvas.getContext("2d").getImageData(0, 0, 1, 1).data];
})()"""


def test_the_page_that_the_button_was_clicked_in_is_taken(lab: Lab, red_page: str) -> None:
    shown_page = lab.browser.open(red_page)
    chat = lab.open_chat_from(shown_page)
    wait_until_ready(chat)
    choose_echo(chat, "seeing", pictures=True)
    chat.click("#add-tab")
    wait_until("the picture", lambda: chat.peek("document.querySelectorAll('#pictures li').length === 1"))
    assert chat.evaluate("document.querySelector('#pictures img').alt") == "A red page.png"
    assert chat.evaluate(FIRST_PIXEL) == [255, 0, 0, 255]
    chat.wait_for("document.visibilityState === 'visible'")
    chat.click("#send")
    wait_for_end(chat)
    assert shown(chat, ".turn.assistant") == "Describe the picture."
    chat.evaluate("localStorage.clear()")
    chat.close()
    shown_page.close()


def test_a_page_that_has_gone_cannot_be_taken_and_the_chat_says_so(lab: Lab, red_page: str) -> None:
    shown_page = lab.browser.open(red_page)
    chat = lab.open_chat_from(shown_page)
    wait_until_ready(chat)
    shown_page.close()
    chat.click("#add-tab")
    chat.wait_for("!document.querySelector('#problem').hidden")
    assert shown(chat, "#problem-title") == "The page could not be taken"
    assert shown(chat, "#retry") == "Try again"
    chat.close()


@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing_wrong_with_pictures_at_phone_width(chromium: ChromiumLab, dark: bool) -> None:
    page = chromium.open_chat()
    page.emulate(390, 760, dark)
    wait_until_ready(page)
    bring(page, "drop", "notes.txt", "text/plain")
    bring(page, "drop")
    wait_for_pictures(page, 1)
    assert shown(page, "#tray-note")
    assert axe.violations(page) == []
    choose_echo(page, "slow", pictures=True, tokens_per_second=2)
    page.click("#send")
    page.wait_for("document.querySelector('.turn.assistant:not(.waiting)')")
    assert axe.violations(page) == []
    page.click("#stop")
    wait_for_end(page)
    page.evaluate("localStorage.clear()")
    page.close()
