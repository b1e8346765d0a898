/* python.exe of a virtual environment: starts the one that pyvenv.cfg names, as CPython's own launcher does. */
#include <stdio.h>
#include <wchar.h>
#include <windows.h>

#define LENGTH 1024
#define KEY L"home = "

/* What follows a command line's first word. */
static const wchar_t *arguments(const wchar_t *line) {
    int quoted = 0;
    for (; *line && (quoted || (*line != L' ' && *line != L'\t')); line++)
        if (*line == L'"') quoted = !quoted;
    return line;
}

int wmain(void) {
    wchar_t self[LENGTH], config[LENGTH], line[LENGTH], python[LENGTH] = L"", command[32768];
    GetModuleFileNameW(NULL, self, LENGTH);
    wcscpy(config, self);
    *wcsrchr(config, L'\\') = 0;
    *wcsrchr(config, L'\\') = 0;
    wcscat(config, L"\\pyvenv.cfg");
    FILE *file = _wfopen(config, L"r");
    if (!file) return 106;
    while (fgetws(line, LENGTH, file)) {
        if (wcsncmp(line, KEY, wcslen(KEY))) continue;
        wcscpy(python, line + wcslen(KEY));
        python[wcscspn(python, L"\r\n")] = 0;
        wcscat(python, L"\\python.exe");
    }
    fclose(file);
    SetEnvironmentVariableW(L"__PYVENV_LAUNCHER__", self);
    STARTUPINFOW startup = {.cb = sizeof startup};
    PROCESS_INFORMATION process;
    GetStartupInfoW(&startup);
    swprintf(command, sizeof command / sizeof *command, L"\"%ls\"%ls", python, arguments(GetCommandLineW()));
    if (!CreateProcessW(python, command, NULL, NULL, TRUE, 0, NULL, NULL, &startup, &process)) return 101;
    WaitForSingleObject(process.hProcess, INFINITE);
    DWORD status = 0;
    GetExitCodeProcess(process.hProcess, &status);
    return (int)status;
}
