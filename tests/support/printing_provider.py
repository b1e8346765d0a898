"""A plug-in provider that prints to stdout when it is registered, as some do, or crashes; compiled when asked for."""

import shutil
import subprocess
from pathlib import Path

import pytest

WORDS = "a provider greets its user"

_SOURCE = f"""
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void *CreateEpFactories(const char *name, const void *api, const void *log, void **made, size_t room, size_t *count) {{
  static const char words[] = "{WORDS}\\n";
  if (write(1, words, sizeof words - 1) < 0) return NULL;
  printf("{WORDS} again\\n");
  fflush(stdout);
  if (strcmp(name, "crashing") == 0) abort();
  *count = 0;
  return NULL;
}}

void *ReleaseEpFactory(void *factory) {{ return NULL; }}
"""


def make_printing_provider(folder: Path) -> Path:
    """Compile the library; registered as "crashing" it ends the process."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.fail("there is no C compiler; install one with: apt install gcc")
    source, library = folder / "provider.c", folder / "libprovider.so"
    source.write_text(_SOURCE, encoding="utf-8")
    command = [compiler, "-shared", "-fPIC", "-o", str(library), str(source)]
    subprocess.run(command, check=True, timeout=60, capture_output=True)
    return library
