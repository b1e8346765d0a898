"""Showing the user the host at work: what `prove` sees, as it happens."""

from installer import manifest
from installer.context import Context, Options
from installer.prove import QUESTION, Proof, Watcher, prove


def show_proof(context: Context, options: Options) -> Proof:
    """Start the host as the browser would and stream an answer to the terminal.

    Raises:
        InstallError: it does not work.
    """
    terminal = context.terminal
    terminal.say("  Starting the host as a browser does, to see that it works:")
    terminal.say(f"    > {QUESTION}")
    begun = False

    def on_text(text: str) -> None:
        nonlocal begun
        if not begun:
            terminal.stream("    ")
            begun = True
        terminal.stream(text.replace("\n", "\n    "))

    def on_stage(stage: str) -> None:
        terminal.say(f"    ({stage})")

    proof = prove(context.launcher, manifest.demo_origin(), Watcher(on_stage, on_text), options.model, options.backend)
    terminal.say()
    terminal.say(f"    {describe(proof)}")
    return proof


def describe(proof: Proof) -> str:
    """The proof's figures in one line."""
    parts = [f"started in {proof.first_reply_s:.1f} s", f"model loaded in {proof.load_s:.1f} s"]
    parts.append(f"first text after {proof.first_text_s * 1000:.0f} ms")
    if proof.tokens is not None and proof.tokens_per_second is not None:
        parts.append(f"{proof.tokens} tokens at {proof.tokens_per_second:.0f} tokens/s")
    return ", ".join(parts)
